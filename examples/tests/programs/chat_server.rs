//! The chat server, and people of all kinds.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use asyncore::socket2::SockRef;

use crate::util::{Running, connect, example, listening};

fn chat_server() -> (Running, SocketAddr) {
    chat_server_with(None)
}

fn chat_server_with(option: Option<&str>) -> (Running, SocketAddr) {
    let mut command = Command::new(example("chat_server"));
    listening(command.args(["--port", "0"]).args(option))
}

/// Someone who chats.
struct Person(BufReader<TcpStream>);

impl Person {
    /// Has been told where they are when this returns.
    fn unnamed(server: SocketAddr) -> Person {
        let mut person = Person(BufReader::new(connect(server)));
        let welcome = person.line();
        assert!(welcome.starts_with("* you are guest"), "{welcome}");
        person
    }

    fn new(server: SocketAddr, nick: &str) -> Person {
        let mut person = Person::unnamed(server);
        person.says(&format!("/nick {nick}"));
        person.finally_hears(&format!("* you are {nick}"));
        person
    }

    fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let mut stream = self.0.get_ref();
        stream
            .write_all(bytes.as_ref())
            .expect("the server takes it");
    }

    fn says(&mut self, line: &str) {
        self.sends(format!("{line}\n"));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in UTF-8");
        let end = line.strip_suffix("\r\n");
        end.unwrap_or_else(|| panic!("the connection ends after {line:?}"))
            .to_owned()
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Reads on until this comes, and returns what came before.
    #[track_caller]
    fn finally_hears(&mut self, expected: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if line == expected {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Whether nothing has come but the answer to a command, which comes last.
    fn has_heard_nothing(&mut self) -> bool {
        self.says("/nothing");
        self.finally_hears("! there is no /nothing; see /help")
            .is_empty()
    }

    fn vanishes(self) {
        // Without lingering, closing resets the connection.
        let socket = SockRef::from(self.0.get_ref());
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("still connected");
    }
}

/// Two who have seen each other come.
fn two(server: SocketAddr) -> (Person, Person) {
    let mut ann = Person::new(server, "ann");
    let bob = Person::new(server, "bob");
    ann.finally_hears("* guest2 is now bob");
    (ann, bob)
}

// ---- what it is for

#[test]
fn what_is_said_is_heard_by_the_others_in_the_room() {
    let (_server, addr) = chat_server();
    let mut ann = Person::unnamed(addr);
    let mut bob = Person::unnamed(addr);
    ann.hears("* guest2 has joined");
    bob.says("/nick bob");
    bob.hears("* you are bob");
    ann.hears("* guest2 is now bob");
    bob.says("hello, <everyone>");
    ann.hears("<bob> hello, <everyone>");
    ann.says("hello");
    bob.hears("<guest1> hello");
    assert!(bob.has_heard_nothing());
    bob.says("/quit");
    bob.hears("* goodbye");
    assert_eq!(bob.0.read(&mut [0]).expect("no reset"), 0);
    ann.hears("* bob has left");
    assert!(ann.has_heard_nothing());
}

fn a_crowd_hears_everything_in_the_order_it_was_said(option: Option<&str>) {
    const PEOPLE: usize = 100;

    let (_server, addr) = chat_server_with(option);
    let mut people: Vec<Person> = (0..PEOPLE).map(|_| Person::unnamed(addr)).collect();
    for (index, person) in people.iter_mut().enumerate() {
        for other in index + 1..PEOPLE {
            person.hears(&format!("* guest{} has joined", other + 1));
        }
    }
    for speaker in 0..PEOPLE {
        people[speaker].sends(format!(
            "first {speaker}\nsecond {speaker}\nthird {speaker}\n"
        ));
        let nick = format!("<guest{}>", speaker + 1);
        for listener in (0..PEOPLE).filter(|listener| *listener != speaker) {
            for word in ["first", "second", "third"] {
                people[listener].hears(&format!("{nick} {word} {speaker}"));
            }
        }
    }
}

#[test]
fn a_crowd_hears_everything_in_the_order_it_was_said_with_select() {
    a_crowd_hears_everything_in_the_order_it_was_said(None);
}

#[test]
fn a_crowd_hears_everything_in_the_order_it_was_said_with_poll() {
    a_crowd_hears_everything_in_the_order_it_was_said(Some("--poll"));
}

#[test]
fn rooms_are_apart() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    bob.says("/join den");
    bob.hears("* you are in den");
    ann.hears("* bob has left");
    ann.says("is anyone here?");
    bob.says("and here?");
    assert!(ann.has_heard_nothing());
    assert!(bob.has_heard_nothing());

    ann.says("/rooms");
    ann.hears("* rooms: den (1), lobby (1)");
    ann.says("/who");
    ann.hears("* here: ann");
    ann.says("/join den");
    ann.hears("* you are in den");
    bob.hears("* ann has joined");
    ann.says("here you are");
    bob.hears("<ann> here you are");
    bob.says("/who");
    bob.hears("* here: ann, bob");
    bob.says("/rooms");
    bob.hears("* rooms: den (2)");
    for room in ["", "a b", "é", "x/y", "123456789012345678901"] {
        bob.says(&format!("/join {room}"));
        let answer = bob.line();
        assert!(answer.starts_with("! a name has "), "{room:?}: {answer}");
    }
}

#[test]
fn a_name_belongs_to_one() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    for taken in ["ann", "ANN", "Ann"] {
        bob.says(&format!("/nick {taken}"));
        bob.hears(&format!("! {taken} is someone else"));
    }
    for none in [
        "",
        "a b",
        "<ann>",
        "é",
        "a\u{200b}nn",
        "123456789012345678901",
    ] {
        bob.says(&format!("/nick {none}"));
        let answer = bob.line();
        assert!(answer.starts_with("! a name has "), "{none:?}: {answer}");
    }
    ann.says("/nick ANN");
    ann.hears("* you are ANN");
    bob.hears("* ann is now ANN");
    ann.says("/nick guest3");
    ann.hears("* you are guest3");
    bob.hears("* ANN is now guest3");
    bob.says("/nick Ann");
    bob.hears("* you are Ann");
    let mut third = Person(BufReader::new(connect(addr)));
    third.hears("* you are guest4, in lobby; see /help");
    third.says("/quit");
    third.hears("* goodbye");
    bob.finally_hears("* guest4 has left");
    bob.says("/nick guest4");
    bob.hears("* you are guest4");
}

