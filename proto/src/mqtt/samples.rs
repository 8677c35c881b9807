//! Packets and their exact bytes, for the tests of decoding and encoding.

pub(super) mod any;

use std::num::NonZeroU16;

use super::*;

/// A packet in both forms. The bytes are those that encoding gives.
pub(super) struct Sample {
    pub(super) version: Version,
    pub(super) bytes: &'static [u8],
    pub(super) packet: Packet<'static>,
}

/// At least one packet of each kind in each version, bare and with all it may have.
pub(super) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |version, bytes, packet| {
        samples.push(Sample {
            version,
            bytes,
            packet,
        })
    };
    connects(&mut add);
    connacks(&mut add);
    publishes(&mut add);
    acks(&mut add);
    subscribes(&mut add);
    leaves(&mut add);
    samples
}

type Add<'a> = &'a mut dyn FnMut(Version, &'static [u8], Packet<'static>);

/// Encoded property lists carry their own block, which encoding does not look at.
pub(super) fn without_blocks(mut packet: Packet<'_>) -> Packet<'_> {
    match &mut packet {
        Packet::Publish(publish) => publish.properties.block = &[],
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                will.properties.block = &[];
            }
        }
        _ => {}
    }
    packet
}

pub(super) fn id(id: u16) -> PacketId {
    NonZeroU16::new(id).expect("not zero")
}

const USER: &[u8] = b"\x26\0\x01k\0\x01v";

fn user() -> UserProperties<'static> {
    UserProperties::from_block(USER).expect("valid")
}

fn bare_connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: "c",
        will: None,
        login: Login::default(),
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: UserProperties::default(),
    }
}

fn connects(add: Add<'_>) {
    let connect = |connect| Packet::Connect(Box::new(connect));
    add(
        Version::V31,
        b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c",
        connect(bare_connect(Version::V31)),
    );
    add(
        Version::V311,
        b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c",
        connect(bare_connect(Version::V311)),
    );
    add(
        Version::V5,
        b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c",
        connect(bare_connect(Version::V5)),
    );
    add(
        Version::V311,
        b"\x10\x1A\0\x04MQTT\x04\xEC\0\x3C\0\x01c\0\x01t\0\x02hi\0\x01u\0\x01p",
        connect(Connect {
            clean_start: false,
            will: Some(Will {
                topic: "t",
                payload: b"hi",
                qos: Qos::AtLeastOnce,
                retain: true,
                delay: 0,
                properties: PublishProperties::default(),
            }),
            login: Login {
                username: Some("u"),
                password: Some(b"p"),
            },
            ..bare_connect(Version::V311)
        }),
    );
    add(
        Version::V5,
        b"\x10\x59\0\x04MQTT\x05\x56\0\x0A\
          \x23\x11\0\0\x0E\x10\x21\0\x14\x27\0\0\x10\0\x22\0\x05\x19\x01\x17\0\
          \x15\0\x01m\x16\0\x01\xFF\x26\0\x01k\0\x01v\
          \0\x01c\
          \x1F\x18\0\0\0\x07\x01\x01\x02\0\0\0\x09\x03\0\x01x\x08\0\x01r\x09\0\x01\0\
          \x26\0\x01k\0\x01v\
          \0\x01t\0\0\0\x01\xFF",
        connect(Connect {
            keep_alive: 10,
            will: Some(Will {
                topic: "t",
                payload: b"",
                qos: Qos::ExactlyOnce,
                retain: false,
                delay: 7,
                properties: PublishProperties {
                    payload_is_utf8: Some(true),
                    message_expiry: Some(9),
                    content_type: Some("x"),
                    response_topic: Some("r"),
                    correlation_data: Some(b"\0"),
                    user_properties: user(),
                    ..PublishProperties::default()
                },
            }),
            // A password without a user name, which 5.0 allows.
            login: Login {
                username: None,
                password: Some(b"\xFF"),
            },
            session_expiry: Some(3600),
            receive_maximum: Some(id(20)),
            maximum_packet_size: Some(4096),
            topic_alias_maximum: 5,
            request_response_information: true,
            request_problem_information: false,
            authentication_method: Some("m"),
            authentication_data: Some(b"\xFF"),
            user_properties: user(),
            ..bare_connect(Version::V5)
        }),
    );
}

