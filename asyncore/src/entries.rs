//! The dictionary behind the channel map: entries by descriptor, in the order of insertion.
//!
//! An entry also has a [`Key`], by which the kernel knows it. It stays the same as long as the entry is
//! there, is found without a search, and is not mistaken for that of an entry that came later.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use crate::channel_map::Channel;
use crate::poller::Descriptor;
use crate::readiness::Watch;

/// What the map knows of a channel.
pub(crate) struct Entry {
    pub(crate) fd: Descriptor,
    pub(crate) channel: Rc<dyn Channel>,
    pub(crate) key: Key,
    /// Grows with the order of insertion.
    pub(crate) position: usize,
    /// What the kernel has been told.
    pub(crate) watch: Watch,
    /// See `ChannelMap::rest`.
    pub(crate) rests_until: Option<Instant>,
}

/// The place of an entry, and which of those that held the place one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// How many bits of a number that the kernel keeps are the slot. The rest is as much of the generation as
/// there is room for.
const SLOT_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };

impl Key {
    /// The key as the number that the kernel keeps.
    pub(crate) fn pack(self) -> usize {
        (self.generation as usize) << SLOT_BITS | self.slot as usize
    }
}

#[derive(Default)]
pub(crate) struct Entries {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// The slots in the order of insertion. What leaves makes a gap.
    order: Vec<u32>,
    by_fd: HashMap<Descriptor, u32>,
    last_generation: u32,
}

const GAP: u32 = u32::MAX;

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.by_fd.len()
    }

    /// The entries, in the order of insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let slots = self.order.iter().filter(|&&slot| slot != GAP);
        slots.filter_map(|&slot| self.slots[slot as usize].as_ref())
    }

    /// The entries, in no order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Entry> {
        let entry = self.slots.get(key.slot as usize)?.as_ref()?;
        (entry.key == key).then_some(entry)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let entry = self.slots.get_mut(key.slot as usize)?.as_mut()?;
        (entry.key == key).then_some(entry)
    }

    /// The entry whose key was packed to `packed`.
    pub(crate) fn unpack(&self, packed: usize) -> Option<&Entry> {
        let slot = packed & ((1 << SLOT_BITS) - 1);
        let entry = self.slots.get(slot)?.as_ref()?;
        (entry.key.pack() == packed).then_some(entry)
    }

    pub(crate) fn unpack_mut(&mut self, packed: usize) -> Option<&mut Entry> {
        let key = self.unpack(packed)?.key;
        self.get_mut(key)
    }

    pub(crate) fn by_fd(&self, fd: Descriptor) -> Option<&Entry> {
        self.slots[*self.by_fd.get(&fd)? as usize].as_ref()
    }

    pub(crate) fn by_fd_mut(&mut self, fd: Descriptor) -> Option<&mut Entry> {
        self.slots[*self.by_fd.get(&fd)? as usize].as_mut()
    }

    /// Adds an entry at the end. There must be none for the descriptor.
    pub(crate) fn push(&mut self, fd: Descriptor, channel: Rc<dyn Channel>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.by_fd.insert(fd, slot);
        let entry = Entry {
            fd,
            channel,
            key: self.next_key(slot),
            position: self.order.len(),
            watch: Watch::Parked,
            rests_until: None,
        };
        self.order.push(slot);
        self.slots[slot as usize] = Some(entry);
    }

    /// Gives an entry another key, for it has another channel now.
    pub(crate) fn renew(&mut self, fd: Descriptor) {
        if let Some(slot) = self.by_fd.get(&fd).copied() {
            let key = self.next_key(slot);
            if let Some(entry) = &mut self.slots[slot as usize] {
                entry.key = key;
            }
        }
    }

    pub(crate) fn remove(&mut self, fd: Descriptor) -> Option<Entry> {
        let slot = self.by_fd.remove(&fd)?;
        let entry = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.order[entry.position] = GAP;
        if self.order.len() > 2 * self.len() + 32 {
            self.close_gaps();
        }
        Some(entry)
    }

    /// Takes all entries out.
    pub(crate) fn take(&mut self) -> Entries {
        let fresh = Entries {
            last_generation: self.last_generation,
            ..Entries::default()
        };
        std::mem::replace(self, fresh)
    }

    fn next_key(&mut self, slot: u32) -> Key {
        self.last_generation = self.last_generation.wrapping_add(1);
        Key {
            slot,
            generation: self.last_generation,
        }
    }

    fn close_gaps(&mut self) {
        self.order.retain(|&slot| slot != GAP);
        for (position, &slot) in self.order.iter().enumerate() {
            if let Some(entry) = &mut self.slots[slot as usize] {
                entry.position = position;
            }
        }
    }
}
