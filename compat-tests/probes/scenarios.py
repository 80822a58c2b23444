"""Acts out scenarios with CPython's asyncore and asynchat, and writes what happens.

    python -B -W ignore scenarios.py < SCENARIOS   one scenario per line; a line --- ends each trace
    python -B -W ignore scenarios.py FILE ...      the scenarios of files, each with its name as a heading

What scenarios and traces are is told in ../scenarios/README.md. Runs with Python 2.7 and 3.6 to 3.11, and with
later ones that have asyncore and asynchat from elsewhere.
"""
import errno
import fcntl
import gc
import json
import os
import resource
import select
import socket
import struct
import sys
import tempfile
import termios
import time
import warnings
import weakref

warnings.simplefilter("ignore")
import asynchat
import asyncore

new_map = dict
if sys.version_info[0] == 2:
    import documented_of_2_7

    documented_of_2_7.take_out()
    new_map = documented_of_2_7.the_order_of_insertion

MOST_LINES = 3000
LINES = []


class TooLong(BaseException):
    """Ends a scenario whose trace has become too long."""


class Raised(Exception):
    """What a reaction raises on purpose."""


def tell(line):
    # The loop answers what fails by calling handle_error, which tells of itself, and so fails once more, outside
    # of all that catches.
    if len(LINES) >= MOST_LINES:
        raise TooLong
    LINES.append(line)


# What is in a trace.


ALIASES = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP", "EDEADLOCK": "EDEADLK"}


def name_of(error):
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, select.error):
        number = error.args[0]  # In 2.7 it is a class of its own.
    if number is None:
        return type(error).__name__
    name = errno.errorcode.get(number, "errno %s" % number)
    return ALIASES.get(name, name)


PRINTABLE = ["\\x%02x" % byte for byte in range(256)]
for byte in range(0x20, 0x7F):
    PRINTABLE[byte] = ("\\" if chr(byte) in '"\\' else "") + chr(byte)

DIGESTS = {}


def digest(data):
    """FNV-1a, of which the other side needs no library either. Kept, since large data is told again and again."""
    value = DIGESTS.get(data)
    if value is None:
        value = 0xCBF29CE484222325
        for byte in bytearray(data):
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        if len(DIGESTS) > 10:
            DIGESTS.clear()
        DIGESTS[data] = value
    return value >> 32


def show(data):
    data = bytes(data)
    if len(data) <= 48:
        return 'b"%s"' % "".join([PRINTABLE[byte] for byte in bytearray(data)])
    return "%s+%d#%08x" % (show(data[:16]), len(data) - 16, digest(data))


def bytes_of(value):
    if isinstance(value, dict):
        return value["repeat"].encode("latin-1") * value["times"]
    return value.encode("latin-1")


def terminator_of(value):
    return value if value is None or isinstance(value, int) else bytes_of(value)


def error_named(name):
    if name == "Raised":
        return Raised()
    if name == "ExitNow":
        return asyncore.ExitNow()
    number = getattr(errno, name)
    # OSError, but in 2.7, where this is what asyncore means by it.
    return socket.error(number, os.strerror(number))


# Waiting for the kernel by looking.


PATIENCE = 5.0  # seconds, for what should be there at once
POLLRDHUP = 0x2000
ENDED = POLLRDHUP | select.POLLHUP | select.POLLERR
WAS_RESET = select.POLLHUP | select.POLLERR
SIOCOUTQNSD = 0x894B

ESTABLISHED, SYN_SENT, LISTEN = 1, 2, 10


def wait_for(fd, flags):
    """Waits until poll(2) reports one of `flags`."""
    poll = select.poll()
    poll.register(fd, flags)
    deadline = None
    while not any(found & flags for _, found in poll.poll(10)):
        deadline = deadline or time.time() + PATIENCE
        if time.time() > deadline:
            return False
    return True


def count_of(request, sock):
    """What an ioctl(2) says that there is of something."""
    return struct.unpack("i", fcntl.ioctl(sock.fileno(), request, b"\0" * 4))[0]


