//! The FTP server, and clients of all kinds.

mod client;
mod commands;
mod faults;
mod other_clients;
#[cfg(unix)]
mod root;
mod transfers;

/// Makes a test of each function for each of the loop's two ways, which it is given as an option.
macro_rules! with_select_and_poll {
    ($($name:ident),* $(,)?) => {
        mod with_select {
            $(#[test] fn $name() { super::$name(None); })*
        }
        mod with_poll {
            $(#[test] fn $name() { super::$name(Some("--poll")); })*
        }
    };
}
use with_select_and_poll;
