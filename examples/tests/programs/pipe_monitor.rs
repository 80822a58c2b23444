//! The monitor of a subprocess, and subprocesses and standard inputs of all kinds.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::util::{Ended, LONG, Running, example};

const MIB: usize = 1024 * 1024;

/// The monitor of a script.
fn monitor(script: &str) -> Command {
    monitor_with(&[], script)
}

fn monitor_with(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(example("pipe_monitor"));
    command.args(options).args(["--", "sh", "-c", script]);
    command
}

/// A monitor that is talked to while it runs.
struct Talk {
    monitor: Running,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talk {
    fn new(script: &str) -> Talk {
        Talk::start(&mut monitor(script))
    }

    fn start(command: &mut Command) -> Talk {
        let mut monitor = Running::start_with(Stdio::piped(), command);
        let (stdin, lines) = (monitor.stdin(), monitor.stdout_lines());
        Talk {
            monitor,
            stdin: Some(stdin),
            lines,
        }
    }

    fn types(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().expect("it has not ended");
        writeln!(stdin, "{command}").expect("the monitor reads");
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(LONG).expect("another line")
    }

    #[track_caller]
    fn shows(&self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// The process id, where that is what the subprocess writes.
    fn pid(&self) -> Pid {
        let line = self.line();
        let pid = line.strip_prefix("out: ").and_then(|pid| pid.parse().ok());
        pid.and_then(Pid::from_raw).expect("a process id")
    }

    /// Waits for the end, with nothing more to be shown but this.
    #[track_caller]
    fn ends(self, status: i32, message: &str) {
        self.shows(&format!("monitor: {message}"));
        let ended = self.monitor.finish();
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        assert_eq!(ended.stderr, "");
        assert_eq!(self.lines.iter().next(), None);
    }
}

/// What is shown of one of the streams.
fn stream(ended: &Ended, name: &str) -> Vec<String> {
    let text = std::str::from_utf8(&ended.stdout).expect("a text");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines.map(str::to_owned).collect()
}

fn open(path: &str) -> File {
    File::open(path).expect("it can be read")
}

/// Waits until a process has ended, whether its parent knows or not.
#[cfg(target_os = "linux")]
fn wait_for_end(pid: Pid) {
    let deadline = Instant::now() + LONG;
    // As proc(5) has it; there is nothing once the parent knows.
    while let Ok(status) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        && !status
            .rsplit(") ")
            .next()
            .is_some_and(|it| it.starts_with('Z'))
    {
        assert!(Instant::now() < deadline, "{status} does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

// ---- what the subprocess writes

#[test]
fn each_line_is_shown_with_the_name_of_its_stream() {
    let ended = Running::start(&mut monitor("echo one; echo two; printf incomplete")).finish();
    let expected = "out: one\nout: two\nout: incomplete\nmonitor: exit status: 0\n";
    assert_eq!(String::from_utf8_lossy(&ended.stdout), expected);
    assert_eq!(ended.stderr, "");

    let ended = Running::start(&mut monitor("{ echo; printf '\\377\\r\\n'; } >&2")).finish();
    assert_eq!(
        ended.stdout,
        b"err: \nerr: \xff\r\nmonitor: exit status: 0\n"
    );
}

fn all_that_is_written_on_both_streams_is_shown_in_order(options: &[&str]) {
    const LINES: usize = 100_000;

    let script = format!("seq {LINES} & seq {LINES} >&2; wait");
    let ended = Running::start(&mut monitor_with(options, &script)).finish();
    assert_eq!(ended.status.code(), Some(0));
    let expected: Vec<String> = (1..=LINES).map(|number| number.to_string()).collect();
    assert!(stream(&ended, "out: ") == expected);
    assert!(stream(&ended, "err: ") == expected);
}

#[test]
fn all_that_is_written_on_both_streams_is_shown_in_order_with_select() {
    all_that_is_written_on_both_streams_is_shown_in_order(&[]);
}

#[test]
fn all_that_is_written_on_both_streams_is_shown_in_order_with_poll() {
    all_that_is_written_on_both_streams_is_shown_in_order(&["--poll"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_without_an_end_is_cut_and_takes_little_memory() {
    const BYTES: usize = 64 * MIB;

    let script = format!("head -c {BYTES} /dev/zero; echo; echo ready; exec cat");
    let mut talk = Talk::new(&script);
    let mut bytes = 0;
    loop {
        let line = talk.line();
        let line = line.strip_prefix("out: ").expect("a line of its output");
        if line == "ready" {
            break;
        }
        assert!(line.len() < MIB, "a line of {} bytes", line.len());
        bytes += line.len();
    }
    assert_eq!(bytes, BYTES);
    let peak = talk.monitor.peak_memory();
    assert!(peak < 16 * MIB as u64, "{peak} bytes");
    talk.types("eof");
    talk.ends(0, "exit status: 0");
}

// ---- its end

#[test]
fn its_status_is_told_and_returned() {
    for (script, status, message) in [
        ("exit 0", 0, "exit status: 0"),
        ("exit 3", 3, "exit status: 3"),
        ("exit 255", 255, "exit status: 255"),
        ("kill -KILL $$", 137, "signal: 9 (SIGKILL)"),
        ("kill -TERM $$", 143, "signal: 15 (SIGTERM)"),
    ] {
        Talk::new(script).ends(status, message);
    }
}

/// The subprocess stops the monitor, so that its end and its last words are found at once.
#[cfg(target_os = "linux")]
fn its_last_words_are_shown(options: &[&str]) {
    const LINES: usize = 5000;

    let script = format!("echo $$; read go; kill -STOP $PPID; seq {LINES}; echo last >&2; exit 7");
    let mut talk = Talk::start(&mut monitor_with(options, &script));
    let pid = talk.pid();
    talk.types("send go");
    wait_for_end(pid);
    talk.monitor.go_on();
    // The streams may be read in either order.
    let (mut number, mut last) = (0, false);
    while number < LINES || !last {
        let line = talk.line();
        if line == "err: last" {
            last = true;
        } else {
            number += 1;
            assert_eq!(line, format!("out: {number}"));
        }
    }
    talk.ends(7, "exit status: 7");
}

#[cfg(target_os = "linux")]
#[test]
fn its_last_words_are_shown_with_select() {
    its_last_words_are_shown(&[]);
}

#[cfg(target_os = "linux")]
#[test]
fn its_last_words_are_shown_with_poll() {
    its_last_words_are_shown(&["--poll"]);
}

#[test]
fn what_it_leaves_behind_is_not_waited_for() {
    // Keeps the streams open.
    let talk = Talk::new("exec 3<&0; cat <&3 & exit 3");
    talk.ends(3, "exit status: 3");

    // Goes on writing for ever.
    let ended = Running::start(&mut monitor("cat /dev/zero & exit 4")).finish();
    assert_eq!(ended.status.code(), Some(4));
    assert!(ended.stdout.ends_with(b"monitor: exit status: 4\n"));
}

#[test]
fn one_that_closes_its_streams_is_waited_for() {
    let mut talk = Talk::new("echo $$; exec >&- 2>&-; read go; exit 6");
    talk.pid();
    talk.types("status");
    assert!(talk.line().starts_with("monitor: pid "));
    talk.types("send go");
    talk.ends(6, "exit status: 6");
}

#[test]
fn one_that_is_stopped_goes_on_later() {
    let mut talk = Talk::new("echo $$; read word; echo $word");
    let pid = talk.pid();
    kill_process(pid, Signal::STOP).expect("it reads");
    talk.types("status");
    assert!(talk.line().starts_with("monitor: pid "));
    kill_process(pid, Signal::CONT).expect("it is stopped");
    talk.types("send hello");
    talk.shows("out: hello");
    talk.ends(0, "exit status: 0");
}

// ---- commands

fn commands_are_carried_out_in_order(options: &[&str]) {
    let script = "echo $$; echo two; echo three >&2; while read word; do echo \"<$word>\"; done";
    let mut talk = Talk::start(&mut monitor_with(options, script));
    let pid = talk.pid();
    // The streams may be read in either order.
    let mut lines = [talk.line(), talk.line()];
    lines.sort();
    assert_eq!(lines, ["err: three", "out: two"]);
    talk.types("status");
    let pid = pid.as_raw_nonzero();
    talk.shows(&format!("monitor: pid {pid}, out 2 lines, err 1 lines"));
    talk.types("send hello");
    talk.shows("out: <hello>");
    talk.types("send");
    talk.shows("out: <>");
    talk.types("send with  spaces");
    talk.shows("out: <with  spaces>");
    talk.types("");
    talk.types("sned");
    talk.shows("monitor: there is no sned; see help");
    talk.types("help");
    let help: Vec<String> = (0..5).map(|_| talk.line()).collect();
    for name in ["status", "send TEXT", "eof", "quit", "kill"] {
        let line = format!("monitor: {name} ");
        assert!(help.iter().any(|it| it.starts_with(&line)), "{help:?}");
    }
    talk.types("eof");
    talk.ends(0, "exit status: 0");
}

#[test]
fn commands_are_carried_out_in_order_with_select() {
    commands_are_carried_out_in_order(&[]);
}

#[test]
fn commands_are_carried_out_in_order_with_poll() {
    commands_are_carried_out_in_order(&["--poll"]);
}

/// Has words to say when it is asked to end. What it waits for ends with the monitor.
const SAYS_GOODBYE: &str =
    "trap 'echo goodbye; exit 5' TERM; exec 3<&0; cat <&3 & echo ready; wait";

#[test]
fn quit_asks_it_to_end_and_kill_ends_it() {
    let mut talk = Talk::new(SAYS_GOODBYE);
    talk.shows("out: ready");
    talk.types("quit");
    talk.shows("out: goodbye");
    talk.ends(5, "exit status: 5");

    let mut talk = Talk::new("trap '' TERM; echo ready; exec cat");
    talk.shows("out: ready");
    talk.types("quit");
    talk.types("send still here");
    talk.shows("out: still here");
    talk.types("kill");
    talk.ends(137, "signal: 9 (SIGKILL)");
}

#[test]
fn a_signal_to_the_monitor_asks_it_to_end_too() {
    for signal in [Signal::INT, Signal::TERM] {
        let talk = Talk::new(SAYS_GOODBYE);
        talk.shows("out: ready");
        talk.monitor.signal(signal);
        talk.shows("out: goodbye");
        talk.ends(5, "exit status: 5");
    }
}

fn one_that_reads_no_more_is_told_of(options: &[&str]) {
    let script = "exec <&-; echo ready; exec sleep 300";
    let mut talk = Talk::start(&mut monitor_with(options, script));
    talk.shows("out: ready");
    talk.types("send lost");
    // The pipe tells in the pass after, at the latest.
    loop {
        talk.types("status");
        assert!(talk.line().starts_with("monitor: pid "));
        talk.types("send more");
        talk.types("status");
        let line = talk.line();
        if line == "monitor: the subprocess reads no more" {
            break;
        }
    }
    assert!(talk.line().starts_with("monitor: pid "));
    talk.types("kill");
    talk.ends(137, "signal: 9 (SIGKILL)");
}

#[test]
fn one_that_reads_no_more_is_told_of_with_select() {
    one_that_reads_no_more_is_told_of(&[]);
}

#[test]
fn one_that_reads_no_more_is_told_of_with_poll() {
    one_that_reads_no_more_is_told_of(&["--poll"]);
}

#[cfg(target_os = "linux")]
#[test]
fn one_that_does_not_read_stops_the_commands_and_takes_little_memory() {
    const MOST: usize = 16 * MIB;
    const BLOCKED: Duration = Duration::from_millis(500);

    let script = "echo $$; kill -STOP $$; exec <&-; echo closed; exec sleep 300";
    let mut talk = Talk::new(script);
    let pid = talk.pid();
    let mut stdin = talk.stdin.take().expect("it has not ended");
    let flags = fcntl_getfl(&stdin).expect("it is open");
    fcntl_setfl(&stdin, flags | OFlags::NONBLOCK).expect("it is open");
    let commands = "send hello\n".repeat(1000);
    let commands = commands.as_bytes();
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < BLOCKED {
        match stdin.write(&commands[taken % commands.len()..]) {
            Ok(written) => {
                taken += written;
                last = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(taken < MOST, "{taken} bytes of commands are taken");
    }
    let peak = talk.monitor.peak_memory();
    assert!(peak < 16 * MIB as u64, "{peak} bytes");

    kill_process(pid, Signal::CONT).expect("it is there");
    fcntl_setfl(&stdin, flags).expect("it is open");
    let rest = [&commands[taken % commands.len()..], b"kill\n"].concat();
    // On its own: it would wait for ever if the monitor read no more.
    thread::spawn(move || stdin.write_all(&rest));
    let mut lines = vec![talk.line()];
    while lines.last().is_some_and(|line| !line.contains("signal")) {
        lines.push(talk.line());
    }
    lines.dedup();
    lines.sort();
    let expected = [
        "monitor: signal: 9 (SIGKILL)",
        "monitor: the subprocess reads no more",
        "out: closed",
    ];
    lines.dedup();
    assert_eq!(lines, expected);
    assert_eq!(talk.monitor.finish().status.code(), Some(137));
}

// ---- standard inputs

#[test]
fn at_the_end_of_the_commands_its_input_ends() {
    let mut talk = Talk::new("cat; echo end");
    // The last command has no end of line.
    let mut stdin = talk.stdin.take().expect("it has not ended");
    stdin
        .write_all(b"send hello\r\nsend world")
        .expect("it is read");
    drop(stdin);
    talk.shows("out: hello");
    talk.shows("out: world");
    talk.shows("out: end");
    talk.ends(0, "exit status: 0");
}

/// When it ends, not all has been read by the subprocess.
fn a_file_of_commands_is_carried_out(options: &[&str]) {
    const LINES: usize = 20_000;

    let mut commands = tempfile::tempfile().expect("there is room");
    let mut lines: String = (0..LINES)
        .map(|number| format!("send {number}\n"))
        .collect();
    lines += "status\n";
    commands.write_all(lines.as_bytes()).expect("there is room");
    commands.rewind().expect("it is a file");
    let mut monitor = Running::start_with(
        commands,
        &mut monitor_with(
            options,
            "echo $$; kill -STOP $$; exec dd bs=512 2>/dev/null",
        ),
    );
    let lines = monitor.stdout_lines();
    let talk = Talk {
        monitor,
        stdin: None,
        lines,
    };
    let pid = talk.pid();
    assert!(talk.line().starts_with("monitor: pid "));
    kill_process(pid, Signal::CONT).expect("it is there");
    for number in 0..LINES {
        talk.shows(&format!("out: {number}"));
    }
    talk.ends(0, "exit status: 0");
}

#[test]
fn a_file_of_commands_is_carried_out_with_select() {
    a_file_of_commands_is_carried_out(&[]);
}

#[test]
fn a_file_of_commands_is_carried_out_with_poll() {
    a_file_of_commands_is_carried_out(&["--poll"]);
}

#[test]
fn dev_null_and_no_standard_input_are_an_end() {
    let ended = Running::start_with(open("/dev/null"), &mut monitor("cat; exit 3")).finish();
    assert_eq!(ended.stdout, b"monitor: exit status: 3\n", "{ended:?}");
    assert_eq!(ended.status.code(), Some(3));

    let script = format!(
        "exec {} -- sh -c 'cat; exit 3' <&-",
        example("pipe_monitor")
    );
    let ended = Running::start(Command::new("sh").args(["-c", &script])).finish();
    assert_eq!(ended.stdout, b"monitor: exit status: 3\n", "{ended:?}");
    assert_eq!(ended.status.code(), Some(3));
}

#[test]
fn a_standard_input_that_cannot_be_read_is_told_of_and_is_an_end() {
    let ended = Running::start_with(open("/"), &mut monitor("cat; exit 3")).finish();
    assert_eq!(ended.stdout, b"monitor: exit status: 3\n", "{ended:?}");
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.stderr.contains("Is a directory"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn a_terminal_is_read_and_its_flags_are_left_alone() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let name = name.into_string().expect("a path in UTF-8");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty());
    let terminal = File::from(terminal.expect("it is unlocked"));
    let before = fcntl_getfl(&terminal).expect("it is open");

    let stdin = terminal.try_clone().expect("there is a descriptor");
    let mut monitor = Running::start_with(stdin, &mut monitor("echo ready; exec cat"));
    let lines = monitor.stdout_lines();
    let talk = Talk {
        monitor,
        stdin: None,
        lines,
    };
    let mut keyboard = File::from(master);
    talk.shows("out: ready");
    keyboard.write_all(b"send hello\n").expect("it is open");
    talk.shows("out: hello");
    // One for all who have the terminal open as this test and the monitor have.
    assert_eq!(fcntl_getfl(&terminal).expect("it is open"), before);
    keyboard
        .write_all(b"send wo\x7forld\n\x04")
        .expect("it is open");
    talk.shows("out: world");
    talk.ends(0, "exit status: 0");
    assert_eq!(fcntl_getfl(&terminal).expect("it is open"), before);
}

// ---- failures

#[cfg(target_os = "linux")]
#[test]
fn with_nobody_to_show_it_to_it_ends_and_the_subprocess_too() {
    let talk = Talk::new("trap '' PIPE; echo $$; while echo more; do :; done; exec sleep 300");
    let pid = talk.pid();
    drop(talk.lines);
    let ended = talk.monitor.finish();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = "pipe_monitor: standard output: Broken pipe";
    assert!(ended.stderr.starts_with(message), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    wait_for_end(pid);
}

#[test]
fn a_command_that_cannot_be_run_is_named_and_ends_it_with_status_1() {
    let plain = tempfile::NamedTempFile::new().expect("there is room");
    for (command, message) in [
        ("/nowhere/to/be/found", "No such file or directory"),
        (
            plain.path().to_str().expect("a path in UTF-8"),
            "Permission denied",
        ),
        ("/", "Permission denied"),
    ] {
        let mut monitor = Command::new(example("pipe_monitor"));
        let ended = Running::start(monitor.args(["--", command])).finish();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let message = format!("pipe_monitor: {command}: {message}");
        assert!(ended.stderr.starts_with(&message), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn without_a_command_it_ends_with_status_2() {
    let mut monitor = Command::new(example("pipe_monitor"));
    let ended = Running::start(&mut monitor).finish();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}
