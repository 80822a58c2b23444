//! The port forwarder between clients and remotes of all kinds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use asyncore::socket2::{Domain, SockRef, Socket, Type};

use crate::util::{LONG, Noise, Running, connect, example, listening};

const MIB: usize = 1024 * 1024;

fn port_forwarder(to: impl ToString) -> Command {
    let mut command = Command::new(example("port_forwarder"));
    command.args(["--port", "0", "--to", &to.to_string()]);
    command
}

/// A forwarder, and the remote that it forwards to.
struct Forwarded {
    forwarder: Running,
    addr: SocketAddr,
    remote: TcpListener,
}

impl Forwarded {
    fn new(poll: bool) -> Forwarded {
        let remote = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let to = remote.local_addr().expect("it is bound");
        let (forwarder, addr) = listening(port_forwarder(to).args(poll.then_some("--poll")));
        Forwarded {
            forwarder,
            addr,
            remote,
        }
    }

    /// The two ends of a forwarded connection. Only one may be on its way at a time.
    fn connection(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.addr);
        (client, accept(&self.remote))
    }

    /// A connection, and how many descriptors the forwarder has open with it; before the first it has fewer,
    /// which the loop opens when it begins.
    #[cfg(target_os = "linux")]
    fn first_connection(&self) -> ((TcpStream, TcpStream), usize) {
        let (client, remote) = self.connection();
        assert!(forwards(&client, &remote));
        ((client, remote), self.forwarder.descriptors().len())
    }

    /// Whether a new connection is forwarded, both ways.
    fn works(&self) -> bool {
        let (client, remote) = self.connection();
        forwards(&client, &remote)
    }
}

/// Waits for a connection, and not for ever.
fn accept(listener: &TcpListener) -> TcpStream {
    let deadline = Instant::now() + LONG;
    listener.set_nonblocking(true).expect("it is a socket");
    loop {
        match listener.accept() {
            Ok((remote, _)) => {
                remote.set_nonblocking(false).expect("it is a socket");
                remote.set_read_timeout(Some(LONG)).expect("not zero");
                remote.set_write_timeout(Some(LONG)).expect("not zero");
                return remote;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < deadline, "no connection is forwarded");
        thread::sleep(Duration::from_millis(1));
    }
}

fn forwards(mut client: &TcpStream, mut remote: &TcpStream) -> bool {
    let mut data = [0; 5];
    client.write_all(b"there").expect("the forwarder takes it");
    remote.read_exact(&mut data).expect("it is passed on");
    let there = data == *b"there";
    remote.write_all(b"back.").expect("the forwarder takes it");
    client.read_exact(&mut data).expect("it is passed on");
    there && data == *b"back."
}

/// Bytes to send, others for each seed below 1000.
fn noise(seed: usize, bytes: usize) -> &'static [u8] {
    const MOST: usize = 10 * MIB;
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();

    let noise = NOISE.get_or_init(|| {
        let mut noise = vec![0; MOST + 1000 * 1000];
        Noise::new(1).fill(&mut noise);
        noise
    });
    &noise[1000 * seed..][..bytes]
}

/// Reads to the end of `stream`, and compares on the way. What comes must begin as `expected` does; tells how
/// much came, or that it ended in a reset.
fn read_and_compare(mut stream: &TcpStream, expected: &[u8]) -> Result<usize, ErrorKind> {
    let (mut at, mut piece) = (0, [0; 65536]);
    loop {
        let received = match stream.read(&mut piece).map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => continue,
            received => received?,
        };
        if received == 0 {
            return Ok(at);
        }
        let expected = expected.get(at..at + received);
        assert!(
            expected == Some(&piece[..received]),
            "wrong bytes after {at}"
        );
        at += received;
    }
}

fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("it is a socket");
    let end = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("it is a socket");
    !end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.expect("it is a socket");
}

// ---- what it is for

fn send_all(mut stream: &TcpStream, data: &[u8]) {
    stream.write_all(data).expect("all is taken");
    stream.shutdown(Shutdown::Write).expect("still connected");
}

/// How a transfer is cut off, and by whom.
#[derive(Debug)]
struct Fate {
    seed: usize,
    /// Whether the client sends.
    up: bool,
    sender_does_it: bool,
    by_reset: bool,
    after: usize,
}

