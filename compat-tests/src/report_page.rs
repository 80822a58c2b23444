//! The report as one page of HTML. Its style and its script are in it, and it fetches nothing.

use std::fmt;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::alignment::Part;
use crate::report::{Count, Entry, Outcome, Report};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Has the browser refuse to fetch anything, whatever the page holds.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&page(self).0)
    }
}

/// The numbers of the scenarios and the differences that the page has so far. Links lead to them.
#[derive(Default)]
struct Numbers {
    scenario: usize,
    difference: usize,
}

fn page(report: &Report) -> Markup {
    let verdict = verdict(&report.all());
    let mut numbers = Numbers::default();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (verdict) ": asyncore and asynchat beside CPython" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#scenarios" { "Skip to the scenarios" }
                header {
                    h1 { "asyncore and asynchat for Rust, beside CPython" }
                    p.verdict { (verdict) }
                    p {
                        "Rust: version " (env!("CARGO_PKG_VERSION")) ", quirks " (report.quirks) ", "
                        (std::env::consts::OS) " " (std::env::consts::ARCH)
                    }
                    @for note in &report.notes { p.note { (note) } }
                }
                main {
                    div.overview { (table(report)) (differing(report)) }
                    (legend())
                    (tools())
                    div #scenarios tabindex="-1" {
                        @for (number, area) in report.areas.iter().enumerate() {
                            section.area aria-labelledby={ "a" (number) } {
                                h2 #{ "a" (number) } tabindex="-1" { (area.name) }
                                @for entry in &area.entries { (scenario(entry, &mut numbers)) }
                            }
                        }
                    }
                }
                footer #{ "d" (numbers.difference + 1) } tabindex="-1" { "The end of the report" }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn verdict(all: &Count) -> String {
    let Count {
        scenarios,
        differing,
        unexpected,
        ..
    } = all;
    match (differing, unexpected) {
        (0, 0) => format!("✓ No difference in {scenarios} comparisons"),
        (_, 0) => format!("✓ {differing} of {scenarios} comparisons differ, as expected"),
        _ => format!("✗ {unexpected} of {scenarios} comparisons are not as expected"),
    }
}

fn table(report: &Report) -> Markup {
    html! {
        table {
            caption { "What was compared" }
            thead {
                tr {
                    th scope="col" { "Area" }
                    th scope="col" { "CPython" }
                    @for figure in ["Scenarios", "Equal", "Differing"] {
                        th.number scope="col" { (figure) }
                    }
                }
            }
            @for (number, area) in report.areas.iter().enumerate() {
                tbody {
                    @for (row, count) in area.counts.iter().enumerate() {
                        tr {
                            @if row == 0 {
                                th scope="rowgroup" rowspan=(area.counts.len()) {
                                    a href={ "#a" (number) } {
                                        // A narrow column may break the line here.
                                        @for word in area.name.split_inclusive('_') { (word) wbr; }
                                    }
                                }
                            }
                            td { (count.side) }
                            (figures(count))
                        }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" colspan="2" { "All" }
                    (figures(&report.all()))
                }
            }
        }
    }
}

fn figures(count: &Count) -> Markup {
    html! {
        td.number { (count.scenarios) }
        td.number { (count.scenarios - count.differing) }
        td.number {
            @if count.unexpected > 0 {
                span.bad role="img" aria-label="Not as expected:" title="Not as expected" { "✗" } " "
            }
            (count.differing)
        }
    }
}

/// Links to the scenarios that a reader of the report came for.
fn differing(report: &Report) -> Markup {
    let entries = report.areas.iter().flat_map(|area| &area.entries);
    let (expected, unexpected): (Vec<_>, Vec<_>) = (1..)
        .zip(entries)
        .filter(|(_, entry)| entry.is_remarkable())
        .partition(|(_, entry)| entry.is_as_expected());
    html! {
        section aria-labelledby="d0" {
            h2 #d0 tabindex="-1" { "Where the sides differ" }
            @if expected.is_empty() && unexpected.is_empty() { p { "Nowhere." } }
            @for (title, entries) in [("Not as expected", unexpected), ("As expected", expected)] {
                @if !entries.is_empty() {
                    h3 { (title) }
                    ul { @for (number, entry) in entries { li { a href={ "#s" (number) } { (entry.scenario.name) } } } }
                }
            }
        }
    }
}

/// One line of each kind that a trace has, and what it tells.
const KINDS: [(&str, &str); 6] = [
    ("  a.handle_read", "a method of channel a is called"),
    ("    returns b\"hello\"", "what it returns"),
    ("    raises EAGAIN", "what it fails with"),
    ("    calls close on b", "what the scenario has it do"),
    (
        "  reads b\"hello\"",
        "what the other end of a channel meets",
    ),
    (
        "  a: connected, in the map",
        "how things stand after a step, if it changed anything",
    ),
];

/// The class of a line.
fn kind(line: &str) -> &'static str {
    let first = line.trim_start().split(' ').next().unwrap_or_default();
    match first {
        _ if !line.starts_with(' ') => "head",
        "returns" => "returns",
        // `the loop ends: …`, `does not apply`
        "raises" | "fails" | "the" | "does" => "raises",
        "calls" => "action",
        "reads" | "sends" | "is" => "peer",
        "as" => "state",
        _ if first.ends_with(':') => "state",
        _ => "call",
    }
}

