//! Whether a node may take what it knows of the cluster for current. Pure but for who waits for it;
//! times are milliseconds of the node's clock, which never jumps.
//!
//! A lease runs from when a beat was *sent*, for as long as the control plane says; the control
//! plane counts from when it had the beat, so it always waits longer than the node believes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// How long a lease runs, in milliseconds.
pub const LEASE: u64 = 2_000;
/// Beats without an answer that are remembered.
const REMEMBERED: usize = 64;

/// The lease as everybody in the node sees it.
#[derive(Debug, Default)]
pub struct Lease {
    until: AtomicU64,
    /// How often it was gained. Written before `until`, and read behind it: who sees that a lease
    /// runs knows which one that is.
    generation: AtomicU64,
    is_given_up: AtomicBool,
    renewed: Notify,
}

/// Which lease something was done under: each that is gained anew has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

/// Beats that were sent and not confirmed.
#[derive(Debug, Default)]
pub struct Beats {
    sent: VecDeque<(u64, u64)>,
    number: u64,
}

impl Lease {
    /// Whether the lease runs.
    pub fn is_held(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire) && !self.is_given_up()
    }

    /// When the lease runs out, or did; 0 where there was none, or it was ended.
    pub fn ends_at(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// Which lease it is, or was.
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Whether the lease runs, and has done so since it was the one of that generation: what was
    /// found in the table meanwhile was all that there is.
    pub fn is_held_since(&self, generation: Generation, now: u64) -> bool {
        self.is_held(now) && self.generation() == generation
    }

    /// A beat that was sent at `sent_at` has been confirmed, which is known `now`. By one thread at
    /// a time.
    pub fn renew(&self, sent_at: u64, now: u64) {
        if now >= self.until.load(Ordering::Acquire) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.until.fetch_max(sent_at + LEASE, Ordering::AcqRel);
        self.renewed.notify_waiters();
    }

    /// Waits until the lease runs.
    pub async fn held(&self, now: impl Fn() -> u64) {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            // Looked at after `enable`, so that no renewal in between is missed.
            if self.is_held(now()) {
                return;
            }
            renewed.await;
        }
    }

    /// The lease ends now: the incarnation is fenced, or the table is not whole.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// The node leaves: there is no lease any more, whatever is still confirmed. Nobody waits
    /// for a lease of one that has asked to be fenced.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    /// Whether the node has begun to leave.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }
}

impl Beats {
    /// The number of the next beat, which is sent now.
    pub fn send(&mut self, now: u64) -> u64 {
        self.number += 1;
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        self.number
    }

    /// What was sent is not to be confirmed any more: what was applied then does not hold, or it
    /// went out by a line that is cut.
    pub fn forget(&mut self) {
        self.sent.clear();
    }

    /// A beat is confirmed; when it was sent, if it is news.
    pub fn confirm(&mut self, number: u64) -> Option<u64> {
        let mut sent_at = None;
        while let Some((first, at)) = self.sent.front()
            && *first <= number
        {
            sent_at = Some(*at);
            self.sent.pop_front();
        }
        sent_at
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(future: &mut Pin<Box<impl Future<Output = ()>>>) -> Poll<()> {
        let mut context = Context::from_waker(Waker::noop());
        future.as_mut().poll(&mut context)
    }

    #[tokio::test]
    async fn who_waits_for_a_lease_is_told_of_it() {
        let (lease, now) = (Lease::default(), Cell::new(5_000));
        let mut waiting = Box::pin(lease.held(|| now.get()));
        assert_eq!(poll(&mut waiting), Poll::Pending);
        lease.renew(1_000, 5_000); // that one is over already
        assert_eq!(poll(&mut waiting), Poll::Pending);
        lease.renew(4_000, 5_000);
        assert_eq!(poll(&mut waiting), Poll::Ready(()));
        lease.held(|| now.get()).await;
    }

    #[test]
    fn a_lease_runs_from_when_the_confirmed_beat_was_sent() {
        let (lease, mut beats) = (Lease::default(), Beats::default());
        assert!(!lease.is_held(1_000));
        let first = beats.send(1_000);
        let second = beats.send(1_250);
        lease.renew(beats.confirm(first).expect("it was sent"), 1_300);
        assert!(lease.is_held(2_999) && !lease.is_held(3_000));
        assert_eq!(beats.confirm(first), None);
        lease.renew(beats.confirm(second).expect("it was sent"), 1_400);
        assert!(lease.is_held(3_249) && !lease.is_held(3_250));
        lease.renew(1_000, 1_500);
        assert!(lease.is_held(3_249), "an old answer takes nothing back");
        lease.end();
        assert!(!lease.is_held(1_001));
    }

    #[test]
    fn one_that_is_given_up_does_not_come_back() {
        let (lease, mut beats) = (Lease::default(), Beats::default());
        let beat = beats.send(1_000);
        lease.renew(1_000, 1_000);
        lease.give_up();
        assert!(!lease.is_held(1_001));
        lease.renew(beats.confirm(beat).expect("it was sent"), 1_001);
        assert!(!lease.is_held(1_001));
    }

    #[test]
    fn one_that_was_lost_and_got_back_is_another_one() {
        let lease = Lease::default();
        let none = lease.generation();
        assert!(!lease.is_held_since(none, 1_000));
        lease.renew(1_000, 1_000);
        assert!(!lease.is_held_since(none, 1_000));
        let first = lease.generation();
        assert!(lease.is_held_since(first, 2_999) && !lease.is_held_since(first, 3_000));
        lease.renew(2_500, 2_999); // in time
        assert!(lease.is_held_since(first, 4_499));
        lease.renew(4_000, 4_500); // too late by a moment
        assert!(lease.is_held(4_500) && !lease.is_held_since(first, 4_500));
        let second = lease.generation();
        lease.end(); // the table goes back
        lease.renew(4_600, 4_700);
        assert!(lease.is_held(4_700) && !lease.is_held_since(second, 4_700));
    }
}
