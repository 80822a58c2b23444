//! Class `async_chat`: a channel that cuts its input at terminators and queues its output.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Weak;

use asyncore::{BaseClass, Dispatcher, DispatcherBase, Quirks, Result, traced};
use bytes::Bytes;

use crate::data::{Data, Encoding};
use crate::error::AsyncChatError;
use crate::fifo::Fifo;
use crate::in_buffer::{InBuffer, slice_index};
use crate::producer::Queued;
use crate::terminator::{Found, Needle, Searched, Terminator};

/// The methods that class `asynchat.async_chat` adds to [`Dispatcher`], all of which can be overridden.
///
/// It is abstract: a class of yours implements both traits, and of this one
/// [`collect_incoming_data`](AsyncChat::collect_incoming_data) and
/// [`found_terminator`](AsyncChat::found_terminator) at least.
///
/// ```
/// use asynchat::{AsyncChat, AsyncChatBase};
/// use asyncore::{Dispatcher, Result};
///
/// /// Sends every line back.
/// struct EchoLines { base: AsyncChatBase }
///
/// impl Dispatcher for EchoLines {
///     type Base = AsyncChatBase;
///     fn base(&self) -> &AsyncChatBase { &self.base }
/// }
///
/// impl AsyncChat for EchoLines {
///     fn collect_incoming_data(&self, data: &[u8]) -> Result {
///         self._collect_incoming_data(data);
///         Ok(())
///     }
///
///     fn found_terminator(&self) -> Result {
///         let mut line = self._get_data();
///         line.extend(b"\r\n");
///         self.push(line)
///     }
/// }
///
/// # let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
/// // handler = EchoLines(sock); handler.set_terminator(b"\r\n")
/// # let sock = near;
/// let handler = EchoLines::init_with(sock, |base| EchoLines { base })?;
/// handler.set_terminator(b"\r\n")?;
/// # std::io::Write::write_all(&mut far, b"hello\r\n")?;
/// # asyncore::poll(None, None)?;
/// # let mut line = [0; 7];
/// # std::io::Read::read_exact(&mut far, &mut line)?;
/// # assert_eq!(line, *b"hello\r\n");
/// # Ok::<(), asyncore::Error>(())
/// ```
///
/// What `async_chat` does with the methods of `dispatcher`: `handle_read` receives up to
/// [`ac_in_buffer_size`](AsyncChatBase::ac_in_buffer_size) bytes and calls the two methods above for what
/// came, `handle_write` calls [`initiate_send`](AsyncChat::initiate_send), and `handle_close` closes. It is
/// always `readable`, and `writable` while something is queued or it is not connected.
#[doc(alias = "asynchat.async_chat")]
#[diagnostic::on_unimplemented(
    note = "a class derived from `async_chat` says so: `impl AsyncChat for {Self}`"
)]
pub trait AsyncChat: Dispatcher<Base: AsyncChatClass<Self>> {
    /// How many bytes the objects of the class receive at once: the class attribute
    /// `ac_in_buffer_size`. For a single object set [`AsyncChatBase::ac_in_buffer_size`].
    /// The default is that of the class derived from; 4096 at last.
    #[doc(alias = "ac_in_buffer_size")]
    const AC_IN_BUFFER_SIZE: usize = <Self::Base as AsyncChatClass<Self>>::AC_IN_BUFFER_SIZE;

    /// How many bytes the objects of the class send at once: the class attribute
    /// `ac_out_buffer_size`. For a single object set [`AsyncChatBase::ac_out_buffer_size`].
    /// The default is that of the class derived from; 4096 at last.
    #[doc(alias = "ac_out_buffer_size")]
    const AC_OUT_BUFFER_SIZE: usize = <Self::Base as AsyncChatClass<Self>>::AC_OUT_BUFFER_SIZE;

    /// Whether text becomes what [`ENCODING`](AsyncChat::ENCODING) says: the class attribute
    /// `use_encoding`. See [`AsyncChatBase::use_encoding`].
    #[doc(alias = "use_encoding")]
    const USE_ENCODING: bool = <Self::Base as AsyncChatClass<Self>>::USE_ENCODING;

