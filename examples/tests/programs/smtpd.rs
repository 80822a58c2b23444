//! The mail server, and clients of all kinds.

mod cpython_test_smtpd;
mod derived;
#[cfg(unix)]
mod dialogues;
mod pure_proxy;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use asyncore::socket2::SockRef;

use crate::util::{LONG, Noise, Running, connect, example, python};

/// A `DebuggingServer`, and what it prints.
struct Server {
    running: Running,
    addr: SocketAddr,
    lines: Receiver<String>,
}

fn debugging_server(options: &[&str]) -> Server {
    Server::start(
        Command::new(example("smtpd"))
            .args(["--class", "DebuggingServer"])
            .args(options),
    )
}

impl Server {
    fn start(command: &mut Command) -> Server {
        let mut running = Running::start(command.args(["--port", "0"]));
        let lines = running.stdout_lines();
        let first = lines.recv_timeout(LONG).expect("it says where it listens");
        let addr = first
            .strip_prefix("listening on ")
            .and_then(|it| it.parse().ok());
        Server {
            running,
            addr: addr.unwrap_or_else(|| panic!("{first:?}")),
            lines,
        }
    }

    /// The next line that it prints.
    fn line(&self) -> String {
        self.lines
            .recv_timeout(LONG)
            .expect("it prints a line more")
    }

    /// The lines of the next message, without those that frame it.
    fn message(&self) -> Vec<String> {
        assert_eq!(self.line(), "---------- MESSAGE FOLLOWS ----------");
        let lines = std::iter::repeat_with(|| self.line());
        lines
            .take_while(|line| line != "------------ END MESSAGE ------------")
            .collect()
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    /// Has been greeted when this returns.
    fn new(server: SocketAddr) -> Client {
        let mut client = Client(BufReader::new(connect(server)));
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let mut stream = self.0.get_ref();
        stream
            .write_all(bytes.as_ref())
            .expect("the server takes it");
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a line in UTF-8");
            let line = line.strip_suffix("\r\n");
            let line = line.unwrap_or_else(|| panic!("the connection ends after {line:?}"));
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.to_owned();
            }
        }
    }

    /// Sends a command, and returns the reply.
    fn says(&mut self, command: &str) -> String {
        self.sends(format!("{command}\r\n"));
        self.reply()
    }

    #[track_caller]
    fn hears(&mut self, command: &str, expected: &str) {
        assert_eq!(self.says(command), expected, "{command}");
    }

    /// Comes as far as the data of a message.
    #[track_caller]
    fn begins_message(&mut self) {
        self.hears("MAIL FROM:<me@here.example>", "250 OK");
        self.hears("RCPT TO:<you@there.example>", "250 OK");
        self.hears("DATA", "354 End data with <CR><LF>.<CR><LF>");
    }

    /// Whether the server closes the connection, after what it has said.
    fn is_at_end(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

// ---- what it is for

#[test]
fn a_message_is_printed() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    assert!(client.says("HELO client.example").starts_with("250 "));
    client.begins_message();
    client.sends("Subject: it's \"here\"\r\n\r\nhello\r\n..dot\r\nback\\slash\ttab\r\n\r\n.\r\n");
    assert_eq!(client.reply(), "250 OK");
    let printed = server.message();
    assert_eq!(
        printed,
        [
            r#"b'Subject: it\'s "here"'"#,
            "b'X-Peer: 127.0.0.1'",
            "b''",
            "b'hello'",
            "b'.dot'",
            r"b'back\\slash\ttab'",
        ]
    );
    client.hears("QUIT", "221 Bye");
    assert!(client.is_at_end());
}

