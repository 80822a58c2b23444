//! What `PureProxy` needs of Python's `smtplib`: a client that waits for each reply.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use super::channel::getfqdn;

/// How long to wait for a reply: what RFC 5321, section 4.5.3.2, has for most of them.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The longest reply, all its lines together.
const MAX_REPLY: u64 = 65536;

/// Recipients that were refused, and what was said about each.
pub type Refused = BTreeMap<String, Reply>;

/// A connection to a mail server: class `smtplib.SMTP`.
#[doc(alias = "smtplib.SMTP")]
#[derive(Debug)]
pub struct SmtpClient {
    stream: BufReader<TcpStream>,
    greeted: bool,
    /// Whether the server wants to know the size of a message.
    size: bool,
}

impl SmtpClient {
    /// Connects to a server, and waits for its greeting.
    ///
    /// # Errors
    ///
    /// The system's, and a greeting that is none.
    pub fn connect(addr: (&str, u16)) -> Result<SmtpClient, SmtpError> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut client = SmtpClient {
            stream: BufReader::new(stream),
            greeted: false,
            size: false,
        };
        client.reply()?.expect(&[220])?;
        Ok(client)
    }

    /// Sends a message, and returns the recipients who were refused. Its lines may end in any way.
    ///
    /// # Errors
    ///
    /// When not a single recipient is accepted, or the message is not.
    pub fn sendmail(
        &mut self,
        from_addr: &str,
        to_addrs: &[String],
        message: &[u8],
    ) -> Result<Refused, SmtpError> {
        let message = fix_eols(message);
        self.ehlo_or_helo_if_needed()?;
        let mut mail = format!("mail FROM:{}", quoteaddr(from_addr));
        if self.size {
            mail += &format!(" size={}", message.len());
        }
        self.command(&mail)?.expect(&[250])?;
        let mut refused = Refused::new();
        for to_addr in to_addrs {
            let reply = self.command(&format!("rcpt TO:{}", quoteaddr(to_addr)))?;
            if let Err(SmtpError::Reply(reply)) = reply.expect(&[250, 251]) {
                refused.insert(to_addr.clone(), reply);
            }
        }
        if refused.len() == to_addrs.len() {
            return Err(SmtpError::RecipientsRefused(refused));
        }
        self.command("data")?.expect(&[354])?;
        self.stream.get_mut().write_all(&quote_periods(&message))?;
        self.reply()?.expect(&[250])?;
        Ok(refused)
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn quit(&mut self) -> Result<Reply, SmtpError> {
        self.command("quit")
    }

    fn ehlo_or_helo_if_needed(&mut self) -> Result<(), SmtpError> {
        if self.greeted {
            return Ok(());
        }
        let hostname = local_hostname(self.stream.get_ref())?;
        let ehlo = self.command(&format!("ehlo {hostname}"))?;
        if ehlo.code == 250 {
            let mut extensions = ehlo.text.lines().skip(1);
            self.size = extensions.any(|line| {
                let keyword = line.split_whitespace().next();
                keyword.is_some_and(|keyword| keyword.eq_ignore_ascii_case("size"))
            });
        } else {
            self.command(&format!("helo {hostname}"))?.expect(&[250])?;
        }
        self.greeted = true;
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<Reply, SmtpError> {
        if !line.is_ascii() || line.contains(['\r', '\n']) {
            return Err(SmtpError::Unsendable(line.to_owned()));
        }
        let line = format!("{line}\r\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, SmtpError> {
        let mut stream = self.stream.by_ref().take(MAX_REPLY);
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                let what = "the connection was closed, or the reply does not end";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into());
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            text += line.get(4..).unwrap_or_default();
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = code.unwrap_or(-1);
                return Ok(Reply { code, text });
            }
            text += "\n";
        }
    }
}

/// What a server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its number; -1 for none.
    pub code: i32,
    /// Its lines, without the numbers.
    pub text: String,
}

impl Reply {
    fn expect(self, codes: &[i32]) -> Result<Reply, SmtpError> {
        match codes.contains(&self.code) {
            true => Ok(self),
            false => Err(SmtpError::Reply(self)),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text.replace('\n', ", "))
    }
}

/// Why a message was not sent: the exceptions of `smtplib`.
#[derive(Debug)]
#[non_exhaustive]
pub enum SmtpError {
    /// The server refused all recipients.
    #[doc(alias = "SMTPRecipientsRefused")]
    RecipientsRefused(Refused),
    /// The server refused a command, or the message.
    #[doc(alias = "SMTPResponseException")]
    Reply(Reply),
    /// A command that is not one line of ASCII, as an address may make it.
    #[doc(alias = "ValueError")]
    Unsendable(String),
    /// The connection failed.
    #[doc(alias = "OSError")]
    Io(io::Error),
}

impl From<io::Error> for SmtpError {
    fn from(error: io::Error) -> SmtpError {
        SmtpError::Io(error)
    }
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmtpError::RecipientsRefused(_) => f.write_str("all recipients were refused"),
            SmtpError::Reply(reply) => reply.fmt(f),
            SmtpError::Unsendable(line) => write!(f, "cannot be sent to a mail server: {line:?}"),
            SmtpError::Io(error) => error.fmt(f),
        }
    }
}

impl StdError for SmtpError {}

/// An address in angle brackets, in which it may be already.
fn quoteaddr(addr: &str) -> String {
    match addr.starts_with('<') {
        true => addr.to_owned(),
        false => format!("<{addr}>"),
    }
}

/// How a client names itself: as the machine, or, if that is no domain, by its address.
fn local_hostname(stream: &TcpStream) -> io::Result<String> {
    let fqdn = getfqdn();
    if fqdn.contains('.') {
        return Ok(fqdn.to_owned());
    }
    Ok(match stream.local_addr()?.ip() {
        IpAddr::V4(addr) => format!("[{addr}]"),
        IpAddr::V6(addr) => format!("[IPv6:{addr}]"),
    })
}

/// A message whose lines are separated by CRLF.
fn fix_eols(message: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(message.len() + message.len() / 32);
    let mut bytes = message.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&&b'\n');
                result.extend_from_slice(b"\r\n");
            }
            b'\n' => result.extend_from_slice(b"\r\n"),
            byte => result.push(*byte),
        }
    }
    result
}

/// A message as it is sent: with a dot more before lines that begin with one, and a line with a dot at the
/// end.
fn quote_periods(message: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            result.push(b'.');
        }
        result.extend_from_slice(line);
    }
    if !result.ends_with(b"\r\n") {
        result.extend_from_slice(b"\r\n");
    }
    result.extend_from_slice(b".\r\n");
    result
}
