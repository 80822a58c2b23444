//! No path leads out of the root.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Instant;

use super::client::*;
use crate::util::{LONG, listening};

/// A root with every kind of link, and a directory beside it.
fn besieged() -> Site {
    let site = Site::new(&[("hello.txt", b"hello\n"), ("sub/file", b"file")]);
    let outside = site.directory.path().join("outside");
    fs::create_dir(&outside).expect("it can be made");
    fs::write(outside.join("secret"), "the secret").expect("it can be written");
    let secret = site.directory.path().join("secret");
    for (target, link) in [
        (&*secret, "absolute"),
        ("../secret".as_ref(), "relative"),
        ("..".as_ref(), "up"),
        ("../../secret".as_ref(), "sub/up"),
        ("/".as_ref(), "slash"),
        (&*outside, "abroad"),
        ("../outside".as_ref(), "beside"),
        ("../outside/new".as_ref(), "dangling"),
        ("../root/hello.txt".as_ref(), "out and in"),
        ("/proc/self/cwd".as_ref(), "cwd"),
        ("/proc/self/root".as_ref(), "proc"),
        ("beside".as_ref(), "twice"),
        ("loop".as_ref(), "loop"),
        ("hello.txt".as_ref(), "inside"),
        ("../hello.txt".as_ref(), "sub/inside"),
        ("sub".as_ref(), "directory inside"),
    ] {
        symlink(target, site.path(link)).expect("a link can be made");
    }
    site
}

fn attacks(site: &Site) -> Vec<String> {
    let directory = site.directory.path().display();
    let mut paths: Vec<String> = [
        "../secret",
        "/../secret",
        "../../secret",
        "sub/../../secret",
        "./../secret",
        "//../secret",
        "sub/./../../secret",
        "/sub/../../secret",
        "..//secret",
        "nothing/../../secret",
        "hello.txt/../../secret",
        "..",
        "../",
        "/..",
        "../..",
        "../outside",
        "../outside/secret",
        "../outside/new",
        ".. /secret",
        "..\\secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "~/secret",
        "~root",
        "..;/secret",
        "\u{2025}/secret",
        "..\u{2215}secret",
        "...//...//secret",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "../etc/passwd",
        "/proc/self/environ",
        "C:\\secret",
        "absolute",
        "relative",
        "up/secret",
        "up/outside/secret",
        "sub/up",
        "slash/etc/passwd",
        "abroad/secret",
        "abroad/new",
        "beside/secret",
        "beside/new",
        "beside/../secret",
        "dangling",
        "out and in",
        "cwd/Cargo.toml",
        "proc/etc/passwd",
        "twice/secret",
        "twice/new",
        "loop",
        "loop/x",
        "sub/../up/secret",
        "directory inside/../../secret",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("{directory}/secret"));
    paths.push(format!(
        "/../../../../../../../../../../..{directory}/secret"
    ));
    paths.push(format!("{}secret", "../".repeat(1000)));
    paths
}

#[test]
fn no_path_leads_out_of_the_root() {
    let site = besieged();
    let before = tree(site.directory.path());
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for path in attacks(&site) {
        // What is at the root of the server, where ".." ends, is not outside.
        for command in [
            "RETR", "SIZE", "MDTM", "RNFR", "DELE", "RMD", "CWD", "LIST", "NLST", "MLSD", "MLST",
        ] {
            let names_a_link = site.path(&path).is_symlink();
            if names_a_link && ["RNFR", "DELE", "MLST", "LIST", "NLST", "MLSD"].contains(&command) {
                continue; // It is about the link itself; see below.
            }
            let leads_to_the_root = path.split('/').all(|it| ["..", ""].contains(&it));
            if leads_to_the_root
                && ["RNFR", "CWD", "LIST", "NLST", "MLSD", "MLST"].contains(&command)
            {
                continue;
            }
            let mut data = client.data();
            let reply = client.ask(format!("{command} {path}"));
            assert!(
                [550, 450].contains(&reply.code),
                "{command} {path}: {reply:?}"
            );
            if ["RETR", "LIST", "NLST", "MLSD"].contains(&command) {
                assert!(gets_nothing(&mut data), "{command} {path}");
            }
        }
    }
    // Those that could make something: of some the parent is inside, as for "/../new" and "..\\new".
    for path in [
        "abroad/new",
        "beside/new",
        "up/new",
        "slash/tmp/new",
        "twice/new",
        "sub/../up/new",
        "dangling",
        "absolute",
        "relative",
        "sub/up",
        "proc/tmp/new",
        "cwd/new",
    ] {
        for command in ["STOR", "APPE"] {
            let _data = client.data();
            let reply = client.ask(format!("{command} {path}"));
            assert!(
                [550, 450].contains(&reply.code),
                "{command} {path}: {reply:?}"
            );
        }
        client.asks(&format!("MKD {path}"), 550);
        client.asks("RNFR hello.txt", 350);
        if path.contains('/') && path != "sub/up" {
            client.asks(&format!("RNTO {path}"), 550);
        }
    }
    assert_eq!(tree(site.directory.path()), before);
    client.still_works();
}

