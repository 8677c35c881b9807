//! Who gets a session, what it brings along, and what is left when it ends.

use std::num::NonZeroU16;
use std::sync::Arc;

use gatemq_storage::Batch;

use super::fixture::{NOW, Rig, Server, append, claim, detached, subscribed, tag, will};
use crate::proto::mqtt::Qos;
use crate::session::received::Origin;
use crate::session::recent::EXACT;
use crate::store::redis::layout::{SLICES, slice_of};
use crate::store::redis::{Adopted, Claim, Claimed, Error, Fenced, Here, Holder, Place, Taken};
use crate::store::{keys, record};

/// A server and two gateways.
async fn two() -> (Server, Rig, Rig) {
    let server = Server::start(&[]).await;
    let (a, b) = (Rig::open(server.config()), Rig::open(server.config()));
    let (a, b) = tokio::join!(a, b);
    (server, a, b)
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not 0")
}

fn origin(id: u64) -> Origin {
    Origin { source: 9, id }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_claims_each_has_an_epoch_of_its_own() {
    let (server, a, b) = two().await;
    let rigs = [Arc::new(a), Arc::new(b)];
    let mut claims = tokio::task::JoinSet::new();
    for owner in 1..=100 {
        let rig = rigs[owner as usize % 2].clone();
        claims.spawn(async move {
            let mut claim = claim("one", owner);
            loop {
                match rig.store.claim(&claim).await.expect("an answer") {
                    Claimed::Taken(taken) => return (taken.epoch, taken.previous, owner),
                    Claimed::Held(Holder { number, epoch, .. }) => {
                        claim.force = Some((number, epoch));
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    let mut taken = claims.join_all().await;
    taken.sort_unstable_by_key(|(epoch, ..)| *epoch);
    let epochs = taken.iter().map(|(epoch, ..)| *epoch);
    assert!(epochs.eq(1..=100), "{taken:?}");
    for pair in taken.windows(2) {
        let [(epoch, _, owner), (_, previous, _)] = pair else {
            unreachable!()
        };
        let previous = previous.expect("somebody had it before");
        assert_eq!((previous.epoch, previous.owner), (*epoch, *owner));
    }
    let number = taken[99].1.expect("somebody had it before").number;
    // Each of them stands in for the next until that one is known everywhere.
    let (_, _, last) = taken[99];
    let here = |owner, epoch| Here {
        client_id: "one",
        number,
        owner,
        epoch,
    };
    let trail: Vec<u64> = (1..=100).filter(|owner| *owner != last).collect();
    for owner in &trail {
        let stands_in = rigs[0].store.stands_in("one", number, *owner).await;
        assert!(stands_in.expect("an answer").is_some(), "owner {owner}");
    }
    let store = &rigs[1].store;
    let (_, _, other) = taken[98];
    let made_known = store.made_known(here(other, 99), &trail).await;
    made_known.expect("it does nothing: it has the session no more");
    let stands_in = store.stands_in("one", number, other).await;
    assert!(stands_in.expect("an answer").is_some());
    for _ in 0..2 {
        let made_known = store.made_known(here(last, 100), &trail).await;
        made_known.expect("an answer");
    }
    for owner in 1..=100 {
        let stands_in = store.stands_in("one", number, owner).await;
        let holder = stands_in.expect("an answer").map(|holder| holder.owner);
        // Whoever has it waits for it to be here again.
        let expected = Some(last).filter(|last| *last == owner);
        assert_eq!(holder, expected, "owner {owner}");
    }
    for owner in 1..=100 {
        let sessions = rigs[0].store.sessions_of(owner, slice_of("one"), 0).await;
        let sessions = sessions.expect("an answer").parts;
        assert_eq!(sessions.len(), usize::from(owner == last), "one owner");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_connection_is_taken_by_force_only() {
    let (_server, a, b) = two().await;
    let first = a.take(&claim("c", 1)).await;
    let mut second = claim("c", 2);
    let held = |claimed| match claimed {
        Ok(Claimed::Held(holder)) => holder,
        other => panic!("{other:?}"),
    };
    let holder = held(b.store.claim(&second).await);
    let expected = Holder {
        owner: 1,
        number: first.number,
        epoch: 1,
    };
    assert_eq!(holder, expected);
    for force in [(first.number, 2), (first.number + 1, 1)] {
        second.force = Some(force);
        held(b.store.claim(&second).await);
    }
    second.force = Some((first.number, 1));
    let taken = b.take(&second).await;
    assert_eq!((taken.number, taken.epoch), (first.number, 2));
    assert_eq!(taken.previous, Some(expected));
}

/// [MQTT-3.1.2-23]: of one that would not end with its connection it is not known whether its client was
/// let in when it asked for that.
#[tokio::test]
async fn a_session_that_ends_with_its_connection_is_not_there_for_who_takes_it_by_force() {
    let (_server, a, b) = two().await;
    for (expiries, resumes) in [([0, 0], false), ([3600, 0], true), ([0, 3600], true)] {
        let client_id = format!("{expiries:?}");
        let mut taken = Vec::new();
        for expiry in expiries {
            let claim = Claim {
                expiry,
                ..claim(&client_id, 1)
            };
            taken.push(a.take(&claim).await);
        }
        assert_eq!(taken[0].number, taken[1].number, "it is here still");
        let forced = Claim {
            force: Some((taken[1].number, taken[1].epoch)),
            ..claim(&client_id, 2)
        };
        let forced = b.take(&forced).await;
        let is_resumed = forced.number == taken[0].number;
        assert_eq!(is_resumed, resumes, "{expiries:?}");
        assert_eq!(forced.resumed.is_some(), resumes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_epoch_writes_nothing() {
    let (server, a, b) = two().await;
    let taken = a.take(&claim("c", 1)).await;
    let number = taken.number;
    a.write(|batch| append(batch, number, 0..3)).await;
    let mut second = claim("c", 2);
    second.force = Some((number, 1));
    b.take(&second).await;
    let before = server.keys().await;
    let ticket = a.submit(|batch| {
        append(batch, number, 3..6);
        batch.delete(&keys::queue(number, 0));
        batch.put(&keys::filter(number, "a"), b"x");
        batch.put(&keys::received(number, id(1)), &origin(1).to_bytes());
        batch.put(&keys::will(number), b"x");
        batch.delete(&keys::session(number));
    });
    let verdict = a.verdict(ticket).await;
    assert_eq!(verdict.fenced(), [(number, Fenced::Taken)]);
    assert!(!verdict.is_safe());
    assert_eq!(server.keys().await, before);
    assert_eq!(b.seqs(number).await, [0, 1, 2]);
    b.write(|batch| append(batch, number, [3])).await;
    // The first owner has it again: what it still had to write from before does not count.
    let mut third = claim("c", 1);
    third.force = Some((number, 2));
    let taken = a.store.claim(&third).await;
    assert!(matches!(taken, Ok(Claimed::Taken(taken)) if taken.epoch == 3));
    let ticket = a.submit(|batch| append(batch, number, [9]));
    assert_eq!(a.verdict(ticket).await.fenced(), [(number, Fenced::Taken)]);
    a.store.attach(number, Place::live("c", 1, 3));
    a.write(|batch| append(batch, number, [4])).await;
    assert_eq!(a.seqs(number).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_wrote_before_it_claimed_a_session_again_counts() {
    let (_server, a, _b) = two().await;
    let taken = a.take(&claim("c", 1)).await;
    // Claimed again, but what is written still shows the epoch before.
    let again = a.store.claim(&claim("c", 1)).await;
    assert!(matches!(again, Ok(Claimed::Taken(again)) if again.epoch == 2));
    a.write(|batch| append(batch, taken.number, [1])).await;
    assert_eq!(a.seqs(taken.number).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_resumes_with_all_that_it_had() {
    let (_server, a, b) = two().await;
    let taken = a.take(&claim("c", 1)).await;
    assert!(taken.resumed.is_none() && taken.previous.is_none() && taken.ended.is_none());
    let number = taken.number;
    a.write(|batch| {
        append(batch, number, 7..17);
        batch.put(&keys::queue(number, 7), &record::released());
        batch.put(
            &keys::filter(number, "a/#"),
            &record::store_subscribed(&subscribed(1)),
        );
        batch.put(
            &keys::filter(number, "$share/g/b"),
            &record::store_subscribed(&subscribed(2)),
        );
        for (packet, n) in [(5, 1), (65_535, 2)] {
            batch.put(&keys::received(number, id(packet)), &origin(n).to_bytes());
        }
        for seq in [7, 8 + EXACT, 16] {
            batch.put(&keys::recent(number, seq), &(seq + 100).to_be_bytes());
        }
        batch.put(&keys::edge(number), &12_u64.to_be_bytes());
        batch.put(&keys::will(number), &will("c"));
        batch.put(&keys::session(number), &detached("c", 3600, NOW + 5));
    })
    .await;
    let mut second = claim("c", 2);
    second.now = NOW + 10;
    second.expiry = 60;
    let taken = b.take(&second).await;
    assert_eq!((taken.number, taken.epoch), (number, 2));
    let resumed = taken.resumed.expect("it is resumed");
    assert_eq!(resumed.record.detached_at, NOW + 5);
    assert_eq!(
        (resumed.record.expiry, resumed.record.sent_below),
        (3600, 3)
    );
    let mut stored = resumed.stored.expect("all of it");
    stored
        .subscriptions
        .sort_by_key(|(_, subscribed)| subscribed.id);
    let [first, second] = &stored.subscriptions[..] else {
        panic!("{stored:?}");
    };
    assert_eq!((&*first.0, first.1.id), ("a/#", 1));
    assert!(first.1.retain_as_published && first.1.qos == Qos::AtLeastOnce);
    assert_eq!((&*second.0, second.1.id), ("$share/g/b", 2));
    stored.received.sort_unstable_by_key(|(packet, _)| *packet);
    assert_eq!(
        stored.received,
        [(id(5), origin(1)), (id(65_535), origin(2))]
    );
    assert_eq!(stored.recent, [116, 107, 108 + EXACT]);
    assert_eq!(stored.next_seq, 9 + EXACT);
    assert_eq!(stored.will.map(|will| will.delay), Some(5));
    let queue = stored.queue.expect("a queue");
    assert_eq!((queue.first, queue.last, queue.n_entries), (7, 16, 10));
    assert_eq!(stored.edge, Some(12));
    assert!((32..80).contains(&queue.n_bytes), "{queue:?}");
    let queue = b.queue(number).await;
    assert_eq!(queue[0], (7, record::released()[..].to_vec().into()));
    assert_eq!(queue[9], (16, "entry 16".into()));
    // Its record is that of the new connection now, but it was made when it was made.
    let third = b.take(&claim("c", 2)).await;
    let record = third.resumed.expect("it is resumed").record;
    assert_eq!((record.expiry, record.detached_at), (60, 0));
    assert_eq!((record.created_at, record.sent_below), (NOW, u64::MAX));
    // Who has it in memory need not read it.
    let mut known = claim("c", 2);
    known.known = Some((number, 3));
    let known = b.take(&known).await.resumed.expect("it is resumed");
    assert!(known.stored.is_none());
    // But not if what it has is of an earlier claim: there was another one of its own, of which it
    // had no answer, and somebody else may have had the session in between.
    let mut outdated = claim("c", 2);
    outdated.known = Some((number, 3));
    let outdated = b.take(&outdated).await.resumed.expect("it is resumed");
    assert!(outdated.stored.is_some_and(|stored| stored.queue.is_some()));
}

/// Puts a QoS 2 message into the queue, known by its number and 1,000.
fn exact(batch: &mut Batch, number: u64, seq: u64) {
    append(batch, number, [seq]);
    batch.put(&keys::recent(number, seq), &(seq + 1_000).to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_queue_go_on_where_its_last_owner_was_though_nothing_is_left_of_it() {
    let (_server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    // Two turns may come out of order; and what was sent is written once more.
    a.write(|batch| exact(batch, number, 2)).await;
    a.write(|batch| exact(batch, number, 0)).await;
    a.write(|batch| batch.put(&keys::queue(number, 0), &record::released()))
        .await;
    a.write(|batch| {
        batch.delete_range(&keys::queue(number, 0), &keys::queue(number, 3));
        batch.put(&keys::session(number), &detached("c", 60, NOW));
    })
    .await;
    let taken = b.take(&claim("c", 2)).await;
    let stored = taken.resumed.expect("it is resumed").stored;
    let stored = stored.expect("all of it");
    assert_eq!((stored.queue, stored.next_seq), (None, 3));
    assert_eq!(stored.recent, [1_000, 1_002]);
    // The last one is finished before the one in front of it, and the ring is full.
    b.write(|batch| {
        for seq in 3..EXACT + 5 {
            exact(batch, number, seq);
        }
        batch.delete_range(&keys::queue(number, 4), &keys::queue(number, EXACT + 5));
    })
    .await;
    let adopted = a.store.adopt("c", (2, 3), None, NOW).await;
    let Ok(Adopted::Taken(taken)) = adopted else {
        panic!("{adopted:?}");
    };
    let stored = taken.resumed.expect("it is resumed").stored;
    let stored = stored.expect("all of it");
    assert_eq!(stored.queue.map(|queue| queue.last), Some(3));
    assert_eq!(stored.next_seq, EXACT + 5);
    let expected = 1_005..EXACT + 1_005;
    assert!(stored.recent.into_iter().eq(expected), "the oldest first");
    // Those of another session are its own.
    let mut clean = claim("c", 3);
    clean.clean_start = true;
    a.take(&clean).await;
    let taken = a.take(&claim("c", 3)).await;
    let stored = taken.resumed.expect("it is resumed").stored;
    assert_eq!(stored.map(|stored| stored.next_seq), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_start_ends_a_session_and_leaves_what_others_are_owed() {
    let (server, a, b) = two().await;
    let old = a.take(&claim("c", 1)).await.number;
    a.write(|batch| {
        append(batch, old, 0..5);
        batch.put(
            &keys::filter(old, "a"),
            &record::store_subscribed(&subscribed(1)),
        );
        batch.put(&keys::will(old), &will("c"));
        batch.put(&keys::session(old), &detached("c", 3600, NOW));
    })
    .await;
    let mut second = claim("c", 2);
    second.clean_start = true;
    let taken = b.take(&second).await;
    assert_eq!((taken.number, taken.epoch), (second.new_number, 2));
    assert!(taken.resumed.is_none());
    let ended = taken.ended.expect("there was one");
    assert_eq!((ended.number, ended.n_queued), (old, 5));
    assert!(ended.will.is_some());
    // The first owner has nothing to do with it any more, the second looks after it.
    let ticket = a.submit(|batch| batch.delete(&keys::queue(old, 0)));
    assert_eq!(a.verdict(ticket).await.fenced(), [(old, Fenced::Taken)]);
    b.store.attach(old, Place::ended("c", 2));
    assert_eq!(b.seqs(old).await, [0, 1, 2, 3, 4]);
    b.write(|batch| {
        batch.delete(&keys::will(old));
        batch.delete(&keys::queue(old, 0));
    })
    .await;
    let left = b
        .store
        .ended_of(2, slice_of("c"), 0)
        .await
        .expect("an answer");
    assert_eq!((left.parts, left.next), (vec![(old, "c".to_owned())], None));
    remove(&b, old).await;
    remove(&b, old).await; // again: nothing is left, and nothing is wrong
    let mut expected = vec![
        format!("gatemq:{}:o:2", tag("c")),
        format!("gatemq:{}:s:c", tag("c")),
    ];
    expected.sort();
    assert_eq!(server.keys().await, expected);
}

/// Removes what an ended session left, as the gateway does.
async fn remove(rig: &Rig, number: u64) {
    rig.write(|batch| {
        for kind in [keys::FILTER, keys::QUEUE, keys::RECEIVED] {
            let (start, end) = keys::of_session(kind, number);
            batch.delete_range(&start, &end);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_leaves_nothing() {
    let (server, a, _b) = two().await;
    let mut clean = claim("clean", 1);
    clean.expiry = 0;
    let clean = a.take(&clean).await.number;
    let stored = a.take(&claim("stored", 1)).await.number;
    a.write(|batch| {
        append(batch, stored, 0..5);
        batch.put(
            &keys::filter(stored, "a"),
            &record::store_subscribed(&subscribed(1)),
        );
        batch.put(&keys::received(stored, id(1)), &origin(1).to_bytes());
    })
    .await;
    a.write(|batch| batch.delete(&keys::session(clean))).await;
    a.write(|batch| {
        batch.delete(&keys::session(stored));
        batch.delete(&keys::will(stored));
    })
    .await;
    // Its queue is still there, for the groups that it had messages of.
    assert_eq!(a.seqs(stored).await.len(), 5);
    a.write(|batch| batch.delete(&keys::queue(stored, 2))).await;
    a.store.detach(clean);
    remove(&a, stored).await;
    assert_eq!(server.keys().await, [""; 0]);
    let again = a.take(&claim("stored", 1)).await;
    assert!(again.resumed.is_none() && again.ended.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_for_the_end_of_the_session_before_it() {
    let (_server, a, _b) = two().await;
    for _ in 0..200 {
        let number = a.take(&claim("c", 1)).await.number;
        // Nobody waits for it: the client is back at once.
        a.submit(|batch| append(batch, number, 0..20));
        a.submit(|batch| batch.delete(&keys::session(number)));
        a.submit(|batch| {
            let (start, end) = keys::of_session(keys::QUEUE, number);
            batch.delete_range(&start, &end);
        });
        a.store.detach(number);
        let again = a.take(&claim("c", 1)).await;
        assert!(again.resumed.is_none() && again.ended.is_none());
        a.write(|batch| append(batch, again.number, [1])).await;
        a.submit(|batch| batch.delete(&keys::session(again.number)));
        a.submit(|batch| batch.delete(&keys::queue(again.number, 1)));
        a.store.detach(again.number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_a_failover_forgot_is_of_no_use() {
    let (server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    // Redis forgets that the first owner has epoch 1, and gives it to another one.
    let key = format!("gatemq:{}:s:c", tag("c"));
    server
        .ask(&["HSET", &key, "epoch", "0", "connected", "0"])
        .await;
    assert_eq!(b.take(&claim("c", 2)).await.epoch, 1);
    let ticket = a.submit(|batch| append(batch, number, [1]));
    assert_eq!(a.verdict(ticket).await.fenced(), [(number, Fenced::Taken)]);
    // It forgets a claim of the same owner: what else it forgot, nobody knows.
    assert_eq!(b.take(&claim("c", 2)).await.epoch, 2);
    server.ask(&["HSET", &key, "epoch", "1"]).await;
    let ticket = b.submit(|batch| append(batch, number, [1]));
    assert_eq!(b.verdict(ticket).await.fenced(), [(number, Fenced::Taken)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_over_when_its_time_is() {
    let (_server, a, b) = two().await;
    for (at, is_over) in [(NOW + 59_999, false), (NOW + 60_000, true)] {
        let name = format!("c{at}");
        let number = a.take(&claim(&name, 1)).await.number;
        a.write(|batch| {
            append(batch, number, 0..2);
            batch.put(&keys::session(number), &detached(&name, 60, NOW));
        })
        .await;
        let mut late = claim(&name, 2);
        late.now = at;
        let taken = b.take(&late).await;
        assert_eq!(taken.resumed.is_none(), is_over);
        assert_eq!(taken.ended.is_some(), is_over);
        assert_eq!(taken.number != number, is_over);
    }
    // One that never expires does not, and neither does one with a connection.
    let number = a.take(&claim("ever", 1)).await.number;
    a.write(|batch| batch.put(&keys::session(number), &detached("ever", u32::MAX, NOW)))
        .await;
    let mut late = claim("ever", 2);
    late.now = NOW * 2;
    assert!(b.take(&late).await.resumed.is_some());
    late.owner = 3;
    assert!(matches!(b.store.claim(&late).await, Ok(Claimed::Held(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_for_the_principal_that_made_it() {
    let (_server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    for is_clean in [false, true] {
        let mut other = claim("c", 2);
        other.principal = Some("mallory");
        other.clean_start = is_clean;
        other.force = Some((number, 1));
        assert!(matches!(
            b.store.claim(&other).await,
            Ok(Claimed::Forbidden)
        ));
    }
    a.write(|batch| batch.put(&keys::session(number), &detached("c", 60, NOW)))
        .await;
    let mut other = claim("c", 2);
    other.principal = Some("mallory");
    assert!(matches!(
        b.store.claim(&other).await,
        Ok(Claimed::Forbidden)
    ));
    other.now = NOW + 60_000; // it is over, and its name is free
    assert!(b.take(&other).await.ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_made_again_gets_the_same() {
    let (_server, a, b) = two().await;
    let old = a.take(&claim("c", 1)).await.number;
    a.write(|batch| {
        batch.put(&keys::will(old), &will("c"));
        batch.put(&keys::session(old), &detached("c", 60, NOW));
    })
    .await;
    let mut clean = claim("c", 2);
    clean.clean_start = true;
    let first = b.take(&clean).await;
    for _ in 0..2 {
        let again = b.take(&clean).await;
        assert_eq!((again.number, again.epoch), (first.number, 2));
        assert_eq!(again.previous.map(|holder| holder.owner), Some(1));
        assert_eq!(again.ended, first.ended);
        assert!(again.ended.is_some_and(|ended| ended.will.is_some()));
    }
    let resume = claim("c", 2);
    let first = b.take(&resume).await;
    let again = b.take(&resume).await;
    assert_eq!((first.epoch, again.epoch), (3, 3));
    assert!(again.resumed.is_some());
}

/// Whether its will is due is to be seen by when its last connection ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_made_again_finds_the_session_as_it_was_before() {
    let (_server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    a.write(|batch| batch.put(&keys::session(number), &detached("c", 3600, NOW + 5)))
        .await;
    for (n_before, expected) in [(0, (NOW + 5, 3600, 3)), (1, (0, 60, u64::MAX))] {
        let mut resume = claim("c", 2);
        (resume.now, resume.expiry) = (NOW + 10, 60);
        for _ in 0..3 {
            let resumed = b.take(&resume).await.resumed.expect("it is resumed");
            let record = resumed.record;
            let found = (record.detached_at, record.expiry, record.sent_below);
            assert_eq!(found, expected, "after {n_before}");
        }
    }
}

/// Lets owner 2 adopt a session of owner 1.
async fn adopt(rig: &Rig, name: &str, known: Option<(u64, u64)>) -> Adopted {
    let adopted = rig.store.adopt(name, (1, 2), known, NOW + 1000).await;
    adopted.expect("an answer")
}

async fn adopted_of(rig: &Rig, name: &str) -> Box<Taken> {
    match adopt(rig, name, None).await {
        Adopted::Taken(taken) => taken,
        other => panic!("{other:?}"),
    }
}

/// Somebody adopts a session, and dies before every gateway knows: the session is adopted from that
/// one, and both stand in for it until the last one is known.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_on_the_way_leaves_the_session_to_who_comes_next() {
    let (server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    a.write(|batch| append(batch, number, 0..3)).await;
    assert_eq!(adopted_of(&a, "c").await.trail, [1]);
    let third = b.store.adopt("c", (2, 3), None, NOW).await;
    let Ok(Adopted::Taken(third)) = third else {
        panic!("{third:?}");
    };
    assert_eq!(third.trail, [1, 2]);
    // Whoever adopts what is left of the first one, now that the second does not, waits for it.
    for dead in [1, 2] {
        let waits = b.store.adopt("c", (dead, 4), None, NOW).await;
        assert!(matches!(waits, Ok(Adopted::Waits(_))), "{waits:?}");
    }
    let here = Here {
        client_id: "c",
        number,
        owner: 3,
        epoch: third.epoch,
    };
    b.store
        .made_known(here, &third.trail)
        .await
        .expect("an answer");
    for dead in [1, 2] {
        let gone = b.store.adopt("c", (dead, 4), None, NOW).await;
        assert!(matches!(gone, Ok(Adopted::Gone)), "{gone:?}");
    }
    let owned = format!("gatemq:{}:o:", tag("c"));
    let keys = server.keys().await.into_iter();
    let owned: Vec<String> = keys.filter(|key| key.starts_with(&owned)).collect();
    assert_eq!(owned, [format!("gatemq:{}:o:3", tag("c"))]);
    // A session that ended meanwhile keeps nobody.
    let ended = a.take(&claim("d", 1)).await.number;
    let mut second = claim("d", 2);
    second.force = Some((ended, 1));
    b.take(&second).await;
    b.write(|batch| batch.delete(&keys::session(ended))).await;
    let gone = b.store.adopt("d", (1, 4), None, NOW).await;
    assert!(matches!(gone, Ok(Adopted::Gone)), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owner_claims_and_writes_nothing() {
    let (_server, a, b) = two().await;
    let [own, ended] = ["own", "ended"].map(|name| claim(name, 1));
    let number = a.take(&own).await.number;
    let left = a.take(&ended).await.number;
    a.write(|batch| append(batch, left, 0..2)).await;
    a.write(|batch| batch.delete(&keys::session(left))).await;
    for name in ["own", "ended", "new"] {
        let buried = b.store.bury(1, slice_of(name)).await;
        buried.expect("an answer");
    }
    let ticket = a.submit(|batch| append(batch, number, [1]));
    assert_eq!(a.verdict(ticket).await.fenced(), [(number, Fenced::Taken)]);
    let ticket = a.submit(|batch| batch.delete(&keys::queue(left, 0)));
    assert_eq!(a.verdict(ticket).await.fenced(), [(left, Fenced::Taken)]);
    for name in ["own", "ended", "new"] {
        let claimed = a.store.claim(&claim(name, 1)).await;
        assert!(matches!(claimed, Err(Error::Dead)), "{claimed:?}");
    }
    // Nor does it adopt what another dead one had.
    let adopted = a.store.adopt("own", (2, 1), None, NOW).await;
    assert!(matches!(adopted, Err(Error::Dead)), "{adopted:?}");
    let inherited = a.store.inherit("own", 5, 2, 1).await;
    assert!(matches!(inherited, Err(Error::Dead)), "{inherited:?}");
    // Others do.
    assert_eq!(adopted_of(&b, "own").await.number, number);
    let heir = b
        .store
        .inherit("ended", left, 1, 2)
        .await
        .expect("an answer");
    assert_eq!(heir.map(|ended| ended.n_queued), Some(2));
    let other = b.store.inherit("ended", left, 1, 3).await;
    assert_eq!(other.expect("an answer"), None, "it is looked after");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_nothing_is_taken_from_others() {
    let (_server, a, b) = two().await;
    let number = a.take(&claim("c", 1)).await.number;
    a.write(|batch| batch.put(&keys::session(number), &detached("c", 60, NOW)))
        .await;
    let mut unleased = claim("c", 2);
    unleased.is_leased = false;
    for (is_clean, now) in [(false, NOW), (true, NOW), (false, NOW + 3_600_000)] {
        (unleased.clean_start, unleased.now) = (is_clean, now);
        let claimed = b.store.claim(&unleased).await;
        assert!(matches!(claimed, Ok(Claimed::Unleased)), "{claimed:?}");
    }
    unleased.owner = 1;
    (unleased.clean_start, unleased.now) = (false, NOW);
    assert_eq!(a.take(&unleased).await.number, number, "it is its own");
    let mut new = claim("new", 2);
    new.is_leased = false;
    assert!(b.take(&new).await.resumed.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_dead_owner_are_adopted_slice_by_slice() {
    let (_server, a, b) = two().await;
    let names: Vec<String> = (0..200).map(|n| format!("client {n}")).collect();
    let mut numbers = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let taken = a.take(&claim(name, 1)).await;
        numbers.push(taken.number);
        a.submit(|batch| {
            append(batch, taken.number, 0..3);
            batch.put(&keys::will(taken.number), &will(name));
            if at % 2 == 0 {
                let record = detached(name, 60, NOW + at as u64);
                batch.put(&keys::session(taken.number), &record);
            }
        });
    }
    // Three are not the dead one's any more when their turn comes, and one has ended.
    let stolen = b.take(&claim(&names[0], 3)).await;
    a.write(|batch| batch.delete(&keys::session(numbers[1])))
        .await;
    a.write(|batch| append(batch, numbers[3], [9])).await;
    let (mut adopted, mut inherited) = (Vec::new(), Vec::new());
    for slice in 0..SLICES {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let found = b.store.sessions_of(1, slice, from).await;
            let found = found.expect("an answer");
            for name in found.parts {
                if name == names[0] {
                    assert!(matches!(adopt(&b, &name, None).await, Adopted::Waits(_)));
                    continue;
                }
                let taken = adopted_of(&b, &name).await;
                // Asked again because the answer was lost.
                let again = adopted_of(&b, &name).await;
                assert_eq!((again.epoch, again.number), (taken.epoch, taken.number));
                assert!(
                    again
                        .resumed
                        .is_some_and(|resumed| resumed.stored.is_some())
                );
                // It stays until it is known everywhere, for whoever looks again.
                let known = Some((taken.number, taken.epoch));
                assert!(matches!(adopt(&b, &name, known).await, Adopted::Waits(_)));
                adopted.push((name, taken));
            }
            cursor = found.next;
        }
        let found = b.store.ended_of(1, slice, 0).await.expect("an answer");
        for (number, name) in found.parts {
            let left = b
                .store
                .inherit(&name, number, 1, 2)
                .await
                .expect("an answer");
            // The answer was lost: the next one finds it where it was, and gets the same.
            let again = b.store.inherit(&name, number, 1, 2).await;
            assert_eq!(again.expect("an answer"), left);
            // It is looked after by that one only.
            let third = b.store.inherit(&name, number, 1, 2).await;
            assert_eq!(third.expect("an answer"), left);
            inherited.push((number, name, left.expect("it is the dead one's")));
        }
    }
    assert_eq!(adopted.len(), 198);
    for (name, taken) in &adopted {
        let at = names.iter().position(|known| known == name).expect("known");
        assert_eq!((taken.number, taken.epoch), (numbers[at], 2));
        assert_eq!(taken.previous.map(|holder| holder.owner), Some(1));
        let resumed = taken.resumed.as_ref().expect("all of it");
        let detached_at = if at % 2 == 0 { NOW + at as u64 } else { 0 };
        assert_eq!(resumed.record.detached_at, detached_at);
        let stored = resumed.stored.as_ref().expect("all of it");
        assert!(stored.queue.is_some() && stored.will.is_some());
    }
    let [(number, name, left)] = &inherited[..] else {
        panic!("{inherited:?}");
    };
    assert_eq!((*number, name), (numbers[1], &names[1]));
    assert!(left.will.is_some() && left.n_queued == 3);
    b.store.attach(*number, Place::ended(&**name, 2));
    b.write(|batch| batch.delete(&keys::will(*number))).await;
    remove(&b, *number).await;
    let gone = b.store.inherit(name, *number, 1, 2).await;
    assert_eq!(gone.expect("an answer"), None);
    // The dead one writes nothing any more, neither do others adopt what it has not.
    let ticket = a.submit(|batch| append(batch, numbers[5], [77]));
    assert_eq!(
        a.verdict(ticket).await.fenced(),
        [(numbers[5], Fenced::Taken)]
    );
    assert!(matches!(adopt(&b, "nobody", None).await, Adopted::Gone));
    // When every gateway knows of all of them, nothing is left of the dead one.
    let of_dead = |name: String| {
        let store = &b.store;
        async move {
            store
                .sessions_of(1, slice_of(&name), 0)
                .await
                .expect("an answer")
        }
    };
    let (name, taken) = &adopted[0];
    assert!(of_dead(name.clone()).await.parts.contains(name));
    let other = (
        "stolen",
        &names[0],
        3,
        stolen.epoch,
        stolen.number,
        &stolen.trail,
    );
    let own = adopted.iter();
    let own = own.map(|(name, it)| ("adopted", name, 2, it.epoch, it.number, &it.trail));
    for (what, name, owner, epoch, number, trail) in own.chain([other]) {
        assert_eq!(trail, &[1], "{what}");
        let here = Here {
            client_id: name,
            number,
            owner,
            epoch,
        };
        b.store.made_known(here, trail).await.expect("an answer");
        assert!(
            matches!(adopt(&b, name, None).await, Adopted::Gone),
            "{what}"
        );
        let left = of_dead(name.clone()).await.parts;
        assert!(!left.contains(name), "{what}");
    }
    assert_eq!(taken.epoch, 2);
    // Without a connection anybody gets it; it expires by when its owner died.
    let taken = b.take(&claim(&names[7], 3)).await;
    assert_eq!(taken.epoch, 3);
    let mut late = claim(&names[9], 3);
    late.now = NOW + 1000 + 3_600_000;
    assert!(b.take(&late).await.ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn client_ids_can_be_anything() {
    let (server, a, _b) = two().await;
    let names = [
        "",
        "{",
        "}",
        "{x}",
        "*",
        "a b\r\nc",
        "\u{1F980}",
        ":s:",
        "KEYS[1]",
        "%",
        "'\"",
    ];
    let filter = |name: &str| format!("a/{}", name.replace(char::is_control, ""));
    let mut taken = Vec::new();
    for name in names {
        let number = a.take(&claim(name, 1)).await.number;
        a.write(|batch| {
            append(batch, number, 0..2);
            batch.put(
                &keys::filter(number, &filter(name)),
                &record::store_subscribed(&subscribed(1)),
            );
        })
        .await;
        taken.push(number);
    }
    for (name, number) in names.iter().zip(&taken) {
        let resumed = a.take(&claim(name, 1)).await;
        assert_eq!(resumed.number, *number);
        let stored = resumed
            .resumed
            .expect("it is resumed")
            .stored
            .expect("all of it");
        assert_eq!(*stored.subscriptions[0].0, filter(name));
        let sessions = a.store.sessions_of(1, slice_of(name), 0).await;
        let sessions = sessions.expect("an answer").parts;
        assert!(sessions.iter().any(|known| known == name));
    }
    for number in taken {
        a.write(|batch| batch.delete(&keys::session(number))).await;
        remove(&a, number).await;
    }
    assert_eq!(server.keys().await, [""; 0]);
}
