//! What can be a channel's socket, and what an address.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use asyncore::socket2::{Domain, SockAddr, Type};
use asyncore::{
    Address, ChannelMap, Descriptor, Dispatcher, DispatcherBase, Loop, Result, Socket, SocketLike,
};

/// A dispatcher that keeps what it receives.
struct Receiver {
    base: DispatcherBase,
    received: RefCell<Vec<u8>>,
    from: RefCell<Option<Address>>,
}

impl Receiver {
    fn in_map(map: &ChannelMap) -> Rc<Receiver> {
        Receiver::init_in(map, |base| Receiver {
            base,
            received: RefCell::default(),
            from: RefCell::default(),
        })
    }
}

impl Dispatcher for Receiver {
    type Base = DispatcherBase;

    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn writable(&self) -> bool {
        false
    }

    fn handle_read(&self) -> Result {
        if self
            .root()
            .family_and_type
            .get()
            .is_some_and(|(_, kind)| kind == Type::DGRAM)
        {
            // data, addr = self.socket.recvfrom(1024)
            let mut buffer = [0; 1024];
            let (received, from) = self.socket()?.recv_from(&mut buffer)?;
            self.received.borrow_mut().extend(&buffer[..received]);
            *self.from.borrow_mut() = Some(from);
            return Ok(());
        }
        let data = self.recv(1024)?;
        self.received.borrow_mut().extend(data);
        Ok(())
    }
}

fn pass(map: &ChannelMap) -> Result {
    asyncore::poll(Duration::from_secs(10), Some(map))
}

fn resolved(address: impl Into<Address>, domain: Domain) -> io::Result<Option<SocketAddr>> {
    Ok(address.into().resolve(domain)?.as_socket())
}

#[test]
fn a_host_name_resolves_to_the_family_of_the_socket() -> Result {
    let v4 = resolved(("localhost", 80), Domain::IPV4)?;
    assert_eq!(v4, Some(([127, 0, 0, 1], 80).into()));
    let v4 = resolved(("127.0.0.1", 80), Domain::IPV4)?;
    assert_eq!(v4, Some(([127, 0, 0, 1], 80).into()));
    let v6 = resolved(("::1", 80), Domain::IPV6)?;
    assert_eq!(v6, "[::1]:80".parse().ok());
    Ok(())
}

