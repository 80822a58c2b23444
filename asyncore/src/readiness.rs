//! The first half of a pass: what the channels want, told to the kernel where it has changed, and what
//! the kernel answers, put into the map's order.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::channel_map::{Channel, ChannelMap, State};
use crate::entries::{Entry, Key};
use crate::error::{Error, Result, bad_descriptor};
use crate::poller::{Added, Descriptor, PollFlags, Poller, is_open};
use crate::trace;

/// An event to deliver.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    key: Key,
    position: usize,
    pub(crate) fd: Descriptor,
    pub(crate) flags: PollFlags,
}

/// A channel that is asked for its interest, and its last answer.
struct Asked {
    key: Key,
    fd: Descriptor,
    wanted: PollFlags,
    /// Whether this answer is not the one before.
    news: bool,
    /// `None` once it has left the map: what another's answer takes out does not live through the wait.
    channel: Option<Rc<dyn Channel>>,
}

/// The channels that were in the map when a pass began, all of which it asks, whatever their answers do
/// to the map.
///
/// It serves one pass after another until something changes ([`State::changed`]): a pass then costs the
/// questions and no more, and only an answer that is not the last one's concerns the kernel.
#[derive(Default)]
pub(crate) struct Roster {
    asked: Vec<Asked>,
    /// That of the map when this was made.
    version: u64,
    /// Whether any answer is not the one before.
    news: bool,
    /// Whether the kernel has been told what all channels wanted in the pass before.
    told: bool,
}

/// What the kernel has been told of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing. Watched for no flags, epoll would still report HUP and ERR in every pass.
    Parked,
    /// To watch it for these flags.
    Polled(PollFlags),
    /// Nothing, since it would refuse: see [`Added::AlwaysReady`].
    AlwaysReady,
}

/// Whose meaning readiness has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Semantics {
    Select,
    Poll,
}

impl Semantics {
    /// What to wait for, given a channel's answers.
    fn wanted(self, readable: bool, writable: bool, accepting: bool) -> PollFlags {
        let mut wanted = PollFlags::empty();
        if readable {
            wanted |= PollFlags::IN | PollFlags::PRI;
        }
        if writable && !accepting {
            wanted |= PollFlags::OUT;
        }
        if writable && self == Semantics::Select {
            wanted |= PollFlags::PRI;
        }
        wanted
    }

    /// What a wait for `wanted` tells of a descriptor in the state `found`. For select, the flags are
    /// its three sets: IN, OUT and PRI.
    fn ready(self, wanted: PollFlags, found: PollFlags) -> PollFlags {
        const ALWAYS: PollFlags = PollFlags::HUP.union(PollFlags::ERR).union(PollFlags::NVAL);

        if wanted.is_empty() {
            return wanted;
        }
        match self {
            Semantics::Poll => found & (wanted | ALWAYS),
            // As Linux's select(2): a hang-up is readable, an error is readable and writable.
            Semantics::Select => {
                let mut sets = found & (PollFlags::IN | PollFlags::OUT | PollFlags::PRI);
                if found.intersects(PollFlags::HUP | PollFlags::ERR) {
                    sets |= PollFlags::IN;
                }
                if found.contains(PollFlags::ERR) {
                    sets |= PollFlags::OUT;
                }
                (sets & wanted) | (found & PollFlags::NVAL)
            }
        }
    }
}

impl ChannelMap {
    /// Asks the channels what to wait for, waits, and returns what is ready. The result wants to be
    /// given back with [`recycle`](ChannelMap::recycle).
    pub(crate) fn wait(
        &self,
        semantics: Semantics,
        timeout: Option<Duration>,
    ) -> Result<Vec<Ready>> {
        // Taken out: a pass that a channel makes before it answers has its own.
        let mut roster = self.0.state.borrow_mut().take_roster();
        roster.ask(semantics);
        if roster.version != self.0.state.borrow().version {
            roster.release();
        }
        let mut ready = self.0.spare_ready.take();
        let waited = self.wait_for(semantics, &mut roster, timeout, &mut ready);
        self.0.state.borrow_mut().keep_roster(&mut roster);
        waited.map(|()| ready)
    }

