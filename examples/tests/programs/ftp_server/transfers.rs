//! What it is for: files go out and in, whole, and what is said about them is true.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use super::client::*;
use super::with_select_and_poll;
use crate::util::{connect, listening};

with_select_and_poll! {
    a_tree_is_stored_listed_and_fetched_byte_for_byte,
    a_transfer_is_complete_when_all_has_been_sent,
    connections_closed_for_one_direction_serve_the_other,
    commands_wait_for_the_end_of_a_transfer,
    a_transfer_can_be_aborted,
    two_hundred_clients_are_served_at_once,
}

/// What is stored, in this order.
fn odd_tree() -> Vec<(String, Option<Vec<u8>>)> {
    let (big, long) = (noise(5 * MIB + 8), format!("/{}", "n".repeat(255)));
    let directories = [
        "/d",
        "/d/e",
        "/d/e/ f ",
        "/-la",
        "/nothing in it",
        "/Ünïcödé",
    ];
    let files: &[(&str, &[u8])] = &[
        ("/empty", b""),
        ("/one", b"1"),
        ("/with space", b"a b"),
        ("/ before and after ", b" "),
        ("/two  spaces", b"  "),
        ("/-", b"-"),
        ("/-l", b"-l"),
        ("/--help", b"--help"),
        ("/-la/-a", b"deep"),
        ("/Ünïcödé/日本語 🎈", "気球".as_bytes()),
        ("/quote\"s\"", b"\"\"\""),
        ("/apostrophe's", b"'"),
        ("/semi; colon", b";"),
        ("/percent%20%", b"%"),
        ("/*?[x]{y}", b"*"),
        ("/$HOME `x` \\ | & ~", b"$"),
        ("/...", b"three"),
        ("/.hidden", b"."),
        ("/226 done.", b"226 done.\r\n"),
        ("/d/e/ f /lines", b"\r\n\n\r\r\n\0\xff\xf4"),
        ("/d/e/big", &big),
        (&long, b"long"),
    ];
    let directories = directories.iter().map(|name| (name.to_string(), None));
    let files = files
        .iter()
        .map(|(name, it)| (name.to_string(), Some(it.to_vec())));
    directories.chain(files).collect()
}

fn a_tree_is_stored_listed_and_fetched_byte_for_byte(option: Option<&str>) {
    let site = Site::new(&[]);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let mut client = Client::ann(addr);
    let stored = odd_tree();
    for (path, contents) in &stored {
        match contents {
            Some(contents) => client.stores(&format!("STOR {path}"), contents),
            None => drop(client.asks(&format!("MKD {path}"), 257)),
        }
    }
    let stored = Tree::from_iter(stored);
    let on_disk = tree(&site.root);
    assert!(on_disk == stored, "{:?}", on_disk.keys());
    let fetched = client.tree("");
    assert!(fetched == stored, "{:?}", fetched.keys());

    let top = stored.iter().map(|(path, contents)| (&path[1..], contents));
    let top: Vec<_> = top.filter(|(name, _)| !name.contains('/')).collect();
    let mut names = client.lines("NLST");
    names.sort();
    assert!(
        names.iter().eq(top.iter().map(|(name, _)| name)),
        "{names:?}"
    );
    let lines = client.lines("LIST");
    assert_eq!(lines.len(), top.len());
    for (name, contents) in top {
        let mut beginnings = lines
            .iter()
            .filter_map(|line| line.strip_suffix(&format!(" {name}")));
        let kind = if contents.is_some() { "-" } else { "d" };
        assert!(
            beginnings.any(|beginning| beginning.starts_with(kind)),
            "{name}"
        );
        match contents {
            Some(contents) => {
                let size = client.asks(&format!("SIZE {name}"), 213);
                assert_eq!(size, format!("213 {}", contents.len()), "{name}");
            }
            None => drop(client.asks(&format!("SIZE {name}"), 550)),
        }
    }
}