def wait_until(look):
    """Waits until what `look` looks at is so."""
    looks = 0
    deadline = None
    while not look():
        looks += 1
        if looks > 100:
            select.select([], [], [], 0.001)
            deadline = deadline or time.time() + PATIENCE
            if time.time() > deadline:
                return False
    return True


def tcp_info(sock):
    """The state of a TCP socket, how many connections wait for a listener, how many may, and how many bytes have
    been received, the end of the stream among them."""
    info = sock.getsockopt(socket.IPPROTO_TCP, 11, 136)
    state, waiting, most, received = struct.unpack("=B23xII96xQ", info)
    return state, waiting, most, received


def bytes_received(sock):
    return tcp_info(sock)[3]


def is_stuck(sock):
    """Whether a TCP socket has data that the other side has no room for."""
    return count_of(termios.TIOCOUTQ, sock) == count_of(SIOCOUTQNSD, sock) > 0


def forget_connection(sock):
    """Lets a close be a reset, so that no connection is left to wait for its time to pass."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close_with_reset(sock):
    """Closes a socket, or anything else that can be."""
    for close in forget_connection, lambda sock: sock.close():
        try:
            close(sock)
        except (AttributeError, EnvironmentError):
            pass  # It is no socket, or closed already.


def fileno_of(sock):
    """Its descriptor; -1 if there is none (any more)."""
    try:
        return sock.fileno()
    except (AttributeError, EnvironmentError):
        return -1


# The other ends.


def whole(sock):
    """In 2.7 a pair is of the sockets that objects of class `socket` are made of."""
    return sock if isinstance(sock, socket.socket) else socket.socket(_sock=sock)


def listening():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    sock.setblocking(0)
    return sock


class PipeEnd(object):
    def __init__(self, fd):
        self.fd = fd
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)

    def fileno(self):
        return self.fd

    def send(self, data):
        return os.write(self.fd, data)

    def recv(self, size):
        return os.read(self.fd, size)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Peer(object):
    """What is at the other end of a channel's socket, which is `near`: a weak reference, since it is the channel
    that keeps it open."""

    def __init__(self, far, tcp=False):
        self.far = far
        self.tcp = tcp
        self.near = lambda: None
        self.listener = None  # a weak reference to where the connection waits, until it has been accepted
        self.address = None  # from where it does
        self.given = 0  # how much the channel's end has taken to be sent
        self.sent = 0  # how much this end has
        if far is not None:
            self.has(far)

    def has(self, far):
        self.far = far
        if not isinstance(far, PipeEnd):
            far.setblocking(0)
        if self.tcp:
            no_delay(far)

    def is_open(self):
        return self.far is not None and fileno_of(self.far) >= 0

    def near_socket(self):
        """The channel's end, as a socket. Of a file_dispatcher's it is one more handle, to be forgotten soon."""
        near = self.near()
        if isinstance(near, asyncore.file_wrapper) and near.fileno() >= 0:
            near = socket.fromfd(near.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        return near if fileno_of(near) >= 0 else None

    def is_waiting(self):
        """Whether the connection is still to be accepted."""
        return self.listener is not None and fileno_of(self.listener()) >= 0

    # Unix sockets and pipes show at once what is done at the other end.

    def settle(self):
        """Waits for all that the channel's end did."""
        if not self.tcp or self.is_waiting():
            return
        near = self.near_socket()
        if near is None:
            wait_for(self.far, ENDED)
        else:
            wait_until(lambda: bytes_received(self.far) >= self.given or is_stuck(near))

    def wait_for_near(self, flags):
        """Waits until the channel's end shows what this one did."""
        near = self.near_socket() if self.tcp else None
        if near is not None:
            wait_for(near, flags)
        return near

    def send(self, data, flags=None):
        sent = self.far.send(data) if flags is None else self.far.send(data, flags)
        self.sent += sent
        if sent < len(data):
            tell("  sends %d of %d" % (sent, len(data)))
        if not self.tcp or not sent:
            return
        near = self.near_socket()
        if near is not None:
            wait_until(lambda: bytes_received(near) >= self.sent or is_stuck(self.far))
        elif not self.is_waiting():
            wait_for(self.far, WAS_RESET)

    def do_send(self, step):
        self.send(bytes_of(step["data"]))

    def do_oob(self, step):
        if self.tcp:
            self.send(b"!", socket.MSG_OOB)
            self.wait_for_near(select.POLLPRI | WAS_RESET)

    def do_shutdown(self, step):
        if isinstance(self.far, PipeEnd):
            return self.do_close(step)
        self.far.shutdown(socket.SHUT_WR)
        if self.tcp and not is_stuck(self.far):
            self.wait_for_near(ENDED)

    def do_close(self, step):
        stuck = self.tcp and is_stuck(self.far)
        # With something unread it is a reset.
        shown = WAS_RESET if self.tcp and count_of(termios.FIONREAD, self.far) else ENDED
        # Who closes last does it with a reset: nobody is left to see the difference.
        if self.tcp and self.near_socket() is None and not self.is_waiting():
            forget_connection(self.far)
        self.far.close()
        if not stuck:
            near = self.wait_for_near(shown)
            if near is not None:
                forget_connection(near)

    def do_reset(self, step):
        if not self.tcp:
            return self.do_close(step)
        close_with_reset(self.far)
        self.wait_for_near(WAS_RESET)

    def do_read(self, step):
        pieces = []
        end = None
        while end is None:
            try:
                piece = self.far.recv(65536)
            except EnvironmentError as error:
                if error.errno != errno.EAGAIN:
                    end = "  reads a reset" if error.errno == errno.ECONNRESET else "  fails with " + name_of(error)
                elif not self.more_comes():
                    break
            else:
                pieces.append(piece)
                if not piece:
                    end = "  reads the end"
        tell("  reads " + show(b"".join(pieces)))
        if end is not None:
            tell(end)

    def more_comes(self):
        """Whether something is on its way, which it waits for."""
        if not self.tcp or self.is_waiting():
            return False
        if self.near_socket() is not None and bytes_received(self.far) >= self.given:
            # It may have come since nothing was there.
            return count_of(termios.FIONREAD, self.far) > 0
        return wait_for(self.far, select.POLLIN | ENDED)


