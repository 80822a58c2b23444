//! Dialogues with our `smtpd` and with CPython's, which says the same.
//!
//! They are made up from a fixed seed. `SMTPD_SEED` is another one, and `SMTPD_CASES` how many there are; both
//! are numbers. What differs is made as small as it can be, and shown.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use asynchat::{AsyncChat, Data};
use asyncore::{Address, BaseClass, ChannelMap, Dispatcher, Error, Result, Socket, poll};
use examples::smtpd::{
    Options, Settings, SmtpChannel, SmtpChannelBase, SmtpServer, SmtpServerBase,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::util::cpython_3_11;

#[test]
fn the_same_is_said_as_by_cpython() {
    let Some(python) = Python::start() else {
        return;
    };
    let cases = number_from_environment("SMTPD_CASES").unwrap_or(500);
    let seed = number_from_environment("SMTPD_SEED").unwrap_or(1);
    let config = Config {
        cases: cases.try_into().expect("not so many"),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let ended = TestRunner::new_with_rng(config, rng).run(&dialogue(), |dialogue| {
        let (ours, pythons) = (dialogue.hold(), python.hold(&dialogue));
        if ours == pythons {
            return Ok(());
        }
        let what = format!("here {ours:#?}, in Python {pythons:#?}");
        Err(TestCaseError::fail(what))
    });
    match ended {
        Ok(()) => {}
        Err(TestError::Fail(why, dialogue)) => panic!("{dialogue:#?}\n{why}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Addresses, each with what CPython's smtpd takes for the sender's: empty for a syntax error, `None` where the
/// connection ends.
fn addresses() -> Vec<(String, Option<String>)> {
    serde_json::from_str(include_str!("addresses.json")).expect("a list of pairs")
}

#[test]
fn addresses_are_what_cpython_takes_them_for() {
    let python = Python::start();
    let addresses = addresses();
    assert_eq!(addresses.len(), 98);
    for (address, expected) in addresses {
        let mail = format!("MAIL FROM:{address}\r\n");
        let lines = [
            "EHLO me\r\n",
            &mail,
            "RCPT TO:<you>\r\n",
            "DATA\r\n",
            "\r\n.\r\n",
        ];
        let dialogue = Dialogue {
            settings: Settings::default(),
            packets: lines.map(|line| line.as_bytes().to_vec()).to_vec(),
        };
        assert_eq!(sender(&dialogue.hold()), expected, "{address:?}");
        if let Some(python) = &python {
            assert_eq!(
                sender(&python.hold(&dialogue)),
                expected,
                "{address:?} in Python"
            );
        }
    }
}

#[test]
fn what_is_rarely_made_up_is_said_as_by_cpython() {
    let python = Python::start();
    let begin = [
        "EHLO me",
        "MAIL FROM:<me> SMTPUTF8",
        "RCPT TO:<you>",
        "DATA",
    ];
    let text = Settings {
        decode_data: true,
        ..Settings::default()
    };
    let smtputf8 = Settings {
        enable_SMTPUTF8: true,
        ..Settings::default()
    };
    let error = json!(["error"]);
    let deferred = json!(["reply", "451 later\r\n"]);
    for (settings, begin, packets, expected) in [
        // A character that comes in two pieces, where messages are texts and where they are not.
        (
            text,
            &["EHLO me", "MAIL FROM:<me>", "RCPT TO:<you>", "DATA"][..],
            &[&b"defer \xc3"[..], b"\xa9\r\n.\r\n"][..],
            &error,
        ),
        (
            smtputf8,
            &begin,
            &[b"defer \xc3", b"\xa9\r\n.\r\n"],
            &deferred,
        ),
        // A reply that is not ASCII, before and after the client has said that it may be so.
        (smtputf8, &begin[..1], &[b"b\xc3\xb6gus\r\n"], &error),
        (
            smtputf8,
            &begin[..2],
            &[b"b\xc3\xb6gus\r\n"],
            &json!([
                "reply",
                "500 Error: command \"B\u{c3}\u{96}GUS\" not recognized\r\n"
            ]),
        ),
    ] {
        let begin = begin.iter().map(|line| format!("{line}\r\n").into_bytes());
        let dialogue = Dialogue {
            settings,
            packets: begin
                .chain(packets.iter().map(|packet| packet.to_vec()))
                .collect(),
        };
        let events = dialogue.hold();
        let list = events.as_array().expect("a list");
        assert_eq!(
            list.iter().rev().find(|event| event[0] != "close"),
            Some(expected),
            "{dialogue:?}"
        );
        if let Some(python) = &python {
            assert_eq!(events, python.hold(&dialogue), "{dialogue:?} in Python");
        }
    }
}

/// Whom the message comes from, if it came to one.
fn sender(events: &Value) -> Option<String> {
    let events = events.as_array().expect("a list");
    if events.contains(&json!(["error"])) {
        return None;
    }
    let mut messages = events.iter().filter(|event| event[0] == "message");
    let message = messages.next().and_then(|message| message[1].as_str());
    Some(message.unwrap_or_default().to_owned())
}

fn number_from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number in the environment"))
}

/// What a client sends, and to whom.
#[derive(Clone)]
struct Dialogue {
    settings: Settings,
    packets: Vec<Vec<u8>>,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packets = self.packets.iter().map(|packet| packet.escape_ascii());
        writeln!(f, "{:?}", self.settings)?;
        f.debug_list()
            .entries(packets.map(|it| it.to_string()))
            .finish()
    }
}

// ---- making them up

fn dialogue() -> impl Strategy<Value = Dialogue> {
    let limit = select(vec![0, 32, 100, 1000, 33_554_432, 33_554_432]);
    let flags = select(vec![(false, false), (true, false), (false, true)]);
    let settings = (limit, flags).prop_map(|(data_size_limit, flags)| Settings {
        data_size_limit,
        enable_SMTPUTF8: flags.0,
        decode_data: flags.1,
    });
    let lines = (weighted(0.9, greeting()), vec(exchange(), 0..8));
    let lines = lines.prop_map(|(greeting, exchanges)| {
        let exchanges = exchanges.into_iter().flatten();
        greeting.into_iter().chain(exchanges).collect::<Vec<_>>()
    });
    (settings, lines, cuts()).prop_map(|(settings, lines, cuts)| Dialogue {
        settings,
        packets: cuts.cut(lines),
    })
}

/// One of those between the bars.
fn one_of(texts: &'static str) -> impl Strategy<Value = String> {
    let texts: Vec<String> = texts.split('|').map(str::to_owned).collect();
    select(texts)
}

/// A line, ended.
fn ended(line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    line.prop_map(|line| format!("{line}\r\n").into_bytes())
}

fn command(
    names: &'static str,
    argument: impl Strategy<Value = String>,
) -> impl Strategy<Value = Vec<u8>> {
    let line = (one_of(names), argument);
    ended(line.prop_map(|(name, argument)| format!("{name} {argument}")))
}

/// A message, whole or not, or a single line.
fn exchange() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let transaction = (
        weighted(0.95, mail()),
        vec(rcpt(), 1..3),
        weighted(0.95, ended(one_of("DATA|data"))),
        body(),
    );
    let transaction = transaction.prop_map(|(mail, rcpts, data, body)| {
        let body = data.is_some().then_some(body);
        let lines = mail.into_iter().chain(rcpts);
        lines.chain(data).chain(body).collect()
    });
    prop_oneof![
        2 => transaction,
        1 => line().prop_map(|line| vec![line]),
    ]
}

fn greeting() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop_oneof![4 => one_of("example"), 1 => argument()];
    command("EHLO|EHLO|HELO|ehlo|hElO", argument)
}

fn argument() -> impl Strategy<Value = String> {
    one_of("example|[127.0.0.1]|| |a b|\u{e9}|\t|\u{1c}|\u{a0}|x\u{85}")
}

fn mail() -> impl Strategy<Value = Vec<u8>> {
    let (size, body) = (
        one_of("||| SIZE=32| size=100| SIZE=1000"),
        one_of("|| BODY=8BITMIME| body=7bit"),
    );
    let right = (address(), size, body, one_of("||| SMTPUTF8"));
    let right =
        right.prop_map(|(address, size, body, utf8)| format!("FROM:{address}{size}{body}{utf8}"));
    command(
        "MAIL|MAIL|mail",
        prop_oneof![3 => right, 2 => any_path("FROM:")],
    )
}

fn rcpt() -> impl Strategy<Value = Vec<u8>> {
    let right = address().prop_map(|address| format!("TO:{address}"));
    command(
        "RCPT|RCPT|rcpt",
        prop_oneof![3 => right, 2 => any_path("TO:")],
    )
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let size = one_of("490|500|506|507|508|511|512|513|520|530|538|539|540|548|549|600|5000|20000");
    let long = (one_of("NOOP |MAIL FROM:<|x|MAIL|\u{e9}"), size).prop_map(|(start, size)| {
        let size: usize = size.parse().expect("a number");
        format!("{start}{}", "a".repeat(size - start.len()))
    });
    let help = "|mail|RCPT|ehlo|HELO|data|rset|noop|QUIT|vrfy|EXPN|help|ma\u{131}l| RSET ";
    let odd = "NOOP|RSET|DATA|EXPN|QUIT|NOOP |RSET\t|noop|re\u{17f}et|BOGUS|b\u{f6}gus|BO GUS|_| NOOP|helo|EHLO|MAIL|MAIL \
        |RCPT|VRFY|HELP||\n|NOOP\n|NOOP\r|\u{0}|smtp_NOOP|NOOP\u{a0}x";
    prop_oneof![
        2 => greeting(),
        2 => mail(),
        2 => rcpt(),
        2 => command("VRFY", any_address()),
        2 => command("HELP", one_of(help)),
        2 => command("NOOP|RSET|DATA|EXPN|QUIT", argument()),
        3 => ended(one_of(odd)),
        1 => ended(long),
        1 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 0..20).prop_map(|bytes| [b"HELP ", &bytes[..], b"\r\n"].concat()),
    ]
}

