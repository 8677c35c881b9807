//! A packet as names and values, so that packets of unlike types can be compared.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The fields of a packet that are there, by name, as text.
pub(super) type Fields = BTreeMap<String, String>;

/// Something that a field can hold.
pub(super) trait Value {
    /// As text; `None` if it is as good as absent.
    fn text(&self) -> Option<String>;
}

/// Adds fields of a struct under their own names, after a prefix.
macro_rules! note {
    ($fields:expr, $prefix:literal, $from:expr; $($name:ident),* $(,)?) => {
        $(
            if let Some(text) = $crate::codec_differential::fields::Value::text(&$from.$name) {
                $fields.insert(concat!($prefix, stringify!($name)).to_owned(), text);
            }
        )*
    };
}
pub(super) use note;

/// Adds one field.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what is added is mostly made for it"
)]
pub(super) fn add(fields: &mut Fields, name: &str, value: impl Value) {
    if let Some(text) = value.text() {
        fields.insert(name.to_owned(), text);
    }
}

/// A reason by the name of its variant, in our spelling; the other projects have a type for each
/// packet, and not everywhere the code.
pub(super) fn reason(variant: impl std::fmt::Debug) -> String {
    let name = format!("{variant:?}");
    let ours = match name.as_str() {
        "NormalDisconnection" | "Success(AtMostOnce)" | "QoS0" => "Success",
        "Success(AtLeastOnce)" | "QoS1" => "GrantedQos1",
        "Success(ExactlyOnce)" | "QoS2" => "GrantedQos2",
        "Failure" | "Unspecified" => "UnspecifiedError",
        "ImplementationSpecific" => "ImplementationSpecificError",
        "PkidInUse" => "PacketIdentifierInUse",
        "SubscriptionIdNotSupported" => "SubscriptionIdentifiersNotSupported",
        "SharedSubscriptionNotSupported" => "SharedSubscriptionsNotSupported",
        "DisconnectWithWillMessage" => "DisconnectWithWill",
        "QoSNotSupported" => "QosNotSupported",
        "BadUserNamePassword" => "BadUserNameOrPassword",
        "RefusedProtocolVersion" => "UnsupportedProtocolVersion",
        "BadClientId" => "ClientIdentifierNotValid",
        "ServiceUnavailable" => "ServerUnavailable",
        "Continue" => "ContinueAuthentication",
        "ReAuthentivate" => "ReAuthenticate",
        _ => return name,
    };
    ours.to_owned()
}

// === values ===

macro_rules! as_displayed {
    ($($kind:ty),*) => {
        $(
            impl Value for $kind {
                fn text(&self) -> Option<String> {
                    Some(self.to_string())
                }
            }
        )*
    };
}

as_displayed!(u16, u32, usize, String, &str);

impl Value for u8 {
    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A flag is a number: some have it as a byte.
impl Value for bool {
    fn text(&self) -> Option<String> {
        Some(u8::from(*self).to_string())
    }
}

impl Value for Bytes {
    fn text(&self) -> Option<String> {
        self.as_ref().text()
    }
}

impl Value for &[u8] {
    fn text(&self) -> Option<String> {
        Some(match str::from_utf8(self) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("{self:02x?}"),
        })
    }
}

impl Value for [u8] {
    fn text(&self) -> Option<String> {
        (&self).text()
    }
}

impl<T: Value> Value for Option<T> {
    fn text(&self) -> Option<String> {
        self.as_ref().and_then(Value::text)
    }
}

impl Value for Vec<(String, String)> {
    fn text(&self) -> Option<String> {
        (!self.is_empty()).then(|| format!("{self:?}"))
    }
}

impl Value for Vec<usize> {
    fn text(&self) -> Option<String> {
        (!self.is_empty()).then(|| format!("{self:?}"))
    }
}

impl Value for Vec<String> {
    fn text(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for rumqttc::QoS {
    fn text(&self) -> Option<String> {
        (*self as u8).text()
    }
}

impl Value for rumqttc::v5::mqttbytes::QoS {
    fn text(&self) -> Option<String> {
        (*self as u8).text()
    }
}
