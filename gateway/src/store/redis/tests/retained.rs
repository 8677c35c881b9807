//! Retained messages against a plain map.

use std::collections::BTreeMap;

use super::fixture::{NOW, Random, Rig, Server, message};
use bytes::Bytes;
use redis::Value;

use crate::proto::topic;
use crate::session::received::Origin;
use crate::store::keys;
use crate::store::redis::layout::shard_of;
use crate::store::redis::reply::Parts;
use crate::store::redis::verdict::Change;
use crate::store::redis::{Error, RedisStore, SHARDS, shards_of};

type Model = BTreeMap<String, Vec<u8>>;

/// All messages with topics in a range, from the shards that a filter needs.
async fn read(rig: &Rig, filter: &str, start: &str, end: Option<&[u8]>, limit: usize) -> Model {
    let mut found = Model::new();
    for shard in shards_of(filter) {
        let mut from = Some(start.as_bytes().to_vec());
        let mut last = String::new();
        while let Some(start) = from {
            let page = rig
                .store
                .retained_page(shard, &start, end, limit)
                .await
                .expect("a page");
            assert!(page.messages.len() <= limit);
            for (topic, value) in page.messages {
                assert!(topic > last || last.is_empty(), "in order");
                last.clone_from(&topic);
                found.insert(topic, value.to_vec());
            }
            from = page.next;
        }
    }
    found
}

fn topic(random: &mut Random) -> String {
    let levels = [
        "a",
        "b",
        "",
        "ab",
        "\u{e9}",
        "$SYS",
        "x y",
        "{1}",
        "*",
        "\u{1F980}",
    ];
    let n = 1 + random.below(3);
    let mut topic: Vec<String> = Vec::new();
    topic.push(format!("t{}", random.below(100)));
    for _ in 0..n {
        topic.push(levels[random.below(10) as usize].to_owned());
    }
    topic.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_what_a_map_would_hold() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let mut random = Random(0x5eed_0002);
    let (mut model, mut tickets) = (Model::new(), Vec::new());
    for turn in 0..3_000u32 {
        let mut expected = Vec::new();
        let ticket = rig.submit(|batch| {
            for _ in 0..1 + random.below(3) {
                let topic = topic(&mut random);
                let change = if random.below(4) > 0 {
                    let value = message(&topic, &turn.to_be_bytes(), u64::MAX);
                    batch.put(&keys::retained(&topic), &value);
                    match model.insert(topic.clone(), value) {
                        Some(_) => Change::Replaced,
                        None => Change::New,
                    }
                } else {
                    batch.delete(&keys::retained(&topic));
                    match model.remove(&topic) {
                        Some(_) => Change::Cleared,
                        None => Change::Absent,
                    }
                };
                expected.push((topic.into_boxed_str(), change));
            }
        });
        tickets.push((ticket, expected));
    }
    for (ticket, expected) in tickets {
        assert_eq!(rig.verdict(ticket).await.retained, expected);
    }
    assert_eq!(rig.store.n_retained(), model.len() as u64);
    assert_eq!(
        rig.store.count_retained().await.expect("a number"),
        model.len() as u64
    );
    assert_eq!(read(&rig, "#", "", None, 1000).await, model);
    assert_eq!(read(&rig, "#", "", None, 7).await, model);
    for filter in ["t1/a", "t1/a/#", "t5/+/b", "+/a", "t77/\u{e9}/#"] {
        let prefix = &filter[..filter.find(['+', '#']).unwrap_or(filter.len())];
        let end = [prefix.as_bytes(), &[0xFF]].concat();
        let mut found = read(&rig, filter, prefix, Some(&end), 3).await;
        found.retain(|name, _| topic::matches(filter, name));
        let mut expected = model.clone();
        expected.retain(|name, _| topic::matches(filter, name) && name.starts_with(prefix));
        assert_eq!(found, expected, "{filter}");
    }
    for name in model.keys().take(20) {
        let stored = rig.store.retained_get(name).await.expect("an answer");
        assert_eq!(stored.as_deref(), model.get(name).map(|value| &value[..]));
    }
    assert_eq!(
        rig.store.retained_get("none").await.expect("an answer"),
        None
    );
}

