//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use asyncore::Address;
use clap::Parser;

/// Joins a channel of an IRC server, and answers there.
#[derive(Clone, Parser)]
pub(crate) struct Args {
    /// The server; a name stands for its IPv4 address
    #[arg(long, value_name = "HOST:PORT", value_parser = server)]
    pub(crate) server: Address,

    /// The name to have there; with `_` behind it if that is in use
    #[arg(long, value_parser = nick)]
    pub(crate) nick: String,

    /// The channel to join
    #[arg(long, value_parser = channel)]
    pub(crate) channel: String,

    /// How long to wait before connecting again, at first
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) delay: Duration,

    /// How long at most; it is twice as long each time
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) max_delay: Duration,

    /// How long the server may take to let us in, be silent, and answer
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(crate) timeout: Duration,

    /// How much time there is between two lines, on average
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) interval: Duration,
}

fn server(text: &str) -> Result<Address, &'static str> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr.into());
    }
    let (host, port) = text.rsplit_once(':').ok_or("not HOST:PORT")?;
    let port = port
        .parse()
        .map_err(|_| "the port is no number up to 65535")?;
    if host.is_empty() || host.contains(':') {
        return Err("the host is no name and no address (IPv6: [::1]:6667)");
    }
    Ok((host, port).into())
}

fn nick(text: &str) -> Result<String, &'static str> {
    word(text).ok_or("not a word")
}

fn channel(text: &str) -> Result<String, &'static str> {
    let channel = word(text).filter(|it| it.starts_with(['#', '&', '+', '!']));
    channel.ok_or("not a word that begins with #, &, + or !")
}

fn word(text: &str) -> Option<String> {
    let is_other = |it: char| it == ' ' || it == ',' || it.is_control();
    let is_word = !text.is_empty() && !text.starts_with(':') && !text.contains(is_other);
    is_word.then(|| text.to_owned())
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    const RANGE: std::ops::RangeInclusive<f64> = 0.001..=1e6;

    let seconds = text.parse().ok().filter(|it| RANGE.contains(it));
    let seconds = seconds.ok_or("not a number from 0.001 to 1000000")?;
    Ok(Duration::from_secs_f64(seconds))
}
