//! What the loop calls, and in which order, for what can happen to a descriptor.
//!
//! `probes/order_and_flags.py` is the same in Python; `recorded/order_and_flags.txt` is what CPython 3.11
//! said.

use std::cell::RefCell;
use std::io::{Read, Seek, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use asyncore::socket2::{Domain, Type};
use asyncore::{
    Dispatcher, DispatcherBase, DispatcherWithSendBase, ExitNow, FileDispatcher,
    FileDispatcherBase, Result, Socket,
};

use crate::situation::{
    PollFlags, Semantics, Told, fill_holes_below, passes, reset, send_all, settle, settle_channel,
    tcp_pair,
};
use crate::traced::{Raised, Traced, name_of, show, take_lines, tell, tell_state};

type Channel = Rc<Traced<DispatcherBase>>;

/// Makes something happen, and passes.
type Situation = fn(Semantics) -> Result;

/// Every situation with its name, in the order of the record.
const SITUATIONS: &[(&str, Situation)] = &[
    ("data_then_fin", data_then_fin),
    ("data_then_fin_while_writable", data_then_fin_while_writable),
    ("data_then_hangup", data_then_hangup),
    ("hangup_of_a_writer", hangup_of_a_writer),
    ("hangup_watched_for_nothing", hangup_watched_for_nothing),
    ("reset_by_peer", reset_by_peer),
    ("reset_by_peer_while_writable", reset_by_peer_while_writable),
    ("reset_by_peer_of_a_writer", reset_by_peer_of_a_writer),
    ("reset_after_data", reset_after_data),
    ("half_close", half_close),
    ("out_of_band", out_of_band),
    ("out_of_band_and_data", out_of_band_and_data),
    ("out_of_band_of_a_writer", out_of_band_of_a_writer),
    ("connection_refused", connection_refused),
    (
        "connection_refused_to_a_reader",
        connection_refused_to_a_reader,
    ),
    ("connect_to_a_backlog", connect_to_a_backlog),
    ("connect_and_data_at_once", connect_and_data_at_once),
    ("connect_of_a_unix_socket", connect_of_a_unix_socket),
    ("unconnected", unconnected),
    ("unconnected_and_writable", unconnected_and_writable),
    ("listener", listener),
    (
        "pipe_with_data_whose_writer_has_gone",
        pipe_with_data_whose_writer_has_gone,
    ),
    ("pipe_whose_writer_has_gone", pipe_whose_writer_has_gone),
    ("pipe_whose_reader_has_gone", pipe_whose_reader_has_gone),
    (
        "full_pipe_whose_reader_has_gone",
        full_pipe_whose_reader_has_gone,
    ),
    ("empty_pipe", empty_pipe),
    ("regular_file", regular_file),
    ("regular_file_to_write", regular_file_to_write),
    (
        "regular_file_watched_for_nothing",
        regular_file_watched_for_nothing,
    ),
    ("three_channels_in_order", three_channels_in_order),
    ("put_in_anew_is_last", put_in_anew_is_last),
    ("put_in_again_keeps_its_place", put_in_again_keeps_its_place),
    ("closed_in_its_read_event", closed_in_its_read_event),
    ("closed_by_another", closed_by_another),
    ("made_by_another", made_by_another),
    ("descriptor_taken_over", descriptor_taken_over),
    ("closed_while_asked", closed_while_asked),
    ("taken_out_while_asked", taken_out_while_asked),
    ("raises", raises),
    ("raises_a_lost_connection", raises_a_lost_connection),
    ("raises_exit_now", raises_exit_now),
    ("raises_in_handle_error", raises_in_handle_error),
    ("nothing_to_receive", nothing_to_receive),
    (
        "with_send_flushes_when_connected",
        with_send_flushes_when_connected,
    ),
    ("with_send_to_a_lost_peer", with_send_to_a_lost_peer),
    ("a_loop_within_a_handler", a_loop_within_a_handler),
];

/// Runs every situation with both semantics, on the default map.
///
/// # Errors
///
/// What making a situation failed with; what happens in it is in the trace.
pub fn trace() -> Result<String> {
    take_lines();
    for (name, situation) in SITUATIONS {
        for semantics in Semantics::BOTH {
            tell(format!("[{name} {semantics}]"));
            situation(semantics)?;
            forget_all()?;
        }
    }
    Ok(take_lines().join("\n") + "\n")
}

/// Closes what a situation has left, without a trace.
fn forget_all() -> Result {
    let lines = take_lines();
    for channel in asyncore::socket_map().values() {
        if let Some(channel) = channel.downcast_ref::<Traced<DispatcherBase>>() {
            channel.stop_reacting();
        }
    }
    asyncore::close_all(None, true)?;
    take_lines();
    lines.into_iter().for_each(tell);
    Ok(())
}

fn channel(name: &'static str, socket: impl Into<Socket>) -> Result<Channel> {
    let channel = Traced::<DispatcherBase>::create(name);
    channel.init_socket(socket)?;
    Ok(channel)
}

fn file_channel(
    name: &'static str,
    file: impl std::os::fd::AsFd,
) -> Result<Rc<Traced<FileDispatcherBase>>> {
    let channel = Traced::<FileDispatcherBase>::create(name);
    channel.init_file(file)?;
    Ok(channel)
}

fn tcp_channel(name: &'static str) -> Result<Channel> {
    let channel = Traced::<DispatcherBase>::create(name);
    channel.create_socket(Domain::IPV4, Type::STREAM)?;
    Ok(channel)
}

impl<B> Traced<B> {
    fn wants(&self, read: bool, write: bool) {
        self.wants_read.set(Some(read));
        self.wants_write.set(Some(write));
    }
}

const END_OF_INPUT: PollFlags = PollFlags::IN.union(PollFlags::RDHUP);

fn data_then_fin(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.chunk.set(Some(3));
    send_all(&far, b"hello");
    drop(far);
    settle_channel(&*a, END_OF_INPUT);
    passes(semantics, 4, &[&*a]);
    Ok(())
}

fn data_then_fin_while_writable(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    send_all(&far, b"hello");
    drop(far);
    settle_channel(&*a, END_OF_INPUT);
    passes(semantics, 3, &[&*a]);
    Ok(())
}

fn data_then_hangup(semantics: Semantics) -> Result {
    let (near, far) = UnixStream::pair()?;
    let a = channel("a", near)?;
    a.chunk.set(Some(3));
    send_all(&far, b"hello");
    drop(far);
    settle_channel(&*a, PollFlags::IN | PollFlags::HUP);
    passes(semantics, 4, &[&*a]);
    Ok(())
}

fn hangup_of_a_writer(semantics: Semantics) -> Result {
    let (near, far) = UnixStream::pair()?;
    let a = channel("a", near)?;
    a.wants(false, true);
    drop(far);
    settle_channel(&*a, PollFlags::HUP);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn hangup_watched_for_nothing(semantics: Semantics) -> Result {
    let (near, far) = UnixStream::pair()?;
    let a = channel("a", near)?;
    a.wants(false, false);
    drop(far);
    settle_channel(&*a, PollFlags::HUP);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn reset_by_peer(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    reset(far);
    settle_channel(&*a, PollFlags::ERR);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn reset_by_peer_while_writable(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    reset(far);
    settle_channel(&*a, PollFlags::ERR);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn reset_by_peer_of_a_writer(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(false, true);
    a.react("handle_write", |a| a.send(b"spam").map(|_| true));
    reset(far);
    settle_channel(&*a, PollFlags::ERR);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn reset_after_data(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.chunk.set(Some(3));
    send_all(&far, b"hello");
    reset(far);
    settle_channel(&*a, PollFlags::ERR);
    passes(semantics, 3, &[&*a]);
    Ok(())
}

fn half_close(semantics: Semantics) -> Result {
    let (near, mut far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    a.react("handle_close", |_| Ok(true));
    a.react("handle_write", |a| a.send(b"still here").map(|_| true));
    far.shutdown(Shutdown::Write)?;
    settle_channel(&*a, END_OF_INPUT);
    passes(semantics, 2, &[&*a]);
    tell_received(&mut far)
}

/// Receives once at a test's own end.
fn tell_received(mut far: impl Read + std::os::fd::AsFd) -> Result {
    settle(&far, PollFlags::IN);
    let mut buffer = [0; 1024];
    let received = far.read(&mut buffer)?;
    tell(format!("  the peer receives {}", show(&buffer[..received])));
    Ok(())
}

fn receive_out_of_band(a: &Traced<DispatcherBase>) -> Result<bool> {
    let mut byte = [0];
    let received = a.socket()?.recv_out_of_band(&mut byte)?;
    tell(format!("    {}", show(&byte[..received])));
    Ok(false)
}

fn out_of_band(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.react("handle_expt", receive_out_of_band);
    socket2::SockRef::from(&far).send_out_of_band(b"!")?;
    settle_channel(&*a, PollFlags::PRI);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn out_of_band_and_data(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    a.react("handle_expt", receive_out_of_band);
    socket2::SockRef::from(&far).send_out_of_band(b"abc!")?;
    settle_channel(&*a, PollFlags::PRI | PollFlags::IN);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn out_of_band_of_a_writer(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(false, true);
    a.react("handle_expt", receive_out_of_band);
    socket2::SockRef::from(&far).send_out_of_band(b"!")?;
    settle_channel(&*a, PollFlags::PRI);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn connection_refused(semantics: Semantics) -> Result {
    let a = refused(true)?;
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn connection_refused_to_a_reader(semantics: Semantics) -> Result {
    let a = refused(false)?;
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn refused(wants_write: bool) -> Result<Channel> {
    // Bound and not listening: nobody else can be there.
    let unused = Socket::open(Domain::IPV4, Type::STREAM)?;
    unused.bind(("127.0.0.1", 0))?;
    let a = Traced::<DispatcherBase>::create("a");
    a.wants(true, wants_write);
    a.create_socket(Domain::IPV4, Type::STREAM)?;
    if let Err(error) = a.connect(unused.local_addr()?) {
        tell(format!("  connect raises {}", name_of(&error)));
    }
    settle_channel(&*a, PollFlags::ERR);
    Ok(a)
}

fn connect_to_a_backlog(semantics: Semantics) -> Result {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let a = tcp_channel("a")?;
    a.wants(true, true);
    a.connect(listener.local_addr()?)?;
    settle_channel(&*a, PollFlags::OUT);
    tell_state(&*a);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn connect_and_data_at_once(semantics: Semantics) -> Result {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let a = tcp_channel("a")?;
    a.wants(true, true);
    a.connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    send_all(&far, b"welcome");
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn connect_of_a_unix_socket(semantics: Semantics) -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path)?;
    let a = Traced::<DispatcherBase>::create("a");
    a.wants(true, true);
    a.create_socket(Domain::UNIX, Type::STREAM)?;
    a.connect(path)?;
    tell_state(&*a);
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn unconnected(semantics: Semantics) -> Result {
    let a = tcp_channel("a")?;
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn unconnected_and_writable(semantics: Semantics) -> Result {
    let a = tcp_channel("a")?;
    a.wants(true, true);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn listener(semantics: Semantics) -> Result {
    let a = tcp_channel("a")?;
    a.wants(true, true);
    a.bind(("127.0.0.1", 0))?;
    a.listen(5)?;
    passes(semantics, 1, &[&*a]);
    let near = Socket::open(Domain::IPV4, Type::STREAM)?;
    near.connect(&a.socket()?.local_addr()?)?;
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn pipe_with_data_whose_writer_has_gone(semantics: Semantics) -> Result {
    let (reader, writer) = std::io::pipe()?;
    send_all(writer, b"hello");
    settle(&reader, PollFlags::IN | PollFlags::HUP);
    let a = file_channel("a", &reader)?;
    a.chunk.set(Some(3));
    passes(semantics, 4, &[&*a]);
    Ok(())
}

fn pipe_whose_writer_has_gone(semantics: Semantics) -> Result {
    let (reader, writer) = std::io::pipe()?;
    drop(writer);
    settle(&reader, PollFlags::HUP);
    let a = file_channel("a", &reader)?;
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn pipe_whose_reader_has_gone(semantics: Semantics) -> Result {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    settle(&writer, PollFlags::ERR);
    let a = file_channel("a", &writer)?;
    a.wants(false, true);
    a.react("handle_write", |a| a.send(b"spam").map(|_| true));
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn full_pipe_whose_reader_has_gone(semantics: Semantics) -> Result {
    let (reader, mut writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true).map_err(std::io::Error::from)?;
    while writer.write(&[b'x'; 4096]).is_ok() {}
    drop(reader);
    settle(&writer, PollFlags::ERR);
    let a = file_channel("a", &writer)?;
    a.wants(false, true);
    a.react("handle_write", |a| a.send(b"spam").map(|_| true));
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn empty_pipe(semantics: Semantics) -> Result {
    let (reader, _writer) = std::io::pipe()?;
    let a = file_channel("a", &reader)?;
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn regular_file(semantics: Semantics) -> Result {
    let mut file = tempfile::tempfile()?;
    file.write_all(b"hello")?;
    file.rewind()?;
    let a = file_channel("a", &file)?;
    a.chunk.set(Some(3));
    passes(semantics, 4, &[&*a]);
    Ok(())
}

fn regular_file_to_write(semantics: Semantics) -> Result {
    let a = file_channel("a", tempfile::tempfile()?)?;
    a.wants(false, true);
    a.react("handle_write", |a| a.send(b"hello").map(|_| true));
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn regular_file_watched_for_nothing(semantics: Semantics) -> Result {
    let a = file_channel("a", tempfile::tempfile()?)?;
    a.wants(false, false);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn three_channels_in_order(semantics: Semantics) -> Result {
    let (near_a, far_a) = tcp_pair();
    let (near_b, far_b) = tcp_pair();
    let (near_c, far_c) = tcp_pair();
    // In the map in another order than that of the descriptors.
    let channels = [
        channel("c", near_c)?,
        channel("a", near_a)?,
        channel("b", near_b)?,
    ];
    for (channel, far) in channels.iter().zip([&far_c, &far_a, &far_b]) {
        channel.wants(true, true);
        send_all(far, b"x");
        settle_channel(&**channel, PollFlags::IN | PollFlags::OUT);
    }
    let channels = channels.each_ref().map(|channel| &**channel as &dyn Told);
    passes(semantics, 2, &channels);
    Ok(())
}

/// Two channels, and their peers.
fn two_channels() -> Result<(Channel, Channel, [std::net::TcpStream; 2])> {
    let (near_a, far_a) = tcp_pair();
    let (near_b, far_b) = tcp_pair();
    Ok((channel("a", near_a)?, channel("b", near_b)?, [far_a, far_b]))
}

/// Sends a byte to either of two channels.
fn send_to_both(a: &Channel, b: &Channel, peers: &[std::net::TcpStream; 2]) {
    for (channel, peer) in [a, b].into_iter().zip(peers) {
        send_all(peer, b"x");
        settle_channel(&**channel, PollFlags::IN);
    }
}

fn put_in_anew_is_last(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    a.del_channel(None);
    a.set_socket(a.socket()?, None)?;
    send_to_both(&a, &b, &peers);
    passes(semantics, 1, &[&*a, &*b]);
    Ok(())
}

fn put_in_again_keeps_its_place(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    a.add_channel(None)?;
    send_to_both(&a, &b, &peers);
    passes(semantics, 1, &[&*a, &*b]);
    Ok(())
}

fn closed_in_its_read_event(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    a.react("handle_read", |a| a.close().map(|()| true));
    send_all(&far, b"x");
    settle_channel(&*a, PollFlags::IN | PollFlags::OUT);
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn closed_by_another(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    let other = Rc::clone(&b);
    a.react("handle_read", move |_| other.close().map(|()| false));
    send_to_both(&a, &b, &peers);
    passes(semantics, 1, &[&*a, &*b]);
    Ok(())
}

fn made_by_another(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let (near2, far2) = tcp_pair();
    send_all(&far2, b"y");
    settle(&near2, PollFlags::IN);
    let a = channel("a", near)?;
    let near2 = RefCell::new(Some(near2));
    a.react("handle_read", move |_| {
        if let Some(near2) = near2.take() {
            channel("b", near2)?;
        }
        Ok(false)
    });
    send_all(&far, b"x");
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 2, &[&*a]);
    Ok(())
}

fn descriptor_taken_over(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    let c = Traced::<DispatcherBase>::create("c");
    let holes = Rc::new(RefCell::new(Vec::new()));
    {
        let (b, c, holes) = (Rc::clone(&b), Rc::clone(&c), Rc::clone(&holes));
        a.react("handle_read", move |_| {
            let fd = b.socket()?.socket2()?.as_raw_fd();
            *holes.borrow_mut() = fill_holes_below(fd);
            b.close()?;
            c.create_socket(Domain::IPV4, Type::DGRAM)?;
            Ok(false)
        });
    }
    send_to_both(&a, &b, &peers);
    passes(semantics, 2, &[&*a, &*b, &*c]);
    Ok(())
}

fn closed_while_asked(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    let other = Rc::clone(&a);
    b.react("readable", move |_| other.close().map(|()| false));
    send_all(&peers[1], b"x");
    settle_channel(&*b, PollFlags::IN);
    passes(semantics, 2, &[&*a, &*b]);
    Ok(())
}

fn taken_out_while_asked(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    let other = Rc::clone(&b);
    a.react("readable", move |_| {
        other.del_channel(None);
        Ok(false)
    });
    send_to_both(&a, &b, &peers);
    passes(semantics, 2, &[&*a, &*b]);
    Ok(())
}

fn raises(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    a.wants(true, true);
    a.react("handle_read", |_| Err(Raised.into()));
    send_to_both(&a, &b, &peers);
    passes(semantics, 2, &[&*a, &*b]);
    Ok(())
}

fn raises_a_lost_connection(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    a.react("handle_read", |_| {
        Err(std::io::Error::from_raw_os_error(32).into())
    });
    send_all(&far, b"x");
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn raises_exit_now(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.wants(true, true);
    a.react("handle_read", |_| Err(ExitNow.into()));
    send_all(&far, b"x");
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 1, &[&*a]);
    a.stop_reacting();
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn raises_in_handle_error(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    a.react("handle_read", |_| Err(Raised.into()));
    a.react("handle_error", |_| Err(Raised.into()));
    send_to_both(&a, &b, &peers);
    passes(semantics, 1, &[&*a, &*b]);
    Ok(())
}

fn nothing_to_receive(semantics: Semantics) -> Result {
    let (near, far) = tcp_pair();
    let a = channel("a", near)?;
    a.react("handle_read", |a| {
        a.recv(8)?;
        a.recv(8)?;
        Ok(true)
    });
    send_all(&far, b"x");
    settle_channel(&*a, PollFlags::IN);
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn with_send_flushes_when_connected(semantics: Semantics) -> Result {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let a = Traced::<DispatcherWithSendBase>::create("a");
    a.wants_write.set(None);
    a.create_socket(Domain::IPV4, Type::STREAM)?;
    a.connect(listener.local_addr()?)?;
    a.base().set_out_buffer(b"hello");
    let (far, _) = listener.accept()?;
    settle_channel(&*a, PollFlags::OUT);
    passes(semantics, 2, &[&*a]);
    tell_received(far)
}

fn with_send_to_a_lost_peer(semantics: Semantics) -> Result {
    let (near, far) = UnixStream::pair()?;
    let a = Traced::<DispatcherWithSendBase>::create("a");
    a.wants_write.set(None);
    a.init_socket(near)?;
    drop(far);
    settle_channel(&*a, PollFlags::HUP);
    a.send(b"hello")?;
    tell(format!("  {} bytes buffered", a.base().out_buffer_len()));
    passes(semantics, 1, &[&*a]);
    Ok(())
}

fn a_loop_within_a_handler(semantics: Semantics) -> Result {
    let (a, b, peers) = two_channels()?;
    a.react("handle_read", move |a| {
        a.stop_reacting();
        tell("   within");
        semantics.pass()?;
        tell("   done");
        Ok(true)
    });
    send_to_both(&a, &b, &peers);
    passes(semantics, 2, &[&*a, &*b]);
    Ok(())
}
