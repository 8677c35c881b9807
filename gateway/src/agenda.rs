//! What is to happen later: sessions that expire, wills that were delayed.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::session::Session;
use crate::turn::Turn;

/// Names an entry: when it is due, in Unix milliseconds, and its number.
pub(crate) type Timer = (u64, u64);

/// The entries, the next one first. One at most of each kind for a session.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    last_number: u64,
    by_time: BTreeMap<Timer, Entry>,
}

#[derive(Debug)]
struct Entry {
    session: Weak<Session>,
    action: Action,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The session ends, unless it was taken up again.
    ExpireSession,
    /// The session's will is published, unless it was taken up again.
    PublishWill,
}

impl Agenda {
    /// Enters something.
    pub(crate) fn enter(&self, due: u64, session: &Arc<Session>, action: Action) -> Timer {
        let mut entries = self.entries.lock();
        entries.last_number += 1;
        let timer = (due, entries.last_number);
        let is_next = entries
            .by_time
            .first_key_value()
            .is_none_or(|(first, _)| timer < *first);
        entries.by_time.insert(
            timer,
            Entry {
                session: Arc::downgrade(session),
                action,
            },
        );
        drop(entries);
        if is_next {
            self.changed.notify_one();
        }
        timer
    }

    /// Strikes something out.
    pub(crate) fn strike(&self, timer: Option<Timer>) {
        if let Some(timer) = timer {
            self.entries.lock().by_time.remove(&timer);
        }
    }

    fn next_due(&self) -> Option<u64> {
        self.entries
            .lock()
            .by_time
            .first_key_value()
            .map(|((due, _), _)| *due)
    }

    fn take_due(&self, now: u64) -> Option<(Timer, Entry)> {
        let mut entries = self.entries.lock();
        let first = entries.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove_entry())
    }
}

/// Does what is due, until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    loop {
        let now = broker.clock.now();
        while let Some((timer, Entry { session, action })) = broker.agenda.take_due(now) {
            let Some(session) = session.upgrade() else {
                continue;
            };
            let mut turn = Turn::new(&broker);
            match action {
                Action::ExpireSession => broker.expire(&session, timer, &mut turn),
                Action::PublishWill => broker.publish_delayed_will(&session, timer, &mut turn),
            }
            turn.finish(None);
            tokio::task::yield_now().await; // many may be due at once: others get their turn
        }
        let wait = match broker.agenda.next_due() {
            Some(due) => Duration::from_millis(due.saturating_sub(broker.clock.now())),
            None => Duration::from_secs(3600),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = broker.agenda.changed.notified() => {}
            () = broker.tasks_end.cancelled() => return,
        }
    }
}
