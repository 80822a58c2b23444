//! What a traced situation is made of: sockets in a known state, and passes of the loop.

use std::fmt;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use asyncore::{Dispatcher, Result};
pub use rustix::event::PollFlags;

/// Which of the two ways to make a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// `asyncore.poll`
    Select,
    /// `asyncore.poll2`
    Poll,
}

impl Semantics {
    /// Both.
    pub const BOTH: [Semantics; 2] = [Semantics::Select, Semantics::Poll];

    /// One pass over the default map that does not wait.
    pub fn pass(self) -> Result {
        match self {
            Semantics::Select => asyncore::poll(Duration::ZERO, None),
            Semantics::Poll => asyncore::poll2(Duration::ZERO, None),
        }
    }
}

impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Semantics::Select => "select",
            Semantics::Poll => "poll",
        })
    }
}

/// Waits until the kernel reports `flags` of a descriptor.
///
/// # Panics
///
/// If it does not within ten seconds.
pub fn settle(fd: impl AsFd, flags: PollFlags) {
    for _ in 0..1000 {
        let mut fds = [rustix::event::PollFd::new(&fd, flags)];
        let wait = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        rustix::event::poll(&mut fds, Some(&wait)).expect("poll(2)");
        if fds[0].revents().contains(flags) {
            return;
        }
    }
    panic!("the kernel does not report {flags:?}");
}

/// Waits until the kernel reports `flags` of a channel's socket.
///
/// # Panics
///
/// If it does not within ten seconds, or if the channel has no socket of the system.
pub fn settle_channel(channel: &impl Dispatcher, flags: PollFlags) {
    let socket = channel.socket().expect("a socket");
    settle(&*socket.socket2().expect("a socket of the system"), flags);
}

/// Two ends of a TCP connection.
///
/// # Panics
///
/// If the system has none.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("getsockname")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    (near, far)
}

/// Sends data from a test's own end.
///
/// # Panics
///
/// If it cannot be sent.
pub fn send_all(mut socket: impl Write, data: &[u8]) {
    socket.write_all(data).expect("send");
}

/// Closes a connection with a reset.
///
/// # Panics
///
/// If the option cannot be set.
pub fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .expect("SO_LINGER");
}
