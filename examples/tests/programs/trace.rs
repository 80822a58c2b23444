//! What a program tells with `RUST_LOG=asyncore=trace`, as the page "How the loop works" shows it.

use std::io::{Read, Write};
use std::process::Command;

use crate::util::{LONG, connect, example, listening};

const PAGE: &str = include_str!("../../../asyncore/src/how_the_loop_works/story.md");

fn echo_server(log: &str, options: &[&str]) -> Command {
    let mut command = Command::new(example("echo_server"));
    command.args(["--port", "0"]).args(options);
    command.env("RUST_LOG", log).env_remove("RUST_LOG_STYLE");
    command
}

/// The story of one connection, as far as the page tells it.
fn story(options: &[&str]) -> Vec<String> {
    let (mut server, addr) = listening(&mut echo_server("asyncore=trace", options));
    let messages = server.stderr_lines();
    let mut client = connect(addr);
    client.write_all(b"hello").expect("the server takes it");
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("it comes back");
    drop(client);

    // Pass by pass, up to the one that no longer finds the client in the map.
    let mut passes: Vec<Vec<String>> = vec![Vec::new()];
    loop {
        let message = messages.recv_timeout(LONG).expect("it tells more");
        // `[2026-11-22T20:15:00Z TRACE asyncore] line`
        let (_, line) = message
            .split_once(" asyncore] ")
            .expect("a message of asyncore");
        if line.starts_with("poll") {
            if passes
                .iter()
                .flatten()
                .any(|line| line.ends_with("leaves the map"))
            {
                break;
            }
            passes.push(Vec::new());
        }
        passes
            .last_mut()
            .expect("there is one")
            .push(line.to_owned());
    }
    // On a machine that is busy enough, the timeout may come first.
    passes.retain(|pass| pass.last().is_none_or(|line| line != "  nothing is ready"));
    passes.concat()
}

/// The story on the page.
fn page() -> impl Iterator<Item = String> {
    let (_, story) = PAGE.split_once("```text\n").expect("a story");
    let (story, _) = story.split_once("```").expect("its end");
    story.lines().map(str::to_owned)
}

/// Descriptors and ports by the order in which they come up.
fn with_numbers_in_order(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut in_order = |line: String| {
        let mut rest = line.as_str();
        let mut line = String::new();
        while let Some(at) = ["fd ", "Some(", "127.0.0.1:"]
            .iter()
            .filter_map(|before| Some(rest.find(before)? + before.len()))
            .min()
        {
            let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
            let number = &rest[at..at + digits];
            let order = seen.iter().position(|it| it == number).unwrap_or_else(|| {
                seen.push(number.to_owned());
                seen.len() - 1
            });
            line += &format!("{}#{order}", &rest[..at]);
            rest = &rest[at + digits..];
        }
        line + rest
    };
    lines.into_iter().map(&mut in_order).collect()
}

#[test]
fn the_story_of_a_connection_is_that_on_the_page_with_select() {
    assert_eq!(
        with_numbers_in_order(story(&[])),
        with_numbers_in_order(page())
    );
}

#[test]
fn the_story_of_a_connection_is_that_on_the_page_with_poll() {
    let page = page().map(|line| line.replace("poll: ", "poll2: "));
    assert_eq!(
        with_numbers_in_order(story(&["--poll"])),
        with_numbers_in_order(page)
    );
}

#[cfg(unix)]
fn said_with(log: &str) -> String {
    let (server, addr) = listening(&mut echo_server(log, &[]));
    let mut client = connect(addr);
    client.write_all(b"hello").expect("the server takes it");
    client.read_exact(&mut [0; 5]).expect("it comes back");
    let addr = client.local_addr().expect("it is connected");
    server.signal(rustix::process::Signal::INT);
    let said = server.finish().stderr;
    assert!(
        said.contains(&format!("] Incoming connection from {addr}\n")),
        "{said}"
    );
    said
}

#[cfg(unix)]
#[test]
fn who_asks_for_less_than_the_trace_hears_nothing_of_it() {
    for log in ["asyncore=info", "asyncore=debug", "debug"] {
        assert_eq!(said_with(log).lines().count(), 1, "{log}");
    }
}

#[cfg(unix)]
#[test]
fn who_asks_for_the_trace_of_others_hears_nothing_of_it() {
    assert_eq!(said_with("trace,asyncore=info").lines().count(), 1);
}
