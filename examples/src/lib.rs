//! What the examples share: how a program begins, what a server's command line is, Ctrl-C, and TLS.
//!
//! Python turns Ctrl-C into a `KeyboardInterrupt` wherever the program is. A Rust program that wants to end
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

pub mod smtpd;
pub mod tls_dispatcher;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use asyncore::{Dispatcher, KeyboardInterrupt, Loop, Result, SystemExit, close_all};
use clap::Parser;

/// A program's `main`: a logger that `RUST_LOG` sets, the arguments, and a message when it fails, or the status
/// of a [`SystemExit`].
pub fn program<A: Parser>(run: impl FnOnce(&A) -> Result) -> ExitCode {
    env_logger::init();
    match run(&A::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(SystemExit(status)) = error.downcast_ref() {
                return ExitCode::from(*status as u8);
            }
            let path = std::env::args_os().next().unwrap_or_default();
            let name = Path::new(&path).file_stem().unwrap_or(OsStr::new("error"));
            // Not eprintln!, which panics where nobody reads it.
            let _ = writeln!(io::stderr(), "{}: {error}", name.display());
            ExitCode::FAILURE
        }
    }
}

/// The arguments that all servers take.
#[derive(clap::Args, Debug)]
pub struct Listen<const PORT: u16> {
    /// The IPv4 address, or name of one, to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// The port to listen on; 0 picks one
    #[arg(long, default_value_t = PORT)]
    pub port: u16,

    /// Run the loop with the order and meaning of poll(2) rather than select(2)
    #[arg(long)]
    pub poll: bool,
}

impl<const PORT: u16> Listen<PORT> {
    /// Tells where `server` listens, and runs the loop until Ctrl-C.
    ///
    /// # Errors
    ///
    /// When `server` has no socket, when signals cannot be watched for, and what ends the loop.
    pub fn serve(&self, server: &impl Dispatcher) -> Result {
        self.announce(server)?;
        self.run()
    }

    /// The first half of [`serve`](Listen::serve): a program may have more to tell before the loop.
    ///
    /// # Errors
    ///
    /// When `server` has no socket, and when signals cannot be watched for.
    pub fn announce(&self, server: &impl Dispatcher) -> Result {
        watch_signals()?;

        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", server.socket()?.local_addr()?)?;
        Ok(stdout.flush()?)
    }

    /// The second half of [`serve`](Listen::serve).
    ///
    /// # Errors
    ///
    /// What ends the loop.
    pub fn run(&self) -> Result {
        let ended = Loop::new().use_poll(self.poll).run();
        close_all(None, true)?;
        except_keyboard_interrupt(ended)
    }
}

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
