//! What is written is there, in order, and nothing else is.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::fixture::{Random, Rig, Server, append, claim, detached, subscribed, tag};
use super::gateway::{connect, gateway, publish, subscribe};
use crate::store::redis::Fenced;
use crate::store::{keys, record};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_session_are_made_in_order() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let mut random = Random(0x5eed_0001);
    let mut models = Vec::new();
    for at in 0..50 {
        let number = rig.take(&claim(&format!("c{at}"), 1)).await.number;
        models.push((number, BTreeMap::<u64, Vec<u8>>::new()));
    }
    let mut last = 0;
    for turn in 0..4_000 {
        last = rig.submit(|batch| {
            for _ in 0..random.below(4) {
                let (number, model) = &mut models[random.below(50) as usize];
                let seq = random.below(40);
                match random.below(8) {
                    0 => {
                        batch.delete_range(
                            &keys::queue(*number, seq),
                            &keys::queue(*number, seq + 5),
                        );
                        model.retain(|at, _| *at < seq || *at >= seq + 5);
                    }
                    1 if random.below(20) == 0 => {
                        let (start, end) = keys::of_session(keys::QUEUE, *number);
                        batch.delete_range(&start, &end);
                        model.clear();
                    }
                    1..=3 => {
                        batch.delete(&keys::queue(*number, seq));
                        model.remove(&seq);
                    }
                    _ => {
                        let value = format!("{turn} {}", "x".repeat(random.below(100) as usize));
                        batch.put(&keys::queue(*number, seq), value.as_bytes());
                        model.insert(seq, value.into_bytes());
                    }
                }
            }
        });
        if turn % 37 == 0 {
            rig.verdict(last).await; // many rounds, not one
        }
    }
    rig.verdict(last).await;
    for (number, model) in models {
        let queue = rig.queue(number).await;
        assert!(
            queue
                .iter()
                .map(|(seq, value)| (*seq, &value[..]))
                .eq(model.iter().map(|(seq, value)| (*seq, &value[..])))
        );
    }
    let stats = rig.store.stats();
    assert!(stats.commits > 50 && stats.batches == 4_000, "{stats:?}");
    assert_eq!(rig.store.pending_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_changes_is_one() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let value = record::store_subscribed(&subscribed(1));
    rig.write(|batch| {
        append(batch, number, 0..10_001);
        for n in 0..5_000 {
            batch.put(&keys::filter(number, &format!("a/{n}")), &value);
        }
        for id in 1..=65_535 {
            batch.put(
                &keys::received(number, NonZeroU16::new(id).expect("not 0")),
                &[0; 16],
            );
        }
    })
    .await;
    let resumed = rig
        .take(&claim("c", 1))
        .await
        .resumed
        .expect("it is resumed");
    let stored = resumed.stored.expect("all of it");
    assert_eq!(
        (stored.subscriptions.len(), stored.received.len()),
        (5_000, 65_535)
    );
    assert!(rig.seqs(number).await.into_iter().eq(0..10_001));
    let (page, next) = rig
        .store
        .queue_page(number, 5, 9, 100)
        .await
        .expect("a page");
    assert_eq!((page.len(), next), (4, None));
    let (page, next) = rig.store.queue_page(number, 5, 9, 3).await.expect("a page");
    assert_eq!((page.len(), next), (3, Some(8)));
    rig.write(|batch| {
        for seq in (0..10_000).step_by(2) {
            batch.delete(&keys::queue(number, seq));
        }
        for n in 0..4_999 {
            batch.delete(&keys::filter(number, &format!("a/{n}")));
        }
        for id in 2..=65_535 {
            batch.delete(&keys::received(number, NonZeroU16::new(id).expect("not 0")));
        }
    })
    .await;
    assert_eq!(rig.seqs(number).await.len(), 5_001);
    let resumed = rig
        .take(&claim("c", 1))
        .await
        .resumed
        .expect("it is resumed");
    let stored = resumed.stored.expect("all of it");
    assert_eq!((stored.subscriptions.len(), stored.received.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_entries_is_short() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let large = vec![7; 400_000];
    rig.write(|batch| {
        for seq in 0..10 {
            batch.put(&keys::queue(number, seq), &large);
        }
    })
    .await;
    let (page, next) = rig
        .store
        .queue_page(number, 0, u64::MAX, 100)
        .await
        .expect("a page");
    assert_eq!((page.len(), next), (3, Some(3)));
    assert_eq!(rig.seqs(number).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_for_nobody_is_refused_and_the_rest_is_not() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let ticket = rig.submit(|batch| {
        append(batch, number, [1]);
        append(batch, 99, [1, 2]);
    });
    let next = rig.submit(|batch| append(batch, number, [2]));
    let empty = rig.submit(|_| {});
    assert_eq!(
        rig.verdict(ticket).await.fenced(),
        [(99, Fenced::Unattached)]
    );
    assert!(rig.verdict(next).await.is_safe() && rig.verdict(empty).await.is_safe());
    assert_eq!(rig.seqs(number).await, [1, 2]);
    rig.store.detach(number);
    let ticket = rig.submit(|batch| append(batch, number, [3]));
    assert_eq!(
        rig.verdict(ticket).await.fenced(),
        [(number, Fenced::Unattached)]
    );
    assert!(rig.store.queue_page(number, 0, 9, 9).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_with_a_number_that_none_has_is_left_out() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let rig = Rig::open(server.config()).await;
    let mut theirs = claim("c", 9);
    let now = broker.clock.now();
    (theirs.principal, theirs.now) = (None, now);
    let number = rig.take(&theirs).await.number;
    rig.write(|batch| {
        append(batch, number, 0..3);
        batch.put(&keys::session(number), &detached("c", 3600, now));
    })
    .await;
    let queue = format!("gatemq:{}:q:{number}", tag("c"));
    for (score, member) in [("-1", "'\\255'"), ("1", "'\\128'"), ("3", "'\\255'")] {
        let add = format!("redis.call('ZADD', KEYS[1], {score}, string.rep({member}, 8) .. 'x')");
        server.ask(&["EVAL", &add, "1", &queue]).await;
    }
    assert_eq!(rig.seqs(number).await, [0, 1, 2]);
    let claimed = connect(&broker, "c").await.expect("redis is there");
    assert!(claimed.is_present);
    // Numbers go on, though nobody knows from where.
    subscribe(&broker, &claimed.session);
    assert_eq!(publish(&broker).await, None);
    let seqs = rig.seqs(number).await;
    assert!(seqs[..3] == [0, 1, 2] && seqs.len() == 4, "{seqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_page_of_damaged_entries_is_read() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, [1, 30])).await;
    let queue = format!("gatemq:{}:q:{number}", tag("c"));
    let add = "for n = 2, 21 do redis.call('ZADD', KEYS[1], n, string.rep('\\255', 8) .. n) end";
    server.ask(&["EVAL", add, "1", &queue]).await;
    let (page, next) = rig
        .store
        .queue_page(number, 0, u64::MAX, 1)
        .await
        .expect("it answers");
    assert_eq!((page.len(), next), (1, Some(2)));
    let (page, next) = rig
        .store
        .queue_page(number, 2, u64::MAX, 1)
        .await
        .expect("it answers");
    assert_eq!((page.first().map(|(seq, _)| *seq), next), (Some(30), None));
}
