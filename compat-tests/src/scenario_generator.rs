//! Scenarios that nobody thought of: drawn at random, the same ones from the same seed.

use fastrand::Rng;

use crate::scenario::{
    Action, ActionOn, Attribute, Bytes, ChannelSpec, Class, Failure, Flag, Method, PeerAction,
    Reaction, Scenario, SocketKind, Step, Terminator, Then,
};
use crate::situation::Semantics;

/// The scenario with this number among those of a seed.
pub fn generate(seed: u64, number: u64) -> Scenario {
    // Numbers are not to overlap with those of the next seeds.
    let mut draw = Draw(Rng::with_seed(
        seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
    ));
    let channels: Vec<ChannelSpec> = ["a", "b", "c"][..draw.weighted(&[0, 5, 4, 1])]
        .iter()
        .map(|name| draw.channel(name))
        .collect();
    let reactions = (0..draw.weighted(&[3, 4, 3, 2, 1]))
        .map(|_| draw.reaction(&channels))
        .collect();
    let mut steps = Vec::new();
    for _ in 0..draw.0.usize(2..9) {
        steps.extend(draw.steps(&channels));
    }
    Scenario {
        name: format!("seed {seed} case {number}"),
        semantics: *draw.one_of(&Semantics::BOTH),
        channels,
        reactions,
        steps,
    }
}

struct Draw(Rng);

