//! What handlers return when something went wrong, and how it is reported.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;

/// What every fallible function and handler of this crate returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// An error on its way out of a handler: Python's exception.
///
/// Any `std::error::Error` becomes one through `?`, which also records the place. The loop hands it to
/// [`handle_error`](crate::Dispatcher::handle_error) of the channel whose handler returned it, except
/// for the three kinds that pass through the loop to its caller: [`ExitNow`], [`KeyboardInterrupt`] and
/// [`SystemExit`].
///
/// ```
/// use asyncore::{Error, ExitNow};
///
/// fn handler() -> asyncore::Result {
///     let n: u32 = "spam".parse()?;
///     if n == 0 {
///         return Err(ExitNow.into());
///     }
///     Err(Error::msg("not supposed to be called"))
/// }
///
/// let error = handler().unwrap_err();
/// assert!(error.is::<std::num::ParseIntError>());
/// assert!(error.location().file().ends_with(".rs"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    source: Box<dyn StdError + Send + Sync>,
    type_name: &'static str,
    /// What was being done to what, as in `bind 127.0.0.1:80`.
    context: Option<String>,
    location: &'static Location<'static>,
    spurious: bool,
}

impl Error {
    /// An error that is only a message, an [`Exception`]: Python's `raise Exception(message)`.
    #[track_caller]
    pub fn msg(message: impl Into<String>) -> Error {
        Error::from(Exception(message.into()))
    }

    /// Whether the error is an `E`: Python's `except E`.
    pub fn is<E: StdError + 'static>(&self) -> bool {
        self.0.source.is::<E>()
    }

    /// The error as an `E`, if it is one.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }

    /// The error number of an operating system's error: Python's `OSError.errno`.
    pub fn errno(&self) -> Option<i32> {
        self.downcast_ref::<io::Error>()?.raw_os_error()
    }

    /// The kind of an I/O error, which is what Python's subclasses of `OSError` tell apart
    /// (`BlockingIOError`, `ConnectionResetError`, …).
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.downcast_ref::<io::Error>().map(io::Error::kind)
    }

    /// Where the error arose: the `?`, `into()` or constructor that made it.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Whether the loop lets the error pass to its caller rather than to `handle_error`:
    /// [`ExitNow`], [`KeyboardInterrupt`] and [`SystemExit`].
    #[doc(alias = "_reraised_exceptions")]
    pub fn is_reraised(&self) -> bool {
        self.is::<ExitNow>() || self.is::<KeyboardInterrupt>() || self.is::<SystemExit>()
    }

    /// Whether the error says that the connection is gone (`ECONNRESET`, `ENOTCONN`, `ESHUTDOWN`,
    /// `ECONNABORTED`, `EPIPE` or `EBADF`), for which `send`, `recv` and [`readwrite`](crate::readwrite)
    /// call `handle_close`.
    #[doc(alias = "_DISCONNECTED")]
    pub fn is_disconnected(&self) -> bool {
        self.downcast_ref::<io::Error>()
            .is_some_and(is_disconnected)
    }

    /// The name of the error's Rust type.
    pub(crate) fn type_name(&self) -> &'static str {
        self.0.type_name
    }

    /// Names the operation and its object, which `io::Error` does not.
    pub(crate) fn with_context(mut self, context: impl Into<String>) -> Error {
        self.0.context = Some(context.into());
        self
    }

    /// Marks an error that only says "nothing to read after all", see `Quirks::would_block_closes`.
    pub(crate) fn spurious(mut self) -> Error {
        self.0.spurious = true;
        self
    }

    pub(crate) fn is_spurious(&self) -> bool {
        self.0.spurious
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    #[track_caller]
    fn from(source: E) -> Error {
        Error(Box::new(Inner {
            source: Box::new(source),
            type_name: std::any::type_name::<E>(),
            context: None,
            location: Location::caller(),
            spurious: false,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.0.context {
            write!(f, "{context}: ")?;
        }
        self.0.source.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `fn main() -> asyncore::Result` prints, so made for people.
        write!(f, "{self} ({} at {})", self.type_name(), self.location())
    }
}

/// `Error` is no `std::error::Error` itself (or `?` could not convert all others); this is its way into
/// functions that return boxed ones.
#[derive(Debug)]
struct Boxed(Error);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Boxed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.source.source()
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

/// Declares an error type whose message is fixed.
macro_rules! plain_error {
    ($(#[$attribute:meta])* $name:ident, $message:literal) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($message)
            }
        }

        impl StdError for $name {}
    };
}

plain_error! {
    /// Ends the loop from inside a handler: `return Err(ExitNow.into())`.
    #[doc(alias = "asyncore.ExitNow")]
    ExitNow, "exit now"
}

plain_error! {
    /// Ends the loop as Ctrl-C does in Python. Rust raises none by itself; a handler that watches for
    /// the signal returns it.
    KeyboardInterrupt, "keyboard interrupt"
}

plain_error! {
    /// An operation on a channel that has no socket: Python's `AttributeError` on `self.socket`, which
    /// is `None` before `create_socket` or `set_socket`.
    NoSocket, "the channel has no socket"
}

/// Ends the loop as `sys.exit(status)` does in a Python handler. The caller of the loop decides what
/// becomes of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemExit(pub i32);

impl fmt::Display for SystemExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit with status {}", self.0)
    }
}

impl StdError for SystemExit {}

