//! A directory to serve, and a small client.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use asyncore::socket2::SockRef;
use tempfile::TempDir;

use crate::util::{LONG, Noise, connect, example};

pub(super) const MIB: usize = 1024 * 1024;

pub(super) fn ftp_server(root: &Path) -> Command {
    let mut command = Command::new(example("ftp_server"));
    command.args(["--port", "0", "--root"]).arg(root);
    command
}

/// A server that its user may write to.
pub(super) fn writable(root: &Path) -> Command {
    let mut command = ftp_server(root);
    command.args(["--user", "ann", "--password", "open sesame", "--writable"]);
    command
}

pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Noise::new(1).fill(&mut noise);
    noise
}

pub(super) type Files<'a> = &'a [(&'a str, &'a [u8])];

pub(super) const FEW: Files = &[("hello.txt", b"hello\n"), ("sub/empty", b"")];

/// A directory of files to serve, with a `secret` beside it, which is gone when the test ends.
pub(super) struct Site {
    pub(super) directory: TempDir,
    pub(super) root: PathBuf,
}

impl Site {
    pub(super) fn new(files: Files) -> Site {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
        let root = directory.path().join("root");
        fs::create_dir(&root).expect("the directory can be made");
        fs::write(directory.path().join("secret"), "the secret").expect("it can be written");
        for (name, contents) in files {
            let path = root.join(name);
            let parent = path.parent().expect("the root at least");
            fs::create_dir_all(parent).expect("the directory can be made");
            fs::write(path, contents).expect("the file can be written");
        }
        Site { directory, root }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("the file can be read")
    }
}

/// A file without contents, which takes no room.
pub(super) fn sparse_file(path: &Path, bytes: usize) {
    let file = File::create(path).expect("the file can be made");
    file.set_len(bytes as u64).expect("the file can be long");
}

pub(super) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// All that is below a directory: files with what they contain, directories with nothing.
pub(super) fn tree(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    add_to(&mut tree, directory, "");
    tree
}

fn add_to(tree: &mut Tree, directory: &Path, above: &str) {
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let entry = entry.expect("it can be read");
        let name = format!("{above}/{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            add_to(tree, &path, &name);
            tree.insert(name, None);
        } else {
            tree.insert(name, fs::read(&path).ok());
        }
    }
}

// ---- a small client

