//! Many clients that need little time, and share one thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::patience::pause;

/// How long it may take until all are in.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// All of them.
pub(super) struct Herd {
    signs: Arc<Signs>,
    thread: thread::JoinHandle<()>,
}

/// What they and whoever started them tell one another.
#[derive(Debug, Default)]
pub(super) struct Signs {
    n_in: AtomicUsize,
    n_ended: AtomicUsize,
    is_over: AtomicBool,
}

// === impl Herd ===

impl Herd {
    /// Starts so many, each by its number, spread over `period`; returns when all of them are in, or
    /// it takes too long. What one does ends with an error if its connection does before it is
    /// over.
    pub(super) fn come<F, E>(
        n_clients: usize,
        period: Duration,
        act: impl Fn(usize, Arc<Signs>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let signs = Arc::new(Signs::default());
        let shared = Arc::clone(&signs);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime of one thread can be had");
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for number in 0..n_clients {
                    let part = u32::try_from(number % 1_000).expect("small");
                    let (acting, signs) = (act(number, Arc::clone(&shared)), Arc::clone(&shared));
                    all.spawn(async move {
                        sleep(period * part / 1_000).await;
                        let has_ended = acting.await.is_err();
                        signs.n_ended.fetch_add(usize::from(has_ended), Relaxed);
                    });
                }
                while all.join_next().await.is_some() {}
            });
        });
        let herd = Self { signs, thread };
        let start = Instant::now();
        while herd.n_in() < n_clients && start.elapsed() < LIMIT {
            pause(Duration::from_millis(50));
        }
        herd
    }

    /// How many have come in.
    pub(super) fn n_in(&self) -> usize {
        self.signs.n_in.load(Relaxed)
    }

    /// How many connections ended before it was over.
    pub(super) fn n_ended(&self) -> usize {
        self.signs.n_ended.load(Relaxed)
    }

    /// It is over: they leave.
    pub(super) fn leave(self) {
        self.signs.is_over.store(true, Relaxed);
        let _panicked = self.thread.join();
    }
}

// === impl Signs ===

impl Signs {
    /// One more is in.
    pub(super) fn comes_in(&self) {
        self.n_in.fetch_add(1, Relaxed);
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}
