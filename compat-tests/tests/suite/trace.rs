//! The story that a program tells at the level `trace`.

use std::cell::Cell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::{ChannelMap, Dispatcher, DispatcherBase, Error, Result, poll, poll2};
use compat_tests::CapturedLog;

/// A channel in a map of its own, with input.
struct Fixture<T> {
    map: ChannelMap,
    channel: Rc<T>,
    _far: UnixStream,
}

impl<T: Dispatcher> Fixture<T> {
    fn new(build: impl FnOnce(T::Base) -> T) -> Result<Fixture<T>> {
        let (near, mut far) = UnixStream::pair()?;
        far.write_all(b"spam\r\nand")?;
        let map = ChannelMap::new();
        let channel = T::init_in(&map, build);
        channel.init_socket(near)?;
        Ok(Fixture {
            map,
            channel,
            _far: far,
        })
    }

    /// What a pass tells, with `N` for the channel's descriptor and without the level.
    fn story(&self) -> Result<Vec<String>> {
        let fd = self.channel.fileno().expect("it is in the map");
        let log = CapturedLog::start_with_trace();
        let passed = poll(Duration::ZERO, Some(&self.map));
        let lines = log.lines();
        passed?;
        Ok(told(&lines, fd))
    }
}

fn told(lines: &[String], fd: i32) -> Vec<String> {
    let lines = lines.iter().filter_map(|line| line.strip_prefix("trace: "));
    lines
        .map(|line| line.replace(&format!("fd {fd}"), "fd N"))
        .collect()
}

struct Failing {
    base: DispatcherBase,
    handler: Cell<fn(&Failing) -> Result>,
}

impl Failing {
    fn fixture(handler: fn(&Failing) -> Result) -> Result<Fixture<Failing>> {
        Fixture::new(|base| Failing {
            base,
            handler: Cell::new(handler),
        })
    }
}

impl Dispatcher for Failing {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn writable(&self) -> bool {
        false
    }

    fn handle_read(&self) -> Result {
        self.handler.get()(self)
    }

    fn handle_error(&self, _error: Error) -> Result {
        Ok(())
    }
}

#[test]
fn an_error_is_told_of_all_the_way() -> Result {
    let fixture = Failing::fixture(|_| Err(Error::msg("on purpose")))?;
    let expected = [
        "poll: 1 in the map, timeout 0ns",
        "  Failing(fd N) is asked: readable true, writable false; wants IN|PRI",
        "  Failing(fd N) is ready: IN",
        "  Failing(fd N).handle_read_event",
        "    Failing(fd N).handle_read",
        "    Failing(fd N).handle_read returned Err(on purpose)",
        "  Failing(fd N).handle_read_event returned Err(on purpose)",
        "  Failing(fd N).handle_error",
        "  Failing(fd N).handle_error returned Ok(())",
    ];
    assert_eq!(fixture.story()?, expected);
    Ok(())
}

#[test]
fn a_panic_is_told_of_all_the_way_and_reaches_handle_error() -> Result {
    let fixture = Failing::fixture(|_| panic!("on purpose"))?;
    let expected = [
        "  Failing(fd N).handle_read_event",
        "    Failing(fd N).handle_read",
        "    Failing(fd N).handle_read panicked",
        "  Failing(fd N).handle_read_event panicked",
        "  Failing(fd N).handle_error",
        "  Failing(fd N).handle_error returned Ok(())",
    ];
    assert_eq!(fixture.story()?[3..], expected);
    Ok(())
}

#[test]
fn a_system_call_that_fails_is_told_of() -> Result {
    let fixture = Failing::fixture(|this| {
        this.recv(100)?;
        this.recv(100)?;
        unreachable!("there is no more")
    })?;
    let error = std::io::Error::from(rustix::io::Errno::AGAIN);
    let expected = [
        "      Failing(fd N).socket.recv returned Ok(9)".to_owned(),
        format!("      Failing(fd N).socket.recv returned Err({error})"),
        format!("    Failing(fd N).handle_read returned Err(recv: {error})"),
    ];
    assert_eq!(fixture.story()?[5..8], expected);
    Ok(())
}

#[test]
fn a_pass_in_a_handler_is_a_part_of_it() -> Result {
    let fixture = Failing::fixture(|this| {
        this.handler.set(|_| Ok(()));
        poll2(Duration::ZERO, Some(&this.map()?))
    })?;
    let expected = [
        "    Failing(fd N).handle_read",
        "      poll2: 1 in the map, timeout 0ns",
        "        Failing(fd N) is asked: readable true, writable false; wants IN|PRI",
        "        Failing(fd N) is ready: IN",
        "        Failing(fd N).handle_read_event",
        "          Failing(fd N).handle_read",
        "          Failing(fd N).handle_read returned Ok(())",
        "        Failing(fd N).handle_read_event returned Ok(())",
        "    Failing(fd N).handle_read returned Ok(())",
        "  Failing(fd N).handle_read_event returned Ok(())",
    ];
    assert_eq!(fixture.story()?[4..], expected);
    Ok(())
}

