//! A channel's socket: the operating system's, or anything that behaves like one.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
#[cfg(unix)]
use std::os::fd::AsRawFd;
#[cfg(windows)]
use std::os::windows::io::AsRawSocket;
use std::rc::Rc;

use socket2::{Domain, SockAddr, Type};

use crate::address::Address;
use crate::channel_map::descriptor_closed;
use crate::error::bad_descriptor;
use crate::poller::Descriptor;

/// What a channel needs of its socket.
///
/// Python takes any object with the right methods; implement this for yours (a TLS stream, a test
/// double) and give it to [`set_socket`](crate::Dispatcher::set_socket) with [`Socket::new`]. Only four
/// methods are needed to transfer data. The others are called by the methods of a dispatcher that are
/// named in their descriptions. Unless given, they are those of the socket that this one wraps, its
/// [`inner`](SocketLike::inner); without one they do nothing or fail with
/// [`Unsupported`](io::ErrorKind::Unsupported).
///
/// All methods take `&self`, because a channel may be closed from inside its own `send`. Report "would
/// block" as [`WouldBlock`](io::ErrorKind::WouldBlock), and never block.
pub trait SocketLike: Any {
    /// The descriptor to wait on and the key in the map; `None` when closed.
    fn fileno(&self) -> Option<Descriptor>;

    /// Sends what it can of `data` and returns how many bytes that was.
    fn send(&self, data: &[u8]) -> io::Result<usize>;

    /// Receives up to `buffer.len()` bytes and returns how many; 0 when the peer has closed.
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Releases the descriptor. Closing once more does nothing.
    fn close(&self) -> io::Result<()>;

    /// The socket that this one wraps, of which the methods are that it does not give itself: Python's
    /// `def __getattr__(self, name): return getattr(self.sock, name)`.
    #[doc(alias = "__getattr__")]
    fn inner(&self) -> Option<&Socket> {
        None
    }

    /// Called by [`init_with`](crate::Dispatcher::init_with). Nothing to do by default.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self.inner() {
            Some(inner) => inner.set_nonblocking(nonblocking),
            None => Ok(()),
        }
    }

    /// Takes the pending error, Python's `getsockopt(SOL_SOCKET, SO_ERROR)`. Called by
    /// [`handle_connect_event`](crate::Dispatcher::handle_connect_event) and
    /// [`handle_expt_event`](crate::Dispatcher::handle_expt_event). None by default.
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self.inner() {
            Some(inner) => inner.take_error(),
            None => Ok(None),
        }
    }

    /// The peer's address, Python's `getpeername()`. Called by
    /// [`init_with`](crate::Dispatcher::init_with).
    fn peer_addr(&self) -> io::Result<Address> {
        inner_of(self, "peer_addr")?.0.peer_addr()
    }

    /// The socket's own address, Python's `getsockname()`.
    #[doc(alias = "getsockname")]
    fn local_addr(&self) -> io::Result<Address> {
        inner_of(self, "local_addr")?.0.local_addr()
    }

    /// Sets `SO_REUSEADDR`. Called by [`set_reuse_addr`](crate::Dispatcher::set_reuse_addr).
    fn set_reuse_addr(&self) -> io::Result<()> {
        inner_of(self, "set_reuse_addr")?.0.set_reuse_addr()
    }

    /// Called by [`Dispatcher::bind`](crate::Dispatcher::bind).
    fn bind(&self, addr: &Address) -> io::Result<()> {
        inner_of(self, "bind")?.0.bind(addr)
    }

    /// Called by [`Dispatcher::listen`](crate::Dispatcher::listen).
    fn listen(&self, backlog: i32) -> io::Result<()> {
        inner_of(self, "listen")?.0.listen(backlog)
    }

    /// Starts to connect. Called by [`Dispatcher::connect`](crate::Dispatcher::connect).
    ///
    /// `Ok` when connected at once; `WouldBlock` or the system's `EINPROGRESS` when it goes on.
    fn connect(&self, addr: &Address) -> io::Result<()> {
        inner_of(self, "connect")?.0.connect(addr)
    }

    /// Called by [`Dispatcher::accept`](crate::Dispatcher::accept).
    fn accept(&self) -> io::Result<(Socket, Address)> {
        inner_of(self, "accept")?.0.accept()
    }
}

fn inner_of<'a>(socket: &'a (impl SocketLike + ?Sized), method: &str) -> io::Result<&'a Socket> {
    socket.inner().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this kind of socket has no `{method}`"),
        )
    })
}

