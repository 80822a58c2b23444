//! The IRC bot, and servers of all kinds.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use asyncore::socket2::{Domain, Socket, Type};

use crate::util::{LONG, Running, example};

/// A server that the test plays, or its port alone, to which nobody can connect then.
struct IrcServer {
    /// Keeps the port while nobody listens there.
    _reserved: Socket,
    addr: SocketAddr,
    listener: Option<TcpListener>,
}

impl IrcServer {
    fn absent() -> IrcServer {
        let reserved = bound("127.0.0.1:0".parse().expect("an address"));
        let addr = reserved.local_addr().expect("it is bound").as_socket();
        IrcServer {
            _reserved: reserved,
            addr: addr.expect("it is an IP socket"),
            listener: None,
        }
    }

    fn new() -> IrcServer {
        let mut server = IrcServer::absent();
        server.comes();
        server
    }

    fn comes(&mut self) {
        let socket = bound(self.addr);
        socket.listen(16).expect("nobody else listens");
        socket.set_nonblocking(true).expect("a socket");
        self.listener = Some(socket.into());
    }

    fn goes(&mut self) {
        self.listener = None;
    }

    fn bot(&self) -> Command {
        self.bot_with("--delay", "0.001")
    }

    /// A bot for which one option is another.
    fn bot_with(&self, option: &str, value: &str) -> Command {
        let mut command = Command::new(example("irc_bot"));
        for (name, default) in [
            ("--server", &*self.addr.to_string()),
            ("--nick", "bot"),
            ("--channel", "#c"),
            ("--delay", "0.001"),
            ("--max-delay", "0.004"),
            ("--interval", "0.001"),
            ("--timeout", "1000"),
        ] {
            let value = if name == option { value } else { default };
            command.arg(format!("{name}={value}"));
        }
        command
    }

    fn accepts(&self) -> Connection {
        let deadline = Instant::now() + LONG;
        let listener = self.listener.as_ref().expect("it has come");
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Connection::new(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < deadline, "the bot does not connect");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Accepts the bot, and lets it in and into its channel.
    fn welcomes(&self) -> Connection {
        let mut bot = self.accepts();
        bot.introduces_itself();
        bot.is_welcomed();
        bot
    }
}

fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    socket.bind(&addr.into()).expect("the port is ours");
    socket
}

/// The bot, as the server knows it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        stream.set_nonblocking(false).expect("a socket");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(LONG)).expect("not zero");
        stream.set_write_timeout(Some(LONG)).expect("not zero");
        Connection(BufReader::new(stream))
    }

    fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    fn is_sent(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the bot takes it");
    }

    fn is_told(&mut self, line: impl AsRef<str>) {
        self.is_sent(format!("{}\r\n", line.as_ref()));
    }

    /// None at the end.
    fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(_) => line.strip_suffix("\r\n").map(str::to_owned),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn line(&mut self) -> String {
        self.try_line().expect("a line")
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    fn introduces_itself(&mut self) {
        self.says("NICK bot");
        self.says("USER bot 0 * :bot");
    }

    fn is_welcomed(&mut self) {
        self.is_told(":irc.test 001 bot :Welcome");
        self.says("JOIN #c");
        self.is_told(":bot!bot@here JOIN #c");
    }

    /// Whether nothing comes before the answer to a line that is told last.
    fn says_nothing(&mut self) -> bool {
        self.is_told(":ann!a@b PRIVMSG #c :!echo it is over");
        self.line() == "PRIVMSG #c :it is over"
    }

    fn is_left(&mut self) -> bool {
        self.try_line().is_none()
    }
}

// ---- what it is for

#[test]
fn it_joins_its_channel_once_it_is_welcome() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.accepts();
    bot.introduces_itself();
    bot.is_told(":irc.test NOTICE * :*** Looking up your hostname");
    bot.is_told("PING :cookie");
    bot.says("PONG :cookie");
    bot.is_welcomed();
    assert!(bot.says_nothing());
}

