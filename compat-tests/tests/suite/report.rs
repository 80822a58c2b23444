//! The report that `--html` writes.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use asyncore::Quirks;
use compat_tests::alignment::{Part, Step};
use compat_tests::comparison::Comparison;
use compat_tests::kept;
use compat_tests::report::Report;
use compat_tests::scenario::Scenario;
use compat_tests::situation::Semantics;
use proptest::collection::vec;
use proptest::prelude::*;

fn compat_tests(args: &[&str], html: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compat-tests"))
        .args(args)
        .arg("--html")
        .arg(html)
        .output()
        .expect("the command starts")
}

/// The page that the command writes.
fn page(args: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.html");
    let output = compat_tests(args, &file);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    fs::read_to_string(&file).expect("the report is written")
}

/// What stands between two marks, wherever they are.
fn between<'a>(page: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    let found = page.split(from).skip(1);
    found.map(move |rest| rest.split(to).next().unwrap_or_default())
}

/// The names of the scenarios on a page whose sides differ, or are to.
fn differing(page: &str) -> BTreeSet<&str> {
    let scenarios = between(page, "<details class=\"scenario remarkable\"", "</h3>");
    scenarios
        .map(|head| head.rsplit("<h3>").next().unwrap_or_default())
        .collect()
}

fn scenario(name: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        semantics: Semantics::Select,
        channels: Vec::new(),
        reactions: Vec::new(),
        steps: Vec::new(),
    }
}

fn comparison(python: &[&str], rust: &[&str]) -> Comparison {
    let trace = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    Comparison {
        python: trace(python),
        rust: trace(rust),
    }
}

#[test]
fn every_kept_scenario_is_on_the_page_and_none_differs() {
    let page = page(&[]);
    let names: BTreeSet<&str> = between(&page, "<summary><h3>", "</h3>").collect();
    for area in kept::areas().expect("the kept scenarios can be read") {
        assert!(between(&page, "tabindex=\"-1\">", "</h2>").any(|title| title == area.name));
        for scenario in &area.scenarios {
            assert!(names.contains(&*scenario.name), "{}", scenario.name);
        }
    }
    assert!(page.contains("✓ No difference in "));
    assert_eq!(differing(&page), BTreeSet::new());
    assert!(!page.contains("class=\"difference"));
}

#[test]
fn with_the_default_quirks_the_scenarios_named_for_one_are_marked() {
    let page = page(&["--quirks", "default"]);
    let quirks = format!("{:?}", Quirks::default());
    let areas = kept::areas().expect("the kept scenarios can be read");
    let names = areas.iter().flat_map(|area| &area.scenarios);
    let names = names.map(|scenario| scenario.name.as_str()).filter(|name| {
        let (field, _) = name.split_once(": ").unwrap_or_default();
        !field.is_empty() && quirks.contains(&format!(" {field}:"))
    });
    assert_eq!(differing(&page), names.collect());
    assert!(page.contains(" comparisons differ, as expected"));
    assert!(page.contains("class=\"difference first\" id=\"d1\""));
}

#[test]
fn nothing_is_fetched_and_every_link_leads_somewhere() {
    let page = page(&["--quirks", "default"]);
    for fetching in ["http:", "https:", " src=", "url(", "@import"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    let ids: BTreeSet<&str> = between(&page, " id=\"", "\"").collect();
    for target in between(&page, "href=\"", "\"") {
        let is_there = target.strip_prefix('#').map(|id| ids.contains(id));
        assert!(is_there.unwrap_or(target == "data:,"), "{target}");
    }
}

#[test]
fn what_has_a_meaning_in_html_is_escaped() {
    const EVIL: &str = "</pre><script>\"evil\" & 'evil'";

    let mut report = Report::new(EVIL);
    report.note(EVIL);
    let line = format!("  {EVIL}");
    let traces = comparison(&["setup", &line], &["setup", &line, &line]);
    report.add(EVIL, EVIL, &scenario(EVIL), traces, false);
    let page = report.to_string();
    assert_eq!(page.matches("<script>").count(), 1, "its own");
    assert!(!page.contains("& '"));
    // quirks, note, area in table and as heading, side in table and in timeline, name in list, in heading and in
    // JSON (where quotes are escaped once more), a line of each side
    assert_eq!(page.matches("&lt;/pre&gt;&lt;script&gt;").count(), 11);
}

#[test]
fn what_comes_to_the_same_beside_several_pythons_is_shown_once() {
    let mut report = Report::new("cpython");
    let same = comparison(&["setup", "  map:"], &["setup", "  map:"]);
    let differing = comparison(&["setup"], &["setup", "  map:"]);
    for (side, traces) in [("3.6", &same), ("2.7", &differing), ("3.11", &same)] {
        report.add("area", side, &scenario("name"), traces.clone(), false);
    }
    let page = report.to_string();
    let sides: Vec<&str> = between(&page, "<span class=\"python\">", "</span>").collect();
    assert_eq!(sides, ["CPython (3.6, 3.11)", "CPython (2.7)"]);
    assert!(page.contains("✗ 1 of 3 comparisons are not as expected"));
}

#[test]
fn a_scenario_that_is_to_differ_and_does_not_is_marked() {
    let mut report = Report::new("default");
    let same = comparison(&["setup"], &["setup"]);
    report.add("area", "3.11", &scenario("name"), same, true);
    let page = report.to_string();
    assert_eq!(differing(&page), BTreeSet::from(["name"]));
    assert!(page.contains("= equal, but is to differ"));
}

#[test]
fn random_scenarios_without_a_difference_are_counted() {
    if let Err(why) = compat_tests::python::find() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT COMPARED, a report of random scenarios: {why}"
        );
        return;
    }
    let page = page(&["--cases", "20"]);
    assert!(page.contains("✓ No difference in 20 comparisons"));
    assert!(!page.contains("<details class=\"scenario"));
}

