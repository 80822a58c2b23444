//! Clients that mean no good or fare no better, and a system that has no more to give.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::client::*;
use super::with_select_and_poll;
use crate::util::{connect, example, listening};

with_select_and_poll! {
    a_reset_ends_a_transfer_as_failed_and_nothing_else,
}

fn a_reset_ends_a_transfer_as_failed_and_nothing_else(option: Option<&str>) {
    let noise = noise(300_000);
    let site = Site::new(FEW);
    sparse_file(&site.path("big"), 64 * MIB);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let mut client = Client::ann(addr);

    let mut data = client.data();
    client.asks("RETR big", 150);
    data.read_exact(&mut [0; 1000]).expect("it has begun");
    reset(data);
    client.replies(426);
    client.still_works();

    let mut data = client.data();
    client.asks("STOR new", 150);
    data.write_all(&noise).expect("the server takes all");
    until("written", || {
        fs::metadata(site.path("new")).is_ok_and(|it| it.len() == 300_000)
    });
    reset(data);
    client.replies(426);
    assert!(site.read("new") == noise, "what came is there");
    client.stores("APPE new", b"the rest");
    assert!(site.read("new").strip_prefix(&noise[..]) == Some(b"the rest"));

    // Before there is a command for it.
    for command in ["RETR big", "STOR new"] {
        reset(client.data());
        client.asks(command, 150);
        client.replies(426);
    }
    client.still_works();
}

#[test]
fn clients_that_vanish_do_not_disturb_the_others() {
    let site = Site::new(FEW);
    sparse_file(&site.path("big"), 64 * MIB);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut steady = Client::ann(addr);
    for at in 0..100 {
        let mut client = Client::ann(addr);
        let mut data = client.data();
        let transfer = ["RETR big", "STOR new", "LIST", "PASV"][at % 4];
        client.send(transfer);
        if transfer == "RETR big" {
            data.read_exact(&mut [0; 1000]).expect("it has begun");
        }
        if at % 8 < 4 {
            let stream = client.control.into_inner();
            reset(stream);
        }
        drop(data);
        steady.asks("NOOP", 200);
    }
    steady.still_works();
}

#[test]
fn a_file_that_grows_or_shrinks_meanwhile_is_sent_as_it_is() {
    let site = Site::new(FEW);
    sparse_file(&site.path("big"), 64 * MIB);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let mut data = client.data();
    client.asks("RETR big", 150);
    data.read_exact(&mut vec![0; MIB]).expect("it has begun");
    sparse_file(&site.path("big"), 100);
    let mut rest = Vec::new();
    data.read_to_end(&mut rest).expect("no reset");
    assert!(rest.len() < 63 * MIB);
    client.replies(226);
    client.still_works();
}

// ---- whose data connection it is

#[cfg(target_os = "linux")] // Where all of 127.0.0.0/8 is this machine.
mod strangers {
    use std::net::{Ipv4Addr, SocketAddr};

    use asyncore::socket2::{Domain, Socket, Type};

    use super::*;
    use crate::util::LONG;