#[test]
fn it_answers_where_it_is_asked() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    bot.is_told(":ann!a@b PRIVMSG #c :!echo hello,  all: :)");
    bot.says("PRIVMSG #c :hello,  all: :)");
    bot.is_told(":ann!a@b PRIVMSG #C :!echo the same channel");
    bot.says("PRIVMSG #C :the same channel");
    bot.is_told(":ann!a@b PRIVMSG bot :!echo to me");
    bot.says("PRIVMSG ann :to me");
    bot.is_told(":ann!a@b PRIVMSG #c :!help");
    assert!(bot.line().starts_with("PRIVMSG #c :!echo TEXT "));
    bot.is_told(":ann!a@b PRIVMSG #c :!time");
    let time = bot.line();
    let time = time
        .strip_prefix("PRIVMSG #c :")
        .map(httpdate::parse_http_date);
    assert!(matches!(time, Some(Ok(_))), "{time:?}");
    bot.is_told(":ann!a@b PRIVMSG bot :\x01VERSION\x01");
    assert!(bot.line().starts_with("NOTICE ann :\x01VERSION irc_bot "));
    bot.is_told(":ann!a@b PRIVMSG bot :\x01PING 12 34\x01");
    bot.says("NOTICE ann :\x01PING 12 34\x01");
}

#[test]
fn it_does_not_answer_what_is_not_asked_of_it() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    for line in [
        ":ann!a@b PRIVMSG #c :hello",
        ":ann!a@b PRIVMSG #c :!unknown",
        ":ann!a@b PRIVMSG #c :!echo",
        ":ann!a@b PRIVMSG #c :!",
        ":ann!a@b PRIVMSG #c",
        ":ann!a@b PRIVMSG",
        ":ann!a@b PRIVMSG #other :!help",
        ":ann!a@b PRIVMSG someone :!help",
        ":ann!a@b NOTICE bot :!help",
        ":ann!a@b NOTICE bot :\x01VERSION\x01",
        ":ann!a@b PRIVMSG #c :\x01ACTION waves\x01",
        ":bot!a@b PRIVMSG #c :!help",
        "PRIVMSG #c :!help",
        ": PRIVMSG #c :!help",
        ":irc.test 001 other :Welcome again",
        ":irc.test 433 bot other :In use",
        ":irc.test 432 bot other :Erroneous",
        ":irc.test 376 bot :End of MOTD",
        ":irc.test 474 bot #c :Cannot join",
    ] {
        bot.is_told(line);
        assert!(bot.says_nothing(), "{line:?}");
    }
}

#[test]
fn lines_of_all_shapes_are_understood() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    for line in [
        "@time=2026-01-01T00:00:00Z;draft/x=a\\sb :ann!a@b PRIVMSG #c :!echo hi",
        "@x   :ann!a@b   PRIVMSG   #c   :!echo hi",
        ":ann PRIVMSG #c :!echo hi",
        ":ann@b PRIVMSG #c :!echo hi",
        ":ann!a@b privmsg #c :!echo hi",
    ] {
        bot.is_told(line);
        bot.says("PRIVMSG #c :hi");
    }
    bot.is_told(":ann!a@b PRIVMSG #c !time");
    assert!(bot.line().starts_with("PRIVMSG #c :"));
    bot.is_told("PING token");
    bot.says("PONG :token");
    bot.is_told("@x PING :a b");
    bot.says("PONG :a b");
}

#[test]
fn packets_may_be_cut_anywhere() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.accepts();
    let dialogue = ":irc.test 001 bot :Welcome\r\n@x :ann!a@b PRIVMSG #c :!echo hi\r\nPING :é\r\n";
    for byte in dialogue.bytes() {
        bot.is_sent([byte]);
    }
    bot.introduces_itself();
    bot.says("JOIN #c");
    let mut answers = [bot.line(), bot.line()];
    answers.sort();
    assert_eq!(answers, ["PONG :é", "PRIVMSG #c :hi"]);
}

// ---- its nick

#[test]
fn a_nick_in_use_gets_longer() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.accepts();
    bot.introduces_itself();
    bot.is_told(":irc.test 433 * bot :Nickname is already in use");
    bot.says("NICK bot_");
    bot.is_told(":irc.test 433 * bot_ :Nickname is already in use");
    bot.says("NICK bot__");
    bot.is_told(":irc.test 001 bot__ :Welcome");
    bot.says("JOIN #c");
    bot.is_told(":ann!a@b PRIVMSG bot__ :!echo hi");
    bot.says("PRIVMSG ann :hi");
    bot.is_told(":bot__!b@c NICK :robot");
    bot.is_told(":ann!a@b PRIVMSG robot :!echo hi");
    bot.says("PRIVMSG ann :hi");
}

