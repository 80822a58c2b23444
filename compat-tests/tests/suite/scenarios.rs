//! What the kept scenarios show. That both sides act them out alike is tested in `with_cpython`.
#![cfg(unix)]

use std::collections::BTreeSet;

use compat_tests::kept;
use compat_tests::scenario::Method;

/// The words in backticks that the first column of the table under `## Actions` has, but for those in
/// parentheses.
fn actions() -> Vec<&'static str> {
    let document = include_str!("../../scenarios/README.md");
    let table = document
        .split("\n## ")
        .find(|part| part.starts_with("Actions"));
    let rows = table
        .expect("the part")
        .lines()
        .filter(|line| line.starts_with("| `") && !line.contains("`do`"));
    let column = rows.filter_map(|row| row.split('|').nth(1));
    let outside = column.flat_map(|cell| {
        cell.split('(')
            .map(|part| part.rsplit(')').next().unwrap_or(part))
    });
    outside
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_method_every_action_and_every_kind_of_socket_is_in_a_kept_scenario() {
    let mut told = BTreeSet::new();
    let mut written = String::new();
    for area in kept::areas().expect("the kept scenarios can be read") {
        for line in area
            .recorded()
            .expect("the record can be read")
            .values()
            .flatten()
        {
            let call = line
                .strip_prefix("  ")
                .and_then(|line| line.split_once('.'));
            if let Some((_channel, call)) = call {
                told.extend(call.split(' ').next().map(str::to_owned));
            }
        }
        written += &serde_json::to_string(&area.scenarios).expect("as they were read");
    }
    for method in Method::ALL {
        let name = method.name();
        assert!(told.contains(name), "no kept scenario calls {name}");
    }
    let actions = actions();
    assert!(actions.len() > 30, "{actions:?}");
    let peers = [
        "send", "read", "shutdown", "reset", "close", "oob", "connect",
    ];
    for action in actions.iter().chain(&peers) {
        let written_so = format!(r#""do":"{action}""#);
        assert!(
            written.contains(&written_so),
            "no kept scenario does {action}"
        );
    }
    let sockets =
        "unix tcp listener connecting connecting_unix refused pipe_read pipe_write file none";
    for kind in sockets.split(' ') {
        let written_so = format!(r#""socket":"{kind}""#);
        assert!(
            written.contains(&written_so),
            "no kept scenario has a socket of kind {kind}"
        );
    }
}

#[test]
fn the_quirks_kept_on_purpose_have_scenarios() {
    let areas = kept::areas().expect("the kept scenarios can be read");
    let scenarios = areas.iter().flat_map(|area| &area.scenarios);
    let names: BTreeSet<&str> = scenarios.map(|scenario| &*scenario.name).collect();
    for name in [
        // Events after `close()` in the same pass under poll2.
        "closed in its own read event (poll)",
        "closed twice (poll)",
        "the queue survives a close (select)",
        "closing when a terminator is found still delivers the rest (select)",
        "close_when_done on an idle channel (select)",
    ] {
        assert!(names.contains(name), "no kept scenario {name:?}");
    }
}
