//! Two traces, next to each other.

use std::fmt;

/// What both sides made of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// CPython's trace.
    pub python: Vec<String>,
    /// Rust's.
    pub rust: Vec<String>,
}

impl Comparison {
    /// Whether there is no difference.
    pub fn is_equal(&self) -> bool {
        self.python == self.rust
    }

    /// The index of the first line that differs, if one does.
    pub fn first_difference(&self) -> Option<usize> {
        let most = self.python.len().max(self.rust.len());
        (0..most).find(|&at| self.python.get(at) != self.rust.get(at))
    }
}

/// Two columns. The first difference is marked.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 56;

        let difference = self.first_difference();
        writeln!(f, "    {:WIDTH$}   Rust", "CPython")?;
        for at in 0..self.python.len().max(self.rust.len()) {
            let mark = if difference == Some(at) { "==>" } else { "" };
            let line = |lines: &[String]| -> String {
                let line = lines.get(at).map_or("", String::as_str);
                let fits = line.chars().count() <= WIDTH;
                if fits || f.alternate() {
                    return line.to_owned();
                }
                line.chars().take(WIDTH - 1).chain(['…']).collect()
            };
            let (python, rust) = (line(&self.python), line(&self.rust));
            let between = if python == rust { "|" } else { "≠" };
            writeln!(f, "{mark:3} {python:WIDTH$} {between} {rust}")?;
        }
        Ok(())
    }
}
