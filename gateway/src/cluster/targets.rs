//! Whom a message is for: nodes of the cluster, and of this one those whom the sender means.

use std::cell::{Cell, RefCell};

use gatemq_router::peer::Pick;
use smallvec::SmallVec;

use crate::proto::cluster::bridges;

/// Who is to get a message.
pub(crate) enum Scope<'a> {
    /// Everybody; other nodes are collected.
    Everywhere(&'a mut Targets),
    /// Subscribers of this node, and of them those that the sending node means.
    Here(&'a Wanted<'a>),
}

/// Nodes that a message goes to.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    nodes: SmallVec<[Target; 4]>,
    /// Filters for which no bridge is there, with the bridges' group.
    absent: GroupPicks,
}

/// Groups of which one member gets a message, with their filters.
pub(crate) type GroupPicks = SmallVec<[(Box<str>, Box<str>); 1]>;

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) node: u64,
    /// Whether it goes to subscribers outside of groups.
    pub(super) is_direct: bool,
    /// Groups of which a member there gets it, with their filters.
    pub(super) picks: GroupPicks,
}

/// What the node that sent a message asks for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) is_direct: bool,
    pub(crate) picks: &'a [Pick],
    /// Groups that had it before.
    pub(crate) had: &'a [Pick],
    /// The node that only asks which of the groups have had it, if one does.
    pub(crate) asks: Option<u64>,
    /// Groups that found nobody.
    pub(crate) refused: RefCell<Vec<Pick>>,
    /// Groups whose members have no room.
    pub(crate) full: RefCell<Vec<Pick>>,
    /// Whether one of those has members that are just leaving this node.
    pub(crate) is_moving: Cell<bool>,
    /// How many of those have members, and none that may have it, or can take it.
    pub(crate) n_denied: Cell<usize>,
}

// === impl Scope, Targets, Target, Wanted ===

impl Scope<'_> {
    pub(crate) fn is_direct(&self) -> bool {
        match self {
            Self::Everywhere(_) => true,
            Self::Here(wanted) => wanted.is_direct,
        }
    }

    /// Adds nodes that have subscribers outside of groups.
    #[inline]
    pub(crate) fn add_nodes(&mut self, nodes: &[u64]) {
        if let Self::Everywhere(targets) = self {
            for node in nodes {
                targets.of(*node).is_direct = true;
            }
        }
    }
}

impl Targets {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.nodes.iter()
    }

    /// A bridge is to get the message, and none is there.
    pub(crate) fn miss(&mut self, group: &str, filter: &str) {
        self.absent.push((group.into(), filter.into()));
    }

    /// What bridges would get that are not there.
    pub(crate) fn take_absent(&mut self) -> GroupPicks {
        std::mem::take(&mut self.absent)
    }

    /// A member of a group there is to get the message.
    pub(crate) fn add_pick(&mut self, node: u64, group: &str, filter: &str) {
        self.of(node).picks.push((group.into(), filter.into()));
    }

    fn of(&mut self, node: u64) -> &mut Target {
        let known = self.nodes.iter().position(|target| target.node == node);
        let at = known.unwrap_or_else(|| {
            self.nodes.push(Target {
                node,
                is_direct: false,
                picks: SmallVec::new(),
            });
            self.nodes.len() - 1
        });
        &mut self.nodes[at]
    }
}

impl Target {
    /// Whether it is a bridge, which has no sessions and wants to know who has published.
    pub(super) fn is_bridge(&self) -> bool {
        let mut picks = self.picks.iter();
        picks.any(|(group, _)| bridges::is_reserved(group))
    }
}

impl Wanted<'_> {
    pub(crate) fn has_pick(&self, group: &str, filter: &str) -> bool {
        is_among(self.picks, group, filter)
    }

    /// Whether a group had it before.
    pub(crate) fn has_had(&self, group: &str, filter: &str) -> bool {
        is_among(self.had, group, filter)
    }

    /// Members of the group are just leaving.
    pub(crate) fn refuse_moving(&self, group: &str, filter: &str) {
        self.is_moving.set(true);
        self.refuse(group, filter);
    }

    /// Members of the group are there, and none may have it, or can take it.
    pub(crate) fn refuse_denied(&self, group: &str, filter: &str) {
        self.n_denied.update(|n| n + 1);
        self.refuse(group, filter);
    }

    /// Nobody of the group could take it.
    pub(crate) fn refuse(&self, group: &str, filter: &str) {
        self.refused.borrow_mut().push(pick((group, filter)));
    }

    /// Members of the group are there, and have no room.
    pub(crate) fn refuse_full(&self, group: &str, filter: &str) {
        self.full.borrow_mut().push(pick((group, filter)));
    }
}

fn is_among(picks: &[Pick], group: &str, filter: &str) -> bool {
    let mut picks = picks.iter();
    picks.any(|pick| pick.group == group && pick.filter == filter)
}

/// A group and its filter, as another node names them.
pub(super) fn pick((group, filter): (&str, &str)) -> Pick {
    Pick {
        group: group.to_owned(),
        filter: filter.to_owned(),
    }
}
