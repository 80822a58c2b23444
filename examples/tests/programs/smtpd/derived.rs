//! Classes that derive from those of `smtpd`.

// The names are those of the original.
#![allow(non_snake_case)]

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::{Rc, Weak};

use asynchat::{AsyncChat, AsyncChatClass, Data};
use asyncore::socket2::{self, Domain, Type};
use asyncore::{
    Address, BaseClass, ChannelMap, Descriptor, Dispatcher, Error, Loop, Result, Socket, SocketLike,
};
use examples::smtpd::{
    Options, PureProxyBase, Settings, SmtpChannel, SmtpChannelBase, SmtpChannelClass, SmtpServer,
    SmtpServerBase, SmtpServerClass,
};

use crate::util::connect;

/// `class polite_channel(smtpd.SMTPChannel)`: ends its replies with a word, counts commands that do nothing, and
/// has a command more.
struct PoliteChannelBase {
    smtp_channel: SmtpChannelBase,
    noops: Cell<u32>,
}

impl<T: SmtpChannel> BaseClass<T> for PoliteChannelBase {
    type Super = SmtpChannelBase;

    fn new(this: &Weak<T>) -> PoliteChannelBase {
        PoliteChannelBase {
            smtp_channel: BaseClass::new(this),
            noops: Cell::new(0),
        }
    }

    fn superclass(&self) -> &SmtpChannelBase {
        &self.smtp_channel
    }
}

impl<T: SmtpChannel> AsyncChatClass<T> for PoliteChannelBase {
    type AsyncChatSuper = SmtpChannelBase;

    fn async_chat_super(&self) -> &SmtpChannelBase {
        &self.smtp_channel
    }

    fn push(&self, this: &T, msg: Data) -> Result {
        let msg = msg.as_str().unwrap_or_default();
        self.smtp_channel
            .push(this, format!("{msg}, please").into())
    }
}

impl<T: SmtpChannel> SmtpChannelClass<T> for PoliteChannelBase {
    type SmtpChannelSuper = SmtpChannelBase;

    fn smtp_channel_super(&self) -> &SmtpChannelBase {
        &self.smtp_channel
    }

    fn smtp_command(&self, this: &T, command: &str, arg: Option<&str>) -> Result<bool> {
        match command {
            "THANKS" => this.push(format!("250 after {} commands", self.noops.get()))?,
            _ => return self.smtp_channel.smtp_command(this, command, arg),
        }
        Ok(true)
    }

    fn smtp_NOOP(&self, this: &T, arg: Option<&str>) -> Result {
        self.noops.set(self.noops.get() + 1);
        self.smtp_channel.smtp_NOOP(this, arg)
    }
}

/// `class channel(polite_channel)`: refuses to tell names.
struct Channel {
    base: PoliteChannelBase,
    resets: Rc<Cell<u32>>,
}

impl Dispatcher for Channel {
    type Base = PoliteChannelBase;
    fn base(&self) -> &PoliteChannelBase {
        &self.base
    }
}

impl AsyncChat for Channel {}

impl SmtpChannel for Channel {
    fn smtp_VRFY(&self, arg: Option<&str>) -> Result {
        match arg {
            Some("me") => self.push("250 you"),
            _ => self.base().smtp_VRFY(self, arg),
        }
    }

    fn _set_rset_state(&self) -> Result {
        self.resets.set(self.resets.get() + 1);
        self.base()._set_rset_state(self)
    }
}

struct Server {
    base: SmtpServerBase,
    resets: Rc<Cell<u32>>,
}

impl Dispatcher for Server {
    type Base = SmtpServerBase;
    fn base(&self) -> &SmtpServerBase {
        &self.base
    }
}

impl SmtpServer for Server {
    fn channel_class(&self, conn: Socket, addr: Address, settings: Settings) -> Result {
        let resets = Rc::clone(&self.resets);
        let channel = Channel::init_in(&self.map()?, |base| Channel { base, resets });
        channel.init_smtp_channel(self.this()?, conn, addr, settings)
    }
}

/// Lets a server of this thread run until a line has come from it.
fn line(map: &ChannelMap, client: &mut BufReader<TcpStream>) -> String {
    client
        .get_ref()
        .set_nonblocking(true)
        .expect("still connected");
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        Loop::new().map(map).count(1).run().expect("no pass fails");
        let _ = client.read_until(b'\n', &mut line);
    }
    client
        .get_ref()
        .set_nonblocking(false)
        .expect("still connected");
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn client_of(server: &impl SmtpServer) -> BufReader<TcpStream> {
    let addr = server.socket().and_then(|socket| Ok(socket.local_addr()?));
    let Ok(Address::Inet(addr)) = addr else {
        panic!("{addr:?}");
    };
    BufReader::new(connect(addr))
}

