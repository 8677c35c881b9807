//! Which gateways have a lease, and what all of them have applied. Pure.
//!
//! The leader of the control plane keeps one book for as long as it is in office. A gateway beats:
//! "my beat `n`, I have applied everything up to `a`". The book confirms a beat or does not; a
//! gateway has a lease for [`Terms::lease`] from when it *sent* a beat that was confirmed, by its
//! own clock, and acknowledges QoS 1 and 2 only while it has one. The *watermark* releases what
//! waits to be known everywhere (SUBACK above all). What is promised:
//!
//! > Once a watermark `w` has been told to anybody, every gateway that believes that it has a lease
//! > has applied `w`; so has every gateway that comes to believe it later.
//!
//! # Why it holds within one office
//!
//! - **The book counts longer than the gateway.** A beat is sent before it is received. The book
//!   counts its sender until `received + lease + margin`; the gateway stops at `sent + lease`. The
//!   clocks' rates differ by less than 1 %, which the margin covers many times over.
//! - **The watermark is the least that anybody who counts has applied**, and never goes back.
//! - **Who did not count must catch up first.** Its beat is confirmed only with `applied` at or
//!   above the watermark, so the watermark is true of it from its first moment on.
//! - **A fence ends no lease at once.** A fenced gateway gets no more confirmations, and counts
//!   until its lease has run out or it says that it has applied the fence (it stops at that). One
//!   that has left in order stopped before it asked for the fence, and does not count.
//!
//! # Why it holds when the office moves
//!
//! Let a leader begin to keep its book at time `b`, with `floor` the last index of its log when it
//! took office, and all of that applied.
//!
//! - **What an earlier leader told is below the floor.** Its watermark was at most what it had
//!   applied, hence committed, and whatever was ever committed before is in the new leader's log.
//!   An earlier leader that is cut off can commit nothing more, so this stays true of what it still
//!   tells. The new leader confirms no beat with `applied` below its floor; so whoever gets a lease
//!   from it has applied whatever anybody else told.
//! - **What an earlier leader granted is waited for.** An earlier leader confirms a beat at `t` only
//!   if a quorum answered what it sent at some `s` with `t - s < quorum_within`. Somebody of that
//!   quorum voted for the new leader, and did so after its answer: `s < b`. So each lease of the
//!   earlier leader ends before `b + quorum_within + lease`. Until then, and a margin, the new
//!   leader counts every gateway registered in its state as one that has applied nothing, until it
//!   is heard of. It relies neither on voters that refuse others while they hear from a leader (one
//!   that was restarted does not) nor on clocks being set alike, only on their rates.
//! - **Nobody is forgotten too early.** A gateway has a lease only once its registration is
//!   committed, and that is in the state of every later leader.
//!
//! # What others must do for it
//!
//! - A gateway measures by a clock that also runs while the machine is suspended, gives up its lease
//!   before it empties its table, and then ignores confirmations of beats sent earlier. What it says
//!   that it has applied never goes back but by that.
//! - The age of the quorum's answer is read after the beat was received, and counts from when the
//!   question was *sent*.
//! - Whoever removes the last of a fenced gateway from the state (`Forget`) does so no earlier than
//!   a lease and a margin after the fence; the book itself still counts it as long as it must.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gatemq_proto::cluster::control::Attendant;
use gatemq_proto::cluster::state::fence::Why;

/// How long everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a gateway has a lease from when it sent the beat; all gateways must use the same.
    pub lease: Duration,
    /// How much longer the book counts it: more than the clocks of two machines differ by in the
    /// time of `lease` and `quorum_within`.
    pub margin: Duration,
    /// A quorum must have answered something sent less than this ago for a beat to be confirmed.
    /// Two or three times Raft's heartbeat at least; it lengthens the beginning of each office.
    pub quorum_within: Duration,
    /// A gateway not heard of for this long is to be fenced; it has no lease by then.
    pub fence_after: Duration,
    /// How long the watermark may wait for a gateway that nearly has what it takes for a lease;
    /// at most once in ten times as long.
    pub hold: Duration,
}

