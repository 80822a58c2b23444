//! What goes wrong is named, and takes nothing else with it.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use asyncore::socket2::{Domain, Type};
use asyncore::{
    BaseClass, ChannelMap, Dispatcher, DispatcherBase, Error, ExitNow, KeyboardInterrupt, Loop,
    NoSocket, Panic, Quirks, Result, SystemExit, close_all, compact_traceback, poll, poll2,
};
use compat_tests::CapturedLog;
use rustix::io::Errno;

type Handler = Box<dyn Fn(&Fallible) -> Result>;

/// Fails as it is told to, and keeps what reaches `handle_error`.
struct Fallible {
    base: DispatcherBase,
    on_read: RefCell<Option<Handler>>,
    on_error: RefCell<Option<Handler>>,
    on_close: RefCell<Option<Handler>>,
    errors: RefCell<Vec<Error>>,
    reads: Cell<usize>,
}

impl Dispatcher for Fallible {
    type Base = DispatcherBase;

    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn writable(&self) -> bool {
        false
    }

    fn handle_read(&self) -> Result {
        self.reads.set(self.reads.get() + 1);
        let handler = self.on_read.take();
        handler.map_or(Ok(()), |handler| handler(self))?;
        self.recv(1024).map(drop)
    }

    fn handle_error(&self, error: Error) -> Result {
        self.errors.borrow_mut().push(error);
        let handler = self.on_error.take();
        handler.map_or(Ok(()), |handler| handler(self))
    }

    fn close(&self) -> Result {
        let handler = self.on_close.take();
        handler.map_or(Ok(()), |handler| handler(self))?;
        self.base().close(self)
    }
}

fn fallible(map: &ChannelMap) -> Rc<Fallible> {
    Fallible::init_in(map, |base| Fallible {
        base,
        on_read: RefCell::default(),
        on_error: RefCell::default(),
        on_close: RefCell::default(),
        errors: RefCell::default(),
        reads: Cell::default(),
    })
}

/// A channel with input, and its peer.
fn with_input(map: &ChannelMap) -> Result<(Rc<Fallible>, UnixStream)> {
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    let channel = fallible(map);
    channel.init_socket(near)?;
    Ok((channel, far))
}

fn pass(map: &ChannelMap) -> Result {
    poll(Duration::ZERO, Some(map))
}

#[test]
fn a_panic_in_a_handler_reaches_handle_error_and_the_loop_goes_on() -> Result {
    let map = ChannelMap::new();
    let (bad, _far) = with_input(&map)?;
    let (good, _far) = with_input(&map)?;
    *bad.on_read.borrow_mut() = Some(Box::new(|_| panic!("spam is {}", "off")));
    pass(&map)?;
    let errors = bad.errors.take();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].is::<Panic>());
    assert_eq!(errors[0].to_string(), "panic: spam is off");
    assert_eq!(good.reads.get(), 1);
    pass(&map)?;
    assert_eq!(bad.reads.get(), 2);
    Ok(())
}

#[test]
fn a_panic_in_handle_error_ends_the_loop_and_leaves_the_map_usable() -> Result {
    let map = ChannelMap::new();
    let (bad, _far) = with_input(&map)?;
    *bad.on_read.borrow_mut() = Some(Box::new(|_| Err(Error::msg("no"))));
    *bad.on_error.borrow_mut() = Some(Box::new(|_| panic!("really not")));
    assert!(catch_unwind(AssertUnwindSafe(|| pass(&map))).is_err());
    pass(&map)?;
    assert_eq!(bad.reads.get(), 2);
    Ok(())
}

#[test]
fn an_error_of_handle_error_ends_the_loop() -> Result {
    let map = ChannelMap::new();
    let (bad, _far) = with_input(&map)?;
    *bad.on_read.borrow_mut() = Some(Box::new(|_| Err(Error::msg("no"))));
    *bad.on_error.borrow_mut() = Some(Box::new(|_| Err(Error::msg("really not"))));
    let error = Loop::new().map(&map).run().expect_err("it ends");
    assert_eq!(error.to_string(), "really not");
    Ok(())
}

