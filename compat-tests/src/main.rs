//! Holds the port against CPython, scenario by scenario, and shows every difference.
//!
//! ```text
//! cargo run --release -p compat-tests -- --help
//! ```

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    match unix::main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat-tests: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("compat-tests: acts with Unix sockets and pipes, which this system does not have");
    ExitCode::FAILURE
}

#[cfg(unix)]
mod unix {
    use std::error::Error;
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use asyncore::Quirks;
    use clap::{Parser, ValueEnum};
    use compat_tests::comparison::Comparison;
    use compat_tests::kept::{self, Area};
    use compat_tests::live_python::LivePython;
    use compat_tests::python;
    use compat_tests::report::Report;
    use compat_tests::scenario::Scenario;
    use compat_tests::scenario_generator::generate;
    use compat_tests::scenario_runner::run;
    use compat_tests::scenario_shrinker::shrink;

    type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

    /// Holds the port against CPython, scenario by scenario, and shows every difference.
    ///
    /// Without arguments: the kept scenarios, against what CPython was recorded to make of them, and against
    /// CPython itself where a 3.11 is found. Fails if anything differs.
    #[derive(Parser)]
    struct Args {
        /// So many random scenarios in place of the kept ones
        #[arg(long)]
        cases: Option<u64>,

        /// Which random scenarios
        #[arg(long, default_value_t = 1, requires = "cases")]
        seed: u64,

        /// Pythons to compare with; without any, the first 3.11 of `ASYNCORE_PYTHON`, `python3.11` and `python3`
        #[arg(long, num_args = 1..)]
        python: Vec<PathBuf>,

        /// Only the scenarios of this file, both traces in two columns
        #[arg(long, conflicts_with_all = ["cases", "record"])]
        scenario: Option<PathBuf>,

        /// Records anew what CPython 3.11 makes of the kept scenarios
        #[arg(long, conflicts_with = "cases")]
        record: bool,

        /// Whose defects the Rust side has: with `default`, just the scenarios that are named for a quirk are
        /// to differ
        #[arg(long, value_enum, default_value_t = QuirksOf::Cpython)]
        quirks: QuirksOf,

        /// Writes a report as well, as one page for a browser: the table, and each scenario with what both
        /// sides make of it (of random ones only those that differ)
        #[arg(long, value_name = "FILE", conflicts_with = "record")]
        html: Option<PathBuf>,

        /// Lets a logger listen to all that the crates tell, which is to change nothing
        #[arg(long)]
        log: bool,
    }

    #[derive(Clone, Copy, PartialEq, ValueEnum)]
    enum QuirksOf {
        Cpython,
        Default,
    }

    impl QuirksOf {
        fn quirks(self) -> Quirks {
            match self {
                QuirksOf::Cpython => Quirks::CPYTHON,
                QuirksOf::Default => Quirks::default(),
            }
        }

        fn in_words(self) -> &'static str {
            match self {
                QuirksOf::Cpython => "",
                QuirksOf::Default => " with the default quirks",
            }
        }

