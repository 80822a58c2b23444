//! Breaks the port on purpose, one place after another, and tells after how many random scenarios each is
//! found. Fails if one is not.
//!
//! ```text
//! cargo run --release -p compat-tests --bin deliberate_breaks -- [--cases 20000] [--seed 1]
//! ```
//!
//! It works on a copy of this workspace, in a temporary folder.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::{fs, iter};

use clap::Parser;

/// A defect: what it is, and which words of which file become which.
struct Break {
    defect: &'static str,
    file: &'static str,
    words: &'static [(&'static str, &'static str)],
}

const BREAKS: [Break; 14] = [
    Break {
        defect: "a terminator is not looked for across two reads",
        file: "asynchat/src/async_chat.rs",
        words: &[(
            "Found::Prefix(matched) => {",
            "Found::Prefix(_) => {\n                let matched = 0;",
        )],
    },
    Break {
        defect: "a numeric terminator is not counted down",
        file: "asynchat/src/async_chat.rs",
        words: &[("return self.count_down(len_before);", "return Ok(());")],
    },
    Break {
        defect: "what is sent in part is sent from the beginning again",
        file: "asynchat/src/async_chat.rs",
        words: &[("first.slice(sent.min(first.len())..)", "first.clone()")],
    },
    Break {
        defect: "discard_buffers leaves what has been collected",
        file: "asynchat/src/async_chat.rs",
        words: &[("        self.incoming.take();\n", "")],
    },
    Break {
        defect: "a chat channel that is connecting does not ask to be written to",
        file: "asynchat/src/async_chat.rs",
        words: &[(" || !this.connected()", "")],
    },
    Break {
        defect: "under poll, writing comes before reading",
        file: "asyncore/src/event_loop.rs",
        words: &[
            (
                "        if flags.contains(PollFlags::IN) {\n            match",
                "        if flags.contains(PollFlags::OUT) {\n            traced!(channel.handle_write_event())?;\n        }\n        \
                 if flags.contains(PollFlags::IN) {\n            match",
            ),
            (
                "            }\n        }\n        if flags.contains(PollFlags::OUT) {\n            traced!(channel.handle_write_event())?;\n        }\n",
                "            }\n        }\n",
            ),
        ],
    },
    Break {
        defect: "under select, writing comes before reading",
        file: "asyncore/src/event_loop.rs",
        words: &[
            ("PollFlags::IN, read)?", "PollFlags::OUT, write)?"),
            (
                "PollFlags::OUT, write)?;\n        deliver(map, ready, PollFlags::PRI",
                "PollFlags::IN, read)?;\n        deliver(map, ready, PollFlags::PRI",
            ),
        ],
    },
    Break {
        defect: "under select, a hang-up is not readable",
        file: "asyncore/src/readiness.rs",
        words: &[("                    sets |= PollFlags::IN;\n", "")],
    },
    Break {
        defect: "events come in the order of the kernel",
        file: "asyncore/src/readiness.rs",
        words: &[("ready.sort_unstable_by_key(|ready| ready.position);", "")],
    },
    Break {
        defect: "a channel that takes a descriptor over does not get the events of the one before",
        file: "asyncore/src/readiness.rs",
        words: &[("if self.quirks().stale_events {", "if false {")],
    },
    Break {
        defect: "connect forgets `connecting`",
        file: "asyncore/src/dispatcher.rs",
        words: &[("        self.connecting.set(true);\n", "")],
    },
    Break {
        defect: "connected is set before handle_connect is called",
        file: "asyncore/src/dispatcher.rs",
        words: &[(
            "        traced!(this.handle_connect())?;\n        self.connected.set(true);\n",
            "        self.connected.set(true);\n        traced!(this.handle_connect())?;\n",
        )],
    },
    Break {
        defect: "an error that is pending is not looked for when out-of-band data comes",
        file: "asyncore/src/dispatcher.rs",
        words: &[("if this.socket()?.take_error()?.is_some() {", "if false {")],
    },
    Break {
        defect: "dispatcher_with_send forgets what it could not send at once",
        file: "asyncore/src/dispatcher_with_send.rs",
        words: &[(
            "self.advance(sent);",
            "self.advance(sent.max(1) * usize::MAX);",
        )],
    },
];

/// Breaks the port on purpose, and tells after how many random scenarios that is found.
#[derive(Parser)]
struct Args {
    /// How many scenarios to try
    #[arg(long, default_value_t = 20_000)]
    cases: u64,

    /// Which random scenarios
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("deliberate_breaks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all were found.
fn run(args: &Args) -> io::Result<bool> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_else(|| io::Error::other("the workspace is not there"))?;
    let copy = tempfile::tempdir()?;
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "asynchat",
        "asyncore",
        "compat-tests",
        "examples",
    ] {
        copy_all(&here.join(name), &copy.path().join(name))?;
    }
    let mut all = true;
    for broken in iter::once(None).chain(BREAKS.iter().map(Some)) {
        let defect = broken.map_or("unbroken", |broken| broken.defect);
        let file = broken.map(|broken| copy.path().join(broken.file));
        let whole = file.as_ref().map(fs::read_to_string).transpose()?;
        if let (Some(broken), Some(file), Some(whole)) = (broken, &file, &whole) {
            fs::write(file, broken.apply(whole)?)?;
        }
        let found = first_difference(copy.path(), &here.join("target/broken"), args)?;
        match found {
            Some(case) => println!("found after {:>5} scenarios: {defect}", case + 1),
            None => println!("no difference in {}: {defect}", args.cases),
        }
        all &= found.is_some() == broken.is_some();
        if let (Some(file), Some(whole)) = (file, whole) {
            fs::write(file, whole)?;
        }
    }
    Ok(all)
}

impl Break {
    fn apply(&self, whole: &str) -> io::Result<String> {
        self.words
            .iter()
            .try_fold(whole.to_owned(), |text, (from, to)| {
                if text.contains(from) {
                    return Ok(text.replacen(from, to, 1));
                }
                let file = self.file;
                Err(io::Error::other(format!("{file} has no {from:?} any more")))
            })
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy_all(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// The number of the first scenario in which the port of this workspace and CPython differ.
fn first_difference(workspace: &Path, target: &Path, args: &Args) -> io::Result<Option<u64>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "-p",
            "compat-tests",
            "--bin",
            "compat-tests",
            "--target-dir",
        ])
        .arg(target)
        // A defect may leave something unused.
        .env("RUSTFLAGS", "-Awarnings")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .current_dir(workspace)
        .status()?;
    if !built.success() {
        return Err(io::Error::other("it does not build"));
    }
    let (cases, seed) = (args.cases.to_string(), args.seed.to_string());
    let mut comparing = Command::new(target.join("debug/compat-tests"))
        .args(["--cases", &cases, "--seed", &seed])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(comparing.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut others = String::new();
    for line in said.lines() {
        let line = line?;
        let case = line
            .split_once("case ")
            .and_then(|(_, rest)| rest.strip_suffix(" differs; making it smaller"));
        if let Some(case) = case {
            comparing.kill()?;
            comparing.wait()?;
            return case.parse().map(Some).map_err(io::Error::other);
        }
        others = line;
    }
    if comparing.wait()?.success() {
        return Ok(None);
    }
    Err(io::Error::other(others))
}
