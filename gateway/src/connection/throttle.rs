//! Rates of publishes: a connection whose publishes come too fast is not read until there is room.
//!
//! Nothing is dropped and nobody is disconnected: what the client has sent waits, at last in its own
//! buffers, and it is not silent meanwhile. The packet that has to wait has taken its tokens already,
//! so it goes on without being asked again. A pause is long enough for several packets, so that a
//! connection at its limit wakes seldom.
//!
//! A client that ends, or is taken over, while it waits loses what it sent with QoS 0 and was not read,
//! but for its DISCONNECT (see [`super::parting`]); one whose acknowledgements wait behind its publishes
//! may have its queue filled (`session.on-full`).

use std::sync::Arc;

use parking_lot::Mutex;

use super::Connection;
use super::waiting::Hold;
use crate::broker::Broker;
use crate::config::Rates;
use crate::metrics::Limit;
use crate::rate::Meter;
use crate::session::Session;

/// The shortest pause, in milliseconds. A bucket has room for as much as flows in meanwhile.
const SHORTEST: u64 = 20;
/// PUBLISH, in the first byte of a packet.
const PUBLISH: u8 = 0x30;

/// What a connection's publishes are counted by.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    own: Option<Meter>,
    /// Of its user, and of its listener.
    shared: Vec<Arc<Mutex<Meter>>>,
    /// The bytes of the next publish, if it has been counted and only had to wait.
    counted: Option<usize>,
}

// === impl Throttle ===

impl Throttle {
    /// That of a connection which has got this session.
    pub(super) fn of(
        broker: &Broker,
        session: &Session,
        own: Rates,
        listener: Option<Arc<Mutex<Meter>>>,
    ) -> Option<Box<Self>> {
        let now = broker.clock.now();
        let rights = session.rights.load();
        let name = rights.as_ref().and_then(|rights| rights.username());
        let rates = broker.config.limits.user_publish;
        let user = name.and_then(|name| broker.users.meter(name, rates, now));
        let names = [Limit::ClientPublishRate, Limit::ClientPublishBytes];
        let shared = user.into_iter().chain(listener).collect();
        Self::new(Meter::new(own, names, now), shared)
    }

    fn new(own: Option<Meter>, shared: Vec<Arc<Mutex<Meter>>>) -> Option<Box<Self>> {
        (own.is_some() || !shared.is_empty()).then(|| {
            Box::new(Self {
                own,
                shared,
                counted: None,
            })
        })
    }

    /// Counts a publish of so many bytes; returns how many milliseconds it has to wait, and why.
    fn count(&mut self, n_bytes: usize, now: u64) -> Option<(u64, Limit)> {
        if self.counted.is_some() {
            return None;
        }
        let owed = self.shared.iter();
        let owed = owed.filter_map(|meter| meter.lock().is_owed_too_much(now));
        if let Some(crowded) = owed.max_by_key(|(wait, _)| *wait) {
            return Some(crowded); // nothing is taken: it asks again
        }
        self.counted = Some(n_bytes);
        let own = self.own.as_mut().map(|meter| meter.take(n_bytes, now));
        let shared = self.shared.iter();
        let shared = shared.map(|meter| meter.lock().take(n_bytes, now));
        let longest = shared.chain(own).max_by_key(|(wait, _)| *wait);
        longest
            .filter(|(wait, _)| *wait > 0)
            .map(|(wait, limit)| (wait.max(SHORTEST), limit))
    }
}

impl Drop for Throttle {
    /// What a publish took that is not read any more is for others.
    fn drop(&mut self) {
        if let Some(n_bytes) = self.counted {
            let shared = self.shared.iter();
            shared.for_each(|meter| meter.lock().give_back(n_bytes));
        }
    }
}

impl Connection {
    /// Whether a packet, with this first byte and so many bytes in all, has to wait because it is a
    /// publish and comes too fast.
    #[inline]
    pub(super) fn hold_back(&mut self, first: u8, n_bytes: usize, now: u64) -> Option<Hold> {
        let throttle = self.throttle.as_mut()?;
        if first & 0xF0 != PUBLISH {
            return None;
        }
        let (millis, limit) = throttle.count(n_bytes, now)?;
        self.broker.metrics.limits_hit.inc(limit);
        Some(Hold::Rate { millis })
    }

