//! Property identifiers, and the data type of each `[MQTT-2.2.2.2]`.

macro_rules! ids {
    ($($name:ident = $code:literal, $shape:ident, $text:literal;)*) => {
        /// A property identifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(in crate::mqtt) enum Id {
            $($name = $code,)*
        }

        impl Id {
            pub(in crate::mqtt) const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            pub(in crate::mqtt) const fn shape(self) -> Shape {
                match self {
                    $(Self::$name => Shape::$shape,)*
                }
            }

            pub(in crate::mqtt) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

ids! {
    PayloadFormatIndicator = 0x01, Byte, "Payload Format Indicator";
    MessageExpiryInterval = 0x02, Four, "Message Expiry Interval";
    ContentType = 0x03, Bytes, "Content Type";
    ResponseTopic = 0x08, Bytes, "Response Topic";
    CorrelationData = 0x09, Bytes, "Correlation Data";
    SubscriptionIdentifier = 0x0B, Variable, "Subscription Identifier";
    SessionExpiryInterval = 0x11, Four, "Session Expiry Interval";
    AssignedClientIdentifier = 0x12, Bytes, "Assigned Client Identifier";
    ServerKeepAlive = 0x13, Two, "Server Keep Alive";
    AuthenticationMethod = 0x15, Bytes, "Authentication Method";
    AuthenticationData = 0x16, Bytes, "Authentication Data";
    RequestProblemInformation = 0x17, Byte, "Request Problem Information";
    WillDelayInterval = 0x18, Four, "Will Delay Interval";
    RequestResponseInformation = 0x19, Byte, "Request Response Information";
    ResponseInformation = 0x1A, Bytes, "Response Information";
    ServerReference = 0x1C, Bytes, "Server Reference";
    ReasonString = 0x1F, Bytes, "Reason String";
    ReceiveMaximum = 0x21, Two, "Receive Maximum";
    TopicAliasMaximum = 0x22, Two, "Topic Alias Maximum";
    TopicAlias = 0x23, Two, "Topic Alias";
    MaximumQos = 0x24, Byte, "Maximum QoS";
    RetainAvailable = 0x25, Byte, "Retain Available";
    UserProperty = 0x26, Pair, "User Property";
    MaximumPacketSize = 0x27, Four, "Maximum Packet Size";
    WildcardSubscriptionAvailable = 0x28, Byte, "Wildcard Subscription Available";
    SubscriptionIdentifierAvailable = 0x29, Byte, "Subscription Identifier Available";
    SharedSubscriptionAvailable = 0x2A, Byte, "Shared Subscription Available";
}

impl Id {
    /// The bit that stands for the property in a set of properties.
    pub(in crate::mqtt) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// How the value of a property is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum Shape {
    Byte,
    Two,
    Four,
    /// A variable byte integer.
    Variable,
    /// Text or binary data: two bytes of length before it.
    Bytes,
    /// Two texts.
    Pair,
}
