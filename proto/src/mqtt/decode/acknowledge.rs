//! The answers: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.

use super::{Limits, properties::List, property::Property, reader::Reader};
use crate::mqtt::{
    Ack, Error, Reason, SubAck, UnsubAck, UserProperties, Version, error::Flaw, frame::PacketType,
};

/// PUBACK, PUBREC, PUBREL or PUBCOMP, whichever `packet` is.
#[inline]
pub(super) fn decode_ack<'a>(
    version: Version,
    packet: PacketType,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Ack<'a>, Error> {
    let packet_id = body.packet_id()?;
    let mut ack = Ack {
        packet_id,
        reason: Reason::Success,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    if version < Version::V5 || body.is_empty() {
        body.finish("packet identifier")?;
        return Ok(ack);
    }
    ack.reason = body.reason(match packet {
        PacketType::PubAck | PacketType::PubRec => is_allowed_for_receiver,
        _ => is_allowed_for_release,
    })?;
    if !body.is_empty() {
        (ack.reason_string, ack.user_properties) = read_properties(&mut body, packet, limits)?;
    }
    body.finish("property list")?;
    Ok(ack)
}

pub(super) fn decode_suback<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<SubAck<'a>, Error> {
    let packet_id = body.packet_id()?;
    let is_v5 = version == Version::V5;
    let (reason_string, user_properties) = if is_v5 {
        read_properties(&mut body, PacketType::SubAck, limits)?
    } else {
        Default::default()
    };
    let allowed = if is_v5 {
        is_allowed_for_subscribe
    } else {
        is_return_code
    };
    let reasons = read_reasons(body, allowed)?;
    Ok(SubAck {
        packet_id,
        reason_string,
        user_properties,
        reasons,
    })
}

pub(super) fn decode_unsuback<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<UnsubAck<'a>, Error> {
    let packet_id = body.packet_id()?;
    if version < Version::V5 {
        body.finish("packet identifier")?;
        return Ok(UnsubAck {
            packet_id,
            reason_string: None,
            user_properties: UserProperties::default(),
            reasons: Vec::new(),
        });
    }
    let (reason_string, user_properties) =
        read_properties(&mut body, PacketType::UnsubAck, limits)?;
    let reasons = read_reasons(body, is_allowed_for_unsubscribe)?;
    Ok(UnsubAck {
        packet_id,
        reason_string,
        user_properties,
        reasons,
    })
}

fn read_properties<'a>(
    body: &mut Reader<'a>,
    packet: PacketType,
    limits: &Limits,
) -> Result<(Option<&'a str>, UserProperties<'a>), Error> {
    let mut list = List::read(body, packet, limits)?;
    let mut reason_string = None;
    while let Some(property) = list.next()? {
        if let Property::ReasonString(text) = property {
            reason_string = Some(text);
        }
    }
    Ok((reason_string, list.user_properties()))
}

/// One reason code for each filter, and a filter there was `[MQTT-3.8.3-2]`.
fn read_reasons(mut body: Reader<'_>, allowed: fn(Reason) -> bool) -> Result<Vec<Reason>, Error> {
    if body.is_empty() {
        return Err(Error::protocol("list of reason codes", Flaw::Empty));
    }
    let mut reasons = Vec::with_capacity(body.len());
    while !body.is_empty() {
        reasons.push(body.reason(allowed)?);
    }
    Ok(reasons)
}

/// `[MQTT-3.4.2.1]` `[MQTT-3.5.2.1]`
fn is_allowed_for_receiver(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success
            | Reason::NoMatchingSubscribers
            | Reason::UnspecifiedError
            | Reason::ImplementationSpecificError
            | Reason::NotAuthorized
            | Reason::TopicNameInvalid
            | Reason::PacketIdentifierInUse
            | Reason::QuotaExceeded
            | Reason::PayloadFormatInvalid
    )
}

/// `[MQTT-3.6.2.1]` `[MQTT-3.7.2.1]`
fn is_allowed_for_release(reason: Reason) -> bool {
    matches!(reason, Reason::Success | Reason::PacketIdentifierNotFound)
}

/// `[MQTT-3.9.3]`
fn is_allowed_for_subscribe(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success
            | Reason::GrantedQos1
            | Reason::GrantedQos2
            | Reason::UnspecifiedError
            | Reason::ImplementationSpecificError
            | Reason::NotAuthorized
            | Reason::TopicFilterInvalid
            | Reason::PacketIdentifierInUse
            | Reason::QuotaExceeded
            | Reason::SharedSubscriptionsNotSupported
            | Reason::SubscriptionIdentifiersNotSupported
            | Reason::WildcardSubscriptionsNotSupported
    )
}

/// 3.1.1: `[MQTT-3.9.3-2]`
fn is_return_code(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success | Reason::GrantedQos1 | Reason::GrantedQos2 | Reason::UnspecifiedError
    )
}

/// `[MQTT-3.11.3]`
fn is_allowed_for_unsubscribe(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success
            | Reason::NoSubscriptionExisted
            | Reason::UnspecifiedError
            | Reason::ImplementationSpecificError
            | Reason::NotAuthorized
            | Reason::TopicFilterInvalid
            | Reason::PacketIdentifierInUse
    )
}
