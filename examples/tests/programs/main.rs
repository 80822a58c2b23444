//! The example programs, run as their users run them.

mod chat_server;
mod echo_server;
mod http_client;
mod http_server;
#[cfg(unix)]
mod pipe_monitor;
mod port_forwarder;
mod time_server_udp;
mod util;
