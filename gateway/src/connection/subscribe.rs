//! SUBSCRIBE and UNSUBSCRIBE.

use super::Connection;
use crate::auth::rules::Action;
use crate::config::Limits;
use crate::connection::replay::Replaying;
use crate::metrics::Limit;
use crate::proto::cluster::bridges;
use crate::proto::cluster::peer::event::Kind;
use crate::proto::mqtt::{
    self, Packet, Qos, Reason, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, UserProperties, Version,
};
use crate::proto::topic::Filter;
use crate::session::{Asked, End, Subscribed};
use crate::store::{keys, record};
use crate::turn::Turn;

impl Connection {
    /// SUBSCRIBE. When SUBACK leaves, every later publish reaches the client, and a stored
    /// session has the subscription on disk.
    pub(super) fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        if subscribe.subscription_id.is_some()
            && !turn.broker.config.limits.subscription_ids_available
        {
            return Err(End::refused(
                Reason::SubscriptionIdentifiersNotSupported,
                "a Subscription Identifier although the CONNACK says that there are none",
            ));
        }
        self.check_answer(subscribe.filters.len())?;
        let id = subscribe.subscription_id.unwrap_or(0);
        // All are looked at before any is done: what ends the connection must not be half done.
        let limits = &turn.broker.config.limits;
        let parsed = subscribe.filters.iter().map(|wanted| {
            let filter = self.parse(wanted.filter, limits)?;
            if filter.is_ok_and(|filter| filter.share.is_some()) && wanted.options.no_local {
                return Err(End::refused(
                    Reason::ProtocolError, // [MQTT-3.8.3-4]
                    "No Local on a shared subscription",
                ));
            }
            Ok(filter)
        });
        let parsed = parsed.collect::<Result<Vec<_>, End>>()?;
        let first_mark = turn.marks.len();
        let asked = subscribe.filters.iter().zip(parsed).enumerate();
        let reasons = asked.map(|(at, (wanted, filter))| match filter {
            Ok(filter) => self.subscribe(at, wanted, &filter, id, turn),
            Err(reason) => reason,
        });
        let reasons: Vec<Reason> = reasons.collect();
        let texts = subscribe.filters.iter().map(|wanted| wanted.filter);
        self.tell_of_filters(Kind::Subscribe, texts, &reasons, turn);
        let wanted = subscribe.filters.iter();
        let wanted = wanted.map(|wanted| (wanted.filter, Some(wanted.options.qos as u8)));
        self.capture_filters("subscribe", subscribe.packet_id, wanted, &reasons);
        let packet = Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id, // [MQTT-3.8.4-2]
            reason_string: None,
            user_properties: UserProperties::default(),
            reasons,
        });
        let version = self.version;
        let out = self.reply(turn);
        mqtt::encode(&packet, version, out);
        let reasons_start = out.len() - subscribe.filters.len();
        for mark in &mut turn.marks[first_mark..] {
            mark.start += reasons_start;
            mark.end += reasons_start;
        }
        if !self.replays.is_empty() {
            // After the SUBACK where that goes out now, and before whatever else this turn
            // has for the client.
            self.hand_over_replies(turn);
            self.begin_replays(turn);
        }
        Ok(())
    }

    /// Whether the client takes a SUBACK or UNSUBACK with a reason for each filter
    /// `[MQTT-3.1.2-24]`; if not, nothing of what it asks is done.
    fn check_answer(&self, n_filters: usize) -> Result<(), End> {
        /// Fixed header, packet identifier and an empty property list, at most.
        const HEAD: usize = 5 + 2 + 1;
        if n_filters.saturating_add(HEAD) <= self.maximum_packet_size {
            return Ok(());
        }
        Err(End::refused(
            Reason::PacketTooLarge,
            "more filters than fit into an answer that the client takes",
        ))
    }

    /// A topic filter, or the reason to refuse it alone. Before 5.0 there is no such reason.
    fn parse<'f>(&self, text: &'f str, limits: &Limits) -> Result<Result<Filter<'f>, Reason>, End> {
        match Filter::parse(text, limits.topics()) {
            Ok(filter) => Ok(Ok(filter)),
            Err(error) if self.version < Version::V5 => {
                let text = format!("topic filter {text:?}: {error}");
                Err(End::refused(Reason::TopicFilterInvalid, text)) // [MQTT-4.7.1-3]
            }
            Err(_) => Ok(Err(Reason::TopicFilterInvalid)),
        }
    }

    /// Subscribes to one filter, the one at `at` of its packet; returns what SUBACK says of it.
    fn subscribe(
        &mut self,
        at: usize,
        wanted: &SubscribeFilter<'_>,
        filter: &Filter<'_>,
        id: u32,
        turn: &mut Turn<'_>,
    ) -> Reason {
        let broker = turn.broker;
        let limits = &broker.config.limits;
        if !self.session.may(Action::Subscribe, filter.filter) {
            turn.tally.subscribes_denied += 1;
            return Reason::NotAuthorized;
        }
        if filter.share.is_some() && !limits.shared_available {
            return Reason::SharedSubscriptionsNotSupported;
        }
        if filter.share.is_some_and(bridges::is_reserved) || bridges::is_hidden(filter.filter) {
            return Reason::TopicFilterInvalid;
        }
        if filter.has_wildcard() && !limits.wildcard_available {
            return Reason::WildcardSubscriptionsNotSupported;
        }
        let mut subscribed = Subscribed {
            qos: wanted.options.qos.min(limits.maximum_qos),
            no_local: wanted.options.no_local,
            retain_as_published: wanted.options.retain_as_published,
            is_owed: false,
            replayed_to: None,
            id,
            asked: None,
        };
        let is_stored = self.session.outbound.lock().is_stored();
        let mut subscriptions = self.session.subscriptions.lock();
        let known = subscriptions.get(wanted.filter);
        let (is_known, was_owed) = (known.is_some(), known.is_some_and(|known| known.is_owed));
        let replayed_to = known.and_then(|known| known.replayed_to.clone());
        let is_short = is_stored && broker.store.is_short();
        if !is_known && is_short {
            return Reason::QuotaExceeded;
        }
        if !is_known && subscriptions.len() >= turn.settings.max_subscriptions {
            broker.metrics.limits_hit.inc(Limit::MaxSubscriptions);
            return Reason::QuotaExceeded;
        }
        let wants_retained = match wanted.options.retain_handling {
            RetainHandling::Send => true,
            // [MQTT-3.3.1-10]; what an earlier connection left unfinished goes on, and so does what
            // this one is in the middle of.
            RetainHandling::SendIfNew => !is_known || self.is_sending(wanted.filter, was_owed),
            RetainHandling::DoNotSend => false,
        };
        let may_replay = wants_retained && filter.share.is_none() && limits.retain_available;
        // What there is in Redis is not known before it is read.
        let may_be_some = broker.store.redis().is_some() || !broker.retained.is_empty();
        subscribed.is_owed =
            may_replay && is_stored && subscribed.qos > Qos::AtMostOnce && may_be_some;
        if wanted.options.retain_handling == RetainHandling::SendIfNew && subscribed.is_owed {
            subscribed.replayed_to = replayed_to; // it goes on
        }
        let last = broker.store.new_number();
        let asked = match known {
            None => Some(Asked { first: last, last }),
            Some(known) => known.asked.map(|asked| Asked { last, ..asked }),
        };
        // In the table, too, before anybody takes the filter out of both.
        let mut awaited = None;
        broker.subscribe(&self.session, wanted.filter, &subscribed, || {
            awaited = asked;
            Some(turn.leg_of_filter(wanted.filter, asked, at))
        });
        subscribed.asked = awaited;
        // A subscription of the same filter is replaced [MQTT-3.8.4-3].
        subscriptions.insert(wanted.filter.into(), subscribed.clone());
        drop(subscriptions);
        if is_stored {
            let key = keys::filter(self.session.number, wanted.filter);
            turn.batch.put(&key, &record::store_subscribed(&subscribed));
            turn.must_commit = true;
        }
        // Begun when the subscription is in the table, so that nothing falls in between; one a
        // filter, however often the client asks.
        if may_replay && let Some(replaying) = Replaying::begin(broker, wanted.filter, &subscribed)
        {
            self.replays.insert(wanted.filter.into(), replaying);
        } else if !may_replay {
            self.drop_replay(wanted.filter); // its terms are replaced as well
        }
        match subscribed.qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => Reason::GrantedQos1,
            Qos::ExactlyOnce => Reason::GrantedQos2,
        }
    }

    /// UNSUBSCRIBE.
    pub(super) fn handle_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let broker = turn.broker;
        self.check_answer(unsubscribe.filters.len())?;
        let limits = &broker.config.limits;
        let parsed = unsubscribe.filters.iter();
        let parsed = parsed.map(|text| self.parse(text, limits));
        let parsed = parsed.collect::<Result<Vec<_>, End>>()?;
        let asked = unsubscribe.filters.iter().zip(parsed);
        let reasons = asked.map(|(text, filter)| match filter {
            Ok(_) => self.unsubscribe(text, turn),
            Err(reason) => reason,
        });
        let reasons: Vec<Reason> = reasons.collect();
        let texts = unsubscribe.filters.iter().copied();
        self.tell_of_filters(Kind::Unsubscribe, texts, &reasons, turn);
        let texts = unsubscribe.filters.iter().map(|text| (*text, None));
        self.capture_filters("unsubscribe", unsubscribe.packet_id, texts, &reasons);
        let packet = Packet::UnsubAck(UnsubAck {
            packet_id: unsubscribe.packet_id,
            reason_string: None,
            user_properties: UserProperties::default(),
            reasons,
        });
        let version = self.version;
        mqtt::encode(&packet, version, self.reply(turn));
        Ok(())
    }

    /// Unsubscribes from one filter; returns what UNSUBACK says of it.
    fn unsubscribe(&mut self, text: &str, turn: &mut Turn<'_>) -> Reason {
        self.drop_replay(text);
        match turn.unsubscribe(&self.session, text) {
            true => Reason::Success,
            false => Reason::NoSubscriptionExisted,
        }
    }
}
