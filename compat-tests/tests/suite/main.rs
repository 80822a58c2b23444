//! The behaviour of the two crates, in one program, so that it can be run once more on the poller's
//! portable path.

mod async_chat;
mod channel_map;
mod chat_properties;
mod cpython_test_asynchat;
mod cpython_test_asyncore;
mod dispatcher_with_send;
mod documents;
mod faults;
mod guide;
mod how_the_loop_works;
mod inheritance;
mod quirks;
mod report;
mod scenarios;
mod sockets;
mod trace;
mod traces;

/// Every other test of this program, in a second process that waits the portable way.
#[test]
fn everything_again_on_the_portable_path() {
    const SELECT: &str = "ASYNCORE_POLLER";

    if std::env::var_os(SELECT).is_some() {
        eprintln!("this is the second process");
        return;
    }
    let program = std::env::current_exe().expect("the path of this program");
    let status = std::process::Command::new(program)
        .args(["--skip", "everything_again_on_the_portable_path"])
        // They wait for nothing.
        .args(["--skip", "chat_properties", "--skip", "report::"])
        // They are not ours.
        .args(["--skip", "every_program_in_python"])
        .env(SELECT, "portable")
        .status()
        .expect("the second process starts");
    assert!(status.success(), "the portable path fails: {status}");
}
