//! The example programs, run as their users run them.

mod echo_server;
mod http_client;
mod util;
