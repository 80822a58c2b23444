//! `PureProxy`, and next servers of all kinds.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};

use super::{Client, Server, debugging_server};
use crate::util::{LONG, example};

fn proxy(next: SocketAddr) -> Server {
    let mut command = Command::new(example("smtpd"));
    Server::start(
        command
            .arg(next.to_string())
            .env("RUST_LOG", "smtpd=warn,asyncore=error"),
    )
}

/// A client that has greeted.
fn client(server: &Server) -> Client {
    let mut client = Client::new(server.addr);
    assert_eq!(client.says("EHLO client"), "250 HELP");
    client
}

#[test]
fn messages_are_handed_on_byte_for_byte() {
    let next = debugging_server(&[]);
    let proxy = proxy(next.addr);
    let mut client = client(&proxy);
    for (message, printed) in [
        (
            &b"Subject: one\r\n\r\nhello\r\n..dot\r\n\xff\xe9"[..],
            &[
                "b'Subject: one'",
                "b'X-Peer: 127.0.0.1'",
                "b'X-Peer: 127.0.0.1'",
                "b''",
                "b'hello'",
                "b'.dot'",
                r"b'\xff\xe9'",
            ][..],
        ),
        (
            b"no blank line",
            &["b'no blank line'", "b'X-Peer: 127.0.0.1'"],
        ),
        (b"", &["b'X-Peer: 127.0.0.1'"]),
        (
            // Ends of lines that are none in a mail become such, and no message ends before its end.
            b"a\n.\nb\r..\n.c\r\n\r\nd",
            &[
                "b'a'",
                "b'.'",
                "b'b'",
                "b'..'",
                "b'.c'",
                "b'X-Peer: 127.0.0.1'",
                "b'X-Peer: 127.0.0.1'",
                "b''",
                "b'd'",
            ],
        ),
    ] {
        client.begins_message();
        client.sends([message, b"\r\n.\r\n"].concat());
        assert_eq!(client.reply(), "250 OK");
        let message = next.message();
        assert!(
            message[0].starts_with("mail options: ['SIZE="),
            "{message:?}"
        );
        assert_eq!(message[1..], *printed);
    }
}

/// A next server that answers each command with a line, in this order, and returns what it was sent.
fn scripted(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let addr = listener.local_addr().expect("it is bound");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the proxy comes");
        stream.set_read_timeout(Some(LONG)).expect("not zero");
        answer(BufReader::new(stream), answers)
    });
    (addr, thread)
}

fn answer(mut stream: BufReader<TcpStream>, answers: &[&str]) -> Vec<String> {
    let mut received = Vec::new();
    for answer in answers {
        // The proxy may be gone.
        let _ = write!(stream.get_ref(), "{answer}\r\n");
        loop {
            let mut line = String::new();
            if !stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                return received;
            }
            received.push(line.trim_end().to_owned());
            if !answer.starts_with("354") || line == ".\r\n" {
                break;
            }
        }
    }
    received
}

/// What the proxy says to the next server, and what it reports, when it hands a message on for two.
fn handed_on(answers: &'static [&'static str]) -> (Vec<String>, Vec<String>) {
    let (next, thread) = scripted(answers);
    let mut proxy = proxy(next);
    let errors = proxy.running.stderr_lines();
    let mut client = client(&proxy);
    client.hears("MAIL FROM:<>", "250 OK");
    client.hears("RCPT TO:<one@there>", "250 OK");
    client.hears("RCPT TO:<two@there>", "250 OK");
    client.hears("DATA", "354 End data with <CR><LF>.<CR><LF>");
    // As in Python, whatever the next server says.
    client.hears("hello\r\n.", "250 OK");
    let received = thread.join().expect("it is sent as expected");
    client.hears("NOOP", "250 OK");
    drop(proxy);
    let reported = errors
        .iter()
        .filter_map(|line| Some(line.split_once("] ")?.1.to_owned()));
    (received, reported.collect())
}

#[test]
fn the_next_server_hears_what_smtplib_says() {
    let (received, reported) = handed_on(&[
        "220-hello\r\n220 you",
        "250-hello\r\n250-size\r\n250 HELP",
        "250 ok",
        "250 ok",
        "251 ok",
        "354 go",
        "250 ok",
        "221 bye",
    ]);
    // A domain, or an address.
    assert!(received[0].starts_with("ehlo "), "{received:?}");
    assert!(received[0].contains(['.', '[']), "{received:?}");
    assert_eq!(
        received[1..],
        [
            "mail FROM:<> size=24",
            "rcpt TO:<one@there>",
            "rcpt TO:<two@there>",
            "data",
            "hello",
            "X-Peer: 127.0.0.1",
            ".",
            "quit"
        ]
    );
    assert!(reported.is_empty(), "{reported:?}");
}

