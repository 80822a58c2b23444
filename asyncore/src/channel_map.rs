//! The channel map: which object stands for which descriptor, in the order in which they came.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::rc::{Rc, Weak};

use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::poller::{Descriptor, PollFlags, Poller};
use crate::quirks::Quirks;
use crate::readiness::{Ready, Roster, Watch};
use crate::trace;

/// What the loop calls on an object in the map.
///
/// Every [`Dispatcher`](crate::Dispatcher) is a channel. Implement it by hand for an object that is
/// none: Python puts any object with these methods into the map.
///
/// The contract between loop, map and channel:
///
/// 1. Before it waits, a pass asks every channel in the map `readable()` and `writable()`, in the order
///    in which they were put in, and, if writable, `accepting()`.
/// 2. After the wait it calls the `handle_…_event` methods of those that are ready, in the same order,
///    [`poll`](crate::poll) first all reads, then all writes, then all exceptions,
///    [`poll2`](crate::poll2) channel by channel. A channel that has left the map is not called.
/// 3. An error that a `handle_…_event` returns, or a panic in it, goes to the same channel's
///    `handle_error`; what `handle_error` returns goes to the caller of the loop.
/// 4. No borrow of the map's or the loop's is held during any of these calls: a channel may close
///    itself and others, change the map, and run a loop of its own.
///
/// The methods have the names of `Dispatcher`'s. Where both traits are imported, a call on a dispatcher
/// is ambiguous, so import only the one that you call methods of on concrete types: neither
/// `impl asyncore::Channel for …` nor a call on a `dyn Channel` needs an import.
///
/// ```
/// use std::rc::Rc;
/// use asyncore::{ChannelMap, Result};
///
/// struct Ticker;
///
/// impl asyncore::Channel for Ticker {
///     fn readable(&self) -> bool { true }
///     fn writable(&self) -> bool { false }
///     fn handle_read_event(&self) -> Result { println!("tick"); Ok(()) }
///     fn handle_write_event(&self) -> Result { Ok(()) }
///     fn handle_expt_event(&self) -> Result { Ok(()) }
///     fn handle_close(&self) -> Result { Ok(()) }
///     fn close(&self) -> Result { Ok(()) }
/// }
///
/// let map = ChannelMap::new();
/// map.insert(42, Rc::new(Ticker));
/// assert!(map.get(42).unwrap().is::<Ticker>());
/// ```
pub trait Channel: Any {
    /// Whether the channel wants to hear of input.
    fn readable(&self) -> bool;

    /// Whether the channel wants to hear that it can write.
    fn writable(&self) -> bool;

    /// Whether the channel listens; then it is not waited on for writing.
    fn accepting(&self) -> bool {
        false
    }

    /// Input waits, or its end, or a connection to accept.
    fn handle_read_event(&self) -> Result;

    /// Output is possible, or a connection attempt has ended.
    fn handle_write_event(&self) -> Result;

    /// Out-of-band data waits.
    fn handle_expt_event(&self) -> Result;

    /// The descriptor has hung up, has an error, or is closed. Called by [`poll2`](crate::poll2).
    fn handle_close(&self) -> Result;

    /// One of the other methods failed with `error`. An `Err` from here ends the loop, and the error is
    /// returned unless this is overridden.
    fn handle_error(&self, error: Error) -> Result {
        Err(error)
    }

    /// Called by [`close_all`](crate::close_all).
    fn close(&self) -> Result;

    /// What the channel is called in the trace ([`how_the_loop_works`](crate::how_the_loop_works)): the
    /// name of its class, and for a dispatcher its descriptor, as in `EchoHandler(fd 5)`.
    fn label(&self) -> String {
        trace::label(std::any::type_name::<Self>(), None)
    }
}

impl fmt::Debug for dyn Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl dyn Channel {
    /// Whether the channel is a `T`: Python's `type(channel) is T`. The struct of a class derived from
    /// another is a type of its own, so that `isinstance` takes one such question for each class.
    #[doc(alias = "isinstance")]
    pub fn is<T: Any>(&self) -> bool {
        let object: &dyn Any = self;
        object.is::<T>()
    }

    /// The channel as the `T` that it is.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        let object: &dyn Any = self;
        object.downcast_ref()
    }

    /// A handle to the channel as the `T` that it is.
    ///
    /// # Errors
    ///
    /// The same handle back, if it is no `T`.
    pub fn downcast<T: Any>(self: Rc<Self>) -> std::result::Result<Rc<T>, Rc<Self>> {
        if !self.is::<T>() {
            return Err(self);
        }
        let object: Rc<dyn Any> = self;
        Ok(object.downcast().expect("its type has just been checked"))
    }
}

