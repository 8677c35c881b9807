//! Any valid packet of MQTT 5.0, and what is left of it in an earlier version. Texts are leaked:
//! that lets packets, which borrow, be put together like any other value.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::super::*;

pub(in crate::mqtt) fn packet() -> impl Strategy<Value = Packet<'static>> {
    prop_oneof![
        connect().prop_map(|connect| Packet::Connect(Box::new(connect))),
        connack().prop_map(|connack| Packet::ConnAck(Box::new(connack))),
        publish().prop_map(Packet::Publish),
        ack(&[
            Reason::Success,
            Reason::NoMatchingSubscribers,
            Reason::QuotaExceeded
        ])
        .prop_map(Packet::PubAck),
        ack(&[
            Reason::Success,
            Reason::PacketIdentifierInUse,
            Reason::PayloadFormatInvalid
        ])
        .prop_map(Packet::PubRec),
        ack(&[Reason::Success, Reason::PacketIdentifierNotFound]).prop_map(Packet::PubRel),
        ack(&[Reason::Success, Reason::PacketIdentifierNotFound]).prop_map(Packet::PubComp),
        subscribe().prop_map(Packet::Subscribe),
        suback().prop_map(Packet::SubAck),
        unsubscribe().prop_map(Packet::Unsubscribe),
        unsuback().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        disconnect().prop_map(Packet::Disconnect),
        auth().prop_map(Packet::Auth),
    ]
}

/// What an earlier version keeps of a packet; `None` if it does not have the packet.
pub(in crate::mqtt) fn lowered(
    packet: Packet<'static>,
    version: Version,
) -> Option<Packet<'static>> {
    let none = UserProperties::default();
    Some(match packet {
        Packet::Connect(connect) => Packet::Connect(Box::new(lowered_connect(&connect, version)?)),
        Packet::ConnAck(connack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: connack.session_present && version > Version::V31,
            ..ConnAck::new(Reason::from_connack_return_code(
                connack.reason.connack_return_code(),
            )?)
        })),
        Packet::Publish(publish) if publish.topic.is_empty() => return None,
        Packet::Publish(publish) => Packet::Publish(Publish {
            properties: PublishProperties::default(),
            ..publish
        }),
        Packet::PubAck(ack) => Packet::PubAck(lowered_ack(ack)),
        Packet::PubRec(ack) => Packet::PubRec(lowered_ack(ack)),
        Packet::PubRel(ack) => Packet::PubRel(lowered_ack(ack)),
        Packet::PubComp(ack) => Packet::PubComp(lowered_ack(ack)),
        Packet::Subscribe(mut subscribe) => {
            for filter in &mut subscribe.filters {
                filter.options = SubscriptionOptions {
                    qos: filter.options.qos,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                };
            }
            Packet::Subscribe(Subscribe {
                subscription_id: None,
                user_properties: none,
                ..subscribe
            })
        }
        Packet::SubAck(mut suback) => {
            for reason in suback.reasons.iter_mut().filter(|reason| reason.is_error()) {
                *reason = Reason::UnspecifiedError;
            }
            Packet::SubAck(SubAck {
                reason_string: None,
                user_properties: none,
                ..suback
            })
        }
        Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            user_properties: none,
            ..unsubscribe
        }),
        Packet::UnsubAck(UnsubAck { packet_id, .. }) => Packet::UnsubAck(UnsubAck {
            packet_id,
            reason_string: None,
            user_properties: none,
            reasons: Vec::new(),
        }),
        Packet::Disconnect(_) => Packet::Disconnect(Disconnect {
            reason: Reason::Success,
            session_expiry: None,
            reason_string: None,
            user_properties: none,
            server_reference: None,
        }),
        Packet::Auth(_) => return None,
        packet @ (Packet::PingReq | Packet::PingResp) => packet,
    })
}

fn lowered_connect(connect: &Connect<'static>, version: Version) -> Option<Connect<'static>> {
    if connect.login.username.is_none() && connect.login.password.is_some() {
        return None;
    }
    Some(Connect {
        version,
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        will: connect.will.clone().map(|will| Will {
            delay: 0,
            properties: PublishProperties::default(),
            ..will
        }),
        login: connect.login,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: UserProperties::default(),
    })
}

fn lowered_ack(ack: Ack<'static>) -> Ack<'static> {
    Ack {
        packet_id: ack.packet_id,
        reason: Reason::Success,
        reason_string: None,
        user_properties: UserProperties::default(),
    }
}

/// Any text but U+0000; now and then one whose length takes a packet over the first byte or two
/// of a variable byte integer.
fn text() -> impl Strategy<Value = &'static str> {
    let long = select(&[100_usize, 128, 16_384, 65_535][..]).prop_map(|length| "x".repeat(length));
    prop_oneof![20 => "[^\0]{0,8}", 1 => long].prop_map(|text| &*text.leak())
}

fn label() -> impl Strategy<Value = &'static str> {
    "[ -~\u{e4}\u{1f980}]{0,8}".prop_map(|text| &*text.leak())
}

