//! Python's `asynchat`.
mod async_chat;
mod data;
mod error;
mod fifo;
mod in_buffer;
mod producer;
mod terminator;

pub use async_chat::{AsyncChat, AsyncChatBase, AsyncChatClass};
/// The crate of the dispatchers that chat channels share a map with.
pub use asyncore;
/// The crate of the shared bytes that are queued.
pub use bytes;
pub use data::{Data, Encoding};
pub use error::AsyncChatError;
pub use fifo::Fifo;
pub use producer::{Producer, Queued, SimpleProducer};
pub use terminator::{Needle, Terminator, find_prefix_at_end};
