//! A random world of gateways and leaders against the promise of the book.
//!
//! Gateways apply late, sleep, empty their tables, leave, are fenced; beats and confirmations are
//! late, lost, sent twice, or go to a leader that is none any more. Clocks differ by almost 1 % and
//! are set as they like. After each event every gateway that believes that it has a lease must have
//! applied the highest watermark that any leader has ever told.
//!
//! So that the promise is not kept for nothing, the same world with one clause of the argument
//! taken away must break it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::seeds;

/// Which clause is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The leader counts no longer than the gateway, and its clock is as it is.
    Margin,
    /// A leader confirms whatever a quorum says.
    Quorum,
    /// A new leader confirms below its floor.
    Floor,
    /// A new leader counts nobody whom it has not heard of.
    Members,
    /// A new leader counts nobody who is fenced.
    Fenced,
    /// A new leader waits for a lease only, not also for the quorum's age.
    QuorumInGrace,
}

/// Microseconds of true time.
type Time = u64;

const SECOND: Time = 1_000_000;
const LENGTH: Time = 14 * SECOND;
const LEASE: Time = 2 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Commit,
    Apply {
        gateway: usize,
    },
    Beat {
        gateway: usize,
    },
    /// Of an office, in order of elections.
    Heard {
        office: usize,
        said: (u64, u64, u64),
    },
    Confirmed {
        incarnation: u64,
        beat: u64,
    },
    Expire,
    Acknowledge,
    CutOff,
    Elect,
    Open {
        floor: u64,
    },
    Disturb,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Other,
    Register,
    Fence(u64, Why),
    Forget(u64),
}

struct Clock {
    offset: Time,
    /// Parts per million by which it is fast or slow.
    drift: i64,
}

struct Gateway {
    incarnation: u64,
    clock: Clock,
    applied: u64,
    beat: u64,
    sent_at: Vec<Duration>,
    lease_until: Duration,
    /// Confirmations of beats up to this one are ignored.
    ignored: u64,
    asleep_until: Time,
    /// Until when it knows the earlier leader only.
    backward_until: Time,
    /// It is fenced and knows it, or has left.
    is_over: bool,
}

struct Office {
    book: Leases,
    clock: Clock,
    /// When it sent what a quorum has answered last.
    acknowledged: Time,
    is_cut_off: bool,
}

struct World {
    without: Without,
    random: u64,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    n_events: u64,
    /// Entry `i` has index `i + 1`.
    log: Vec<Entry>,
    members: BTreeMap<u64, Member>,
    /// The revision of the newest change of members.
    members_revision: u64,
    gateways: Vec<Gateway>,
    offices: Vec<Office>,
    watermark: u64,
    n_confirmed: u64,
}

#[test]
fn the_promise_is_kept() {
    let (mut n_seeds, mut n_confirmed, mut released) = (0, 0, 0);
    seeds::try_each("the_promise_is_kept", 1_500, |seed| {
        let mut world = World::new(seed, Without::Nothing);
        if let Err(what) = world.run() {
            panic!("seed {seed}: {what}");
        }
        n_seeds += 1;
        n_confirmed += world.n_confirmed;
        released += world.watermark * 100 / world.log.len() as u64;
    });
    // The world is one in which gateways do have leases, and SUBACKs are released.
    assert!(n_confirmed / n_seeds > 50, "{n_confirmed} confirmations");
    assert!(
        released / n_seeds > 70,
        "{} % of the log released",
        released / n_seeds
    );
}

#[test]
fn without_any_clause_of_the_argument_it_is_not() {
    use Without::*;
    for without in [Margin, Quorum, Floor, Members, Fenced, QuorumInGrace] {
        let is_broken = (0..5000).any(|seed| World::new(seed, without).run().is_err());
        assert!(is_broken, "no world needs it: {without:?}");
    }
}

