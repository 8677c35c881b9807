//! A gateway that follows nodes of the control plane, against what they have agreed on.
//!
//! Gateways and bridges register, announce, are fenced and forgotten. The gateway follows one node of
//! the control plane after the other, each of which is behind as far as it likes; its line breaks in
//! the middle of a snapshot or between changes, and a snapshot may come from a node that is behind
//! the last one, or though nobody asked. Whenever everything up to a revision has been taken in, the
//! table names for each topic exactly whom the routes of that revision name, and the nodes that were
//! told of are its members; and in the middle of a snapshot no route is missing that was there before
//! it and is in it.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::proto::topic;
use crate::seeds::{self, Dice};

const LENGTH: usize = 120;
const NAMES: [&str; 4] = ["g1", "g2", "g3", "b1"];
const FILTERS: [&str; 10] = [
    "a",
    "a/b",
    "a/+",
    "a/#",
    "#",
    "+/b",
    "$share/g/a/b",
    "$share/g/a/#",
    "$share/h/#",
    "b",
];
const TOPICS: [&str; 5] = ["a", "a/b", "b", "a/b/c", "c/b"];

/// What the control plane has agreed on.
#[derive(Clone, Default)]
struct Agreed {
    members: BTreeMap<u64, (Register, bool)>,
    routes: BTreeMap<(u64, String), Route>,
}

/// Whom a topic, or a table, names: filter with its group, node, and how many of a group.
type Named = BTreeSet<(String, u64, u32, u32)>;

struct World {
    dice: Dice,
    /// What is agreed on at each revision, and the commands behind them.
    agreed: Vec<Agreed>,
    commands: Vec<Command>,
    /// How far each node of the control plane is.
    control: [u64; 3],
    view: View,
    table: Table<()>,
    line: Option<Line>,
    /// Nodes that were told of.
    told: BTreeSet<u64>,
    n_numbers: u64,
}

/// The line to a node of the control plane.
struct Line {
    node: usize,
    /// Parts of a snapshot that are still to come, and its revision.
    snapshot: Option<(VecDeque<Part>, u64)>,
    /// What was named before it.
    before: Named,
}

