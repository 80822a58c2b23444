//! Class `SMTPServer`: listens, and makes a channel for each connection.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::ToSocketAddrs;
use std::rc::Weak;

use asynchat::{AsyncChatError, Data};
use asyncore::socket2::{Domain, Type};
use asyncore::{Address, BaseClass, Dispatcher, DispatcherBase, Error, Result, Socket};

use super::channel::PlainSmtpChannel;

/// The size of the largest message, unless [`Settings`] say otherwise.
pub const DATA_SIZE_DEFAULT: usize = 33_554_432;

/// The arguments that `SMTPServer` and `SMTPChannel` share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The size of the largest message; 0 for any.
    pub data_size_limit: usize,
    /// Whether addresses may be in UTF-8, if the client says so: RFC 6531.
    pub enable_SMTPUTF8: bool,
    /// Whether messages are texts. Those that are not UTF-8 then end the connection.
    pub decode_data: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data_size_limit: DATA_SIZE_DEFAULT,
            enable_SMTPUTF8: false,
            decode_data: false,
        }
    }
}

impl Settings {
    /// What both classes look at first.
    ///
    /// # Errors
    ///
    /// When two of the settings exclude one another: Python's `ValueError`.
    pub(super) fn check(self) -> Result {
        if self.enable_SMTPUTF8 && self.decode_data {
            return Err(Error::msg(
                "decode_data and enable_SMTPUTF8 cannot be set to True at the same time",
            ));
        }
        Ok(())
    }
}

/// The `**kwargs` of [`process_message`](SmtpServer::process_message).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The parameters of MAIL, in capitals: `["BODY=8BITMIME", "SMTPUTF8"]`.
    pub mail_options: Vec<String>,
    /// The parameters of the last RCPT.
    pub rcpt_options: Vec<String>,
}

/// The methods that class `smtpd.SMTPServer` adds to [`Dispatcher`].
///
/// It is abstract: a class of yours overrides [`process_message`](SmtpServer::process_message).
#[doc(alias = "smtpd.SMTPServer")]
pub trait SmtpServer: Dispatcher<Base: SmtpServerClass<Self>> {
    /// `SMTPServer.__init__(self, localaddr, remoteaddr, …)`: listens. With `map=m`, make the object with
    /// [`init_in`](Dispatcher::init_in).
    ///
    /// # Errors
    ///
    /// When the settings exclude one another, and when the address cannot be listened on; the socket is
    /// closed then.
    #[doc(alias = "__init__")]
    fn init_smtp_server(
        &self,
        localaddr: (&str, u16),
        remoteaddr: Option<(&str, u16)>,
        settings: Settings,
    ) -> Result {
        settings.check()?;
        let base = self.smtp_server();
        base.settings.set(settings);
        base.remoteaddr
            .replace(remoteaddr.map(|(host, port)| (host.to_owned(), port)));
        let listening = listen(self, localaddr);
        if listening.is_err() {
            self.close()?;
        }
        listening
    }

    /// The attributes of class `SMTPServer`.
    fn smtp_server(&self) -> &SmtpServerBase {
        self.base().smtp_server()
    }

    /// Makes a channel for a connection: a call of the class that the attribute `channel_class` names,
    /// `SMTPChannel` unless overridden.
    ///
    /// # Errors
    ///
    /// Those of [`init_smtp_channel`](super::SmtpChannel::init_smtp_channel).
    fn channel_class(&self, conn: Socket, addr: Address, settings: Settings) -> Result {
        self.base().channel_class(self, conn, addr, settings)
    }