    /// The class attribute `encoding`. See [`AsyncChatBase::encoding`].
    #[doc(alias = "encoding")]
    const ENCODING: Encoding = <Self::Base as AsyncChatClass<Self>>::ENCODING;

    // ---- attributes

    /// The attributes of class `async_chat`.
    fn async_chat(&self) -> &AsyncChatBase {
        self.base().async_chat()
    }

    // ---- input

    /// Takes input that has come, up to a terminator or as far as it came. What is called next tells
    /// which: [`found_terminator`](AsyncChat::found_terminator), or this method with more. `data` is only
    /// lent.
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::NotImplemented`], unless overridden. An error leaves the data in the buffer.
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self.base().collect_incoming_data(self, data)
    }

    /// The terminator has come, all before it has been collected. Not called for a piece of input that
    /// ends with the connection. What came after the terminator in the same read follows at once, whatever
    /// [`readable`](Dispatcher::readable) says by then.
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::NotImplemented`], unless overridden. After an error the terminator is gone, and what
    /// came after it is looked through when more has come.
    fn found_terminator(&self) -> Result {
        self.base().found_terminator(self)
    }

    /// Adds to what is `incoming`: a body for `collect_incoming_data`.
    fn _collect_incoming_data(&self, data: &[u8]) {
        self.base()._collect_incoming_data(self, data);
    }

    /// Takes what is `incoming`, all in one piece.
    fn _get_data(&self) -> Vec<u8> {
        self.base()._get_data(self)
    }

    /// Sets what ends the next piece of input: bytes, a number of bytes, or `None` for nothing. 0 and no
    /// bytes are nothing, too. What has been received already and not been collected is looked through
    /// for the new one.
    ///
    /// A number is counted down while its bytes come in, and is 0 when they are there: the next piece needs
    /// a terminator of its own.
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::NegativeTerminator`], and [`AsyncChatError::Unencodable`] for text.
    fn set_terminator(&self, term: impl Into<Terminator>) -> Result {
        self.base().set_terminator(self, term.into())
    }

    /// The terminator. Overridden, it says what the input is searched for.
    fn get_terminator(&self) -> Terminator {
        self.base().get_terminator(self)
    }

    // ---- output

    /// Queues data in pieces of [`ac_out_buffer_size`](AsyncChatBase::ac_out_buffer_size), and calls
    /// [`initiate_send`](AsyncChat::initiate_send).
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::NoOutBuffer`], and [`AsyncChatError::Unencodable`] for text: then nothing is
    /// queued. Those of `initiate_send`: then it is.
    fn push(&self, data: impl Into<Data>) -> Result {
        self.base().push(self, data.into())
    }

    /// Queues a producer, or data in one piece, and calls [`initiate_send`](AsyncChat::initiate_send).
    ///
    /// # Errors
    ///
    /// Those of `initiate_send`, when it is queued.
    fn push_with_producer(&self, producer: impl Into<Queued>) -> Result {
        self.base().push_with_producer(self, producer.into())
    }

    /// Queues the end: when all that was pushed before is sent, [`handle_close`](Dispatcher::handle_close)
    /// is called. With nothing to be sent, that is when the channel can write next, or at the next
    /// [`push`](AsyncChat::push): what is pushed after the end is never sent. In the queue the end is
    /// [`Queued::Close`].
    ///
    /// # Errors
    ///
    /// None, unless overridden.
    fn close_when_done(&self) -> Result {
        self.base().close_when_done(self)
    }

    /// While connected, sends the first data of the queue, as much as one
    /// [`send`](Dispatcher::send) takes, after asking producers for it as needed.
    ///
    /// # Errors
    ///
    /// Those of producers and of [`handle_error`](Dispatcher::handle_error), which is called with what the
    /// system says against sending; [`AsyncChatError::Unencodable`], [`AsyncChatError::FifoEmptied`] and
    /// [`AsyncChatError::TooDeep`]. The first entry of the queue stays, and fails again with the next write
    /// event, unless `handle_error` closes the channel.
    fn initiate_send(&self) -> Result {
        self.base().initiate_send(self)
    }

    /// Drops all input that has not been collected or is `incoming`, and the queue.
    fn discard_buffers(&self) {
        self.base().discard_buffers(self);
    }
}

