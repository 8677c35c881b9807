//! A session that comes from Redis is put into memory, in the place of what was here of it.
//!
//! Whoever does so has passed the turnstile, and names the incarnation under which Redis gave the
//! session away: that is read once, when Redis is asked, since it may have changed meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::broker::Broker;
use crate::session::outbound::Outbound;
use crate::session::recent::Recent;
use crate::session::{Life, Session};
use crate::store::record::SessionRecord;
use crate::store::redis::{Place, Stored};

/// Under which claim a session is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Title {
    pub(super) owner: u64,
    pub(super) number: u64,
    pub(super) epoch: u64,
}

impl Broker {
    /// From now on this gateway writes for the session.
    pub(super) fn attach(&self, session: &Arc<Session>, title: Title) {
        session.claim_epoch.store(title.epoch, Ordering::Release);
        if let Some(redis) = self.store.redis() {
            let place = Place::live(&*session.client_id, title.owner, title.epoch);
            redis.attach(session.number, place);
        }
        self.owned.insert(session);
    }

    /// Puts a session that came from another gateway into memory, with its subscriptions.
    pub(super) fn bring_in(
        self: &Arc<Self>,
        title: Title,
        record: &SessionRecord,
        stored: Stored,
        life: Life,
    ) -> Arc<Session> {
        let (first, last, n_entries, n_bytes, window_end) =
            stored.queue.map_or((None, 0, 0, 0, 0), |queue| {
                let bounds = (queue.n_entries as usize, queue.n_bytes as usize);
                (
                    Some(queue.first),
                    queue.last,
                    bounds.0,
                    bounds.1,
                    queue.window_end,
                )
            });
        let sent_below = match record.sent_below {
            u64::MAX => window_end + 1, // cut off: whatever may have been sent counts as sent
            sent_below => sent_below,
        };
        let entries = first.map(|first| (first, last));
        let outbound = Outbound::restored(entries, sent_below, n_entries, n_bytes);
        let mut session = Session::new(title.number, &record.client_id, outbound, life);
        if let Some(cluster) = &self.cluster {
            session.arrived = cluster.stamp();
        }
        for (packet_id, origin) in stored.received {
            session.received.get_mut().insert_unknown(packet_id, origin);
        }
        *session.recent.get_mut() = Recent::restored(stored.recent);
        let session = Arc::new(session);
        self.attach(&session, title);
        let change = self.begin_move();
        for (text, subscribed) in stored.subscriptions {
            self.subscribe(&session, &text, &subscribed, || None);
            session.subscriptions.lock().insert(text, subscribed);
        }
        drop(change);
        self.registry
            .lock(&session.client_id)
            .insert(session.clone());
        session
    }

    /// What was here of a client identifier is another session by now, or another gateway had it
    /// meanwhile: it makes room for the one that comes.
    pub(super) fn make_room(self: &Arc<Self>, old: &Arc<Session>) {
        old.life.lock().is_claimed = false; // nobody else has a claim to it, see the turnstile
        self.drop_moved(old);
        old.detached.notify_waiters();
    }

    /// What is here of a client identifier.
    pub(super) fn session_here(&self, client_id: &str) -> Option<Arc<Session>> {
        self.registry.lock(client_id).find(client_id).cloned()
    }
}
