//! Who may do what, what commands answer, and how the program begins and ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::client::*;
use crate::util::{LONG, Running, example, listening};

// ---- who it is

const NEED_LOGIN: &[&str] = &[
    "TYPE I",
    "MODE S",
    "STRU F",
    "ALLO 5",
    "PASV",
    "EPSV",
    "PORT 1",
    "REST 5",
    "PWD",
    "XPWD",
    "CDUP",
    "XCUP",
    "LIST",
    "NLST",
    "MLSD",
    "MLST",
    "CWD sub",
    "XCWD sub",
    "RETR hello.txt",
    "SIZE hello.txt",
    "MDTM hello.txt",
    "STOR new",
    "APPE new",
    "DELE hello.txt",
    "MKD new",
    "XMKD new",
    "RMD sub",
    "XRMD sub",
    "RNFR hello.txt",
    "RNTO new",
    "WHAT",
    "RETR",
    "\u{1b}",
];

#[test]
fn nothing_is_to_be_had_before_the_login() {
    let site = Site::new(FEW);
    let before = tree(&site.root);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::new(addr);
    let refuses_all = |client: &mut Client| {
        for command in NEED_LOGIN {
            client.asks(command, 530);
        }
    };
    refuses_all(&mut client);
    client.asks("USER ann", 331);
    refuses_all(&mut client);
    client.asks("PASS wrong", 530);
    refuses_all(&mut client);
    client.asks("PASS open sesame", 503);
    client.asks("USER ann", 331);
    client.asks("PASS open sesame", 230);
    client.asks("PWD", 257);
    client.asks("USER ann", 331);
    refuses_all(&mut client);
    for (command, code) in [
        ("NOOP", 200),
        ("SYST", 215),
        ("FEAT", 211),
        ("OPTS UTF8 ON", 200),
        ("QUIT", 221),
    ] {
        client.asks(command, code);
    }
    client.ends();
    assert_eq!(tree(&site.root), before);
}

#[test]
fn three_wrong_passwords_end_the_connection() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::new(addr);
    for (user, password, code) in [
        ("ann", "", 530),
        ("bob", "open sesame", 530),
        ("anonymous", "me@here", 421),
    ] {
        client.asks(&format!("USER {user}"), 331);
        client.asks(&format!("PASS {password}"), code);
    }
    client.ends();
    Client::ann(addr).still_works();
}

#[test]
fn an_anonymous_server_knows_nobody_else() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::new(addr);
    client.asks("USER root", 331);
    client.asks("PASS root", 530);
    for user in ["anonymous", "Anonymous", "FTP"] {
        client.asks(&format!("USER {user}"), 331);
        client.asks("PASS ", 230);
    }
    client.still_works();
}

#[test]
fn nothing_is_changed_unless_it_is_writable() {
    let site = Site::new(FEW);
    let before = tree(&site.root);
    let mut of_ann = ftp_server(&site.root);
    of_ann.args(["--user", "ann", "--password", "open sesame"]);
    for (command, login) in [
        (&mut ftp_server(&site.root), Client::anonymous as fn(_) -> _),
        (&mut of_ann, Client::ann),
    ] {
        let (_server, addr) = listening(command);
        let mut client: Client = login(addr);
        let mut data = client.data();
        for command in [
            "STOR new",
            "STOR hello.txt",
            "APPE hello.txt",
            "DELE hello.txt",
            "MKD new",
            "XMKD new",
            "RMD sub",
            "XRMD sub",
            "RNFR hello.txt",
            "RNTO new",
        ] {
            client.asks(command, 550);
        }
        client.asks("RETR hello.txt", 150);
        assert_eq!(
            std::io::Read::read(&mut data, &mut [0; 10]).expect("no reset"),
            6
        );
        client.replies(226);
    }
    assert_eq!(tree(&site.root), before);
}

// ---- what commands answer

