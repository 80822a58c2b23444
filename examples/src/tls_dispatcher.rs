//! TLS for a channel: `class SSLConnection(asyncore.dispatcher)`, the mixin that Python programs had for it
//! (CPython kept one in `test_ftplib.py`), on `rustls`.
//!
//! In Python the session is in the socket (`ssl.SSLSocket`), and the mixin does what a socket cannot: the
//! handshake before anything else, the wait for room to write though the program has nothing to write, and
//! input that waits in the session though the socket has none. Here, too, a `SocketLike` could encrypt and
//! decrypt, but would need a class around it for those three. So the session is in the class, and `send` and
//! `recv` are overridden, with super calls for the bytes on the wire. Written once, it serves `dispatcher`
//! and `async_chat`, as a mixin does.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::rc::Weak;

use asynchat::{AsyncChat, AsyncChatClass};
use asyncore::{BaseClass, Dispatcher, Result};
use rustls::Connection;

/// What is received at once: the longest record that there is, and a little more.
const CHUNK: usize = 18 * 1024;

/// `class SSLConnection(S)`: a dispatcher whose `send` and `recv` speak TLS, on either side, once
/// [`secure_connection`](TlsDispatcher::secure_connection) was called; before, it is what `S` is.
///
/// ```
/// # use asyncore::{Dispatcher, DispatcherBase};
/// # use examples::tls_dispatcher::TlsDispatcher;
/// struct Handler {
///     base: TlsDispatcher<DispatcherBase>,
/// }
///
/// impl Dispatcher for Handler {
///     type Base = TlsDispatcher<DispatcherBase>;
///     fn base(&self) -> &TlsDispatcher<DispatcherBase> {
///         &self.base
///     }
///
///     fn writable(&self) -> bool {
///         self.base.wants_write(self) // or something of its own
///     }
/// }
/// ```
///
/// A class that overrides `readable` asks that of its base, too, and one that overrides `writable` asks
/// [`wants_write`](TlsDispatcher::wants_write). `close` tells the peer first, and the channel is closed when
/// that is sent. `S` is `DispatcherBase`, `AsyncChatBase` or any class that sends by calling `self.send`:
/// `dispatcher_with_send`, which names `dispatcher.send`, would go around the encryption.
///
/// Memory is bounded: of what the peer does not take, some 128 KiB are kept, and `send` takes no more; and no
/// more is received while there is input that has not been asked for.
#[derive(Debug)]
pub struct TlsDispatcher<S> {
    superclass: S,
    session: RefCell<Option<Connection>>,
    /// Encrypted, and not given to the session yet.
    received: RefCell<Vec<u8>>,
    /// Encrypted, and not sent yet.
    unsent: RefCell<Vec<u8>>,
    sending: Cell<bool>,
    closing: Cell<bool>,
    was_ended: Cell<bool>,
}

impl<S> TlsDispatcher<S> {
    /// Encrypts from here on: `self.secure_connection()`. A client calls it in `handle_connect`.
    pub fn secure_connection(&self, session: impl Into<Connection>) {
        self.forget();
        self.was_ended.set(false);
        self.session.replace(Some(session.into()));
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.with_session(|it| it.is_handshaking()) == Some(true)
    }

    /// Whether the peer has said that its data ends (`close_notify`), and all of it has been received. If not,
    /// anyone may have closed the connection, and anything may be missing.
    pub fn was_ended(&self) -> bool {
        self.was_ended.get()
    }

    /// Whether the session has something to send, or has input that `this` would read. The socket may have
    /// nothing new then, and no read event come; a write event comes as soon as there is room to write.
    ///
    /// (In `test_ssl.py` it is `readable` that calls `handle_read_event` while `socket.pending()`. An error
    /// would have no way out of there.)
    pub fn wants_write(&self, this: &impl Dispatcher) -> bool {
        self.has_unsent() || (self.has_pending() && this.readable())
    }

    fn has_unsent(&self) -> bool {
        !self.unsent.borrow().is_empty() || self.with_session(|it| it.wants_write()) == Some(true)
    }

    /// Whether there is something to receive without the socket, be it the end: `self.socket.pending() > 0`.
    fn has_pending(&self) -> bool {
        let has_received = !self.received.borrow().is_empty();
        let pending = self.with_session(|session| {
            !session.is_handshaking() && (has_received || session.reader().fill_buf().is_ok())
        });
        pending == Some(true) && !self.closing.get()
    }

    /// No call of the session calls back, so the borrow may last as long as the call.
    fn with_session<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        self.session.borrow_mut().as_mut().map(call)
    }

    fn is_secured(&self) -> bool {
        self.session.borrow().is_some()
    }

    fn forget(&self) {
        self.session.take();
        self.received.take();
        self.unsent.take();
        self.sending.set(false);
        self.closing.set(false);
    }

    /// Receives, unless something is left, and decrypts up to the first data that can be read. In the
    /// handshake, answers.
    fn feed<T: Dispatcher>(&self, this: &T) -> Result
    where
        S: BaseClass<T>,
    {
        let mut received = self.received.take();
        if received.is_empty() {
            received.resize(CHUNK, 0);
            let count = self.superclass.recv_into(this, &mut received)?;
            received.truncate(count);
        }
        let mut rest = &received[..];
        let fed = self.with_session(|session| decrypt(session, &mut rest));
        self.received.replace(rest.to_vec());
        let flushed = self.flush(this); // The peer is told of an error, too.
        fed.unwrap_or(Ok(()))?; // Without a session, `recv_into` has called `handle_close`.
        flushed
    }

    /// Sends what the session has to send, as far as the system takes it.
    fn flush<T: Dispatcher>(&self, this: &T) -> Result
    where
        S: BaseClass<T>,
    {
        if self.sending.replace(true) {
            return Ok(()); // Called from inside `send`: it will go out in its turn.
        }
        let flushed = self.send_records(this);
        self.sending.set(false);
        flushed
    }

    fn send_records<T: Dispatcher>(&self, this: &T) -> Result
    where
        S: BaseClass<T>,
    {
        loop {
            // Taken, not borrowed: `send` may call `handle_close`, and that anything.
            let mut data = self.unsent.take();
            if data.is_empty() {
                self.with_session(|session| take_records(session, &mut data))
                    .transpose()?;
            }
            if data.is_empty() {
                return Ok(());
            }
            let sent = self.superclass.send(this, &data);
            if !self.sending.get() {
                return sent.map(drop); // Closed meanwhile.
            }
            data.drain(..*sent.as_ref().unwrap_or(&0));
            let is_sent = data.is_empty();
            self.unsent.replace(data);
            sent?;
            if !is_sent {
                return Ok(());
            }
        }
    }
}

