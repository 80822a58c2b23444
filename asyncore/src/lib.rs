//! draft
mod address;
mod base_class;
mod channel_map;
mod dispatcher;
mod dispatcher_with_send;
mod error;
mod event_loop;
#[cfg(unix)]
mod file_dispatcher;
mod poller;
mod quirks;
mod readiness;
mod socket;

/// d
pub mod differences {}

pub use address::Address;
pub use base_class::BaseClass;
pub use channel_map::{Channel, ChannelMap, set_socket_map, socket_map};
pub use dispatcher::{Dispatcher, DispatcherBase};
pub use dispatcher_with_send::{
    DispatcherWithSend, DispatcherWithSendBase, DispatcherWithSendClass,
};
pub use error::{
    CompactTraceback, Error, ExitNow, KeyboardInterrupt, NoSocket, Panic, Result, SystemExit,
    compact_traceback, strerror,
};
pub use event_loop::{Loop, close_all, exception, r#loop, poll, poll2, poll3, read, readwrite, write};
#[cfg(unix)]
pub use file_dispatcher::{FileDispatcher, FileDispatcherBase, FileDispatcherClass, FileWrapper};
pub use poller::{Descriptor, PollFlags};
pub use quirks::Quirks;
pub use socket::{Socket, SocketLike};
pub use socket2;
