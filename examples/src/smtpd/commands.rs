//! What class `SMTPChannel` says to the commands.

use std::collections::BTreeMap;

use asyncore::{Error, Result};

use super::addr_spec::{get_addr_spec, get_angle_addr, is_space};
use super::channel::{
    COMMAND, COMMAND_SIZE_LIMIT, DATA, SmtpChannel, SmtpChannelBase, SmtpChannelClass,
};

/// So many recipients may be named for a message. RFC 5321 asks for a hundred.
const MAX_RCPTTOS: usize = 10_000;

impl<T: SmtpChannel> SmtpChannelClass<T> for SmtpChannelBase {
    type SmtpChannelSuper = SmtpChannelBase;

    fn smtp_channel_super(&self) -> &SmtpChannelBase {
        self
    }

    fn smtp_channel(&self) -> &SmtpChannelBase {
        self
    }

    fn _set_post_data_state(&self, this: &T) -> Result {
        self.smtp_state.set(COMMAND);
        self.mailfrom.take();
        self.rcpttos.take();
        self.require_SMTPUTF8.set(false);
        self.num_bytes.set(0);
        this.set_terminator(b"\r\n")
    }

    fn _set_rset_state(&self, this: &T) -> Result {
        this._set_post_data_state()?;
        self.received_data.take();
        self.received_lines.take();
        Ok(())
    }

