//! CPython 3.11's test_smtpd.py, test by test, under the names they have there: 150 of 153 tests.
//!
//! What is not here:
//!
//! | Test | Why |
//! |---|---|
//! | `SMTPDChannelTest.test_attribute_deprecations` | There are no deprecated attributes. |
//! | `SMTPDChannelIPv6Test.test_attribute_deprecations` | As above. |
//! | `MiscTestCase.test__all__` | There is no `__all__`. |
//!
//! What is not as it is there:
//!
//! | Test | Why |
//! |---|---|
//! | All | Servers listen on sockets of the system. Channels have a `MockSocket`, as there. |
//! | All of `DebuggingServerTest` | Standard output is that of a process, so the program is run, and is sent the lines. |
//! | `test_server_accept` | A connection waits to be accepted. |
//! | `test_bad_state` | The state is a number. |

// The names are those of the original.
#![allow(non_snake_case)]

mod smtpd_channel_test_cases;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::Command;
use std::rc::Rc;

use asynchat::Data;
use asyncore::{Address, ChannelMap, Descriptor, Dispatcher, Result, Socket, SocketLike};
use examples::smtpd::{
    Options, PlainSmtpChannel, Settings, SmtpChannel, SmtpServer, SmtpServerBase,
};

use crate::util::cpython_3_11;

const HOST: &str = "127.0.0.1";
const HOST_V6: &str = "::1";
const DECODE: Settings = Settings {
    data_size_limit: examples::smtpd::DATA_SIZE_DEFAULT,
    enable_SMTPUTF8: false,
    decode_data: true,
};
const BYTES: Settings = Settings {
    decode_data: false,
    ..DECODE
};
const SMTPUTF8: Settings = Settings {
    enable_SMTPUTF8: true,
    ..BYTES
};

const LIMITED: Settings = Settings {
    data_size_limit: 32,
    ..DECODE
};
const BOTH: Settings = Settings {
    enable_SMTPUTF8: true,
    ..DECODE
};

#[derive(Default)]
struct MockSocket {
    lines: RefCell<VecDeque<Vec<u8>>>,
    last: RefCell<Vec<u8>>,
}

impl SocketLike for MockSocket {
    fn fileno(&self) -> Option<Descriptor> {
        Some(0)
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.last.replace(data.to_vec());
        Ok(data.len())
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.lines.borrow_mut().pop_front();
        let line = [&line.expect("a line is queued")[..], b"\r\n"].concat();
        buffer[..line.len()].copy_from_slice(&line);
        Ok(line.len())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer_addr(&self) -> io::Result<Address> {
        Ok(peer())
    }
}

fn peer() -> Address {
    ("peer-address", 0).into()
}

type Message = (Address, String, Vec<String>, Data);

#[derive(Debug)]
struct DummyServer {
    base: SmtpServerBase,
    messages: RefCell<Vec<Message>>,
}

impl DummyServer {
    fn new(base: SmtpServerBase) -> DummyServer {
        let messages = RefCell::default();
        DummyServer { base, messages }
    }
}

impl Dispatcher for DummyServer {
    type Base = SmtpServerBase;
    fn base(&self) -> &SmtpServerBase {
        &self.base
    }
}

impl SmtpServer for DummyServer {
    fn process_message(
        &self,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        let message = (peer.clone(), mailfrom.into(), rcpttos.into(), data.clone());
        self.messages.borrow_mut().push(message);
        let smtputf8 = |options: &Options| options.mail_options.contains(&"SMTPUTF8".to_owned());
        if **data.as_bytes() == *b"return status" {
            Ok(Some("250 Okish".to_owned()))
        } else if options.is_some_and(smtputf8) {
            Ok(Some("250 SMTPUTF8 message okish".to_owned()))
        } else {
            Ok(None)
        }
    }
}

/// A server, and a channel of it: what `setUp` makes.
struct Fixture<S = DummyServer> {
    server: Rc<S>,
    channel: Rc<PlainSmtpChannel>,
    /// Keeps both.
    map: ChannelMap,
}

impl Fixture {
    fn new(settings: Settings) -> Fixture {
        Fixture::on(HOST, settings)
    }

