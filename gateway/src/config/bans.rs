//! Whom a gateway keeps out by itself.

use std::path::PathBuf;
use std::time::Duration;

/// Whom a gateway keeps out by itself, besides those whom the control plane names.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    /// A file with bans.
    pub file: Option<PathBuf>,
    /// Clients that come and go again and again.
    pub flapping: Flapping,
}

/// When a client comes and goes too often, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// How often a client identifier may connect within `window`; 0: any number of times.
    pub max_connects: u32,
    /// The time in which that is counted.
    pub window: Duration,
    /// For how long whoever does so more often is kept out.
    pub ban: Duration,
}

impl Bans {
    /// Reads the file, as the gateway will.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub fn check(&self) -> Result<(), crate::AuthError> {
        crate::bans::Bans::open(self).map(drop)
    }
}

impl Default for Flapping {
    fn default() -> Self {
        Self {
            max_connects: 0,
            window: Duration::from_secs(60),
            ban: Duration::from_secs(300),
        }
    }
}