/// Another gateway goes on with an exchange, or a will, whose message its first one had kept; and
/// somebody has set or cleared the topic since.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_has_a_name_is_made_once() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let set = async |topic: &str, text: &[u8], origin: Option<u64>| {
        let ticket = rig.submit(|batch| {
            if let Some(id) = origin {
                let origin = Origin { source: 1, id };
                batch.put(&keys::once(topic), &origin.to_bytes());
            }
            match text.is_empty() {
                true => batch.delete(&keys::retained(topic)),
                false => batch.put(&keys::retained(topic), &message(topic, text, u64::MAX)),
            }
        });
        rig.verdict(ticket).await.retained[0].1
    };
    assert_eq!(set("a/b", b"old", Some(7)).await, Change::New);
    assert_eq!(set("a/b", b"new", None).await, Change::Replaced);
    assert_eq!(set("a/b", b"old", Some(7)).await, Change::Made);
    assert_eq!(set("a/b", b"", Some(8)).await, Change::Cleared);
    assert_eq!(set("a/b", b"", Some(9)).await, Change::Absent);
    assert_eq!(set("a/b", b"new", None).await, Change::New);
    for id in [7, 8, 9] {
        assert_eq!(set("a/b", b"", Some(id)).await, Change::Made);
    }
    let stored = rig.store.retained_get("a/b").await.expect("an answer");
    assert_eq!(stored, Some(message("a/b", b"new", u64::MAX).into()));
    // As many are known as may be asked for again, and not for ever.
    let ticket = rig.submit(|batch| {
        for id in 10..10 + 1024 {
            batch.put(&keys::once("a/c"), &Origin { source: 1, id }.to_bytes());
            batch.put(&keys::retained("a/c"), &message("a/c", b"c", u64::MAX));
        }
    });
    assert!(rig.verdict(ticket).await.is_safe());
    assert_eq!(set("a/c", b"c", Some(10)).await, Change::Made);
    assert_eq!(set("a/b", b"b", Some(9)).await, Change::Replaced);
    assert_eq!(set("a/c", b"c", Some(10)).await, Change::Replaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_than_there_may_be() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.retained.messages = 50;
    let rig = Rig::open(config.clone()).await;
    let set = |batch: &mut gatemq_storage::Batch, topic: &str| {
        batch.put(&keys::retained(topic), &message(topic, b"1", u64::MAX));
    };
    // All in one shard, and in one call.
    let ticket = rig.submit(|batch| (0..60).for_each(|n| set(batch, &format!("a/{n}"))));
    let verdict = rig.verdict(ticket).await;
    let n_full = verdict
        .retained
        .iter()
        .filter(|(_, change)| *change == Change::Full)
        .count();
    assert_eq!((n_full, verdict.is_safe()), (10, false));
    // In other shards.
    for n in 0..20 {
        let ticket = rig.submit(|batch| set(batch, &format!("b{n}")));
        assert_eq!(rig.verdict(ticket).await.retained[0].1, Change::Full);
    }
    let ticket = rig.submit(|batch| {
        set(batch, "a/7");
        batch.delete(&keys::retained("a/8"));
        set(batch, "a/70");
    });
    let changes: Vec<_> = rig
        .verdict(ticket)
        .await
        .retained
        .into_iter()
        .map(|(_, c)| c)
        .collect();
    assert_eq!(changes, [Change::Replaced, Change::Cleared, Change::New]);
    // Another gateway knows of it when it has counted.
    let other = Rig::open(config).await;
    assert_eq!(other.store.count_retained().await.expect("a number"), 50);
    let ticket = other.submit(|batch| set(batch, "b"));
    assert_eq!(other.verdict(ticket).await.retained[0].1, Change::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn their_bytes_are_exact_and_have_a_quota() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    let size =
        |topic: &str, n_bytes: usize| message(topic, &vec![b'x'; n_bytes], u64::MAX).len() as u64;
    config.retained.bytes = 10 * size("a/0", 100);
    let rig = Rig::open(config.clone()).await;
    let set = |topic: &str, n_bytes: usize| {
        let value = message(topic, &vec![b'x'; n_bytes], u64::MAX);
        rig.submit(|batch| match n_bytes {
            0 => batch.delete(&keys::retained(topic)),
            _ => batch.put(&keys::retained(topic), &value),
        })
    };
    let bytes = || rig.store.n_retained_bytes();
    for n in 0..10 {
        let verdict = rig.verdict(set(&format!("a/{n}"), 100)).await;
        assert_eq!(verdict.retained[0].1, Change::New);
    }
    assert_eq!(bytes(), config.retained.bytes);
    for topic in ["a/10", "other", "a/3"] {
        // A new one here, one in another shard, and a longer one.
        let verdict = rig.verdict(set(topic, 101)).await;
        assert_eq!(verdict.retained[0].1, Change::FullOfBytes, "{topic}");
        assert!(!verdict.is_safe());
    }
    let mut expected = config.retained.bytes;
    for (topic, n_bytes, change) in [
        ("a/3", 100, Change::Replaced),
        ("a/3", 60, Change::Replaced),
        ("a/3", 90, Change::Replaced),
        ("a/4", 0, Change::Cleared),
        ("a/4", 0, Change::Absent),
    ] {
        let verdict = rig.verdict(set(topic, n_bytes)).await;
        assert_eq!(verdict.retained[0].1, change, "{topic}");
    }
    expected -= 10 + size("a/4", 100);
    assert_eq!(bytes(), expected);
    // Another gateway counts the same.
    let other = Rig::open(config).await;
    other.store.count_retained().await.expect("a number");
    assert_eq!(other.store.n_retained_bytes(), expected);
    let verdict = rig.verdict(set("a/3", 100)).await;
    assert_eq!(verdict.retained[0].1, Change::Replaced);
    assert_eq!(bytes(), expected + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_clears_what_has_expired_and_nothing_else() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    rig.write(|batch| {
        for n in 0..2_000u64 {
            let topic = format!("{}/{n}", n % 5);
            let expires_at = match n % 3 {
                0 => NOW,
                1 => NOW + 1,
                _ => u64::MAX,
            };
            batch.put(&keys::retained(&topic), &message(&topic, b"1", expires_at));
        }
    })
    .await;
    let (mut cleared, mut n_steps) = (Vec::new(), 0);
    for shard in 0..SHARDS {
        let mut from = Some(Vec::new());
        while let Some(start) = from {
            let swept = rig
                .store
                .sweep_retained(shard, &start, NOW)
                .await
                .expect("a step");
            cleared.extend(swept.cleared);
            from = swept.next;
            n_steps += 1;
        }
    }
    assert_eq!(cleared.len(), 667);
    let number = |topic: &String| topic.split('/').nth(1).and_then(|n| n.parse::<u64>().ok());
    assert!(
        cleared
            .iter()
            .all(|topic| number(topic).is_some_and(|n| n % 3 == 0))
    );
    assert!((64..80).contains(&n_steps));
    assert_eq!(rig.store.n_retained(), 2_000 - 667);
    assert_eq!(read(&rig, "#", "", None, 1000).await.len(), 2_000 - 667);
}

impl<T: Send + 'static> RedisStore<T> {
    /// The stored form of a topic's retained message.
    pub(super) async fn retained_get(&self, topic: &str) -> Result<Option<Bytes>, Error> {
        let pool = &self.shared.pool;
        let shard = shard_of(topic.as_bytes());
        let make = |_| {
            let mut cmd = redis::cmd("HGET");
            cmd.arg(pool.layout.retained_values(shard)).arg(topic);
            cmd
        };
        let slot = pool.layout.slot_of_shard(shard);
        match pool.request(slot, pool.deadline(), false, make).await? {
            Value::Nil => Ok(None),
            value => Ok(Some(value.bytes()?.into())),
        }
    }
}

/// As where Redis has evicted one key of a shard and not the other one.
#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_message_hold_up_none_of_the_others() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let topics: Vec<_> = (100..400).map(|number| format!("a/{number}")).collect();
    rig.write(|batch| {
        for topic in &topics {
            batch.put(&keys::retained(topic), &message(topic, b"kept", u64::MAX));
        }
    })
    .await;
    let shard = shard_of(b"a");
    let [values, names] = ["v", "t"].map(|kind| format!("gatemq:{{r{shard}}}:{kind}"));
    for topic in &topics[..200] {
        server.ask(&["HDEL", &values, topic]).await;
    }
    let damage =
        "redis.call('ZADD', KEYS[1], 0, 'a/3\\255'); redis.call('HSET', KEYS[2], 'a/3\\255', 'x')";
    server.ask(&["EVAL", damage, "2", &names, &values]).await;
    let found = read(&rig, "a/#", "a/", Some(b"a0"), 64).await;
    assert!(found.into_keys().eq(topics[200..].iter().cloned()));
}
