//! What is sent: bytes, or text and what it becomes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::AsyncChatError;

/// What can be pushed, and what a producer makes: bytes, or text to be encoded.
///
/// `Bytes`, `Vec<u8>` and `String` are taken as they are; slices are copied. A `Bytes` that is pushed to
/// many channels is shared by them.
///
/// Python's `push` takes nothing but bytes, since there a `str` is most often a mistake; here text cannot
/// be mistaken. See [`AsyncChatBase::use_encoding`](crate::AsyncChatBase::use_encoding) for what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Bytes, sent as they are.
    Bytes(Bytes),
    /// Text, encoded when it is pushed, or when its turn comes in the queue.
    Text(String),
}

impl Data {
    /// Whether there is nothing in it: Python's `not data`.
    pub fn is_empty(&self) -> bool {
        match self {
            Data::Bytes(bytes) => bytes.is_empty(),
            Data::Text(text) => text.is_empty(),
        }
    }

    /// The bytes to send.
    pub(crate) fn encode(self, encoding: Encoding) -> Result<Bytes, AsyncChatError> {
        match self {
            Data::Bytes(bytes) => Ok(bytes),
            Data::Text(text) => encoding.encode(text).map(Bytes::from),
        }
    }
}

impl Default for Data {
    /// Nothing, with which a producer ends.
    fn default() -> Data {
        Data::Bytes(Bytes::new())
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Data {
        Data::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Data {
        Data::Bytes(bytes.into())
    }
}

impl From<&Vec<u8>> for Data {
    fn from(bytes: &Vec<u8>) -> Data {
        bytes.as_slice().into()
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Data {
        Data::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Data {
    fn from(bytes: &[u8; N]) -> Data {
        bytes.as_slice().into()
    }
}

impl From<Cow<'_, [u8]>> for Data {
    fn from(bytes: Cow<'_, [u8]>) -> Data {
        bytes.into_owned().into()
    }
}

impl From<String> for Data {
    fn from(text: String) -> Data {
        Data::Text(text)
    }
}

impl From<&String> for Data {
    fn from(text: &String) -> Data {
        Data::Text(text.clone())
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Data {
        Data::Text(text.to_owned())
    }
}

impl From<Cow<'_, str>> for Data {
    fn from(text: Cow<'_, str>) -> Data {
        Data::Text(text.into_owned())
    }
}

/// What text becomes: the encodings that [`AsyncChatBase::encoding`](crate::AsyncChatBase::encoding) can
/// name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// One byte for each of the first 256 characters: `'latin-1'`.
    #[default]
    Latin1,
    /// One byte for each of the first 128 characters: `'ascii'`.
    Ascii,
    /// `'utf-8'`, which has all characters.
    Utf8,
}

impl Encoding {
    /// Python's name of the encoding.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Latin1 => "latin-1",
            Encoding::Ascii => "ascii",
            Encoding::Utf8 => "utf-8",
        }
    }

    /// Encodes a text: `bytes(text, encoding)`.
    ///
    /// # Errors
    ///
    /// [`AsyncChatError::Unencodable`], with the first character that the encoding does not have.
    pub fn encode(self, text: impl Into<String>) -> Result<Vec<u8>, AsyncChatError> {
        let text = text.into();
        let end = match self {
            Encoding::Utf8 => return Ok(text.into_bytes()),
            _ if text.is_ascii() => return Ok(text.into_bytes()),
            Encoding::Ascii => '\u{80}',
            Encoding::Latin1 => '\u{100}',
        };
        let encode = |character| match u8::try_from(character) {
            Ok(byte) if character < end => Ok(byte),
            _ => Err(AsyncChatError::Unencodable {
                encoding: self.name(),
                character,
            }),
        };
        text.chars().map(encode).collect()
    }
}
