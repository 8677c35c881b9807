//! Asks the gateways that have sessions now to say again what they may have said: many at once, so
//! that one that does not answer holds up no other one.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::store::redis::Holder;

/// How many are asked at once.
const AT_ONCE: usize = 64;

/// A session, and who has it.
pub(super) type Ask = (String, Holder);

/// What one adoption asks for: one batch at a time, or whoever is slow would be asked for more and more.
#[derive(Debug, Default)]
pub(super) struct Insisting(Arc<tokio::sync::Mutex<()>>);

impl Insisting {
    /// Asks beside all else, unless it is being asked already; what comes of it is found in Redis.
    pub(super) fn insist(&self, broker: &Arc<Broker>, asks: Vec<Ask>, gone: u64) {
        let insisting = broker.clone();
        self.begin(broker, async move {
            let ask = |(client_id, holder): Ask| {
                let broker = &insisting;
                async move { broker.ask_to_say_again(&client_id, &holder, gone).await }
            };
            each(asks, ask).await;
        });
    }

    /// Does it unless the last one is not done.
    fn begin(&self, broker: &Broker, asking: impl Future<Output = ()> + Send + 'static) {
        if let Ok(alone) = self.0.clone().try_lock_owned() {
            broker.see_to("adoption", async move {
                asking.await;
                drop(alone);
            });
        }
    }
}

/// Asks each, unless its gateway has not answered for another one.
async fn each<F: Future<Output = bool>>(asks: Vec<Ask>, ask: impl Fn(Ask) -> F) {
    let mute: Mutex<HashSet<u64>> = Mutex::default();
    let asking = stream::iter(asks).for_each_concurrent(AT_ONCE, async |one| {
        let owner = one.1.owner;
        let is_mute = mute.lock().contains(&owner);
        if !is_mute && !ask(one).await {
            mute.lock().insert(owner);
        }
    });
    asking.await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    fn ask(owner: u64) -> Ask {
        let holder = Holder {
            owner,
            number: 7,
            epoch: 1,
        };
        ("c".to_owned(), holder)
    }

    #[tokio::test]
    async fn nothing_is_asked_for_while_the_last_one_is_not_done() {
        let broker = Broker::in_memory();
        let insisting = Insisting::default();
        let (n_begun, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let begin = || {
            let (n_begun, last) = (n_begun.clone(), last.clone());
            insisting.begin(&broker, async move {
                n_begun.fetch_add(1, Ordering::Relaxed);
                last.notified().await;
            });
        };
        for n_times in 1..=3 {
            begin();
            begin();
            last.notify_one();
            let is_done = async {
                while insisting.0.try_lock().is_err() {
                    begin();
                    tokio::task::yield_now().await;
                }
            };
            let done = tokio::time::timeout(Duration::from_secs(20), is_done).await;
            done.expect("it ends");
            assert_eq!(n_begun.load(Ordering::Relaxed), n_times);
        }
        broker.tasks_end.cancel();
    }

    #[tokio::test]
    async fn who_does_not_answer_holds_up_nobody_and_is_not_asked_for_each() {
        let (n_asked, last) = (AtomicUsize::new(0), Notify::new());
        let mut asks = vec![ask(1); 10 * AT_ONCE];
        asks.insert(AT_ONCE - 1, ask(2));
        let asking = each(asks, async |(_, holder)| {
            if holder.owner == 2 {
                last.notify_waiters();
                return true;
            }
            n_asked.fetch_add(1, Ordering::Relaxed);
            last.notified().await;
            false
        });
        let asked = tokio::time::timeout(Duration::from_secs(20), asking);
        asked.await.expect("the other one is asked");
        assert_eq!(n_asked.into_inner(), AT_ONCE - 1);
    }
}
