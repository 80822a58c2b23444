//! Class `dispatcher`: a channel around a socket, whose methods the loop calls and programs override.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};

use socket2::{Domain, Type};

use crate::address::Address;
use crate::base_class::BaseClass;
use crate::channel_map::{Channel, ChannelMap, WeakMap, socket_map};
use crate::error::{self, Error, NoSocket, Result, compact_traceback};
use crate::poller::Descriptor;
use crate::quirks::Quirks;
use crate::socket::Socket;
use crate::{trace, traced};

/// The methods of class `asyncore.dispatcher`, all of which can be overridden.
///
/// A class of yours is a struct that holds its attributes and those of its base class, and an
/// implementation of this trait that names the base and overrides what differs. What is not overridden is
/// looked up in the base (see [`BaseClass`]); a super call is a call on [`base()`](Dispatcher::base). All
/// methods take `&self`, so keep what changes in a `Cell` or a `RefCell`, and no `RefCell` borrowed while
/// calling another method.
///
/// ```
/// use std::cell::RefCell;
/// use asyncore::{BaseClass, Dispatcher, DispatcherBase, Result};
///
/// // class Client(asyncore.dispatcher):
/// struct Client {
///     base: DispatcherBase,
///     received: RefCell<Vec<u8>>,
/// }
///
/// impl Dispatcher for Client {
///     type Base = DispatcherBase;
///     fn base(&self) -> &DispatcherBase { &self.base }
///
///     // def handle_read(self): self.received += self.recv(8192)
///     fn handle_read(&self) -> Result {
///         let data = self.recv(8192)?;
///         self.received.borrow_mut().extend(data);
///         Ok(())
///     }
///
///     // def handle_close(self):
///     fn handle_close(&self) -> Result {
///         println!("{} bytes", self.received.borrow().len());
///         self.base().handle_close(self) // asyncore.dispatcher.handle_close(self)
///     }
/// }
///
/// // client = Client()
/// let client = Client::init(|base| Client { base, received: RefCell::default() });
/// ```
///
/// # Errors
///
/// Handlers return what went wrong to the loop, which calls [`handle_error`](Dispatcher::handle_error)
/// with it. The operations on the socket fail with the system's error, and with [`NoSocket`] before there
/// is a socket, unless they say otherwise.
pub trait Dispatcher: Sized + 'static {
    /// The class that this one derives from: [`DispatcherBase`],
    /// [`DispatcherWithSendBase`](crate::DispatcherWithSendBase) (with its own trait implemented, too), or
    /// one of yours.
    type Base: BaseClass<Self>;

    /// The part of the object that its class derives from, for super calls:
    /// `self.base().handle_close(self)` is `asyncore.dispatcher.handle_close(self)`.
    #[doc(alias = "super")]
    fn base(&self) -> &Self::Base;

    // ---- construction

    /// Makes an object without a socket, in the default map: `asyncore.dispatcher.__init__(self)`.
    ///
    /// `build` is given the part of the base class and returns the whole. The object cannot be reached
    /// until it is finished; create its socket on the result.
    #[doc(alias = "__init__")]
    fn init(build: impl FnOnce(Self::Base) -> Self) -> Rc<Self> {
        Rc::new_cyclic(|this| build(Self::Base::new(this)))
    }

    /// Makes an object without a socket that belongs to `map`:
    /// `asyncore.dispatcher.__init__(self, map=map)`.
    #[doc(alias = "__init__")]
    fn init_in(map: &ChannelMap, build: impl FnOnce(Self::Base) -> Self) -> Rc<Self> {
        let object = Self::init(build);
        object.root().set_map(map);
        object
    }

    /// Makes an object around a socket, in the default map:
    /// `asyncore.dispatcher.__init__(self, sock)`. The map keeps it alive.
    ///
    /// # Errors
    ///
    /// As [`init_socket`](Dispatcher::init_socket).
    #[doc(alias = "__init__")]
    fn init_with(
        socket: impl Into<Socket>,
        build: impl FnOnce(Self::Base) -> Self,
    ) -> Result<Rc<Self>> {
        let object = Self::init(build);
        object.init_socket(socket)?;
        Ok(object)
    }

    /// The half of `asyncore.dispatcher.__init__` that takes over a socket: makes it non-blocking, puts
    /// the channel into its map ([`set_socket`](Dispatcher::set_socket)), and sets `connected` and `addr`
    /// if it has a peer.
    ///
    /// # Errors
    ///
    /// Those of the socket. One without a peer is none; if the peer's address cannot be read for another
    /// reason, the channel is taken out of the map again.
    fn init_socket(&self, socket: impl Into<Socket>) -> Result {
        let socket = socket.into();
        socket.set_nonblocking(true)?;
        self.set_socket(socket.clone(), None)?;
        let root = self.root();
        root.connected.set(true);
        match socket.peer_addr() {
            Ok(addr) => root.set_addr(Some(addr)),
            Err(error) if error::has_no_peer(&error) => root.connected.set(false),
            Err(error) => {
                self.del_channel(None);
                return Err(error.into());
            }
        }
        Ok(())
    }

    // ---- attributes

    /// The attributes of class `dispatcher`, to be set: `self.connected = True` is
    /// `self.root().connected.set(true)`.
    fn root(&self) -> &DispatcherBase {
        self.base().root()
    }

    /// A handle to the object, to be kept by others: Python's `self` where it is handed on, as in
    /// `Handler(sock, self)`. Keep it as a `Weak` in what the object itself keeps alive.
    ///
    /// # Errors
    ///
    /// While the object is being made or dropped.
    #[doc(alias = "self")]
    fn this(&self) -> Result<Rc<Self>> {
        let channel = self.root().this.upgrade();
        channel
            .and_then(|channel| channel.downcast().ok())
            .ok_or_else(|| Error::msg("the channel is still being made, or being dropped"))
    }

    /// Whether the connection is made: `self.connected`.
    fn connected(&self) -> bool {
        self.root().connected.get()
    }

    /// Whether the socket listens: `self.accepting`.
    fn accepting(&self) -> bool {
        self.root().accepting.get()
    }

    /// Whether a connection is being made: `self.connecting`.
    fn connecting(&self) -> bool {
        self.root().connecting.get()
    }

    /// The peer's address, or the one that was given to `bind` or `connect`: `self.addr`.
    fn addr(&self) -> Option<Address> {
        self.root().addr.borrow().clone()
    }

    /// The socket: `self.socket`. A closed one stays until replaced.
    ///
    /// # Errors
    ///
    /// [`NoSocket`] where Python has `None`.
    fn socket(&self) -> Result<Socket> {
        self.root()
            .socket
            .borrow()
            .clone()
            .ok_or_else(|| NoSocket.into())
    }

    /// The descriptor under which the channel is in its map: `self._fileno`.
    #[doc(alias = "_fileno")]
    fn fileno(&self) -> Option<Descriptor> {
        self.root().fileno.get()
    }

    /// The map that the channel belongs to: `self._map`.
    ///
    /// # Errors
    ///
    /// When the map has been dropped.
    #[doc(alias = "_map")]
    fn map(&self) -> Result<ChannelMap> {
        ChannelMap::upgrade(&self.root().map.borrow())
            .ok_or_else(|| Error::msg("the channel's map has been dropped"))
    }

    /// How the channel names itself in messages: `<name listening|connected host:port at 0x…>`.
    #[doc(alias = "__repr__")]
    fn repr(&self) -> String {
        self.base().repr(self)
    }

    // ---- the map

    /// Puts the channel into `map`, or its own if `None`, under its [`fileno`](Dispatcher::fileno).
    ///
    /// # Errors
    ///
    /// [`NoSocket`] when it has no descriptor: Python puts it in under `None`, and the next pass fails.
    fn add_channel(&self, map: Option<&ChannelMap>) -> Result {
        self.base().add_channel(self, map)
    }

    /// Takes the channel out of `map`, or its own if `None`, and forgets its descriptor. The socket stays
    /// open; [`set_socket`](Dispatcher::set_socket) puts it back.
    fn del_channel(&self, map: Option<&ChannelMap>) {
        self.base().del_channel(self, map);
    }

    // ---- the socket

    /// Opens a non-blocking socket and makes it the channel's: `create_socket(family, type)`. The
    /// defaults in Python are `Domain::IPV4` and `Type::STREAM`. Calls
    /// [`set_socket`](Dispatcher::set_socket).
    fn create_socket(&self, family: Domain, kind: Type) -> Result {
        self.base().create_socket(self, family, kind)
    }

    /// Makes `socket` the channel's, and calls [`add_channel`](Dispatcher::add_channel). The socket that
    /// was there is not closed, as long as there is another handle to it.
    fn set_socket(&self, socket: impl Into<Socket>, map: Option<&ChannelMap>) -> Result {
        self.base().set_socket(self, socket.into(), map)
    }

    /// Lets the socket bind to an address that a closed connection still holds (`SO_REUSEADDR`). A
    /// refusal of the system is ignored.
    fn set_reuse_addr(&self) -> Result {
        self.base().set_reuse_addr(self)
    }

    /// Whether the loop should wait for input on this channel: always, unless overridden. It is asked
    /// before every wait.
    fn readable(&self) -> bool {
        self.base().readable(self)
    }

    /// Whether the loop should wait until this channel can write: always, unless overridden. It is asked
    /// before every wait; one that says yes with nothing to write keeps the loop busy.
    fn writable(&self) -> bool {
        self.base().writable(self)
    }

    /// Listens for connections, of which `backlog` may wait to be accepted. Sets `accepting`.
    fn listen(&self, backlog: i32) -> Result {
        self.base().listen(self, backlog)
    }

    /// Binds the socket to an address, and remembers it as `addr`.
    fn bind(&self, addr: impl Into<Address>) -> Result {
        self.base().bind(self, addr.into())
    }

    /// Starts to connect to an address. Sets `connecting`; when the connection is made,
    /// [`handle_connect`](Dispatcher::handle_connect) is called, at once where it succeeds at once.
    ///
    /// # Errors
    ///
    /// The system's where it fails at once. A later failure reaches
    /// [`handle_error`](Dispatcher::handle_error) or, under [`poll`](crate::poll) with out-of-band
    /// conditions, [`handle_close`](Dispatcher::handle_close).
    fn connect(&self, addr: impl Into<Address>) -> Result {
        self.base().connect(self, addr.into())
    }

    /// Accepts a connection that waits. `None` if there is none (any more).
    ///
    /// # Errors
    ///
    /// The system's; whether exhausted descriptors are one is
    /// [`Quirks::exhaustion_closes_listener`].
    fn accept(&self) -> Result<Option<(Socket, Address)>> {
        self.base().accept(self)
    }

    /// Sends what the system takes of `data`, and returns how many bytes that was: 0 when it takes none
    /// now, and when the connection is lost, for which [`handle_close`](Dispatcher::handle_close) is
    /// called.
    fn send(&self, data: &[u8]) -> Result<usize> {
        self.base().send(self, data)
    }

    /// Receives up to `size` bytes. When the peer has closed or the connection is lost,
    /// [`handle_close`](Dispatcher::handle_close) is called, and the result is empty.
    ///
    /// Calls [`recv_into`](Dispatcher::recv_into): to change what both return, override that one. No more
    /// than 16 MiB are received at once.
    ///
    /// # Errors
    ///
    /// "Would block" is one, as in Python; see [`Quirks::would_block_closes`].
    fn recv(&self, size: usize) -> Result<Vec<u8>> {
        self.base().recv(self, size)
    }

    /// Receives into `buffer`, and returns how many bytes: Python's `recv` without its allocation.
    ///
    /// # Errors
    ///
    /// As [`recv`](Dispatcher::recv).
    fn recv_into(&self, buffer: &mut [u8]) -> Result<usize> {
        self.base().recv_into(self, buffer)
    }

    /// Takes the channel out of its map and closes the socket. Closing once more does nothing.
    fn close(&self) -> Result {
        self.base().close(self)
    }

    // ---- messages

    /// Writes `log: message` to standard error: for "hit" logging.
    fn log(&self, message: &str) {
        self.base().log(self, message);
    }

    /// Reports an event of the given kind, `"info"`, `"warning"`, `"error"` or any other, unless
    /// `ignore_log_types` has it: warnings are ignored by default.
    ///
    /// Python prints `kind: message` to standard output. Here the message goes to the [`log`] crate, at
    /// the level of that name (any other kind is an info, with its name before the message), with the
    /// target `asyncore`.
    fn log_info(&self, message: &str, kind: &str) {
        self.base().log_info(self, message, kind);
    }

    // ---- what the loop calls

    /// Input, or a connection to accept. Calls [`handle_accept`](Dispatcher::handle_accept) on a
    /// listener, and otherwise [`handle_read`](Dispatcher::handle_read), after
    /// [`handle_connect_event`](Dispatcher::handle_connect_event) if a connection was being made.
    fn handle_read_event(&self) -> Result {
        self.base().handle_read_event(self)
    }

    /// The end of a connection attempt. Calls [`handle_connect`](Dispatcher::handle_connect), then sets
    /// `connected`.
    ///
    /// # Errors
    ///
    /// What the attempt failed with.
    fn handle_connect_event(&self) -> Result {
        self.base().handle_connect_event(self)
    }

    /// Output is possible. Calls [`handle_write`](Dispatcher::handle_write), after
    /// [`handle_connect_event`](Dispatcher::handle_connect_event) if a connection was being made; does
    /// nothing on a listener.
    fn handle_write_event(&self) -> Result {
        self.base().handle_write_event(self)
    }

    /// An exceptional condition. Calls [`handle_close`](Dispatcher::handle_close) if the socket has a
    /// pending error, and [`handle_expt`](Dispatcher::handle_expt) otherwise.
    fn handle_expt_event(&self) -> Result {
        self.base().handle_expt_event(self)
    }

    // ---- what programs override

    /// A handler has failed. Logs the error as an `"error"` and calls
    /// [`handle_close`](Dispatcher::handle_close).
    ///
    /// Python's version finds the exception in `sys.exc_info()`; here it is an argument.
    ///
    /// # Errors
    ///
    /// An error returned from here ends the loop.
    fn handle_error(&self, error: Error) -> Result {
        self.base().handle_error(self, error)
    }

    /// Out-of-band data has come. Logs a warning.
    fn handle_expt(&self) -> Result {
        self.base().handle_expt(self)
    }

    /// Input waits. Logs a warning.
    fn handle_read(&self) -> Result {
        self.base().handle_read(self)
    }

    /// Output is possible. Logs a warning.
    fn handle_write(&self) -> Result {
        self.base().handle_write(self)
    }

    /// The connection is made. Logs a warning.
    fn handle_connect(&self) -> Result {
        self.base().handle_connect(self)
    }

    /// A connection waits to be accepted. Accepts it and passes it to
    /// [`handle_accepted`](Dispatcher::handle_accepted).
    fn handle_accept(&self) -> Result {
        self.base().handle_accept(self)
    }

    /// A connection has been accepted. Closes it and logs a warning.
    fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
        self.base().handle_accepted(self, socket, addr)
    }

    /// The connection is closed or lost. Logs a warning and calls [`close`](Dispatcher::close).
    fn handle_close(&self) -> Result {
        self.base().handle_close(self)
    }
}

