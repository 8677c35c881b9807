//! What the control plane agrees on: members, routes, settings. Pure.
//!
//! Every node applies the same commands in the same order and so has the same state: nothing here
//! looks at a clock, at chance, or at the order of a hash. What each command means is told in
//! `proto/schema/gatemq/state.proto`. A command that cannot be done is refused with a text, and
//! one that was done before changes nothing, so that a proposer that does not know what became of
//! a command may propose it again.

mod apply;
mod member;
mod parts;
mod refusal;
mod routes;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gatemq_proto::cluster::state::{Command, ControlNode, Outcome, Part, Role};

pub(crate) use self::apply::FOUNDER;
pub use self::member::Member;
pub use self::parts::{PART_BYTES, Restoring, Unreadable};
pub use self::refusal::Refusal;
pub use self::routes::{Counts, InOrder, Routes};
pub use self::settings::{HISTORY, Settings};

/// The whole replicated state. A clone is cheap: what is not changed is shared.
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: u64,
    cluster: Option<Cluster>,
    control: Arc<BTreeMap<u64, ControlNode>>,
    members: Arc<BTreeMap<u64, Arc<Member>>>,
    settings: Settings,
}

/// What came of a command on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What the proposer is told.
    pub outcome: Outcome,
    /// Whether anything but the revision is other than before.
    pub has_changed: bool,
}

#[derive(Clone, Debug)]
struct Cluster {
    id: Bytes,
    control_size: u32,
    /// As `Register` says it; empty before the first gateway.
    store: String,
}

// === impl State ===

impl State {
    /// Applies the command at an index of the log, which is above the revision. No clock, no
    /// chance, no order of a hash.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        self.apply_noting(index, command).outcome
    }

    /// Like [`apply`](Self::apply), and says whether anything has changed.
    pub fn apply_noting(&mut self, index: u64, command: &Command) -> Applied {
        self.pass(index);
        match self.execute(index, command) {
            Ok(done) => Applied {
                outcome: Outcome {
                    index: done.index,
                    refused: String::new(),
                },
                has_changed: done.has_changed,
            },
            Err(refusal) => Applied {
                outcome: Outcome {
                    index,
                    refused: refusal.to_string(),
                },
                has_changed: false,
            },
        }
    }

    /// Goes over an entry of the log that is no command.
    pub fn pass(&mut self, index: u64) {
        debug_assert!(index > self.revision || self.revision == 0, "in order");
        self.revision = index;
    }

    /// The index of the last entry of the log that was applied, command or not; 0 before the
    /// first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All of it, in parts of at most about 64 KiB.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        parts::of(self)
    }

    /// Puts a state together again from all its parts, in their order.
    ///
    /// # Errors
    ///
    /// A part that this version cannot read, or that does not fit the others.
    pub fn restore(
        revision: u64,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Self, Unreadable> {
        let mut restoring = Restoring::default();
        for part in parts {
            restoring.add(part)?;
        }
        Ok(restoring.finish(revision))
    }

    /// A number that is the same for equal states on every node. Takes time: it reads all of it.
    pub fn hash(&self) -> u64 {
        parts::hash(self)
    }

    /// The 16 bytes that no other cluster has; `None` before there is a cluster.
    pub fn cluster_id(&self) -> Option<&Bytes> {
        self.cluster.as_ref().map(|cluster| &cluster.id)
    }

    /// How many voters the cluster is meant to have; 0 before there is a cluster.
    pub fn control_size(&self) -> u32 {
        self.cluster.as_ref().map_or(0, |it| it.control_size)
    }

    /// Where the gateways' sessions are, as `Register` says it; empty before the first gateway.
    pub fn store(&self) -> &str {
        self.cluster.as_ref().map_or("", |it| &it.store)
    }

    /// The nodes of the control plane by number, as they were when they were admitted.
    pub fn control_nodes(&self) -> impl Iterator<Item = (u64, &ControlNode)> {
        self.control.iter().map(|(number, node)| (*number, node))
    }

    /// A node of the control plane.
    pub fn control_node(&self, number: u64) -> Option<&ControlNode> {
        self.control.get(&number)
    }

    /// The node of the control plane that has a name.
    pub fn control_node_named(&self, name: &str) -> Option<(u64, &ControlNode)> {
        self.control_nodes().find(|(_, node)| node.name == name)
    }

    /// Gateways and bridges by incarnation, fenced ones among them.
    pub fn members(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members
            .iter()
            .map(|(incarnation, member)| (*incarnation, &**member))
    }

    /// The member of an incarnation.
    pub fn member(&self, incarnation: u64) -> Option<&Member> {
        self.members.get(&incarnation).map(|member| &**member)
    }

    /// The incarnation of a name in a role that is not fenced: a node may be several things.
    pub fn living(&self, name: &str, role: Role) -> Option<(u64, &Member)> {
        let is_it = |member: &Member| member.name() == name && member.role() == role;
        self.members()
            .find(|(_, member)| !member.is_fenced() && is_it(member))
    }

    /// Who has subscribers of a filter, by incarnation, fenced ones among them.
    pub fn routes_of<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = (u64, Counts)> + 'a {
        self.members().filter_map(move |(incarnation, member)| {
            Some((incarnation, member.routes().find(filter)?))
        })
    }

    /// All routes in the order of their filters, from a filter on; of one filter in the order of
    /// incarnations.
    pub fn routes_from(&self, filter: &str) -> InOrder<'_> {
        let members = self.members();
        InOrder::new(members.map(|(incarnation, it)| (incarnation, it.routes().from(filter))))
    }

    /// How many routes there are: a filter counts once for each incarnation.
    pub fn n_routes(&self) -> usize {
        self.members().map(|(_, it)| it.routes().len()).sum()
    }

    /// Configuration and bans.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(test)]
mod tests;
