//! Scenarios, kept and random, on both sides. `cargo run -p compat-tests -- --help` does more.
#![cfg(unix)]

use std::io::Write;
use std::process::Command;

/// Runs the command, and shows what it says of Pythons past the capture of a passing test's output.
fn compat_tests(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_compat-tests"))
        .args(args)
        .output()
        .expect("the command starts");
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with("NOT COMPARED")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}\n{said}\n{errors}");
}

#[test]
fn the_kept_scenarios_are_as_cpython_acts_them_out() {
    compat_tests(&[]);
}

#[test]
fn with_the_default_quirks_only_the_scenarios_named_for_one_differ() {
    compat_tests(&["--quirks", "default"]);
}

#[test]
fn random_scenarios_are_as_cpython_acts_them_out() {
    if let Err(why) = compat_tests::python::find() {
        let _ = writeln!(std::io::stderr(), "NOT COMPARED, random scenarios: {why}");
        return;
    }
    compat_tests(&["--cases", "500"]);
}
