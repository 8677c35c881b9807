//! A table against a list of who wants what, and twenty lines that match.
//!
//! Subscribers, groups and other nodes come, come again and go, one by one and all of a node at
//! once, filter by filter or in crowds; after each step some topics are planned, and the plan names
//! whom the list names, no more and no fewer. Plans of before are kept as connections keep them: one
//! that the table calls current must name whom the list names now, so none is ever stale, and one
//! that need not be made again is not: a filter that has somebody already makes no plan stale.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::seeds::{self, Dice};

/// Steps of one run.
const LENGTH: usize = 80;
/// Levels of topics, and of filters.
const LEVELS: [&str; 6] = ["", "a", "b", "c", "$s", "long level"];
const SHARES: [Option<&str>; 4] = [None, None, Some("g"), Some("h")];
const NODES: u64 = 5;

type Place = (Option<&'static str>, String);

/// Whom a topic reaches: what matched, in which group, and who.
type Reached = BTreeSet<(Place, Who)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// By number, with the value.
    Here(u64, u32),
    /// By number; of a group with how many there are.
    There(u64, u32, u32),
}

struct World {
    dice: Dice,
    table: Table<u32>,
    here: BTreeMap<(Place, u64), u32>,
    there: BTreeMap<(Place, u64), (u32, u32)>,
    plans: Vec<Arc<Plan<u32>>>,
    n_steps: u32,
}

#[test]
fn a_plan_names_whom_a_list_names_whatever_came_before() {
    seeds::try_each("a_plan_names_whom_a_list_names", 2_000, |seed| {
        let mut world = World {
            dice: Dice::new(seed),
            table: Table::default(),
            here: BTreeMap::new(),
            there: BTreeMap::new(),
            plans: Vec::new(),
            n_steps: 0,
        };
        for _ in 0..LENGTH {
            world.step();
            world.check();
        }
        world.clear();
    });
}

impl World {
    fn step(&mut self) {
        self.n_steps += 1;
        match self.dice.roll(20) {
            0..=5 => {
                let (place, key) = (self.place(), self.dice.roll(6));
                self.insert(&place, key, self.n_steps);
            }
            6..=9 => self.unsubscribe(),
            10..=13 => self.set_node(),
            14 | 15 => self.remove_node(),
            16 if self.dice.one_in(3) => {
                let node = self.dice.roll(NODES);
                self.table.forget_node(node);
                self.there.retain(|(_, known), _| *known != node);
            }
            17 if self.dice.one_in(8) => self.crowd(),
            _ => {
                let topic = self.topic();
                let plan = self.table.plan(&topic);
                let at = self.dice.roll(8) as usize;
                match self.plans.get_mut(at) {
                    Some(kept) => *kept = plan,
                    None => self.plans.push(plan),
                }
            }
        }
    }

    // --- what changes ---

    fn insert(&mut self, place: &Place, key: u64, value: u32) {
        let had = self.n_here(place);
        let change = self.table.subscribe(place.0, &place.1, key, value);
        let before = self.here.insert((place.clone(), key), value);
        let is_edge = place.0.is_some() || (before.is_none() && had == 0);
        assert_eq!(change, Change { before, is_edge }, "{place:?}");
    }

    fn unsubscribe(&mut self) {
        let known: Vec<_> = self.here.keys().cloned().collect();
        let (place, key) = match self.dice.pick(&known) {
            Some(known) if !self.dice.one_in(8) => known,
            _ => (self.place(), self.dice.roll(6)),
        };
        let value = self.here.get(&(place.clone(), key)).copied();
        let (change, is_meant) = match self.dice.roll(4) {
            0 => {
                // Sometimes somebody else has taken the place.
                let meant = value.unwrap_or_default() + self.dice.roll(2) as u32;
                let is_it = |known: &u32| *known == meant;
                let change = self.table.unsubscribe_if(place.0, &place.1, key, is_it);
                (change, value == Some(meant))
            }
            _ => (self.table.unsubscribe(place.0, &place.1, key), true),
        };
        let before = value.filter(|_| is_meant);
        if before.is_some() {
            self.here.remove(&(place.clone(), key));
        }
        let is_last = place.0.is_some() || self.n_here(&place) == 0;
        let is_edge = before.is_some() && is_last;
        assert_eq!(change, Change { before, is_edge }, "{place:?}");
    }

    /// What a node has is said, or said again: both are news.
    fn set_node(&mut self) {
        let place = self.place();
        let node = GroupNode {
            node: self.dice.roll(NODES),
            n_online: self.dice.roll(3) as u32,
            n_offline: self.dice.roll(3) as u32,
        };
        let before = self.table.n_nodes_added();
        self.table.set_node(place.0, &place.1, node);
        if place.0.is_none() {
            let since = self.table.look(&place.1, |found| found.nodes_since);
            assert!(since > Some(before), "{place:?} is not known to be news");
        }
        let counts = match place.0 {
            Some(_) => (node.n_online, node.n_offline),
            None => (0, 0),
        };
        self.there.insert((place, node.node), counts);
    }

