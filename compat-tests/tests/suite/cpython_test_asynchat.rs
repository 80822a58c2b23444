//! CPython 3.11's test_asynchat.py, test by test, under the names they have there: 25 tests.
//!
//! What is not as it is there:
//!
//! | Test | Why |
//! |---|---|
//! | All of `TestAsynchat` | The echo comes all at once, and `ac_in_buffer_size` cuts it into the pieces for which the server sleeps between sends there. |
//! | `test_push` | A number and a text are no `TypeError`: a number does not compile, and a text is pushed as what it is encoded to. |
//! | `test_find_prefix_at_end` | Bytes instead of texts. |
#![cfg(unix)]

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use asynchat::{
    AsyncChat, AsyncChatBase, AsyncChatError, SimpleProducer, Terminator, find_prefix_at_end,
};
use asyncore::socket2::{Domain, Type};
use asyncore::{Dispatcher, Error, Loop, Result, Socket, SocketLike};
use compat_tests::{TearDown, until_by};

const SERVER_QUIT: &[u8] = b"QUIT\n";

/// Collects what comes until the quit message, and sends it back when it may.
struct EchoServer {
    addr: SocketAddr,
    may_resend: mpsc::Sender<()>,
    thread: JoinHandle<io::Result<Vec<u8>>>,
}

impl EchoServer {
    fn start() -> Result<EchoServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (may_resend, resend) = mpsc::channel();
        Ok(EchoServer {
            addr: listener.local_addr()?,
            may_resend,
            thread: thread::spawn(move || EchoServer::run(&listener, &resend)),
        })
    }

    fn run(listener: &TcpListener, resend: &mpsc::Receiver<()>) -> io::Result<Vec<u8>> {
        let (mut conn, _) = listener.accept()?;
        conn.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut buffer = Vec::new();
        let mut data = [0];
        while !buffer.ends_with(SERVER_QUIT) && conn.read(&mut data)? > 0 {
            buffer.push(data[0]);
        }
        buffer.truncate(buffer.len().saturating_sub(SERVER_QUIT.len()));
        let _ = resend.recv();
        // The client may have closed by now.
        let _ = conn.write_all(&buffer);
        Ok(buffer)
    }

    /// What the server received, after it has sent it back.
    fn join(self) -> Result<Vec<u8>> {
        drop(self.may_resend);
        Ok(self.thread.join().expect("the server does not panic")?)
    }
}

struct EchoClient {
    base: AsyncChatBase,
    contents: RefCell<Vec<Vec<u8>>>,
    buffer: RefCell<Vec<u8>>,
}

impl Dispatcher for EchoClient {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn handle_connect(&self) -> Result {
        Ok(())
    }
}

impl AsyncChat for EchoClient {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self.buffer.borrow_mut().extend_from_slice(data);
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self.contents.borrow_mut().push(self.buffer.take());
        Ok(())
    }
}

impl EchoClient {
    fn new(terminator: impl Into<Terminator>, server: SocketAddr) -> Result<Rc<EchoClient>> {
        let client = EchoClient::init(|base| EchoClient {
            base,
            contents: RefCell::default(),
            buffer: RefCell::default(),
        });
        client.create_socket(Domain::IPV4, Type::STREAM)?;
        client.connect(server)?;
        client.set_terminator(terminator)?;
        Ok(client)
    }

    /// Runs the loop until the server has sent all back and closed, and returns what was found.
    fn finish(&self, server: EchoServer, use_poll: bool) -> Result<Vec<Vec<u8>>> {
        server.may_resend.send(()).expect("the server waits for it");
        until_by(&Loop::new().use_poll(use_poll), || self.fileno().is_none())?;
        server.join()?;
        Ok(self.contents.take())
    }
}

mod test_asynchat {
    use super::*;

