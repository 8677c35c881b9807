//! Shared subscriptions: each message to one member of a group.

use std::hash::BuildHasher;
use std::sync::Arc;

use gatemq_router::{Group, Strategy, share};

use super::route::terms;
use super::{Published, Turn};
use crate::config::ShareStrategy;
use crate::message::Message;
use crate::session::Subscription;
use crate::session::frames::Delivery;
use crate::session::outbound::Taken;
use crate::session::queued::Share;

impl Turn<'_> {
    /// Gives a message to one member of a group, the next one where a member refuses.
    pub(super) fn deliver_to_group(
        &mut self,
        group: &Group<Subscription>,
        delivery: &mut Delivery<'_>,
        client_id: &str,
        published: &mut Published,
    ) {
        published.is_matched = true;
        let members = group.members.as_slice();
        let strategy = strategy(self.broker.config.share_strategy);
        let topic = delivery.message.topic;
        let start = strategy.start(&group.members, &group.cursor, || share::Hints {
            client: hash(client_id),
            topic: hash(topic),
            random: hash_number(self.broker.store.new_number()),
        });
        let mut full = None;
        // Members with a connection first, then those whose session can keep it.
        for wants_link in [true, false] {
            for offset in 0..members.len() {
                let at = (start + offset) % members.len();
                let subscription = &members[at].value;
                let mut outbound = subscription.session.outbound.lock();
                if outbound.link.is_some() != wants_link {
                    continue;
                }
                let ids = [subscription.id];
                let terms = terms(subscription, &ids, delivery);
                let taken = match self.is_short_for(&outbound, delivery, &terms) {
                    true => Taken::Full,
                    false => outbound.deliver(delivery, &terms, &self.broker.bounds),
                };
                match taken {
                    Taken::Dropped => {}
                    Taken::Full => full = full.or(Some(at)),
                    taken => {
                        let session = &subscription.session;
                        self.settle(session, outbound, taken, delivery, &terms, published);
                        strategy.settle(members[at].key, &group.cursor);
                        return;
                    }
                }
            }
        }
        match full {
            // All that are there are full: the first of them is treated as one on its own is.
            Some(at) => {
                let subscription = &members[at].value;
                let ids = [subscription.id];
                let terms = terms(subscription, &ids, delivery);
                self.deliver(&subscription.session, delivery, &terms, published);
            }
            // Nobody is there who could take it, as with any other subscriber.
            None => self.tally.dropped += 1,
        }
    }

    /// Gives a shared message of a session that ended to another member of its group.
    pub(crate) fn redeliver(&mut self, share: &Arc<Share>, message: &Arc<Message>) {
        if message.as_ref().as_ref().is_expired(self.now) {
            return;
        }
        let plan = self.broker.table.plan(message.as_ref().as_ref().topic);
        let Some(filter) = plan
            .filters()
            .iter()
            .find(|filter| *filter.text() == *share.filter)
        else {
            return;
        };
        let subscribers = filter.subscribers();
        let Some(group) = subscribers.groups.get(&share.group) else {
            return;
        };
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(message, self.now, &mut frames);
        self.deliver_to_group(group, &mut delivery, "", &mut Published::default());
        self.spare.frames = frames;
    }
}

/// How the strategy begins on one node: there, every member is local.
fn strategy(strategy: ShareStrategy) -> Strategy {
    match strategy {
        ShareStrategy::RoundRobin | ShareStrategy::Local => Strategy::RoundRobin,
        ShareStrategy::Random => Strategy::Random,
        ShareStrategy::Sticky => Strategy::Sticky,
        ShareStrategy::HashClient => Strategy::HashClient,
        ShareStrategy::HashTopic => Strategy::HashTopic,
    }
}

fn hash(text: &str) -> u64 {
    foldhash::fast::FixedState::with_seed(0x7368_6172).hash_one(text)
}

fn hash_number(number: u64) -> u64 {
    foldhash::fast::RandomState::default().hash_one(number)
}