fn legend() -> Markup {
    html! {
        details.legend {
            summary { "How to read a scenario" }
            p {
                "A scenario is a small story about channels. Each line is one thing that happened in it, in "
                "order, step by step. What both sides did is told once. Where they part, CPython is on "
                "the left and Rust on the right; on a narrow page, CPython comes first."
            }
            table {
                @for (line, meaning) in KINDS {
                    tr { td { span.(kind(line)) { (line) } } td { (meaning) } }
                }
            }
        }
    }
}

/// They need the script, and appear with it; but for the box that leaves out what is equal.
fn tools() -> Markup {
    html! {
        form #tools role="search" aria-label="Scenarios" {
            label.scripted hidden { "Filter " input #filter type="search" placeholder="name or area"; }
            label { input #only type="checkbox"; " Only differing" }
            span.scripted hidden {
                button #open type="button" { "Open all" }
                button #close type="button" { "Close all" }
            }
            span.scripted hidden {
                "Difference: "
                button #previous type="button" { "↑ Previous" }
                button #next type="button" { "↓ Next" }
                label { input #keys type="checkbox" checked; " by keys " kbd { "p" } " " kbd { "n" } }
            }
            output #status {}
        }
    }
}

fn scenario(entry: &Entry, numbers: &mut Numbers) -> Markup {
    numbers.scenario += 1;
    let json =
        serde_json::to_string_pretty(&entry.scenario).unwrap_or_else(|error| error.to_string());
    html! {
        details.scenario.remarkable[entry.is_remarkable()] #{ "s" (numbers.scenario) } open[entry.is_remarkable()] {
            summary { h3 { (entry.scenario.name) } (badges(entry)) }
            @for outcome in &entry.outcomes { (timeline(outcome, numbers)) }
            details.json {
                summary { "The scenario as JSON" }
                button.copy.scripted type="button" hidden { "Copy" }
                pre { (json) }
            }
        }
    }
}

fn badges(entry: &Entry) -> Markup {
    html! {
        @for outcome in &entry.outcomes {
            @let (class, words) = match (outcome.comparison.is_equal(), outcome.is_to_differ) {
                (true, false) => ("equal", "= equal"),
                (false, true) => ("expected", "≠ differs, as expected"),
                (false, false) => ("bad", "≠ differs"),
                (true, true) => ("bad", "= equal, but is to differ"),
            };
            " " span.badge.(class) {
                @if entry.outcomes.len() > 1 { (outcome.sides.join(", ")) ": " }
                (words)
            }
        }
    }
}

fn timeline(outcome: &Outcome, numbers: &mut Numbers) -> Markup {
    let steps = outcome.comparison.steps();
    let parts = steps.iter().flat_map(|step| &step.parts);
    let differences = parts.filter(|part| matches!(part, Part::Differing { .. }));
    let of = differences.count();
    let before = numbers.difference;
    html! {
        div.timeline {
            p.sides {
                span.python { "CPython (" (outcome.sides.join(", ")) ")" }
                span.rust { "Rust" }
            }
            @for step in &steps {
                div.step {
                    @if let Some(head) = step.head { h4 { (head) } }
                    @for part in &step.parts {
                        @match part {
                            Part::Same(same) => (lines(same)),
                            Part::Differing { python, rust } => {
                                (difference(python, rust, numbers, before, of))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn difference(
    python: &[String],
    rust: &[String],
    numbers: &mut Numbers,
    before: usize,
    of: usize,
) -> Markup {
    numbers.difference += 1;
    let number = numbers.difference;
    let name = format!("Difference {} of {of}", number - before);
    html! {
        div.difference.first[number == before + 1] #{ "d" (number) } role="group" aria-label=(name) tabindex="-1" {
            p {
                "≠ " (name)
                a href={ "#d" (number - 1) } title="Previous difference" { "↑" }
                a href={ "#d" (number + 1) } title="Next difference" { "↓" }
            }
            @for (class, name, side) in [("python", "CPython", python), ("rust", "Rust", rust)] {
                div.(class) {
                    strong { (name) }
                    @if side.is_empty() { p { "nothing" } }
                    (lines(side))
                }
            }
        }
    }
}

fn lines(lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            ul { @for line in lines { li.(kind(line)) { (line) } } }
        }
    }
}