/// The channels of a loop by their descriptors: Python's `socket_map` dictionary.
///
/// A handle; clones are the same map. Like a `dict` it keeps the order of insertion, and replacing the
/// channel of a descriptor keeps its place. It may be changed at any time, from inside handlers and while
/// being iterated: [`values`](ChannelMap::values) and its kin are what was in the map when they were
/// called, as Python programs write `list(map.values())`.
///
/// The map owns its channels; they refer to the map weakly. A channel is released when it leaves the
/// map and no other handle to it is left, and all of them when the last handle to the map goes.
#[derive(Clone)]
pub struct ChannelMap(pub(crate) Rc<Shared>);

/// What a dispatcher keeps of its map.
pub(crate) type WeakMap = Weak<Shared>;

pub(crate) struct Shared {
    quirks: Cell<Quirks>,
    pub(crate) state: RefCell<State>,
    /// Only to keep the buffer: a pass inside another one's handler finds it taken.
    pub(crate) spare_ready: Cell<Vec<Ready>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entries: Entries,
    /// Counts the changes that end the life of the roster.
    pub(crate) version: u64,
    pub(crate) roster: Roster,
    /// Opened by the first pass.
    pub(crate) poller: Option<Poller>,
    /// What the poller reported; only to keep the buffer.
    pub(crate) found: Vec<(usize, PollFlags)>,
    /// Whether any entry has `rests_until` set.
    pub(crate) someone_rests: bool,
}

impl ChannelMap {
    /// An empty map with the default [`Quirks`].
    pub fn new() -> ChannelMap {
        ChannelMap::with_quirks(Quirks::default())
    }

    /// An empty map that reproduces CPython's defects as `quirks` says.
    pub fn with_quirks(quirks: Quirks) -> ChannelMap {
        let map = ChannelMap(Rc::new(Shared {
            quirks: Cell::new(quirks),
            state: RefCell::default(),
            spare_ready: Cell::default(),
        }));
        let _ = MAPS.try_with(|maps| {
            let maps = &mut *maps.borrow_mut();
            maps.retain(|map| map.strong_count() > 0);
            maps.push(map.downgrade());
        });
        map
    }

    /// Which of CPython's defects the map reproduces.
    pub fn quirks(&self) -> Quirks {
        self.0.quirks.get()
    }

