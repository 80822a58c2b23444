//! Channels that tell what is called on them: the Rust side of a comparison.
//!
//! `probes/traced.py` is the other side; both write the same lines.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};

use asynchat::{
    AsyncChat, AsyncChatBase, AsyncChatClass, AsyncChatError, Data, Producer, Queued, Terminator,
};
use asyncore::socket2::{Domain, Type};
use asyncore::{
    Address, BaseClass, ChannelMap, Dispatcher, DispatcherBase, DispatcherWithSend,
    DispatcherWithSendBase, DispatcherWithSendClass, Error, ExitNow, NoSocket, Result, Socket,
};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Adds a line to the trace.
pub fn tell(line: impl Into<String>) {
    LINES.with_borrow_mut(|lines| lines.push(line.into()));
}

/// The trace so far, and the begin of a new one.
pub fn take_lines() -> Vec<String> {
    LINES.take()
}

/// What a reaction fails with on purpose.
#[derive(Debug)]
pub struct Raised;

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raised on purpose")
    }
}

impl std::error::Error for Raised {}

/// The name under which Python knows an error: that of the errno, or of the exception.
pub fn name_of(error: &Error) -> String {
    if let Some(errno) = error.errno() {
        return format!("{:?}", ErrnoName(errno));
    }
    let name = if error.is::<Raised>() {
        "Raised"
    } else if error.is::<ExitNow>() {
        "ExitNow"
    } else if error.is::<NoSocket>() || error.io_kind() == Some(std::io::ErrorKind::Unsupported) {
        // An attribute of `None`, or of an object that lacks it.
        "AttributeError"
    } else if let Some(error) = error.downcast_ref() {
        match error {
            AsyncChatError::NotImplemented => "NotImplementedError",
            AsyncChatError::CountReplaced => "TypeError",
            AsyncChatError::FifoEmptied => "IndexError",
            AsyncChatError::Unencodable { .. } => "UnicodeEncodeError",
            AsyncChatError::TooDeep => "RecursionError",
            _ => "ValueError",
        }
    } else {
        return error.to_string();
    };
    name.to_owned()
}

struct ErrnoName(i32);

impl fmt::Debug for ErrnoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustix::io::Errno;

        const NAMES: [(Errno, &str); 12] = [
            (Errno::AGAIN, "EAGAIN"),
            (Errno::BADF, "EBADF"),
            (Errno::CONNREFUSED, "ECONNREFUSED"),
            (Errno::CONNRESET, "ECONNRESET"),
            (Errno::DESTADDRREQ, "EDESTADDRREQ"),
            (Errno::INVAL, "EINVAL"),
            (Errno::ISCONN, "EISCONN"),
            (Errno::MFILE, "EMFILE"),
            (Errno::NOTCONN, "ENOTCONN"),
            (Errno::OPNOTSUPP, "EOPNOTSUPP"),
            (Errno::PIPE, "EPIPE"),
            (Errno::ADDRINUSE, "EADDRINUSE"),
        ];
        match NAMES
            .iter()
            .find(|(errno, _)| errno.raw_os_error() == self.0)
        {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// Short data as it is, longer data as its length.
pub fn show(data: &[u8]) -> String {
    match data.len() {
        1..=16 => data.iter().copied().map(char::from).collect(),
        len => format!("{len} bytes"),
    }
}

/// What is called in a method that has been told of, given the channel and the method's name. If it
/// returns true, the method of the class is not called any more.
pub type Reaction<B> = Rc<dyn Fn(&Traced<B>) -> Result<bool>>;

/// An object of one of asyncore's classes that tells of each call before it makes it.
pub struct Traced<B: 'static> {
    base: B,
    /// Its name in the trace.
    pub name: &'static str,
    /// What `readable` answers; `None`: what the class does.
    pub wants_read: Cell<Option<bool>>,
    /// What `writable` answers; `None`: what the class does.
    pub wants_write: Cell<Option<bool>>,
    /// What `handle_read` receives at once; `None`: what the class does.
    pub chunk: Cell<Option<usize>>,
    /// What else its state is.
    pub details: Cell<fn(&Traced<B>) -> String>,
    reactions: RefCell<HashMap<&'static str, Reaction<B>>>,
}

impl<B> fmt::Debug for Traced<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<B> Traced<B>
where
    Traced<B>: Dispatcher<Base = B>,
{
    /// A channel in the default map, without a socket.
    pub fn create(name: &'static str) -> Rc<Traced<B>> {
        Traced::init(|base| Traced::new(name, base))
    }
}