    fn remove_node(&mut self) {
        let known: Vec<_> = self.there.keys().cloned().collect();
        let (place, node) = match self.dice.pick(&known) {
            Some(known) if !self.dice.one_in(8) => known,
            _ => (self.place(), self.dice.roll(NODES)),
        };
        self.table.remove_node(place.0, &place.1, node);
        self.there.remove(&(place, node));
    }

    /// So many in one place that they are found by an index, and most of them leave again.
    fn crowd(&mut self) {
        let place = self.place();
        for key in 100..150 {
            self.insert(&place, key, self.n_steps);
        }
        let n_left = self.dice.roll(50);
        for key in (100..150 - n_left).rev() {
            self.table.unsubscribe(place.0, &place.1, key);
            self.here.remove(&(place.clone(), key));
        }
    }

    /// All go; then there is nothing left.
    fn clear(&mut self) {
        for (place, key) in std::mem::take(&mut self.here).into_keys() {
            assert!(
                self.table
                    .unsubscribe(place.0, &place.1, key)
                    .before
                    .is_some()
            );
        }
        self.there.clear();
        self.n_steps = 0;
        (0..NODES).for_each(|node| self.table.forget_node(node));
        self.check();
        let counts = self.table.counts();
        assert_eq!(
            (counts.filters, counts.subscriptions, counts.shared),
            (0, 0, 0)
        );
    }

    // --- what holds ---

    fn check(&mut self) {
        for _ in 0..2 {
            let topic = self.topic();
            assert_eq!(
                reached(&self.table.plan(&topic)),
                self.expected(&topic),
                "{topic:?}"
            );
        }
        for plan in &self.plans {
            if self.table.is_current(plan) {
                assert_eq!(
                    reached(plan),
                    self.expected(plan.topic()),
                    "stale: {plan:?}"
                );
            }
        }
        let filters = self.here.keys().map(|(place, _)| &place.1);
        let filters = filters.chain(self.there.keys().map(|(place, _)| &place.1));
        let shared = self.here.keys().filter(|(place, _)| place.0.is_some());
        let counts = Counts {
            filters: filters.collect::<BTreeSet<_>>().len(),
            subscriptions: self.here.len(),
            shared: shared.count(),
        };
        assert_eq!(self.table.counts(), counts);
    }

    fn expected(&self, topic: &str) -> Reached {
        let here = self
            .here
            .iter()
            .map(|((place, key), value)| (place, Who::Here(*key, *value)));
        let there = self.there.iter();
        let there = there.map(|((place, node), (on, off))| (place, Who::There(*node, *on, *off)));
        let all = here
            .chain(there)
            .filter(|(place, _)| matches(&place.1, topic));
        all.map(|(place, who)| (place.clone(), who)).collect()
    }

    fn n_here(&self, place: &Place) -> usize {
        self.here.keys().filter(|(known, _)| known == place).count()
    }

    // --- chance ---

    fn place(&mut self) -> Place {
        let known: Vec<_> = self.here.keys().map(|(place, _)| place.clone()).collect();
        if let Some(place) = self.dice.pick(&known).filter(|_| self.dice.one_in(3)) {
            return place;
        }
        let share = self.dice.pick(&SHARES).flatten();
        (share, self.filter())
    }

    fn filter(&mut self) -> String {
        let mut levels = self.levels();
        for level in &mut levels {
            if self.dice.one_in(4) {
                *level = "+";
            }
        }
        if self.dice.one_in(4) {
            levels.push("#");
        }
        if self.dice.one_in(12) {
            levels = vec!["#"];
        }
        levels.join("/")
    }

    fn topic(&mut self) -> String {
        self.levels().join("/")
    }

    fn levels(&mut self) -> Vec<&'static str> {
        let n = 1 + self.dice.roll(4);
        (0..n).filter_map(|_| self.dice.pick(&LEVELS)).collect()
    }
}

fn reached(plan: &Plan<u32>) -> Reached {
    let mut reached = Reached::new();
    let mut add = |share: Option<&str>, filter: &str, who: Who| {
        let share = SHARES
            .into_iter()
            .flatten()
            .find(|known| Some(*known) == share);
        let is_new = reached.insert(((share, filter.to_owned()), who));
        assert!(is_new, "{filter} is there twice");
    };
    for filter in plan.filters() {
        let text = filter.text();
        let found = filter.subscribers();
        for member in found.direct.as_slice() {
            add(None, text, Who::Here(member.key, member.value));
        }
        found
            .nodes
            .iter()
            .for_each(|node| add(None, text, Who::There(*node, 0, 0)));
        for group in found.groups.values() {
            let share = Some(&*group.name);
            for member in group.members.as_slice() {
                add(share, text, Who::Here(member.key, member.value));
            }
            for it in &group.nodes {
                add(share, text, Who::There(it.node, it.n_online, it.n_offline));
            }
        }
    }
    reached
}

/// MQTT 5.0, section 4.7, word by word.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(found)) if level == found => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
