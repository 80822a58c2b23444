//! Finding a Python to compare with.

use std::path::PathBuf;
use std::process::Command;

/// A CPython 3.11 with its own `asyncore`, whose behaviour is the specification: the program that
/// `ASYNCORE_PYTHON` in the environment names, or `python3.11` or `python3` on the search path.
///
/// # Errors
///
/// Why none will do, in a sentence to be shown.
pub fn find() -> Result<PathBuf, String> {
    let named = std::env::var_os("ASYNCORE_PYTHON");
    let candidates: Vec<PathBuf> = match &named {
        Some(named) => vec![named.into()],
        None => vec!["python3.11".into(), "python3".into()],
    };
    candidates
        .iter()
        .find(|program| is_cpython_3_11(program))
        .cloned()
        .ok_or_else(|| format!("none of {candidates:?} is a CPython 3.11 with asyncore"))
}

fn is_cpython_3_11(program: &PathBuf) -> bool {
    const CHECK: &str = "import sys, asyncore, asynchat; \
        sys.exit(sys.implementation.name != 'cpython' or sys.version_info[:2] != (3, 11))";

    Command::new(program)
        .args(["-W", "ignore", "-c", CHECK])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
