//! What an ended session left in Redis: its will, and what it owed to the other members of its
//! `$share` groups. Whoever ended it sees to that, and then removes the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_storage::Batch;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::proto::mqtt::Qos;
use crate::receipt::{IfRefused, Owed};
use crate::session::Session;
use crate::store::redis::{Ended, Place};
use crate::store::{keys, record};
use crate::turn::Turn;

/// Entries of a queue that are looked at in one turn.
const PAGE: usize = 256;
/// Pause before a page is asked for again that did not come.
const PAUSE: Duration = Duration::from_millis(200);
/// The same of one that cannot be read until somebody has mended what is stored.
const LONG_PAUSE: Duration = Duration::from_secs(5);

impl Broker {
    /// Sees to what a session left that ended here; its record is on its way out.
    pub(crate) fn remove_shared(self: &Arc<Self>, session: &Arc<Session>, n_sent: u64) {
        let (number, client_id) = (session.number, session.client_id.clone());
        self.owned.remove(session);
        if !session.outbound.lock().is_stored() {
            // It had no queue.
            self.detach_behind_will(number);
            return;
        }
        let place = Place::ended(&*client_id, self.incarnation());
        self.clear_queue(number, place, n_sent);
    }

    /// Forgets a number as soon as no will of it is under way.
    fn detach_behind_will(self: &Arc<Self>, number: u64) {
        let Some(redis) = self.store.redis().cloned() else {
            return;
        };
        if !self.wills.has(number) {
            redis.detach(number);
            return;
        }
        let broker = self.clone();
        self.see_to("remains", async move {
            broker.wills.out(number).await;
            redis.detach(number);
        });
    }

    /// Sees to what a session left that had ended before it was claimed or adopted.
    pub(super) fn settle_ended(self: &Arc<Self>, client_id: &str, owner: u64, ended: Ended) {
        if ended.will.is_none() && ended.n_queued == 0 {
            return;
        }
        if let Some(redis) = self.store.redis() {
            redis.attach(ended.number, Place::ended(client_id, owner));
        }
        if let Some(will) = ended.will {
            let leave = self.leave_for(None, &will);
            self.publish_stored_will(ended.number, &will, leave);
        }
        // Of one that ended under an earlier version it is not known: all of it may have been.
        let n_sent = ended.sent_below.unwrap_or(u64::MAX);
        self.clear_queue(ended.number, Place::ended(client_id, owner), n_sent);
    }

    /// Gives what is shared in a queue to other members of the groups, and removes it when they have
    /// it: messages of QoS 2 are given only if they were never sent, because they are numbered `n_sent`
    /// or higher `[MQTT-4.8.2-5]`.
    fn clear_queue(self: &Arc<Self>, number: u64, place: Place, n_sent: u64) {
        let broker = self.clone();
        self.see_to("remains", async move {
            clear(&broker, number, place, n_sent).await;
        });
    }
}

async fn clear(broker: &Arc<Broker>, number: u64, place: Place, n_sent: u64) {
    let Some(redis) = broker.store.redis() else {
        return;
    };
    let owner = place.owner;
    redis.attach(number, place);
    let mut from = Some(0);
    while let Some(start) = from {
        if broker.incarnation() != owner {
            redis.detach(number);
            return; // fenced meanwhile: whoever adopts what was here goes on
        }
        let (page, next) = match redis.queue_page(number, start, u64::MAX, PAGE).await {
            Ok(found) => found,
            Err(error) if error.is_lasting() => {
                tracing::error!(number, %error, "queue of an ended session cannot be read");
                tokio::time::sleep(LONG_PAUSE).await;
                continue;
            }
            Err(error) => {
                tracing::debug!(number, %error, "queue not read yet");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        from = next;
        if !give_on(broker, page, n_sent).await {
            return; // the gateway stops: whoever goes on finds the page
        }
        let mut batch = Batch::default();
        let (mut start, mut end) = keys::of_session(keys::QUEUE, number);
        if let Some(next) = next {
            (start, end) = (keys::queue(number, 0), keys::queue(number, next));
        }
        batch.delete_range(&start, &end);
        if broker.store.make_safe(batch).await != Ok(true) {
            redis.detach(number);
            return; // it is another gateway's to go on with
        }
    }
    broker.wills.out(number).await;
    redis.detach(number);
}

/// Gives what is shared in a page of a queue to other members, and waits until it is safe with them,
/// on whichever gateways they are; whether it has heard of that.
async fn give_on(broker: &Arc<Broker>, page: Vec<(u64, Bytes)>, n_sent: u64) -> bool {
    let (sender, done) = oneshot::channel();
    {
        let mut turn = Turn::new(broker);
        (turn.if_refused, turn.has_publisher) = (IfRefused::Lost, true);
        for (seq, value) in page {
            let Ok(queued) = record::queued(seq, &value, |_| None) else {
                continue;
            };
            let may_move = queued.qos < Qos::ExactlyOnce || seq >= n_sent;
            if let (Some(share), Some(message), true) = (queued.share, queued.message, may_move) {
                turn.redeliver(&share, &message);
            }
        }
        turn.finish(Some(Owed::of_nobody(sender)));
    }
    match done.await {
        Ok(Some(reason)) => {
            tracing::debug!(%reason, "not all of an ended session went to other members");
            true
        }
        Ok(None) => true,
        Err(_) => false,
    }
}