#[test]
fn methods_are_looked_up_one_class_at_a_time() -> Result {
    let map = ChannelMap::new();
    let resets = Rc::new(Cell::new(0));
    let server = Server::init_in(&map, |base| Server {
        base,
        resets: Rc::clone(&resets),
    });
    server.init_smtp_server(("127.0.0.1", 0), None, Settings::default())?;
    let mut client = client_of(&*server);
    assert!(line(&map, &mut client).ends_with(" version 0.3, please"));
    assert_eq!(resets.get(), 1);
    for (command, reply) in [
        ("NOOP", "250 OK, please"),
        ("NOOP x", "501 Syntax: NOOP, please"),
        ("thanks", "250 after 2 commands, please"),
        ("VRFY me", "250 you, please"),
        ("VRFY", "501 Syntax: VRFY <address>, please"),
        (
            "THANK",
            "500 Error: command \"THANK\" not recognized, please",
        ),
        ("RSET", "250 OK, please"),
    ] {
        client
            .get_ref()
            .write_all(format!("{command}\r\n").as_bytes())?;
        assert_eq!(line(&map, &mut client), reply, "{command}");
    }
    assert_eq!(resets.get(), 2);
    Ok(())
}

/// `class honest_proxy(smtpd.PureProxy)`: says so when a message was not handed on.
struct HonestProxy {
    base: PureProxyBase,
    refused: RefCell<Vec<String>>,
}

impl Dispatcher for HonestProxy {
    type Base = PureProxyBase;
    fn base(&self) -> &PureProxyBase {
        &self.base
    }
}

impl SmtpServer for HonestProxy {
    fn process_message(
        &self,
        _peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        _options: Option<&Options>,
    ) -> Result<Option<String>> {
        let refused = self.base()._deliver(mailfrom, rcpttos, data.as_bytes())?;
        self.refused.borrow_mut().extend(refused.into_keys());
        Ok(Some("451 Try again".to_owned()))
    }
}

#[test]
fn a_proxy_may_say_what_has_become_of_a_message() -> Result {
    // Bound, so that no one else listens there, and not listening.
    let nobody = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let port = nobody
        .local_addr()?
        .as_socket()
        .map_or(0, |addr| addr.port());
    let map = ChannelMap::new();
    let refused = RefCell::default();
    let proxy = HonestProxy::init_in(&map, |base| HonestProxy { base, refused });
    proxy.init_smtp_server(
        ("127.0.0.1", 0),
        Some(("127.0.0.1", port)),
        Settings::default(),
    )?;
    let mut client = client_of(&*proxy);
    line(&map, &mut client);
    for (command, reply) in [
        ("MAIL FROM:<me@here>", "503 Error: send HELO first"),
        ("HELO me", ""),
        ("MAIL FROM:<me@here>", "250 OK"),
        ("RCPT TO:<you@there>", "250 OK"),
        ("DATA", "354 End data with <CR><LF>.<CR><LF>"),
        ("hello\r\n.", "451 Try again"),
    ] {
        client
            .get_ref()
            .write_all(format!("{command}\r\n").as_bytes())?;
        let heard = line(&map, &mut client);
        assert!(reply.is_empty() || heard == reply, "{command}: {heard}");
    }
    assert_eq!(*proxy.refused.borrow(), ["you@there"]);
    Ok(())
}

/// A server that fails to make its first channel.
struct Unready {
    base: SmtpServerBase,
    failed: Cell<bool>,
}

impl Dispatcher for Unready {
    type Base = SmtpServerBase;
    fn base(&self) -> &SmtpServerBase {
        &self.base
    }
}

impl SmtpServer for Unready {
    fn channel_class(&self, conn: Socket, addr: Address, settings: Settings) -> Result {
        if !self.failed.replace(true) {
            return Err(Error::msg("not yet"));
        }
        self.base().channel_class(self, conn, addr, settings)
    }
}

#[test]
fn a_connection_that_fails_leaves_the_server_alone() -> Result {
    let map = ChannelMap::new();
    let failed = Cell::new(false);
    let server = Unready::init_in(&map, |base| Unready { base, failed });
    server.init_smtp_server(("127.0.0.1", 0), None, Settings::default())?;
    let mut refused = client_of(&*server);
    while !server.failed.get() {
        Loop::new().map(&map).count(1).run()?;
    }
    assert_eq!(refused.read_line(&mut String::new())?, 0);
    let mut client = client_of(&*server);
    assert!(line(&map, &mut client).starts_with("220 "));
    Ok(())
}

/// A connection that its peer has reset by the time it is looked at.
struct Lost;

impl SocketLike for Lost {
    fn fileno(&self) -> Option<Descriptor> {
        Some(0)
    }

    fn send(&self, _data: &[u8]) -> io::Result<usize> {
        unreachable!("nobody is there to be greeted")
    }

    fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        unreachable!("nothing is read")
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

#[test]
fn a_connection_that_is_lost_already_is_closed() -> Result {
    let map = ChannelMap::new();
    let resets = Rc::default();
    let server = Server::init_in(&map, |base| Server { base, resets });
    let addr = Address::from(("peer-address", 0));
    server.channel_class(Socket::new(Lost), addr, Settings::default())?;
    assert!(map.is_empty());
    Ok(())
}
