//! Makes a scenario that fails as small as it can be while it still fails.

use crate::scenario::{Action, Attribute, Bytes, PeerAction, Scenario, Step};

/// Leaves out whatever is not needed for `fails` to hold, until nothing more can be left out.
pub fn shrink(mut scenario: Scenario, mut fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    loop {
        let smaller = candidates(&scenario)
            .into_iter()
            .find(|candidate| candidate.check().is_ok() && fails(candidate));
        match smaller {
            Some(smaller) => scenario = smaller,
            None => return scenario,
        }
    }
}

/// All scenarios that are smaller by one thing, those first that are smaller by most.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            candidates.push(candidate);
        }
    };
    let count = scenario.steps.len();
    for length in [count / 2, count / 4] {
        for start in (0..count).step_by(length.max(1)) {
            if length > 1 {
                with(&|s| drop(s.steps.drain(start..count.min(start + length))));
            }
        }
    }
    for at in 0..scenario.channels.len() {
        with(&|s| {
            let gone = s.channels.remove(at).name;
            s.reactions.retain(|reaction| reaction.channel != gone);
            for reaction in &mut s.reactions {
                reaction
                    .actions
                    .retain(|action| action.on.as_ref() != Some(&gone));
            }
            s.steps.retain(|step| match step {
                Step::Peer { peer: name, .. } | Step::Call { call: name, .. } => *name != gone,
                Step::Pass { .. } => true,
            });
        });
    }
    for at in 0..count {
        with(&|s| drop(s.steps.remove(at)));
    }
    for at in 0..scenario.reactions.len() {
        with(&|s| drop(s.reactions.remove(at)));
        for action in 0..scenario.reactions[at].actions.len() {
            with(&|s| drop(s.reactions[at].actions.remove(action)));
        }
        with(&|s| s.reactions[at].then = Default::default());
        with(&|s| s.reactions[at].nth = 1);
    }
    for at in 0..scenario.channels.len() {
        for attribute in 0..scenario.channels[at].attributes.len() {
            with(&|s| drop(s.channels[at].attributes.remove(attribute)));
        }
    }
    for at in 0..count {
        with(&|s| {
            if let Step::Pass { pass } = &mut s.steps[at] {
                *pass = 1;
            }
        });
    }
    // Data last: there are many of it.
    for half in [true, false] {
        for number in 0..data_of(&mut scenario.clone()).len() {
            with(&|s| {
                if let Some(data) = data_of(s).into_iter().nth(number) {
                    *data = shorter(data, half);
                }
            });
        }
    }
    candidates
}

/// The first half of some data, or all but the last byte.
fn shorter(data: &Bytes, half: bool) -> Bytes {
    match data {
        Bytes::Repeated { repeat, times } if half => Bytes::repeated(repeat.clone(), times / 2),
        _ => {
            let bytes = data.to_vec();
            let keep = if half {
                bytes.len() / 2
            } else {
                bytes.len().saturating_sub(1)
            };
            bytes[..keep].into()
        }
    }
}

/// Every piece of data in the scenario.
fn data_of(scenario: &mut Scenario) -> Vec<&mut Bytes> {
    let mut found = Vec::new();
    for channel in &mut scenario.channels {
        for attribute in &mut channel.attributes {
            found.extend(data_of_attribute(attribute));
        }
    }
    for reaction in &mut scenario.reactions {
        for action in &mut reaction.actions {
            found.extend(data_of_action(&mut action.action));
        }
    }
    for step in &mut scenario.steps {
        match step {
            Step::Peer {
                does: PeerAction::Send { data },
                ..
            } => found.push(data),
            Step::Call { action, .. } => found.extend(data_of_action(action)),
            _ => {}
        }
    }
    found
}

fn data_of_attribute(attribute: &mut Attribute) -> Option<&mut Bytes> {
    match attribute {
        Attribute::AcInBuffer(data) | Attribute::OutBuffer(data) => Some(data),
        _ => None,
    }
}

fn data_of_action(action: &mut Action) -> Vec<&mut Bytes> {
    match action {
        Action::Send { data }
        | Action::Push { data }
        | Action::PushDataProducer { data }
        | Action::PushSimpleProducer { data, .. }
        | Action::FifoAppend { data } => vec![data],
        Action::PushWithProducer { pieces, .. } => pieces.iter_mut().collect(),
        Action::Set { attributes } => attributes
            .iter_mut()
            .filter_map(data_of_attribute)
            .collect(),
        _ => Vec::new(),
    }
}
