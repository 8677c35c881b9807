//! DISCONNECT and AUTH.

use super::{Limits, properties::List, property::Property, reader::Reader};
use crate::mqtt::{
    Auth, Disconnect, Error, Reason, UserProperties, Version, error::Flaw, frame::PacketType,
};

pub(super) fn decode_disconnect<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Disconnect<'a>, Error> {
    let mut disconnect = Disconnect {
        reason: Reason::Success,
        session_expiry: None,
        reason_string: None,
        user_properties: UserProperties::default(),
        server_reference: None,
    };
    if version < Version::V5 || body.is_empty() {
        body.finish("fixed header")?;
        return Ok(disconnect);
    }
    disconnect.reason = body.reason(is_allowed_for_disconnect)?;
    if body.is_empty() {
        return Ok(disconnect);
    }
    let mut list = List::read(&mut body, PacketType::Disconnect, limits)?;
    while let Some(property) = list.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => disconnect.session_expiry = Some(seconds),
            Property::ReasonString(text) => disconnect.reason_string = Some(text),
            Property::ServerReference(text) => disconnect.server_reference = Some(text),
            _ => {}
        }
    }
    disconnect.user_properties = list.user_properties();
    body.finish("property list")?;
    Ok(disconnect)
}

pub(super) fn decode_auth<'a>(
    version: Version,
    mut body: Reader<'a>,
    limits: &Limits,
) -> Result<Auth<'a>, Error> {
    if version < Version::V5 {
        return Err(Error::malformed(
            "packet type 15 is reserved before 5.0",
            Flaw::Says,
        ));
    }
    let mut auth = Auth {
        reason: Reason::Success,
        authentication_method: None,
        authentication_data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    if body.is_empty() {
        return Ok(auth);
    }
    auth.reason = body.reason(is_allowed_for_auth)?;
    let mut list = List::read(&mut body, PacketType::Auth, limits)?;
    while let Some(property) = list.next()? {
        match property {
            Property::AuthenticationMethod(method) => auth.authentication_method = Some(method),
            Property::AuthenticationData(data) => auth.authentication_data = Some(data),
            Property::ReasonString(text) => auth.reason_string = Some(text),
            _ => {}
        }
    }
    auth.user_properties = list.user_properties();
    body.finish("property list")?;
    if auth.authentication_method.is_none() {
        // [MQTT-3.15.2.2.2]: only the form without any of this may go without it.
        return Err(Error::protocol(
            "there is no Authentication Method",
            Flaw::Says,
        ));
    }
    Ok(auth)
}

/// `[MQTT-3.14.2.1]`
fn is_allowed_for_disconnect(reason: Reason) -> bool {
    use Reason as R;
    match reason {
        R::Success | R::DisconnectWithWill => true,
        R::UnsupportedProtocolVersion
        | R::ClientIdentifierNotValid
        | R::BadUserNameOrPassword
        | R::ServerUnavailable
        | R::Banned
        | R::BadAuthenticationMethod
        | R::PacketIdentifierInUse
        | R::PacketIdentifierNotFound => false,
        reason => reason.is_error(),
    }
}

/// `[MQTT-3.15.2.1]`
fn is_allowed_for_auth(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success | Reason::ContinueAuthentication | Reason::ReAuthenticate
    )
}
