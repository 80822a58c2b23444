//! The diagrams of the page "How the loop works" say what is called.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use asyncore::socket2::{Domain, Type};
use asyncore::{
    Address, BaseClass, ChannelMap, Descriptor, Dispatcher, DispatcherBase, Error, Result, Socket,
    SocketLike, socket_map,
};
use compat_tests::situation::{PollFlags, Semantics, reset, settle, tcp_pair};
use compat_tests::{TearDown, until_by};

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../asyncore/src/how_the_loop_works"
);

/// A line of text in a diagram.
struct Text {
    x: u32,
    y: u32,
    words: String,
}

/// The lines of a diagram, from top to bottom.
fn diagram(name: &str) -> Vec<Text> {
    let path = format!("{PAGE}/{name}.svg");
    let svg = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let number = |element: &str, name: &str| -> u32 {
        let (_, value) = element.split_once(name).expect(name);
        let (value, _) = value.split_once('"').expect("its end");
        value.parse().expect("a number")
    };
    let mut texts: Vec<Text> = svg
        .lines()
        .filter(|line| line.starts_with("<text "))
        .map(|line| {
            let (element, words) = line.split_once('>').expect("words");
            Text {
                x: number(element, " x=\""),
                y: number(element, " y=\""),
                words: words.trim_end_matches("</text>").to_owned(),
            }
        })
        .collect();
    assert!(texts.len() > 5, "{path} has {} texts", texts.len());
    texts.sort_by_key(|text| (text.y, text.x));
    texts
}

#[test]
fn the_methods_in_the_diagrams_are_in_the_source() {
    let mut source = String::new();
    for file in std::fs::read_dir(format!("{PAGE}/..")).expect("the source") {
        let path = file.expect("a file").path();
        if path.is_file() {
            source += &std::fs::read_to_string(path).expect("text");
        }
    }
    let mut methods = 0;
    for name in ["poll", "poll2", "events", "life_of_a_channel"] {
        for text in diagram(name) {
            for word in text.words.split([' ', '.']) {
                let Some(method) = word.strip_suffix("()") else {
                    continue;
                };
                methods += 1;
                assert!(
                    source.contains(&format!("fn {method}(")),
                    "{name}: {method}"
                );
            }
        }
    }
    assert!(methods > 50, "only {methods} have been found");
}

// ---- one pass

/// Wants to hear of everything, and does nothing about it.
struct Told {
    name: char,
    calls: Rc<RefCell<Vec<String>>>,
}

impl Told {
    fn tell(&self, method: &str) -> Result {
        let call = format!("{}.{method}()", self.name);
        self.calls.borrow_mut().push(call);
        Ok(())
    }
}

impl asyncore::Channel for Told {
    fn readable(&self) -> bool {
        self.tell("readable").is_ok()
    }
    fn writable(&self) -> bool {
        self.tell("writable").is_ok()
    }
    fn accepting(&self) -> bool {
        self.tell("accepting").is_err()
    }
    fn handle_read_event(&self) -> Result {
        self.tell("handle_read_event")
    }
    fn handle_write_event(&self) -> Result {
        self.tell("handle_write_event")
    }
    fn handle_expt_event(&self) -> Result {
        self.tell("handle_expt_event")
    }
    fn handle_close(&self) -> Result {
        self.tell("handle_close")
    }
    fn close(&self) -> Result {
        self.tell("close")
    }
}

/// Makes the calls of a pass in which all that can happen has happened to two channels.
fn calls_of_a_pass(semantics: Semantics) -> Result<Vec<String>> {
    let map = ChannelMap::new();
    let calls = Rc::default();
    let mut sockets = Vec::new();
    for name in ['a', 'b'] {
        let (near, far) = tcp_pair();
        socket2::SockRef::from(&far).send_out_of_band(b"data!")?;
        settle(&near, PollFlags::IN | PollFlags::PRI);
        reset(far);
        settle(&near, PollFlags::ERR | PollFlags::HUP);
        let calls = Rc::clone(&calls);
        map.insert(near.as_raw_fd(), Rc::new(Told { name, calls }));
        sockets.push(near);
    }
    match semantics {
        Semantics::Select => asyncore::poll(Duration::ZERO, Some(&map))?,
        Semantics::Poll => asyncore::poll2(Duration::ZERO, Some(&map))?,
    }
    Ok(calls.take())
}

