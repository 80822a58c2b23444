"""Chat channels that do what a line of text says, and tell what is called on them: CPython's side.

Reads cases from standard input, one a line, and answers each with its trace, in one line, at once. The Rust
side, and what makes the cases up, is ../tests/suite/chat_properties.rs; both write the same lines. A few
hundred cases are recorded with their traces in ../recorded/chat_cases.txt, a trace after each case. This
prints the traces of that file once more:

    grep -v '^[#=]' recorded/chat_cases.txt | python3.11 -B -W ignore probes/chat_cases.py

A case consists of words, each of which is a step. A word `@collect.2` begins what the channel does when
collect_incoming_data is called for the second time, instead of more steps:

    term:=ab recv:xxabc read recv:ba read @found.1 term:2 push:hello

The steps are the methods `do_...` below. Bytes are lower-case letters. What a scripted `recv`, `send` or `more`
fails with is `!os`, `!block`, `!plain` or `!exit` in the place of a result.

A trace consists of a `>` for each step, the callbacks as they are called, and, where it has changed, the
state in brackets: connected or not, the terminator, ac_in_buffer, incoming, and the queue.
"""
import sys
import warnings
from collections import deque

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import asynchat
    import asyncore

ERRORS = {
    "os": OSError,
    "block": BlockingIOError,
    "plain": Exception,
    "exit": asyncore.ExitNow,
}


def result(word):
    """What a scripted call returns, unless it raises."""
    if word.startswith("!"):
        raise ERRORS[word[1:]]("on purpose")
    return word


class Producer:
    """Hands out pieces, after it has told the channel."""

    def __init__(self, chat, pieces):
        self.chat = chat
        self.pieces = deque(pieces)

    def more(self):
        self.chat.told("more")
        return result(self.pieces.popleft()).encode() if self.pieces else b""


class ProducerWithLength(Producer):
    """False when nothing is left."""

    def __len__(self):
        return len(self.pieces)


class FalseProducer(Producer):
    def __bool__(self):
        return False


PRODUCERS = {"true": Producer, "len": ProducerWithLength, "false": FalseProducer}


class Chat(asynchat.async_chat):
    ac_in_buffer_size = 4096
    ac_out_buffer_size = 4096
    terminator = None

    def __init__(self, case):
        super().__init__(map={})
        self.trace = []
        self.state = ""
        self.steps = []
        self.reactions = {}
        self.calls = {}
        self.received = deque()
        self.accepted = deque()
        words = self.steps
        for word in case.split():
            if word.startswith("@"):
                words = self.reactions.setdefault(word[1:], [])
            else:
                words.append(word)

    # What is told.

    def play(self):
        for step in self.steps:
            self.trace.append("> " + step)
            try:
                self.do(step)
            except Exception as error:
                self.trace.append("raises " + type(error).__name__)
            self.tell_state()
        return " | ".join(self.trace)

    def told(self, method, detail=""):
        """Tells of a call, and does what the case says to it."""
        self.trace.append(method + detail)
        self.tell_state()
        self.calls[method] = self.calls.get(method, 0) + 1
        for step in self.reactions.get("%s.%d" % (method, self.calls[method]), ()):
            self.do(step)

    def tell_state(self):
        state = "[%s %s '%s' '%s' %s]" % (
            "on" if self.connected else "off",
            self.show_terminator(),
            self.ac_in_buffer.decode(),
            b"".join(self.incoming).decode(),
            ",".join(map(self.show_entry, self.producer_fifo)),
        )
        if state != self.state:
            self.trace.append(state)
            self.state = state

    def show_terminator(self):
        if isinstance(self.terminator, bytes):
            return "=" + self.terminator.decode()
        return str(self.terminator).lower()

    def show_entry(self, entry):
        if isinstance(entry, bytes):
            return "'%s'" % entry.decode()
        return "None" if entry is None else "P"

    # What is called.

    def recv(self, size):
        self.told("recv", " %d" % size)
        return result(self.received.popleft() if self.received else "").encode()

    def send(self, data):
        self.told("send", " '%s'" % data.decode())
        accepted = result(self.accepted.popleft() if self.accepted else "99")
        # More than there was is what a careless method may return.
        return len(data) + int(accepted) if accepted.startswith("+") else min(int(accepted), len(data))

    def collect_incoming_data(self, data):
        self.told("collect", " " + data.decode())
        self._collect_incoming_data(data)

    def found_terminator(self):
        self._get_data()
        self.told("found")

    def get_terminator(self):
        self.told("get_terminator")
        return super().get_terminator()

    def initiate_send(self):
        self.told("initiate_send")
        super().initiate_send()

    def handle_close(self):
        self.told("handle_close")
        super().handle_close()

    def handle_error(self):
        self.told("handle_error", " " + type(sys.exc_info()[1]).__name__)

    # The steps.

    def do(self, step):
        name, _, argument = step.partition(":")
        getattr(self, "do_" + name)(argument)

    def do_in(self, size):
        self.ac_in_buffer_size = int(size)

    def do_out(self, size):
        self.ac_out_buffer_size = int(size)

    def do_term(self, term):
        if term == "none":
            self.set_terminator(None)
        elif term.startswith("="):
            self.set_terminator(term[1:].encode())
        else:
            self.set_terminator(int(term))

    def do_buffer(self, data):
        self.ac_in_buffer = data.encode()

    def do_discard(self, _):
        self.discard_buffers()

    def do_take(self, _):
        self.trace.append("took " + self._get_data().decode())

    def do_recv(self, data):
        """What recv will receive."""
        self.received.append(data)

    def do_read(self, _):
        self.handle_read()

    def do_sent(self, count):
        """How many bytes send will accept."""
        self.accepted.append(count)

    def do_write(self, _):
        self.handle_write()

    def do_flush(self, _):
        self.initiate_send()

    def do_push(self, data):
        self.push(data.encode())

    def do_entry(self, data):
        self.push_with_producer(data.encode())

    def do_simple(self, argument):
        size, data = argument.split(":")
        self.push_with_producer(asynchat.simple_producer(data.encode(), int(size)))

    def do_producer(self, argument):
        kind, pieces = argument.split(":")
        self.push_with_producer(PRODUCERS[kind](self, pieces.split(",")))

    def do_done(self, _):
        self.close_when_done()

    def do_pop(self, _):
        del self.producer_fifo[0]

    def do_connect(self, _):
        self.connected = True

    def do_disconnect(self, _):
        self.connected = False

    def do_raise(self, error):
        result("!" + error)


if __name__ == "__main__":
    for line in sys.stdin:
        print(Chat(line).play(), flush=True)