impl Fate {
    fn new(seed: usize) -> Fate {
        let mut dice = [0; 8];
        Noise::new(seed).fill(&mut dice);
        let [a, b, c, d, ..] = dice;
        Fate {
            seed,
            up: a % 2 == 0,
            sender_does_it: b % 2 == 0,
            by_reset: c % 2 == 0,
            after: (1 + usize::from(d)) * 30_000,
        }
    }

    /// Begins to send 10 MiB, and cuts it off.
    fn befalls(&self, client: TcpStream, remote: TcpStream) {
        let (sender, receiver) = if self.up {
            (client, remote)
        } else {
            (remote, client)
        };
        let data = noise(self.seed, 10 * MIB);
        let cut_off = |stream| {
            if self.by_reset {
                reset(stream)
            } else {
                drop(stream)
            }
        };
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut sending = &sender;
                if self.sender_does_it {
                    sending.write_all(&data[..self.after]).expect("it is taken");
                    return cut_off(sender);
                }
                // It may all be on its way before the receiver is known to be gone.
                if sending.write_all(data).is_ok() {
                    let end = read_and_compare(sending, b"");
                    assert_ne!(end, Err(ErrorKind::WouldBlock), "{self:?}");
                }
            });
            scope.spawn(move || {
                let mut receiving = &receiver;
                if self.sender_does_it {
                    let end = read_and_compare(receiving, data);
                    let expected = if self.by_reset {
                        Err(ErrorKind::ConnectionReset)
                    } else {
                        Ok(self.after)
                    };
                    return assert_eq!(end, expected, "{self:?}");
                }
                let mut received = vec![0; self.after];
                receiving.read_exact(&mut received).expect("it comes");
                assert!(received == data[..self.after], "{self:?}: wrong bytes");
                cut_off(receiver);
            });
        });
    }
}

