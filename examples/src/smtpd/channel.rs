//! Class `SMTPChannel`: a connection, whose lines become commands, and what follows DATA a message.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::OnceLock;

use asynchat::{AsyncChat, AsyncChatBase, AsyncChatClass, Data, Encoding};
use asyncore::{Address, BaseClass, ChannelMap, Dispatcher, Error, Result, Socket};

use super::addr_spec::is_space;
use super::server::{Backend, Options, Settings};

/// What the greeting says, as in Python.
pub const VERSION: &str = "Python SMTP proxy version 0.3";

/// The [`smtp_state`](SmtpChannelBase::smtp_state) in which lines are commands.
pub const COMMAND: u8 = 0;

/// The [`smtp_state`](SmtpChannelBase::smtp_state) in which a message comes.
pub const DATA: u8 = 1;

/// The size of the longest command, where nothing else is said.
pub(super) const COMMAND_SIZE_LIMIT: usize = 512;

/// So many replies may wait for a client that does not read them.
const MAX_REPLIES: usize = 1000;

/// The methods that class `smtpd.SMTPChannel` adds to [`AsyncChat`], all of which can be overridden.
///
/// ```
/// use asynchat::AsyncChat;
/// use asyncore::{Dispatcher, Result};
/// use examples::smtpd::{SmtpChannel, SmtpChannelBase, SmtpChannelClass};
///
/// /// class Channel(smtpd.SMTPChannel): knows no addresses, and one command more.
/// struct Channel { base: SmtpChannelBase }
///
/// impl Dispatcher for Channel {
///     type Base = SmtpChannelBase;
///     fn base(&self) -> &SmtpChannelBase { &self.base }
/// }
///
/// impl AsyncChat for Channel {}
///
/// impl SmtpChannel for Channel {
///     fn smtp_VRFY(&self, _arg: Option<&str>) -> Result {
///         self.push("252 Try and see")
///     }
///
///     fn smtp_command(&self, command: &str, arg: Option<&str>) -> Result<bool> {
///         match command {
///             "HAIL" => self.smtp_HAIL(arg).map(|()| true),
///             _ => self.base().smtp_command(self, command, arg),
///         }
///     }
/// }
///
/// impl Channel {
///     fn smtp_HAIL(&self, arg: Option<&str>) -> Result {
///         self.push(format!("250 Hail, {}", arg.unwrap_or("stranger")))
///     }
/// }
/// ```
#[doc(alias = "smtpd.SMTPChannel")]
pub trait SmtpChannel: AsyncChat<Base: SmtpChannelClass<Self>> {
    /// `SMTPChannel.__init__(self, server, conn, addr, …)`: greets the client. With `map=m`, make the object
    /// with [`init_in`](Dispatcher::init_in).
    ///
    /// # Errors
    ///
    /// When the settings exclude one another, and those of the socket and of
    /// [`push`](AsyncChat::push), after which the channel is closed. A connection that is lost already is none;
    /// the channel is closed all the same.
    #[doc(alias = "__init__")]
    fn init_smtp_channel(
        &self,
        server: Rc<dyn Backend>,
        conn: Socket,
        addr: Address,
        settings: Settings,
    ) -> Result {
        settings.check()?;
        let base = self.smtp_channel();
        base.smtp_server.replace(Some(server));
        base.data_size_limit.set(settings.data_size_limit);
        base.enable_SMTPUTF8.set(settings.enable_SMTPUTF8);
        base.decode_data.set(settings.decode_data);
        self._set_rset_state()?;
        self.init_socket(conn.clone())?;
        self.root().set_addr(Some(addr));
        match conn.peer_addr() {
            Ok(peer) => base.peer.replace(Some(peer)),
            // The other end may close before we can ask.
            Err(error) => {
                self.close()?;
                return match error.kind() {
                    io::ErrorKind::NotConnected => Ok(()),
                    _ => Err(error.into()),
                };
            }
        };
        let fqdn = base.fqdn.borrow().clone();
        let greeted = self.push(format!("220 {fqdn} {VERSION}"));
        if greeted.is_err() {
            self.close()?;
        }
        greeted
    }

    /// The attributes of class `SMTPChannel`.
    fn smtp_channel(&self) -> &SmtpChannelBase {
        self.base().smtp_channel()
    }

