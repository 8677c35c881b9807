//! Servers that die, wait, forget, and have no room.

use std::time::Duration;

use gatemq_storage::Batch;
use tokio::io::AsyncWriteExt;

use super::fixture::{NOW, Rig, Server, append, claim, detached, eventually, message};
use super::gateway::field;
use super::proxy::Proxy;
use crate::store::keys;
use crate::store::redis::verdict::{Change, Refusal};
use crate::store::redis::{
    Address, Claimed, Config, Error, Fenced, Health, OpenError, Place, RedisStore, Servers,
};

fn is_down(rig: &Rig) -> bool {
    matches!(*rig.store.health().borrow(), Health::Down { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_when_redis_is_killed_and_what_waits_goes_through() {
    let mut server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let mut confirmed = 0;
    for kill in 0..3u64 {
        let first = kill * 2_000;
        for seq in first..first + 2_000 {
            rig.submit(|batch| append(batch, number, [seq]));
            if seq == first + 700 {
                eventually("some are confirmed", || rig.n_done() > first + 100).await;
                server.kill();
                confirmed = rig.n_done();
            }
        }
        eventually("it is noticed", || is_down(&rig)).await;
        assert!(rig.store.pending_bytes() > 0);
        // What was confirmed when it died is there before anything is sent again.
        server.restart().await;
        let claimed = rig.store.claim(&claim("other", 1)).await;
        assert!(matches!(claimed, Ok(Claimed::Taken(_))));
        let seqs = rig.seqs(number).await;
        assert!(seqs.into_iter().take(confirmed as usize).eq(0..confirmed));
        let verdict = rig.verdict(first + 1_999).await;
        assert!(verdict.is_safe(), "{verdict:?}");
        assert!(rig.seqs(number).await.into_iter().eq(0..first + 2_000));
    }
    eventually("it is up", || *rig.store.health().borrow() == Health::Up).await;
    assert_eq!(rig.store.pending_bytes(), 0);
    assert!(confirmed >= 4_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_through_when_redis_pauses() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.timeout = Duration::from_millis(200);
    let rig = Rig::open(config).await;
    let number = rig.take(&claim("c", 1)).await.number;
    server.ask(&["CLIENT", "PAUSE", "1000", "WRITE"]).await;
    let first = rig.submit(|batch| append(batch, number, [1]));
    eventually("it is noticed", || is_down(&rig)).await;
    assert!(matches!(
        rig.store.claim(&claim("d", 1)).await,
        Err(Error::Unanswered { .. })
    ));
    let second = rig.submit(|batch| batch.delete(&keys::queue(number, 1)));
    let third = rig.submit(|batch| append(batch, number, [2]));
    for ticket in [first, second, third] {
        assert!(rig.verdict(ticket).await.is_safe());
    }
    assert_eq!(rig.seqs(number).await, [2]);
    assert_eq!(*rig.store.health().borrow(), Health::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_late_change_nothing() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let mut config = Config::new(Servers::Single(proxy.address.clone()));
    config.timeout = Duration::from_millis(200);
    let rig = Rig::open(config).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let ended = rig.take(&claim("ended", 1)).await.number;
    rig.write(|batch| append(batch, ended, 1..4)).await;
    rig.write(|batch| batch.delete(&keys::session(ended))).await;
    let topic = keys::retained("a");
    // The second claim has no answer in time; the writes are sent again another way.
    proxy.hold();
    let given_up = claim("d", 1);
    let (answer, verdict) = tokio::join!(rig.store.claim(&given_up), async {
        let ticket = rig.submit(|batch| {
            append(batch, number, [1]);
            append(batch, ended, [5]);
            batch.put(&topic, &message("a", b"1", u64::MAX));
        });
        rig.verdict(ticket).await
    });
    assert!(
        matches!(answer, Err(Error::Unanswered { .. })),
        "{answer:?}"
    );
    assert_eq!(verdict.retained, [("a".into(), Change::New)]);
    rig.write(|batch| {
        batch.delete(&keys::queue(number, 1));
        batch.delete(&keys::queue(ended, 5));
        batch.delete(&topic);
        append(batch, number, [2]);
    })
    .await;
    let before = server.keys().await;
    proxy.release().await;
    assert_eq!(server.keys().await, before);
    assert_eq!(rig.seqs(number).await, [2]);
    assert_eq!(rig.seqs(ended).await, [1, 2, 3]);
    assert_eq!(rig.store.retained_get("a").await.expect("an answer"), None);
    assert_eq!(rig.take(&given_up).await.epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_a_replica_has_it() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.n_replicas = 1;
    config.timeout = Duration::from_millis(400);
    config.replica_timeout = Duration::from_millis(20);
    let lone = Rig::open(server.config()).await;
    let number = lone.take(&claim("c", 1)).await.number;
    let rig = Rig::open(config).await;
    let answer = rig.store.claim(&claim("c", 1)).await;
    assert!(
        matches!(answer, Err(Error::Unanswered { .. })),
        "{answer:?}"
    );
    // The claim was made all the same, as the next one will find.
    rig.store.attach(number, Place::live("c", 1, 2));
    let ticket = rig.submit(|batch| append(batch, number, [1]));
    eventually("it is noticed", || {
        matches!(*rig.store.health().borrow(), Health::Slow { .. })
    })
    .await;
    assert_eq!(lone.seqs(number).await, [1], "it is written");
    assert_eq!(rig.n_done(), 0);
    let port = server.port.to_string();
    let _replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    assert!(rig.verdict(ticket).await.is_safe());
    assert!(matches!(
        rig.store.claim(&claim("c", 1)).await,
        Ok(Claimed::Taken(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_redis_fences_every_session() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, 0..5)).await;
    server.ask(&["FLUSHALL"]).await;
    let ticket = rig.submit(|batch| append(batch, number, [5]));
    assert_eq!(
        rig.verdict(ticket).await.fenced(),
        [(number, Fenced::Missing)]
    );
    let ticket = rig.submit(|batch| batch.delete(&keys::queue(number, 1)));
    assert_eq!(
        rig.verdict(ticket).await.fenced(),
        [(number, Fenced::Missing)]
    );
    assert_eq!(server.keys().await, [""; 0], "nothing is made anew");
    let again = rig.take(&claim("c", 1)).await;
    assert!(again.resumed.is_none() && again.epoch == 1 && again.number != number);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_things_go_but_do_not_come() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, 0..5)).await;
    rig.write(|batch| batch.put(&keys::retained("a"), &message("a", b"1", u64::MAX)))
        .await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let ticket = rig.submit(|batch| {
        batch.delete(&keys::queue(number, 0));
        append(batch, number, [5]);
        batch.put(&keys::retained("b"), &message("b", b"1", u64::MAX));
    });
    let verdict = rig.verdict(ticket).await;
    assert_eq!(verdict.fenced(), []);
    assert_eq!(verdict.refused, [(number, Refusal::NoMemory)]);
    assert_eq!(verdict.retained, [("b".into(), Change::Refused)]);
    let ticket = rig.submit(|batch| {
        batch.delete(&keys::queue(number, 1));
        batch.delete(&keys::retained("a"));
    });
    let verdict = rig.verdict(ticket).await;
    assert!(verdict.is_safe(), "{verdict:?}");
    assert_eq!(rig.seqs(number).await, [2, 3, 4]);
    assert!(matches!(
        rig.store.claim(&claim("d", 1)).await,
        Err(Error::Full { .. })
    ));
    // How far a queue may be sent is written without memory, too: what is there goes on.
    for edge in [20_u64, 30] {
        let put = |batch: &mut Batch| batch.put(&keys::edge(number), &edge.to_be_bytes());
        rig.write(put).await;
    }
    // And that a connection has ended, unless it comes with something that there is no room for.
    let record = detached("c", 3600, NOW);
    let ticket = rig.submit(|batch| {
        append(batch, number, [5]);
        batch.put(&keys::session(number), &record);
    });
    let verdict = rig.verdict(ticket).await;
    assert_eq!(verdict.refused, [(number, Refusal::NoMemory)]);
    assert_eq!(field(&server, "c", "connected").await, "1");
    rig.write(|batch| batch.put(&keys::session(number), &record))
        .await;
    assert_eq!(field(&server, "c", "connected").await, "0");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    rig.write(|batch| append(batch, number, [6])).await;
    assert_eq!(rig.seqs(number).await, [2, 3, 4, 6]);
    let resumed = rig.take(&claim("c", 1)).await.resumed;
    let stored = resumed.and_then(|resumed| resumed.stored);
    assert_eq!(stored.and_then(|stored| stored.edge), Some(30));
    let clean = rig.take(&claim("clean", 1)).await.number;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    rig.write(|batch| batch.delete(&keys::session(clean))).await;
    // So does one that leaves something, which is found again.
    rig.write(|batch| {
        append(batch, number, [6]);
        batch.delete(&keys::session(number));
    })
    .await;
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let left = rig.store.inherit("c", number, 1, 2).await;
    let left = left.expect("an answer").expect("something is left");
    assert_eq!((left.n_queued, left.sent_below), (4, Some(30)));
    assert!(rig.take(&claim("c", 2)).await.resumed.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_were_removed_come_back() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    for seq in 0..3 {
        server.ask(&["SCRIPT", "FLUSH"]).await;
        rig.write(|batch| append(batch, number, [seq])).await;
        server.ask(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(rig.seqs(number).await.len() as u64, seq + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_key_is_refused_not_tried_for_ever() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let broken = rig.take(&claim("broken", 1)).await.number;
    let number = rig.take(&claim("c", 1)).await.number;
    let slice = super::fixture::tag("broken");
    server
        .ask(&["SET", &format!("gatemq:{slice}:q:{broken}"), "x"])
        .await;
    let ticket = rig.submit(|batch| {
        append(batch, broken, [1]);
        append(batch, number, [1]);
    });
    let verdict = rig.verdict(ticket).await;
    assert_eq!(verdict.refused, [(broken, Refusal::Otherwise)]);
    assert_eq!(rig.seqs(number).await, [1]);
    assert!(matches!(
        rig.store.queue_page(broken, 0, 9, 9).await,
        Err(Error::Refused { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_an_error_until_a_clean_start() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    let write = async |record: &[u8]| {
        rig.write(|batch| batch.put(&keys::session(number), record))
            .await;
    };
    let mut record = detached("c", 60, NOW);
    record[0] = 99;
    write(&record).await;
    // Nor is it given to anybody who asks.
    for owner in [1, 2, 1, 2] {
        assert!(matches!(
            rig.store.claim(&claim("c", owner)).await,
            Err(Error::Damaged(_))
        ));
        assert_eq!(field(&server, "c", "owner").await, "1");
    }
    // Read, it would be the session of somebody else.
    write(&detached("d", 60, NOW)).await;
    assert!(matches!(
        rig.store.claim(&claim("c", 2)).await,
        Err(Error::Malformed)
    ));
    write(&detached("c", 60, NOW)).await;
    let taken = rig.take(&claim("c", 2)).await;
    assert!(taken.resumed.is_some() && taken.number == number);
    let mut clean = claim("c", 2);
    clean.clean_start = true;
    assert_eq!(rig.take(&clean).await.number, clean.new_number);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_what_is_left_but_not_for_ever() {
    let mut server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    for seq in 0..1_000 {
        rig.submit(|batch| append(batch, number, [seq]));
    }
    assert_eq!(rig.store.close(Duration::from_secs(20)).await, 0);
    assert_eq!(rig.n_done(), 1_000);
    rig.store.submit(Batch::new(), 1_000);
    assert_eq!(rig.store.pending_bytes(), 0);

    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    server.kill();
    rig.submit(|batch| append(batch, number, [1_000]));
    assert!(rig.store.close(Duration::from_millis(50)).await > 0);
    assert_eq!(rig.n_done(), 0);
}

/// Who reads of it in a log wants to know what was waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asked_in_time_has_a_reason() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let mut config = Config::new(Servers::Single(proxy.address.clone()));
    config.timeout = Duration::from_millis(300);
    let rig = Rig::open(config).await;
    // Of the connections that are made from now on none gets an answer.
    proxy.mute_all();
    let address = proxy.address.to_string();
    let error = rig.store.mark().await.expect_err("nobody answers");
    assert!(matches!(error, Error::Unasked { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said_at_the_start() {
    let mut server = Server::start(&[]).await;
    server
        .ask(&["CONFIG", "SET", "requirepass", "secret"])
        .await;
    let open = |config| RedisStore::<u64>::open(config, |_| {});
    let mut config = server.config();
    config.timeout = Duration::from_millis(300);
    let check = async |config: &Config, words: &[&str]| {
        let error = open(config.clone()).await.expect_err("it cannot be used");
        let text = error.to_string();
        assert!(!text.contains("secret") && !text.contains('\n'), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    };
    let address = server.address().to_string();
    check(
        &config,
        &[&address, "asks for a password", "redis.password"],
    )
    .await;
    config.password = Some("secret".to_owned());
    drop(open(config.clone()).await.expect("the password is right"));
    config.password = Some("wrong secret".to_owned());
    let wrong = ["does not take the password", "redis.password"];
    check(&config, &wrong).await;
    config.username = Some("nobody".to_owned());
    check(&config, &wrong).await;
    (config.username, config.password) = (None, Some("secret".to_owned()));
    config.db = 99;
    check(&config, &["no database 99", "redis.db"]).await;
    config.db = 0;
    server
        .ask_as(
            "secret",
            &["ACL", "SETUSER", "weak", "on", ">weak", "+auth"],
        )
        .await;
    let mut weak = config.clone();
    (weak.username, weak.password) = (Some("weak".to_owned()), Some("weak".to_owned()));
    check(&weak, &["'role'", "rights"]).await;
    let mut braces = config.clone();
    braces.prefix = "{x}".to_owned();
    assert!(matches!(open(braces).await, Err(OpenError::Prefix(_))));
    server.kill();
    check(&config, &[&address, "cannot be reached", "redis.addr"]).await;
    let error = open(config).await.expect_err("it is gone");
    assert!(error.may_pass(Duration::from_secs(86_400)), "{error}");
    assert!(OpenError::HangsUp(server.address()).may_pass(Duration::from_secs(10)));
    for error in [OpenError::HangsUp, OpenError::WrongPassword].map(|of| of(server.address())) {
        assert!(!error.may_pass(Duration::from_secs(40)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_master_is_said_at_the_start() {
    let open = |config| RedisStore::<u64>::open(config, |_| {});
    let check = async |config: &Config, words: &[&str]| {
        let error = open(config.clone()).await.expect_err("it cannot be used");
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    };
    let master = Server::start(&[]).await;
    let mut config = master.config();
    config.password = Some("x".to_owned());
    check(&config, &["has no password", "redis.password"]).await;
    let mut cluster = master.config();
    cluster.servers = Servers::Cluster(vec![master.address()]);
    check(&cluster, &["no node of a Redis Cluster", "redis.mode"]).await;
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    check(&replica.config(), &["is a replica", "master"]).await;
    let sentinel = Server::start_sentinel(master.port).await;
    check(&sentinel.config(), &["is a sentinel", "redis.mode"]).await;
    let watched = |server: &Server, master: &str| Servers::Sentinel {
        addresses: vec![server.address()],
        master: master.to_owned(),
    };
    let plain = Config::new(watched(&master, "gate"));
    check(&plain, &["is no sentinel", "redis.mode: single"]).await;
    let unknown = Config::new(watched(&sentinel, "other"));
    check(&unknown, &["knows no master", "redis.master-name"]).await;
    // Something else that listens, and answers or hangs up.
    for says in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(says.as_bytes()).await;
            }
        });
        let address = Address::parse(&address, 0).expect("an address");
        let config = Config::new(Servers::Single(address.clone()));
        check(
            &config,
            &[&address.to_string(), "does not speak like redis"],
        )
        .await;
    }
}
