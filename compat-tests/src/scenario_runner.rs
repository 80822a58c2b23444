//! Acts a scenario out with the two crates, and tells what happens: `scenarios/README.md` says how.
//!
//! `probes/scenarios.py` is the other side; both write the same lines.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use asynchat::{AsyncChat, AsyncChatBase, AsyncChatClass, Data, Producer, Queued, SimpleProducer};
use asyncore::socket2::{self, Domain, SockRef, Type};
use asyncore::{
    Address, BaseClass, ChannelMap, Dispatcher, DispatcherBase, DispatcherWithSend,
    DispatcherWithSendBase, DispatcherWithSendClass, Error, ExitNow, FileDispatcher,
    FileDispatcherBase, FileDispatcherClass, Panic, Quirks, Result, Socket, set_socket_map,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::scenario::{
    Action, ActionOn, Attribute, ChannelSpec, Class, Failure, Flag, Method, PeerAction, Reaction,
    Scenario, SocketKind, Step, Terminator, Then,
};
use crate::situation::{PollFlags, Semantics};
use crate::traced::{Raised, name_of};

/// Acts `scenario` out, on a map with these quirks, and returns its trace.
///
/// The trace of a scenario whose parts do not fit together says so, and no more.
pub fn run(scenario: &Scenario, quirks: Quirks) -> Vec<String> {
    if let Err(error) = scenario.check() {
        return vec![format!("invalid: {error}")];
    }
    let stage = match Stage::new(scenario, quirks) {
        Ok(stage) => Rc::new(stage),
        Err(error) => return vec![format!("no stage: {error:?}")],
    };
    let map_before = set_socket_map(stage.map.clone());
    stage.tell("setup");
    for spec in &scenario.channels {
        stage.make(spec);
    }
    stage.tell_state();
    for (step, number) in scenario.steps.iter().zip(1..) {
        stage.step(number, step);
    }
    stage.tear_down();
    set_socket_map(map_before);
    stage.lines.take()
}

// ---- the stage

/// How many lines a trace has at most.
const MOST_LINES: usize = 3000;

/// What a scenario is played on.
struct Stage {
    lines: RefCell<Vec<String>>,
    /// Whether nothing is told any more, and nobody reacts.
    over: Cell<bool>,
    semantics: Semantics,
    map: ChannelMap,
    reactions: Vec<Reaction>,
    shared: Rc<Shared>,
    actors: RefCell<Vec<Rc<dyn Actor>>>,
    state_before: RefCell<String>,
}

impl Stage {
    fn new(scenario: &Scenario, quirks: Quirks) -> Result<Stage> {
        let shared = Shared::of_thread()?;
        let map = ChannelMap::with_quirks(quirks);
        open_poller(&map)?;
        Ok(Stage {
            lines: RefCell::default(),
            over: Cell::new(false),
            semantics: scenario.semantics,
            map,
            reactions: scenario.reactions.clone(),
            shared,
            actors: RefCell::default(),
            state_before: RefCell::default(),
        })
    }

    fn tell(&self, line: impl Into<String>) {
        if self.over.get() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        if lines.len() < MOST_LINES {
            lines.push(line.into());
        } else {
            lines.push("too long".to_owned());
            self.over.set(true);
        }
    }

    /// What is told of an error. That something panicked is told at once.
    fn name(&self, error: &Error) -> String {
        match error.downcast_ref::<Panic>() {
            Some(panic) => {
                self.tell(format!("  {panic}"));
                "Panic".to_owned()
            }
            None => error_name(error),
        }
    }

    fn actor(&self, name: &str) -> Option<Rc<dyn Actor>> {
        let actors = self.actors.borrow();
        actors
            .iter()
            .find(|actor| actor.part().name == name)
            .cloned()
    }

    fn make(self: &Rc<Stage>, spec: &ChannelSpec) {
        let part = Rc::new(Part::new(self, spec));
        let actor: Rc<dyn Actor> = match spec.class {
            Class::Dispatcher => Player::<DispatcherBase>::create(part),
            Class::DispatcherWithSend => Player::<DispatcherWithSendBase>::create(part),
            Class::FileDispatcher => Player::<FileDispatcherBase>::create(part),
            Class::AsyncChat => Player::<AsyncChatBase>::create(part),
        };
        self.actors.borrow_mut().push(Rc::clone(&actor));
        spec.attributes
            .iter()
            .for_each(|attribute| actor.set(attribute));
        if let Some(Err(error)) = catch(self, || actor.open()) {
            self.tell(format!("  raises {}", self.name(&error)));
        }
    }

    fn step(&self, number: usize, step: &Step) {
        match step {
            Step::Peer { peer, does } => {
                self.begin(number, format_args!("peer {peer} {}", does.name()), || {
                    self.peer_step(peer, does);
                });
            }
            Step::Call { call, action } => {
                self.begin(
                    number,
                    format_args!("call {call} {}", action.name()),
                    || {
                        self.act(call, action, None, "  ");
                    },
                );
            }
            Step::Pass { pass } => {
                for _ in 0..*pass {
                    self.begin(number, format_args!("pass"), || {
                        if let Some(Err(error)) = catch(self, || self.semantics.pass()) {
                            self.tell(format!("  the loop ends: {}", self.name(&error)));
                        }
                    });
                }
            }
        }
    }

    fn begin(&self, number: usize, words: fmt::Arguments<'_>, happen: impl FnOnce()) {
        if self.over.get() {
            return;
        }
        self.tell(format!("step {number}: {words}"));
        happen();
        self.tell_state();
    }

    /// Does something to a channel, telling of it with `words`. What fails is told, and goes no further.
    fn act(&self, name: &str, action: &Action, words: Option<String>, indent: &str) {
        let Some(actor) = self
            .actor(name)
            .filter(|actor| has_method(actor.part().class, action) && actor.applies(action))
        else {
            return self.tell("    does not apply");
        };
        words.into_iter().for_each(|words| self.tell(words));
        if let Some(Err(error)) = catch(self, || actor.act(action)) {
            self.tell(format!("{indent}raises {}", self.name(&error)));
        }
    }

    fn tell_state(&self) {
        let map = self.map.values();
        let actors = self.actors.borrow();
        let mut lines = Vec::new();
        for actor in &*actors {
            let there = map.iter().any(|channel| actor.is(&**channel));
            lines.push(format!("  {}: {}", actor.part().name, actor.state(there)));
        }
        let name = |channel: &Rc<dyn asyncore::Channel>| {
            let actor = actors.iter().find(|actor| actor.is(&**channel));
            actor.map_or("?", |actor| &actor.part().name)
        };
        let names: Vec<&str> = std::iter::once("  map:")
            .chain(map.iter().map(name))
            .collect();
        lines.push(names.join(" "));
        let state = lines.join("\n");
        if *self.state_before.borrow() == state {
            self.tell("  as before");
        } else {
            lines.into_iter().for_each(|line| self.tell(line));
            self.state_before.replace(state);
        }
    }

    /// Closes everything, with resets, so that the system has nothing to remember.
    fn tear_down(&self) {
        self.over.set(true);
        for actor in self.actors.take() {
            if let Some(socket) = actor.socket() {
                if let Ok(socket) = socket.socket2() {
                    close_with_reset(&*socket);
                }
                let _ = socket.close();
            }
            let part = actor.part();
            let peer = part.peer.take();
            let ends = part.former_peers.take().into_iter();
            for end in ends.chain(peer.and_then(|peer| peer.end)) {
                close_with_reset(&end);
            }
        }
        while let Ok((stream, _)) = self.shared.server.accept() {
            close_with_reset(&stream);
        }
        self.map.clear();
    }
}

/// Makes what panics a line of the trace, and nothing else of it.
fn catch(stage: &Stage, act: impl FnOnce() -> Result) -> Option<Result> {
    let panicked = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => return Some(result),
        Err(panicked) => panicked,
    };
    let text = panicked.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panicked.downcast_ref::<String>().cloned());
    stage.tell(format!("  panic: {}", text.unwrap_or_default()));
    None
}

