//! Property lists: which properties each packet may have, and whether once or often.

use super::{Limits, property::Property, reader::Reader};
use crate::mqtt::{
    Error, Reason, SubscriptionIds, UserProperties, error::Flaw, frame::PacketType, property::Id,
};

/// Who may have which properties `[MQTT-2.2.2.2]`, as a set of [`Id::bit`].
#[derive(Clone, Copy)]
pub(super) struct Allowed(u64);

impl Allowed {
    pub(super) const WILL: Self = Self(
        Id::PayloadFormatIndicator.bit()
            | Id::MessageExpiryInterval.bit()
            | Id::ContentType.bit()
            | Id::ResponseTopic.bit()
            | Id::CorrelationData.bit()
            | Id::WillDelayInterval.bit()
            | Id::UserProperty.bit(),
    );

    pub(super) const fn of(packet: PacketType) -> Self {
        let own = match packet {
            PacketType::Connect => CONNECT,
            PacketType::ConnAck => CONNACK,
            PacketType::Publish => PUBLISH,
            PacketType::Subscribe => Id::SubscriptionIdentifier.bit(),
            PacketType::Unsubscribe | PacketType::PingReq | PacketType::PingResp => 0,
            PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubRel
            | PacketType::PubComp
            | PacketType::SubAck
            | PacketType::UnsubAck => Id::ReasonString.bit(),
            PacketType::Disconnect => {
                Id::SessionExpiryInterval.bit() | Id::ServerReference.bit() | Id::ReasonString.bit()
            }
            PacketType::Auth => {
                Id::AuthenticationMethod.bit()
                    | Id::AuthenticationData.bit()
                    | Id::ReasonString.bit()
            }
        };
        Self(own | Id::UserProperty.bit())
    }

    const fn has(self, id: Id) -> bool {
        self.0 & id.bit() != 0
    }
}

const CONNECT: u64 = Id::SessionExpiryInterval.bit()
    | Id::AuthenticationMethod.bit()
    | Id::AuthenticationData.bit()
    | Id::RequestProblemInformation.bit()
    | Id::RequestResponseInformation.bit()
    | Id::ReceiveMaximum.bit()
    | Id::TopicAliasMaximum.bit()
    | Id::MaximumPacketSize.bit();

const CONNACK: u64 = Id::SessionExpiryInterval.bit()
    | Id::AssignedClientIdentifier.bit()
    | Id::ServerKeepAlive.bit()
    | Id::AuthenticationMethod.bit()
    | Id::AuthenticationData.bit()
    | Id::ResponseInformation.bit()
    | Id::ServerReference.bit()
    | Id::ReasonString.bit()
    | Id::ReceiveMaximum.bit()
    | Id::TopicAliasMaximum.bit()
    | Id::MaximumQos.bit()
    | Id::RetainAvailable.bit()
    | Id::MaximumPacketSize.bit()
    | Id::WildcardSubscriptionAvailable.bit()
    | Id::SubscriptionIdentifierAvailable.bit()
    | Id::SharedSubscriptionAvailable.bit();

const PUBLISH: u64 = Id::PayloadFormatIndicator.bit()
    | Id::MessageExpiryInterval.bit()
    | Id::ContentType.bit()
    | Id::ResponseTopic.bit()
    | Id::CorrelationData.bit()
    | Id::SubscriptionIdentifier.bit()
    | Id::TopicAlias.bit();

/// Reads a property list property by property.
pub(super) struct List<'a> {
    block: &'a [u8],
    reader: Reader<'a>,
    allowed: Allowed,
    /// Those that may be there more than once.
    repeatable: u64,
    seen: u64,
    user_properties_left: usize,
    user_properties: Span,
    subscription_ids: Span,
}

/// From the first to behind the last entry of a kind; empty if there is none.
#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn add(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        }
        self.end = end;
    }
}

impl<'a> List<'a> {
    /// The property list that comes next in a packet of this type. Only 5.0 has one.
    pub(super) fn read(
        body: &mut Reader<'a>,
        packet: PacketType,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let block = read_block(body)?;
        Ok(Self::new(block, Allowed::of(packet), limits))
    }

    pub(super) fn new(block: &'a [u8], allowed: Allowed, limits: &Limits) -> Self {
        // Only a PUBLISH may have several Subscription Identifiers, and only it a Topic Alias.
        let several_ids = allowed.has(Id::TopicAlias);
        Self {
            block,
            reader: Reader::new(block),
            allowed,
            repeatable: Id::UserProperty.bit()
                | if several_ids {
                    Id::SubscriptionIdentifier.bit()
                } else {
                    0
                },
            seen: 0,
            user_properties_left: limits.max_user_properties,
            user_properties: Span::default(),
            subscription_ids: Span::default(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, Error> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let start = self.block.len() - self.reader.len();
        let field = "property identifier";
        let code = self.reader.u8(field)?;
        let id = Id::from_u8(code).ok_or_else(|| Error::malformed(field, Flaw::Value(code)))?;
        if !self.allowed.has(id) {
            return Err(Error::malformed(id.name(), Flaw::Misplaced)); // [MQTT-2.2.2.2]
        }
        if self.seen & id.bit() & !self.repeatable != 0 {
            return Err(Error::protocol(id.name(), Flaw::Repeated));
        }
        self.seen |= id.bit();
        let property = Property::read(id, &mut self.reader)?;
        let end = self.block.len() - self.reader.len();
        match id {
            Id::UserProperty => {
                self.count_user_property()?;
                self.user_properties.add(start, end);
            }
            Id::SubscriptionIdentifier => self.subscription_ids.add(start, end),
            _ => {}
        }
        Ok(Some(property))
    }

    /// The user properties among what has been read.
    pub(super) fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::from_checked(self.slice(self.user_properties))
    }

    /// The subscription identifiers among what has been read.
    pub(super) fn subscription_ids(&self) -> SubscriptionIds<'a> {
        SubscriptionIds::from_checked(self.slice(self.subscription_ids))
    }

    fn slice(&self, span: Span) -> &'a [u8] {
        self.block.get(span.start..span.end).unwrap_or_default()
    }

    fn count_user_property(&mut self) -> Result<(), Error> {
        self.user_properties_left = self
            .user_properties_left
            .checked_sub(1)
            .ok_or_else(|| Error::new(Reason::QuotaExceeded, "user properties", Flaw::TooMany))?;
        Ok(())
    }
}

/// The encoded property list that comes next.
#[inline]
pub(super) fn read_block<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let length = body.variable("property length")?;
    body.take(length as usize, "property list")
}
