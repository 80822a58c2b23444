//! The loop: passes over a map, and what an event calls on a channel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::channel_map::{Channel, ChannelMap, socket_map};
use crate::error::{Error, Panic, Result, is_bad_descriptor};
use crate::poller::PollFlags;
use crate::readiness::{Ready, Semantics};
use crate::{trace, traced};

/// Runs the loop over the default map until it is empty: `asyncore.loop()`.
///
/// For any other parameters see [`Loop`].
///
/// # Errors
///
/// As [`Loop::run`].
#[doc(alias = "asyncore.loop")]
pub fn r#loop() -> Result {
    Loop::new().run()
}

/// The parameters of the loop, by name:
/// `asyncore.loop(timeout=30.0, use_poll=False, map=None, count=None)`.
///
/// ```
/// use std::time::Duration;
/// use asyncore::{ChannelMap, Loop};
///
/// let map = ChannelMap::new();
/// // asyncore.loop(timeout=0.01, use_poll=True, map=map, count=100)
/// Loop::new().timeout(Duration::from_millis(10)).use_poll(true).map(&map).count(100).run()?;
/// # Ok::<(), asyncore::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until `run`"]
pub struct Loop {
    timeout: Option<Duration>,
    use_poll: bool,
    map: Option<ChannelMap>,
    count: Option<usize>,
}

impl Loop {
    /// The loop with all its defaults.
    pub fn new() -> Loop {
        Loop {
            timeout: Some(Duration::from_secs(30)),
            use_poll: false,
            map: None,
            count: None,
        }
    }

    /// How long one pass waits for an event; 30 seconds unless given. `None` waits for ever.
    ///
    /// It does not limit the loop, only how often one that is called with [`count`](Loop::count) comes
    /// back.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Loop {
        self.timeout = timeout.into();
        self
    }

    /// Whether a pass is [`poll2`] rather than [`poll`]; `false` unless given.
    ///
    /// Both wait in the same way. They differ in the order in which a pass calls the channels, and in
    /// what a hang-up calls.
    pub fn use_poll(mut self, use_poll: bool) -> Loop {
        self.use_poll = use_poll;
        self
    }

    /// The map to serve; the thread's [`socket_map`] unless given.
    pub fn map(mut self, map: &ChannelMap) -> Loop {
        self.map = Some(map.clone());
        self
    }

    /// How many passes to make at most; no limit unless given.
    pub fn count(mut self, count: impl Into<Option<usize>>) -> Loop {
        self.count = count.into();
        self
    }

    /// Runs until the map is empty or the passes are used up.
    ///
    /// # Errors
    ///
    /// What passes through: [`ExitNow`](crate::ExitNow), [`KeyboardInterrupt`](crate::KeyboardInterrupt)
    /// and [`SystemExit`](crate::SystemExit) of any handler, every error of `handle_error`, and those of
    /// [`poll`]. The map is as it was then: the loop can be run again.
    pub fn run(self) -> Result {
        let map = self.map.unwrap_or_else(socket_map);
        let mut passes_left = self.count;
        while !map.is_empty() && passes_left != Some(0) {
            if self.use_poll {
                poll2(self.timeout, Some(&map))?;
            } else {
                poll(self.timeout, Some(&map))?;
            }
            passes_left = passes_left.map(|left| left - 1);
        }
        Ok(())
    }
}

impl Default for Loop {
    fn default() -> Loop {
        Loop::new()
    }
}

/// Makes one pass with the meaning and order of select(2): `asyncore.poll(timeout, map)`.
///
/// Waits up to `timeout` (`None`: for ever) for channels of `map` (`None`: the default map), then calls
/// [`read`] on all that are readable, [`write()`] on all that are writable, and [`exception`] on all that
/// have out-of-band data, each time in the map's order. A hang-up is readable, a pending error readable
/// and writable. Does nothing on an empty map, and sleeps when no channel is readable or writable.
///
/// # Errors
///
/// What passes through a handler (see [`Loop::run`]), the system's own failures to wait, and a channel
/// set to wait for nothing for ever.
#[doc(alias = "asyncore.poll")]
pub fn poll(timeout: impl Into<Option<Duration>>, map: Option<&ChannelMap>) -> Result {
    pass(Semantics::Select, timeout.into(), map, |map, ready| {
        deliver(map, ready, PollFlags::IN, read)?;
        deliver(map, ready, PollFlags::OUT, write)?;
        deliver(map, ready, PollFlags::PRI, exception)?;
        // Where CPython's select refuses, see `Quirks::bad_descriptor_ends_loop`.
        deliver(map, ready, PollFlags::NVAL, |channel| {
            guarded(channel, || traced!(channel.handle_close()))
        })
    })
}

/// Makes a call on each channel that is in one of select's sets.
fn deliver(
    map: &ChannelMap,
    ready: &[Ready],
    set: PollFlags,
    call: impl Fn(&dyn Channel) -> Result,
) -> Result {
    for event in ready.iter().filter(|event| event.flags.contains(set)) {
        if let Some(channel) = map.receiver(event) {
            call(&*channel)?;
        }
    }
    Ok(())
}

