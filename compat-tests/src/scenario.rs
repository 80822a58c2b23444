//! Scenarios: small stories about channels, as data.
//!
//! `scenarios/README.md` says what they mean and how they are written down. Here they are types, to be read
//! from JSON, written to it, and made by programs:
//!
//! ```
//! use compat_tests::scenario::{Action, Attribute, ChannelSpec, Class, Method, Reaction, Scenario};
//! use compat_tests::scenario::{SocketKind, Step};
//! use compat_tests::situation::Semantics;
//!
//! let scenario = Scenario {
//!     name: "a line comes in two pieces".to_owned(),
//!     semantics: Semantics::Select,
//!     channels: vec![
//!         ChannelSpec::new("a", Class::AsyncChat, SocketKind::Unix)
//!             .with(Attribute::Terminator("\r\n".into())),
//!     ],
//!     reactions: vec![
//!         Reaction::new("a", Method::FoundTerminator, 1)
//!             .with(Action::Push { data: "ok\r\n".into() }),
//!     ],
//!     steps: vec![
//!         Step::send("a", "hello\r"),
//!         Step::passes(1),
//!         Step::send("a", "\nmore"),
//!         Step::passes(2),
//!         Step::call("a", Action::CloseWhenDone),
//!     ],
//! };
//! let json = serde_json::to_string(&scenario)?;
//! assert_eq!(scenario, serde_json::from_str(&json)?);
//! assert_eq!(scenario.check(), Ok(()));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::situation::Semantics;

/// A story: who there is, how each reacts, and what happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about.
    pub name: String,
    /// Which of the two kinds of passes.
    #[serde(with = "SemanticsNames")]
    pub semantics: Semantics,
    /// The channels, in the order in which they are made.
    #[serde(default)]
    pub channels: Vec<ChannelSpec>,
    /// What channels do when they are called.
    #[serde(default)]
    pub reactions: Vec<Reaction>,
    /// What happens.
    #[serde(default)]
    pub steps: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Semantics", rename_all = "lowercase")]
enum SemanticsNames {
    Select,
    Poll,
}

/// Bytes, which are written down as a string whose characters stand for themselves.
#[derive(Clone, PartialEq, Eq)]
pub enum Bytes {
    /// These.
    Plain(Vec<u8>),
    /// The same, many times.
    Repeated {
        /// What is repeated.
        repeat: Vec<u8>,
        /// How often.
        times: usize,
    },
}

/// A channel to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSpec {
    /// Its name: one word.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Its socket.
    pub socket: SocketKind,
    /// Attributes that are set before it is given its socket.
    #[serde(
        default,
        rename = "set",
        with = "attributes",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attributes: Vec<Attribute>,
}

/// The classes that channels are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "Python's names say it all")]
pub enum Class {
    Dispatcher,
    DispatcherWithSend,
    FileDispatcher,
    AsyncChat,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [
        Class::Dispatcher,
        Class::DispatcherWithSend,
        Class::FileDispatcher,
        Class::AsyncChat,
    ];
}

/// What a channel is around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    /// One end of a stream socket pair.
    Unix,
    /// One end of a connection over 127.0.0.1.
    Tcp,
    /// A socket that listens.
    Listener,
    /// A socket that connects to one that listens.
    Connecting,
    /// The same of Unix sockets.
    ConnectingUnix,
    /// A socket that connects where nobody listens.
    Refused,
    /// The reading end of a pipe.
    PipeRead,
    /// The writing end of a pipe.
    PipeWrite,
    /// A regular file.
    File,
    /// Nothing.
    None,
}

impl SocketKind {
    /// Whether it is one that only `file_dispatcher` takes.
    pub fn is_file(self) -> bool {
        matches!(
            self,
            SocketKind::PipeRead | SocketKind::PipeWrite | SocketKind::File
        )
    }
}

