//! An IRC bot of the usual kind: `class irc_bot(asynchat.async_chat)`, whose `found_terminator` calls the
//! method that is named for the command, and whose `handle_close` sees to the next connection.
//!
//! ```text
//! cargo run --example irc_bot -- --server irc.example.org:6667 --nick echobot --channel '#test'
//! ```
//!
//! Say `!help` in its channel, or to it alone. Ends with Ctrl-C. `RUST_LOG=info` shows what it does.

mod arguments;
mod message;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::socket2::{Domain, Type};
use asyncore::{
    Address, Dispatcher, Error, Exception, KeyboardInterrupt, Loop, Result, socket_map,
};
use examples::{except_keyboard_interrupt, program, watch_signals};

use arguments::Args;
use message::Message;

/// What IRCv3 allows for tags, and RFC 1459 for the rest.
const MAX_LINE: usize = 8191 + 512;
const MAX_OUTPUT: usize = 510;
/// As much text as others get whole: to them, the server puts our names before it.
const MAX_TEXT: usize = 350;
/// How many answers may wait to be sent. Who asks when there are more gets none.
const MAX_OUTBOX: usize = 20;
/// How many lines may be sent at once after a pause, before the interval between them counts.
const BURST: u32 = 5;
const MAX_NICKS: u32 = 5;
/// How long the server may take to close the connection after QUIT.
const GOODBYE: Duration = Duration::from_secs(2);

struct IrcBot {
    base: AsyncChatBase,
    args: Args,
    phase: Cell<Phase>,
    /// When the phase is over; see `tick`.
    deadline: Cell<Instant>,
    /// How long to wait before the next attempt to connect.
    delay: Cell<Duration>,
    nick: RefCell<String>,
    nicks_tried: Cell<u32>,
    line_is_too_long: Cell<bool>,
    outbox: RefCell<VecDeque<String>>,
    /// As far ahead of now as there were more lines than the interval allows.
    penalty: Cell<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// There is no connection.
    Waiting,
    /// Connecting, and telling who we are.
    Registering,
    Online,
    /// The server has been silent, and asked whether it is there.
    Asking,
    Quitting,
    Over,
}

impl Dispatcher for IrcBot {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    // A server that sends PING without end and never reads PONG waits at its own expense.
    fn readable(&self) -> bool {
        self.base.producer_fifo.is_empty()
    }

    fn handle_connect(&self) -> Result {
        let nick = self.nick();
        self.push_line(&format!("NICK {nick}"))?;
        self.push_line(&format!("USER {nick} 0 * :{nick}"))
    }

    // `close`, and then `create_socket` and `connect` on the same object: these in `tick`, after the delay.
    fn handle_close(&self) -> Result {
        // Or half a line would begin the next connection.
        self.discard_buffers();
        self.line_is_too_long.set(false);
        self.outbox.take();
        self.close()?;
        match self.phase.get() {
            Phase::Waiting | Phase::Over => {} // It is called more than once.
            Phase::Quitting => self.phase.set(Phase::Over),
            _ => {
                let delay = self.delay.get();
                self.log_info(&format!("the next attempt is in {delay:?}"), "info");
                self.enter(Phase::Waiting, delay);
                self.delay.set((delay * 2).min(self.args.max_delay));
            }
        }
        Ok(())
    }

    // Where there is no out-of-band data, it is how select(2) tells that a connection has failed.
    fn handle_expt(&self) -> Result {
        self.give_up("the connection has failed")
    }

    fn handle_error(&self, error: Error) -> Result {
        if error.is::<Exception>() {
            return Err(error); // One of ours, which the next attempt would meet again.
        }
        self.give_up(&error.to_string())
    }
}

impl AsyncChat for IrcBot {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        if self.base.incoming_len() + data.len() > MAX_LINE {
            self.line_is_too_long.set(true);
        }
        if self.line_is_too_long.get() {
            self._get_data();
        } else {
            self._collect_incoming_data(data);
        }
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        let line = self._get_data();
        if self.line_is_too_long.take() {
            self.log_info("a line is too long, and left out", "info");
            return Ok(());
        }
        if self.phase.get() == Phase::Online || self.phase.get() == Phase::Asking {
            self.enter(Phase::Online, self.args.timeout);
        }
        let line = String::from_utf8_lossy(&line);
        let Some(message) = Message::parse(&line) else {
            return Ok(());
        };
        // getattr(self, 'irc_' + command, self.irc_unknown)(message)
        match &*message.command.to_ascii_uppercase() {
            "001" => self.irc_001(&message),
            "432" => self.irc_432(&message),
            "433" => self.irc_433(&message),
            // Of the numbers, those that say why it cannot join.
            "ERROR" | "403" | "405" | "437" | "471" | "473" | "474" | "475" => {
                self.irc_error(&message)
            }
            "JOIN" => self.irc_join(&message),
            "NICK" => self.irc_nick(&message),
            "PING" => self.irc_ping(&message),
            "PRIVMSG" => self.irc_privmsg(&message),
            _ => Ok(()),
        }
    }
}