#[test]
fn a_thousand_messages_of_smtplib_are_printed() {
    let Some(python) = python("import smtplib", "a thousand messages of Python's smtplib") else {
        return;
    };
    let server = debugging_server(&["--smtputf8"]);
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/smtpd/messages.py"
    );
    let (host, port) = (server.addr.ip().to_string(), server.addr.port().to_string());
    let mut command = Command::new(python);
    let delivered =
        Running::start(command.args(["-B", script, &host, &port, "1", "1000"])).finish();
    assert!(delivered.status.success(), "{}", delivered.stderr);
    let expected = String::from_utf8(delivered.stdout).expect("ASCII");
    let mut messages = 0;
    for line in expected.lines() {
        assert_eq!(server.line(), line);
        messages += usize::from(line == "------------ END MESSAGE ------------");
    }
    assert_eq!(messages, 1000);
}

fn a_thousand_messages_of_a_crowd_are_printed(option: &[&str]) {
    const CLIENTS: usize = 20;
    const EACH: usize = 50;

    let server = debugging_server(option);
    let addr = server.addr;
    let threads = (0..CLIENTS).map(|number| {
        thread::spawn(move || {
            let mut client = Client::new(addr);
            client.says("EHLO client.example");
            let mut noise = Noise::new(number);
            let messages = (0..EACH).map(|index| {
                let mut lines = vec![format!("Subject: {number} {index}"), String::new()];
                let mut random = [0; 64];
                noise.fill(&mut random);
                let sizes = random.iter().map(|byte| usize::from(*byte));
                lines.extend(sizes.map(|size| format!("{}x", ".".repeat(size % 100))));
                client.begins_message();
                for line in &lines {
                    client.sends(if line.starts_with('.') { "." } else { "" });
                    client.sends(format!("{line}\r\n"));
                }
                client.sends(".\r\n");
                assert_eq!(client.reply(), "250 OK");
                let mut printed: Vec<_> = lines.iter().map(|line| format!("b'{line}'")).collect();
                printed.insert(1, "b'X-Peer: 127.0.0.1'".to_owned());
                printed
            });
            messages.collect::<Vec<_>>()
        })
    });
    let threads: Vec<_> = threads.collect();
    let mut expected: Vec<Vec<String>> = Vec::new();
    for thread in threads {
        expected.extend(thread.join().expect("all is answered"));
    }
    let mut printed: Vec<Vec<String>> = expected.iter().map(|_| server.message()).collect();
    expected.sort();
    printed.sort();
    assert_eq!(printed, expected);
}

#[test]
fn a_thousand_messages_of_a_crowd_are_printed_with_select() {
    a_thousand_messages_of_a_crowd_are_printed(&[]);
}

#[test]
fn a_thousand_messages_of_a_crowd_are_printed_with_poll() {
    a_thousand_messages_of_a_crowd_are_printed(&["--poll"]);
}

const DIALOGUE: &str = "EHLO a\r\nMAIL FROM:<me@here> SIZE=9\r\nRCPT TO:<you@there>\r\nDATA\r\n\
    hello\r\n..\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n";

#[track_caller]
fn assert_dialogue_is_held(server: &Server, client: &mut Client) {
    for reply in [
        "250 HELP",
        "250 OK",
        "250 OK",
        "354 End data with <CR><LF>.<CR><LF>",
        "250 OK",
    ] {
        assert_eq!(client.reply(), reply);
    }
    assert_eq!(
        server.message(),
        ["mail options: ['SIZE=9']", "b'hello'", "b'.'"]
    );
    for reply in ["250 OK", "250 OK", "221 Bye"] {
        assert_eq!(client.reply(), reply);
    }
    assert!(client.is_at_end());
}

#[test]
fn all_of_a_dialogue_may_come_at_once() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client.sends(DIALOGUE);
    assert_dialogue_is_held(&server, &mut client);
}

#[test]
fn a_dialogue_may_come_byte_by_byte() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client
        .0
        .get_ref()
        .set_nodelay(true)
        .expect("still connected");
    for byte in DIALOGUE.bytes() {
        client.sends([byte]);
    }
    assert_dialogue_is_held(&server, &mut client);
}

