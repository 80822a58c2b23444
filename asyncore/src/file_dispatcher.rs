//! Class `file_dispatcher`: a channel around a file descriptor (Unix).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::rc::Weak;

use crate::base_class::BaseClass;
use crate::channel_map::descriptor_closed;
use crate::dispatcher::{Dispatcher, DispatcherBase};
use crate::error::{Error, Result, bad_descriptor};
use crate::poller::Descriptor;
use crate::socket::{Socket, SocketLike};

/// A file descriptor with just enough of a socket's methods for a channel: class
/// `asyncore.file_wrapper`.
///
/// It owns a duplicate, which it closes when dropped; like Python, it warns of that, since one that was
/// forgotten is most often a mistake.
#[doc(alias = "asyncore.file_wrapper")]
#[derive(Debug)]
pub struct FileWrapper {
    fd: RefCell<Option<OwnedFd>>,
}

impl FileWrapper {
    /// Wraps a duplicate of `fd`.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub fn new(fd: impl AsFd) -> io::Result<FileWrapper> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        Ok(FileWrapper {
            fd: RefCell::new(Some(fd)),
        })
    }

    /// The same as [`recv`](SocketLike::recv).
    ///
    /// # Errors
    ///
    /// Those of read(2), and `EBADF` once closed.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }

    /// The same as [`send`](SocketLike::send).
    ///
    /// # Errors
    ///
    /// Those of write(2), and `EBADF` once closed.
    pub fn write(&self, data: &[u8]) -> io::Result<usize> {
        self.send(data)
    }

    fn with<T>(&self, call: impl FnOnce(&OwnedFd) -> rustix::io::Result<T>) -> io::Result<T> {
        match &*self.fd.borrow() {
            Some(fd) => Ok(call(fd)?),
            None => Err(bad_descriptor()),
        }
    }
}

impl SocketLike for FileWrapper {
    fn fileno(&self) -> Option<Descriptor> {
        self.fd.borrow().as_ref().map(|fd| fd.as_raw_fd())
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.with(|fd| rustix::io::retry_on_intr(|| rustix::io::write(fd, data)))
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|fd| rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer)))
    }

    fn close(&self) -> io::Result<()> {
        let Some(fd) = self.fd.take() else {
            return Ok(());
        };
        let number = fd.as_raw_fd();
        // Dropping would not tell that someone else has closed it.
        if let Err(error) = rustix::io::fcntl_getfd(&fd) {
            let _ = fd.into_raw_fd();
            descriptor_closed(number);
            return Err(error.into());
        }
        drop(fd);
        descriptor_closed(number);
        Ok(())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.with(|fd| rustix::io::ioctl_fionbio(fd, nonblocking))
    }
}

impl Drop for FileWrapper {
    fn drop(&mut self) {
        if self.fd.get_mut().is_some() {
            log::warn!(target: "asyncore", "unclosed file {self:?}");
            let _ = self.close();
        }
    }
}

/// The methods that class `asyncore.file_dispatcher` adds to [`Dispatcher`]: a channel around a pipe, a
/// terminal, or anything else that is a descriptor and no socket.
///
/// ```
/// use std::cell::RefCell;
/// use asyncore::{Dispatcher, FileDispatcher, FileDispatcherBase, Loop, Result};
///
/// struct Lines { base: FileDispatcherBase, text: RefCell<Vec<u8>> }
///
/// impl Dispatcher for Lines {
///     type Base = FileDispatcherBase;
///     fn base(&self) -> &FileDispatcherBase { &self.base }
///
///     fn writable(&self) -> bool { false }
///     fn handle_read(&self) -> Result {
///         let data = self.recv(4096)?;
///         self.text.borrow_mut().extend(data);
///         Ok(())
///     }
/// }
///
/// impl FileDispatcher for Lines {}
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let lines = Lines::init(|base| Lines { base, text: RefCell::default() });
/// lines.init_file(&reader)?;
///
/// std::io::Write::write_all(&mut writer, b"spam\n")?;
/// drop(writer);
/// Loop::new().run()?; // until the end of the pipe
/// assert_eq!(*lines.text.borrow(), b"spam\n");
/// # Ok::<(), asyncore::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    note = "a class derived from `file_dispatcher` says so: `impl FileDispatcher for {Self} {{}}`"
)]
pub trait FileDispatcher: Dispatcher<Base: FileDispatcherClass<Self>> {
    /// `asyncore.file_dispatcher.__init__(self, fd)`, on an object that `init` or `init_in` has made:
    /// sets `connected`, calls [`set_file`](FileDispatcher::set_file), and makes the descriptor
    /// non-blocking.
    ///
    /// The channel has a duplicate of it; `fd` remains the caller's to close.
    ///
    /// # Errors
    ///
    /// The system's.
    #[doc(alias = "__init__")]
    fn init_file(&self, fd: impl AsFd) -> Result {
        self.root().connected.set(true);
        self.set_file(fd.as_fd())?;
        rustix::io::ioctl_fionbio(fd, true).map_err(io::Error::from)?;
        Ok(())
    }

    /// Makes a [`FileWrapper`] of `fd` the channel's socket, and calls
    /// [`add_channel`](Dispatcher::add_channel).
    ///
    /// # Errors
    ///
    /// Those of dup(2) and of `add_channel`.
    fn set_file(&self, fd: BorrowedFd<'_>) -> Result {
        self.base().set_file(self, fd)
    }
}

/// A class in the hierarchy below `file_dispatcher`; see [`BaseClass`].
pub trait FileDispatcherClass<T: FileDispatcher>: BaseClass<T> {
    /// The class that this one derives from; [`FileDispatcherBase`] is its own.
    type FileDispatcherSuper: FileDispatcherClass<T>;

    /// The part of the object that the class derives from: the same as
    /// [`superclass`](BaseClass::superclass).
    fn file_dispatcher_super(&self) -> &Self::FileDispatcherSuper;

    /// The class's [`FileDispatcher::set_file`].
    ///
    /// # Errors
    ///
    /// As there.
    fn set_file(&self, this: &T, fd: BorrowedFd<'_>) -> Result {
        self.file_dispatcher_super().set_file(this, fd)
    }
}

/// Class `asyncore.file_dispatcher` itself: what its methods do.
#[doc(alias = "asyncore.file_dispatcher")]
#[derive(Debug)]
pub struct FileDispatcherBase {
    dispatcher: DispatcherBase,
}

impl<T: FileDispatcher> BaseClass<T> for FileDispatcherBase {
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> FileDispatcherBase {
        FileDispatcherBase {
            dispatcher: BaseClass::new(this),
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        &self.dispatcher
    }
}

impl<T: FileDispatcher> FileDispatcherClass<T> for FileDispatcherBase {
    type FileDispatcherSuper = FileDispatcherBase;

    fn file_dispatcher_super(&self) -> &FileDispatcherBase {
        self
    }

    fn set_file(&self, this: &T, fd: BorrowedFd<'_>) -> Result {
        let file = FileWrapper::new(fd).map_err(|error| Error::from(error).with_context("dup"))?;
        self.dispatcher.fileno.set(file.fileno());
        self.dispatcher.replace_socket(Some(Socket::new(file)));
        this.add_channel(None)
    }
}