/// A gateway or bridge as the replicated state has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The index of its registration.
    pub incarnation: u64,
    /// Why it is fenced, if it is.
    pub fenced: Option<Why>,
}

/// What came of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The gateway has a lease from when it sent this beat: echo it.
    Confirmed,
    /// It may be told the watermark only.
    Unconfirmed,
    /// The book knows no such gateway: there is none, or its registration is newer than what the
    /// book was last told.
    Unknown,
}

/// The book. `now` is a time since any fixed moment, and never goes back between calls.
#[derive(Debug)]
pub struct Leases {
    terms: Terms,
    /// No lease below this revision.
    floor: u64,
    /// What the control plane itself has applied.
    revision: u64,
    watermark: u64,
    gateways: BTreeMap<u64, Gateway>,
    members_revision: u64,
    /// Those who count, by what they have applied, and by when they stop to count.
    by_applied: BTreeSet<(u64, u64)>,
    by_end: BTreeSet<(Duration, u64)>,
    hold: Hold,
    /// When anybody was heard of.
    heard_at: Duration,
    /// Silence counts from here only.
    silence_from: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Gateway {
    /// The newest beat, and the newest one that was confirmed; 0 for none.
    beat: u64,
    confirmed: u64,
    applied: u64,
    heard_at: Duration,
    /// Until when it counts, if it does.
    counts_until: Option<Duration>,
    /// A revision at which it was fenced already.
    fenced_at: Option<u64>,
    /// Whether the state has forgotten it.
    is_forgotten: bool,
}

/// The watermark waits for a gateway that is a little behind. Without this, one that is always a
/// moment behind a watermark that always moves would never get a lease.
#[derive(Debug, Default)]
struct Hold {
    current: Option<(u64, Duration)>,
    next_from: Duration,
}

/// How far below the watermark a gateway may be for the watermark to wait for it.
const NEARLY: u64 = 1024;

// === impl Terms ===

impl Terms {
    /// Until when a new office counts those whom an earlier leader may have given a lease.
    fn grace(&self) -> Duration {
        self.quorum_within + self.lease + self.margin
    }

    fn has_quorum(&self, quorum_age: Option<Duration>) -> bool {
        quorum_age.is_some_and(|age| age < self.quorum_within)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(2),
            margin: Duration::from_millis(200),
            quorum_within: Duration::from_secs(1),
            fence_after: Duration::from_millis(2_600),
            hold: Duration::from_millis(250),
        }
    }
}

// === impl Leases ===

impl Leases {
    /// Opens the book of an office. `floor` is the last index of the leader's log when it took
    /// office; `members` are those of its state at `revision`, which must be at or above `floor`.
    #[must_use]
    pub fn new(
        terms: Terms,
        now: Duration,
        floor: u64,
        revision: u64,
        members: impl IntoIterator<Item = Member>,
    ) -> Self {
        let mut leases = Self {
            terms,
            floor,
            revision,
            watermark: 0,
            gateways: BTreeMap::new(),
            members_revision: 0,
            by_applied: BTreeSet::new(),
            by_end: BTreeSet::new(),
            hold: Hold::default(),
            heard_at: now,
            silence_from: now,
        };
        let members: Vec<_> = members.into_iter().collect();
        leases.add_members(now, revision, &members);
        for member in members {
            if member.fenced != Some(Why::Left) {
                leases.count(member.incarnation, now + terms.grace());
            }
        }
        leases.raise(now);
        leases
    }

