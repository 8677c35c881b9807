//! A secret that goes with the store: made up once, the same after a restart and for all gateways that
//! have the store in common, and known to nobody who does not have the store itself.

use gatemq_storage::Batch;

use super::{Backing, Store, Ticket, keys, redis};

/// What nobody can guess.
pub(crate) type Secret = [u8; 32];

impl Store {
    /// The secret; made up now if there is none yet.
    ///
    /// # Errors
    ///
    /// Redis does not answer, or has something else in its place.
    pub(crate) async fn secret(&self) -> Result<Secret, redis::Error> {
        match &self.backing {
            Backing::Redis(redis) => redis.secret(new()).await,
            Backing::Embedded { .. } => Ok(self.own_secret()),
        }
    }

    /// Puts the secret back where Redis has lost it, unless another gateway was faster.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn keep_secret(&self, secret: Secret) -> Result<(), redis::Error> {
        match &self.backing {
            Backing::Redis(redis) => redis.secret(secret).await.map(drop),
            Backing::Embedded { .. } => Ok(()),
        }
    }

    fn own_secret(&self) -> Secret {
        let stored = self.get(&keys::secret());
        let stored = stored.and_then(|bytes| Secret::try_from(&*bytes).ok());
        stored.unwrap_or_else(|| {
            let secret = new();
            let mut batch = Batch::default();
            batch.put(&keys::secret(), &secret);
            // One that is lost with a crash just now was not shown to many.
            self.submit(batch, Ticket::default());
            secret
        })
    }
}

/// A secret of nobody's.
pub(crate) fn new() -> Secret {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).expect("the system has had random bytes since it started");
    secret
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn it_is_the_same_whenever_the_store_is_opened_and_another_stores_is_another() {
        let engine = Arc::new(gatemq_storage::Memory::new());
        let first = {
            let store = Store::open(engine.clone(), 0).expect("it opens");
            let secret = store.secret().await.expect("it is its own");
            store.close();
            secret
        };
        let again = Store::open(engine, 0).expect("it opens");
        assert_eq!(again.secret().await.expect("it is its own"), first);
        let other = Arc::new(gatemq_storage::Memory::new());
        let other = Store::open(other, 0).expect("it opens");
        assert_ne!(other.secret().await.expect("it is its own"), first);
    }
}