#[test]
fn texts_are_printed_as_they_are() {
    let server = debugging_server(&["--decode-data"]);
    let mut client = Client::new(server.addr);
    assert_eq!(client.says("EHLO a"), "250 HELP");
    client.begins_message();
    client.sends("it's \u{e9}\u{2028}two\u{b}three\r\n\r\n'\"\r\n.\r\n");
    assert_eq!(client.reply(), "250 OK");
    assert_eq!(
        server.message(),
        [
            "it's \u{e9}",
            "two",
            "three",
            "X-Peer: 127.0.0.1",
            "",
            "'\""
        ]
    );
}

#[test]
fn an_urgent_byte_is_read_in_its_place() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client.sends("NO");
    let urgent = SockRef::from(client.0.get_ref()).send_out_of_band(b"O");
    urgent.expect("the system takes it");
    client.hears("P", "250 OK");
}

// ---- limits

/// What a client may make the server take, in a process that needs a few MiB itself.
#[cfg(target_os = "linux")]
const MOST: u64 = 24 * 1024 * 1024;

const MUCH: usize = 64 * 1024 * 1024;

impl Client {
    fn sends_much_without_an_end(&mut self) {
        let piece = [b'x'; 65536];
        (0..MUCH / piece.len()).for_each(|_| self.sends(piece));
    }
}

#[test]
fn too_long_a_command_is_refused_and_takes_no_memory() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client.sends_much_without_an_end();
    client.hears("", "500 Error: line too long");
    client.hears("NOOP", "250 OK");
    #[cfg(target_os = "linux")]
    assert!(
        server.running.peak_memory() < MOST,
        "{}",
        server.running.peak_memory()
    );
}

#[test]
fn too_large_a_message_is_refused_and_takes_no_memory() {
    let server = debugging_server(&["--size", "1000000"]);
    let mut client = Client::new(server.addr);
    client.says("EHLO a");
    let refusal = "552 Error: message size exceeds fixed maximum message size";
    client.hears("MAIL FROM:<me@here> SIZE=1000001", refusal);
    client.begins_message();
    client.sends_much_without_an_end();
    client.hears("\r\n.", "552 Error: Too much mail data");
    #[cfg(target_os = "linux")]
    assert!(
        server.running.peak_memory() < MOST,
        "{}",
        server.running.peak_memory()
    );
}

#[test]
fn words_that_are_no_commands_are_not_remembered() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client.says("EHLO a");
    for first in 0..70 {
        let commands: String = (0..1000)
            .map(|it| format!("{:x<480}\r\n", first * 1000 + it))
            .collect();
        client.sends(commands);
        for _ in 0..1000 {
            let reply = client.reply();
            assert!(reply.starts_with("500 Error: command "), "{reply}");
        }
    }
    #[cfg(target_os = "linux")]
    assert!(
        server.running.peak_memory() < MOST,
        "{}",
        server.running.peak_memory()
    );
}

#[test]
fn the_recipients_of_a_message_have_a_limit() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    client.says("HELO a");
    client.hears("MAIL FROM:<me@here>", "250 OK");
    for tenth in 0..10 {
        client.sends("RCPT TO:<you@there>\r\n".repeat(1000));
        for _ in 0..1000 {
            assert_eq!(client.reply(), "250 OK", "{tenth}");
        }
    }
    client.hears("RCPT TO:<you@there>", "452 Error: too many recipients");
    client.sends("DATA\r\nhello\r\n.\r\n");
    assert!(client.reply().starts_with("354 "));
    assert_eq!(client.reply(), "250 OK");
    assert_eq!(server.message(), ["b'hello'"]);
}