/// What follows MAIL and RCPT, as it should be or not.
fn any_path(keyword: &'static str) -> impl Strategy<Value = String> {
    let keyword = prop_oneof![
        9 => Just(keyword.to_owned()),
        3 => Just(keyword.to_lowercase()),
        1 => Just(format!(" {keyword} ")),
        1 => Just(keyword.replace(':', " :")),
        1 => Just(keyword.replace('O', "\u{f6}")),
        1 => Just(String::new()),
    ];
    let parameter = one_of(
        "SIZE=20|size=50|SIZE=1001|SIZE=33554433|SIZE=99999999999999999999999|SIZE|SIZE=|SIZE=1x|SIZE=-1|SIZE=0|SIZE=007|\
        BODY=8BITMIME|body=7bit|BODY=BINARY|BODY|BODY=|SMTPUTF8|smtputf8|SMTPUTF8=1|SMTPUTF8=|RET=HDRS|ham=green|ham|h-m=x|=|\
        =x|a=b=c|\u{e9}|\u{e9}=\u{e8}|\u{1c}|SIZE=20\u{85}BODY=7BIT|<|,|\u{b2}=1|\u{df}|it's|\"",
    );
    let parameters = weighted(0.4, vec(parameter, 0..3));
    (keyword, any_address(), parameters).prop_map(|(keyword, address, parameters)| {
        let parameters = parameters.map(|parameters| format!(" {}", parameters.join(" ")));
        format!("{keyword}{address}{}", parameters.unwrap_or_default())
    })
}