#[test]
fn a_private_message_reaches_one_in_whatever_room() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    let mut eve = Person::new(addr, "eve");
    ann.finally_hears("* guest3 is now eve");
    bob.finally_hears("* guest3 is now eve");
    bob.says("/join den");
    bob.hears("* you are in den");
    eve.hears("* bob has left");
    ann.hears("* bob has left");
    ann.says("/msg BOB this is private");
    bob.hears("<ann, to you> this is private");
    assert!(eve.has_heard_nothing());
    assert!(ann.has_heard_nothing());
    ann.says("/msg nobody hello");
    ann.hears("! there is no nobody");
    ann.says("/msg bob");
    ann.hears("! /msg NAME TEXT");
    ann.says("/help");
    assert!(
        ann.finally_hears("Everything else is said to your room.")
            .len()
            > 5
    );
}

// ---- lines of all kinds

#[test]
fn lines_may_end_as_telnet_ends_them_and_come_in_pieces() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    bob.0.get_ref().set_nodelay(true).expect("still connected");
    bob.sends("one\r\ntwo\n\r\n\n  \nthree\r\n/nick Bob\r\n");
    for byte in b"four\r\n" {
        bob.sends([*byte]);
    }
    for line in [
        "<bob> one",
        "<bob> two",
        "<bob> three",
        "* bob is now Bob",
        "<Bob> four",
    ] {
        ann.hears(line);
    }
}

#[test]
fn what_is_no_text_harms_no_terminal() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    bob.sends(b"\xff\xfb\x01\x1b[31mred\0\x07 caf\xc3\xa9 \xe2\x82\n");
    ann.hears("<bob> \u{fffd}\u{fffd}[31mred café \u{fffd}");
}

#[test]
fn too_long_a_line_is_refused_and_the_connection_goes_on() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    let refusal = "! a line has at most 1024 bytes";
    for length in [1025, 5000, 1_000_000] {
        bob.says(&"x".repeat(length));
        bob.hears(refusal);
    }
    let longest = "x".repeat(1024);
    bob.says(&longest);
    ann.hears(&format!("<bob> {longest}"));
    bob.sends("y".repeat(500_000)); // There is no end to it.
    ann.says("hello");
    bob.hears("<ann> hello");
    bob.says("");
    bob.hears(refusal);
    assert!(ann.has_heard_nothing());
}

