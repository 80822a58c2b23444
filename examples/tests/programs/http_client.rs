//! The HTTP client, and servers of all kinds.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::util::{Ended, LONG, Noise, Running, example, python};

fn http_client(server: SocketAddr, path: &str) -> Command {
    let mut command = Command::new(example("http_client"));
    command.arg(server.ip().to_string()).arg(path);
    command.args(["--port", &server.port().to_string()]);
    command
}

/// A server for one connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let addr = listener.local_addr().expect("it is bound");
    let thread = thread::spawn(move || {
        let (client, _) = listener.accept().expect("the client comes");
        client.set_read_timeout(Some(LONG)).expect("not zero");
        serve(client);
    });
    (addr, thread)
}

fn read_request(client: &mut TcpStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("the request goes on");
        request.push(byte[0]);
    }
    String::from_utf8(request).expect("a request in UTF-8")
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Noise::new(1).fill(&mut noise);
    noise
}

#[test]
fn the_response_is_printed_as_it_comes() {
    let response = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), noise(1 << 20)].concat();
    let sent = response.clone();
    let (addr, thread) = server(move |mut client| {
        let request = read_request(&mut client);
        let host = client.local_addr().expect("still connected");
        assert_eq!(
            request,
            format!("GET /some/page?a=b HTTP/1.0\r\nHost: {host}\r\n\r\n")
        );
        client.write_all(&sent).expect("the client takes all");
    });
    let ended = Running::start(&mut http_client(addr, "/some/page?a=b")).finish();
    thread.join().expect("the request is as expected");
    assert!(
        ended.stdout == response,
        "{} bytes of {}",
        ended.stdout.len(),
        response.len()
    );
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn a_page_comes_from_pythons_http_server() {
    let Some(python) = python("import http.server", "a page of Python's http.server") else {
        return;
    };
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pythons_http_server");
    fs::create_dir_all(&directory).expect("the directory can be written");
    let page = noise(300_000);
    fs::write(directory.join("page.bin"), &page).expect("the directory can be written");

    let mut server = Running::start(
        Command::new(python)
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .current_dir(&directory),
    );
    let port = server.find_on_stdout(|line| {
        let (_, port) = line.split_once(" port ")?;
        port.split(' ').next()?.parse().ok()
    });
    let addr = SocketAddr::from(([127, 0, 0, 1], port));

    let ended = Running::start(&mut http_client(addr, "/page.bin")).finish();
    assert!(
        ended.stdout.starts_with(b"HTTP/1.0 200 OK\r\n"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.ends_with(&page),
        "{} bytes",
        ended.stdout.len()
    );
    assert_eq!(ended.status.code(), Some(0));
}

// ---- failures

/// One line on standard error, nothing on standard output, and status 1.
#[track_caller]
fn assert_fails_with(ended: &Ended, messages: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("http_client: "), "{ended:?}");
    for message in messages {
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn a_name_that_does_not_resolve_is_a_failure() {
    let mut command = Command::new(example("http_client"));
    let ended = Running::start(command.args(["nowhere.invalid", "/"])).finish();
    assert_fails_with(&ended, &["connect nowhere.invalid:80: "]);
}

#[test]
fn a_refused_connection_is_a_failure() {
    use asyncore::socket2::{Domain, Socket, Type};

    // Bound, so that no one else listens there, and not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("there is a port");
    let addr = socket.local_addr().expect("it is bound");
    let addr = addr.as_socket().expect("it is IPv4");

    let ended = Running::start(&mut http_client(addr, "/")).finish();
    assert_fails_with(&ended, &[&format!("connect {addr}: "), "refused"]);
}

#[test]
fn a_connection_closed_before_any_response_is_a_failure() {
    let (addr, thread) = server(|mut client| drop(read_request(&mut client)));
    let ended = Running::start(&mut http_client(addr, "/")).finish();
    thread.join().expect("the request came");
    assert_fails_with(
        &ended,
        &[&format!("{addr} closed the connection before any response")],
    );
}

#[test]
fn a_connection_reset_before_any_response_is_a_failure() {
    let (addr, thread) = server(|client| {
        // Closing with an unread request resets the connection.
        client.peek(&mut [0]).expect("the request comes");
    });
    let ended = Running::start(&mut http_client(addr, "/")).finish();
    thread.join().expect("the request came");
    assert_fails_with(
        &ended,
        &[&format!("{addr} closed the connection before any response")],
    );
}

#[test]
fn a_missing_path_ends_it_with_status_2() {
    let ended = Running::start(Command::new(example("http_client")).arg("localhost")).finish();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn control_c_ends_it() {
    use std::os::unix::process::ExitStatusExt;
    use std::sync::mpsc;

    use rustix::process::Signal;

    let (sender, receiver) = mpsc::channel();
    let (addr, _thread) = server(move |mut client| {
        let request = read_request(&mut client);
        // The client is kept waiting.
        let _ = sender.send((request, client));
    });
    let client = Running::start(&mut http_client(addr, "/"));
    let _connection = receiver.recv_timeout(LONG).expect("the request comes");

    client.signal(Signal::INT);
    let ended = client.finish();
    assert_eq!(
        ended.status.signal(),
        Some(Signal::INT.as_raw()),
        "{ended:?}"
    );
}
