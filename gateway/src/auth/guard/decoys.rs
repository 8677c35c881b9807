//! What salts of those who are not there are made of: a secret that goes with the store, so that all
//! gateways which have that in common ask for the same, and so they do after a restart.
//!
//! Until the store has said it once, it is one of this process alone, which is offered to nobody.

use parking_lot::Mutex;

use super::Guard;
use crate::auth::password::scram::{self, Mechanism};
use crate::store::secret::{self, Secret};
use crate::store::{Store, redis};

/// What they are made of.
pub(super) struct Decoys(Mutex<Kept>);

#[derive(Clone, Copy)]
struct Kept {
    secret: Secret,
    /// It is the store's, not of this process alone.
    is_agreed: bool,
}

// === impl Guard ===

impl Guard {
    /// Makes salts of those who are not there of the store's secret from now on. Where the store has
    /// lost it, it gets back what this gateway has of it, or what another one has put there holds.
    ///
    /// # Errors
    ///
    /// The store does not say it; what was in use stays.
    pub(crate) async fn agree(&self, store: &Store) -> Result<(), redis::Error> {
        let kept = *self.decoys.0.lock();
        let secret = store.secret(kept.is_agreed.then_some(kept.secret)).await?;
        *self.decoys.0.lock() = Kept {
            secret,
            is_agreed: true,
        };
        Ok(())
    }

    /// Whether the store has said what they are made of.
    pub(crate) fn has_agreed(&self) -> bool {
        self.decoys.0.lock().is_agreed
    }
}

// === impl Decoys ===

impl Decoys {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Kept {
            secret: secret::random(),
            is_agreed: false,
        }))
    }

    /// What one who is not there is asked with.
    pub(super) fn secret(&self, mechanism: Mechanism, username: &str) -> scram::Secret {
        let Kept { secret, .. } = *self.0.lock();
        scram::Secret::decoy(mechanism, &secret, username)
    }
}

impl std::fmt::Debug for Decoys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoys(..)") // not the key
    }
}
