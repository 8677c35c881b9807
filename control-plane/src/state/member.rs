//! A gateway or a bridge: one incarnation of a name, with the routes to it.

use std::collections::{BTreeMap, BTreeSet};

use gatemq_proto::cluster::state::{self, Adopt, Register, Role, fence};

use super::Routes;

/// A gateway or a bridge that takes part, or took part and is not forgotten.
#[derive(Clone, Debug)]
pub struct Member {
    registered: Register,
    /// A [`fence::Why`] as it came; 0 if it is not fenced.
    fenced: i32,
    last_routes: u64,
    /// Whether more was to follow it.
    is_partial: bool,
    /// Who is to adopt a slice of the sessions of a fenced one.
    adopted: BTreeMap<u32, u64>,
    /// The slices that have been adopted.
    done: BTreeSet<u32>,
    routes: Routes,
}

// === impl Member ===

impl Member {
    pub(super) fn new(registered: Register) -> Self {
        Self {
            registered,
            fenced: 0,
            last_routes: 0,
            is_partial: false,
            adopted: BTreeMap::new(),
            done: BTreeSet::new(),
            routes: Routes::default(),
        }
    }

    /// Its name, which an earlier incarnation may have had.
    pub fn name(&self) -> &str {
        &self.registered.name
    }

    /// What it does; unspecified where only a newer version knows.
    pub fn role(&self) -> Role {
        self.registered.role()
    }

    /// Where other nodes forward messages to, host:port.
    pub fn peer_address(&self) -> &str {
        &self.registered.peer_address
    }

    /// Where its HTTP is, host:port; empty for none.
    pub fn http_address(&self) -> &str {
        &self.registered.http_address
    }

    /// The version of its program.
    pub fn version(&self) -> &str {
        &self.registered.version
    }

    /// What its process chose at random when it started.
    pub fn token(&self) -> u64 {
        self.registered.token
    }

    /// Whether it takes no part any more.
    pub fn is_fenced(&self) -> bool {
        self.fenced != 0
    }

    /// Why it is fenced; `None` if it is not.
    pub fn fenced(&self) -> Option<fence::Why> {
        self.is_fenced()
            .then(|| fence::Why::try_from(self.fenced).unwrap_or_default())
    }

    /// The number of its last `Routes`; 0 before the first.
    pub fn last_routes(&self) -> u64 {
        self.last_routes
    }

    /// Whether it has said all that its subscribers want, be that nothing.
    pub fn is_announced(&self) -> bool {
        self.last_routes > 0 && !self.is_partial
    }

    /// Slices of its sessions, with the incarnation that is to adopt them, or has.
    pub fn adopted(&self) -> impl Iterator<Item = (u32, u64)> {
        self.adopted.iter().map(|(slice, by)| (*slice, *by))
    }

    /// Whether a slice of its sessions has been adopted.
    pub fn is_adopted(&self, slice: u32) -> bool {
        self.done.contains(&slice)
    }

    /// The incarnation that is to adopt a slice of its sessions, or has.
    pub fn adopter(&self, slice: u32) -> Option<u64> {
        self.adopted.get(&slice).copied()
    }

    /// What its subscribers want.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    pub(super) fn fence(&mut self, why: fence::Why) {
        self.fenced = why.into();
    }

    /// What is set comes first, then what is removed.
    pub(super) fn change_routes(&mut self, change: &state::Routes) {
        for route in &change.set {
            self.routes.set(&route.filter, route.into());
        }
        for filter in &change.removed {
            self.routes.remove(filter);
        }
        self.last_routes = change.number;
        self.is_partial = change.is_part;
    }

    pub(super) fn note_adopted(&mut self, slices: Vec<u32>) {
        self.done.extend(slices);
    }

    pub(super) fn adopt(&mut self, adopt: &Adopt) {
        let slices = adopt.slices.iter().map(|slice| (*slice, adopt.by));
        self.adopted.extend(slices);
    }

    pub(super) fn to_part(&self, incarnation: u64) -> state::Member {
        let mut adopted: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (slice, by) in self.adopted() {
            adopted.entry(by).or_default().push(slice);
        }
        let adopted = adopted.into_iter().map(|(by, slices)| Adopt {
            fenced: incarnation,
            by,
            slices,
        });
        state::Member {
            incarnation,
            registered: Some(self.registered.clone()),
            fenced: self.fenced,
            last_routes: self.last_routes,
            adopted: adopted.collect(),
            done: self.done.iter().copied().collect(),
            is_partial: self.is_partial,
        }
    }

    /// Without its routes, which follow in parts of their own.
    pub(super) fn from_part(registered: Register, part: &state::Member) -> Self {
        let mut member = Self::new(registered);
        member.fenced = part.fenced;
        member.last_routes = part.last_routes;
        member.is_partial = part.is_partial;
        for adopt in &part.adopted {
            member.adopt(adopt);
        }
        member.done.extend(&part.done);
        member
    }

    pub(super) fn routes_mut(&mut self) -> &mut Routes {
        &mut self.routes
    }
}
