//! Keeps the gateway's clock where Redis's is, and says so where this machine's is another.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;

/// How often Redis is asked: a machine that drifts by 500 millionths is 30 ms apart by then.
const EVERY: Duration = Duration::from_secs(60);
/// From how many milliseconds on the log has it.
const TOLD: i64 = 1_000;

/// Keeps it until the gateway stops.
pub(crate) async fn keep_time(broker: Arc<Broker>) {
    let Some(redis) = broker.store.redis() else {
        return;
    };
    let (mut wall, mut store) = (Told::default(), Told::default());
    loop {
        match wall.changes(broker.clock.wall_ahead()) {
            Some(0) => tracing::info!("the wall clock of this machine shows Redis's time again"),
            Some(ahead) => tracing::warn!(
                ahead_s = seconds(ahead),
                "the wall clock of this machine differs from Redis's: what expires goes by Redis's, \
                 certificates, tokens and bans by this one"
            ),
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = broker.tasks_end.cancelled() => return,
        }
        let reading = tokio::select! {
            reading = redis.read_clock() => reading,
            () = broker.tasks_end.cancelled() => return,
        };
        let ahead = match reading {
            Ok(reading) => broker.clock.follow(reading),
            Err(error) => {
                tracing::debug!(%error, "redis does not say its time");
                continue;
            }
        };
        match store.changes(ahead) {
            Some(0) => tracing::info!("the clock of this gateway shows Redis's time again"),
            Some(ahead) => tracing::warn!(
                ahead_s = seconds(ahead),
                "the clock of Redis was set, or another server stands in for it: this gateway goes \
                 over by 1 s in 200 s, one that starts has the new time at once"
            ),
            None => {}
        }
    }
}

/// By how many milliseconds a clock is ahead, as the log has it last; 0 for what is not worth it.
#[derive(Default)]
struct Told(i64);

impl Told {
    /// What the log is to have now, if that is something new.
    fn changes(&mut self, ahead: i64) -> Option<i64> {
        let is_far = ahead.abs() > TOLD;
        if is_far && (ahead - self.0).abs() <= TOLD.max(self.0.abs() / 2) {
            return None;
        }
        let ahead = if is_far { ahead } else { 0 };
        (std::mem::replace(&mut self.0, ahead) != ahead).then_some(ahead)
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_what_is_apart_once_and_when_it_is_over() {
        let mut told = Told::default();
        for (ahead, expected) in [
            (0, None),
            (1_000, None),
            (-3_600_000, Some(-3_600_000)),
            (-3_600_400, None),
            (-3_599_100, None),
            (-2_000_000, None),
            (-1_700_000, Some(-1_700_000)),
            (3_600_000, Some(3_600_000)),
            (900, Some(0)),
            (-900, None),
            (1_001, Some(1_001)),
            (1_300, None),
            (2_100, Some(2_100)),
        ] {
            assert_eq!(told.changes(ahead), expected, "{ahead}");
        }
    }
}