    fn smtp_command(&self, this: &T, command: &str, arg: Option<&str>) -> Result<bool> {
        match command {
            "HELO" => this.smtp_HELO(arg)?,
            "EHLO" => this.smtp_EHLO(arg)?,
            "NOOP" => this.smtp_NOOP(arg)?,
            "QUIT" => this.smtp_QUIT(arg)?,
            "HELP" => this.smtp_HELP(arg)?,
            "VRFY" => this.smtp_VRFY(arg)?,
            "MAIL" => this.smtp_MAIL(arg)?,
            "RCPT" => this.smtp_RCPT(arg)?,
            "RSET" => this.smtp_RSET(arg)?,
            "DATA" => this.smtp_DATA(arg)?,
            "EXPN" => this.smtp_EXPN(arg)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn smtp_HELO(&self, this: &T, arg: Option<&str>) -> Result {
        if !self.greet(this, "HELO", arg)? {
            return Ok(());
        }
        this.push(format!("250 {}", self.fqdn()))
    }

    fn smtp_EHLO(&self, this: &T, arg: Option<&str>) -> Result {
        if !self.greet(this, "EHLO", arg)? {
            return Ok(());
        }
        self.extended_smtp.set(true);
        this.push(format!("250-{}", self.fqdn()))?;
        let limit = self.data_size_limit.get();
        if limit > 0 {
            this.push(format!("250-SIZE {limit}"))?;
            self.extend_limit("MAIL", 26);
        }
        if !self.decode_data.get() {
            this.push("250-8BITMIME")?;
        }
        if self.enable_SMTPUTF8.get() {
            this.push("250-SMTPUTF8")?;
            self.extend_limit("MAIL", 10);
        }
        this.push("250 HELP")
    }

    fn smtp_NOOP(&self, this: &T, arg: Option<&str>) -> Result {
        this.push(match given(arg) {
            Some(_) => "501 Syntax: NOOP",
            None => "250 OK",
        })
    }

    fn smtp_QUIT(&self, this: &T, _arg: Option<&str>) -> Result {
        this.push("221 Bye")?;
        this.close_when_done()
    }

    fn smtp_HELP(&self, this: &T, arg: Option<&str>) -> Result {
        const COMMANDS: &str = "Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY";

        let Some(arg) = given(arg) else {
            return this.push(format!("250 {COMMANDS}"));
        };
        let syntax = match arg.to_uppercase().as_str() {
            "EHLO" => "EHLO hostname".to_owned(),
            "HELO" => "HELO hostname".to_owned(),
            "MAIL" => self.syntax("MAIL FROM: <address>"),
            "RCPT" => self.syntax("RCPT TO: <address>"),
            "VRFY" => "VRFY <address>".to_owned(),
            arg @ ("DATA" | "RSET" | "NOOP" | "QUIT") => arg.to_owned(),
            _ => return this.push(format!("501 {COMMANDS}")),
        };
        this.push(format!("250 Syntax: {syntax}"))
    }

    fn smtp_VRFY(&self, this: &T, arg: Option<&str>) -> Result {
        let Some(arg) = given(arg) else {
            return this.push("501 Syntax: VRFY <address>");
        };
        let (address, _params) = getaddr(arg)?;
        if address.is_empty() {
            return this.push(format!("502 Could not VRFY {arg}"));
        }
        this.push("252 Cannot VRFY user, but will accept message and attempt delivery")
    }

    fn smtp_MAIL(&self, this: &T, arg: Option<&str>) -> Result {
        if self.seen_greeting.borrow().is_empty() {
            return this.push("503 Error: send HELO first");
        }
        let syntaxerr = || {
            this.push(format!(
                "501 Syntax: {}",
                self.syntax("MAIL FROM: <address>")
            ))
        };
        let Some((address, params)) = self.getpath("FROM:", arg)? else {
            return syntaxerr();
        };
        if !self.mailfrom.borrow().is_empty() {
            return this.push("503 Error: nested MAIL command");
        }
        self.mail_options.replace(split(&params));
        let params = getparams(&self.mail_options.borrow());
        let Some(mut params) = params else {
            return syntaxerr();
        };
        if !self.decode_data.get()
            && let Some(body) = params.remove("BODY")
            && !matches!(body.as_deref(), Some("7BIT" | "8BITMIME"))
        {
            return this.push("501 Error: BODY can only be one of 7BIT, 8BITMIME");
        }
        if self.enable_SMTPUTF8.get() {
            match params.remove("SMTPUTF8") {
                Some(None) => self.require_SMTPUTF8.set(true),
                Some(Some(_)) => return this.push("501 Error: SMTPUTF8 takes no arguments"),
                None => {}
            }
        }
        if let Some(size) = params.remove("SIZE") {
            // As in Python, where it is an `AttributeError`.
            let size = size.ok_or_else(|| Error::msg("a SIZE that says none"))?;
            if !size.bytes().all(|byte| byte.is_ascii_digit()) {
                return syntaxerr();
            }
            let limit = self.data_size_limit.get();
            if limit > 0 && size.parse().unwrap_or(usize::MAX) > limit {
                return this.push("552 Error: message size exceeds fixed maximum message size");
            }
        }
        if !params.is_empty() {
            return this.push("555 MAIL FROM parameters not recognized or not implemented");
        }
        log::debug!(target: "smtpd", "sender: {address}");
        self.mailfrom.replace(address);
        this.push("250 OK")
    }

    fn smtp_RCPT(&self, this: &T, arg: Option<&str>) -> Result {
        if self.seen_greeting.borrow().is_empty() {
            return this.push("503 Error: send HELO first");
        }
        if self.mailfrom.borrow().is_empty() {
            return this.push("503 Error: need MAIL command");
        }
        let syntaxerr = || this.push(format!("501 Syntax: {}", self.syntax("RCPT TO: <address>")));
        let Some((address, params)) = self.getpath("TO:", arg)? else {
            return syntaxerr();
        };
        self.rcpt_options.replace(split(&params));
        let params = getparams(&self.rcpt_options.borrow());
        let Some(params) = params else {
            return syntaxerr();
        };
        // There are none that we know.
        if !params.is_empty() {
            return this.push("555 RCPT TO parameters not recognized or not implemented");
        }
        // Not in the original.
        if self.rcpttos.borrow().len() >= MAX_RCPTTOS {
            return this.push("452 Error: too many recipients");
        }
        log::debug!(target: "smtpd", "recipient: {address}");
        self.rcpttos.borrow_mut().push(address);
        this.push("250 OK")
    }

    fn smtp_RSET(&self, this: &T, arg: Option<&str>) -> Result {
        if given(arg).is_some() {
            return this.push("501 Syntax: RSET");
        }
        this._set_rset_state()?;
        this.push("250 OK")
    }

    fn smtp_DATA(&self, this: &T, arg: Option<&str>) -> Result {
        if self.seen_greeting.borrow().is_empty() {
            return this.push("503 Error: send HELO first");
        }
        if self.rcpttos.borrow().is_empty() {
            return this.push("503 Error: need RCPT command");
        }
        if given(arg).is_some() {
            return this.push("501 Syntax: DATA");
        }
        self.smtp_state.set(DATA);
        this.set_terminator(b"\r\n.\r\n")?;
        this.push("354 End data with <CR><LF>.<CR><LF>")
    }

    fn smtp_EXPN(&self, this: &T, _arg: Option<&str>) -> Result {
        this.push("502 EXPN not implemented")
    }
}

impl SmtpChannelBase {
    fn fqdn(&self) -> String {
        self.fqdn.borrow().clone()
    }

    /// What HELO and EHLO have in common; `false` where it was refused.
    fn greet<T: SmtpChannel>(&self, this: &T, command: &str, arg: Option<&str>) -> Result<bool> {
        let Some(arg) = given(arg) else {
            this.push(format!("501 Syntax: {command} hostname"))?;
            return Ok(false);
        };
        // bpo-21783
        if !self.seen_greeting.borrow().is_empty() {
            this.push("503 Duplicate HELO/EHLO")?;
            return Ok(false);
        }
        this._set_rset_state()?;
        self.seen_greeting.replace(arg.to_owned());
        Ok(true)
    }

    /// `self.command_size_limits[command] += more`
    fn extend_limit(&self, command: &str, more: usize) {
        let mut limits = self.command_size_limits.borrow_mut();
        *limits
            .entry(command.to_owned())
            .or_insert(COMMAND_SIZE_LIMIT) += more;
    }

    fn syntax(&self, command: &str) -> String {
        match self.extended_smtp.get() {
            true => format!("{command} [SP <mail-parameters>]"),
            false => command.to_owned(),
        }
    }

    /// The address after `FROM:` or `TO:`, and the parameters. `None` for what is a syntax error.
    fn getpath(&self, keyword: &str, arg: Option<&str>) -> Result<Option<(String, String)>> {
        let (address, params) = getaddr(strip_command_keyword(keyword, arg.unwrap_or_default()))?;
        let allowed = params.is_empty() || self.extended_smtp.get();
        Ok((!address.is_empty() && allowed).then(|| (address, params.to_owned())))
    }
}

/// An argument, unless it is empty.
fn given(arg: Option<&str>) -> Option<&str> {
    arg.filter(|arg| !arg.is_empty())
}

fn strip_command_keyword<'a>(keyword: &str, arg: &'a str) -> &'a str {
    let end = arg.char_indices().nth(keyword.len());
    let (start, rest) = arg.split_at(end.map_or(arg.len(), |(at, _)| at));
    match start.to_uppercase() == keyword {
        true => rest.trim_matches(is_space),
        false => "",
    }
}

/// The first address of a text, empty if there is none, and the rest.
fn getaddr(arg: &str) -> Result<(String, &str)> {
    if arg.is_empty() {
        Ok((String::new(), ""))
    } else if arg.starts_with('<') {
        get_angle_addr(arg)
    } else {
        get_addr_spec(arg)
    }
}

/// `params.upper().split()`
fn split(params: &str) -> Vec<String> {
    let params = params.to_uppercase();
    let params = params.split(is_space).filter(|param| !param.is_empty());
    params.map(str::to_owned).collect()
}

/// The names of parameters and their values, if they have one. `None` if one of them is no parameter at all
/// (RFC 1869).
fn getparams(params: &[String]) -> Option<BTreeMap<String, Option<String>>> {
    let mut result = BTreeMap::new();
    for param in params {
        let (name, value) = match param.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (param.as_str(), None),
        };
        let is_name = !name.is_empty() && name.chars().all(char::is_alphanumeric);
        if !is_name || value == Some("") {
            return None;
        }
        result.insert(name.to_owned(), value.map(str::to_owned));
    }
    Some(result)
}