impl Draw {
    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.usize(..items.len())]
    }

    /// An index, as often as its weight says.
    fn weighted(&mut self, weights: &[u32]) -> usize {
        let sum: u32 = weights.iter().sum();
        let mut left = self.0.u32(..sum);
        weights
            .iter()
            .position(|&weight| {
                let here = left < weight;
                left = left.saturating_sub(weight);
                here
            })
            .unwrap_or_default()
    }

    fn once_in(&mut self, times: u32) -> bool {
        self.0.u32(..times) == 0
    }

    // ---- channels

    fn channel(&mut self, name: &str) -> ChannelSpec {
        let class = Class::ALL[self.weighted(&[5, 4, 2, 9])];
        let socket = if class == Class::FileDispatcher {
            *self.one_of(&[
                SocketKind::PipeRead,
                SocketKind::PipeWrite,
                SocketKind::File,
            ])
        } else {
            match self.weighted(&[8, 6, 2, 2, 1, 1, 1]) {
                0 => SocketKind::Unix,
                1 => SocketKind::Tcp,
                2 => SocketKind::Listener,
                3 => SocketKind::Connecting,
                4 => SocketKind::Refused,
                5 => SocketKind::ConnectingUnix,
                _ => SocketKind::None,
            }
        };
        let mut channel = ChannelSpec::new(name, class, socket);
        if class == Class::AsyncChat && !self.once_in(5) {
            channel = channel.with(Attribute::Terminator(self.terminator()));
        }
        if !matches!(class, Class::AsyncChat | Class::DispatcherWithSend) && !self.once_in(4) {
            // Or else every pass tells of a write that is possible.
            channel = channel.with(Attribute::WantsWrite(Some(self.once_in(3))));
        }
        for _ in 0..self.weighted(&[6, 3, 1]) {
            let attribute = self.attribute(class);
            channel = channel.with(attribute);
        }
        channel
    }

    fn attribute(&mut self, class: Class) -> Attribute {
        let answer = |draw: &mut Draw| *draw.one_of(&[None, Some(false), Some(true)]);
        match class {
            Class::AsyncChat if !self.once_in(4) => match self.0.u32(..4) {
                0 => Attribute::AcInBufferSize(self.0.usize(1..12)),
                1 => Attribute::AcOutBufferSize(self.0.usize(1..12)),
                2 => Attribute::AcInBuffer(self.data()),
                _ => Attribute::Terminator(self.terminator()),
            },
            Class::DispatcherWithSend if self.once_in(3) => Attribute::OutBuffer(self.data()),
            _ => match self.weighted(&[2, 2, 2, 1, 1, 1]) {
                0 => Attribute::WantsRead(answer(self)),
                1 => Attribute::WantsWrite(answer(self)),
                2 if self.once_in(4) => Attribute::Chunk(None),
                2 => Attribute::Chunk(Some(self.0.usize(1..8))),
                3 => Attribute::Connected(self.0.bool()),
                4 => Attribute::Accepting(self.0.bool()),
                _ => Attribute::Connecting(self.0.bool()),
            },
        }
    }

    fn terminator(&mut self) -> Terminator {
        match self.weighted(&[7, 3, 2]) {
            0 => Terminator::Bytes(self.text(1..4)),
            1 => Terminator::Count(self.0.i64(0..9)),
            _ => Terminator::None,
        }
    }

    /// Of few characters, so that terminators and their beginnings are found in it.
    fn text(&mut self, length: std::ops::Range<usize>) -> Bytes {
        let length = self.0.usize(length);
        let bytes: Vec<u8> = (0..length).map(|_| *self.one_of(b"aab\r\n")).collect();
        bytes.into()
    }

    fn data(&mut self) -> Bytes {
        if self.once_in(20) {
            return Bytes::repeated(*self.one_of(&["ab", "\r\n", "x"]), self.0.usize(50..3000));
        }
        self.text(0..12)
    }

    // ---- what is done

    fn reaction(&mut self, channels: &[ChannelSpec]) -> Reaction {
        const OF_CHAT: [Method; 9] = [
            Method::CollectIncomingData,
            Method::FoundTerminator,
            Method::GetTerminator,
            Method::More,
            Method::InitiateSend,
            Method::Push,
            Method::PushWithProducer,
            Method::CloseWhenDone,
            Method::DiscardBuffers,
        ];

        let channel = self.one_of(channels).clone();
        let method = if channel.class == Class::AsyncChat && self.0.bool() {
            OF_CHAT[self.weighted(&[6, 6, 2, 4, 3, 1, 1, 1, 1])]
        } else {
            *self.one_of(Method::ALL)
        };
        let mut reaction = Reaction::new(&channel.name, method, self.weighted(&[0, 6, 2, 1]));
        let mut actions: Vec<ActionOn> = (0..self.weighted(&[2, 6, 2]))
            .map(|_| self.action_on(channels, &channel))
            .collect();
        if self.once_in(12) {
            // A descriptor finds another owner, which seldom comes about otherwise.
            let closed = self.one_of(channels).name.clone();
            let opened = self.one_of(channels).name.clone();
            actions.push(Action::Close.on(&closed));
            actions.push(Action::CreateSocket.on(&opened));
        }
        for action in actions {
            reaction = reaction.with(action);
        }
        let then = match self.weighted(&[8, 1, 2]) {
            1 => Then::Skip,
            2 if method.can_fail() => Then::Raise(*self.one_of(&Failure::ALL)),
            _ => Then::Super,
        };
        reaction.then(then)
    }

    fn action_on(&mut self, channels: &[ChannelSpec], reacting: &ChannelSpec) -> ActionOn {
        let target = if self.once_in(3) {
            self.one_of(channels).clone()
        } else {
            reacting.clone()
        };
        let action = self.action(target.class);
        if target.name == reacting.name {
            action.into()
        } else {
            action.on(&target.name)
        }
    }

    fn action(&mut self, class: Class) -> Action {
        match class {
            Class::AsyncChat if !self.once_in(3) => self.chat_action(),
            Class::DispatcherWithSend if self.once_in(6) => Action::InitiateSend,
            _ => self.dispatcher_action(class),
        }
    }

    fn chat_action(&mut self) -> Action {
        match self.weighted(&[6, 4, 2, 2, 2, 2, 1, 1, 1, 6, 1]) {
            0 => Action::Push { data: self.data() },
            1 => Action::PushWithProducer {
                pieces: (0..self.0.usize(..4)).map(|_| self.text(0..9)).collect(),
                falsy: self.once_in(4),
            },
            2 => Action::PushDataProducer { data: self.data() },
            3 => Action::PushSimpleProducer {
                data: self.data(),
                size: self.0.usize(1..9),
            },
            4 => Action::CloseWhenDone,
            5 => Action::InitiateSend,
            6 => Action::DiscardBuffers,
            7 => Action::FifoAppend { data: self.data() },
            8 => self.one_of(&[Action::FifoClear, Action::FifoPop]).clone(),
            9 => Action::SetTerminator {
                terminator: self.terminator(),
            },
            _ => Action::GetTerminator,
        }
    }

    fn dispatcher_action(&mut self, class: Class) -> Action {
        match self.weighted(&[4, 4, 4, 2, 2, 3, 9, 1, 1, 1, 1, 1]) {
            0 => Action::Send { data: self.data() },
            1 => Action::Recv {
                size: self.0.usize(1..20),
            },
            2 => Action::Close,
            3 => Action::AddChannel,
            4 => Action::DelChannel,
            5 => Action::Set {
                attributes: vec![self.attribute(class)],
            },
            6 => self
                .one_of(&[
                    Action::Readable,
                    Action::Writable,
                    Action::LogInfo,
                    Action::HandleReadEvent,
                    Action::HandleWriteEvent,
                    Action::HandleExptEvent,
                    Action::HandleConnectEvent,
                    Action::HandleClose,
                    Action::HandleRead,
                    Action::HandleWrite,
                    Action::HandleExpt,
                    Action::HandleAccept,
                    Action::Accept,
                    Action::HandleError,
                ])
                .clone(),
            7 => Action::Pass,
            8 => Action::ReadWrite {
                flags: (0..self.0.usize(1..4))
                    .map(|_| *self.one_of(&Flag::ALL))
                    .collect(),
            },
            9 => Action::CreateSocket,
            10 => Action::Connect,
            _ => self.one_of(&[Action::CloseAll, Action::MapClear]).clone(),
        }
    }

    // ---- what happens

    /// Something happens, and most often a pass or two see it.
    fn steps(&mut self, channels: &[ChannelSpec]) -> Vec<Step> {
        let channel = self.one_of(channels).clone();
        let mut steps = Vec::new();
        if self.once_in(4) {
            steps.push(Step::call(&channel.name, self.action(channel.class)));
        } else {
            let does = match channel.socket {
                SocketKind::Listener => PeerAction::Connect,
                SocketKind::PipeWrite => PeerAction::Read,
                _ => match self.weighted(&[10, 4, 2, 1, 1, 1]) {
                    0 => PeerAction::Send { data: self.data() },
                    1 => PeerAction::Read,
                    2 => PeerAction::Shutdown,
                    3 => PeerAction::Reset,
                    4 => PeerAction::Close,
                    _ => PeerAction::Oob,
                },
            };
            steps.push(Step::peer(&channel.name, does));
        }
        match self.weighted(&[2, 6, 2]) {
            0 => {}
            passes => steps.push(Step::passes(passes)),
        }
        steps
    }
}
