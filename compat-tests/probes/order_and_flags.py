"""What CPython's loop calls, and in which order, for what can happen to a descriptor.

Prints a section per situation and semantics. Recorded in ../recorded/order_and_flags.txt.
"""
import os
import select
import socket
import sys
import tempfile

from traced import *

SITUATIONS = []


def situation(function):
    SITUATIONS.append(function)
    return function


@situation
def data_then_fin(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, chunk=3)
    far.sendall(b"hello")
    far.close()
    settle(near, select.POLLIN | select.POLLRDHUP)
    passes(semantics, 4, [a])


@situation
def data_then_fin_while_writable(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    far.sendall(b"hello")
    far.close()
    settle(near, select.POLLIN | select.POLLRDHUP)
    passes(semantics, 3, [a])


@situation
def data_then_hangup(semantics):
    near, far = socket.socketpair()
    a = Dispatcher("a", near, chunk=3)
    far.sendall(b"hello")
    far.close()
    settle(near, select.POLLIN | select.POLLHUP)
    passes(semantics, 4, [a])


@situation
def hangup_of_a_writer(semantics):
    near, far = socket.socketpair()
    a = Dispatcher("a", near, wants_read=False, wants_write=True)
    far.close()
    settle(near, select.POLLHUP)
    passes(semantics, 2, [a])


@situation
def hangup_watched_for_nothing(semantics):
    near, far = socket.socketpair()
    a = Dispatcher("a", near, wants_read=False)
    far.close()
    settle(near, select.POLLHUP)
    passes(semantics, 2, [a])


@situation
def reset_by_peer(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near)
    reset(far)
    settle(near, select.POLLERR)
    passes(semantics, 2, [a])


@situation
def reset_by_peer_while_writable(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    reset(far)
    settle(near, select.POLLERR)
    passes(semantics, 2, [a])


@situation
def reset_by_peer_of_a_writer(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_read=False, wants_write=True)
    a.react["handle_write"] = lambda a: a.send(b"spam") or True
    reset(far)
    settle(near, select.POLLERR)
    passes(semantics, 2, [a])


@situation
def reset_after_data(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, chunk=3)
    far.sendall(b"hello")
    reset(far)
    settle(near, select.POLLERR)
    passes(semantics, 3, [a])


@situation
def half_close(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    a.react["handle_close"] = lambda a: True
    a.react["handle_write"] = lambda a: a.send(b"still here") or True
    far.shutdown(socket.SHUT_WR)
    settle(near, select.POLLIN | select.POLLRDHUP)
    passes(semantics, 2, [a])
    settle(far, select.POLLIN)
    tell("  the peer receives " + show(far.recv(1024)))


@situation
def out_of_band(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near)
    a.react["handle_expt"] = lambda a: tell("    " + show(a.socket.recv(1, socket.MSG_OOB)))
    far.send(b"!", socket.MSG_OOB)
    settle(near, select.POLLPRI)
    passes(semantics, 2, [a])


@situation
def out_of_band_and_data(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    a.react["handle_expt"] = lambda a: tell("    " + show(a.socket.recv(1, socket.MSG_OOB)))
    far.send(b"abc!", socket.MSG_OOB)
    settle(near, select.POLLPRI | select.POLLIN)
    passes(semantics, 2, [a])


@situation
def out_of_band_of_a_writer(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_read=False, wants_write=True)
    a.react["handle_expt"] = lambda a: tell("    " + show(a.socket.recv(1, socket.MSG_OOB)))
    far.send(b"!", socket.MSG_OOB)
    settle(near, select.POLLPRI)
    passes(semantics, 2, [a])


@situation
def connection_refused(semantics):
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    a = Dispatcher("a", wants_write=True)
    a.create_socket()
    try:
        a.connect(unused.getsockname())
    except OSError as error:
        tell("  connect raises " + name_of(error))
    settle(a.socket, select.POLLERR)
    passes(semantics, 2, [a])


@situation
def connection_refused_to_a_reader(semantics):
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    a = Dispatcher("a")
    a.create_socket()
    try:
        a.connect(unused.getsockname())
    except OSError as error:
        tell("  connect raises " + name_of(error))
    settle(a.socket, select.POLLERR)
    passes(semantics, 2, [a])


@situation
def connect_to_a_backlog(semantics):
    listener = socket.create_server(("127.0.0.1", 0))
    a = Dispatcher("a", wants_write=True)
    a.create_socket()
    a.connect(listener.getsockname())
    settle(a.socket, select.POLLOUT)
    tell(state(a))
    passes(semantics, 2, [a])


@situation
def connect_and_data_at_once(semantics):
    listener = socket.create_server(("127.0.0.1", 0))
    a = Dispatcher("a", wants_write=True)
    a.create_socket()
    a.connect(listener.getsockname())
    far = listener.accept()[0]
    far.sendall(b"welcome")
    settle(a.socket, select.POLLIN)
    passes(semantics, 2, [a])


@situation
def connect_of_a_unix_socket(semantics):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        a = Dispatcher("a", wants_write=True)
        a.create_socket(socket.AF_UNIX)
        a.connect(path)
        tell(state(a))
        passes(semantics, 1, [a])


@situation
def unconnected(semantics):
    a = Dispatcher("a")
    a.create_socket()
    passes(semantics, 2, [a])


@situation
def unconnected_and_writable(semantics):
    a = Dispatcher("a", wants_write=True)
    a.create_socket()
    passes(semantics, 2, [a])


@situation
def listener(semantics):
    a = Dispatcher("a", wants_write=True)
    a.create_socket()
    a.bind(("127.0.0.1", 0))
    a.listen(5)
    passes(semantics, 1, [a])
    near = socket.create_connection(a.socket.getsockname())
    settle(a.socket, select.POLLIN)
    passes(semantics, 2, [a])


@situation
def pipe_with_data_whose_writer_has_gone(semantics):
    reader, writer = os.pipe()
    os.write(writer, b"hello")
    os.close(writer)
    a = FileDispatcher("a", reader, chunk=3)
    os.close(reader)
    settle(a.socket.fileno(), select.POLLIN | select.POLLHUP)
    passes(semantics, 4, [a])


@situation
def pipe_whose_writer_has_gone(semantics):
    reader, writer = os.pipe()
    os.close(writer)
    a = FileDispatcher("a", reader)
    os.close(reader)
    settle(a.socket.fileno(), select.POLLHUP)
    passes(semantics, 2, [a])


@situation
def pipe_whose_reader_has_gone(semantics):
    reader, writer = os.pipe()
    os.close(reader)
    a = FileDispatcher("a", writer, wants_read=False, wants_write=True)
    a.react["handle_write"] = lambda a: a.send(b"spam") or True
    os.close(writer)
    settle(a.socket.fileno(), select.POLLERR)
    passes(semantics, 2, [a])


@situation
def full_pipe_whose_reader_has_gone(semantics):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    os.close(reader)
    settle(writer, select.POLLERR)
    a = FileDispatcher("a", writer, wants_read=False, wants_write=True)
    a.react["handle_write"] = lambda a: a.send(b"spam") or True
    os.close(writer)
    passes(semantics, 2, [a])


@situation
def empty_pipe(semantics):
    reader, writer = os.pipe()
    a = FileDispatcher("a", reader)
    os.close(reader)
    passes(semantics, 1, [a])
    os.close(writer)


@situation
def regular_file(semantics):
    with tempfile.TemporaryFile() as file:
        file.write(b"hello")
        file.seek(0)
        a = FileDispatcher("a", file, chunk=3)
        passes(semantics, 4, [a])


@situation
def regular_file_to_write(semantics):
    with tempfile.TemporaryFile() as file:
        a = FileDispatcher("a", file, wants_read=False, wants_write=True)
        a.react["handle_write"] = lambda a: a.send(b"hello") or True
        passes(semantics, 2, [a])


@situation
def regular_file_watched_for_nothing(semantics):
    with tempfile.TemporaryFile() as file:
        a = FileDispatcher("a", file, wants_read=False)
        passes(semantics, 2, [a])


@situation
def three_channels_in_order(semantics):
    pairs = [tcp_pair() for _ in range(3)]
    # In the map in another order than that of the descriptors.
    channels = [
        Dispatcher(name, pairs[at][0], wants_write=True) for name, at in (("c", 2), ("a", 0), ("b", 1))
    ]
    for near, far in pairs:
        far.sendall(b"x")
    for near, far in pairs:
        settle(near, select.POLLIN | select.POLLOUT)
    passes(semantics, 2, channels)


@situation
def put_in_anew_is_last(semantics):
    pairs = [tcp_pair() for _ in range(2)]
    a, b = [Dispatcher(name, near) for name, (near, far) in zip("ab", pairs)]
    a.del_channel()
    a.set_socket(a.socket)
    for near, far in pairs:
        far.sendall(b"x")
        settle(near, select.POLLIN)
    passes(semantics, 1, [a, b])


@situation
def put_in_again_keeps_its_place(semantics):
    pairs = [tcp_pair() for _ in range(2)]
    a, b = [Dispatcher(name, near) for name, (near, far) in zip("ab", pairs)]
    a.add_channel()
    for near, far in pairs:
        far.sendall(b"x")
        settle(near, select.POLLIN)
    passes(semantics, 1, [a, b])


@situation
def closed_in_its_read_event(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    a.react["handle_read"] = lambda a: a.close() or True
    far.sendall(b"x")
    settle(near, select.POLLIN | select.POLLOUT)
    passes(semantics, 1, [a])


@situation
def closed_by_another(semantics):
    pairs = [tcp_pair() for _ in range(2)]
    a, b = [Dispatcher(name, near) for name, (near, far) in zip("ab", pairs)]
    a.react["handle_read"] = lambda a: b.close()
    for near, far in pairs:
        far.sendall(b"x")
        settle(near, select.POLLIN)
    passes(semantics, 1, [a, b])


@situation
def made_by_another(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    far2.sendall(b"y")
    settle(near2, select.POLLIN)
    a = Dispatcher("a", near)

    def make(a):
        if near2.fileno() not in asyncore.socket_map:
            Dispatcher("b", near2)

    a.react["handle_read"] = make
    far.sendall(b"x")
    settle(near, select.POLLIN)
    passes(semantics, 2, [a])


@situation
def descriptor_taken_over(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near)
    b = Dispatcher("b", near2)
    c = Dispatcher("c")

    def take_over(a):
        fill_holes_below(near2.fileno())
        b.close()
        c.create_socket(socket.AF_INET, socket.SOCK_DGRAM)

    a.react["handle_read"] = take_over
    for sock, peer in ((near, far), (near2, far2)):
        peer.sendall(b"x")
        settle(sock, select.POLLIN)
    passes(semantics, 2, [a, b, c])


@situation
def closed_while_asked(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near)
    b = Dispatcher("b", near2)
    b.react["readable"] = lambda b: a.close()
    far2.sendall(b"x")
    settle(near2, select.POLLIN)
    passes(semantics, 2, [a, b])


@situation
def taken_out_while_asked(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near)
    b = Dispatcher("b", near2)
    a.react["readable"] = lambda a: b.del_channel()
    for sock, peer in ((near, far), (near2, far2)):
        peer.sendall(b"x")
        settle(sock, select.POLLIN)
    passes(semantics, 2, [a, b])


@situation
def raises(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)
    b = Dispatcher("b", near2)

    def fail(a):
        raise Raised()

    a.react["handle_read"] = fail
    for sock, peer in ((near, far), (near2, far2)):
        peer.sendall(b"x")
        settle(sock, select.POLLIN)
    passes(semantics, 2, [a, b])


@situation
def raises_a_lost_connection(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)

    def fail(a):
        raise BrokenPipeError(32, "broken")

    a.react["handle_read"] = fail
    far.sendall(b"x")
    settle(near, select.POLLIN)
    passes(semantics, 1, [a])


@situation
def raises_exit_now(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near, wants_write=True)

    def leave(a):
        raise asyncore.ExitNow()

    a.react["handle_read"] = leave
    far.sendall(b"x")
    settle(near, select.POLLIN)
    passes(semantics, 1, [a])
    a.react.clear()
    passes(semantics, 1, [a])


@situation
def raises_in_handle_error(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near)
    b = Dispatcher("b", near2)

    def fail(a):
        raise Raised()

    a.react["handle_read"] = fail
    a.react["handle_error"] = fail
    for sock, peer in ((near, far), (near2, far2)):
        peer.sendall(b"x")
        settle(sock, select.POLLIN)
    passes(semantics, 1, [a, b])


@situation
def nothing_to_receive(semantics):
    near, far = tcp_pair()
    a = Dispatcher("a", near)
    a.react["handle_read"] = lambda a: a.recv(8) and a.recv(8)
    far.sendall(b"x")
    settle(near, select.POLLIN)
    passes(semantics, 1, [a])


@situation
def with_send_flushes_when_connected(semantics):
    listener = socket.create_server(("127.0.0.1", 0))
    a = DispatcherWithSend("a", wants_write=None)
    a.create_socket()
    a.connect(listener.getsockname())
    a.out_buffer = b"hello"
    far = listener.accept()[0]
    settle(a.socket, select.POLLOUT)
    passes(semantics, 2, [a])
    settle(far, select.POLLIN)
    tell("  the peer receives " + show(far.recv(1024)))


@situation
def with_send_to_a_lost_peer(semantics):
    near, far = socket.socketpair()
    a = DispatcherWithSend("a", near, wants_write=None)
    far.close()
    settle(near, select.POLLHUP)
    a.send(b"hello")
    tell("  %d bytes buffered" % len(a.out_buffer))
    passes(semantics, 1, [a])


@situation
def a_loop_within_a_handler(semantics):
    near, far = tcp_pair()
    near2, far2 = tcp_pair()
    a = Dispatcher("a", near)
    b = Dispatcher("b", near2)

    def nested(a):
        a.react.clear()
        tell("   within")
        {"select": asyncore.poll, "poll": asyncore.poll2}[semantics](0.0)
        tell("   done")
        return True

    a.react["handle_read"] = nested
    for sock, peer in ((near, far), (near2, far2)):
        peer.sendall(b"x")
        settle(sock, select.POLLIN)
    passes(semantics, 2, [a, b])


if __name__ == "__main__":
    for function in SITUATIONS:
        for semantics in "select", "poll":
            LINES.append("[%s %s]" % (function.__name__, semantics))
            function(semantics)
            forget_all()
    sys.stdout.write("\n".join(LINES) + "\n")
