//! Inheritance: how a class of methods is found behind an object.

use std::rc::Weak;

use socket2::{Domain, Type};

use crate::address::Address;
use crate::channel_map::ChannelMap;
use crate::dispatcher::{Dispatcher, DispatcherBase};
use crate::error::{Error, Result};
use crate::socket::Socket;

/// A class in the hierarchy: its attributes, and what its methods do for an object `this`.
///
/// In Python a method is looked up in the object's class, then in the one that it derives from, and so on
/// up to `dispatcher`. Here the object's own methods are those of its [`Dispatcher`] implementation; what
/// it does not override goes to its [`Base`](Dispatcher::Base), and what that class does not override to
/// its [`Super`](BaseClass::Super), one class at a time. [`DispatcherBase`] is at the top.
///
/// A super call is a call on the base:
///
/// | Python | Rust |
/// |---|---|
/// | the class derived from: `asyncore.dispatcher.handle_close(self)` | `self.base().handle_close(self)` |
/// | past it, to the top: `asyncore.dispatcher.handle_close(self)` | `self.root().handle_close(self)` |
///
/// Implement the trait for a class that others derive from. Its methods are given `this`, the object, and
/// call on it what may be overridden. Their own super calls go to the field:
///
/// ```
/// use std::rc::Weak;
/// use asyncore::{BaseClass, Dispatcher, DispatcherBase, Result};
///
/// /// class LoggedBase(asyncore.dispatcher): logs what is sent.
/// #[derive(Debug)]
/// struct LoggedBase { dispatcher: DispatcherBase }
///
/// impl<T: Dispatcher> BaseClass<T> for LoggedBase {
///     type Super = DispatcherBase;
///
///     fn new(this: &Weak<T>) -> LoggedBase {
///         LoggedBase { dispatcher: BaseClass::new(this) }
///     }
///     fn superclass(&self) -> &DispatcherBase { &self.dispatcher }
///
///     fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
///         this.log_info(&format!("sending {} bytes", data.len()), "info");
///         self.dispatcher.send(this, data) // asyncore.dispatcher.send(self, data)
///     }
/// }
///
/// /// class Client(LoggedBase)
/// struct Client { base: LoggedBase }
///
/// impl Dispatcher for Client {
///     type Base = LoggedBase;
///     fn base(&self) -> &LoggedBase { &self.base }
///
///     fn log_info(&self, message: &str, _kind: &str) {
///         assert_eq!(message, "sending 5 bytes");
///     }
/// }
///
/// let client = Client::init(|base| Client { base });
/// assert!(client.send(b"hello").is_err()); // It has no socket.
/// ```
///
/// A class of which there are objects, too, is a base class, and a struct with nothing but that base for
/// its objects.
///
/// A class whose methods are new, so that others may override them, adds a pair of traits, as
/// [`DispatcherWithSend`](crate::DispatcherWithSend) and
/// [`DispatcherWithSendClass`](crate::DispatcherWithSendClass) do: one for the methods as objects have them,
/// one for what the classes do.
///
/// ```
/// use std::rc::Weak;
/// use asyncore::{BaseClass, Dispatcher, DispatcherBase, Result};
///
/// /// What class `line_channel(asyncore.dispatcher)` adds.
/// trait LineChannel: Dispatcher<Base: LineChannelClass<Self>> {
///     fn found_line(&self, line: &[u8]) -> Result { self.base().found_line(self, line) }
/// }
///
/// trait LineChannelClass<T: LineChannel>: BaseClass<T> {
///     /// The class that this one derives from: methods are looked up one class at a time.
///     type LineChannelSuper: LineChannelClass<T>;
///     fn line_channel_super(&self) -> &Self::LineChannelSuper;
///     fn found_line(&self, this: &T, line: &[u8]) -> Result {
///         self.line_channel_super().found_line(this, line)
///     }
/// }
///
/// struct LineChannelBase { dispatcher: DispatcherBase }
///
/// impl<T: LineChannel> BaseClass<T> for LineChannelBase {
///     type Super = DispatcherBase;
///     fn new(this: &Weak<T>) -> Self { LineChannelBase { dispatcher: BaseClass::new(this) } }
///     fn superclass(&self) -> &DispatcherBase { &self.dispatcher }
///
///     fn handle_read(&self, this: &T) -> Result {
///         this.found_line(&this.recv(1024)?) // A real one would look for the end of the line.
///     }
/// }
///
/// impl<T: LineChannel> LineChannelClass<T> for LineChannelBase {
///     type LineChannelSuper = LineChannelBase; // Itself: it is the class that has them all.
///     fn line_channel_super(&self) -> &LineChannelBase { self }
///     fn found_line(&self, this: &T, line: &[u8]) -> Result { Ok(this.log_info("a line", "info")) }
/// }
///
/// /// `class chat(line_channel)`
/// struct Chat { base: LineChannelBase }
///
/// impl Dispatcher for Chat {
///     type Base = LineChannelBase;
///     fn base(&self) -> &LineChannelBase { &self.base }
/// }
///
/// impl LineChannel for Chat {
///     fn found_line(&self, line: &[u8]) -> Result {
///         println!("{}", line.escape_ascii());
///         self.base().found_line(self, line)
///     }
/// }
/// ```
pub trait BaseClass<T: Dispatcher> {
    /// The class that this one derives from.
    type Super: BaseClass<T>;

