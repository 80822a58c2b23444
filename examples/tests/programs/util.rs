//! Runs programs, with an end to every wait.

use std::env::consts::EXE_SUFFIX;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// More than anything here takes, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(100);

/// The path of an example, which `cargo test` builds next to the tests.
pub(crate) fn example(name: &str) -> String {
    static BUILD: Once = Once::new();

    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST -> target/PROFILE/examples/NAME
    let profile = test.ancestors().nth(2).expect("the target directory");
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    if !path.exists() {
        BUILD.call_once(|| build_examples(profile));
    }
    assert!(
        path.exists(),
        "there is no {}: run `cargo build --examples` first",
        path.display()
    );
    path.into_os_string()
        .into_string()
        .expect("a path in UTF-8")
}

/// Does what `cargo test` leaves out when it is told which targets to test.
fn build_examples(profile: &Path) {
    let name = match profile.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev",
        name => name.expect("a profile's name"),
    };
    let target = profile.parent().expect("the target directory");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--examples", "--profile", name, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the examples are not there, and cargo does not build them"
    );
}

/// A program, which does not outlive the test.
pub(crate) struct Running(Child);

/// What has become of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running::start_with(Stdio::null(), command)
    }

    /// Starts a program whose standard input is `stdin`.
    pub(crate) fn start_with(stdin: impl Into<Stdio>, command: &mut Command) -> Running {
        let process = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(process.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits for a line on standard output for which `find` has a result.
    pub(crate) fn find_on_stdout<T: Send + 'static>(
        &mut self,
        find: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        let lines = lines(self.0.stdout.take());
        // Reads on afterwards, or the program could not write on.
        thread::spawn(move || {
            lines
                .iter()
                .filter_map(|line| find(&line))
                .try_for_each(|found| sender.send(found))
        });
        receiver.recv_timeout(LONG).unwrap_or_else(|_| {
            let _ = self.0.kill();
            let stderr: Vec<String> = self.stderr_lines().iter().collect();
            panic!("it does not say what it should, but {stderr:?}")
        })
    }

    /// The other end of the standard input of a program that was given `Stdio::piped()`.
    #[cfg(unix)]
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.0.stdin.take().expect("it is a pipe")
    }

    /// The lines that come on standard output.
    pub(crate) fn stdout_lines(&mut self) -> Receiver<String> {
        lines(self.0.stdout.take())
    }

    /// The lines that come on standard error.
    pub(crate) fn stderr_lines(&mut self) -> Receiver<String> {
        lines(self.0.stderr.take())
    }

    /// The most memory that the program has had so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("the program runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.and_then(|it| it.parse().ok()).expect("a number");
        kilobytes * 1024
    }

    /// The descriptors that the program has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> Vec<u32> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.0.id()));
        let names = open.expect("the program runs").map_while(Result::ok);
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn wait_for_descriptors(&self, expected: usize) {
        let deadline = Instant::now() + LONG;
        while self.descriptors().len() != expected {
            assert!(
                Instant::now() < deadline,
                "{:?} are open rather than {expected} descriptors",
                self.descriptors()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, signal).expect("the program runs");
    }

    /// Keeps the program from going on before it gets SIGCONT.
    #[cfg(unix)]
    pub(crate) fn stop(&self) {
        use rustix::process::{Pid, Signal, WaitOptions, waitpid};

        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.0)), WaitOptions::UNTRACED);
        let status = stopped
            .expect("it is our child")
            .expect("it has been waited for");
        assert!(status.1.stopped(), "the program has ended");
    }

    /// Lets the program go on that was stopped.
    #[cfg(unix)]
    pub(crate) fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Waits until the program ends by itself.
    pub(crate) fn finish(mut self) -> Ended {
        let stdout = contents(self.0.stdout.take());
        let stderr = contents(self.0.stderr.take());
        Ended {
            status: self.wait(),
            stdout: stdout.recv().expect("its end has been read"),
            stderr: String::from_utf8(stderr.recv().expect("its end has been read"))
                .expect("messages in UTF-8"),
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server, and waits until it listens.
pub(crate) fn listening(command: &mut Command) -> (Running, SocketAddr) {
    let mut server = Running::start(command);
    let addr = server.find_on_stdout(|line| line.strip_prefix("listening on ")?.parse().ok());
    (server, addr)
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(server).expect("the server accepts");
    client.set_read_timeout(Some(LONG)).expect("not zero");
    client.set_write_timeout(Some(LONG)).expect("not zero");
    client
}

fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let pipe = pipe.expect("nobody reads it already");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line))
    });
    receiver
}

fn contents(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut contents = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut contents).expect("a pipe can be read");
        }
        sender.send(contents)
    });
    receiver
}

/// A CPython 3.11 with its own asyncore, as [`python`] finds it.
pub(crate) fn cpython_3_11(untested: &str) -> Option<OsString> {
    const CHECK: &str = "import sys, asyncore, asynchat; \
        sys.exit(sys.implementation.name != 'cpython' or sys.version_info[:2] != (3, 11))";

    python(CHECK, untested)
}

/// A Python in which a program succeeds: the one that `ASYNCORE_PYTHON` names, or one on the search path. `None`
/// where there is none, and what is untested then is said past the capture of a passing test's output.
pub(crate) fn python(check: &str, untested: &str) -> Option<OsString> {
    let candidates = match std::env::var_os("ASYNCORE_PYTHON") {
        Some(named) => vec![named],
        None => vec!["python3.11".into(), "python3".into()],
    };
    let found = candidates.iter().find(|python| {
        let mut command = Command::new(python);
        let command = command.args(["-W", "ignore", "-c", check]);
        let status = command.stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let why = format!("none of {candidates:?} is a Python in which {check:?} succeeds");
        let _ = writeln!(io::stderr(), "NOT TESTED: {untested}: {why}");
    }
    found.cloned()
}

/// An endless sequence of bytes that look random, another one for each seed (splitmix64).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: usize) -> Noise {
        Noise((seed as u64) << 32)
    }

    /// The next bytes, a multiple of eight of them.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for bytes in buffer.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.copy_from_slice(&(mixed ^ (mixed >> 31)).to_ne_bytes());
        }
    }
}
