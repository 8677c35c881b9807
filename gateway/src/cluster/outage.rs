//! Says in the log that the control plane has not been reached for a while, once, and once that it is
//! again: who looks there for why nothing is acknowledged finds it.

use std::time::Duration;

use super::Cluster;
use crate::broker::Broker;
use crate::condition::Condition;

/// How often the lease is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long it is over before anything is said, in milliseconds: another node of the control plane
/// may take the line over in less.
const PATIENCE: u64 = 2_000;

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Lost,
    Back,
}

/// What is known of the lease. Times are in milliseconds.
#[derive(Debug, Default)]
enum Outage {
    /// There has been no lease yet: the start waits for the first, and says so itself.
    #[default]
    Unheld,
    Held,
    Over {
        since: u64,
    },
    Told,
}

/// Looks at the lease, and never returns.
pub(super) async fn watch(broker: &Broker, cluster: &Cluster) {
    let mut outage = Outage::default();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if cluster.lease.is_given_up() {
            continue; // it leaves, and wants none
        }
        let now = broker.clock.now();
        match outage.look(cluster.lease.is_held(now), now) {
            Some(News::Lost) if Condition::of(broker) == Condition::Quorum => tracing::warn!(
                "the control plane answers, and has no quorum: publishes of QoS 1 and 2 and new \
                 filters wait"
            ),
            Some(News::Lost) => tracing::warn!(
                "the control plane is not reached: publishes of QoS 1 and 2 and new filters wait"
            ),
            Some(News::Back) => tracing::info!("the control plane is reached again"),
            None => {}
        }
    }
}

// === impl Outage ===

impl Outage {
    fn look(&mut self, is_held: bool, now: u64) -> Option<News> {
        let (next, news) = match (&*self, is_held) {
            (Self::Told, true) => (Self::Held, Some(News::Back)),
            (_, true) => (Self::Held, None),
            (Self::Held, false) => (Self::Over { since: now }, None),
            (Self::Over { since }, false) if now.saturating_sub(*since) > PATIENCE => {
                (Self::Told, Some(News::Lost))
            }
            (_, false) => return None,
        };
        *self = next;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, and when, of a lease that is held at some of these times.
    fn check(looks: &[(u64, bool)], expected: &[(u64, News)]) {
        let mut outage = Outage::default();
        let looks = looks.iter();
        let said = looks.filter_map(|(now, is_held)| Some((*now, outage.look(*is_held, *now)?)));
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn it_is_said_once_that_the_lease_is_over_and_once_that_it_runs() {
        let mut looks = vec![(0, true)];
        looks.extend((1..60).map(|n| (n * 500, n >= 40)));
        looks.extend((60..80).map(|n| (n * 500, false)));
        check(
            &looks,
            &[
                (3_000, News::Lost),
                (20_000, News::Back),
                (32_500, News::Lost),
            ],
        );
    }

    #[test]
    fn one_that_is_over_for_a_moment_and_one_that_never_ran_are_no_news() {
        let short = (0..40).map(|n| (n * 500, n % 4 == 0));
        check(&short.collect::<Vec<_>>(), &[]);
        let never = (0..40).map(|n| (n * 500, false));
        check(&never.collect::<Vec<_>>(), &[]);
    }
}
