//! Waiting for what the loop brings about.

use std::thread;
use std::time::{Duration, Instant};

use asyncore::{Error, Loop, Result};

/// Runs the loop over the default map until `condition` holds.
///
/// # Errors
///
/// What ends the loop, and a condition that does not come to hold within half a minute. That is a bound
/// for tests that fail, and measures nothing; a number of passes would be none, since those over a
/// channel that can always be written to take no time.
///
/// ```
/// use std::cell::Cell;
/// use compat_tests::until;
///
/// let passes = Cell::new(0);
/// until(|| passes.replace(passes.get() + 1) == 3)?;
/// # Ok::<(), asyncore::Error>(())
/// ```
#[track_caller]
pub fn until(condition: impl FnMut() -> bool) -> Result {
    until_by(&Loop::new(), condition)
}

/// As [`until`], with passes as `passes` has them: over another map, say, or with `use_poll`.
///
/// # Errors
///
/// As [`until`].
#[track_caller]
pub fn until_by(passes: &Loop, mut condition: impl FnMut() -> bool) -> Result {
    const PATIENCE: Duration = Duration::from_secs(30);

    let pass = passes.clone().timeout(Duration::from_millis(10)).count(1);
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > PATIENCE {
            return Err(Error::msg("what the test waits for has not happened"));
        }
        pass.clone().run()?;
        // The other side may be another thread.
        thread::yield_now();
    }
    Ok(())
}
