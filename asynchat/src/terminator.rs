//! Terminators: where one piece of the input ends, and how that place is found.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;
use memchr::memmem::Finder;

/// What ends a piece of the input: [`set_terminator`](crate::AsyncChat::set_terminator).
///
/// Made from bytes or text (`b"\r\n"`, `"\r\n"`), from a number of bytes, and from `None`. Cheap to clone.
///
/// ```
/// use asynchat::Terminator;
///
/// let terminator = Terminator::from(b"\r\n");
/// assert!(matches!(&terminator, Terminator::Bytes(bytes) if **bytes == *b"\r\n"));
/// assert_eq!(Terminator::from(5), Terminator::Count(5));
/// assert_eq!(Terminator::from(None), Terminator::None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Terminator {
    /// None: the input is collected as it comes.
    #[default]
    None,
    /// So many bytes. 0 is none.
    Count(i64),
    /// These bytes. No bytes are none.
    Bytes(Needle),
}

impl From<Needle> for Terminator {
    fn from(needle: Needle) -> Terminator {
        Terminator::Bytes(needle)
    }
}

/// Implements `From` for types of bytes, of text, and of numbers.
macro_rules! from {
    (bytes: $($type:ty),*) => {$(
        impl From<$type> for Terminator {
            fn from(bytes: $type) -> Terminator {
                Needle::new(&bytes, false).into()
            }
        }
    )*};
    (text: $($type:ty),*) => {$(
        impl From<$type> for Terminator {
            fn from(text: $type) -> Terminator {
                Needle::new(text.as_bytes(), true).into()
            }
        }
    )*};
    (count: $($type:ty),*) => {$(
        impl From<$type> for Terminator {
            fn from(count: $type) -> Terminator {
                Terminator::Count(count.into())
            }
        }
    )*};
}

from!(bytes: Bytes, Vec<u8>, &Vec<u8>, &[u8]);
from!(text: String, &String, &str);
from!(count: i8, i16, i32, i64, u8, u16, u32);

impl<const N: usize> From<&[u8; N]> for Terminator {
    fn from(bytes: &[u8; N]) -> Terminator {
        bytes.as_slice().into()
    }
}

impl From<u64> for Terminator {
    /// No stream is longer than `i64::MAX`.
    fn from(count: u64) -> Terminator {
        Terminator::Count(count.try_into().unwrap_or(i64::MAX))
    }
}

impl From<usize> for Terminator {
    fn from(count: usize) -> Terminator {
        Terminator::from(count as u64)
    }
}

impl From<Option<Infallible>> for Terminator {
    fn from(_none: Option<Infallible>) -> Terminator {
        Terminator::None
    }
}

/// Bytes to be found in the input, with what has been prepared for finding them. Dereferences to the
/// bytes; clones share what is prepared.
#[derive(Clone)]
pub struct Needle(Rc<Prepared>);

struct Prepared {
    bytes: Box<[u8]>,
    is_text: bool,
    finder: OnceCell<Finder<'static>>,
    fallback: OnceCell<Box<[usize]>>,
}

thread_local! {
    /// The needles made last. The channels of a program have the same few, set again and again.
    static RECENT: RefCell<Vec<Needle>> = const { RefCell::new(Vec::new()) };
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Searched {
    /// So many bytes do not have the needle in them,
    pub(crate) at: usize,
    /// but so many at their end may be its beginning.
    pub(crate) matched: usize,
}

/// What [`Needle::search`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The needle, from this index on.
    Whole(usize),
    /// So many bytes at the end that may be its beginning. 0 for none.
    Prefix(usize),
}

impl Needle {
    pub(crate) fn new(bytes: &[u8], is_text: bool) -> Needle {
        RECENT
            .try_with(|recent| Needle::find_or_make(&mut recent.borrow_mut(), bytes, is_text))
            .unwrap_or_else(|_| Needle::make(bytes, is_text))
    }

    fn find_or_make(recent: &mut Vec<Needle>, bytes: &[u8], is_text: bool) -> Needle {
        const MOST: usize = 8;
        const LONGEST: usize = 64;

        let same = |needle: &Needle| *needle.0.bytes == *bytes && needle.0.is_text == is_text;
        if let Some(at) = recent.iter().position(same) {
            recent[..=at].rotate_right(1);
            return recent[0].clone();
        }
        let needle = Needle::make(bytes, is_text);
        if bytes.len() <= LONGEST {
            recent.truncate(MOST - 1);
            recent.insert(0, needle.clone());
        }
        needle
    }