/// Whether a class has the method that an action calls.
fn has_method(class: Class, action: &Action) -> bool {
    match action {
        Action::InitiateSend => matches!(class, Class::AsyncChat | Class::DispatcherWithSend),
        Action::Push { .. }
        | Action::CloseWhenDone
        | Action::DiscardBuffers
        | Action::SetTerminator { .. }
        | Action::GetTerminator
        | Action::PushWithProducer { .. }
        | Action::PushDataProducer { .. }
        | Action::PushSimpleProducer { .. }
        | Action::FifoAppend { .. }
        | Action::FifoClear
        | Action::FifoPop => class == Class::AsyncChat,
        _ => true,
    }
}

/// Makes a map open its descriptors, which it does in its first pass: before those of the scenario.
fn open_poller(map: &ChannelMap) -> Result {
    struct Nobody;

    impl asyncore::Channel for Nobody {
        fn readable(&self) -> bool {
            false
        }

        fn writable(&self) -> bool {
            false
        }

        fn handle_read_event(&self) -> Result {
            Ok(())
        }

        fn handle_write_event(&self) -> Result {
            Ok(())
        }

        fn handle_expt_event(&self) -> Result {
            Ok(())
        }

        fn handle_close(&self) -> Result {
            Ok(())
        }

        fn close(&self) -> Result {
            Ok(())
        }
    }

    map.insert(0, Rc::new(Nobody));
    let opened = asyncore::poll2(Duration::ZERO, Some(map));
    map.clear();
    opened
}

/// What a process has once.
struct Shared {
    /// Where pairs come from.
    pairs: TcpListener,
    /// What actions connect to.
    server: TcpListener,
    /// Holds a port on which nobody listens.
    nobody: socket2::Socket,
}

impl Shared {
    fn of_thread() -> io::Result<Rc<Shared>> {
        thread_local! {
            static SHARED: OnceCell<Rc<Shared>> = const { OnceCell::new() };
        }
        SHARED.with(|shared| match shared.get() {
            Some(shared) => Ok(Rc::clone(shared)),
            None => {
                own_process();
                let made = Rc::new(Shared::new()?);
                Ok(Rc::clone(shared.get_or_init(|| made)))
            }
        })
    }

    fn new() -> io::Result<Shared> {
        let nobody = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
        nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        Ok(Shared {
            pairs: TcpListener::bind(("127.0.0.1", 0))?,
            server: listen()?,
            nobody,
        })
    }

    fn tcp_pair(&self) -> io::Result<(TcpStream, TcpStream)> {
        let near = TcpStream::connect(self.pairs.local_addr()?)?;
        near.set_nodelay(true)?;
        let (far, _) = self.pairs.accept()?;
        Ok((near, far))
    }
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets the process open no descriptor. Returns what it could before.
fn without_descriptors() -> io::Result<Rlimit> {
    let before = getrlimit(Resource::Nofile);
    let current = Some(0);
    setrlimit(Resource::Nofile, Rlimit { current, ..before })?;
    Ok(before)
}

fn close_with_reset(fd: &impl AsFd) {
    // Pipes and sockets of other kinds have no such option.
    let _ = SockRef::from(fd).set_linger(Some(Duration::ZERO));
}

// ---- who plays

/// What a channel of any class is told with.
struct Part {
    stage: Rc<Stage>,
    name: String,
    class: Class,
    kind: SocketKind,
    wants_read: Cell<Option<bool>>,
    wants_write: Cell<Option<bool>>,
    chunk: Cell<Option<usize>>,
    exhausted: Cell<bool>,
    /// How often each method has been called.
    calls: Vec<Cell<usize>>,
    /// How much each of the channel's sockets, one after another, has sent. The first stands for none.
    sent: RefCell<Vec<u64>>,
    /// Whether the channel is being given a socket. No action opens another meanwhile.
    opens: Cell<bool>,
    /// The descriptor of the end that the channel is being given.
    given: Cell<Option<RawFd>>,
    /// Which of the channel's sockets is connected to the peer that it was made with; 0 for none.
    met_by: Cell<usize>,
    peer: RefCell<Option<Peer>>,
    former_peers: RefCell<Vec<OwnedFd>>,
    /// What a channel connects to, from where its peer is accepted.
    listening: RefCell<Option<socket2::Socket>>,
    /// Where a listener listens.
    listens_at: Cell<Option<SocketAddr>>,
    /// From where it has accepted connections.
    accepted_from: RefCell<Vec<SocketAddr>>,
}

impl Part {
    fn new(stage: &Rc<Stage>, spec: &ChannelSpec) -> Part {
        Part {
            stage: Rc::clone(stage),
            name: spec.name.clone(),
            class: spec.class,
            kind: spec.socket,
            wants_read: Cell::new(None),
            wants_write: Cell::new(None),
            chunk: Cell::new((spec.class != Class::AsyncChat).then_some(1024)),
            exhausted: Cell::new(false),
            calls: vec![Cell::new(0); Method::ALL.len()],
            sent: RefCell::new(vec![0]),
            opens: Cell::new(false),
            given: Cell::new(None),
            met_by: Cell::new(0),
            peer: RefCell::default(),
            former_peers: RefCell::default(),
            listening: RefCell::default(),
            listens_at: Cell::new(None),
            accepted_from: RefCell::default(),
        }
    }

