"""Every method, called from inside every callback: what CPython makes of it.

For each class, callback, target (the channel itself or another one) and semantics: the callback calls one
method of the target the first time that it is called, then goes on; three passes follow.

`reentrancy.py` prints a digest of the trace of every case, as recorded in ../recorded/reentrancy.txt;
`reentrancy.py CLASS CALLBACK METHOD TARGET SEMANTICS` prints the trace of one.
"""
import select
import socket
import sys

from traced import *

CHANNELS = {}


def on_first_call(channel, callback, reaction):
    """Reacts once; what the reaction raises is told, and does not leave the callback."""

    def once(channel):
        del channel.react[callback]
        tell("   calls")
        try:
            reaction()
        except Exception as error:
            tell("    raises " + name_of(error))
        tell("   goes on")

    channel.react[callback] = once


# How each callback comes to be called on channel a.


class Setting:
    def __init__(self, kind, semantics):
        self.kind = kind
        self.semantics = semantics
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.peers = []

    def connected(self, name, **options):
        near, far = tcp_pair()
        CHANNELS[name] = self.kind(name, near, **options)
        self.peers.append(far)
        return CHANNELS[name]

    def asked(self):
        return self.connected("a"), None

    def input(self):
        a = self.connected("a")
        self.peers[-1].sendall(b"abcdef")
        settle(a.socket, select.POLLIN)
        return a, None

    def output(self):
        a = self.connected("a", wants_write=True)
        settle(a.socket, select.POLLOUT)
        return a, None

    def sending(self):
        a = self.connected("a", wants_write=True)
        a.react["handle_write"] = lambda a: a.send(b"spam") or True
        settle(a.socket, select.POLLOUT)
        return a, None

    def producing(self):
        a = self.connected("a", wants_write=True)
        a.react["handle_write"] = lambda a: a.push_with_producer(Producer(a)) or True
        settle(a.socket, select.POLLOUT)
        return a, None

    def out_of_band(self):
        a = self.connected("a")
        self.peers[-1].send(b"!", socket.MSG_OOB)
        settle(a.socket, select.POLLPRI)
        return a, None

    def connecting(self):
        a = CHANNELS["a"] = self.kind("a", wants_write=True)
        a.create_socket()
        a.connect(self.listener.getsockname())
        settle(a.socket, select.POLLOUT)
        return a, None

    def accepting(self):
        a = CHANNELS["a"] = self.kind("a")
        a.create_socket()
        a.bind(("127.0.0.1", 0))
        a.listen(5)
        self.peers.append(socket.create_connection(a.socket.getsockname()))
        settle(a.socket, select.POLLIN)
        return a, None

    def ended(self):
        a = self.connected("a")
        self.peers.pop().close()
        # Or thousands of connections would wait for their time to pass.
        closes_with_a_reset(a.socket)
        settle(a.socket, select.POLLIN | select.POLLRDHUP)
        return a, None

    def failing(self):
        a, _ = self.input()

        def fail(a):
            raise Raised()

        a.react["handle_read"] = fail
        return a, None

    def listens(self):
        a = CHANNELS["a"] = self.kind("a")
        return a, [lambda: a.create_socket(), lambda: a.bind(("127.0.0.1", 0)), lambda: a.listen(5)]

    def connects(self):
        a = CHANNELS["a"] = self.kind("a")
        return a, [lambda: a.create_socket(), lambda: a.connect(self.listener.getsockname())]


CALLBACKS = [
    ("readable", "asked"),
    ("writable", "asked"),
    ("handle_read_event", "input"),
    ("handle_read", "input"),
    ("recv", "input"),
    ("handle_write_event", "output"),
    ("handle_write", "output"),
    ("log_info", "output"),
    ("send", "sending"),
    ("handle_expt_event", "out_of_band"),
    ("handle_expt", "out_of_band"),
    ("handle_connect_event", "connecting"),
    ("handle_connect", "connecting"),
    ("handle_accept", "accepting"),
    ("accept", "accepting"),
    ("handle_accepted", "accepting"),
    ("handle_close", "ended"),
    ("close", "ended"),
    ("del_channel", "ended"),
    ("handle_error", "failing"),
    ("create_socket", "listens"),
    ("set_socket", "listens"),
    ("add_channel", "listens"),
    ("bind", "listens"),
    ("listen", "listens"),
    ("connect", "connects"),
]


