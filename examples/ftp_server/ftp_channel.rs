//! Class `ftp_channel(asynchat.async_chat)`: the control channel, one for each client.
//!
//! It cuts the input into commands, keeps those that come during a transfer until that has ended, and brings
//! transfers and data connections together. What the commands do is in `commands`.

mod commands;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::{Address, BaseClass, Dispatcher, Error, Result, Socket};

use crate::Settings;
use crate::filesys::OsFilesystem;
use crate::passive_acceptor::PassiveAcceptor;

/// A path may have 4096 bytes on Linux, and the command comes before it.
const MAX_LINE: usize = 4096 + 64;
/// How many commands may wait for the end of a transfer.
const MAX_WAITING: usize = 32;

pub(crate) struct FtpChannel {
    base: AsyncChatBase,
    settings: Rc<Settings>,
    filesystem: OsFilesystem,
    /// Who said so and has not told the password yet.
    user: RefCell<Option<String>>,
    authorized: Cell<bool>,
    refusals: Cell<u32>,
    /// Whether the type is A, which makes every end of line CRLF.
    ascii: Cell<bool>,
    /// Where the next transfer begins in its file.
    restart: Cell<u64>,
    rename_from: RefCell<Option<String>>,
    /// Where the client is to open the next data connection, or has.
    passive_acceptor: RefCell<Option<Rc<PassiveAcceptor>>>,
    /// The data channel of the transfer, with or without a connection yet.
    client_dc: RefCell<Option<Rc<dyn DataChannel>>>,
    /// Commands that wait for its end.
    waiting: RefCell<VecDeque<Vec<u8>>>,
    answering: Cell<bool>,
}

/// What a data channel is to the control channel.
pub(crate) trait DataChannel {
    /// The data connection is there.
    fn start(&self, socket: Socket) -> Result;

    /// Ends the transfer, whatever its state, with this reply.
    fn end(&self, reply: &str) -> Result;
}

impl FtpChannel {
    pub(crate) fn open(socket: Socket, settings: &Rc<Settings>) -> Result {
        let system_socket = socket.socket2()?;
        // Nagle's algorithm would hold back a second reply.
        system_socket.set_tcp_nodelay(true)?;
        // A client that is cut off during a transfer, or idle, is found out at last.
        system_socket.set_keepalive(true)?;
        // Clients send ABOR as urgent data, and its last byte would be missing among the others.
        system_socket.set_out_of_band_inline(true)?;

        let channel = FtpChannel::init_with(socket, |base| FtpChannel {
            base,
            settings: Rc::clone(settings),
            filesystem: OsFilesystem::new(&settings.root),
            user: RefCell::default(),
            authorized: Cell::new(false),
            refusals: Cell::new(0),
            ascii: Cell::new(true),
            restart: Cell::new(0),
            rename_from: RefCell::default(),
            passive_acceptor: RefCell::default(),
            client_dc: RefCell::default(),
            waiting: RefCell::default(),
            answering: Cell::new(false),
        })?;
        channel.set_terminator(b"\n")?;
        channel.respond("220 asyncore's FTP server is ready.")
    }

    fn respond(&self, reply: &str) -> Result {
        // A channel that is closed, or was reset before it was accepted, would keep what is pushed.
        if self.connected() {
            self.push(format!("{reply}\r\n"))?;
        }
        Ok(())
    }

    /// Sends the last reply.
    fn respond_and_close(&self, reply: &str) -> Result {
        self.root().closing.set(true);
        self.respond(reply)?;
        self.close_when_done()
    }
}

impl Dispatcher for FtpChannel {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    // The next commands are read when the last replies have been sent: a client that does not read them waits
    // at its own expense. During a transfer they are read: one may be ABOR.
    fn readable(&self) -> bool {
        self.base.producer_fifo.is_empty()
    }

    // Urgent data has come, which is read with all the rest. Where it is not, since the client does not
    // read, every pass would tell of it anew.
    fn handle_expt(&self) -> Result {
        match self.readable() {
            true => Ok(()),
            false => self.handle_close(),
        }
    }

    fn close(&self) -> Result {
        self.base().close(self)?;
        self.waiting.take();
        self.close_passive_acceptor()?;
        match self.client_dc.take() {
            Some(transfer) => transfer.end("426 The control connection is closed."),
            None => Ok(()),
        }
    }
}