#[test]
fn with_all_nicks_in_use_it_starts_over() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.accepts();
    bot.introduces_itself();
    for nick in ["bot_", "bot__", "bot___", "bot____"] {
        bot.is_told(":irc.test 433 * some :Nickname is already in use");
        bot.says(&format!("NICK {nick}"));
    }
    bot.is_told(":irc.test 433 * some :Nickname is already in use");
    assert!(bot.is_left());
    assert!(server.welcomes().says_nothing());
}

#[test]
fn a_nick_that_is_none_ends_it_with_status_1() {
    let server = IrcServer::new();
    let running = Running::start(&mut server.bot());
    let mut bot = server.accepts();
    bot.introduces_itself();
    bot.is_told(":irc.test 432 * bot :Erroneous nickname");
    let ended = running.finish();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stderr, "irc_bot: nick bot: Erroneous nickname\n");
}

// ---- floods

#[test]
fn it_sends_a_few_lines_at_once_and_then_at_its_pace() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--interval", "1000"));
    let mut bot = server.welcomes();
    for index in 0..10 {
        bot.is_told(format!(":ann!a@b PRIVMSG #c :!echo {index}"));
    }
    for index in 0..5 {
        bot.says(&format!("PRIVMSG #c :{index}"));
    }
    for token in ["one", "two", "three"] {
        bot.is_told(format!("PING :{token}"));
        bot.says(&format!("PONG :{token}"));
    }
}

#[test]
fn what_has_to_wait_is_sent_in_the_end_and_in_order() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--interval", "0.01"));
    let mut bot = server.welcomes();
    for index in 0..20 {
        bot.is_told(format!(":ann!a@b PRIVMSG #c :!echo {index}"));
    }
    for index in 0..20 {
        bot.says(&format!("PRIVMSG #c :{index}"));
    }
}

// ---- servers, and others there, that mean no good

#[cfg(target_os = "linux")]
fn costs_no_memory(flood: &[u8]) {
    const MIB: u64 = 1024 * 1024;

    let server = IrcServer::new();
    let running = Running::start(&mut server.bot_with("--interval", "1000"));
    let mut bot = server.welcomes();
    assert!(bot.says_nothing());
    let before = running.peak_memory();
    for _ in 0..32 * MIB / flood.len() as u64 {
        bot.is_sent(flood);
    }
    bot.is_told("");
    bot.is_told("PING :read");
    while bot.line() != "PONG :read" {}
    let grown = running.peak_memory() - before;
    assert!(grown < 2 * MIB, "{grown} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_without_end_costs_no_memory() {
    costs_no_memory(&[b'x'; 65536]);
}

#[cfg(target_os = "linux")]
#[test]
fn questions_without_end_cost_no_memory() {
    let question = format!(":ann!a@b PRIVMSG #c :!echo {}\r\n", "x".repeat(300));
    costs_no_memory(question.repeat(100).as_bytes());
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_never_reads_its_pongs_is_not_read_for_ever() {
    const MOST: usize = 64 * 1024 * 1024;
    const BLOCKED: Duration = Duration::from_secs(1);

    let server = IrcServer::new();
    let running = Running::start(&mut server.bot());
    let bot = server.welcomes();
    let before = running.peak_memory();
    let mut stream = bot.0.into_inner();
    stream.set_write_timeout(Some(BLOCKED)).expect("not zero");
    let pings = format!("PING {}\r\n", "x".repeat(500)).repeat(100);
    let mut taken = 0;
    while let Ok(sent) = stream.write(pings.as_bytes()) {
        taken += sent;
        assert!(taken < MOST, "it has taken {taken} bytes");
    }
    let grown = running.peak_memory() - before;
    assert!(grown < 2 * 1024 * 1024, "{grown} bytes");
}

#[test]
fn a_line_that_is_too_long_is_left_out() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    for length in [10_000, 1_000_000] {
        let long = "x".repeat(length);
        bot.is_told(format!(":ann!a@b PRIVMSG #c :!echo {long}"));
        assert!(bot.says_nothing(), "{length}");
        bot.is_told(format!("@{long} :ann!a@b PRIVMSG #c :!echo hi"));
        assert!(bot.says_nothing(), "{length}");
    }
    bot.is_told(format!(
        "@{} :ann!a@b PRIVMSG #c :!echo hi",
        "x".repeat(8000)
    ));
    bot.says("PRIVMSG #c :hi");
}

#[test]
fn garbage_is_passed_over() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let garbage: [&[u8]; 14] = [
        b"",
        b" ",
        b":",
        b"@",
        b"@ ",
        b": ",
        b": :",
        b"@:",
        b"@a :b",
        b"\0\n\r\r",
        b"PRIVMSG :\xff\xfe",
        b":\xff!\xff@\xff PRIVMSG \xff \xff :\xff",
        b":!@ PRIVMSG #c :!help",
        &all_bytes,
    ];
    for bytes in garbage {
        bot.is_sent(bytes);
        bot.is_sent(b"\r\n");
        assert!(bot.says_nothing(), "{bytes:?}");
    }
    bot.is_sent(b":ann!a@b PRIVMSG #c :!echo \xe9t\xe9\r\n");
    bot.says("PRIVMSG #c :\u{fffd}t\u{fffd}");
}