# What is called on the target, by its name in CHANNELS.


def set_socket(t, setting):
    t.socket.fileno  # Fails where there is none, as asking for the socket does in Rust.
    t.set_socket(t.socket)


def accept(t, setting):
    pair = t.accept()
    if pair is not None:
        pair[0].close()


def handle_error(t, setting):
    try:
        raise Raised()
    except Raised:
        t.handle_error()


def drop(t, setting):
    """Leaves the channel to whoever still holds it."""
    del CHANNELS[t.name]
    for fd, channel in list(asyncore.socket_map.items()):
        if channel is t:
            del asyncore.socket_map[fd]


def within(semantics):
    return {"select": asyncore.poll, "poll": asyncore.poll2}[semantics]


ALL_FLAGS = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLHUP

METHODS = [
    ("repr", lambda t, s: repr(t)),
    ("add_channel", lambda t, s: t.add_channel()),
    ("del_channel", lambda t, s: t.del_channel()),
    ("create_socket", lambda t, s: t.create_socket()),
    ("set_socket", set_socket),
    ("set_reuse_addr", lambda t, s: t.set_reuse_addr()),
    ("readable", lambda t, s: t.readable()),
    ("writable", lambda t, s: t.writable()),
    ("listen", lambda t, s: t.listen(5)),
    ("bind", lambda t, s: t.bind(("127.0.0.1", 0))),
    ("connect", lambda t, s: t.connect(s.listener.getsockname())),
    ("accept", accept),
    ("send", lambda t, s: t.send(b"ham")),
    ("recv", lambda t, s: t.recv(2)),
    ("close", lambda t, s: t.close()),
    ("log", lambda t, s: t.log("message")),
    ("log_info", lambda t, s: t.log_info("message", "info")),
    ("handle_read_event", lambda t, s: t.handle_read_event()),
    ("handle_write_event", lambda t, s: t.handle_write_event()),
    ("handle_expt_event", lambda t, s: t.handle_expt_event()),
    ("handle_connect_event", lambda t, s: t.handle_connect_event()),
    ("handle_error", handle_error),
    ("handle_expt", lambda t, s: t.handle_expt()),
    ("handle_read", lambda t, s: t.handle_read()),
    ("handle_write", lambda t, s: t.handle_write()),
    ("handle_connect", lambda t, s: t.handle_connect()),
    ("handle_accept", lambda t, s: t.handle_accept()),
    ("handle_accepted", lambda t, s: t.handle_accepted(socket.socket(), ("127.0.0.1", 1))),
    ("handle_close", lambda t, s: t.handle_close()),
    ("drop", drop),
    ("read", lambda t, s: asyncore.read(t)),
    ("write", lambda t, s: asyncore.write(t)),
    ("exception", lambda t, s: asyncore._exception(t)),
    ("readwrite", lambda t, s: asyncore.readwrite(t, ALL_FLAGS)),
    ("poll", lambda t, s: within(s.semantics)(0.0)),
    ("loop", lambda t, s: asyncore.loop(0.0, s.semantics == "poll", None, 2)),
    ("close_all", lambda t, s: asyncore.close_all()),
    ("clear", lambda t, s: asyncore.socket_map.clear()),
]

CLASSES = {
    "dispatcher": Dispatcher,
    "dispatcher_with_send": DispatcherWithSend,
    "async_chat": AsyncChat,
}

# What class dispatcher_with_send has besides.
WITH_SEND_CALLBACKS = CALLBACKS + [("initiate_send", "sending")]
WITH_SEND_METHODS = METHODS + [("initiate_send", lambda t, s: t.initiate_send())]