// ---- what the server says

impl IrcBot {
    /// Welcome.
    fn irc_001(&self, message: &Message) -> Result {
        if self.phase.get() != Phase::Registering {
            return Ok(());
        }
        self.rename(message.param(0)); // It may have been made shorter.
        let nick = self.nick();
        self.log_info(&format!("registered as {}", nick.escape_debug()), "info");
        self.enter(Phase::Online, self.args.timeout);
        self.delay.set(self.args.delay);
        self.push_line(&format!("JOIN {}", self.args.channel))
    }

    /// The nick is none.
    fn irc_432(&self, message: &Message) -> Result {
        if self.phase.get() != Phase::Registering {
            return Ok(());
        }
        let reason = message.last().escape_debug();
        Err(Error::msg(format!("nick {}: {reason}", self.args.nick)))
    }

    /// The nick is in use.
    fn irc_433(&self, _message: &Message) -> Result {
        if self.phase.get() != Phase::Registering {
            return Ok(());
        }
        self.nicks_tried.set(self.nicks_tried.get() + 1);
        if self.nicks_tried.get() == MAX_NICKS {
            return self.give_up("all nicks are in use");
        }
        self.nick.borrow_mut().push('_');
        self.push_line(&format!("NICK {}", self.nick()))
    }

    fn irc_error(&self, message: &Message) -> Result {
        let reason = message.last().escape_debug();
        self.log_info(&format!("the server says: {reason}"), "info");
        Ok(())
    }

    fn irc_join(&self, message: &Message) -> Result {
        if message.nick == self.nick() {
            self.log_info(&format!("in {}", message.param(0).escape_debug()), "info");
        }
        Ok(())
    }

    fn irc_nick(&self, message: &Message) -> Result {
        if message.nick == self.nick() {
            self.rename(message.param(0));
        }
        Ok(())
    }

    fn irc_ping(&self, message: &Message) -> Result {
        self.push_line(&format!("PONG :{}", message.last()))
    }

    fn irc_privmsg(&self, message: &Message) -> Result {
        let (nick, target, text) = (message.nick, message.param(0), message.last());
        if nick.is_empty() || nick == self.nick() {
            return Ok(());
        }
        if let Some(request) = text.strip_prefix('\x01') {
            self.ctcp(nick, request.trim_end_matches('\x01'));
        } else if let Some(command) = text.strip_prefix('!') {
            if target.eq_ignore_ascii_case(&self.nick()) {
                self.command(nick, command);
            } else if target.eq_ignore_ascii_case(&self.args.channel) {
                self.command(target, command);
            }
        }
        Ok(())
    }

    /// A request of the client-to-client protocol. Answered with NOTICE, to which nobody may answer.
    fn ctcp(&self, nick: &str, request: &str) {
        let (name, argument) = request.split_once(' ').unwrap_or((request, ""));
        let answer = match name {
            "PING" => argument,
            "VERSION" => concat!("irc_bot ", env!("CARGO_PKG_VERSION"), ", on asynchat"),
            _ => return,
        };
        self.answer(format!(
            "NOTICE {nick} :\x01{name} {}\x01",
            cut(answer, MAX_TEXT)
        ));
    }

    fn command(&self, to: &str, command: &str) {
        let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
        let answer = match name {
            // Not to be made to send CTCP.
            "echo" => argument.replace('\x01', ""),
            "time" => httpdate::fmt_http_date(SystemTime::now()),
            "help" => "!echo TEXT repeats it, !time tells the time, !help this".to_owned(),
            _ => return,
        };
        if !answer.is_empty() {
            self.answer(format!("PRIVMSG {to} :{}", cut(&answer, MAX_TEXT)));
        }
    }
}

// ---- what it says, and when

