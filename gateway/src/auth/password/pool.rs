//! How many passwords are hashed at once, and how many may wait for it.
//!
//! Hashing a password well takes a core for tens of milliseconds, so it is kept from the threads
//! that serve connections, and it gets fewer cores than there are: a crowd that logs in does not
//! hold up those who are there. Whoever finds too many before it, or waits too long, is refused;
//! it was not found out whether the password is right.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time;

use super::Match;
use super::scheme::Scheme;
use super::stored::{Malformed, Stored};

/// The bounds of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Passwords that are hashed at the same time.
    pub(crate) at_once: NonZeroUsize,
    /// Passwords that wait.
    pub(crate) waiting: usize,
    /// How long one may wait.
    pub(crate) patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let n_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            at_once: NonZeroUsize::new(n_cores - 1).unwrap_or(NonZeroUsize::MIN),
            waiting: 1_000,
            patience: Duration::from_secs(5),
        }
    }
}

/// Where passwords are hashed.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    slots: Arc<Semaphore>,
    seats: Semaphore,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) comparing: usize,
    pub(crate) waiting: usize,
}

/// Why it is not known whether a password is right. All of them mean: deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("too many passwords are being verified")]
    Overloaded,
    #[error("the verification of a password did not end")]
    Failed,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Self {
        let at_once = limits.at_once.get().min(Semaphore::MAX_PERMITS);
        let waiting = limits.waiting.min(Semaphore::MAX_PERMITS);
        let limits = Limits { waiting, ..limits };
        Self {
            limits,
            slots: Arc::new(Semaphore::new(at_once)),
            seats: Semaphore::new(waiting),
        }
    }

    /// Compares the password that a client gave with the stored one. `salt` is that of a column of
    /// its own, if the scheme has one; empty if there is none. What is cheap is done at once,
    /// whatever waits.
    pub(crate) async fn verify(
        &self,
        scheme: &Scheme,
        stored: &str,
        salt: &[u8],
        given: &[u8],
    ) -> Result<Match, Error> {
        self.compare(Stored::read(scheme, stored, salt)?, given)
            .await
    }

    /// Costs what [`Pool::verify`] costs, for a user who is not there, and never matches: the time
    /// that a refusal takes shall not tell which users exist. `like` is the stored password of any
    /// user of the source. Waits, and is refused, as `verify` is.
    pub(crate) async fn decoy(
        &self,
        scheme: &Scheme,
        like: Option<&str>,
        given: &[u8],
    ) -> Result<Match, Error> {
        let _ = self.compare(Stored::decoy(scheme, like), given).await?;
        Ok(Match::No)
    }

    /// [`super::hash`].
    pub(crate) async fn hash(&self, given: &[u8]) -> Result<String, Error> {
        let given = given.to_vec();
        self.run(move || super::hash(&given)).await
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            comparing: self.limits.at_once.get() - self.slots.available_permits(),
            waiting: self.limits.waiting - self.seats.available_permits(),
        }
    }

    async fn compare(&self, stored: Stored, given: &[u8]) -> Result<Match, Error> {
        if stored.is_cheap() {
            return Ok(stored.compare(given));
        }
        let given = given.to_vec();
        self.run(move || stored.compare(&given)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let slot = self.slot().await?;
        let running = task::spawn_blocking(move || {
            // Until the work has ended, even if the client leaves meanwhile and nobody awaits it.
            let _slot = slot;
            work()
        });
        // It panicked, or the runtime is being shut down.
        running.await.map_err(|_| Error::Failed)
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        let _seat = self.seats.try_acquire().map_err(|_| Error::Overloaded)?;
        match time::timeout(
            self.limits.patience,
            Arc::clone(&self.slots).acquire_owned(),
        )
        .await
        {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Error::Overloaded),
        }
    }
}

#[cfg(test)]
mod tests;
