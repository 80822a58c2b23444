//! A chat server: `class chat_channel(asynchat.async_chat)`, one for each client, and
//! `class chat_server(asyncore.dispatcher)`, which makes them and knows them all.
//!
//! ```text
//! cargo run --example chat_server -- --port 8006
//! ```
//!
//! Join it with `nc localhost 8006`, or telnet, more than once. Ends with Ctrl-C.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::rc::{Rc, Weak};

use asynchat::bytes::Bytes;
use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::socket2::{Domain, Type};
use asyncore::{Address, Dispatcher, DispatcherBase, Error, Result, Socket};
use clap::Parser;
use examples::{Listen, program};

const MAX_LINE: usize = 1024;
const MAX_NAME: usize = 20;
/// How many lines may wait for a client that does not read.
const MAX_QUEUE: usize = 1000;
const LOBBY: &str = "lobby";

const HELP: &str = "\
/nick NAME      changes your name
/join ROOM      takes you to a room, which is made for you if need be
/who            tells who is in your room
/rooms          tells what rooms there are
/msg NAME TEXT  sends a private message, to whatever room
/quit           ends it
Everything else is said to your room.";

// ---- one client

struct ChatChannel {
    base: AsyncChatBase,
    server: Weak<ChatServer>,
    nick: RefCell<String>,
    /// None once the client has left.
    room: RefCell<Option<String>>,
    line_is_too_long: Cell<bool>,
}

impl ChatChannel {
    fn open(socket: Socket, server: &Rc<ChatServer>) -> Result {
        let server = Rc::downgrade(server);
        let channel = ChatChannel::init_with(socket, |base| ChatChannel {
            base,
            server,
            nick: RefCell::default(),
            room: RefCell::default(),
            line_is_too_long: Cell::new(false),
        })?;
        channel.set_terminator(b"\n")?;
        channel.server()?.welcome(channel)
    }

    fn server(&self) -> Result<Rc<ChatServer>> {
        let server = self.server.upgrade();
        server.ok_or_else(|| Error::msg("there is no server any more"))
    }

    fn nick(&self) -> String {
        self.nick.borrow().clone()
    }

    fn room(&self) -> Option<String> {
        self.room.borrow().clone()
    }
}

impl Dispatcher for ChatChannel {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn handle_close(&self) -> Result {
        self.discard_buffers();
        self.close()?;
        self.leave()
    }
}

impl AsyncChat for ChatChannel {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        let collected = self.base.incoming_len();
        if collected + data.len() > MAX_LINE {
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
        if self.room().is_none() {
            return Ok(());
        }
        if self.line_is_too_long.take() {
            return self.tell(format!("! a line has at most {MAX_LINE} bytes"));
        }
        // Control characters could do anything to the terminals of the others.
        let line = String::from_utf8_lossy(&line).replace(|it: char| it.is_control(), "");
        match line.strip_prefix('/') {
            Some(command) => self.command(command),
            None if line.trim().is_empty() => Ok(()),
            None => self.broadcast(format!("<{}> {line}", self.nick())),
        }
    }
}

impl ChatChannel {
    /// Sends a line to the client.
    fn tell(&self, line: impl AsRef<str>) -> Result {
        self.push_line(Bytes::from(line.as_ref().replace('\n', "\r\n") + "\r\n"))
    }

    fn push_line(&self, line: Bytes) -> Result {
        if self.base.producer_fifo.len() >= MAX_QUEUE {
            self.log_info(&format!("{} does not read", self.nick()), "info");
            return self.handle_close();
        }
        self.push(line)
    }

    /// Sends a line to the others in the room.
    fn broadcast(&self, line: impl AsRef<str>) -> Result {
        let mut others = self.server()?.members(self.room().as_deref());
        others.retain(|other| !std::ptr::eq(&**other, self));
        self.server()?.announce(line.as_ref(), others)
    }

    fn command(&self, command: &str) -> Result {
        let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
        let argument = argument.trim();
        match name.trim_end() {
            "nick" => self.rename(argument),
            "join" => self.join(argument),
            "who" => self.who(),
            "rooms" => self.rooms(),
            "msg" => self.message(argument),
            "quit" => self.quit(),
            "help" => self.tell(HELP),
            unknown => self.tell(format!("! there is no /{unknown}; see /help")),
        }
    }

    fn rename(&self, name: &str) -> Result {
        let server = self.server()?;
        if !is_name(name) {
            return self.tell(NO_NAME);
        }
        let holder = server.find(name);
        if holder.is_some_and(|holder| !std::ptr::eq(&*holder, self)) {
            return self.tell(format!("! {name} is someone else"));
        }
        let old = self.nick.replace(name.to_owned());
        server.rename(&old, name);
        self.tell(format!("* you are {name}"))?;
        self.broadcast(format!("* {old} is now {name}"))
    }

    fn join(&self, room: &str) -> Result {
        if !is_name(room) {
            return self.tell(NO_NAME);
        }
        self.broadcast(format!("* {} has left", self.nick()))?;
        if self.room().is_none() {
            return Ok(()); // Sending has found out that the client is gone.
        }
        self.room.replace(Some(room.to_owned()));
        self.tell(format!("* you are in {room}"))?;
        self.broadcast(format!("* {} has joined", self.nick()))
    }