    /// A packet has been handled: the next publish is another one.
    #[inline]
    pub(super) fn count_next(&mut self) {
        if let Some(throttle) = &mut self.throttle {
            throttle.counted = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: [Limit; 2] = [Limit::ClientPublishRate, Limit::ClientPublishBytes];
    const LISTENER: [Limit; 2] = [Limit::ListenerPublishRate, Limit::ListenerPublishBytes];

    fn meter(messages: u64, names: [Limit; 2]) -> Option<Meter> {
        Meter::new(Rates { messages, bytes: 0 }, names, 0)
    }

    /// As a connection does that waits as long as it is told.
    fn next(throttle: &mut Throttle, now: u64) -> Option<(u64, Limit)> {
        let waits = throttle.count(1, now);
        assert!(throttle.count(1, now).is_none(), "it is counted once");
        throttle.counted = None;
        waits
    }

    #[test]
    fn who_is_at_its_limit_wakes_for_several_publishes() {
        let mut throttle = Throttle::new(meter(1_000, CLIENT), Vec::new()).expect("a limit");
        let (mut now, mut n_pauses) = (0, 0);
        for _ in 0..3_000 {
            if let Some((millis, limit)) = next(&mut throttle, now) {
                assert_eq!(limit, Limit::ClientPublishRate);
                now += millis;
                n_pauses += 1;
            }
        }
        assert!(
            (1_900..=2_020).contains(&now),
            "{now} ms for 2,000 too many"
        );
        assert!(n_pauses <= 101, "{n_pauses} pauses");
    }

    #[test]
    fn connections_of_one_listener_share_its_rate_and_have_turns() {
        let shared = Arc::new(Mutex::new(meter(100, LISTENER).expect("a limit")));
        let mut throttles: Vec<_> = (0..4)
            .filter_map(|_| Throttle::new(None, vec![shared.clone()]))
            .collect();
        let mut free_at = [0; 4];
        let mut n_passed = [0_u64; 4];
        for now in 0..10_000 {
            for (at, throttle) in throttles.iter_mut().enumerate() {
                while free_at[at] <= now {
                    n_passed[at] += 1;
                    free_at[at] = now + next(throttle, now).map_or(0, |(millis, _)| millis);
                }
            }
        }
        let total: u64 = n_passed.iter().sum();
        assert!((1_050..=1_104).contains(&total), "{n_passed:?}");
        // The first one had the burst of a second.
        assert!(n_passed[1..].iter().all(|n| *n >= 230), "{n_passed:?}");
    }

    #[test]
    fn connections_that_end_while_they_wait_owe_nothing() {
        let shared = Arc::new(Mutex::new(meter(1, LISTENER).expect("a limit")));
        let one = || Throttle::new(None, vec![shared.clone()]).expect("a limit");
        assert_eq!(next(&mut one(), 0), None, "the burst of a second");
        for _ in 0..1_000 {
            let mut ends = one();
            let waits = ends.count(1, 0);
            assert_eq!(waits, Some((1_000, Limit::ListenerPublishRate)));
        }
    }

    #[test]
    fn who_comes_when_much_is_owed_asks_again_and_has_its_turn() {
        let shared = Arc::new(Mutex::new(meter(1, LISTENER).expect("a limit")));
        let one = || Throttle::new(None, vec![shared.clone()]).expect("a limit");
        let mut throttles: Vec<_> = (0..100).map(|_| one()).collect();
        let longest = throttles
            .iter_mut()
            .filter_map(|it| it.count(1, 0))
            .max_by_key(|it| it.0);
        assert!(
            longest.is_some_and(|(wait, _)| wait <= 12_000),
            "{longest:?}"
        );
        assert_eq!(
            throttles.iter().filter(|it| it.counted.is_some()).count(),
            12
        );
        let mut late = throttles.pop().expect("there are some");
        let (wait, _) = late.count(1, 0).expect("it still has to wait");
        assert!(late.counted.is_none() && wait <= 2_000);
        late.count(1, wait);
        assert!(late.counted.is_some());
    }

    #[test]
    fn the_tightest_limit_says_how_long() {
        let shared = Arc::new(Mutex::new(meter(1, LISTENER).expect("a limit")));
        let mut throttle = Throttle::new(meter(2, CLIENT), vec![shared]).expect("limits");
        assert_eq!(next(&mut throttle, 0), None);
        assert_eq!(
            next(&mut throttle, 0),
            Some((1_000, Limit::ListenerPublishRate))
        );
        assert!(Throttle::new(None, Vec::new()).is_none());
    }
}
