//! Room in a session that is full: made by dropping what has expired, or what is oldest, as
//! `session.on-full` says.

use std::sync::Arc;

use super::Turn;
use crate::config::OnFull;
use crate::session::Session;
use crate::session::frames::Delivery;
use crate::session::outbound::{Outbound, Taken};
use crate::session::queued::Terms;

/// Messages dropped for one beyond those whose room it takes.
const MOST_DROPPED: u64 = 64;

impl Turn<'_> {
    /// Gives a message to a session that has no room for it, if some can be made.
    pub(super) fn make_room(
        &mut self,
        session: &Arc<Session>,
        outbound: &mut Outbound,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
    ) -> Taken {
        let bounds = self.settings.bounds;
        let mut shelf = self.shelves.of(session, self.broker, &mut self.batch);
        if bounds.on_full != OnFull::DropOldest {
            // What has expired is owed to nobody.
            let n_dropped = outbound.drop_expired(&mut shelf, self.now);
            self.tally.dropped += n_dropped as u64;
            return match n_dropped {
                0 => Taken::Full,
                _ => outbound.deliver(delivery, terms, &bounds),
            };
        }
        let size = terms.size(&delivery.message);
        if size > bounds.bytes {
            return Taken::Full;
        }
        // One that is larger than the oldest takes the room of several; and there is more than there
        // should be where some could not go in time, or the bounds are tighter now.
        let (mut n_dropped, mut n_freed) = (0, 0);
        while (n_freed < size || n_dropped < MOST_DROPPED && outbound.is_full(size, &bounds))
            && let Some(n_bytes) = outbound.drop_oldest(&mut shelf)
        {
            n_dropped += 1;
            n_freed += n_bytes;
        }
        self.tally.dropped += n_dropped;
        let bounds = match n_dropped > 0 && n_freed >= size {
            true => bounds.none(),
            // The oldest are on their way to the store, or from it: they go when the next one comes.
            false if outbound.is_stored() => bounds.twice(),
            false => bounds,
        };
        outbound.deliver(delivery, terms, &bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::completion;
    use crate::message::MessageRef;
    use crate::proto::mqtt::Qos;
    use crate::session::{Life, Subscription};
    use crate::turn::author::Author;

    #[tokio::test]
    async fn a_queue_that_has_more_than_it_should_comes_down_to_its_bounds() {
        const MOST: usize = 10;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = Arc::new(Session::new(7, "c", Outbound::new(true), Life::default()));
        let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
        broker.table.subscribe(None, "t", 7, subscription);
        let publish = async || {
            let mut turn = Turn::new(&broker);
            let message = MessageRef::any(Qos::AtLeastOnce);
            let plan = broker.table.plan("t");
            let published = turn.route(message, &plan, Author::BROKER);
            assert_eq!(published.refused, None);
            drop(plan);
            turn.finish(None);
            let safe = broker.store.make_safe(gatemq_storage::Batch::default());
            assert_eq!(safe.await, Ok(true));
            session.outbound.lock().n_queued()
        };
        for n_queued in 1..=100 {
            assert_eq!(publish().await, n_queued);
        }
        let settings = [
            ("limits.max-queued-messages", MOST.to_string()),
            ("session.on-full", "drop-oldest".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value));
        broker.settings.apply(&settings.into());
        assert_eq!(publish().await, 100 + 1 - 64);
        assert_eq!([publish().await, publish().await], [MOST; 2]);
        broker.tasks_end.cancel();
    }
}