fn a_transfer_is_complete_when_all_has_been_sent(option: Option<&str>) {
    const BYTES: usize = 64 * MIB;
    /// More than the system has room for on the way.
    const ON_THE_WAY: usize = 32 * MIB;

    let site = Site::new(FEW);
    sparse_file(&site.path("big"), BYTES);
    let (_server, addr) = listening(ftp_server(&site.root).args(option));
    let mut client = Client::anonymous(addr);
    let mut data = client.data();
    client.asks("RETR big", 150);
    let mut piece = vec![1; MIB];
    for left in (0..BYTES / MIB).rev().map(|left| left * MIB) {
        data.read_exact(&mut piece).expect("the whole file");
        assert!(piece.iter().all(|&byte| byte == 0));
        assert!(left < ON_THE_WAY || client.is_quiet(), "{left} bytes to go");
    }
    assert_eq!(data.read(&mut piece).expect("no error"), 0);
    client.replies(226);

    let mut data = client.data();
    client.asks("RETR hello.txt", 150);
    client.replies(226);
    data.set_nonblocking(true).expect("it is open");
    let mut received = Vec::new();
    let read = data.read_to_end(&mut received);
    assert!(read.is_ok(), "it is closed by now: {read:?}");
    assert_eq!(received, b"hello\n");
}

#[test]
fn a_data_connection_may_come_before_its_command_and_after_it() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for by in ["EPSV", "EPSV 1", "PASV"] {
        for is_before in [true, false] {
            let port = match by {
                "PASV" => client.pasv(),
                _ => client.epsv(by),
            };
            let early = is_before.then(|| connect(port));
            if is_before {
                client.asks("NOOP", 200);
            }
            client.asks("RETR hello.txt", 150);
            let mut data = early.unwrap_or_else(|| connect(port));
            let mut received = Vec::new();
            data.read_to_end(&mut received).expect("no reset");
            assert_eq!(received, b"hello\n", "{by} {is_before}");
            client.replies(226);
        }
    }
    let port = client.epsv("EPSV");
    client.asks("STOR new", 150);
    connect(port)
        .write_all(b"new")
        .expect("the server takes it");
    client.replies(226);
    assert_eq!(site.read("new"), b"new");
}

#[test]
fn every_transfer_needs_a_data_connection_of_its_own() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for command in [
        "RETR hello.txt",
        "STOR new",
        "APPE new",
        "LIST",
        "NLST",
        "MLSD",
    ] {
        client.asks(command, 425);
    }
    assert!(!site.path("new").exists());
    client.still_works();
    client.asks("RETR hello.txt", 425);
    // One for a transfer that is refused is closed, not kept for another.
    let mut data = client.data();
    client.asks("RETR nothing", 550);
    assert!(gets_nothing(&mut data));
    client.asks("RETR hello.txt", 425);
    client.asks("EPSV 2", 522);
    client.asks("PORT 127,0,0,1,4,5", 502);
    client.asks("EPRT |1|127.0.0.1|1029|", 502);
    client.asks("RETR hello.txt", 425);
}

#[test]
fn a_second_passive_port_takes_the_place_of_the_first() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let mut unused = client.data();
    let first = client.epsv("EPSV");
    assert!(gets_nothing(&mut unused));
    let second = client.epsv("EPSV");
    assert!(connect_fails(first));
    let mut data = connect(second);
    client.asks("RETR hello.txt", 150);
    assert_eq!(data.read(&mut [0; 10]).expect("no reset"), 6);
    client.replies(226);
    assert!(connect_fails(second));
}

fn connections_closed_for_one_direction_serve_the_other(option: Option<&str>) {
    let noise = noise(2 * MIB);
    let site = Site::new(&[("noise", &noise)]);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let mut client = Client::ann(addr);
    let mut data = client.data();
    data.shutdown(Shutdown::Write).expect("it is open");
    client.asks("RETR noise", 150);
    let mut received = Vec::new();
    data.read_to_end(&mut received).expect("no reset");
    assert!(received == noise);
    client.replies(226);

    let mut data = client.data();
    client.asks("STOR copy", 150);
    data.write_all(&noise).expect("the server takes all");
    data.shutdown(Shutdown::Write).expect("it is open");
    client.replies(226);
    assert_eq!(data.read(&mut [0]).expect("no reset"), 0);
    assert!(site.read("copy") == noise);
}

// ---- commands in a row

