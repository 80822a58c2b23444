//! Class `fifo`: the queue of producers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

/// A queue: class `asynchat.fifo`, which Python 2.7 to 3.5 had, and the `deque` that
/// [`AsyncChatBase::producer_fifo`](crate::AsyncChatBase::producer_fifo) is in all of them.
///
/// It may be changed at any time, by whoever holds a reference. What is looked at is a clone of the entry,
/// which for those of a channel is cheap. (A `Clone` or `Debug` of your own type must not use the queue that
/// it is called for.)
///
/// ```
/// use asynchat::Fifo;
///
/// let fifo = Fifo::from_iter(["a", "b"]);
/// fifo.push("c");
/// assert_eq!(fifo.first(), Some("a"));
/// assert_eq!(fifo.pop(), Some("a"));
/// assert_eq!(fifo.to_vec(), ["b", "c"]);
/// ```
#[doc(alias = "asynchat.fifo")]
#[doc(alias = "deque")]
pub struct Fifo<T>(RefCell<VecDeque<T>>);

impl<T> Fifo<T> {
    /// An empty queue.
    pub fn new() -> Fifo<T> {
        Fifo::default()
    }

    /// How many entries there are: `len(fifo)`.
    #[doc(alias = "__len__")]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is none: `fifo.is_empty()`.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Adds an entry at the end: `fifo.push(entry)`, `deque.append(entry)`.
    #[doc(alias = "append")]
    pub fn push(&self, entry: impl Into<T>) {
        let entry = entry.into();
        self.0.borrow_mut().push_back(entry);
    }

    /// Adds an entry before the first: `deque.appendleft(entry)`.
    #[doc(alias = "appendleft")]
    pub fn push_front(&self, entry: impl Into<T>) {
        let entry = entry.into();
        self.0.borrow_mut().push_front(entry);
    }

    /// Takes the first entry out: `deque.popleft()`, and `fifo.pop()`, which returns `(0, None)` where
    /// this returns `None`.
    #[doc(alias = "popleft")]
    pub fn pop(&self) -> Option<T> {
        self.take_out(VecDeque::pop_front)
    }

    /// Takes the last entry out: `deque.pop()`.
    pub fn pop_back(&self) -> Option<T> {
        self.take_out(VecDeque::pop_back)
    }

    /// Takes an entry out: `del deque[index]`.
    #[doc(alias = "__delitem__")]
    pub fn remove(&self, index: usize) -> Option<T> {
        self.take_out(|entries| entries.remove(index))
    }

    /// Puts an entry in the place of another, which is returned: `deque[index] = entry`.
    ///
    /// # Errors
    ///
    /// The new entry back, if there is none to replace.
    #[doc(alias = "__setitem__")]
    pub fn replace(&self, index: usize, entry: impl Into<T>) -> Result<T, T> {
        let entry = entry.into();
        match self.0.borrow_mut().get_mut(index) {
            Some(old) => Ok(std::mem::replace(old, entry)),
            None => Err(entry),
        }
    }

    /// Gives memory back, too: an idle channel has little in its queue.
    fn take_out(&self, take: impl FnOnce(&mut VecDeque<T>) -> Option<T>) -> Option<T> {
        const FEW: usize = 4;

        let mut entries = self.0.borrow_mut();
        let taken = take(&mut entries);
        if entries.capacity() > FEW && entries.len() < entries.capacity() / 4 {
            let half = entries.capacity() / 2;
            entries.shrink_to(half);
        }
        taken
    }

    /// Takes all entries out: `deque.clear()`.
    pub fn clear(&self) {
        // Dropped outside of the borrow: what goes may use the queue.
        drop(self.0.take());
    }
}

impl<T: Clone> Fifo<T> {
    /// The first entry: `fifo.first()`, `deque[0]`.
    pub fn first(&self) -> Option<T> {
        self.0.borrow().front().cloned()
    }

    /// An entry: `deque[index]`.
    #[doc(alias = "__getitem__")]
    pub fn get(&self, index: usize) -> Option<T> {
        self.0.borrow().get(index).cloned()
    }

    /// The last entry: `deque[-1]`.
    pub fn last(&self) -> Option<T> {
        self.0.borrow().back().cloned()
    }

    /// All entries: `list(fifo)`.
    pub fn to_vec(&self) -> Vec<T> {
        self.0.borrow().iter().cloned().collect()
    }
}

impl<T> Default for Fifo<T> {
    fn default() -> Fifo<T> {
        Fifo(RefCell::default())
    }
}

impl<T> FromIterator<T> for Fifo<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Fifo<T> {
        Fifo(RefCell::new(entries.into_iter().collect()))
    }
}

impl<T: fmt::Debug> fmt::Debug for Fifo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.borrow().iter()).finish()
    }
}
