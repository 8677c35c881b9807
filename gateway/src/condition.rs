//! How a gateway does, as one state with a name: `/readyz`, `gateway_state` and the log call it alike.
//!
//! Of several the one counts from which most follows: without its store no client gets a session,
//! without a lease what is published at QoS 1 and 2 waits, and so do new filters.

use std::time::Duration;

use gatemq_node::admin::Hindrance;

use crate::broker::Broker;

/// How long ago a node of the control plane may have answered to be one that does.
const ANSWERED: u64 = 5_000;

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Serving,
    /// Redis has not answered for so long.
    Store(Duration),
    /// Nobody is let in, for this reason.
    Memory(String),
    /// Nodes of the control plane answer, and none of them confirms a lease.
    Quorum,
    /// No node of the control plane answers.
    Lease,
}

impl Condition {
    /// The names of all of them.
    pub(crate) const NAMES: [&'static str; 5] = ["serving", "store", "memory", "quorum", "lease"];

    pub(crate) fn of(broker: &Broker) -> Self {
        let outage = || {
            let health = *broker.store.redis()?.health().borrow();
            health.outage(std::time::Instant::now())
        };
        if let Some(lasts) = outage() {
            return Self::Store(lasts);
        }
        if let Some(why) = broker.memory.hindrance() {
            return Self::Memory(why);
        }
        let Some(cluster) = &broker.cluster else {
            return Self::Serving;
        };
        let now = broker.clock.now();
        let lease = &cluster.lease;
        match lease.is_held(now) || lease.is_given_up() {
            true => Self::Serving,
            false => Self::without_lease(lease.ends_at(), cluster.answered_at(), now),
        }
    }

    /// The lease has run out, or the table is not whole. Times are in milliseconds.
    fn without_lease(ended_at: u64, answered_at: u64, now: u64) -> Self {
        let answers = answered_at > ended_at && now.saturating_sub(answered_at) < ANSWERED;
        match answers {
            true => Self::Quorum,
            false => Self::Lease,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Store(_) => "store",
            Self::Memory(_) => "memory",
            Self::Quorum => "quorum",
            Self::Lease => "lease",
        }
    }

    /// What there is to tell of it. Without a lease clients are welcome: other gateways have none
    /// either, or will take it over.
    pub(crate) fn hindrance(&self) -> Option<Hindrance> {
        let (reason, is_ready) = match self {
            Self::Serving => return None,
            Self::Store(lasts) => {
                let lasts = lasts.as_secs();
                let reason = "the store does not answer: redis";
                (
                    format!("{reason}, for {lasts} s; no client gets a session"),
                    false,
                )
            }
            Self::Memory(why) => (why.clone(), false),
            Self::Quorum => (
                "the control plane answers, and has no quorum: publishes of QoS 1 and 2 and new \
                 filters wait"
                    .to_owned(),
                true,
            ),
            Self::Lease => (
                "the control plane is not reached: publishes of QoS 1 and 2 and new filters wait"
                    .to_owned(),
                true,
            ),
        };
        Some(Hindrance {
            state: self.name(),
            reason,
            is_ready,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_answered_since_the_lease_was_over_has_no_quorum() {
        let without = Condition::without_lease;
        assert_eq!(without(2_000, 1_900, 2_500), Condition::Lease);
        assert_eq!(without(2_000, 2_100, 2_500), Condition::Quorum);
        assert_eq!(without(2_000, 2_100, 7_100), Condition::Lease);
        assert_eq!(without(0, 0, 100), Condition::Lease, "before the first");
    }

    #[tokio::test]
    async fn a_gateway_without_a_lease_takes_clients_and_says_what_it_lacks() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let told = || Condition::of(&broker).hindrance();
        let lacks = |state| told().is_some_and(|it| it.state == state && it.is_ready);
        assert!(lacks("lease"));
        cluster.answers(broker.clock.now().max(1));
        assert!(lacks("quorum"));
        let now = broker.clock.now();
        cluster.lease.renew(now, now);
        assert_eq!(told(), None);
        assert_eq!(Condition::of(&broker).name(), "serving");
        cluster.lease.give_up();
        assert_eq!(told(), None, "it leaves");
        assert_eq!(Condition::of(&Broker::in_memory()), Condition::Serving);
        let named = [Condition::Serving, Condition::Quorum, Condition::Lease];
        assert!(named.iter().all(|it| Condition::NAMES.contains(&it.name())));
    }
}
