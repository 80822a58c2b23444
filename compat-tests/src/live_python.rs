//! CPython's runner of scenarios, as a process that goes on from one to the next.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::scenario::Scenario;

/// A Python that acts out scenarios. It ends when dropped.
#[derive(Debug)]
pub struct LivePython {
    /// What `--version` says.
    pub version: String,
    process: Child,
    scenarios: ChildStdin,
    traces: BufReader<ChildStdout>,
}

impl LivePython {
    /// Starts the runner with this Python.
    ///
    /// # Errors
    ///
    /// When it cannot be started, and when it has no `asyncore`.
    pub fn start(python: &Path) -> io::Result<LivePython> {
        const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/probes/scenarios.py");
        const CHECK: &str = "import platform, asyncore, asynchat; print(platform.python_version())";

        let checked = Command::new(python)
            .args(["-W", "ignore", "-c", CHECK])
            .output()?;
        if !checked.status.success() {
            let why = String::from_utf8_lossy(&checked.stderr);
            let why = why.lines().last().unwrap_or("it cannot be run").to_owned();
            return Err(io::Error::other(why));
        }
        let version = String::from_utf8_lossy(&checked.stdout).trim().to_owned();
        if version.is_empty() {
            return Err(io::Error::other(
                "is no Python: it does not tell its version",
            ));
        }
        let mut process = Command::new(python)
            .args(["-B", "-W", "ignore", RUNNER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(scenarios), Some(traces)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are piped");
        };
        Ok(LivePython {
            version,
            process,
            scenarios,
            traces: BufReader::new(traces),
        })
    }

    /// The trace of a scenario.
    ///
    /// # Errors
    ///
    /// When the runner has ended, which names the scenario.
    pub fn run(&mut self, scenario: &Scenario) -> io::Result<Vec<String>> {
        let mut line = serde_json::to_string(scenario)?;
        line.push('\n');
        self.scenarios.write_all(line.as_bytes())?;
        self.scenarios.flush()?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.traces.read_line(&mut line)? == 0 {
                let what = format!("{}: the runner ended in {:?}", self.version, scenario.name);
                return Err(io::Error::other(what));
            }
            line.truncate(line.trim_end_matches('\n').len());
            if line == "---" {
                return Ok(lines);
            }
            lines.push(line);
        }
    }
}

impl Drop for LivePython {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
