//! When a connection reads nothing: as long as the client, the store or other nodes owe too much,
//! and while the next packet must not overtake anything.
//!
//! Nobody looks again and again: whoever ends the reason wakes the task. What acknowledgements end
//! is looked at under the lock under which they go out, with [`Link::is_paused`] set; everything
//! else is a future.
//!
//! [`Link::is_paused`]: crate::session::link::Link

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Connection;
use crate::broker::Broker;
use crate::memory::Level;
use crate::metrics::Limit;
use crate::proto::mqtt::{Qos, Reason, Version};
use crate::session::{End, Session};
use crate::turn::Turn;

/// Unanswered bytes for a client that does not read before the broker stops reading from it.
const UNREAD: usize = 1024 * 1024;
/// How long a publish waits for another look at the memory, in milliseconds.
const LOOK: u64 = 10;
/// Turns of one connection whose packets wait for the store or for other nodes.
const OPEN_TURNS: u64 = 1_024;

/// Why the next packet has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is a publish, and this gateway may not know of every subscriber.
    Lease,
    /// It is a publish, itself retained or not, behind a retained one that is still being stored.
    Retained { is_retained: bool },
    /// It is a publish behind others of which nobody knows yet whether they found their
    /// subscribers where they were.
    Order,
    /// It is a publish, and there is no memory for it.
    Memory,
    /// It is a publish, and comes too fast: see [`super::throttle`], or faster than the memory is
    /// looked at.
    Rate { millis: u64 },
}

/// What has to be over before anything is read.
pub(super) struct Pause {
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether it is known when that will be.
    pub(super) is_timed: bool,
}

impl std::fmt::Debug for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

impl Pause {
    /// Until something has happened.
    fn until(over: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            over: Box::pin(over),
            is_timed: false,
        }
    }

    /// Until there is a lease.
    fn for_lease(broker: Arc<Broker>) -> Self {
        Self::until(async move { broker.lease_held().await })
    }

    /// Until less waits for the store and for other nodes.
    fn for_relief(broker: Arc<Broker>) -> Self {
        Self::until(async move { broker.relieved().await })
    }

    /// Until there is memory for messages. Whoever waits for too long is ended: it is not heard
    /// meanwhile, and may be gone, with some of the memory that it waits for.
    fn for_memory(broker: Arc<Broker>, session: Arc<Session>) -> Self {
        Self::until(async move {
            let limit = broker.config.limits.stuck_timeout;
            let enough = broker.memory.enough_for_messages();
            if tokio::time::timeout(limit, enough).await.is_err() {
                broker.metrics.limits_hit.inc(Limit::StuckTimeout);
                let why = "there has been no memory for messages for too long";
                session.request_end(End::refused(Reason::ServerBusy, why));
                std::future::pending().await
            }
        })
    }

    /// For a time.
    fn for_millis(millis: u64) -> Self {
        Self {
            is_timed: true,
            ..Self::until(tokio::time::sleep(Duration::from_millis(millis)))
        }
    }
}

/// The last turn of a connection with a publish of QoS 1 or 2 that was routed as it was read, while
/// nobody knows yet whether it found its subscribers where they were. Pure.
#[derive(Debug, Default)]
pub(super) struct AtOnce(u64);

// === impl AtOnce ===

impl AtOnce {
    /// One is, in a turn behind so many that wait, or waited, for a commit.
    pub(super) fn note(&mut self, n_before: u64) {
        self.0 = n_before + 1;
    }

    /// The turn has ended, and is the last of so many; nothing of one that is not among them waits.
    pub(super) fn end_turn(&mut self, n_turns: u64) {
        self.0 = self.0.min(n_turns);
    }

    /// Whether it is not known yet where so many turns are through.
    fn is_open(&self, n_settled: u64) -> bool {
        self.0 > n_settled
    }
}

// === impl Connection ===