fn address() -> impl Strategy<Value = String> {
    one_of("<me@here.example>|you@there")
}

fn any_address() -> impl Strategy<Value = String> {
    let known: Vec<String> = addresses()
        .into_iter()
        .map(|(address, _)| address)
        .collect();
    prop_oneof![
        6 => select(known),
        3 => r#"<?[ab"\\.@()<>, :\[\]\té]{0,10}>?"#,
        1 => r#"<[ab"\\.@() ]{1,6}@[ab"\\.() \[\]]{1,6}>( SIZE=1)?"#,
    ]
}

/// What follows DATA.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => one_of("|From: me|hello|.|..|...|.x| .|defer|greet|empty|fail|h\u{e9}llo|\u{20ac}\u{1f600}|a\nb|\n.\n|\n.|.\n|a\rb|\r|\r\r\
            |\n|\u{0}|MAIL FROM:<x@y>").prop_map(String::into_bytes),
        1 => select(vec![b"\xff".to_vec(), b"\xc3".to_vec(), b"\xa9 \xe2\x82".to_vec()]),
        1 => (0..200_usize).prop_map(|size| vec![b'x'; size]),
    ];
    let end = prop_oneof![8 => one_of("\r\n."), 1 => one_of("|.")];
    (vec(line, 0..6), ended(end)).prop_map(|(lines, end)| [lines.join(&b"\r\n"[..]), end].concat())
}