impl<B> Traced<B> {
    fn new(name: &'static str, base: B) -> Traced<B> {
        Traced {
            base,
            name,
            wants_read: Cell::new(Some(true)),
            wants_write: Cell::new(Some(false)),
            chunk: Cell::new(Some(1024)),
            details: Cell::new(|_| String::new()),
            reactions: RefCell::default(),
        }
    }

    /// Makes the channel react in a method.
    pub fn react(
        &self,
        method: &'static str,
        reaction: impl Fn(&Traced<B>) -> Result<bool> + 'static,
    ) {
        self.reactions
            .borrow_mut()
            .insert(method, Rc::new(reaction));
    }

    /// How the channel reacts in a method.
    pub fn reaction(&self, method: &str) -> Option<Reaction<B>> {
        self.reactions.borrow().get(method).cloned()
    }

    /// Ends all reactions.
    pub fn stop_reacting(&self) {
        self.reactions.take();
    }

    fn told(&self, method: &'static str, detail: fmt::Arguments<'_>) -> Result<bool> {
        tell(format!("  {}.{method}{detail}", self.name));
        self.reaction(method)
            .map_or(Ok(false), |reaction| reaction(self))
    }
}

/// Tells what a method of the class has returned, where Python's would raise an `OSError`.
fn returned<T>(result: Result<T>, show: impl Fn(&T) -> String) -> Result<T> {
    match &result {
        Ok(value) => tell(format!("    returns {}", show(value))),
        Err(error) if error.io_kind().is_some() && error.errno().is_some() => {
            tell(format!("    raises {}", name_of(error)));
        }
        Err(_) => {}
    }
    result
}

/// One class for each of asyncore's. (A generic implementation would need `B: BaseClass<Traced<B>>`
/// in order to be a dispatcher, which `B` only is for dispatchers.)
macro_rules! traced {
    ($($base:ty),*) => {$(
        impl Dispatcher for Traced<$base> {
            type Base = $base;

            fn base(&self) -> &$base {
                &self.base
            }

            fn readable(&self) -> bool {
                let _ = self.told("readable", format_args!(""));
                self.wants_read.get().unwrap_or_else(|| self.base.readable(self))
            }

            fn writable(&self) -> bool {
                let _ = self.told("writable", format_args!(""));
                self.wants_write.get().unwrap_or_else(|| self.base.writable(self))
            }

            fn handle_read(&self) -> Result {
                if self.told("handle_read", format_args!(""))? {
                    return Ok(());
                }
                match self.chunk.get() {
                    Some(size) => self.recv(size).map(drop),
                    None => self.base.handle_read(self),
                }
            }

            fn handle_error(&self, error: Error) -> Result {
                if self.told("handle_error", format_args!(" {}", name_of(&error)))? {
                    return Ok(());
                }
                self.base.handle_error(self, error)
            }

            fn log(&self, _message: &str) {
                let _ = self.told("log", format_args!(""));
            }

            fn log_info(&self, _message: &str, kind: &str) {
                let _ = self.told("log_info", format_args!(" {kind}"));
            }

            fn recv(&self, size: usize) -> Result<Vec<u8>> {
                if self.told("recv", format_args!(" {size}"))? {
                    return Ok(Vec::new());
                }
                returned(self.base.recv(self, size), |data| show(data))
            }

            fn send(&self, data: &[u8]) -> Result<usize> {
                if self.told("send", format_args!(" {}", show(data)))? {
                    return Ok(0);
                }
                returned(self.base.send(self, data), |sent| sent.to_string())
            }

            fn accept(&self) -> Result<Option<(Socket, Address)>> {
                if self.told("accept", format_args!(""))? {
                    return Ok(None);
                }
                let pair = self.base.accept(self)?;
                let name = if pair.is_some() { "a connection" } else { "None" };
                tell(format!("    returns {name}"));
                Ok(pair)
            }

            fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
                if self.told("handle_accepted", format_args!(""))? {
                    return Ok(());
                }
                self.base.handle_accepted(self, socket, addr)
            }

            fn del_channel(&self, map: Option<&ChannelMap>) {
                if let Ok(false) = self.told("del_channel", format_args!("")) {
                    self.base.del_channel(self, map);
                }
            }

            traced! { plainly
                add_channel(map: Option<&ChannelMap>),
                create_socket(family: Domain, kind: Type),
                listen(backlog: i32),
                close(),
                handle_read_event(),
                handle_write_event(),
                handle_expt_event(),
                handle_connect_event(),
                handle_write(),
                handle_expt(),
                handle_connect(),
                handle_accept(),
                handle_close()
            }

            fn set_socket(&self, socket: impl Into<Socket>, map: Option<&ChannelMap>) -> Result {
                if self.told("set_socket", format_args!(""))? {
                    return Ok(());
                }
                self.base.set_socket(self, socket.into(), map)
            }

            fn bind(&self, addr: impl Into<Address>) -> Result {
                if self.told("bind", format_args!(""))? {
                    return Ok(());
                }
                self.base.bind(self, addr.into())
            }

            fn connect(&self, addr: impl Into<Address>) -> Result {
                if self.told("connect", format_args!(""))? {
                    return Ok(());
                }
                self.base.connect(self, addr.into())
            }
        }
    )*};
    (plainly $($method:ident($($argument:ident: $type:ty),*)),*) => {$(
        fn $method(&self $(, $argument: $type)*) -> Result {
            if self.told(stringify!($method), format_args!(""))? {
                return Ok(());
            }
            self.base.$method(self $(, $argument)*)
        }
    )*};
}