    fn on(host: &str, settings: Settings) -> Fixture {
        Fixture::of(DummyServer::new, host, settings)
    }

    #[track_caller]
    fn assert_messages(&self, expected: &[(&str, &[&str], &str)]) {
        let expected = expected.iter().map(|(mailfrom, rcpttos, data)| {
            let rcpttos = rcpttos.iter().map(|rcptto| (*rcptto).to_owned());
            (
                peer(),
                (*mailfrom).to_owned(),
                rcpttos.collect(),
                Data::from(*data),
            )
        });
        let expected: Vec<Message> = expected.collect();
        assert_eq!(*self.server.messages.borrow(), expected);
    }
}

impl<S: SmtpServer> Fixture<S> {
    fn of(class: fn(S::Base) -> S, host: &str, settings: Settings) -> Fixture<S> {
        let map = ChannelMap::new();
        let server = S::init_in(&map, class);
        let listening = server.init_smtp_server((host, 0), Some(("b", 0)), settings);
        listening.expect("the loopback interface is there");
        let conn = Socket::new(MockSocket::default());
        let channel = PlainSmtpChannel::new(server.clone(), &map, conn, peer(), settings);
        Fixture {
            server,
            channel: channel.expect("a channel"),
            map,
        }
    }

    fn try_write_line(&self, line: impl AsRef<[u8]>) -> Result {
        let socket = self.channel.socket()?;
        let socket = socket.downcast_ref::<MockSocket>().expect("it is one");
        socket.lines.borrow_mut().push_back(line.as_ref().to_vec());
        self.channel.handle_read()
    }

    #[track_caller]
    fn write_line(&self, line: impl AsRef<[u8]>) {
        self.try_write_line(line).expect("no method fails");
    }

    #[track_caller]
    fn write_lines(&self, lines: &[&str]) {
        for line in lines {
            self.write_line(line);
        }
    }

    fn begin_message(&self) {
        self.write_lines(&[
            "HELO example",
            "MAIL From:eggs@example",
            "RCPT To:spam@example",
            "DATA",
        ]);
    }

    #[track_caller]
    fn assert_mailfrom(&self, expected: &str) {
        assert_eq!(*self.channel.smtp_channel().mailfrom.borrow(), expected);
    }

    #[track_caller]
    fn assert_received(&self, expected: impl Into<Data>) {
        let received = self.channel.smtp_channel().received_data.borrow().clone();
        assert_eq!(received, expected.into());
    }

    #[track_caller]
    fn assert_code(&self, expected: &str) {
        assert!(self.last().starts_with(expected), "{}", self.last());
    }

    /// What was sent last.
    fn last(&self) -> String {
        let socket = self.channel.socket().expect("it has one");
        let socket = socket.downcast_ref::<MockSocket>().expect("it is one");
        String::from_utf8_lossy(&socket.last.borrow()).into_owned()
    }

    #[track_caller]
    fn assert_last(&self, expected: &str) {
        assert_eq!(self.last(), format!("{expected}\r\n"));
    }
}

#[track_caller]
fn assert_is_value_error<T>(result: Result<T>) {
    let error = result.err().expect("an error").to_string();
    assert!(
        error.starts_with("decode_data and enable_SMTPUTF8 cannot"),
        "{error}"
    );
}

mod smtpd_server_test {
    use asynchat::AsyncChatError;

    use super::*;

    struct Abstract {
        base: SmtpServerBase,
    }

    impl Dispatcher for Abstract {
        type Base = SmtpServerBase;
        fn base(&self) -> &SmtpServerBase {
            &self.base
        }
    }

    impl SmtpServer for Abstract {}

    #[test]
    fn test_process_message_unimplemented() {
        let t = Fixture::of(|base| Abstract { base }, HOST, DECODE);
        t.write_lines(&[
            "HELO example",
            "MAIL From:eggs@example",
            "RCPT To:spam@example",
            "DATA",
        ]);
        let error = t.try_write_line("spam\r\n.\r\n").expect_err("it fails");
        let error = error.downcast_ref::<AsyncChatError>();
        assert_eq!(error, Some(&AsyncChatError::NotImplemented));
    }