#[test]
fn the_scenarios_of_a_file_are_on_the_page() {
    if let Err(why) = compat_tests::python::find() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT COMPARED, a report of one file: {why}"
        );
        return;
    }
    let page = page(&[
        "--scenario",
        concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/map.json"),
    ]);
    let names: Vec<&str> = between(&page, "<summary><h3>", "</h3>").collect();
    let areas = kept::areas().expect("the kept scenarios can be read");
    let map = areas.iter().find(|area| area.name == "map");
    let kept: Vec<&str> = map
        .iter()
        .flat_map(|area| &area.scenarios)
        .map(|s| &*s.name)
        .collect();
    assert_eq!(names, kept);
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_compared() {
    let directory = tempfile::tempdir().expect("a directory");
    for file in [
        directory.path().join("none/report.html"),
        directory.path().to_owned(),
    ] {
        let output = compat_tests(&[], &file);
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(&*file.to_string_lossy()), "{errors}");
    }
}

#[test]
fn a_report_stays_until_there_is_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.html");
    fs::write(&file, "the last one ".repeat(10_000)).expect("written");
    Report::check_writable(&file).expect("writable");
    assert!(fs::read_to_string(&file).is_ok_and(|text| text.starts_with("the last one")));
    let report = Report::new("cpython");
    report.write(&file).expect("written");
    assert!(fs::read_to_string(&file).is_ok_and(|text| text == report.to_string()));
}

#[test]
fn a_line_that_one_side_lacks_leaves_the_next_beside_their_like() {
    let traces = comparison(
        &[
            "setup",
            "  map:",
            "step 1: pass",
            "  a.readable",
            "  a.writable",
            "  map: a",
        ],
        &[
            "setup",
            "  map:",
            "step 1: pass",
            "  a.writable",
            "  as before",
        ],
    );
    let [setup, pass] = &traces.steps()[..] else {
        panic!("two steps: {:?}", traces.steps());
    };
    assert_eq!(setup.parts, [Part::Same(&traces.python[1..2])]);
    let parts = [
        Part::Differing {
            python: &traces.python[3..4],
            rust: &[],
        },
        Part::Same(&traces.rust[3..4]),
        Part::Differing {
            python: &traces.python[5..],
            rust: &traces.rust[4..],
        },
    ];
    assert_eq!(
        (pass.head, &pass.parts[..]),
        (Some("step 1: pass"), &parts[..])
    );
}

/// The lines of the sides, and of the first difference.
fn joined(steps: &[Step<'_>]) -> (Comparison, Option<usize>) {
    let mut sides = comparison(&[], &[]);
    let mut first = None;
    for step in steps {
        for lines in [&mut sides.python, &mut sides.rust] {
            lines.extend(step.head.map(str::to_owned));
        }
        for part in &step.parts {
            let (python, rust) = match *part {
                Part::Same(lines) => (lines, lines),
                Part::Differing { python, rust } => {
                    first.get_or_insert(sides.python.len());
                    (python, rust)
                }
            };
            sides.python.extend_from_slice(python);
            sides.rust.extend_from_slice(rust);
        }
    }
    (sides, first)
}

proptest! {
    #[test]
    fn beside_each_other_both_traces_are_whole_and_part_where_they_first_differ(
        python in vec("(setup|step 1: pass|  a|  b)", 0..20),
        rust in vec("(setup|step 1: pass|  a|  b)", 0..20),
    ) {
        let traces = Comparison { python, rust };
        let (sides, first) = joined(&traces.steps());
        prop_assert_eq!(&sides, &traces);
        prop_assert_eq!(first, traces.first_difference());
    }
}