/// A class in the hierarchy below `async_chat`; see [`BaseClass`]. What the methods are for is told in
/// [`AsyncChat`].
///
/// A class between `async_chat` and others, as `smtpd.SMTPChannel` is, implements it to override what
/// `async_chat` added. What it does not override is looked up in its [`AsyncChatSuper`](AsyncChatClass::AsyncChatSuper).
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Weak;
/// use asynchat::{AsyncChat, AsyncChatBase, AsyncChatClass};
/// use asyncore::{BaseClass, Dispatcher, Result};
///
/// /// class line_counter(asynchat.async_chat): counts lines and forgets them.
/// struct LineCounterBase { chat: AsyncChatBase, lines: Cell<u64> }
///
/// impl<T: AsyncChat> BaseClass<T> for LineCounterBase {
///     type Super = AsyncChatBase;
///     fn new(this: &Weak<T>) -> Self {
///         LineCounterBase { chat: BaseClass::new(this), lines: Cell::new(0) }
///     }
///     fn superclass(&self) -> &AsyncChatBase { &self.chat }
/// }
///
/// impl<T: AsyncChat> AsyncChatClass<T> for LineCounterBase {
///     type AsyncChatSuper = AsyncChatBase;
///     fn async_chat_super(&self) -> &AsyncChatBase { &self.chat }
///
///     fn collect_incoming_data(&self, _this: &T, _data: &[u8]) -> Result { Ok(()) }
///     fn found_terminator(&self, this: &T) -> Result {
///         self.lines.set(self.lines.get() + 1);
///         this.push(format!("{}\r\n", self.lines.get()))
///     }
/// }
///
/// /// class quiet_counter(line_counter)
/// struct QuietCounter { base: LineCounterBase }
///
/// impl Dispatcher for QuietCounter {
///     type Base = LineCounterBase;
///     fn base(&self) -> &LineCounterBase { &self.base }
/// }
///
/// impl AsyncChat for QuietCounter {
///     fn push(&self, _data: impl Into<asynchat::Data>) -> Result { Ok(()) }
/// }
///
/// let counter = QuietCounter::init(|base| QuietCounter { base });
/// counter.found_terminator()?;
/// assert_eq!(counter.base().lines.get(), 1);
/// assert!(counter.async_chat().producer_fifo.is_empty());
/// # Ok::<(), asyncore::Error>(())
/// ```
pub trait AsyncChatClass<T: AsyncChat>: BaseClass<T> {
    /// The class that this one derives from; [`AsyncChatBase`] is its own.
    type AsyncChatSuper: AsyncChatClass<T>;

    /// The part of the object that the class derives from: the same as
    /// [`superclass`](BaseClass::superclass).
    fn async_chat_super(&self) -> &Self::AsyncChatSuper;

    /// The class's [`AsyncChat::AC_IN_BUFFER_SIZE`].
    const AC_IN_BUFFER_SIZE: usize = <Self::AsyncChatSuper as AsyncChatClass<T>>::AC_IN_BUFFER_SIZE;

    /// The class's [`AsyncChat::AC_OUT_BUFFER_SIZE`].
    const AC_OUT_BUFFER_SIZE: usize =
        <Self::AsyncChatSuper as AsyncChatClass<T>>::AC_OUT_BUFFER_SIZE;

    /// The class's [`AsyncChat::USE_ENCODING`].
    const USE_ENCODING: bool = <Self::AsyncChatSuper as AsyncChatClass<T>>::USE_ENCODING;

    /// The class's [`AsyncChat::ENCODING`].
    const ENCODING: Encoding = <Self::AsyncChatSuper as AsyncChatClass<T>>::ENCODING;

    /// The attributes of class `async_chat`.
    fn async_chat(&self) -> &AsyncChatBase {
        self.async_chat_super().async_chat()
    }

