//! PUBLISH, and the properties that it shares with a will.

use super::{
    Limits,
    properties::{Allowed, List, read_block},
    property::Property,
    reader::{Reader, check_topic},
};
use crate::mqtt::{
    Error, Publish, PublishProperties, Qos, Reason, Version, error::Flaw, frame::PacketType,
};

/// The flags have been checked with the fixed header.
#[inline]
pub(super) fn decode<'a>(
    version: Version,
    flags: u8,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Publish<'a>, Error> {
    let field = "topic name";
    let qos = Qos::from_bits(flags >> 1 & 0b11)
        .ok_or_else(|| Error::malformed("QoS is 3", Flaw::Says))?;
    let topic = body.any_text(field)?;
    let packet_id = match qos {
        Qos::AtMostOnce => None,
        Qos::AtLeastOnce | Qos::ExactlyOnce => Some(body.packet_id()?),
    };
    let properties = if version == Version::V5 {
        read_properties(&mut body, limits)?
    } else {
        PublishProperties::default()
    };
    if !topic.is_empty() {
        check_topic(topic, limits.topics, field, Reason::TopicNameInvalid)?;
    } else if version != Version::V5 {
        return Err(Error::malformed(field, Flaw::Empty)); // [MQTT-4.7.3-1]
    } else if properties.topic_alias.is_none() {
        return Err(Error::protocol(
            "topic name is empty and there is no alias",
            Flaw::Says,
        ));
    }
    Ok(Publish {
        dup: flags & 0b1000 != 0,
        qos,
        retain: flags & 0b0001 != 0,
        topic,
        packet_id,
        properties,
        payload: body.rest(),
    })
}

#[inline]
fn read_properties<'a>(
    body: &mut Reader<'a>,
    limits: &Limits,
) -> Result<PublishProperties<'a>, Error> {
    match read_block(body)? {
        [] => Ok(PublishProperties::default()),
        block => from_block(block, limits),
    }
}

fn from_block<'a>(block: &'a [u8], limits: &Limits) -> Result<PublishProperties<'a>, Error> {
    let mut list = List::new(block, Allowed::of(PacketType::Publish), limits);
    let mut properties = PublishProperties {
        block,
        ..PublishProperties::default()
    };
    while let Some(property) = list.next()? {
        properties.set(&property);
    }
    properties.user_properties = list.user_properties();
    properties.subscription_ids = list.subscription_ids();
    Ok(properties)
}

/// Whether this is a property list that a PUBLISH may have.
pub(in crate::mqtt) fn check_block(block: &[u8]) -> Result<(), Error> {
    from_block(block, &Limits::NONE).map(|_| ())
}

/// The will properties and, apart, the Will Delay Interval.
pub(super) fn will_properties<'a>(
    block: &'a [u8],
    limits: &Limits,
) -> Result<(PublishProperties<'a>, u32), Error> {
    let mut list = List::new(block, Allowed::WILL, limits);
    let mut properties = PublishProperties {
        block,
        ..PublishProperties::default()
    };
    let mut delay = 0;
    while let Some(property) = list.next()? {
        match property {
            Property::WillDelayInterval(seconds) => delay = seconds,
            property => properties.set(&property),
        }
    }
    properties.user_properties = list.user_properties();
    Ok((properties, delay))
}

impl<'a> PublishProperties<'a> {
    /// Parses an encoded property list, without its length: what [`crate::mqtt::forwardable`]
    /// gave, for a message that was stored.
    ///
    /// # Errors
    ///
    /// If it is not a property list that a PUBLISH may have.
    pub fn from_block(block: &'a [u8]) -> Result<Self, Error> {
        from_block(block, &Limits::NONE)
    }

    fn set(&mut self, property: &Property<'a>) {
        match *property {
            Property::PayloadFormatIndicator(is_utf8) => self.payload_is_utf8 = Some(is_utf8),
            Property::MessageExpiryInterval(seconds) => self.message_expiry = Some(seconds),
            Property::ContentType(text) => self.content_type = Some(text),
            Property::ResponseTopic(topic) => self.response_topic = Some(topic),
            Property::CorrelationData(data) => self.correlation_data = Some(data),
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            // The list keeps the repeatable ones, and allows no others.
            _ => {}
        }
    }
}
