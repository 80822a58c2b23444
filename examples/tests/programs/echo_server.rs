//! The echo server and its clients, wanted and unwanted.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use asyncore::socket2::SockRef;

use crate::util::{LONG, Noise, Running, example};

const PORTABLE: &str = "ASYNCORE_POLLER";

fn echo_server() -> Command {
    echo_server_on("0")
}

fn echo_server_on(port: &str) -> Command {
    let mut command = Command::new(example("echo_server"));
    command.args(["--port", port]).env_remove(PORTABLE);
    command
}

/// Starts a server, and waits until it listens.
fn listening(command: &mut Command) -> (Running, SocketAddr) {
    let mut server = Running::start(command);
    let addr = server.find_on_stdout(|line| line.strip_prefix("listening on ")?.parse().ok());
    (server, addr)
}

fn connect(server: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(server).expect("the server accepts");
    client.set_read_timeout(Some(LONG)).expect("not zero");
    client.set_write_timeout(Some(LONG)).expect("not zero");
    client
}

/// Whether the server sends back what it is sent.
fn echoes(client: &mut TcpStream) -> bool {
    let mut echo = [0; 5];
    client.write_all(b"hello").expect("the server takes it");
    client
        .read_exact(&mut echo)
        .expect("the server sends it back");
    echo == *b"hello"
}

// ---- what it is for

#[test]
fn an_urgent_byte_is_sent_back_in_its_place() {
    let (_server, addr) = listening(&mut echo_server());
    let mut client = connect(addr);
    client.write_all(b"a").expect("the server takes it");
    let urgent = SockRef::from(&client).send_out_of_band(b"!");
    urgent.expect("the system takes it");
    client.write_all(b"bcd").expect("the server takes it");
    let mut echo = [0; 4];
    let read = client.read_exact(&mut echo);
    read.expect("the server sends it back");
    assert_eq!(echo, *b"a!bc");
}

const CHUNK: usize = 16 * 1024;
const MIB: usize = 1024 * 1024;

fn send_noise(mut client: &TcpStream, seed: usize, bytes: usize) {
    let (mut noise, mut chunk) = (Noise::new(seed), [0; CHUNK]);
    for _ in 0..bytes / CHUNK {
        noise.fill(&mut chunk);
        client.write_all(&chunk).expect("the server takes all");
    }
}

fn expect_noise(mut client: &TcpStream, seed: usize, bytes: usize) {
    let (mut noise, mut chunk, mut echo) = (Noise::new(seed), [0; CHUNK], [0; CHUNK]);
    for at in 0..bytes / CHUNK {
        noise.fill(&mut chunk);
        client.read_exact(&mut echo).expect("the server sends all");
        assert!(chunk == echo, "client {seed}: wrong bytes in chunk {at}");
    }
}

fn two_hundred_clients_get_back_what_they_send(command: &mut Command) {
    const CLIENTS: usize = 200;

    let (_server, addr) = listening(command);
    let all_connected = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let all_connected = &all_connected;
            scope.spawn(move || {
                let mut client = connect(addr);
                all_connected.wait();
                assert!(echoes(&mut client));
                thread::scope(|scope| {
                    scope.spawn(|| send_noise(&client, seed, MIB));
                    expect_noise(&client, seed, MIB);
                });
            });
        }
    });
}

#[test]
fn two_hundred_clients_get_back_what_they_send_with_select() {
    two_hundred_clients_get_back_what_they_send(&mut echo_server());
}

#[test]
fn two_hundred_clients_get_back_what_they_send_with_poll() {
    two_hundred_clients_get_back_what_they_send(echo_server().arg("--poll"));
}

#[test]
fn two_hundred_clients_get_back_what_they_send_with_select_the_portable_way() {
    two_hundred_clients_get_back_what_they_send(echo_server().env(PORTABLE, "portable"));
}

#[test]
fn two_hundred_clients_get_back_what_they_send_with_poll_the_portable_way() {
    two_hundred_clients_get_back_what_they_send(
        echo_server().arg("--poll").env(PORTABLE, "portable"),
    );
}

#[test]
fn a_client_that_shuts_down_its_side_still_gets_all_of_its_echo() {
    const A_WHILE: Duration = Duration::from_millis(500);
    const BYTES: usize = 32 * MIB;

    let (_server, addr) = listening(&mut echo_server());
    let client = connect(addr);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let client = &client;
        scope.spawn(move || {
            send_noise(client, 1, BYTES);
            client.shutdown(Shutdown::Write).expect("still connected");
            sender.send(())
        });
        // Nothing is read until all is sent, or the system has no room for more.
        let _ = receiver.recv_timeout(A_WHILE);
        expect_noise(client, 1, BYTES);
    });
    assert_eq!((&client).read(&mut [0]).expect("no error"), 0);
}

