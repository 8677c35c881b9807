//! Property lists of MQTT 5.0 in their encoded form, for what may repeat and for what a server
//! passes on.
//!
//! The values here are slices of a list that `decode` has checked. Walking one again finds the
//! same entries; walking anything else ends early and never panics.

mod entries;
mod forwardable;
mod id;
mod subscription;
mod user;

pub(super) use entries::Entries;
pub use forwardable::{forwardable, user_property, with_user_property};
pub(super) use id::{Id, Shape};
pub use subscription::SubscriptionIds;
pub use user::{UserProperties, UserPropertiesBuf};

#[cfg(test)]
mod tests;
