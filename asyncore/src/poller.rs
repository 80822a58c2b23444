//! The kernel's side of the loop: which descriptors are ready, and for what.
//!
//! The only file that knows `polling`, and the only one with unsafe code. Its contract, for the map:
//!
//! - A descriptor is watched for exactly the flags it was last added or modified with, until deleted.
//!   Nothing is rebuilt per wait.
//! - `wait` reports each ready key once, in any order, with flags as poll(2) reports them. `HUP` and
//!   `ERR` come whether asked for or not.
//! - `add` says when the kernel has no events for a descriptor because it is always ready (regular
//!   files), or because there is no such descriptor.
//!
//! `polling` reports `readable` for IN, HUP, ERR and PRI alike. There are two ways to the exact flags:
//! where the poller is an epoll, the wait is made on its own descriptor, which reports them and takes
//! one system call instead of the five of `Poller::wait`; elsewhere poll(2) is asked once for all the
//! descriptors that `Poller::wait` named, which takes two lists for each wait. `ASYNCORE_POLLER=portable` in the environment chooses the
//! second way everywhere.

// The kernel takes descriptors as numbers; `polling` takes them with promises about their lifetime.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{BitAnd, BitOr, BitOrAssign};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::BorrowedSocket;
use std::time::Duration;

use polling::{Event, Events, PollMode};

/// What the operating system knows a socket by, and the key of a channel in the map: Python's
/// `fileno()`.
#[cfg(unix)]
pub type Descriptor = std::os::fd::RawFd;
/// What the operating system knows a socket by, and the key of a channel in the map: Python's
/// `fileno()`.
#[cfg(windows)]
pub type Descriptor = std::os::windows::io::RawSocket;

/// The conditions of a descriptor, as poll(2) names them: the flags of [`readwrite`](crate::readwrite).
///
/// ```
/// use asyncore::PollFlags;
///
/// let flags = PollFlags::IN | PollFlags::HUP;
/// assert!(flags.contains(PollFlags::IN));
/// assert_eq!(format!("{flags:?}"), "IN|HUP");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PollFlags(u16);

impl PollFlags {
    /// Data can be read, or a connection accepted: `select.POLLIN`.
    #[doc(alias = "POLLIN")]
    pub const IN: PollFlags = PollFlags(0x01);
    /// Out-of-band data waits: `select.POLLPRI`.
    #[doc(alias = "POLLPRI")]
    pub const PRI: PollFlags = PollFlags(0x02);
    /// Data can be written, or a connection attempt has ended: `select.POLLOUT`.
    #[doc(alias = "POLLOUT")]
    pub const OUT: PollFlags = PollFlags(0x04);
    /// An error is pending: `select.POLLERR`.
    #[doc(alias = "POLLERR")]
    pub const ERR: PollFlags = PollFlags(0x08);
    /// The peer has hung up: `select.POLLHUP`.
    #[doc(alias = "POLLHUP")]
    pub const HUP: PollFlags = PollFlags(0x10);
    /// There is no such descriptor: `select.POLLNVAL`.
    #[doc(alias = "POLLNVAL")]
    pub const NVAL: PollFlags = PollFlags(0x20);