/// An attribute and its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// What `readable` answers; `None`: what the class does.
    WantsRead(Option<bool>),
    /// What `writable` answers; `None`: what the class does.
    WantsWrite(Option<bool>),
    /// How much `handle_read` receives at once; `None`: what the class does.
    Chunk(Option<usize>),
    /// `connected`
    Connected(bool),
    /// `accepting`
    Accepting(bool),
    /// `connecting`
    Connecting(bool),
    /// Whether the process has no descriptor left when the channel accepts.
    Exhausted(bool),
    /// `ac_in_buffer_size` of class `async_chat`.
    AcInBufferSize(usize),
    /// `ac_out_buffer_size` of class `async_chat`.
    AcOutBufferSize(usize),
    /// `terminator` of class `async_chat`.
    Terminator(Terminator),
    /// `ac_in_buffer` of class `async_chat`.
    AcInBuffer(Bytes),
    /// `out_buffer` of class `dispatcher_with_send`.
    OutBuffer(Bytes),
}

/// What ends a piece of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a terminator is bytes, a number or null")]
pub enum Terminator {
    /// Nothing.
    None,
    /// So many bytes.
    Count(i64),
    /// These bytes.
    Bytes(Bytes),
}

/// What a channel does when it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// The channel's name.
    pub channel: String,
    /// The method that is called.
    pub method: Method,
    /// Which of the calls, from 1.
    pub nth: usize,
    /// What is done.
    #[serde(default)]
    pub actions: Vec<ActionOn>,
    /// What becomes of the call after that.
    #[serde(default)]
    pub then: Then,
}

/// What becomes of a call after the reaction's actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// The method of the class is called.
    #[default]
    Super,
    /// It is not.
    Skip,
    /// It is not, and the method fails.
    Raise(Failure),
}

/// What a method fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// An exception of the runner's own.
    Raised,
    /// `asyncore.ExitNow`
    ExitNow,
    /// An `OSError` with `EIO`
    #[serde(rename = "EIO")]
    Io,
    /// An `OSError` with `EAGAIN`
    #[serde(rename = "EAGAIN")]
    Again,
    /// An `OSError` with `ECONNRESET`
    #[serde(rename = "ECONNRESET")]
    ConnReset,
    /// An `OSError` with `EPIPE`
    #[serde(rename = "EPIPE")]
    Pipe,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 6] = [
        Failure::Raised,
        Failure::ExitNow,
        Failure::Io,
        Failure::Again,
        Failure::ConnReset,
        Failure::Pipe,
    ];
}

/// Declares the methods with their names.
macro_rules! methods {
    ($($method:ident $name:literal),* $(,)?) => {
        /// A method that is told of, and that can have reactions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "Python's names say it all")]
        pub enum Method {
            $(#[serde(rename = $name)] $method),*
        }

        impl Method {
            /// All of them.
            pub const ALL: &[Method] = &[$(Method::$method),*];

            /// Python's name of the method.
            pub fn name(self) -> &'static str {
                match self {
                    $(Method::$method => $name),*
                }
            }
        }
    };
}

methods! {
    Accept "accept",
    AddChannel "add_channel",
    Bind "bind",
    Close "close",
    CloseWhenDone "close_when_done",
    CollectIncomingData "collect_incoming_data",
    Connect "connect",
    CreateSocket "create_socket",
    DelChannel "del_channel",
    DiscardBuffers "discard_buffers",
    FoundTerminator "found_terminator",
    GetTerminator "get_terminator",
    HandleAccept "handle_accept",
    HandleAccepted "handle_accepted",
    HandleClose "handle_close",
    HandleConnect "handle_connect",
    HandleConnectEvent "handle_connect_event",
    HandleError "handle_error",
    HandleExpt "handle_expt",
    HandleExptEvent "handle_expt_event",
    HandleRead "handle_read",
    HandleReadEvent "handle_read_event",
    HandleWrite "handle_write",
    HandleWriteEvent "handle_write_event",
    InitiateSend "initiate_send",
    Listen "listen",
    LogInfo "log_info",
    More "more",
    Push "push",
    PushWithProducer "push_with_producer",
    Readable "readable",
    Recv "recv",
    Send "send",
    SetSocket "set_socket",
    Writable "writable",
}

