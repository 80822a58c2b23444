//! What `async_chat` makes of any input and any output, against a plain model and against CPython.
//!
//! Cases are made up from a fixed seed. `ASYNCHAT_SEED` is another one, and `ASYNCHAT_CASES` how many cases
//! each property is tried on; both are numbers. What fails is made as small as it can be, and shown.
//!
//! A few hundred cases are kept in `recorded/chat_cases.txt` with what CPython makes of them, so that there is
//! a comparison without a Python, too. With `ASYNCHAT_RECORD=1` they are recorded anew, from `ASYNCHAT_SEED`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::{Rc, Weak};

use asynchat::{
    AsyncChat, AsyncChatBase, AsyncChatError, Data, Producer, Queued, SimpleProducer, Terminator,
};
use asyncore::{
    BaseClass, ChannelMap, Descriptor, Dispatcher, Error, Exception, ExitNow, Quirks, Result,
    Socket, SocketLike,
};
use compat_tests::chat_model::{Call, End, PlainChat, joined, outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

const RECORDED: &str = include_str!("../../recorded/chat_cases.txt");

/// How many cases of input are recorded, and how many of output.
const RECORDED_EACH: u32 = 125;

/// Cases that are recorded, too, because a mistake is only seen in few like them: a match that is taken for
/// begun after the buffer or the terminator was changed, and input after a callback that failed.
const REMEMBERED: [&str; 5] = [
    "term:=aaa in:1 recv:aa read recv:a read @get_terminator.1 buffer:baa",
    "term:=b recv:aaaaabccc read recv:c read @found.1 raise:plain",
    "term:= in:1 recv:a read recv:b read buffer:ca recv:a read @collect.1 term:=ba",
    "term:=aa in:1 recv:b read recv:b read recv:b read recv:ba read recv:b read @collect.4 discard",
    "term:= in:1 recv:a read recv:a read @collect.1 term:=aa @recv.4 term:=a @recv.1 recv: read recv:a read",
];

// ---- the properties

#[test]
fn however_a_stream_is_cut_the_same_pieces_come_of_it() {
    try_on(1000, input(), |input| {
        let mut plain = PlainChat::new(input.first.clone(), &input.later);
        let mut calls = Vec::new();
        for data in input.reads() {
            calls.extend(plain.handle_read(data));
        }
        same_outcome(&input, &calls, &plain.buffer)
    });
}

#[test]
fn any_input_is_collected_as_the_model_says() {
    try_on(1500, input(), |input| agrees_with_model(&input, false));
}

#[test]
fn any_input_from_a_socket_is_collected_as_the_model_says() {
    try_on(500, input(), |input| agrees_with_model(&input, true));
}

#[test]
fn the_model_makes_the_calls_of_cpython() {
    let Some(python) = Python::start() else {
        return;
    };
    try_on(750, input(), |input| {
        let trace = python.play(&input.as_case());
        let is_call = |item: &&str| item.starts_with("collect ") || *item == "found";
        let python: Vec<&str> = trace.split(" | ").filter(is_call).collect();
        let mut plain = PlainChat::new(input.first.clone(), &input.later);
        let calls = input
            .reads()
            .into_iter()
            .flat_map(|data| plain.handle_read(data));
        let model: Vec<String> = calls.map(|call| call.to_string()).collect();
        same("the calls: the model", &model, &python)
    });
}

#[test]
fn whatever_the_callbacks_of_the_input_do_cpython_does_the_same() {
    compare_with_cpython(1500, input_case());
}

#[test]
fn whatever_the_callbacks_of_the_output_do_cpython_does_the_same() {
    compare_with_cpython(1500, output_case());
}

#[test]
fn recorded_cases_are_played_as_cpython_played_them() {
    let mut cases = 0;
    for (case, python) in recorded() {
        let rust = play(case);
        assert!(rust == python, "{}", differing(case, &rust, python));
        cases += 1;
    }
    assert_eq!(cases, REMEMBERED.len() + 2 * RECORDED_EACH as usize);
}

#[test]
fn the_recorded_traces_are_what_cpython_says() {
    let Some(python) = Python::start() else {
        return;
    };
    if std::env::var_os("ASYNCHAT_RECORD").is_some() {
        record_anew(&python).expect("the record can be written");
        return;
    }
    for (case, recorded) in recorded() {
        let python = python.play(case);
        assert!(recorded == python, "{}", differing(case, recorded, &python));
    }
}

fn record_anew(python: &Python) -> io::Result<()> {
    let record = RefCell::new("# See probes/chat_cases.py.\n".to_owned());
    let add = |case: String| {
        let trace = python.play(&case);
        *record.borrow_mut() += &format!("{case}\n= {trace}\n");
        Ok(())
    };
    for case in REMEMBERED {
        add(case.to_owned()).expect("no case fails");
    }
    runner(RECORDED_EACH)
        .run(&input_case(), add)
        .expect("no case fails");
    runner(RECORDED_EACH)
        .run(&output_case(), add)
        .expect("no case fails");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded/chat_cases.txt");
    std::fs::write(path, record.into_inner())
}

/// The cases with their traces.
fn recorded() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    std::iter::from_fn(move || {
        let case = lines.next()?;
        let trace = lines.next().and_then(|line| line.strip_prefix("= "));
        Some((case, trace.expect("a trace after each case")))
    })
}