    const NAMES: [(PollFlags, &'static str); 6] = [
        (PollFlags::IN, "IN"),
        (PollFlags::PRI, "PRI"),
        (PollFlags::OUT, "OUT"),
        (PollFlags::ERR, "ERR"),
        (PollFlags::HUP, "HUP"),
        (PollFlags::NVAL, "NVAL"),
    ];

    /// No condition at all.
    pub const fn empty() -> PollFlags {
        PollFlags(0)
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is set.
    pub const fn contains(self, other: PollFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    pub const fn intersects(self, other: PollFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags of both; what `|` does, in constants.
    pub const fn union(self, other: PollFlags) -> PollFlags {
        PollFlags(self.0 | other.0)
    }

    /// The flags without those of `other`.
    pub const fn difference(self, other: PollFlags) -> PollFlags {
        PollFlags(self.0 & !other.0)
    }
}

impl BitOr for PollFlags {
    type Output = PollFlags;

    fn bitor(self, other: PollFlags) -> PollFlags {
        self.union(other)
    }
}

impl BitOrAssign for PollFlags {
    fn bitor_assign(&mut self, other: PollFlags) {
        self.0 |= other.0;
    }
}

impl BitAnd for PollFlags {
    type Output = PollFlags;

    fn bitand(self, other: PollFlags) -> PollFlags {
        PollFlags(self.0 & other.0)
    }
}

impl fmt::Debug for PollFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in PollFlags::NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

/// What became of an `add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The kernel watches the descriptor.
    Watched,
    /// The kernel has no events for it: select(2) and poll(2) call it always ready.
    AlwaysReady,
    /// There is no such descriptor.
    Invalid,
}

/// A persistent set of watched descriptors.
pub(crate) struct Poller {
    poller: polling::Poller,
    waiter: Waiter,
}

enum Waiter {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Epoll(RefCell<Vec<rustix::event::epoll::Event>>),
    Portable(RefCell<Events>),
}

impl Waiter {
    fn new() -> Waiter {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if std::env::var_os("ASYNCORE_POLLER").is_none_or(|way| way != "portable") {
            return Waiter::Epoll(RefCell::default());
        }
        Waiter::Portable(RefCell::new(Events::new()))
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller {
            poller: polling::Poller::new()?,
            waiter: Waiter::new(),
        })
    }

    pub(crate) fn add(&self, fd: Descriptor, key: usize, flags: PollFlags) -> io::Result<Added> {
        let Some(source) = borrow(fd) else {
            return Ok(Added::Invalid);
        };
        // SAFETY: a source must be deleted before it is closed, or an event may name a closed
        // descriptor. The map deletes what leaves it, and drops events whose key it does not know.
        let added = unsafe {
            self.poller
                .add_with_mode(&source, interest(key, flags), PollMode::Level)
        };
        match added {
            Ok(()) => Ok(Added::Watched),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.modify(fd, key, flags)
            }
            Err(error) => unwatchable(error),
        }
    }

    /// Changes the flags of a descriptor that has been added; adds it if the kernel has forgotten it,
    /// as epoll does when a descriptor is closed.
    pub(crate) fn modify(&self, fd: Descriptor, key: usize, flags: PollFlags) -> io::Result<Added> {
        let Some(source) = borrow(fd) else {
            return Ok(Added::Invalid);
        };
        let modified = self
            .poller
            .modify_with_mode(source, interest(key, flags), PollMode::Level);
        match modified {
            Ok(()) => Ok(Added::Watched),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.add(fd, key, flags),
            Err(error) => unwatchable(error),
        }
    }

    pub(crate) fn delete(&self, fd: Descriptor) {
        if let Some(source) = borrow(fd) {
            // Fails only where the kernel has forgotten the descriptor already.
            let _ = self.poller.delete(source);
        }
    }

    /// Waits until something is ready or `timeout` is over (`None`: for ever), and reports each ready
    /// key with its flags. May come back early with nothing to report. At most `capacity` keys are ready;
    /// `descriptor` tells what a key stands for.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        capacity: usize,
        descriptor: impl Fn(usize) -> Option<Descriptor>,
        mut report: impl FnMut(usize, PollFlags),
    ) -> io::Result<()> {
        match &self.waiter {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Waiter::Epoll(events) => {
                let events = &mut *events.borrow_mut();
                wait_on_epoll(&self.poller, events, timeout, capacity)?;
                for event in events.iter() {
                    // The values of EPOLLIN and its kin are those of POLLIN and its kin.
                    let (flags, data) = (event.flags, event.data);
                    report(data.u64() as usize, PollFlags(flags.bits() as u16 & 0x3f));
                }
            }
            Waiter::Portable(events) => {
                let events = &mut *events.borrow_mut();
                // kqueue names a descriptor once for reading and once for writing.
                let capacity = NonZeroUsize::MIN.saturating_add(2 * capacity);
                if events.capacity() < capacity {
                    *events = Events::with_capacity(capacity);
                }
                events.clear();
                self.poller.wait(events, timeout)?;
                report_exactly(events, descriptor, report)?;
            }
        }
        Ok(())
    }
}

