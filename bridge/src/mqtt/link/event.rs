//! What rumqttc tells of a connection, in either version, as one kind of event.

use bytes::Bytes;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as packets;

use super::super::described::Described;
use super::{Arrived, Event, Limits, Receipt};

/// What a client of 5.0 tells.
pub(super) fn of_v5(event: v5::Event) -> Event {
    use packets::{PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode};
    let incoming = match event {
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(id)) => return Event::Sent(id),
        v5::Event::Outgoing(_) => return Event::Other,
        v5::Event::Incoming(incoming) => incoming,
    };
    match incoming {
        packets::Packet::ConnAck(ack) => {
            let properties = ack.properties.as_ref();
            Event::Connected {
                is_resumed: ack.session_present,
                limits: Limits {
                    highest_qos: properties.and_then(|it| it.max_qos).unwrap_or(2),
                    has_retain: properties.and_then(|it| it.retain_available) != Some(0),
                },
            }
        }
        packets::Packet::PubRel(release) => Event::Released(release.pkid),
        packets::Packet::PubAck(ack) => Event::Answered(
            ack.pkid,
            match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                reason => Err(format!("{reason:?}")),
            },
        ),
        packets::Packet::PubRec(ack) => match ack.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => {
                Event::Received(ack.pkid)
            }
            reason => Event::Answered(ack.pkid, Err(format!("{reason:?}"))),
        },
        packets::Packet::PubComp(ack) => Event::Completed(
            ack.pkid,
            match ack.reason {
                PubCompReason::Success => Ok(()),
                reason => Err(format!("{reason:?}")),
            },
        ),
        packets::Packet::UnsubAck(_) => Event::Unsubscribed,
        packets::Packet::SubAck(ack) => {
            let is_refused =
                |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
            match ack.return_codes.iter().find(is_refused) {
                Some(code) => Event::NotSubscribed(format!("{code:?}")),
                None => Event::Other,
            }
        }
        packets::Packet::Publish(publish) => {
            let properties = publish.properties.clone().unwrap_or_default();
            Event::Arrived(Box::new(Arrived {
                topic: publish.topic.clone(),
                qos: publish.qos as u8,
                is_retained: publish.retain,
                expiry: properties.message_expiry_interval,
                described: Described {
                    is_text: properties.payload_format_indicator.map(|it| it == 1),
                    content_type: properties.content_type,
                    response_topic: properties.response_topic,
                    correlation_data: properties.correlation_data,
                },
                user_properties: properties.user_properties,
                payload: publish.payload.clone(),
                receipt: Receipt::V5(publish),
            }))
        }
        _ => Event::Other,
    }
}

/// What a client of 3.1.1 tells.
pub(super) fn of_v4(event: rumqttc::Event) -> Event {
    let incoming = match event {
        rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(id)) => return Event::Sent(id),
        rumqttc::Event::Outgoing(_) => return Event::Other,
        rumqttc::Event::Incoming(incoming) => incoming,
    };
    match incoming {
        rumqttc::Packet::ConnAck(ack) => Event::Connected {
            is_resumed: ack.session_present,
            limits: Limits::NONE,
        },
        rumqttc::Packet::PubRel(release) => Event::Released(release.pkid),
        rumqttc::Packet::PubAck(ack) => Event::Answered(ack.pkid, Ok(())),
        rumqttc::Packet::PubRec(ack) => Event::Received(ack.pkid),
        rumqttc::Packet::PubComp(ack) => Event::Completed(ack.pkid, Ok(())),
        rumqttc::Packet::UnsubAck(_) => Event::Unsubscribed,
        rumqttc::Packet::SubAck(ack) => {
            let is_refused = |code: &rumqttc::SubscribeReasonCode| {
                matches!(code, rumqttc::SubscribeReasonCode::Failure)
            };
            match ack.return_codes.iter().any(is_refused) {
                true => Event::NotSubscribed("refused".to_owned()),
                false => Event::Other,
            }
        }
        rumqttc::Packet::Publish(publish) => Event::Arrived(Box::new(Arrived {
            topic: Bytes::from(publish.topic.clone()),
            qos: publish.qos as u8,
            is_retained: publish.retain,
            expiry: None,
            described: Described::default(),
            user_properties: Vec::new(),
            payload: publish.payload.clone(),
            receipt: Receipt::V4(publish),
        })),
        _ => Event::Other,
    }
}
