//! Python's `smtpd`, a mail server of classes to derive from: `class SMTPServer(asyncore.dispatcher)` and
//! `class SMTPChannel(asynchat.async_chat)`, which it makes for each connection, with the extensions SIZE,
//! 8BITMIME and SMTPUTF8; and two servers made of them, `DebuggingServer` and `PureProxy`.
//!
//! A server of one's own says what becomes of a message:
//!
//! ```
//! use std::cell::RefCell;
//! use std::rc::Rc;
//!
//! use asynchat::Data;
//! use asyncore::{Address, Dispatcher, Result};
//! use examples::smtpd::{Options, Settings, SmtpServer, SmtpServerBase};
//!
//! /// class CustomSMTPServer(smtpd.SMTPServer)
//! struct CustomSmtpServer {
//!     base: SmtpServerBase,
//!     messages: RefCell<Vec<Data>>,
//! }
//!
//! impl Dispatcher for CustomSmtpServer {
//!     type Base = SmtpServerBase;
//!     fn base(&self) -> &SmtpServerBase { &self.base }
//! }
//!
//! impl SmtpServer for CustomSmtpServer {
//!     fn process_message(
//!         &self,
//!         peer: &Address,
//!         mailfrom: &str,
//!         rcpttos: &[String],
//!         data: &Data,
//!         _options: Option<&Options>,
//!     ) -> Result<Option<String>> {
//!         println!("from {mailfrom} at {peer}, to {}", rcpttos.join(", "));
//!         self.messages.borrow_mut().push(data.clone());
//!         Ok(None)
//!     }
//! }
//!
//! # fn main() -> Result {
//! // server = CustomSMTPServer(('127.0.0.1', 0), None)
//! let messages = RefCell::default();
//! let server = CustomSmtpServer::init(|base| CustomSmtpServer { base, messages });
//! server.init_smtp_server(("127.0.0.1", 0), None, Settings::default())?;
//! // asyncore.loop()
//! # Ok(())
//! # }
//! ```
//!
//! A channel of one's own has other commands ([`SmtpChannel`]), and a server that makes such channels
//! ([`SmtpServer::channel_class`]).
//!
//! To read how it works, take the source in this order: `server` (who makes the channels), `channel` (how
//! lines become commands and messages), `commands` (what is said to them), `addr_spec` (what an address is),
//! `debugging_server`, `pure_proxy`, and `smtp_client`, through which it hands messages on.
//!
//! # What is not as in Python
//!
//! | Python | here | why |
//! |---|---|---|
//! | `command_size_limits` belongs to the class: a new connection resets the limits of all, and each `EHLO` raises them for all; it keeps every word that was sent as a command | belongs to the channel, and has what differs from the default | one client changed what others may send, and memory had no bound |
//! | replies queue up without end for a client that does not read them | such a client is not read from | memory |
//! | any number of recipients | 10000, then `452` | memory |
//! | five connections may wait to be accepted | 1024 | a crowd that comes at once is left to the system's retries |
//! | an error while a connection is accepted closes the server | it is logged | it is the trouble of one connection |
//! | `PureProxy` fails each message, unless `decode_data` is set, which its `process_message` was not made for | takes both | it was meant to be used |
//! | `PureProxy` waits for the next server as long as it takes | five minutes for each reply, as RFC 5321 has it | all connections wait with it |
//! | encoded words (`=?utf-8?q?…?=`) are decoded in addresses | are not | RFC 2047 forbids them there |
//! | parameters have names of what Unicode calls letters and digits, or are syntax errors | of what Rust calls so, marks of vowels among them; they are unknown then | refused either way |
//! | `SIZE=` with the digits of any script, some of which end the connection | 0 to 9 | RFC 1870 has no others |
//! | the name of this machine is looked up for each connection | once | everything waits while a name is looked up |
//! | prints to `DEBUGSTREAM` | logs with the target `smtpd`, at the level `debug` | it is what logs are for |
//! | `DebuggingServer` prints options with `repr`, which escapes all that is not printable | escapes control characters | it is for people |
//! | `python -m smtpd` has no limit without `--size`, whatever its usage says; it runs as the user `nobody` | the program has the limit of the usage; it stays who it is | memory; a port can be had otherwise |
//! | `conn` | `socket()` | it is the same |
//! | `_SMTPChannel__line` and other deprecated names | | the names they stand for are there |
//!
//! # Odd, and kept
//!
//! | what CPython does, and so does this module | |
//! |---|---|
//! | After `552 Error: Too much mail data`, what comes is taken for another message until that ends. | A client that goes on with a command waits for an answer in vain. |
//! | What is no UTF-8 in a command, a reply that is not ASCII, most addresses that are none, a `SIZE` without a number: the connection ends. | It is an exception there. |
//! | With `decode_data`, a character that comes in two packets ends the connection. | |
//! | The parameters of a RCPT that was refused are among the options of the message. | |
//! | `PureProxy` says `250 OK` whatever the next server says. | Its `_deliver` tells; see [`PureProxyBase`]. |
// The names of methods and attributes are those of the original.
#![allow(non_snake_case)]

mod addr_spec;
mod channel;
mod commands;
mod debugging_server;
mod pure_proxy;
mod server;
mod smtp_client;

pub use channel::{
    COMMAND, DATA, PlainSmtpChannel, SmtpChannel, SmtpChannelBase, SmtpChannelClass, VERSION,
};
pub use debugging_server::{DebuggingServer, DebuggingServerBase};
pub use pure_proxy::{PureProxy, PureProxyBase};
pub use server::{
    Backend, DATA_SIZE_DEFAULT, Options, Settings, SmtpServer, SmtpServerBase, SmtpServerClass,
};
pub use smtp_client::{Refused, Reply, SmtpClient, SmtpError};
