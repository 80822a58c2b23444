//! Python's `asynchat` for Rust: channels for protocols of commands and responses, which cut their input at
//! terminators and queue their output.
//!
//! Lines, blocks of a length that was told before, and whatever comes until the end: HTTP, SMTP, FTP, IRC and
//! most older protocols consist of these. A class derived from [`AsyncChat`] is called with each, and
//! answers by pushing bytes or [producers](Producer). It is a [dispatcher](asyncore::Dispatcher) and shares the
//! loop and the map of [`asyncore`] with all others; start there if you have not.
//!
//! It is for those who port, compare and learn, as `asyncore` is. A program without a past is better served by
//! an async runtime.
//!
//! **To port a program of either module, begin with [the porting guide](porting).**
//!
//! ```no_run
//! use asynchat::{AsyncChat, AsyncChatBase};
//! use asyncore::socket2::{Domain, Type};
//! use asyncore::{Address, Dispatcher, DispatcherBase, Result, Socket};
//!
//! // class Handler(asynchat.async_chat):
//! struct Handler { base: AsyncChatBase }
//!
//! impl Dispatcher for Handler {
//!     type Base = AsyncChatBase;
//!     fn base(&self) -> &Self::Base { &self.base }
//! }
//!
//! impl AsyncChat for Handler {
//!     // def collect_incoming_data(self, data):
//!     fn collect_incoming_data(&self, data: &[u8]) -> Result {
//!         self._collect_incoming_data(data);
//!         Ok(())
//!     }
//!
//!     // def found_terminator(self):
//!     fn found_terminator(&self) -> Result {
//!         let command = self._get_data().to_ascii_uppercase();
//!         match &command[..] {
//!             b"QUIT" => {
//!                 self.push(b"221 Bye\r\n")?;
//!                 self.close_when_done()
//!             }
//!             b"NOOP" => self.push(b"250 OK\r\n"),
//!             _ => self.push(b"500 What?\r\n"),
//!         }
//!     }
//! }
//!
//! // class Server(asyncore.dispatcher):
//! struct Server { base: DispatcherBase }
//!
//! impl Dispatcher for Server {
//!     type Base = DispatcherBase;
//!     fn base(&self) -> &Self::Base { &self.base }
//!
//!     fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
//!         let handler = Handler::init_with(socket, |base| Handler { base })?;
//!         handler.set_terminator(b"\r\n")?;
//!         handler.push(b"220 Ready\r\n")
//!     }
//! }
//!
//! fn main() -> Result {
//!     let server = Server::init(|base| Server { base });
//!     server.create_socket(Domain::IPV4, Type::STREAM)?;
//!     server.set_reuse_addr()?;
//!     server.bind(("localhost", 8025))?;
//!     server.listen(5)?;
//!     asyncore::r#loop()
//! }
//! ```
//!
//! # From Python to Rust
//!
//! | Python's asynchat | Rust |
//! |---|---|
//! | `class C(asynchat.async_chat)` | `struct C { base: AsyncChatBase, … }`, `impl Dispatcher for C`, `impl AsyncChat for C` |
//! | `ac_in_buffer_size = 65536` in the class | `const AC_IN_BUFFER_SIZE: usize = 65536;` in `impl AsyncChat` |
//! | `self.ac_in_buffer_size = 65536` | `self.async_chat().ac_in_buffer_size.set(65536)` |
//! | `self.set_terminator(b"\r\n")`, `(n)`, `(None)` | `self.set_terminator(b"\r\n")?`, `(n)`, `(None)` |
//! | `self.get_terminator()`, `self.terminator` | `self.get_terminator()`, `self.async_chat().terminator()` |
//! | `def collect_incoming_data(self, data)` | `fn collect_incoming_data(&self, data: &[u8]) -> Result` |
//! | `def found_terminator(self)` | `fn found_terminator(&self) -> Result` |
//! | `self._collect_incoming_data(data)`, `self._get_data()` | the same |
//! | `self.push(b"…")` | `self.push(b"…")?`; text, `Vec<u8>` and `Bytes` will do, too |
//! | `self.push_with_producer(p)` | `self.push_with_producer(p)?` |
//! | `class P:` with `def more(self)` | `impl Producer for P`, with `fn more(&self) -> Result<Data>`; or a closure |
//! | `asynchat.simple_producer(data, 512)` | `SimpleProducer::with_buffer_size(data, 512)` |
//! | `self.close_when_done()`, `self.initiate_send()` | `self.close_when_done()?`, `self.initiate_send()?` |
//! | `self.discard_buffers()` | `self.discard_buffers()` |
//! | `self.ac_in_buffer`, `self.incoming` | `self.async_chat().ac_in_buffer()`, `self.async_chat().incoming()` |
//! | `len(self.producer_fifo)`, `self.producer_fifo.append(None)` | `self.async_chat().producer_fifo.len()`, `.push(Queued::Close)`, … |
//! | `asynchat.fifo()` | `Fifo::new()` |
//! | `asynchat.find_prefix_at_end(haystack, needle)` | `find_prefix_at_end(haystack, needle)` |
//! | `use_encoding = 1`, `encoding = "latin-1"` | `const USE_ENCODING: bool = true;`, `const ENCODING: Encoding = Encoding::Latin1;` |
//!
//! # Where to go on
//!
//! - [`porting`] is the guide, with [recipes](porting::recipes).
//! - [`AsyncChat`] has the methods, [`AsyncChatBase`] the attributes.
//! - [`differences`] has all that differs from CPython.
//! - The programs `http_server` and `chat_server` among the examples.
//! - [How to read the source](asyncore#how-to-read-the-source) of both crates.
//!
//! # Speed
//!
//! Input is searched once for a terminator, whatever it is and however the stream is cut, and handed on without
//! a copy. (One that changes is searched for anew in what was held back.)
//! `cargo run --release -p compat-tests --bin chat_benchmark` compares with CPython and with a bare search.

mod async_chat;
mod data;
mod error;
mod fifo;
mod in_buffer;
mod producer;
mod terminator;

#[doc = include_str!("differences.md")]
pub mod differences {}

#[doc = include_str!("porting.md")]
pub mod porting {
    #[doc = include_str!("recipes.md")]
    pub mod recipes {}

    /// The pages of differences of both crates, one after the other: [`asyncore`'s](asyncore::differences), then
    /// [`asynchat`'s](crate::differences).
    ///
    #[doc = include_str!("../../asyncore/src/differences.md")]
    #[doc = ""]
    #[doc = include_str!("differences.md")]
    pub mod differences {}
}

pub use async_chat::{AsyncChat, AsyncChatBase, AsyncChatClass};
/// The crate of the shared bytes that are queued.
pub use bytes;
pub use data::{Data, Encoding};
pub use error::AsyncChatError;
pub use fifo::Fifo;
pub use producer::{Producer, Queued, SimpleProducer};
pub use terminator::{Needle, Terminator, find_prefix_at_end};
