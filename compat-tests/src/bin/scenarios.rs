//! Acts scenarios out, as `probes/scenarios.py` does with CPython.
//!
//! `cargo run -p compat-tests --bin scenarios -- FILE… [--quirks cpython|default]`, or without files for
//! scenarios from standard input, one a line, whose traces end with a line `---` each.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use asyncore::Quirks;
use clap::{Parser, ValueEnum};
use compat_tests::scenario::Scenario;
use compat_tests::scenario_runner::run;
use serde::Deserialize;

/// Acts scenarios out.
#[derive(Parser)]
struct Arguments {
    /// Files with scenarios; without any, they come from standard input, one a line.
    files: Vec<PathBuf>,
    /// Whose behaviour it is.
    #[arg(long, value_enum, default_value_t = Whose::Cpython)]
    quirks: Whose,
}

#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Cpython,
    Default,
}

/// What a file holds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    List(Vec<serde_json::Value>),
    One(serde_json::Value),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let quirks = match arguments.quirks {
        Whose::Cpython => Quirks::CPYTHON,
        Whose::Default => Quirks::default(),
    };
    let acted = if arguments.files.is_empty() {
        act_lines(quirks)
    } else {
        act_files(&arguments.files, quirks)
    };
    match acted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scenarios: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act_lines(quirks: Quirks) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let scenario: Scenario = serde_json::from_str(&line?)?;
        print(&run(&scenario, quirks), Some("---"))?;
    }
    Ok(())
}

fn act_files(files: &[PathBuf], quirks: Quirks) -> io::Result<()> {
    for file in files {
        let in_file = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| in_file(&error))?;
        let scenarios = match serde_json::from_str(&text).map_err(|error| in_file(&error))? {
            Held::List(list) => list,
            Held::One(one) => vec![one],
        };
        for scenario in scenarios {
            let scenario: Scenario =
                serde_json::from_value(scenario).map_err(|error| in_file(&error))?;
            print(&[format!("# {}", scenario.name)], None)?;
            print(&run(&scenario, quirks), None)?;
        }
    }
    Ok(())
}

fn print(lines: &[String], end: Option<&str>) -> io::Result<()> {
    let mut text = String::new();
    for line in lines.iter().map(String::as_str).chain(end) {
        text.push_str(line);
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