    /// Sets the state back to what it is after a message.
    ///
    /// # Errors
    ///
    /// None, unless overridden.
    fn _set_post_data_state(&self) -> Result {
        self.base()._set_post_data_state(self)
    }

    /// Sets all of the state back, but not the greeting.
    ///
    /// # Errors
    ///
    /// None, unless overridden.
    fn _set_rset_state(&self) -> Result {
        self.base()._set_rset_state(self)
    }

    /// Calls the method for a command, in capitals: `getattr(self, 'smtp_' + command)(arg)`. `false` if
    /// there is none. Override it for a command that the class does not have.
    ///
    /// # Errors
    ///
    /// Those of the method.
    fn smtp_command(&self, command: &str, arg: Option<&str>) -> Result<bool> {
        self.base().smtp_command(self, command, arg)
    }

    // ---- the commands; their errors are those of `push`

    /// `HELO hostname` greets.
    fn smtp_HELO(&self, arg: Option<&str>) -> Result {
        self.base().smtp_HELO(self, arg)
    }

    /// `EHLO hostname` greets, and asks for extensions.
    fn smtp_EHLO(&self, arg: Option<&str>) -> Result {
        self.base().smtp_EHLO(self, arg)
    }

    /// `NOOP` does nothing.
    fn smtp_NOOP(&self, arg: Option<&str>) -> Result {
        self.base().smtp_NOOP(self, arg)
    }

    /// `QUIT` ends the connection.
    fn smtp_QUIT(&self, arg: Option<&str>) -> Result {
        self.base().smtp_QUIT(self, arg)
    }

    /// `HELP`, or `HELP command`
    fn smtp_HELP(&self, arg: Option<&str>) -> Result {
        self.base().smtp_HELP(self, arg)
    }

    /// `VRFY address` asks whether there is such an address.
    fn smtp_VRFY(&self, arg: Option<&str>) -> Result {
        self.base().smtp_VRFY(self, arg)
    }

    /// `MAIL FROM:<address>` begins a message.
    fn smtp_MAIL(&self, arg: Option<&str>) -> Result {
        self.base().smtp_MAIL(self, arg)
    }

    /// `RCPT TO:<address>` adds a recipient.
    fn smtp_RCPT(&self, arg: Option<&str>) -> Result {
        self.base().smtp_RCPT(self, arg)
    }

    /// `RSET` forgets the message.
    fn smtp_RSET(&self, arg: Option<&str>) -> Result {
        self.base().smtp_RSET(self, arg)
    }

    /// `DATA` is followed by the message.
    fn smtp_DATA(&self, arg: Option<&str>) -> Result {
        self.base().smtp_DATA(self, arg)
    }

    /// `EXPN list` asks who is on a list.
    fn smtp_EXPN(&self, arg: Option<&str>) -> Result {
        self.base().smtp_EXPN(self, arg)
    }
}

/// Looks the commands up in the superclass.
macro_rules! commands {
    ($($smtp_command:ident)*) => {$(
        #[doc = concat!("The class's [`SmtpChannel::", stringify!($smtp_command), "`].")]
        fn $smtp_command(&self, this: &T, arg: Option<&str>) -> Result {
            self.smtp_channel_super().$smtp_command(this, arg)
        }
    )*};
}

/// A class in the hierarchy below `SMTPChannel`; see [`BaseClass`]. What the methods are for is told in
/// [`SmtpChannel`].
pub trait SmtpChannelClass<T: SmtpChannel>: AsyncChatClass<T> {
    /// The class that this one derives from; [`SmtpChannelBase`] is its own.
    type SmtpChannelSuper: SmtpChannelClass<T>;

    /// The part of the object that the class derives from.
    fn smtp_channel_super(&self) -> &Self::SmtpChannelSuper;

    /// The attributes of class `SMTPChannel`.
    fn smtp_channel(&self) -> &SmtpChannelBase {
        self.smtp_channel_super().smtp_channel()
    }

    /// The class's [`SmtpChannel::_set_post_data_state`].
    fn _set_post_data_state(&self, this: &T) -> Result {
        self.smtp_channel_super()._set_post_data_state(this)
    }