#[test]
fn a_host_without_an_address_of_the_family_is_an_error_that_says_so() {
    let error = resolved(("127.0.0.1", 80), Domain::IPV6).expect_err("it is an IPv4 address");
    assert_eq!(error.to_string(), "no IPv6 address");
    let error = resolved(("localhost", 80), Domain::UNIX).expect_err("Unix sockets have no hosts");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_empty_host_is_any_interface_and_broadcast_has_a_name() -> Result {
    assert_eq!(
        resolved(("", 80), Domain::IPV4)?,
        Some(([0, 0, 0, 0], 80).into())
    );
    assert_eq!(resolved(("", 80), Domain::IPV6)?, "[::]:80".parse().ok());
    let broadcast = resolved(("<broadcast>", 80), Domain::IPV4)?;
    assert_eq!(broadcast, Some(([255, 255, 255, 255], 80).into()));
    Ok(())
}

#[test]
fn addresses_are_displayed_as_python_displays_them() -> Result {
    for (address, displayed) in [
        (Address::from(("localhost", 80)), "localhost:80"),
        (Address::from((Ipv4Addr::LOCALHOST, 80)), "127.0.0.1:80"),
        (Address::from(std::path::Path::new("/tmp/x")), "'/tmp/x'"),
        (
            Address::from(std::path::Path::new("\0name")),
            r"b'\x00name'",
        ),
    ] {
        assert_eq!(address.to_string(), displayed);
    }
    let v6: SocketAddr = "[fe80::1%3]:80".parse()?;
    assert_eq!(Address::from(v6).to_string(), "('fe80::1', 80, 0, 3)");
    Ok(())
}

#[test]
fn a_datagram_comes_with_the_address_of_its_sender() -> Result {
    let map = ChannelMap::new();
    let receiver = Receiver::in_map(&map);
    receiver.create_socket(Domain::IPV4, Type::DGRAM)?;
    receiver.bind(("127.0.0.1", 0))?;
    let sender = Socket::open(Domain::IPV4, Type::DGRAM)?;
    sender.bind(("127.0.0.1", 0))?;
    let port = receiver.socket()?.local_addr()?.port().expect("a port");
    sender.send_to(b"what time is it?", ("localhost", port))?;
    pass(&map)?;
    assert_eq!(*receiver.received.borrow(), b"what time is it?");
    assert_eq!(*receiver.from.borrow(), Some(sender.local_addr()?));
    Ok(())
}

#[test]
fn a_unix_datagram_comes_with_the_path_of_its_sender() -> Result {
    let map = ChannelMap::new();
    let folder = tempfile::tempdir()?;
    let (there, here) = (folder.path().join("there"), folder.path().join("here"));
    let receiver = Receiver::in_map(&map);
    receiver.create_socket(Domain::UNIX, Type::DGRAM)?;
    receiver.bind(there.clone())?;
    let sender = Socket::open(Domain::UNIX, Type::DGRAM)?;
    for name in [None, Some(&here)] {
        if let Some(path) = name {
            sender.bind(path.clone())?;
        }
        sender.send_to(b"spam", there.clone())?;
        pass(&map)?;
        let from = name.cloned().unwrap_or_default();
        assert_eq!(*receiver.from.borrow(), Some(Address::Unix(from)));
    }
    assert_eq!(*receiver.received.borrow(), b"spamspam");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_socket_can_be_in_the_abstract_namespace() -> Result {
    let map = ChannelMap::new();
    let name = std::path::PathBuf::from(format!("\0asyncore-{}", std::process::id()));
    let receiver = Receiver::in_map(&map);
    receiver.create_socket(Domain::UNIX, Type::DGRAM)?;
    receiver.bind(name.clone())?;
    assert_eq!(
        receiver.socket()?.local_addr()?,
        Address::Unix(name.clone())
    );
    Socket::open(Domain::UNIX, Type::DGRAM)?.send_to(b"spam", name)?;
    pass(&map)?;
    assert_eq!(*receiver.received.borrow(), b"spam");
    Ok(())
}

#[test]
fn an_address_of_any_family_can_be_given_as_the_system_has_it() -> Result {
    let inet: SocketAddr = ([127, 0, 0, 1], 80).into();
    assert_eq!(Address::from(SockAddr::from(inet)), Address::Inet(inet));
    let map = ChannelMap::new();
    let receiver = Receiver::in_map(&map);
    let error = receiver
        .bind(SockAddr::from(inet))
        .expect_err("there is no socket");
    assert!(error.is::<asyncore::NoSocket>());
    Ok(())
}

/// A test double: it has a descriptor to wait on, and data that came from nowhere.
struct Canned {
    wakes: Socket,
    data: RefCell<&'static [u8]>,
    closed: Cell<bool>,
}

impl SocketLike for Canned {
    fn fileno(&self) -> Option<Descriptor> {
        self.wakes.fileno()
    }

    fn send(&self, _data: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let data = self.data.borrow();
        let n = data.len().min(buffer.len());
        buffer[..n].copy_from_slice(&data[..n]);
        drop(data);
        self.data.replace_with(|data| &data[n..]);
        Ok(n)
    }

    fn close(&self) -> io::Result<()> {
        self.closed.set(true);
        self.wakes.close()
    }
}

#[test]
fn any_object_with_the_few_methods_can_be_a_socket() -> Result {
    use std::io::Write;

    let map = ChannelMap::new();
    let (wakes, mut far) = std::os::unix::net::UnixStream::pair()?;
    far.write_all(b"!")?;
    let receiver = Receiver::in_map(&map);
    receiver.set_socket(
        Socket::new(Canned {
            wakes: wakes.into(),
            data: RefCell::new(b"spam"),
            closed: Cell::new(false),
        }),
        None,
    )?;
    Loop::new().map(&map).run()?;
    assert_eq!(*receiver.received.borrow(), b"spam");
    let socket = receiver.socket()?;
    assert!(
        socket
            .downcast_ref::<Canned>()
            .is_some_and(|canned| canned.closed.get())
    );
    assert!(socket.socket2().is_err());
    Ok(())
}

#[test]
fn what_a_socket_like_object_lacks_is_an_error_that_names_it() -> Result {
    let map = ChannelMap::new();
    let receiver = Receiver::in_map(&map);
    let (wakes, _far) = std::os::unix::net::UnixStream::pair()?;
    let canned = Canned {
        wakes: wakes.into(),
        data: RefCell::new(b""),
        closed: Cell::new(false),
    };
    receiver.set_socket(Socket::new(canned), None)?;
    let error = receiver.bind(("127.0.0.1", 0)).expect_err("it cannot bind");
    assert_eq!(
        error.to_string(),
        "bind 127.0.0.1:0: this kind of socket has no `bind`"
    );
    assert!(receiver.listen(5).is_err());
    assert!(receiver.accept().is_err());
    // A lost connection without an errno is one all the same.
    assert_eq!(receiver.send(b"spam")?, 0);
    assert!(receiver.fileno().is_none(), "handle_close has closed it");
    Ok(())
}

/// A socket around another that does nothing itself.
struct Wrapper(Socket);

impl Wrapper {
    fn open() -> io::Result<Socket> {
        Ok(Socket::new(Wrapper(Socket::open(
            Domain::IPV4,
            Type::STREAM,
        )?)))
    }
}

impl SocketLike for Wrapper {
    fn inner(&self) -> Option<&Socket> {
        Some(&self.0)
    }

    fn fileno(&self) -> Option<Descriptor> {
        self.0.fileno()
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.0.send(data)
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

#[test]
fn what_a_wrapper_does_not_give_itself_its_inner_socket_does() -> Result {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const LONG: Timespec = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };

    let listener = Wrapper::open()?;
    listener.set_reuse_addr()?;
    assert!(listener.socket2()?.reuse_address()?);
    listener.bind(("127.0.0.1", 0))?;
    listener.listen(5)?;
    let addr = listener.local_addr()?;

    let client = Wrapper::open()?;
    client.connect(&addr)?;
    assert_eq!(client.peer_addr()?, addr);
    let (_near, from) = listener.accept()?;
    assert_eq!(from, client.local_addr()?);
    client.set_nonblocking(true)?;
    let nothing = client.recv(&mut [0]).expect_err("nothing was sent");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    let nobody = Wrapper::open()?;
    nobody.bind(("127.0.0.1", 0))?;
    let refused = Wrapper::open()?;
    refused.set_nonblocking(true)?;
    let _in_progress = refused.connect(nobody.local_addr()?);
    let socket = refused.socket2()?;
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&LONG))?;
    let error = refused.take_error()?.map(|error| error.kind());
    assert_eq!(error, Some(io::ErrorKind::ConnectionRefused));
    Ok(())
}

#[test]
fn a_socket_can_be_a_handle_that_others_have_too() -> Result {
    let shared = Rc::new(Wrapper(Socket::open(Domain::IPV4, Type::STREAM)?));
    let socket = Socket::from(Rc::clone(&shared));
    assert_eq!(socket.fileno(), shared.fileno());
    socket.close()?;
    assert!(shared.fileno().is_none());
    Ok(())
}

/// A socket all of whose operations fail.
struct Failing(rustix::io::Errno);

impl SocketLike for Failing {
    fn fileno(&self) -> Option<Descriptor> {
        Some(Descriptor::MAX)
    }

    fn send(&self, _data: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn close(&self) -> io::Result<()> {
        Err(self.0.into())
    }

    fn accept(&self) -> io::Result<(Socket, Address)> {
        Err(self.0.into())
    }
}

#[test]
fn lost_connections_are_told_from_other_errors_as_in_python() -> Result {
    use rustix::io::Errno;

    let map = ChannelMap::new();
    for (errno, is_lost, is_no_accept, is_closed) in [
        (Errno::CONNRESET, true, false, false),
        (Errno::NOTCONN, true, false, true),
        (Errno::SHUTDOWN, true, false, false),
        (Errno::CONNABORTED, true, true, false),
        (Errno::PIPE, true, false, false),
        (Errno::BADF, true, false, true),
        (Errno::AGAIN, false, true, false),
        (Errno::INVAL, false, false, false),
        (Errno::TIMEDOUT, false, false, false),
    ] {
        let channel = Receiver::in_map(&map);
        let fails = || channel.set_socket(Socket::new(Failing(errno)), None);
        fails()?;
        assert_eq!(channel.accept().is_ok(), is_no_accept, "accept: {errno}");
        assert_eq!(channel.close().is_ok(), is_closed, "close: {errno}");
        // handle_close closes, so a lost connection leaves the map.
        for receives in [false, true] {
            fails()?;
            let result = match receives {
                false => channel.send(b"spam"),
                true => channel.recv(4).map(|data| data.len()),
            };
            assert_eq!(map.is_empty(), is_lost, "{errno}");
            let sends_later = errno == Errno::AGAIN && !receives;
            assert_eq!(matches!(result, Ok(0)), is_closed || sends_later, "{errno}");
            map.clear();
        }
    }
    Ok(())
}

#[test]
fn a_channels_socket_can_be_wrapped_where_it_is() -> Result {
    use std::io::Write;

    let map = ChannelMap::new();
    let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
    let receiver = Receiver::in_map(&map);
    receiver.init_socket(near)?;
    let plain = receiver.socket()?;
    let wrapped = Canned {
        wakes: plain,
        data: RefCell::new(b"decrypted"),
        closed: Cell::new(false),
    };
    receiver.root().replace_socket(Some(Socket::new(wrapped)));
    far.write_all(b"encrypted")?;
    pass(&map)?;
    assert_eq!(*receiver.received.borrow(), b"decrypted");
    Ok(())
}

#[test]
fn the_systems_socket_is_reachable_for_its_options() -> Result {
    let map = ChannelMap::new();
    let receiver = Receiver::in_map(&map);
    receiver.create_socket(Domain::IPV4, Type::STREAM)?;
    receiver.socket()?.socket2()?.set_tcp_nodelay(true)?;
    assert!(receiver.socket()?.socket2()?.tcp_nodelay()?);
    receiver.close()?;
    let error = receiver.socket()?.socket2().expect_err("it is closed");
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::BADF.raw_os_error())
    );
    Ok(())
}

