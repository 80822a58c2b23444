//! Makes the Rust programs of the porting guide modules of the program `guide_programs`.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

#[allow(dead_code, unreachable_pub)]
#[path = "src/guide.rs"]
mod guide;

const PAGES: [&str; 2] = ["porting.md", "recipes.md"];

fn main() {
    let (mut modules, mut table) = (String::new(), String::new());
    for page in PAGES {
        let page = Path::new("../asynchat/src").join(page);
        println!("cargo::rerun-if-changed={}", page.display());
        let text =
            fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for guide::Pair { title, rust, .. } in guide::pairs(&text) {
            let number = table.lines().count();
            let _ = writeln!(
                modules,
                "mod program_{number} {{\n{rust}\npub(super) fn run() -> asyncore::Result {{ main() }}\n}}"
            );
            let _ = writeln!(table, "({title:?}, program_{number}::run),");
        }
    }
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let programs = format!("{modules}\nconst PROGRAMS: &[Program] = &[\n{table}];\n");
    fs::write(Path::new(&out).join("guide_programs.rs"), programs).expect("OUT_DIR can be written");
}
