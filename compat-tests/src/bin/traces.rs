//! Prints what the Rust side calls, as the programs in `probes/` print what CPython calls.
//!
//! `cargo run -p compat-tests --bin traces -- reentrancy [--quirks cpython|default]`
//!
//! With `--log` first, a logger listens to all that the crates tell, which changes nothing.

use std::process::ExitCode;

use asyncore::{Quirks, socket_map};
use compat_tests::situation::Semantics;
use compat_tests::{listener, reentrancy};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--log") {
        arguments.remove(0);
        listener::listen();
    }
    let quirks = match arguments.iter().position(|argument| argument == "--quirks") {
        Some(at) => match arguments.drain(at..).nth(1).as_deref() {
            Some("cpython") => Quirks::CPYTHON,
            Some("default") => Quirks::default(),
            _ => return usage(),
        },
        None => Quirks::CPYTHON,
    };
    socket_map().set_quirks(quirks);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let trace = match arguments[..] {
        ["reentrancy"] => reentrancy::digests(),
        ["reentrancy", class, callback, method, target, semantics] => {
            let semantics = match semantics {
                "select" => Semantics::Select,
                "poll" => Semantics::Poll,
                _ => return usage(),
            };
            match reentrancy::trace(class, callback, method, target, semantics) {
                Ok(Some(lines)) => Ok(lines.join("\n") + "\n"),
                Ok(None) => return usage(),
                Err(error) => Err(error),
            }
        }
        _ => return usage(),
    };
    match trace {
        Ok(trace) => {
            print!("{trace}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("traces: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: traces [--log] reentrancy [CLASS CALLBACK METHOD itself|another select|poll] [--quirks cpython|default]"
    );
    ExitCode::from(2)
}
