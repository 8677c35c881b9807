//! Random commands, and replicas that apply them, against a plain model.
//!
//! One state applies each command as it is committed, and is held to the model after each: the
//! members, their routes, who adopts what, and what the proposer is told. The others follow the
//! log late, and are restarted from snapshots that they took themselves, got from others, or began
//! to take long ago; whatever way one came, it has the outcome of each command and the hash at each
//! index. Commands come twice, at once and much later, and what an office deals out may be decided
//! on an old state.
//!
//! Whatever happens, an incarnation that was fenced never comes back, one that is forgotten is never
//! known again, a name has one living member of a role, a slice that was adopted stays so, and the
//! routes of a fenced gateway stay until all its slices are.

mod commands;
mod model;

use std::collections::BTreeSet;

use super::*;
use crate::dealer::SLICES;
use crate::seeds::{self, Dice};
use model::Model;

/// Commands of one run.
const LENGTH: usize = 50;

struct World {
    dice: Dice,
    /// Entry `i` has index `i + 1`.
    log: Vec<Entry>,
    /// Has applied all of it.
    ahead: State,
    model: Model,
    behind: Vec<Replica>,
    /// Commands of which the proposer does not know what became.
    late: Vec<Command>,
    /// Incarnations that were ever fenced, or forgotten.
    fenced: BTreeSet<u64>,
    forgotten: BTreeSet<u64>,
}

struct Entry {
    /// `None` for one that is no command.
    command: Option<Command>,
    applied: Option<Applied>,
    /// Of the state behind it; not of each, since it takes its time.
    hash: Option<u64>,
}

#[derive(Default)]
struct Replica {
    state: State,
    /// The last snapshot, encoded, and a state of which the next one is being made.
    snapshot: (u64, Vec<Vec<u8>>),
    taken: Option<State>,
}

#[test]
fn replicas_agree_and_what_is_fenced_stays_so() {
    seeds::try_each("replicas_agree_and_what_is_fenced", 2_000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..LENGTH {
            world.step();
        }
        world.finish();
    });
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            log: Vec::new(),
            ahead: State::default(),
            model: Model::default(),
            behind: vec![Replica::default(), Replica::default()],
            late: Vec::new(),
            fenced: BTreeSet::new(),
            forgotten: BTreeSet::new(),
        };
        world.commit(None);
        world.commit(Some(Command {
            kind: Some(found()),
        }));
        world
    }

    fn step(&mut self) {
        match self.dice.roll(12) {
            0 => self.commit(None),
            1 => self.repeat_late(),
            2..=4 => self.follow(),
            5 => self.disturb(),
            _ => {
                for command in self.propose() {
                    self.commit(Some(command.clone()));
                    if self.dice.one_in(6) {
                        self.commit_again(command.clone());
                    }
                    if self.dice.one_in(4) && !self.is_refused() {
                        self.late.push(command);
                    }
                }
            }
        }
    }

    // --- the log ---

    fn commit(&mut self, command: Option<Command>) {
        let index = self.log.len() as u64 + 1;
        let applied = match &command {
            Some(command) => {
                let before = self.ahead.clone();
                let applied = self.ahead.apply_noting(index, command);
                self.model.check_outcome(index, command, &applied);
                self.check(&before);
                Some(applied)
            }
            None => {
                self.ahead.pass(index);
                None
            }
        };
        assert_eq!(self.ahead.revision(), index);
        let hash = self.dice.one_in(16).then(|| self.ahead.hash());
        self.log.push(Entry {
            command,
            applied,
            hash,
        });
    }

    /// The proposer did not hear of it, and proposes it once more: nothing changes.
    fn commit_again(&mut self, command: Command) {
        let told = |world: &Self| world.log.last().and_then(|entry| entry.applied.clone());
        let first = told(self).expect("a command was committed");
        let is_registration = matches!(command.kind, Some(Kind::Register(_)));
        self.commit(Some(command));
        let again = told(self).expect("a command was committed");
        assert!(
            !again.has_changed,
            "{:?}",
            self.log.last().map(|it| &it.command)
        );
        if is_registration && !self.is_refused() {
            assert_eq!(again.outcome, first.outcome);
        }
    }

    /// Whether the last command was.
    fn is_refused(&self) -> bool {
        let applied = self.log.last().and_then(|entry| entry.applied.as_ref());
        applied.is_some_and(|applied| !applied.outcome.refused.is_empty())
    }

    fn repeat_late(&mut self) {
        if let Some(command) = self.dice.pick(&self.late) {
            self.commit(Some(command));
        }
    }

    // --- what holds after each command ---

    fn check(&mut self, before: &State) {
        self.model.check(&self.ahead, before);
        let mut living = BTreeSet::new();
        for (incarnation, member) in self.ahead.members() {
            assert!(
                !self.forgotten.contains(&incarnation),
                "{incarnation} is back"
            );
            if member.is_fenced() {
                self.fenced.insert(incarnation);
                continue;
            }
            assert!(
                !self.fenced.contains(&incarnation),
                "{incarnation} lives again"
            );
            let is_one = living.insert((member.name(), i32::from(member.role())));
            assert!(is_one, "{} has two living members", member.name());
        }
        for (incarnation, was) in before.members.iter() {
            let mut adopted = (0..SLICES).filter(|slice| was.is_adopted(*slice));
            let Some(is) = self.ahead.members.get(incarnation) else {
                self.forgotten.insert(*incarnation);
                let is_done = was.role() != Role::Gateway || adopted.count() == SLICES as usize;
                assert!(
                    was.is_fenced() && is_done,
                    "{incarnation} is forgotten too early"
                );
                continue;
            };
            if was.is_fenced() && !Arc::ptr_eq(was, is) {
                assert!(is.routes().iter().eq(was.routes().iter()), "a late route");
                let is_kept = adopted.all(|slice| is.is_adopted(slice));
                assert!(is_kept, "a slice of {incarnation} was adopted, and is not");
            }
        }
    }

    // --- those behind ---

    /// One of them applies some of what it has not.
    fn follow(&mut self) {
        let n = self.dice.roll(20) as usize;
        let at = self.dice.roll(self.behind.len() as u64) as usize;
        self.behind[at].follow(&self.log, n);
    }

    /// Snapshots are begun, made, and sent to others; somebody is restarted.
    fn disturb(&mut self) {
        let n = self.behind.len() as u64;
        let at = self.dice.roll(n) as usize;
        match self.dice.roll(4) {
            0 => self.behind[at].taken = Some(self.behind[at].state.clone()),
            1 => self.behind[at].make_snapshot(&self.log),
            2 => self.behind[at].restart(&self.log),
            _ => {
                let mut sender = Replica {
                    taken: Some(self.ahead.clone()),
                    ..Replica::default()
                };
                sender.make_snapshot(&self.log);
                self.behind[at].install(sender.snapshot, &self.log);
            }
        }
    }

    fn finish(&mut self) {
        let last = self.ahead.hash();
        for replica in &mut self.behind {
            replica.follow(&self.log, self.log.len());
            assert_eq!(replica.state.hash(), last);
            replica.taken = Some(replica.state.clone());
            replica.make_snapshot(&self.log);
            replica.restart(&self.log);
            assert_eq!(replica.state.hash(), last);
        }
    }
}