pub(super) struct Client {
    pub(super) control: BufReader<TcpStream>,
    pub(super) server: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Client {
    pub(super) fn new(server: SocketAddr) -> Client {
        let control = BufReader::new(connect(server));
        let mut client = Client { control, server };
        client.replies(220);
        client
    }

    pub(super) fn anonymous(server: SocketAddr) -> Client {
        let mut client = Client::new(server);
        client.asks("USER anonymous", 331);
        client.asks("PASS me@here", 230);
        client.asks("TYPE I", 200);
        client
    }

    /// The user of a [`writable`] server.
    pub(super) fn ann(server: SocketAddr) -> Client {
        let mut client = Client::new(server);
        client.asks("USER ann", 331);
        client.asks("PASS open sesame", 230);
        client.asks("TYPE I", 200);
        client
    }

    pub(super) fn send(&mut self, line: impl AsRef<[u8]>) {
        let line = [line.as_ref(), b"\r\n"].concat();
        let mut stream = self.control.get_ref();
        stream.write_all(&line).expect("the server takes it");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.control.read_line(&mut line).expect("a line");
        let stripped = line.strip_suffix("\r\n");
        stripped
            .unwrap_or_else(|| panic!("the connection ends after {line:?}"))
            .to_owned()
    }

    pub(super) fn reply(&mut self) -> Reply {
        let mut text = self.line();
        let code = text.get(..3).and_then(|code| code.parse().ok());
        let code = code.unwrap_or_else(|| panic!("no code: {text:?}"));
        if text.as_bytes().get(3) == Some(&b'-') {
            let last = format!("{code} ");
            loop {
                let line = self.line();
                text = format!("{text}\n{line}");
                if line.starts_with(&last) {
                    break;
                }
            }
        }
        Reply { code, text }
    }

    /// Asserts the code of the next reply, and returns its text.
    #[track_caller]
    pub(super) fn replies(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{reply:?}");
        reply.text
    }

    pub(super) fn ask(&mut self, command: impl AsRef<[u8]>) -> Reply {
        self.send(command);
        self.reply()
    }

    #[track_caller]
    pub(super) fn asks(&mut self, command: &str, code: u16) -> String {
        let reply = self.ask(command);
        assert_eq!(reply.code, code, "{command}: {reply:?}");
        reply.text
    }

    /// Has the server listen for a data connection, and tells where.
    pub(super) fn epsv(&mut self, command: &str) -> SocketAddr {
        let text = self.asks(command, 229);
        let port = text.split('|').nth(3).and_then(|port| port.parse().ok());
        (self.server.ip(), port.expect("a port")).into()
    }

    /// The same, in the words of RFC 959.
    pub(super) fn pasv(&mut self) -> SocketAddr {
        let text = self.asks("PASV", 227);
        let numbers = text
            .split(['(', ')'])
            .nth(1)
            .expect("numbers in parentheses");
        let numbers: Vec<u8> = numbers
            .split(',')
            .filter_map(|it| it.parse().ok())
            .collect();
        let [a, b, c, d, high, low] = numbers[..] else {
            panic!("{text:?}");
        };
        ([a, b, c, d], u16::from_be_bytes([high, low])).into()
    }

    pub(super) fn data(&mut self) -> TcpStream {
        connect(self.epsv("EPSV"))
    }

    /// Receives what a command sends.
    #[track_caller]
    pub(super) fn receives(&mut self, command: &str) -> Vec<u8> {
        let mut data = self.data();
        self.asks(command, 150);
        let mut received = Vec::new();
        data.read_to_end(&mut received).expect("no reset");
        self.replies(226);
        received
    }

    #[track_caller]
    pub(super) fn lines(&mut self, command: &str) -> Vec<String> {
        let text = String::from_utf8(self.receives(command)).expect("UTF-8");
        let lines = text.split_terminator("\r\n");
        lines.map(str::to_owned).collect()
    }

    /// Sends what a command receives.
    #[track_caller]
    pub(super) fn stores(&mut self, command: &str, contents: &[u8]) {
        let mut data = self.data();
        self.asks(command, 150);
        data.write_all(contents).expect("the server takes all");
        drop(data);
        self.replies(226);
    }

    /// Lists a directory and all below it, and fetches all files.
    pub(super) fn tree(&mut self, directory: &str) -> Tree {
        let mut tree = Tree::new();
        for line in self.lines(&format!("MLSD {directory}")) {
            let (facts, name) = line.split_once("; ").expect("facts and a name");
            let path = format!("{directory}/{name}");
            if facts.starts_with("type=dir;") {
                tree.extend(self.tree(&path));
                tree.insert(path, None);
            } else {
                let contents = self.receives(&format!("RETR {path}"));
                let size = format!("type=file;size={};", contents.len());
                assert!(facts.starts_with(&size), "{line}");
                tree.insert(path, Some(contents));
            }
        }
        tree
    }

    /// Whether the server has said nothing by now.
    pub(super) fn is_quiet(&self) -> bool {
        let stream = self.control.get_ref();
        stream.set_nonblocking(true).expect("it is open");
        let quiet = self.control.buffer().is_empty()
            && stream
                .peek(&mut [0])
                .is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("it is open");
        quiet
    }

    #[track_caller]
    pub(super) fn still_works(&mut self) {
        self.asks("TYPE I", 200);
        assert_eq!(self.receives("RETR /hello.txt"), b"hello\n");
    }

    /// Asserts that the connection is at its end.
    #[track_caller]
    pub(super) fn ends(&mut self) {
        let mut rest = Vec::new();
        let _ = self.control.read_to_end(&mut rest); // A reset is an end, too.
        assert_eq!(rest.escape_ascii().to_string(), "");
    }
}

/// Ends a connection as a crash of the machine would, with a reset.
pub(super) fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.expect("it is open");
}

pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "never {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a connection ends without a byte. A reset is an end, too.
pub(super) fn gets_nothing(data: &mut TcpStream) -> bool {
    match data.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// Sends bytes the last of which is urgent.
pub(super) fn urgent(stream: &TcpStream, bytes: &[u8]) {
    let sent = SockRef::from(stream).send_out_of_band(bytes);
    assert_eq!(sent.expect("it is open"), bytes.len());
}

pub(super) fn connect_fails(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err()
}