fn commands_wait_for_the_end_of_a_transfer(option: Option<&str>) {
    let noise = noise(8 * MIB);
    let site = Site::new(&[("noise", &noise), ("hello.txt", b"hello\n")]);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let mut client = Client::ann(addr);
    let mut data = client.data();
    client.send("RETR noise\r\nPWD\r\nMKD new\r\nNOOP\r\nEPSV");
    client.replies(150);
    let mut received = Vec::new();
    data.read_to_end(&mut received).expect("no reset");
    assert!(received == noise);
    for code in [226, 257, 257, 200, 229] {
        client.replies(code);
    }

    // Two transfers, of which the second has no data connection.
    let mut data = client.data();
    client.send("RETR hello.txt\r\nRETR hello.txt\r\nQUIT\r\nNOOP");
    client.replies(150);
    assert_eq!(data.read(&mut [0; 10]).expect("no reset"), 6);
    for code in [226, 425, 221] {
        client.replies(code);
    }
    client.ends();
}

#[test]
fn commands_come_in_pieces_of_any_size() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::new(addr);
    for byte in b"USER ftp\r\npass x\nTYPE I\r\n\r\n\nType i\r\n" {
        let mut stream = client.control.get_ref();
        stream.write_all(&[*byte]).expect("the server takes it");
    }
    for code in [331, 230, 200, 200] {
        client.replies(code);
    }
    client.still_works();
}

fn a_transfer_can_be_aborted(option: Option<&str>) {
    let site = Site::new(FEW);
    sparse_file(&site.path("big"), 64 * MIB);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let mut client = Client::ann(addr);
    // As plain words, as urgent data (as ftplib does), and as RFC 959 has it.
    for abort in 0..3 {
        for transfer in ["RETR big", "STOR new"] {
            for is_connected in [true, false] {
                let mut data = match is_connected {
                    true => Some(client.data()),
                    false => {
                        client.epsv("EPSV");
                        None
                    }
                };
                client.asks(transfer, 150);
                if let Some(data) = &mut data {
                    match transfer {
                        "RETR big" => data.read_exact(&mut [0; 1000]),
                        _ => data.write_all(&[0; 1000]),
                    }
                    .expect("it is open");
                }
                let stream = client.control.get_ref();
                match abort {
                    0 => client.send("ABOR"),
                    1 => urgent(stream, b"ABOR\r\n"),
                    _ => {
                        urgent(stream, b"\xff\xf4\xff");
                        client.send(b"\xf2ABOR");
                    }
                }
                client.replies(426);
                client.replies(226);
                if let Some(data) = &mut data {
                    let ended = data.read_to_end(&mut Vec::new());
                    assert!(!ended.is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock));
                }
                client.asks("RETR big", 425);
            }
        }
    }
    client.still_works();
    client.asks("ABOR", 226);

    // What was asked before it is answered before it; a transfer among that is aborted, too.
    let _data = client.data();
    client.send("RETR big\r\nPWD\r\nEPSV\r\nRETR big\r\nNOOP\r\nABOR\r\nNOOP");
    for code in [150, 426, 257, 229, 150, 426, 200, 226, 200] {
        client.replies(code);
    }
    client.still_works();
}

fn two_hundred_clients_are_served_at_once(option: Option<&str>) {
    const CLIENTS: usize = 200;

    let noise = noise(300_000);
    let site = Site::new(&[("noise", &noise)]);
    let (_server, addr) = listening(writable(&site.root).args(option));
    let all_connected = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for at in 0..CLIENTS {
            let (all_connected, noise) = (&all_connected, &noise);
            scope.spawn(move || {
                let mut client = Client::ann(addr);
                all_connected.wait();
                client.stores(&format!("STOR {at}"), noise);
                assert!(client.receives(&format!("RETR {at}")) == *noise);
                assert!(client.receives("RETR noise") == *noise);
                client.asks("QUIT", 221);
                client.ends();
            });
        }
    });
    assert_eq!(tree(&site.root).len(), CLIENTS + 1);
}

// ---- types, offsets and times