/// One epoll_wait(2). A signal ends it early, as a wait with nothing ready.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn wait_on_epoll(
    poller: &polling::Poller,
    events: &mut Vec<rustix::event::epoll::Event>,
    timeout: Option<Duration>,
    capacity: usize,
) -> io::Result<()> {
    use rustix::buffer::spare_capacity;
    use rustix::event::{Timespec, epoll};
    use rustix::io::Errno;

    /// The longest wait that every kernel with epoll takes.
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

    let timeout = timeout
        .map(|timeout| timeout.min(LONGEST))
        .map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
    events.clear();
    // Room for all, so that a pass sees all that is ready and can put it into the map's order.
    events.reserve(capacity.max(64));
    match epoll::wait(poller, spare_capacity(events), timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks poll(2) what exactly is the matter with the descriptors that `Poller::wait` named.
#[cfg(unix)]
fn report_exactly(
    events: &Events,
    descriptor: impl Fn(usize) -> Option<Descriptor>,
    mut report: impl FnMut(usize, PollFlags),
) -> io::Result<()> {
    use rustix::event::{PollFd, poll};

    const ALL: rustix::event::PollFlags = rustix::event::PollFlags::IN
        .union(rustix::event::PollFlags::PRI)
        .union(rustix::event::PollFlags::OUT);

    let mut keys: Vec<usize> = events.iter().map(|event| event.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut fds = Vec::with_capacity(keys.len());
    keys.retain(|&key| match descriptor(key).and_then(borrow) {
        Some(source) => {
            fds.push(PollFd::from_borrowed_fd(source, ALL));
            true
        }
        None => {
            report(key, PollFlags::empty());
            false
        }
    });
    poll(&mut fds, Some(&rustix::event::Timespec::default()))?;
    for (key, fd) in keys.into_iter().zip(fds) {
        report(key, PollFlags(fd.revents().bits() & 0x3f));
    }
    Ok(())
}

/// Takes the flags as `polling` has them: input and hang-up are not told apart.
#[cfg(windows)]
fn report_exactly(
    events: &Events,
    _descriptor: impl Fn(usize) -> Option<Descriptor>,
    mut report: impl FnMut(usize, PollFlags),
) -> io::Result<()> {
    for event in events.iter() {
        let mut flags = PollFlags::empty();
        for (is_set, flag) in [
            (event.readable, PollFlags::IN),
            (event.writable, PollFlags::OUT),
            (event.is_priority(), PollFlags::PRI),
            (event.is_interrupt(), PollFlags::HUP),
            (event.is_err().unwrap_or(false), PollFlags::ERR),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        report(event.key, flags);
    }
    Ok(())
}

fn interest(key: usize, flags: PollFlags) -> Event {
    let mut event = Event::new(
        key,
        flags.contains(PollFlags::IN),
        flags.contains(PollFlags::OUT),
    );
    event.set_priority(flags.contains(PollFlags::PRI));
    event
}

/// Sorts out what the kernel means by refusing to watch a descriptor.
fn unwatchable(error: io::Error) -> io::Result<Added> {
    #[cfg(unix)]
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        // epoll_ctl(2): "The target file fd does not support epoll", a regular file.
        Some(rustix::io::Errno::PERM) => return Ok(Added::AlwaysReady),
        Some(rustix::io::Errno::BADF) => return Ok(Added::Invalid),
        _ => {}
    }
    Err(error)
}

/// Whether a descriptor with this number is open.
#[cfg(unix)]
pub(crate) fn is_open(fd: Descriptor) -> bool {
    borrow(fd).is_some_and(|fd| rustix::io::fcntl_getfd(fd).is_ok())
}

#[cfg(windows)]
pub(crate) fn is_open(fd: Descriptor) -> bool {
    borrow(fd).is_some()
}

/// The descriptor in the form that system calls take; `None` for a number that no descriptor has.
#[cfg(unix)]
fn borrow<'fd>(fd: Descriptor) -> Option<BorrowedFd<'fd>> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not -1. It may have been closed, since the map's keys are numbers, as in Python; then the
    // one system call that it is borrowed for answers EBADF or ENOENT, which the callers handle.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The descriptor in the form that system calls take; `None` for a number that no descriptor has.
#[cfg(windows)]
fn borrow<'fd>(fd: Descriptor) -> Option<BorrowedSocket<'fd>> {
    if fd == Descriptor::MAX {
        return None;
    }
    // SAFETY: not INVALID_SOCKET. It may have been closed, since the map's keys are numbers, as in
    // Python; then the one call that it is borrowed for fails, which the callers handle.
    Some(unsafe { BorrowedSocket::borrow_raw(fd) })
}