        /// Whether the sides are to differ in a scenario. Those about a quirk are named so:
        /// `would_block_closes: …`.
        fn is_to_differ(self, scenario: &Scenario) -> bool {
            let field = scenario.name.split(':').next().unwrap_or_default();
            self == QuirksOf::Default
                && format!("{:?}", Quirks::CPYTHON).contains(&format!(" {field}:"))
        }
    }

    /// Whether all was as it is to be.
    pub(super) fn main() -> Result<bool> {
        let args = Args::parse();
        if args.log {
            compat_tests::listener::listen();
        }
        let mut report = Report::new(match args.quirks {
            QuirksOf::Cpython => "cpython",
            QuirksOf::Default => "default",
        });
        if let Some(file) = &args.html {
            Report::check_writable(file)?;
        }
        let pythons = if args.python.is_empty() {
            python::find().map(|python| vec![python])
        } else {
            Ok(args.python.clone())
        };
        let well = match (&args.scenario, args.cases) {
            (Some(file), _) => show(file, &pythons?, args.quirks, &mut report)?,
            (_, Some(cases)) => random(cases, args.seed, &pythons?, args.quirks, &mut report)?,
            _ if args.record => record(&pythons?)?,
            _ => all_kept(pythons, args.quirks, &mut report)?,
        };
        if let Some(file) = &args.html {
            report.write(file)?;
        }
        Ok(well)
    }

    fn start(pythons: &[PathBuf]) -> Result<Vec<LivePython>> {
        let start = |python: &PathBuf| {
            LivePython::start(python)
                .map_err(|error| format!("{}: {error}", python.display()).into())
        };
        pythons.iter().map(start).collect()
    }

    // ---- one file

    fn show(
        file: &Path,
        pythons: &[PathBuf],
        quirks: QuirksOf,
        report: &mut Report,
    ) -> Result<bool> {
        let scenarios = kept::read(file)?;
        let area = file.file_name().unwrap_or_default().to_string_lossy();
        let mut equal = true;
        for mut python in start(pythons)? {
            for scenario in &scenarios {
                let comparison = compare(scenario, &mut python, quirks)?;
                println!("{} ({})\n\n{comparison}", scenario.name, python.version);
                equal &= comparison.is_equal();
                let is_to_differ = quirks.is_to_differ(scenario);
                report.add(&area, &python.version, scenario, comparison, is_to_differ);
            }
        }
        Ok(equal)
    }

    fn compare(
        scenario: &Scenario,
        python: &mut LivePython,
        quirks: QuirksOf,
    ) -> Result<Comparison> {
        Ok(Comparison {
            python: python.run(scenario)?,
            rust: run(scenario, quirks.quirks()),
        })
    }

    // ---- those that are kept

    fn record(pythons: &[PathBuf]) -> Result<bool> {
        let [python] = pythons else {
            return Err("records are of one Python".into());
        };
        let mut python = LivePython::start(python)?;
        for area in kept::areas()? {
            area.record_anew(|scenario| python.run(scenario))?;
            println!("{}: {} scenarios", area.name, area.scenarios.len());
        }
        println!("recorded from CPython {}", python.version);
        Ok(true)
    }

    fn all_kept(
        pythons: Result<Vec<PathBuf>, String>,
        quirks: QuirksOf,
        report: &mut Report,
    ) -> Result<bool> {
        let (pythons, absent) = match pythons {
            Ok(pythons) => (start(&pythons)?, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let mut sides = vec![Side::Recorded];
        sides.extend(pythons.into_iter().map(Side::Live));

        let mut compared = vec![(0, 0); sides.len()];
        println!(
            "{:<24} {:<12} {:>9} {:>6} {:>9}",
            "area", "CPython", "scenarios", "equal", "differing"
        );
        for area in kept::areas()? {
            for (side, (kept, wrong)) in sides.iter_mut().zip(&mut compared) {
                let outcome = outcome(&area, side, quirks, report)?;
                let name = side.name();
                let Outcome {
                    scenarios,
                    equal,
                    unexpected,
                } = outcome;
                println!(
                    "{:<24} {name:<12} {scenarios:>9} {equal:>6} {:>9}",
                    area.name,
                    scenarios - equal,
                );
                for (name, comparison) in &unexpected {
                    println!("\n{name}: not as it is to be\n\n{comparison}");
                }
                *kept += scenarios;
                *wrong += unexpected.len();
            }
        }
        for (side, (kept, wrong)) in sides.iter().zip(&compared) {
            let with = match side {
                Side::Recorded => "the record of CPython 3.11".to_owned(),
                Side::Live(python) => format!("CPython {}", python.version),
            };
            println!(
                "COMPARED with {with}: {kept} kept scenarios{}, {wrong} not as they are to be",
                quirks.in_words()
            );
        }
        if let Some(why) = absent {
            let note = format!("NOT COMPARED with a live CPython: {why}");
            println!("{note}");
            report.note(&note);
        }
        Ok(compared.iter().all(|(_, wrong)| *wrong == 0))
    }

    /// What Rust is compared with.
    enum Side {
        Recorded,
        Live(LivePython),
    }

    impl Side {
        fn name(&self) -> String {
            match self {
                Side::Recorded => "recorded".to_owned(),
                Side::Live(python) => python.version.clone(),
            }
        }
    }

    struct Outcome {
        scenarios: usize,
        equal: usize,
        /// Those that differ and are not to, or the other way round.
        unexpected: Vec<(String, Comparison)>,
    }

    fn outcome(
        area: &Area,
        side: &mut Side,
        quirks: QuirksOf,
        report: &mut Report,
    ) -> Result<Outcome> {
        let recorded = area.recorded()?;
        let side_name = side.name();
        let mut outcome = Outcome {
            scenarios: area.scenarios.len(),
            equal: 0,
            unexpected: Vec::new(),
        };
        for scenario in &area.scenarios {
            let name = &scenario.name;
            let comparison = match side {
                Side::Live(python) => compare(scenario, python, quirks)?,
                Side::Recorded => Comparison {
                    python: recorded
                        .get(name)
                        .ok_or_else(|| format!("{name:?} is not recorded: see --record"))?
                        .clone(),
                    rust: run(scenario, quirks.quirks()),
                },
            };
            outcome.equal += usize::from(comparison.is_equal());
            let is_to_differ = quirks.is_to_differ(scenario);
            let shown = comparison.clone();
            report.add(&area.name, &side_name, scenario, shown, is_to_differ);
            if comparison.is_equal() == is_to_differ {
                outcome.unexpected.push((name.clone(), comparison));
            }
        }
        Ok(outcome)
    }

    // ---- random ones

    fn random(
        cases: u64,
        seed: u64,
        pythons: &[PathBuf],
        quirks: QuirksOf,
        report: &mut Report,
    ) -> Result<bool> {
        const ENOUGH: u64 = 3;

        let area = format!("random, seed {seed}");
        let mut well = true;
        for mut python in start(pythons)? {
            let mut differing = 0;
            let mut compared = 0;
            for number in 0..cases {
                compared = number + 1;
                if number % 500 == 0 {
                    eprint!("\r{}: {number} of {cases}", python.version);
                    std::io::stderr().flush()?;
                }
                let scenario = generate(seed, number);
                if compare(&scenario, &mut python, quirks)?.is_equal() {
                    report.add_equal(&area, &python.version);
                    continue;
                }
                differing += 1;
                eprintln!(
                    "\r{}: case {number} differs; making it smaller",
                    python.version
                );
                let mut broken = None;
                let smallest = shrink(scenario, |smaller| {
                    match compare(smaller, &mut python, quirks) {
                        Ok(comparison) => !comparison.is_equal(),
                        Err(error) => {
                            broken.get_or_insert(error);
                            false
                        }
                    }
                });
                if let Some(error) = broken {
                    return Err(error);
                }
                println!("{}\n", serde_json::to_string_pretty(&smallest)?);
                let comparison = compare(&smallest, &mut python, quirks)?;
                println!("{comparison}");
                report.add(&area, &python.version, &smallest, comparison, false);
                if differing == ENOUGH {
                    break;
                }
            }
            eprint!("\r");
            println!(
                "COMPARED with CPython {}: {compared} random scenarios of seed {seed}{}, {differing} differ",
                python.version,
                quirks.in_words()
            );
            well &= differing == 0;
        }
        Ok(well)
    }
}
