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
//! - The crate `asynchat`, the second of the two modules, is for protocols of lines and of blocks.
//!
//! To read how it works, take the source in this order: `event_loop` (what a pass calls), `dispatcher`
//! (what a channel makes of it), `channel_map` (who is called), `readiness` (how it is known who is ready),
//! `poller` (how the kernel is asked).
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

#[doc = include_str!("differences.md")]
pub mod differences {}

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