/// Every dispatcher is a channel.
impl<T: Dispatcher> Channel for T {
    fn readable(&self) -> bool {
        Dispatcher::readable(self)
    }

    fn writable(&self) -> bool {
        Dispatcher::writable(self)
    }

    fn accepting(&self) -> bool {
        Dispatcher::accepting(self)
    }

    fn label(&self) -> String {
        trace::label(std::any::type_name::<T>(), self.root().fileno.get())
    }

    fn handle_read_event(&self) -> Result {
        Dispatcher::handle_read_event(self)
    }

    fn handle_write_event(&self) -> Result {
        Dispatcher::handle_write_event(self)
    }

    fn handle_expt_event(&self) -> Result {
        Dispatcher::handle_expt_event(self)
    }

    fn handle_close(&self) -> Result {
        Dispatcher::handle_close(self)
    }

    fn handle_error(&self, error: Error) -> Result {
        Dispatcher::handle_error(self, error)
    }

    fn close(&self) -> Result {
        Dispatcher::close(self)
    }
}

/// Class `asyncore.dispatcher` itself: its attributes, and what its methods do.
///
/// Embed it in your struct; [`Dispatcher::init`] makes one. Attributes of Python's class that are set
/// once for a class (`debug`, `ignore_log_types`) are set on the new object here.
#[doc(alias = "asyncore.dispatcher")]
pub struct DispatcherBase {
    /// `self.connected`: whether the connection is made. `close` clears it.
    pub connected: Cell<bool>,
    /// `self.accepting`: whether the socket listens. `close` clears it.
    pub accepting: Cell<bool>,
    /// `self.connecting`: whether a connection is being made. `close` clears it.
    pub connecting: Cell<bool>,
    /// `self.closing`: for programs to use; asyncore has it and does not.
    pub closing: Cell<bool>,
    /// `self.debug`: whether `dispatcher_with_send` logs what it sends.
    pub debug: Cell<bool>,
    /// `self.ignore_log_types`: the kinds of message that `log_info` drops; `["warning"]` unless set.
    pub ignore_log_types: Cell<&'static [&'static str]>,
    /// `self.family_and_type`: what `create_socket` was called with last.
    pub family_and_type: Cell<Option<(Domain, Type)>>,
    /// `self._fileno`: the key in the map.
    #[doc(alias = "_fileno")]
    pub fileno: Cell<Option<Descriptor>>,
    addr: RefCell<Option<Address>>,
    socket: RefCell<Option<Socket>>,
    map: RefCell<WeakMap>,
    this: Weak<dyn Channel>,
}