    /// Takes a beat. `quorum_age` is how long ago the leader sent what a quorum has answered, read
    /// after the beat was received.
    pub fn beat(&mut self, now: Duration, quorum_age: Option<Duration>, said: Attendant) -> Answer {
        self.expire(now);
        let Some(gateway) = self.gateways.get_mut(&said.incarnation) else {
            return Answer::Unknown;
        };
        if said.beat <= gateway.beat {
            // Passed on twice, or overtaken by another node of the control plane.
            let is_echo = said.beat == gateway.confirmed && said.beat > 0;
            return match is_echo && gateway.fenced_at.is_none() {
                true => Answer::Confirmed,
                false => Answer::Unconfirmed,
            };
        }
        gateway.beat = said.beat;
        gateway.heard_at = now;
        self.note_beat(now);
        self.set_applied(said.incarnation, said.applied);
        let answer = self.decide(now, quorum_age, said);
        self.raise(now);
        answer
    }

    /// What the control plane has applied itself.
    pub fn advance(&mut self, now: Duration, revision: u64) {
        self.revision = self.revision.max(revision);
        self.raise(now);
    }

    /// All members of the state at a revision.
    pub fn set_members(&mut self, now: Duration, revision: u64, members: &[Member]) {
        self.add_members(now, revision, members);
        let present: BTreeSet<_> = members.iter().map(|member| member.incarnation).collect();
        for (incarnation, gateway) in &mut self.gateways {
            if !present.contains(incarnation) {
                gateway.is_forgotten = true;
                gateway.fenced_at.get_or_insert(revision);
            }
        }
        self.drop_forgotten();
        self.raise(now);
    }

    /// Leaves out those whose lease has run out. Due at [`next_deadline`](Self::next_deadline).
    pub fn expire(&mut self, now: Duration) {
        while let Some(&(end, incarnation)) = self.by_end.first()
            && end <= now
        {
            self.discount(incarnation);
        }
        self.drop_forgotten();
        self.raise(now);
    }

