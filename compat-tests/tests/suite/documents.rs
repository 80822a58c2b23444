//! What stands in two documents is the same in both.

use std::collections::BTreeSet;

const README: &str = include_str!("../../../README.md");
const FIRST_PAGE: &str = include_str!("../../../asyncore/src/lib.rs");
const CHAT_FIRST_PAGE: &str = include_str!("../../../asynchat/src/lib.rs");
const QUIRKS: &str = include_str!("../../../asyncore/src/quirks.rs");
const DIFFERENCES: &str = include_str!("../../../asyncore/src/differences.md");

/// The lines of a document that follow one, until a blank one ends them.
fn after<'a>(document: impl Iterator<Item = &'a str>, first: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = document.skip_while(|line| *line != first).collect();
    assert!(!lines.is_empty(), "no line {first:?}");
    lines
        .into_iter()
        .take_while(|line| !line.is_empty())
        .collect()
}

/// The first page of a crate's documentation, without what makes it one.
fn page(source: &'static str) -> impl Iterator<Item = &'static str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
}

#[test]
fn the_readme_has_the_tables_of_the_first_pages() {
    for (head, source) in [
        ("| Python | Rust |", FIRST_PAGE),
        ("| Python's asynchat | Rust |", CHAT_FIRST_PAGE),
    ] {
        let table = after(README.lines(), head);
        assert!(table.len() > 15);
        assert_eq!(table, after(page(source), head));
    }
}

#[test]
fn the_readme_has_the_server_of_the_first_page() {
    let program = |lines: Vec<&'static str>| -> Vec<&str> {
        let from = lines
            .iter()
            .position(|line| line.starts_with("use asyncore::socket2"));
        let lines = &lines[from.expect("a program")..];
        let to = lines
            .iter()
            .position(|line| *line == "```")
            .expect("its end");
        lines[..to].to_vec()
    };
    assert_eq!(
        program(README.lines().collect()),
        program(page(FIRST_PAGE).collect())
    );
}

#[test]
fn the_readme_counts_what_is_compared() {
    // A row has three words that name its cases, then one for each.
    let rows = include_str!("../../recorded/reentrancy.txt").lines();
    let rows = rows.filter(|row| !row.starts_with('['));
    let cases: usize = rows.map(|row| row.split(' ').count() - 3).sum();
    let areas = compat_tests::kept::areas().expect("the kept scenarios can be read");
    let scenarios: usize = areas.iter().map(|area| area.scenarios.len()).sum();
    for figure in [format!("{cases} cases"), format!("{scenarios} [scenarios]")] {
        assert!(README.contains(&figure), "the README does not say {figure}");
    }
}

/// The fields of `Quirks`.
fn quirks() -> BTreeSet<&'static str> {
    let fields = QUIRKS.lines().filter_map(|line| {
        let field = line.trim().strip_prefix("pub ")?;
        field.strip_suffix(": bool,")
    });
    fields.collect()
}

#[test]
fn the_page_of_differences_has_a_row_for_every_quirk_and_no_other() {
    let head = "| field | a program sees, when `true` (CPython) | when `false` (the default) |";
    let rows = after(DIFFERENCES.lines(), head).split_off(2);
    let named = rows.iter().map(|row| {
        let name = row.split('`').nth(1).expect("a field's name");
        let link = format!("| [`{name}`](asyncore::Quirks::{name}) | ");
        assert!(row.starts_with(&link), "{row}");
        name
    });
    assert_eq!(named.collect::<BTreeSet<_>>(), quirks());
    assert_eq!(rows.len(), quirks().len());
}

#[test]
fn bug_for_bug_is_every_quirk() {
    let all: BTreeSet<String> = quirks()
        .iter()
        .map(|name| format!(" {name}: true"))
        .collect();
    let cpython = format!("{:?}", asyncore::Quirks::CPYTHON);
    let cpython = cpython
        .trim_start_matches("Quirks {")
        .trim_end_matches(" }");
    assert_eq!(
        cpython
            .split(',')
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        all
    );
}

#[test]
fn every_quirk_has_a_kept_scenario_that_is_named_for_it() {
    let areas = compat_tests::kept::areas().expect("the kept scenarios can be read");
    let scenarios = areas.iter().flat_map(|area| &area.scenarios);
    // One word before a colon.
    let named = scenarios.filter_map(|scenario| scenario.name.split_once(": "));
    let named = named
        .map(|(field, _)| field)
        .filter(|field| !field.contains(' '));
    assert_eq!(named.collect::<BTreeSet<_>>(), quirks());
}

#[test]
fn what_is_taken_out_of_python_2_7_is_on_the_page_of_differences() {
    let taken_out = include_str!("../../probes/documented_of_2_7.py");
    let rows = taken_out
        .lines()
        .filter_map(|line| line.strip_prefix("    \"\"\"")?.strip_suffix("\"\"\""));
    let mut count = 0;
    for row in rows {
        let page = include_str!("../../../asyncore/src/differences.md");
        assert!(page.contains(&format!("\n| {row}")), "no row for {row}");
        count += 1;
    }
    assert_eq!(count, 7);
}

#[test]
fn the_first_page_tells_of_every_source_file_once() {
    let mut files = 0;
    for directory in ["asyncore/src", "asynchat/src"] {
        let path = format!("{}/../{directory}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(path).expect("the source") {
            let name = file.expect("a file").file_name();
            let name = name.to_str().expect("a name in UTF-8");
            if name.ends_with(".rs") {
                files += 1;
                let row = format!("| `{directory}/{name}` | ");
                let rows = page(FIRST_PAGE).filter(|line| line.starts_with(&row));
                assert_eq!(rows.count(), 1, "rows that begin with {row}");
            }
        }
    }
    let table = after(page(FIRST_PAGE), "| file | what it teaches |");
    assert_eq!(table.len(), 2 + files, "rows, after two of the head");
}
