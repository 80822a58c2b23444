//! Every field of `Quirks`, either way.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::Duration;

use asyncore::socket2::{Domain, Type};
use asyncore::{
    Address, BaseClass, ChannelMap, Descriptor, Dispatcher, DispatcherBase, Error, Quirks, Result,
    Socket, SocketLike, poll, poll2,
};

const CPYTHON: Quirks = Quirks::CPYTHON;

/// Receives as its `handle_read` says, and keeps what it got and how it ended.
struct Reader {
    base: DispatcherBase,
    chunk: usize,
    greedy: bool,
    received: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    errors: Cell<usize>,
}

impl Dispatcher for Reader {
    type Base = DispatcherBase;

    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn writable(&self) -> bool {
        false
    }

    fn handle_read(&self) -> Result {
        loop {
            let data = self.recv(self.chunk)?;
            self.received.borrow_mut().extend(data);
            if !self.greedy {
                return Ok(());
            }
        }
    }

    fn handle_close(&self) -> Result {
        self.closed.set(true);
        self.close()
    }

    fn handle_error(&self, error: Error) -> Result {
        self.errors.set(self.errors.get() + 1);
        self.base.handle_error(self, error)
    }
}

fn reader(map: &ChannelMap, chunk: usize, greedy: bool) -> Result<(Rc<Reader>, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    let reader = Reader::init_in(map, |base| Reader {
        base,
        chunk,
        greedy,
        received: RefCell::default(),
        closed: Cell::default(),
        errors: Cell::default(),
    });
    reader.init_socket(near)?;
    Ok((reader, far))
}

fn pass(map: &ChannelMap) -> Result {
    poll(Duration::ZERO, Some(map))
}

mod stale_events {
    use super::*;

    /// Wants input; counts its events, and may replace another channel at the first one.
    struct Counter {
        events: Cell<usize>,
        replace: Cell<Option<(Weak<Counter>, ChannelMap, Descriptor)>>,
    }

    impl asyncore::Channel for Counter {
        fn readable(&self) -> bool {
            true
        }
        fn writable(&self) -> bool {
            false
        }
        fn handle_read_event(&self) -> Result {
            self.events.set(self.events.get() + 1);
            if let Some((successor, map, fd)) = self.replace.take() {
                map.remove(fd);
                if let Some(successor) = successor.upgrade() {
                    map.insert(fd, successor);
                }
            }
            Ok(())
        }
        fn handle_write_event(&self) -> Result {
            Ok(())
        }
        fn handle_expt_event(&self) -> Result {
            Ok(())
        }
        fn handle_close(&self) -> Result {
            Ok(())
        }
        fn close(&self) -> Result {
            Ok(())
        }
    }

    /// Both of two channels have input, and the first one's handler gives the second one's descriptor to
    /// a third. How many events that one gets in the same pass.
    fn events_of_the_successor(quirks: Quirks) -> Result<usize> {
        use std::io::Write;
        use std::os::fd::AsRawFd;

        let map = ChannelMap::with_quirks(quirks);
        let (first, mut to_first) = UnixStream::pair()?;
        let (second, mut to_second) = UnixStream::pair()?;
        to_first.write_all(b"x")?;
        to_second.write_all(b"x")?;
        let counter = || {
            Rc::new(Counter {
                events: Cell::new(0),
                replace: Cell::new(None),
            })
        };
        let (replacing, replaced, successor) = (counter(), counter(), counter());
        let fd = second.as_raw_fd();
        replacing
            .replace
            .set(Some((Rc::downgrade(&successor), map.clone(), fd)));
        map.insert(first.as_raw_fd(), replacing.clone());
        map.insert(fd, replaced.clone());
        pass(&map)?;
        assert_eq!((replacing.events.get(), replaced.events.get()), (1, 0));
        Ok(successor.events.get())
    }

    #[test]
    fn bpo_30931_cpython_gives_a_channel_the_event_of_its_predecessor() -> Result {
        assert_eq!(events_of_the_successor(CPYTHON)?, 1);
        Ok(())
    }

    #[test]
    fn bpo_30931_by_default_a_channel_gets_no_event_of_its_predecessor() -> Result {
        assert_eq!(events_of_the_successor(Quirks::default())?, 0);
        Ok(())
    }
}

