//! The cluster as this gateway knows it: the other nodes, and what they want, in the table.
//!
//! Follows the state of the control plane: a snapshot in parts, then one change after the other.
//! After a snapshot, what was known before and is not in it goes.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use gatemq_router::{GroupNode, Table};

use crate::bans;
use crate::capture;
use crate::proto::cluster::bridges;
use crate::proto::cluster::state::fence::Why;
use crate::proto::cluster::state::{
    Ban, BanKind, Command, Configure, Part, Register, Role, Route, Routes, Trace, command::Kind,
    part::Kind as PartKind,
};
use crate::subscriptions::split_share;

/// Members of a group that a node is taken to have with a connection, and as many without one: whatever
/// it says, both together are a number.
const MOST_MEMBERS: u32 = u32::MAX / 2;

/// A gateway or bridge of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) peer_address: String,
    pub(crate) is_fenced: bool,
}

/// What follows from a change, besides the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A node is there, with this address.
    NodeUp(u64, String),
    /// A node takes no part any more; its routes are still there.
    NodeFenced(Departed),
    /// Nothing is left of a node.
    NodeGone(u64),
    /// This gateway is to adopt the sessions of a fenced one, in these slices.
    Adopt(u64, Vec<u32>),
    /// This gateway itself is fenced.
    Fenced,
    /// What the cluster has set of the configuration, by key: all of it.
    Settings(BTreeMap<String, String>),
    /// Who is kept out has changed.
    Bans(bans::Change),
    /// What is to be written down of clients has changed.
    Traces(capture::Change),
}

/// A node that takes no part any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Departed {
    pub(crate) incarnation: u64,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) why: Why,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// This gateway's own incarnation: its routes are not followed.
    pub(crate) own: u64,
    pub(crate) members: BTreeMap<u64, Member>,
    /// What the cluster has set of the configuration, by key.
    pub(super) settings: BTreeMap<String, String>,
    /// Whether bans were told of, which a snapshot may not have any more.
    pub(super) has_bans: bool,
    /// Everything up to here has been applied; 0 while a snapshot is being read.
    pub(crate) revision: u64,
    /// While a snapshot is being read: what it has, by hash.
    pub(super) snapshot: Option<Snapshot>,
}

#[derive(Debug, Default)]
pub(super) struct Snapshot {
    members: HashSet<u64>,
    routes: HashSet<u64>,
    settings: BTreeMap<String, String>,
    bans: BTreeMap<(i32, String), Ban>,
    traces: BTreeMap<String, Trace>,
}

impl View {
    /// Whether an incarnation would be known here and is not: it never was one of this cluster, or
    /// nothing is left of it.
    pub(crate) fn is_foreign(&self, incarnation: u64) -> bool {
        self.has_heard_of(incarnation) && !self.members.contains_key(&incarnation)
    }

    /// Whether an incarnation would be known here. It is the revision in which it came.
    pub(crate) fn has_heard_of(&self, incarnation: u64) -> bool {
        self.snapshot.is_none() && incarnation <= self.revision
    }

    /// A snapshot follows.
    pub(crate) fn begin(&mut self) {
        self.revision = 0;
        self.snapshot = Some(Snapshot::default());
    }

    /// Takes in a part of a snapshot.
    pub(crate) fn take_part<V>(&mut self, part: Part, table: &Table<V>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match part.kind {
            Some(PartKind::Members(members)) => {
                for member in members.members {
                    let Some(registered) = member.registered else {
                        continue;
                    };
                    let incarnation = member.incarnation;
                    if let Some(snapshot) = &mut self.snapshot {
                        snapshot.members.insert(incarnation);
                    }
                    let why = Why::try_from(member.fenced).unwrap_or_default();
                    let is_fenced = member.fenced != 0;
                    effects.extend(self.add(incarnation, registered));
                    if is_fenced {
                        effects.extend(self.fence(incarnation, why, table));
                    }
                    let own = member.adopted.into_iter();
                    for mut adopt in own.filter(|adopt| adopt.by == self.own) {
                        adopt.slices.retain(|slice| !member.done.contains(slice));
                        effects.push(Effect::Adopt(incarnation, adopt.slices));
                    }
                }
            }
            Some(PartKind::Routes(routes)) => {
                for route in &routes.routes {
                    if let Some(snapshot) = &mut self.snapshot {
                        let hash = hash(routes.incarnation, &route.filter);
                        snapshot.routes.insert(hash);
                    }
                    self.set(routes.incarnation, route, table);
                }
            }
            Some(PartKind::Settings(settings)) => {
                let Some(snapshot) = &mut self.snapshot else {
                    return effects; // a part of nothing
                };
                for change in settings.history {
                    configure(&mut snapshot.settings, change);
                }
                let bans = settings.bans.into_iter();
                let bans = bans.map(|ban| ((ban.kind, ban.value.clone()), ban));
                snapshot.bans.extend(bans);
                let traces = settings.traces.into_iter();
                let traces = traces.map(|trace| (trace.name.clone(), trace));
                snapshot.traces.extend(traces);
            }
            _ => {}
        }
        effects
    }