/// The calls in a diagram, where `a.readable() .writable()` are two of `a`.
fn calls_of_diagram(name: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for text in diagram(name) {
        let mut channel = "";
        for word in text.words.split(' ').filter(|word| word.ends_with("()")) {
            let (name, method) = word.split_once('.').expect("a channel's method");
            channel = if name.is_empty() { channel } else { name };
            calls.push(format!("{channel}.{method}"));
        }
    }
    calls
}

#[test]
fn a_pass_makes_the_calls_of_the_diagram_with_select() -> Result {
    assert_eq!(
        calls_of_a_pass(Semantics::Select)?,
        calls_of_diagram("poll")
    );
    Ok(())
}

#[test]
fn a_pass_makes_the_calls_of_the_diagram_with_poll() -> Result {
    assert_eq!(calls_of_a_pass(Semantics::Poll)?, calls_of_diagram("poll2"));
    Ok(())
}

// ---- what an event calls

/// Does in one method what its class does, and in the others nothing; tells which are called.
struct Tested {
    base: DispatcherBase,
    method: String,
    calls: RefCell<Vec<&'static str>>,
}

macro_rules! tested {
    ($($method:ident($($argument:ident: $type:ty),*)),* $(,)?) => {
        impl Dispatcher for Tested {
            type Base = DispatcherBase;
            fn base(&self) -> &DispatcherBase {
                &self.base
            }

            $(fn $method(&self $(, $argument: $type)*) -> Result {
                if self.method == stringify!($method) {
                    return self.base().$method(self $(, $argument)*);
                }
                self.calls.borrow_mut().push(stringify!($method));
                Ok(())
            })*
        }

        impl Tested {
            fn call(&self) -> Result {
                match self.method.as_str() {
                    "handle_error" => self.handle_error(Error::msg("on purpose")),
                    $(stringify!($method) => tested!(self.$method($($argument),*)),)*
                    method => panic!("{method} is not tested"),
                }
            }
        }
    };
    ($this:ident.$method:ident()) => { $this.$method() };
    ($this:ident.$method:ident($($argument:ident),*)) => { panic!("it has arguments") };
}

tested! {
    handle_read_event(), handle_write_event(), handle_expt_event(), handle_connect_event(),
    handle_read(), handle_write(), handle_expt(), handle_connect(), handle_accept(), handle_close(),
    handle_accepted(socket: Socket, addr: Address), handle_error(error: Error), close(),
}

/// A socket with a pending error and a connection to accept, or without.
struct Prepared {
    error: bool,
    connection: Cell<Option<UnixStream>>,
}

