//! Messages that gateways send, for as long as the bridge can go by its rules, and until it leaves.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gatemq_router::peer::{Deliver, Inlet, Message, Release, ReleaseReply, ReleaseRequest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Bridge;
use crate::reception::Reception;

/// Takes what gateways send.
#[derive(Debug)]
pub struct Inbound {
    reception: Reception,
    /// Whether it can go by its rules.
    is_fit: watch::Receiver<bool>,
    /// It leaves: what has come is finished, and nothing more is taken.
    is_leaving: CancellationToken,
    /// It has left: who still waits gets no answer, and gateways send it elsewhere.
    has_left: CancellationToken,
}

/// A bridge has no sessions that another node could want.
#[derive(Clone, Copy, Debug)]
pub struct NoSessions;

// === impl Inbound ===

impl Inbound {
    /// In front of a bridge.
    #[must_use]
    pub fn new(
        bridge: Arc<Bridge>,
        is_fit: watch::Receiver<bool>,
        is_leaving: CancellationToken,
    ) -> Self {
        Self {
            reception: Reception::new(bridge, now),
            is_fit,
            is_leaving,
            has_left: CancellationToken::new(),
        }
    }

    /// Lets go of streams that wait.
    pub fn end(&self) {
        self.has_left.cancel();
    }
}

impl Deliver for Inbound {
    const TELLS_EARLY: bool = Reception::TELLS_EARLY;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<Message>) {
        if !*self.is_fit.borrow() {
            let mut is_fit = self.is_fit.clone();
            tokio::select! {
                _ = is_fit.wait_for(|is_fit| *is_fit) => {}
                () = self.is_leaving.cancelled() => {}
            }
        }
        if self.is_leaving.is_cancelled() {
            // Not read any further: what is answered of the earlier ones still gets back.
            self.has_left.cancelled().await;
            return;
        }
        self.reception.deliver(inlet, first, messages).await;
    }
}

// === impl NoSessions ===

impl Release for NoSessions {
    async fn release(&self, _: ReleaseRequest) -> ReleaseReply {
        ReleaseReply::default()
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
