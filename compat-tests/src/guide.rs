//! The porting guide's pairs of programs, which the guide says print the same.
//!
//! `build.rs` has this file, too.

/// A program in Python and its port.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The heading that they stand under.
    pub title: String,
    /// The program in Python.
    pub python: String,
    /// The program in Rust.
    pub rust: String,
    /// What both print, according to the guide.
    pub prints: String,
}

/// The pairs in a page of the guide: a block of Python is followed by one of Rust, and that by one of text.
///
/// # Panics
///
/// When there is a block of Python for which that is not so.
pub fn pairs(page: &str) -> Vec<Pair> {
    let mut title = "";
    let mut pairs = Vec::new();
    let mut blocks = Vec::<(&str, String)>::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("# ") {
            title = heading;
        }
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block = lines.by_ref().take_while(|line| *line != "```");
        let block = block.map(|line| format!("{line}\n")).collect();
        blocks.push((language, block));
        match &blocks[..] {
            [("python", _)] | [("python", _), ("rust", _)] => {}
            [("python", python), ("rust", rust), ("text", prints)] => {
                pairs.push(Pair {
                    title: title.to_owned(),
                    python: python.clone(),
                    rust: rust.clone(),
                    prints: prints.clone(),
                });
                blocks.clear();
            }
            [("python", _), ..] => panic!("{title}: Python without Rust and what both print"),
            _ => blocks.clear(),
        }
    }
    assert!(blocks.is_empty(), "{title}: Python without what both print");
    pairs
}
