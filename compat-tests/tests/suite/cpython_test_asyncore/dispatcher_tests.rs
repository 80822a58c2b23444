//! `DispatcherTests`

use std::any::type_name_of_val;
use std::env;
use std::process::Command;
use std::rc::Rc;

use asyncore::{Dispatcher, Result, strerror};
use compat_tests::CapturedLog;

use super::base_classes::dispatcher;

#[test]
fn test_basic() {
    let d = dispatcher();
    assert!(d.readable());
    assert!(d.writable());
}

#[test]
fn test_repr() {
    let d = dispatcher();
    let name = type_name_of_val(&*d);
    assert_eq!(d.repr(), format!("<{name} at {:p}>", Rc::as_ptr(&d)));
}

#[test]
fn test_log() -> Result {
    const WRITES: &str = "TEST_LOG_WRITES";
    const LINES: [&str; 2] = ["spam, egg and chips", "no spam, \"please\""];

    if env::var_os(WRITES).is_some() {
        let d = dispatcher();
        for line in LINES {
            d.log(line);
        }
        return Ok(());
    }

    let (_program, module) = module_path!()
        .split_once("::")
        .expect("a path in a program");
    let written = Command::new(env::current_exe()?)
        .args(["--exact", &format!("{module}::test_log"), "--nocapture"])
        .env(WRITES, "1")
        .output()?;
    assert!(written.status.success());
    let lines = String::from_utf8_lossy(&written.stderr);
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        LINES.map(|line| format!("log: {line}"))
    );
    Ok(())
}

#[test]
fn test_log_info() {
    let d = dispatcher();
    let log = CapturedLog::start();

    d.log_info("is there any without?", "EGGS");
    d.log_info("there is one with little", "info");
    d.log_info("that has some", "SPAM");

    // Only kinds that are levels of `log` come first in a line.
    assert_eq!(
        log.lines(),
        [
            "info: EGGS: is there any without?",
            "info: there is one with little",
            "info: SPAM: that has some",
        ]
    );
}

#[test]
fn test_unhandled() -> Result {
    let d = dispatcher();
    d.root().ignore_log_types.set(&[]);
    let log = CapturedLog::start();

    d.handle_expt()?;
    d.handle_read()?;
    d.handle_write()?;
    d.handle_connect()?;

    assert_eq!(
        log.lines(),
        [
            "warning: unhandled incoming priority event",
            "warning: unhandled read event",
            "warning: unhandled write event",
            "warning: unhandled connect event",
        ]
    );
    Ok(())
}

/// bpo-8573
#[test]
fn test_strerror() {
    let eperm = rustix::io::Errno::PERM.raw_os_error();
    assert_eq!(strerror(eperm), "Operation not permitted");
    assert_ne!(strerror(-1), "");
}
