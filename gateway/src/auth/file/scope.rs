//! The rules of a file, and for whom each of them is.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::WrittenRule;
use crate::auth::rules::{Rule, Ruleset};
use crate::auth::{Part, Who};
use crate::config::Network;

/// The rules of a file.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) all: Vec<ScopedRule>,
    /// Those that are the same for everybody.
    common: Arc<Ruleset>,
    /// The places of the others: of those for one user by name, and of the rest.
    of_user: HashMap<String, Vec<u32>>,
    others: Vec<u32>,
    /// Of those the ones that clients have, by their places: a fleet that has the same has one tree.
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    trees: HashMap<Box<[u32]>, Arc<Ruleset>>,
    /// So many may be there before those are looked for that nobody has any more.
    most: usize,
}

/// A rule for one topic filter, and whom it is for.
#[derive(Debug)]
pub(super) struct ScopedRule {
    /// Its place in the file.
    pub(super) written: usize,
    pub(super) rule: Rule,
    pub(super) users: Option<Vec<String>>,
    pub(super) clients: Option<Vec<String>>,
    pub(super) addresses: Option<Vec<Network>>,
}

/// So many trees are kept whether anybody has them or not.
const SHARED: usize = 64;

// === impl Rules ===

impl Rules {
    pub(super) fn of_written(written: Vec<WrittenRule>) -> Result<Self, String> {
        let mut all = Vec::new();
        for (at, rule) in written.into_iter().enumerate() {
            all.extend(rule.read(at)?);
        }
        let places = || (0u32..).zip(&all);
        let common = places().filter(|(_, rule)| rule.is_for_all());
        let common = Ruleset::of(common.map(|(place, rule)| (place, &rule.rule)));
        let mut of_user: HashMap<String, Vec<u32>> = HashMap::new();
        let mut others = Vec::new();
        for (place, rule) in places().filter(|(_, rule)| !rule.is_for_all()) {
            let users = rule.users.as_deref().unwrap_or_default();
            if users.is_empty() || users.iter().any(|user| user.ends_with('*')) {
                others.push(place);
                continue;
            }
            for user in users {
                of_user.entry(user.clone()).or_default().push(place);
            }
        }
        Ok(Self {
            common: Arc::new(common),
            of_user,
            others,
            shared: Mutex::default(),
            all,
        })
    }

    pub(super) fn of(&self, who: &Who<'_>) -> Part {
        let own = who.username.and_then(|name| self.of_user.get(name));
        let own = own.map_or(&[][..], Vec::as_slice);
        let mut places: Vec<u32> = own.iter().chain(&self.others).copied().collect();
        places.sort_unstable();
        places.dedup();
        places.retain(|place| self.all[*place as usize].is_for(who));
        Part {
            common: self.common.clone(),
            own: self.tree(places),
        }
    }

    fn tree(&self, places: Vec<u32>) -> Arc<Ruleset> {
        let mut shared = self.shared.lock();
        if let Some(known) = shared.trees.get(&*places) {
            return known.clone();
        }
        if shared.trees.len() >= shared.most {
            shared.trees.retain(|_, tree| Arc::strong_count(tree) > 1);
            shared.most = (2 * shared.trees.len()).max(SHARED);
        }
        let rules = places
            .iter()
            .map(|place| (*place, &self.all[*place as usize].rule));
        let tree = Arc::new(Ruleset::of(rules));
        shared.trees.insert(places.into(), tree.clone());
        tree
    }
}

// === impl ScopedRule ===

impl ScopedRule {
    fn is_for_all(&self) -> bool {
        self.users.is_none() && self.clients.is_none() && self.addresses.is_none()
    }

    fn is_for(&self, who: &Who<'_>) -> bool {
        let names = |list: &Option<Vec<String>>, name: Option<&str>| {
            let Some(list) = list else { return true };
            name.is_some_and(|name| list.iter().any(|known| is_named(known, name)))
        };
        let is_from = |list: &Vec<Network>| {
            let address = who.address;
            address.is_some_and(|address| list.iter().any(|network| network.contains(address)))
        };
        names(&self.users, who.username)
            && names(&self.clients, Some(who.client_id))
            && self.addresses.as_ref().is_none_or(is_from)
    }
}

/// Whether a name is the one of a list, or begins with what is before its `*`.
fn is_named(known: &str, name: &str) -> bool {
    match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == known,
    }
}