/// Plays cases here and in CPython, and compares all that is told. Without a CPython nothing is compared, but
/// that no case panics or goes on forever.
fn compare_with_cpython(cases: u32, strategy: impl Strategy<Value = String>) {
    let python = Python::start();
    try_on(cases, strategy, |case| {
        let rust = play(&case);
        match &python {
            Some(python) => same_trace(&case, &rust, &python.play(&case)),
            None => Ok(()),
        }
    });
}

type Tried = std::result::Result<(), TestCaseError>;

/// Tries a property on cases that are made up.
#[track_caller]
fn try_on<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> Tried)
where
    S::Value: fmt::Debug,
{
    let cases = number_from_environment("ASYNCHAT_CASES").map_or(cases, |cases| cases as u32);
    let (tried, failed) = (Cell::new(0), Cell::new(None));
    let result = runner(cases).run(&strategy, |case| {
        // After the first that fails, which may be by a panic, come smaller ones.
        let number = tried.get() + 1;
        tried.set(number);
        if failed.get().is_none() {
            failed.set(Some(number));
        }
        property(case)?;
        if failed.get() == Some(number) {
            failed.set(None);
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, smallest)) => {
            panic!(
                "case {} fails; the smallest like it is\n{smallest:?}\n{why}",
                failed.get().unwrap_or(tried.get())
            )
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = number_from_environment("ASYNCHAT_SEED").unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn number_from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number in the environment"))
}

fn same<A: fmt::Debug + PartialEq<B>, B: fmt::Debug>(what: &str, a: &A, b: &B) -> Tried {
    if a == b {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}: {a:?} is not {b:?}")))
}

fn same_trace(case: &str, rust: &str, python: &str) -> Tried {
    if rust == python {
        return Ok(());
    }
    Err(TestCaseError::fail(differing(case, rust, python)))
}

/// Two traces side by side, to be read: that of this side, or the recorded one, and CPython's.
fn differing(case: &str, left: &str, right: &str) -> String {
    let mut text = format!("{case}\n");
    let (mut left, mut right) = (left.split(" | "), right.split(" | "));
    loop {
        let (left, right) = match (left.next(), right.next()) {
            (None, None) => return text,
            (left, right) => (left.unwrap_or("-"), right.unwrap_or("-")),
        };
        let mark = if left == right { ' ' } else { '!' };
        text += &format!("{mark} {left:60} {right}\n");
    }
}

// ---- input, for the model

/// A stream, how it is cut, and what it is searched for.
#[derive(Debug)]
struct Input {
    stream: Vec<u8>,
    cuts: Vec<usize>,
    buffer_size: usize,
    first: End,
    later: Vec<End>,
}

impl Input {
    /// What each `recv` returns.
    fn reads(&self) -> Vec<&[u8]> {
        let (mut reads, mut left) = (Vec::new(), &*self.stream);
        let mut cuts = self.cuts.iter().cycle();
        while !left.is_empty() {
            let cut = cuts.next().copied().unwrap_or(usize::MAX);
            let (read, rest) = left.split_at(cut.min(self.buffer_size).min(left.len()));
            reads.push(read);
            left = rest;
        }
        reads
    }

    /// The same as a line for the probe.
    fn as_case(&self) -> String {
        let mut case = format!("in:{} term:{}", self.buffer_size, self.first);
        for read in self.reads() {
            case += &format!(" recv:{} read", read.escape_ascii());
        }
        for (number, end) in (1..).zip(&self.later) {
            case += &format!(" @found.{number} term:{end}");
        }
        case
    }
}

/// A part of a stream.
#[derive(Clone, Debug)]
enum Part {
    Letters(String),
    /// A terminator, without so many bytes at its end: a near match, unless that is 0.
    Terminator(usize, usize),
}

fn input() -> impl Strategy<Value = Input> {
    let part = prop_oneof![
        2 => letters(0..8).prop_map(Part::Letters),
        1 => letters(0..60).prop_map(Part::Letters),
        4 => (0..8_usize, 0..3_usize).prop_map(|(which, less)| Part::Terminator(which, less)),
        1 => (0..8_usize, 0..40_usize).prop_map(|(which, less)| Part::Terminator(which, less)),
    ];
    let buffer_size = prop_oneof![
        6 => 1..64_usize,
        1 => select(vec![4096, 65536, 70000]),
    ];
    let cut = prop_oneof![4 => 1..6_usize, 2 => 1..40_usize, 1 => 1..200_usize];
    let few_cuts = vec(cut, 0..6);
    (vec(end(), 1..8), vec(part, 0..16), few_cuts, buffer_size).prop_map(
        |(ends, parts, cuts, buffer_size)| Input {
            stream: parts
                .iter()
                .flat_map(|part| bytes_of(part, &ends))
                .collect(),
            cuts,
            buffer_size,
            first: ends[0].clone(),
            later: ends[1..].to_vec(),
        },
    )
}

fn bytes_of(part: &Part, ends: &[End]) -> Vec<u8> {
    match part {
        Part::Letters(letters) => letters.clone().into_bytes(),
        Part::Terminator(which, less) => match &ends[which % ends.len()] {
            End::Bytes(bytes) => bytes[..bytes.len().saturating_sub(*less)].to_vec(),
            _ => b"c".to_vec(),
        },
    }
}

fn end() -> impl Strategy<Value = End> {
    // `aaaa…b` and the like: where one match fails, a shorter one goes on.
    let long = ("a{0,20}", "b{0,3}", letters(0..3), 1..4_usize);
    let long = long.prop_map(|(a, b, c, times)| {
        let mut text = (a + &b + &c).repeat(times);
        text.truncate(40);
        text
    });
    let bytes = prop_oneof![4 => letters(0..9), 2 => long];
    prop_oneof![
        12 => bytes.prop_map(|text| End::Bytes(text.into_bytes())),
        4 => (0..21_usize).prop_map(End::Count),
        1 => Just(End::Never),
    ]
}

/// Few letters, and mostly one, so that what looks like a terminator abounds.
fn letters(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let letter = prop_oneof![4 => Just('a'), 3 => Just('b'), 1 => Just('c')];
    vec(letter, len).prop_map(String::from_iter)
}

/// Whether the model's calls are those of the channel, and the outcome is the documented one.
fn agrees_with_model(input: &Input, from_socket: bool) -> Tried {
    let reader = Reader::new(input, from_socket);
    let mut plain = PlainChat::new(input.first.clone(), &input.later);
    let mut all_calls = Vec::new();
    for data in input.reads() {
        if let Err(error) = reader.handle_read() {
            return Err(TestCaseError::fail(format!("handle_read fails: {error:?}")));
        }
        let calls = reader.calls.take();
        same("the calls", &calls, &plain.handle_read(data))?;
        let chat = reader.async_chat();
        same("ac_in_buffer", &chat.ac_in_buffer(), &plain.buffer)?;
        same("its length", &chat.ac_in_buffer_len(), &plain.buffer.len())?;
        let terminator = Terminator::from(&plain.terminator);
        same("the terminator", &reader.get_terminator(), &terminator)?;
        all_calls.extend(calls);
    }
    same_outcome(input, &all_calls, &plain.buffer)?;
    let terminator = outcome(&input.stream, input.first.clone(), &input.later).end;
    same(
        "the last terminator",
        &reader.get_terminator(),
        &Terminator::from(&terminator),
    )
}

/// Whether these calls, however cut, are what the contract promises.
fn same_outcome(input: &Input, calls: &[Call], held_back: &Vec<u8>) -> Tried {
    let outcome = outcome(&input.stream, input.first.clone(), &input.later);
    let (pieces, rest) = joined(calls);
    same("the pieces", &pieces, &outcome.pieces)?;
    same("what comes after them", &rest, &outcome.rest)?;
    same("what is held back", held_back, &outcome.held_back)
}

/// A channel that reads an [`Input`] and keeps what is called on it.
struct Reader {
    base: AsyncChatBase,
    reads: Rc<RefCell<VecDeque<Vec<u8>>>>,
    from_socket: bool,
    later: RefCell<VecDeque<End>>,
    calls: RefCell<Vec<Call>>,
}

impl Reader {
    fn new(input: &Input, from_socket: bool) -> Rc<Reader> {
        let reads = input.reads().into_iter().map(<[u8]>::to_vec).collect();
        let reads = Rc::new(RefCell::new(reads));
        let map = ChannelMap::new();
        let reader = Reader::init_in(&map, |base| Reader {
            base,
            reads: Rc::clone(&reads),
            from_socket,
            later: RefCell::new(input.later.iter().cloned().collect()),
            calls: RefCell::default(),
        });
        let socket = Socket::new(Memory {
            reads,
            size: input.buffer_size,
        });
        let socket = reader.set_socket(socket, None);
        socket.expect("anything is a socket");
        reader.async_chat().ac_in_buffer_size.set(input.buffer_size);
        let first = reader.set_terminator(&input.first);
        first.expect("no terminator of these is refused");
        reader
    }
}

impl Dispatcher for Reader {
    type Base = AsyncChatBase;

    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn recv(&self, size: usize) -> Result<Vec<u8>> {
        if self.from_socket {
            return self.base.recv(self, size);
        }
        assert_eq!(size, self.base.ac_in_buffer_size.get());
        Ok(self.reads.borrow_mut().pop_front().unwrap_or_default())
    }
}

impl AsyncChat for Reader {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self.calls.borrow_mut().push(Call::Collect(data.to_vec()));
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self.calls.borrow_mut().push(Call::Found);
        let next = self.later.borrow_mut().pop_front();
        next.map_or(Ok(()), |next| self.set_terminator(&next))
    }
}

/// A socket that receives what is in memory.
struct Memory {
    reads: Rc<RefCell<VecDeque<Vec<u8>>>>,
    size: usize,
}

impl SocketLike for Memory {
    fn fileno(&self) -> Option<Descriptor> {
        // A key in the map. No loop waits on it here.
        Some(0)
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert_eq!(buffer.len(), self.size);
        let data = self.reads.borrow_mut().pop_front().unwrap_or_default();
        buffer[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

// ---- cases, for CPython

fn input_case() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        8 => letters(1..7).prop_map(|data| format!("recv:{data} read")),
        2 => letters(1..20).prop_map(|data| format!("recv:{data} read")),
        1 => select(vec!["recv:!os read", "recv:!block read", "recv:!plain read", "read"])
            .prop_map(str::to_owned),
        1 => terminator_step(),
        1 => buffer_step(),
    ];
    let reaction = prop_oneof![
        6 => terminator_step(),
        3 => buffer_step(),
        2 => letters(0..5).prop_map(|data| format!("recv:{data} read")),
        2 => select(vec!["read", "raise:plain", "raise:os", "raise:block", "raise:exit"])
            .prop_map(str::to_owned),
        1 => letters(0..5).prop_map(|data| format!("push:{data}")),
    ];
    // An overridden `get_terminator` cannot fail here.
    let harmless = prop_oneof![
        buffer_step(),
        letters(0..4).prop_map(|data| format!("term:={data}"))
    ];
    let callbacks = vec![
        "collect",
        "collect",
        "found",
        "found",
        "recv",
        "handle_error",
    ];
    (
        terminator_step(),
        1..9_usize,
        vec(step, 1..10),
        reactions(callbacks, reaction),
        prop_oneof![3 => Just(String::new()), 1 => reactions(vec!["get_terminator"], harmless)],
    )
        .prop_map(|(term, size, steps, reactions, others)| {
            format!("{term} in:{size} {}{reactions}{others}", steps.join(" "))
        })
}

fn terminator_step() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => letters(0..4).prop_map(|data| format!("term:={data}")),
        2 => (0..6_usize, 0..3_usize)
            .prop_map(|(a, b)| format!("term:={}{}", "a".repeat(a), "b".repeat(b))),
        4 => (-1..9_i32).prop_map(|count| format!("term:{count}")),
        3 => (9..30_i32).prop_map(|count| format!("term:{count}")),
        1 => Just("term:none".to_owned()),
    ]
}