impl IrcBot {
    fn new(args: &Args) -> Result<Rc<IrcBot>> {
        let now = Instant::now();
        let bot = IrcBot::init(|base| IrcBot {
            base,
            args: args.clone(),
            phase: Cell::new(Phase::Waiting),
            deadline: Cell::new(now),
            delay: Cell::new(args.delay),
            nick: RefCell::default(),
            nicks_tried: Cell::new(0),
            line_is_too_long: Cell::new(false),
            outbox: RefCell::default(),
            penalty: Cell::new(now),
        });
        bot.set_terminator(b"\r\n")?;
        Ok(bot)
    }

    /// asyncore.loop(), with what is due between its passes.
    fn run(&self) -> Result {
        while self.phase.get() != Phase::Over {
            let wait = self.tick()?;
            if socket_map().is_empty() {
                thread::sleep(wait); // With no channel, the loop ends at once.
            }
            Loop::new().timeout(wait).count(1).run()?;
        }
        Ok(())
    }

    /// Does what is due, and returns how long nothing else will be.
    fn tick(&self) -> Result<Duration> {
        if self.deadline.get() <= Instant::now() {
            match self.phase.get() {
                Phase::Waiting => self.reconnect()?,
                Phase::Registering => self.give_up("the server does not let us in")?,
                Phase::Online => {
                    self.enter(Phase::Asking, self.args.timeout);
                    self.push_line("PING :are you there?")?;
                }
                Phase::Asking => self.give_up("the server does not answer")?,
                Phase::Quitting => self.handle_close()?,
                Phase::Over => {}
            }
        }
        while self.outbox_wait() == Some(Duration::ZERO) {
            let line = self.outbox.borrow_mut().pop_front().unwrap_or_default();
            let penalty = self.penalty.get().max(Instant::now());
            self.penalty.set(penalty + self.args.interval);
            self.push_line(&line)?;
        }
        let left = self
            .deadline
            .get()
            .saturating_duration_since(Instant::now());
        Ok(self.outbox_wait().map_or(left, |wait| wait.min(left)))
    }

    /// How long the next answer has to wait, as RFC 1459, 8.10 has it.
    fn outbox_wait(&self) -> Option<Duration> {
        if self.outbox.borrow().is_empty() {
            return None;
        }
        let ahead = self.penalty.get().saturating_duration_since(Instant::now());
        Some(ahead.saturating_sub(self.args.interval * (BURST - 1)))
    }

    fn enter(&self, phase: Phase, until: Duration) {
        self.phase.set(phase);
        self.deadline.set(Instant::now() + until);
    }

    fn reconnect(&self) -> Result {
        self.enter(Phase::Registering, self.args.timeout);
        self.nick.replace(self.args.nick.clone());
        self.nicks_tried.set(0);
        let server = &self.args.server;
        let family = match server {
            Address::Inet(SocketAddr::V6(_)) => Domain::IPV6,
            _ => Domain::IPV4,
        };
        self.create_socket(family, Type::STREAM)
            .and_then(|()| self.connect(server.clone()))
            .or_else(|error| self.handle_error(error))
    }

    fn give_up(&self, reason: &str) -> Result {
        self.log_info(reason, "error");
        self.handle_close()
    }

    fn quit(&self) -> Result {
        let is_connected = self.connected();
        self.enter(Phase::Quitting, GOODBYE);
        if !is_connected {
            return self.handle_close();
        }
        self.outbox.take();
        self.push_line("QUIT :goodbye")?;
        self.run()
    }

    fn nick(&self) -> String {
        self.nick.borrow().clone()
    }

    fn rename(&self, nick: &str) {
        if !nick.is_empty() {
            self.nick.replace(nick.to_owned());
        }
    }

    fn answer(&self, line: String) {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.len() < MAX_OUTBOX {
            outbox.push_back(line);
        }
    }

    /// Sends a line, and never more than one, whatever there is in what others have said.
    fn push_line(&self, line: &str) -> Result {
        let line = line.replace(['\r', '\n', '\0'], " ");
        self.push(format!("{}\r\n", cut(&line, MAX_OUTPUT)))
    }
}

/// As much of the beginning as fits into so many bytes.
fn cut(text: &str, max: usize) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=max.min(text.len())).rev().find(fits);
    &text[..end.unwrap_or(0)]
}

fn main() -> ExitCode {
    program(|args: &Args| {
        watch_signals()?;
        let bot = IrcBot::new(args)?;
        match bot.run() {
            Err(error) if error.is::<KeyboardInterrupt>() => except_keyboard_interrupt(bot.quit()),
            ended => ended,
        }
    })
}
