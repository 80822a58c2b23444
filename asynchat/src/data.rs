//! What is sent: bytes, or text and what it becomes.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::AsyncChatError;

/// What can be pushed, and what a producer makes: bytes, or text to be encoded.
///
/// `Bytes`, `Vec<u8>` and `String` are taken as they are; slices are copied. Clones share the bytes, so what
/// is pushed to many channels is there once.
///
/// Python's `push` takes nothing but bytes, since there a `str` is most often a mistake; here text cannot
/// be mistaken. See [`AsyncChatBase::use_encoding`](crate::AsyncChatBase::use_encoding) for what it becomes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// Of text, its UTF-8.
    bytes: Bytes,
    is_text: bool,
}

impl Data {
    /// Whether there is nothing in it: Python's `not data`. A producer ends with such.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes; those of text as UTF-8.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The text, if it is text: Python's `isinstance(data, str)`.
    pub fn as_str(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.bytes).ok();
        text.filter(|_| self.is_text)
    }

    /// The bytes to send.
    pub(crate) fn encode(&self, encoding: Encoding) -> Result<Bytes, AsyncChatError> {
        match self.as_str() {
            Some(text) if encoding != Encoding::Utf8 && !text.is_ascii() => {
                encoding.encode(text).map(Bytes::from)
            }
            _ => Ok(self.bytes.clone()),
        }
    }

    /// Takes the first `size` bytes or characters out, or all if there are not so many.
    pub(crate) fn split_to(&mut self, size: usize) -> Data {
        let size = match self.as_str() {
            Some(text) => text
                .char_indices()
                .nth(size)
                .map_or(text.len(), |(at, _)| at),
            None => size.min(self.bytes.len()),
        };
        Data {
            bytes: self.bytes.split_to(size),
            is_text: self.is_text,
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 64;

        let prefix = if self.is_text { "" } else { "b" };
        let shown = &self.bytes[..self.bytes.len().min(MOST)];
        write!(f, "{prefix}\"{}\"", shown.escape_ascii())?;
        match self.bytes.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

/// Implements `From` for types that turn into bytes, and into text.
macro_rules! from {
    ($is_text:literal: $($type:ty => $bytes:expr),* $(,)?) => {$(
        impl From<$type> for Data {
            fn from(data: $type) -> Data {
                let bytes: fn($type) -> Bytes = $bytes;
                Data { bytes: bytes(data), is_text: $is_text }
            }
        }
    )*};
}

from! { false:
    Bytes => |bytes| bytes,
    Vec<u8> => Bytes::from,
    &Vec<u8> => |bytes| Bytes::copy_from_slice(bytes),
    &[u8] => Bytes::copy_from_slice,
    Cow<'_, [u8]> => |bytes| bytes.into_owned().into(),
}

from! { true:
    String => Bytes::from,
    &String => |text| Bytes::copy_from_slice(text.as_bytes()),
    &str => |text| Bytes::copy_from_slice(text.as_bytes()),
    Cow<'_, str> => |text| text.into_owned().into(),
}

impl<const N: usize> From<&[u8; N]> for Data {
    fn from(bytes: &[u8; N]) -> Data {
        bytes.as_slice().into()
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
