//! The reason codes of MQTT 5.0, and what is left of them in a CONNACK of 3.1 and 3.1.1.

use std::fmt;

macro_rules! reasons {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// A reason code of MQTT 5.0 `[MQTT-2.4]`.
        ///
        /// One code may have several names: 0x00 is Success, Normal disconnection and
        /// Granted QoS 0. It is [`Reason::Success`] here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(
                #[doc = concat!($text, " (", stringify!($code), ").")]
                $name = $code,
            )*
        }

        impl Reason {
            /// Every reason code there is, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason of this code; `None` if the standard has no such code.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name that the standard gives this reason.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    Success = 0x00, "Success";
    GrantedQos1 = 0x01, "Granted QoS 1";
    GrantedQos2 = 0x02, "Granted QoS 2";
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    ReAuthenticate = 0x19, "Re-authenticate";
    UnspecifiedError = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecificError = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8A, "Banned";
    ServerShuttingDown = 0x8B, "Server shutting down";
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    SessionTakenOver = 0x8E, "Session taken over";
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9A, "Retain not supported";
    QosNotSupported = 0x9B, "QoS not supported";
    UseAnotherServer = 0x9C, "Use another server";
    ServerMoved = 0x9D, "Server moved";
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    MaximumConnectTime = 0xA0, "Maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl Reason {
    /// Whether the code reports a failure: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The CONNACK return code of 3.1 and 3.1.1 that comes nearest, 0 to 5. A reason that has
    /// no counterpart becomes 3, Server unavailable, or 5, Not authorized, if trying again
    /// without a change cannot help.
    pub const fn connack_return_code(self) -> u8 {
        match self {
            reason if !reason.is_error() => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized
            | Self::Banned
            | Self::BadAuthenticationMethod
            | Self::TopicNameInvalid
            | Self::RetainNotSupported
            | Self::QosNotSupported => 5,
            _ => 3,
        }
    }

    /// The reason that a CONNACK return code of 3.1 and 3.1.1 stands for.
    pub(super) const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_one_to_one() {
        for code in 0..=u8::MAX {
            if let Some(reason) = Reason::from_u8(code) {
                assert_eq!(reason as u8, code);
                assert_eq!(reason.is_error(), code >= 0x80);
                assert!(reason.connack_return_code() <= 5);
                assert_eq!(reason.connack_return_code() != 0, reason.is_error());
            }
        }
        assert_eq!(Reason::ALL.len(), 43);
        assert_eq!(
            (0..=u8::MAX).filter_map(Reason::from_u8).count(),
            Reason::ALL.len()
        );
    }

    #[test]
    fn connack_return_codes_have_a_reason_each() {
        for code in 0..=u8::MAX {
            match Reason::from_connack_return_code(code) {
                Some(reason) => assert_eq!(reason.connack_return_code(), code),
                None => assert!(code > 5),
            }
        }
    }

    #[test]
    fn shows_the_name_of_the_standard() {
        assert_eq!(Reason::PacketTooLarge.to_string(), "Packet too large");
    }
}