    /// Does something useful with a message.
    ///
    /// `peer` is the client's address, `mailfrom` and `rcpttos` are what it said the message comes from and
    /// goes to. `data` is the message with its headers, its lines ended by `\n`; text if
    /// [`decode_data`](Settings::decode_data) is set, when there are no `options`.
    ///
    /// Returns the reply, in the format of RFC 5321; `None` for `250 OK`.
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::NotImplemented`], unless overridden. An error ends the connection.
    fn process_message(
        &self,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        self.base()
            .process_message(self, peer, mailfrom, rcpttos, data, options)
    }
}

/// A class in the hierarchy below `SMTPServer`; see [`BaseClass`]. What the methods are for is told in
/// [`SmtpServer`].
pub trait SmtpServerClass<T: SmtpServer>: BaseClass<T> {
    /// The class that this one derives from; [`SmtpServerBase`] is its own.
    type SmtpServerSuper: SmtpServerClass<T>;

    /// The part of the object that the class derives from.
    fn smtp_server_super(&self) -> &Self::SmtpServerSuper;

    /// The attributes of class `SMTPServer`.
    fn smtp_server(&self) -> &SmtpServerBase {
        self.smtp_server_super().smtp_server()
    }

    /// The class's [`SmtpServer::channel_class`].
    fn channel_class(&self, this: &T, conn: Socket, addr: Address, settings: Settings) -> Result {
        self.smtp_server_super()
            .channel_class(this, conn, addr, settings)
    }

    /// The class's [`SmtpServer::process_message`].
    fn process_message(
        &self,
        this: &T,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        self.smtp_server_super()
            .process_message(this, peer, mailfrom, rcpttos, data, options)
    }
}

/// What a channel needs of its server. Every [`SmtpServer`] is one; import that one rather than this.
pub trait Backend: Any {
    /// [`SmtpServer::process_message`]
    fn process_message(
        &self,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>>;
}

impl<T: SmtpServer> Backend for T {
    fn process_message(
        &self,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        SmtpServer::process_message(self, peer, mailfrom, rcpttos, data, options)
    }
}

/// Class `smtpd.SMTPServer` itself: its attributes, and what its methods do.
#[doc(alias = "smtpd.SMTPServer")]
pub struct SmtpServerBase {
    dispatcher: DispatcherBase,
    /// What channels are made with.
    pub settings: Cell<Settings>,
    remoteaddr: RefCell<Option<(String, u16)>>,
}

impl SmtpServerBase {
    /// `self._remoteaddr`: where messages are handed on to.
    #[doc(alias = "_remoteaddr")]
    pub fn remoteaddr(&self) -> Option<(String, u16)> {
        self.remoteaddr.borrow().clone()
    }
}

impl fmt::Debug for SmtpServerBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpServerBase")
            .field("dispatcher", &self.dispatcher)
            .field("settings", &self.settings)
            .field("remoteaddr", &self.remoteaddr)
            .finish()
    }
}

impl<T: SmtpServer> BaseClass<T> for SmtpServerBase {
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> SmtpServerBase {
        SmtpServerBase {
            dispatcher: BaseClass::new(this),
            settings: Cell::default(),
            remoteaddr: RefCell::default(),
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        &self.dispatcher
    }

    fn handle_accepted(&self, this: &T, conn: Socket, addr: Address) -> Result {
        log::debug!(target: "smtpd", "Incoming connection from {addr}");
        // Not in the original: an urgent byte that nobody reads would be reported in every pass.
        if let Ok(socket) = conn.socket2() {
            socket.set_out_of_band_inline(true)?;
        }
        this.channel_class(conn, addr, self.settings.get())
    }

    // Not in the original, which closes its listener: accept(2) fails for the troubles of one connection,
    // too.
    fn handle_error(&self, this: &T, error: Error) -> Result {
        this.log_info(&error.to_string(), "error");
        Ok(())
    }
}

impl<T: SmtpServer> SmtpServerClass<T> for SmtpServerBase {
    type SmtpServerSuper = SmtpServerBase;

    fn smtp_server_super(&self) -> &SmtpServerBase {
        self
    }

    fn smtp_server(&self) -> &SmtpServerBase {
        self
    }

    fn channel_class(&self, this: &T, conn: Socket, addr: Address, settings: Settings) -> Result {
        PlainSmtpChannel::new(this.this()?, &this.map()?, conn, addr, settings)?;
        Ok(())
    }

    fn process_message(
        &self,
        _this: &T,
        _peer: &Address,
        _mailfrom: &str,
        _rcpttos: &[String],
        _data: &Data,
        _options: Option<&Options>,
    ) -> Result<Option<String>> {
        Err(AsyncChatError::NotImplemented.into())
    }
}

fn listen(server: &impl SmtpServer, localaddr: (&str, u16)) -> Result {
    let (host, port) = localaddr;
    let addr = localaddr.to_socket_addrs().map(|mut addrs| addrs.next());
    let addr = match addr {
        Ok(Some(addr)) => addr,
        Ok(None) => return Err(Error::msg(format!("{host} has no address"))),
        Err(error) => return Err(Error::msg(format!("{host}: {error}"))),
    };
    server.create_socket(Domain::for_address(addr), Type::STREAM)?;
    // Try to reuse a port.
    server.set_reuse_addr()?;
    server.bind((host, port))?;
    // The original's 5 leaves most of a crowd that comes at once to the system's retries.
    server.listen(1024)?;
    log::debug!(target: "smtpd", "{} started", server.repr());
    Ok(())
}