    /// Tells of a call, and reacts. True if the method of the class is not to be called.
    fn told(&self, method: Method, detail: fmt::Arguments<'_>) -> Result<bool> {
        let stage = &self.stage;
        stage.tell(format!("  {}.{}{detail}", self.name, method.name()));
        let calls = &self.calls[method as usize];
        calls.set(calls.get() + 1);
        let nth = calls.get();
        let reaction = stage.reactions.iter().find(|reaction| {
            reaction.channel == self.name && reaction.method == method && reaction.nth == nth
        });
        let Some(reaction) = reaction else {
            return Ok(false);
        };
        for ActionOn { action, on } in &reaction.actions {
            if stage.over.get() {
                return Ok(false);
            }
            let on = on.as_ref().unwrap_or(&self.name);
            let words = format!("    calls {} on {on}", action.name());
            stage.act(on, action, Some(words), "      ");
        }
        match reaction.then {
            _ if stage.over.get() => Ok(false),
            Then::Super => Ok(false),
            Then::Skip => Ok(true),
            Then::Raise(failure) => Err(error_of(failure)),
        }
    }

    /// Tells what a method of the class has returned, where Python's would raise an `OSError`.
    fn returned<T>(&self, result: Result<T>, show: impl Fn(&T) -> String) -> Result<T> {
        match &result {
            Ok(value) => self.stage.tell(format!("    returns {}", show(value))),
            Err(error) if error.errno().is_some() => {
                self.stage.tell(format!("    raises {}", error_name(error)));
            }
            Err(_) => {}
        }
        result
    }

    /// Which of the channel's sockets it has now.
    fn opening(&self, open: impl FnOnce() -> Result) -> Result {
        let before = self.opens.replace(true);
        let opened = open();
        self.opens.set(before);
        opened
    }

    fn socket_number(&self) -> usize {
        self.sent.borrow().len() - 1
    }

    fn next_socket(&self, fd: Option<RawFd>) {
        self.sent.borrow_mut().push(0);
        if fd.is_some() && fd == self.given.get() {
            self.met_by.set(self.socket_number());
        }
    }

    fn count_sent(&self, socket_number: usize, sent: usize) {
        self.sent.borrow_mut()[socket_number] += sent as u64;
    }

    fn closes(&self) -> usize {
        self.calls[Method::HandleClose as usize].get()
    }
}

/// A channel that tells of each call before it makes it.
struct Player<B: 'static> {
    base: B,
    part: Rc<Part>,
}

/// A channel of whatever class.
trait Actor {
    fn part(&self) -> &Part;

    /// Sets an attribute, if the class has it.
    fn set(&self, attribute: &Attribute);

    /// Gives the channel its socket.
    fn open(&self) -> Result;

    /// Whether an action is not one that is known to differ: see the page of differences, and
    /// `scenarios/README.md`.
    fn applies(&self, action: &Action) -> bool;

    /// Does what the class has a method for.
    fn act(&self, action: &Action) -> Result;

    fn state(&self, in_map: bool) -> String;

    fn is(&self, channel: &dyn asyncore::Channel) -> bool;

    /// The socket, unless it is closed.
    fn socket(&self) -> Option<Socket>;
}

/// What the classes have that class `dispatcher` lacks.
trait Play: Sized + 'static
where
    Player<Self>: Dispatcher<Base = Self>,
{
    /// Whether the class's `send` is the one of class `dispatcher`, which sends at once.
    const SENDS_AT_ONCE: bool = true;

    fn open(player: &Player<Self>, socket: impl Into<Socket> + AsFd) -> Result {
        player.init_socket(socket)
    }

    fn set(_player: &Player<Self>, _attribute: &Attribute) {}

    fn act(_player: &Player<Self>, _action: &Action) -> Result {
        Ok(())
    }

    fn state(_player: &Player<Self>) -> String {
        String::new()
    }
}

impl<B: Play> Player<B>
where
    Player<B>: Dispatcher<Base = B>,
{
    fn create(part: Rc<Part>) -> Rc<Player<B>> {
        Player::init(|base| Player { base, part })
    }

    fn listen_somewhere(&self) -> Result {
        self.create_socket(Domain::IPV4, Type::STREAM)?;
        self.bind(("127.0.0.1", 0))?;
        self.listen(5)
    }

    fn connect_to_peer(
        &self,
        listening: impl Into<socket2::Socket>,
        family: Domain,
        addr: impl Into<Address>,
    ) -> Result {
        self.part.listening.replace(Some(listening.into()));
        self.create_socket(family, Type::STREAM)?;
        self.part.met_by.set(self.part.socket_number());
        let socket = self.root().family_and_type.get();
        if socket.is_some_and(|(socket_family, _)| socket_family != family) {
            // A reaction has put one of its own there.
            self.part.stage.tell("    does not apply");
            return Ok(());
        }
        self.connect(addr)
    }

    fn connect_to_nobody(&self) -> Result {
        self.create_socket(Domain::IPV4, Type::STREAM)?;
        self.connect(Address::from(self.part.stage.shared.nobody.local_addr()?))
    }

    fn open_pair(
        &self,
        near: impl Into<Socket> + AsFd,
        far: impl Into<OwnedFd>,
        kind: EndKind,
    ) -> Result {
        self.part.given.set(Some(near.as_fd().as_raw_fd()));
        let peer = Peer::new(far, kind, 0)?;
        self.part.peer.replace(Some(peer));
        let opened = B::open(self, near);
        self.part.given.set(None);
        if let Some(peer) = &mut *self.part.peer.borrow_mut() {
            peer.socket_number = self.part.met_by.get();
        }
        opened
    }

    /// What follows a `send`, of so many bytes, of class `dispatcher`.
    fn has_sent(&self, socket_number: usize, sent: usize) {
        self.part.count_sent(socket_number, sent);
        let peer = self.part.peer.borrow();
        if let Some(peer) = &*peer
            && sent > 0
            && peer.end.is_none()
            && peer.kind == EndKind::Tcp
        {
            settle(self, peer, GONE);
        }
    }

    /// Waits until the attempt to connect has ended.
    fn has_connected(&self, to_inet: bool, connected: Result) -> Result {
        let Some(socket) = Actor::socket(self).and_then(|socket| socket.socket2().ok()) else {
            return connected;
        };
        let is_inet = socket
            .domain()
            .map_or(to_inet, |family| family == Domain::IPV4);
        if connected.is_err() && is_inet != to_inet {
            return Err(OtherFamily.into());
        }
        if !socket.is_listener().unwrap_or(true) && socket.peer_addr().is_err() {
            wait_until(|| polled(&*socket, PollFlags::OUT).intersects(PollFlags::OUT | GONE));
        }
        connected
    }
}

