//! Takes what an ended session left out of the store, a page at a time and beside everything
//! else: its record first, so that after a crash it has ended all the same and a restart goes on.

use std::sync::Arc;
use std::time::Duration;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::proto::mqtt::Qos;
use crate::session::Session;
use crate::store::{self, keys};
use crate::turn::Turn;
use crate::vital::has_panicked;

/// Entries of a queue that are looked at in one turn.
const PAGE: usize = 256;
/// Bytes that the store lets wait before the removal does.
const PENDING: usize = 16 * 1024 * 1024;

impl Broker {
    /// The last commit of something for a session that has ended is through.
    pub(crate) fn end_settled(self: &Arc<Self>, session: &Arc<Session>) {
        self.remove_stored(session);
        self.vacate(session);
    }

    /// Removes what an ended session left in the store. Nothing of it may be on its way there.
    pub(super) fn remove_stored(self: &Arc<Self>, session: &Arc<Session>) {
        let n_sent = {
            let outbound = session.outbound.lock();
            if outbound.is_moved() || (!outbound.is_stored() && self.store.redis().is_none()) {
                return;
            }
            outbound.sent_below()
        };
        let mut batch = Batch::default();
        batch.delete(&keys::session(session.number));
        // The record said how far the queue was sent: whoever goes on after a crash has to know.
        batch.put(&keys::edge(session.number), &n_sent.to_be_bytes());
        if !self.wills.has(session.number) {
            batch.delete(&keys::will(session.number)); // else when it is out
        }
        let safe = self.store.make_safe(batch);
        if self.store.redis().is_some() {
            self.remove_shared(session, n_sent);
            return;
        }
        let (broker, number) = (self.clone(), session.number);
        self.see_to("removal", async move {
            // Behind the commit the queue has no message any more that the client acknowledged.
            if safe.await.unwrap_or(false) {
                let remover = broker.clone();
                let removing = move || remover.remove_queue(number, n_sent);
                let removed = broker.tasks.spawn_blocking(removing).await;
                if removed.is_err_and(|ended| ended.is_panic()) {
                    has_panicked("removal");
                }
            }
        });
    }

    /// Removes the queue and the rest of an ended session, and gives its shared messages to other
    /// members of their groups: those of QoS 2 only if they were never sent, because they are
    /// numbered `n_sent` or higher `[MQTT-4.8.2-5]`.
    pub(crate) fn remove_queue(self: &Arc<Self>, number: u64, n_sent: u64) {
        let mut from = Some(0);
        while let Some(start) = from {
            if self.tasks_end.is_cancelled() {
                return; // the next start goes on
            }
            let mut turn = Turn::new(self);
            let (page, next) = self.store.queue_page(number, start, u64::MAX, PAGE);
            from = next;
            for queued in page {
                store::forget(&mut turn.batch, number, queued.seq, queued.body);
                let may_move = queued.qos < Qos::ExactlyOnce || queued.seq >= n_sent;
                if let (Some(share), Some(message), true) = (queued.share, queued.message, may_move)
                {
                    turn.redeliver(&share, &message);
                }
            }
            turn.finish(None);
            while self.store.pending_bytes() > PENDING && !self.tasks_end.is_cancelled() {
                pause();
            }
        }
        let mut turn = Turn::new(self);
        for kind in [keys::FILTER, keys::QUEUE, keys::RECEIVED, keys::EDGE] {
            let (start, end) = keys::of_session(kind, number);
            turn.batch.delete_range(&start, &end);
        }
        turn.finish(None);
    }
}

/// Waits a moment, on a thread that may wait.
#[expect(
    clippy::disallowed_methods,
    reason = "the removal has a thread of its own"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