#[test]
fn one_who_does_not_read_is_not_read_from() {
    let server = debugging_server(&[]);
    let mut client = Client::new(server.addr);
    let questions = "HELP\r\n".repeat(1000);
    let mut stream = client.0.get_ref();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("not zero");
    let mut sent = 0;
    // Too little if the server is held up for a second, but never too much.
    while let Ok(written) = stream.write(&questions.as_bytes()[sent % 6..]) {
        sent += written;
        assert!(
            sent < MUCH,
            "{sent} bytes of questions, and not a single answer was read"
        );
    }
    #[cfg(target_os = "linux")]
    assert!(
        server.running.peak_memory() < MOST,
        "{}",
        server.running.peak_memory()
    );
    for _ in 0..(sent / 6).min(100_000) {
        let answer = client.reply();
        assert!(answer.starts_with("250 Supported commands: "), "{answer}");
    }
}

// ---- clients that go wrong

#[test]
fn an_error_ends_one_connection_and_is_reported() {
    let mut server = debugging_server(&[]);
    let errors = server.running.stderr_lines();
    let mut good = Client::new(server.addr);
    good.says("EHLO good");
    for (line, error) in [
        (&b"MAIL FROM:<"[..], "expected"),
        (b"MAIL FROM:<me@here> SIZE", "a SIZE that says none"),
        (b"VRFY \"", "there is nothing in the quoted string"),
        (b"\xff", "invalid utf-8"),
        (
            b"caf\xc3\xa9",
            "the encoding ascii does not have the character",
        ),
    ] {
        let mut bad = Client::new(server.addr);
        bad.says("EHLO bad");
        bad.sends([line, b"\r\n"].concat());
        assert!(bad.is_at_end());
        let reported = errors.recv_timeout(LONG).expect("it is reported");
        assert!(reported.contains(error), "{reported}");
        good.hears("NOOP", "250 OK");
    }
}

#[test]
fn those_who_vanish_leave_nothing_behind() {
    let server = debugging_server(&[]);
    for end in DIALOGUE.match_indices("\r\n").map(|(at, _)| at + 2) {
        for cut in [end - 1, end] {
            let mut client = Client::new(server.addr);
            client.sends(&DIALOGUE[..cut]);
            if cut % 2 == 0 {
                // Without lingering, closing resets the connection.
                let socket = SockRef::from(client.0.get_ref());
                socket
                    .set_linger(Some(Duration::ZERO))
                    .expect("still connected");
            }
        }
    }
    let mut client = Client::new(server.addr);
    client.says("HELO client");
    client.begins_message();
    client.hears("the last\r\n.", "250 OK");
    // The message of the dialogue was whole in some.
    while server.message() != ["b'the last'"] {}
}

// ---- its beginning and its end

#[track_caller]
fn assert_does_not_start(args: &[&str], status: i32, message: &str) {
    let ended = Running::start(Command::new(example("smtpd")).args(args)).finish();
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
    assert!(ended.stderr.contains(message), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn it_says_why_it_does_not_start() {
    let server = debugging_server(&[]);
    let taken = server.addr.port().to_string();
    assert_does_not_start(&["--port", &taken], 1, &format!("bind 127.0.0.1:{taken}: "));
    assert_does_not_start(&["--host", "nowhere.invalid"], 1, "nowhere.invalid: ");
    assert_does_not_start(&["--smtputf8"], 1, "PureProxy does not support SMTPUTF8.");
    assert_does_not_start(&["--smtputf8", "--decode-data"], 2, "cannot be used with");
    assert_does_not_start(
        &["--class", "MailmanProxy"],
        2,
        "DebuggingServer, PureProxy",
    );
    assert_does_not_start(&["--size", "big"], 2, "'big'");
    assert_does_not_start(&["nowhere"], 2, "no HOST:PORT");
    assert_does_not_start(&["localhost:99999"], 2, "99999");
}

#[cfg(unix)]
mod unix {
    use rustix::process::Signal;

    use super::*;

    fn ends_well_on(signal: Signal) {
        let server = debugging_server(&[]);
        let mut client = Client::new(server.addr);
        client.says("HELO client");
        client.begins_message();
        server.running.signal(signal);
        let ended = server.running.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        assert!(client.is_at_end());
        assert!(TcpStream::connect(server.addr).is_err(), "nobody listens");
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