impl Method {
    /// Whether the method can fail, so that a reaction in it may raise something.
    pub fn can_fail(self) -> bool {
        !matches!(
            self,
            Method::Readable
                | Method::Writable
                | Method::LogInfo
                | Method::DelChannel
                | Method::GetTerminator
                | Method::DiscardBuffers
        )
    }
}

/// What is done to a channel, or by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "Python's names say it all")]
pub enum Action {
    Send {
        data: Bytes,
    },
    Recv {
        size: usize,
    },
    Close,
    AddChannel,
    DelChannel,
    Readable,
    Writable,
    LogInfo,
    HandleReadEvent,
    HandleWriteEvent,
    HandleExptEvent,
    HandleConnectEvent,
    HandleClose,
    HandleRead,
    HandleWrite,
    HandleExpt,
    HandleAccept,
    Accept,
    HandleError,
    CreateSocket,
    Connect,
    Push {
        data: Bytes,
    },
    CloseWhenDone,
    InitiateSend,
    DiscardBuffers,
    SetTerminator {
        terminator: Terminator,
    },
    GetTerminator,
    PushWithProducer {
        pieces: Vec<Bytes>,
        /// Whether its truth value is false.
        #[serde(default)]
        falsy: bool,
    },
    PushDataProducer {
        data: Bytes,
    },
    PushSimpleProducer {
        data: Bytes,
        size: usize,
    },
    FifoAppend {
        data: Bytes,
    },
    FifoClear,
    FifoPop,
    Set {
        #[serde(with = "attributes")]
        attributes: Vec<Attribute>,
    },
    /// A pass within the pass.
    Pass,
    #[serde(rename = "readwrite")]
    ReadWrite {
        flags: Vec<Flag>,
    },
    CloseAll,
    MapClear,
}

impl Action {
    /// The action on another channel than the reacting one.
    pub fn on(self, channel: impl Into<String>) -> ActionOn {
        ActionOn {
            action: self,
            on: Some(channel.into()),
        }
    }

    /// What stands at `do`.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Send { .. } => "send",
            Action::Recv { .. } => "recv",
            Action::Close => "close",
            Action::AddChannel => "add_channel",
            Action::DelChannel => "del_channel",
            Action::Readable => "readable",
            Action::Writable => "writable",
            Action::LogInfo => "log_info",
            Action::HandleReadEvent => "handle_read_event",
            Action::HandleWriteEvent => "handle_write_event",
            Action::HandleExptEvent => "handle_expt_event",
            Action::HandleConnectEvent => "handle_connect_event",
            Action::HandleClose => "handle_close",
            Action::HandleRead => "handle_read",
            Action::HandleWrite => "handle_write",
            Action::HandleExpt => "handle_expt",
            Action::HandleAccept => "handle_accept",
            Action::Accept => "accept",
            Action::HandleError => "handle_error",
            Action::CreateSocket => "create_socket",
            Action::Connect => "connect",
            Action::Push { .. } => "push",
            Action::CloseWhenDone => "close_when_done",
            Action::InitiateSend => "initiate_send",
            Action::DiscardBuffers => "discard_buffers",
            Action::SetTerminator { .. } => "set_terminator",
            Action::GetTerminator => "get_terminator",
            Action::PushWithProducer { .. } => "push_with_producer",
            Action::PushDataProducer { .. } => "push_data_producer",
            Action::PushSimpleProducer { .. } => "push_simple_producer",
            Action::FifoAppend { .. } => "fifo_append",
            Action::FifoClear => "fifo_clear",
            Action::FifoPop => "fifo_pop",
            Action::Set { .. } => "set",
            Action::Pass => "pass",
            Action::ReadWrite { .. } => "readwrite",
            Action::CloseAll => "close_all",
            Action::MapClear => "map_clear",
        }
    }
}

