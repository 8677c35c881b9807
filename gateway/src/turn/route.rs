//! From a message to the sessions that get it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use gatemq_node::trace::{Kind, Span};
use gatemq_router::Plan;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::author::Author;
use super::deliver::{OVERHEAD, is_own};
use super::{Published, Turn};
use crate::cluster::forward::{Scope, Targets, Wanted};
use crate::message::MessageRef;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::frames::Delivery;
use crate::session::queued::Terms;
use crate::session::{Session, Subscription};
use crate::store::Name;

/// Bodies from this size on are stored once for several queues.
const BODY_FROM: usize = 256;

/// A session that a message reaches through several subscriptions.
#[derive(Debug)]
pub(super) struct Overlap {
    session: Arc<Session>,
    qos: Qos,
    retain_as_published: bool,
    ids: SmallVec<[u32; 4]>,
}

impl Turn<'_> {
    /// Keeps a retained message and routes a publish to everybody who subscribed.
    pub(crate) fn publish(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        if self.exchange.is_some() {
            return self.publish_behind_identifier(&message, plan, author);
        }
        if message.retain && self.broker.store.redis().is_some() {
            let session = self.publisher.as_ref().map(|session| session.number);
            return self.publish_stored(&message, author, (None, session));
        }
        let kept = if message.retain {
            self.retain(&message)
        } else {
            Ok(())
        };
        match kept {
            Err(reason) if message.qos > Qos::AtMostOnce => Published {
                is_matched: false,
                refused: Some(reason),
            },
            Err(_) => {
                // Its publisher cannot be told: those who are subscribed get it all the same.
                self.tally.dropped += 1;
                self.route(message, plan, author)
            }
            Ok(()) => self.route(message, plan, author),
        }
    }

    /// As [`Self::publish`], for a message of a bridge that may come again under its name, of QoS 1 or
    /// 2: only those get it who have not had it.
    pub(crate) fn publish_as(
        &mut self,
        name: Name,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        if message.retain && self.broker.store.redis().is_some() {
            return self.publish_stored(&message, author, (Some(name), None));
        }
        if message.retain
            && let Err(reason) = self.retain(&message)
        {
            return Published {
                is_matched: false,
                refused: Some(reason),
            };
        }
        self.begin_message();
        self.go_on_as(name);
        let published = self.route_begun(message, plan, author);
        self.since = None;
        published
    }

    /// Sets or clears the retained message of a topic.
    fn retain(&mut self, message: &MessageRef<'_>) -> Result<(), Reason> {
        if self.broker.store.is_short() && !message.payload.is_empty() {
            return Err(Reason::QuotaExceeded); // a clear makes room
        }
        let quota = self.broker.config.limits.retained();
        // Whoever gets it later does so on its own account.
        let kept = MessageRef {
            trace: None,
            ..*message
        };
        let make = || Arc::new(kept.to_message());
        let broker = self.broker;
        match broker
            .retained
            .set(&broker.store, &mut self.batch, message, make, quota)
        {
            Ok(Some(number)) => {
                self.retained.push((message.topic.into(), number));
                self.must_commit = true;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(crate::retained::Full(limit)) => {
                broker.metrics.limits_hit.inc(limit);
                Err(Reason::QuotaExceeded)
            }
        }
    }

    /// Routes a publish to whoever subscribed, here and on other nodes.
    pub(crate) fn route(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        self.begin_message();
        self.route_begun(message, plan, author)
    }

    /// As [`Self::route`], for a message that has its number.
    pub(crate) fn route_begun(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        let mut remote = Targets::new();
        let span = message.trace.map(|it| it.child("route", Kind::Internal));
        let parent = span.as_ref().map(Span::parent);
        let message = MessageRef {
            trace: parent.as_ref(),
            ..message
        };
        let mut published = self.route_to(message, plan, author, Scope::Everywhere(&mut remote));
        if !remote.is_empty() && !is_own(message.topic) {
            self.forward(&message, &remote, author, &mut published);
        }
        let absent = remote.take_absent();
        if !absent.is_empty() {
            self.miss_bridge(&message, author, absent, &mut published);
        }
        self.doubt(&message, author.client_id, &mut published);
        published
    }

    /// Routes a publish that another node sent: to subscribers of this one only.
    pub(crate) fn route_here(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
        wanted: &Wanted<'_>,
    ) -> Published {
        self.route_to(message, plan, author, Scope::Here(wanted))
    }

    /// Gives a message to subscribers of this node outside of groups.
    pub(crate) fn route_direct_here(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
    ) -> Published {
        let wanted = Wanted {
            is_direct: true,
            picks: &[],
            had: &[],
            asks: None,
            full: RefCell::default(),
            refused: RefCell::default(),
            is_moving: Cell::new(false),
            n_denied: Cell::new(0),
        };
        self.route_to(message, plan, Author::BROKER, Scope::Here(&wanted))
    }

    fn route_to(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
        mut scope: Scope<'_>,
    ) -> Published {
        let mut published = Published::default();
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::new(message, self.now, &mut frames);
        let is_direct = scope.is_direct();
        match plan.filters() {
            [] => {}
            [filter] => {
                let subscribers = filter.subscribers();
                let direct = subscribers.direct.as_slice();
                if direct.len() + subscribers.groups.len() > 1 {
                    self.consider_body(&mut delivery);
                } else {
                    delivery.is_lone = subscribers.nodes.is_empty();
                }
                for member in direct.iter().filter(|_| is_direct) {
                    let subscription = &member.value;
                    published.is_matched = true;
                    if subscription.no_local && member.key == message.publisher {
                        continue; // [MQTT-3.8.3-3]
                    }
                    let ids = [subscription.id];
                    let terms = terms(subscription, &ids, &delivery);
                    self.deliver(&subscription.session, &mut delivery, &terms, &mut published);
                }
                for group in subscribers.groups.values() {
                    let group = (group, filter.text());
                    self.deliver_to_group(group, &mut delivery, author, &mut scope, &mut published);
                }
                scope.add_nodes(&subscribers.nodes);
            }
            filters => {
                self.weight += filters.len() * OVERHEAD; // a client may have very many
                self.consider_body(&mut delivery);
                let mut overlapping = std::mem::take(&mut self.spare.overlapping);
                for filter in filters {
                    let subscribers = filter.subscribers();
                    for member in subscribers.direct.as_slice().iter().filter(|_| is_direct) {
                        published.is_matched = true;
                        if !(member.value.no_local && member.key == message.publisher) {
                            overlap(&mut overlapping, member.key, &member.value);
                        }
                    }
                    for group in subscribers.groups.values() {
                        let group = (group, filter.text());
                        self.deliver_to_group(
                            group,
                            &mut delivery,
                            author,
                            &mut scope,
                            &mut published,
                        );
                    }
                    scope.add_nodes(&subscribers.nodes);
                }
                // [MQTT-3.3.4-2]: one copy with the highest QoS and the identifier of each
                // subscription, equal ones too (section 3.3.4).
                for (_, overlap) in overlapping.drain() {
                    let terms = Terms {
                        qos: overlap.qos,
                        retain: overlap.retain_as_published && message.retain,
                        ids: &overlap.ids,
                        share: None,
                    };
                    self.deliver(&overlap.session, &mut delivery, &terms, &mut published);
                }
                self.spare.overlapping = overlapping;
            }
        }
        self.spare.frames = frames;
        published
    }

    /// Reserves a number for the body of a message that several queues may store.
    fn consider_body(&self, delivery: &mut Delivery<'_>) {
        if self.broker.store.redis().is_some() {
            return; // there each queue has a place of its own
        }
        if delivery.message.qos > Qos::AtMostOnce && delivery.message.size() >= BODY_FROM {
            delivery.body = self.broker.store.new_number();
        }
    }
}

/// The terms of one subscription, alone or in a group; `ids` has its identifier.
#[inline]
pub(super) fn terms<'a>(
    subscription: &'a Subscription,
    ids: &'a [u32; 1],
    delivery: &Delivery<'_>,
) -> Terms<'a> {
    Terms {
        qos: subscription.qos,
        retain: subscription.retain_as_published && delivery.message.retain,
        ids: &ids[..usize::from(subscription.id != 0)],
        share: subscription.share.as_ref(),
    }
}

fn overlap(overlapping: &mut HashMap<u64, Overlap>, key: u64, subscription: &Subscription) {
    let overlap = overlapping.entry(key).or_insert_with(|| Overlap {
        session: subscription.session.clone(),
        qos: Qos::AtMostOnce,
        retain_as_published: false,
        ids: SmallVec::new(),
    });
    overlap.qos = overlap.qos.max(subscription.qos);
    overlap.retain_as_published |= subscription.retain_as_published;
    if subscription.id != 0 {
        overlap.ids.push(subscription.id);
    }
}
