//! Python's `asyncore` for Rust: channels around sockets, a map of them, and the loop that calls them when
//! they are ready.
//!
//! A generation of servers was written on `asyncore` and `asynchat`, which CPython removed in 3.12. This
//! crate is the first of the two modules, whole: the same classes, the same methods called in the same
//! order with the same bytes, proven side by side with CPython 3.11. It is for those who port such a
//! program, who compare the two, or who want to read how a readiness loop works. It is not for a program
//! without a past: that one is better served by an async runtime.
//!
//! **To port a program, begin with [the porting guide](../asynchat/porting/index.html)**, in the documentation of
//! `asynchat`: Python and Rust side by side, and a recipe for each idiom.
//!
//! # A server in 20 lines
//!
//! ```no_run
//! use asyncore::socket2::{Domain, Type};
//! use asyncore::{
//!     Address, Dispatcher, DispatcherBase, DispatcherWithSend, DispatcherWithSendBase, Result, Socket,
//! };
//!
//! struct EchoHandler { base: DispatcherWithSendBase }
//!
//! impl Dispatcher for EchoHandler {
//!     type Base = DispatcherWithSendBase;
//!     fn base(&self) -> &Self::Base { &self.base }
//!
//!     fn handle_read(&self) -> Result {
//!         let data = self.recv(8192)?;
//!         if !data.is_empty() {
//!             self.send(&data)?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! impl DispatcherWithSend for EchoHandler {}
//!
//! struct EchoServer { base: DispatcherBase }
//!
//! impl Dispatcher for EchoServer {
//!     type Base = DispatcherBase;
//!     fn base(&self) -> &Self::Base { &self.base }
//!
//!     fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
//!         println!("Incoming connection from {addr}");
//!         EchoHandler::init_with(socket, |base| EchoHandler { base })?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result {
//!     let server = EchoServer::init(|base| EchoServer { base });
//!     server.create_socket(Domain::IPV4, Type::STREAM)?;
//!     server.set_reuse_addr()?;
//!     server.bind(("localhost", 8080))?;
//!     server.listen(5)?;
//!     asyncore::r#loop()
//! }
//! ```
//!
//! # From Python to Rust
//!
//! | Python | Rust |
//! |---|---|
//! | `class C(asyncore.dispatcher)` | `struct C { base: DispatcherBase, … }`, `impl Dispatcher for C` |
//! | `class C(asyncore.dispatcher_with_send)` | `DispatcherWithSendBase`, and `impl DispatcherWithSend for C {}` besides |
//! | `class C(asyncore.file_dispatcher)` | `FileDispatcherBase`, and `impl FileDispatcher for C {}` besides |
//! | `asyncore.dispatcher.__init__(self)` | `C::init(\|base\| C { base, … })` |
//! | `asyncore.dispatcher.__init__(self, sock)` | `C::init_with(sock, \|base\| C { base, … })?` |
//! | `asyncore.dispatcher.__init__(self, map=m)` | `C::init_in(&m, \|base\| C { base, … })`, then `init_socket(sock)?` for a socket |
//! | `asyncore.file_dispatcher.__init__(self, fd)` | `C::init(…)`, then `init_file(fd)?` |
//! | `def handle_read(self)` | `fn handle_read(&self) -> Result` |
//! | `asyncore.dispatcher.handle_close(self)` | `self.base().handle_close(self)`, with `BaseClass` imported |
//! | `self.create_socket()` | `self.create_socket(Domain::IPV4, Type::STREAM)?` |
//! | `self.bind(("", 8080))`, `self.connect(path)` | `self.bind(("", 8080))?`, `self.connect(Path::new(…))?` |
//! | `data = self.recv(8192)` | `let data = self.recv(8192)?`, or `recv_into(&mut buffer)?` |
//! | `sent = self.send(data)` | `let sent = self.send(&data)?` |
//! | `self.connected`, `self.addr`, … | `self.connected()`, `self.addr()`, … |
//! | `self.connected = True` | `self.root().connected.set(true)` |
//! | `self.socket.setsockopt(…)`, `.sendto(…)` | `self.socket()?.socket2()?.set_…(…)?`, `self.socket()?.send_to(…)?` |
//! | `raise asyncore.ExitNow()`, `raise ValueError("no")` | `return Err(ExitNow.into())`, `return Err(Error::msg("no"))` |
//! | `def handle_error(self)` with `sys.exc_info()` | `fn handle_error(&self, error: Error) -> Result` |
//! | `asyncore.loop()` | `asyncore::r#loop()?` |
//! | `except KeyboardInterrupt:` around it | a channel that watches for the signal and returns `KeyboardInterrupt`: `examples/src/lib.rs` |
//! | `self.log_info("hello")` | `self.log_info("hello", "info")`; shown by the program's logger, `env_logger` say |
//! | `asyncore.loop(timeout=1, use_poll=True, map=m, count=5)` | `Loop::new().timeout(Duration::from_secs(1)).use_poll(true).map(&m).count(5).run()?` |
//! | `asyncore.poll(0.1, m)`, `poll2`, `poll3` | `asyncore::poll(Duration::from_millis(100), Some(&m))?`, `poll2`, `poll3` |
//! | `asyncore.read(obj)`, `write`, `_exception`, `readwrite` | `read(&*obj)?`, `write`, `exception`, `readwrite` |
//! | `asyncore.close_all()` | `close_all(None, false)?` |
//! | `asyncore.socket_map`, `{}` as a map | `socket_map()`, `ChannelMap::new()` |
//! | `m[fd] = c`, `del m[fd]`, `fd in m` | `m.insert(fd, c)`, `m.remove(fd)`, `m.contains(fd)` |
//! | `for c in list(m.values())`, `type(c) is C` | `for c in m.values()`, `c.downcast::<C>()` |
//! | `Handler(sock, self)`, `a is b` | `self.this()?`, `Rc::ptr_eq(&a, &b)` |
//! | any object in the map | `impl asyncore::Channel for …`, without importing `Channel` |
//! | any object as a socket | `impl SocketLike for …`, `Socket::new(…)` |
//!
//! # Where to go on
//!
//! - [`Dispatcher`] has the methods, [`BaseClass`] explains how inheritance works.
//! - [`differences`] has all that differs from CPython, and [`Quirks`] what of it can be chosen.
//! - [`Channel`] has the contract between the loop, the map and a channel.
//! - [`how_the_loop_works`] shows it in diagrams, and how any program tells what its loop does:
//!   `RUST_LOG=asyncore=trace`.
//! - The crate `asynchat`, the second of the two modules, is for protocols of lines and of blocks.
//!
//! # How to read the source
//!
//! In this order. Every file has one idea, and what is public comes first.
//!
//! | file | what it teaches |
//! |---|---|
//! | `asyncore/src/event_loop.rs` | what a pass is, and what an event calls on a channel |
//! | `asyncore/src/channel_map.rs` | who is called: the contract between the loop, the map and a channel |
//! | `asyncore/src/dispatcher.rs` | what a channel makes of its events, and what programs override |
//! | `asyncore/src/base_class.rs` | inheritance: how a method is found, one class at a time |
//! | `asyncore/src/error.rs` | exceptions as values, and which of them pass through the loop |
//! | `asyncore/src/socket.rs` | what a channel needs of its socket |
//! | `asyncore/src/address.rs` | what `bind` and `connect` take |
//! | `asyncore/src/dispatcher_with_send.rs` | a derived class: output that waits for room |
//! | `asyncore/src/file_dispatcher.rs` | a channel around a descriptor that is no socket |
//! | `asyncore/src/quirks.rs` | what CPython does wrong, and what a program sees either way |
//! | `asyncore/src/readiness.rs` | how it is known who is ready, when all are asked and only news is told to the kernel |
//! | `asyncore/src/entries.rs` | a dictionary in the order of insertion, and why a late event reaches nobody else |
//! | `asyncore/src/poller.rs` | how the kernel is asked; the only unsafe code |
//! | `asyncore/src/trace.rs` | how the loop tells its story, for nothing when nobody listens |
//! | `asyncore/src/lib.rs` | what is public: this page |
//! | `asynchat/src/async_chat.rs` | what a chat channel does with what comes, and with what is pushed |
//! | `asynchat/src/terminator.rs` | how the end of a piece is found, however the stream is cut |
//! | `asynchat/src/in_buffer.rs` | how bytes wait without being moved |
//! | `asynchat/src/producer.rs` | what makes output when there is room for it |
//! | `asynchat/src/fifo.rs` | a queue that may change while it is used |
//! | `asynchat/src/data.rs` | what can be pushed, and what becomes of text |
//! | `asynchat/src/error.rs` | what can go wrong in a chat channel |
//! | `asynchat/src/lib.rs` | what is public there |
//!
//! Three rules hold everywhere:
//!
//! 1. No `RefCell` is borrowed while anything runs that a program may have written: a method that can be
//!    overridden, a producer, a logger.
//! 2. A class calls methods on `this`, the object, in CPython's order. Only a super call goes to a base.
//! 3. What differs from CPython is a field of [`Quirks`] or a row in [`differences`].
//!
//! # Platforms
//!
//! Tested on Linux, where it waits on epoll directly. Written for every Unix that the
//! [`polling`](https://docs.rs/polling) crate knows, and kept in mind for Windows; neither has been tried.
//! `ASYNCORE_POLLER=portable` in the environment makes it wait as it does there, at the cost of a few more
//! system calls for each pass.