/// How a stream is cut into packets.
#[derive(Clone, Debug)]
enum Cuts {
    /// A line in each, and a body.
    Lines,
    /// All in one.
    None,
    /// Pieces of these sizes, again and again.
    Sizes(Vec<usize>),
}

fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![
        4 => Just(Cuts::Lines),
        2 => Just(Cuts::None),
        3 => vec(prop_oneof![1..4_usize, 1..60_usize, 1..700_usize], 1..8).prop_map(Cuts::Sizes),
    ]
}

impl Cuts {
    fn cut(&self, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let sizes = match self {
            Cuts::Lines => return lines.into_iter().filter(|line| !line.is_empty()).collect(),
            Cuts::None => &[usize::MAX][..],
            Cuts::Sizes(sizes) => sizes,
        };
        let stream = lines.concat();
        let mut rest = &stream[..];
        let mut packets = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (packet, after) = rest.split_at(rest.len().min(*size).min(60_000));
            packets.push(packet.to_vec());
            rest = after;
        }
        packets
    }
}

// ---- holding one here: what dialogues.py does there

type Events = Rc<RefCell<Vec<Value>>>;

struct Server {
    base: SmtpServerBase,
    events: Events,
}

impl Dispatcher for Server {
    type Base = SmtpServerBase;
    fn base(&self) -> &SmtpServerBase {
        &self.base
    }
}

impl SmtpServer for Server {
    fn channel_class(&self, conn: Socket, addr: Address, settings: Settings) -> Result {
        let events = Rc::clone(&self.events);
        let channel = Channel::init_in(&self.map()?, |base| Channel { base, events });
        channel.base.fqdn.replace("mail.example".to_owned());
        channel.init_smtp_channel(self.this()?, conn, addr, settings)
    }

    fn process_message(
        &self,
        _peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        options: Option<&Options>,
    ) -> Result<Option<String>> {
        let text = match data.as_str() {
            Some(text) => text.to_owned(),
            None => latin_1(data.as_bytes()),
        };
        let kwargs = options.map(|options| {
            json!({"mail_options": options.mail_options, "rcpt_options": options.rcpt_options})
        });
        let event = json!(["message", mailfrom, rcpttos, text, kwargs]);
        self.events.borrow_mut().push(event);
        let answers = [
            ("defer", "451 later"),
            ("greet", "250 caf\u{e9}"),
            ("empty", ""),
        ];
        match answers.iter().find(|(said, _)| text.contains(said)) {
            Some((_, answer)) => Ok(Some((*answer).to_owned())),
            None if text.contains("fail") => Err(Error::msg("asked for")),
            None => Ok(None),
        }
    }
}

