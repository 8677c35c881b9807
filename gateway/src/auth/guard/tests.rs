//! Whom the guard asks, and whom it spares.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::auth::password::scram::Mechanism;
use crate::auth::{Beginning, Known, Part};

/// Lets everybody in, unless it is gone; counts how often it is asked.
#[derive(Debug, Default)]
struct Counting {
    n_asked: Arc<AtomicUsize>,
    is_gone: Arc<std::sync::atomic::AtomicBool>,
}

impl Counting {
    fn say<T: Send + 'static>(&self, what: T) -> BoxFuture<'static, Result<T, Unavailable>> {
        let said = match self.is_gone.load(Ordering::Relaxed) {
            true => Err(Unavailable::Failed("gone".to_owned())),
            false => Ok(what),
        };
        let n_asked = self.n_asked.clone();
        Box::pin(async move {
            n_asked.fetch_add(1, Ordering::Relaxed);
            said
        })
    }
}

impl Source for Counting {
    fn name(&self) -> String {
        "counting".to_owned()
    }

    fn admit<'a>(
        &'a self,
        _: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        self.say(Admission::Allowed(Known {
            is_superuser: false,
            by: By::ClientId,
            mark: 1,
            brought: None,
        }))
    }

    fn look_up<'a>(
        &'a self,
        _: &'a str,
        _: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        self.say(Admission::Denied)
    }

    fn rights<'a>(&'a self, _: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        self.say(None)
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }

    fn refresh(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }
}

/// Knows nobody.
#[derive(Debug)]
struct Stranger;

impl Source for Stranger {
    fn name(&self) -> String {
        "stranger".to_owned()
    }

    fn admit<'a>(
        &'a self,
        _: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(std::future::ready(Ok(Admission::Unknown)))
    }

    fn look_up<'a>(
        &'a self,
        _: &'a str,
        _: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(std::future::ready(Ok(Admission::Unknown)))
    }

    fn rights<'a>(&'a self, _: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

fn guard(source: impl Source + 'static) -> Guard {
    Guard {
        sources: vec![Asked::of("test", source)],
        pool: Arc::new(Pool::new(pool::Limits::default())),
        backoff: Backoff::new(0),
        under_way: admission::Admission::new(0, 0),
        generation: AtomicU64::new(0),
        believes_certificates: false,
        metrics: Metrics::default(),
        decoys: decoys::Decoys::new(),
    }
}

#[tokio::test]
async fn who_has_to_wait_gets_no_answer_to_proofs_that_it_has_ready() {
    let guard = Guard {
        backoff: Backoff::new(5),
        ..guard(Stranger)
    };
    let clock = Clock::start();
    let beginning = Beginning {
        mechanism: Mechanism::Sha256,
        message: b"n,,n=user,r=abc",
        client_id: "c",
        address: None,
        has_to_be: None,
    };
    let mut challenges = Vec::new();
    for _ in 0..6 {
        let challenged = guard.challenge(&beginning, &clock).await;
        challenges.push(challenged.expect("it is asked").0);
    }
    let mut reasons = Vec::new();
    for challenge in challenges {
        let refused = guard.conclude(challenge, b"c=biws", &clock).await;
        reasons.push(refused.expect_err("it proves nothing").reason);
    }
    assert_eq!(reasons[..5], [Reason::NotAuthorized; 5]);
    assert_eq!(reasons[5], Reason::ConnectionRateExceeded);
}

#[tokio::test]
async fn nobody_that_had_a_password_is_taken_for_one_with_a_certificate() {
    for believes_certificates in [false, true] {
        let guard = Guard {
            believes_certificates,
            ..guard(Stranger)
        };
        let rights = guard.rights_of("user pump", "c").await;
        assert!(rights.expect("it can be asked").is_none());
    }
}

#[tokio::test]
async fn who_left_a_will_with_a_certificate_has_it_as_long_as_they_are_believed() {
    for believes_certificates in [false, true] {
        let guard = Guard {
            believes_certificates,
            ..guard(Stranger)
        };
        let before = guard
            .certify("c", "pump", None)
            .await
            .expect("it is let in");
        assert_eq!(before.principal(), "user pump", "its session is the user's");
        let rights = guard.rights_of(&before.author(), "c").await;
        let rights = rights.expect("it can be asked");
        assert_eq!(rights.is_some(), believes_certificates);
        assert!(rights.is_none_or(|rights| rights.username() == Some("pump")));
    }
}

#[tokio::test]
async fn a_source_that_fails_is_asked_about_newcomers_and_spared_the_others() {
    let source = Counting::default();
    let (n_asked, is_gone) = (source.n_asked.clone(), source.is_gone.clone());
    let guard = guard(source);
    assert_eq!(guard.refresh(), Some(Duration::from_secs(7)));
    let n_asked = || n_asked.load(Ordering::Relaxed);
    let newcomer = Credentials {
        client_id: "c",
        username: None,
        password: None,
        address: None,
    };
    let rights = guard.ask(&newcomer, false).await.expect("it is let in");
    let before = n_asked();
    is_gone.store(true, Ordering::Relaxed);
    let again = async || guard.judge_again(&rights, "c").await.err();
    for _ in 0..100 {
        assert_eq!(again().await, Some(NOBODY_TO_ASK));
    }
    let tolerated = usize::try_from(TOLERATED).expect("it is small");
    assert_eq!(n_asked(), before + tolerated);
    for _ in 0..3 {
        let refused = guard.ask(&newcomer, true).await.err();
        assert_eq!(refused, Some(NOBODY_TO_ASK));
    }
    assert_eq!(n_asked(), before + tolerated + 3);
    is_gone.store(false, Ordering::Relaxed);
    assert_eq!(again().await, Some(NOBODY_TO_ASK));
    tokio::time::sleep(REST).await;
    assert_eq!(again().await, Some(NOT_KNOWN));
    assert_eq!(again().await, Some(NOT_KNOWN));
}