    /// The class's [`SmtpChannel::_set_rset_state`].
    fn _set_rset_state(&self, this: &T) -> Result {
        self.smtp_channel_super()._set_rset_state(this)
    }

    /// The class's [`SmtpChannel::smtp_command`].
    fn smtp_command(&self, this: &T, command: &str, arg: Option<&str>) -> Result<bool> {
        self.smtp_channel_super().smtp_command(this, command, arg)
    }

    commands! {
        smtp_HELO smtp_EHLO smtp_NOOP smtp_QUIT smtp_HELP smtp_VRFY smtp_MAIL smtp_RCPT smtp_RSET smtp_DATA
        smtp_EXPN
    }
}

/// Class `smtpd.SMTPChannel` itself: its attributes, and what its methods do.
///
/// Keep no `RefCell` borrowed while calling a method.
#[doc(alias = "smtpd.SMTPChannel")]
pub struct SmtpChannelBase {
    pub(super) chat: AsyncChatBase,
    /// `self.command_size_limit`: the size of the longest command before EHLO.
    pub command_size_limit: Cell<usize>,
    /// `self.command_size_limits`: the sizes of the longest commands after EHLO, where they are not 512.
    pub command_size_limits: RefCell<BTreeMap<String, usize>>,
    /// `self.data_size_limit`: the size of the largest message; 0 for any.
    pub data_size_limit: Cell<usize>,
    /// `self.enable_SMTPUTF8`
    pub enable_SMTPUTF8: Cell<bool>,
    /// `self._decode_data`
    pub decode_data: Cell<bool>,
    /// `self.smtp_state`: [`COMMAND`], [`DATA`], or one of a class of yours, which then sees to how much
    /// is collected in it.
    pub smtp_state: Cell<u8>,
    /// `self.seen_greeting`: what the client called itself.
    pub seen_greeting: RefCell<String>,
    /// `self.extended_smtp`: whether it greeted with EHLO.
    pub extended_smtp: Cell<bool>,
    /// `self.require_SMTPUTF8`: whether replies are UTF-8, not ASCII.
    pub require_SMTPUTF8: Cell<bool>,
    /// `self.mailfrom`; empty before MAIL.
    pub mailfrom: RefCell<String>,
    /// `self.rcpttos`
    pub rcpttos: RefCell<Vec<String>>,
    /// `self.mail_options`
    pub mail_options: RefCell<Vec<String>>,
    /// `self.rcpt_options`
    pub rcpt_options: RefCell<Vec<String>>,
    /// `self.num_bytes`: how much has come of the command or message, as far as it is within the limits.
    pub num_bytes: Cell<usize>,
    /// `self.received_lines`: what has come of it, joined already.
    pub received_lines: RefCell<Vec<u8>>,
    /// `self.received_data`: the message.
    pub received_data: RefCell<Data>,
    /// `self.fqdn`: what this machine calls itself.
    pub fqdn: RefCell<String>,
    smtp_server: RefCell<Option<Rc<dyn Backend>>>,
    peer: RefCell<Option<Address>>,
}

impl SmtpChannelBase {
    /// `self.smtp_server`: to get at the attributes of your own, `Rc<dyn Any>::downcast` it.
    ///
    /// # Errors
    ///
    /// Before [`init_smtp_channel`](SmtpChannel::init_smtp_channel).
    pub fn smtp_server(&self) -> Result<Rc<dyn Backend>> {
        let server = self.smtp_server.borrow().clone();
        server.ok_or_else(|| Error::msg("the channel has no server yet"))
    }

    /// `self.peer`: the address of the client.
    ///
    /// # Errors
    ///
    /// Before [`init_smtp_channel`](SmtpChannel::init_smtp_channel).
    pub fn peer(&self) -> Result<Address> {
        let peer = self.peer.borrow().clone();
        peer.ok_or_else(|| Error::msg("the channel has no peer yet"))
    }

    /// `self.max_command_size_limit`: no command may be longer.
    pub fn max_command_size_limit(&self) -> usize {
        let limits = self.command_size_limits.borrow();
        let max = limits.values().copied().max();
        max.unwrap_or(self.command_size_limit.get())
    }
}

