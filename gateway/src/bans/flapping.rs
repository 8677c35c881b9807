//! Client identifiers that come and go again and again: two devices that take one identifier from
//! each other for ever, or one that breaks as soon as it is connected.
//!
//! What is counted are connections that were let in, so nobody is kept out by what a stranger tries
//! in its name. The one that is too much begins a ban: here at once, and in the cluster as soon as the
//! control plane has agreed on it. It names the client identifier, and not the user, who may have many.
//!
//! Memory is bounded as in [`crate::auth`]'s backoff: two tables, of which the older one is forgotten
//! when the younger one is full or old.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Change, Source};
use crate::broker::Broker;
use crate::clock::wall_millis;
use crate::config;
use crate::proto::cluster::state::{Ban, BanKind, command::Kind};

/// Client identifiers in one table: some 1.5 MB.
const MOST: usize = 32_768;
/// Bans that the control plane is asked for at the same time; further ones hold here alone.
const ASKED: usize = 64;
/// The longest client identifier that is banned, in bytes: the ban is kept by each node.
const LONGEST: usize = 1024;

/// Who has connected lately, and how often.
#[derive(Debug)]
pub(crate) struct Flapping {
    terms: config::Flapping,
    hasher: RandomState,
    tables: Mutex<Tables>,
    asked: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Tables {
    young: HashMap<u64, Seen, RandomState>,
    old: HashMap<u64, Seen, RandomState>,
    /// When the younger one was begun.
    began: u64,
}

/// Connections since the first one of a window.
#[derive(Clone, Copy, Debug)]
struct Seen {
    n_connects: u32,
    first: u64,
}

// === impl Flapping ===

impl Flapping {
    pub(crate) fn new(terms: config::Flapping) -> Self {
        Self {
            terms,
            hasher: RandomState::default(),
            tables: Mutex::default(),
            asked: Arc::new(Semaphore::new(ASKED)),
        }
    }

    /// A client has connected at a time, in milliseconds; whether that is once too often.
    fn is_too_often(&self, client_id: &str, now: u64) -> bool {
        if self.terms.max_connects == 0 || client_id.len() > LONGEST {
            return false;
        }
        let window = millis(self.terms.window);
        let key = self.hasher.hash_one(client_id);
        let mut tables = self.tables.lock();
        tables.age(now, window);
        let known = tables.find(key).filter(|seen| now < seen.first + window);
        let seen = Seen {
            n_connects: known.map_or(0, |seen| seen.n_connects) + 1,
            first: known.map_or(now, |seen| seen.first),
        };
        if seen.n_connects > self.terms.max_connects {
            tables.young.remove(&key); // when the ban is over it begins anew
            tables.old.remove(&key);
            return true;
        }
        tables.young.insert(key, seen);
        false
    }
}

// === impl Tables ===

impl Tables {
    fn find(&self, key: u64) -> Option<Seen> {
        let found = self.young.get(&key).or_else(|| self.old.get(&key));
        found.copied()
    }

    fn age(&mut self, now: u64, window: u64) {
        if self.young.len() >= MOST || now > self.began + window {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// === the ban ===

impl Broker {
    /// A client has connected, and is kept out for a while if it does so too often.
    pub(super) fn note_connect(self: &Arc<Self>, client_id: &str) {
        if !self.flapping.is_too_often(client_id, self.clock.now()) {
            return;
        }
        let terms = self.flapping.terms;
        let (n, window) = (terms.max_connects, terms.window);
        let now = wall_millis();
        let name = self.cluster.as_ref().map(|cluster| cluster.name());
        let ban = Ban {
            kind: BanKind::ClientId.into(),
            value: client_id.to_owned(),
            reason: format!("flapping: more than {n} connections within {window:?}"),
            until: now.saturating_add(millis(terms.ban)),
            by: format!("gateway {}", name.unwrap_or_default()),
            at: now,
            is_automatic: true,
        };
        tracing::warn!(client.id = client_id, lasts = ?terms.ban, ban.reason, "client banned");
        self.bans.change(Source::Own, Change::Ban(ban.clone()));
        let Ok(place) = self.flapping.asked.clone().try_acquire_owned() else {
            return;
        };
        let broker = self.clone();
        self.tasks.spawn(async move {
            let asking = async {
                if let Some(cluster) = &broker.cluster {
                    cluster.propose(&broker, Kind::Ban(ban)).await;
                }
            };
            tokio::select! {
                _ = tokio::time::timeout(terms.ban, asking) => {}
                () = broker.tasks_end.cancelled() => {}
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn of(max_connects: u32) -> Flapping {
        Flapping::new(config::Flapping {
            max_connects,
            window: Duration::from_secs(60),
            ban: Duration::from_secs(300),
        })
    }

    #[test]
    fn the_one_that_is_too_much_within_a_window_is_told_and_begins_anew() {
        let flapping = of(3);
        let mut now = 1_000_000;
        for _ in 0..3 {
            let told: Vec<bool> = (0..4).map(|_| flapping.is_too_often("a", now)).collect();
            assert_eq!(told, [false, false, false, true]);
            now += 1;
        }
        assert!(!flapping.is_too_often("b", now), "another one");
    }

    #[test]
    fn who_connects_now_and_then_may() {
        let flapping = of(3);
        for number in 0..100 {
            let now = 1_000_000 + number * MINUTE / 3;
            assert!(!flapping.is_too_often("a", now), "{number}");
        }
    }

    #[test]
    fn it_is_counted_over_the_change_of_tables() {
        let flapping = of(3);
        let start = 1_000_000;
        assert!(!flapping.is_too_often("x", start)); // begins the table
        let late = start + MINUTE - 1;
        for now in [late, late + 1, late + 2] {
            assert!(!flapping.is_too_often("a", now));
        }
        assert!(flapping.is_too_often("a", late + 3));
    }

    #[test]
    fn a_crowd_takes_bounded_memory_and_hides_nobody_who_goes_on() {
        let flapping = of(15);
        let mut is_told = false;
        for number in 0..3 * MOST {
            flapping.is_too_often(&number.to_string(), 1_000_000);
            if number % 1_000 == 0 {
                is_told |= flapping.is_too_often("bad", 1_000_000);
            }
        }
        let tables = flapping.tables.lock();
        assert!(tables.young.len() <= MOST && tables.old.len() <= MOST);
        assert!(is_told);
    }

    #[test]
    fn a_very_long_client_id_is_not_banned_by_itself() {
        let flapping = of(3);
        let is_told = |client_id: &str| (0..4).any(|_| flapping.is_too_often(client_id, 1_000_000));
        assert!(is_told(&"a".repeat(LONGEST)));
        assert!(!is_told(&"a".repeat(LONGEST + 1)));
    }

    #[test]
    fn nobody_flaps_where_that_is_turned_off() {
        let flapping = of(0);
        assert!((0..1_000).all(|now| !flapping.is_too_often("a", now)));
    }
}