    pub(crate) fn recycle(&self, mut ready: Vec<Ready>) {
        ready.clear();
        self.0.spare_ready.set(ready);
    }

    /// The channel an event is for, if it is still there.
    pub(crate) fn receiver(&self, event: &Ready) -> Option<Rc<dyn Channel>> {
        if self.quirks().stale_events {
            return self.get(event.fd);
        }
        let state = self.0.state.borrow();
        let entry = state.entries.get(event.key)?;
        Some(Rc::clone(&entry.channel))
    }

    fn wait_for(
        &self,
        semantics: Semantics,
        roster: &mut Roster,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> Result {
        if roster.wants_nothing() && semantics == Semantics::Select {
            // As asyncore since select(2) on Windows refuses empty sets.
            roster.told = false;
            std::thread::sleep(timeout.ok_or_else(|| {
                Error::msg("no channel is readable or writable, and there is no timeout")
            })?);
            return Ok(());
        }

        let state = &mut *self.0.state.borrow_mut();
        if state.poller.is_none() {
            state.poller = Some(
                Poller::new().map_err(|error| Error::from(error).with_context("open a poller"))?,
            );
        }
        let mut timeout = timeout;
        if roster.news || !roster.told || roster.version != state.version {
            let stale_events = self.quirks().stale_events;
            timeout = state.watch(semantics, roster, timeout, stale_events, ready)?;
        }
        if self.quirks().bad_descriptor_ends_loop && state.has_bad_descriptor(roster, ready) {
            if semantics == Semantics::Select {
                return Err(Error::from(bad_descriptor()).with_context("select"));
            }
            timeout = Some(Duration::ZERO);
        }
        state.collect(semantics, timeout, ready)?;
        if roster.version != state.version {
            // Who took a descriptor over while channels were asked is called when its turn would have been.
            ready.sort_by_key(|ready| roster.asked.iter().position(|asked| asked.fd == ready.fd));
        }
        Ok(())
    }
}

impl Roster {
    fn ask(&mut self, semantics: Semantics) {
        let is_traced = trace::is_on();
        self.news = false;
        for asked in &mut self.asked {
            let Some(channel) = &asked.channel else {
                continue;
            };
            let readable = channel.readable();
            let writable = channel.writable();
            // Accepting sockets should not be writable.
            let accepting = writable && channel.accepting();
            let wanted = semantics.wanted(readable, writable, accepting);
            if is_traced {
                let answers = [readable, writable, accepting];
                trace::asked(&**channel, asked.fd, answers, wanted);
            }
            asked.news = asked.wanted != wanted;
            asked.wanted = wanted;
            self.news |= asked.news;
        }
    }

    fn wants_nothing(&self) -> bool {
        self.asked.iter().all(|asked| asked.wanted.is_empty())
    }

    /// Lets go of the channels, but for the one that CPython's loop variable keeps.
    fn release(&mut self) {
        if let Some((_last, others)) = self.asked.split_last_mut() {
            for asked in others {
                asked.channel = None;
            }
        }
    }
}

impl State {
    /// The roster of the last pass, if nothing has changed since, or else a new one.
    fn take_roster(&mut self) -> Roster {
        if self.roster.version != self.version {
            self.renew_roster();
        }
        std::mem::take(&mut self.roster)
    }

    #[cold]
    fn renew_roster(&mut self) {
        // If a pass around this one has a roster, what it knows of the kernel will no longer be true.
        self.changed();
        self.roster.version = self.version;
        self.roster.told = false;
        let asked = self.entries.iter().map(|entry| Asked {
            key: entry.key,
            fd: entry.fd,
            wanted: PollFlags::empty(),
            news: false,
            channel: Some(Rc::clone(&entry.channel)),
        });
        self.roster.asked.extend(asked);
    }

