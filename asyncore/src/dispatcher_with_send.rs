//! Class `dispatcher_with_send`: a dispatcher that buffers its output.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use crate::base_class::BaseClass;
use crate::dispatcher::{Dispatcher, DispatcherBase};
use crate::error::Result;
use crate::traced;

/// The methods that class `asyncore.dispatcher_with_send` adds to [`Dispatcher`].
///
/// It keeps what `send` could not send at once and sends it when possible: for simple clients and
/// servers. (Class `async_chat` of the crate `asynchat` is for more sophisticated ones.) A class of yours
/// implements both traits, the second most often with nothing in it:
///
/// ```
/// use asyncore::{Dispatcher, DispatcherWithSend, DispatcherWithSendBase, Result};
///
/// struct EchoHandler { base: DispatcherWithSendBase }
///
/// impl Dispatcher for EchoHandler {
///     type Base = DispatcherWithSendBase;
///     fn base(&self) -> &DispatcherWithSendBase { &self.base }
///
///     fn handle_read(&self) -> Result {
///         let data = self.recv(8192)?;
///         if !data.is_empty() {
///             self.send(&data)?;
///         }
///         Ok(())
///     }
/// }
///
/// impl DispatcherWithSend for EchoHandler {}
/// ```
///
/// Its `send` appends to the buffer, calls [`initiate_send`](DispatcherWithSend::initiate_send), and
/// returns that all was taken (Python's returns nothing). Its `handle_write` calls `initiate_send`, and
/// it is `writable` while not connected or while something is buffered.
#[diagnostic::on_unimplemented(
    note = "a class derived from `dispatcher_with_send` says so: `impl DispatcherWithSend for {Self} {{}}`"
)]
pub trait DispatcherWithSend: Dispatcher<Base: DispatcherWithSendClass<Self>> {
    /// Sends what the system takes of the first 65536 bytes of the buffer, with
    /// [`send`](Dispatcher::send) of class `dispatcher`, whatever the object's own `send` is.
    fn initiate_send(&self) -> Result {
        self.base().initiate_send(self)
    }
}

/// A class in the hierarchy below `dispatcher_with_send`; see [`BaseClass`].
pub trait DispatcherWithSendClass<T: DispatcherWithSend>: BaseClass<T> {
    /// The class that this one derives from; [`DispatcherWithSendBase`] is its own.
    type DispatcherWithSendSuper: DispatcherWithSendClass<T>;

    /// The part of the object that the class derives from: the same as
    /// [`superclass`](BaseClass::superclass).
    fn dispatcher_with_send_super(&self) -> &Self::DispatcherWithSendSuper;

    /// The attributes of class `dispatcher_with_send`.
    fn dispatcher_with_send(&self) -> &DispatcherWithSendBase {
        self.dispatcher_with_send_super().dispatcher_with_send()
    }

    /// The class's [`DispatcherWithSend::initiate_send`].
    fn initiate_send(&self, this: &T) -> Result {
        self.dispatcher_with_send_super().initiate_send(this)
    }
}

/// How much of its buffer a channel offers to the system at once.
const MOST_AT_ONCE: usize = 65536;

/// Class `asyncore.dispatcher_with_send` itself: its buffer, and what its methods do.
#[doc(alias = "asyncore.dispatcher_with_send")]
pub struct DispatcherWithSendBase {
    dispatcher: DispatcherBase,
    /// How much of the end of `buffer` is still to be sent; asked before every wait.
    left: Cell<usize>,
    // Shared while it is being sent, so that a handler called meanwhile finds it whole, and can append.
    buffer: RefCell<Rc<Vec<u8>>>,
}

impl DispatcherWithSendBase {
    /// What is still to be sent: a copy of `self.out_buffer`.
    pub fn out_buffer(&self) -> Vec<u8> {
        let buffer = self.buffer.borrow();
        buffer[buffer.len() - self.left.get()..].to_vec()
    }

    /// Sets `self.out_buffer`.
    pub fn set_out_buffer(&self, data: impl Into<Vec<u8>>) {
        let data = data.into();
        self.left.set(data.len());
        *self.buffer.borrow_mut() = Rc::new(data);
    }

    /// How many bytes are still to be sent: `len(self.out_buffer)`.
    pub fn out_buffer_len(&self) -> usize {
        self.left.get()
    }

    /// `self.out_buffer = self.out_buffer + data`
    fn append(&self, data: &[u8]) {
        let mut buffer = self.buffer.borrow_mut();
        let buffer = Rc::make_mut(&mut buffer);
        let sent = buffer.len() - self.left.get();
        // Only when more has been sent than is left: then every byte moves once at most.
        if sent > self.left.get() {
            buffer.drain(..sent);
        }
        buffer.extend_from_slice(data);
        self.left.set(self.left.get() + data.len());
    }

    /// `self.out_buffer = self.out_buffer[count:]`
    fn advance(&self, count: usize) {
        self.left.set(self.left.get().saturating_sub(count));
        if self.left.get() > 0 {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        match Rc::get_mut(&mut buffer) {
            Some(buffer) if buffer.capacity() <= MOST_AT_ONCE => buffer.clear(),
            // So large that an idle channel should not keep it, or still being sent by a call that this
            // one is inside of.
            _ => *buffer = Rc::default(),
        }
    }
}

impl fmt::Debug for DispatcherWithSendBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherWithSendBase")
            .field("dispatcher", &self.dispatcher)
            .field("out_buffer_len", &self.out_buffer_len())
            .finish()
    }
}

impl<T: DispatcherWithSend> BaseClass<T> for DispatcherWithSendBase {
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> DispatcherWithSendBase {
        DispatcherWithSendBase {
            dispatcher: BaseClass::new(this),
            left: Cell::new(0),
            buffer: RefCell::default(),
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        &self.dispatcher
    }

    fn handle_write(&self, this: &T) -> Result {
        traced!(this.initiate_send())
    }

    fn writable(&self, this: &T) -> bool {
        !this.connected() || self.out_buffer_len() > 0
    }

    fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
        if self.dispatcher.debug.get() {
            this.log_info(&format!("sending b'{}'", data.escape_ascii()), "info");
        }
        self.append(data);
        traced!(this.initiate_send())?;
        Ok(data.len())
    }
}

impl<T: DispatcherWithSend> DispatcherWithSendClass<T> for DispatcherWithSendBase {
    type DispatcherWithSendSuper = DispatcherWithSendBase;

    fn dispatcher_with_send_super(&self) -> &DispatcherWithSendBase {
        self
    }

    fn dispatcher_with_send(&self) -> &DispatcherWithSendBase {
        self
    }

    fn initiate_send(&self, this: &T) -> Result {
        let buffer = Rc::clone(&self.buffer.borrow());
        let start = buffer.len() - self.left.get();
        let end = buffer.len().min(start.saturating_add(MOST_AT_ONCE));
        let sent = self.dispatcher.send(this, &buffer[start..end])?;
        drop(buffer);
        self.advance(sent);
        Ok(())
    }
}