#[cfg(target_os = "linux")]
fn a_hundred_transfers_are_whole_while_others_are_cut_off(poll: bool) {
    const TRANSFERS: usize = 100;
    const DOOMED: usize = 60;

    let forwarded = Forwarded::new(poll);
    let (first, before) = forwarded.first_connection();
    let mut connections: Vec<_> = (0..TRANSFERS + DOOMED)
        .map(|_| forwarded.connection())
        .collect();
    let doomed = connections.split_off(TRANSFERS);
    assert_eq!(
        forwarded.forwarder.descriptors().len(),
        before + 2 * (TRANSFERS + DOOMED)
    );
    thread::scope(|scope| {
        for (seed, (client, remote)) in connections.iter().enumerate() {
            let there = noise(2 * seed, 10 * MIB);
            let back = noise(2 * seed + 1, 10 * MIB);
            scope.spawn(|| send_all(client, there));
            scope.spawn(|| send_all(remote, back));
            scope.spawn(|| assert_eq!(read_and_compare(remote, there), Ok(there.len())));
            scope.spawn(|| assert_eq!(read_and_compare(client, back), Ok(back.len())));
        }
        for (seed, (client, remote)) in doomed.into_iter().enumerate() {
            scope.spawn(move || Fate::new(seed).befalls(client, remote));
        }
    });
    forwarded.forwarder.wait_for_descriptors(before);
    assert!(forwards(&first.0, &first.1));
    assert!(forwarded.works());

    let peak = forwarded.forwarder.peak_memory();
    assert!(peak < 64 * MIB as u64, "{peak} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_transfers_are_whole_while_others_are_cut_off_with_select() {
    a_hundred_transfers_are_whole_while_others_are_cut_off(false);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_transfers_are_whole_while_others_are_cut_off_with_poll() {
    a_hundred_transfers_are_whole_while_others_are_cut_off(true);
}

// ---- the end of one direction

/// One end sends and shuts down its side; the other reads all of it, and only then answers.
fn an_end_is_passed_on_and_the_other_direction_goes_on(first: &TcpStream, second: &TcpStream) {
    const BYTES: usize = 8 * MIB;

    let (question, answer) = (noise(1, BYTES), noise(2, BYTES));
    thread::scope(|scope| {
        scope.spawn(|| send_all(first, question));
        assert_eq!(read_and_compare(second, question), Ok(BYTES));
        scope.spawn(|| send_all(second, answer));
        assert_eq!(read_and_compare(first, answer), Ok(BYTES));
    });
}

fn either_end_may_shut_down_its_side(poll: bool) {
    let forwarded = Forwarded::new(poll);
    let (client, remote) = forwarded.connection();
    an_end_is_passed_on_and_the_other_direction_goes_on(&client, &remote);
    let (client, remote) = forwarded.connection();
    an_end_is_passed_on_and_the_other_direction_goes_on(&remote, &client);
}

#[test]
fn either_end_may_shut_down_its_side_with_select() {
    either_end_may_shut_down_its_side(false);
}

#[test]
fn either_end_may_shut_down_its_side_with_poll() {
    either_end_may_shut_down_its_side(true);
}

#[cfg(unix)]
#[test]
fn a_client_that_sends_and_ends_at_once_may_do_so_before_the_remote_is_reached() {
    let forwarded = Forwarded::new(false);
    forwarded.forwarder.stop();
    let client = connect(forwarded.addr);
    send_all(&client, b"there");
    forwarded.forwarder.go_on();
    let remote = accept(&forwarded.remote);
    assert_eq!(read_and_compare(&remote, b"there"), Ok(5));
    send_all(&remote, b"back.");
    assert_eq!(read_and_compare(&client, b"back."), Ok(5));
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_has_ended_both_ways_takes_no_descriptors() {
    let forwarded = Forwarded::new(false);
    let (first, before) = forwarded.first_connection();
    let (client, remote) = forwarded.connection();
    client.shutdown(Shutdown::Write).expect("still connected");
    assert_eq!(read_and_compare(&remote, b""), Ok(0));
    assert!(
        forwarded.forwarder.descriptors().len() > before,
        "one direction is open"
    );
    remote.shutdown(Shutdown::Write).expect("still connected");
    assert_eq!(read_and_compare(&client, b""), Ok(0));
    forwarded.forwarder.wait_for_descriptors(before);
    assert!(forwards(&first.0, &first.1));
}

// ---- resets

fn a_reset_is_passed_on(poll: bool) {
    let forwarded = Forwarded::new(poll);
    let is_reset = |stream: &TcpStream| {
        assert_eq!(
            read_and_compare(stream, b""),
            Err(ErrorKind::ConnectionReset)
        );
    };
    let (client, remote) = forwarded.connection();
    assert!(forwards(&client, &remote));
    reset(client);
    is_reset(&remote);

    let (client, remote) = forwarded.connection();
    reset(remote);
    is_reset(&client);

    // The client waits for an answer which now never ends.
    let (client, remote) = forwarded.connection();
    client.shutdown(Shutdown::Write).expect("still connected");
    assert_eq!(read_and_compare(&remote, b""), Ok(0));
    reset(remote);
    is_reset(&client);
    assert!(forwarded.works());
}

#[test]
fn a_reset_is_passed_on_with_select() {
    a_reset_is_passed_on(false);
}

#[test]
fn a_reset_is_passed_on_with_poll() {
    a_reset_is_passed_on(true);
}

#[cfg(unix)]
#[test]
fn at_its_end_what_is_not_complete_is_reset() {
    let forwarded = Forwarded::new(false);
    let (client, remote) = forwarded.connection();
    assert!(forwards(&client, &remote));
    forwarded.forwarder.signal(rustix::process::Signal::INT);
    let ended = forwarded.forwarder.finish();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    for stream in [client, remote] {
        assert_eq!(
            read_and_compare(&stream, b""),
            Err(ErrorKind::ConnectionReset)
        );
    }
    assert!(
        TcpStream::connect(forwarded.addr).is_err(),
        "nobody listens"
    );
}

// ---- a remote that is not there

fn a_refused_client_is_reset_and_the_next_one_served(poll: bool) {
    // Bound, so that no one else listens there, and not listening yet.
    let remote = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    remote.bind(&any.into()).expect("there is a port");
    let to = remote.local_addr().expect("it is bound");
    let to = to.as_socket().expect("it is IPv4");
    let (mut forwarder, addr) = listening(port_forwarder(to).args(poll.then_some("--poll")));
    let messages = forwarder.stderr_lines();

    for _ in 0..3 {
        let client = connect(addr);
        assert_eq!(
            read_and_compare(&client, b""),
            Err(ErrorKind::ConnectionReset)
        );
        let message = messages.recv_timeout(LONG).expect("it says why");
        let expected = format!("connect {to}: Connection refused");
        assert!(message.contains(&expected), "{message}");
    }
    remote.listen(1).expect("it is bound");
    let forwarded = Forwarded {
        forwarder,
        addr,
        remote: remote.into(),
    };
    assert!(forwarded.works());
    assert_eq!(messages.try_iter().count(), 0);
}

#[test]
fn a_refused_client_is_reset_and_the_next_one_served_with_select() {
    a_refused_client_is_reset_and_the_next_one_served(false);
}

#[test]
fn a_refused_client_is_reset_and_the_next_one_served_with_poll() {
    a_refused_client_is_reset_and_the_next_one_served(true);
}

#[test]
fn the_remote_may_have_an_ipv6_address() {
    let Ok(remote) = TcpListener::bind("[::1]:0") else {
        eprintln!("NOT TESTED: there is no IPv6 here");
        return;
    };
    let to = remote.local_addr().expect("it is bound");
    let (forwarder, addr) = listening(&mut port_forwarder(to));
    assert!(
        Forwarded {
            forwarder,
            addr,
            remote
        }
        .works()
    );
}

// ---- an end that does not read

/// Writes until nothing more is taken, and tells how much was.
fn fill(mut stream: &TcpStream, data: &[u8]) -> usize {
    const MOST: usize = 64 * MIB;
    const BLOCKED: Duration = Duration::from_millis(500);

    stream.set_write_timeout(Some(BLOCKED)).expect("not zero");
    let mut taken = 0;
    while let Ok(sent) = stream.write(&data[taken % data.len()..]) {
        taken += sent;
        assert!(
            taken < MOST,
            "{taken} bytes are taken that have nowhere to go"
        );
    }
    taken
}

fn drained(mut stream: &TcpStream, data: &[u8], bytes: usize) {
    let mut piece = vec![0; data.len()];
    for at in (0..bytes).step_by(data.len()) {
        let piece = &mut piece[..data.len().min(bytes - at)];
        stream.read_exact(piece).expect("all that was taken");
        assert!(piece == &data[..piece.len()], "wrong bytes after {at}");
    }
}

#[cfg(target_os = "linux")]
fn a_slow_side_stops_the_fast_one_and_takes_little_memory(poll: bool) {
    let forwarded = Forwarded::new(poll);
    let connections: Vec<_> = (0..10).map(|_| forwarded.connection()).collect();
    let data = noise(1, MIB);
    thread::scope(|scope| {
        let taken: Vec<_> = connections
            .iter()
            .flat_map(|(client, remote)| [(client, remote), (remote, client)])
            .map(|(from, to)| (scope.spawn(|| fill(from, data)), to))
            .collect();
        let taken: Vec<_> = taken
            .into_iter()
            .map(|(taken, to)| (taken.join().expect("it is bounded"), to))
            .collect();
        assert!(forwarded.works(), "others are served");
        for (bytes, to) in taken {
            scope.spawn(move || drained(to, data, bytes));
        }
    });
    let peak = forwarded.forwarder.peak_memory();
    assert!(peak < 16 * MIB as u64, "{peak} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_slow_side_stops_the_fast_one_and_takes_little_memory_with_select() {
    a_slow_side_stops_the_fast_one_and_takes_little_memory(false);
}

#[cfg(target_os = "linux")]
#[test]
fn a_slow_side_stops_the_fast_one_and_takes_little_memory_with_poll() {
    a_slow_side_stops_the_fast_one_and_takes_little_memory(true);
}

// ---- what else may come

#[cfg(unix)]
fn an_urgent_byte_is_passed_on_as_such(poll: bool) {
    let forwarded = Forwarded::new(poll);
    let (client, remote) = forwarded.connection();
    for (from, to) in [(&client, &remote), (&remote, &client)] {
        SockRef::from(from)
            .send_out_of_band(b"!")
            .expect("it is taken");
        let deadline = Instant::now() + LONG;
        let mut urgent = [0];
        while rustix::net::recv(to, &mut urgent, rustix::net::RecvFlags::OOB).is_err() {
            assert!(Instant::now() < deadline, "it does not come");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(urgent, *b"!");
    }
    assert!(forwards(&client, &remote));
}

#[cfg(unix)]
#[test]
fn an_urgent_byte_is_passed_on_as_such_with_select() {
    an_urgent_byte_is_passed_on_as_such(false);
}

#[cfg(unix)]
#[test]
fn an_urgent_byte_is_passed_on_as_such_with_poll() {
    an_urgent_byte_is_passed_on_as_such(true);
}

/// An odd `limit` or an even one is reached when a client is accepted, the other when the remote is connected to.
#[cfg(target_os = "linux")]
fn without_descriptors_it_survives(limit: u32, options: &str) {
    let remote = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let to = remote.local_addr().expect("it is bound");
    let script = format!(
        "ulimit -n {limit}; exec {} --port 0 --to {to} {options}",
        example("port_forwarder")
    );
    let (mut forwarder, addr) = listening(Command::new("sh").args(["-c", &script]));
    let messages = forwarder.stderr_lines();
    let forwarded = Forwarded {
        forwarder,
        addr,
        remote,
    };

    // One by one, up to the one that there is no descriptor for.
    let (first, with_one) = forwarded.first_connection();

    let mut served = vec![first];
    let deadline = Instant::now() + LONG;
    let unserved = 'unserved: loop {
        let client = connect(addr);
        let remote = loop {
            if let Ok((remote, _)) = forwarded.remote.accept() {
                break remote;
            }
            if messages
                .try_iter()
                .any(|line| line.contains("Too many open files"))
            {
                break 'unserved client;
            }
            assert!(
                Instant::now() < deadline,
                "neither a connection nor a message"
            );
            thread::sleep(Duration::from_millis(1));
        };
        remote.set_nonblocking(false).expect("it is a socket");
        remote.set_read_timeout(Some(LONG)).expect("not zero");
        served.push((client, remote));
    };
    assert!(
        (5..20).contains(&served.len()),
        "{} connections",
        served.len()
    );
    let crowd: Vec<TcpStream> = (0..30).map(|_| connect(addr)).collect();
    let go_on = |served: &[(TcpStream, TcpStream)]| {
        let mut served = served.iter();
        served.all(|(client, remote)| forwards(client, remote))
    };
    assert!(go_on(&served), "those it has are served as before");

    drop((unserved, crowd));
    served.truncate(1);
    // Some of the crowd come through first, and may take all the room there is.
    let mut later: Option<TcpStream> = None;
    let mut is_served = false;
    while !is_served || forwarded.forwarder.descriptors().len() != with_one {
        if let Ok((mut remote, _)) = forwarded.remote.accept() {
            let mut name = [0; 2];
            remote.set_nonblocking(false).expect("it is a socket");
            remote.set_read_timeout(Some(LONG)).expect("not zero");
            is_served |= remote.read_exact(&mut name).is_ok() && name == *b"me";
        }
        if is_served {
            later = None;
        } else if later.as_ref().is_none_or(has_ended) {
            let mut client = connect(addr);
            let _ = client.write_all(b"me"); // It may have been reset already.
            later = Some(client);
        }
        assert!(
            Instant::now() < deadline,
            "no later client is served, or descriptors are lost"
        );
        thread::sleep(Duration::from_millis(1));
    }
    assert!(go_on(&served));
    let messages = messages.try_iter().count();
    assert!(
        messages < 100,
        "it tries in vain all the time: {messages} messages"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_it_survives_with_select() {
    without_descriptors_it_survives(40, "");
    without_descriptors_it_survives(41, "");
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_it_survives_with_poll() {
    without_descriptors_it_survives(40, "--poll");
    without_descriptors_it_survives(41, "--poll");
}

// ---- wrong arguments

#[test]
fn a_remote_that_cannot_be_looked_up_is_named_and_ends_it_with_status_1() {
    for to in ["nowhere.invalid:80", "127.0.0.1", "127.0.0.1:port", ""] {
        let ended = Running::start(&mut port_forwarder(to)).finish();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let message = format!("port_forwarder: --to {to}: ");
        assert!(ended.stderr.starts_with(&message), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn without_a_remote_it_ends_with_status_2() {
    let ended = Running::start(&mut Command::new(example("port_forwarder"))).finish();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--to <HOST:PORT>"), "{ended:?}");
}
