//! How long a client may say nothing, and how long it may take nothing of what waits for it.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Connection;
use crate::metrics::Limit;
use crate::proto::mqtt::Reason;
use crate::session::End;

/// Watches for a client that has fallen silent `[MQTT-3.1.2-22]`.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// One and a half times the keep alive.
    limit: Duration,
    pub(super) heard_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    /// Ends a connection whose client has taken nothing for too long of what waits for it.
    pub(super) fn poll_patience(&mut self, context: &mut Context<'_>) -> Option<End> {
        if !self.is_writing {
            self.patience = None;
            return None;
        }
        let limit = self.broker.config.limits.stuck_timeout;
        let timer = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        while timer.as_mut().poll(context).is_ready() {
            let now = self.broker.clock.now();
            let moved_at = self
                .session
                .outbound
                .lock()
                .link
                .as_ref()
                .map_or(now, |l| l.moved_at);
            let left = limit.saturating_sub(Duration::from_millis(now.saturating_sub(moved_at)));
            if left.is_zero() {
                self.broker.metrics.limits_hit.inc(Limit::StuckTimeout);
                return Some(End::stuck());
            }
            timer.as_mut().reset(Instant::now() + left);
        }
        None
    }

    /// A client is not silent while the broker does not listen.
    pub(super) fn excuse_silence(&mut self) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard_at = Instant::now();
        }
    }

    pub(super) fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Option<End> {
        let keep_alive = self.keep_alive.as_mut()?;
        while keep_alive.timer.as_mut().poll(context).is_ready() {
            let due = keep_alive.heard_at + keep_alive.limit;
            if due <= Instant::now() {
                return Some(End::refused(
                    Reason::KeepAliveTimeout,
                    "nothing heard for too long",
                ));
            }
            keep_alive.timer.as_mut().reset(due);
        }
        None
    }
}

impl KeepAlive {
    /// A watch over this keep alive, in seconds; none for 0.
    pub(super) fn new(seconds: u16) -> Option<Self> {
        let limit = Duration::from_millis(u64::from(seconds) * 1500);
        (seconds > 0).then(|| Self {
            limit,
            heard_at: Instant::now(),
            timer: Box::pin(tokio::time::sleep(limit)),
        })
    }
}