/// An error that is only a message; see [`Error::msg`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception(pub String);

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Exception {}

/// A panic in a handler, which reaches `handle_error` as any error does.
///
/// The panic hook has printed where it happened by then; the payload says only what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    message: String,
}

impl Panic {
    /// What `panic!` was given.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn new(payload: Box<dyn std::any::Any + Send>) -> Panic {
        let message = match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => match payload.downcast::<&'static str>() {
                Ok(message) => (*message).to_owned(),
                Err(_) => "a payload that is no text".to_owned(),
            },
        };
        Panic { message }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic: {}", self.message)
    }
}

impl StdError for Panic {}

/// What [`compact_traceback`] tells of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactTraceback {
    /// The source file in which the error arose.
    pub file: &'static str,
    /// The line in that file.
    pub line: u32,
    /// The name of the error's type.
    pub type_name: &'static str,
    /// The error's message.
    pub value: String,
    /// The place in one string, `[file|line]`.
    pub info: String,
}

/// The place, type and message of an error, in short: what the default `handle_error` logs.
///
/// Python reads the exception that is being handled and lists all frames with their functions'
/// names, `[file|function|line]` each; here the error is an argument, and the place is the one where it
/// was made, without the function's name, which Rust does not keep.
#[doc(alias = "asyncore.compact_traceback")]
pub fn compact_traceback(error: &Error) -> CompactTraceback {
    let location = error.location();
    CompactTraceback {
        file: location.file(),
        line: location.line(),
        type_name: error.type_name(),
        value: error.to_string(),
        info: format!("[{}|{}]", location.file(), location.line()),
    }
}

/// The operating system's text for an error number, as `os.strerror` gives it.
///
/// ```
/// # #[cfg(unix)]
/// assert_eq!(asyncore::strerror(1), "Operation not permitted");
/// ```
#[doc(alias = "_strerror")]
pub fn strerror(errno: i32) -> String {
    let mut text = io::Error::from_raw_os_error(errno).to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

#[cfg(unix)]
mod errno {
    use rustix::io::Errno;

    pub(super) const DISCONNECTED: [i32; 6] = [
        Errno::CONNRESET.raw_os_error(),
        Errno::NOTCONN.raw_os_error(),
        Errno::SHUTDOWN.raw_os_error(),
        Errno::CONNABORTED.raw_os_error(),
        Errno::PIPE.raw_os_error(),
        Errno::BADF.raw_os_error(),
    ];
    pub(super) const IN_PROGRESS: [i32; 3] = [
        Errno::INPROGRESS.raw_os_error(),
        Errno::ALREADY.raw_os_error(),
        Errno::WOULDBLOCK.raw_os_error(),
    ];
    pub(super) const IS_CONNECTED: i32 = Errno::ISCONN.raw_os_error();
    pub(super) const NOT_CONNECTED: i32 = Errno::NOTCONN.raw_os_error();
    pub(super) const INVALID: i32 = Errno::INVAL.raw_os_error();
    pub(super) const BAD_DESCRIPTOR: i32 = Errno::BADF.raw_os_error();
    pub(super) const EXHAUSTED: [i32; 4] = [
        Errno::MFILE.raw_os_error(),
        Errno::NFILE.raw_os_error(),
        Errno::NOBUFS.raw_os_error(),
        Errno::NOMEM.raw_os_error(),
    ];
}

#[cfg(windows)]
mod errno {
    // winsock2.h
    pub(super) const DISCONNECTED: [i32; 6] = [10054, 10057, 10058, 10053, 109, 10009];
    pub(super) const IN_PROGRESS: [i32; 4] = [10036, 10037, 10035, INVALID];
    pub(super) const IS_CONNECTED: i32 = 10056;
    pub(super) const NOT_CONNECTED: i32 = 10057;
    pub(super) const INVALID: i32 = 10022;
    pub(super) const BAD_DESCRIPTOR: i32 = 10009;
    pub(super) const EXHAUSTED: [i32; 2] = [10024, 10055];
}

/// The connection is gone.
pub(crate) fn is_disconnected(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(errno) => errno::DISCONNECTED.contains(&errno),
        // Made by a socket-like object rather than by the system.
        None => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ),
    }
}

/// A connect has been started and goes on.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(errno) => errno::IN_PROGRESS.contains(&errno),
        None => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// A connect finds the connection made already.
pub(crate) fn is_connected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(errno::IS_CONNECTED)
}

/// `getpeername` of a socket that is not (or not yet, or no longer) connected.
pub(crate) fn has_no_peer(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(errno) => [errno::NOT_CONNECTED, errno::INVALID].contains(&errno),
        None => error.kind() == io::ErrorKind::NotConnected,
    }
}

/// Nothing there to close.
pub(crate) fn is_closed_already(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(errno) => [errno::NOT_CONNECTED, errno::BAD_DESCRIPTOR].contains(&errno),
        None => error.kind() == io::ErrorKind::NotConnected,
    }
}

/// The process or the system has no descriptor or buffer left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|errno| errno::EXHAUSTED.contains(&errno))
}

/// `EBADF`, for operations on what is closed.
pub(crate) fn bad_descriptor() -> io::Error {
    io::Error::from_raw_os_error(errno::BAD_DESCRIPTOR)
}

/// Whether the error is `EBADF`.
pub(crate) fn is_bad_descriptor(error: &Error) -> bool {
    error.errno() == Some(errno::BAD_DESCRIPTOR)
}
