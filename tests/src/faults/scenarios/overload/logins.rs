//! Clients that want in, all of them at about the same time, and that come again when they are not
//! let in: later each time, and by chance.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::client::{Client, Refusal, Way};
use crate::{Connect, history::Random, unique};

/// The longest time before the second attempt, which doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Where they come from, and who they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login {
    pub(super) to: SocketAddr,
    pub(super) name: &'static str,
    pub(super) password: &'static str,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How long each took that got in, from when it wanted in.
    pub(super) times: Vec<Duration>,
    pub(super) n_attempts: usize,
    /// Of these, CONNACKs that said no.
    pub(super) n_refused: usize,
    /// And connections that ended without one, or heard nothing.
    pub(super) n_cut: usize,
}

#[derive(Debug, Default)]
struct Counts {
    n_attempts: AtomicUsize,
    n_refused: AtomicUsize,
    n_cut: AtomicUsize,
}

// === impl Login ===

impl Login {
    /// One attempt, from an address that not many have.
    async fn attempt(self, number: usize) -> Result<Client, Refusal> {
        let [high, low] = [number / 250 % 250, number % 250 + 1];
        let [high, low] = [high, low].map(|part| u8::try_from(part).expect("below 251"));
        let way = Way {
            from: Some(Ipv4Addr::new(127, 1, high, low)),
            ..Way::to(self.to, ATTEMPT)
        };
        let connect = Connect::new(5, unique("storm"));
        way.open(&connect.username(self.name).password(self.password))
            .await
    }

    /// How many are let in within this time, if some are always at it; they leave at once.
    pub(super) fn n_within(self, time: Duration) -> usize {
        let (n_in, is_over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let runtime = runtime();
        runtime.block_on(async {
            let mut all = JoinSet::new();
            for number in 0..8 {
                let (n_in, is_over) = (Arc::clone(&n_in), Arc::clone(&is_over));
                all.spawn(async move {
                    while !is_over.load(Relaxed) {
                        let came = self.attempt(number).await.is_ok();
                        n_in.fetch_add(usize::from(came && !is_over.load(Relaxed)), Relaxed);
                    }
                });
            }
            sleep(time).await;
            is_over.store(true, Relaxed);
            while all.join_next().await.is_some() {}
        });
        n_in.load(Relaxed)
    }

    /// So many want in within `spread`, and have given up after `limit`. Those who got in stay until
    /// all have come to an end.
    pub(super) fn storm(
        self,
        n_clients: usize,
        spread: Duration,
        limit: Duration,
        random: &mut Random,
    ) -> Outcome {
        let counts = Arc::new(Counts::default());
        let runtime = runtime();
        let times = runtime.block_on(async {
            let mut all = JoinSet::new();
            for number in 0..n_clients {
                let (counts, random) = (Arc::clone(&counts), random.fork());
                let part = u32::try_from(number).expect("not so many");
                let of = u32::try_from(n_clients).expect("not so many");
                all.spawn(async move {
                    sleep(spread * part / of).await;
                    let since = Instant::now();
                    let came = timeout(limit, self.persist(number, random, &counts)).await;
                    came.ok().map(|client| (since.elapsed(), client))
                });
            }
            all.join_all().await
        });
        let (times, staying): (Vec<_>, Vec<_>) = times.into_iter().flatten().unzip();
        drop(staying);
        let count = |counter: &AtomicUsize| counter.load(Relaxed);
        Outcome {
            times,
            n_attempts: count(&counts.n_attempts),
            n_refused: count(&counts.n_refused),
            n_cut: count(&counts.n_cut),
        }
    }

    async fn persist(self, number: usize, mut random: Random, counts: &Counts) -> Client {
        let mut longest = FIRST_PAUSE;
        loop {
            counts.n_attempts.fetch_add(1, Relaxed);
            let failed = match self.attempt(number).await {
                Ok(client) => return client,
                Err(Refusal::Code(_)) => &counts.n_refused,
                Err(Refusal::Cut(_)) => &counts.n_cut,
            };
            failed.fetch_add(1, Relaxed);
            let most = usize::try_from(longest.as_millis()).expect("it fits");
            let pause = random.below(most).try_into().expect("it fits");
            sleep(Duration::from_millis(pause)).await;
            longest = (longest * 2).min(LONGEST_PAUSE);
        }
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime of one thread can be had")
}