#[test]
fn nobody_makes_it_say_another_line_or_command() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot());
    let mut bot = server.welcomes();
    bot.is_told(":ann!a@b PRIVMSG #c :!echo a\nQUIT :b\rQUIT\0");
    bot.says("PRIVMSG #c :a QUIT :b QUIT ");
    bot.is_told(":ann\nQUIT!a@b PRIVMSG bot :!echo hi");
    bot.says("PRIVMSG ann QUIT :hi");
    bot.is_told("PING :a\nQUIT");
    bot.says("PONG :a QUIT");
    bot.is_told(":ann!a@b PRIVMSG #c :!echo \x01VERSION\x01");
    bot.says("PRIVMSG #c :VERSION");
    for text in ["é".repeat(1000), "x".repeat(1000)] {
        bot.is_told(format!(":ann!a@b PRIVMSG #c :!echo {text}"));
        let line = bot.line();
        let said = line.strip_prefix("PRIVMSG #c :").expect("an answer");
        assert!(text.starts_with(said), "{said}");
        assert!((340..=360).contains(&said.len()), "{} bytes", said.len());
        bot.is_told(format!("PING :{text}"));
        assert_eq!(bot.line().len(), 510);
    }
}

// ---- connections that are lost, and others that are made

#[test]
fn a_closed_connection_is_made_again_and_nothing_of_the_old_is_left() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--interval", "0.1"));
    for _ in 0..3 {
        let mut bot = server.welcomes();
        assert!(bot.says_nothing());
        // Some of these are still to be answered, and half a line to be ended.
        for _ in 0..10 {
            bot.is_told(":ann!a@b PRIVMSG #c :!echo an old answer");
        }
        bot.is_told("PING :read");
        while bot.line() != "PONG :read" {}
        bot.is_sent("x".repeat(10_000));
        let stream = bot.0.get_ref();
        stream.shutdown(Shutdown::Write).expect("still connected");
        while bot.try_line().is_some() {}
    }
}

#[test]
fn a_server_that_is_not_there_is_tried_again_after_growing_delays() {
    let mut server = IrcServer::absent();
    let mut running = Running::start(server.bot().env("RUST_LOG", "info"));
    let messages = running.stderr_lines();
    for delay in [1, 2, 4, 4, 4] {
        for expected in [
            format!("connect {}: Connection refused", server.addr),
            format!("the next attempt is in {delay}ms"),
        ] {
            let message = messages.recv_timeout(LONG).expect("it tells");
            assert!(message.contains(&expected), "{message}");
        }
    }
    server.comes();
    let mut bot = server.welcomes();
    assert!(bot.says_nothing());
    drop(bot);
    let mut later = messages
        .iter()
        .skip_while(|it| !it.contains("registered as bot"));
    let attempt = later.find(|it| it.contains("the next attempt"));
    let attempt = attempt.expect("the connection is lost");
    assert!(attempt.ends_with("is in 1ms"), "{attempt}");
}

#[test]
fn a_server_that_goes_and_comes_back_is_found_again() {
    let mut server = IrcServer::new();
    let mut running = Running::start(&mut server.bot());
    let messages = running.stderr_lines();
    for _ in 0..3 {
        let bot = server.welcomes();
        server.goes();
        drop(bot);
        let refused = messages.iter().find(|it| it.contains("Connection refused"));
        assert!(refused.is_some(), "it tries while nobody listens");
        server.comes();
    }
    assert!(server.welcomes().says_nothing());
}

#[test]
fn a_name_that_is_no_host_is_tried_again() {
    let server = IrcServer::absent();
    let mut running = Running::start(&mut server.bot_with("--server", "nowhere.invalid:6667"));
    let messages = running.stderr_lines();
    for _ in 0..2 {
        let message = messages.recv_timeout(LONG).expect("it tells");
        assert!(
            message.contains("connect nowhere.invalid:6667: "),
            "{message}"
        );
    }
}