impl DispatcherBase {
    /// Sets `self.addr`.
    pub fn set_addr(&self, addr: Option<Address>) {
        *self.addr.borrow_mut() = addr;
    }

    /// Sets `self.socket`, and returns what it was: for wrapping the socket of a channel in one that
    /// encrypts, say. Neither the map nor `fileno` is changed; see [`Dispatcher::set_socket`] for that.
    pub fn replace_socket(&self, socket: Option<Socket>) -> Option<Socket> {
        self.socket.replace(socket)
    }

    /// Sets `self._map`. A channel that is in its old map stays there.
    pub fn set_map(&self, map: &ChannelMap) {
        *self.map.borrow_mut() = map.downgrade();
    }

    fn quirks(&self) -> Quirks {
        match ChannelMap::upgrade(&self.map.borrow()) {
            Some(map) => map.quirks(),
            None => Quirks::default(),
        }
    }
}

impl fmt::Debug for DispatcherBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherBase")
            .field("connected", &self.connected.get())
            .field("accepting", &self.accepting.get())
            .field("connecting", &self.connecting.get())
            .field("addr", &self.addr.borrow())
            .field("fileno", &self.fileno.get())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What `recv` receives into before it knows how much there is.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<T: Dispatcher> BaseClass<T> for DispatcherBase {
    /// The top of the hierarchy: nothing is looked up further.
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> DispatcherBase {
        let this: Weak<T> = Weak::clone(this);
        DispatcherBase {
            connected: Cell::new(false),
            accepting: Cell::new(false),
            connecting: Cell::new(false),
            closing: Cell::new(false),
            debug: Cell::new(false),
            ignore_log_types: Cell::new(&["warning"]),
            family_and_type: Cell::new(None),
            fileno: Cell::new(None),
            addr: RefCell::new(None),
            socket: RefCell::new(None),
            map: RefCell::new(socket_map().downgrade()),
            this,
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        self
    }

    fn root(&self) -> &DispatcherBase {
        self
    }

    fn repr(&self, this: &T) -> String {
        let mut status = std::any::type_name::<T>().to_owned();
        let addr = this.addr();
        if this.accepting() && addr.is_some() {
            status.push_str(" listening");
        } else if this.connected() {
            status.push_str(" connected");
        }
        if let Some(addr) = addr {
            status.push_str(&format!(" {addr}"));
        }
        format!("<{status} at {:p}>", std::ptr::from_ref(this))
    }

    fn add_channel(&self, this: &T, map: Option<&ChannelMap>) -> Result {
        let fd = this.fileno().ok_or(NoSocket)?;
        let channel = self
            .this
            .upgrade()
            .ok_or_else(|| Error::msg("the channel is still being made, or being dropped"))?;
        match map {
            Some(map) => map.insert(fd, channel),
            None => this.map()?.insert(fd, channel),
        };
        if trace::is_on() {
            trace::step(this, "enters the map");
        }
        Ok(())
    }

    fn del_channel(&self, this: &T, map: Option<&ChannelMap>) {
        if let Some(fd) = this.fileno() {
            let removed = match map {
                Some(map) => map.remove(fd),
                None => this.map().ok().and_then(|map| map.remove(fd)),
            };
            if removed.is_some() && trace::is_on() {
                trace::step(this, "leaves the map");
            }
        }
        self.fileno.set(None);
    }

    fn create_socket(&self, this: &T, family: Domain, kind: Type) -> Result {
        self.family_and_type.set(Some((family, kind)));
        let socket = Socket::open(family, kind)
            .map_err(|error| Error::from(error).with_context("create a socket"))?;
        socket.set_nonblocking(true)?;
        this.set_socket(socket, None)
    }

    fn set_socket(&self, this: &T, socket: Socket, map: Option<&ChannelMap>) -> Result {
        self.fileno.set(socket.fileno());
        self.replace_socket(Some(socket));
        this.add_channel(map)
    }

    fn set_reuse_addr(&self, this: &T) -> Result {
        // Failing to is not worth failing for.
        let _ = this.socket()?.set_reuse_addr();
        Ok(())
    }

    fn readable(&self, _this: &T) -> bool {
        true
    }

    fn writable(&self, _this: &T) -> bool {
        true
    }

    fn listen(&self, this: &T, backlog: i32) -> Result {
        self.accepting.set(true);
        let backlog = if cfg!(windows) {
            backlog.min(5)
        } else {
            backlog
        };
        traced!(this.socket()?.listen(backlog))
            .map_err(|error| Error::from(error).with_context("listen"))
    }

    fn bind(&self, this: &T, addr: Address) -> Result {
        self.set_addr(Some(addr.clone()));
        traced!(this.socket()?.bind(&addr))
            .map_err(|error| Error::from(error).with_context(format!("bind {addr}")))
    }

    fn connect(&self, this: &T, addr: Address) -> Result {
        self.connected.set(false);
        self.connecting.set(true);
        match traced!(this.socket()?.connect(&addr)) {
            Err(error) if error::is_in_progress(&error) => {
                self.set_addr(Some(addr));
                Ok(())
            }
            Err(error) if !error::is_connected(&error) => {
                Err(Error::from(error).with_context(format!("connect {addr}")))
            }
            _ => {
                self.set_addr(Some(addr));
                traced!(this.handle_connect_event())
            }
        }
    }

    fn accept(&self, this: &T) -> Result<Option<(Socket, Address)>> {
        match traced!(this.socket()?.accept()) {
            Ok(pair) => Ok(Some(pair)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(error)
                if error::is_exhausted(&error) && !self.quirks().exhaustion_closes_listener =>
            {
                this.log_info(&format!("accept: {error}"), "error");
                if let (Some(fd), Ok(map)) = (this.fileno(), this.map()) {
                    map.rest(fd);
                }
                Ok(None)
            }
            Err(error) => Err(Error::from(error).with_context("accept")),
        }
    }

    fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
        match traced!(this.socket()?.send(data)) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error::is_disconnected(&error) => {
                traced!(this.handle_close())?;
                Ok(0)
            }
            Err(error) => Err(Error::from(error).with_context("send")),
        }
    }

    fn recv(&self, this: &T, size: usize) -> Result<Vec<u8>> {
        const SCRATCH_SIZE: usize = 64 * 1024;
        const MOST: usize = 16 * 1024 * 1024;

        if size > SCRATCH_SIZE {
            let mut data = vec![0; size.min(MOST)];
            let received = this.recv_into(&mut data)?;
            data.truncate(received);
            data.shrink_to_fit();
            return Ok(data);
        }
        // Taken, not borrowed: `recv_into` may be overridden to receive from another channel.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.resize(SCRATCH_SIZE, 0);
        let received = this.recv_into(&mut scratch[..size]);
        let data = received.map(|received| scratch[..received.min(size)].to_vec());
        let _ = SCRATCH.try_with(|spare| spare.set(scratch));
        data
    }

    fn recv_into(&self, this: &T, buffer: &mut [u8]) -> Result<usize> {
        match traced!(this.socket()?.recv(buffer)) {
            // A closed connection is readable and has nothing to read.
            Ok(0) => {
                match traced!(this.handle_close()) {
                    // CPython takes it for one of `recv` itself.
                    Err(error) if error.is_disconnected() => traced!(this.handle_close())?,
                    handled => handled?,
                }
                Ok(0)
            }
            Ok(received) => Ok(received),
            Err(error) if error::is_disconnected(&error) => {
                traced!(this.handle_close())?;
                Ok(0)
            }
            Err(error) => {
                let would_block = error.kind() == io::ErrorKind::WouldBlock;
                let error = Error::from(error).with_context("recv");
                if would_block && !self.quirks().would_block_closes {
                    return Err(error.spurious());
                }
                Err(error)
            }
        }
    }

    fn close(&self, this: &T) -> Result {
        self.connected.set(false);
        self.accepting.set(false);
        self.connecting.set(false);
        this.del_channel(None);
        if this.socket().is_err() {
            return Ok(());
        }
        match traced!(this.socket()?.close()) {
            Err(error) if !error::is_closed_already(&error) => {
                Err(Error::from(error).with_context("close"))
            }
            _ => Ok(()),
        }
    }

    fn log(&self, _this: &T, message: &str) {
        eprintln!("log: {message}");
    }

    fn log_info(&self, _this: &T, message: &str, kind: &str) {
        if self.ignore_log_types.get().contains(&kind) {
            return;
        }
        match kind {
            "error" => log::error!(target: "asyncore", "{message}"),
            "warning" => log::warn!(target: "asyncore", "{message}"),
            "info" => log::info!(target: "asyncore", "{message}"),
            "debug" => log::debug!(target: "asyncore", "{message}"),
            other => log::info!(target: "asyncore", "{other}: {message}"),
        }
    }

    fn handle_read_event(&self, this: &T) -> Result {
        if this.accepting() {
            // Listeners are never connected; they spawn new sockets that are.
            return traced!(this.handle_accept());
        }
        if !this.connected() && this.connecting() {
            traced!(this.handle_connect_event())?;
        }
        traced!(this.handle_read())
    }

    fn handle_connect_event(&self, this: &T) -> Result {
        if let Some(error) = this.socket()?.take_error()? {
            let error = Error::from(error);
            return Err(match this.addr() {
                Some(addr) => error.with_context(format!("connect {addr}")),
                None => error.with_context("connect"),
            });
        }
        traced!(this.handle_connect())?;
        self.connected.set(true);
        self.connecting.set(false);
        Ok(())
    }

    fn handle_write_event(&self, this: &T) -> Result {
        if this.accepting() {
            // Listeners should not get one. It is as if it had not happened.
            return Ok(());
        }
        if !this.connected() && this.connecting() {
            traced!(this.handle_connect_event())?;
        }
        traced!(this.handle_write())
    }

    fn handle_expt_event(&self, this: &T) -> Result {
        // An error or out-of-band data: whichever it is, the error comes first.
        if this.socket()?.take_error()?.is_some() {
            return traced!(this.handle_close());
        }
        traced!(this.handle_expt())
    }

    fn handle_error(&self, this: &T, error: Error) -> Result {
        let traceback = compact_traceback(&error);
        // Someone's own `repr` may be what fails.
        let repr = catch_unwind(AssertUnwindSafe(|| this.repr())).unwrap_or_else(|_| {
            format!(
                "<__repr__(self) failed for object at {:p}>",
                std::ptr::from_ref(this)
            )
        });
        this.log_info(
            &format!(
                "uncaptured python exception, closing channel {repr} ({}:{} {})",
                traceback.type_name, traceback.value, traceback.info
            ),
            "error",
        );
        traced!(this.handle_close())
    }

    fn handle_expt(&self, this: &T) -> Result {
        this.log_info("unhandled incoming priority event", "warning");
        Ok(())
    }

    fn handle_read(&self, this: &T) -> Result {
        this.log_info("unhandled read event", "warning");
        Ok(())
    }

    fn handle_write(&self, this: &T) -> Result {
        this.log_info("unhandled write event", "warning");
        Ok(())
    }

    fn handle_connect(&self, this: &T) -> Result {
        this.log_info("unhandled connect event", "warning");
        Ok(())
    }

    fn handle_accept(&self, this: &T) -> Result {
        match this.accept()? {
            Some((socket, addr)) => traced!(this.handle_accepted(socket, addr)),
            None => Ok(()),
        }
    }

    fn handle_accepted(&self, this: &T, socket: Socket, _addr: Address) -> Result {
        socket.close()?;
        this.log_info("unhandled accepted event", "warning");
        Ok(())
    }

    fn handle_close(&self, this: &T) -> Result {
        this.log_info("unhandled close event", "warning");
        traced!(this.close())
    }
}
