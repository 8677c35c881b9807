//! Messages for bridges while no bridge is there: a bridge that is started again takes them, and they
//! are refused only when none has come for a while.
//!
//! A publisher's next message waits for those of it that are here, so none overtakes another. A will
//! has nobody who would publish it again: it is held for as long as it takes, and stays in the store
//! meanwhile.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gatemq_router::Group;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Cluster;
use super::forward::Forwarded;
use crate::broker::Broker;
use crate::message::MessageRef;
use crate::proto::cluster::bridges;
use crate::receipt::Leg;
use crate::room::{Place, Room};
use crate::session::Subscription;

/// How much is held at most, in bytes as [`weight`] counts them.
const MOST: usize = 64 << 20;
/// How often it is looked whether a bridge has come.
const LOOK: Duration = Duration::from_millis(50);
/// What a message takes beside its topic, properties and payload.
const OVERHEAD: usize = 512;

/// The messages, by the filters for which they wait, and apart from them the wills.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: Mutex<BTreeMap<(Filters, bool), VecDeque<Forwarded>>>,
    room: Room,
    arrived: Notify,
}

type Filters = Vec<Box<str>>;

/// Until when a message may be held, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    until: u64,
    _place: Place,
}

impl Held {
    /// Leave to hold a message for some milliseconds; `None` if there is no room, or no time.
    pub(super) fn admit(&self, message: &MessageRef<'_>, now: u64, wait: Duration) -> Option<Hold> {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if wait == 0 {
            return None;
        }
        Some(Hold {
            until: now.saturating_add(wait),
            _place: self.room.take(weight(message), MOST)?,
        })
    }

    /// The same for a will: there is always room, as there was for it in the store, and the only end
    /// of its time is its own expiry.
    pub(super) fn admit_will(&self, message: &MessageRef<'_>) -> Option<Hold> {
        Some(Hold {
            until: message.expires_at,
            _place: self.room.take(weight(message), usize::MAX)?,
        })
    }

    /// Holds a message that has leave.
    pub(super) fn put(&self, forwarded: Forwarded) {
        let picks = forwarded.target.picks.iter();
        let filters = picks.map(|(_, filter)| filter.clone()).collect();
        let mut waiting = self.waiting.lock();
        let those = waiting.entry((filters, forwarded.is_will())).or_default();
        if those.is_empty() {
            let filters: Vec<&str> = those_of(&forwarded).collect();
            tracing::warn!(
                ?filters,
                "publishes are held: no bridge with these filters is there; start one, or remove the one \
                 that is gone: DELETE /api/v1/members/NAME"
            );
        }
        those.push_back(forwarded);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> usize {
        self.room.n_bytes()
    }

    /// How many wills are held.
    pub(crate) fn n_wills(&self) -> usize {
        let waiting = self.waiting.lock();
        let wills = waiting.iter().filter(|((_, is_will), _)| *is_will);
        let origins = wills.flat_map(|(_, those)| those.iter().map(|it| it.origin.key()));
        origins.collect::<HashSet<_>>().len() // one may be held for several filters
    }

    /// Takes all the room, for as long as what is returned is there: for tests.
    #[cfg(test)]
    pub(crate) fn fill(&self) -> Place {
        self.room.take(MOST, MOST).expect("nothing is held")
    }

    /// Those for one of whose filters a bridge is there, and those whose time is over, in their order.
    pub(super) fn take(&self, now: u64, is_there: impl Fn(&str) -> bool) -> Vec<Forwarded> {
        let mut taken = Vec::new();
        self.waiting.lock().retain(|(filters, _), those| {
            let n_over = match filters.iter().any(|filter| is_there(filter)) {
                true => those.len(),
                false => those
                    .iter()
                    .take_while(|it| it.is_held_too_long(now))
                    .count(),
            };
            taken.extend(those.drain(..n_over));
            !those.is_empty()
        });
        taken
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

/// The filters of bridges that a message matches.
fn those_of(forwarded: &Forwarded) -> impl Iterator<Item = &str> {
    forwarded.target.picks.iter().map(|(_, filter)| &**filter)
}

impl Hold {
    /// Whether its time is over.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }
}

impl Forwarded {
    fn is_will(&self) -> bool {
        self.leg.as_ref().is_some_and(Leg::is_orphan)
    }

    fn is_held_too_long(&self, now: u64) -> bool {
        self.hold.as_ref().is_none_or(|hold| hold.is_over(now))
    }

    /// Whether it may be held now: it is already and its time is not over, or there is room.
    pub(super) fn may_be_held(&mut self, held: &Held, now: u64, wait: Duration) -> bool {
        if self.hold.is_none() {
            let message = self.message.as_ref().as_ref();
            self.hold = match self.is_will() {
                true => held.admit_will(&message),
                false => held.admit(&message, now, wait),
            };
        }
        !self.is_held_too_long(now)
    }
}

/// Routes held messages again when it is time, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let held = &cluster.returns.held;
    let is_there = |group: &Group<Subscription>| group.nodes.iter().any(|node| node.n_online > 0);
    let has_bridge = |filter: &str| {
        let look = |subscribers: &gatemq_router::Subscribers<Subscription>| {
            subscribers.groups.get(bridges::GROUP).is_none_or(is_there)
        };
        broker.table.look(filter, look).unwrap_or(true) // nobody wants it any more
    };
    let looking = async {
        loop {
            if held.is_empty() {
                held.arrived.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            for forwarded in held.take(broker.clock.now(), has_bridge) {
                cluster.returns.put(forwarded);
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

fn weight(message: &MessageRef<'_>) -> usize {
    OVERHEAD + message.topic.len() + message.properties.len() + message.payload.len()
}