    fn make(bytes: &[u8], is_text: bool) -> Needle {
        Needle(Rc::new(Prepared {
            bytes: bytes.into(),
            is_text,
            finder: OnceCell::new(),
            fallback: OnceCell::new(),
        }))
    }

    /// The text that the bytes are the UTF-8 of, if it was text that the needle was made from.
    pub(crate) fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self).ok();
        text.filter(|_| self.0.is_text)
    }

    pub(crate) fn ptr_eq(&self, other: &Needle) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Searches a haystack from where an earlier search of its beginning ended. Takes time in proportion
    /// to the rest of the haystack, and neither to the needle nor to what was searched before.
    ///
    /// What goes on from a beginning is followed byte by byte, as Knuth, Morris and Pratt do. Where there
    /// is none, which is nearly always, `memchr` goes over sixteen or more bytes at a time.
    pub(crate) fn search(&self, haystack: &[u8], searched: Searched) -> Found {
        let Searched {
            mut at,
            mut matched,
        } = searched;
        while matched > 0 {
            let Some(&byte) = haystack.get(at) else {
                return Found::Prefix(matched);
            };
            at += 1;
            matched = self.advance(matched, byte);
            if matched == self.len() {
                return Found::Whole(at - matched);
            }
        }
        let finder = || Finder::new(&*self.0.bytes).into_owned();
        let finder = self.0.finder.get_or_init(finder);
        if let Some(index) = finder.find(&haystack[at..]) {
            return Found::Whole(at + index);
        }
        let tail = haystack.len().saturating_sub(self.len() - 1);
        Found::Prefix(self.prefix_at_end(&haystack[tail.max(at)..]))
    }

    /// How many bytes at the end of a haystack, in which the needle is not, are the beginning of it.
    fn prefix_at_end(&self, haystack: &[u8]) -> usize {
        let Some(start) = memchr::memchr(self.0.bytes[0], haystack) else {
            return 0;
        };
        let bytes = haystack[start..].iter();
        bytes.fold(0, |matched, &byte| self.advance(matched, byte))
    }

    /// How many bytes of the needle match at the end when `byte` comes after a place where `matched` did,
    /// fewer than all.
    fn advance(&self, mut matched: usize, byte: u8) -> usize {
        let fallback = self.0.fallback.get_or_init(|| fallback(&self.0.bytes));
        loop {
            if self.0.bytes[matched] == byte {
                return matched + 1;
            }
            if matched == 0 {
                return 0;
            }
            matched = fallback[matched - 1];
        }
    }
}

/// For each beginning of a needle, the length of the longest shorter beginning that it ends with.
fn fallback(needle: &[u8]) -> Box<[usize]> {
    let mut fallback = vec![0; needle.len()];
    let mut matched = 0;
    for at in 1..needle.len() {
        while matched > 0 && needle[at] != needle[matched] {
            matched = fallback[matched - 1];
        }
        if needle[at] == needle[matched] {
            matched += 1;
        }
        fallback[at] = matched;
    }
    fallback.into()
}

impl Deref for Needle {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Needle) -> bool {
        **self == **other && self.0.is_text == other.0.is_text
    }
}

impl Eq for Needle {}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

/// How long a beginning of `needle`, shorter than all of it, is at the end of `haystack`. That the whole
/// is not is taken for granted.
///
/// ```
/// use asynchat::find_prefix_at_end;
///
/// assert_eq!(find_prefix_at_end(b"the end\r\n.", b"\r\n.\r\n"), 3);
/// assert_eq!(find_prefix_at_end(b"the end", b"\r\n.\r\n"), 0);
/// ```
#[doc(alias = "asynchat.find_prefix_at_end")]
pub fn find_prefix_at_end(haystack: &[u8], needle: &[u8]) -> usize {
    if needle.is_empty() {
        return 0;
    }
    let tail = haystack.len().saturating_sub(needle.len() - 1);
    Needle::make(needle, false).prefix_at_end(&haystack[tail..])
}
