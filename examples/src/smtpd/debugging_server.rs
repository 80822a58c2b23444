//! Class `DebuggingServer`: prints what it is sent.

use std::borrow::Cow;
use std::io::{self, Write};
use std::rc::{Rc, Weak};

use asynchat::Data;
use asyncore::{Address, BaseClass, Dispatcher, Result};

use super::server::{Options, Settings, SmtpServer, SmtpServerBase, SmtpServerClass};

/// Class `smtpd.DebuggingServer` itself, to derive from: prints messages on standard output.
#[doc(alias = "smtpd.DebuggingServer")]
#[derive(Debug)]
pub struct DebuggingServerBase {
    smtp_server: SmtpServerBase,
}

impl<T: SmtpServer> BaseClass<T> for DebuggingServerBase {
    type Super = SmtpServerBase;

    fn new(this: &Weak<T>) -> DebuggingServerBase {
        DebuggingServerBase {
            smtp_server: BaseClass::new(this),
        }
    }

    fn superclass(&self) -> &SmtpServerBase {
        &self.smtp_server
    }
}

impl<T: SmtpServer> SmtpServerClass<T> for DebuggingServerBase {
    type SmtpServerSuper = SmtpServerBase;

    fn smtp_server_super(&self) -> &SmtpServerBase {
        &self.smtp_server
    }

    fn process_message(
        &self,
        _this: &T,
        peer: &Address,
        _mailfrom: &str,
        _rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        let mut text = "---------- MESSAGE FOLLOWS ----------\n".to_owned();
        if let Some(options) = options {
            if !options.mail_options.is_empty() {
                let list = repr_list(&options.mail_options);
                text += &format!("mail options: {list}\n");
            }
            if !options.rcpt_options.is_empty() {
                let list = repr_list(&options.rcpt_options);
                text += &format!("rcpt options: {list}\n\n");
            }
        }
        add_message_content(&mut text, peer, data);
        text += "------------ END MESSAGE ------------\n";
        io::stdout().write_all(text.as_bytes())?;
        Ok(None)
    }
}

/// A [`DebuggingServerBase`] as it is.
#[derive(Debug)]
pub struct DebuggingServer {
    base: DebuggingServerBase,
}

impl DebuggingServer {
    /// `DebuggingServer(localaddr, remoteaddr, …)`
    ///
    /// # Errors
    ///
    /// Those of [`init_smtp_server`](SmtpServer::init_smtp_server).
    pub fn new(
        localaddr: (&str, u16),
        remoteaddr: Option<(&str, u16)>,
        settings: Settings,
    ) -> Result<Rc<DebuggingServer>> {
        let server = DebuggingServer::init(|base| DebuggingServer { base });
        server.init_smtp_server(localaddr, remoteaddr, settings)?;
        Ok(server)
    }
}

impl Dispatcher for DebuggingServer {
    type Base = DebuggingServerBase;
    fn base(&self) -> &DebuggingServerBase {
        &self.base
    }
}

impl SmtpServer for DebuggingServer {}

/// `_print_message_content`: the lines of a message, with one more header. Those of bytes as Python would
/// write them in a program.
fn add_message_content(text: &mut String, peer: &Address, data: &Data) {
    let peerheader = format!("X-Peer: {}", peer.host().unwrap_or_default());
    let of_bytes = || data.as_bytes().iter().map(|byte| char::from(*byte));
    let (content, is_text) = match data.as_str() {
        Some(content) => (Cow::from(content), true),
        None => (of_bytes().collect(), false),
    };
    let mut lines = splitlines(&content, is_text);
    if let Some(end_of_headers) = lines.iter().position(|line| line.is_empty()) {
        lines.insert(end_of_headers, &peerheader);
    }
    for line in lines {
        if is_text {
            *text += line;
        } else {
            *text += "b";
            add_repr(text, line, |it| it.is_ascii() && !it.is_control());
        }
        *text += "\n";
    }
}

/// `content.splitlines()`, which for bytes knows less ends of lines than for text.
fn splitlines(mut content: &str, is_text: bool) -> Vec<&str> {
    let is_end = |it: char| match it {
        '\n' | '\r' => true,
        '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}' => is_text,
        _ => false,
    };
    let mut lines = Vec::new();
    while !content.is_empty() {
        let (line, rest) = content.split_at(content.find(is_end).unwrap_or(content.len()));
        lines.push(line);
        let after_end = || rest.strip_prefix(is_end).unwrap_or(rest);
        content = rest.strip_prefix("\r\n").unwrap_or_else(after_end);
    }
    lines
}

/// `repr` of a list of texts.
fn repr_list(items: &[String]) -> String {
    let mut text = "[".to_owned();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text += ", ";
        }
        add_repr(&mut text, item, |it| !it.is_control());
    }
    text + "]"
}

/// `repr` of a text, or, without the `b`, of bytes.
fn add_repr(text: &mut String, content: &str, is_printable: impl Fn(char) -> bool) {
    let double = content.contains('\'') && !content.contains('"');
    let quote = if double { '"' } else { '\'' };
    text.push(quote);
    for it in content.chars() {
        match it {
            '\t' => *text += r"\t",
            '\n' => *text += r"\n",
            '\r' => *text += r"\r",
            '\\' => *text += r"\\",
            it if it == quote => text.extend(['\\', quote]),
            it if is_printable(it) => text.push(it),
            it => *text += &format!(r"\x{:02x}", u32::from(it)),
        }
    }
    text.push(quote);
}