#[test]
fn type_a_makes_every_end_of_line_crlf_on_the_way_and_lf_in_files() {
    // Odd lengths, so that every piece is cut somewhere else.
    let lines: Vec<u8> = (0..20_000)
        .flat_map(|at| [b"x".repeat(at % 7), b"\n".repeat(at % 3)].concat())
        .collect();
    let mut odd = b"\n\r\n\r\r\n\r".to_vec();
    odd.extend(noise(300_000));
    odd.push(b'\r');
    for (local, name) in [(lines, "lines"), (odd, "odd")] {
        let network = replaced(&local, b"\n", b"\r\n");
        let site = Site::new(&[("file", &local)]);
        let (_server, addr) = listening(&mut writable(&site.root));
        let mut client = Client::ann(addr);
        client.asks("TYPE A", 200);
        assert!(client.receives("RETR file") == network, "{name}");
        client.stores("STOR copy", &network);
        assert!(site.read("copy") == local, "{name}");
        let (mut data, some) = (client.data(), &network[..3000]);
        data.set_nodelay(true).expect("it is open");
        client.asks("STOR some", 150);
        for byte in some {
            data.write_all(&[*byte]).expect("the server takes it");
        }
        drop(data);
        client.replies(226);
        assert!(
            site.read("some") == replaced(some, b"\r\n", b"\n"),
            "{name}"
        );
        client.asks("SIZE file", 550);
        client.asks("REST 1", 501);
        client.asks("TYPE L 8", 200);
        assert!(client.receives("RETR file") == local, "{name}");
    }
}

fn replaced(data: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut replaced, mut left) = (Vec::new(), data);
    while let Some((first, rest)) = left.split_first() {
        match left.strip_prefix(old) {
            Some(rest) => {
                replaced.extend(new);
                left = rest;
            }
            None => {
                replaced.push(*first);
                left = rest;
            }
        }
    }
    replaced
}

#[test]
fn transfers_can_be_resumed() {
    let site = Site::new(&[("digits", b"0123456789")]);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for (offset, rest) in [("0", "0123456789"), ("4", "456789"), ("10", "")] {
        client.asks(&format!("REST {offset}"), 350);
        assert_eq!(client.receives("RETR digits"), rest.as_bytes());
    }
    assert_eq!(
        client.receives("RETR digits"),
        b"0123456789",
        "it is for one transfer"
    );
    client.asks("REST 4", 350);
    client.receives("LIST");
    assert_eq!(client.receives("RETR digits").len(), 10);
    for command in ["RETR digits", "STOR digits", "STOR new"] {
        client.asks("REST 11", 350);
        let _data = client.data();
        client.asks(command, 550);
    }
    for offset in ["", "-1", "1.5", "x", "99999999999999999999"] {
        client.asks(&format!("REST {offset}"), 501);
    }
    client.stores("APPE digits", b"abc");
    assert_eq!(site.read("digits"), b"0123456789abc");
    client.asks("REST 5", 350);
    client.stores("STOR digits", b"xyz");
    assert_eq!(site.read("digits"), b"01234xyz");
    client.stores("STOR digits", b"all");
    assert_eq!(site.read("digits"), b"all");
    client.stores("APPE more", b"more");
    assert_eq!(site.read("more"), b"more");
    assert!(!site.path("new").exists());
}

#[test]
fn a_file_is_emptied_when_there_is_a_connection_to_fill_it_from() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    client.epsv("EPSV");
    client.asks("STOR hello.txt", 150);
    client.asks("ABOR", 426);
    client.replies(226);
    client.still_works();
}

#[test]
fn times_are_told_in_utc() {
    let site = Site::new(&[("old", b""), ("new", b"")]);
    let set = |name, seconds| {
        let file = fs::File::options()
            .write(true)
            .open(site.path(name))
            .expect("it is there");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).expect("it is ours");
    };
    set("old", 1_000_000_000);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    set("new", now.expect("it is later").as_secs());
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    assert_eq!(client.asks("MDTM old", 213), "213 20010909014640");
    assert_eq!(
        client.asks("MLST old", 250),
        "250-This is it:\n type=file;size=0;modify=20010909014640; /old\n250 That is all."
    );
    let mut lines = client.lines("LIST");
    lines.sort_by_key(|line| line.ends_with(" new"));
    assert!(
        lines[0].ends_with("            0 Sep 09  2001 old"),
        "{lines:?}"
    );
    let time = lines[1]
        .strip_suffix(" new")
        .and_then(|line| line.get(line.len() - 5..));
    assert_eq!(time.and_then(|time| time.find(':')), Some(2), "{lines:?}");
}
