//! The story that a program tells with `RUST_LOG=asyncore=trace`: each pass, who is asked, what is ready,
//! each call and what it returned.
//!
//! While nobody listens, what could be told costs a comparison with the level that the `log` crate keeps:
//! callers ask [`is_on`] first, and all else is out of their way. A logger is the program's own code, so
//! nothing is told while anything is borrowed.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use log::{Level, LevelFilter};

use crate::channel_map::{Channel, ChannelMap};
use crate::error::Result;
use crate::poller::{Descriptor, PollFlags};
use crate::readiness::{Ready, Semantics};

/// Calls a method of a channel, and tells of it in the trace: `traced!(this.handle_read())?` is
/// `this.handle_read()?`.
///
/// So the loop and the classes call what programs override. A class of yours that adds methods to be
/// overridden (see [`BaseClass`](crate::BaseClass)) may do so, too; they have to return a
/// [`Result`](crate::Result).
/// [`how_the_loop_works`](crate::how_the_loop_works#the-story-that-a-program-tells) shows what is told.
#[macro_export]
macro_rules! traced {
    // One step: a socket does not call the channel.
    ($this:ident.socket()?.$method:ident($($argument:expr),*)) => {
        match $this.socket()?.$method($($argument),*) {
            result if $crate::trace::is_on() => {
                $crate::trace::returned(&*$this, concat!("socket.", stringify!($method)), result)
            }
            result => result,
        }
    };
    ($this:ident.$method:ident($($argument:expr),*)) => {
        if $crate::trace::is_on() {
            $crate::trace::call(&*$this, stringify!($method), || $this.$method($($argument),*))
        } else {
            $this.$method($($argument),*)
        }
    };
}

/// Whether anyone listens: as the program was built, as its logger was set, and of this crate.
#[inline(always)]
pub fn is_on() -> bool {
    const TRACE: LevelFilter = LevelFilter::Trace;

    log::STATIC_MAX_LEVEL == TRACE && log::max_level() == TRACE && is_wanted()
}

#[cold]
fn is_wanted() -> bool {
    log::log_enabled!(target: "asyncore", Level::Trace)
}

/// Tells of a pass that begins. What is told until the result is dropped is part of it.
#[cold]
pub(crate) fn pass(semantics: Semantics, timeout: Option<Duration>, map: &ChannelMap) -> Nested {
    let name = match semantics {
        Semantics::Select => "poll",
        Semantics::Poll => "poll2",
    };
    let count = map.len();
    let timeout = timeout.map_or("none".to_owned(), |timeout| format!("{timeout:?}"));
    tell(&format!("{name}: {count} in the map, timeout {timeout}"));
    Nested::begin()
}

/// Tells what a channel has answered. It is asked whether it is accepting if it is writable.
#[cold]
pub(crate) fn asked(
    channel: &dyn Channel,
    fd: Descriptor,
    [readable, writable, accepting]: [bool; 3],
    wanted: PollFlags,
) {
    let mut answers = format!("readable {readable}, writable {writable}");
    if writable {
        answers.push_str(&format!(", accepting {accepting}"));
    }
    let label = label_at(fd, channel);
    tell(&format!("{label} is asked: {answers}; wants {wanted:?}"));
}

/// Tells who is ready.
#[cold]
pub(crate) fn ready(map: &ChannelMap, ready: &[Ready]) {
    if ready.is_empty() {
        tell("nothing is ready");
    }
    for event in ready {
        if let Some(channel) = map.receiver(event) {
            let label = label_at(event.fd, &*channel);
            tell(&format!("{label} is ready: {:?}", event.flags));
        }
    }
}

/// Makes a call on a channel, and tells of it before and after.
#[cold]
pub fn call<R: Debug, E: Display>(
    channel: &(impl Channel + ?Sized),
    method: &str,
    call: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    let subject = format!("{}.{method}", channel.label());
    tell(&subject);
    let nested = Nested::begin();
    let called = catch_unwind(AssertUnwindSafe(call));
    drop(nested);
    match called {
        Ok(result) => {
            tell_returned(&subject, &result);
            result
        }
        Err(payload) => {
            tell(&format!("{subject} panicked"));
            resume_unwind(payload)
        }
    }
}

/// Tells of a call that has been made.
#[cold]
pub fn returned<R: Debug, E: Display>(
    channel: &(impl Channel + ?Sized),
    method: &str,
    result: Result<R, E>,
) -> Result<R, E> {
    tell_returned(&format!("{}.{method}", channel.label()), &result);
    result
}

/// Tells of a step that a channel makes.
#[cold]
pub(crate) fn step(channel: &impl Channel, what: &str) {
    tell(&format!("{} {what}", channel.label()));
}

/// What a channel is called, given the name of its type.
pub(crate) fn label(type_name: &str, fd: Option<Descriptor>) -> String {
    let path = type_name.split('<').next().unwrap_or(type_name);
    let name = path.rsplit("::").next().unwrap_or(path);
    match fd {
        Some(fd) => format!("{name}(fd {fd})"),
        None => name.to_owned(),
    }
}

/// What a channel is called that is in the map under `fd`, which it need not know.
fn label_at(fd: Descriptor, channel: &dyn Channel) -> String {
    let label = channel.label();
    if label.ends_with(&format!("(fd {fd})")) {
        return label;
    }
    format!("{label} as fd {fd}")
}

thread_local! {
    /// How many of the calls that have been told of have not returned.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// What is told while it lives is part of what was told last.
pub(crate) struct Nested {
    depth_before: usize,
}

impl Nested {
    fn begin() -> Nested {
        let depth_before = DEPTH.get();
        DEPTH.set(depth_before + 1);
        Nested { depth_before }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(self.depth_before);
    }
}

fn tell_returned<R: Debug, E: Display>(subject: &str, result: &Result<R, E>) {
    match result {
        Ok(value) => tell(&format!("{subject} returned Ok({value:?})")),
        Err(error) => tell(&format!("{subject} returned Err({error})")),
    }
}

fn tell(line: &str) {
    let indent = 2 * DEPTH.get();
    log::trace!(target: "asyncore", "{:indent$}{line}", "");
}
