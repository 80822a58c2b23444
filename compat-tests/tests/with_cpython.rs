//! The kept scenarios and 500 random ones, on both sides. The last lines say what was compared with what, and
//! what was not. `cargo run -p compat-tests -- --help` does more.

use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

const RUNS: [(&str, &[&str]); 4] = [
    ("the_kept_scenarios_are_as_cpython_acts_them_out", &[]),
    (
        "nothing_changes_when_someone_listens_to_the_trace",
        &["--log"],
    ),
    (
        "with_the_default_quirks_only_the_scenarios_named_for_one_differ",
        &["--quirks", "default"],
    ),
    (
        "random_scenarios_are_as_cpython_acts_them_out",
        &["--cases", "500"],
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let compared = Arc::new(Mutex::new(Vec::new()));
    let mut trials = Vec::new();
    for (name, command) in RUNS {
        for poller in ["", "portable"] {
            let compared = Arc::clone(&compared);
            let kind = if poller.is_empty() { "epoll" } else { poller };
            let run = move || {
                let lines = compat_tests(command, poller)?;
                let named = lines.into_iter().map(|line| format!("{line} ({kind})"));
                compared
                    .lock()
                    .map_err(|error| error.to_string())?
                    .extend(named);
                Ok(())
            };
            trials.push(Trial::test(format!("{name}_{kind}"), run));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Ok(mut lines) = compared.lock() {
        lines.sort();
        lines.iter().for_each(|line| println!("{line}"));
    }
    conclusion.exit_code()
}

/// Runs the command, and returns what it says that it compared or did not.
fn compat_tests(arguments: &[&str], poller: &str) -> Result<Vec<String>, Failed> {
    if arguments.contains(&"--cases")
        && let Err(why) = compat_tests::python::find()
    {
        return Ok(vec![format!("NOT COMPARED, random scenarios: {why}")]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_compat-tests"));
    let output = command
        .args(arguments)
        .env("ASYNCORE_POLLER", poller)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{arguments:?}\n{said}\n{errors}").into());
    }
    let of_note = said.lines().filter(|line| line.contains("COMPARED"));
    Ok(of_note.map(str::to_owned).collect())
}