impl SocketLike for Prepared {
    fn fileno(&self) -> Option<Descriptor> {
        Some(-2)
    }
    fn send(&self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self.error.then(|| io::Error::other("pending")))
    }
    fn accept(&self) -> io::Result<(Socket, Address)> {
        match self.connection.take() {
            Some(socket) => Ok((socket.into(), Address::Unix("".into()))),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// What a method calls, and whether it fails.
fn called_by(method: &str, condition: &str) -> Result<(Vec<&'static str>, bool)> {
    let channel = Tested::init_in(&ChannelMap::new(), |base| Tested {
        base,
        method: method.to_owned(),
        calls: RefCell::default(),
    });
    let mut socket = Prepared {
        error: false,
        connection: Cell::default(),
    };
    match condition {
        "accepting" => channel.root().accepting.set(true),
        "connecting" => channel.root().connecting.set(true),
        "an error is pending" => socket.error = true,
        "if accept() has one" => socket.connection.set(Some(UnixStream::pair()?.0)),
        "otherwise" | "" => channel.root().connected.set(true),
        condition => panic!("the test does not know what {condition:?} means"),
    }
    channel.root().replace_socket(Some(Socket::new(socket)));
    let failed = channel.call().is_err();
    Ok((channel.calls.take(), failed))
}

#[test]
fn an_event_calls_what_the_diagram_says() -> Result {
    /// The columns.
    const METHOD: u32 = 10;
    const CONDITION: u32 = 28;

    let mut said: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let (mut method, mut condition) = (String::new(), String::new());
    for text in diagram("events") {
        match text.x {
            METHOD => (method, condition) = (text.words, String::new()),
            CONDITION => condition = text.words,
            _ => {
                let key = (method.trim_end_matches("()").to_owned(), condition.clone());
                said.entry(key).or_default().push(text.words);
            }
        }
    }
    assert_eq!(said.len(), 13);
    for ((method, condition), said) in said {
        let (calls, failed) = called_by(&method, &condition)?;
        let mut done: Vec<String> = calls.iter().map(|call| format!("{call}()")).collect();
        if failed {
            done.push("returns it".to_owned());
        }
        if done.is_empty() {
            done.push("nothing".to_owned());
        }
        assert_eq!(done, said, "{method}, {condition:?}");
    }
    assert_eq!(called_by("handle_accept", "otherwise")?.0, [""; 0]);
    Ok(())
}

// ---- the life of a channel

struct Plain {
    base: DispatcherBase,
    accepted: RefCell<Option<Rc<Plain>>>,
}

impl Plain {
    fn create() -> Rc<Plain> {
        Plain::init(|base| Plain {
            base,
            accepted: RefCell::default(),
        })
    }

    /// The attributes that are set, and whether it is in the map.
    fn state(&self) -> (Vec<&'static str>, bool) {
        let mut set = Vec::new();
        for (is_set, name) in [
            (self.accepting(), "accepting"),
            (self.connecting(), "connecting"),
            (self.connected(), "connected"),
        ] {
            if is_set {
                set.push(name);
            }
        }
        let channels = socket_map().values();
        let is_this = |channel: &Rc<dyn asyncore::Channel>| {
            let channel = channel.downcast_ref::<Plain>();
            channel.is_some_and(|channel| std::ptr::eq(channel, self))
        };
        (set, channels.iter().any(is_this))
    }
}

impl Dispatcher for Plain {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
        let accepted = Plain::init_with(socket, |base| Plain {
            base,
            accepted: RefCell::default(),
        })?;
        self.accepted.replace(Some(accepted));
        Ok(())
    }

    fn handle_read(&self) -> Result {
        self.recv(1).map(drop)
    }

    fn handle_connect(&self) -> Result {
        assert_eq!(self.state(), (vec!["connecting"], true));
        Ok(())
    }
}

fn the_life_of_a_channel_is_that_of_the_diagram(use_poll: bool) -> Result {
    let _tear_down = TearDown;
    let passes = asyncore::Loop::new().use_poll(use_poll);
    let (nothing, in_the_map) = (Vec::new(), true);

    let listener = Plain::create();
    assert_eq!(listener.state(), (nothing.clone(), !in_the_map));
    listener.create_socket(Domain::IPV4, Type::STREAM)?;
    assert_eq!(listener.state(), (nothing.clone(), in_the_map));
    listener.bind(("127.0.0.1", 0))?;
    listener.listen(1)?;
    assert_eq!(listener.state(), (vec!["accepting"], in_the_map));

    let client = Plain::create();
    client.create_socket(Domain::IPV4, Type::STREAM)?;
    client.connect(listener.socket()?.local_addr()?)?;
    assert_eq!(client.state(), (vec!["connecting"], in_the_map));
    until_by(&passes, || {
        client.connected() && listener.accepted.borrow().is_some()
    })?;
    assert_eq!(client.state(), (vec!["connected"], in_the_map));
    let accepted = listener.accepted.take().expect("it is there");
    assert_eq!(accepted.state(), (vec!["connected"], in_the_map));

    // `recv` finds the end, and calls `handle_close`.
    accepted.close()?;
    until_by(&passes, || !client.connected())?;
    for channel in [accepted, client] {
        assert_eq!(channel.state(), (nothing.clone(), !in_the_map));
        channel.create_socket(Domain::IPV4, Type::STREAM)?;
        assert_eq!(channel.state(), (nothing.clone(), in_the_map));
        channel.close()?;
    }

    // What fails gets there through `handle_error`.
    let refused = Plain::create();
    refused.create_socket(Domain::IPV4, Type::STREAM)?;
    let unused = Socket::open(Domain::IPV4, Type::STREAM)?;
    unused.bind(("127.0.0.1", 0))?;
    refused.connect(unused.local_addr()?)?;
    assert_eq!(refused.state(), (vec!["connecting"], in_the_map));
    until_by(&passes, || !refused.connecting())?;
    assert_eq!(refused.state(), (nothing.clone(), !in_the_map));

    listener.handle_close()?;
    assert_eq!(listener.state(), (nothing, !in_the_map));
    Ok(())
}

#[test]
fn the_life_of_a_channel_is_that_of_the_diagram_with_select() -> Result {
    the_life_of_a_channel_is_that_of_the_diagram(false)
}

#[test]
fn the_life_of_a_channel_is_that_of_the_diagram_with_poll() -> Result {
    the_life_of_a_channel_is_that_of_the_diagram(true)
}
