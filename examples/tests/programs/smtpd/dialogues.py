"""Dialogues with CPython's smtpd. The Rust side, and what makes them up, is dialogues.rs.

Reads dialogues from standard input, one a line, and answers each with what happened, in one line, at once. Both
are JSON; bytes are text of the characters up to U+00FF. A dialogue has `settings`, the keyword arguments of
SMTPServer, and `packets`, which are sent one after another. What happened is a list of

    ["reply", TEXT]                                     what came back, all that came after a packet
    ["message", MAILFROM, RCPTTOS, TEXT, KWARGS]        process_message was called
    ["error"]                                           handle_error was called
    ["close"]                                           the connection was closed
"""
import json
import socket
import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import asyncore
    import smtpd

FQDN = "mail.example"
# A pass to read, one to close when done, and one more.
PASSES = 3

socket.getfqdn = lambda: FQDN


class Channel(smtpd.SMTPChannel):

    def handle_error(self):
        self.smtp_server.events.append(["error"])
        asyncore.dispatcher.handle_error(self)

    def close(self):
        if self._fileno is not None:
            self.smtp_server.events.append(["close"])
        smtpd.SMTPChannel.close(self)

    def log_info(self, message, type="info"):
        pass


class Server(smtpd.SMTPServer):

    channel_class = Channel

    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
        text = data if isinstance(data, str) else data.decode("latin-1")
        self.events.append(["message", mailfrom, rcpttos, text, kwargs or None])
        for answer in ANSWERS:
            if answer in text:
                return ANSWERS[answer]
        if "fail" in text:
            raise ValueError("asked for")


# What the message says, and what is answered.
ANSWERS = {"defer": "451 later", "greet": "250 caf\xe9", "empty": ""}


def hold(dialogue):
    events = []
    sockets = {}
    server = Server(("127.0.0.1", 0), None, map=sockets, **dialogue["settings"])
    server.events = events
    client, conn = socket.socketpair()
    server.handle_accepted(conn, "")
    server.del_channel()
    client.setblocking(False)
    replies(client, events)
    for packet in dialogue["packets"]:
        if not sockets:
            break
        client.sendall(packet.encode("latin-1"))
        passes(sockets)
        replies(client, events)
    client.close()
    passes(sockets)
    server.socket.close()
    return events


def passes(sockets):
    for _ in range(PASSES):
        asyncore.poll(0, sockets)


def replies(client, events):
    reply = b""
    try:
        while data := client.recv(65536):
            reply += data
    except (BlockingIOError, ConnectionResetError):
        pass
    if reply:
        events.append(["reply", reply.decode("latin-1")])


for line in sys.stdin:
    print(json.dumps(hold(json.loads(line))), flush=True)
