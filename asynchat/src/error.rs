//! What can go wrong in a chat channel besides its socket.

use std::error::Error as StdError;
use std::fmt;

/// An error of a chat channel's own, as against those of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AsyncChatError {
    /// A method that must be overridden was not: Python's `NotImplementedError`.
    #[doc(alias = "NotImplementedError")]
    NotImplemented,
    /// The number of bytes to wait for is negative: the `ValueError` of `set_terminator`.
    #[doc(alias = "ValueError")]
    NegativeTerminator(i64),
    /// `collect_incoming_data` put another kind of terminator in the place of a count that was being
    /// counted down: Python's `TypeError`.
    #[doc(alias = "TypeError")]
    CountReplaced,
    /// `ac_out_buffer_size` is 0, and there is something to split: the `ValueError` of `push`.
    NoOutBuffer,
    /// The queue was emptied by someone else while its first entry was being worked on: Python's
    /// `IndexError`.
    #[doc(alias = "IndexError")]
    FifoEmptied,
    /// A character that the channel's encoding does not have: Python's `UnicodeEncodeError`.
    #[doc(alias = "UnicodeEncodeError")]
    Unencodable {
        /// Python's name of the encoding.
        encoding: &'static str,
        /// The character.
        character: char,
    },
    /// `initiate_send` was called from inside itself too many times, by a producer that pushes each time
    /// that it is asked for more: Python's `RecursionError`.
    #[doc(alias = "RecursionError")]
    TooDeep,
    /// A producer that is a closure in a `RefCell` was asked for more by what it had called itself.
    ProducerRunning,
}

impl fmt::Display for AsyncChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AsyncChatError::NotImplemented => f.write_str("must be implemented in subclass"),
            AsyncChatError::NegativeTerminator(count) => {
                write!(
                    f,
                    "the number of received bytes must be positive, not {count}"
                )
            }
            AsyncChatError::CountReplaced => {
                f.write_str("the terminator is no count any more, and was to be counted down")
            }
            AsyncChatError::NoOutBuffer => {
                f.write_str("ac_out_buffer_size must not be 0 to push anything")
            }
            AsyncChatError::FifoEmptied => {
                f.write_str("the producer queue was emptied while its first entry was in use")
            }
            AsyncChatError::Unencodable {
                encoding,
                character,
            } => {
                write!(
                    f,
                    "the encoding {encoding} does not have the character {character:?}"
                )
            }
            AsyncChatError::TooDeep => {
                f.write_str("a producer pushes each time that it is asked for more")
            }
            AsyncChatError::ProducerRunning => {
                f.write_str("the producer was asked for more while it was making some")
            }
        }
    }
}

impl StdError for AsyncChatError {}