mod hangup_drops_input {
    use super::*;

    fn received_of_six_bytes(quirks: Quirks) -> Result<Vec<u8>> {
        use std::io::Write;

        let map = ChannelMap::with_quirks(quirks);
        let (reader, mut far) = reader(&map, 4, false)?;
        far.write_all(b"ham, e")?;
        drop(far);
        while !map.is_empty() {
            poll2(Duration::from_secs(10), Some(&map))?;
        }
        assert!(reader.closed.get());
        Ok(reader.received.take())
    }

    #[test]
    fn cpython_loses_the_rest_of_the_input() -> Result {
        assert_eq!(received_of_six_bytes(CPYTHON)?, b"ham,");
        Ok(())
    }

    #[test]
    fn by_default_all_input_is_received_before_the_close() -> Result {
        assert_eq!(received_of_six_bytes(Quirks::default())?, b"ham, e");
        Ok(())
    }
}

mod bad_descriptor_ends_loop {
    use super::*;

    /// A number that no descriptor has: those of tests that run at the same time come and go.
    const CLOSED: Descriptor = 1_000_000_000;

    /// What is in the map under a descriptor that is closed.
    struct Stale {
        closed: Cell<bool>,
    }

    impl asyncore::Channel for Stale {
        fn readable(&self) -> bool {
            true
        }
        fn writable(&self) -> bool {
            false
        }
        fn handle_read_event(&self) -> Result {
            Err(Error::msg("nothing can be read"))
        }
        fn handle_write_event(&self) -> Result {
            Err(Error::msg("nothing can be written"))
        }
        fn handle_expt_event(&self) -> Result {
            Err(Error::msg("nothing can be read"))
        }
        fn handle_close(&self) -> Result {
            self.closed.set(true);
            Ok(())
        }
        fn close(&self) -> Result {
            Ok(())
        }
    }

    fn with_a_stale_channel(quirks: Quirks) -> Result<(ChannelMap, Rc<Stale>, Rc<Reader>)> {
        use std::io::Write;

        let map = ChannelMap::with_quirks(quirks);
        let (reader, mut far) = reader(&map, 4, false)?;
        let stale = Rc::new(Stale {
            closed: Cell::new(false),
        });
        map.insert(CLOSED, stale.clone());
        far.write_all(b"spam")?;
        Ok((map, stale, reader))
    }

    #[test]
    fn cpython_ends_the_loop_of_all_channels() -> Result {
        let (map, stale, reader) = with_a_stale_channel(CPYTHON)?;
        let error = pass(&map).expect_err("the descriptor is closed");
        assert_eq!(
            error.to_string(),
            "select: Bad file descriptor (os error 9)"
        );
        assert!(!stale.closed.get());
        assert_eq!(reader.received.take(), b"");
        Ok(())
    }

    #[test]
    fn by_default_only_the_channel_with_the_descriptor_is_closed() -> Result {
        let (map, stale, reader) = with_a_stale_channel(Quirks::default())?;
        pass(&map)?;
        assert!(stale.closed.get());
        assert_eq!(reader.received.take(), b"spam");
        Ok(())
    }

    #[test]
    fn poll2_closes_only_the_channel_with_the_descriptor_either_way() -> Result {
        for quirks in [CPYTHON, Quirks::default()] {
            let (map, stale, reader) = with_a_stale_channel(quirks)?;
            poll2(Duration::ZERO, Some(&map))?;
            assert!(stale.closed.get());
            // CPython's poll(2), too, reports what is ready beside it.
            assert_eq!(reader.received.take(), b"spam");
        }
        Ok(())
    }
}

mod exhaustion_closes_listener {
    use super::*;

    /// A listening socket of a process that has run out of descriptors, for a while.
    struct Exhausted {
        listener: Socket,
        failures: Cell<usize>,
    }

