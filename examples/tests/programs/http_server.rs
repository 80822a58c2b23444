//! The HTTP server, and clients of all kinds.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::util::{LONG, Noise, Running, connect, example, listening};

const MIB: usize = 1024 * 1024;

fn http_server(root: &Path) -> Command {
    let mut command = Command::new(example("http_server"));
    command.args(["--port", "0", "--root"]).arg(root);
    command
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Noise::new(1).fill(&mut noise);
    noise
}

/// A directory of files to serve, with a `secret` beside it.
fn site(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("http_server");
    let directory = directory.join(name);
    let _ = fs::remove_dir_all(&directory);
    let root = directory.join("root");
    fs::create_dir_all(&root).expect("the directory can be made");
    fs::write(directory.join("secret"), "the secret").expect("it can be written");
    for (name, contents) in files {
        let path = root.join(name);
        let parent = path.parent().expect("the root at least");
        fs::create_dir_all(parent).expect("the directory can be made");
        fs::write(path, contents).expect("the file can be written");
    }
    root
}

/// A file without contents, which takes no room.
fn sparse_file(path: &Path, bytes: usize) {
    let file = File::create(path).expect("the file can be made");
    file.set_len(bytes as u64).expect("the file can be long");
}

fn small_site(name: &str) -> PathBuf {
    site(name, &[("hello.txt", b"hello\n"), ("index.html", b"<p>hi")])
}

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    fn new(server: SocketAddr) -> Client {
        Client(BufReader::new(connect(server)))
    }

    fn send(&mut self, request: impl AsRef<[u8]>) {
        let mut stream = self.0.get_ref();
        stream
            .write_all(request.as_ref())
            .expect("the server takes it");
    }

    fn head(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = self.0.read_until(b'\n', &mut head).expect("a response");
            assert!(
                read > 0,
                "the connection ends after {:?}",
                head.escape_ascii()
            );
        }
        let head = String::from_utf8(head).expect("a head in UTF-8");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|head| head.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        Response {
            status: status.expect("a status line"),
            head,
            body: Vec::new(),
        }
    }

    fn length(response: &Response) -> usize {
        let length = response.header("Content-Length");
        length.and_then(|it| it.parse().ok()).expect("a length")
    }

    fn response(&mut self) -> Response {
        let mut response = self.head();
        response.body = vec![0; Client::length(&response)];
        self.0
            .read_exact(&mut response.body)
            .expect("the whole body");
        response
    }

    fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    fn get(&mut self, target: &str) -> Response {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n"))
    }

    /// Whether the connection is at its end.
    fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("no reset");
        rest.is_empty()
    }
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Type: text/x-noise\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

// ---- files and directories

fn a_file_is_served_with_its_length_and_type(poll: bool) {
    let noise = noise(300_000);
    let root = site(
        &format!("a_file_{poll}"),
        &[("sub/a b.png", &noise), ("plain", b"")],
    );
    let mut command = http_server(&root);
    let (_server, addr) = listening(command.args(poll.then_some("--poll")));
    let mut client = Client::new(addr);
    let response = client.get("/sub/a%20b.png?query");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Content-Type"), Some("image/png"));
    assert_eq!(response.header("Connection"), Some("keep-alive"));
    assert!(
        response
            .header("Server")
            .is_some_and(|it| it.starts_with("asynchat/"))
    );
    assert!(
        response
            .header("Date")
            .is_some_and(|it| it.ends_with(" GMT"))
    );
    assert!(response.body == noise);

    let response = client.get("http://here/plain");
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(
        response.header("Content-Type"),
        Some("application/octet-stream")
    );
}

#[test]
fn a_file_is_served_with_its_length_and_type_with_select() {
    a_file_is_served_with_its_length_and_type(false);
}

#[test]
fn a_file_is_served_with_its_length_and_type_with_poll() {
    a_file_is_served_with_its_length_and_type(true);
}