impl World {
    fn new(seed: u64, without: Without) -> Self {
        let mut world = Self {
            without,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: 0,
            events: BinaryHeap::new(),
            n_events: 0,
            log: vec![Entry::Other],
            members: BTreeMap::new(),
            members_revision: 0,
            gateways: Vec::new(),
            offices: Vec::new(),
            watermark: 0,
            n_confirmed: 0,
        };
        world.open_office(1);
        for _ in 0..3 {
            world.register();
        }
        for event in [
            Event::Commit,
            Event::Expire,
            Event::Acknowledge,
            Event::Disturb,
        ] {
            world.after(0, event);
        }
        let cut_off = SECOND + world.below(4 * SECOND);
        world.after(cut_off, Event::CutOff);
        world
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((time, _, event))) = self.events.pop()
            && time < LENGTH
        {
            self.now = time;
            self.handle(event);
            self.check(event)?;
        }
        Ok(())
    }

    fn check(&self, event: Event) -> Result<(), String> {
        for gateway in &self.gateways {
            let believes = !gateway.is_over && gateway.clock.read(self.now) < gateway.lease_until;
            if believes && gateway.applied < self.watermark {
                return Err(format!(
                    "at {} after {event:?}: {} has applied {} of {}",
                    self.now, gateway.incarnation, gateway.applied, self.watermark
                ));
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Commit => {
                self.commit(Entry::Other);
                let pause = self.below(100_000);
                self.after(pause, event);
            }
            Event::Apply { gateway } => self.apply(gateway),
            Event::Beat { gateway } => {
                self.beat(gateway);
                self.after(250_000, event);
            }
            Event::Heard { office, said } => self.hear(office, said),
            Event::Confirmed { incarnation, beat } => self.confirmed(incarnation, beat),
            Event::Expire => {
                self.expire();
                self.after(20_000, event);
            }
            Event::Acknowledge => {
                let now = self.now;
                for office in self.offices.iter_mut().filter(|office| !office.is_cut_off) {
                    office.acknowledged = now;
                }
                self.after(250_000, event);
            }
            Event::CutOff => self.cut_off(),
            Event::Elect => {
                let floor = self.commit(Entry::Other);
                let delay = self.below(100_000);
                self.after(delay, Event::Open { floor });
            }
            Event::Open { floor } => self.open_office(floor),
            Event::Disturb => {
                self.disturb();
                let pause = self.below(SECOND);
                self.after(pause, event);
            }
        }
        for office in &self.offices {
            self.watermark = self.watermark.max(office.book.watermark());
        }
    }

    // --- leaders ---

    fn open_office(&mut self, floor: u64) {
        let clock = self.clock();
        let mut terms = Terms {
            hold: ms(50),
            ..Terms::default()
        };
        match self.without {
            Without::Margin => terms.margin = ms(0),
            Without::Quorum => terms.quorum_within = ms(1_000_000),
            _ => {}
        }
        let mut members = self.members();
        match self.without {
            Without::Members => members.clear(),
            Without::Fenced => members.retain(|member| member.fenced.is_none()),
            _ => {}
        }
        let mut grace = terms;
        // The book adds the quorum's age to its grace by itself.
        match self.without {
            Without::Quorum => grace.quorum_within = Terms::default().quorum_within,
            Without::QuorumInGrace => grace.quorum_within = ms(0),
            _ => {}
        }
        for number in 0..self.gateways.len() {
            let time = self.below(6 * SECOND);
            if self.one_in(3) {
                self.gateways[number].backward_until = self.now + time;
            }
        }
        let is_floor = self.without != Without::Floor;
        let revision = self.log.len() as u64;
        let floor = if is_floor { floor } else { 0 };
        let mut book = Leases::new(grace, clock.read(self.now), floor, revision, members);
        book.terms = terms;
        self.offices.push(Office {
            book,
            clock,
            acknowledged: self.now,
            is_cut_off: false,
        });
    }

    /// The leader is cut off, and another is elected by voters of which one may have answered the
    /// leader a moment ago.
    fn cut_off(&mut self) {
        if let Some(office) = self.offices.last_mut() {
            office.is_cut_off = true;
        }
        let soon = self.below(50_000);
        let late = self.below(3 * SECOND);
        let delay = if self.one_in(2) { soon } else { late };
        self.after(delay, Event::Elect);
        let next = delay + self.below(6 * SECOND);
        self.after(next + 200_000, Event::CutOff);
    }

    fn hear(&mut self, office: usize, (incarnation, beat, applied): (u64, u64, u64)) {
        self.tell_members();
        let now = self.now;
        let Some(office) = self.offices.get_mut(office) else {
            return;
        };
        let clock = office.clock.read(now);
        let age = clock - office.clock.read(office.acknowledged);
        let answer = office
            .book
            .beat(clock, Some(age), said(incarnation, beat, applied));
        if answer == Answer::Confirmed {
            let delay = self.delay();
            self.after(delay, Event::Confirmed { incarnation, beat });
        }
    }

    fn expire(&mut self) {
        self.tell_members();
        let now = self.now;
        let mut due = Vec::new();
        for office in &mut self.offices {
            let clock = office.clock.read(now);
            office.book.expire(clock);
            if !office.is_cut_off {
                due = office.book.due_fences(clock, FRESH);
            }
        }
        for incarnation in due {
            self.commit(Entry::Fence(incarnation, Why::Lease));
        }
    }

    /// What a leader that is not cut off has applied.
    fn tell_members(&mut self) {
        let revision = self.log.len() as u64;
        let now = self.now;
        for office in self.offices.iter_mut().filter(|office| !office.is_cut_off) {
            let clock = office.clock.read(now);
            office.book.advance(clock, revision);
            if office.book.members_revision() < self.members_revision {
                let members: Vec<_> = self.members.values().copied().collect();
                office.book.set_members(clock, revision, &members);
            }
        }
    }

    fn members(&self) -> Vec<Member> {
        self.members.values().copied().collect()
    }

    /// Only the newest leader can; one that is cut off while there is no other commits nothing.
    fn commit(&mut self, entry: Entry) -> u64 {
        self.log.push(entry);
        let index = self.log.len() as u64;
        match entry {
            Entry::Other => return index,
            Entry::Register => {
                self.members.insert(index, member(index));
            }
            Entry::Fence(incarnation, why) => {
                let member = self.members.entry(incarnation);
                member.and_modify(|member| *member = fenced(incarnation, why));
            }
            Entry::Forget(incarnation) => {
                self.members.remove(&incarnation);
            }
        }
        self.members_revision = index;
        index
    }

    // --- gateways ---

    fn register(&mut self) {
        let incarnation = self.commit(Entry::Register);
        let clock = self.clock();
        self.gateways.push(Gateway {
            incarnation,
            clock,
            applied: 0,
            beat: 0,
            sent_at: vec![ms(0)],
            lease_until: ms(0),
            ignored: 0,
            asleep_until: 0,
            backward_until: 0,
            is_over: false,
        });
        let gateway = self.gateways.len() - 1;
        self.after(1000, Event::Apply { gateway });
        self.after(2000, Event::Beat { gateway });
    }

    fn apply(&mut self, number: usize) {
        let pause = self.below(80_000);
        self.after(pause, Event::Apply { gateway: number });
        let newest = self.log.len() as u64;
        let all = self.one_in(2);
        let step = 1 + self.below(3);
        let now = self.now;
        let Some(gateway) = self.gateways.get_mut(number) else {
            return;
        };
        if gateway.is_over || gateway.asleep_until > now {
            return;
        }
        let target = if all {
            newest
        } else {
            newest.min(gateway.applied + step)
        };
        let news = self
            .log
            .iter()
            .take(target as usize)
            .skip(gateway.applied as usize);
        let incarnation = gateway.incarnation;
        let is_fence = |entry: &Entry| matches!(entry, Entry::Fence(of, _) if *of == incarnation);
        gateway.is_over = news.into_iter().any(is_fence);
        gateway.applied = target;
        self.beat(number);
    }

    fn beat(&mut self, number: usize) {
        let now = self.now;
        let Some(gateway) = self.gateways.get_mut(number) else {
            return;
        };
        if gateway.asleep_until > now {
            return;
        }
        gateway.beat += 1;
        gateway.sent_at.push(gateway.clock.read(now));
        let said = (gateway.incarnation, gateway.beat, gateway.applied);
        let is_backward = gateway.backward_until > now;
        for _ in 0..if self.one_in(10) { 2 } else { 1 } {
            let back = if is_backward != self.one_in(20) { 1 } else { 0 };
            let office = self.offices.len().saturating_sub(1 + back);
            let delay = self.delay();
            if !self.one_in(10) {
                self.after(delay, Event::Heard { office, said });
            }
        }
    }

    fn confirmed(&mut self, incarnation: u64, beat: u64) {
        let mut gateways = self.gateways.iter_mut();
        let gateway = gateways.find(|gateway| gateway.incarnation == incarnation);
        if let Some(gateway) = gateway
            && beat > gateway.ignored
            && let Some(&sent_at) = gateway.sent_at.get(beat as usize)
        {
            let until = sent_at + Duration::from_micros(LEASE);
            gateway.lease_until = gateway.lease_until.max(until);
            self.n_confirmed += 1;
        }
    }

    fn disturb(&mut self) {
        let number = self.below(self.gateways.len() as u64) as usize;
        let what = self.below(12);
        let sleep = self.below(6 * SECOND);
        let now = self.now;
        let gateway = &mut self.gateways[number];
        let incarnation = gateway.incarnation;
        match what {
            0..4 => gateway.asleep_until = now + sleep,
            4 => {
                // Empties its table.
                gateway.lease_until = ms(0);
                gateway.ignored = gateway.beat;
                gateway.applied = 0;
            }
            5 => {
                gateway.lease_until = ms(0);
                gateway.is_over = true;
                self.commit(Entry::Fence(incarnation, Why::Left));
            }
            6 | 7 => {
                self.commit(Entry::Fence(incarnation, Why::Removed));
            }
            8 if gateway.is_over => {
                // Long after the fence, as it must be.
                self.commit(Entry::Forget(incarnation));
            }
            9..12 if self.gateways.len() < 8 => self.register(),
            _ => {}
        }
    }

    // --- chance and time ---

    fn clock(&mut self) -> Clock {
        Clock {
            offset: self.below(1000 * SECOND),
            drift: self.below(9900) as i64 - 4950,
        }
    }

    fn delay(&mut self) -> Time {
        let longest = if self.one_in(8) { 3 * SECOND } else { 30_000 };
        self.below(longest)
    }

    fn after(&mut self, delay: Time, event: Event) {
        self.n_events += 1;
        self.events
            .push(Reverse((self.now + delay, self.n_events, event)));
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// xorshift64*
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}

impl Clock {
    fn read(&self, now: Time) -> Duration {
        let fast = now as i64 * self.drift / 1_000_000;
        Duration::from_micros(self.offset + now.saturating_add_signed(fast))
    }
}