#[test]
fn dots_end_at_the_root() {
    let site = besieged();
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for path in [
        "/../hello.txt",
        "../../hello.txt",
        "sub/../../../hello.txt",
        "//hello.txt",
        "./hello.txt",
    ] {
        assert_eq!(
            client.receives(&format!("RETR {path}")),
            b"hello\n",
            "{path}"
        );
    }
    for (path, wd) in [
        ("..", "/"),
        ("sub", "/sub"),
        ("../..", "/"),
        ("/../sub/.", "/sub"),
        ("/", "/"),
    ] {
        client.asks(&format!("CWD {path}"), 250);
        let text = client.asks("PWD", 257);
        assert_eq!(text.split('"').nth(1), Some(wd), "{path}");
    }
    client.asks("MKD /../../made", 257);
    assert!(site.path("made").is_dir());
}

#[test]
fn names_with_a_nul_are_refused() {
    let site = besieged();
    let before = tree(site.directory.path());
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for name in ["\0", "hello.txt\0", "hello.txt\0.jpg", "../secret\0"] {
        for command in [
            "RETR", "STOR", "APPE", "SIZE", "CWD", "DELE", "MKD", "RMD", "RNFR", "LIST", "MLST",
        ] {
            let _data = client.data();
            client.asks(&format!("{command} {name}"), 550);
        }
        client.asks("RNFR hello.txt", 350);
        client.asks(&format!("RNTO {name}"), 550);
    }
    assert_eq!(tree(site.directory.path()), before);
}

#[test]
fn links_that_stay_inside_are_followed_and_others_shown_as_links() {
    let site = besieged();
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for path in ["inside", "sub/inside", "directory inside/inside"] {
        assert_eq!(
            client.receives(&format!("RETR {path}")),
            b"hello\n",
            "{path}"
        );
    }
    client.stores("STOR directory inside/new", b"new");
    assert_eq!(site.read("sub/new"), b"new");
    let lines = client.lines("LIST");
    for (name, kind) in [
        ("inside", '-'),
        ("directory inside", 'd'),
        ("absolute", 'l'),
        ("up", 'l'),
        ("loop", 'l'),
    ] {
        let name = format!(" {name}");
        let mut lines = lines.iter().filter(|line| line.ends_with(&name));
        assert!(lines.any(|line| line.starts_with(kind)), "{name}");
    }
    let lines = client.lines("MLSD");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("type=OS.unix=") && line.ends_with("; up"))
    );
    for (command, lines) in [("LIST abroad", 1), ("MLSD directory inside", 4)] {
        assert_eq!(client.lines(command).len(), lines, "{command}");
    }
    // What is deleted or renamed is the link.
    client.asks("DELE absolute", 250);
    client.asks("RNFR up", 350);
    client.asks("RNTO down", 250);
    client.asks("DELE down", 250);
    client.asks("RMD abroad", 550);
    assert!(site.directory.path().join("secret").exists());
}

#[test]
fn a_directory_that_becomes_a_link_leads_out_at_no_moment() {
    const TRIES: usize = 1000;

    let site = besieged();
    fs::write(site.path("sub/secret"), "no secret").expect("it can be written");
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    client.asks("CWD sub", 250);
    let (root, deadline) = (&site.root, Instant::now() + LONG);
    let (mut fetched, mut refused) = (0, 0);
    thread::scope(|scope| {
        // Dropped at the end, and by a panic.
        let (_goes_on, ends) = mpsc::channel::<()>();
        scope.spawn(move || {
            let rename = |from: &str, to: &str| {
                fs::rename(root.join(from), root.join(to)).expect("nobody else does")
            };
            while ends.try_recv() == Err(TryRecvError::Empty) {
                rename("sub", "away");
                rename("abroad", "sub");
                rename("sub", "abroad");
                rename("away", "sub");
            }
        });
        while fetched + refused < TRIES || fetched == 0 || refused == 0 {
            assert!(
                Instant::now() < deadline,
                "{fetched} fetched, {refused} refused"
            );
            let mut data = client.data();
            let tried = fetched + refused;
            let path = ["secret", "/sub/secret"][tried % 2];
            if client.ask(format!("RETR {path}")).code == 150 {
                let mut received = String::new();
                data.read_to_string(&mut received).expect("no reset");
                client.replies(226);
                assert_eq!(received, "no secret");
                fetched += 1;
            } else {
                refused += 1;
            }
            client.ask(format!("MKD made{tried}"));
        }
    });
    let outside = tree(&site.directory.path().join("outside"));
    assert_eq!(Vec::from_iter(outside.keys()), ["/secret"]);
}

#[test]
fn a_named_pipe_keeps_nobody_waiting() {
    let site = Site::new(FEW);
    let made = Command::new("mkfifo").arg(site.path("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let (_server, addr) = listening(&mut writable(&site.root));
    let mut client = Client::ann(addr);
    for command in ["RETR pipe", "STOR pipe", "APPE pipe", "SIZE pipe"] {
        let _data = client.data();
        let reply = client.ask(command);
        assert!([550, 450].contains(&reply.code), "{command}: {reply:?}");
    }
    client.still_works();
}

#[test]
fn names_that_could_not_be_asked_for_are_not_listed() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let site = Site::new(FEW);
    for name in [&b"latin\xfc"[..], b"new\nline", b"return\r"] {
        fs::write(site.root.join(OsStr::from_bytes(name)), "").expect("it can be written");
    }
    let (_server, addr) = listening(&mut ftp_server(&site.root));
    let mut client = Client::anonymous(addr);
    let mut names = client.lines("NLST");
    names.sort();
    assert_eq!(names, ["hello.txt", "sub"]);
    for command in ["LIST", "MLSD"] {
        assert_eq!(client.lines(command).len(), 2, "{command}");
    }
    client.still_works();
}