impl fmt::Debug for SmtpChannelBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpChannelBase")
            .field("chat", &self.chat)
            .field("smtp_state", &self.smtp_state)
            .field("mailfrom", &self.mailfrom)
            .field("rcpttos", &self.rcpttos)
            .field("num_bytes", &self.num_bytes)
            .finish_non_exhaustive()
    }
}

impl<T: SmtpChannel> BaseClass<T> for SmtpChannelBase {
    type Super = AsyncChatBase;

    fn new(this: &Weak<T>) -> SmtpChannelBase {
        SmtpChannelBase {
            chat: BaseClass::new(this),
            command_size_limit: Cell::new(COMMAND_SIZE_LIMIT),
            command_size_limits: RefCell::default(),
            data_size_limit: Cell::default(),
            enable_SMTPUTF8: Cell::default(),
            decode_data: Cell::default(),
            smtp_state: Cell::new(COMMAND),
            seen_greeting: RefCell::default(),
            extended_smtp: Cell::default(),
            require_SMTPUTF8: Cell::default(),
            mailfrom: RefCell::default(),
            rcpttos: RefCell::default(),
            mail_options: RefCell::default(),
            rcpt_options: RefCell::default(),
            num_bytes: Cell::default(),
            received_lines: RefCell::default(),
            received_data: RefCell::default(),
            fqdn: RefCell::new(getfqdn().to_owned()),
            smtp_server: RefCell::default(),
            peer: RefCell::default(),
        }
    }

    fn superclass(&self) -> &AsyncChatBase {
        &self.chat
    }

    // Not in the original, where replies queue up without end for a client that does not read them.
    fn readable(&self, _this: &T) -> bool {
        self.chat.producer_fifo.len() < MAX_REPLIES
    }
}

impl<T: SmtpChannel> AsyncChatClass<T> for SmtpChannelBase {
    type AsyncChatSuper = AsyncChatBase;

    /// What CPython's `async_chat` receives at once: limits and errors see the same pieces.
    const AC_IN_BUFFER_SIZE: usize = 65536;

    fn async_chat_super(&self) -> &AsyncChatBase {
        &self.chat
    }

    /// Sends a line of text.
    fn push(&self, this: &T, msg: Data) -> Result {
        let msg = msg.as_str().ok_or_else(|| Error::msg("no text to push"))?;
        let encoding = match self.require_SMTPUTF8.get() {
            true => Encoding::Utf8,
            false => Encoding::Ascii,
        };
        let line = encoding.encode(format!("{msg}\r\n"))?;
        self.chat.push(this, line.into())
    }

    fn collect_incoming_data(&self, _this: &T, data: &[u8]) -> Result {
        let limit = match self.smtp_state.get() {
            COMMAND => self.max_command_size_limit(),
            DATA => self.data_size_limit.get(),
            _ => 0,
        };
        if limit > 0 {
            if self.num_bytes.get() > limit {
                return Ok(());
            }
            self.num_bytes.update(|bytes| bytes + data.len());
        }
        if self.decode_data.get() {
            // As in Python, a character that came in two pieces is an error.
            str::from_utf8(data)?;
        }
        self.received_lines.borrow_mut().extend_from_slice(data);
        Ok(())
    }

    fn found_terminator(&self, this: &T) -> Result {
        let line = self.received_lines.take();
        log::debug!(target: "smtpd", "Data: {}", line.escape_ascii());
        match self.smtp_state.get() {
            COMMAND => self.found_command(this, line),
            DATA => self.found_message(this, line),
            _ => {
                self.num_bytes.set(0);
                this.push("451 Internal confusion")
            }
        }
    }
}

impl SmtpChannelBase {
    fn found_command<T: SmtpChannel>(&self, this: &T, line: Vec<u8>) -> Result {
        let sz = self.num_bytes.take();
        if line.is_empty() {
            return this.push("500 Error: bad syntax");
        }
        let line = String::from_utf8(line)?;
        let (command, arg) = match line.split_once(' ') {
            Some((command, arg)) => (command.to_uppercase(), Some(arg.trim_matches(is_space))),
            None => (line.to_uppercase(), None),
        };
        if sz > self.max_size(&command) {
            return this.push("500 Error: line too long");
        }
        if !this.smtp_command(&command, arg)? {
            return this.push(format!("500 Error: command \"{command}\" not recognized"));
        }
        Ok(())
    }