fn buffer_step() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => letters(0..7).prop_map(|data| format!("buffer:{data}")),
        1 => Just("discard".to_owned()),
        1 => Just("take".to_owned()),
    ]
}

fn output_case() -> impl Strategy<Value = String> {
    let callbacks = vec![
        "send",
        "send",
        "more",
        "more",
        "initiate_send",
        "handle_close",
        "handle_error",
    ];
    (
        0..7_usize,
        vec(accepted(), 0..6),
        vec(output_step(), 1..12),
        reactions(callbacks, output_step()),
    )
        .prop_map(|(size, accepted, steps, reactions)| {
            let accepted: String = accepted.iter().map(|step| format!("{step} ")).collect();
            format!(
                "out:{size} connect {accepted}{}{reactions}",
                steps.join(" ")
            )
        })
}

/// What `send` returns: 0, 1, some, all, more than all, or an error.
fn accepted() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => select(vec!["sent:0", "sent:1", "sent:1", "sent:2", "sent:3", "sent:99"])
            .prop_map(str::to_owned),
        2 => select(vec!["sent:!os", "sent:!block", "sent:!plain", "sent:!exit", "sent:+2"])
            .prop_map(str::to_owned),
    ]
}

fn output_step() -> impl Strategy<Value = String> {
    let piece = prop_oneof![6 => letters(1..8), 1 => select(vec!["!os", "!plain", ""]).prop_map(str::to_owned)];
    let kind = select(vec!["true", "true", "len", "false"]);
    let producer = (kind, vec(piece, 0..4));
    prop_oneof![
        5 => letters(0..16).prop_map(|data| format!("push:{data}")),
        2 => letters(0..10).prop_map(|data| format!("entry:{data}")),
        5 => producer.prop_map(|(kind, pieces)| format!("producer:{kind}:{}", pieces.join(","))),
        2 => (0..5_usize, letters(0..12)).prop_map(|(size, data)| format!("simple:{size}:{data}")),
        4 => select(vec!["flush", "write"]).prop_map(str::to_owned),
        2 => Just("done".to_owned()),
        3 => select(vec!["discard", "pop", "connect", "disconnect"]).prop_map(str::to_owned),
        1 => (0..6_usize).prop_map(|size| format!("out:{size}")),
        1 => select(vec!["raise:os", "raise:block", "raise:plain", "raise:exit"]).prop_map(str::to_owned),
    ]
}

