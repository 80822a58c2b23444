//! Two traces, line beside line: where they go the same way, and where they part.

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::comparison::Comparison;

/// What the two sides made of one step of a scenario, or of its `setup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The line that begins it, unless the sides differ in that already.
    pub head: Option<&'a str>,
    /// The lines, in their order.
    pub parts: Vec<Part<'a>>,
}

/// Some lines of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Both sides have them.
    Same(&'a [String]),
    /// Each side has its own, or none.
    Differing {
        /// CPython's.
        python: &'a [String],
        /// Rust's.
        rust: &'a [String],
    },
}

impl Comparison {
    /// The traces, step beside step, and within a step with as many lines beside their like as can be.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let (mut python, mut rust) = (steps(&self.python), steps(&self.rust));
        let mut aligned = Vec::new();
        loop {
            let (python, rust) = (python.next(), rust.next());
            if python.is_none() && rust.is_none() {
                return aligned;
            }
            aligned.push(align(python.unwrap_or_default(), rust.unwrap_or_default()));
        }
    }
}

/// Lines are indented, but for the first of a step (and `too long`, which ends a trace).
fn steps(trace: &[String]) -> impl Iterator<Item = &[String]> {
    trace.chunk_by(|_, line| line.starts_with(' '))
}

fn align<'a>(python: &'a [String], rust: &'a [String]) -> Step<'a> {
    let (head, python, rust) = match (python, rust) {
        ([head, python @ ..], [other, rust @ ..]) if head == other => {
            (Some(head.as_str()), python, rust)
        }
        _ => (None, python, rust),
    };
    let part = |op: DiffOp| match op {
        DiffOp::Equal { .. } => Part::Same(&python[op.old_range()]),
        _ => Part::Differing {
            python: &python[op.old_range()],
            rust: &rust[op.new_range()],
        },
    };
    let ops = capture_diff_slices(Algorithm::Myers, python, rust);
    let parts = ops.into_iter().map(part).collect();
    Step { head, parts }
}