    #[test]
    fn test_decode_data_and_enable_SMTPUTF8_raises() {
        let server = Abstract::init(|base| Abstract { base });
        assert_is_value_error(server.init_smtp_server((HOST, 0), Some(("b", 0)), BOTH));
    }
}

mod debugging_server_test {
    use crate::smtpd::{Client, debugging_server};

    fn check(option: Option<&str>, mail: &str, data: &[u8], expected: &[&str]) {
        let server = debugging_server(&Vec::from_iter(option));
        let mut client = Client::new(server.addr);
        client.says("EHLO example");
        client.says(mail);
        client.says("RCPT To:spam@example");
        client.says("DATA");
        client.sends([data, b"\r\n.\r\n"].concat());
        assert_eq!(client.reply(), "250 OK");
        let mut printed = vec!["---------- MESSAGE FOLLOWS ----------"];
        printed.extend(expected);
        printed.push("------------ END MESSAGE ------------");
        for line in printed {
            assert_eq!(server.line(), line);
        }
    }

    #[test]
    fn test_process_message_with_decode_data_true() {
        check(
            Some("--decode-data"),
            "MAIL From:eggs@example",
            b"From: test\n\nhello\n",
            &["From: test", "X-Peer: 127.0.0.1", "", "hello"],
        );
    }

    #[test]
    fn test_process_message_with_decode_data_false() {
        check(
            None,
            "MAIL From:eggs@example",
            b"From: test\n\nh\xc3\xa9llo\xff\n",
            &[
                "b'From: test'",
                "b'X-Peer: 127.0.0.1'",
                "b''",
                r"b'h\xc3\xa9llo\xff'",
            ],
        );
    }

    #[test]
    fn test_process_message_with_enable_SMTPUTF8_true() {
        check(
            Some("--smtputf8"),
            "MAIL From:eggs@example",
            b"From: test\n\nh\xc3\xa9llo\xff\n",
            &[
                "b'From: test'",
                "b'X-Peer: 127.0.0.1'",
                "b''",
                r"b'h\xc3\xa9llo\xff'",
            ],
        );
    }

    #[test]
    fn test_process_SMTPUTF8_message_with_enable_SMTPUTF8_true() {
        check(
            Some("--smtputf8"),
            "MAIL From:eggs@example BODY=8BITMIME SMTPUTF8",
            b"From: test\n\nh\xc3\xa9llo\xff\n",
            &[
                "mail options: ['BODY=8BITMIME', 'SMTPUTF8']",
                "b'From: test'",
                "b'X-Peer: 127.0.0.1'",
                "b''",
                r"b'h\xc3\xa9llo\xff'",
            ],
        );
    }
}

mod test_family_detection {
    use asyncore::socket2::Domain;

    use super::*;

    #[track_caller]
    fn check(host: &str, family: Domain) {
        let t = Fixture::on(host, BYTES);
        let socket = t.server.socket().and_then(|socket| Ok(socket.socket2()?));
        let addr = socket
            .expect("it has one")
            .local_addr()
            .expect("it listens");
        assert_eq!(addr.domain(), family);
    }

    #[test]
    fn test_socket_uses_IPv6() {
        if ipv6_enabled() {
            check(HOST_V6, Domain::IPV6);
        }
    }

    #[test]
    fn test_socket_uses_IPv4() {
        check(HOST, Domain::IPV4);
    }
}

mod test_rcpt_option_parsing {
    use super::*;

    #[test]
    fn test_params_rejected() {
        let t = Fixture::new(BYTES);
        t.write_lines(&[
            "EHLO example",
            "MAIL from: <foo@example.com> size=20",
            "RCPT to: <foo@example.com> foo=bar",
        ]);
        t.assert_last("555 RCPT TO parameters not recognized or not implemented");
    }

    #[test]
    fn test_nothing_accepted() {
        let t = Fixture::new(BYTES);
        t.write_lines(&[
            "EHLO example",
            "MAIL from: <foo@example.com> size=20",
            "RCPT to: <foo@example.com>",
        ]);
        t.assert_last("250 OK");
    }
}

mod test_mail_option_parsing {
    use super::*;

    const ERROR_RESPONSE: &str = "555 MAIL FROM parameters not recognized or not implemented";