    fn max_size(&self, command: &str) -> usize {
        if !self.extended_smtp.get() {
            return self.command_size_limit.get();
        }
        let limits = self.command_size_limits.borrow();
        limits.get(command).copied().unwrap_or(COMMAND_SIZE_LIMIT)
    }

    fn found_message<T: SmtpChannel>(&self, this: &T, line: Vec<u8>) -> Result {
        let limit = self.data_size_limit.get();
        if limit > 0 && self.num_bytes.get() > limit {
            // As in Python, what comes now is taken for another message, until it ends.
            self.num_bytes.set(0);
            return this.push("552 Error: Too much mail data");
        }
        let message = unstuffed(&line);
        drop(line);
        let (data, options) = if self.decode_data.get() {
            (Data::from(String::from_utf8(message)?), None)
        } else {
            let options = Options {
                mail_options: self.mail_options.borrow().clone(),
                rcpt_options: self.rcpt_options.borrow().clone(),
            };
            (Data::from(message), Some(options))
        };
        self.received_data.replace(data.clone());
        let (peer, mailfrom) = (self.peer()?, self.mailfrom.borrow().clone());
        let rcpttos = self.rcpttos.borrow().clone();
        let status = self.smtp_server()?.process_message(
            &peer,
            &mailfrom,
            &rcpttos,
            &data,
            options.as_ref(),
        )?;
        this._set_post_data_state()?;
        match status.filter(|status| !status.is_empty()) {
            Some(status) => this.push(status),
            None => this.push("250 OK"),
        }
    }
}

/// The lines of a message, ended by `\n`, without the dots that were added to those that begin with one (RFC
/// 5321, section 4.5.2).
fn unstuffed(message: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(message.len());
    let mut begins = true;
    for piece in message.split_inclusive(|byte| *byte == b'\n') {
        let unstuffed = piece.strip_prefix(b".").filter(|_| begins);
        let piece = unstuffed.unwrap_or(piece);
        let line = piece.strip_suffix(b"\r\n");
        begins = line.is_some();
        result.extend_from_slice(line.unwrap_or(piece));
        result.extend(line.map(|_| b'\n'));
    }
    result
}

/// `socket.getfqdn()`: what this machine calls itself. Looked up once, since everything waits meanwhile.
pub(super) fn getfqdn() -> &'static str {
    static FQDN: OnceLock<String> = OnceLock::new();

    FQDN.get_or_init(|| {
        let name = dns_lookup::get_hostname().unwrap_or_default();
        let addr = dns_lookup::lookup_host(&name).ok();
        let addr = addr.and_then(|mut addrs| addrs.next());
        let fqdn = addr.and_then(|addr| dns_lookup::lookup_addr(&addr).ok());
        let fqdn = fqdn.unwrap_or(name);
        match fqdn.is_ascii() && !fqdn.is_empty() {
            true => fqdn,
            false => "localhost".to_owned(),
        }
    })
}

/// `SMTPChannel`, as it is.
#[derive(Debug)]
pub struct PlainSmtpChannel {
    base: SmtpChannelBase,
}

impl PlainSmtpChannel {
    /// `SMTPChannel(server, conn, addr, data_size_limit, map, enable_SMTPUTF8, decode_data)`
    ///
    /// # Errors
    ///
    /// Those of [`init_smtp_channel`](SmtpChannel::init_smtp_channel).
    pub fn new(
        server: Rc<dyn Backend>,
        map: &ChannelMap,
        conn: Socket,
        addr: Address,
        settings: Settings,
    ) -> Result<Rc<PlainSmtpChannel>> {
        let channel = PlainSmtpChannel::init_in(map, |base| PlainSmtpChannel { base });
        channel.init_smtp_channel(server, conn, addr, settings)?;
        Ok(channel)
    }
}

impl Dispatcher for PlainSmtpChannel {
    type Base = SmtpChannelBase;
    fn base(&self) -> &SmtpChannelBase {
        &self.base
    }
}

impl AsyncChat for PlainSmtpChannel {}

impl SmtpChannel for PlainSmtpChannel {}
