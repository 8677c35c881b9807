//! Tells threads of a scope that it is over, also where the one that waits for them panics: else that
//! one would wait for ever.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// It is over when this is dropped.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
