//! A mail server, the standard library's `smtpd.py`: `class SMTPServer(asyncore.dispatcher)`, which makes a
//! `class SMTPChannel(asynchat.async_chat)` for each connection. `class DebuggingServer(SMTPServer)` prints
//! the messages, `class PureProxy(SMTPServer)` hands them on to the next server. The classes are in
//! `src/smtpd.rs`, to be derived from.
//!
//! ```text
//! cargo run --example smtpd -- --class DebuggingServer --port 8025
//! ```
//!
//! Send it something with `curl smtp://localhost:8025 --mail-from me@here --mail-rcpt you@there -T FILE`.
//! Ends with Ctrl-C. `RUST_LOG=smtpd=debug` shows the dialogues.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use examples::smtpd::{DATA_SIZE_DEFAULT, DebuggingServer, PureProxy, Settings};
use examples::{Listen, program};

/// An RFC 5321 mail server or proxy, with the extensions SIZE, 8BITMIME and SMTPUTF8
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8025>,

    /// What becomes of the messages
    #[arg(short, long, value_enum, default_value = "PureProxy")]
    class: Class,

    /// Restrict the size of a message to so many bytes; 0 for any size
    #[arg(short, long, default_value_t = DATA_SIZE_DEFAULT)]
    size: usize,

    /// Enable the extension SMTPUTF8 (RFC 6531)
    #[arg(short = 'u', long, conflicts_with = "decode_data")]
    smtputf8: bool,

    /// Take messages for text in UTF-8 rather than bytes, and those that are not for errors
    #[arg(long)]
    decode_data: bool,

    /// The next server, of a PureProxy
    #[arg(value_name = "REMOTEHOST:REMOTEPORT", default_value = "localhost:25", value_parser = remote)]
    remote: (String, u16),
}

#[derive(Clone, Copy, ValueEnum)]
enum Class {
    /// Prints them on standard output
    #[value(name = "DebuggingServer")]
    DebuggingServer,
    /// Hands them on to the next server
    #[value(name = "PureProxy")]
    PureProxy,
}

fn remote(spec: &str) -> Result<(String, u16), String> {
    let (host, port) = spec.rsplit_once(':').ok_or("no HOST:PORT")?;
    let port = port
        .parse()
        .map_err(|error| format!("port {port:?}: {error}"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let localaddr = (args.listen.host.as_str(), args.listen.port);
        let settings = Settings {
            data_size_limit: args.size,
            enable_SMTPUTF8: args.smtputf8,
            decode_data: args.decode_data,
        };
        match args.class {
            Class::DebuggingServer => {
                let server = DebuggingServer::new(localaddr, None, settings)?;
                args.listen.serve(&*server)
            }
            Class::PureProxy => {
                let (host, port) = &args.remote;
                let server = PureProxy::new(localaddr, (host, *port), settings)?;
                args.listen.serve(&*server)
            }
        }
    })
}
