//! What the examples share: Ctrl-C.
//!
//! Python turns it into a `KeyboardInterrupt` wherever the program is. A Rust program that wants to end
//! in good order watches for the signal, and asyncore can do that in the loop like anything else:
//!
//! ```no_run
//! # use asyncore::{Loop, Result};
//! # fn main() -> Result {
//! examples::watch_signals()?;
//! // try: asyncore.loop()
//! // except KeyboardInterrupt: pass
//! examples::except_keyboard_interrupt(Loop::new().run())?;
//! asyncore::close_all(None, false)
//! # }
//! ```

use asyncore::{KeyboardInterrupt, Result};

/// Makes SIGINT (Ctrl-C) and SIGTERM end the loop over this thread's default map with
/// [`KeyboardInterrupt`].
///
/// It does so with a channel in that map, which then is never empty: for servers, which run until they
/// are told to stop. On Windows it does nothing, and Ctrl-C ends the process at once.
///
/// # Errors
///
/// When there is no descriptor left, or the signals cannot be handled.
pub fn watch_signals() -> Result {
    #[cfg(unix)]
    signals::SignalChannel::open()?;
    Ok(())
}

/// What `except KeyboardInterrupt: pass` does with the end of a loop: an interrupted one has ended well.
///
/// # Errors
///
/// Every other error of the loop.
pub fn except_keyboard_interrupt(ended: Result) -> Result {
    match ended {
        Err(error) if error.is::<KeyboardInterrupt>() => Ok(()),
        ended => ended,
    }
}

#[cfg(unix)]
mod signals {
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use asyncore::{Dispatcher, DispatcherBase, KeyboardInterrupt, Result};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level::pipe;

    /// Becomes readable when a signal comes: a handler may do little else than write to a pipe.
    pub(super) struct SignalChannel {
        base: DispatcherBase,
    }

    impl SignalChannel {
        pub(super) fn open() -> Result<Rc<SignalChannel>> {
            let (reader, writer) = UnixStream::pair()?;
            for signal in [SIGINT, SIGTERM] {
                pipe::register(signal, writer.try_clone()?)?;
            }
            SignalChannel::init_with(reader, |base| SignalChannel { base })
        }
    }

    impl Dispatcher for SignalChannel {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }

        fn writable(&self) -> bool {
            false
        }

        fn handle_read(&self) -> Result {
            self.recv(64)?;
            Err(KeyboardInterrupt.into())
        }
    }
}