#[test]
fn nothing_is_heard_of_one_who_has_quit() {
    let (_server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    bob.sends("/quit\n/msg ann hello\nhello\n/join den\n/nick eve\n/quit\n");
    bob.hears("* goodbye");
    ann.hears("* bob has left");
    assert!(ann.has_heard_nothing());
    ann.says("/rooms");
    ann.hears("* rooms: lobby (1)");
    ann.says("/who");
    ann.hears("* here: ann");
}

// ---- those who vanish

/// Lets things happen while the server does not look: it finds all of them done at once.
#[cfg(unix)]
fn at_once(server: &Running, happen: impl FnOnce()) {
    use rustix::process::Signal;

    server.stop();
    happen();
    server.signal(Signal::CONT);
}

#[cfg(unix)]
fn one_who_vanishes_in_the_middle_of_what_is_said_harms_nobody(option: Option<&str>) {
    const LISTENERS: usize = 50;
    const ROUNDS: usize = 10;

    let (server, addr) = chat_server_with(option);
    // Is served before the others, and so finds them gone.
    let mut speaker = Person::new(addr, "speaker");
    let mut people: Vec<Person> = (0..LISTENERS).map(|_| Person::unnamed(addr)).collect();
    for round in 0..ROUNDS {
        // Its name puts it in the middle of those who are told.
        let victim = Person::new(addr, &format!("guest3x{round}"));
        at_once(&server, || {
            victim.vanishes();
            speaker.says("one");
        });
        speaker.says("two");
    }
    for person in &mut people {
        let (mut said, mut left) = (Vec::new(), Vec::new());
        while said.len() < 2 * ROUNDS || left.len() < ROUNDS {
            let line = person.line();
            if let Some(words) = line.strip_prefix("<speaker> ") {
                said.push(words.to_owned());
            } else if line.ends_with(" has left") {
                left.push(line);
            }
        }
        assert_eq!(said, ["one", "two"].repeat(ROUNDS));
        let all = (0..ROUNDS).map(|round| format!("* guest3x{round} has left"));
        assert_eq!(left, all.collect::<Vec<_>>());
        assert!(person.has_heard_nothing());
    }
}

#[cfg(unix)]
#[test]
fn one_who_vanishes_in_the_middle_of_what_is_said_harms_nobody_with_select() {
    one_who_vanishes_in_the_middle_of_what_is_said_harms_nobody(None);
}

#[cfg(unix)]
#[test]
fn one_who_vanishes_in_the_middle_of_what_is_said_harms_nobody_with_poll() {
    one_who_vanishes_in_the_middle_of_what_is_said_harms_nobody(Some("--poll"));
}

#[cfg(unix)]
#[test]
fn many_who_vanish_at_once_are_announced_to_all_in_one_order() {
    const VICTIMS: usize = 400;

    let (server, addr) = chat_server();
    let mut speaker = Person::new(addr, "speaker");
    let victims: Vec<Person> = (0..VICTIMS).map(|_| Person::unnamed(addr)).collect();
    // One is told before all victims, one after them.
    let mut ann = Person::new(addr, "ann");
    let mut zoe = Person::new(addr, "zoe");
    ann.finally_hears(&format!("* guest{} is now zoe", VICTIMS + 3));
    at_once(&server, || {
        victims.into_iter().for_each(Person::vanishes);
        speaker.says("are you all here?");
    });
    let hears_all =
        |person: &mut Person| (0..VICTIMS + 1).map(|_| person.line()).collect::<Vec<_>>();
    let heard = hears_all(&mut ann);
    let left = heard.iter().filter(|line| line.ends_with(" has left"));
    assert_eq!(left.collect::<HashSet<_>>().len(), VICTIMS, "each once");
    assert!(
        heard
            .iter()
            .any(|line| line == "<speaker> are you all here?")
    );
    assert_eq!(hears_all(&mut zoe), heard);
    assert!(ann.has_heard_nothing() && zoe.has_heard_nothing());
}

#[test]
fn one_who_never_reads_is_dropped_and_the_others_chat_on() {
    const MOST: usize = 64 * 1024 * 1024;

    let (server, addr) = chat_server();
    let (mut ann, mut bob) = two(addr);
    let mut deaf = Person::new(addr, "deaf");
    ann.finally_hears("* guest3 is now deaf");
    bob.finally_hears("* guest3 is now deaf");

    let text = "x".repeat(1000);
    let mut said = 0;
    loop {
        ann.says(&text);
        said += text.len();
        assert!(said < MOST, "{said} bytes wait for one who does not read");
        // What takes one out is heard before, or after, what it was taken out for.
        let line = bob.line();
        if line == "* deaf has left" {
            break;
        }
        assert_eq!(line, format!("<ann> {text}"));
    }
    ann.hears("* deaf has left");
    bob.says("it is so quiet");
    ann.hears("<bob> it is so quiet");
    let mut rest = Vec::new();
    let _ = deaf.0.read_to_end(&mut rest); // A reset is an end, too.
    #[cfg(target_os = "linux")]
    {
        let peak = server.peak_memory();
        assert!(peak < 32 * 1024 * 1024, "{peak} bytes");
    }
    drop(server);
}

#[test]
fn one_who_asks_much_and_reads_nothing_is_dropped() {
    let (_server, addr) = chat_server();
    let mut ann = Person::new(addr, "ann");
    let mut deaf = Person::new(addr, "deaf");
    ann.finally_hears("* guest2 is now deaf");
    let questions = "/help\n".repeat(10_000);
    let mut stream = deaf.0.get_ref();
    while stream.write_all(questions.as_bytes()).is_ok() {}
    ann.hears("* deaf has left");
    let _ = deaf.0.read(&mut [0]);
}

// ---- its end

#[cfg(unix)]
mod unix {
    use rustix::process::Signal;

    use super::*;

    fn ends_well_on(signal: Signal) {
        let (server, addr) = chat_server();
        let (mut ann, mut bob) = two(addr);
        server.signal(signal);
        let ended = server.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        for person in [&mut ann, &mut bob] {
            let mut rest = String::new();
            person.0.read_to_string(&mut rest).expect("no reset");
            assert_eq!(rest, "", "nobody is said to have left");
        }
        assert!(TcpStream::connect(addr).is_err(), "nobody listens");
    }

    #[test]
    fn control_c_ends_it_well() {
        ends_well_on(Signal::INT);
    }

    #[test]
    fn sigterm_ends_it_well() {
        ends_well_on(Signal::TERM);
    }
}