fn topic() -> impl Strategy<Value = &'static str> {
    "[a-z$ \u{e4}]{1,3}(/[a-z]{0,3}){0,4}".prop_map(|text| &*text.leak())
}

fn data() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..12).prop_map(|data| &*data.leak())
}

fn user_properties() -> impl Strategy<Value = UserProperties<'static>> {
    vec((text(), text()), 0..3).prop_map(|pairs| {
        let mut properties = UserPropertiesBuf::new();
        for (name, value) in pairs {
            properties.push(name, value).expect("fits");
        }
        let properties: &'static UserPropertiesBuf = Box::leak(Box::new(properties));
        properties.as_ref()
    })
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..])
}

fn subscription_id() -> impl Strategy<Value = u32> {
    prop_oneof![1..300_u32, 1..=MAX_REMAINING_LENGTH]
}

prop_compose! {
    fn message_properties()(
        payload_is_utf8 in any::<Option<bool>>(),
        message_expiry in any::<Option<u32>>(),
        response_topic in option::of(topic()),
        correlation_data in option::of(data()),
        content_type in option::of(text()),
        user_properties in user_properties(),
    ) -> PublishProperties<'static> {
        PublishProperties {
            payload_is_utf8,
            message_expiry,
            response_topic,
            correlation_data,
            content_type,
            user_properties,
            ..PublishProperties::default()
        }
    }
}

prop_compose! {
    pub(in crate::mqtt) fn publish()(
        (dup, retain, has_topic) in any::<(bool, bool, bool)>(),
        qos in qos(),
        topic in topic(),
        packet_id in packet_id(),
        payload in data(),
        properties in message_properties(),
        topic_alias in any::<Option<PacketId>>(),
        ids in vec(subscription_id(), 0..3),
    ) -> Publish<'static> {
        let subscription_ids = SubscriptionIds::encode(ids, Box::leak(Box::default()));
        Publish {
            dup: dup && qos > Qos::AtMostOnce,
            qos,
            retain,
            topic: if has_topic || topic_alias.is_none() { topic } else { "" },
            packet_id: (qos > Qos::AtMostOnce).then_some(packet_id),
            properties: PublishProperties { topic_alias, subscription_ids, ..properties },
            payload,
        }
    }
}

prop_compose! {
    fn will()(
        topic in topic(),
        payload in data(),
        qos in qos(),
        retain: bool,
        delay: u32,
        properties in message_properties(),
    ) -> Will<'static> {
        Will { topic, payload, qos, retain, delay, properties }
    }
}

prop_compose! {
    fn connect()(
        (clean_start, keep_alive) in any::<(bool, u16)>(),
        client_id in label(),
        will in option::of(will()),
        username in option::of(label()),
        password in option::of(data()),
        (session_expiry, receive_maximum) in any::<(Option<u32>, Option<PacketId>)>(),
        maximum_packet_size in option::of(1..=u32::MAX),
        topic_alias_maximum: u16,
        (request_response_information, request_problem_information) in any::<(bool, bool)>(),
        authentication in option::of((text(), option::of(data()))),
        user_properties in user_properties(),
    ) -> Connect<'static> {
        Connect {
            version: Version::V5,
            clean_start,
            keep_alive,
            client_id,
            will,
            login: Login { username, password },
            session_expiry,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            request_response_information,
            request_problem_information,
            authentication_method: authentication.map(|(method, _)| method),
            authentication_data: authentication.and_then(|(_, data)| data),
            user_properties,
        }
    }
}