mod address;
mod base_class;
mod channel_map;
mod dispatcher;
mod dispatcher_with_send;
mod entries;
mod error;
mod event_loop;
#[cfg(unix)]
mod file_dispatcher;
mod poller;
mod quirks;
mod readiness;
mod socket;
#[doc(hidden)] // For `traced!`.
pub mod trace;

// So that the links of the page lead to the same place where asynchat's guide has it.
extern crate self as asyncore;

#[doc = include_str!("differences.md")]
pub mod differences {}

#[doc = include_str!("how_the_loop_works/one_pass.md")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/poll.svg")]
#[doc = include_str!("how_the_loop_works/poll2.svg")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/two_channels.md")]
#[doc = include_str!("how_the_loop_works/events.md")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/events.svg")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/life_of_a_channel.md")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/life_of_a_channel.svg")]
#[doc = ""]
#[doc = include_str!("how_the_loop_works/story.md")]
pub mod how_the_loop_works {}

pub use address::Address;
pub use base_class::BaseClass;
pub use channel_map::{Channel, ChannelMap, set_socket_map, socket_map};
pub use dispatcher::{Dispatcher, DispatcherBase};
pub use dispatcher_with_send::{
    DispatcherWithSend, DispatcherWithSendBase, DispatcherWithSendClass,
};
pub use error::{
    CompactTraceback, Error, Exception, ExitNow, KeyboardInterrupt, NoSocket, Panic, Result,
    SystemExit, compact_traceback, strerror,
};
pub use event_loop::{
    Loop, close_all, exception, r#loop, poll, poll2, poll3, read, readwrite, write,
};
#[cfg(unix)]
pub use file_dispatcher::{FileDispatcher, FileDispatcherBase, FileDispatcherClass, FileWrapper};
pub use poller::{Descriptor, PollFlags};
pub use quirks::Quirks;
pub use socket::{Socket, SocketLike};
/// The crate of the operating system's sockets, whose types this one's functions take.
pub use socket2;
