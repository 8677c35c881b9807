//! Any packet of 5.0 that both sides can hold; below 5.0 the encoder leaves out what is not there.
//!
//! Packets borrow, so texts are leaked: a test run leaks little, and the generators stay simple.

use gatemq_proto::mqtt::{
    Ack, Auth, ConnAck, Connect, Disconnect, Login, Packet, PacketId, Publish, PublishProperties,
    Qos, Reason, RetainHandling, SubAck, Subscribe, SubscribeFilter, SubscriptionIds,
    SubscriptionOptions, UnsubAck, Unsubscribe, UserProperties, UserPropertiesBuf, Version, Will,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Any packet.
pub(super) fn packet() -> BoxedStrategy<Packet<'static>> {
    use Reason as R;
    let acks = &[
        R::Success,
        R::NoMatchingSubscribers,
        R::UnspecifiedError,
        R::ImplementationSpecificError,
        R::NotAuthorized,
        R::TopicNameInvalid,
        R::PacketIdentifierInUse,
        R::QuotaExceeded,
        R::PayloadFormatInvalid,
    ];
    let ends = &[R::Success, R::PacketIdentifierNotFound];
    prop_oneof![
        3 => connect().prop_map(|found| Packet::Connect(Box::new(found))),
        2 => connack().prop_map(|found| Packet::ConnAck(Box::new(found))),
        4 => publish().prop_map(Packet::Publish),
        1 => ack(acks).prop_map(Packet::PubAck),
        1 => ack(acks).prop_map(Packet::PubRec),
        1 => ack(ends).prop_map(Packet::PubRel),
        1 => ack(ends).prop_map(Packet::PubComp),
        2 => subscribe().prop_map(Packet::Subscribe),
        2 => suback().prop_map(Packet::SubAck),
        2 => unsubscribe().prop_map(Packet::Unsubscribe),
        2 => unsuback().prop_map(Packet::UnsubAck),
        1 => prop_oneof![Just(Packet::PingReq), Just(Packet::PingResp)],
        2 => disconnect().prop_map(Packet::Disconnect),
        1 => auth().prop_map(Packet::Auth),
    ]
    .boxed()
}

/// Text; now and then one that takes lengths over one byte, or two.
fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        20 => "[^\0]{1,8}",
        1 => select(&[127_usize, 128, 16_384][..]).prop_map(|length| "x".repeat(length)),
    ]
    .prop_map(|text| &*text.leak())
}

fn topic() -> impl Strategy<Value = &'static str> {
    "[a-z$ \u{e4}]{1,3}(/[a-z]{0,3}){0,4}".prop_map(|text| &*text.leak())
}

fn filter() -> impl Strategy<Value = &'static str> {
    "([a-z\u{e4}]{1,3}|[+])(/([a-z]{0,3}|[+])){0,4}(/#)?".prop_map(|text| &*text.leak())
}

fn label() -> impl Strategy<Value = &'static str> {
    "[!-~\u{e4}\u{1f980}]{1,8}".prop_map(|text| &*text.leak())
}

fn data() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        20 => vec(any::<u8>(), 1..12),
        1 => select(&[127_usize, 128, 16_384]).prop_map(|length| vec![7; length]),
    ]
    .prop_map(|data| &*data.leak())
}

fn id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn users() -> impl Strategy<Value = UserProperties<'static>> {
    vec((text(), text()), 0..3).prop_map(|pairs| {
        let mut properties = UserPropertiesBuf::new();
        for (name, value) in pairs {
            properties.push(name, value).expect("it fits");
        }
        let properties: &'static UserPropertiesBuf = Box::leak(Box::new(properties));
        properties.as_ref()
    })
}

