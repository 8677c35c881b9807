//! What is to be retained, and is late: many changes of many sessions in one round.

use std::time::Duration;

use super::fixture::{Rig, Server, append, claim, message};
use super::proxy::Proxy;
use crate::store::keys;
use crate::store::redis::verdict::Change;
use crate::store::redis::{Config, Servers, Whose};

/// Changes, each with a first level of its own, so that all shards have some. Three of four are of
/// sessions, which are more than are asked about at once.
const N_CHANGES: usize = 400;
/// How long an answer takes: with one for each shard, one after the other, the first would be late
/// again when the last has come.
const ANSWER: Duration = Duration::from_millis(50);

/// What becomes of the session that a change is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is here.
    Here,
    /// Another gateway has it.
    Elsewhere,
    /// It ends in the same round.
    Ends,
    /// There is none.
    Nobody,
}

impl Fate {
    fn of(number: usize) -> Self {
        [Self::Here, Self::Elsewhere, Self::Ends, Self::Nobody][number % 4]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_late_changes_is_judged_by_its_session_and_all_at_once() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let rig = Rig::open(Config::new(Servers::Single(proxy.address.clone()))).await;
    let other = Rig::open(server.config()).await;
    let mut sessions = Vec::new();
    for number in 0..N_CHANGES {
        let fate = Fate::of(number);
        if fate == Fate::Nobody {
            sessions.push(0);
            continue;
        }
        let client_id = format!("c{number}");
        let session = rig.take(&claim(&client_id, 1)).await.number;
        if fate == Fate::Elsewhere {
            let mut theirs = claim(&client_id, 9);
            theirs.force = Some((session, 1));
            assert_eq!(other.take(&theirs).await.number, session);
        }
        sessions.push(session);
    }
    proxy.delay_answers(ANSWER);
    let topic = |number: usize| format!("{number}/x");
    let ticket = rig.submit(|batch| {
        for (number, &session) in sessions.iter().enumerate() {
            let (topic, fate) = (topic(number), Fate::of(number));
            if fate != Fate::Nobody {
                let until = 1; // long ago
                let whose = Whose { session, until };
                batch.put(&keys::whose(&topic), &whose.to_bytes());
            }
            batch.put(&keys::retained(&topic), &message(&topic, b"x", u64::MAX));
            if fate == Fate::Ends {
                batch.delete(&keys::session(session));
            }
        }
    });
    let verdict = rig.verdict(ticket).await;
    assert_eq!(verdict.retained.len(), N_CHANGES);
    for (number, (changed, change)) in verdict.retained.iter().enumerate() {
        assert_eq!(**changed, topic(number));
        let expected = match Fate::of(number) {
            Fate::Elsewhere => Change::Late,
            Fate::Here | Fate::Ends | Fate::Nobody => Change::New,
        };
        assert_eq!(*change, expected, "{changed}");
    }
    let n_kept = other.store.count_retained().await.expect("an answer");
    assert_eq!(n_kept as usize, N_CHANGES / 4 * 3);
}

/// How much the network carries, in bytes a millisecond; of one level all goes to one shard.
const RATE: u64 = 1_000;

/// Submits a message to be retained, of a session, that waited long before.
fn retain(rig: &Rig, session: u64, topic: &str, n_bytes: usize) -> u64 {
    let whose = Whose { session, until: 1 };
    let value = message(topic, &vec![b'x'; n_bytes], u64::MAX);
    rig.submit(|batch| {
        batch.put(&keys::whose(topic), &whose.to_bytes());
        batch.put(&keys::retained(topic), &value);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_each_time_is_given_up_and_the_rest_goes_in_parts() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let mut config = Config::new(Servers::Single(proxy.address.clone()));
    config.timeout = Duration::from_secs(20); // nothing is lost
    let rig = Rig::open(config).await;
    let session = rig.take(&claim("c", 1)).await.number;
    proxy.slow_down(RATE);
    // Together they take longer than what is known of a session is certain.
    let small: Vec<u64> = (0..10)
        .map(|number| retain(&rig, session, &format!("devices/{number}"), 250_000))
        .collect();
    let huge = retain(&rig, session, "devices/huge", 2_600_000);
    let last = rig.submit(|batch| append(batch, session, [1]));
    for ticket in small {
        let verdict = rig.verdict(ticket).await;
        assert_eq!(verdict.retained[0].1, Change::New, "{verdict:?}");
    }
    let verdict = rig.verdict(huge).await;
    assert_eq!(verdict.retained, [("devices/huge".into(), Change::Refused)]);
    assert!(rig.verdict(last).await.is_safe());
    assert_eq!(rig.store.count_retained().await.expect("an answer"), 10);
}
