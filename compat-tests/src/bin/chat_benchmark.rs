//! Measures how fast a chat channel finds lines, beside CPython's and beside a bare search for the
//! terminator over the same bytes; and what an idle channel costs.
//!
//! ```text
//! cargo run --release -p compat-tests --bin chat_benchmark
//! ```
//!
//! `handle_read` is fed from memory: its `recv` hands over a buffer that was made before. The channel and
//! the bare search go over one buffer each in turn, so that what else the machine does falls on both
//! alike. What is told is the median over many rounds, and of the ratios the quartiles, between which half
//! of them lie. CPython's side runs where a CPython 3.11 is found.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Instant;

use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::{ChannelMap, Dispatcher, Result};
use clap::Parser;

const TERMINATOR: &[u8] = b"\r\n";

/// How fast a chat channel finds lines, beside CPython's and beside a bare search.
#[derive(Parser)]
struct Args {
    /// Turns in each configuration
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,

    /// How many bytes each turn goes over
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(65536..))]
    bytes: u32,

    /// How long CPython runs in each configuration
    #[arg(long, default_value_t = 0.5)]
    python_seconds: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat_benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result {
    if cfg!(debug_assertions) {
        return Err(asyncore::Error::msg(
            "build it with --release, or the numbers mean nothing",
        ));
    }
    let python = compat_tests::python::find();
    if let Err(reason) = &python {
        println!("not compared with CPython: {reason}");
    }
    println!(
        "                     asynchat            bare search          channel / search    CPython    asynchat"
    );
    println!(
        "  line  buffer   Mlines/s     MB/s    Mlines/s     MB/s    time (quartiles)   Mlines/s   / CPython"
    );
    for line in [16, 64, 1024] {
        for buffer in [4096, 65536] {
            let measured = measure(line, buffer, args)?;
            let lines = measured.channel;
            print!("{line:>6} {buffer:>7} ");
            for lines in [measured.channel, measured.search] {
                print!(" {:>9.2} {:>8.0}  ", lines / 1e6, lines * line as f64 / 1e6);
            }
            let [lower, median, upper] = measured.ratio;
            print!("  {median:.2} ({lower:.2} to {upper:.2})");
            if let Ok(python) = &python {
                let python = cpython(python, line, buffer, args.python_seconds)?;
                print!("  {:>9.3}  {:>9.1}", python / 1e6, lines / python);
            }
            println!();
        }
    }
    idle()
}

struct Measured {
    /// Lines per second.
    channel: f64,
    search: f64,
    /// The channel's time by the search's: quartiles.
    ratio: [f64; 3],
}

fn measure(line: usize, buffer: usize, args: &Args) -> Result<Measured> {
    let feed = Feed::init_in(&ChannelMap::new(), |base| Feed {
        base,
        piece: RefCell::default(),
        lines: Cell::new(0),
        bytes: Cell::new(0),
    });
    feed.set_terminator(TERMINATOR)?;
    feed.base().ac_in_buffer_size.set(buffer);
    let lines_per_piece = buffer / line;
    let pieces = args.bytes as usize / buffer;
    let lines = (pieces * lines_per_piece) as u64;
    let piece = [&vec![b'x'; line - TERMINATOR.len()], TERMINATOR]
        .concat()
        .repeat(lines_per_piece);

    let searched = piece.clone();
    let finder = memchr::memmem::Finder::new(TERMINATOR);
    let mut times: Vec<[f64; 2]> = Vec::new();
    for _ in 0..args.turns {
        let (mut channel, mut search) = (0.0, 0.0);
        feed.lines.set(0);
        feed.bytes.set(0);
        let mut found = 0;
        for _ in 0..pieces {
            // Made outside of the time taken, but given back inside of it. Both sides find their bytes
            // in the processor's cache.
            feed.piece.replace(piece.clone());
            let start = Instant::now();
            feed.handle_read()?;
            channel += start.elapsed().as_secs_f64();
            let start = Instant::now();
            found += finder.find_iter(black_box(&searched)).count() as u64;
            search += start.elapsed().as_secs_f64();
        }
        assert_eq!(found, lines, "lines that the search found");
        assert_eq!(feed.lines.get(), lines, "lines that the channel found");
        assert_eq!(
            feed.bytes.get(),
            lines * (line - TERMINATOR.len()) as u64,
            "bytes that the channel collected"
        );
        times.push([channel, search]);
    }
    Ok(Measured {
        channel: lines as f64 / quantile(&times, 0.5, |time| time[0]),
        search: lines as f64 / quantile(&times, 0.5, |time| time[1]),
        ratio: [0.25, 0.5, 0.75].map(|at| quantile(&times, at, |time| time[0] / time[1])),
    })
}

fn quantile(times: &[[f64; 2]], at: f64, of: fn(&[f64; 2]) -> f64) -> f64 {
    let mut values: Vec<f64> = times.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * at).round() as usize]
}

/// A channel that counts lines.
struct Feed {
    base: AsyncChatBase,
    piece: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    bytes: Cell<u64>,
}

impl Dispatcher for Feed {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn recv(&self, _size: usize) -> Result<Vec<u8>> {
        Ok(self.piece.take())
    }
}

impl AsyncChat for Feed {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self.bytes
            .set(self.bytes.get() + black_box(data).len() as u64);
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self.lines.set(self.lines.get() + 1);
        Ok(())
    }
}

/// Lines per second of CPython.
fn cpython(python: &std::path::Path, line: usize, buffer: usize, seconds: f64) -> Result<f64> {
    let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/probes/chat_benchmark.py");
    let output = Command::new(python)
        .args(["-B", "-W", "ignore", probe])
        .args([line.to_string(), buffer.to_string(), seconds.to_string()])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// What a channel costs that waits for input: the growth of the process over many of them. Linux tells.
fn idle() -> Result {
    const CHANNELS: usize = 20_000;

    let Some(before) = resident() else {
        println!("\nan idle channel: this system does not tell");
        return Ok(());
    };
    let map = ChannelMap::new();
    let channels = (0..CHANNELS).map(|_| {
        let channel = Feed::init_in(&map, |base| Feed {
            base,
            piece: RefCell::default(),
            lines: Cell::new(0),
            bytes: Cell::new(0),
        });
        channel.set_terminator(TERMINATOR)?;
        channel
            .piece
            .replace(b"a line\r\nand the beginning of another\r".to_vec());
        channel.handle_read()?;
        Ok(channel)
    });
    let channels: Result<Vec<Rc<Feed>>> = channels.collect();
    let channels = channels?;
    if let Some(after) = resident() {
        let each = after.saturating_sub(before) / channels.len();
        println!(
            "\nan idle channel, its socket aside: {each} bytes, {} of them the object",
            size_of::<Feed>()
        );
    }
    Ok(())
}

/// How many bytes of this process are in memory.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