    /// The class's [`AsyncChat::collect_incoming_data`].
    fn collect_incoming_data(&self, this: &T, data: &[u8]) -> Result {
        self.async_chat_super().collect_incoming_data(this, data)
    }

    /// The class's [`AsyncChat::found_terminator`].
    fn found_terminator(&self, this: &T) -> Result {
        self.async_chat_super().found_terminator(this)
    }

    /// The class's [`AsyncChat::_collect_incoming_data`].
    fn _collect_incoming_data(&self, this: &T, data: &[u8]) {
        self.async_chat_super()._collect_incoming_data(this, data);
    }

    /// The class's [`AsyncChat::_get_data`].
    fn _get_data(&self, this: &T) -> Vec<u8> {
        self.async_chat_super()._get_data(this)
    }

    /// The class's [`AsyncChat::set_terminator`].
    fn set_terminator(&self, this: &T, term: Terminator) -> Result {
        self.async_chat_super().set_terminator(this, term)
    }

    /// The class's [`AsyncChat::get_terminator`].
    fn get_terminator(&self, this: &T) -> Terminator {
        self.async_chat_super().get_terminator(this)
    }

    /// The class's [`AsyncChat::push`].
    fn push(&self, this: &T, data: Data) -> Result {
        self.async_chat_super().push(this, data)
    }

    /// The class's [`AsyncChat::push_with_producer`].
    fn push_with_producer(&self, this: &T, producer: Queued) -> Result {
        self.async_chat_super().push_with_producer(this, producer)
    }

    /// The class's [`AsyncChat::close_when_done`].
    fn close_when_done(&self, this: &T) -> Result {
        self.async_chat_super().close_when_done(this)
    }

    /// The class's [`AsyncChat::initiate_send`].
    fn initiate_send(&self, this: &T) -> Result {
        self.async_chat_super().initiate_send(this)
    }

    /// The class's [`AsyncChat::discard_buffers`].
    fn discard_buffers(&self, this: &T) {
        self.async_chat_super().discard_buffers(this);
    }
}

/// Class `asynchat.async_chat` itself: its attributes, and what its methods do.
#[doc(alias = "asynchat.async_chat")]
pub struct AsyncChatBase {
    dispatcher: DispatcherBase,
    /// `self.ac_in_buffer_size`: how many bytes are received at once. With 0 every input is taken for the end
    /// of the stream.
    pub ac_in_buffer_size: Cell<usize>,
    /// `self.ac_out_buffer_size`: how many bytes are sent at once, and the size of the pieces that `push`
    /// makes. With 0 nothing can be pushed, and nothing that is queued be sent.
    pub ac_out_buffer_size: Cell<usize>,
    /// `self.use_encoding`: whether text, given as data or as a terminator, becomes what `encoding`
    /// says. If not, which is the default, it becomes what it is everywhere in Rust: UTF-8. (Python fails
    /// with a `TypeError` then.)
    pub use_encoding: Cell<bool>,
    /// `self.encoding`: what text becomes; Latin-1 unless set.
    pub encoding: Cell<Encoding>,
    /// `self.producer_fifo`: what is to be sent. Programs may change it at any time.
    pub producer_fifo: Fifo<Queued>,
    terminator: RefCell<Terminator>,
    incoming: RefCell<Vec<u8>>,
    ac_in_buffer: InBuffer,
    /// How many calls of `initiate_send` are inside one another.
    depth: Cell<u16>,
}

impl AsyncChatBase {
    /// What has been received and not been collected: a copy of `self.ac_in_buffer`.
    ///
    /// In `collect_incoming_data` that is still there which is being collected, and all that came after
    /// it; in `found_terminator` what came after the terminator.
    pub fn ac_in_buffer(&self) -> Vec<u8> {
        self.ac_in_buffer.to_vec()
    }

    /// How much there is: `len(self.ac_in_buffer)`.
    pub fn ac_in_buffer_len(&self) -> usize {
        self.ac_in_buffer.len()
    }

    /// Sets `self.ac_in_buffer`, before or while `handle_read` works on it.
    pub fn set_ac_in_buffer(&self, data: impl Into<Vec<u8>>) {
        self.ac_in_buffer.set(data.into());
    }

