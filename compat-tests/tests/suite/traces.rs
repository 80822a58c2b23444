//! Every method called from inside every callback, side by side with CPython.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const REENTRANCY: &str = include_str!("../../recorded/reentrancy.txt");

#[test]
fn every_method_can_be_called_from_every_callback_with_the_outcome_of_cpython() {
    let rust = rust(&["reentrancy"]);
    let (rust, python) = (cases(&rust), cases(REENTRANCY));
    assert_eq!(rust.len(), python.len());
    let differing: Vec<&String> = rust
        .iter()
        .zip(&python)
        .filter(|(rust, python)| rust != python)
        .map(|((name, _), _)| name)
        .collect();
    let unexpected: Vec<&&String> = differing
        .iter()
        .filter(|name| !puts_in_a_channel_without_descriptor(name))
        .collect();
    assert!(
        unexpected.is_empty(),
        "{} of {} cases are not as in CPython: {unexpected:#?}\n\
         see one with `cargo run -p compat-tests --bin traces -- reentrancy CLASS CALLBACK METHOD \
         TARGET SEMANTICS` and with `compat-tests/probes/reentrancy.py CLASS CALLBACK METHOD TARGET SEMANTICS`",
        unexpected.len(),
        python.len(),
    );
    assert_eq!(differing.len(), 56, "{differing:#?}");
}

/// The one difference: CPython's `add_channel` puts a channel without a descriptor into the map, under
/// `None`, and every pass after that fails. Here it fails itself.
fn puts_in_a_channel_without_descriptor(case: &str) -> bool {
    const LOSE_THE_DESCRIPTOR: [&str; 10] = [
        "del_channel",
        "send",
        "recv",
        "close",
        "handle_read_event",
        "handle_error",
        "handle_read",
        "handle_close",
        "read",
        "readwrite",
    ];
    // Those that send what is buffered.
    const SEND: [&str; 4] = [
        "handle_write_event",
        "handle_write",
        "write",
        "initiate_send",
    ];

    let words: Vec<&str> = case.split(' ').collect();
    match words[..] {
        [
            _,
            "create_socket" | "set_socket",
            "add_channel",
            "itself",
            _,
        ] => true,
        [class, "add_channel", method, "itself", _] => {
            LOSE_THE_DESCRIPTOR.contains(&method)
                || class == "dispatcher_with_send" && SEND.contains(&method)
        }
        _ => false,
    }
}

#[test]
fn nothing_changes_when_someone_listens_to_the_trace() {
    assert_same(&rust(&["--log", "reentrancy"]), &rust(&["reentrancy"]));
}

#[test]
fn no_call_from_any_callback_panics_with_the_default_quirks() {
    let output = traces(&["reentrancy", "--quirks", "default"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    // A panic in a callback reaches `handle_error` and would not end the program; the hook shows it.
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

#[test]
fn the_record_is_what_cpython_says() {
    let python = match compat_tests::python::find() {
        Ok(python) => python,
        Err(why) => {
            // Past the capture of a passing test's output.
            let _ = writeln!(std::io::stderr(), "NOT COMPARED with a live CPython: {why}");
            return;
        }
    };
    let probes = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let output = Command::new(&python)
        .args(["-W", "ignore", "-B"])
        .arg(probes.join("reentrancy.py"))
        .stdin(Stdio::null())
        .output()
        .expect("the probe starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the probe fails: {errors}");
    assert_same(REENTRANCY, &String::from_utf8_lossy(&output.stdout));
}

/// What the program `traces` prints. It is a program of its own because the number of the next free
/// descriptor matters, and test programs have many threads.
fn rust(arguments: &[&str]) -> String {
    let output = traces(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "traces {arguments:?} fails: {errors}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn traces(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_traces"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program `traces` starts")
}

#[track_caller]
fn assert_same(rust: &str, python: &str) {
    let mut section = "";
    for (number, (rust, python)) in rust.lines().zip(python.lines()).enumerate() {
        if python.starts_with('[') {
            section = python;
        }
        assert_eq!(rust, python, "line {} in {section}", number + 1);
    }
    assert_eq!(rust.lines().count(), python.lines().count());
}

/// The cases of a table of digests, as `class callback method target semantics` with its digest.
fn cases(table: &str) -> Vec<(String, &str)> {
    let (mut class, mut methods) = ("", Vec::new());
    let mut cases = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let Some(name) = words[0].strip_prefix('[') {
            class = name.trim_end_matches(']');
            methods = words[1..].to_vec();
            continue;
        }
        let [callback, target, semantics] = words[..3] else {
            panic!("no line of digests: {line}");
        };
        assert_eq!(words[3..].len(), methods.len(), "{line}");
        for (method, digest) in methods.iter().zip(&words[3..]) {
            cases.push((
                format!("{class} {callback} {method} {target} {semantics}"),
                *digest,
            ));
        }
    }
    cases
}