#[test]
fn whatever_it_follows_a_gateway_knows_what_is_agreed_on() {
    seeds::try_each("whatever_it_follows_a_gateway_knows", 2_000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..LENGTH {
            world.step();
        }
    });
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            agreed: vec![Agreed::default()],
            commands: vec![Command::default()],
            control: [0; 3],
            view: View::default(),
            table: Table::default(),
            line: None,
            told: BTreeSet::new(),
            n_numbers: 0,
        };
        world.join();
        world
    }

    /// The gateway registers: another incarnation, and nothing is known any more that counts.
    fn join(&mut self) {
        self.commit(Kind::Register(register("own")));
        let own = self.revision();
        (self.view.own, self.view.revision) = (own, 0);
        self.told.remove(&own);
        self.line = None;
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=7 => self.agree(),
            8..=11 => {
                let at = self.dice.roll(3) as usize;
                let left = self.revision() - self.control[at];
                self.control[at] += self.dice.roll(left + 1);
            }
            12 if self.dice.one_in(2) => self.line = None,
            13 if self.dice.one_in(4) => {
                // The node has no more what comes next.
                let at = self.line.as_ref().map(|line| line.node);
                at.into_iter().for_each(|at| self.begin(at));
            }
            _ => self.follow(),
        }
    }

    // --- the control plane ---

    fn revision(&self) -> u64 {
        self.agreed.len() as u64 - 1
    }

    fn agree(&mut self) {
        let now = &self.agreed[self.agreed.len() - 1];
        let living = now.members.iter().filter(|(_, (_, is_fenced))| !is_fenced);
        let living: Vec<u64> = living.map(|(incarnation, _)| *incarnation).collect();
        let fenced = now.members.iter().filter(|(_, (_, is_fenced))| *is_fenced);
        let fenced: Vec<u64> = fenced.map(|(incarnation, _)| *incarnation).collect();
        let kind = match self.dice.roll(12) {
            0 | 1 => {
                let name = self.dice.pick(&NAMES).expect("there are some");
                let mut register = register(name);
                if name.starts_with('b') {
                    register.role = Role::Bridge.into();
                }
                Kind::Register(register)
            }
            2 => match self.dice.pick(&living) {
                // Its own is rare.
                Some(own) if own == self.view.own && !self.dice.one_in(4) => return,
                Some(incarnation) => Kind::Fence(Fence {
                    incarnation,
                    why: 1,
                }),
                None => return,
            },
            3 => match self.dice.pick(&fenced) {
                Some(incarnation) => Kind::Forget(Forget { incarnation }),
                None => return,
            },
            _ => match self.dice.pick(&living) {
                Some(incarnation) => self.routes_of(incarnation),
                None => return,
            },
        };
        self.commit(kind);
    }

    fn routes_of(&mut self, incarnation: u64) -> Kind {
        let now = &self.agreed[self.agreed.len() - 1];
        let is_bridge = now.members[&incarnation].0.role() == Role::Bridge;
        let mut some = || {
            let n = self.dice.roll(4);
            let texts = (0..n).filter_map(|_| self.dice.pick(&FILTERS));
            let texts = texts.map(|text| match is_bridge {
                true => format!("$share/{}/{}", bridges::GROUP, split_share(text).1),
                false => text.to_owned(),
            });
            texts.collect::<Vec<_>>()
        };
        let (set, removed) = (some(), some());
        let set = set.into_iter().map(|filter| Route {
            n_online: u32::from(filter.starts_with("$share")) * (1 + self.dice.roll(3) as u32),
            n_offline: 0,
            filter,
        });
        self.n_numbers += 1;
        Kind::Routes(Routes {
            incarnation,
            number: self.n_numbers,
            set: set.collect(),
            removed,
            ..Routes::default()
        })
    }

    fn commit(&mut self, kind: Kind) {
        let revision = self.agreed.len() as u64;
        let mut agreed = self.agreed[self.agreed.len() - 1].clone();
        match kind.clone() {
            Kind::Register(registered) => {
                for (known, is_fenced) in agreed.members.values_mut() {
                    *is_fenced |= (&known.name, known.role) == (&registered.name, registered.role);
                }
                agreed.members.insert(revision, (registered, false));
            }
            Kind::Fence(fence) => {
                if let Some((_, is_fenced)) = agreed.members.get_mut(&fence.incarnation) {
                    *is_fenced = true;
                }
            }
            Kind::Forget(forget) => {
                agreed.members.remove(&forget.incarnation);
                agreed.routes.retain(|(of, _), _| *of != forget.incarnation);
            }
            Kind::Routes(routes) => {
                for route in routes.set {
                    let key = (routes.incarnation, route.filter.clone());
                    agreed.routes.insert(key, route);
                }
                for filter in routes.removed {
                    agreed.routes.remove(&(routes.incarnation, filter));
                }
            }
            kind => panic!("{kind:?}"),
        }
        self.agreed.push(agreed);
        self.commands.push(command(kind));
    }

    // --- the gateway ---

    fn follow(&mut self) {
        let Some(line) = &mut self.line else {
            return self.connect();
        };
        if let Some((parts, revision)) = &mut line.snapshot {
            let revision = *revision;
            let Some(part) = parts.pop_front() else {
                line.snapshot = None;
                let effects = self.view.reach(revision, &self.table);
                self.take_in(effects);
                return self.check();
            };
            let effects = self.view.take_part(part, &self.table);
            self.take_in(effects);
            return self.check_kept(revision);
        }
        let (from, applied) = (self.view.revision, self.control[line.node]);
        let until = from + self.dice.roll(6).min(applied.saturating_sub(from));
        let mut effects = Vec::new();
        for revision in from + 1..=until {
            let command = self.commands[revision as usize].clone();
            effects.extend(self.view.take_change(revision, command, &self.table));
        }
        effects.extend(self.view.reach(until, &self.table));
        let is_fenced = effects.contains(&Effect::Fenced);
        self.take_in(effects);
        self.check();
        if is_fenced {
            self.join();
        }
    }

    /// A node that knows less than the gateway is not followed.
    fn connect(&mut self) {
        let node = self.dice.roll(3) as usize;
        let known = self.view.revision.max(self.view.own);
        if self.control[node] < known {
            return;
        }
        let agreed = &self.agreed[self.control[node] as usize];
        let is_member = agreed.members.get(&self.view.own);
        if is_member.is_none_or(|(_, is_fenced)| *is_fenced) {
            return self.join(); // it is told that it is fenced
        }
        match self.view.revision {
            0 => self.begin(node),
            _ => {
                self.line = Some(Line {
                    node,
                    snapshot: None,
                    before: Named::new(),
                });
            }
        }
    }

    /// A snapshot follows, as the node has it.
    fn begin(&mut self, node: usize) {
        let revision = self.control[node];
        self.view.begin();
        let parts = self.agreed[revision as usize].parts(&mut self.dice);
        self.line = Some(Line {
            node,
            snapshot: Some((parts, revision)),
            before: named(&self.table),
        });
    }

    fn take_in(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::NodeUp(incarnation, _) => {
                    self.told.insert(incarnation);
                }
                Effect::NodeGone(incarnation) => {
                    self.told.remove(&incarnation);
                }
                _ => {}
            }
        }
    }

    // --- what holds ---

    /// Everything up to the view's revision is known.
    fn check(&self) {
        let (own, revision) = (self.view.own, self.view.revision);
        let agreed = &self.agreed[revision as usize];
        assert!(self.view.members.keys().eq(agreed.members.keys()));
        // A fence that came after a later snapshot was broken off is not forgotten.
        let mut agreed = agreed.clone();
        for (incarnation, (_, is_fenced)) in &mut agreed.members {
            let known = &self.view.members[incarnation];
            let latest = &self.agreed[self.agreed.len() - 1].members;
            let is_later = latest
                .get(incarnation)
                .is_none_or(|(_, is_fenced)| *is_fenced);
            assert!(known.is_fenced || !*is_fenced, "{incarnation} is fenced");
            assert!(!known.is_fenced || is_later, "{incarnation} is not fenced");
            *is_fenced = known.is_fenced;
        }
        let expected = agreed.named(own);
        assert_eq!(named(&self.table), expected, "at {revision}");
        for topic in TOPICS {
            let plan = self.table.plan(topic);
            let found = plan.filters().iter().flat_map(|filter| named_by(filter));
            let matches =
                |(text, ..): &&(String, u64, u32, u32)| topic::matches(split_share(text).1, topic);
            let expected: Named = expected.iter().filter(matches).cloned().collect();
            assert_eq!(found.collect::<Named>(), expected, "{topic} at {revision}");
        }
        let members = agreed.members.keys().copied();
        let others: BTreeSet<u64> = members.filter(|it| *it != own).collect();
        assert_eq!(self.told, others, "nodes told of, at {revision}");
    }

    /// In the middle of a snapshot.
    fn check_kept(&self, revision: u64) {
        let before = self.line.as_ref().map(|line| &line.before);
        let place = |(text, node, ..): &(String, u64, u32, u32)| (text.clone(), *node);
        let places = |named: &Named| named.iter().map(place).collect::<BTreeSet<_>>();
        let now = places(&named(&self.table));
        let coming = places(&self.agreed[revision as usize].named(self.view.own));
        let kept = places(before.expect("there is a line"));
        let is_missing = kept.intersection(&coming).find(|it| !now.contains(it));
        assert_eq!(is_missing, None, "while {revision} is read");
    }
}