/// A handle to a socket object, which is what a variable that holds a socket is in Python.
///
/// Clones refer to the same socket. It dereferences to [`SocketLike`]; the options and calls of a real
/// socket are reached through [`socket2`](Socket::socket2). A socket is closed by `close`, or when its
/// last handle goes.
#[derive(Clone)]
pub struct Socket(Rc<dyn SocketLike>);

impl Socket {
    /// Makes a handle to an object that behaves like a socket.
    pub fn new(socket: impl SocketLike) -> Socket {
        Socket(Rc::new(socket))
    }

    /// Opens a socket of the operating system: Python's `socket.socket(family, type)`. It blocks until
    /// `set_nonblocking(true)`, and child processes do not inherit it.
    ///
    /// # Errors
    ///
    /// The system's, `EMFILE` among them.
    pub fn open(family: Domain, kind: Type) -> io::Result<Socket> {
        socket2::Socket::new(family, kind, None).map(Socket::from)
    }

    /// Binds the socket to an address.
    ///
    /// # Errors
    ///
    /// Those of [`Address::resolve`], and the system's.
    pub fn bind(&self, addr: impl Into<Address>) -> io::Result<()> {
        self.0.bind(&addr.into())
    }

    /// Connects the socket to an address.
    ///
    /// # Errors
    ///
    /// Those of [`Address::resolve`], and the system's.
    pub fn connect(&self, addr: impl Into<Address>) -> io::Result<()> {
        self.0.connect(&addr.into())
    }

    /// The operating system's socket, for its options and for `send_to`, `shutdown` and the like.
    ///
    /// ```
    /// use asyncore::Socket;
    /// use socket2::{Domain, Type};
    ///
    /// let socket = Socket::open(Domain::IPV4, Type::STREAM)?;
    /// socket.socket2()?.set_keepalive(true)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// Of a socket that wraps another ([`SocketLike::inner`]) it is that of the other.
    ///
    /// While the result is held, `close` leaves the descriptor open until it goes.
    ///
    /// # Errors
    ///
    /// `EBADF` when the socket is closed, `Unsupported` when it is no socket of the system.
    pub fn socket2(&self) -> io::Result<Rc<socket2::Socket>> {
        if let Some(socket) = self.downcast_ref::<SystemSocket>() {
            return socket.get();
        }
        match self.inner() {
            Some(inner) => inner.socket2(),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "not a socket of the operating system",
            )),
        }
    }

    /// The object behind the handle, if it is a `T`.
    pub fn downcast_ref<T: SocketLike>(&self) -> Option<&T> {
        let object: &dyn Any = &*self.0;
        object.downcast_ref()
    }

    /// Whether both are handles to the same socket.
    pub fn ptr_eq(&self, other: &Socket) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Receives a datagram and its sender's address into `buffer`: Python's `recvfrom_into`. A sender whose
    /// address is neither IP nor Unix appears as a Unix socket without a name.
    ///
    /// # Errors
    ///
    /// As [`socket2`](Socket::socket2), and the system's.
    #[doc(alias = "recvfrom")]
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        let socket = self.socket2()?;
        #[cfg(unix)]
        {
            use rustix::net::{RecvFlags, recvfrom};

            let (_, len, from) = recvfrom(&*socket, buffer, RecvFlags::empty())?;
            Ok((len, from.map_or(Address::Unix("".into()), from_rustix)))
        }
        #[cfg(windows)]
        {
            // The call of socket2 takes memory that is not initialized.
            let socket = std::net::UdpSocket::from(socket.try_clone()?);
            let (len, from) = socket.recv_from(buffer)?;
            Ok((len, from.into()))
        }
    }

    /// Sends `data` to an address: Python's `sendto`. A host name resolves to the socket's family.
    ///
    /// # Errors
    ///
    /// As [`socket2`](Socket::socket2) and [`Address::resolve`], and the system's.
    #[doc(alias = "sendto")]
    pub fn send_to(&self, data: &[u8], addr: impl Into<Address>) -> io::Result<usize> {
        let socket = self.socket2()?;
        socket.send_to(data, &resolve(&addr.into(), &socket)?)
    }

    /// Receives out-of-band data: Python's `recv(n, MSG_OOB)`. The way to send some is
    /// `socket2()?.send_out_of_band(…)`.
    ///
    /// # Errors
    ///
    /// As [`socket2`](Socket::socket2), and the system's: `EINVAL` where there is none.
    #[cfg(unix)]
    #[doc(alias = "MSG_OOB")]
    pub fn recv_out_of_band(&self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};

        let (received, _) = recv(&*self.socket2()?, buffer, RecvFlags::OOB)?;
        Ok(received)
    }
}