/// What happens in some of the first calls of callbacks.
fn reactions(
    callbacks: Vec<&'static str>,
    step: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    let number = prop_oneof![3 => Just(1), 2 => Just(2), 1 => 3..6_usize];
    let reaction = (select(callbacks), number, vec(step, 1..3));
    let words = reaction
        .prop_map(|(callback, number, steps)| format!(" @{callback}.{number} {}", steps.join(" ")));
    vec(words, 0..5).prop_map(|reactions| reactions.concat())
}

/// CPython, running the probe.
struct Python {
    process: Child,
    /// `None` when no more cases come.
    cases: Option<RefCell<ChildStdin>>,
    traces: RefCell<BufReader<ChildStdout>>,
}

impl Python {
    /// `None`, and said so, where there is none.
    fn start() -> Option<Python> {
        let python = match compat_tests::python::find() {
            Ok(python) => python,
            Err(why) => {
                // Past the capture of a passing test's output.
                let _ = writeln!(
                    io::stderr(),
                    "NOT COMPARED with a live CPython, only with recorded cases: {why}"
                );
                return None;
            }
        };
        let mut process = Command::new(python)
            .args(["-W", "ignore", "-B"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/probes/chat_cases.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe starts");
        Some(Python {
            cases: process.stdin.take().map(RefCell::new),
            traces: RefCell::new(BufReader::new(process.stdout.take().expect("it is piped"))),
            process,
        })
    }

    /// The trace of a case.
    fn play(&self, case: &str) -> String {
        let cases = self.cases.as_ref().expect("until it is dropped");
        let asked = writeln!(cases.borrow_mut(), "{case}");
        let mut trace = String::new();
        let answered = self.traces.borrow_mut().read_line(&mut trace);
        asked.and(answered).expect("a pipe to the probe");
        let trace = trace.strip_suffix('\n');
        trace
            .unwrap_or_else(|| panic!("the probe ended in {case}"))
            .to_owned()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The end of its input is the end of the probe.
        self.cases = None;
        let _ = self.process.wait();
    }
}

// ---- playing a case here: what probes/chat_cases.py does there

/// The trace of a case.
fn play(case: &str) -> String {
    let map = ChannelMap::with_quirks(Quirks::CPYTHON);
    let mut steps = Vec::new();
    let mut reactions: HashMap<String, Vec<String>> = HashMap::new();
    let mut words = &mut steps;
    for word in case.split_whitespace() {
        match word.strip_prefix('@') {
            Some(callback) => words = reactions.entry(callback.to_owned()).or_default(),
            None => words.push(word.to_owned()),
        }
    }
    let chat = Chat::init_in(&map, |base| Chat {
        base,
        reactions,
        trace: RefCell::default(),
        state: RefCell::default(),
        calls: RefCell::default(),
        received: RefCell::default(),
        accepted: RefCell::default(),
    });
    for step in steps {
        chat.tell(format!("> {step}"));
        if let Err(error) = chat.perform(&step) {
            chat.tell(format!("raises {}", name_of(&error)));
        }
        chat.tell_state();
    }
    chat.trace.take().join(" | ")
}

/// A channel that does what a case says, and tells what is called on it.
struct Chat {
    base: AsyncChatBase,
    /// The steps to be done in `callback.number`.
    reactions: HashMap<String, Vec<String>>,
    trace: RefCell<Vec<String>>,
    state: RefCell<String>,
    calls: RefCell<HashMap<&'static str, usize>>,
    received: RefCell<VecDeque<String>>,
    accepted: RefCell<VecDeque<String>>,
}

impl Chat {
    fn tell(&self, line: impl Into<String>) {
        self.trace.borrow_mut().push(line.into());
    }

    /// Tells of a call, and does what the case says to it.
    fn told(&self, method: &'static str, detail: fmt::Arguments<'_>) -> Result {
        self.tell(format!("{method}{detail}"));
        self.tell_state();
        let number = {
            let mut calls = self.calls.borrow_mut();
            let number = calls.entry(method).or_default();
            *number += 1;
            *number
        };
        let steps = self.reactions.get(&format!("{method}.{number}"));
        steps
            .into_iter()
            .flatten()
            .try_for_each(|step| self.perform(step))
    }

    /// Tells the state, if it has changed.
    fn tell_state(&self) {
        let chat = self.async_chat();
        let queue: Vec<String> = chat.producer_fifo.to_vec().iter().map(show).collect();
        let state = format!(
            "[{} {} '{}' '{}' {}]",
            if self.connected() { "on" } else { "off" },
            match chat.terminator() {
                Terminator::None => "none".to_owned(),
                Terminator::Count(count) => count.to_string(),
                Terminator::Bytes(bytes) => format!("={}", bytes.escape_ascii()),
            },
            chat.ac_in_buffer().escape_ascii(),
            chat.incoming().escape_ascii(),
            queue.join(","),
        );
        if *self.state.borrow() != state {
            self.state.replace(state.clone());
            self.tell(state);
        }
    }

    /// Does a step.
    fn perform(&self, step: &str) -> Result {
        let (name, argument) = step.split_once(':').unwrap_or((step, ""));
        let chat = self.async_chat();
        match name {
            "in" => chat.ac_in_buffer_size.set(number(argument)),
            "out" => chat.ac_out_buffer_size.set(number(argument)),
            "term" => match argument.strip_prefix('=') {
                Some(bytes) => self.set_terminator(bytes.as_bytes())?,
                None if argument == "none" => self.set_terminator(None)?,
                None => self.set_terminator(number::<i64>(argument))?,
            },
            "buffer" => chat.set_ac_in_buffer(argument),
            "discard" => self.discard_buffers(),
            "take" => self.tell(format!("took {}", self._get_data().escape_ascii())),
            "recv" => self.received.borrow_mut().push_back(argument.to_owned()),
            "read" => self.handle_read()?,
            "sent" => self.accepted.borrow_mut().push_back(argument.to_owned()),
            "write" => self.handle_write()?,
            "flush" => self.initiate_send()?,
            "push" => self.push(argument.as_bytes())?,
            "entry" => self.push_with_producer(argument.as_bytes())?,
            "simple" => {
                let (size, data) = argument.split_once(':').expect("a size and data");
                let data = data.as_bytes();
                self.push_with_producer(SimpleProducer::with_buffer_size(data, number(size)))?;
            }
            "producer" => {
                let (kind, pieces) = argument.split_once(':').expect("a kind and pieces");
                self.push_with_producer(Scripted {
                    chat: Rc::downgrade(&self.this()?),
                    kind: kind.to_owned(),
                    pieces: RefCell::new(pieces.split(',').map(str::to_owned).collect()),
                })?;
            }
            "done" => self.close_when_done()?,
            "pop" => drop(
                chat.producer_fifo
                    .pop()
                    .ok_or(AsyncChatError::FifoEmptied)?,
            ),
            "connect" => self.root().connected.set(true),
            "disconnect" => self.root().connected.set(false),
            "raise" => return Err(error(argument)),
            _ => panic!("no such step: {step}"),
        }
        Ok(())
    }
}

impl Dispatcher for Chat {
    type Base = AsyncChatBase;

    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn recv(&self, size: usize) -> Result<Vec<u8>> {
        self.told("recv", format_args!(" {size}"))?;
        let next = self.received.borrow_mut().pop_front();
        result(next.unwrap_or_default()).map(String::into_bytes)
    }

    fn send(&self, data: &[u8]) -> Result<usize> {
        self.told("send", format_args!(" '{}'", data.escape_ascii()))?;
        let next = self.accepted.borrow_mut().pop_front();
        let accepted = result(next.unwrap_or_else(|| "99".to_owned()))?;
        Ok(match accepted.strip_prefix('+') {
            // More than there was is what a careless method may return.
            Some(more) => data.len() + number::<usize>(more),
            None => number::<usize>(&accepted).min(data.len()),
        })
    }

    fn handle_close(&self) -> Result {
        self.told("handle_close", format_args!(""))?;
        self.base.handle_close(self)
    }

    fn handle_error(&self, error: Error) -> Result {
        self.told("handle_error", format_args!(" {}", name_of(&error)))
    }
}

impl AsyncChat for Chat {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        let before = data.to_vec();
        self.told("collect", format_args!(" {}", data.escape_ascii()))?;
        assert_eq!(data, before, "whatever is done to the buffer meanwhile");
        self._collect_incoming_data(data);
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self._get_data();
        self.told("found", format_args!(""))
    }

    fn get_terminator(&self) -> Terminator {
        let told = self.told("get_terminator", format_args!(""));
        told.expect("no case fails here");
        asynchat::AsyncChatClass::get_terminator(&self.base, self)
    }

    fn initiate_send(&self) -> Result {
        self.told("initiate_send", format_args!(""))?;
        asynchat::AsyncChatClass::initiate_send(&self.base, self)
    }
}

/// Hands out pieces, after it has told the channel.
struct Scripted {
    chat: Weak<Chat>,
    kind: String,
    pieces: RefCell<VecDeque<String>>,
}

impl Producer for Scripted {
    fn more(&self) -> Result<Data> {
        let chat = self.chat.upgrade().expect("the case is being played");
        chat.told("more", format_args!(""))?;
        let piece = self.pieces.borrow_mut().pop_front();
        result(piece.unwrap_or_default()).map(|piece| piece.into_bytes().into())
    }