impl Agreed {
    /// Members, and routes of each of them, in parts of any size.
    fn parts(&self, dice: &mut Dice) -> VecDeque<Part> {
        let mut kinds = Vec::new();
        let members = self
            .members
            .iter()
            .map(|(incarnation, (registered, is_fenced))| Known {
                incarnation: *incarnation,
                registered: Some(registered.clone()),
                fenced: i32::from(*is_fenced),
                ..Known::default()
            });
        let members: Vec<Known> = members.collect();
        for some in members.chunks(1 + dice.roll(3) as usize) {
            kinds.push(PartKind::Members(Members {
                members: some.to_vec(),
                ..Members::default()
            }));
        }
        for incarnation in self.members.keys() {
            let own = self.routes.iter().filter(|((of, _), _)| of == incarnation);
            let own: Vec<Route> = own.map(|(_, route)| route.clone()).collect();
            for some in own.chunks(1 + dice.roll(3) as usize) {
                kinds.push(PartKind::Routes(RoutePart {
                    incarnation: *incarnation,
                    routes: some.to_vec(),
                }));
            }
        }
        kinds.push(PartKind::Settings(Settings::default()));
        let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) });
        parts.collect()
    }

    /// What a gateway has to know of it.
    fn named(&self, own: u64) -> Named {
        let others = self.routes.iter().filter(|((of, _), _)| *of != own);
        let named = others.map(|((of, text), route)| {
            let (registered, is_fenced) = &self.members[of];
            match registered.role() == Role::Bridge && *is_fenced {
                true => (text.clone(), *of, 0, 1),
                false => (text.clone(), *of, route.n_online, route.n_offline),
            }
        });
        named.collect()
    }
}

fn named(table: &Table<()>) -> Named {
    table
        .filters()
        .iter()
        .flat_map(|filter| named_by(filter))
        .collect()
}

fn named_by(filter: &gatemq_router::Filter<()>) -> Vec<(String, u64, u32, u32)> {
    let found = filter.subscribers();
    let direct = found.nodes.iter();
    let mut named: Vec<_> = direct
        .map(|node| (filter.text().to_owned(), *node, 0, 0))
        .collect();
    for group in found.groups.values() {
        let text = format!("$share/{}/{}", group.name, filter.text());
        let nodes = group.nodes.iter();
        named.extend(nodes.map(|it| (text.clone(), it.node, it.n_online, it.n_offline)));
    }
    named
}