#[test]
fn the_response_to_head_is_that_to_get_without_its_body() {
    let (_server, addr) = listening(&mut http_server(&small_site("head")));
    let mut client = Client::new(addr);
    for (target, status, length) in [
        ("/hello.txt", 200, "6"),
        ("/", 200, "5"),
        ("/no", 404, "14"),
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: here\r\n\r\n"));
        let response = client.head();
        assert_eq!(response.status, status);
        assert_eq!(response.header("Content-Length"), Some(length));
    }
    assert_eq!(
        client.get("/hello.txt").body,
        b"hello\n",
        "nothing is in between"
    );
}

#[test]
fn a_directory_is_its_index_or_else_a_list() {
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"<p>hi"),
        ("list/b<&>\"%.txt", b"b"),
        ("list/a/x", b""),
    ];
    let (_server, addr) = listening(&mut http_server(&site("directory", files)));
    let mut client = Client::new(addr);
    let response = client.get("/");
    assert_eq!(response.header("Content-Type"), Some("text/html"));
    assert_eq!(response.body, b"<p>hi");

    let response = client.get("/list/");
    assert_eq!(
        (response.status, response.header("Content-Type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let page = String::from_utf8(response.body).expect("UTF-8");
    assert!(page.contains("<h1>/list/</h1>"), "{page}");
    let items = "<li><a href=\"./a/\">a/</a></li>\n\
                 <li><a href=\"./b%3C%26%3E%22%25.txt\">b&lt;&amp;&gt;\"%.txt</a></li>\n";
    assert!(page.contains(items), "{page}");
    assert_eq!(client.get("/list/b%3C%26%3E%22%25.txt").body, b"b");
}

#[test]
fn a_directory_without_the_slash_is_redirected_to_the_same_host() {
    let (_server, addr) = listening(&mut http_server(&site("redirect", &[("s b/x", b"")])));
    let mut client = Client::new(addr);
    for target in ["/s%20b?q=1", "//s%20b?q=1", "http://there/s%20b?q=1"] {
        let response = client.get(target);
        assert_eq!(response.status, 301, "{target}");
        assert!(!response.body.is_empty(), "for those who do not follow it");
        assert_eq!(response.header("Location"), Some("/s%20b/?q=1"), "{target}");
    }
    assert_eq!(client.get("/s%20b/?q=1").status, 200);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (_server, addr) = listening(&mut http_server(&small_site("not_found")));
    let mut client = Client::new(addr);
    let long = format!("/{}", "x".repeat(5000));
    for target in [
        "/no",
        "/hello.txt/",
        "/hello.txt/x",
        "/%ff",
        "/%",
        "*",
        "hello.txt",
        &long,
    ] {
        let response = client.get(target);
        assert_eq!(
            (response.status, &response.body[..]),
            (404, &b"404 Not Found\n"[..]),
            "{target}"
        );
    }
    assert_eq!(
        client.get("/hello.txt").status,
        200,
        "the connection goes on"
    );
}

#[test]
fn no_path_leads_out_of_the_root() {
    let root = small_site("escape");
    let secret = root.join("../secret").canonicalize().expect("it is there");
    let mut targets = vec![
        "/../secret".to_owned(),
        "/%2e%2e/secret".into(),
        "/%2E./secret".into(),
        "/..%2fsecret".into(),
        "/%2e%2e%2fsecret".into(),
        "/..%5csecret".into(),
        "/./../secret".into(),
        "//../secret".into(),
        "/x/../../secret".into(),
        "/hello.txt/../../secret".into(),
        "http://here/../secret".into(),
        format!("/{}", secret.display()),
        format!("/%2f{}", secret.display()),
        secret.display().to_string(),
        "/../root/hello.txt".into(),
        "/hello.txt%00".into(),
        "/%00".into(),
        "/hello.txt%00/../../secret".into(),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;

        symlink(&secret, root.join("absolute")).expect("a link can be made");
        symlink("../secret", root.join("relative")).expect("a link can be made");
        symlink("..", root.join("directory")).expect("a link can be made");
        symlink("loop", root.join("loop")).expect("a link can be made");
        fs::create_dir(root.join("sub")).expect("the directory can be made");
        symlink(&secret, root.join("sub/index.html")).expect("a link can be made");
        symlink("hello.txt", root.join("inside")).expect("a link can be made");
        let links = [
            "/absolute",
            "/relative",
            "/directory",
            "/directory/",
            "/directory/secret",
            "/loop",
        ];
        targets.extend(links.map(str::to_owned));
    }
    let (_server, addr) = listening(&mut http_server(&root));
    let mut client = Client::new(addr);
    for target in &targets {
        let response = client.get(target);
        assert_eq!(response.status, 404, "{target}: {response:?}");
        assert_eq!(response.body, b"404 Not Found\n", "{target}");
    }
    if cfg!(unix) {
        assert_eq!(
            client.get("/inside").body,
            b"hello\n",
            "links inside are followed"
        );
        let index = client.get("/sub/");
        assert!(index.body.starts_with(b"<!DOCTYPE html>"), "{index:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_named_pipe_keeps_nobody_waiting() {
    let root = small_site("pipe");
    let made = Command::new("mkfifo").arg(root.join("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let (_server, addr) = listening(&mut http_server(&root));
    assert_eq!(Client::new(addr).get("/pipe").status, 404);
}

#[test]
fn a_range_of_a_file_is_sent_if_there_is_one() {
    let (_server, addr) = listening(&mut http_server(&site(
        "range",
        &[("file", b"0123456789"), ("empty", b"")],
    )));
    let mut client = Client::new(addr);
    let mut ask = |target: &str, range: &str| {
        client.ask(format!(
            "GET {target} HTTP/1.1\r\nHost: here\r\nRange: {range}\r\n\r\n"
        ))
    };
    for (range, body, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=7-100", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
    ] {
        let response = ask("/file", range);
        assert_eq!(response.status, 206, "{range}");
        assert_eq!(response.body, body.as_bytes(), "{range}");
        assert_eq!(
            response.header("Content-Range"),
            Some(content_range),
            "{range}"
        );
    }
    for range in [
        "bytes=10-",
        "bytes=100-200",
        "bytes=-0",
        "bytes=99999999999999999999-",
    ] {
        let response = ask("/file", range);
        assert_eq!(response.status, 416, "{range}");
        assert_eq!(
            response.header("Content-Range"),
            Some("bytes */10"),
            "{range}"
        );
    }
    assert_eq!(ask("/empty", "bytes=0-").status, 416);
    for range in [
        "bytes=4-2",
        "bytes=0-1,4-5",
        "bytes=x-",
        "bytes=-",
        "lines=0-1",
        "bytes=+1-2",
        "",
    ] {
        let response = ask("/file", range);
        assert_eq!(
            (response.status, &response.body[..]),
            (200, &b"0123456789"[..]),
            "{range}"
        );
    }
    let response = ask("/file", "bytes=0-1\r\nIf-Range: \"other\"");
    assert_eq!(response.body, b"0123456789");
}

// ---- bodies

fn what_is_posted_is_sent_back(poll: bool) {
    let mut command = http_server(&small_site(&format!("post_{poll}")));
    let (_server, addr) = listening(command.args(poll.then_some("--poll")));
    let mut client = Client::new(addr);
    let noise = noise(200_000);
    client
        .0
        .get_ref()
        .set_nodelay(true)
        .expect("still connected");
    for size in [1, 7, 4096, 50_000] {
        let body = &noise[..if size == 1 { 1000 } else { noise.len() }];
        for piece in post(body).chunks(size) {
            client.send(piece);
        }
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Content-Type"), Some("text/x-noise"));
        assert!(response.body == body, "in pieces of {size}");
    }
}

#[test]
fn what_is_posted_is_sent_back_however_it_was_split_with_select() {
    what_is_posted_is_sent_back(false);
}

#[test]
fn what_is_posted_is_sent_back_however_it_was_split_with_poll() {
    what_is_posted_is_sent_back(true);
}

#[test]
fn a_body_may_be_empty_and_as_long_as_the_limit() {
    let (_server, addr) = listening(&mut http_server(&small_site("limits")));
    let mut client = Client::new(addr);
    assert!(client.ask(post(b"")).body.is_empty());
    let noise = noise(10 * MIB);
    assert!(client.ask(post(&noise)).body == noise);
    assert!(client.ask(post(b"")).body.is_empty());
}

#[test]
fn a_body_that_ends_with_the_terminator_of_headers_is_no_request() {
    let (_server, addr) = listening(&mut http_server(&small_site("disguise")));
    let mut client = Client::new(addr);
    let body = b"\r\n\r\nGET /hello.txt HTTP/1.1\r\nHost: here\r\n\r\n";
    assert_eq!(client.ask(post(body)).body, body);
    // What a request brings along that needs none is no request either.
    client.send(b"GET /hello.txt HTTP/1.1\r\nHost: here\r\nContent-Length: 42\r\n\r\n");
    client.send(&body[4..]);
    client.send(&[b'x'; 42][body.len() - 4..]);
    assert_eq!(client.response().body, b"hello\n");
    assert_eq!(client.get("/").body, b"<p>hi");
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let (_server, addr) = listening(&mut http_server(&small_site("continue")));
    let mut client = Client::new(addr);
    client
        .send("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    assert_eq!(client.ask("hello").body, b"hello");

    client.send(
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10485761\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response().status, 413);
}

#[test]
fn too_long_a_body_is_refused_even_if_sent_without_looking() {
    let (_server, addr) = listening(&mut http_server(&small_site("too_long")));
    let mut client = Client::new(addr);
    client.send(post(&noise(20 * MIB)));
    let response = client.response();
    assert_eq!(response.status, 413);
    assert_eq!(response.header("Connection"), Some("close"));
    assert!(client.ends());
    for length in ["10485761", "99999999999999999999999"] {
        let mut client = Client::new(addr);
        let request = format!("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(client.ask(request).status, 413, "{length}");
        assert!(client.ends());
    }
}

// ---- many requests on one connection

fn pipelined_requests_are_answered_in_order(poll: bool) {
    const ROUNDS: usize = 300;

    let noise = noise(100_000);
    let root = site(
        &format!("pipeline_{poll}"),
        &[("hello.txt", b"hello\n"), ("noise", &noise)],
    );
    let mut command = http_server(&root);
    let (_server, addr) = listening(command.args(poll.then_some("--poll")));
    let mut client = Client::new(addr);
    let mut writer = client
        .0
        .get_ref()
        .try_clone()
        .expect("there is a descriptor");
    thread::scope(|scope| {
        scope.spawn(move || {
            let get = |target| format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n");
            for round in 0..ROUNDS {
                let body = format!("round {round}");
                let requests = [
                    get("/hello.txt").into_bytes(),
                    post(body.as_bytes()),
                    b"HEAD /noise HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
                    get("/no").into_bytes(),
                    get("/noise").into_bytes(),
                    b"DELETE / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
                ];
                writer
                    .write_all(&requests.concat())
                    .expect("the server takes it");
            }
            writer.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        });
        for round in 0..ROUNDS {
            assert_eq!(client.response().body, b"hello\n");
            assert_eq!(
                client.response().body,
                format!("round {round}").into_bytes()
            );
            assert_eq!(client.head().header("Content-Length"), Some("100000"));
            assert_eq!(client.response().status, 404);
            assert!(client.response().body == noise, "in round {round}");
            assert_eq!(client.response().status, 405);
        }
        assert_eq!(client.response().header("Connection"), Some("close"));
        assert!(client.ends());
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_with_select() {
    pipelined_requests_are_answered_in_order(false);
}

#[test]
fn pipelined_requests_are_answered_in_order_with_poll() {
    pipelined_requests_are_answered_in_order(true);
}

#[test]
fn the_connection_is_kept_as_the_client_wants_it() {
    let (_server, addr) = listening(&mut http_server(&small_site("keep_alive")));
    for (version, connection, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: close\r\n", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let case = format!("HTTP/{version}, {connection:?}");
        let mut client = Client::new(addr);
        let request = format!("GET /hello.txt HTTP/{version}\r\nHost: here\r\n{connection}\r\n");
        let response = client.ask(&request);
        let expected = if keeps { "keep-alive" } else { "close" };
        assert_eq!(response.header("Connection"), Some(expected), "{case}");
        assert_eq!(response.body, b"hello\n", "{case}");
        if keeps {
            assert_eq!(client.ask(&request).body, b"hello\n", "{case}");
        } else {
            assert!(client.ends(), "{case}");
        }
    }
}

#[test]
fn a_client_that_shuts_down_its_side_still_gets_its_responses() {
    let root = small_site("half_close");
    sparse_file(&root.join("big"), 4 * MIB);
    let (_server, addr) = listening(&mut http_server(&root));
    let mut client = Client::new(addr);
    client.send("GET /big HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.1\r\nHost: here\r\n\r\n");
    client
        .0
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("still connected");
    assert_eq!(client.response().body.len(), 4 * MIB);
    assert_eq!(client.response().body, b"<p>hi");
    assert!(client.ends());
}

#[test]
fn the_last_response_is_not_lost_for_input_that_nobody_reads() {
    let (_server, addr) = listening(&mut http_server(&small_site("lingering")));
    for _ in 0..20 {
        let mut client = Client::new(addr);
        client.send("GET /hello.txt HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        client.send(noise(MIB));
        assert_eq!(client.response().body, b"hello\n");
        assert!(client.ends());
    }
}

#[test]
fn requests_may_come_byte_by_byte_and_after_empty_lines() {
    let (_server, addr) = listening(&mut http_server(&small_site("slowly")));
    let mut client = Client::new(addr);
    client
        .0
        .get_ref()
        .set_nodelay(true)
        .expect("still connected");
    let request = "\r\n\r\n\r\nGET /hello.txt HTTP/1.1\r\nHost: here\r\nX: y\r\n\r\n";
    for _ in 0..3 {
        for byte in request.as_bytes() {
            client.send([*byte]);
        }
        assert_eq!(client.response().body, b"hello\n");
    }
}

// ---- requests that are none

/// Every one of the requests is answered with the status, and ends the connection.
#[track_caller]
fn assert_refused(name: &str, status: u16, requests: &[&str]) {
    let (_server, addr) = listening(&mut http_server(&small_site(name)));
    for request in requests {
        let mut client = Client::new(addr);
        // What comes after is not taken for a request.
        client.send(format!(
            "{request}GET /hello.txt HTTP/1.1\r\nHost: here\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status, status, "{request:?}");
        assert_eq!(response.header("Connection"), Some("close"), "{request:?}");
        assert!(client.ends(), "{request:?}");
    }
    assert_eq!(
        Client::new(addr).get("/hello.txt").status,
        200,
        "others are served"
    );
}

#[test]
fn malformed_requests_are_bad_requests() {
    assert_refused(
        "bad",
        400,
        &[
            "hello\r\n\r\n",
            "GET\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / \r\nHost: here\r\n\r\n",
            "GET / x HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET / FTP/1.1\r\nHost: here\r\n\r\n",
            "GET / http/1.1\r\nHost: here\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            "G\0T / HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET http:// HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nHost: there\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nno header\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nX : y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\n: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nX: y\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nX: y\rZ: z\r\n\r\n",
            "GET / HTTP/1.1\nHost: here\n\nX: y\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n",
        ],
    );
}

#[test]
fn the_same_length_twice_is_one() {
    let (_server, addr) = listening(&mut http_server(&small_site("twice")));
    let mut client = Client::new(addr);
    let request =
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(client.ask(request).body, b"x");
    assert_eq!(client.get("/hello.txt").body, b"hello\n");
}

#[test]
fn unknown_versions_are_not_supported() {
    let versions = ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11"];
    let requests = versions.map(|version| format!("GET / {version}\r\nHost: here\r\n\r\n"));
    assert_refused("versions", 505, &requests.each_ref().map(String::as_str));
}

#[test]
fn a_post_without_a_length_must_have_one() {
    assert_refused("length", 411, &["POST / HTTP/1.1\r\nHost: here\r\n\r\n"]);
}

#[test]
fn chunked_requests_are_not_implemented() {
    assert_refused(
        "chunked",
        501,
        &[
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: x\r\n\r\n",
        ],
    );
}

#[test]
fn too_large_headers_are_refused_while_they_come() {
    let many = format!(
        "GET / HTTP/1.1\r\nHost: here\r\n{}\r\n",
        "x: y\r\n".repeat(1000)
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n",
        "x".repeat(65536)
    );
    assert_refused("large_headers", 431, &[&many, &long]);

    let (_server, addr) = listening(&mut http_server(&small_site("endless_header")));
    let mut client = Client::new(addr);
    client.send("GET / HTTP/1.1\r\nHost: here\r\nX: ");
    client.send([b'x'; 65536]); // There is no end to it.
    assert_eq!(client.response().status, 431);

    let mut client = Client::new(addr);
    let length = 65000;
    let request = format!(
        "GET /hello.txt HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n",
        "x".repeat(length)
    );
    for _ in 0..3 {
        assert_eq!(
            client.ask(&request).status,
            200,
            "{length} bytes are not too many"
        );
    }
}

#[test]
fn other_methods_are_refused_and_the_connection_goes_on() {
    let (_server, addr) = listening(&mut http_server(&small_site("methods")));
    let mut client = Client::new(addr);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.ask(request);
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(
            response.header("Allow"),
            Some("GET, HEAD, POST"),
            "{method}"
        );
    }
    for method in ["BREW", "get"] {
        let response = client.ask(format!("{method} / HTTP/1.1\r\nHost: here\r\n\r\n"));
        assert_eq!(response.status, 501, "{method}");
    }
    assert_eq!(
        client
            .ask("CONNECT here:80 HTTP/1.1\r\nHost: here:80\r\n\r\n")
            .status,
        405
    );
    assert_eq!(client.get("/hello.txt").status, 200);
}

// ---- memory

#[cfg(target_os = "linux")]
fn a_big_file_to_a_slow_reader_takes_little_memory(poll: bool) {
    const BYTES: usize = 64 * MIB;

    let root = small_site(&format!("big_{poll}"));
    sparse_file(&root.join("big"), BYTES);
    let mut command = http_server(&root);
    let (server, addr) = listening(command.args(poll.then_some("--poll")));
    let mut client = Client::new(addr);
    client.send("GET /big HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(Client::length(&client.head()), BYTES);
    let mut piece = vec![0; 256 * 1024];
    for _ in 0..BYTES / piece.len() {
        assert_eq!(
            Client::new(addr).get("/hello.txt").status,
            200,
            "others are served"
        );
        client.0.read_exact(&mut piece).expect("the whole body");
    }
    assert_eq!(client.get("/hello.txt").status, 200);
    let peak = server.peak_memory();
    assert!(peak < 16 * MIB as u64, "{peak} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_big_file_to_a_slow_reader_takes_little_memory_with_select() {
    a_big_file_to_a_slow_reader_takes_little_memory(false);
}

#[cfg(target_os = "linux")]
#[test]
fn a_big_file_to_a_slow_reader_takes_little_memory_with_poll() {
    a_big_file_to_a_slow_reader_takes_little_memory(true);
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_asks_and_never_reads_takes_little_memory_and_few_descriptors() {
    const BLOCKED: Duration = Duration::from_millis(500);

    let root = small_site("never_reads");
    sparse_file(&root.join("big"), 64 * MIB);
    let script = format!(
        "ulimit -n 40; exec {} --port 0 --root {}",
        example("http_server"),
        root.display()
    );
    let (server, addr) = listening(Command::new("sh").args(["-c", &script]));
    let mut greedy = connect(addr);
    greedy.set_write_timeout(Some(BLOCKED)).expect("not zero");
    let requests = "GET /big HTTP/1.1\r\nHost: here\r\n\r\n".repeat(10_000);
    let mut taken = 0;
    while let Ok(sent) = greedy.write(requests.as_bytes()) {
        taken += sent;
        assert!(
            taken < 64 * MIB,
            "the server takes {taken} bytes of requests"
        );
    }
    assert_eq!(
        Client::new(addr).get("/hello.txt").status,
        200,
        "others are served"
    );
    let peak = server.peak_memory();
    assert!(peak < 16 * MIB as u64, "{peak} bytes");
}

// ---- failures

#[test]
fn a_file_that_shrinks_ends_its_connection_and_no_other() {
    let root = small_site("shrinks");
    sparse_file(&root.join("big"), 64 * MIB);
    let (mut server, addr) = listening(&mut http_server(&root));
    let messages = server.stderr_lines();
    let mut other = Client::new(addr);
    assert_eq!(other.get("/hello.txt").status, 200);
    let mut client = Client::new(addr);
    client.send("GET /big HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(client.head().status, 200);
    sparse_file(&root.join("big"), MIB);

    let mut received = 0;
    let mut piece = vec![0; MIB];
    // A reset is an end, too.
    while let Ok(read @ 1..) = client.0.read(&mut piece) {
        received += read;
    }
    assert!(
        received < 64 * MIB,
        "{received} bytes of a file that is shorter"
    );
    let message = messages.recv_timeout(LONG).expect("it is reported");
    assert!(message.contains("failed to fill whole buffer"), "{message}");
    assert_eq!(other.get("/hello.txt").status, 200);
    assert_eq!(Client::new(addr).get("/hello.txt").status, 200);
}

#[test]
fn clients_that_vanish_do_not_disturb_the_others() {
    let root = small_site("vanish");
    sparse_file(&root.join("big"), 64 * MIB);
    let (_server, addr) = listening(&mut http_server(&root));
    let mut steady = Client::new(addr);
    for request in [
        "GET /big HTTP/1.1\r\nHost: here\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: he",
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhel",
        "hello\r\n\r\n",
    ] {
        for _ in 0..25 {
            let mut client = Client::new(addr);
            client.send(request);
            if request.contains("big HTTP/1.1\r\nHost: here") {
                client.0.get_ref().peek(&mut [0]).expect("a response");
            }
        }
        assert_eq!(steady.get("/hello.txt").status, 200);
    }
    assert_eq!(Client::new(addr).get("/hello.txt").status, 200);
}

#[test]
fn a_root_that_is_not_there_is_named_and_ends_it_with_status_1() {
    let root = small_site("no_root").join("nowhere");
    let ended = Running::start(&mut http_server(&root)).finish();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = format!("http_server: {}: ", root.display());
    assert!(ended.stderr.starts_with(&message), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn every_request_is_logged_on_one_line() {
    let mut command = http_server(&small_site("log"));
    let (mut server, addr) = listening(command.env("RUST_LOG", "info"));
    let messages = server.stderr_lines();
    let mut client = Client::new(addr);
    let local = client.0.get_ref().local_addr().expect("still connected");
    client.get("/hello.txt?a");
    client.get("/no");
    client.ask(post(b"x"));
    client.ask("\x1b[31m\r\n\r\n");
    for expected in [
        "\"GET /hello.txt?a HTTP/1.1\" 200",
        "\"GET /no HTTP/1.1\" 404",
        "\"POST / HTTP/1.1\" 200",
        "\"-\" 400",
    ] {
        let message = messages.recv_timeout(LONG).expect("it is logged");
        assert!(
            message.ends_with(&format!("{local} {expected}")),
            "{message}"
        );
    }
}

// ---- its end

#[cfg(unix)]
mod signals {
    use rustix::process::Signal;

    use super::*;

    fn ends_well_on(signal: Signal, name: &str) {
        let root = small_site(name);
        sparse_file(&root.join("big"), 64 * MIB);
        let (server, addr) = listening(&mut http_server(&root));
        let mut idle = Client::new(addr);
        assert_eq!(idle.get("/hello.txt").status, 200);
        let mut busy = Client::new(addr);
        busy.send("GET /big HTTP/1.1\r\nHost: here\r\n\r\n");
        assert_eq!(busy.head().status, 200);

        server.signal(signal);
        let ended = server.finish();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        assert!(idle.ends(), "the connection is closed");
        assert!(TcpStream::connect(addr).is_err(), "nobody listens");
    }

    #[test]
    fn control_c_ends_it_well() {
        ends_well_on(Signal::INT, "control_c");
    }

    #[test]
    fn sigterm_ends_it_well() {
        ends_well_on(Signal::TERM, "sigterm");
    }
}

// ---- curl

/// What curl prints, or nothing where there is none.
fn curl(args: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "100",
        "--noproxy",
        "*",
    ]);
    match command.args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "curl {args:?}: {output:?}");
            Some(output.stdout)
        }
        Err(_) => {
            eprintln!("NOT TESTED: there is no curl here");
            None
        }
    }
}

#[test]
fn curl_downloads_uploads_and_resumes() {
    let noise = noise(3 * MIB);
    let root = site(
        "curl",
        &[("noise.bin", &noise), ("sub/hello.txt", b"hello\n")],
    );
    let (_server, addr) = listening(&mut http_server(&root));
    let url = format!("http://{addr}/noise.bin");
    let Some(downloaded) = curl(&[&url]) else {
        return;
    };
    assert!(downloaded == noise, "{} bytes", downloaded.len());
    for version in ["--http1.0", "--http1.1"] {
        assert_eq!(curl(&[version, &url]).as_ref(), Some(&noise), "{version}");
    }
    let rest = curl(&["--continue-at", "1000000", &url]);
    assert!(rest.as_deref() == Some(&noise[1_000_000..]));

    let file = root.join("noise.bin");
    let data = format!("@{}", file.display());
    let echo = curl(&[
        "--data-binary",
        &data,
        "--header",
        "Content-Type: x/y",
        &url,
    ]);
    assert!(echo.as_ref() == Some(&noise));

    let head = curl(&["--head", &url]).expect("it was there before");
    let head = String::from_utf8(head).expect("UTF-8");
    assert!(head.contains("content-length: 3145728\r\n"), "{head}");

    let format = "%{http_code} %{num_connects} %{content_type}\n";
    let list = format!("http://{addr}/sub");
    let hello = format!("http://{addr}/sub/hello.txt");
    let report = curl(&[
        "--location",
        "--write-out",
        format,
        "--output",
        "/dev/null",
        "--output",
        "/dev/null",
        &list,
        &hello,
    ]);
    assert_eq!(
        report
            .map(|it| String::from_utf8_lossy(&it).into_owned())
            .as_deref(),
        Some("200 1 text/html; charset=utf-8\n200 0 text/plain\n"),
        "one connection for all"
    );
    let escape = curl(&[
        "--path-as-is",
        "--write-out",
        "%{http_code}",
        "--output",
        "/dev/null",
        &format!("http://{addr}/../secret"),
    ]);
    assert_eq!(escape.as_deref(), Some(&b"404"[..]));
}