    impl SocketLike for Exhausted {
        fn fileno(&self) -> Option<Descriptor> {
            self.listener.fileno()
        }
        fn send(&self, data: &[u8]) -> io::Result<usize> {
            self.listener.send(data)
        }
        fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
            self.listener.recv(buffer)
        }
        fn close(&self) -> io::Result<()> {
            self.listener.close()
        }
        fn accept(&self) -> io::Result<(Socket, Address)> {
            if self.failures.get() > 0 {
                self.failures.set(self.failures.get() - 1);
                return Err(rustix::io::Errno::MFILE.into());
            }
            self.listener.accept()
        }
    }

    struct Listener {
        base: DispatcherBase,
        asked: Cell<usize>,
        accepted: Cell<usize>,
    }

    impl Dispatcher for Listener {
        type Base = DispatcherBase;

        fn base(&self) -> &DispatcherBase {
            &self.base
        }

        fn handle_accept(&self) -> Result {
            self.asked.set(self.asked.get() + 1);
            self.base.handle_accept(self)
        }

        fn handle_accepted(&self, _socket: Socket, _addr: Address) -> Result {
            self.accepted.set(self.accepted.get() + 1);
            Ok(())
        }
    }

    /// A listener with a connection to accept, which fails for want of descriptors the first time.
    fn listener(map: &ChannelMap) -> Result<(Rc<Listener>, std::net::TcpStream)> {
        let listener = Listener::init_in(map, |base| Listener {
            base,
            asked: Cell::default(),
            accepted: Cell::default(),
        });
        listener.create_socket(Domain::IPV4, Type::STREAM)?;
        listener.bind(("127.0.0.1", 0))?;
        listener.listen(5)?;
        let addr = listener.socket()?.socket2()?.local_addr()?;
        let client = std::net::TcpStream::connect(addr.as_socket().expect("an IPv4 address"))?;
        let socket = Exhausted {
            listener: listener.socket()?,
            failures: Cell::new(1),
        };
        listener.root().replace_socket(Some(Socket::new(socket)));
        Ok((listener, client))
    }

    #[test]
    fn cpython_closes_the_listener() -> Result {
        let map = ChannelMap::with_quirks(CPYTHON);
        let (listener, _client) = listener(&map)?;
        poll(Duration::from_secs(10), Some(&map))?;
        assert!(map.is_empty());
        assert!(!listener.accepting());
        Ok(())
    }

    #[test]
    fn by_default_the_listener_rests_until_a_channel_has_gone() -> Result {
        let map = ChannelMap::new();
        let (listener, _client) = listener(&map)?;
        let (other, _far) = reader(&map, 1, false)?;
        poll(Duration::from_secs(10), Some(&map))?;
        assert_eq!((listener.asked.get(), listener.accepted.get()), (1, 0));
        for _ in 0..3 {
            pass(&map)?;
        }
        assert_eq!(listener.asked.get(), 1, "it spins");
        other.close()?;
        poll(Duration::from_secs(10), Some(&map))?;
        assert_eq!((listener.asked.get(), listener.accepted.get()), (2, 1));
        Ok(())
    }

    #[test]
    fn by_default_the_listener_accepts_again_though_no_channel_goes() -> Result {
        let map = ChannelMap::new();
        let (listener, _client) = listener(&map)?;
        while listener.accepted.get() == 0 {
            poll(Duration::from_secs(30), Some(&map))?;
        }
        assert_eq!(listener.asked.get(), 2);
        Ok(())
    }
}

mod would_block_closes {
    use super::*;

    #[test]
    fn cpython_closes_the_channel() -> Result {
        use std::io::Write;

        let map = ChannelMap::with_quirks(CPYTHON);
        let (reader, mut far) = reader(&map, 2, true)?;
        far.write_all(b"spam")?;
        pass(&map)?;
        assert_eq!(reader.received.take(), b"spam");
        assert_eq!(reader.errors.get(), 1);
        assert!(reader.closed.get());
        Ok(())
    }

    #[test]
    fn by_default_the_handler_ends_and_the_channel_goes_on() -> Result {
        use std::io::Write;

        let map = ChannelMap::new();
        let (reader, mut far) = reader(&map, 2, true)?;
        for _ in 0..2 {
            far.write_all(b"spam")?;
            pass(&map)?;
            assert_eq!(reader.received.take(), b"spam");
        }
        assert_eq!(reader.errors.get(), 0);
        assert!(reader.connected());
        Ok(())
    }
}

#[test]
fn a_map_has_the_default_quirks_until_told_otherwise() {
    let map = ChannelMap::new();
    assert_eq!(map.quirks(), Quirks::default());
    map.set_quirks(CPYTHON);
    assert_eq!(map.quirks(), CPYTHON);
}