#[test]
fn exit_now_and_its_kin_pass_through_the_loop() -> Result {
    let errors: [fn() -> Error; 3] = [
        || ExitNow.into(),
        || KeyboardInterrupt.into(),
        || SystemExit(3).into(),
    ];
    for make in errors {
        for use_poll in [false, true] {
            let map = ChannelMap::new();
            let (channel, _far) = with_input(&map)?;
            *channel.on_read.borrow_mut() = Some(Box::new(move |_| Err(make())));
            let error = Loop::new()
                .map(&map)
                .use_poll(use_poll)
                .run()
                .expect_err("it exits");
            assert_eq!(error.to_string(), make().to_string());
            assert!(channel.errors.borrow().is_empty());
            // Nothing is lost: the loop can be run again.
            *channel.on_read.borrow_mut() = Some(Box::new(Fallible::close));
            Loop::new().map(&map).use_poll(use_poll).run()?;
        }
    }
    Ok(())
}

#[test]
fn close_all_stops_at_an_error_unless_told_to_ignore_all() -> Result {
    let map = ChannelMap::new();
    let (first, _far) = with_input(&map)?;
    let (second, _far) = with_input(&map)?;
    let fail: fn(&Fallible) -> Result = |_| Err(Error::msg("not now"));
    *first.on_close.borrow_mut() = Some(Box::new(fail));
    let error = close_all(Some(&map), false).expect_err("the first fails");
    assert_eq!(error.to_string(), "not now");
    assert_eq!(map.len(), 2);

    *first.on_close.borrow_mut() = Some(Box::new(|_| panic!("not now")));
    close_all(Some(&map), true)?;
    assert!(map.is_empty());
    assert!(second.fileno().is_none());
    Ok(())
}