    /// The class's part of a new object, which will be `this`. It cannot be reached yet.
    fn new(this: &Weak<T>) -> Self
    where
        Self: Sized;

    /// The part of the object that the class derives from.
    fn superclass(&self) -> &Self::Super;

    /// The attributes of class `dispatcher`.
    fn root(&self) -> &DispatcherBase {
        self.superclass().root()
    }

    /// The class's [`Dispatcher::repr`].
    fn repr(&self, this: &T) -> String {
        self.superclass().repr(this)
    }

    /// The class's [`Dispatcher::add_channel`].
    fn add_channel(&self, this: &T, map: Option<&ChannelMap>) -> Result {
        self.superclass().add_channel(this, map)
    }

    /// The class's [`Dispatcher::del_channel`].
    fn del_channel(&self, this: &T, map: Option<&ChannelMap>) {
        self.superclass().del_channel(this, map);
    }

    /// The class's [`Dispatcher::create_socket`].
    fn create_socket(&self, this: &T, family: Domain, kind: Type) -> Result {
        self.superclass().create_socket(this, family, kind)
    }

    /// The class's [`Dispatcher::set_socket`].
    fn set_socket(&self, this: &T, socket: Socket, map: Option<&ChannelMap>) -> Result {
        self.superclass().set_socket(this, socket, map)
    }

    /// The class's [`Dispatcher::set_reuse_addr`].
    fn set_reuse_addr(&self, this: &T) -> Result {
        self.superclass().set_reuse_addr(this)
    }

    /// The class's [`Dispatcher::readable`].
    fn readable(&self, this: &T) -> bool {
        self.superclass().readable(this)
    }

    /// The class's [`Dispatcher::writable`].
    fn writable(&self, this: &T) -> bool {
        self.superclass().writable(this)
    }

    /// The class's [`Dispatcher::listen`].
    fn listen(&self, this: &T, backlog: i32) -> Result {
        self.superclass().listen(this, backlog)
    }

    /// The class's [`Dispatcher::bind`].
    fn bind(&self, this: &T, addr: Address) -> Result {
        self.superclass().bind(this, addr)
    }

    /// The class's [`Dispatcher::connect`].
    fn connect(&self, this: &T, addr: Address) -> Result {
        self.superclass().connect(this, addr)
    }

    /// The class's [`Dispatcher::accept`].
    fn accept(&self, this: &T) -> Result<Option<(Socket, Address)>> {
        self.superclass().accept(this)
    }

    /// The class's [`Dispatcher::send`].
    fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
        self.superclass().send(this, data)
    }

    /// The class's [`Dispatcher::recv`].
    fn recv(&self, this: &T, size: usize) -> Result<Vec<u8>> {
        self.superclass().recv(this, size)
    }

    /// The class's [`Dispatcher::recv_into`].
    fn recv_into(&self, this: &T, buffer: &mut [u8]) -> Result<usize> {
        self.superclass().recv_into(this, buffer)
    }

    /// The class's [`Dispatcher::close`].
    fn close(&self, this: &T) -> Result {
        self.superclass().close(this)
    }

    /// The class's [`Dispatcher::log`].
    fn log(&self, this: &T, message: &str) {
        self.superclass().log(this, message);
    }

    /// The class's [`Dispatcher::log_info`].
    fn log_info(&self, this: &T, message: &str, kind: &str) {
        self.superclass().log_info(this, message, kind);
    }

    /// The class's [`Dispatcher::handle_read_event`].
    fn handle_read_event(&self, this: &T) -> Result {
        self.superclass().handle_read_event(this)
    }

    /// The class's [`Dispatcher::handle_connect_event`].
    fn handle_connect_event(&self, this: &T) -> Result {
        self.superclass().handle_connect_event(this)
    }

    /// The class's [`Dispatcher::handle_write_event`].
    fn handle_write_event(&self, this: &T) -> Result {
        self.superclass().handle_write_event(this)
    }

    /// The class's [`Dispatcher::handle_expt_event`].
    fn handle_expt_event(&self, this: &T) -> Result {
        self.superclass().handle_expt_event(this)
    }

    /// The class's [`Dispatcher::handle_error`].
    fn handle_error(&self, this: &T, error: Error) -> Result {
        self.superclass().handle_error(this, error)
    }

    /// The class's [`Dispatcher::handle_expt`].
    fn handle_expt(&self, this: &T) -> Result {
        self.superclass().handle_expt(this)
    }

    /// The class's [`Dispatcher::handle_read`].
    fn handle_read(&self, this: &T) -> Result {
        self.superclass().handle_read(this)
    }

    /// The class's [`Dispatcher::handle_write`].
    fn handle_write(&self, this: &T) -> Result {
        self.superclass().handle_write(this)
    }

    /// The class's [`Dispatcher::handle_connect`].
    fn handle_connect(&self, this: &T) -> Result {
        self.superclass().handle_connect(this)
    }

    /// The class's [`Dispatcher::handle_accept`].
    fn handle_accept(&self, this: &T) -> Result {
        self.superclass().handle_accept(this)
    }

    /// The class's [`Dispatcher::handle_accepted`].
    fn handle_accepted(&self, this: &T, socket: Socket, addr: Address) -> Result {
        self.superclass().handle_accepted(this, socket, addr)
    }

    /// The class's [`Dispatcher::handle_close`].
    fn handle_close(&self, this: &T) -> Result {
        self.superclass().handle_close(this)
    }
}
