//! One at a time brings the session of a client identifier into memory: a CONNECT, or an adoption.
//! Two that both read it from Redis would make two sessions of it, and each would number messages.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Lets one through at a time, for each client identifier.
#[derive(Debug, Default)]
pub(crate) struct Turnstile(Arc<Mutex<Gates>>);

/// A gate for each client identifier that somebody is at.
type Gates = HashMap<Box<str>, Arc<tokio::sync::Mutex<()>>, RandomState>;

/// Whoever has it is the only one.
#[derive(Debug)]
pub(crate) struct Passing {
    gates: Arc<Mutex<Gates>>,
    client_id: Box<str>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turnstile {
    /// Waits until nobody else is there.
    pub(crate) async fn pass(&self, client_id: &str) -> Passing {
        let gate = {
            let mut gates = self.0.lock();
            match gates.get(client_id) {
                Some(gate) => gate.clone(),
                None => gates.entry(client_id.into()).or_default().clone(),
            }
        };
        // Made before it waits: whoever gives up removes the gate that nobody needs, too.
        let mut passing = Passing {
            gates: self.0.clone(),
            client_id: client_id.into(),
            guard: None,
        };
        passing.guard = Some(gate.lock_owned().await);
        passing
    }

    /// How many client identifiers somebody is at.
    #[cfg(test)]
    pub(crate) fn n_gates(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut gates = self.gates.lock();
        // Whoever waits has it as well; nobody new gets it while the gates are locked.
        let is_free = |gate: &Arc<_>| Arc::strong_count(gate) == 1;
        if gates.get(&self.client_id).is_some_and(is_free) {
            gates.remove(&self.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn one_passes_at_a_time_for_each_client_id() {
        let turnstile = Turnstile::default();
        let first = turnstile.pass("a").await;
        let mut second = std::pin::pin!(turnstile.pass("a"));
        assert!(poll!(&mut second).is_pending());
        assert!(turnstile.pass("b").now_or_never().is_some());
        drop(first);
        let Poll::Ready(second) = poll!(&mut second) else {
            panic!("nobody else is there");
        };
        assert!(turnstile.pass("a").now_or_never().is_none());
        drop(second);
        assert!(turnstile.0.lock().is_empty(), "a gate is left");
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_no_gate_and_does_not_take_that_of_others() {
        let turnstile = Turnstile::default();
        let first = turnstile.pass("a").await;
        {
            let mut second = std::pin::pin!(turnstile.pass("a"));
            assert!(poll!(&mut second).is_pending());
        }
        assert!(turnstile.pass("a").now_or_never().is_none());
        drop(first);
        assert!(turnstile.pass("a").now_or_never().is_some());
        assert!(turnstile.0.lock().is_empty(), "a gate is left");
    }
}