prop_compose! {
    fn message_properties()(
        payload_is_utf8: Option<bool>,
        message_expiry: Option<u32>,
        response_topic in option::of(topic()),
        correlation_data in option::of(data()),
        content_type in option::of(text()),
        user_properties in users(),
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
    fn publish()(
        (dup, retain) in any::<(bool, bool)>(),
        qos in qos(),
        topic in topic(),
        packet_id in id(),
        payload in data(),
        properties in message_properties(),
        topic_alias in option::of(id()),
        subscription_ids in vec(1..=268_435_455_u32, 0..3),
    ) -> Publish<'static> {
        let subscription_ids = SubscriptionIds::encode(subscription_ids, Box::leak(Box::default()));
        Publish {
            dup: dup && qos > Qos::AtMostOnce,
            qos,
            retain,
            topic,
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
        // Theirs cannot hold one without the other.
        login in option::of((label(), label())),
        session_expiry: Option<u32>,
        receive_maximum in option::of(id()),
        maximum_packet_size in option::of(1..=u32::MAX),
        topic_alias_maximum: u16,
        (request_response_information, request_problem_information) in any::<(bool, bool)>(),
        authentication in option::of((text(), option::of(data()))),
        user_properties in users(),
    ) -> Connect<'static> {
        Connect {
            version: Version::V5,
            clean_start,
            keep_alive,
            client_id,
            will,
            login: Login {
                username: login.map(|(username, _)| username),
                password: login.map(|(_, password)| password.as_bytes()),
            },
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

/// What a CONNACK can say.
const ANSWERS: &[Reason] = &[
    Reason::Success,
    Reason::UnspecifiedError,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecificError,
    Reason::UnsupportedProtocolVersion,
    Reason::ClientIdentifierNotValid,
    Reason::BadUserNameOrPassword,
    Reason::NotAuthorized,
    Reason::ServerUnavailable,
    Reason::ServerBusy,
    Reason::Banned,
    Reason::BadAuthenticationMethod,
    Reason::TopicNameInvalid,
    Reason::PacketTooLarge,
    Reason::QuotaExceeded,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::ConnectionRateExceeded,
];

prop_compose! {
    fn connack()(
        (session_present, topic_alias_maximum) in any::<(bool, u16)>(),
        reason in select(ANSWERS),
        session_expiry: Option<u32>,
        receive_maximum in option::of(id()),
        (retain_available, wildcard_available) in any::<(Option<bool>, Option<bool>)>(),
        (subscription_ids_available, shared_available) in any::<(Option<bool>, Option<bool>)>(),
        maximum_qos in option::of(select(&[Qos::AtMostOnce, Qos::AtLeastOnce])),
        maximum_packet_size in option::of(1..=u32::MAX),
        texts in [option::of(text()), option::of(text()), option::of(text()), option::of(text())],
        authentication in option::of((text(), option::of(data()))),
        (server_keep_alive, user_properties) in (any::<Option<u16>>(), users()),
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
            authentication_method: authentication.map(|(method, _)| method),
            authentication_data: authentication.and_then(|(_, data)| data),
        }
    }
}

prop_compose! {
    fn ack(reasons: &'static [Reason])(
        packet_id in id(),
        reason in select(reasons),
        reason_string in option::of(text()),
        user_properties in users(),
    ) -> Ack<'static> {
        Ack { packet_id, reason, reason_string, user_properties }
    }
}

prop_compose! {
    fn subscribe()(
        packet_id in id(),
        subscription_id in option::of(1..=268_435_455_u32),
        user_properties in users(),
        filters in vec((
            filter(),
            qos(),
            any::<(bool, bool)>(),
            select(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]),
        ), 1..4),
    ) -> Subscribe<'static> {
        let filters = filters.into_iter().map(
            |(filter, qos, (no_local, retain_as_published), retain_handling)| SubscribeFilter {
                filter,
                options: SubscriptionOptions {
                    qos,
                    no_local,
                    retain_as_published,
                    retain_handling,
                },
            },
        );
        Subscribe { packet_id, subscription_id, user_properties, filters: filters.collect() }
    }
}

prop_compose! {
    fn suback()(
        packet_id in id(),
        reason_string in option::of(text()),
        user_properties in users(),
        reasons in vec(select(&[
            Reason::Success,
            Reason::GrantedQos1,
            Reason::GrantedQos2,
            Reason::UnspecifiedError,
            Reason::ImplementationSpecificError,
            Reason::NotAuthorized,
            Reason::TopicFilterInvalid,
            Reason::PacketIdentifierInUse,
            Reason::QuotaExceeded,
            Reason::SharedSubscriptionsNotSupported,
            Reason::SubscriptionIdentifiersNotSupported,
            Reason::WildcardSubscriptionsNotSupported,
        ]), 1..4),
    ) -> SubAck<'static> {
        SubAck { packet_id, reason_string, user_properties, reasons }
    }
}

prop_compose! {
    fn unsubscribe()(
        packet_id in id(),
        user_properties in users(),
        filters in vec(filter(), 1..4),
    ) -> Unsubscribe<'static> {
        Unsubscribe { packet_id, user_properties, filters }
    }
}

prop_compose! {
    fn unsuback()(
        packet_id in id(),
        reason_string in option::of(text()),
        user_properties in users(),
        reasons in vec(select(&[
            Reason::Success,
            Reason::NoSubscriptionExisted,
            Reason::UnspecifiedError,
            Reason::ImplementationSpecificError,
            Reason::NotAuthorized,
            Reason::TopicFilterInvalid,
            Reason::PacketIdentifierInUse,
        ]), 1..4),
    ) -> UnsubAck<'static> {
        UnsubAck { packet_id, reason_string, user_properties, reasons }
    }
}

/// What a DISCONNECT can say.
const ENDS: &[Reason] = &[
    Reason::Success,
    Reason::DisconnectWithWill,
    Reason::UnspecifiedError,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecificError,
    Reason::NotAuthorized,
    Reason::ServerBusy,
    Reason::ServerShuttingDown,
    Reason::KeepAliveTimeout,
    Reason::SessionTakenOver,
    Reason::TopicFilterInvalid,
    Reason::TopicNameInvalid,
    Reason::ReceiveMaximumExceeded,
    Reason::TopicAliasInvalid,
    Reason::PacketTooLarge,
    Reason::MessageRateTooHigh,
    Reason::QuotaExceeded,
    Reason::AdministrativeAction,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::SharedSubscriptionsNotSupported,
    Reason::ConnectionRateExceeded,
    Reason::MaximumConnectTime,
    Reason::SubscriptionIdentifiersNotSupported,
    Reason::WildcardSubscriptionsNotSupported,
];

prop_compose! {
    fn disconnect()(
        reason in select(ENDS),
        session_expiry: Option<u32>,
        reason_string in option::of(text()),
        user_properties in users(),
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
        ]),
        authentication_method in text(),
        authentication_data in option::of(data()),
        reason_string in option::of(text()),
        user_properties in users(),
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
