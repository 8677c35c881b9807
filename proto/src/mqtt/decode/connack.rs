//! CONNACK; only a client decodes it.

use super::{Limits, properties::List, property::Property, reader::Reader};
use crate::mqtt::{ConnAck, Error, Reason, Version, error::Flaw, frame::PacketType};

pub(super) fn decode<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<ConnAck<'a>, Error> {
    let flags = body.u8("acknowledge flags")?;
    // [MQTT-3.2.2-1]; in 3.1 the byte is not used.
    if flags > 1 && version != Version::V31 {
        return Err(Error::malformed("acknowledge flags", Flaw::Value(flags)));
    }
    let reason = if version == Version::V5 {
        body.reason(is_allowed)?
    } else {
        let field = "return code";
        let code = body.u8(field)?;
        Reason::from_connack_return_code(code)
            .ok_or_else(|| Error::protocol(field, Flaw::Value(code)))?
    };
    let session_present = flags == 1 && version != Version::V31;
    if session_present && reason != Reason::Success {
        let sentence = "session present is set in a refusal";
        return Err(Error::protocol(sentence, Flaw::Says)); // [MQTT-3.2.2-6]
    }
    let mut connack = ConnAck {
        session_present,
        ..ConnAck::new(reason)
    };
    if version == Version::V5 {
        let mut list = List::read(&mut body, PacketType::ConnAck, limits)?;
        while let Some(property) = list.next()? {
            connack.set(&property);
        }
        connack.user_properties = list.user_properties();
    }
    body.finish("last field")?;
    Ok(connack)
}

impl<'a> ConnAck<'a> {
    fn set(&mut self, property: &Property<'a>) {
        match *property {
            Property::SessionExpiryInterval(seconds) => self.session_expiry = Some(seconds),
            Property::ReceiveMaximum(maximum) => self.receive_maximum = Some(maximum),
            Property::MaximumQos(qos) => self.maximum_qos = Some(qos),
            Property::RetainAvailable(yes) => self.retain_available = Some(yes),
            Property::MaximumPacketSize(size) => self.maximum_packet_size = Some(size),
            Property::AssignedClientIdentifier(id) => self.assigned_client_id = Some(id),
            Property::TopicAliasMaximum(maximum) => self.topic_alias_maximum = maximum,
            Property::ReasonString(text) => self.reason_string = Some(text),
            Property::WildcardSubscriptionAvailable(yes) => self.wildcard_available = Some(yes),
            Property::SubscriptionIdentifierAvailable(yes) => {
                self.subscription_ids_available = Some(yes);
            }
            Property::SharedSubscriptionAvailable(yes) => self.shared_available = Some(yes),
            Property::ServerKeepAlive(seconds) => self.server_keep_alive = Some(seconds),
            Property::ResponseInformation(text) => self.response_information = Some(text),
            Property::ServerReference(text) => self.server_reference = Some(text),
            Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
            Property::AuthenticationData(data) => self.authentication_data = Some(data),
            _ => {}
        }
    }
}

/// `[MQTT-3.2.2.2]`
fn is_allowed(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::Success
            | R::UnspecifiedError
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecificError
            | R::UnsupportedProtocolVersion
            | R::ClientIdentifierNotValid
            | R::BadUserNameOrPassword
            | R::NotAuthorized
            | R::ServerUnavailable
            | R::ServerBusy
            | R::Banned
            | R::BadAuthenticationMethod
            | R::TopicNameInvalid
            | R::PacketTooLarge
            | R::QuotaExceeded
            | R::PayloadFormatInvalid
            | R::RetainNotSupported
            | R::QosNotSupported
            | R::UseAnotherServer
            | R::ServerMoved
            | R::ConnectionRateExceeded
    )
}