impl<B: Play> Actor for Player<B>
where
    Player<B>: Dispatcher<Base = B>,
{
    fn part(&self) -> &Part {
        &self.part
    }

    fn set(&self, attribute: &Attribute) {
        match attribute {
            Attribute::WantsRead(wants) => self.part.wants_read.set(*wants),
            Attribute::WantsWrite(wants) => self.part.wants_write.set(*wants),
            Attribute::Chunk(size) => self.part.chunk.set(*size),
            Attribute::Connected(is_so) => self.root().connected.set(*is_so),
            Attribute::Accepting(is_so) => self.root().accepting.set(*is_so),
            Attribute::Connecting(is_so) => self.root().connecting.set(*is_so),
            Attribute::Exhausted(is_so) => self.part.exhausted.set(*is_so),
            other => B::set(self, other),
        }
    }

    fn open(&self) -> Result {
        match self.part.kind {
            SocketKind::Unix => {
                let (near, far) = UnixStream::pair()?;
                self.open_pair(near, far, EndKind::Unix)
            }
            SocketKind::Tcp => {
                let (near, far) = self.part.stage.shared.tcp_pair()?;
                self.open_pair(near, far, EndKind::Tcp)
            }
            SocketKind::PipeRead => {
                let (near, far) = std::io::pipe()?;
                // Or a read before the class makes it so would wait for ever.
                rustix::io::ioctl_fionbio(&near, true)?;
                self.open_pair(NoSocketAtAll(near.into()), far, EndKind::Pipe)
            }
            SocketKind::PipeWrite => {
                let (far, near) = std::io::pipe()?;
                rustix::io::ioctl_fionbio(&near, true)?;
                self.open_pair(NoSocketAtAll(near.into()), far, EndKind::Pipe)
            }
            SocketKind::Listener => {
                let listens = self.listen_somewhere();
                let socket = Actor::socket(self);
                if let Some(Ok(Address::Inet(addr))) = socket.map(|socket| socket.local_addr()) {
                    self.part.listens_at.set(Some(addr));
                }
                listens
            }
            SocketKind::File => {
                let near = tempfile::tempfile()?;
                // One of its own, with a place of its own.
                let far = OpenOptions::new()
                    .read(true)
                    .append(true)
                    .open(format!("/proc/self/fd/{}", near.as_raw_fd()))?;
                self.open_pair(NoSocketAtAll(near.into()), far, EndKind::File)
            }
            SocketKind::Connecting => {
                let listening = listen()?;
                let addr = listening.local_addr()?;
                self.connect_to_peer(listening, Domain::IPV4, addr)
            }
            SocketKind::ConnectingUnix => {
                let folder = tempfile::tempdir()?;
                let path = folder.path().join("socket");
                let listening = UnixListener::bind(&path)?;
                listening.set_nonblocking(true)?;
                self.connect_to_peer(listening, Domain::UNIX, path)
            }
            SocketKind::Refused => self.connect_to_nobody(),
            SocketKind::None => Ok(()),
        }
    }

    fn applies(&self, action: &Action) -> bool {
        match action {
            Action::AddChannel => self.fileno().is_some(),
            Action::CreateSocket => self.fileno().is_none() && !self.part.opens.get(),
            Action::Connect => match self.root().family_and_type.get() {
                Some((family, _)) => family == Domain::IPV4,
                None => !(self.part.kind == SocketKind::Unix || self.part.kind.is_file()),
            },
            _ => true,
        }
    }

    fn act(&self, action: &Action) -> Result {
        let stage = &self.part.stage;
        match action {
            Action::Send { data } => self.send(&data.to_vec()).map(drop),
            Action::Recv { size } => self.recv(*size).map(drop),
            Action::Close => self.close(),
            Action::AddChannel => self.add_channel(None),
            Action::DelChannel => {
                self.del_channel(None);
                Ok(())
            }
            Action::Readable => {
                Dispatcher::readable(self);
                Ok(())
            }
            Action::Writable => {
                Dispatcher::writable(self);
                Ok(())
            }
            Action::LogInfo => {
                self.log_info("by the scenario", "info");
                Ok(())
            }
            Action::HandleReadEvent => self.handle_read_event(),
            Action::HandleWriteEvent => self.handle_write_event(),
            Action::HandleExptEvent => self.handle_expt_event(),
            Action::HandleConnectEvent => self.handle_connect_event(),
            Action::HandleClose => self.handle_close(),
            Action::HandleRead => self.handle_read(),
            Action::HandleWrite => self.handle_write(),
            Action::HandleExpt => self.handle_expt(),
            Action::HandleAccept => self.handle_accept(),
            Action::Accept => self.accept().and_then(|pair| match pair {
                Some((socket, _)) => Ok(socket.close()?),
                None => Ok(()),
            }),
            Action::HandleError => self.handle_error(Raised.into()),
            Action::CreateSocket => self.create_socket(Domain::IPV4, Type::STREAM),
            Action::Connect => match stage.shared.server.local_addr() {
                Ok(addr) => self.connect(addr),
                Err(error) => Err(error.into()),
            },
            Action::Set { attributes } => {
                attributes
                    .iter()
                    .for_each(|attribute| Actor::set(self, attribute));
                Ok(())
            }
            Action::Pass => stage.semantics.pass(),
            Action::ReadWrite { flags } => asyncore::readwrite(self, union_of(flags)),
            Action::CloseAll => asyncore::close_all(Some(&stage.map), false),
            Action::MapClear => {
                stage.map.clear();
                Ok(())
            }
            other => B::act(self, other),
        }
    }

    fn state(&self, in_map: bool) -> String {
        let words = [
            (self.connected(), "connected"),
            (self.accepting(), "accepting"),
            (self.connecting(), "connecting"),
            (in_map, "in the map"),
            (!in_map, "not in the map"),
        ];
        let words = words
            .into_iter()
            .filter_map(|(is_so, word)| is_so.then_some(word));
        words.collect::<Vec<_>>().join(", ") + &B::state(self)
    }

    fn is(&self, channel: &dyn asyncore::Channel) -> bool {
        let channel = channel.downcast_ref::<Player<B>>();
        channel.is_some_and(|channel| std::ptr::eq(channel, self))
    }

    fn socket(&self) -> Option<Socket> {
        let socket = Dispatcher::socket(self).ok();
        socket.filter(|socket| socket.fileno().is_some())
    }
}

/// An end of a pipe, which only class `file_dispatcher` has a use for.
struct NoSocketAtAll(OwnedFd);

impl AsFd for NoSocketAtAll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<NoSocketAtAll> for Socket {
    fn from(end: NoSocketAtAll) -> Socket {
        socket2::Socket::from(end.0).into()
    }
}

