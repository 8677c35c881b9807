//! The MQTT codec: versions 3.1, 3.1.1 and 5.0, every control packet in both directions.
//!
//! Decoding borrows: strings and payloads are slices of the frame. A property list that may
//! repeat (user properties, subscription identifiers) stays in its validated, encoded form and
//! is walked when asked for, so decoding a PUBLISH allocates nothing.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod property;
mod publish;
mod reason;

pub use decode::{Limits, decode};
pub use encode::encode;
pub use error::Error;
pub use frame::{Frame, MAX_REMAINING_LENGTH, frame};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Login, Packet, PacketId, Qos, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Version, Will,
};
pub use property::{
    SubscriptionIds, UserProperties, UserPropertiesBuf, forwardable, user_property,
    with_user_property,
};
pub use publish::{Publish, PublishHeader, PublishProperties};
pub use reason::Reason;

#[cfg(test)]
mod samples;