fn connacks(add: Add<'_>) {
    let connack = |connack| Packet::ConnAck(Box::new(connack));
    let present = ConnAck {
        session_present: true,
        ..ConnAck::new(Reason::Success)
    };
    add(
        Version::V31,
        b"\x20\x02\0\0",
        connack(ConnAck::new(Reason::Success)),
    );
    add(Version::V311, b"\x20\x02\x01\0", connack(present.clone()));
    add(
        Version::V311,
        b"\x20\x02\0\x05",
        connack(ConnAck::new(Reason::NotAuthorized)),
    );
    add(Version::V5, b"\x20\x03\x01\0\0", connack(present));
    add(
        Version::V5,
        b"\x20\x03\0\x97\0",
        connack(ConnAck::new(Reason::QuotaExceeded)),
    );
    add(
        Version::V5,
        b"\x20\x3F\0\0\x3C\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\0\x27\0\0\0\x03\x12\0\x01a\
          \x22\0\x04\x1F\0\x01r\x26\0\x01k\0\x01v\x28\x01\x29\0\x2A\x01\x13\0\x05\
          \x1A\0\x01i\x1C\0\x01s\x15\0\x01m\x16\0\x01d",
        connack(ConnAck {
            session_expiry: Some(1),
            receive_maximum: Some(id(2)),
            maximum_qos: Some(Qos::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: Some(3),
            assigned_client_id: Some("a"),
            topic_alias_maximum: 4,
            reason_string: Some("r"),
            user_properties: user(),
            wildcard_available: Some(true),
            subscription_ids_available: Some(false),
            shared_available: Some(true),
            server_keep_alive: Some(5),
            response_information: Some("i"),
            server_reference: Some("s"),
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
            ..ConnAck::new(Reason::Success)
        }),
    );
}

fn publishes(add: Add<'_>) {
    let bare = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: None,
        properties: PublishProperties::default(),
        payload: b"hi",
    };
    let twice = Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: true,
        packet_id: Some(id(258)),
        payload: b"",
        ..bare
    };
    for version in [Version::V31, Version::V311] {
        add(version, b"\x30\x07\0\x03a/bhi", Packet::Publish(bare));
        add(
            version,
            b"\x3D\x07\0\x03a/b\x01\x02",
            Packet::Publish(twice),
        );
    }
    add(Version::V5, b"\x30\x08\0\x03a/b\0hi", Packet::Publish(bare));
    add(
        Version::V5,
        b"\x3D\x08\0\x03a/b\x01\x02\0",
        Packet::Publish(twice),
    );
    let properties = PublishProperties {
        topic_alias: Some(id(7)),
        payload_is_utf8: Some(false),
        message_expiry: Some(9),
        content_type: Some("x"),
        response_topic: Some("r"),
        correlation_data: Some(b"\xFF"),
        user_properties: user(),
        subscription_ids: SubscriptionIds::from_block(b"\x0B\x01\x0B\x80\x01").expect("valid"),
        block: b"",
    };
    add(
        Version::V5,
        b"\x32\x29\0\0\0\x01\x22\x23\0\x07\x01\0\x02\0\0\0\x09\x03\0\x01x\x08\0\x01r\
          \x09\0\x01\xFF\x26\0\x01k\0\x01v\x0B\x01\x0B\x80\x01hi",
        Packet::Publish(Publish {
            qos: Qos::AtLeastOnce,
            topic: "",
            packet_id: Some(id(1)),
            properties,
            ..bare
        }),
    );
}

fn acks(add: Add<'_>) {
    let bare = Ack {
        packet_id: id(3),
        reason: Reason::Success,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    for version in [Version::V31, Version::V311, Version::V5] {
        add(version, b"\x40\x02\0\x03", Packet::PubAck(bare));
        add(version, b"\x50\x02\0\x03", Packet::PubRec(bare));
        add(version, b"\x62\x02\0\x03", Packet::PubRel(bare));
        add(version, b"\x70\x02\0\x03", Packet::PubComp(bare));
    }
    let refused = Ack {
        reason: Reason::NotAuthorized,
        ..bare
    };
    let unknown = Ack {
        reason: Reason::PacketIdentifierNotFound,
        ..bare
    };
    add(Version::V5, b"\x40\x03\0\x03\x87", Packet::PubAck(refused));
    add(Version::V5, b"\x50\x03\0\x03\x87", Packet::PubRec(refused));
    add(Version::V5, b"\x62\x03\0\x03\x92", Packet::PubRel(unknown));
    add(Version::V5, b"\x70\x03\0\x03\x92", Packet::PubComp(unknown));
    let full = Ack {
        reason_string: Some("s"),
        user_properties: user(),
        ..bare
    };
    add(
        Version::V5,
        b"\x40\x0F\0\x03\0\x0B\x1F\0\x01s\x26\0\x01k\0\x01v",
        Packet::PubAck(full),
    );
    add(
        Version::V5,
        b"\x62\x0F\0\x03\0\x0B\x1F\0\x01s\x26\0\x01k\0\x01v",
        Packet::PubRel(full),
    );
}

fn subscribes(add: Add<'_>) {
    let none = UserProperties::default();
    let options = |qos| SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let filters = vec![
        SubscribeFilter {
            filter: "a/+",
            options: options(Qos::AtLeastOnce),
        },
        SubscribeFilter {
            filter: "#",
            options: options(Qos::ExactlyOnce),
        },
    ];
    let subscribe = Subscribe {
        packet_id: id(10),
        subscription_id: None,
        user_properties: none,
        filters,
    };
    for version in [Version::V31, Version::V311] {
        add(
            version,
            b"\x82\x0C\0\x0A\0\x03a/+\x01\0\x01#\x02",
            Packet::Subscribe(subscribe.clone()),
        );
        add(
            version,
            b"\x90\x05\0\x0A\0\x02\x80",
            Packet::SubAck(SubAck {
                packet_id: id(10),
                reason_string: None,
                user_properties: none,
                reasons: vec![
                    Reason::Success,
                    Reason::GrantedQos2,
                    Reason::UnspecifiedError,
                ],
            }),
        );
        add(
            version,
            b"\xA2\x06\0\x0A\0\x02aa",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(10),
                user_properties: none,
                filters: vec!["aa"],
            }),
        );
        add(
            version,
            b"\xB0\x02\0\x0A",
            Packet::UnsubAck(UnsubAck {
                packet_id: id(10),
                reason_string: None,
                user_properties: none,
                reasons: vec![],
            }),
        );
    }
    add(
        Version::V5,
        b"\x82\x0D\0\x0A\0\0\x03a/+\x01\0\x01#\x02",
        Packet::Subscribe(subscribe),
    );
    subscribes_in_full(add);
}