struct Channel {
    base: SmtpChannelBase,
    events: Events,
}

impl Dispatcher for Channel {
    type Base = SmtpChannelBase;
    fn base(&self) -> &SmtpChannelBase {
        &self.base
    }

    fn handle_error(&self, error: Error) -> Result {
        self.events.borrow_mut().push(json!(["error"]));
        self.base().handle_error(self, error)
    }

    fn close(&self) -> Result {
        if self.fileno().is_some() {
            self.events.borrow_mut().push(json!(["close"]));
        }
        self.base().close(self)
    }

    fn log_info(&self, _message: &str, _kind: &str) {}
}

impl AsyncChat for Channel {}

impl SmtpChannel for Channel {}

impl Dialogue {
    fn hold(&self) -> Value {
        self.try_hold().expect("no pass fails")
    }

    fn try_hold(&self) -> Result<Value> {
        let map = ChannelMap::new();
        let events = Events::default();
        let server = Server::init_in(&map, |base| Server {
            base,
            events: Rc::clone(&events),
        });
        server.init_smtp_server(("127.0.0.1", 0), None, self.settings)?;
        let (mut client, conn) = UnixStream::pair()?;
        server.handle_accepted(conn.into(), Address::from(std::path::Path::new("")))?;
        server.del_channel(None);
        client.set_nonblocking(true)?;
        replies(&mut client, &events)?;
        for packet in &self.packets {
            if map.is_empty() {
                break;
            }
            client.write_all(packet)?;
            passes(&map)?;
            replies(&mut client, &events)?;
        }
        // Not only closed: a process that another test is starting may have a copy of it still.
        client.shutdown(Shutdown::Both)?;
        drop(client);
        passes(&map)?;
        Ok(Value::Array(events.take()))
    }
}

fn passes(map: &ChannelMap) -> Result {
    (0..3).try_for_each(|_| poll(Duration::ZERO, Some(map)))
}

fn replies(client: &mut UnixStream, events: &Events) -> Result {
    let mut reply = Vec::new();
    match client.read_to_end(&mut reply) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error.into()),
    }
    if !reply.is_empty() {
        events.borrow_mut().push(json!(["reply", latin_1(&reply)]));
    }
    Ok(())
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

// ---- holding one there

struct Python {
    process: Child,
    /// `None` when no more dialogues come.
    dialogues: Option<RefCell<ChildStdin>>,
    events: RefCell<BufReader<ChildStdout>>,
}

impl Python {
    /// `None`, and said so, where there is none.
    fn start() -> Option<Python> {
        let python = cpython_3_11("the dialogues with smtpd")?;
        let mut process = Command::new(python)
            .args(["-W", "ignore", "-B"])
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/programs/smtpd/dialogues.py"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        Some(Python {
            dialogues: process.stdin.take().map(RefCell::new),
            events: RefCell::new(BufReader::new(process.stdout.take().expect("it is piped"))),
            process,
        })
    }

    fn hold(&self, dialogue: &Dialogue) -> Value {
        let settings = json!({
            "data_size_limit": dialogue.settings.data_size_limit,
            "enable_SMTPUTF8": dialogue.settings.enable_SMTPUTF8,
            "decode_data": dialogue.settings.decode_data,
        });
        let packets: Vec<String> = dialogue.packets.iter().map(|it| latin_1(it)).collect();
        let dialogue = json!({"settings": settings, "packets": packets});
        let dialogues = self.dialogues.as_ref().expect("until it is dropped");
        writeln!(dialogues.borrow_mut(), "{dialogue}").expect("a pipe to the script");
        let mut events = String::new();
        let read = self.events.borrow_mut().read_line(&mut events);
        read.expect("a pipe from the script");
        serde_json::from_str(&events).unwrap_or_else(|_| panic!("the script ended in {dialogue}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The end of its input is the end of the script.
        self.dialogues = None;
        let _ = self.process.wait();
    }
}