    fn keep_roster(&mut self, roster: &mut Roster) {
        if roster.version == self.version {
            self.roster = std::mem::take(roster);
        }
    }

    /// Ends the life of the roster: channels have come or gone, or the kernel no longer watches one as
    /// it was told.
    pub(crate) fn changed(&mut self) {
        self.version += 1;
        // Whatever has left the map is still held by who took it out: nothing is dropped here.
        self.roster.asked.clear();
    }

    /// Tells the kernel what the channels want, where that has changed. What is ready without asking
    /// the kernel goes to `ready`. Returns how long to wait.
    #[inline(never)] // Most passes do without.
    fn watch(
        &mut self,
        semantics: Semantics,
        roster: &mut Roster,
        mut timeout: Option<Duration>,
        stale_events: bool,
        ready: &mut Vec<Ready>,
    ) -> Result<Option<Duration>> {
        let only_news = roster.told && roster.version == self.version;
        roster.told = false;
        if roster.version != self.version {
            // The roster of a pass inside this one would take what it told the kernel to be still so.
            self.changed();
        }
        let Some(poller) = &self.poller else {
            return Ok(timeout);
        };
        let mut all_watched = true;
        let concerned = |asked: &&Asked| asked.news || !only_news;
        for asked in roster.asked.iter().filter(concerned) {
            let mut key = asked.key;
            if self.entries.get(key).is_none() {
                // It has left the map since it was asked.
                match self.entries.by_fd(asked.fd) {
                    Some(heir) if stale_events => key = heir.key,
                    // Who has its descriptor now wants to be asked, too, before a long wait.
                    Some(_) => timeout = Some(Duration::ZERO),
                    None => {}
                }
            }
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            let mut wanted = asked.wanted;
            if let Some(left) = entry.rest_left() {
                wanted = PollFlags::empty();
                timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
                all_watched = false;
            }
            if entry.watch == Watch::Polled(wanted) {
                continue;
            }
            let found = entry.rewatch(poller, wanted)?;
            let flags = semantics.ready(wanted, found);
            if !flags.is_empty() {
                ready.push(entry.ready(flags));
                timeout = Some(Duration::ZERO);
                all_watched = false;
            }
        }
        roster.told = all_watched;
        Ok(timeout)
    }

    /// Whether CPython would wait for a descriptor that is closed: that of a channel which has left the
    /// map since it was asked, or one that the kernel does not know.
    fn has_bad_descriptor(&self, roster: &Roster, ready: &[Ready]) -> bool {
        let mut gone = roster
            .asked
            .iter()
            .filter(|asked| !asked.wanted.is_empty() && self.entries.get(asked.key).is_none());
        gone.any(|asked| !is_open(asked.fd))
            || ready.iter().any(|ready| ready.flags == PollFlags::NVAL)
    }

    /// Waits, and adds what is ready to `ready`.
    fn collect(
        &mut self,
        semantics: Semantics,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> Result {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            self.wait(semantics, left, ready)?;
            if !ready.is_empty() || timeout == Some(Duration::ZERO) {
                break;
            }
            left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
        }
        ready.sort_unstable_by_key(|ready| ready.position);
        Ok(())
    }

