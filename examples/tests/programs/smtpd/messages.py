"""Delivers messages with smtplib, and prints what a DebuggingServer should print of them.

    messages.py HOST PORT SEED COUNT
"""
import random
import smtplib
import string
import sys

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " \t"
SOME = [b"", b".", b"..", b". .", b".x", b"'", b'"', b"'\"", b"\\", b"\t", b"caf\xc3\xa9", b"\x00\x7f\xff"]


def text(rng, size):
    return "".join(rng.choices(PRINTABLE, k=size)).encode("ascii")


def line(rng):
    kind = rng.randrange(10)
    if kind < 2:
        return rng.choice(SOME)
    if kind == 2:
        return bytes(byte for byte in rng.randbytes(100) if byte not in b"\r\n")
    return text(rng, rng.randrange(3000 if kind == 3 else 80))


def message(rng):
    """The lines of a message."""
    lines = [b"Subject: " + text(rng, 20), b"From: me@here.example"]
    if rng.random() < 0.9:
        lines.append(b"")
    count = 2000 if rng.random() < 0.01 else rng.randrange(40)
    return lines + [line(rng) for _ in range(count)]


def printed(host, options, lines):
    yield "---------- MESSAGE FOLLOWS ----------"
    if options:
        yield f"mail options: {options}"
    if not lines[-1]:
        lines = lines[:-1]
    in_headers = True
    for line in lines:
        if in_headers and not line:
            yield repr(f"X-Peer: {host}".encode("ascii"))
            in_headers = False
        yield repr(line)
    yield "------------ END MESSAGE ------------"


def deliver(rng, server):
    lines = message(rng)
    content = b"\r\n".join(lines) + b"\r\n"
    options = []
    if server.does_esmtp:
        options += rng.choice([[], ["BODY=8BITMIME"], ["BODY=8BITMIME", "SMTPUTF8"]])
    sender = "m\xe9@here.example" if "SMTPUTF8" in options else "me@here.example"
    recipients = ["you@there.example", '"you too"@there.example'][:rng.randint(1, 2)]
    sent = content
    if content.isascii() and rng.random() < 0.5:
        sent = content.decode("ascii").replace("\r\n", "\n")
    refused = server.sendmail(sender, recipients, sent, [option.lower() for option in options])
    assert not refused, refused
    if server.does_esmtp:
        options.insert(0, f"SIZE={len(content)}")
    return printed(server.sock.getpeername()[0], options, lines)


def main():
    host, (port, seed, count) = sys.argv[1], map(int, sys.argv[2:])
    rng = random.Random(seed)
    while count:
        with smtplib.SMTP(host, port, local_hostname="client.example", timeout=100) as server:
            rng.choice([server.ehlo, server.ehlo, server.helo])()
            for _ in range(min(count, rng.randint(1, 30))):
                for line in deliver(rng, server):
                    print(line)
                count -= 1


main()