    fn leave(&self) -> Result {
        let Some(room) = self.room.take() else {
            return Ok(()); // It has left before.
        };
        let (server, nick) = (self.server()?, self.nick());
        server.remove(&nick);
        server.announce(&format!("* {nick} has left"), server.members(Some(&room)))
    }

    fn who(&self) -> Result {
        let members = self.server()?.members(self.room().as_deref());
        let nicks: Vec<String> = members.iter().map(|member| member.nick()).collect();
        self.tell(format!("* here: {}", nicks.join(", ")))
    }

    fn rooms(&self) -> Result {
        let rooms = self.server()?.rooms();
        self.tell(format!("* rooms: {}", rooms.join(", ")))
    }

    fn message(&self, argument: &str) -> Result {
        let Some((name, text)) = argument.split_once(' ') else {
            return self.tell("! /msg NAME TEXT");
        };
        match self.server()?.find(name) {
            Some(other) => other.tell(format!("<{}, to you> {}", self.nick(), text.trim_start())),
            None => self.tell(format!("! there is no {name}")),
        }
    }

    fn quit(&self) -> Result {
        self.leave()?;
        self.tell("* goodbye")?;
        self.close_when_done()
    }
}

const NO_NAME: &str = "! a name has letters, digits, - and _, and not more than 20 of them";

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (1..=MAX_NAME).contains(&name.len())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

// ---- the server

struct ChatServer {
    base: DispatcherBase,
    /// All who are here, under their names in lower case.
    channels: RefCell<BTreeMap<String, Rc<ChatChannel>>>,
    guests: Cell<u64>,
    news: RefCell<VecDeque<(Bytes, Vec<Rc<ChatChannel>>)>>,
    announcing: Cell<bool>,
}

impl ChatServer {
    fn new(host: &str, port: u16) -> Result<Rc<ChatServer>> {
        let server = ChatServer::init(|base| ChatServer {
            base,
            channels: RefCell::default(),
            guests: Cell::new(0),
            news: RefCell::default(),
            announcing: Cell::new(false),
        });
        server.create_socket(Domain::IPV4, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.bind((host, port))?;
        server.listen(1024)?;
        Ok(server)
    }

    fn welcome(&self, channel: Rc<ChatChannel>) -> Result {
        let nick = loop {
            self.guests.set(self.guests.get() + 1);
            let nick = format!("guest{}", self.guests.get());
            if self.find(&nick).is_none() {
                break nick;
            }
        };
        channel.nick.replace(nick.clone());
        self.channels
            .borrow_mut()
            .insert(nick.clone(), Rc::clone(&channel));
        channel.room.replace(Some(LOBBY.to_owned()));
        channel.tell(format!("* you are {nick}, in {LOBBY}; see /help"))?;
        channel.broadcast(format!("* {nick} has joined"))
    }

    fn find(&self, nick: &str) -> Option<Rc<ChatChannel>> {
        self.channels
            .borrow()
            .get(&nick.to_ascii_lowercase())
            .cloned()
    }

    fn remove(&self, nick: &str) -> Option<Rc<ChatChannel>> {
        self.channels
            .borrow_mut()
            .remove(&nick.to_ascii_lowercase())
    }

    fn rename(&self, old: &str, new: &str) {
        if let Some(channel) = self.remove(old) {
            let mut channels = self.channels.borrow_mut();
            channels.insert(new.to_ascii_lowercase(), channel);
        }
    }

    fn members(&self, room: Option<&str>) -> Vec<Rc<ChatChannel>> {
        let channels = self.channels.borrow();
        let members = channels.values();
        members
            .filter(|it| it.room.borrow().as_deref() == room)
            .cloned()
            .collect()
    }

    fn rooms(&self) -> Vec<String> {
        let mut rooms = BTreeMap::<String, usize>::new();
        for room in self.channels.borrow().values().filter_map(|it| it.room()) {
            *rooms.entry(room).or_default() += 1;
        }
        let rooms = rooms.into_iter();
        rooms
            .map(|(room, members)| format!("{room} ({members})"))
            .collect()
    }

    /// Sends a line to many. Sending may find one of them gone, which is announced, too: after what is
    /// being announced, so that all are told all in the same order, however many have gone.
    fn announce(&self, line: &str, to: Vec<Rc<ChatChannel>>) -> Result {
        let line = Bytes::from(format!("{line}\r\n"));
        self.news.borrow_mut().push_back((line, to));
        if self.announcing.replace(true) {
            return Ok(());
        }
        let announced = self.announce_all();
        self.announcing.set(false);
        announced
    }

    fn announce_all(&self) -> Result {
        let next = || self.news.borrow_mut().pop_front();
        while let Some((line, to)) = next() {
            for channel in to {
                if let Err(error) = channel.push_line(line.clone()) {
                    channel.handle_error(error)?;
                }
            }
        }
        Ok(())
    }
}

impl Dispatcher for ChatServer {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
        // An urgent byte that nobody reads would be reported in every pass.
        socket.socket2()?.set_out_of_band_inline(true)?;
        ChatChannel::open(socket, &self.this()?)
    }

    // The default closes the listener, and accept(2) fails for the troubles of one connection, too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Lets people talk to one another.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8006>,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let server = ChatServer::new(&args.listen.host, args.listen.port)?;
        args.listen.serve(&*server)
    })
}
