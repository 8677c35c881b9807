//! One property: what its value is and what it may be.

use std::num::NonZeroU16;

use super::reader::{Reader, check_topic};
use crate::mqtt::{Error, Qos, Reason, error::Flaw, property::Id};
use crate::topic::Bounds;

/// One property with its value, which is valid.
pub(super) enum Property<'a> {
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    MaximumQos(Qos),
    RetainAvailable(bool),
    /// A user property; [`super::properties::List`] has them.
    Pair,
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    pub(super) fn read(id: Id, reader: &mut Reader<'a>) -> Result<Self, Error> {
        let name = id.name();
        Ok(match id {
            Id::PayloadFormatIndicator => Self::PayloadFormatIndicator(flag(reader, name)?),
            Id::MessageExpiryInterval => Self::MessageExpiryInterval(reader.u32(name)?),
            Id::ContentType => Self::ContentType(reader.text(name)?),
            Id::ResponseTopic => Self::ResponseTopic(response_topic(reader, name)?),
            Id::CorrelationData => Self::CorrelationData(reader.binary(name)?),
            Id::SubscriptionIdentifier => match reader.variable(name)? {
                0 => return Err(Error::protocol(name, Flaw::Zero)),
                id => Self::SubscriptionIdentifier(id),
            },
            Id::SessionExpiryInterval => Self::SessionExpiryInterval(reader.u32(name)?),
            Id::AssignedClientIdentifier => Self::AssignedClientIdentifier(reader.text(name)?),
            Id::ServerKeepAlive => Self::ServerKeepAlive(reader.u16(name)?),
            Id::AuthenticationMethod => Self::AuthenticationMethod(reader.text(name)?),
            Id::AuthenticationData => Self::AuthenticationData(reader.binary(name)?),
            Id::RequestProblemInformation => Self::RequestProblemInformation(flag(reader, name)?),
            Id::WillDelayInterval => Self::WillDelayInterval(reader.u32(name)?),
            Id::RequestResponseInformation => Self::RequestResponseInformation(flag(reader, name)?),
            Id::ResponseInformation => Self::ResponseInformation(reader.text(name)?),
            Id::ServerReference => Self::ServerReference(reader.text(name)?),
            Id::ReasonString => Self::ReasonString(reader.text(name)?),
            Id::ReceiveMaximum => NonZeroU16::new(reader.u16(name)?)
                .map(Self::ReceiveMaximum)
                .ok_or_else(|| Error::protocol(name, Flaw::Zero))?,
            Id::TopicAliasMaximum => Self::TopicAliasMaximum(reader.u16(name)?),
            // [MQTT-3.3.2-8]
            Id::TopicAlias => NonZeroU16::new(reader.u16(name)?)
                .map(Self::TopicAlias)
                .ok_or_else(|| Error::new(Reason::TopicAliasInvalid, name, Flaw::Zero))?,
            Id::MaximumQos => match reader.u8(name)? {
                0 => Self::MaximumQos(Qos::AtMostOnce),
                1 => Self::MaximumQos(Qos::AtLeastOnce),
                value => return Err(Error::protocol(name, Flaw::Value(value))),
            },
            Id::RetainAvailable => Self::RetainAvailable(flag(reader, name)?),
            Id::UserProperty => {
                reader.text(name)?;
                reader.text(name)?;
                Self::Pair
            }
            Id::MaximumPacketSize => match reader.u32(name)? {
                0 => return Err(Error::protocol(name, Flaw::Zero)),
                size => Self::MaximumPacketSize(size),
            },
            Id::WildcardSubscriptionAvailable => {
                Self::WildcardSubscriptionAvailable(flag(reader, name)?)
            }
            Id::SubscriptionIdentifierAvailable => {
                Self::SubscriptionIdentifierAvailable(flag(reader, name)?)
            }
            Id::SharedSubscriptionAvailable => {
                Self::SharedSubscriptionAvailable(flag(reader, name)?)
            }
        })
    }
}

fn flag(reader: &mut Reader<'_>, name: &'static str) -> Result<bool, Error> {
    match reader.u8(name)? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Error::protocol(name, Flaw::Value(value))),
    }
}

fn response_topic<'a>(reader: &mut Reader<'a>, name: &'static str) -> Result<&'a str, Error> {
    let topic = reader.any_text(name)?;
    // [MQTT-3.3.2-14]; the number of levels is the business of who publishes to it.
    check_topic(topic, Bounds::NONE, name, Reason::ProtocolError)?;
    Ok(topic)
}
