//! What is undone when a test ends, however it ends.

use asyncore::{close_all, socket_map};

/// Closes all channels of the thread's default map when dropped: `tearDown` of CPython's tests.
///
/// Tests that share a thread (`--test-threads=1`) share its default map.
#[derive(Debug)]
#[must_use = "closes everything when dropped"]
pub struct TearDown;

impl Drop for TearDown {
    fn drop(&mut self) {
        // Stops only where a `close` asks the loop to exit, which nobody runs any more.
        let _ = close_all(None, true);
        socket_map().clear();
    }
}
