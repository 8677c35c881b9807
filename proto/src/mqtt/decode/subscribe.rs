//! SUBSCRIBE and UNSUBSCRIBE.

use super::{Limits, properties::List, property::Property, reader::Reader};
use crate::mqtt::{
    Error, Qos, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
    UserProperties, Version, error::Flaw, frame::PacketType,
};

pub(super) fn decode_subscribe<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Subscribe<'a>, Error> {
    let packet_id = body.packet_id()?;
    let mut subscription_id = None;
    let mut user_properties = UserProperties::default();
    if version == Version::V5 {
        let mut list = List::read(&mut body, PacketType::Subscribe, limits)?;
        while let Some(property) = list.next()? {
            if let Property::SubscriptionIdentifier(id) = property {
                subscription_id = Some(id);
            }
        }
        user_properties = list.user_properties();
    }
    if body.is_empty() {
        return Err(no_filter()); // [MQTT-3.8.3-2]
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.text(FILTER)?;
        let options = body.u8("subscription options")?;
        let options = SubscriptionOptions::from_bits(version, options)?;
        filters.push(SubscribeFilter { filter, options });
    }
    Ok(Subscribe {
        packet_id,
        subscription_id,
        user_properties,
        filters,
    })
}

pub(super) fn decode_unsubscribe<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Unsubscribe<'a>, Error> {
    let packet_id = body.packet_id()?;
    let mut user_properties = UserProperties::default();
    if version == Version::V5 {
        let mut list = List::read(&mut body, PacketType::Unsubscribe, limits)?;
        while list.next()?.is_some() {}
        user_properties = list.user_properties();
    }
    if body.is_empty() {
        return Err(no_filter()); // [MQTT-3.10.3-2]
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.text(FILTER)?);
    }
    Ok(Unsubscribe {
        packet_id,
        user_properties,
        filters,
    })
}

const FILTER: &str = "topic filter";

fn no_filter() -> Error {
    Error::protocol("list of topic filters", Flaw::Empty)
}

impl SubscriptionOptions {
    /// Reads the byte after a filter `[MQTT-3.8.3.1]`; below 5.0 it is the requested QoS alone.
    fn from_bits(version: Version, bits: u8) -> Result<Self, Error> {
        let reserved = if version == Version::V5 {
            0b1100_0000
        } else {
            0b1111_1100
        };
        if bits & reserved != 0 {
            // [MQTT-3.8.3-5]; 3.1.1: [MQTT-3-8.3-4]
            return Err(Error::malformed(
                "reserved bits of the subscription options are set",
                Flaw::Says,
            ));
        }
        let Some(qos) = Qos::from_bits(bits & 0b11) else {
            let sentence = "QoS of the subscription options is 3";
            return Err(match version {
                Version::V5 => Error::protocol(sentence, Flaw::Says),
                Version::V31 | Version::V311 => Error::malformed(sentence, Flaw::Says),
            });
        };
        let retain_handling = match bits >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Error::protocol("Retain Handling is 3", Flaw::Says)),
        };
        Ok(Self {
            qos,
            no_local: bits & 0b0100 != 0,
            retain_as_published: bits & 0b1000 != 0,
            retain_handling,
        })
    }
}