    /// Takes in a change.
    pub(crate) fn take_change<V>(
        &mut self,
        revision: u64,
        command: Command,
        table: &Table<V>,
    ) -> Vec<Effect> {
        if let Some(snapshot) = &mut self.snapshot {
            note(snapshot, revision, &command);
        }
        match command.kind {
            Some(Kind::Register(registered)) => self.register(revision, registered, table),
            Some(Kind::Fence(fence)) => {
                let fenced = self.fence(fence.incarnation, fence.why(), table);
                fenced.into_iter().collect()
            }
            Some(Kind::Adopt(adopt)) if adopt.by == self.own => {
                vec![Effect::Adopt(adopt.fenced, adopt.slices)]
            }
            Some(Kind::Forget(forget)) => {
                table.forget_node(forget.incarnation);
                self.members.remove(&forget.incarnation);
                vec![Effect::NodeGone(forget.incarnation)]
            }
            Some(Kind::Routes(routes)) => {
                self.change_routes(&routes, table);
                Vec::new()
            }
            Some(Kind::Configure(change)) => match &mut self.snapshot {
                // It is in force when the snapshot is.
                Some(snapshot) => {
                    configure(&mut snapshot.settings, change);
                    Vec::new()
                }
                None => {
                    configure(&mut self.settings, change);
                    vec![Effect::Settings(self.settings.clone())]
                }
            },
            Some(Kind::Ban(ban)) => match &mut self.snapshot {
                Some(snapshot) => {
                    snapshot.bans.insert((ban.kind, ban.value.clone()), ban);
                    Vec::new()
                }
                None => {
                    self.has_bans = true;
                    vec![Effect::Bans(bans::Change::Ban(ban))]
                }
            },
            Some(Kind::Unban(unban)) => match &mut self.snapshot {
                Some(snapshot) => {
                    snapshot.bans.remove(&(unban.kind, unban.value));
                    Vec::new()
                }
                None => {
                    let kind = BanKind::try_from(unban.kind).unwrap_or_default();
                    vec![Effect::Bans(bans::Change::Unban(kind, unban.value))]
                }
            },
            Some(Kind::Trace(trace)) => match &mut self.snapshot {
                Some(snapshot) => {
                    snapshot.traces.insert(trace.name.clone(), trace);
                    Vec::new()
                }
                None => vec![Effect::Traces(capture::Change::Begin(trace))],
            },
            Some(Kind::Untrace(untrace)) => match (&mut self.snapshot, untrace.stays_readable) {
                (Some(snapshot), true) => {
                    if let Some(trace) = snapshot.traces.get_mut(&untrace.name) {
                        trace.is_over = true;
                    }
                    Vec::new()
                }
                (Some(snapshot), false) => {
                    snapshot.traces.remove(&untrace.name);
                    Vec::new()
                }
                (None, true) => vec![Effect::Traces(capture::Change::Stop(untrace.name))],
                (None, false) => vec![Effect::Traces(capture::Change::End(untrace.name))],
            },
            _ => Vec::new(),
        }
    }

    /// Everything up to this revision has been taken in. After a snapshot, what it does not have
    /// goes now.
    pub(crate) fn reach<V>(&mut self, revision: u64, table: &Table<V>) -> Vec<Effect> {
        self.revision = revision;
        let Some(snapshot) = self.snapshot.take() else {
            return Vec::new();
        };
        for filter in table.filters() {
            let stale = stale_routes(&snapshot, filter.text(), &filter.subscribers());
            for (share, node) in stale {
                table.remove_node(share.as_deref(), filter.text(), node);
            }
        }
        let known = self.members.keys().copied();
        let gone: Vec<u64> = known
            .filter(|known| !snapshot.members.contains(known))
            .collect();
        let mut effects = Vec::new();
        for incarnation in gone {
            self.members.remove(&incarnation);
            effects.push(match incarnation == self.own {
                true => Effect::Fenced,
                false => Effect::NodeGone(incarnation),
            });
        }
        if self.settings != snapshot.settings {
            self.settings = snapshot.settings;
            effects.push(Effect::Settings(self.settings.clone()));
        }
        let bans: Vec<Ban> = snapshot.bans.into_values().collect();
        if std::mem::replace(&mut self.has_bans, !bans.is_empty()) || self.has_bans {
            effects.push(Effect::Bans(bans::Change::All(bans)));
        }
        // Even if there are none: of those that were taken back while this gateway was away there are
        // files.
        let traces = snapshot.traces.into_values().collect();
        effects.push(Effect::Traces(capture::Change::All(traces)));
        effects
    }

    /// A node has come, and what it was before has gone.
    fn register<V>(
        &mut self,
        incarnation: u64,
        registered: Register,
        table: &Table<V>,
    ) -> Vec<Effect> {
        let mut members = self.members.iter();
        let known =
            members.find(|(_, member)| member.is_living(&registered.name, registered.role()));
        let replaced = known.map(|(known, _)| *known);
        let replaced = replaced.filter(|replaced| *replaced != incarnation);
        let fenced = replaced.and_then(|replaced| self.fence(replaced, Why::Replaced, table));
        let added = self.add(incarnation, registered);
        fenced.into_iter().chain(added).collect()
    }