#[test]
fn close_all_ignores_a_descriptor_that_is_closed_already_and_passes_exit_now() -> Result {
    let map = ChannelMap::new();
    let (channel, _far) = with_input(&map)?;
    *channel.on_close.borrow_mut() = Some(Box::new(|_| Err(io::Error::from(Errno::BADF).into())));
    close_all(Some(&map), false)?;
    assert!(map.is_empty());

    let (channel, _far) = with_input(&map)?;
    *channel.on_close.borrow_mut() = Some(Box::new(|_| Err(ExitNow.into())));
    assert!(
        close_all(Some(&map), true)
            .expect_err("it exits")
            .is::<ExitNow>()
    );
    Ok(())
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() -> Result {
    let map = ChannelMap::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let addr = taken.local_addr()?;
    let channel = fallible(&map);
    channel.create_socket(Domain::IPV4, Type::STREAM)?;
    let error = channel.bind(addr).expect_err("it is in use");
    assert_eq!(error.errno(), Some(Errno::ADDRINUSE.raw_os_error()));
    assert_eq!(
        error.to_string(),
        format!("bind {addr}: Address already in use (os error 98)")
    );
    Ok(())
}

#[test]
fn a_refused_connection_is_an_error_that_names_the_address() -> Result {
    let map = ChannelMap::new();
    let unused = asyncore::Socket::open(Domain::IPV4, Type::STREAM)?;
    unused.bind(("127.0.0.1", 0))?;
    let addr = unused.local_addr()?;
    let channel = fallible(&map);
    channel.create_socket(Domain::IPV4, Type::STREAM)?;
    channel.connect(addr.clone())?;
    poll(Duration::from_secs(10), Some(&map))?;
    let errors = channel.errors.take();
    assert_eq!(
        errors[0].to_string(),
        format!("connect {addr}: Connection refused (os error 111)")
    );
    Ok(())
}

#[test]
fn an_address_of_the_wrong_family_is_an_error_that_names_it() -> Result {
    let map = ChannelMap::new();
    let channel = fallible(&map);
    channel.create_socket(Domain::IPV4, Type::STREAM)?;
    let error = channel
        .connect(("::1", 80))
        .expect_err("the socket is for IPv4");
    assert_eq!(error.to_string(), "connect ::1:80: no IPv4 address");
    let error = channel.bind(("127.0.0.1\0", 80)).expect_err("no such host");
    assert!(
        error.to_string().starts_with("bind 127.0.0.1\0:80: "),
        "{error}"
    );
    Ok(())
}

#[test]
fn without_a_socket_every_operation_says_so() {
    let map = ChannelMap::new();
    let channel = fallible(&map);
    let operations: [fn(&Fallible) -> Result; 11] = [
        |c| c.add_channel(None),
        |c| c.set_reuse_addr(),
        |c| c.listen(5),
        |c| c.bind(("127.0.0.1", 0)),
        |c| c.connect(("127.0.0.1", 0)),
        |c| c.accept().map(drop),
        |c| c.send(b"spam").map(drop),
        |c| c.recv(1).map(drop),
        |c| c.recv_into(&mut [0]).map(drop),
        |c| c.handle_connect_event(),
        |c| c.handle_expt_event(),
    ];
    for operation in operations {
        let error = operation(&channel).expect_err("there is no socket");
        assert!(error.is::<NoSocket>(), "{error}");
        assert!(!error.is_disconnected());
    }
}

#[test]
fn a_closed_socket_is_a_lost_connection() -> Result {
    let map = ChannelMap::new();
    let (channel, _far) = with_input(&map)?;
    channel.socket()?.close()?;
    assert_eq!(channel.send(b"spam")?, 0);
    assert!(map.is_empty(), "handle_close has been called");
    assert_eq!(channel.recv(1)?, b"");
    channel.close()
}

/// Its socket is closed, and nobody has told the map.
#[test]
fn a_socket_closed_without_del_channel_is_noticed() -> Result {
    for pass in [poll, poll2] {
        let map = ChannelMap::new();
        let (channel, _far) = with_input(&map)?;
        pass(Duration::ZERO, Some(&map))?;
        channel.socket()?.close()?;
        pass(Duration::ZERO, Some(&map))?;
        assert!(map.is_empty());
    }
    let map = ChannelMap::with_quirks(Quirks::CPYTHON);
    let (channel, _far) = with_input(&map)?;
    pass(&map)?;
    channel.socket()?.close()?;
    let error = pass(&map).expect_err("select(2) refuses the set");
    assert_eq!(error.errno(), Some(Errno::BADF.raw_os_error()));
    Ok(())
}

/// A channel that makes itself a new socket when it is asked, which most often has the same number.
#[test]
fn a_channel_that_reconnects_when_asked_is_waited_on_at_once() -> Result {
    struct Reconnecting {
        base: DispatcherBase,
        again: Cell<Option<UnixStream>>,
        received: RefCell<Vec<u8>>,
    }
    impl Dispatcher for Reconnecting {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }
        fn readable(&self) -> bool {
            if let Some(again) = self.again.take() {
                // Under the number that it had: those of other tests come and go.
                let map = self.map().expect("the test has it");
                let fd = self.fileno().expect("it has a socket");
                let this = map.remove(fd).expect("it is there");
                self.root().replace_socket(Some(again.into()));
                map.insert(fd, this);
            }
            true
        }
        fn writable(&self) -> bool {
            false
        }
        fn handle_read(&self) -> Result {
            let data = self.recv(16)?;
            self.received.borrow_mut().extend(data);
            Ok(())
        }
    }
    let map = ChannelMap::new();
    let (near, mut far) = UnixStream::pair()?;
    let (again, _far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    let channel = Reconnecting::init_in(&map, |base| Reconnecting {
        base,
        again: Cell::new(Some(again)),
        received: RefCell::default(),
    });
    channel.init_socket(near)?;
    // Waits for ever, where it is not asked once more.
    poll(None, Some(&map))?;
    assert!(channel.again.take().is_none());
    Ok(())
}

#[test]
fn a_channel_removed_when_another_is_asked_is_released_before_the_wait() -> Result {
    struct Removing {
        base: DispatcherBase,
        other: Cell<Option<asyncore::Descriptor>>,
    }
    impl Dispatcher for Removing {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }
        fn readable(&self) -> bool {
            if let (Some(other), Ok(map)) = (self.other.take(), self.map()) {
                map.remove(other);
            }
            true
        }
        fn writable(&self) -> bool {
            false
        }
        fn handle_read(&self) -> Result {
            self.recv(16).map(drop)
        }
    }
    let map = ChannelMap::new();
    let (near, far) = UnixStream::pair()?;
    // The far end is a channel, too: when it goes, the near end hears of it.
    let other = fallible(&map);
    other.init_socket(far)?;
    let removing = Removing::init_in(&map, |base| Removing {
        base,
        other: Cell::new(other.fileno()),
    });
    removing.init_socket(near)?;
    drop(other);
    poll(None, Some(&map))?;
    assert!(map.is_empty(), "the end of the stream has not come");
    Ok(())
}

