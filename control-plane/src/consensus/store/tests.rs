//! The store by itself: openraft's suite, refusals at the start, and crashes at every commit.

mod crash;
mod damage;
mod refusal;
mod suite;

use std::collections::BTreeSet;
use std::sync::Arc;

use gatemq_proto::cluster::state::{
    Command, ControlNode, Found, Register, Role, Route, Routes, command,
};
use openraft::EntryPayload;
use parking_lot::Mutex;

use super::*;
use crate::consensus::machine::{Applied, Machine};
use crate::consensus::raft::{Membership, Node};
use crate::state::State;

/// Remembers the indexes that it heard of.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Mutex<Vec<u64>>>,
}

impl Applied for Listener {
    fn applied(&mut self, index: u64, _: &Command) {
        self.heard.lock().push(index);
    }

    fn passed(&mut self, index: u64) {
        self.heard.lock().push(index);
    }

    fn reset(&mut self, state: &State) {
        *self.heard.lock() = vec![state.revision()];
    }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, 1), index)
}

fn identity() -> Identity {
    Identity {
        cluster_id: vec![7; CLUSTER_ID].into(),
        number: 1,
        name: "c01".to_owned(),
        is_founder: true,
    }
}

/// The entries of a history: a membership, the founding, a gateway, then routes.
fn entry(term: u64, index: u64) -> Entry {
    let payload = match index {
        0 => EntryPayload::Membership(membership()),
        1 => EntryPayload::Blank,
        2 => normal(command::Kind::Found(Found {
            cluster_id: vec![7; CLUSTER_ID].into(),
            node: Some(ControlNode::default()),
            control_size: 3,
        })),
        3 => normal(command::Kind::Register(Register {
            name: "g1".to_owned(),
            role: Role::Gateway.into(),
            ..Register::default()
        })),
        _ => normal(command::Kind::Routes(Routes {
            incarnation: 3,
            number: index,
            set: vec![Route {
                filter: format!("{term}/{index}"),
                n_online: 0,
                n_offline: 0,
            }],
            ..Routes::default()
        })),
    };
    let log_id = id(term, index);
    Entry { log_id, payload }
}

fn normal(kind: command::Kind) -> EntryPayload<TypeConfig> {
    EntryPayload::Normal(Arc::new(Command { kind: Some(kind) }))
}

fn membership() -> Membership {
    let nodes = std::collections::BTreeMap::from([(1, Node::default())]);
    Membership::new(vec![BTreeSet::from([1])], nodes)
}

/// What entries `0..=last` make, all of one term.
fn state_of(entries: impl Iterator<Item = Entry>) -> State {
    let mut state = State::default();
    for entry in entries {
        match entry.payload {
            EntryPayload::Normal(command) => drop(state.apply(entry.log_id.index, &command)),
            _ => state.pass(entry.log_id.index),
        }
    }
    state
}

#[expect(clippy::needless_pass_by_value, reason = "as the store gives it")]
fn no_failure(error: Error) {
    panic!("a commit failed: {error}");
}
