//! What the crates log, kept for a test to look at.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// The messages that `asyncore` and `asynchat` log on this thread while it lives.
///
/// Tests run side by side in one process, which has room for one logger: this one sorts by thread. The trace is
/// left out unless asked for.
///
/// ```
/// use compat_tests::CapturedLog;
///
/// let log = CapturedLog::start();
/// log::warn!(target: "asyncore", "unhandled read event");
/// assert_eq!(log.lines(), ["warning: unhandled read event"]);
/// ```
#[derive(Debug)]
#[must_use = "dropped, it captures no more"]
pub struct CapturedLog(PhantomData<Rc<()>>);

impl CapturedLog {
    /// Starts to capture. What an earlier capture of this thread holds is forgotten.
    ///
    /// # Panics
    ///
    /// If the process has another logger already.
    pub fn start() -> CapturedLog {
        CapturedLog::start_at(LevelFilter::Debug)
    }

    /// As [`start`](CapturedLog::start), with the trace.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn start_with_trace() -> CapturedLog {
        CapturedLog::start_at(LevelFilter::Trace)
    }

    fn start_at(level: LevelFilter) -> CapturedLog {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            log::set_logger(&LogOfThread).expect("a test program has no other logger");
            log::set_max_level(LevelFilter::Trace);
        });
        LEVEL.set(level);
        LINES.set(Some(Vec::new()));
        CapturedLog(PhantomData)
    }

    /// The messages so far, each the line that Python prints: `warning: unhandled read event`.
    pub fn lines(&self) -> Vec<String> {
        LINES.with_borrow(|lines| lines.clone().unwrap_or_default())
    }
}

impl Drop for CapturedLog {
    fn drop(&mut self) {
        LEVEL.set(LevelFilter::Off);
        LINES.set(None);
    }
}

thread_local! {
    static LEVEL: Cell<LevelFilter> = const { Cell::new(LevelFilter::Off) };
    /// `None` while nobody captures.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct LogOfThread;

impl Log for LogOfThread {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LEVEL.get() && matches!(metadata.target(), "asyncore" | "asynchat")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let line = format!("{kind}: {}", record.args());
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(line);
            }
        });
    }

    fn flush(&self) {}
}