    /// Changes which of CPython's defects the map reproduces, as for the default map:
    /// `socket_map().set_quirks(Quirks::CPYTHON)`.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.0.quirks.set(quirks);
    }

    /// The channel of a descriptor: `map.get(fd)`.
    pub fn get(&self, fd: Descriptor) -> Option<Rc<dyn Channel>> {
        let state = self.0.state.borrow();
        state
            .entries
            .by_fd(fd)
            .map(|entry| Rc::clone(&entry.channel))
    }

    /// Whether a descriptor has a channel: `fd in map`.
    pub fn contains(&self, fd: Descriptor) -> bool {
        self.0.state.borrow().entries.by_fd(fd).is_some()
    }

    /// Puts a channel in: `map[fd] = channel`. Returns the one that was there.
    ///
    /// Any number will do as long as no loop runs over it. A descriptor is first waited on in the next
    /// pass.
    pub fn insert(&self, fd: Descriptor, channel: Rc<dyn Channel>) -> Option<Rc<dyn Channel>> {
        let state = &mut *self.0.state.borrow_mut();
        state.changed();
        let State {
            entries, poller, ..
        } = state;
        let Some(entry) = entries.by_fd_mut(fd) else {
            entries.push(fd, channel);
            return None;
        };
        // The number may be that of another socket by now.
        entry.forget(poller.as_ref());
        let old = mem::replace(&mut entry.channel, channel);
        // Most often it is the same channel, told once more; then the events of the pass stay its.
        if !Rc::ptr_eq(&old, &entry.channel) {
            entry.rests_until = None;
            entries.renew(fd);
        }
        Some(old)
    }

    /// Takes a channel out: `del map[fd]`. Its descriptor is no longer waited on, and no event of the
    /// current pass reaches it.
    pub fn remove(&self, fd: Descriptor) -> Option<Rc<dyn Channel>> {
        let state = &mut *self.0.state.borrow_mut();
        let mut entry = state.entries.remove(fd)?;
        entry.forget(state.poller.as_ref());
        state.changed();
        state.end_rests();
        Some(entry.channel)
    }

    /// Takes all channels out, without closing them: `map.clear()`.
    pub fn clear(&self) {
        let mut state = self.0.state.borrow_mut();
        let mut entries = state.entries.take();
        for entry in entries.iter_mut() {
            entry.forget(state.poller.as_ref());
        }
        state.changed();
        drop(state);
        // Outside of the borrow: a channel that is dropped may use the map.
        drop(entries);
    }

    /// How many channels there are: `len(map)`.
    pub fn len(&self) -> usize {
        self.0.state.borrow().entries.len()
    }

    /// Whether there is none; then the loop ends.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The descriptors, in the order of insertion: `list(map)`.
    pub fn keys(&self) -> Vec<Descriptor> {
        let state = self.0.state.borrow();
        state.entries.iter().map(|entry| entry.fd).collect()
    }

    /// The channels, in the order of insertion: `list(map.values())`.
    ///
    /// ```
    /// # use asyncore::{Dispatcher, DispatcherBase, Result, socket_map};
    /// # struct Connection { base: DispatcherBase }
    /// # impl Dispatcher for Connection {
    /// #     type Base = DispatcherBase;
    /// #     fn base(&self) -> &DispatcherBase { &self.base }
    /// # }
    /// // for channel in list(asyncore.socket_map.values()):
    /// //     if isinstance(channel, Connection):
    /// //         channel.close()
    /// for channel in socket_map().values() {
    ///     if let Ok(connection) = channel.downcast::<Connection>() {
    ///         connection.close()?;
    ///     }
    /// }
    /// # Ok::<(), asyncore::Error>(())
    /// ```
    pub fn values(&self) -> Vec<Rc<dyn Channel>> {
        let state = self.0.state.borrow();
        let entries = state.entries.iter();
        entries.map(|entry| Rc::clone(&entry.channel)).collect()
    }

    /// Descriptors and channels, in the order of insertion: `list(map.items())`.
    pub fn items(&self) -> Vec<(Descriptor, Rc<dyn Channel>)> {
        let state = self.0.state.borrow();
        let entries = state.entries.iter();
        entries
            .map(|entry| (entry.fd, Rc::clone(&entry.channel)))
            .collect()
    }

    /// Whether both are handles to the same map.
    pub fn ptr_eq(&self, other: &ChannelMap) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn downgrade(&self) -> WeakMap {
        Rc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(map: &WeakMap) -> Option<ChannelMap> {
        map.upgrade().map(ChannelMap)
    }
}

impl Default for ChannelMap {
    fn default() -> ChannelMap {
        ChannelMap::new()
    }
}

impl fmt::Debug for ChannelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelMap")
            .field("keys", &self.keys())
            .field("quirks", &self.quirks())
            .finish_non_exhaustive()
    }
}

thread_local! {
    static SOCKET_MAP: RefCell<ChannelMap> = RefCell::default();
    /// All maps of the thread.
    static MAPS: RefCell<Vec<WeakMap>> = const { RefCell::new(Vec::new()) };
}

/// Tells the maps that a socket has closed its descriptor. One that is still in a map, because its socket
/// was closed or dropped without `del_channel`, is looked at in the next pass: the kernel does not tell.
pub(crate) fn descriptor_closed(fd: Descriptor) {
    let _ = MAPS.try_with(|maps| {
        for map in maps.borrow().iter().filter_map(Weak::upgrade) {
            let state = &mut *map.state.borrow_mut();
            if let Some(entry) = state.entries.by_fd_mut(fd) {
                // The kernel has forgotten it; what it says next is what counts.
                entry.watch = Watch::Parked;
                state.changed();
            }
        }
    });
}

/// The map that is used where none is named: Python's `asyncore.socket_map`. Every thread has its own.
///
/// In Python the threads of a process share one; but a channel belongs to the thread that made it, and
/// a loop that serves another thread's channels is a data race there, too.
#[doc(alias = "asyncore.socket_map")]
pub fn socket_map() -> ChannelMap {
    // At the end of a thread the map goes before some of its users may.
    SOCKET_MAP
        .try_with(|map| map.borrow().clone())
        .unwrap_or_default()
}

/// Makes `map` the default map of this thread, and returns the one that was: Python's
/// `asyncore.socket_map = map`. Channels keep the map they have.
pub fn set_socket_map(map: ChannelMap) -> ChannelMap {
    SOCKET_MAP
        .try_with(|current| current.replace(map))
        .unwrap_or_default()
}