    #[test]
    fn test_with_decode_data_true() {
        let t = Fixture::new(DECODE);
        t.write_line("EHLO example");
        for line in [
            "MAIL from: <foo@example.com> size=20 SMTPUTF8",
            "MAIL from: <foo@example.com> size=20 SMTPUTF8 BODY=8BITMIME",
            "MAIL from: <foo@example.com> size=20 BODY=UNKNOWN",
            "MAIL from: <foo@example.com> size=20 body=8bitmime",
        ] {
            t.write_line(line);
            t.assert_last(ERROR_RESPONSE);
        }
        t.write_line("MAIL from: <foo@example.com> size=20");
        t.assert_last("250 OK");
    }

    #[test]
    fn test_with_decode_data_false() {
        let t = Fixture::new(BYTES);
        t.write_line("EHLO example");
        for line in [
            "MAIL from: <foo@example.com> size=20 SMTPUTF8",
            "MAIL from: <foo@example.com> size=20 SMTPUTF8 BODY=8BITMIME",
        ] {
            t.write_line(line);
            t.assert_last(ERROR_RESPONSE);
        }
        t.write_line("MAIL from: <foo@example.com> size=20 SMTPUTF8 BODY=UNKNOWN");
        t.assert_last("501 Error: BODY can only be one of 7BIT, 8BITMIME");
        t.write_line("MAIL from: <foo@example.com> size=20 body=8bitmime");
        t.assert_last("250 OK");
    }

    #[test]
    fn test_with_enable_smtputf8_true() {
        let t = Fixture::new(SMTPUTF8);
        t.write_lines(&[
            "EHLO example",
            "MAIL from: <foo@example.com> size=20 body=8bitmime smtputf8",
        ]);
        t.assert_last("250 OK");
    }
}

mod smtpd_channel_with_data_size_limit_test {
    use super::*;

    #[test]
    fn test_data_limit_dialog() {
        let t = Fixture::new(LIMITED);
        t.write_lines(&["HELO example", "MAIL From:eggs@example"]);
        t.assert_last("250 OK");
        t.write_line("RCPT To:spam@example");
        t.assert_last("250 OK");
        t.write_line("DATA");
        t.assert_last("354 End data with <CR><LF>.<CR><LF>");
        t.write_line("data\r\nmore\r\n.");
        t.assert_last("250 OK");
        t.assert_messages(&[("eggs@example", &["spam@example"], "data\nmore")]);
    }

    #[test]
    fn test_data_limit_dialog_too_much_data() {
        let t = Fixture::new(LIMITED);
        t.write_lines(&["HELO example", "MAIL From:eggs@example"]);
        t.assert_last("250 OK");
        t.write_line("RCPT To:spam@example");
        t.assert_last("250 OK");
        t.write_line("DATA");
        t.assert_last("354 End data with <CR><LF>.<CR><LF>");
        t.write_line("This message is longer than 32 bytes\r\n.");
        t.assert_last("552 Error: Too much mail data");
    }
}

mod smtpd_channel_with_decode_data_false {
    use super::*;

    #[test]
    fn test_ascii_data() {
        let t = Fixture::new(BYTES);
        t.begin_message();
        t.write_lines(&["plain ascii text", "."]);
        t.assert_received(b"plain ascii text");
    }

    #[test]
    fn test_utf8_data() {
        let t = Fixture::new(BYTES);
        t.begin_message();
        t.write_lines(&["utf8 enriched text: żźć", "and some plain ascii", "."]);
        t.assert_received("utf8 enriched text: żźć\nand some plain ascii".as_bytes());
    }
}

mod smtpd_channel_with_decode_data_true {
    use super::*;

    #[test]
    fn test_ascii_data() {
        let t = Fixture::new(DECODE);
        t.begin_message();
        t.write_lines(&["plain ascii text", "."]);
        t.assert_received("plain ascii text");
    }

    #[test]
    fn test_utf8_data() {
        let t = Fixture::new(DECODE);
        t.begin_message();
        t.write_lines(&["utf8 enriched text: żźć", "and some plain ascii", "."]);
        t.assert_received("utf8 enriched text: żźć\nand some plain ascii");
    }
}

mod smtpd_channel_test_with_enable_smtputf8_true {
    use super::*;

