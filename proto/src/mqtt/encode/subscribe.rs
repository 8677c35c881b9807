//! SUBSCRIBE and UNSUBSCRIBE.

use super::writer::Writer;
use crate::mqtt::{
    Subscribe, SubscriptionOptions, Unsubscribe, Version, frame::PacketType, property::Id,
};

pub(super) fn encode_subscribe(
    subscribe: &Subscribe<'_>,
    version: Version,
    writer: &mut Writer<'_>,
) {
    writer.packet(PacketType::Subscribe, |writer| {
        writer.u16(subscribe.packet_id.get());
        if version == Version::V5 {
            writer.properties(|writer| {
                if let Some(id) = subscribe.subscription_id {
                    writer.variable_property(Id::SubscriptionIdentifier, id);
                }
                writer.user_properties(subscribe.user_properties);
            });
        }
        for filter in &subscribe.filters {
            writer.text(filter.filter);
            writer.u8(filter.options.bits(version));
        }
    });
}

pub(super) fn encode_unsubscribe(
    unsubscribe: &Unsubscribe<'_>,
    version: Version,
    writer: &mut Writer<'_>,
) {
    writer.packet(PacketType::Unsubscribe, |writer| {
        writer.u16(unsubscribe.packet_id.get());
        if version == Version::V5 {
            writer.properties(|writer| writer.user_properties(unsubscribe.user_properties));
        }
        for filter in &unsubscribe.filters {
            writer.text(filter);
        }
    });
}

impl SubscriptionOptions {
    fn bits(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if version < Version::V5 {
            return qos;
        }
        qos | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}