#[test]
fn a_server_that_does_not_let_it_in_is_left() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--timeout", "0.05"));
    for _ in 0..3 {
        let mut bot = server.accepts();
        let deadline = Instant::now() + LONG;
        // What it says does not help, as long as the bot is not welcome.
        while bot.try_send("NOTICE * :wait\r\n").is_ok() {
            assert!(Instant::now() < deadline, "it waits on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Accepts the bot until it is in: it may have given up before, on a busy machine.
fn welcomed_in_time(server: &IrcServer) -> Connection {
    loop {
        let mut bot = server.accepts();
        if bot.try_send(":irc.test 001 bot :Welcome\r\n").is_ok() {
            let mut lines = std::iter::from_fn(|| bot.try_line());
            if lines.any(|line| line == "JOIN #c") {
                return bot;
            }
        }
    }
}

#[test]
fn a_silent_server_is_asked_and_left() {
    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--timeout", "0.1"));
    for _ in 0..3 {
        let mut bot = welcomed_in_time(&server);
        bot.says("PING :are you there?");
        assert!(bot.is_left());
    }
}

#[test]
fn a_silent_server_that_answers_is_not_left() {
    const TIMES: usize = 3;

    let server = IrcServer::new();
    let _bot = Running::start(&mut server.bot_with("--timeout", "0.1"));
    let deadline = Instant::now() + LONG;
    let mut asked = 0;
    while asked < TIMES {
        assert!(Instant::now() < deadline, "it leaves");
        // Once more, where this test has been too slow to answer.
        let mut bot = welcomed_in_time(&server);
        asked = 0;
        while asked < TIMES
            && bot
                .try_line()
                .is_some_and(|it| it == "PING :are you there?")
        {
            asked += 1;
            let _ = bot.try_send("PONG :are you there?\r\n");
        }
    }
}

// ---- its end

#[test]
fn arguments_that_make_no_sense_end_it_with_status_2() {
    let server = IrcServer::absent();
    for (option, value) in [
        ("--server", "nowhere"),
        ("--server", "host:65536"),
        ("--server", ":6667"),
        ("--server", "::1:6667"),
        ("--nick", "a b"),
        ("--nick", ""),
        ("--nick", "a\r\nQUIT"),
        ("--channel", "c"),
        ("--channel", "#a,#b"),
        ("--delay", "0"),
        ("--delay", "NaN"),
        ("--delay", "soon"),
        ("--timeout", "1e300"),
        ("--interval", "-1"),
    ] {
        let ended = Running::start(&mut server.bot_with(option, value)).finish();
        assert_eq!(ended.status.code(), Some(2), "{option} {value}: {ended:?}");
        assert!(ended.stderr.contains(option), "{option} {value}: {ended:?}");
    }
}

#[cfg(unix)]
mod signals {
    use rustix::process::Signal;

    use super::*;

    fn says_goodbye_on(signal: Signal) {
        let server = IrcServer::new();
        let running = Running::start(&mut server.bot());
        let mut bot = server.welcomes();
        assert!(bot.says_nothing());
        running.signal(signal);
        bot.says("QUIT :goodbye");
        bot.is_told("ERROR :Closing link");
        drop(bot);
        let ended = running.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
    }

    #[test]
    fn control_c_ends_it_with_quit() {
        says_goodbye_on(Signal::INT);
    }

    #[test]
    fn sigterm_ends_it_with_quit() {
        says_goodbye_on(Signal::TERM);
    }

    #[test]
    fn control_c_ends_it_though_the_server_does_not_close() {
        let server = IrcServer::new();
        let running = Running::start(&mut server.bot());
        let mut bot = server.welcomes();
        assert!(bot.says_nothing());
        running.signal(Signal::INT);
        bot.says("QUIT :goodbye");
        assert_eq!(running.finish().status.code(), Some(0));
        assert!(bot.is_left());
    }

    #[test]
    fn control_c_ends_it_while_it_waits_to_connect_again() {
        let server = IrcServer::absent();
        let mut running = Running::start(&mut server.bot_with("--delay", "1000"));
        let refused = running.stderr_lines().recv_timeout(LONG);
        assert!(refused.is_ok_and(|it| it.contains("Connection refused")));
        running.signal(Signal::INT);
        assert_eq!(running.finish().status.code(), Some(0));
    }
}
