//! PUBLISH and PUBREL from a client.

use std::num::NonZeroU16;
use std::sync::Arc;

use gatemq_node::trace::Span;

use super::Connection;
use super::waiting::Hold;
use crate::message::MessageRef;
use crate::proto::cluster::bridges;
use crate::proto::mqtt::{self, Ack, Publish, Qos, Reason, Version};
use crate::receipt::Subject;
use crate::session::End;
use crate::session::acks::{self, Kind};
use crate::session::received::{Known, Origin, Print};
use crate::store::{Begun, keys};
use crate::trace;
use crate::turn::author::Author;
use crate::turn::{Published, Turn};

impl Connection {
    /// PUBLISH: to everybody who subscribed; the acknowledgement waits for the store where the
    /// message, or the state of the exchange, has to be safe first.
    pub(super) fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        turn.tally.published += 1;
        let limits = &turn.broker.config.limits;
        if publish.qos > limits.maximum_qos {
            return Err(End::refused(
                Reason::QosNotSupported, // [MQTT-3.2.2-11]
                "QoS above the Maximum QoS of the CONNACK",
            ));
        }
        if publish.retain && !limits.retain_available {
            return Err(End::refused(
                Reason::RetainNotSupported, // [MQTT-3.2.2-14]
                "RETAIN although the CONNACK says that it is not available",
            ));
        }
        if !publish.properties.subscription_ids.is_empty() {
            return Err(End::refused(
                Reason::ProtocolError, // [MQTT-3.3.4-6]
                "a PUBLISH from a client with a Subscription Identifier",
            ));
        }
        let alias = self.resolve(publish)?;
        let topic = alias.as_deref().unwrap_or(publish.topic);
        let Some(packet_id) = publish.packet_id else {
            self.route(publish, topic, turn);
            return Ok(());
        };
        let print = Print::of(topic, publish.payload);
        let refused = self.session.refused(packet_id, print, publish.dup);
        let asked = (packet_id, print);
        if publish.qos == Qos::ExactlyOnce {
            return self.handle_exactly_once(publish, topic, asked, refused, turn);
        }
        self.check_quota(false)?;
        if refused.is_some() {
            return self.refuse_again(Kind::Ack, asked, refused, turn);
        }
        let published = self.route(publish, topic, turn);
        if self.held.is_some() {
            return Ok(());
        }
        self.acknowledge(Kind::Ack, (packet_id, Some(print)), published, turn)
    }

    fn handle_exactly_once(
        &mut self,
        publish: &Publish<'_>,
        topic: &str,
        asked: (NonZeroU16, Print),
        refused: Option<Reason>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let (packet_id, print) = asked;
        let known = {
            let mut received = self.session.received.lock();
            let known = received.known(packet_id);
            if let Known::Routing = known {
                // At the same moment: if it is refused, this hears of it, too.
                let leg = received.wait(packet_id, turn.leg());
                turn.legs.extend(leg);
            }
            known
        };
        match known {
            Known::New => self.check_quota(true)?,
            Known::Unknown(origin) => {
                return self.begin_exchange(publish, topic, asked, Some(origin), turn);
            }
            Known::Safe | Known::Routing => {
                // [MQTT-4.3.3-10]: it is not routed again; only the PUBREC is sent again, behind
                // what makes the message safe.
                turn.must_commit |= self.is_stored();
                let published = Published {
                    is_matched: true,
                    refused: None,
                };
                return self.acknowledge(Kind::Rec, (packet_id, None), published, turn);
            }
        }
        if refused.is_some() {
            return self.refuse_again(Kind::Rec, asked, refused, turn);
        }
        if self.is_stored() && turn.broker.store.is_short() {
            let published = Published {
                is_matched: false,
                refused: Some(Reason::QuotaExceeded), // its identifier could not be stored
            };
            return self.acknowledge(Kind::Rec, (packet_id, Some(print)), published, turn);
        }
        if self.is_stored() && turn.broker.store.redis().is_some() {
            return self.begin_exchange(publish, topic, asked, None, turn);
        }
        let published = self.route(publish, topic, turn);
        if self.held.is_some() {
            return Ok(());
        }
        if published.refused.is_none() {
            self.session.received.lock().insert_safe(packet_id);
            if self.is_stored() {
                turn.must_commit = true;
                turn.batch
                    .put(&keys::received(self.session.number, packet_id), &[]);
            }
        }
        self.acknowledge(Kind::Rec, (packet_id, Some(print)), published, turn)
    }

    /// A publish was refused, and its client has not heard of that.
    fn refuse_again(
        &mut self,
        kind: Kind,
        (packet_id, print): (NonZeroU16, Print),
        refused: Option<Reason>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let published = Published {
            is_matched: false,
            refused,
        };
        self.acknowledge(kind, (packet_id, Some(print)), published, turn)
    }

    /// A QoS 2 publish of a session that another gateway may go on with: its identifier is stored
    /// first, with what the message is known by, and then it is routed. An `origin` is what it was
    /// known by before.
    fn begin_exchange(
        &mut self,
        publish: &Publish<'_>,
        topic: &str,
        asked: (NonZeroU16, Print),
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let (packet_id, print) = asked;
        let is_resumed = origin.is_some();
        let origin = origin.unwrap_or_else(|| turn.broker.new_origin());
        turn.exchange = Some(Begun {
            packet_id,
            origin,
            is_resumed,
            print,
        });
        let published = self.route(publish, topic, turn);
        turn.exchange = None;
        if published.refused.is_none() {
            self.session.received.lock().insert_routing(packet_id);
            let key = keys::received(self.session.number, packet_id);
            turn.batch.put(&key, &origin.to_bytes());
            turn.must_commit = true;
        } else if is_resumed && self.version >= Version::V5 {
            // Its client hears that, and takes the identifier for another one.
            drop(self.session.received.lock().remove(packet_id));
            let key = keys::received(self.session.number, packet_id);
            turn.batch.delete(&key);
            turn.must_commit = true;
        }
        // What becomes of an exchange is told by its own receipt.
        let print = published.refused.map(|_| print);
        self.acknowledge(Kind::Rec, (packet_id, print), published, turn)
    }

    /// The topic that an alias stands for `[MQTT-3.3.2-12]`.
    fn resolve(&mut self, publish: &Publish<'_>) -> Result<Option<Arc<str>>, End> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(None);
        };
        let maximum = self.broker.config.limits.topic_alias_maximum;
        if alias.get() > maximum {
            return Err(End::refused(
                Reason::TopicAliasInvalid, // [MQTT-3.3.2-9]
                format!("topic alias {alias} is above the maximum of {maximum}"),
            ));
        }
        let at = usize::from(alias.get()) - 1;
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        if !publish.topic.is_empty() {
            if self.aliases[at].as_deref() != Some(publish.topic) {
                self.aliases[at] = Some(publish.topic.into());
            }
            return Ok(None);
        }
        match &self.aliases[at] {
            Some(topic) => Ok(Some(topic.clone())),
            None => Err(End::refused(
                Reason::ProtocolError,
                format!("topic alias {alias} has not been given a topic"),
            )),
        }
    }

    /// Refuses more unacknowledged publishes than the Receive Maximum `[MQTT-3.3.4-9]`. Before
    /// 5.0 a client cannot know it; it has 65,535 packet identifiers, and no more than that.
    fn check_quota(&self, is_exactly_once: bool) -> Result<(), End> {
        if self.version < Version::V5 {
            return Ok(());
        }
        let released = self
            .session
            .released
            .load(std::sync::atomic::Ordering::Acquire);
        let mut n_open = self.n_deferred - released;
        if is_exactly_once || n_open > 0 {
            n_open += self.session.received.lock().len() as u64;
        }
        let maximum = self.broker.config.limits.receive_maximum;
        if n_open < u64::from(maximum) {
            return Ok(());
        }
        Err(End::refused(
            Reason::ReceiveMaximumExceeded,
            format!("more than {maximum} publishes without acknowledgement"),
        ))
    }

    fn route(&mut self, publish: &Publish<'_>, topic: &str, turn: &mut Turn<'_>) -> Published {
        let published = self.route_allowed(publish, topic, turn);
        if self.held.is_none() {
            self.capture_publish(publish, topic, &published);
        }
        published
    }

    fn route_allowed(
        &mut self,
        publish: &Publish<'_>,
        topic: &str,
        turn: &mut Turn<'_>,
    ) -> Published {
        if is_reserved(topic) || !self.session.may_publish(topic) {
            turn.tally.publishes_denied += 1;
            return Published {
                is_matched: false,
                refused: Some(Reason::NotAuthorized),
            };
        }
        let broker = turn.broker;
        let plan = match self.plan.take() {
            Some(plan) if plan.topic() == topic && broker.table.is_current(&plan) => plan,
            _ => broker.table.plan(topic),
        };
        let is_plain = publish.qos > Qos::AtMostOnce && turn.exchange.is_none();
        // Routed as soon as it is kept.
        let is_late = is_plain && publish.retain && broker.store.redis().is_some();
        if is_plain && self.is_behind_moved(turn) || is_late && self.is_behind_unsettled() {
            self.held = Some(Hold::Order);
            turn.tally.published -= 1;
            self.plan = Some(plan).filter(|plan| plan.is_worth_keeping());
            return Published::default();
        }
        if is_plain && !is_late {
            self.at_once.note(self.n_tickets);
        }
        let client_id = &self.session.client_id;
        let mut span = trace::begin(&broker.config.tracer, publish, topic, client_id);
        let parent = span.as_ref().map(Span::parent);
        let mut scratch = Vec::new();
        let longest = turn.settings.message_expiry;
        let expiry = match (publish.properties.message_expiry, longest) {
            (None, 0) => None,
            (None, longest) => Some(longest),
            (Some(expiry), 0) => Some(expiry),
            (Some(expiry), longest) => Some(expiry.min(longest)),
        };
        let mut properties = mqtt::forwardable(publish.properties.block, &mut scratch);
        let injected;
        if let Some(parent) = parent.as_ref().filter(|_| broker.config.tracer.injects()) {
            injected = trace::inject(properties, parent);
            properties = &injected;
        }
        let message = MessageRef {
            publisher: self.session.number,
            qos: publish.qos,
            retain: publish.retain,
            expires_at: expiry.map_or(u64::MAX, |expiry| turn.now + u64::from(expiry) * 1000),
            topic,
            properties,
            payload: publish.payload,
            trace: parent.as_ref(),
        };
        turn.has_publisher = publish.qos > Qos::AtMostOnce;
        if turn.exchange.is_some() || (publish.retain && broker.store.redis().is_some()) {
            turn.publisher = Some(self.session.clone());
        }
        let published = turn.publish(message, &plan, Author::of(&self.session));
        turn.has_publisher = false;
        turn.publisher = None;
        if let (Some(span), Some(reason)) = (&mut span, published.refused) {
            span.fail(reason.to_string());
        }
        turn.spans.extend(span);
        self.plan = Some(plan).filter(|plan| plan.is_worth_keeping());
        published
    }

    fn acknowledge(
        &mut self,
        kind: Kind,
        (packet_id, print): (NonZeroU16, Option<Print>),
        published: Published,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let reason = match published.refused {
            None if published.is_matched => Reason::Success,
            None => Reason::NoMatchingSubscribers,
            Some(Reason::NotAuthorized) if self.version < Version::V5 => Reason::Success,
            Some(reason) if self.version < Version::V5 => {
                // There is no way to say no but this one [MQTT-3.3.5-2].
                return Err(End::refused(reason, "a publish could not be taken"));
            }
            Some(reason) => {
                if let Some(print) = print {
                    self.session.refuse(packet_id, print, reason);
                }
                reason
            }
        };
        // Decided once: what this depends on may change at any moment.
        let is_deferred = self.is_deferred(turn);
        if is_deferred {
            // From 5.0 on the quota counts those of QoS 2 as the client does, up to PUBCOMP.
            let counts = kind == Kind::Ack || self.version < Version::V5;
            self.n_deferred += u64::from(counts);
            self.turn_deferred += u64::from(counts);
        }
        let text = match reason {
            Reason::NotAuthorized => Some("clients may not publish to this topic"),
            Reason::QuotaExceeded => Some("a quota is used up: the message was not taken"),
            _ => None,
        };
        let version = self.version;
        let packets = turn.packets(is_deferred);
        let start = packets.len();
        match text.filter(|text| self.has_room(text)) {
            Some(text) => acks::write_explained(packets, kind, packet_id, reason, text),
            None => acks::write(packets, kind, packet_id, reason, version),
        }
        let end = packets.len();
        let subject = Subject::Publish {
            kind,
            packet_id,
            print,
        };
        turn.mark_packet(start, end, subject);
        Ok(())
    }

    /// PUBREL: the exchange is over, and its identifier is free once that is safe.
    pub(super) fn handle_pubrel(&mut self, ack: &Ack<'_>, turn: &mut Turn<'_>) -> Result<(), End> {
        self.capture_ack("pubrel", ack);
        let (is_known, waiting) = self.session.received.lock().remove(ack.packet_id);
        turn.legs.extend(waiting); // of a client that did not wait for the PUBREC itself
        if is_known && self.is_stored() {
            turn.batch
                .delete(&keys::received(self.session.number, ack.packet_id));
            turn.must_commit = true;
        }
        let reason = if is_known {
            Reason::Success
        } else {
            Reason::PacketIdentifierNotFound
        };
        let version = self.version;
        acks::write(self.reply(turn), Kind::Comp, ack.packet_id, reason, version);
        Ok(())
    }

    fn is_stored(&self) -> bool {
        self.session.outbound.lock().is_stored()
    }
}

/// Whether a topic belongs to the broker.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$')
        && ["$SYS", "$share", "$CONTROL", bridges::GROUP]
            .iter()
            .any(|root| {
                topic
                    .strip_prefix(root)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
}