    fn change_routes<V>(&self, routes: &Routes, table: &Table<V>) {
        for route in &routes.set {
            self.set(routes.incarnation, route, table);
        }
        for text in &routes.removed {
            let (share, filter) = split_share(text);
            table.remove_node(share, filter, routes.incarnation);
        }
    }

    fn add(&mut self, incarnation: u64, registered: Register) -> Option<Effect> {
        let role = registered.role();
        let address = registered.peer_address.clone();
        let is_fenced = self
            .members
            .get(&incarnation)
            .is_some_and(|known| known.is_fenced);
        self.members.insert(
            incarnation,
            Member {
                name: registered.name,
                role,
                peer_address: registered.peer_address,
                is_fenced,
            },
        );
        (incarnation != self.own).then_some(Effect::NodeUp(incarnation, address))
    }

    fn fence<V>(&mut self, incarnation: u64, why: Why, table: &Table<V>) -> Option<Effect> {
        let member = self.members.get_mut(&incarnation)?;
        if std::mem::replace(&mut member.is_fenced, true) {
            return None;
        }
        if member.role == Role::Bridge {
            leave_alone(incarnation, table);
        }
        Some(match incarnation == self.own {
            true => Effect::Fenced,
            false => Effect::NodeFenced(Departed {
                incarnation,
                name: member.name.clone(),
                role: member.role,
                why,
            }),
        })
    }

    fn set<V>(&self, incarnation: u64, route: &Route, table: &Table<V>) {
        if incarnation == self.own {
            return;
        }
        let (share, filter) = split_share(&route.filter);
        let member = self.members.get(&incarnation);
        let is_bridge = member.is_some_and(|it| it.role == Role::Bridge);
        if share.is_some_and(bridges::is_reserved) && !is_bridge {
            return; // whoever says so, no bridge has it
        }
        let is_gone = is_bridge && member.is_some_and(|it| it.is_fenced);
        let node = match is_gone {
            true => gone(incarnation),
            false => GroupNode {
                node: incarnation,
                n_online: route.n_online.min(MOST_MEMBERS),
                n_offline: route.n_offline.min(MOST_MEMBERS),
            },
        };
        table.set_node(share, filter, node);
    }
}

impl Member {
    fn is_living(&self, name: &str, role: Role) -> bool {
        !self.is_fenced && self.name == name && self.role == role
    }
}

/// A bridge takes no part any more: nothing is sent there, and its filters stay all the same, until
/// others have them.
fn leave_alone<V>(incarnation: u64, table: &Table<V>) {
    for filter in table.filters() {
        let is_there = |nodes: &[GroupNode]| nodes.iter().any(|it| it.node == incarnation);
        let subscribers = filter.subscribers();
        let groups = subscribers.groups.values();
        let groups: Vec<Box<str>> = groups
            .filter(|group| is_there(&group.nodes))
            .map(|group| group.name.clone())
            .collect();
        drop(subscribers);
        for group in groups {
            table.set_node(Some(&group), filter.text(), gone(incarnation));
        }
    }
}

/// A node of a group with nobody to take a message.
fn gone(node: u64) -> GroupNode {
    GroupNode {
        node,
        n_online: 0,
        n_offline: 1,
    }
}

/// What a change brings while a snapshot is being read belongs to the snapshot.
fn note(snapshot: &mut Snapshot, revision: u64, command: &Command) {
    match &command.kind {
        Some(Kind::Register(_)) => {
            snapshot.members.insert(revision);
        }
        Some(Kind::Routes(routes)) => {
            for route in &routes.set {
                let hash = hash(routes.incarnation, &route.filter);
                snapshot.routes.insert(hash);
            }
        }
        _ => {}
    }
}

/// A change of the configuration: without a value, the key is as it was at the start.
fn configure(settings: &mut BTreeMap<String, String>, change: Configure) {
    match change.value {
        Some(value) => settings.insert(change.key, value),
        None => settings.remove(&change.key),
    };
}

/// The nodes of a filter that a snapshot does not have there, with the group if it is one's.
fn stale_routes<V>(
    snapshot: &Snapshot,
    text: &str,
    subscribers: &gatemq_router::Subscribers<V>,
) -> Vec<(Option<Box<str>>, u64)> {
    let mut stale = Vec::new();
    for node in &subscribers.nodes {
        if !snapshot.routes.contains(&hash(*node, text)) {
            stale.push((None, *node));
        }
    }
    for group in subscribers.groups.values() {
        let shared = format!("$share/{}/{text}", group.name);
        for node in &group.nodes {
            if !snapshot.routes.contains(&hash(node.node, &shared)) {
                stale.push((Some(group.name.clone()), node.node));
            }
        }
    }
    stale
}

fn hash(incarnation: u64, filter: &str) -> u64 {
    FixedState::with_seed(0x7669_6577).hash_one((incarnation, filter))
}

#[cfg(test)]
mod tests;