#[test]
fn a_channel_is_told_of_as_it_comes_and_goes() -> Result {
    let log = CapturedLog::start_with_trace();
    let fixture = Failing::fixture(|_| Ok(()))?;
    let fd = fixture.channel.fileno().expect("it is in the map");
    fixture.channel.close()?;
    poll(Duration::ZERO, Some(&fixture.map))?;
    let expected = [
        "Failing(fd N) enters the map",
        "Failing(fd N) leaves the map",
        "Failing.socket.close returned Ok(())",
    ];
    assert_eq!(told(&log.lines(), fd), expected);
    Ok(())
}

struct Lines {
    base: AsyncChatBase,
}

impl Dispatcher for Lines {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }
}

impl AsyncChat for Lines {
    fn collect_incoming_data(&self, _data: &[u8]) -> Result {
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self.push("eggs")?;
        self.close_when_done()
    }
}

#[test]
fn a_chat_channel_tells_what_it_collects_and_finds() -> Result {
    let fixture = Fixture::new(|base| Lines { base })?;
    fixture.channel.set_terminator("\r\n")?;
    let expected = [
        "  Lines(fd N).handle_read_event",
        "    Lines(fd N).handle_read",
        "      Lines(fd N).socket.recv returned Ok(9)",
        "      Lines(fd N).collect_incoming_data",
        "      Lines(fd N).collect_incoming_data returned Ok(())",
        "      Lines(fd N).found_terminator",
        "        Lines(fd N).initiate_send",
        "          Lines(fd N).socket.send returned Ok(4)",
        "        Lines(fd N).initiate_send returned Ok(())",
        "      Lines(fd N).found_terminator returned Ok(())",
        "      Lines(fd N).collect_incoming_data",
        "      Lines(fd N).collect_incoming_data returned Ok(())",
        "    Lines(fd N).handle_read returned Ok(())",
        "  Lines(fd N).handle_read_event returned Ok(())",
    ];
    assert_eq!(fixture.story()?[3..], expected);
    let expected = [
        "  Lines(fd N) is asked: readable true, writable true, accepting false; wants IN|PRI|OUT",
        "  Lines(fd N) is ready: OUT",
        "  Lines(fd N).handle_write_event",
        "    Lines(fd N).handle_write",
        "      Lines(fd N).initiate_send",
        "        Lines(fd N).handle_close",
        "          Lines(fd N).close",
        "            Lines(fd N) leaves the map",
        "            Lines.socket.close returned Ok(())",
        "          Lines(fd N).close returned Ok(())",
        "        Lines(fd N).handle_close returned Ok(())",
        "      Lines(fd N).initiate_send returned Ok(())",
        "    Lines(fd N).handle_write returned Ok(())",
        "  Lines(fd N).handle_write_event returned Ok(())",
    ];
    assert_eq!(fixture.story()?[1..], expected);
    Ok(())
}

/// Is no dispatcher, and knows no descriptor.
struct Ticker {
    panics: Cell<bool>,
}

impl asyncore::Channel for Ticker {
    fn readable(&self) -> bool {
        assert!(!self.panics.get(), "on purpose");
        false
    }
    fn writable(&self) -> bool {
        false
    }
    fn handle_read_event(&self) -> Result {
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

#[test]
fn a_channel_written_by_hand_is_called_by_its_class_and_its_key_in_the_map() -> Result {
    let (near, _far) = UnixStream::pair()?;
    let map = ChannelMap::new();
    let ticker = Ticker {
        panics: Cell::new(true),
    };
    let ticker = Rc::new(ticker);
    map.insert(near.as_raw_fd(), ticker.clone());
    let log = CapturedLog::start_with_trace();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        poll(Duration::ZERO, Some(&map))
    }));
    assert!(ended.is_err(), "a panic in readable() ends the loop");
    ticker.panics.set(false);
    poll(Duration::ZERO, Some(&map))?;
    let expected = [
        "poll: 1 in the map, timeout 0ns",
        "poll: 1 in the map, timeout 0ns",
        "  Ticker as fd N is asked: readable false, writable false; wants none",
        "  nothing is ready",
    ];
    assert_eq!(told(&log.lines(), near.as_raw_fd()), expected);
    Ok(())
}

#[test]
fn who_does_not_ask_for_the_trace_hears_nothing_of_it() -> Result {
    let log = CapturedLog::start();
    let fixture = Failing::fixture(|this| {
        this.log_info("hello", "debug");
        Ok(())
    })?;
    poll(Duration::ZERO, Some(&fixture.map))?;
    fixture.channel.close()?;
    assert_eq!(log.lines(), ["debug: hello"]);
    Ok(())
}
