"""Channels that tell what is called on them, for CPython's side of a comparison.

The Rust side is `compat_tests::traced`; both write the same lines.
"""
import errno
import os
import select
import socket
import struct
import sys
import warnings
import weakref

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import asynchat
    import asyncore

LINES = []


def tell(line):
    LINES.append(line)


class Raised(Exception):
    """What a reaction raises on purpose."""


def name_of(error):
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode[error.errno]
    return type(error).__name__


class Tracing:
    """Goes before one of asyncore's classes, and tells of each call before it makes it.

    `wants_read` and `wants_write` are what `readable` and `writable` answer (`None`: what the class
    does). `chunk` is what `handle_read` receives at once (`None`: what the class does). `react[method]` is called in a method that
    has been told of; if it returns true, the method of the class is not called any more.
    """

    def start(self, name, wants_read=True, wants_write=False, chunk=1024):
        self.name = name
        self.wants_read = wants_read
        self.wants_write = wants_write
        self.chunk = chunk
        self.react = {}

    def told(self, method, detail=""):
        tell("  %s.%s%s" % (self.name, method, detail))
        reaction = self.react.get(method)
        return reaction is not None and reaction(self)

    def readable(self):
        self.told("readable")
        return super().readable() if self.wants_read is None else self.wants_read

    def writable(self):
        self.told("writable")
        return bool(super().writable()) if self.wants_write is None else self.wants_write

    def handle_read(self):
        if not self.told("handle_read"):
            if self.chunk is None:
                super().handle_read()
            else:
                self.recv(self.chunk)

    def handle_error(self):
        error = sys.exc_info()[1]
        if not self.told("handle_error", " " + name_of(error)):
            super().handle_error()

    def log(self, message):
        self.told("log")

    def log_info(self, message, type="info"):
        self.told("log_info", " " + type)

    def recv(self, size):
        if self.told("recv", " %d" % size):
            return b""
        try:
            data = super().recv(size)
        except OSError as error:
            tell("    raises " + name_of(error))
            raise
        tell("    returns " + show(data))
        return data

    def send(self, data):
        if self.told("send", " " + show(data)):
            return 0
        try:
            sent = super().send(data)
        except OSError as error:
            tell("    raises " + name_of(error))
            raise
        tell("    returns %s" % (len(data) if sent is None else sent))
        return sent

    def accept(self):
        if self.told("accept"):
            return None
        pair = super().accept()
        tell("    returns " + ("None" if pair is None else "a connection"))
        return pair

    def handle_accepted(self, sock, addr):
        if not self.told("handle_accepted"):
            super().handle_accepted(sock, addr)


def plainly(method):
    def call(self, *args, **kwargs):
        if not self.told(method):
            return getattr(super(Tracing, self), method)(*args, **kwargs)

    call.__name__ = method
    return call


for method in (
    "add_channel del_channel create_socket set_socket listen bind connect close "
    "handle_read_event handle_write_event handle_expt_event handle_connect_event "
    "handle_write handle_expt handle_connect handle_accept handle_close"
).split():
    setattr(Tracing, method, plainly(method))


def show(data):
    """Short data as it is, longer data as its length."""
    data = bytes(data)
    return data.decode("latin-1") if 0 < len(data) <= 16 else "%d bytes" % len(data)


class Dispatcher(Tracing, asyncore.dispatcher):
    def __init__(self, name, sock=None, **options):
        self.start(name, **options)
        asyncore.dispatcher.__init__(self, sock)


class DispatcherWithSend(Tracing, asyncore.dispatcher_with_send):
    def __init__(self, name, sock=None, **options):
        self.start(name, **options)
        asyncore.dispatcher_with_send.__init__(self, sock)

    initiate_send = plainly("initiate_send")


class AsyncChat(Tracing, asynchat.async_chat):
    ac_in_buffer_size = ac_out_buffer_size = 4096

    def __init__(self, name, sock=None, **options):
        self.start(name, chunk=None, **options)
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"c")

    def collect_incoming_data(self, data):
        self.told("collect_incoming_data", " " + show(data))

    def found_terminator(self):
        self.told("found_terminator")

    def get_terminator(self):
        self.told("get_terminator")
        return super().get_terminator()

    def details(self):
        terminator = self.terminator
        return ", %d queued, received %s, terminator %s" % (
            len(self.producer_fifo),
            show(self.ac_in_buffer),
            show(terminator) if isinstance(terminator, bytes) else terminator,
        )


for method in "push", "push_with_producer", "close_when_done", "initiate_send", "discard_buffers":
    setattr(AsyncChat, method, plainly(method))


class Producer:
    """Makes one piece, and tells of it."""

    def __init__(self, channel):
        self.channel = weakref.ref(channel)
        self.pieces = [b"spam"]

    def more(self):
        channel = self.channel()
        if channel is not None:
            channel.told("more")
        return self.pieces.pop() if self.pieces else b""


def state(channel):
    words = [w for w in ("connected", "accepting", "connecting") if getattr(channel, w)]
    there = [fd for fd, c in asyncore.socket_map.items() if c is channel]
    words.append("in the map" if there else "not in the map")
    details = channel.details() if hasattr(channel, "details") else ""
    return "  %s: %s%s" % (channel.name, ", ".join(words), details)


def passes(semantics, count, channels):
    """Makes `count` passes, telling what each called and the state after each."""
    run = {"select": asyncore.poll, "poll": asyncore.poll2}[semantics]
    for number in range(1, count + 1):
        tell(" pass %d" % number)
        try:
            run(0.0, asyncore.socket_map)
        except BaseException as error:
            tell("  the loop ends: " + name_of(error))
        for channel in channels:
            tell(state(channel))


def settle(sock, flags):
    """Waits until the kernel reports `flags` of a socket or descriptor."""
    poll = select.poll()
    poll.register(sock, flags)
    for _ in range(1000):
        if any(found & flags == flags for _, found in poll.poll(10)):
            return
    raise SystemExit("the kernel does not report %#x" % flags)


def tcp_pair():
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far = listener.accept()[0]
    listener.close()
    return near, far


def closes_with_a_reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(sock):
    closes_with_a_reset(sock)
    sock.close()


def forget_all():
    for fd, channel in list(asyncore.socket_map.items()):
        if hasattr(channel, "react"):
            channel.react = {}
    before = len(LINES)
    asyncore.close_all(ignore_all=True)
    del LINES[before:]
