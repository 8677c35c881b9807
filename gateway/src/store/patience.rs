//! Waits at the start for a Redis that is slow, or not up yet: what is wrong there may pass, and who
//! started this node sees in its log and in `/readyz` what it waits for. Where nothing but another
//! configuration would help the start ends.

use std::fmt::Display;
use std::time::{Duration, Instant};

use gatemq_node::admin::{Hindrance, Waiting};

/// Pauses between tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often the same is said.
const EVERY: Duration = Duration::from_secs(60);

/// Something that is tried again.
#[derive(Debug)]
pub(crate) struct Patience {
    waiting: Waiting,
    began: Instant,
    pause: Duration,
    /// What was said last, and when.
    said: Option<(String, Instant)>,
}

impl Patience {
    pub(crate) fn new(waiting: &Waiting) -> Self {
        Self {
            waiting: waiting.clone(),
            began: Instant::now(),
            pause: PAUSES.0,
            said: None,
        }
    }

    /// How long it has been tried.
    pub(crate) fn lasts(&self) -> Duration {
        self.began.elapsed()
    }

    /// A try has failed for this reason: waits before the next one.
    pub(crate) async fn wait(&mut self, why: &(dyn Display + Sync)) {
        let why = why.to_string();
        self.waiting.tell(Some(Hindrance {
            state: "store",
            reason: format!("the start waits for the store: {why}"),
            is_ready: false,
        }));
        let is_said = |(said, at): &(String, Instant)| *said == why && at.elapsed() < EVERY;
        if !self.said.as_ref().is_some_and(is_said) {
            let waited_s = self.began.elapsed().as_secs();
            tracing::warn!(
                why,
                waited_s,
                "redis cannot be used yet: the start waits for it"
            );
            self.said = Some((why, Instant::now()));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

impl Drop for Patience {
    /// It works, or waits no more.
    fn drop(&mut self) {
        if self.said.is_some() {
            self.waiting.tell(None);
        }
    }
}
