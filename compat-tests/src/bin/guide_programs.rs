//! The Rust programs of the porting guide: `guide_programs TITLE` runs the one under that heading,
//! `guide_programs` alone lists them.

/// A heading of the guide, and the `main` under it.
type Program = (&'static str, fn() -> asyncore::Result);

include!(concat!(env!("OUT_DIR"), "/guide_programs.rs"));

fn main() -> asyncore::Result {
    let Some(wanted) = std::env::args().nth(1) else {
        for (title, _) in PROGRAMS {
            println!("{title}");
        }
        return Ok(());
    };
    match PROGRAMS.iter().find(|(title, _)| *title == wanted) {
        Some((_, run)) => run(),
        None => Err(asyncore::Error::msg(format!(
            "no heading {wanted:?} has a program"
        ))),
    }
}
