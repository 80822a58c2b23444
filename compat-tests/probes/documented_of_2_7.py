"""Takes out of Python 2.7 what the pages of differences say of it, so that whatever else differs shows.

One function for each row of their tables "Earlier versions of Python" that a scenario meets.
"""
import asyncore
import collections
import functools
import select
import socket


def the_order_of_insertion():
    """a map, and what poll(2) reports, in no order that can be told"""
    return collections.OrderedDict()


class PollInOrder(object):
    """a map, and what poll(2) reports, in no order that can be told"""

    def __init__(self):
        self.pollster = select.poll()
        self.order = []

    def register(self, fd, flags):
        self.pollster.register(fd, flags)
        self.order.append(fd)

    def poll(self, timeout):
        return sorted(self.pollster.poll(timeout), key=lambda found: self.order.index(found[0]))


class Select(object):
    # The module `select`, as asyncore sees it.

    poll = PollInOrder

    def __getattr__(self, name):
        return getattr(select, name)


def accepts(self):
    """`handle_accept` only warns; programs override it and call `self.accept()`"""
    pair = self.accept()
    if pair is not None:
        self.handle_accepted(*pair)


def handle_accepted(self, sock, addr):
    sock.close()
    self.log_info("unhandled accepted event", "warning")


def sends_65536_bytes(self):
    """`dispatcher_with_send` sends 512 bytes at once"""
    sent = asyncore.dispatcher.send(self, self.out_buffer[:65536])
    self.out_buffer = self.out_buffer[sent:]


def closes_without_a_socket(close):
    """`close()` without a socket fails"""

    def close_if_there(self):
        if self.socket is not None:
            return close(self)
        self.connected = self.accepting = self.connecting = False
        self.del_channel()

    return close_if_there


def fails_as_a_socket_does(method):
    """errors of a `file_dispatcher`'s descriptor are no `socket.error`"""

    @functools.wraps(method)
    def with_its_error(self, *args):
        try:
            return method(self, *args)
        except OSError as error:
            raise socket.error(*error.args)

    return with_its_error


def closes_its_descriptor(self):
    """a `file_wrapper` that nobody has any more stays open"""
    self.close()


def take_out():
    asyncore.select = Select()
    dispatcher = asyncore.dispatcher
    dispatcher.handle_accept = accepts
    dispatcher.handle_accepted = handle_accepted
    dispatcher.close = closes_without_a_socket(dispatcher.__dict__["close"])
    asyncore.dispatcher_with_send.initiate_send = sends_65536_bytes
    wrapper = asyncore.file_wrapper
    wrapper.__del__ = closes_its_descriptor
    # Two names each, of which asyncore uses one and the scenarios' runner the other.
    wrapper.recv = wrapper.read = fails_as_a_socket_does(wrapper.__dict__["recv"])
    wrapper.send = wrapper.write = fails_as_a_socket_does(wrapper.__dict__["send"])