#[test]
fn poll2_writes_though_a_read_finds_nothing_more() -> Result {
    struct Greedy {
        base: DispatcherBase,
        writes: Cell<usize>,
    }
    impl Dispatcher for Greedy {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }
        fn handle_read(&self) -> Result {
            loop {
                self.recv(16)?;
            }
        }
        fn handle_write(&self) -> Result {
            self.writes.set(self.writes.get() + 1);
            Ok(())
        }
    }
    let map = ChannelMap::new();
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    let greedy = Greedy::init_in(&map, |base| Greedy {
        base,
        writes: Cell::default(),
    });
    greedy.init_socket(near)?;
    poll2(Duration::ZERO, Some(&map))?;
    assert_eq!(greedy.writes.get(), 1);
    Ok(())
}

#[test]
fn a_channel_still_being_made_cannot_be_put_into_a_map() {
    let map = ChannelMap::new();
    let outcome = RefCell::new(None);
    let (near, _far) = UnixStream::pair().expect("a pair");
    Fallible::init_in(&map, |base| {
        let unfinished = Fallible {
            base,
            on_read: RefCell::default(),
            on_error: RefCell::default(),
            on_close: RefCell::default(),
            errors: RefCell::default(),
            reads: Cell::default(),
        };
        *outcome.borrow_mut() = Some(unfinished.init_socket(near));
        unfinished
    });
    let error = outcome
        .take()
        .expect("it was tried")
        .expect_err("nobody has it yet");
    assert_eq!(
        error.to_string(),
        "the channel is still being made, or being dropped"
    );
}

#[test]
fn waiting_for_nothing_for_ever_is_an_error() -> Result {
    struct Deaf(DispatcherBase);
    impl Dispatcher for Deaf {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.0
        }
        fn readable(&self) -> bool {
            false
        }
        fn writable(&self) -> bool {
            false
        }
    }
    let map = ChannelMap::new();
    let (near, _far) = UnixStream::pair()?;
    let deaf = Deaf::init_in(&map, Deaf);
    deaf.init_socket(near)?;
    assert!(Loop::new().map(&map).timeout(None).run().is_err());
    Ok(())
}

#[test]
fn handle_error_logs_what_where_and_whose_and_closes() -> Result {
    struct Plain(DispatcherBase);
    impl Dispatcher for Plain {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.0
        }
        fn handle_read(&self) -> Result {
            Err(Error::msg("no spam today"))
        }
        fn writable(&self) -> bool {
            false
        }
    }
    let log = CapturedLog::start();
    let map = ChannelMap::new();
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    let plain = Plain::init_in(&map, Plain);
    plain.init_socket(near)?;
    let repr = plain.repr();
    pass(&map)?;
    assert!(map.is_empty());
    let lines = log.lines();
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    let expected = format!("error: uncaptured python exception, closing channel {repr} (");
    assert!(line.starts_with(&expected), "{line}");
    assert!(
        line.contains(":no spam today [") && line.contains("faults.rs|"),
        "{line}"
    );
    Ok(())
}

#[test]
fn a_repr_that_fails_does_not_keep_handle_error_from_closing() -> Result {
    struct Broken(DispatcherBase);
    impl Dispatcher for Broken {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.0
        }
        fn repr(&self) -> String {
            panic!("no name")
        }
    }
    let log = CapturedLog::start();
    let map = ChannelMap::new();
    let (near, _far) = UnixStream::pair()?;
    let broken = Broken::init_in(&map, Broken);
    broken.init_socket(near)?;
    broken.handle_error(Error::msg("no"))?;
    assert!(map.is_empty());
    assert!(log.lines()[0].contains("<__repr__(self) failed for object at 0x"));
    Ok(())
}

#[test]
fn an_error_remembers_where_it_was_made() {
    fn fails() -> Result {
        let _: u8 = "spam".parse()?;
        Ok(())
    }
    let line = line!() - 3;
    let error = fails().expect_err("spam is no number");
    let traceback = compact_traceback(&error);
    assert_eq!((traceback.file, traceback.line), (file!(), line));
    assert_eq!(traceback.type_name, "core::num::error::ParseIntError");
    assert_eq!(traceback.value, "invalid digit found in string");
    assert_eq!(traceback.info, format!("[{}|{line}]", file!()));
}

#[test]
fn an_error_goes_where_boxed_errors_go() {
    fn fails() -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(Error::msg("no spam"))?;
        Ok(())
    }
    assert_eq!(fails().expect_err("it fails").to_string(), "no spam");
}