    /// `self.terminator`: what [`get_terminator`](AsyncChat::get_terminator) returns unless overridden.
    pub fn terminator(&self) -> Terminator {
        self.terminator.borrow().clone()
    }

    /// Sets `self.terminator`, and returns what it was. Unlike
    /// [`set_terminator`](AsyncChat::set_terminator), it takes any number.
    pub fn replace_terminator(&self, term: impl Into<Terminator>) -> Terminator {
        self.terminator.replace(term.into())
    }

    /// What `_collect_incoming_data` has collected: a copy of `b"".join(self.incoming)`.
    pub fn incoming(&self) -> Vec<u8> {
        self.incoming.borrow().clone()
    }

    /// How much that is.
    pub fn incoming_len(&self) -> usize {
        self.incoming.borrow().len()
    }

    /// Sets `self.incoming`.
    pub fn set_incoming(&self, data: impl Into<Vec<u8>>) {
        self.incoming.replace(data.into());
    }

    /// A terminator of text as the bytes that the text becomes.
    fn encoded(&self, term: Terminator) -> Result<Terminator> {
        match &term {
            Terminator::Bytes(needle) if self.use_encoding.get() => match needle.text() {
                Some(text) => Ok(self.encoding.get().encode(text)?.into()),
                None => Ok(term),
            },
            _ => Ok(term),
        }
    }

    /// What text becomes.
    fn text_encoding(&self) -> Encoding {
        if self.use_encoding.get() {
            self.encoding.get()
        } else {
            Encoding::Utf8
        }
    }

    /// Counts the bytes of a numeric terminator down: `self.terminator = self.terminator - count`.
    fn count_down(&self, count: usize) -> Result {
        match &mut *self.terminator.borrow_mut() {
            Terminator::Count(left) => {
                *left = left.saturating_sub_unsigned(count as u64);
                Ok(())
            }
            _ => Err(AsyncChatError::CountReplaced.into()),
        }
    }
}

