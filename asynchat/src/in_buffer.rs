//! What has been received and not been collected yet: `ac_in_buffer`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::terminator::{Needle, Searched};

/// The bytes from `start` on of a vector. What is collected is not cut off but passed by, so that no byte is
/// moved for it; Python makes a new buffer for each line.
#[derive(Default)]
pub(crate) struct InBuffer {
    // Shared with a `View` while callbacks run: they find the buffer whole, and may replace it.
    bytes: RefCell<Rc<Vec<u8>>>,
    start: Cell<usize>,
    /// Counts the changes of `bytes`: cheaper to compare, once for each line, than what it counts.
    version: Cell<usize>,
    /// How far the buffer has been searched for `needle`.
    searched: Cell<Searched>,
    needle: RefCell<Option<Needle>>,
}

/// The buffer as it was, for reading while callbacks may change it.
pub(crate) struct View {
    bytes: Rc<Vec<u8>>,
    start: usize,
    version: usize,
}

impl View {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl InBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.borrow().len() - self.start.get()
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.bytes.borrow()[self.start.get()..].to_vec()
    }

    pub(crate) fn set(&self, bytes: Vec<u8>) {
        self.start.set(0);
        self.searched.take();
        self.changed();
        self.bytes.replace(Rc::new(bytes));
    }

    pub(crate) fn view(&self) -> View {
        View {
            bytes: Rc::clone(&self.bytes.borrow()),
            start: self.start.get(),
            version: self.version.get(),
        }
    }

    /// Whether the buffer is still what a view of it, which must still be there, showed.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        std::ptr::eq(&self.bytes.borrow()[self.start.get()..], shown)
    }

    /// Makes `view` what the buffer is now.
    pub(crate) fn refresh(&self, view: &mut View) {
        if view.version == self.version.get() {
            view.start = self.start.get();
        } else {
            *view = self.view();
        }
    }

    /// Adds what was received: `self.ac_in_buffer = self.ac_in_buffer + data`. In total no byte is moved more
    /// than a few times, however the stream is cut.
    pub(crate) fn append(&self, data: Vec<u8>) {
        self.changed();
        let (len, start) = (self.len(), self.start.get());
        let mut bytes = self.bytes.borrow_mut();
        match Rc::get_mut(&mut bytes) {
            Some(bytes) if len == 0 => *bytes = data,
            Some(bytes) if len >= data.len() => {
                if start <= len {
                    bytes.extend(data);
                    return;
                }
                bytes.drain(..start);
                bytes.extend(data);
            }
            _ => {
                let mut whole = Vec::with_capacity(len + data.len());
                whole.extend_from_slice(&bytes[start..]);
                whole.extend(data);
                *bytes = Rc::new(whole);
            }
        }
        self.start.set(0);
    }

    fn changed(&self) {
        self.version.set(self.version.get().wrapping_add(1));
    }

    /// Gives the memory back that is not needed for what is left.
    pub(crate) fn release(&self) {
        let (len, start) = (self.len(), self.start.get());
        if self.searched.get() == Searched::default() {
            let needle = &mut *self.needle.borrow_mut();
            // The small ones are shared, and soon needed again.
            needle.take_if(|needle| needle.len() > 64);
        }
        let mut bytes = self.bytes.borrow_mut();
        if let Some(bytes) = Rc::get_mut(&mut bytes)
            && bytes.capacity() > 2 * len
        {
            *bytes = bytes[start..].to_vec();
            self.start.set(0);
            self.changed();
        }
    }

    /// `self.ac_in_buffer = self.ac_in_buffer[count:]`, where a negative count is one from the end.
    pub(crate) fn skip(&self, count: i64) {
        let skipped = slice_index(self.len(), count);
        self.start.set(self.start.get() + skipped);
        let Searched { at, matched } = self.searched.get();
        // What is left of the search, unless its last match began before what is left.
        self.searched.set(match at.checked_sub(skipped) {
            Some(at) if at >= matched => Searched { at, matched },
            _ => Searched::default(),
        });
    }

    /// `self.ac_in_buffer = b''`
    pub(crate) fn clear(&self) {
        self.skip(i64::MAX);
    }

    /// `self.ac_in_buffer = self.ac_in_buffer[-count:]`
    pub(crate) fn keep_last(&self, count: usize) {
        self.skip(self.len().saturating_sub(count) as i64);
    }

    /// How far the buffer has been searched for `needle`.
    pub(crate) fn searched(&self, needle: &Needle) -> Searched {
        let searched = self.searched.get();
        if searched == Searched::default() {
            return searched;
        }
        match &*self.needle.borrow() {
            Some(known) if known.ptr_eq(needle) => searched,
            _ => Searched::default(),
        }
    }

    /// Remembers how far the buffer has been searched for `needle`.
    pub(crate) fn set_searched(&self, needle: &Needle, searched: Searched) {
        self.searched.set(searched);
        let mut known = self.needle.borrow_mut();
        if !matches!(&*known, Some(known) if known.ptr_eq(needle)) {
            *known = Some(needle.clone());
        }
    }
}

/// The index that Python's slices make of a number.
pub(crate) fn slice_index(len: usize, index: i64) -> usize {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 {
        len.saturating_sub(distance)
    } else {
        len.min(distance)
    }
}