traced!(DispatcherBase, DispatcherWithSendBase, AsyncChatBase);

impl DispatcherWithSend for Traced<DispatcherWithSendBase> {
    fn initiate_send(&self) -> Result {
        if self.told("initiate_send", format_args!(""))? {
            return Ok(());
        }
        self.base.initiate_send(self)
    }
}

impl AsyncChat for Traced<AsyncChatBase> {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self.told("collect_incoming_data", format_args!(" {}", show(data)))
            .map(drop)
    }

    fn found_terminator(&self) -> Result {
        self.told("found_terminator", format_args!("")).map(drop)
    }

    fn get_terminator(&self) -> Terminator {
        let _ = self.told("get_terminator", format_args!(""));
        self.base.get_terminator(self)
    }

    fn push(&self, data: impl Into<Data>) -> Result {
        if self.told("push", format_args!(""))? {
            return Ok(());
        }
        self.base.push(self, data.into())
    }

    fn push_with_producer(&self, producer: impl Into<Queued>) -> Result {
        if self.told("push_with_producer", format_args!(""))? {
            return Ok(());
        }
        self.base.push_with_producer(self, producer.into())
    }

    fn discard_buffers(&self) {
        if let Ok(false) = self.told("discard_buffers", format_args!("")) {
            self.base.discard_buffers(self);
        }
    }

    traced! { plainly close_when_done(), initiate_send() }
}

impl Traced<AsyncChatBase> {
    /// The state of a chat channel besides that of any.
    pub fn chat_details(&self) -> String {
        let terminator = match self.base.terminator() {
            Terminator::None => "None".to_owned(),
            Terminator::Count(count) => count.to_string(),
            Terminator::Bytes(bytes) => show(&bytes),
        };
        format!(
            ", {} queued, received {}, terminator {terminator}",
            self.base.producer_fifo.len(),
            show(&self.base.ac_in_buffer()),
        )
    }
}

/// Makes one piece, and tells of it.
#[derive(Debug)]
pub struct TracedProducer {
    channel: Weak<Traced<AsyncChatBase>>,
    made: Cell<bool>,
}

impl TracedProducer {
    /// A producer that tells of itself under the channel's name.
    ///
    /// # Errors
    ///
    /// While the channel is being made or dropped.
    pub fn new(channel: &Traced<AsyncChatBase>) -> Result<TracedProducer> {
        Ok(TracedProducer {
            channel: Rc::downgrade(&channel.this()?),
            made: Cell::new(false),
        })
    }
}

impl Producer for TracedProducer {
    fn more(&self) -> Result<Data> {
        if let Some(channel) = self.channel.upgrade() {
            channel.told("more", format_args!(""))?;
        }
        Ok(if self.made.replace(true) { "" } else { "spam" }.into())
    }
}

/// Tells the attributes of a channel.
pub fn tell_state<B>(channel: &Traced<B>)
where
    Traced<B>: Dispatcher,
{
    let there = asyncore::socket_map().values().iter().any(|other| {
        let other = other.downcast_ref::<Traced<B>>();
        other.is_some_and(|other| std::ptr::eq(other, channel))
    });
    let mut words = Vec::new();
    for (is_so, word) in [
        (channel.connected(), "connected"),
        (channel.accepting(), "accepting"),
        (channel.connecting(), "connecting"),
    ] {
        if is_so {
            words.push(word);
        }
    }
    words.push(if there {
        "in the map"
    } else {
        "not in the map"
    });
    let details = channel.details.get()(channel);
    tell(format!("  {}: {}{details}", channel.name, words.join(", ")));
}
