//! What makes faults happen: each kind in a file of its own, to be switched while things run.
//!
//! What a machine cannot do is [`Unavailable`] with its reason; nothing here panics for that, so
//! that a scenario can say that it shows nothing.

pub mod clock;
pub mod disk;
pub mod limits;
pub mod native;
pub mod network;
pub mod relay;

use std::fmt;

pub use clock::Clock;
pub use native::Native;
pub use network::{CLIENTS, Network};
pub use relay::Relay;

/// A fault cannot be had on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

impl Unavailable {
    /// With this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
