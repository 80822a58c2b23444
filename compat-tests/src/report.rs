//! What a run has found, kept for a page that shows it. `report_page.rs` writes the page.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::comparison::Comparison;
use crate::scenario::Scenario;

/// What was compared, and how it came out. Displayed, it is one file of HTML that needs nothing else.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) quirks: String,
    pub(crate) notes: Vec<String>,
    pub(crate) areas: Vec<Area>,
}

/// Scenarios about one thing.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    pub(crate) name: String,
    pub(crate) counts: Vec<Count>,
    pub(crate) entries: Vec<Entry>,
}

/// How many scenarios of an area were compared with one CPython.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    pub(crate) side: String,
    pub(crate) scenarios: usize,
    pub(crate) differing: usize,
    /// Those that differ and are not to, or the other way round.
    pub(crate) unexpected: usize,
}

/// A scenario that is shown.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) scenario: Scenario,
    /// What it came to; once for all CPythons beside which it came to the same.
    pub(crate) outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) sides: Vec<String>,
    pub(crate) comparison: Comparison,
    pub(crate) is_to_differ: bool,
}

impl Report {
    /// Nothing yet. The Rust side has the quirks of that name.
    pub fn new(quirks: &str) -> Report {
        Report {
            quirks: quirks.to_owned(),
            notes: Vec::new(),
            areas: Vec::new(),
        }
    }

    /// Adds what came of a scenario beside one CPython, and whether the two are to differ in it.
    pub fn add(
        &mut self,
        area: &str,
        side: &str,
        scenario: &Scenario,
        comparison: Comparison,
        is_to_differ: bool,
    ) {
        let differs = !comparison.is_equal();
        let count = self.count(area, side);
        count.scenarios += 1;
        count.differing += usize::from(differs);
        count.unexpected += usize::from(differs != is_to_differ);

        let entry = found_or_added(
            &mut self.area(area).entries,
            |entry| entry.scenario == *scenario,
            || Entry {
                scenario: scenario.clone(),
                outcomes: Vec::new(),
            },
        );
        let outcome = Outcome {
            sides: Vec::new(),
            comparison,
            is_to_differ,
        };
        found_or_added(
            &mut entry.outcomes,
            |known| known.comparison == outcome.comparison && known.is_to_differ == is_to_differ,
            || outcome.clone(),
        )
        .sides
        .push(side.to_owned());
    }

    /// Counts a scenario in which nothing differs, and which is not shown.
    pub fn add_equal(&mut self, area: &str, side: &str) {
        self.count(area, side).scenarios += 1;
    }

    /// Adds a sentence to be shown first, about what was not compared say.
    pub fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Looks whether [`write`](Report::write) will be able to, which may be long after. What the file holds
    /// stays.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; it is named.
    pub fn check_writable(file: &Path) -> io::Result<()> {
        let opened = File::options().append(true).create(true).open(file);
        opened.map(drop).map_err(|error| named(file, &error))
    }

    /// Writes it to a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; it is named.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, self.to_string()).map_err(|error| named(file, &error))
    }

    /// The sums of all counts.
    pub(crate) fn all(&self) -> Count {
        let counts = || self.areas.iter().flat_map(|area| &area.counts);
        Count {
            side: String::new(),
            scenarios: counts().map(|count| count.scenarios).sum(),
            differing: counts().map(|count| count.differing).sum(),
            unexpected: counts().map(|count| count.unexpected).sum(),
        }
    }

    fn area(&mut self, name: &str) -> &mut Area {
        found_or_added(
            &mut self.areas,
            |area| area.name == name,
            || Area {
                name: name.to_owned(),
                counts: Vec::new(),
                entries: Vec::new(),
            },
        )
    }

    fn count(&mut self, area: &str, side: &str) -> &mut Count {
        found_or_added(
            &mut self.area(area).counts,
            |count| count.side == side,
            || Count {
                side: side.to_owned(),
                scenarios: 0,
                differing: 0,
                unexpected: 0,
            },
        )
    }
}

impl Entry {
    /// Whether the sides differ beside any CPython, or are to.
    pub(crate) fn is_remarkable(&self) -> bool {
        let mut outcomes = self.outcomes.iter();
        outcomes.any(|outcome| outcome.is_to_differ || !outcome.comparison.is_equal())
    }

    pub(crate) fn is_as_expected(&self) -> bool {
        let mut outcomes = self.outcomes.iter();
        outcomes.all(|outcome| outcome.is_to_differ != outcome.comparison.is_equal())
    }
}

fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn found_or_added<T>(
    all: &mut Vec<T>,
    is_it: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> &mut T {
    let at = all.iter().position(is_it).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[at]
}