/// What poll(2) reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the system's names say it all")]
pub enum Flag {
    In,
    Out,
    Pri,
    Err,
    Hup,
    Nval,
}

impl Flag {
    /// All of them.
    pub const ALL: [Flag; 6] = [
        Flag::In,
        Flag::Out,
        Flag::Pri,
        Flag::Err,
        Flag::Hup,
        Flag::Nval,
    ];
}

/// An action and the channel it is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ActionOn {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// The channel's name; `None`: the reacting one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Map<String, Value>")]
pub enum Step {
    /// A peer does something.
    Peer {
        /// The name of the channel whose peer it is.
        peer: String,
        /// What it does.
        #[serde(flatten)]
        does: PeerAction,
    },
    /// So many passes.
    Pass {
        /// How many.
        pass: usize,
    },
    /// An action by nobody.
    Call {
        /// The channel's name.
        call: String,
        /// What is done.
        #[serde(flatten)]
        action: Action,
    },
}

/// What a peer does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerAction {
    /// Sends data.
    Send {
        /// The data.
        data: Bytes,
    },
    /// Reads all that has come.
    Read,
    /// Ends its sending side.
    Shutdown,
    /// Closes with a reset.
    Reset,
    /// Closes.
    Close,
    /// Sends a byte out of band.
    Oob,
    /// Connects to a listener.
    Connect,
}

impl PeerAction {
    /// What stands at `do`.
    pub fn name(&self) -> &'static str {
        match self {
            PeerAction::Send { .. } => "send",
            PeerAction::Read => "read",
            PeerAction::Shutdown => "shutdown",
            PeerAction::Reset => "reset",
            PeerAction::Close => "close",
            PeerAction::Oob => "oob",
            PeerAction::Connect => "connect",
        }
    }
}

// ---- making them

impl ChannelSpec {
    /// A channel without attributes.
    pub fn new(name: impl Into<String>, class: Class, socket: SocketKind) -> ChannelSpec {
        ChannelSpec {
            name: name.into(),
            class,
            socket,
            attributes: Vec::new(),
        }
    }

    /// The channel with one attribute more.
    #[must_use]
    pub fn with(mut self, attribute: Attribute) -> ChannelSpec {
        self.attributes.push(attribute);
        self
    }
}

impl Reaction {
    /// A reaction that does nothing.
    pub fn new(channel: impl Into<String>, method: Method, nth: usize) -> Reaction {
        Reaction {
            channel: channel.into(),
            method,
            nth,
            actions: Vec::new(),
            then: Then::Super,
        }
    }

    /// The reaction with one action more.
    #[must_use]
    pub fn with(mut self, action: impl Into<ActionOn>) -> Reaction {
        self.actions.push(action.into());
        self
    }

    /// The reaction with another outcome.
    #[must_use]
    pub fn then(mut self, then: Then) -> Reaction {
        self.then = then;
        self
    }
}

impl From<Action> for ActionOn {
    fn from(action: Action) -> ActionOn {
        ActionOn { action, on: None }
    }
}

impl Step {
    /// A step of a peer.
    pub fn peer(peer: impl Into<String>, does: PeerAction) -> Step {
        Step::Peer {
            peer: peer.into(),
            does,
        }
    }

    /// A peer sends something.
    pub fn send(peer: impl Into<String>, data: impl Into<Bytes>) -> Step {
        Step::peer(peer, PeerAction::Send { data: data.into() })
    }

    /// So many passes.
    pub fn passes(pass: usize) -> Step {
        Step::Pass { pass }
    }

    /// An action by nobody.
    pub fn call(channel: impl Into<String>, action: Action) -> Step {
        Step::Call {
            call: channel.into(),
            action,
        }
    }
}

impl Bytes {
    /// `repeat`, so many times.
    pub fn repeated(repeat: impl Into<Vec<u8>>, times: usize) -> Bytes {
        Bytes::Repeated {
            repeat: repeat.into(),
            times,
        }
    }