#[test]
fn files_and_directories_are_made_renamed_and_deleted() {
    let site = Site::new(&[("file", b"1"), ("other", b"2")]);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for (command, code) in [
        ("MKD a", 257),
        ("MKD a", 550),
        ("MKD a/b", 257),
        ("MKD c/d", 550),
        ("MKD file", 550),
        ("MKD /", 550),
        ("RNTO x", 503),
        ("RNFR nothing", 550),
        ("RNTO x", 503),
        ("RNFR file", 350),
        ("RNTO a/b/file 2", 250),
        ("RNTO x", 503),
        ("SIZE file", 550),
        ("SIZE a/b/file 2", 213),
        ("RNFR other", 350),
        ("RNTO nowhere/x", 550),
        ("RNFR a", 350),
        ("RNTO a/b/c", 550),
        ("RNFR /", 350),
        ("CWD a/b", 250),
        ("DELE file", 550),
        ("DELE file 2", 250),
        ("CDUP", 250),
        ("RMD /a/b", 250),
        ("CWD b", 550),
        ("RMD ../other", 550),
        ("CDUP", 250),
        ("DELE a", 550),
        ("RMD a", 250),
        ("RMD /", 550),
        ("DELE /", 550),
        ("DELE nothing", 550),
        ("RMD nothing", 550),
    ] {
        let reply = client.ask(command);
        // Errors that might pass have a code of their own.
        let code_is_right = reply.code == code || code == 550 && reply.code == 450;
        assert!(code_is_right, "{command}: {reply:?}");
    }
    assert_eq!(Vec::from_iter(tree(&site.root).into_keys()), ["/other"]);
}

#[test]
fn what_is_no_file_is_not_sent_and_not_written_to() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    let long = format!("RETR {}", "n".repeat(300));
    for command in [
        "RETR sub",
        "RETR nothing",
        "RETR sub/nothing",
        "RETR nothing/x",
        "RETR hello.txt/x",
        "RETR .",
        "RETR /",
        &long,
        "STOR sub",
        "STOR nothing/x",
        "STOR hello.txt/x",
        "STOR /",
        "APPE sub",
        "LIST nothing",
        "NLST nothing",
        "MLSD nothing",
    ] {
        let _data = client.data();
        client.asks(command, 550);
    }
    for command in [
        "CWD nothing",
        "CWD hello.txt",
        "SIZE sub",
        "MDTM sub",
        "SIZE nothing",
        "MLST nothing",
    ] {
        client.asks(command, 550);
    }
    client.asks("MLSD hello.txt", 501);
    client.still_works();
}

#[test]
fn a_list_is_of_what_it_is_asked_for() {
    let site = Site::new(&[
        ("hello.txt", b"hello\n"),
        ("sub/a", b"a"),
        ("sub/b", b""),
        ("-x/-y", b""),
    ]);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    for (argument, names) in [
        ("", vec!["-x", "hello.txt", "sub"]),
        (" -la", vec!["-x", "hello.txt", "sub"]),
        (" -a", vec!["-x", "hello.txt", "sub"]),
        (" sub", vec!["a", "b"]),
        (" -l sub", vec!["a", "b"]),
        (" /sub/", vec!["a", "b"]),
        (" -x", vec!["-y"]),
        (" hello.txt", vec!["hello.txt"]),
        (" sub/a", vec!["sub/a"]),
    ] {
        let mut listed = client.lines(&format!("NLST{argument}"));
        listed.sort();
        assert_eq!(listed, names, "{argument:?}");
        let mut lines = client.lines(&format!("LIST{argument}"));
        lines.sort_by_key(|line| line.rsplit_once(' ').map(|(_, name)| name.to_owned()));
        assert_eq!(lines.len(), names.len(), "{argument:?}");
        for (line, name) in lines.iter().zip(names) {
            assert!(line.ends_with(&format!(" {name}")), "{argument:?}: {line}");
        }
    }
    client.asks("CWD sub", 250);
    assert_eq!(client.lines("NLST").len(), 2);
    assert_eq!(client.lines("NLST ..").len(), 3);
}

#[cfg(unix)]
#[test]
fn permissions_are_told_as_they_are() {
    use std::os::unix::fs::PermissionsExt;

    let site = Site::new(&[("file", b"123")]);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    for (mode, shown) in [(0o755, "-rwxr-xr-x "), (0o640, "-rw-r----- ")] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(site.path("file"), permissions).expect("it is ours");
        let lines = client.lines("LIST");
        assert!(lines[0].starts_with(shown), "{lines:?}");
        assert!(lines[0].contains(" 3 "), "{lines:?}");
    }
}

#[test]
fn a_long_list_is_whole() {
    const FILES: usize = 3000;

    let site = Site::new(&[]);
    let names = (0..FILES).map(|at| format!("a file with a name of some length {at:06}"));
    let names = Vec::from_iter(names);
    for name in &names {
        fs::write(site.path(name), name).expect("it can be written");
    }
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let mut listed = client.lines("NLST");
    listed.sort();
    assert_eq!(listed, names);
    assert_eq!(client.lines("LIST").len(), FILES);
}

#[test]
fn a_path_between_quotes_has_its_own_doubled() {
    let site = Site::new(&[]);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    let text = client.asks("MKD a \"b\" c", 257);
    assert!(text.starts_with("257 \"/a \"\"b\"\" c\" "), "{text}");
    client.asks("CWD a \"b\" c", 250);
    let text = client.asks("PWD", 257);
    assert!(text.starts_with("257 \"/a \"\"b\"\" c\" "), "{text}");
}