    fn wait(
        &mut self,
        semantics: Semantics,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> Result {
        let Some(poller) = &self.poller else {
            return Ok(());
        };
        let entries = &mut self.entries;
        let mut found = std::mem::take(&mut self.found);
        let (mut stranger, mut changed) = (false, false);
        poller.wait(
            timeout,
            entries.len(),
            |key| entries.unpack(key).map(|entry| entry.fd),
            |key, flags| found.push((key, flags)),
        )?;
        for (key, found) in found.drain(..) {
            let entry = entries.unpack_mut(key);
            let Some((entry, wanted)) = entry.and_then(|entry| match entry.watch {
                Watch::Polled(wanted) => Some((entry, wanted)),
                _ => None,
            }) else {
                stranger = true;
                continue;
            };
            let flags = semantics.ready(wanted, found);
            if !flags.is_empty() {
                ready.push(entry.ready(flags));
            } else if found.contains(PollFlags::HUP) {
                // A hang-up that select(2) does not report to a writer: not to be woken by it again.
                entry.forget(Some(poller));
                changed = true;
            }
        }
        self.found = found;
        if changed {
            self.changed();
        }
        if stranger {
            self.start_over()?;
        }
        Ok(())
    }

    /// Leaves behind a poller that reports what the map does not know. The descriptor was closed while
    /// watched, and a duplicate keeps it alive in the kernel, out of reach.
    #[cold]
    fn start_over(&mut self) -> Result {
        // Without descriptors for another one, the old must do.
        let Ok(poller) = Poller::new() else {
            return Ok(());
        };
        for entry in self.entries.iter_mut() {
            if let Watch::Polled(flags) = entry.watch
                && poller.add(entry.fd, entry.key.pack(), flags)? != Added::Watched
            {
                entry.watch = Watch::Parked;
            }
        }
        self.poller = Some(poller);
        self.changed();
        Ok(())
    }
}

impl Entry {
    fn ready(&self, flags: PollFlags) -> Ready {
        Ready {
            key: self.key,
            position: self.position,
            fd: self.fd,
            flags,
        }
    }

    /// Makes the kernel watch the descriptor for `wanted`, and returns what is known of its state without
    /// a wait.
    fn rewatch(&mut self, poller: &Poller, wanted: PollFlags) -> Result<PollFlags> {
        if wanted.is_empty() {
            self.forget(Some(poller));
            return Ok(PollFlags::empty());
        }
        let key = self.key.pack();
        let added = match self.watch {
            Watch::AlwaysReady => Ok(Added::AlwaysReady),
            Watch::Parked => poller.add(self.fd, key, wanted),
            Watch::Polled(_) => poller.modify(self.fd, key, wanted),
        };
        let added = added.map_err(|error| {
            Error::from(error).with_context(format!("watch descriptor {}", self.fd))
        })?;
        let (watch, found) = match added {
            Added::Watched => (Watch::Polled(wanted), PollFlags::empty()),
            Added::AlwaysReady => (Watch::AlwaysReady, PollFlags::IN | PollFlags::OUT),
            Added::Invalid => (Watch::Parked, PollFlags::NVAL),
        };
        self.watch = watch;
        Ok(found)
    }

    /// Makes the kernel forget the descriptor.
    pub(crate) fn forget(&mut self, poller: Option<&Poller>) {
        let watch = std::mem::replace(&mut self.watch, Watch::Parked);
        if let (Watch::Polled(_), Some(poller)) = (watch, poller) {
            poller.delete(self.fd);
        }
    }
}

// Resting: what a listener does while there are no descriptors to accept with. It stays readable, and
// would be called in every pass for nothing.
impl ChannelMap {
    /// Leaves the channel of a descriptor alone until another has left the map, or for a second, as
    /// asyncio does.
    pub(crate) fn rest(&self, fd: Descriptor) {
        const REST: Duration = Duration::from_secs(1);

        let state = &mut *self.0.state.borrow_mut();
        if let Some(entry) = state.entries.by_fd_mut(fd) {
            entry.rests_until = Some(Instant::now() + REST);
            state.someone_rests = true;
            state.changed();
        }
    }
}

impl State {
    pub(crate) fn end_rests(&mut self) {
        if std::mem::take(&mut self.someone_rests) {
            for entry in self.entries.iter_mut() {
                entry.rests_until = None;
            }
        }
    }
}

impl Entry {
    fn rest_left(&mut self) -> Option<Duration> {
        let left = self.rests_until?.checked_duration_since(Instant::now());
        if left.is_none() {
            self.rests_until = None;
        }
        left
    }
}
