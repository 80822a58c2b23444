//! What becomes of `async_chat`'s input, said as plainly as it can be: the model that its tests hold it
//! against.
//!
//! [`outcome`] is the documented contract, which knows nothing of how a stream is cut. [`PlainChat`] makes
//! the calls that CPython makes for every cut. Neither looks for a terminator in a clever way.

use std::collections::VecDeque;
use std::fmt;

use asynchat::Terminator;

/// What ends a piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `None`
    Never,
    /// So many bytes; 0 is as good as `None`.
    Count(usize),
    /// These bytes; `b""` is as good as `None`.
    Bytes(Vec<u8>),
}

impl fmt::Display for End {
    /// As the probe `chat_cases.py` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Never => f.write_str("none"),
            End::Count(count) => write!(f, "{count}"),
            End::Bytes(bytes) => write!(f, "={}", bytes.escape_ascii()),
        }
    }
}

impl From<&End> for Terminator {
    fn from(end: &End) -> Terminator {
        match end {
            End::Never => Terminator::None,
            End::Count(count) => Terminator::from(*count),
            End::Bytes(bytes) => Terminator::from(&**bytes),
        }
    }
}

/// What a channel calls on itself for its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `collect_incoming_data`
    Collect(Vec<u8>),
    /// `found_terminator`
    Found,
}

impl fmt::Display for Call {
    /// As the probe `chat_cases.py` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Collect(data) => write!(f, "collect {}", data.escape_ascii()),
            Call::Found => f.write_str("found"),
        }
    }
}

/// What becomes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The pieces that terminators ended, without these.
    pub pieces: Vec<Vec<u8>>,
    /// What was collected after the last of them.
    pub rest: Vec<u8>,
    /// What was not collected, because it may be the beginning of a terminator.
    pub held_back: Vec<u8>,
    /// The terminator in the end.
    pub end: End,
}

/// The documented contract: what becomes of a stream when `end` is set before it, and one of `later` each
/// time that a terminator is found.
pub fn outcome(stream: &[u8], mut end: End, later: &[End]) -> Outcome {
    let (mut pieces, mut left, mut later) = (Vec::new(), stream, later.iter());
    while let Some((piece, terminator)) = first_piece(left, &end) {
        pieces.push(left[..piece].to_vec());
        left = &left[piece + terminator..];
        end = match (later.next(), end) {
            (Some(next), _) => next.clone(),
            // A count is over, bytes stay.
            (None, End::Count(_)) => End::Count(0),
            (None, end) => end,
        };
    }
    let held_back = match &end {
        End::Bytes(bytes) => prefix_at_end(left, bytes),
        _ => 0,
    };
    let (rest, held_back) = left.split_at(left.len() - held_back);
    if let End::Count(count) = &mut end {
        *count = count.saturating_sub(rest.len());
    }
    Outcome {
        pieces,
        rest: rest.to_vec(),
        held_back: held_back.to_vec(),
        end,
    }
}

/// How long the first piece is, and its terminator, if that is there.
fn first_piece(stream: &[u8], end: &End) -> Option<(usize, usize)> {
    match end {
        End::Count(count) if (1..=stream.len()).contains(count) => Some((*count, 0)),
        End::Bytes(bytes) => Some((find(stream, bytes)?, bytes.len())),
        _ => None,
    }
}

/// The calls of a stream without the cuts in them: what was collected before each terminator that was
/// found, and after the last.
pub fn joined(calls: &[Call]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut pieces, mut rest) = (Vec::new(), Vec::new());
    for call in calls {
        match call {
            Call::Collect(data) => rest.extend_from_slice(data),
            Call::Found => pieces.push(std::mem::take(&mut rest)),
        }
    }
    (pieces, rest)
}

/// CPython's `async_chat.handle_read`, line by line, without a socket.
#[derive(Clone, Debug)]
pub struct PlainChat {
    /// `self.ac_in_buffer`
    pub buffer: Vec<u8>,
    /// `self.terminator`
    pub terminator: End,
    later: VecDeque<End>,
    calls: Vec<Call>,
}

impl PlainChat {
    /// A channel that sets one of `later` each time that a terminator is found.
    pub fn new(terminator: End, later: &[End]) -> PlainChat {
        PlainChat {
            buffer: Vec::new(),
            terminator,
            later: later.iter().cloned().collect(),
            calls: Vec::new(),
        }
    }

    /// What is called when this is received.
    pub fn handle_read(&mut self, data: &[u8]) -> Vec<Call> {
        self.buffer.extend_from_slice(data);
        while !self.buffer.is_empty() && self.takes_something() {}
        std::mem::take(&mut self.calls)
    }

    /// One turn of the loop; `false` for its `break`.
    fn takes_something(&mut self) -> bool {
        match self.terminator.clone() {
            End::Count(count) if count > self.buffer.len() => {
                self.terminator = End::Count(count - self.buffer.len());
                self.collect(self.buffer.len());
            }
            End::Count(count) if count > 0 => {
                self.collect(count);
                self.terminator = End::Count(0);
                self.found();
            }
            End::Bytes(bytes) if !bytes.is_empty() => match find(&self.buffer, &bytes) {
                Some(index) => {
                    self.collect(index);
                    self.buffer.drain(..bytes.len());
                    self.found();
                }
                None => {
                    let prefix = prefix_at_end(&self.buffer, &bytes);
                    self.collect(self.buffer.len() - prefix);
                    return prefix == 0;
                }
            },
            _ => self.collect(self.buffer.len()),
        }
        true
    }

    /// Takes the first bytes out of the buffer, and tells of them if there are any.
    fn collect(&mut self, len: usize) {
        if len > 0 {
            let data = self.buffer.drain(..len).collect();
            self.calls.push(Call::Collect(data));
        }
    }

    fn found(&mut self) {
        self.calls.push(Call::Found);
        if let Some(next) = self.later.pop_front() {
            self.terminator = next;
        }
    }
}

/// `haystack.find(needle)`, but nothing for `b""`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    let mut windows = haystack.windows(needle.len());
    windows.position(|window| window == needle)
}

/// `find_prefix_at_end(haystack, needle)`
fn prefix_at_end(haystack: &[u8], needle: &[u8]) -> usize {
    let shorter = (1..needle.len()).rev();
    shorter
        .into_iter()
        .find(|&len| haystack.ends_with(&needle[..len]))
        .unwrap_or(0)
}