#[test]
fn what_is_no_command_is_told_so_and_no_more() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for (command, code) in [
        ("WHAT", 500),
        (" ", 500),
        ("RETRhello.txt", 500),
        ("SITE CHMOD 777 x", 500),
        ("AUTH TLS", 500),
        ("GET / HTTP/1.1", 500),
        ("RETR", 501),
        ("RETR ", 501),
        ("STOR", 501),
        ("DELE ", 501),
        ("CWD", 501),
        ("MKD", 501),
        ("RNTO", 501),
        ("SIZE", 501),
        ("TYPE", 504),
        ("TYPE E", 504),
        ("TYPE L 7", 504),
        ("MODE B", 504),
        ("STRU R", 504),
        ("MODE s", 200),
        ("STRU F", 200),
        ("ALLO 10", 202),
        ("OPTS X", 501),
        ("OPTS MLST type;", 200),
        ("EPSV ALL", 522),
    ] {
        client.asks(command, code);
    }
    assert_eq!(client.ask(b"RETR \xff\xfe").code, 501);
    assert_eq!(client.ask(b"\x00").code, 500);
    let features = client.asks("FEAT", 211);
    assert!(features.lines().any(|line| line == " UTF8"), "{features}");
    client.still_works();
}

#[test]
fn a_line_that_is_too_long_is_told_so_and_skipped() {
    let site = Site::new(FEW);
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let longest = format!("RETR {}", "x".repeat(4096 - 5));
    client.asks(&longest, 425);
    for length in [5000, MIB] {
        client.asks(&"x".repeat(length), 500);
        client.asks("NOOP", 200);
    }
    client.still_works();
}

#[test]
fn every_command_is_logged_on_one_line_and_no_password() {
    let site = Site::new(FEW);
    let (mut server, addr) = listening(writable(&site.root).env("RUST_LOG", "info"));
    let messages = server.stderr_lines();
    let mut client = Client::ann(addr);
    let local = client.control.get_ref().local_addr().expect("it is open");
    client.asks("CWD \u{1b}[31m\r ", 550);
    for expected in [
        "has connected",
        "USER ann",
        "PASS …",
        "TYPE I",
        "CWD \\u{1b}[31m\\r ",
    ] {
        let message = messages.recv_timeout(LONG).expect("it is logged");
        assert!(
            message.ends_with(&format!("{local} {expected}")),
            "{message}"
        );
    }
}

// ---- its beginning and end

fn ends(command: &mut Command, status: i32, expected: &str) {
    let ended = Running::start(command).finish();
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
    assert!(ended.stderr.contains(expected), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn arguments_that_do_not_fit_are_told_so() {
    let site = Site::new(FEW);
    let root = &site.root;
    ends(ftp_server(root).arg("--writable"), 2, "--user <USER>");
    ends(
        ftp_server(root).args(["--user", "ann"]),
        2,
        "--password <PASSWORD>",
    );
    ends(
        ftp_server(root).args(["--password", "x"]),
        2,
        "--user <USER>",
    );
    ends(
        ftp_server(root).args(["--user", "ann", "--writable"]),
        2,
        "--password <PASSWORD>",
    );
    ends(&mut Command::new(example("ftp_server")), 2, "--root <ROOT>");
}

#[test]
fn a_root_that_is_no_directory_is_named_and_ends_it_with_status_1() {
    let site = Site::new(FEW);
    for name in ["nowhere", "hello.txt"] {
        let path: &Path = &site.path(name);
        ends(
            &mut ftp_server(path),
            1,
            &format!("ftp_server: {}: ", path.display()),
        );
    }
}

#[cfg(unix)]
mod signals {
    use std::io::Read;

    use rustix::process::Signal;

    use super::*;

    fn ends_well_on(signal: Signal) {
        let site = Site::new(FEW);
        sparse_file(&site.path("big"), 64 * MIB);
        let (server, addr) = listening(&mut ftp_server(&site.root));
        let mut idle = Client::anonymous(addr);
        idle.still_works();
        let mut waiting = Client::anonymous(addr);
        let port = waiting.epsv("EPSV");
        let mut busy = Client::anonymous(addr);
        let mut data = busy.data();
        busy.asks("RETR big", 150);
        data.read_exact(&mut [0; 1000]).expect("it has begun");

        server.signal(signal);
        let ended = server.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        idle.ends();
        waiting.ends();
        busy.ends();
        assert!(connect_fails(addr) && connect_fails(port), "nobody listens");
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