impl std::ops::Deref for Socket {
    type Target = dyn SocketLike;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("fileno", &self.fileno())
            .finish_non_exhaustive()
    }
}

impl From<socket2::Socket> for Socket {
    fn from(socket: socket2::Socket) -> Socket {
        Socket::new(SystemSocket(RefCell::new(Some(Rc::new(socket)))))
    }
}

impl<S: SocketLike> From<Rc<S>> for Socket {
    /// A handle to an object of which others have one, too.
    fn from(socket: Rc<S>) -> Socket {
        Socket(socket)
    }
}

/// Declares how the standard library's sockets become a channel's.
macro_rules! from_std {
    ($($name:ty),*) => {$(
        impl From<$name> for Socket {
            fn from(socket: $name) -> Socket {
                socket2::Socket::from(socket).into()
            }
        }
    )*};
}

from_std!(
    std::net::TcpStream,
    std::net::TcpListener,
    std::net::UdpSocket
);
#[cfg(unix)]
from_std!(
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixListener,
    std::os::unix::net::UnixDatagram
);

/// The operating system's socket, until closed. No call of the system calls back, so the borrow may
/// last as long as the call.
struct SystemSocket(RefCell<Option<Rc<socket2::Socket>>>);

impl SystemSocket {
    fn get(&self) -> io::Result<Rc<socket2::Socket>> {
        self.0.borrow().clone().ok_or_else(bad_descriptor)
    }

    fn with<T>(&self, mut call: impl FnMut(&socket2::Socket) -> io::Result<T>) -> io::Result<T> {
        let socket = self.0.borrow();
        let socket = socket.as_ref().ok_or_else(bad_descriptor)?;
        loop {
            match call(socket) {
                // As since Python 3.5 (PEP 475): a signal does not end a call.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Drop for SystemSocket {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl SocketLike for SystemSocket {
    fn fileno(&self) -> Option<Descriptor> {
        let socket = self.0.borrow();
        #[cfg(unix)]
        return socket.as_ref().map(|socket| socket.as_raw_fd());
        #[cfg(windows)]
        return socket.as_ref().map(|socket| socket.as_raw_socket());
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.with(|socket| socket.send(data))
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|mut socket| socket.read(buffer))
    }

    fn close(&self) -> io::Result<()> {
        if let Some(fd) = self.fileno() {
            self.0.take();
            descriptor_closed(fd);
        }
        Ok(())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.with(|socket| socket.set_nonblocking(nonblocking))
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.with(socket2::Socket::take_error)
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.with(socket2::Socket::peer_addr).map(Address::from)
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.with(socket2::Socket::local_addr).map(Address::from)
    }

    fn set_reuse_addr(&self) -> io::Result<()> {
        self.with(|socket| socket.set_reuse_address(true))
    }

    fn bind(&self, addr: &Address) -> io::Result<()> {
        self.with(|socket| socket.bind(&resolve(addr, socket)?))
    }

    fn listen(&self, backlog: i32) -> io::Result<()> {
        self.with(|socket| socket.listen(backlog))
    }

    fn connect(&self, addr: &Address) -> io::Result<()> {
        self.with(|socket| socket.connect(&resolve(addr, socket)?))
    }

    fn accept(&self) -> io::Result<(Socket, Address)> {
        let (socket, addr) = self.with(socket2::Socket::accept)?;
        Ok((socket.into(), addr.into()))
    }
}

/// The address as the system takes it. A name resolves to the family of the socket.
fn resolve(addr: &Address, socket: &socket2::Socket) -> io::Result<SockAddr> {
    let family = match addr {
        Address::Host(..) => socket.local_addr()?.domain(),
        // It has its own.
        _ => Domain::IPV4,
    };
    addr.resolve(family)
}

#[cfg(unix)]
fn from_rustix(addr: rustix::net::SocketAddrAny) -> Address {
    use std::ffi::OsString;
    use std::net::SocketAddr;
    use std::os::unix::ffi::OsStringExt;

    if let Ok(inet) = SocketAddr::try_from(addr.clone()) {
        return Address::Inet(inet);
    }
    let Ok(unix) = rustix::net::SocketAddrUnix::try_from(addr) else {
        return Address::Unix("".into());
    };
    let path = unix.path_bytes().map(<[u8]>::to_vec);
    #[cfg(target_os = "linux")]
    let path = path.or_else(|| unix.abstract_name().map(|name| [b"\0", name].concat()));
    Address::Unix(OsString::from_vec(path.unwrap_or_default()).into())
}