    fn truth(&self) -> bool {
        match self.kind.as_str() {
            "false" => false,
            "len" => !self.pieces.borrow().is_empty(),
            _ => true,
        }
    }
}

/// What a scripted call returns, unless it fails.
fn result(word: String) -> Result<String> {
    match word.strip_prefix('!') {
        Some(name) => Err(error(name)),
        None => Ok(word),
    }
}

fn error(name: &str) -> Error {
    match name {
        "os" => io::Error::other("on purpose").into(),
        "block" => io::Error::from(io::ErrorKind::WouldBlock).into(),
        "plain" => Error::msg("on purpose"),
        "exit" => ExitNow.into(),
        _ => panic!("no such error: {name}"),
    }
}

/// The name of Python's exception.
fn name_of(error: &Error) -> String {
    let name = match error.downcast_ref::<AsyncChatError>() {
        Some(AsyncChatError::NotImplemented) => "NotImplementedError",
        Some(AsyncChatError::NegativeTerminator(_) | AsyncChatError::NoOutBuffer) => "ValueError",
        Some(AsyncChatError::CountReplaced) => "TypeError",
        Some(AsyncChatError::FifoEmptied) => "IndexError",
        _ if error.io_kind() == Some(io::ErrorKind::WouldBlock) => "BlockingIOError",
        _ if error.io_kind().is_some() => "OSError",
        _ if error.is::<Exception>() => "Exception",
        _ if error.is::<ExitNow>() => "ExitNow",
        _ => return format!("{error:?}"),
    };
    name.to_owned()
}

fn show(entry: &Queued) -> String {
    match entry {
        Queued::Data(data) => format!("'{}'", data.as_bytes().escape_ascii()),
        Queued::Producer(_) => "P".to_owned(),
        Queued::Close => "None".to_owned(),
    }
}

fn number<N: std::str::FromStr<Err: fmt::Debug>>(word: &str) -> N {
    word.parse().expect("a number")
}
