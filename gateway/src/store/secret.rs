//! A secret that goes with the store: made up once, the same after a restart and for all gateways that
//! have the store in common, and known to nobody who does not have the store itself.

use gatemq_storage::Batch;

use super::{Backing, Store, Ticket, keys, redis};

/// What nobody can guess.
pub(crate) type Secret = [u8; 32];

impl Store {
    /// The secret. If there is none yet, or no more, it is from now on what the caller knows it as, or
    /// one that is made up, unless another gateway is faster.
    ///
    /// # Errors
    ///
    /// Redis does not answer, or has something else in its place.
    pub(crate) async fn secret(&self, known: Option<Secret>) -> Result<Secret, redis::Error> {
        match &self.backing {
            Backing::Redis(redis) => redis.secret(known.unwrap_or_else(random)).await,
            Backing::Embedded { .. } => Ok(known.unwrap_or_else(|| self.own_secret())),
        }
    }

    fn own_secret(&self) -> Secret {
        let stored = self.get(&keys::secret());
        let stored = stored.and_then(|bytes| Secret::try_from(&*bytes).ok());
        stored.unwrap_or_else(|| {
            let secret = random();
            let mut batch = Batch::default();
            batch.put(&keys::secret(), &secret);
            // One that is lost with a crash just now was not shown to many.
            self.submit(batch, Ticket::default());
            secret
        })
    }
}

/// A secret of nobody's.
pub(crate) fn random() -> Secret {
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
            let secret = store.secret(None).await.expect("it is its own");
            store.close();
            secret
        };
        let again = Store::open(engine, 0).expect("it opens");
        assert_eq!(again.secret(None).await.expect("it is its own"), first);
        let other = Arc::new(gatemq_storage::Memory::new());
        let other = Store::open(other, 0).expect("it opens");
        assert_ne!(other.secret(None).await.expect("it is its own"), first);
    }
}