impl fmt::Debug for AsyncChatBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncChatBase")
            .field("dispatcher", &self.dispatcher)
            .field("terminator", &self.terminator)
            .field("ac_in_buffer_len", &self.ac_in_buffer_len())
            .field("producer_fifo", &self.producer_fifo)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncChat> BaseClass<T> for AsyncChatBase {
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> AsyncChatBase {
        AsyncChatBase {
            dispatcher: BaseClass::new(this),
            ac_in_buffer_size: Cell::new(T::AC_IN_BUFFER_SIZE),
            ac_out_buffer_size: Cell::new(T::AC_OUT_BUFFER_SIZE),
            use_encoding: Cell::new(T::USE_ENCODING),
            encoding: Cell::new(T::ENCODING),
            producer_fifo: Fifo::new(),
            terminator: RefCell::default(),
            incoming: RefCell::default(),
            ac_in_buffer: InBuffer::default(),
            depth: Cell::new(0),
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        &self.dispatcher
    }

    fn handle_read(&self, this: &T) -> Result {
        let data = match this.recv(self.ac_in_buffer_size.get()) {
            Ok(data) => data,
            Err(error) if error.io_kind() == Some(io::ErrorKind::WouldBlock) => return Ok(()),
            Err(error) if error.is::<io::Error>() => return traced!(this.handle_error(error)),
            Err(error) => return Err(error),
        };
        self.ac_in_buffer.append(data);
        let collected = self.collect_all(this);
        self.ac_in_buffer.release();
        collected
    }

    fn handle_write(&self, this: &T) -> Result {
        traced!(this.initiate_send())
    }

    fn handle_close(&self, this: &T) -> Result {
        traced!(this.close())
    }

    fn readable(&self, _this: &T) -> bool {
        true
    }

    fn writable(&self, this: &T) -> bool {
        !self.producer_fifo.is_empty() || !this.connected()
    }
}

// A callback may change the buffer. As in Python, what was collected is cut off what the buffer is by then.
impl AsyncChatBase {
    /// Collects what is in the buffer; one read may have brought many terminators.
    fn collect_all<T: AsyncChat>(&self, this: &T) -> Result {
        let mut view = self.ac_in_buffer.view();
        while !view.bytes().is_empty() {
            // Python takes it before it asks for the terminator, which may change the buffer if overridden.
            let len_before = view.bytes().len();
            let mut terminator = this.get_terminator();
            if self.use_encoding.get() {
                terminator = self.encoded(terminator)?;
            }
            self.ac_in_buffer.refresh(&mut view);
            let buffer = view.bytes();
            let goes_on = match terminator {
                Terminator::Bytes(needle) if !needle.is_empty() => {
                    self.collect_until(this, &needle, len_before, buffer)?
                }
                Terminator::Count(count) if count != 0 => {
                    self.collect_count(this, count, len_before, buffer)?;
                    true
                }
                _ => {
                    traced!(this.collect_incoming_data(buffer))?;
                    self.ac_in_buffer.clear();
                    true
                }
            };
            self.ac_in_buffer.refresh(&mut view);
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Collects the bytes before a terminator. `false` when more input is needed to tell what the last
    /// of it is.
    fn collect_until<T: AsyncChat>(
        &self,
        this: &T,
        needle: &Needle,
        len_before: usize,
        buffer: &[u8],
    ) -> Result<bool> {
        match needle.search(buffer, self.ac_in_buffer.searched(needle)) {
            Found::Whole(index) => {
                // An empty piece is not worth a call.
                if index > 0
                    && let Err(error) = traced!(this.collect_incoming_data(&buffer[..index]))
                {
                    // All stays as it is, and will be looked through again.
                    let searched = Searched {
                        at: index,
                        matched: 0,
                    };
                    if self.ac_in_buffer.is(buffer) {
                        self.ac_in_buffer.set_searched(needle, searched);
                    }
                    return Err(error);
                }
                self.ac_in_buffer.skip((index + needle.len()) as i64);
                traced!(this.found_terminator())?;
                Ok(true)
            }
            Found::Prefix(matched) => {
                let at = buffer.len();
                self.ac_in_buffer
                    .set_searched(needle, Searched { at, matched });
                if matched != len_before {
                    traced!(this.collect_incoming_data(&buffer[..at - matched]))?;
                    self.ac_in_buffer.keep_last(matched);
                }
                Ok(matched == 0)
            }
        }
    }

    /// Collects what there is of `count` bytes.
    fn collect_count<T: AsyncChat>(
        &self,
        this: &T,
        count: i64,
        len_before: usize,
        buffer: &[u8],
    ) -> Result {
        if i64::try_from(len_before).is_ok_and(|len| len < count) {
            traced!(this.collect_incoming_data(buffer))?;
            self.ac_in_buffer.clear();
            return self.count_down(len_before);
        }
        let collected = &buffer[..slice_index(buffer.len(), count)];
        traced!(this.collect_incoming_data(collected))?;
        self.ac_in_buffer.skip(count);
        *self.terminator.borrow_mut() = Terminator::Count(0);
        traced!(this.found_terminator())
    }
}

impl<T: AsyncChat> AsyncChatClass<T> for AsyncChatBase {
    type AsyncChatSuper = AsyncChatBase;

    const AC_IN_BUFFER_SIZE: usize = 4096;
    const AC_OUT_BUFFER_SIZE: usize = 4096;
    const USE_ENCODING: bool = false;
    const ENCODING: Encoding = Encoding::Latin1;

    fn async_chat_super(&self) -> &AsyncChatBase {
        self
    }

    fn async_chat(&self) -> &AsyncChatBase {
        self
    }

    fn collect_incoming_data(&self, _this: &T, _data: &[u8]) -> Result {
        Err(AsyncChatError::NotImplemented.into())
    }

    fn found_terminator(&self, _this: &T) -> Result {
        Err(AsyncChatError::NotImplemented.into())
    }

    fn _collect_incoming_data(&self, _this: &T, data: &[u8]) {
        self.incoming.borrow_mut().extend_from_slice(data);
    }

    fn _get_data(&self, _this: &T) -> Vec<u8> {
        self.incoming.take()
    }

    fn set_terminator(&self, _this: &T, term: Terminator) -> Result {
        if let Terminator::Count(count @ ..0) = term {
            return Err(AsyncChatError::NegativeTerminator(count).into());
        }
        self.terminator.replace(self.encoded(term)?);
        Ok(())
    }

    fn get_terminator(&self, _this: &T) -> Terminator {
        self.terminator()
    }

    fn push(&self, this: &T, data: Data) -> Result {
        let mut data = data.encode(self.text_encoding())?;
        let size = self.ac_out_buffer_size.get();
        if size == 0 && !data.is_empty() {
            return Err(AsyncChatError::NoOutBuffer.into());
        }
        while data.len() > size {
            self.producer_fifo.push(data.split_to(size));
        }
        self.producer_fifo.push(data);
        traced!(this.initiate_send())
    }

    fn push_with_producer(&self, this: &T, producer: Queued) -> Result {
        self.producer_fifo.push(producer);
        traced!(this.initiate_send())
    }

    fn close_when_done(&self, _this: &T) -> Result {
        self.producer_fifo.push(Queued::Close);
        Ok(())
    }

    fn initiate_send(&self, this: &T) -> Result {
        /// Python ends such a recursion at some 300.
        const DEEPEST: u16 = 250;

        let _inside = Inside::of(&self.depth);
        if self.depth.get() > DEEPEST {
            return Err(AsyncChatError::TooDeep.into());
        }
        while !self.producer_fifo.is_empty() && this.connected() {
            let fifo = &self.producer_fifo;
            let first = fifo.first().ok_or(AsyncChatError::FifoEmptied)?;
            if self.is_falsy(this, &first) {
                fifo.pop();
            }
            let data = match first {
                Queued::Close => return traced!(this.handle_close()),
                Queued::Producer(producer) => {
                    let data = producer.more()?;
                    if data.is_empty() {
                        fifo.pop().ok_or(AsyncChatError::FifoEmptied)?;
                    } else {
                        fifo.push_front(data);
                    }
                    continue;
                }
                Queued::Data(data) => data.encode(self.text_encoding())?,
            };
            return self.send_first(this, &data);
        }
        Ok(())
    }

    fn discard_buffers(&self, _this: &T) {
        self.ac_in_buffer.set(Vec::new());
        self.incoming.take();
        self.producer_fifo.clear();
    }
}

impl AsyncChatBase {
    /// Whether Python would call an entry of the queue false, which it takes out before it looks closer.
    fn is_falsy<T: AsyncChat>(&self, this: &T, entry: &Queued) -> bool {
        match entry {
            Queued::Data(data) => data.is_empty(),
            Queued::Close => true,
            Queued::Producer(producer) => {
                let quirks = this
                    .map()
                    .map_or_else(|_| Quirks::default(), |map| map.quirks());
                quirks.falsy_producer_ends && !producer.truth()
            }
        }
    }

    /// Sends the beginning of the first entry of the queue, which is `first`, and takes out of the queue
    /// what was sent.
    fn send_first<T: AsyncChat>(&self, this: &T, first: &Bytes) -> Result {
        let size = self.ac_out_buffer_size.get();
        let data = &first[..size.min(first.len())];
        let sent = match this.send(data) {
            Ok(sent) => sent,
            Err(error) if error.is::<io::Error>() => return traced!(this.handle_error(error)),
            Err(error) => return Err(error),
        };
        if sent == 0 {
            return Ok(());
        }
        let fifo = &self.producer_fifo;
        let emptied = if sent < data.len() || size < first.len() {
            let rest = first.slice(sent.min(first.len())..);
            fifo.replace(0, rest).is_err()
        } else {
            fifo.pop().is_none()
        };
        if emptied {
            return Err(AsyncChatError::FifoEmptied.into());
        }
        Ok(())
    }
}

/// Counts a call as long as it lasts.
struct Inside<'a>(&'a Cell<u16>);

impl Inside<'_> {
    fn of(depth: &Cell<u16>) -> Inside<'_> {
        depth.set(depth.get() + 1);
        Inside(depth)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