/// Changes what is received: both ways to receive go through `recv_into`.
struct Rot13 {
    base: DispatcherBase,
}

impl Dispatcher for Rot13 {
    type Base = DispatcherBase;

    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn recv_into(&self, buffer: &mut [u8]) -> Result<usize> {
        use asyncore::BaseClass;

        let received = self.base().recv_into(self, buffer)?;
        for byte in &mut buffer[..received] {
            *byte = match *byte {
                b'a'..=b'm' => *byte + 13,
                b'n'..=b'z' => *byte - 13,
                other => other,
            };
        }
        Ok(received)
    }
}

#[test]
fn overriding_recv_into_redirects_both_ways_to_receive() -> Result {
    use std::io::Write;

    let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
    let map = ChannelMap::new();
    let channel = Rot13::init_in(&map, |base| Rot13 { base });
    channel.init_socket(near)?;
    far.write_all(b"fcnzrttf")?;
    assert_eq!(channel.recv(4)?, b"spam");
    let mut buffer = [0; 4];
    assert_eq!(channel.recv_into(&mut buffer)?, 4);
    assert_eq!(&buffer, b"eggs");
    Ok(())
}

#[test]
fn recv_takes_any_size() -> Result {
    use std::io::Write;

    let map = ChannelMap::new();
    for (size, expected) in [(3, &b"spa"[..]), (100_000, b"m"), (usize::MAX, b"!")] {
        let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
        let channel = Receiver::in_map(&map);
        channel.init_socket(near)?;
        far.write_all(expected)?;
        assert_eq!(channel.recv(size)?, expected);
    }
    Ok(())
}