/// One class for each of asyncore's. (A generic implementation would need `B: BaseClass<Player<B>>` in
/// order to be a dispatcher, which `B` only is for dispatchers.)
macro_rules! player {
    ($($base:ty),*) => {$(
        impl Dispatcher for Player<$base> {
            type Base = $base;

            fn base(&self) -> &$base {
                &self.base
            }

            fn readable(&self) -> bool {
                match self.part.told(Method::Readable, format_args!("")) {
                    Ok(false) => {}
                    _ => return false,
                }
                let wants = self.part.wants_read.get();
                wants.unwrap_or_else(|| self.base.readable(self))
            }

            fn writable(&self) -> bool {
                match self.part.told(Method::Writable, format_args!("")) {
                    Ok(false) => {}
                    _ => return false,
                }
                let wants = self.part.wants_write.get();
                wants.unwrap_or_else(|| self.base.writable(self))
            }

            fn handle_read(&self) -> Result {
                if self.part.told(Method::HandleRead, format_args!(""))? {
                    return Ok(());
                }
                match self.part.chunk.get() {
                    Some(size) => self.recv(size).map(drop),
                    None => self.base.handle_read(self),
                }
            }

            fn handle_error(&self, error: Error) -> Result {
                let name = self.part.stage.name(&error);
                if self.part.told(Method::HandleError, format_args!(" {name}"))? {
                    return Ok(());
                }
                self.base.handle_error(self, error)
            }

            // What is told is the trace; nobody reads the message.
            fn log_info(&self, _message: &str, kind: &str) {
                let _ = self.part.told(Method::LogInfo, format_args!(" {kind}"));
            }

            fn recv(&self, size: usize) -> Result<Vec<u8>> {
                if self.part.told(Method::Recv, format_args!(" {size}"))? {
                    return Ok(Vec::new());
                }
                self.part.returned(self.base.recv(self, size), |data| show(data))
            }

            fn send(&self, data: &[u8]) -> Result<usize> {
                if self.part.told(Method::Send, format_args!(" {}", show(data)))? {
                    return Ok(0);
                }
                let socket_number = self.part.socket_number();
                let result = self.base.send(self, data);
                if let Ok(sent) = result && <$base>::SENDS_AT_ONCE {
                    self.has_sent(socket_number, sent);
                }
                self.part.returned(result, usize::to_string)
            }

            fn accept(&self) -> Result<Option<(Socket, Address)>> {
                if self.part.told(Method::Accept, format_args!(""))? {
                    return Ok(None);
                }
                let limit = self.part.exhausted.get().then(without_descriptors).transpose()?;
                let pair = self.base.accept(self);
                limit.map(|limit| setrlimit(Resource::Nofile, limit)).transpose()?;
                if let Ok(Some((_, Address::Inet(addr)))) = pair {
                    self.part.accepted_from.borrow_mut().push(addr);
                }
                self.part.returned(pair, |pair| match pair {
                    Some(_) => "a connection".to_owned(),
                    None => "None".to_owned(),
                })
            }

            fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
                if self.part.told(Method::HandleAccepted, format_args!(""))? {
                    return Ok(());
                }
                self.base.handle_accepted(self, socket, addr)
            }

            fn del_channel(&self, map: Option<&ChannelMap>) {
                if let Ok(false) = self.part.told(Method::DelChannel, format_args!("")) {
                    self.base.del_channel(self, map);
                }
            }

            fn set_socket(&self, socket: impl Into<Socket>, map: Option<&ChannelMap>) -> Result {
                self.part.opening(|| {
                    if self.part.told(Method::SetSocket, format_args!(""))? {
                        return Ok(());
                    }
                    let socket = socket.into();
                    self.part.next_socket(socket.fileno());
                    self.base.set_socket(self, socket, map)
                })
            }

            fn create_socket(&self, family: Domain, kind: Type) -> Result {
                self.part.opening(|| {
                    if self.part.told(Method::CreateSocket, format_args!(""))? {
                        return Ok(());
                    }
                    self.base.create_socket(self, family, kind)
                })
            }

            fn bind(&self, addr: impl Into<Address>) -> Result {
                if self.part.told(Method::Bind, format_args!(""))? {
                    return Ok(());
                }
                self.base.bind(self, addr.into())
            }

            fn connect(&self, addr: impl Into<Address>) -> Result {
                if self.part.told(Method::Connect, format_args!(""))? {
                    return Ok(());
                }
                let addr = addr.into();
                let to_inet = matches!(addr, Address::Inet(_));
                let connected = self.base.connect(self, addr);
                self.has_connected(to_inet, connected)
            }

            fn add_channel(&self, map: Option<&ChannelMap>) -> Result {
                if self.part.told(Method::AddChannel, format_args!(""))? {
                    return Ok(());
                }
                if self.fileno().is_none() {
                    self.part.stage.tell("    does not apply");
                    return Ok(());
                }
                self.base.add_channel(self, map)
            }

            player! { plainly
                Listen listen(backlog: i32),
                Close close(),
                HandleReadEvent handle_read_event(),
                HandleWriteEvent handle_write_event(),
                HandleExptEvent handle_expt_event(),
                HandleConnectEvent handle_connect_event(),
                HandleWrite handle_write(),
                HandleExpt handle_expt(),
                HandleConnect handle_connect(),
                HandleAccept handle_accept(),
                HandleClose handle_close()
            }
        }
    )*};
    (plainly $($name:ident $method:ident($($argument:ident: $type:ty),*)),*) => {$(
        fn $method(&self $(, $argument: $type)*) -> Result {
            if self.part.told(Method::$name, format_args!(""))? {
                return Ok(());
            }
            self.base.$method(self $(, $argument)*)
        }
    )*};
}

player!(
    DispatcherBase,
    DispatcherWithSendBase,
    FileDispatcherBase,
    AsyncChatBase
);

impl Play for DispatcherBase {}

impl Play for DispatcherWithSendBase {
    const SENDS_AT_ONCE: bool = false;

    fn set(player: &Player<Self>, attribute: &Attribute) {
        if let Attribute::OutBuffer(data) = attribute {
            player.base.set_out_buffer(data.to_vec());
        }
    }

    fn act(player: &Player<Self>, action: &Action) -> Result {
        match action {
            Action::InitiateSend => player.initiate_send(),
            _ => Ok(()),
        }
    }

    fn state(player: &Player<Self>) -> String {
        format!(", to send {}", show(&player.base.out_buffer()))
    }
}

impl DispatcherWithSend for Player<DispatcherWithSendBase> {
    fn initiate_send(&self) -> Result {
        if self.part.told(Method::InitiateSend, format_args!(""))? {
            return Ok(());
        }
        let socket_number = self.part.socket_number();
        let closes = self.part.closes();
        let length = self.base.out_buffer_len();
        let result = self.base.initiate_send(self);
        // It calls nobody unless the connection is lost; then it has sent nothing.
        if self.part.closes() == closes {
            let left = self.base.out_buffer_len();
            self.has_sent(socket_number, length.saturating_sub(left));
        }
        result
    }
}

