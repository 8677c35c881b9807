//! Work that is held makes the pool as full as a test needs it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::super::scheme::{Mode, SaltPosition};
use super::*;

const LONG: Duration = Duration::from_secs(20);
/// "correct horse", at the least cost.
const BCRYPT: &str = "$2y$05$TNaZ4JAzNQC.o0I5nDr.FOvuLsuuJ2e7R7/N69fv2zjTpaAH57HOS";

fn scheme(mode: Mode) -> Scheme {
    Scheme::new(mode, None, SaltPosition::Disable).expect("it is complete")
}

/// Those who want something of a pool, and how many of them are at work.
#[derive(Clone)]
struct Crowd {
    pool: Arc<Pool>,
    at_work: Arc<AtomicUsize>,
    most_at_work: Arc<AtomicUsize>,
}

impl Crowd {
    fn new(at_once: usize, waiting: usize, patience: Duration) -> Self {
        let at_once = NonZeroUsize::new(at_once).expect("some");
        let pool = Arc::new(Pool::new(Limits {
            at_once,
            waiting,
            patience,
        }));
        Self {
            pool,
            at_work: Arc::default(),
            most_at_work: Arc::default(),
        }
    }

    /// Work that does not end before the sender is dropped.
    fn work(&self) -> (mpsc::Sender<()>, task::JoinHandle<Result<(), Error>>) {
        let (hold, held) = mpsc::channel::<()>();
        let Self {
            pool,
            at_work,
            most_at_work,
        } = self.clone();
        let work = move || {
            let n_at_work = at_work.fetch_add(1, Ordering::SeqCst) + 1;
            most_at_work.fetch_max(n_at_work, Ordering::SeqCst);
            let _ = held.recv_timeout(LONG);
            at_work.fetch_sub(1, Ordering::SeqCst);
        };
        (hold, tokio::spawn(async move { pool.run(work).await }))
    }

    async fn until(&self, comparing: usize, waiting: usize) {
        let is_reached = || {
            self.pool.load() == Load { comparing, waiting }
                && self.at_work.load(Ordering::SeqCst) == comparing
        };
        let reached = async {
            while !is_reached() {
                task::yield_now().await;
            }
        };
        time::timeout(LONG, reached)
            .await
            .expect("the load is reached");
    }
}

#[tokio::test]
async fn what_is_over_the_bound_is_refused_and_what_waits_is_done() {
    let crowd = Crowd::new(1, 1, LONG);
    let pool = &crowd.pool;
    let (first, running) = crowd.work();
    crowd.until(1, 0).await;
    let (second, waiting) = crowd.work();
    crowd.until(1, 1).await;

    let refused = pool
        .verify(&scheme(Mode::Bcrypt), BCRYPT, b"", b"correct horse")
        .await;
    assert_eq!(refused, Err(Error::Overloaded));
    let refused = pool
        .decoy(&scheme(Mode::Bcrypt), None, b"correct horse")
        .await;
    assert_eq!(refused, Err(Error::Overloaded));
    assert_eq!(pool.hash(b"new").await, Err(Error::Overloaded));

    drop(first);
    assert_eq!(running.await.expect("no panic"), Ok(()));
    crowd.until(1, 0).await;
    drop(second);
    assert_eq!(waiting.await.expect("no panic"), Ok(()));
    crowd.until(0, 0).await;
    let done = pool
        .verify(&scheme(Mode::Bcrypt), BCRYPT, b"", b"correct horse")
        .await;
    assert_eq!(done, Ok(Match::Yes));
}

#[tokio::test]
async fn whoever_waits_too_long_is_refused_and_leaves_its_seat() {
    let crowd = Crowd::new(1, 1, Duration::from_millis(1));
    let pool = &crowd.pool;
    let (hold, running) = crowd.work();
    crowd.until(1, 0).await;
    for _ in 0..2 {
        let refused = pool
            .verify(&scheme(Mode::Auto), BCRYPT, b"", b"correct horse")
            .await;
        assert_eq!(refused, Err(Error::Overloaded));
        assert_eq!(
            pool.load(),
            Load {
                comparing: 1,
                waiting: 0
            }
        );
    }
    drop(hold);
    assert_eq!(running.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn no_more_are_hashed_at_once_than_the_limit_says() {
    let crowd = Crowd::new(2, 10, LONG);
    let (holds, tasks): (Vec<_>, Vec<_>) = (0..5).map(|_| crowd.work()).unzip();
    crowd.until(2, 3).await;
    drop(holds);
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), Ok(()));
    }
    crowd.until(0, 0).await;
    assert_eq!(crowd.most_at_work.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_free_the_slot_of_its_work() {
    let crowd = Crowd::new(1, 0, LONG);
    let pool = &crowd.pool;
    let (hold, running) = crowd.work();
    crowd.until(1, 0).await;
    running.abort();
    assert!(running.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(
        pool.load(),
        Load {
            comparing: 1,
            waiting: 0
        }
    );
    assert_eq!(pool.hash(b"new").await, Err(Error::Overloaded));
    drop(hold);
    crowd.until(0, 0).await;
}

#[tokio::test]
async fn cheap_schemes_do_not_wait() {
    let crowd = Crowd::new(1, 0, LONG);
    let pool = &crowd.pool;
    let (hold, running) = crowd.work();
    crowd.until(1, 0).await;
    let plain = scheme(Mode::Plain);
    assert_eq!(
        pool.verify(&plain, "secret", b"", b"secret").await,
        Ok(Match::Yes)
    );
    assert_eq!(
        pool.verify(&plain, "secret", b"", b"other").await,
        Ok(Match::No)
    );
    assert_eq!(
        pool.decoy(&plain, Some("secret"), b"secret").await,
        Ok(Match::No)
    );
    let malformed = pool
        .verify(&scheme(Mode::Bcrypt), "secret", b"", b"secret")
        .await;
    assert!(
        matches!(malformed, Err(Error::Malformed(_))),
        "{malformed:?}"
    );
    drop(hold);
    assert_eq!(running.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_slot_is_free_again() {
    let crowd = Crowd::new(1, 0, LONG);
    let pool = &crowd.pool;
    let failed: Result<(), Error> = pool.run(|| panic!("as told")).await;
    assert_eq!(failed, Err(Error::Failed));
    assert_eq!(
        pool.load(),
        Load {
            comparing: 0,
            waiting: 0
        }
    );
    let stored = pool.hash(b"new").await.expect("there is a slot");
    assert_eq!(
        pool.verify(&scheme(Mode::Auto), &stored, b"", b"new").await,
        Ok(Match::Yes)
    );
}

#[test]
fn by_default_a_core_is_left_for_those_who_are_there() {
    let limits = Limits::default();
    let n_cores = thread::available_parallelism().expect("known").get();
    assert_eq!(limits.at_once.get(), (n_cores - 1).max(1));
    assert_eq!(
        (limits.waiting, limits.patience),
        (1_000, Duration::from_secs(5))
    );
}