def no_delay(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class LatePeer(Peer):
    """The peer of a channel that connects: what the listening socket accepts, at the first step."""

    def __init__(self, listening, tcp):
        Peer.__init__(self, None, tcp)
        self.listening = listening

    def is_open(self):
        if self.far is None:
            try:
                self.has(self.listening.accept()[0])
            except EnvironmentError:
                pass
        return Peer.is_open(self)


# What all scenarios share: where pairs come from, what actions connect to, and where nobody listens.
PAIRS = listening()
SERVER = listening()
NOBODY = socket.socket()
NOBODY.bind(("127.0.0.1", 0))


# The channels.


class Tracing:
    """Goes before one of the classes, which is BASE, and tells of each call before it makes it."""

    # In 2.7 the classes are old-style: there is no super().

    def start(self, story, name):
        self.story = story
        self.name = name
        self.calls = {}
        self.reactions = {}
        self.wants_read = None
        self.wants_write = None
        self.chunk = 1024
        self.opens = False
        self.exhausted = False

    def give(self, sock):
        """What the constructor does with a socket."""
        asyncore.dispatcher.__init__(self, sock, self.story.map)

    def details(self):
        """What the state is besides that of all classes."""
        return ""

    def set_attributes(self, attributes):
        for name, value in attributes.items():
            if name in self.ATTRIBUTES:
                setattr(self, name, self.ATTRIBUTES[name](value))

    ATTRIBUTES = dict.fromkeys(
        "wants_read wants_write chunk exhausted connected accepting connecting".split(), lambda x: x
    )

    def told(self, method, detail=""):
        """Tells of a call and reacts to it. Whether the method of the class is to be called."""
        tell("  %s.%s%s" % (self.name, method, detail))
        nth = self.calls[method] = self.calls.get(method, 0) + 1
        reaction = self.reactions.get((method, nth))
        if reaction is None:
            return True
        for action in reaction.get("actions", ()):
            self.story.react(self, action)
        then = reaction.get("then", "super")
        if isinstance(then, dict):
            raise error_named(then["raise"])
        return then == "super"

    def returned(self, method, show, *args):
        """Calls the method of the class, and tells what becomes of it."""
        try:
            value = getattr(self.BASE, method)(self, *args)
        except EnvironmentError as error:
            tell("    raises " + name_of(error))
            raise
        tell("    returns " + show(value))
        return value

    def readable(self):
        if self.told("readable"):
            return self.BASE.readable(self) if self.wants_read is None else self.wants_read

    def writable(self):
        if self.told("writable"):
            return self.BASE.writable(self) if self.wants_write is None else self.wants_write

    def handle_read(self):
        if self.told("handle_read"):
            if self.chunk is None:
                self.BASE.handle_read(self)
            else:
                self.recv(self.chunk)

    def handle_error(self):
        if self.told("handle_error", " " + name_of(sys.exc_info()[1])):
            self.BASE.handle_error(self)

    def log_info(self, message, type="info"):
        self.told("log_info", " " + type)

    def recv(self, size):
        if self.told("recv", " %d" % size):
            return self.returned("recv", show, size)
        return b""

    def send(self, data):
        if self.told("send", " " + show(data)):
            # That of dispatcher_with_send takes all, and returns nothing.
            return self.returned("send", lambda sent: str(len(data) if sent is None else sent), data)
        return 0

    def accept(self):
        if self.told("accept"):
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            if self.exhausted:
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
            try:
                pair = self.returned("accept", lambda pair: "None" if pair is None else "a connection")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            if pair is not None:
                self.story.accepted(*pair)
            return pair

    def add_channel(self, *args):
        if self.told("add_channel"):
            if self._fileno is None:
                tell("    does not apply")
            else:
                self.BASE.add_channel(self, *args)

    def connect(self, address):
        if self.told("connect"):
            try:
                self.BASE.connect(self, address)
            finally:
                if tcp_state(self.socket) == SYN_SENT:
                    wait_for(self.socket, select.POLLOUT | WAS_RESET)


def tcp_state(sock):
    """None if it is no TCP socket, or closed."""
    if isinstance(sock, socket.socket):
        try:
            return tcp_info(sock)[0]
        except EnvironmentError:
            pass


def plainly(*methods):
    """Puts methods into a class that are told of and nothing more."""

    def decorate(cls):
        for method in methods:
            setattr(cls, method, plain(method))
        return cls

    return decorate


def plain(method):
    def call(self, *args):
        if self.told(method):
            return getattr(self.BASE, method)(self, *args)

    call.__name__ = method
    return call


def opening(method):
    """That no other socket is opened meanwhile is seen to in `applies`."""
    plainly_called = plain(method)

    def call(self, *args):
        before, self.opens = self.opens, True
        try:
            return plainly_called(self, *args)
        finally:
            self.opens = before

    return call


OF_DISPATCHER = (
    "close del_channel handle_read_event handle_write_event handle_expt_event handle_connect_event "
    "handle_close handle_write handle_expt handle_accept"
).split()
plainly("bind", "listen", "handle_connect", "handle_accepted", *OF_DISPATCHER)(Tracing)
Tracing.create_socket = opening("create_socket")
Tracing.set_socket = opening("set_socket")


class Dispatcher(Tracing, asyncore.dispatcher):
    BASE = asyncore.dispatcher

    def __init__(self, story, name):
        self.start(story, name)
        asyncore.dispatcher.__init__(self, None, story.map)


@plainly("initiate_send")
class DispatcherWithSend(Tracing, asyncore.dispatcher_with_send):
    BASE = asyncore.dispatcher_with_send
    ATTRIBUTES = dict(Tracing.ATTRIBUTES, out_buffer=bytes_of)

    def __init__(self, story, name):
        self.start(story, name)
        asyncore.dispatcher_with_send.__init__(self, None, story.map)

    def details(self):
        return ", to send " + show(self.out_buffer)


class FileDispatcher(Tracing, asyncore.file_dispatcher):
    BASE = asyncore.file_dispatcher

    def __init__(self, story, name):
        self.start(story, name)
        asyncore.dispatcher.__init__(self, None, story.map)

    def give(self, end):
        try:
            asyncore.file_dispatcher.__init__(self, end.fileno(), self.story.map)
        finally:
            end.close()


@plainly("close_when_done", "initiate_send", "discard_buffers", "get_terminator", "push_with_producer")
class AsyncChat(Tracing, asynchat.async_chat):
    BASE = asynchat.async_chat
    ATTRIBUTES = dict(
        Tracing.ATTRIBUTES,
        ac_in_buffer_size=int,
        ac_out_buffer_size=int,
        terminator=terminator_of,
        ac_in_buffer=bytes_of,
    )

    def __init__(self, story, name):
        self.start(story, name)
        self.chunk = None
        self.ac_in_buffer_size = self.ac_out_buffer_size = 4096
        self.terminator = None
        asynchat.async_chat.__init__(self, None, story.map)

    def push(self, data):
        if self.told("push", " " + show(data)):
            self.BASE.push(self, data)

    def collect_incoming_data(self, data):
        if self.told("collect_incoming_data", " " + show(data)):
            self._collect_incoming_data(data)

    def found_terminator(self):
        self.told("found_terminator")

    def details(self):
        terminator = self.terminator
        return ", %d queued, received %s, incoming %s, terminator %s" % (
            len(self.producer_fifo),
            show(self.ac_in_buffer),
            show(b"".join(self.incoming)),
            show(terminator) if isinstance(terminator, bytes) else terminator,
        )


CLASSES = {
    "dispatcher": Dispatcher,
    "dispatcher_with_send": DispatcherWithSend,
    "file_dispatcher": FileDispatcher,
    "async_chat": AsyncChat,
}


class Producer(object):
    """Hands out pieces, and tells of it."""

    def __init__(self, channel, pieces, falsy):
        self.channel = channel
        self.pieces = pieces
        self.falsy = falsy

    def __bool__(self):
        return not self.falsy

    __nonzero__ = __bool__

    def more(self):
        if self.channel.told("more") and self.pieces:
            return self.pieces.pop(0)
        return b""


def counted_send(self, data):
    """The one place from which asyncore sends. A peer waits for what its channel has sent."""
    peer = self.story.peer_at(self.socket)
    sent = plain_send(self, data)
    if peer is not None and sent:
        peer.given += sent
        if peer.tcp and peer.far is not None and not peer.is_open():
            peer.wait_for_near(WAS_RESET)
    return sent


plain_send = asyncore.dispatcher.__dict__["send"]
asyncore.dispatcher.send = counted_send


# The actions.


def do_log_info(story, channel, action):
    channel.log_info("a message", "info")


def do_accept(story, channel, action):
    pair = channel.accept()
    if pair is not None:
        pair[0].close()


def do_handle_error(story, channel, action):
    try:
        raise Raised()
    except Raised:
        channel.handle_error()


def do_push_with_producer(story, channel, action):
    pieces = [bytes_of(piece) for piece in action["pieces"]]
    channel.push_with_producer(Producer(channel, pieces, action.get("falsy", False)))


def do_push_simple_producer(story, channel, action):
    channel.push_with_producer(asynchat.simple_producer(bytes_of(action["data"]), action["size"]))


def do_fifo_pop(story, channel, action):
    if channel.producer_fifo:
        channel.producer_fifo.popleft()


def do_readwrite(story, channel, action):
    flags = 0
    for flag in action["flags"]:
        flags |= getattr(select, "POLL" + flag)
    asyncore.readwrite(channel, flags)


def named(method):
    return lambda story, channel, action: getattr(channel, method)()


ACTIONS = {}
for method in OF_DISPATCHER + ["add_channel", "readable", "writable", "handle_read"]:
    ACTIONS[method] = named(method)
ACTIONS.update(
    send=lambda story, channel, action: channel.send(bytes_of(action["data"])),
    recv=lambda story, channel, action: channel.recv(action["size"]),
    log_info=do_log_info,
    accept=do_accept,
    handle_error=do_handle_error,
    create_socket=lambda story, channel, action: channel.create_socket(socket.AF_INET, socket.SOCK_STREAM),
    connect=lambda story, channel, action: channel.connect(SERVER.getsockname()),
    set=lambda story, channel, action: channel.set_attributes(action["attributes"]),
    readwrite=do_readwrite,
    close_all=lambda story, channel, action: asyncore.close_all(story.map),
    map_clear=lambda story, channel, action: story.map.clear(),
)
ACTIONS["pass"] = lambda story, channel, action: story.one_pass()

WITH_SEND_ACTIONS = dict(ACTIONS, initiate_send=named("initiate_send"))

CHAT_ACTIONS = dict(WITH_SEND_ACTIONS)
for method in "close_when_done", "discard_buffers", "get_terminator":
    CHAT_ACTIONS[method] = named(method)
CHAT_ACTIONS.update(
    push=lambda story, channel, action: channel.push(bytes_of(action["data"])),
    set_terminator=lambda story, channel, action: channel.set_terminator(terminator_of(action["terminator"])),
    push_with_producer=do_push_with_producer,
    push_data_producer=lambda story, channel, action: channel.push_with_producer(bytes_of(action["data"])),
    push_simple_producer=do_push_simple_producer,
    fifo_append=lambda story, channel, action: channel.producer_fifo.append(bytes_of(action["data"])),
    fifo_clear=lambda story, channel, action: channel.producer_fifo.clear(),
    fifo_pop=do_fifo_pop,
)

Dispatcher.ACTIONS = FileDispatcher.ACTIONS = ACTIONS
DispatcherWithSend.ACTIONS = WITH_SEND_ACTIONS
AsyncChat.ACTIONS = CHAT_ACTIONS


# The scenarios.


class Story(object):
    """One scenario."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.map = asyncore.socket_map = new_map()
        self.channels = {}
        self.in_order = []
        self.peers = {}
        self.earlier = []  # peers of listeners that are not the latest
        self.addresses = {}  # where listeners listen
        self.listening = []
        self.state = None
        self.one_pass = {
            "select": lambda: asyncore.poll(0.0, self.map),
            "poll": lambda: asyncore.poll2(0.0, self.map),
        }[scenario["semantics"]]

    def run(self):
        try:
            tell("setup")
            for spec in self.scenario.get("channels", ()):
                self.make(spec)
            self.tell_state()
            for number, step in enumerate(self.scenario.get("steps", ()), 1):
                self.step("step %d: " % number, step)
        except TooLong:
            LINES.append("too long")

    def step(self, heading, step):
        if "peer" in step:
            tell("%speer %s %s" % (heading, step["peer"], step["do"]))
            self.peer_does(step["peer"], step)
            self.tell_state()
        elif "call" in step:
            tell("%scall %s %s" % (heading, step["call"], step["do"]))
            self.act(step["call"], step, None, "  ")
            self.tell_state()
        else:
            for _ in range(step["pass"]):
                tell(heading + "pass")
                try:
                    self.one_pass()
                except Exception as error:
                    tell("  the loop ends: " + name_of(error))
                self.tell_state()

    def react(self, channel, action):
        name = action.get("on", channel.name)
        self.act(name, action, "    calls %s on %s" % (action["do"], name), "      ")

    def act(self, name, action, line, indent):
        channel = self.channels.get(name)
        do = channel and channel.ACTIONS.get(action["do"])
        if do is None or not self.applies(channel, action["do"]):
            tell("    does not apply")
            return
        if line is not None:
            tell(line)
        try:
            do(self, channel, action)
        except Exception as error:
            tell("%sraises %s" % (indent, name_of(error)))

    def applies(self, channel, action):
        """Not what is known to differ: see the page of differences, and scenarios/README.md."""
        if action == "add_channel":
            return channel._fileno is not None
        if action == "create_socket":
            return channel._fileno is None and not channel.opens
        if action == "connect":
            if "family_and_type" in channel.__dict__:
                return channel.family_and_type[0] == socket.AF_INET
            return channel.kind not in ("unix", "pipe_read", "pipe_write", "file")
        return True

    def tell_state(self):
        there = list(self.map.values())
        lines = []
        for channel in self.in_order:
            words = [word for word in ("connected", "accepting", "connecting") if getattr(channel, word)]
            words.append("in the map" if any(other is channel for other in there) else "not in the map")
            lines.append("  %s: %s%s" % (channel.name, ", ".join(words), channel.details()))
        lines.append("  map:" + "".join([" " + channel.name for channel in there]))
        same = lines == self.state
        self.state = lines
        for line in ["  as before"] if same else lines:
            tell(line)

    # Making channels.

    def make(self, spec):
        name = spec["name"]
        channel = CLASSES[spec["class"]](self, name)
        for reaction in self.scenario.get("reactions", ()):
            if reaction["channel"] == name:
                channel.reactions.setdefault((reaction["method"], reaction.get("nth", 1)), reaction)
        channel.set_attributes(spec.get("set", {}))
        self.channels[name] = channel
        self.in_order.append(channel)
        try:
            channel.kind = spec["socket"]
            getattr(self, "make_" + channel.kind)(channel)
        except Exception as error:
            tell("  raises " + name_of(error))

    def make_none(self, channel):
        pass

    def give(self, channel, near, far, tcp=False):
        peer = self.peers[channel.name] = Peer(far, tcp)
        if not isinstance(near, PipeEnd):
            # The constructor does so, too, unless a reaction makes it fail before.
            near.setblocking(0)
        if not isinstance(channel, FileDispatcher):
            peer.near = weakref.ref(near)
        try:
            channel.give(near)
        finally:
            if isinstance(channel, FileDispatcher) and channel.socket is not None:
                peer.near = weakref.ref(channel.socket)

    def make_unix(self, channel):
        self.give(channel, *map(whole, socket.socketpair()))

    def make_tcp(self, channel):
        near = socket.socket()
        near.connect(PAIRS.getsockname())
        no_delay(near)
        wait_for(PAIRS, select.POLLIN)
        self.give(channel, near, PAIRS.accept()[0], tcp=True)

    def make_pipe_read(self, channel):
        near, far = os.pipe()
        self.give(channel, PipeEnd(near), PipeEnd(far))

    def make_pipe_write(self, channel):
        far, near = os.pipe()
        self.give(channel, PipeEnd(near), PipeEnd(far))

    def make_file(self, channel):
        near, path = tempfile.mkstemp()
        # One of its own, with a place of its own.
        far = os.open(path, os.O_RDWR | os.O_APPEND)
        os.unlink(path)
        self.give(channel, PipeEnd(near), PipeEnd(far))

    def make_listener(self, channel):
        try:
            channel.create_socket(socket.AF_INET, socket.SOCK_STREAM)
            channel.bind(("127.0.0.1", 0))
            channel.listen(5)
        finally:
            if channel.socket is not None and fileno_of(channel.socket) >= 0:
                self.addresses[channel.name] = channel.socket.getsockname()

    def make_connecting(self, channel):
        server = listening()
        self.connect_to_peer(channel, server, socket.AF_INET, tcp=True)
        if tcp_state(channel.socket) == ESTABLISHED:
            wait_for(server, select.POLLIN)

    def make_connecting_unix(self, channel):
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "socket")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(128)
        server.setblocking(0)
        try:
            self.connect_to_peer(channel, server, socket.AF_UNIX, tcp=False)
        finally:
            os.unlink(path)
            os.rmdir(folder)

    def connect_to_peer(self, channel, server, family, tcp):
        self.listening.append(server)
        peer = self.peers[channel.name] = LatePeer(server, tcp)
        channel.create_socket(family, socket.SOCK_STREAM)
        if channel.socket is not None:
            peer.near = weakref.ref(channel.socket)
        if channel.__dict__.get("family_and_type", (family,))[0] != family:
            # A reaction has put one of its own there.
            tell("    does not apply")
        else:
            channel.connect(server.getsockname())

    def make_refused(self, channel):
        channel.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        channel.connect(NOBODY.getsockname())

    # What peers do.

    def peer_at(self, near):
        """The peer of a channel's socket."""
        if near is not None:
            for peer in self.peers.values():
                if peer.near() is near:
                    return peer

    def peer_does(self, name, step):
        try:
            if step["do"] == "connect":
                if name in self.addresses:
                    self.connect(name)
                return
            peer = self.peers.get(name)
            if peer is None or not peer.is_open():
                tell("  is closed")
                return
            peer.settle()
            getattr(peer, "do_" + step["do"])(step)
        except EnvironmentError as error:
            tell("  fails with " + name_of(error))

    def connect(self, name):
        """Connects to a listener, and waits until it could accept."""
        listener = self.channels[name].socket
        listens = tcp_state(listener) == LISTEN
        if listens:
            _, waiting, most, _ = tcp_info(listener)
            if waiting > most:
                raise socket.error(errno.EAGAIN, "the kernel would keep it waiting")
        far = socket.socket()
        try:
            far.connect(self.addresses[name])
        except EnvironmentError:
            far.close()
            raise
        if name in self.peers:
            self.earlier.append(self.peers[name])
        peer = self.peers[name] = Peer(far, tcp=True)
        if listens:
            wait_until(lambda: tcp_info(listener)[1] > waiting)
            peer.listener = weakref.ref(listener)
            peer.address = far.getsockname()

    def accepted(self, near, address):
        for peer in list(self.peers.values()) + self.earlier:
            if peer.listener is not None and peer.address == address:
                peer.listener = None
                peer.near = weakref.ref(near)
                if not peer.is_open():
                    forget_connection(near)

    # The end.

    def close(self):
        """Closes everything, without calling the channels."""
        for peer in list(self.peers.values()) + self.earlier:
            if peer.far is not None:
                close_with_reset(peer.far)
        for channel in self.in_order:
            if channel.socket is not None:
                close_with_reset(channel.socket)
            if hasattr(channel, "producer_fifo"):
                channel.producer_fifo.clear()
        for server in self.listening:
            server.close()
        while True:
            try:
                close_with_reset(SERVER.accept()[0])
            except EnvironmentError:
                break
        self.map.clear()
        self.channels.clear()
        del self.in_order[:]


def descriptors():
    return os.listdir("/proc/self/fd")


def trace_of(scenario):
    """The lines of a scenario. Leaves nothing behind."""
    del LINES[:]
    story = Story(scenario)
    story.run()
    story.close()
    del story
    if len(descriptors()) != len(AT_FIRST):
        # Something that is part of a cycle, or a file_wrapper of 2.7, which does not close itself.
        gc.collect()
        for fd in set(descriptors()) - set(AT_FIRST):
            try:
                os.close(int(fd))
            except EnvironmentError:
                pass
    return LINES


def write(lines):
    out = getattr(sys.stdout, "buffer", sys.stdout)
    out.write(("\n".join(lines) + "\n").encode("utf-8"))
    out.flush()


def main(files):
    for file in files:
        with open(file, "rb") as opened:
            scenarios = json.loads(opened.read().decode("utf-8"))
        for scenario in scenarios if isinstance(scenarios, list) else [scenarios]:
            write(["# " + scenario["name"]] + trace_of(scenario))
    if not files:
        lines = iter(getattr(sys.stdin, "buffer", sys.stdin).readline, b"")
        for number, line in enumerate(lines, 1):
            write(trace_of(json.loads(line.decode("utf-8"))) + ["---"])
            if number % 200 == 0:
                gc.collect()


if __name__ == "__main__":
    # When what is part of a cycle goes away is to be the same in each run.
    gc.collect()
    gc.disable()
    if hasattr(gc, "freeze"):
        gc.freeze()
    sys.setrecursionlimit(10000)
    AT_FIRST = descriptors()
    main(sys.argv[1:])
