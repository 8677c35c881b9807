//! Disconnects all clients, evenly over a time: where they go they come all at once otherwise.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::session::{End, Session};

/// How often some of them are disconnected.
const TICK: Duration = Duration::from_millis(50);
/// How many a second there are at least: a password costs as much at most where they go.
const LEAST: u32 = 400;

impl Broker {
    /// Those who are connected.
    pub(crate) fn connected(&self) -> Vec<Arc<Session>> {
        let mut sessions = self.registry.all();
        sessions.retain(|session| session.outbound.lock().link.is_some());
        sessions
    }
}

/// Disconnects them.
pub(crate) async fn disconnect(sessions: Vec<Arc<Session>>, over: Duration, end: End) {
    let n_ticks = (over.as_millis() / TICK.as_millis()).max(1) as usize;
    let mut ticks = tokio::time::interval(TICK);
    for some in sessions.chunks(sessions.len().div_ceil(n_ticks).max(1)) {
        ticks.tick().await;
        for session in some {
            session.request_end(end.clone());
        }
    }
}

/// Over which time so many are disconnected that go to other gateways, where the gateway has to be gone
/// after this one: what is left to be done then gets as long.
pub(crate) fn spread(n_clients: usize, grace: Duration) -> Duration {
    let n_clients = u32::try_from(n_clients).unwrap_or(u32::MAX);
    let at_least = Duration::from_secs(1) / LEAST;
    at_least.saturating_mul(n_clients).min(grace / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proto::mqtt::Reason;
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Signal};

    #[test]
    fn few_are_gone_at_once_and_many_within_half_the_grace() {
        let grace = Duration::from_secs(10);
        assert_eq!(spread(0, grace), Duration::ZERO);
        assert_eq!(spread(40, grace), Duration::from_millis(100));
        assert_eq!(spread(2_000, grace), Duration::from_secs(5));
        assert_eq!(spread(usize::MAX, grace), Duration::from_secs(5));
        assert_eq!(spread(2_000, Duration::ZERO), Duration::ZERO);
    }

    #[tokio::test]
    async fn all_are_told_one_after_the_other() {
        let session = |number| {
            let session = Session::new(number, "c", Outbound::new(false), Life::default());
            Arc::new(session)
        };
        let sessions: Vec<_> = (1..=10).map(session).collect();
        let end = End::refused(Reason::ServerShuttingDown, "the broker is stopping");
        let n_told = || {
            let told = sessions.iter();
            told.filter(|it| it.life.lock().end.is_some()).count()
        };
        let begun = Instant::now();
        disconnect(sessions.clone(), 5 * TICK, end).await;
        assert!(begun.elapsed() >= 4 * TICK, "all at once");
        assert_eq!(n_told(), 10);
        assert!(sessions[9].take_signal(Signal::End));
    }
}
