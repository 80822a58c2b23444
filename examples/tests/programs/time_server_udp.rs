//! The time server, and clients that ask it by UDP.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::util::{LONG, Running, example, listening};

fn time_server(options: &[&str]) -> (Running, SocketAddr) {
    listening(&mut time_server_on("0", options))
}

fn time_server_on(port: &str, options: &[&str]) -> Command {
    let mut command = Command::new(example("time_server_udp"));
    command.args(["--port", port]).args(options);
    command
}

fn client_on(addr: &str, server: SocketAddr) -> io::Result<UdpSocket> {
    let client = UdpSocket::bind(addr)?;
    client.connect(server)?;
    Ok(client)
}

fn client(server: SocketAddr) -> UdpSocket {
    client_on("127.0.0.1:0", server).expect("there is a port")
}

/// Asks, more than once if need be: datagrams may get lost.
fn ask(server: SocketAddr, question: &[u8]) -> Vec<u8> {
    const PATIENCE: Duration = Duration::from_secs(1);

    // Each time another one, which no earlier answer can reach.
    let client = client(server);
    client.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let (mut answer, deadline) = ([0; 100], Instant::now() + LONG);
    loop {
        client.send(question).expect("the system takes it");
        match client.recv(&mut answer) {
            Ok(length) => return answer[..length].to_vec(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < deadline, "there is no answer");
    }
}

/// Seconds since 1900, as computers have them until 2036.
fn seconds(time: SystemTime) -> u64 {
    const DAYS_1900_TO_1970: u64 = 70 * 365 + 17;

    let since_1970 = time.duration_since(UNIX_EPOCH).expect("it is later");
    (DAYS_1900_TO_1970 * 24 * 60 * 60 + since_1970.as_secs()) % (1 << 32)
}

#[track_caller]
fn knows_the_time(server: SocketAddr, question: &[u8]) {
    let before = seconds(SystemTime::now());
    let answer = ask(server, question);
    let after = seconds(SystemTime::now());
    let answer = <[u8; 4]>::try_from(answer).expect("four bytes");
    let time = u64::from(u32::from_be_bytes(answer));
    assert!((before..=after).contains(&time), "{before} {time} {after}");
}

// ---- what it is for

fn whatever_it_is_asked_it_tells_the_time(options: &[&str]) {
    /// The most that a datagram holds.
    const MOST: usize = 65507;

    let (_server, addr) = time_server(options);
    for length in [0, 1, 4, 511, 512, 513, 8192, MOST] {
        knows_the_time(addr, &vec![b'?'; length]);
    }
}

#[test]
fn whatever_it_is_asked_it_tells_the_time_with_select() {
    whatever_it_is_asked_it_tells_the_time(&[]);
}

#[test]
fn whatever_it_is_asked_it_tells_the_time_with_poll() {
    whatever_it_is_asked_it_tells_the_time(&["--poll"]);
}

#[test]
fn it_tells_the_time_in_words() {
    let (_server, addr) = time_server(&["--text"]);
    let before = seconds(SystemTime::now());
    let answer = String::from_utf8(ask(addr, b"")).expect("a text");
    let after = seconds(SystemTime::now());
    let time = answer.strip_suffix("\r\n").expect("a line");
    let time = httpdate::parse_http_date(time).expect("a date and a time");
    assert!((before..=after).contains(&seconds(time)), "{answer}");
}

#[test]
fn many_clients_are_answered() {
    const CLIENTS: usize = 200;

    let (_server, addr) = time_server(&[]);
    let all_ready = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                all_ready.wait();
                (0..10).for_each(|_| knows_the_time(addr, b""));
            });
        }
    });
}

// ---- clients that mean no good

#[cfg(unix)]
#[test]
fn clients_that_have_gone_do_not_disturb_the_others() {
    let (server, addr) = time_server(&[]);
    for _ in 0..100 {
        // The answer finds nobody at the port, of which the system sends word (ICMP).
        client(addr).send(b"").expect("the system takes it");
    }
    knows_the_time(addr, b"");
    server.signal(rustix::process::Signal::INT);
    assert_eq!(server.finish().stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_flood_of_questions_takes_little_memory() {
    const MIB: u64 = 1024 * 1024;

    let (server, addr) = time_server(&[]);
    let flood = client(addr);
    for _ in 0..100_000 {
        // What comes back finds no room after a while.
        flood.send(&[b'?'; 1000]).expect("the system takes it");
    }
    knows_the_time(addr, b"");
    let peak = server.peak_memory();
    assert!(peak < 16 * MIB, "{peak} bytes");
}

/// Servers that answer one another would do so for ever.
#[cfg(target_os = "linux")]
#[test]
fn what_looks_like_another_server_is_not_answered() {
    let (_server, addr) = time_server(&[]);
    let own = client_on(&format!("127.0.0.2:{}", addr.port()), addr);
    let mut servers = vec![own.expect("127.0.0.2 is this machine, too")];
    match (1..1024)
        .rev()
        .find_map(|port| client_on(&format!("127.0.0.2:{port}"), addr).ok())
    {
        Some(low) => servers.push(low),
        None => eprintln!("NOT TESTED: ports below 1024, which this user cannot have"),
    }
    for server in &servers {
        server.send(b"").expect("the system takes it");
    }
    knows_the_time(addr, b"");
    for server in &servers {
        // It came before, and would have been answered before.
        server.set_nonblocking(true).expect("it is a socket");
        let answer = server.recv(&mut [0; 100]);
        assert!(answer.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
}

// ---- its end

#[test]
fn an_address_in_use_is_named_and_ends_it_with_status_1() {
    let (_server, addr) = time_server(&[]);
    let second = Running::start(&mut time_server_on(&addr.port().to_string(), &[])).finish();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let message = format!("time_server_udp: bind {addr}: ");
    assert!(second.stderr.starts_with(&message), "{second:?}");
    assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
    assert!(second.stdout.is_empty(), "{second:?}");
}

#[cfg(unix)]
#[test]
fn control_c_ends_it_well() {
    let (server, addr) = time_server(&[]);
    knows_the_time(addr, b"");
    server.signal(rustix::process::Signal::INT);
    let ended = server.finish();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
}