    fn line_terminator_check(use_poll: bool, term: &[u8], server_chunk: usize) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(term, s.addr)?;
        c.base().ac_in_buffer_size.set(server_chunk);
        c.push(b"hello ")?;
        c.push([b"world", term].concat())?;
        c.push([b"I'm not dead yet!", term].concat())?;
        c.push(SERVER_QUIT)?;
        let contents = c.finish(s, use_poll)?;
        assert_eq!(contents, [&b"hello world"[..], b"I'm not dead yet!"]);
        Ok(())
    }

    fn line_terminator_checks(use_poll: bool, term: &[u8]) -> Result {
        for chunk in 1..=3 {
            line_terminator_check(use_poll, term, chunk)?;
        }
        Ok(())
    }

    /// One-character terminator.
    pub(super) fn test_line_terminator1(use_poll: bool) -> Result {
        line_terminator_checks(use_poll, b"\n")
    }

    /// Two-character terminator.
    pub(super) fn test_line_terminator2(use_poll: bool) -> Result {
        line_terminator_checks(use_poll, b"\r\n")
    }

    /// Three-character terminator.
    pub(super) fn test_line_terminator3(use_poll: bool) -> Result {
        line_terminator_checks(use_poll, b"qqq")
    }

    fn numeric_terminator_check(use_poll: bool, termlen: usize) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(termlen, s.addr)?;
        let data = b"hello world, I'm not dead yet!\n";
        c.push(data)?;
        c.push(SERVER_QUIT)?;
        assert_eq!(c.finish(s, use_poll)?, [&data[..termlen]]);
        assert_eq!(c.get_terminator(), Terminator::Count(0));
        Ok(())
    }

    pub(super) fn test_numeric_terminator1(use_poll: bool) -> Result {
        numeric_terminator_check(use_poll, 1)
    }

    pub(super) fn test_numeric_terminator2(use_poll: bool) -> Result {
        numeric_terminator_check(use_poll, 6)
    }

    pub(super) fn test_none_terminator(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(None, s.addr)?;
        let data = b"hello world, I'm not dead yet!\n";
        c.push(data)?;
        c.push(SERVER_QUIT)?;
        assert!(c.finish(s, use_poll)?.is_empty());
        assert_eq!(c.buffer.take(), data);
        Ok(())
    }

    pub(super) fn test_simple_producer(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(b"\n", s.addr)?;
        let data = [b"hello world\nI'm not dead yet!\n", SERVER_QUIT].concat();
        c.push_with_producer(SimpleProducer::with_buffer_size(data, 8))?;
        let contents = c.finish(s, use_poll)?;
        assert_eq!(contents, [&b"hello world"[..], b"I'm not dead yet!"]);
        Ok(())
    }

    pub(super) fn test_string_producer(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(b"\n", s.addr)?;
        let data = [b"hello world\nI'm not dead yet!\n", SERVER_QUIT].concat();
        c.push_with_producer(data)?;
        let contents = c.finish(s, use_poll)?;
        assert_eq!(contents, [&b"hello world"[..], b"I'm not dead yet!"]);
        Ok(())
    }

    /// Empty lines are handled correctly.
    pub(super) fn test_empty_line(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(b"\n", s.addr)?;
        c.push(b"hello world\n\nI'm not dead yet!\n")?;
        c.push(SERVER_QUIT)?;
        let contents = c.finish(s, use_poll)?;
        assert_eq!(contents, [&b"hello world"[..], b"", b"I'm not dead yet!"]);
        Ok(())
    }

    pub(super) fn test_close_when_done(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(b"\n", s.addr)?;
        c.push(b"hello world\nI'm not dead yet!\n")?;
        c.push(SERVER_QUIT)?;
        c.close_when_done()?;
        // The server sends nothing before the client has closed.
        until_by(&Loop::new().use_poll(use_poll), || c.fileno().is_none())?;
        let received = s.join()?;
        assert!(c.contents.take().is_empty());
        assert_eq!(received, b"hello world\nI'm not dead yet!\n");
        Ok(())
    }

    pub(super) fn test_push(use_poll: bool) -> Result {
        let _tear_down = TearDown;
        let s = EchoServer::start()?;
        let c = EchoClient::new(b"\n", s.addr)?;
        let data = b"bytes\n";
        c.push(data)?;
        c.push(data.to_vec())?;
        c.push(&data[..])?;
        c.push("unicode\n")?;
        c.push(SERVER_QUIT)?;
        let contents = c.finish(s, use_poll)?;
        assert_eq!(contents, [&b"bytes"[..], b"bytes", b"bytes", b"unicode"]);
        Ok(())
    }
}

/// A class with the tests of `TestAsynchat`: its name and `usepoll`.
macro_rules! test_asynchat {
    ($class:ident, $use_poll:literal) => {
        test_asynchat! { $class, $use_poll:
            test_close_when_done
            test_empty_line
            test_line_terminator1
            test_line_terminator2
            test_line_terminator3
            test_none_terminator
            test_numeric_terminator1
            test_numeric_terminator2
            test_push
            test_simple_producer
            test_string_producer
        }
    };
    ($class:ident, $use_poll:literal: $($test:ident)+) => {
        mod $class {
            $(
                #[test]
                fn $test() -> asyncore::Result {
                    super::test_asynchat::$test($use_poll)
                }
            )+
        }
    };
}

test_asynchat!(test_asynchat_select, false);
test_asynchat!(test_asynchat_with_poll, true);

mod test_asynchat_mocked {
    use super::*;

    #[derive(Debug)]
    struct Mock;

    impl SocketLike for Mock {
        fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn send(&self, _data: &[u8]) -> io::Result<usize> {
            unreachable!("nothing is sent")
        }

        fn fileno(&self) -> Option<asyncore::Descriptor> {
            Some(1)
        }

        fn close(&self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Chat {
        base: AsyncChatBase,
        error_called: Cell<bool>,
    }

    impl Dispatcher for Chat {
        type Base = AsyncChatBase;
        fn base(&self) -> &AsyncChatBase {
            &self.base
        }

        fn handle_error(&self, _error: Error) -> Result {
            self.error_called.set(true);
            Ok(())
        }
    }

    impl AsyncChat for Chat {}

    /// Issue #16133: `handle_read` must ignore `BlockingIOError`.
    #[test]
    fn test_blockingioerror() -> Result {
        let _tear_down = TearDown;
        let dispatcher = Chat::init(|base| Chat {
            base,
            error_called: Cell::new(false),
        });
        dispatcher.set_socket(Socket::new(Mock), None)?;
        dispatcher.handle_read()?;
        assert!(!dispatcher.error_called.get());
        dispatcher.del_channel(None);
        Ok(())
    }
}

mod test_helper_functions {
    use super::*;

    #[test]
    fn test_find_prefix_at_end() {
        assert_eq!(find_prefix_at_end(b"qwerty\r", b"\r\n"), 1);
        assert_eq!(find_prefix_at_end(b"qwertydkjf", b"\r\n"), 0);
    }
}

mod test_not_connected {
    use super::*;

    /// Issue #11259
    #[test]
    fn test_disallow_negative_terminator() {
        let client = EchoClient::init(|base| EchoClient {
            base,
            contents: RefCell::default(),
            buffer: RefCell::default(),
        });
        let error = client.set_terminator(-1).expect_err("it is negative");
        let error = error.downcast_ref::<AsyncChatError>();
        assert_eq!(error, Some(&AsyncChatError::NegativeTerminator(-1)));
        assert_eq!(client.get_terminator(), Terminator::None);
    }
}