    /// When the watermark may move without anything being heard.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let end = self.by_end.first().map(|(end, _)| *end);
        let hold = self.hold.current.map(|(_, until)| until);
        end.into_iter().chain(hold).min()
    }

    /// Whom to fence because nothing was heard of it for long.
    ///
    /// Nobody, while nobody at all is heard of: then the leader itself may have slept, or be the
    /// one that is cut off. Afterwards everybody gets the full time again.
    #[must_use]
    pub fn due_fences(&self, now: Duration, quorum_age: Option<Duration>) -> Vec<u64> {
        if !self.terms.has_quorum(quorum_age) || self.is_silent(now) {
            return Vec::new();
        }
        let is_due = |gateway: &Gateway| {
            gateway.fenced_at.is_none()
                && gateway.counts_until.is_none_or(|until| until <= now)
                && now >= gateway.heard_at.max(self.silence_from) + self.terms.fence_after
        };
        let due = self.gateways.iter().filter(|(_, gateway)| is_due(gateway));
        due.map(|(incarnation, _)| *incarnation).collect()
    }

    /// What everybody with a lease has applied.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The revision of the newest members that the book was told.
    #[must_use]
    pub fn members_revision(&self) -> u64 {
        self.members_revision
    }

    /// Those who count, with their newest beats.
    pub fn attendants(&self) -> impl Iterator<Item = Attendant> + '_ {
        let counted = self.gateways.iter();
        counted
            .filter(|(_, gateway)| gateway.counts_until.is_some())
            .map(|(&incarnation, gateway)| Attendant {
                incarnation,
                beat: gateway.beat,
                applied: gateway.applied,
            })
    }

    // --- private ---

    fn decide(&mut self, now: Duration, quorum_age: Option<Duration>, said: Attendant) -> Answer {
        let Some(gateway) = self.gateways.get_mut(&said.incarnation) else {
            return Answer::Unknown;
        };
        if let Some(fenced_at) = gateway.fenced_at {
            if said.applied >= fenced_at {
                self.discount(said.incarnation);
            }
            return Answer::Unconfirmed;
        }
        let has_quorum = self.terms.has_quorum(quorum_age);
        if has_quorum && said.applied >= self.watermark.max(self.floor) {
            gateway.confirmed = said.beat;
            self.count(said.incarnation, now + self.terms.lease + self.terms.margin);
            self.hold.end(said.incarnation);
            return Answer::Confirmed;
        }
        let is_behind = (self.floor..self.watermark).contains(&said.applied);
        if has_quorum && is_behind && self.watermark - said.applied <= NEARLY {
            self.hold.begin(said.incarnation, now, self.terms.hold);
        }
        Answer::Unconfirmed
    }

    /// The watermark is the least that anybody who counts has applied; and never more than the
    /// leader itself has, whatever a gateway says.
    fn raise(&mut self, now: Duration) {
        if self.hold.is_on(now) {
            return;
        }
        let least = self
            .by_applied
            .first()
            .map_or(u64::MAX, |(applied, _)| *applied);
        self.watermark = self.watermark.max(least.min(self.revision));
    }

    fn add_members(&mut self, now: Duration, revision: u64, members: &[Member]) {
        self.members_revision = self.members_revision.max(revision);
        for member in members {
            let gateway = self.gateways.entry(member.incarnation);
            let gateway = gateway.or_insert_with(|| Gateway::new(now));
            if member.fenced.is_some() {
                gateway.fenced_at.get_or_insert(revision);
            }
            if member.fenced == Some(Why::Left) {
                self.discount(member.incarnation);
            }
        }
    }

    fn set_applied(&mut self, incarnation: u64, applied: u64) {
        let Some(gateway) = self.gateways.get_mut(&incarnation) else {
            return;
        };
        if self.by_applied.remove(&(gateway.applied, incarnation)) {
            self.by_applied.insert((applied, incarnation));
        }
        gateway.applied = applied;
    }

    fn count(&mut self, incarnation: u64, until: Duration) {
        let Some(gateway) = self.gateways.get_mut(&incarnation) else {
            return;
        };
        // Never shortened: what an earlier leader granted may run longer.
        let until = gateway.counts_until.map_or(until, |end| end.max(until));
        if let Some(end) = gateway.counts_until.replace(until) {
            self.by_end.remove(&(end, incarnation));
        }
        self.by_end.insert((until, incarnation));
        self.by_applied.insert((gateway.applied, incarnation));
    }

    fn discount(&mut self, incarnation: u64) {
        let Some(gateway) = self.gateways.get_mut(&incarnation) else {
            return;
        };
        if let Some(end) = gateway.counts_until.take() {
            self.by_end.remove(&(end, incarnation));
            self.by_applied.remove(&(gateway.applied, incarnation));
        }
    }

    fn drop_forgotten(&mut self) {
        self.gateways
            .retain(|_, gateway| !gateway.is_forgotten || gateway.counts_until.is_some());
    }

    fn note_beat(&mut self, now: Duration) {
        if self.is_silent(now) {
            self.silence_from = now;
        }
        self.heard_at = now;
    }

    fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard_at) >= self.terms.lease
    }
}

// === impl Gateway ===

impl Gateway {
    fn new(now: Duration) -> Self {
        Self {
            beat: 0,
            confirmed: 0,
            applied: 0,
            heard_at: now,
            counts_until: None,
            fenced_at: None,
            is_forgotten: false,
        }
    }
}

// === impl Hold ===

impl Hold {
    fn begin(&mut self, incarnation: u64, now: Duration, time: Duration) {
        if now >= self.next_from {
            self.current = Some((incarnation, now + time));
            self.next_from = now + time * 10;
        }
    }

    fn end(&mut self, incarnation: u64) {
        if self.current.is_some_and(|(held, _)| held == incarnation) {
            self.current = None;
        }
    }

    fn is_on(&mut self, now: Duration) -> bool {
        self.current = self.current.filter(|(_, until)| now < *until);
        self.current.is_some()
    }
}

#[cfg(test)]
mod tests;
