//! The porting guide: each of its pairs of programs prints what it says, on both sides.
#![cfg(unix)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use compat_tests::guide::{Pair, pairs};
use compat_tests::python;
use rustix::process::{Pid, Signal, kill_process};

const GUIDE: &str = include_str!("../../../asynchat/src/porting.md");
const RECIPES: &str = include_str!("../../../asynchat/src/recipes.md");

fn all_pairs() -> impl Iterator<Item = Pair> {
    [GUIDE, RECIPES].into_iter().flat_map(pairs)
}

#[test]
fn every_program_in_rust_prints_what_the_guide_says() {
    for pair in all_pairs() {
        let printed =
            output_of(Command::new(env!("CARGO_BIN_EXE_guide_programs")).arg(&pair.title));
        assert_eq!(printed, pair.prints, "Rust, {}", pair.title);
    }
}

#[test]
fn every_program_in_python_prints_what_the_guide_says() {
    let python = match python::find() {
        Ok(python) => python,
        Err(why) => {
            // Past the capture of a passing test's output.
            let _ = writeln!(std::io::stderr(), "NOT COMPARED, the guide's Python: {why}");
            return;
        }
    };
    let has_ssl = Command::new(&python).args(["-c", "import ssl"]).status();
    let has_ssl = has_ssl.is_ok_and(|status| status.success());
    for pair in all_pairs() {
        if pair.python.contains(" ssl\n") && !has_ssl {
            let (program, python) = (&pair.title, python.display());
            let _ = writeln!(
                std::io::stderr(),
                "NOT COMPARED, the Python of {program:?}: {python} has no ssl"
            );
            continue;
        }
        let mut program = Command::new(&python);
        program.args(["-B", "-W", "ignore", "-c", &pair.python]);
        assert_eq!(
            output_of(&mut program),
            pair.prints,
            "Python, {}",
            pair.title
        );
    }
}

#[test]
fn every_chapter_and_every_recipe_has_a_pair_of_programs() {
    for (page, last) in [(GUIDE, 9), (RECIPES, 22)] {
        let titles: Vec<String> = pairs(page).into_iter().map(|pair| pair.title).collect();
        assert_eq!(titles, headings(page).collect::<Vec<_>>());
        assert_eq!(titles.len(), last);
        for (title, number) in titles.iter().zip(1..) {
            assert!(title.starts_with(&format!("{number}. ")), "{title}");
        }
    }
}

#[test]
fn the_contents_have_every_chapter_and_every_recipe() {
    let contents = GUIDE
        .split("\n# ")
        .next()
        .expect("what comes before the chapters");
    let links: Vec<(&str, &str)> = links(contents).collect();
    for (page, of_page) in [("", GUIDE), ("crate::porting::recipes", RECIPES)] {
        for heading in headings(of_page) {
            let link = (page, &*anchor(heading));
            assert!(links.contains(&link), "{link:?} is not among the contents");
        }
    }
}

#[test]
fn every_link_to_a_heading_leads_to_one() {
    for (this, text) in [
        ("crate::porting", GUIDE),
        ("crate::porting::recipes", RECIPES),
    ] {
        for (page, wanted) in links(text) {
            let of_page = match if page.is_empty() { this } else { page } {
                "crate::porting" => GUIDE,
                "crate::porting::recipes" => RECIPES,
                _ => continue,
            };
            let found = headings(of_page).any(|heading| anchor(heading) == wanted);
            assert!(found, "{this} links to {page}#{wanted}");
        }
    }
}

/// The numbered headings of a page.
fn headings(page: &str) -> impl Iterator<Item = &str> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("# "));
    headings.filter(|heading| heading.starts_with(|it: char| it.is_ascii_digit()))
}

/// The pages that a text links to, with the places on them.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter_map(|target| target.split_once('#'))
}

/// What rustdoc calls a heading in addresses.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|it| match it {
            ' ' => Some('-'),
            '-' | '_' => Some(it),
            _ => it.is_alphanumeric().then(|| it.to_ascii_lowercase()),
        })
        .collect()
}

/// What a program prints, which is to end well. It is run where its doctest is.
fn output_of(program: &mut Command) -> String {
    const LONG: Duration = Duration::from_secs(100);

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../asynchat");
    let process = program
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let process = process.unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let pid = Pid::from_child(&process);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(process.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(LONG) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("{program:?} does not end");
    };
    let output = output.expect("its output can be read");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} fails: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