# Of class async_chat, those that it overrides or calls, and its own.
CHAT_CALLBACKS = [
    (callback, make)
    for callback, make in CALLBACKS
    if callback in "readable writable handle_read recv handle_write send handle_close close handle_error".split()
] + [
    ("collect_incoming_data", "input"),
    ("found_terminator", "input"),
    ("get_terminator", "input"),
    ("initiate_send", "output"),
    ("push_with_producer", "producing"),
    ("more", "producing"),
]


def set_ac_in_buffer(t, setting):
    t.ac_in_buffer = b"xcy"


CHAT_METHODS = METHODS + [
    ("push", lambda t, s: t.push(b"eggs")),
    ("push_with_producer", lambda t, s: t.push_with_producer(Producer(t))),
    ("close_when_done", lambda t, s: t.close_when_done()),
    ("initiate_send", lambda t, s: t.initiate_send()),
    ("discard_buffers", lambda t, s: t.discard_buffers()),
    ("set_terminator_bytes", lambda t, s: t.set_terminator(b"e")),
    ("set_terminator_count", lambda t, s: t.set_terminator(2)),
    ("set_terminator_none", lambda t, s: t.set_terminator(None)),
    ("get_terminator", lambda t, s: t.get_terminator()),
    ("set_ac_in_buffer", set_ac_in_buffer),
    ("producer_fifo_append", lambda t, s: t.producer_fifo.append(b"bacon")),
    ("producer_fifo_clear", lambda t, s: t.producer_fifo.clear()),
]


def callbacks_and_methods(kind):
    return {
        "dispatcher": (CALLBACKS, METHODS),
        "dispatcher_with_send": (WITH_SEND_CALLBACKS, WITH_SEND_METHODS),
        "async_chat": (CHAT_CALLBACKS, CHAT_METHODS),
    }[kind]


TARGETS = ["itself", "another"]


def trace(kind, callback, method, target, semantics):
    """The lines of one case."""
    del LINES[:]
    callbacks, methods = map(dict, callbacks_and_methods(kind))
    setting = Setting(CLASSES[kind], semantics)
    a, script = getattr(setting, callbacks[callback])()
    b = setting.connected("b")
    name = {"itself": a, "another": b}[target].name
    on_first_call(a, callback, lambda: methods[method](CHANNELS[name], setting))
    # From here on only CHANNELS, the map and whoever calls keep them alive.
    del a, b
    for step in script or []:
        try:
            step()
        except Exception as error:
            tell("  the script fails: " + name_of(error))
    script = step = None
    run = within(semantics)
    for number in 1, 2, 3:
        for channel in CHANNELS.values():
            if channel.connecting and not channel.accepting and channel.socket.fileno() >= 0:
                settle(channel.socket, select.POLLOUT)
        channel = None
        tell(" pass %d" % number)
        try:
            run(0.0)
        except Exception as error:
            tell("  the loop ends: " + name_of(error))
        for name in "a", "b":
            tell(state(CHANNELS[name]) if name in CHANNELS else "  %s: dropped" % name)
    lines = LINES[:]
    setting.listener.close()
    for peer in setting.peers:
        # So that no connection is left to wait for its time to pass.
        reset(peer)
    CHANNELS.clear()
    forget_all()
    return lines


def digest(lines):
    """FNV-1a, so that both sides have it without a library."""
    value = 0xCBF29CE484222325
    for byte in ("\n".join(lines) + "\n").encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%08x" % (value >> 32)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    if len(sys.argv) > 1:
        print("\n".join(trace(*sys.argv[1:6])))
    else:
        for kind in CLASSES:
            callbacks, methods = callbacks_and_methods(kind)
            print("[%s]" % kind, *[method for method, _ in methods])
            for callback, _ in callbacks:
                for target in TARGETS:
                    for semantics in "select", "poll":
                        traces = [trace(kind, callback, m, target, semantics) for m, _ in methods]
                        print(callback, target, semantics, *map(digest, traces))