prop_compose! {
    fn connack()(
        (session_present, topic_alias_maximum) in any::<(bool, u16)>(),
        reason in select(&[
            Reason::Success,
            Reason::ClientIdentifierNotValid,
            Reason::NotAuthorized,
            Reason::ServerMoved,
        ][..]),
        (session_expiry, receive_maximum) in any::<(Option<u32>, Option<PacketId>)>(),
        (retain_available, wildcard_available) in any::<(Option<bool>, Option<bool>)>(),
        (subscription_ids_available, shared_available) in any::<(Option<bool>, Option<bool>)>(),
        maximum_qos in option::of(select(&[Qos::AtMostOnce, Qos::AtLeastOnce][..])),
        maximum_packet_size in option::of(1..=u32::MAX),
        texts in [option::of(text()), option::of(text()), option::of(text()), option::of(text())],
        authentication_method in option::of(text()),
        authentication_data in option::of(data()),
        (server_keep_alive, user_properties) in (any::<Option<u16>>(), user_properties()),
    ) -> ConnAck<'static> {
        let [assigned_client_id, reason_string, response_information, server_reference] = texts;
        ConnAck {
            session_present: session_present && reason == Reason::Success,
            reason,
            session_expiry,
            receive_maximum,
            maximum_qos,
            retain_available,
            maximum_packet_size,
            assigned_client_id,
            topic_alias_maximum,
            reason_string,
            user_properties,
            wildcard_available,
            subscription_ids_available,
            shared_available,
            server_keep_alive,
            response_information,
            server_reference,
            authentication_method,
            authentication_data,
        }
    }
}

prop_compose! {
    fn ack(reasons: &'static [Reason])(
        packet_id in packet_id(),
        reason in select(reasons),
        reason_string in option::of(text()),
        user_properties in user_properties(),
    ) -> Ack<'static> {
        Ack { packet_id, reason, reason_string, user_properties }
    }
}

prop_compose! {
    fn subscribe_filter()(
        filter in text(),
        qos in qos(),
        (no_local, retain_as_published) in any::<(bool, bool)>(),
        retain_handling in select(&[
            RetainHandling::Send,
            RetainHandling::SendIfNew,
            RetainHandling::DoNotSend,
        ][..]),
    ) -> SubscribeFilter<'static> {
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        SubscribeFilter { filter, options }
    }
}

prop_compose! {
    fn subscribe()(
        packet_id in packet_id(),
        subscription_id in option::of(subscription_id()),
        user_properties in user_properties(),
        filters in vec(subscribe_filter(), 1..4),
    ) -> Subscribe<'static> {
        Subscribe { packet_id, subscription_id, user_properties, filters }
    }
}

prop_compose! {
    fn suback()(
        packet_id in packet_id(),
        reason_string in option::of(text()),
        user_properties in user_properties(),
        reasons in vec(select(&[
            Reason::Success,
            Reason::GrantedQos1,
            Reason::GrantedQos2,
            Reason::UnspecifiedError,
            Reason::TopicFilterInvalid,
        ][..]), 1..4),
    ) -> SubAck<'static> {
        SubAck { packet_id, reason_string, user_properties, reasons }
    }
}

prop_compose! {
    fn unsubscribe()(
        packet_id in packet_id(),
        user_properties in user_properties(),
        filters in vec(text(), 1..4),
    ) -> Unsubscribe<'static> {
        Unsubscribe { packet_id, user_properties, filters }
    }
}

prop_compose! {
    fn unsuback()(
        packet_id in packet_id(),
        reason_string in option::of(text()),
        user_properties in user_properties(),
        reasons in vec(select(&[
            Reason::Success,
            Reason::NoSubscriptionExisted,
            Reason::NotAuthorized,
        ][..]), 1..4),
    ) -> UnsubAck<'static> {
        UnsubAck { packet_id, reason_string, user_properties, reasons }
    }
}

prop_compose! {
    fn disconnect()(
        reason in select(&[
            Reason::Success,
            Reason::DisconnectWithWill,
            Reason::SessionTakenOver,
            Reason::WildcardSubscriptionsNotSupported,
        ][..]),
        session_expiry in any::<Option<u32>>(),
        reason_string in option::of(text()),
        user_properties in user_properties(),
        server_reference in option::of(text()),
    ) -> Disconnect<'static> {
        Disconnect { reason, session_expiry, reason_string, user_properties, server_reference }
    }
}

prop_compose! {
    fn auth()(
        reason in select(&[
            Reason::Success,
            Reason::ContinueAuthentication,
            Reason::ReAuthenticate,
        ][..]),
        authentication_method in text(),
        authentication_data in option::of(data()),
        reason_string in option::of(text()),
        user_properties in user_properties(),
    ) -> Auth<'static> {
        Auth {
            reason,
            authentication_method: Some(authentication_method),
            authentication_data,
            reason_string,
            user_properties,
        }
    }
}