fn subscribes_in_full(add: Add<'_>) {
    let options = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    add(
        Version::V5,
        b"\x82\x11\0\x0A\x0A\x0B\x80\x01\x26\0\x01k\0\x01v\0\x01a\x2E",
        Packet::Subscribe(Subscribe {
            packet_id: id(10),
            subscription_id: Some(128),
            user_properties: user(),
            filters: vec![SubscribeFilter {
                filter: "a",
                options,
            }],
        }),
    );
    add(
        Version::V5,
        b"\x90\x10\0\x0A\x0B\x1F\0\x01s\x26\0\x01k\0\x01v\x01\x9E",
        Packet::SubAck(SubAck {
            packet_id: id(10),
            reason_string: Some("s"),
            user_properties: user(),
            reasons: vec![Reason::GrantedQos1, Reason::SharedSubscriptionsNotSupported],
        }),
    );
    add(
        Version::V5,
        b"\xA2\x10\0\x0A\x07\x26\0\x01k\0\x01v\0\x01a\0\x01b",
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(10),
            user_properties: user(),
            filters: vec!["a", "b"],
        }),
    );
    add(
        Version::V5,
        b"\xB0\x10\0\x0A\x0B\x1F\0\x01s\x26\0\x01k\0\x01v\0\x11",
        Packet::UnsubAck(UnsubAck {
            packet_id: id(10),
            reason_string: Some("s"),
            user_properties: user(),
            reasons: vec![Reason::Success, Reason::NoSubscriptionExisted],
        }),
    );
}

fn leaves(add: Add<'_>) {
    let bare = Disconnect {
        reason: Reason::Success,
        session_expiry: None,
        reason_string: None,
        user_properties: UserProperties::default(),
        server_reference: None,
    };
    for version in [Version::V31, Version::V311, Version::V5] {
        add(version, b"\xC0\0", Packet::PingReq);
        add(version, b"\xD0\0", Packet::PingResp);
        add(version, b"\xE0\0", Packet::Disconnect(bare.clone()));
    }
    let taken_over = Disconnect {
        reason: Reason::SessionTakenOver,
        ..bare.clone()
    };
    add(
        Version::V5,
        b"\xE0\x02\x8E\0",
        Packet::Disconnect(taken_over),
    );
    add(
        Version::V5,
        b"\xE0\x16\0\x14\x11\0\0\0\x05\x1F\0\x01s\x26\0\x01k\0\x01v\x1C\0\x01r",
        Packet::Disconnect(Disconnect {
            session_expiry: Some(5),
            reason_string: Some("s"),
            user_properties: user(),
            server_reference: Some("r"),
            ..bare
        }),
    );
    let auth = Auth {
        reason: Reason::Success,
        authentication_method: None,
        authentication_data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    add(Version::V5, b"\xF0\0", Packet::Auth(auth));
    add(
        Version::V5,
        b"\xF0\x15\x18\x13\x15\0\x01m\x16\0\x01d\x1F\0\x01s\x26\0\x01k\0\x01v",
        Packet::Auth(Auth {
            reason: Reason::ContinueAuthentication,
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
            reason_string: Some("s"),
            user_properties: user(),
        }),
    );
}