/// Makes one pass with the meaning and order of poll(2): `asyncore.poll2(timeout, map)`.
///
/// Waits as [`poll`] does, then calls [`readwrite`] on each channel that is ready, in the map's order.
///
/// # Errors
///
/// As [`poll`], and what `handle_close` returns when [`readwrite`] calls it for a lost connection.
#[doc(alias = "asyncore.poll2")]
pub fn poll2(timeout: impl Into<Option<Duration>>, map: Option<&ChannelMap>) -> Result {
    pass(Semantics::Poll, timeout.into(), map, |map, ready| {
        for event in ready {
            let mut flags = event.flags;
            if flags.contains(PollFlags::IN) && !map.quirks().hangup_drops_input {
                flags = flags.difference(PollFlags::HUP);
            }
            if let Some(channel) = map.receiver(event) {
                readwrite(&*channel, flags)?;
            }
        }
        Ok(())
    })
}

/// The same as [`poll2`]: `asyncore.poll3`.
///
/// # Errors
///
/// As [`poll2`].
#[doc(alias = "asyncore.poll3")]
pub fn poll3(timeout: impl Into<Option<Duration>>, map: Option<&ChannelMap>) -> Result {
    poll2(timeout, map)
}

fn pass(
    semantics: Semantics,
    timeout: Option<Duration>,
    map: Option<&ChannelMap>,
    deliver: impl FnOnce(&ChannelMap, &[Ready]) -> Result,
) -> Result {
    let map = map.cloned().unwrap_or_else(socket_map);
    if map.is_empty() {
        return Ok(());
    }
    let _pass = trace::is_on().then(|| trace::pass(semantics, timeout, &map));
    let ready = map.wait(semantics, timeout)?;
    if trace::is_on() {
        trace::ready(&map, &ready);
    }
    let delivered = deliver(&map, &ready);
    map.recycle(ready);
    delivered
}

/// Calls `handle_read_event`, and `handle_error` if that fails: `asyncore.read(obj)`.
///
/// # Errors
///
/// [`ExitNow`](crate::ExitNow) and its kin, and what `handle_error` returns.
#[doc(alias = "asyncore.read")]
pub fn read(channel: &dyn Channel) -> Result {
    guarded(channel, || traced!(channel.handle_read_event()))
}

/// Calls `handle_write_event`, and `handle_error` if that fails: `asyncore.write(obj)`.
///
/// # Errors
///
/// As [`read`].
#[doc(alias = "asyncore.write")]
pub fn write(channel: &dyn Channel) -> Result {
    guarded(channel, || traced!(channel.handle_write_event()))
}

/// Calls `handle_expt_event`, and `handle_error` if that fails: `asyncore._exception(obj)`.
///
/// # Errors
///
/// As [`read`].
#[doc(alias = "asyncore._exception")]
pub fn exception(channel: &dyn Channel) -> Result {
    guarded(channel, || traced!(channel.handle_expt_event()))
}

/// Calls what `flags` ask for, in the order IN, OUT, PRI, then `handle_close` for HUP, ERR and NVAL:
/// `asyncore.readwrite(obj, flags)`.
///
/// A handler that fails ends the sequence. Where its error says that the connection is lost
/// ([`Error::is_disconnected`]), `handle_close` is called rather than `handle_error`.
///
/// # Errors
///
/// [`ExitNow`](crate::ExitNow) and its kin, and what `handle_error` returns, or the `handle_close` that
/// stands in for it.
#[doc(alias = "asyncore.readwrite")]
pub fn readwrite(channel: &dyn Channel, flags: PollFlags) -> Result {
    let handled = catch(|| {
        if flags.contains(PollFlags::IN) {
            match traced!(channel.handle_read_event()) {
                // Only this event is over.
                Err(error) if error.is_spurious() => {}
                handled => handled?,
            }
        }
        if flags.contains(PollFlags::OUT) {
            traced!(channel.handle_write_event())?;
        }
        if flags.contains(PollFlags::PRI) {
            traced!(channel.handle_expt_event())?;
        }
        if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            traced!(channel.handle_close())?;
        }
        Ok(())
    });
    match handled {
        Err(error) if error.is_disconnected() => traced!(channel.handle_close()),
        handled => answer(channel, handled),
    }
}

/// Closes every channel of `map` (`None`: the default map), and empties it:
/// `asyncore.close_all(map, ignore_all)`.
///
/// # Errors
///
/// The first error of a `close`, with the rest left in the map. `EBADF` never counts, and with
/// `ignore_all` only [`ExitNow`](crate::ExitNow) and its kin do.
#[doc(alias = "asyncore.close_all")]
pub fn close_all(map: Option<&ChannelMap>, ignore_all: bool) -> Result {
    let map = map.cloned().unwrap_or_else(socket_map);
    for channel in map.values() {
        match catch(|| traced!(channel.close())) {
            Err(error) if error.is_reraised() => return Err(error),
            Err(error) if !ignore_all && !is_bad_descriptor(&error) => return Err(error),
            _ => {}
        }
    }
    map.clear();
    Ok(())
}

/// Calls a handler, and `handle_error` if that fails.
fn guarded(channel: &dyn Channel, handler: impl FnOnce() -> Result) -> Result {
    answer(channel, catch(handler))
}

/// What becomes of what a handler returned.
fn answer(channel: &dyn Channel, handled: Result) -> Result {
    match handled {
        Err(error) if error.is_reraised() => Err(error),
        Err(error) if error.is_spurious() => Ok(()),
        Err(error) => traced!(channel.handle_error(error)),
        Ok(()) => Ok(()),
    }
}

/// Makes a panic an error. A panic is to a handler what any exception is in Python; what the handler
/// was changing is its own, and the loop's state is not borrowed meanwhile.
fn catch(handler: impl FnOnce() -> Result) -> Result {
    catch_unwind(AssertUnwindSafe(handler))
        .unwrap_or_else(|payload| Err(Error::from(Panic::new(payload))))
}
