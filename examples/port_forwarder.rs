//! The port forwarder of the Python cookbook: `class forwarder(asyncore.dispatcher)` listens, and makes two
//! channels of each connection that feed one another, `class receiver(asyncore.dispatcher)` for the client
//! and `class sender(asyncore.dispatcher)` for the remote.
//!
//! ```text
//! cargo run --example port_forwarder -- --port 8008 --to www.python.org:80
//! ```
//!
//! The two differ only in how they begin, and are one class here. The original reads whatever comes, however
//! slowly the other side takes it, and closes both when either ends; this one reads when the last has gone,
//! and passes on an end as an end, and a reset as a reset. Ends with Ctrl-C.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::rc::{Rc, Weak};
use std::time::Duration;

use asyncore::socket2::{Domain, Type};
use asyncore::{Address, BaseClass, ChannelMap, Dispatcher, DispatcherBase, Error, Result, Socket};
use clap::Parser;
use examples::{Listen, program};

// ---- one connection

/// How much is read at once, and so the most that waits in either direction.
const BUFFER_SIZE: usize = 65536;

/// A receiver or a sender.
struct Side {
    base: DispatcherBase,
    /// The sender of a receiver, the receiver of a sender. The map keeps both.
    other: RefCell<Weak<Side>>,
    /// What has come here, for the other side to send.
    buffer: RefCell<Vec<u8>>,
    /// Whether that was all.
    ended: Cell<bool>,
    /// Whether the peer has been told that it has got all.
    shut_down: Cell<bool>,
}

impl Side {
    fn new(base: DispatcherBase) -> Side {
        Side {
            base,
            other: RefCell::default(),
            buffer: RefCell::default(),
            ended: Cell::new(false),
            shut_down: Cell::new(false),
        }
    }

    /// `sender.__init__(self, receiver, remoteaddr, remoteport)`
    fn sender(receiver: &Rc<Side>, remote: SocketAddr) -> Result {
        let sender = Side::init(Side::new);
        sender.other.replace(Rc::downgrade(receiver));
        receiver.other.replace(Rc::downgrade(&sender));
        sender.create_socket(Domain::for_address(remote), Type::STREAM)?;
        sender.connect(remote)
    }

    fn other(&self) -> Option<Rc<Side>> {
        self.other.borrow().upgrade()
    }

    /// Whether the other side has anything to do with what has come here.
    fn has_news(&self) -> bool {
        !self.buffer.borrow().is_empty() || self.ended.get()
    }

    /// Closes the connection, both directions of which have ended.
    fn end(&self) -> Result {
        self.socket()?.socket2()?.set_linger(None)?;
        self.close()
    }
}

impl Dispatcher for Side {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn set_socket(&self, socket: impl Into<Socket>, map: Option<&ChannelMap>) -> Result {
        let socket = socket.into();
        let options = socket.socket2()?;
        // Nagle's algorithm would hold back what the peer has sent without it.
        options.set_tcp_nodelay(true)?;
        // Until both directions have ended, whatever closes the socket resets the connection: a peer must
        // not take a part for the whole.
        options.set_linger(Some(Duration::ZERO))?;
        self.base().set_socket(self, socket, map)
    }

    fn handle_connect(&self) -> Result {
        Ok(())
    }

    fn readable(&self) -> bool {
        !self.has_news()
    }

    fn handle_read(&self) -> Result {
        let mut data = vec![0; BUFFER_SIZE];
        // Not self.recv(), which calls `handle_close` for an end and for a reset alike.
        let received = match self.socket()?.recv(&mut data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?,
        };
        data.truncate(received);
        self.buffer.replace(data);
        self.ended.set(received == 0);
        match self.other() {
            // Most often it can be sent at once.
            Some(other) if other.connected() => other.handle_write(),
            _ => Ok(()),
        }
    }

    fn writable(&self) -> bool {
        !self.shut_down.get() && self.other().is_some_and(|other| other.has_news())
    }

    fn handle_write(&self) -> Result {
        let Some(other) = self.other() else {
            return Ok(());
        };
        let mut data = other.buffer.take();
        let sent = self.send(&data)?;
        data.drain(..sent);
        let all_sent = data.is_empty();
        other.buffer.replace(data);
        if all_sent && other.ended.get() && self.connected() && !self.shut_down.replace(true) {
            self.socket()?.socket2()?.shutdown(Shutdown::Write)?;
            if other.shut_down.get() {
                self.end()?;
                other.end()?;
            }
        }
        Ok(())
    }

    // Telnet's "interrupt" is such. One byte can wait at a time, as is TCP's way; it is lost where the other
    // side has no room.
    #[cfg(unix)]
    fn handle_expt(&self) -> Result {
        let mut urgent = [0];
        if let (Ok(1), Some(other)) = (self.socket()?.recv_out_of_band(&mut urgent), self.other()) {
            let _ = other.socket()?.socket2()?.send_out_of_band(&urgent);
        }
        Ok(())
    }

    fn handle_error(&self, error: Error) -> Result {
        let kind = if error.is_disconnected() {
            "info"
        } else {
            "error"
        };
        self.log_info(&error.to_string(), kind);
        self.handle_close()
    }

    // Called when the connection is lost, or cannot be made.
    fn handle_close(&self) -> Result {
        self.close()?;
        self.other().map_or(Ok(()), |other| other.close())
    }
}

// ---- the server

struct Forwarder {
    base: DispatcherBase,
    remote: SocketAddr,
}

impl Forwarder {
    fn new(host: &str, port: u16, remote: SocketAddr) -> Result<Rc<Forwarder>> {
        let forwarder = Forwarder::init(|base| Forwarder { base, remote });
        forwarder.create_socket(Domain::IPV4, Type::STREAM)?;
        forwarder.set_reuse_addr()?;
        forwarder.bind((host, port))?;
        forwarder.listen(1024)?;
        Ok(forwarder)
    }
}

impl Dispatcher for Forwarder {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
        self.log_info(&format!("from {addr} to {}", self.remote), "info");
        let receiver = Side::init_with(socket, Side::new)?;
        Side::sender(&receiver, self.remote).or_else(|error| receiver.handle_error(error))
    }

    // The default closes the listener, and accept(2) fails for the troubles of one connection, too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Forwards each connection to another address, in both directions.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8008>,

    /// Where to; of a name's addresses an IPv4 one, if there is any
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
}

/// Looked up once: the loop would wait for each answer.
fn resolve(to: &str) -> Result<SocketAddr> {
    let addrs = to.to_socket_addrs();
    let addrs = addrs.map_err(|error| Error::msg(format!("--to {to}: {error}")))?;
    addrs
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| Error::msg(format!("--to {to}: no address")))
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let remote = resolve(&args.to)?;
        let forwarder = Forwarder::new(&args.listen.host, args.listen.port, remote)?;
        args.listen.serve(&*forwarder)
    })
}
