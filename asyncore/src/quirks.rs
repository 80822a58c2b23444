//! The defects of CPython's `asyncore` and `asynchat`, and which of them a map reproduces.

/// Which defects of CPython a [`ChannelMap`](crate::ChannelMap) reproduces. One value per map.
///
/// Every field names one defect. `true` is what CPython 3.11 does; `false` is the repair. The
/// [default](Quirks::default) repairs all of them, because each loses data, reaches the wrong channel
/// or takes the server down; [`Quirks::CPYTHON`] is bug for bug, for comparing the two side by side.
///
/// What a program sees either way stands in [the page of differences](crate::differences), with what is odd but
/// kept, and what differs whatever the setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// An event is delivered to whatever channel holds the descriptor by then
    /// ([bpo-30931](https://bugs.python.org/issue30931)).
    ///
    /// Within one pass a handler may close a channel and open another, which gets the same descriptor
    /// from the system; CPython then hands the new channel the old one's event. So does it, by the answers of
    /// the old one, when that happens while channels are asked what they want; without the quirk the new
    /// one is asked itself, in the next pass, which follows at once.
    pub stale_events: bool,

    /// `poll2` treats "input waits, and the peer has hung up" as a close.
    ///
    /// `readwrite` calls `handle_read_event` once and `handle_close` right after it, so that whatever
    /// one `recv` did not take is lost. Repaired, the hang-up is left out while input waits that the channel
    /// wants: `recv` finds the end of the stream and calls `handle_close` then, as it does under `poll`. A
    /// channel that is not `readable()` is closed at once either way.
    pub hangup_drops_input: bool,

    /// `select` refuses the whole set when one descriptor in it is closed, and the loop ends with
    /// `EBADF` ([bpo-30994](https://bugs.python.org/issue30994)).
    ///
    /// Happens when `readable()` or `writable()` of one channel closes another. Repaired, a channel
    /// that left the map while the channels were asked is not waited for, and one whose descriptor is
    /// closed gets `handle_close`, which is what `poll2` does with it.
    pub bad_descriptor_ends_loop: bool,

    /// `accept` raises when descriptors or buffers are exhausted (`EMFILE`, `ENFILE`, `ENOBUFS`,
    /// `ENOMEM`), and `handle_error` closes the listener.
    ///
    /// Repaired, `accept` logs the error and returns `None`, and the map lets the listener rest until a
    /// channel leaves the map or a second has passed. The connection waits in the backlog meanwhile.
    pub exhaustion_closes_listener: bool,

    /// A `recv` that would block ends in `handle_error`, which closes the channel.
    ///
    /// A descriptor can be reported ready and have nothing to read, and a handler may read once more
    /// than was announced. Repaired, the error still leaves `recv`, so that the handler stops there,
    /// but the loop takes it as the end of the event.
    pub would_block_closes: bool,

    /// A producer whose truth value is false, as that of an object with a `__len__` that returns 0, is
    /// taken out of the queue before it is asked for more.
    ///
    /// What it makes then is sent, but it is not asked again; and where it makes nothing, the entry after
    /// it is taken out in its place, or there is an `IndexError` if there is none. Only the crate
    /// `asynchat` has producers.
    pub falsy_producer_ends: bool,
}

impl Quirks {
    /// Bug for bug what CPython 3.11 does.
    pub const CPYTHON: Quirks = Quirks {
        stale_events: true,
        hangup_drops_input: true,
        bad_descriptor_ends_loop: true,
        exhaustion_closes_listener: true,
        would_block_closes: true,
        falsy_producer_ends: true,
    };
}
