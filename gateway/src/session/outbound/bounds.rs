//! How much a session's queue may hold, and what happens then.

use crate::config::OnFull;

/// Bounds of a session's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) outbox: usize,
    pub(crate) on_full: OnFull,
    pub(crate) queue_qos0: bool,
}

impl Bounds {
    /// With room for whatever comes.
    pub(crate) fn none(self) -> Self {
        Self {
            messages: usize::MAX,
            bytes: usize::MAX,
            ..self
        }
    }

    /// With room for twice as much.
    pub(crate) fn twice(self) -> Self {
        Self {
            messages: self.messages.saturating_mul(2),
            bytes: self.bytes.saturating_mul(2),
            ..self
        }
    }
}