    /// The bytes themselves.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Bytes::Plain(bytes) => bytes.clone(),
            Bytes::Repeated { repeat, times } => repeat.repeat(*times),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Bytes::Plain(bytes) => bytes.len(),
            Bytes::Repeated { repeat, times } => repeat.len().saturating_mul(*times),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bytes::Plain(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Bytes::Repeated { repeat, times } => {
                write!(f, "b\"{}\" * {times}", repeat.escape_ascii())
            }
        }
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes::Plain(text.into())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes::Plain(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Bytes {
        Bytes::Plain(bytes.into())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::Plain(bytes)
    }
}

impl<T: Into<Bytes>> From<T> for Terminator {
    fn from(bytes: T) -> Terminator {
        Terminator::Bytes(bytes.into())
    }
}

// ---- looking them over

impl Scenario {
    /// Whether the parts fit together.
    ///
    /// # Errors
    ///
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        for (at, channel) in self.channels.iter().enumerate() {
            channel.check()?;
            if self.channels[..at]
                .iter()
                .any(|other| other.name == channel.name)
            {
                return Err(format!("there are two channels {}", channel.name));
            }
        }
        for reaction in &self.reactions {
            self.check_reaction(reaction)?;
        }
        for step in &self.steps {
            match step {
                Step::Peer { peer: name, .. } | Step::Call { call: name, .. } => {
                    self.knows(name)?
                }
                Step::Pass { .. } => {}
            }
        }
        Ok(())
    }

    fn check_reaction(&self, reaction: &Reaction) -> Result<(), String> {
        self.knows(&reaction.channel)?;
        for action in &reaction.actions {
            action.on.as_ref().map_or(Ok(()), |name| self.knows(name))?;
        }
        if reaction.nth == 0 {
            return Err("`nth` counts from 1".to_owned());
        }
        if matches!(reaction.then, Then::Raise(_)) && !reaction.method.can_fail() {
            return Err(format!("{} cannot raise", reaction.method.name()));
        }
        Ok(())
    }

    fn knows(&self, name: &str) -> Result<(), String> {
        if self.channels.iter().any(|channel| channel.name == name) {
            return Ok(());
        }
        Err(format!("there is no channel {name:?}"))
    }
}

impl ChannelSpec {
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            return Err(format!("{:?} is no word", self.name));
        }
        if self.socket.is_file() && self.class != Class::FileDispatcher {
            return Err(format!("{} cannot have a pipe or a file", self.name));
        }
        Ok(())
    }
}

// ---- reading and writing them

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Bytes::Plain(bytes) => serializer.serialize_str(&latin1_text(bytes)),
            Bytes::Repeated { repeat, times } => {
                let repeat = latin1_text(repeat);
                let times = *times;
                RepeatedText { repeat, times }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let parsed = match Value::deserialize(deserializer)? {
            Value::String(text) => latin1_bytes(&text).map(Bytes::Plain),
            value => parse(value).and_then(|text: RepeatedText| {
                let bytes = Bytes::repeated(latin1_bytes(&text.repeat)?, text.times);
                if bytes.len() > MOST_BYTES {
                    return Err(format!("more than {MOST_BYTES} bytes"));
                }
                Ok(bytes)
            }),
        };
        parsed.map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "bytes: a string, or {\"repeat\": …, \"times\": …}"
)]
struct RepeatedText {
    repeat: String,
    times: usize,
}

/// Of one piece of data. More would be a mistake.
const MOST_BYTES: usize = 16 << 20;

fn latin1_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn latin1_bytes(text: &str) -> Result<Vec<u8>, String> {
    let byte = |character| {
        u8::try_from(character).map_err(|_| format!("{character:?} in {text:?} is no byte"))
    };
    text.chars().map(byte).collect()
}