// ---- clients that mean no good

#[test]
fn a_client_that_never_reads_is_not_served_at_the_expense_of_memory() {
    const MOST: usize = 64 * MIB;
    const BLOCKED: Duration = Duration::from_millis(500);

    let (_server, addr) = listening(&mut echo_server());
    let mut greedy = connect(addr);
    greedy.set_write_timeout(Some(BLOCKED)).expect("not zero");
    let chunk = vec![0; MIB];
    let mut taken = 0;
    while let Ok(sent) = greedy.write(&chunk) {
        taken += sent;
        assert!(
            taken < MOST,
            "the server takes {taken} bytes that have nowhere to go"
        );
    }
    assert!(echoes(&mut connect(addr)), "another client is served");
}

// ---- its end

#[test]
fn an_address_in_use_is_named_and_ends_it_with_status_1() {
    let (_server, addr) = listening(&mut echo_server());
    let second = Running::start(&mut echo_server_on(&addr.port().to_string())).finish();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let message = format!("echo_server: bind {addr}: ");
    assert!(second.stderr.starts_with(&message), "{second:?}");
    assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
    assert!(second.stdout.is_empty(), "{second:?}");
}

#[test]
fn a_port_that_is_none_ends_it_with_status_2() {
    let ended = Running::start(&mut echo_server_on("65536")).finish();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}

#[cfg(unix)]
mod unix {
    use rustix::process::Signal;

    use super::*;

    fn ends_well_on(signal: Signal) {
        let (server, addr) = listening(&mut echo_server());
        let mut client = connect(addr);
        assert!(echoes(&mut client));

        server.signal(signal);
        let ended = server.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        assert_eq!(
            client.read(&mut [0]).expect("no error"),
            0,
            "the connection is closed"
        );
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

    #[test]
    fn clients_that_vanish_do_not_disturb_the_others() {
        let (server, addr) = listening(&mut echo_server());
        let mut steady = connect(addr);
        for _ in 0..100 {
            let mut client = connect(addr);
            client
                .write_all(&[0; 100_000])
                .expect("the server takes it");
            // Closing with an unread echo resets the connection.
        }
        assert!(echoes(&mut steady));
        assert!(echoes(&mut connect(addr)));

        server.signal(Signal::INT);
        assert_eq!(server.finish().stderr, "");
    }

    fn survives_without_descriptors(options: &str) {
        let script = format!(
            "ulimit -n 40; exec {} --port 0 {options}",
            example("echo_server")
        );
        let (mut server, addr) = listening(Command::new("sh").args(["-c", &script]));
        let messages = server.stderr_lines();

        // One by one, up to the one that the server has no descriptor for.
        let mut served = Vec::new();
        let mut unserved = loop {
            let mut client = connect(addr);
            client.write_all(b"hello").expect("the system takes it");
            if !is_served(&client, &messages) {
                break client;
            }
            client.read_exact(&mut [0; 5]).expect("it is there");
            served.push(client);
        };
        assert!((20..40).contains(&served.len()), "{} clients", served.len());
        let crowd: Vec<TcpStream> = (0..60).map(|_| connect(addr)).collect();

        assert!(
            served.iter_mut().all(echoes),
            "those it has are served as before"
        );
        served.pop();
        unserved
            .read_exact(&mut [0; 5])
            .expect("served in place of the one that has left");
        drop((served, unserved, crowd));
        assert!(echoes(&mut connect(addr)), "a later client is served");
        assert!(
            messages.try_iter().count() < 100,
            "it does not try in vain all the time"
        );
    }

    /// Waits until a client has an echo to read, or the server says that it is out of descriptors.
    fn is_served(client: &TcpStream, messages: &Receiver<String>) -> bool {
        let deadline = Instant::now() + LONG;
        client
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("not zero");
        let served = loop {
            if client.peek(&mut [0; 5]).is_ok_and(|echo| echo == 5) {
                break true;
            }
            if messages
                .try_iter()
                .any(|line| line.contains("Too many open files"))
            {
                break false;
            }
            assert!(Instant::now() < deadline, "neither an echo nor a message");
        };
        client.set_read_timeout(Some(LONG)).expect("not zero");
        served
    }

    #[test]
    fn without_descriptors_it_survives_with_select() {
        survives_without_descriptors("");
    }

    #[test]
    fn without_descriptors_it_survives_with_poll() {
        survives_without_descriptors("--poll");
    }
}
