//! The scenarios that are kept, and what CPython made of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::scenario::Scenario;

/// Scenarios about one thing: those of one file in `scenarios/`.
#[derive(Clone, Debug)]
pub struct Area {
    /// The file's name, without its ending.
    pub name: String,
    /// The scenarios, in the file's order.
    pub scenarios: Vec<Scenario>,
}

/// What CPython 3.11 made of the scenarios of an area, by their names.
pub type Recorded = BTreeMap<String, Vec<String>>;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// All areas, in the order of their names.
///
/// # Errors
///
/// A file that cannot be read or is not as it should be, which is named.
pub fn areas() -> io::Result<Vec<Area>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory("scenarios"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    files
        .iter()
        .map(|file| {
            let name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let scenarios = read(file)?;
            Ok(Area { name, scenarios })
        })
        .collect()
}

/// The scenarios of a file: one, or a list of them.
///
/// # Errors
///
/// When it cannot be read or is not as it should be; the file is named.
pub fn read(file: &Path) -> io::Result<Vec<Scenario>> {
    let named = |why: String| io::Error::other(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let scenarios: Vec<Scenario> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| named(error.to_string()))?
    } else {
        vec![serde_json::from_str(&text).map_err(|error| named(error.to_string()))?]
    };
    for scenario in &scenarios {
        let name = &scenario.name;
        scenario
            .check()
            .map_err(|why| named(format!("{name}: {why}")))?;
    }
    Ok(scenarios)
}

impl Area {
    fn record(&self) -> PathBuf {
        directory("recorded/scenarios").join(format!("{}.txt", self.name))
    }

    /// What CPython made of them. Empty if that has not been recorded.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn recorded(&self) -> io::Result<Recorded> {
        let text = match fs::read_to_string(self.record()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recorded::new()),
            text => text?,
        };
        let mut recorded = Recorded::new();
        let mut trace = &mut Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(name) => trace = recorded.entry(name.to_owned()).or_default(),
                None => trace.push(line.to_owned()),
            }
        }
        Ok(recorded)
    }

    /// Records what CPython makes of them.
    ///
    /// # Errors
    ///
    /// Those of `run`, and when the record cannot be written.
    pub fn record_anew(
        &self,
        mut run: impl FnMut(&Scenario) -> io::Result<Vec<String>>,
    ) -> io::Result<()> {
        let mut text = String::new();
        for scenario in &self.scenarios {
            let _ = writeln!(text, "# {}", scenario.name);
            for line in run(scenario)? {
                let _ = writeln!(text, "{line}");
            }
        }
        fs::create_dir_all(directory("recorded/scenarios"))?;
        fs::write(self.record(), text)
    }
}
