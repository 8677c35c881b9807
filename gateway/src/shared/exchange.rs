//! QoS 2 publishes of sessions that any gateway can go on with: first the identifier is stored,
//! then the message is routed, then PUBREC leaves. Retained ones of QoS 1 are routed here, too.
//!
//! Whenever the gateway dies on the way, the client sends the message again to another one. If
//! the identifier is there, the message is routed again under the [`Origin`] that is stored with
//! it, and reaches only those who have not had it; if not, nobody has had it. The other way round,
//! the message before its identifier, it would come twice. Whether a member of a `$share` group has
//! had it is asked of all nodes first ([`ask`]), for the next try may choose another one.
//!
//! [`ask`]: crate::turn::ask
//! [`Origin`]: crate::session::received::Origin

use std::sync::Arc;

use gatemq_router::Plan;

use crate::message::MessageRef;
use crate::proto::mqtt::Reason;
use crate::receipt::{Leg, Owed, Receipt};
use crate::session::Subscription;
use crate::store::{self, Name};
use crate::turn::author::Author;
use crate::turn::{Published, Turn};

impl Turn<'_> {
    /// Routes a publish as soon as the batch of this turn is safe.
    pub(crate) fn publish_behind_identifier(
        &mut self,
        message: &MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        let leg = self.has_publisher.then(|| self.leg());
        self.published.push(store::Published {
            message: Arc::new(message.to_message()),
            client_id: author.client_id.into(),
            username: "".into(), // that of its session
            leg,
            publisher: self.publisher.clone(),
            is_held: message.retain,
            is_unkept: message.retain,
            exchange: self.exchange,
            name: None,
            is_refused: false,
        });
        if let Some(publisher) = self.publisher.as_ref().filter(|_| message.retain) {
            publisher.held.add(true);
        }
        Published {
            is_matched: !plan.filters().is_empty(),
            refused: None,
        }
    }

    /// Routes a publish that is stored now, or the identifier of its exchange: one that is retained
    /// is kept then, and routed behind that.
    pub(crate) fn route_stored(&mut self, mut published: store::Published) {
        let held = published.publisher.clone().filter(|_| published.is_held);
        let is_exchange = published.exchange.is_some();
        let incarnation = self.incarnation;
        let is_stale = |leg: &Leg| leg.is_stale(incarnation);
        let is_over = published.is_refused || published.leg.as_ref().is_some_and(is_stale);
        if std::mem::take(&mut published.is_unkept) && !is_over {
            return self.keep_behind_identifier(published);
        }
        let is_routed = is_over || self.route_in_order(published);
        if let Some(publisher) = held.filter(|_| is_routed) {
            publisher.unhold(is_exchange);
        }
    }

    /// Keeps the retained publish of an exchange, once: who died when it had done so may have been
    /// followed by another publisher, whose message this one must not replace.
    fn keep_behind_identifier(&mut self, published: store::Published) {
        if let Some(exchange) = published.exchange {
            let session = published.publisher.as_ref().map(|session| session.number);
            let message = published.message.as_ref().as_ref();
            self.keep(&message, Some(exchange.origin), session);
        }
        self.published.push(published);
    }

    /// Routes it, unless it would overtake another one: then it comes once more. Returns whether it
    /// was routed.
    fn route_in_order(&mut self, mut published: store::Published) -> bool {
        let plan = self
            .broker
            .table
            .plan(published.message.as_ref().as_ref().topic);
        // Of QoS 1 and 2, of a client that is connected here.
        let is_ordered = published.exchange.is_some() || published.leg.is_some();
        let publisher = published.publisher.clone().filter(|_| is_ordered);
        let (Some(publisher), Some(cluster)) = (publisher, &self.broker.cluster) else {
            self.parent = published.leg.take();
            self.begin_message();
            if let Some(name) = published.name {
                self.go_on_as(name);
            }
            self.route_now(&published, &plan);
            self.since = None;
            return true;
        };
        let mut received = publisher.received.lock();
        let next = received.route(published, &cluster.moves, self.before);
        drop(received);
        let Some(mut published) = next else {
            return false;
        };
        // It has a receipt of its own, so that it is known when it is safe, whatever else its turn
        // had to do.
        let receipt = Receipt::new(self.incarnation);
        self.parent = Some(receipt.leg(Some(0)));
        self.begin_message();
        if let Some(exchange) = published.exchange {
            self.go_on(exchange.origin);
            self.is_repeat = exchange.is_resumed;
        }
        let leg = published.leg.take();
        self.route_now(&published, &plan);
        self.since = None;
        receipt.seal(Some(match published.exchange {
            Some(begun) => Owed::of_exchange(publisher, (begun.packet_id, begun.print), leg),
            None => Owed::of_retained(publisher, leg),
        }));
        self.broker.settle(receipt.commit());
        true
    }

    fn route_now(&mut self, published: &store::Published, plan: &Plan<Subscription>) {
        let message = published.message.as_ref().as_ref();
        self.has_publisher = self.parent.is_some();
        let author = match &published.publisher {
            Some(session) => Author::of(session),
            None => Author::named(&published.client_id, &published.username),
        };
        let routed = self.route_begun(message, plan, author);
        self.has_publisher = false;
        match routed.refused {
            None => self.legs.extend(self.parent.take()),
            Some(reason) => self.refuse(published, reason),
        }
    }

    /// Tells who waits for the message that was just routed that not all have taken it.
    fn refuse(&mut self, published: &store::Published, reason: Reason) {
        let begun = published.exchange.map(|exchange| exchange.origin);
        let name = published.name.map(Name::origin);
        if let (Some(origin), Some(cluster)) = (begun.or(name), &self.broker.cluster) {
            // If it comes again, then for those who have not taken it, too.
            cluster.seen.lock().strike(origin.source, origin.id);
        }
        if let Some(leg) = self.parent.take() {
            self.broker.settle(leg.done(Some(reason)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gatemq_router::GroupNode;
    use gatemq_storage::Op;
    use tokio::sync::oneshot;

    use super::*;
    use crate::broker::Broker;
    use crate::completion;
    use crate::message::Message;
    use crate::proto::cluster::bridges;
    use crate::proto::mqtt::{PacketId, Qos};
    use crate::session::outbound::Outbound;
    use crate::session::received::{Origin, Print};
    use crate::session::{Life, Session};
    use crate::store::keys;
    use crate::turn::bridge::NO_BRIDGE;

    fn message() -> Arc<Message> {
        Arc::new(MessageRef::any(Qos::ExactlyOnce).to_message())
    }

    /// Routes what is stored by now; what its publisher is told.
    async fn told(broker: &Arc<Broker>, exchange: Option<store::Begun>) -> Option<Reason> {
        let told = routed(broker, exchange, broker.incarnation());
        told.await.expect("it is told")
    }

    /// The same of what came when this gateway was this incarnation.
    fn routed(
        broker: &Arc<Broker>,
        exchange: Option<store::Begun>,
        incarnation: u64,
    ) -> oneshot::Receiver<Option<Reason>> {
        let session = Session::new(2, "c", Outbound::new(true), Life::default());
        let receipt = Receipt::new(incarnation);
        let (sender, told) = oneshot::channel();
        let mut turn = Turn::new(broker);
        turn.route_stored(store::Published {
            message: message(),
            client_id: "c".into(),
            username: "".into(),
            leg: Some(receipt.leg(Some(0))),
            publisher: Some(Arc::new(session)),
            is_held: false,
            is_unkept: false,
            exchange,
            name: None,
            is_refused: false,
        });
        turn.finish(None);
        receipt.seal(Some(Owed::of_nobody(sender)));
        broker.settle(receipt.commit());
        told
    }

    #[tokio::test]
    async fn the_publisher_of_what_was_stored_first_is_told_that_it_was_refused() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let now = broker.clock.now();
        cluster.lease.renew(now, now);
        broker.tasks.spawn(completion::run(broker.clone()));
        let begun = |id| store::Begun {
            packet_id: PacketId::MIN,
            origin: Origin { source: 1, id },
            is_resumed: false,
            print: Print::any(),
        };
        assert_eq!(told(&broker, Some(begun(5))).await, None);
        assert_eq!(told(&broker, None).await, None);
        let gone = GroupNode {
            node: 9,
            n_online: 0,
            n_offline: 1,
        };
        broker.table.set_node(Some(bridges::GROUP), "t", gone);
        let _full = cluster.returns.held.fill();
        assert_eq!(told(&broker, Some(begun(6))).await, Some(NO_BRIDGE));
        assert_eq!(told(&broker, None).await, Some(NO_BRIDGE));
        let seen = cluster.seen.lock();
        assert!(seen.has(1, 5) && !seen.has(1, 6), "it may come again");
        broker.tasks_end.cancel();
    }

    /// Until it is with its subscribers, nothing overtakes it; and then its publisher goes on.
    #[tokio::test]
    async fn a_retained_publish_that_waits_for_an_earlier_one_holds_its_publisher_until_it_is_routed()
     {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let publisher = Session::new(2, "c", Outbound::new(true), Life::default());
        let publisher = Arc::new(publisher);
        let receipt = Receipt::new(broker.incarnation());
        let mut turn = Turn::new(&broker);
        for (id, is_held) in [(5, false), (6, true)] {
            let packet_id = PacketId::new(id).expect("it is not 0");
            publisher.received.lock().insert_routing(packet_id);
            if is_held {
                publisher.held.add(true);
                drop(cluster.moves.change()); // somebody who has the first one may have moved
            }
            turn.route_stored(store::Published {
                message: message(),
                client_id: "c".into(),
                username: "".into(),
                leg: Some(receipt.leg(None)),
                publisher: Some(publisher.clone()),
                is_held,
                is_unkept: false,
                exchange: Some(store::Begun {
                    packet_id,
                    origin: Origin {
                        source: 1,
                        id: id.into(),
                    },
                    is_resumed: false,
                    print: Print::any(),
                }),
                name: None,
                is_refused: false,
            });
        }
        assert!(
            publisher.held.is_before(false),
            "it waits for the first one"
        );
        drop(
            publisher
                .received
                .lock()
                .conclude(PacketId::MIN.saturating_add(4)),
        );
        let put_off = publisher.received.lock().take_put_off();
        assert_eq!(put_off.len(), 1);
        for published in put_off {
            turn.route_stored(published);
        }
        assert!(!publisher.held.is_before(false));
        turn.finish(None);
    }

    /// A subscriber moves while the third one is being stored: those before it may come back.
    #[tokio::test]
    async fn a_retained_publish_of_qos_1_does_not_overtake_one_that_may_come_back() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let now = broker.clock.now();
        cluster.lease.renew(now, now);
        let publisher = Session::new(2, "c", Outbound::new(true), Life::default());
        let publisher = Arc::new(publisher);
        let receipt = Receipt::new(broker.incarnation());
        let mut turn = Turn::new(&broker);
        let holds = |turn: &mut Turn<'_>, mark| {
            publisher.held.add(false);
            turn.route_stored(store::Published {
                message: message(),
                client_id: "c".into(),
                username: "".into(),
                leg: Some(receipt.leg(Some(mark))),
                publisher: Some(publisher.clone()),
                is_held: true,
                is_unkept: false,
                exchange: None,
                name: None,
                is_refused: false,
            });
            publisher.held.is_before(false)
        };
        assert!(!holds(&mut turn, 0));
        assert!(!holds(&mut turn, 1), "nobody has moved");
        drop(cluster.moves.change());
        assert!(holds(&mut turn, 2), "it waits for those");
        turn.finish(None);
        let (sender, told) = oneshot::channel();
        receipt.seal(Some(Owed::of_nobody(sender)));
        broker.settle(receipt.commit());
        broker.tasks.spawn(completion::run(broker.clone()));
        let told = tokio::time::timeout(Duration::from_secs(20), told);
        assert_eq!(told.await.expect("in time"), Ok(None));
        assert!(!publisher.held.is_before(false));
        broker.tasks_end.cancel();
    }

    #[tokio::test]
    async fn a_retained_publish_is_kept_behind_its_identifier_and_routed_behind_that() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let origin = Origin { source: 1, id: 5 };
        let session = Session::new(2, "c", Outbound::new(true), Life::default());
        let mut turn = Turn::new(&broker);
        turn.route_stored(store::Published {
            message: message(),
            client_id: "c".into(),
            username: "".into(),
            leg: None,
            publisher: Some(Arc::new(session)),
            is_held: false,
            is_unkept: true,
            exchange: Some(store::Begun {
                packet_id: PacketId::MIN,
                origin,
                is_resumed: true,
                print: Print::any(),
            }),
            name: None,
            is_refused: false,
        });
        let kept = turn.published.remove(0);
        let message = kept.message.as_ref().as_ref();
        let mut expected = gatemq_storage::Batch::new();
        expected.put(&keys::once(message.topic), &origin.to_bytes());
        let mut value = Vec::new();
        message.store(&mut value);
        expected.put(&keys::retained(message.topic), &value);
        // Only if its session is here, and once, or a later one of somebody else would be lost.
        let mut ops = turn.batch.iter();
        let Some(Op::Put { key, value }) = ops.next() else {
            panic!("{:?}", turn.batch);
        };
        assert_eq!(key, &keys::whose(message.topic)[..]);
        assert!(value.starts_with(&2_u64.to_be_bytes()));
        assert!(ops.eq(expected.iter()), "{:?}", turn.batch);
        assert!(turn.must_commit && !cluster.seen.lock().has(1, 5));
        turn.route_stored(kept);
        turn.finish(None);
        assert!(cluster.seen.lock().has(1, 5));
    }

    #[tokio::test]
    async fn what_is_stored_late_is_not_routed_by_who_was_taken_for_gone_meanwhile() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let now = broker.clock.now();
        cluster.lease.renew(now, now);
        let begun = store::Begun {
            packet_id: PacketId::MIN,
            origin: Origin { source: 1, id: 5 },
            is_resumed: false,
            print: Print::any(),
        };
        for (incarnation, is_routed) in [(broker.incarnation() + 1, false), (1, true)] {
            let _told = routed(&broker, Some(begun), incarnation);
            assert_eq!(cluster.seen.lock().has(1, 5), is_routed);
        }
    }
}