/// Attributes are a list in Rust, so that they keep their order, and an object in JSON.
mod attributes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        attributes: &[Attribute],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for attribute in attributes {
            let Ok(Value::Object(entry)) = serde_json::to_value(attribute) else {
                continue;
            };
            for (name, value) in entry {
                object.serialize_entry(&name, &value)?;
            }
        }
        object.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Attribute>, D::Error> {
        struct Attributes;

        impl<'de> Visitor<'de> for Attributes {
            type Value = Vec<Attribute>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes and their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Attribute>, A::Error> {
                let mut attributes = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let entry = Value::Object(Map::from_iter([(name, value)]));
                    attributes.push(parse(entry).map_err(A::Error::custom)?);
                }
                Ok(attributes)
            }
        }

        deserializer.deserialize_map(Attributes)
    }
}

impl TryFrom<Map<String, Value>> for ActionOn {
    type Error = String;

    fn try_from(mut object: Map<String, Value>) -> Result<ActionOn, String> {
        let on = object.remove("on").map(parse).transpose()?;
        Ok(ActionOn {
            action: parse_strictly(object)?,
            on,
        })
    }
}

impl TryFrom<Map<String, Value>> for Step {
    type Error = String;

    fn try_from(mut object: Map<String, Value>) -> Result<Step, String> {
        if let Some(peer) = object.remove("peer") {
            return Ok(Step::Peer {
                peer: parse(peer)?,
                does: parse_strictly(object)?,
            });
        }
        if let Some(call) = object.remove("call") {
            return Ok(Step::Call {
                call: parse(call)?,
                action: parse_strictly(object)?,
            });
        }
        match object.remove("pass") {
            Some(pass) if object.is_empty() => Ok(Step::Pass { pass: parse(pass)? }),
            _ => Err("a step is one of `peer`, `pass` and `call`".to_owned()),
        }
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Reads what is tagged with `do`. serde would overlook what is too much where no other field is expected.
fn parse_strictly<T: Serialize + DeserializeOwned>(
    object: Map<String, Value>,
) -> Result<T, String> {
    let names: Vec<String> = object.keys().cloned().collect();
    let parsed: T = parse(Value::Object(object))?;
    let known = serde_json::to_value(&parsed).map_err(|error| error.to_string())?;
    match names.iter().find(|name| known.get(name).is_none()) {
        Some(name) => Err(format!("unknown field `{name}`")),
        None => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(json: &str) -> String {
        serde_json::from_str::<Scenario>(json)
            .unwrap_err()
            .to_string()
    }

    fn with_step(step: &str) -> String {
        format!(r#"{{"name": "n", "semantics": "poll", "steps": [{step}]}}"#)
    }

    #[test]
    fn all_kinds_of_steps_are_read_and_written() {
        for step in [
            r#"{"peer":"a","do":"send","data":"\u00e9"}"#,
            r#"{"peer":"a","do":"oob"}"#,
            r#"{"pass":3}"#,
            r#"{"call":"a","do":"readwrite","flags":["IN","NVAL"]}"#,
            r#"{"call":"a","do":"set","attributes":{"terminator":null,"chunk":5}}"#,
            r#"{"call":"a","do":"push","data":{"repeat":"ab","times":3}}"#,
            r#"{"call":"a","do":"set_terminator","terminator":-1}"#,
        ] {
            let read: Step = serde_json::from_str(step).unwrap();
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(written.replace('é', r"\u00e9"), step);
        }
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for &method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (step, message) in [
            (
                r#"{"peer": "a", "do": "read", "data": ""}"#,
                "unknown field `data`",
            ),
            (r#"{"call": "a", "do": "sing"}"#, "unknown variant `sing`"),
            (r#"{"call": "a", "do": "push"}"#, "missing field `data`"),
            (
                r#"{"call": "a", "do": "push", "data": "\u20ac"}"#,
                "is no byte",
            ),
            (
                r#"{"call": "a", "do": "set", "attributes": {"x": 1}}"#,
                "unknown variant `x`",
            ),
            (r#"{"pass": 1, "peer": "a"}"#, "missing field `do`"),
            (r#"{}"#, "a step is one of"),
        ] {
            let error = error_of(&with_step(step));
            assert!(error.contains(message), "{step}: {error}");
        }
    }
}
