//! Producers: what makes the data to be sent, as it is needed.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use asyncore::Result;
use bytes::Bytes;

use crate::data::Data;
use crate::error::AsyncChatError;

/// Makes data to be sent, piece by piece.
///
/// In Python any object with a method `more` is one. Here any type that implements this trait is, and so
/// is a closure (`Fn() -> Result<Data>`, boxed or not), and one that changes what it has captured
/// (`FnMut`) in a `RefCell`. A `Box<dyn Producer>` is queued as `Queued::Producer(Rc::from(producer))`.
///
/// While `more` runs, the producer is still the first of the queue. It may push, close, discard the buffers
/// and whatever else a callback may; what it pushes to its own channel makes the channel send, and so
/// ask the same producer for more, in between: one that pushes each time that it is asked fails with
/// [`AsyncChatError::TooDeep`].
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use asynchat::{Data, Producer};
/// use asyncore::Result;
///
/// /// Counts down.
/// struct Countdown { left: Cell<u32> }
///
/// impl Producer for Countdown {
///     fn more(&self) -> Result<Data> {
///         match self.left.get() {
///             0 => Ok(Data::default()),
///             left => {
///                 self.left.set(left - 1);
///                 Ok(format!("{left}\r\n").into())
///             }
///         }
///     }
/// }
///
/// # use asynchat::{AsyncChat, AsyncChatBase};
/// # use asyncore::Dispatcher;
/// # struct Chat { base: AsyncChatBase }
/// # impl Dispatcher for Chat {
/// #     type Base = AsyncChatBase;
/// #     fn base(&self) -> &AsyncChatBase { &self.base }
/// # }
/// # impl AsyncChat for Chat {}
/// # let channel = Chat::init(|base| Chat { base });
/// channel.push_with_producer(Countdown { left: Cell::new(10) })?;
///
/// let mut lines = vec!["one\r\n", "two\r\n"].into_iter();
/// channel.push_with_producer(RefCell::new(move || Ok(lines.next().unwrap_or_default().into())))?;
/// # Ok::<(), asyncore::Error>(())
/// ```
pub trait Producer: 'static {
    /// Makes the next piece. An empty one says that there is no more: the producer is dropped from the
    /// queue.
    ///
    /// # Errors
    ///
    /// They reach the caller of [`initiate_send`](crate::AsyncChat::initiate_send); the producer stays in
    /// the queue.
    fn more(&self) -> Result<Data>;

    /// Python's truth value of the object, false where its class has a `__len__` that returns 0 or a
    /// `__bool__` that says so. It matters only under
    /// [`Quirks::falsy_producer_ends`](asyncore::Quirks::falsy_producer_ends).
    #[doc(alias = "__bool__")]
    #[doc(alias = "__len__")]
    fn truth(&self) -> bool {
        true
    }
}

impl<F: Fn() -> Result<Data> + 'static> Producer for F {
    fn more(&self) -> Result<Data> {
        self()
    }
}

impl<F: FnMut() -> Result<Data> + 'static> Producer for RefCell<F> {
    /// Fails with [`AsyncChatError::ProducerRunning`] while it runs.
    fn more(&self) -> Result<Data> {
        match self.try_borrow_mut() {
            Ok(mut more) => more(),
            Err(_) => Err(AsyncChatError::ProducerRunning.into()),
        }
    }
}

impl<P: Producer + ?Sized> Producer for Rc<P> {
    fn more(&self) -> Result<Data> {
        (**self).more()
    }

    fn truth(&self) -> bool {
        (**self).truth()
    }
}

/// A producer that hands out data it has, in pieces: class `asynchat.simple_producer`.
///
/// ```
/// use asynchat::{Data, Producer, SimpleProducer};
///
/// let producer = SimpleProducer::with_buffer_size(b"hello", 3);
/// assert_eq!(producer.more()?, Data::from(b"hel"));
/// assert_eq!(producer.more()?, Data::from(b"lo"));
/// assert!(producer.more()?.is_empty());
/// # Ok::<(), asyncore::Error>(())
/// ```
#[doc(alias = "asynchat.simple_producer")]
#[derive(Debug)]
pub struct SimpleProducer {
    data: RefCell<Data>,
    buffer_size: usize,
}

impl SimpleProducer {
    /// Hands out `data` in pieces of 512 bytes: `simple_producer(data)`.
    pub fn new(data: impl Into<Data>) -> SimpleProducer {
        SimpleProducer::with_buffer_size(data, 512)
    }

    /// Hands out `data` in pieces of this size, bytes of bytes and characters of text:
    /// `simple_producer(data, buffer_size)`. A size of 0 ends at once.
    pub fn with_buffer_size(data: impl Into<Data>, buffer_size: usize) -> SimpleProducer {
        SimpleProducer {
            data: RefCell::new(data.into()),
            buffer_size,
        }
    }
}

impl Producer for SimpleProducer {
    fn more(&self) -> Result<Data> {
        Ok(self.data.borrow_mut().split_to(self.buffer_size))
    }
}

/// An entry of a channel's queue.
#[derive(Clone)]
pub enum Queued {
    /// Data, which is sent as it is.
    Data(Data),
    /// A producer, which is asked for more until it has none.
    Producer(Rc<dyn Producer>),
    /// The end of the queue, where the channel closes itself: Python's `None`.
    #[doc(alias = "None")]
    Close,
}

impl<P: Producer> From<P> for Queued {
    fn from(producer: P) -> Queued {
        Queued::Producer(Rc::new(producer))
    }
}

/// What is data can be queued where a producer can: `push_with_producer(b"…")`.
macro_rules! queued_data {
    ($($type:ty),*) => {$(
        impl From<$type> for Queued {
            fn from(data: $type) -> Queued {
                Queued::Data(data.into())
            }
        }
    )*};
}

queued_data!(Data, Bytes, Vec<u8>, &Vec<u8>, &[u8], String, &String, &str);

impl<const N: usize> From<&[u8; N]> for Queued {
    fn from(data: &[u8; N]) -> Queued {
        Queued::Data(data.into())
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Queued::Data(data) => data.fmt(f),
            Queued::Producer(producer) => write!(f, "<producer at {:p}>", Rc::as_ptr(producer)),
            Queued::Close => f.write_str("None"),
        }
    }
}
