//! The state as plain maps: what each command means, without how it is kept.

use std::collections::{BTreeMap, BTreeSet};

use gatemq_proto::cluster::state::fence::Why;

use super::super::*;

#[derive(Default)]
pub(super) struct Model {
    members: BTreeMap<u64, Known>,
    settings: BTreeMap<String, String>,
}

/// A member.
struct Known {
    registered: Register,
    fenced: Option<Why>,
    last: u64,
    routes: BTreeMap<String, Counts>,
    adopters: BTreeMap<u32, u64>,
    done: BTreeSet<u32>,
}

/// What a proposer is told, and whether anything changes; `None` if it is refused.
type Told = Option<(u64, bool)>;

impl Model {
    /// Applies a command, and holds what was told of it to what it means.
    pub(super) fn check_outcome(&mut self, index: u64, command: &Command, applied: &Applied) {
        let told = match command.kind.clone().expect("a kind") {
            Kind::Register(register) => self.register(index, register),
            Kind::Fence(fence) => self.fence(index, &fence),
            Kind::Forget(forget) => match self.members.get(&forget.incarnation) {
                None => Some((index, false)),
                Some(known) if known.fenced.is_none() => None,
                Some(_) => {
                    self.members.remove(&forget.incarnation);
                    Some((index, true))
                }
            },
            Kind::Routes(routes) => self.routes(index, &routes),
            Kind::Adopt(adopt) => self.adopt(index, &adopt),
            Kind::Adopted(adopted) => self.adopted(index, &adopted),
            Kind::Configure(change) => {
                match change.value {
                    Some(value) => self.settings.insert(change.key, value),
                    None => self.settings.remove(&change.key),
                };
                return;
            }
            _ => return, // cases of their own are enough for those
        };
        let is_refused = !applied.outcome.refused.is_empty();
        let known = (!is_refused).then_some((applied.outcome.index, applied.has_changed));
        assert_eq!(known, told, "{index}: {command:?}: {applied:?}");
    }

    /// Holds a state to the model; what it shares with one that was held to it need not be again.
    pub(super) fn check(&self, state: &State, before: &State) {
        let members: Vec<u64> = state
            .members()
            .map(|(incarnation, _)| incarnation)
            .collect();
        assert!(members.iter().eq(self.members.keys()), "{members:?}");
        for (incarnation, member) in state.members.iter() {
            let was = before.members.get(incarnation);
            if was.is_some_and(|was| Arc::ptr_eq(was, member)) {
                continue;
            }
            let known = &self.members[incarnation];
            let routes = member.routes().iter();
            let expected = known
                .routes
                .iter()
                .map(|(filter, counts)| (&**filter, *counts));
            assert!(routes.eq(expected), "routes of {incarnation}");
            assert_eq!(member.token(), known.registered.token);
            assert_eq!(member.fenced(), known.fenced);
            assert_eq!(member.last_routes(), known.last);
            let adopters = known.adopters.iter().map(|(slice, by)| (*slice, *by));
            assert!(member.adopted().eq(adopters), "adopters of {incarnation}");
            let is_same = |slice: &u32| member.is_adopted(*slice) == known.done.contains(slice);
            assert!(
                known.adopters.keys().all(is_same),
                "adopted of {incarnation}"
            );
        }
        let set = state.settings().in_force();
        let set = set.map(|change| (&change.key, change.value.as_ref()));
        let expected = self.settings.iter().map(|(key, value)| (key, Some(value)));
        assert!(set.eq(expected), "settings");
    }

    fn living(&self, incarnation: u64) -> Option<&Known> {
        let known = self.members.get(&incarnation);
        known.filter(|known| known.fenced.is_none())
    }

    fn register(&mut self, index: u64, registered: Register) -> Told {
        if registered.name.is_empty() || registered.role() == Role::Unspecified {
            return None;
        }
        let is_it = |known: &Known| {
            let it = &known.registered;
            known.fenced.is_none() && (&it.name, it.role) == (&registered.name, registered.role)
        };
        let mut members = self.members.iter_mut();
        if let Some((incarnation, known)) = members.find(|(_, known)| is_it(known)) {
            if known.registered.token == registered.token {
                return Some((*incarnation, false));
            }
            known.fenced = Some(Why::Replaced);
        }
        let known = Known {
            registered,
            fenced: None,
            last: 0,
            routes: BTreeMap::new(),
            adopters: BTreeMap::new(),
            done: BTreeSet::new(),
        };
        self.members.insert(index, known);
        Some((index, true))
    }

    fn fence(&mut self, index: u64, fence: &Fence) -> Told {
        let why = fence.why();
        if why == Why::Unspecified {
            return None;
        }
        let Some(known) = self.members.get_mut(&fence.incarnation) else {
            return Some((index, false));
        };
        // A bridge that is gone may be given up, too.
        let is_given_up = known.registered.role() == Role::Bridge
            && why == Why::Removed
            && known.fenced != Some(Why::Removed);
        let has_changed = known.fenced.is_none() || is_given_up;
        if has_changed {
            known.fenced = Some(why);
        }
        Some((index, has_changed))
    }

    fn routes(&mut self, index: u64, routes: &RoutesCommand) -> Told {
        self.living(routes.incarnation)?;
        let known = self.members.get_mut(&routes.incarnation)?;
        if routes.number <= known.last {
            return Some((index, false));
        }
        if routes.number != known.last + 1 {
            return None;
        }
        known.last = routes.number;
        for route in &routes.set {
            known.routes.insert(route.filter.clone(), route.into());
        }
        for filter in &routes.removed {
            known.routes.remove(filter);
        }
        Some((index, true))
    }

    fn adopt(&mut self, index: u64, adopt: &Adopt) -> Told {
        let fenced = self.members.get(&adopt.fenced)?.fenced;
        if fenced.is_none() || self.living(adopt.by).is_none() {
            return None;
        }
        let adopters = &mut self.members.get_mut(&adopt.fenced)?.adopters;
        let before = adopters.clone();
        adopters.extend(adopt.slices.iter().map(|slice| (*slice, adopt.by)));
        Some((index, *adopters != before))
    }

    fn adopted(&mut self, index: u64, adopted: &Adopted) -> Told {
        let Some(known) = self.members.get_mut(&adopted.fenced) else {
            return Some((index, false));
        };
        let is_own = |slice: &&u32| known.adopters.get(slice) == Some(&adopted.by);
        let own: Vec<u32> = adopted.slices.iter().filter(is_own).copied().collect();
        let n_before = known.done.len();
        known.done.extend(own);
        Some((index, known.done.len() > n_before))
    }
}