    fn connect_from(local: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is one left");
        let local = SocketAddr::from((Ipv4Addr::from(local), 0));
        socket.bind(&local.into()).expect("it is this machine's");
        socket.connect(&to.into()).expect("the server listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LONG)).expect("not zero");
        stream
    }

    #[test]
    fn a_data_connection_from_another_address_is_refused() {
        let site = Site::new(FEW);
        let (_server, addr) = listening(&mut writable(&site.root));
        let mut client = Client::ann(addr);
        for comes_first in [true, false] {
            for transfer in ["RETR hello.txt", "STOR hello.txt"] {
                let port = client.epsv("EPSV");
                if !comes_first {
                    client.asks(transfer, 150);
                }
                for _ in 0..10 {
                    let mut thief = connect_from([127, 0, 0, 2], port);
                    let _ = thief.write_all(b"bad");
                    let read = thief.read(&mut [0; 10]);
                    assert!(!matches!(read, Ok(1..)), "{read:?}");
                }
                let mut data = connect(port);
                if comes_first {
                    client.asks(transfer, 150);
                }
                let mut received = Vec::new();
                match transfer {
                    "RETR hello.txt" => drop(data.read_to_end(&mut received)),
                    _ => data.write_all(b"hello\n").expect("the server takes it"),
                }
                drop(data);
                client.replies(226);
                assert!(received.is_empty() || received == b"hello\n");
                assert_eq!(site.read("hello.txt"), b"hello\n");
            }
        }
    }

    #[test]
    fn a_client_at_another_address_has_its_data_connections_there() {
        let site = Site::new(FEW);
        let (_server, addr) = listening(ftp_server(&site.root).args(["--host", "0.0.0.0"]));
        let addr = SocketAddr::from(([127, 0, 0, 3], addr.port()));
        let mut client = Client::anonymous(addr);
        let port = client.pasv();
        assert_eq!(port.ip(), addr.ip(), "the one that the client has come to");
        let mut data = connect_from([127, 0, 0, 1], port);
        client.asks("RETR hello.txt", 150);
        let mut received = Vec::new();
        data.read_to_end(&mut received).expect("no reset");
        assert_eq!(received, b"hello\n");
    }
}

// ---- memory

#[test]
fn more_commands_than_may_wait_end_the_connection() {
    let site = Site::new(FEW);
    sparse_file(&site.path("big"), 64 * MIB);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let _data = client.data();
    client.asks("RETR big", 150);
    client.send("NOOP\r\n".repeat(1000));
    client.replies(421);
    client.ends();
    Client::anonymous(addr).still_works();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{Shutdown, SocketAddr};

    use rustix::process::Signal;

    use super::*;
    use crate::util::Running;

    const BLOCKED: Duration = Duration::from_millis(500);
    const LITTLE: u64 = 16 * MIB as u64;

    with_select_and_poll! {
        a_huge_file_to_a_slow_reader_takes_little_memory,
        a_client_that_goes_away_takes_all_that_is_its_with_it,
        connections_that_are_reset_before_they_are_accepted_are_dropped,
        without_descriptors_there_is_a_reply_and_nothing_else_is_lost,
    }

    fn a_huge_file_to_a_slow_reader_takes_little_memory(option: Option<&str>) {
        const HUGE: usize = 4096 * MIB;

        let site = Site::new(FEW);
        sparse_file(&site.path("huge"), HUGE);
        let (server, addr) = listening(ftp_server(&site.root).args(option));
        let mut slow = Client::anonymous(addr);
        let mut data = slow.data();
        slow.asks("RETR huge", 150);
        let mut piece = vec![0; MIB];
        for _ in 0..64 {
            data.read_exact(&mut piece).expect("the whole file");
            Client::anonymous(addr).still_works();
        }
        slow.asks("ABOR", 426);
        slow.replies(226);
        let peak = server.peak_memory();
        assert!(peak < LITTLE, "{peak} bytes");
    }

    /// Sends until the server takes no more, or has ended the connection.
    fn flood(client: &Client, piece: &[u8]) -> usize {
        let mut stream = client.control.get_ref();
        stream.set_write_timeout(Some(BLOCKED)).expect("not zero");
        let mut taken = 0;
        while taken < 64 * MIB
            && let Ok(sent) = stream.write(piece)
        {
            taken += sent;
        }
        taken
    }

    #[test]
    fn a_client_that_asks_and_does_not_read_takes_little_memory() {
        let site = Site::new(FEW);
        let (server, addr) = listening(&mut ftp_server(&site.root));
        for command in ["FEAT\r\n", "PWD\r\n", "EPSV\r\n", "X\r\n"] {
            let greedy = Client::anonymous(addr);
            let taken = flood(&greedy, command.repeat(10_000).as_bytes());
            assert!(taken < 64 * MIB, "{taken} bytes of {command:?}");
            Client::anonymous(addr).still_works();
        }
        let peak = server.peak_memory();
        assert!(peak < LITTLE, "{peak} bytes");
    }

    #[test]
    fn a_line_without_an_end_takes_little_memory() {
        let site = Site::new(FEW);
        let (server, addr) = listening(&mut ftp_server(&site.root));
        let endless = Client::new(addr);
        for _ in 0..64 {
            let mut stream = endless.control.get_ref();
            stream.write_all(&vec![b'x'; MIB]).expect("it is all read");
        }
        Client::anonymous(addr).still_works();
        let peak = server.peak_memory();
        assert!(peak < LITTLE, "{peak} bytes");
    }

    // ---- descriptors

    /// How many descriptors the server has open when a client has come and gone.
    fn idle(server: &Running, addr: SocketAddr) -> usize {
        let mut client = Client::new(addr);
        client.asks("QUIT", 221);
        client.ends();
        server.descriptors().len()
    }

    fn has_descriptors(server: &Running, descriptors: usize) {
        let what = format!("at {descriptors} descriptors");
        until(&what, || server.descriptors().len() == descriptors);
    }

    fn a_client_that_goes_away_takes_all_that_is_its_with_it(option: Option<&str>) {
        let site = Site::new(FEW);
        sparse_file(&site.path("big"), 64 * MIB);
        let (server, addr) = listening(writable(&site.root).args(option));
        let idle = idle(&server, addr);
        for is_reset in [false, true] {
            for state in 0..7 {
                let mut client = Client::ann(addr);
                let mut data = None;
                match state {
                    0 => {}
                    1 => drop(client.epsv("EPSV")),
                    2 => data = Some(client.data()),
                    3 => {
                        client.epsv("EPSV");
                        client.asks("RETR big", 150);
                    }
                    4 => {
                        client.epsv("EPSV");
                        client.asks("STOR new", 150);
                    }
                    5 => {
                        let mut connection = client.data();
                        client.asks("RETR big", 150);
                        connection.read_exact(&mut [0; 1000]).expect("it has begun");
                        data = Some(connection);
                    }
                    _ => {
                        let mut connection = client.data();
                        client.asks("STOR new", 150);
                        connection.write_all(b"some").expect("the server takes it");
                        data = Some(connection);
                    }
                }
                assert!(server.descriptors().len() > idle);
                // Only the control connection ends.
                let control = client.control.into_inner();
                match is_reset {
                    true => reset(control),
                    false => drop(control),
                }
                has_descriptors(&server, idle);
                if let Some(mut data) = data {
                    // A reset is an end, too.
                    let _ = data.read_to_end(&mut Vec::new());
                }
            }
        }
        Client::ann(addr).still_works();
    }

    #[test]
    fn a_client_that_reads_no_more_but_listens_is_served_to_the_end() {
        let site = Site::new(FEW);
        let (server, addr) = listening(&mut ftp_server(&site.root));
        let idle = idle(&server, addr);
        let mut client = Client::new(addr);
        client.send("USER ftp\r\nPASS x\r\nNOOP\r\nPWD\r\nQUIT");
        client
            .control
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("it is open");
        for code in [331, 230, 200, 257, 221] {
            client.replies(code);
        }
        client.ends();
        has_descriptors(&server, idle);
    }

    fn connections_that_are_reset_before_they_are_accepted_are_dropped(option: Option<&str>) {
        let site = Site::new(FEW);
        let (server, addr) = listening(ftp_server(&site.root).args(option));
        let mut client = Client::anonymous(addr);
        let idle = server.descriptors().len();
        for _ in 0..10 {
            server.stop();
            for _ in 0..10 {
                reset(connect(addr));
            }
            server.signal(Signal::CONT);
            client.still_works();
        }
        // The same with data connections.
        for command in ["RETR hello.txt", "STOR x"] {
            let port = client.epsv("EPSV");
            server.stop();
            reset(connect(port));
            server.signal(Signal::CONT);
            let reply = client.ask(command);
            if reply.code == 150 {
                client.replies(426);
            }
        }
        client.still_works();
        has_descriptors(&server, idle);
    }

    fn without_descriptors_there_is_a_reply_and_nothing_else_is_lost(option: Option<&str>) {
        const LIMIT: usize = 40;

        let site = Site::new(FEW);
        let script = format!(
            "ulimit -n {LIMIT}; exec {} --port 0 {} --root {}",
            example("ftp_server"),
            option.unwrap_or_default(),
            site.root.display()
        );
        let (server, addr) = listening(Command::new("sh").args(["-c", &script]));
        let mut client = Client::anonymous(addr);
        client.still_works();
        let mut others = Vec::new();
        let free = || {
            let open = server.descriptors();
            LIMIT - open.iter().filter(|&&fd| fd < LIMIT as u32).count()
        };
        let leave = |others: &mut Vec<Client>, wanted: usize| {
            while free() != wanted {
                let before = free();
                if before < wanted {
                    others.pop();
                    until("one more free", || free() == before + 1);
                } else {
                    others.push(Client::anonymous(addr));
                    assert_eq!(free(), before - 1);
                }
            }
        };
        leave(&mut others, 0);
        // None for the listener, and none for another client, who waits.
        client.asks("PASV", 425);
        client.asks("EPSV", 425);
        let mut another = connect(addr);
        client.asks("PASV", 425);
        drop(others.pop());
        another.read_exact(&mut [0; 4]).expect("it is greeted now");
        drop(another);
        until("gone", || free() == 1);
        // One for the listener, and none for the file.
        leave(&mut others, 1);
        client.epsv("EPSV");
        client.asks("RETR hello.txt", 450);
        // One for the file, too, and none for the connection.
        leave(&mut others, 2);
        let port = client.epsv("EPSV");
        client.asks("RETR hello.txt", 150);
        let mut data = connect(port);
        client.replies(425);
        let mut received = Vec::new();
        let _ = data.read_to_end(&mut received); // A reset is an end, too.
        assert!(received.is_empty());
        // The connection comes first, and there is no way to say so then.
        leave(&mut others, 1);
        let port = client.epsv("EPSV");
        let _ = connect(port).read(&mut [0]);
        client.asks("RETR hello.txt", 425);
        // Nothing else is lost.
        leave(&mut others, 3);
        client.still_works();
        for other in &mut others {
            other.still_works();
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_so() {
        let site = Site::new(FEW);
        let script = format!(
            "trap '' XFSZ; ulimit -f 100; exec {} --port 0 --root {} --user ann \
             --password 'open sesame' --writable",
            example("ftp_server"),
            site.root.display()
        );
        let (_server, addr) = listening(Command::new("sh").args(["-c", &script]));
        let mut client = Client::ann(addr);
        let mut data = client.data();
        client.asks("STOR new", 150);
        let _ = data.write_all(&vec![0; MIB]);
        client.replies(451);
        drop(data);
        client.asks("DELE new", 250);
        client.stores("STOR new", b"new");
        client.still_works();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_so() {
        // The beginning of the server's own memory, where nothing is.
        let (_server, addr) = listening(&mut ftp_server("/proc".as_ref()));
        let mut client = Client::anonymous(addr);
        let mut data = client.data();
        client.asks("RETR self/mem", 150);
        client.replies(451);
        assert!(gets_nothing(&mut data));
        client.asks("NOOP", 200);
    }

    // ---- urgent data

    #[test]
    fn urgent_data_has_no_place_on_a_data_connection() {
        let site = Site::new(FEW);
        sparse_file(&site.path("big"), 64 * MIB);
        let (_server, addr) = listening(&mut writable(&site.root));
        let mut client = Client::ann(addr);
        for transfer in ["RETR big", "STOR new"] {
            let data = client.data();
            client.asks(transfer, 150);
            urgent(&data, b"!");
            client.replies(426);
        }
        client.still_works();
    }

    #[test]
    fn urgent_data_of_a_client_that_does_not_read_ends_its_connection() {
        let site = Site::new(FEW);
        let deep = format!("{}/", "n".repeat(250)).repeat(12);
        fs::create_dir_all(site.path(&deep)).expect("the directories can be made");
        let (server, addr) = listening(&mut ftp_server(&site.root));
        let idle = idle(&server, addr);
        let mut greedy = Client::anonymous(addr);
        greedy.asks(&format!("CWD {deep}"), 250);
        // Requests that there is room for on the way, and replies that there is none for.
        greedy.send("PWD\r\n".repeat(5000));
        urgent(greedy.control.get_ref(), b"!");
        has_descriptors(&server, idle);
        drop(greedy);
        Client::anonymous(addr).still_works();
    }
}
