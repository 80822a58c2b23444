//! The example programs, run as their users run them.

mod chat_server;
mod echo_server;
mod ftp_server;
mod http_client;
mod http_server;
mod irc_bot;
#[cfg(unix)]
mod pipe_monitor;
mod port_forwarder;
mod smtpd;
mod time_server_udp;
mod tls_echo;
mod trace;
mod util;