impl Replica {
    fn follow(&mut self, log: &[Entry], n: usize) {
        let from = self.state.revision() as usize;
        for (index, entry) in (from as u64 + 1..).zip(log[from..].iter().take(n)) {
            match &entry.command {
                Some(command) => {
                    let applied = Some(self.state.apply_noting(index, command));
                    assert_eq!(applied, entry.applied, "index {index}");
                }
                None => self.state.pass(index),
            }
            if let Some(hash) = entry.hash {
                assert_eq!(self.state.hash(), hash, "index {index}");
            }
        }
    }

    /// Of the state that was taken a while ago: what was applied since is not in it.
    fn make_snapshot(&mut self, log: &[Entry]) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        let revision = taken.revision();
        let known = log.get((revision as usize).wrapping_sub(1));
        if let Some(hash) = known.and_then(|entry| entry.hash) {
            assert_eq!(taken.hash(), hash, "a clone has changed");
        }
        let parts = taken.parts().map(|part| part.encode_to_vec()).collect();
        self.snapshot = (revision, parts);
    }

    fn restart(&mut self, log: &[Entry]) {
        let (revision, parts) = &self.snapshot;
        let parts = parts
            .iter()
            .map(|part| Part::decode(&part[..]).expect("whole"));
        self.state = State::restore(*revision, parts).expect("it can be read");
        self.taken = None;
        let known = log.get((*revision as usize).wrapping_sub(1));
        if let Some(hash) = known.and_then(|entry| entry.hash) {
            assert_eq!(self.state.hash(), hash, "restored at {revision}");
        }
    }

    /// From somebody who has more.
    fn install(&mut self, snapshot: (u64, Vec<Vec<u8>>), log: &[Entry]) {
        if snapshot.0 > self.state.revision() {
            self.snapshot = snapshot;
            self.restart(log);
        }
    }
}