impl Connection {
    /// Whether nothing is to be read now: because of what the client or the store still owes.
    pub(super) fn must_wait(&mut self, context: &mut Context<'_>) -> bool {
        let hold = self.held.take();
        if hold == Some(Hold::Lease) {
            self.pause = Some(Pause::for_lease(self.broker.clone()));
        } else if hold == Some(Hold::Memory) {
            self.broker.metrics.limits_hit.inc(Limit::Memory);
            self.pause = Some(Pause::for_memory(self.broker.clone(), self.session.clone()));
        } else if let Some(Hold::Rate { millis }) = hold {
            self.pause = Some(Pause::for_millis(millis));
        } else if self.broker.is_congested() {
            self.pause = Some(Pause::for_relief(self.broker.clone()));
        }
        if self.poll_pause(context).is_pending() {
            self.held = hold.filter(|hold| matches!(hold, Hold::Retained { .. } | Hold::Order));
            return true;
        }
        let mut outbound = self.session.outbound.lock();
        let Some(link) = &mut outbound.link else {
            return false;
        };
        let maximum = u64::from(self.broker.config.limits.receive_maximum);
        let n_open = self.n_deferred - self.session.released.load(Ordering::Acquire);
        let (knows, is_full) = (self.version == Version::V5, n_open >= maximum);
        // A client that knows its limit and exceeds it is told so, at its next publish.
        let may_exceed = knows && is_full;
        let unread = UNREAD.max(self.broker.settings.load().bounds.outbox);
        let unread = unread << u32::from(may_exceed);
        if link.outbox.len() > unread {
            link.is_awaited = true;
            self.held = hold;
            return true;
        }
        let n_turns = self.n_tickets - self.session.settled.load(Ordering::Acquire);
        let is_behind = match hold {
            Some(Hold::Retained { is_retained }) => self.session.held.is_before(is_retained),
            Some(Hold::Order) => n_turns > 0,
            Some(Hold::Lease | Hold::Memory | Hold::Rate { .. }) | None => false,
        };
        link.is_paused = is_behind || (is_full && !knows) || n_turns >= OPEN_TURNS;
        if link.is_paused {
            self.held = hold;
        }
        link.is_paused
    }

    /// Waits for what has to be over before anything is read.
    pub(super) fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_some() {
            self.excuse_silence(); // also at the end: nobody has listened since it began
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.over.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Why a packet that begins with this byte has to wait, if it has to; it has so many bytes in all.
    pub(super) fn hold(&self, first: u8, n_bytes: usize) -> Option<Hold> {
        if self.broker.must_hold(first) {
            return Some(Hold::Lease);
        }
        let is_publish = first & 0xF0 == 0x30;
        if is_publish && self.broker.memory.level() == Level::Short {
            return Some(Hold::Memory);
        }
        let (is_retained, qos) = (first & 1 != 0, first >> 1 & 0b11);
        // One of QoS 2 is kept late, too: behind those before it.
        let is_late = is_retained && qos == Qos::ExactlyOnce as u8;
        let is_behind = is_publish && !is_late && self.session.held.is_before(is_retained);
        if is_behind && self.broker.cluster.is_some() {
            return Some(Hold::Retained { is_retained });
        }
        let is_admitted = !is_publish || self.broker.memory.admit(n_bytes);
        (!is_admitted).then_some(Hold::Rate { millis: LOOK })
    }

    /// Whether a publish, for which a plan has been made, might overtake one before it of which
    /// nobody knows yet whether it found its subscribers where they were.
    pub(super) fn is_behind_moved(&mut self, turn: &Turn<'_>) -> bool {
        let Some(cluster) = &self.broker.cluster else {
            return false;
        };
        let has_open = !turn.deferred.is_empty()
            || self.n_tickets != self.session.settled.load(Ordering::Acquire);
        if has_open && cluster.moves.any_since(self.before) {
            return true;
        }
        self.before = turn.before;
        false
    }

    /// Whether a publish that is routed later, behind its store, has to wait for one before it that was
    /// routed as it was read: that may come back when this one is on its way.
    pub(super) fn is_behind_unsettled(&self) -> bool {
        let settled = self.session.settled.load(Ordering::Acquire);
        self.broker.cluster.is_some() && self.at_once.is_open(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Signal};

    #[test]
    fn what_was_routed_at_once_is_open_until_its_turn_is_settled() {
        let mut at_once = AtOnce::default();
        assert!(!at_once.is_open(0));
        at_once.note(3);
        assert!(at_once.is_open(3), "it is in the turn that goes on");
        at_once.end_turn(4);
        at_once.end_turn(5);
        assert!(at_once.is_open(3) && !at_once.is_open(4));
        at_once.note(5);
        assert!(at_once.is_open(5));
        at_once.end_turn(5);
        assert!(!at_once.is_open(5), "nothing of its turn has to wait");
    }

    #[tokio::test]
    async fn who_waits_for_memory_for_too_long_is_ended() {
        let mut broker = Broker::in_memory();
        let config = &mut Arc::get_mut(&mut broker).expect("nobody else's").config;
        config.limits.stuck_timeout = Duration::from_millis(10);
        broker.memory.look(u64::MAX);
        assert_eq!(broker.memory.level(), Level::Short);
        let session = Session::new(1, "c", Outbound::new(false), Life::default());
        let session = Arc::new(session);
        let pause = Pause::for_memory(broker.clone(), session.clone());
        let ends = async {
            while !session.take_signal(Signal::End) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let limit = tokio::time::sleep(Duration::from_secs(20));
        tokio::select! {
            () = pause.over => panic!("there is no memory"),
            () = limit => panic!("it waits for ever"),
            () = ends => {}
        }
        let end = session.life.lock().end.take();
        assert!(matches!(end, Some(End::Refused(Reason::ServerBusy, _))));
    }
}