impl Play for FileDispatcherBase {
    fn open(player: &Player<Self>, file: impl Into<Socket> + AsFd) -> Result {
        // Does so itself, but only after calls that may read already.
        rustix::io::ioctl_fionbio(&file, true).map_err(io::Error::from)?;
        player.init_file(file)
    }
}

impl FileDispatcher for Player<FileDispatcherBase> {
    fn set_file(&self, fd: BorrowedFd<'_>) -> Result {
        self.part.next_socket(Some(fd.as_raw_fd()));
        FileDispatcherClass::set_file(&self.base, self, fd)
    }
}

impl Play for AsyncChatBase {
    fn set(player: &Player<Self>, attribute: &Attribute) {
        let base = &player.base;
        match attribute {
            Attribute::AcInBufferSize(size) => base.ac_in_buffer_size.set(*size),
            Attribute::AcOutBufferSize(size) => base.ac_out_buffer_size.set(*size),
            Attribute::AcInBuffer(data) => base.set_ac_in_buffer(data.to_vec()),
            Attribute::Terminator(terminator) => {
                base.replace_terminator(terminator);
            }
            _ => {}
        }
    }

    fn act(player: &Player<Self>, action: &Action) -> Result {
        let fifo = &player.base.producer_fifo;
        match action {
            Action::Push { data } => player.push(data.to_vec()),
            Action::CloseWhenDone => player.close_when_done(),
            Action::InitiateSend => player.initiate_send(),
            Action::DiscardBuffers => {
                player.discard_buffers();
                Ok(())
            }
            Action::SetTerminator { terminator } => player.set_terminator(terminator),
            Action::GetTerminator => {
                player.get_terminator();
                Ok(())
            }
            Action::PushWithProducer { pieces, falsy } => player.push_with_producer(Pieces {
                part: Rc::clone(&player.part),
                left: RefCell::new(pieces.iter().map(|piece| piece.to_vec()).collect()),
                falsy: *falsy,
            }),
            Action::PushDataProducer { data } => player.push_with_producer(data.to_vec()),
            Action::PushSimpleProducer { data, size } => {
                let producer = SimpleProducer::with_buffer_size(data.to_vec(), *size);
                player.push_with_producer(producer)
            }
            Action::FifoAppend { data } => {
                fifo.push(data.to_vec());
                Ok(())
            }
            Action::FifoClear => {
                fifo.clear();
                Ok(())
            }
            Action::FifoPop => {
                fifo.pop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn state(player: &Player<Self>) -> String {
        let base = &player.base;
        let terminator = match base.terminator() {
            asynchat::Terminator::None => "None".to_owned(),
            asynchat::Terminator::Count(count) => count.to_string(),
            asynchat::Terminator::Bytes(bytes) => show(&bytes),
        };
        format!(
            ", {} queued, received {}, incoming {}, terminator {terminator}",
            base.producer_fifo.len(),
            show(&base.ac_in_buffer()),
            show(&base.incoming()),
        )
    }
}

impl AsyncChat for Player<AsyncChatBase> {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        let skipped = self
            .part
            .told(Method::CollectIncomingData, format_args!(" {}", show(data)))?;
        if !skipped {
            self._collect_incoming_data(data);
        }
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        self.part.told(Method::FoundTerminator, format_args!(""))?;
        Ok(())
    }

    fn get_terminator(&self) -> asynchat::Terminator {
        match self.part.told(Method::GetTerminator, format_args!("")) {
            Ok(false) => self.base.get_terminator(self),
            _ => asynchat::Terminator::None,
        }
    }

    fn push(&self, data: impl Into<Data>) -> Result {
        let data = data.into();
        let bytes = data.as_bytes();
        if self
            .part
            .told(Method::Push, format_args!(" {}", show(bytes)))?
        {
            return Ok(());
        }
        self.base.push(self, data)
    }

    fn push_with_producer(&self, producer: impl Into<Queued>) -> Result {
        if self.part.told(Method::PushWithProducer, format_args!(""))? {
            return Ok(());
        }
        self.base.push_with_producer(self, producer.into())
    }

    fn discard_buffers(&self) {
        if let Ok(false) = self.part.told(Method::DiscardBuffers, format_args!("")) {
            self.base.discard_buffers(self);
        }
    }

    player! { plainly
        CloseWhenDone close_when_done(),
        InitiateSend initiate_send()
    }
}

/// Makes pieces, and tells of it as if it were a method of its channel.
struct Pieces {
    part: Rc<Part>,
    left: RefCell<VecDeque<Vec<u8>>>,
    falsy: bool,
}

impl Producer for Pieces {
    fn more(&self) -> Result<Data> {
        if self.part.told(Method::More, format_args!(""))? {
            return Ok(Data::default());
        }
        let piece = self.left.borrow_mut().pop_front();
        Ok(piece.unwrap_or_default().into())
    }

    fn truth(&self) -> bool {
        !self.falsy
    }
}

impl From<&Terminator> for asynchat::Terminator {
    fn from(terminator: &Terminator) -> asynchat::Terminator {
        match terminator {
            Terminator::None => asynchat::Terminator::None,
            Terminator::Count(count) => asynchat::Terminator::Count(*count),
            Terminator::Bytes(bytes) => bytes.to_vec().into(),
        }
    }
}

fn union_of(flags: &[Flag]) -> asyncore::PollFlags {
    let mut union = asyncore::PollFlags::empty();
    for flag in flags {
        union |= match flag {
            Flag::In => asyncore::PollFlags::IN,
            Flag::Out => asyncore::PollFlags::OUT,
            Flag::Pri => asyncore::PollFlags::PRI,
            Flag::Err => asyncore::PollFlags::ERR,
            Flag::Hup => asyncore::PollFlags::HUP,
            Flag::Nval => asyncore::PollFlags::NVAL,
        };
    }
    union
}

// ---- peers

/// The other end of a channel's connection.
struct Peer {
    /// `None` once closed.
    end: Option<OwnedFd>,
    kind: EndKind,
    /// Which of the channel's sockets it is connected to, or was accepted by.
    socket_number: usize,
    /// Where a connection to a listener comes from.
    connected_from: Option<SocketAddr>,
    received: u64,
    /// Whether it has sent out of band, which FIONREAD does not see beyond.
    sent_out_of_band: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EndKind {
    Tcp,
    /// Shows at once what the other side does.
    Unix,
    /// As do these.
    Pipe,
    File,
}

impl Peer {
    fn new(end: impl Into<OwnedFd>, kind: EndKind, socket_number: usize) -> io::Result<Peer> {
        let end = end.into();
        rustix::io::ioctl_fionbio(&end, true)?;
        if kind == EndKind::Tcp {
            SockRef::from(&end).set_tcp_nodelay(true)?;
        }
        Ok(Peer {
            end: Some(end),
            kind,
            socket_number,
            connected_from: None,
            received: 0,
            sent_out_of_band: false,
        })
    }
}

/// Any of these says that the other side has ended.
const ENDED: PollFlags = PollFlags::RDHUP.union(GONE);
/// Any of these says that the connection has.
const GONE: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

/// So much is on its way until it has come. There may be no room for more.
const ROOM: u64 = 32 * 1024;

impl Stage {
    fn peer_step(&self, name: &str, does: &PeerAction) {
        let Some(actor) = self.actor(name) else {
            return;
        };
        let done = match does {
            PeerAction::Connect => connect_peer(&*actor),
            _ => self.peer_does(&*actor, does),
        };
        if let Err(error) = done {
            self.tell(format!("  fails with {}", error_name(&error.into())));
        }
    }

    fn peer_does(&self, actor: &dyn Actor, does: &PeerAction) -> io::Result<()> {
        let part = actor.part();
        if part.peer.borrow().is_none() {
            accept_peer(part)?;
        }
        let mut peer = part.peer.borrow_mut();
        let Some(peer) = peer.as_mut().filter(|peer| peer.end.is_some()) else {
            self.tell("  is closed");
            return Ok(());
        };
        await_channel(actor, peer);
        match does {
            PeerAction::Send { data } => self.peer_sends(actor, peer, &data.to_vec()),
            PeerAction::Read => {
                self.peer_reads(actor, peer);
                Ok(())
            }
            PeerAction::Shutdown if matches!(peer.kind, EndKind::Tcp | EndKind::Unix) => {
                shut_peer_down(actor, peer)
            }
            PeerAction::Shutdown | PeerAction::Close => {
                close_peer(actor, peer);
                Ok(())
            }
            PeerAction::Reset => {
                reset_peer(actor, peer);
                Ok(())
            }
            PeerAction::Oob if peer.kind == EndKind::Tcp => send_out_of_band(actor, peer),
            PeerAction::Oob | PeerAction::Connect => Ok(()),
        }
    }

    fn peer_sends(&self, actor: &dyn Actor, peer: &Peer, data: &[u8]) -> io::Result<()> {
        let Some(end) = &peer.end else {
            return Ok(());
        };
        let near = near_end(actor, peer);
        let waiting = near.as_ref().map_or(0, unread);
        let sent = match peer.kind {
            EndKind::Pipe | EndKind::File => rustix::io::write(end, data)?,
            _ => rustix::net::send(end, data, rustix::net::SendFlags::NOSIGNAL)?,
        };
        if sent < data.len() {
            self.tell(format!("  sends {sent} of {}", data.len()));
        }
        if sent == 0 || peer.kind != EndKind::Tcp {
            return Ok(());
        }
        match near {
            Some(near) if peer.sent_out_of_band => {
                wait_until(|| polled(&near, PollFlags::IN).intersects(PollFlags::IN | GONE));
            }
            Some(near) => {
                let expected = (waiting + sent as u64).min(ROOM);
                wait_until(|| {
                    unread(&near) >= expected || polled(&near, PollFlags::IN).intersects(GONE)
                });
            }
            None if is_waiting(actor, peer) => {}
            None => wait_until(|| polled(end, PollFlags::IN).intersects(GONE)),
        }
        Ok(())
    }

    fn peer_reads(&self, actor: &dyn Actor, peer: &mut Peer) {
        let Some(end) = &peer.end else {
            return;
        };
        let has_near = near_end(actor, peer).is_some();
        let sent = sent_to(actor, peer);
        // Of a connection that waits to be accepted nothing is to be expected.
        let ends = peer.kind == EndKind::Tcp && !has_near && !is_waiting(actor, peer);
        let mut data = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        let mut then = None;
        wait_until(|| {
            loop {
                match rustix::io::read(end, &mut buffer) {
                    Ok(0) => then = Some("  reads the end".to_owned()),
                    Ok(received) => {
                        data.extend_from_slice(&buffer[..received]);
                        continue;
                    }
                    Err(Errno::AGAIN) => {
                        return !ends && peer.received + data.len() as u64 >= sent;
                    }
                    Err(Errno::CONNRESET) => then = Some("  reads a reset".to_owned()),
                    Err(error) => {
                        let error = io::Error::from(error).into();
                        then = Some(format!("  fails with {}", error_name(&error)));
                    }
                }
                return true;
            }
        });
        peer.received += data.len() as u64;
        self.tell(format!("  reads {}", show(&data)));
        then.into_iter().for_each(|line| self.tell(line));
    }
}

/// Connects to a channel that listens.
fn connect_peer(actor: &dyn Actor) -> io::Result<()> {
    let part = actor.part();
    let Some(addr) = part.listens_at.get() else {
        return Ok(());
    };
    let listener = actor.socket().and_then(|socket| socket.socket2().ok());
    let end = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    end.set_nonblocking(true)?;
    match end.connect(&addr.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        result => result?,
    }
    let connects = || polled(&end, PollFlags::OUT).intersects(PollFlags::OUT | GONE);
    // The kernel makes one wait for which a listener has no room.
    if !wait_for(Duration::from_millis(100), connects) {
        return Err(Errno::AGAIN.into());
    }
    if let Some(error) = end.take_error()? {
        return Err(error);
    }
    if let Some(listener) = listener.filter(|listener| listener.is_listener().unwrap_or(false)) {
        wait_until(|| polled(&*listener, PollFlags::IN).contains(PollFlags::IN));
    }
    let from = end.local_addr()?.as_socket();
    let mut peer = Peer::new(end, EndKind::Tcp, part.socket_number())?;
    peer.connected_from = from;
    let former = part.peer.replace(Some(peer));
    let former = former.and_then(|former| former.end);
    part.former_peers.borrow_mut().extend(former);
    Ok(())
}

/// Accepts the connection of a channel that has connected.
fn accept_peer(part: &Part) -> io::Result<()> {
    let listening = part.listening.borrow();
    let Some(listening) = &*listening else {
        return Ok(());
    };
    match listening.accept() {
        Ok((end, _)) => {
            let kind = match end.domain()? {
                Domain::UNIX => EndKind::Unix,
                _ => EndKind::Tcp,
            };
            let peer = Peer::new(end, kind, part.met_by.get())?;
            part.peer.replace(Some(peer));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

fn shut_peer_down(actor: &dyn Actor, peer: &Peer) -> io::Result<()> {
    if let Some(end) = &peer.end {
        rustix::net::shutdown(end, rustix::net::Shutdown::Write)?;
        settle(actor, peer, ENDED);
    }
    Ok(())
}

fn send_out_of_band(actor: &dyn Actor, peer: &mut Peer) -> io::Result<()> {
    if let Some(end) = &peer.end {
        SockRef::from(end).send_out_of_band(b"!")?;
        peer.sent_out_of_band = true;
        if near_end(actor, peer).is_some() {
            settle(actor, peer, PollFlags::PRI | GONE);
        } else if !is_waiting(actor, peer) {
            wait_until(|| polled(end, PollFlags::IN).intersects(GONE));
        }
    }
    Ok(())
}

fn close_peer(actor: &dyn Actor, peer: &mut Peer) {
    let resets = peer.end.as_ref().is_some_and(|end| unread(end) > 0);
    peer.end = None;
    settle(actor, peer, if resets { GONE } else { ENDED });
}

fn reset_peer(actor: &dyn Actor, peer: &mut Peer) {
    peer.end.take().iter().for_each(close_with_reset);
    settle(
        actor,
        peer,
        if peer.kind == EndKind::Tcp {
            GONE
        } else {
            ENDED
        },
    );
}

// ---- waiting by looking

/// Waits until the kernel reports any of `flags` of the channel's end.
fn settle(actor: &dyn Actor, peer: &Peer, flags: PollFlags) {
    // Nothing is ever to be seen of a file.
    if peer.kind != EndKind::File
        && let Some(near) = near_end(actor, peer)
    {
        wait_until(|| polled(&near, flags).intersects(flags));
    }
}

/// Waits until the peer has got all that the channel did.
fn await_channel(actor: &dyn Actor, peer: &Peer) {
    let Some(end) = &peer.end else {
        return;
    };
    if peer.kind != EndKind::Tcp || is_waiting(actor, peer) {
        return;
    }
    if near_end(actor, peer).is_some() {
        let expected = sent_to(actor, peer).saturating_sub(peer.received).min(ROOM);
        wait_until(|| unread(end) >= expected || polled(end, PollFlags::IN).intersects(GONE));
    } else {
        wait_until(|| polled(end, PollFlags::RDHUP).intersects(ENDED));
    }
}

fn wait_until(seen: impl FnMut() -> bool) {
    wait_for(Duration::from_secs(5), seen);
}

fn wait_for(longest: Duration, mut seen: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if seen() {
            return true;
        }
        if start.elapsed() > longest {
            return false;
        }
        std::thread::yield_now();
    }
}

/// How much the channel has sent to the peer.
fn sent_to(actor: &dyn Actor, peer: &Peer) -> u64 {
    let sent = actor.part().sent.borrow();
    match peer.connected_from {
        Some(_) => 0,
        None => sent.get(peer.socket_number).copied().unwrap_or(0),
    }
}

/// Whether the channel has another socket by now than the one that the peer met, or none that is open.
fn has_left(actor: &dyn Actor, peer: &Peer) -> bool {
    actor.socket().is_none() || actor.part().socket_number() != peer.socket_number
}

/// Whether the peer's connection to a listener is still to be accepted.
fn is_waiting(actor: &dyn Actor, peer: &Peer) -> bool {
    let accepted = actor.part().accepted_from.borrow();
    let waits = |addr| !accepted.contains(&addr) && !has_left(actor, peer);
    peer.connected_from.is_some_and(waits)
}

/// The channel's end of the connection to the peer, while it is open.
fn near_end(actor: &dyn Actor, peer: &Peer) -> Option<NearEnd> {
    if peer.connected_from.is_some() || has_left(actor, peer) {
        return None;
    }
    let socket = actor.socket()?;
    match socket.socket2() {
        Ok(socket) => Some(NearEnd::Socket(socket)),
        // A `FileWrapper`. What is done to pipes and Unix sockets shows at once.
        Err(_) if peer.kind != EndKind::Tcp => None,
        Err(_) => {
            use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

            let fd = pidfd_getfd(own_process()?, socket.fileno()?, PidfdGetfdFlags::empty());
            Some(NearEnd::Duplicate(fd.ok()?))
        }
    }
}

enum NearEnd {
    Socket(Rc<socket2::Socket>),
    /// For a moment, while nobody closes the original.
    Duplicate(OwnedFd),
}

impl AsFd for NearEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            NearEnd::Socket(socket) => socket.as_fd(),
            NearEnd::Duplicate(fd) => fd.as_fd(),
        }
    }
}

/// The process as a descriptor: what makes a duplicate of a descriptor that is only known by its number.
fn own_process() -> Option<BorrowedFd<'static>> {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    thread_local! {
        static OWN: OnceCell<Option<&'static OwnedFd>> = const { OnceCell::new() };
    }
    OWN.with(|own| {
        let open = || pidfd_open(getpid(), PidfdFlags::empty()).ok();
        *own.get_or_init(|| open().map(|fd| &*Box::leak(Box::new(fd))))
    })
    .map(AsFd::as_fd)
}