    /// How much more there may be in a MAIL of this form.
    const FILL_LEN: usize = 512 + 26 + 10 - "mail from:<@example>".len();

    #[test]
    fn test_MAIL_command_accepts_SMTPUTF8_when_announced() {
        let t = Fixture::new(SMTPUTF8);
        t.write_lines(&[
            "EHLO example",
            "MAIL from: <naïve@example.com> BODY=8BITMIME SMTPUTF8",
        ]);
        t.assert_last("250 OK");
    }

    #[test]
    fn test_process_smtputf8_message() {
        let t = Fixture::new(SMTPUTF8);
        t.write_line("EHLO example");
        for (mail_parameters, answer) in [
            ("", "250 OK"),
            ("BODY=8BITMIME SMTPUTF8", "250 SMTPUTF8 message okish"),
        ] {
            t.write_line(format!("MAIL from: <a@example> {mail_parameters}"));
            t.assert_code("250");
            t.write_line("rcpt to:<b@example.com>");
            t.assert_code("250");
            t.write_line("data");
            t.assert_code("354");
            t.write_line("c\r\n.");
            t.assert_last(answer);
        }
    }

    #[test]
    fn test_utf8_data() {
        let t = Fixture::new(SMTPUTF8);
        t.write_lines(&[
            "EHLO example",
            "MAIL From: naïve@examplé BODY=8BITMIME SMTPUTF8",
        ]);
        t.assert_code("250");
        t.write_line("RCPT To:späm@examplé");
        t.assert_code("250");
        t.write_line("DATA");
        t.assert_code("354");
        t.write_lines(&["utf8 enriched text: żźć", "."]);
        t.assert_received("utf8 enriched text: żźć".as_bytes());
    }

    #[test]
    fn test_MAIL_command_limit_extended_with_SIZE_and_SMTPUTF8() {
        let t = Fixture::new(SMTPUTF8);
        t.write_line("ehlo example");
        t.write_line(format!("MAIL from:<{}@example>", "a".repeat(FILL_LEN + 1)));
        t.assert_last("500 Error: line too long");
        t.write_line(format!("MAIL from:<{}@example>", "a".repeat(FILL_LEN)));
        t.assert_last("250 OK");
    }