/// Takes encrypted data up to the first that can be read, for which there is little room.
fn decrypt(session: &mut Connection, received: &mut &[u8]) -> Result {
    while !received.is_empty() {
        if session.read_tls(received)? == 0 {
            *received = &[]; // It comes after the end.
        }
        let state = session.process_new_packets()?;
        if state.plaintext_bytes_to_read() > 0 {
            break;
        }
    }
    Ok(())
}

fn take_records(session: &mut Connection, data: &mut Vec<u8>) -> Result {
    while session.wants_write() {
        session.write_tls(data)?;
    }
    Ok(())
}

impl<T: Dispatcher, S: BaseClass<T>> BaseClass<T> for TlsDispatcher<S> {
    type Super = S;

    fn new(this: &Weak<T>) -> TlsDispatcher<S> {
        TlsDispatcher {
            superclass: S::new(this),
            session: RefCell::default(),
            received: RefCell::default(),
            unsent: RefCell::default(),
            sending: Cell::new(false),
            closing: Cell::new(false),
            was_ended: Cell::new(false),
        }
    }

    fn superclass(&self) -> &S {
        &self.superclass
    }

    fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
        if !self.is_secured() {
            return self.superclass.send(this, data);
        }
        let mut taken = 0;
        while taken < data.len() && !self.closing.get() {
            // In the handshake, too, as far as there is room.
            match self.with_session(|session| session.writer().write(&data[taken..])) {
                None => return Ok(0), // `flush` has called `handle_close`.
                Some(count) => match count? {
                    0 => break,
                    count => taken += count,
                },
            }
            self.flush(this)?;
        }
        Ok(taken)
    }

    // `recv` calls it.
    fn recv_into(&self, this: &T, buffer: &mut [u8]) -> Result<usize> {
        if !self.is_secured() {
            return self.superclass.recv_into(this, buffer);
        }
        let mut read = || self.with_session(|session| session.reader().read(buffer));
        let mut received = read();
        if would_block(&received) {
            self.feed(this)?;
            received = read();
        }
        match received {
            Some(Ok(0)) => {
                self.was_ended.set(true);
                this.handle_close()?;
                Ok(0)
            }
            // except ssl.SSLWantReadError: return b''
            received if would_block(&received) => Ok(0),
            Some(received) => Ok(received?),
            None => Ok(0), // `feed` has called `handle_close`.
        }
    }

    fn close(&self, this: &T) -> Result {
        let goodbye = this.connected() && !self.closing.replace(true) && !self.sending.get();
        if goodbye && self.with_session(|it| it.send_close_notify()).is_some() {
            let flushed = self.flush(this);
            if flushed.is_ok() && self.has_unsent() {
                return Ok(()); // `handle_write_event` goes on.
            }
        }
        self.forget();
        self.superclass.close(this)
    }

    fn readable(&self, this: &T) -> bool {
        !self.closing.get() && self.superclass.readable(this)
    }

    fn writable(&self, this: &T) -> bool {
        self.superclass.writable(this) || self.wants_write(this)
    }

    // `handle_read` is called for what can be read, neither for the handshake nor for the beginning of a record.
    fn handle_read_event(&self, this: &T) -> Result {
        if !self.is_secured() || !this.connected() {
            return self.superclass.handle_read_event(this);
        }
        if !self.closing.get() && !self.has_pending() {
            self.feed(this)?;
        }
        if self.has_pending() {
            self.superclass.handle_read_event(this)?;
        }
        Ok(())
    }

    fn handle_write_event(&self, this: &T) -> Result {
        if !self.is_secured() || !this.connected() {
            return self.superclass.handle_write_event(this);
        }
        self.flush(this)?;
        if self.closing.get() {
            if !self.has_unsent() {
                self.forget();
                self.superclass.close(this)?;
            }
            return Ok(());
        }
        if self.is_secured() && !self.is_handshaking() {
            self.superclass.handle_write_event(this)?;
        }
        if self.has_pending() && this.readable() {
            self.superclass.handle_read_event(this)?;
        }
        Ok(())
    }
}

fn would_block(received: &Option<io::Result<usize>>) -> bool {
    matches!(received, Some(Err(error)) if error.kind() == ErrorKind::WouldBlock)
}

impl<T: AsyncChat, S: AsyncChatClass<T>> AsyncChatClass<T> for TlsDispatcher<S> {
    type AsyncChatSuper = S;

    fn async_chat_super(&self) -> &S {
        &self.superclass
    }
}