/// What poll(2) reports of a descriptor now.
fn polled(fd: impl AsFd, flags: PollFlags) -> PollFlags {
    let mut fds = [rustix::event::PollFd::new(&fd, flags)];
    match rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// How much has come and not been read.
fn unread(fd: &impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(fd).unwrap_or(0)
}

// ---- what is told

/// Bytes as the trace has them.
fn show(data: &[u8]) -> String {
    const MOST: usize = 48;
    const SHOWN: usize = 16;

    if data.len() <= MOST {
        return literal(data);
    }
    let (shown, rest) = data.split_at(SHOWN);
    format!(
        "{}+{}#{:08x}",
        literal(shown),
        rest.len(),
        fnv1a(data) >> 32
    )
}

fn literal(data: &[u8]) -> String {
    let mut text = String::from("b\"");
    for &byte in data {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text + "\""
}

fn fnv1a(data: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Where the system fails on an address of another family than the socket's, Python does not ask it.
#[derive(Debug)]
struct OtherFamily;

impl fmt::Display for OtherFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeError")
    }
}

impl std::error::Error for OtherFamily {}

fn error_of(failure: Failure) -> Error {
    let errno = match failure {
        Failure::Raised => return Raised.into(),
        Failure::ExitNow => return ExitNow.into(),
        Failure::Io => Errno::IO,
        Failure::Again => Errno::AGAIN,
        Failure::ConnReset => Errno::CONNRESET,
        Failure::Pipe => Errno::PIPE,
    };
    io::Error::from(errno).into()
}

fn error_name(error: &Error) -> String {
    const NAMES: [(Errno, &str); 10] = [
        (Errno::IO, "EIO"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::ALREADY, "EALREADY"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::INPROGRESS, "EINPROGRESS"),
        (Errno::NOTSOCK, "ENOTSOCK"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::PROTOTYPE, "EPROTOTYPE"),
        (Errno::SHUTDOWN, "ESHUTDOWN"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
    ];
    let named = |(errno, _): &&(Errno, &str)| error.errno() == Some(errno.raw_os_error());
    match NAMES.iter().find(named) {
        Some((_, name)) => (*name).to_owned(),
        None => name_of(error),
    }
}