    #[test]
    fn test_multiple_emails_with_extended_command_length() {
        let t = Fixture::new(SMTPUTF8);
        t.write_line("ehlo example");
        for char in ["a", "b", "c"] {
            let fill = char.repeat(FILL_LEN);
            t.write_line(format!("MAIL from:<{fill}a@example>"));
            t.assert_code("500");
            t.write_line(format!("MAIL from:<{fill}@example>"));
            t.assert_code("250");
            t.write_line("rcpt to:<hans@example.com>");
            t.assert_code("250");
            t.write_line("data");
            t.assert_code("354");
            t.write_line("test\r\n.");
            t.assert_code("250");
        }
    }
}

/// A class with the tests of `SMTPDChannelTest`: its name, and on which interface the server listens.
macro_rules! smtpd_channel_test {
    ($class:ident, $host:ident) => {
        smtpd_channel_test! { $class, $host:
            test_broken_connect
            test_decode_data_and_enable_SMTPUTF8_raises
            test_server_accept
            test_missing_data
            test_EHLO
            test_EHLO_bad_syntax
            test_EHLO_duplicate
            test_EHLO_HELO_duplicate
            test_HELO
            test_HELO_EHLO_duplicate
            test_HELP
            test_HELP_command
            test_HELP_command_unknown
            test_HELO_bad_syntax
            test_HELO_duplicate
            test_HELO_parameter_rejected_when_extensions_not_enabled
            test_MAIL_allows_space_after_colon
            test_extended_MAIL_allows_space_after_colon
            test_NOOP
            test_HELO_NOOP
            test_NOOP_bad_syntax
            test_QUIT
            test_HELO_QUIT
            test_QUIT_arg_ignored
            test_bad_state
            test_command_too_long
            test_MAIL_command_limit_extended_with_SIZE
            test_MAIL_command_rejects_SMTPUTF8_by_default
            test_data_longer_than_default_data_size_limit
            test_MAIL_size_parameter
            test_MAIL_invalid_size_parameter
            test_MAIL_RCPT_unknown_parameters
            test_MAIL_size_parameter_larger_than_default_data_size_limit
            test_need_MAIL
            test_MAIL_syntax_HELO
            test_MAIL_syntax_EHLO
            test_MAIL_missing_address
            test_MAIL_chevrons
            test_MAIL_empty_chevrons
            test_MAIL_quoted_localpart
            test_MAIL_quoted_localpart_no_angles
            test_MAIL_quoted_localpart_with_size
            test_MAIL_quoted_localpart_with_size_no_angles
            test_nested_MAIL
            test_VRFY
            test_VRFY_syntax
            test_EXPN_not_implemented
            test_no_HELO_MAIL
            test_need_RCPT
            test_RCPT_syntax_HELO
            test_RCPT_syntax_EHLO
            test_RCPT_lowercase_to_OK
            test_no_HELO_RCPT
            test_data_dialog
            test_DATA_syntax
            test_no_HELO_DATA
            test_data_transparency_section_4_5_2
            test_multiple_RCPT
            test_manual_status
            test_RSET
            test_HELO_RSET
            test_RSET_syntax
            test_unknown_command
        }
    };
    ($class:ident, $host:ident: $($test:ident)+) => {
        mod $class {
            use super::*;

            $(
                #[test]
                fn $test() {
                    if $host == HOST || ipv6_enabled() {
                        smtpd_channel_test_cases::$test(&Fixture::on($host, DECODE));
                    }
                }
            )+
        }
    };
}

smtpd_channel_test!(smtpd_channel_test, HOST);
smtpd_channel_test!(smtpd_channel_ipv6_test, HOST_V6);

fn ipv6_enabled() -> bool {
    let bound = TcpListener::bind((HOST_V6, 0));
    if let Err(error) = &bound {
        let _ = writeln!(io::stderr(), "NOT TESTED on IPv6: {error}");
    }
    bound.is_ok()
}

#[test]
fn every_test_of_the_original_is_here_or_in_the_table_of_those_that_are_not() {
    const LIST: &str = "
import unittest, test.test_smtpd
def tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test)
        else:
            yield test
for test in tests(unittest.defaultTestLoader.loadTestsFromModule(test.test_smtpd)):
    print(type(test).__name__, test._testMethodName, sep='.')
";

    let Some(python) = cpython_3_11("whether all tests of test_smtpd.py are here") else {
        return;
    };
    let listed = Command::new(python)
        .args(["-W", "ignore", "-c", LIST])
        .output();
    let listed = listed.expect("it has just run");
    if !listed.status.success() {
        let why = String::from_utf8_lossy(&listed.stderr);
        let why = why.lines().last().unwrap_or_default();
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED: whether all tests are here: {why}"
        );
        return;
    }
    let original: BTreeSet<String> = lines(&listed.stdout).collect();
    assert_eq!(original.len(), 153);

    let itself = std::env::current_exe().expect("the path of this test");
    let here = Command::new(itself)
        .args(["--list", "--format=terse", "cpython_test_smtpd::"])
        .output();
    let here = here.expect("it has just run");
    let here: BTreeSet<String> = lines(&here.stdout)
        .filter_map(|line| {
            let (class, test) = line.strip_suffix(": test")?.rsplit_once("::")?;
            let (_, class) = class.rsplit_once("::")?;
            Some(format!("{}.{test}", class.replace('_', "")))
        })
        .collect();
    let excused = include_str!("cpython_test_smtpd.rs")
        .lines()
        .filter_map(|line| {
            let name = line.strip_prefix("//! | `")?.split('`').next()?;
            name.contains('.').then(|| name.to_owned())
        });
    let excused: BTreeSet<String> = excused.collect();
    assert_eq!(excused.len(), 3);
    let is_here = |name: &&String| {
        let (class, test) = name.split_once('.').expect("a class and a test");
        here.contains(&format!("{}.{test}", class.to_lowercase()))
    };
    let missing: Vec<&String> = original
        .difference(&excused)
        .filter(|name| !is_here(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(original.iter().filter(is_here).count(), 150);
}

fn lines(output: &[u8]) -> impl Iterator<Item = String> {
    let output = String::from_utf8_lossy(output);
    output
        .lines()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}
