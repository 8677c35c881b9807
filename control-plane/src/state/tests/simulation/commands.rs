//! What is proposed: mostly what makes sense in the state that there is, and some that does not.

use super::super::*;
use super::World;
use crate::dealer;

const NAMES: [&str; 4] = ["g1", "g2", "g3", "b1"];
const FILTERS: [&str; 12] = [
    "a",
    "a/b",
    "a/+",
    "a/#",
    "#",
    "b",
    "b/c",
    "+/c",
    "$share/g/a",
    "$share/g/b",
    "$share/h/#",
    "",
];

impl World {
    pub(super) fn propose(&mut self) -> Vec<Command> {
        let kind = match self.dice.roll(20) {
            0..=3 => self.register(),
            4 | 5 => self.fence(),
            6..=10 => self.routes(),
            11 => return self.deal(),
            12 | 13 => self.adopted(),
            14..=16 => self.adopt(),
            17 => Kind::Forget(Forget {
                incarnation: self.dice.roll(self.log.len() as u64 + 3),
            })
            .unless(|kind| self.would_forget(kind)),
            18 => self.setting(),
            _ => self.other(),
        };
        vec![Command { kind: Some(kind) }]
    }

    fn register(&mut self) -> Kind {
        let name = self.dice.pick(&NAMES).expect("there are some");
        let role = match name {
            "b1" if !self.dice.one_in(4) => Role::Bridge,
            _ => Role::Gateway,
        };
        let living = self.ahead.living(name, role);
        let token = match living {
            Some((_, member)) if self.dice.one_in(2) => member.token(),
            _ => self.dice.roll(1_000),
        };
        let Kind::Register(register) = register(name, token) else {
            unreachable!("it makes a registration");
        };
        Kind::Register(Register {
            role: if self.dice.one_in(30) { 0 } else { role.into() },
            ..register
        })
    }

    /// A member that there is, mostly one that is or is not fenced.
    fn member(&mut self, is_fenced: bool) -> u64 {
        let members = self.ahead.members();
        let members = members.filter(|(_, member)| member.is_fenced() == is_fenced);
        let members: Vec<u64> = members.map(|(incarnation, _)| incarnation).collect();
        match self.dice.one_in(10) {
            true => self.dice.roll(self.log.len() as u64 + 3),
            false => self.dice.pick(&members).unwrap_or(1),
        }
    }

    fn fence(&mut self) -> Kind {
        let is_fenced = self.dice.one_in(5);
        Kind::Fence(Fence {
            incarnation: self.member(is_fenced),
            why: self.dice.roll(5) as i32,
        })
    }

    fn routes(&mut self) -> Kind {
        let is_fenced = self.dice.one_in(8);
        let incarnation = self.member(is_fenced);
        let last = self
            .ahead
            .member(incarnation)
            .map_or(0, Member::last_routes);
        let number = match self.dice.roll(10) {
            0 => self.dice.roll(last + 1),
            1 => last + 2,
            _ => last + 1,
        };
        let mut some = || {
            let n = self.dice.roll(5);
            (0..n)
                .filter_map(|_| self.dice.pick(&FILTERS))
                .collect::<Vec<_>>()
        };
        let (set, removed) = (some(), some());
        let set = set.into_iter().map(|filter| Route {
            filter: filter.to_owned(),
            n_online: self.dice.roll(3) as u32,
            n_offline: 0,
        });
        Kind::Routes(RoutesCommand {
            incarnation,
            number,
            set: set.collect(),
            removed: removed.into_iter().map(str::to_owned).collect(),
            is_part: self.dice.one_in(4),
        })
    }

    /// What a leader deals out, which may have an old state, and be told of only in part.
    fn deal(&mut self) -> Vec<Command> {
        let is_old = self.dice.one_in(4);
        let at = self.dice.roll(self.behind.len() as u64) as usize;
        let state = match is_old {
            true => &self.behind[at].state,
            false => &self.ahead,
        };
        let leased = self.dice.roll(u64::MAX);
        let is_leased = |incarnation: u64| {
            let is_fenced = state.member(incarnation).is_some_and(Member::is_fenced);
            let is_odd = leased >> (incarnation % 61) & 7 == 0;
            is_fenced == is_odd
        };
        let mut dealt = dealer::deal(state, is_leased);
        if self.dice.one_in(3) {
            dealt.truncate(1);
        }
        dealt
    }

    /// An adopter has done its part, or some of it, or somebody says so of another's.
    fn adopted(&mut self) -> Kind {
        let fenced = self.member(true);
        let dealt = self.ahead.member(fenced).map(|it| it.adopted().collect());
        let dealt: Vec<(u32, u64)> = dealt.unwrap_or_default();
        let by = self.dice.pick(&dealt).map_or(1, |(_, by)| by);
        let n_said = match self.dice.roll(4) {
            0 => self.dice.roll(dealt.len() as u64 + 1) as usize,
            _ => dealt.len(),
        };
        let is_all = self.dice.one_in(5);
        let said = dealt.into_iter().take(n_said);
        let said = said.filter(|(_, adopter)| is_all || *adopter == by);
        Kind::Adopted(Adopted {
            fenced,
            by,
            slices: said.map(|(slice, _)| slice).collect(),
        })
    }

    /// An adoption as no dealer would have it.
    fn adopt(&mut self) -> Kind {
        let is_fenced = !self.dice.one_in(6);
        let fenced = self.member(is_fenced);
        let from = self.dice.roll(1_024) as u32;
        let n = self.dice.roll(8) as u32;
        let is_done = |slice: &u32| {
            let member = self.ahead.member(fenced);
            member.is_some_and(|member| member.is_adopted(*slice))
        };
        let slices = (from..(from + n).min(1_024)).filter(|slice| !is_done(slice));
        let slices = slices.collect();
        let by = self.member(false);
        Kind::Adopt(Adopt { fenced, by, slices })
    }

    fn setting(&mut self) -> Kind {
        let key = self.dice.pick(&["k1", "k2", "k3"]).expect("there are some");
        let value = self.dice.pick(&[None, Some("x"), Some("y")]).flatten();
        configure(key, value, self.dice.roll(4))
    }

    fn other(&mut self) -> Kind {
        let value = self.dice.pick(&["u1", "u2", "u3"]).expect("there are some");
        match self.dice.roll(6) {
            0 => admit(value),
            1 => Kind::Dismiss(Dismiss {
                number: self.dice.roll(self.log.len() as u64 + 1),
            }),
            2 => unban(value),
            3 => found(),
            4 => {
                let (until, is_automatic) = (self.dice.roll(4), self.dice.one_in(2));
                ban_until(value, until, is_automatic)
            }
            _ => ban(value),
        }
    }

    /// Whether it would take out a member: only a dealer proposes that.
    fn would_forget(&self, kind: &Kind) -> bool {
        let Kind::Forget(forget) = kind else {
            return false;
        };
        let known = self.ahead.member(forget.incarnation);
        known.is_some_and(Member::is_fenced)
    }
}

/// A command, or one that never changes anything in its place.
trait Unless {
    fn unless(self, is_wrong: impl FnOnce(&Self) -> bool) -> Self;
}

impl Unless for Kind {
    fn unless(self, is_wrong: impl FnOnce(&Self) -> bool) -> Self {
        match is_wrong(&self) {
            true => fence(0),
            false => self,
        }
    }
}