impl AsyncChat for FtpChannel {
    // Of a line that is too long no more is kept than shows it.
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        let room = (MAX_LINE + 1).saturating_sub(self.base.incoming_len());
        self._collect_incoming_data(&data[..room.min(data.len())]);
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        let line = self._get_data();
        let line = without_telnet(line.strip_suffix(b"\r").unwrap_or(&line));
        if line.is_empty() || !self.connected() || self.root().closing.get() {
            return Ok(());
        }
        if self.waiting.borrow().len() == MAX_WAITING {
            return self.respond_and_close("421 Too many commands wait for the end of a transfer.");
        }
        self.waiting.borrow_mut().push_back(line.to_vec());
        if line.eq_ignore_ascii_case(b"ABOR") {
            // It aborts all transfers that were asked for before it, and is answered in its turn.
            while let Some(transfer) = self.transfer() {
                transfer.end("426 The transfer is aborted.")?;
            }
        }
        self.run_commands()
    }
}

/// What precedes an ABOR that is sent by the book: "interrupt process" and "data mark".
fn without_telnet(mut line: &[u8]) -> &[u8] {
    while let [0xff, _, rest @ ..] = line {
        line = rest;
    }
    line
}

// ---- transfers

impl FtpChannel {
    fn transfer(&self) -> Option<Rc<dyn DataChannel>> {
        self.client_dc.borrow().clone()
    }

    /// Begins a transfer, if there is a way for its data, and if it can be made, given where in its file it
    /// begins. It starts when the data connection is there.
    fn begin_transfer<T: DataChannel + 'static>(
        &self,
        make: impl FnOnce(u64) -> Result<Rc<T>>,
    ) -> Result {
        let offset = self.restart.take();
        if self.passive_acceptor.borrow().is_none() {
            return self.respond("425 Say how to connect first: PASV or EPSV.");
        }
        match make(offset) {
            Ok(transfer) => {
                self.client_dc.replace(Some(transfer));
                self.respond("150 Ready for the data connection.")?;
                self.start_transfer()
            }
            Err(error) => {
                self.close_passive_acceptor()?;
                self.refuse(&error)
            }
        }
    }

    /// Brings a transfer and its data connection together, whichever came first.
    pub(crate) fn start_transfer(&self) -> Result {
        let Some(transfer) = self.transfer() else {
            return Ok(());
        };
        let acceptor = self.passive_acceptor.borrow().clone();
        let Some(socket) = acceptor.and_then(|acceptor| acceptor.ready.take()) else {
            return Ok(());
        };
        self.passive_acceptor.take();
        transfer.start(socket)
    }

    /// There will be no data connection.
    pub(crate) fn no_data_connection(&self, error: &Error) -> Result {
        self.close_passive_acceptor()?;
        match self.transfer() {
            Some(transfer) => transfer.end(&format!("425 There is no data connection: {error}.")),
            None => Ok(()),
        }
    }

    /// A data channel has ended. What fails from here on is no trouble of its.
    pub(crate) fn transfer_ended(&self, reply: &str) -> Result {
        self.client_dc.take();
        let answered = self
            .close_passive_acceptor()
            .and_then(|()| self.respond(reply))
            .and_then(|()| self.run_commands());
        match answered {
            Err(error) => self.handle_error(error),
            Ok(()) => Ok(()),
        }
    }

    fn close_passive_acceptor(&self) -> Result {
        match self.passive_acceptor.take() {
            Some(acceptor) => acceptor.close(),
            None => Ok(()),
        }
    }

    /// Answers the commands that wait, up to one that begins a transfer.
    fn run_commands(&self) -> Result {
        // A transfer that ends at once comes back here from inside its command.
        if self.answering.replace(true) {
            return Ok(());
        }
        let answered = self.run_next_commands();
        self.answering.set(false);
        answered
    }

    fn run_next_commands(&self) -> Result {
        let next = || self.waiting.borrow_mut().pop_front();
        while self.connected() && !self.root().closing.get() && self.transfer().is_none() {
            match next() {
                Some(line) if line.len() > MAX_LINE => self.respond("500 The line is too long.")?,
                Some(line) => self.command(&line)?,
                None => break,
            }
        }
        Ok(())
    }
}

// ---- addresses

impl FtpChannel {
    /// The address that the client has come to, which its data connections come to, too.
    pub(crate) fn local_ip(&self) -> Result<IpAddr> {
        let local = self.socket()?.local_addr()?;
        ip_of(&local).ok_or_else(|| Error::msg("the connection has no IP address"))
    }

    /// Whether the client is at this address.
    pub(crate) fn is_from(&self, addr: &Address) -> bool {
        let client = self.addr();
        client.is_some_and(|client| ip_of(&client) == ip_of(addr))
    }
}

fn ip_of(addr: &Address) -> Option<IpAddr> {
    match addr {
        Address::Inet(addr) => Some(addr.ip()),
        _ => None,
    }
}
