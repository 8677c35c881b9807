//! Clients that come for the first time while their gateway is cut off, or stands on the side that
//! decides: each has a name that nobody had before, asks for a session and subscribes, at one gateway
//! and no other, again and again until it is let in and granted. Nobody may tell them what is not so:
//! what is acknowledged after a SUBACK comes (I1), and a session that was given is there when they come
//! back (I6). The judge sees all that they were told.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Node,
    faults::Run,
    history::{Event, History},
    patience::pause,
    traffic::{
        Route,
        subscriber::{Running, Subscriber},
    },
    unique,
};

/// For how long one tries: the cut, an answer that is waited for in vain, and what a heal may take.
const LIMIT: Duration = Duration::from_secs(40);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);

/// Somebody who tries to get in.
pub(super) struct Newcomer {
    client: String,
    history: Arc<History>,
    trying: JoinHandle<Result<Running, String>>,
}

// === impl Newcomer ===

impl Newcomer {
    /// It wants to be at this gateway, and this topic.
    pub(super) fn start(run: &Run, node: &Node, topic: &str) -> Self {
        let (client, history) = (unique("newcomer"), run.history());
        let route = Route::new([node.tcp()]);
        let one = Subscriber::new(client.clone(), 5, topic.to_owned(), 1, route, &history);
        Self {
            client,
            history,
            trying: thread::spawn(move || come(one)),
        }
    }

    /// Whether a SUBACK has told it that what is sent from now on comes.
    pub(super) fn is_granted(&self) -> bool {
        let granted = |event: &Event| matches!(event, Event::Subscribed { client, .. } if *client == self.client);
        let records = self.history.records();
        records.iter().any(|record| granted(&record.event))
    }

    /// Waits until it is in, and returns it at work: it is to be drained.
    ///
    /// # Errors
    ///
    /// It does not get in: why.
    pub(super) fn comes_in(self) -> Result<Running, String> {
        let tried = self.trying.join();
        tried.unwrap_or_else(|_| Err(format!("{}: its thread panicked", self.client)))
    }
}

fn come(mut one: Subscriber) -> Result<Running, String> {
    let start = Instant::now();
    loop {
        match one.subscribe_and_leave() {
            Ok(()) => return Ok(one.start()),
            Err(error) if start.elapsed() > LIMIT => {
                return Err(format!("{} is not let in: {error}", one.client));
            }
            Err(_refused_or_held) => pause(AGAIN),
        }
    }
}