#[test]
fn a_next_server_may_know_no_extensions() {
    let (received, reported) = handed_on(&[
        "220 hi",
        "502 what?",
        "250 hi",
        "250 ok",
        "250 ok",
        "250 ok",
        "354 go",
        "250 ok",
    ]);
    assert!(received[1].starts_with("helo "), "{received:?}");
    assert_eq!(received[2], "mail FROM:<>");
    assert!(reported.is_empty(), "{reported:?}");
}

#[test]
fn a_recipient_that_is_refused_is_reported() {
    let (received, reported) = handed_on(&[
        "220 hi",
        "250 hi",
        "250 ok",
        "550-no\r\n550 such",
        "250 ok",
        "354 go",
        "250 ok",
        "221 bye",
    ]);
    assert_eq!(received.last().map(String::as_str), Some("quit"));
    assert_eq!(reported, ["one@there was refused: 550 no, such"]);
}

#[test]
fn what_is_refused_altogether_is_reported() {
    for (answers, reason) in [
        (&["554 go away", "221 bye"][..], "554 go away"),
        (&["220 hi", "500 what?", "501 no", "221 bye"], "501 no"),
        (&["220 hi", "250 hi", "451 later", "221 bye"], "451 later"),
        (
            &["220 hi", "250 hi", "250 ok", "550 no", "550 no", "221 bye"],
            "550 no",
        ),
        (
            &[
                "220 hi", "250 hi", "250 ok", "250 ok", "250 ok", "452 full", "221 bye",
            ],
            "452 full",
        ),
        (
            &[
                "220 hi", "250 hi", "250 ok", "250 ok", "250 ok", "354 go", "554 spam", "221 bye",
            ],
            "554 spam",
        ),
        (&["hello?", "221 bye"], "-1 o?"),
        (&[], "-1 "),
        (&["220 hi", "250 hi", "250 ok"], "-1 "),
    ] {
        let (_, reported) = handed_on(answers);
        assert_eq!(reported.len(), 2, "{answers:?}: {reported:?}");
        for (reported, rcptto) in reported.iter().zip(["one@there", "two@there"]) {
            let expected = format!("{rcptto} was refused: {reason}");
            assert!(reported.starts_with(&expected), "{answers:?}: {reported}");
        }
    }
}

#[test]
fn a_reply_without_an_end_is_no_reply() {
    let endless: &str = format!("220-{}", "x".repeat(100_000)).leak();
    let (_, reported) = handed_on(vec![endless].leak());
    assert!(
        reported[0].contains("the reply does not end"),
        "{reported:?}"
    );
}

#[test]
fn a_next_server_that_is_not_there_is_reported() {
    use asyncore::socket2::{Domain, Socket, Type};

    // Bound, so that no one else listens there, and not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("there is a port");
    let addr = socket.local_addr().expect("it is bound");
    let mut proxy = proxy(addr.as_socket().expect("it is IPv4"));
    let errors = proxy.running.stderr_lines();
    let mut client = client(&proxy);
    client.begins_message();
    client.hears("hello\r\n.", "250 OK");
    let reported = errors.recv_timeout(LONG).expect("it is reported");
    assert!(
        reported.contains("you@there.example was refused: -1 127.0.0.1:"),
        "{reported}"
    );
    assert!(reported.contains("refused (os error "), "{reported}");
}

#[test]
fn an_address_that_cannot_be_handed_on_ends_the_connection() {
    let next = debugging_server(&[]);
    let mut proxy = proxy(next.addr);
    let errors = proxy.running.stderr_lines();
    for address in ["m\u{e9}@here", "me\nQUIT@here"] {
        let mut client = client(&proxy);
        client.hears(&format!("MAIL FROM:{address}"), "250 OK");
        client.hears("RCPT TO:<you@there>", "250 OK");
        client.hears("DATA", "354 End data with <CR><LF>.<CR><LF>");
        client.sends("hello\r\n.\r\n");
        assert!(client.is_at_end());
        let reported = errors.recv_timeout(LONG).expect("it is reported");
        assert!(
            reported.contains("cannot be sent to a mail server"),
            "{reported}"
        );
    }
}
