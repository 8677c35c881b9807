//! Users and rules in every kind of Redis: behind TLS, behind a Sentinel, in a Redis Cluster. Where a
//! master dies, its users come in again as soon as there is another, and nobody has to go.

use std::{fs, time::Duration};

use gatemq_tests::{
    Broker,
    broker::Builder,
    cluster::Wrap,
    eventually,
    redis::{
        Redis, RedisCluster,
        sentinel::{MASTER, Watched},
    },
    unique,
};
use tempfile::TempDir;

use super::scene::{UNAVAILABLE, attempt, connect, login, may_publish};
use crate::cluster::redis_tls;

/// How long it may take until a new master is known.
const RECOVERY: Duration = Duration::from_secs(20);

/// `more` are keys of the source.
fn builder(more: &str) -> Builder {
    Broker::builder().config(format!(
        "auth: {{max-failures: 0, sources: [{{type: redis, auth: {{password-hash: plain}}, \
         timeout: 500ms, refresh: 1s, {more}}}]}}"
    ))
}

/// A user whose password is its name, who may do everything: the commands that make it.
fn user(name: &str) -> [[String; 4]; 2] {
    let json = format!(r#"{{"password":"{name}","allow":true}}"#);
    [
        ["HSET", "comqtt:auth", name, &json].map(str::to_owned),
        ["HSET", &format!("comqtt:acl:{name}"), "#", "3"].map(str::to_owned),
    ]
}

fn put(name: &str, command: impl Fn(&[&str]) -> String) {
    for words in user(name) {
        command(&words.each_ref().map(String::as_str));
    }
}

/// A client that was there before the master died is there after it, with the rights that the new one
/// knows; others come in, and what changes there holds.
#[track_caller]
fn outlives(broker: &Broker, fail_over: impl Fn(), command: impl Fn(&[&str]) -> String) {
    put("ann", &command);
    let mut ann = connect(broker, 5, &unique("ann"), "ann");
    assert!(may_publish(&mut ann, "a"));
    fail_over();
    eventually!(
        RECOVERY,
        attempt(broker, &login(5, &unique("c"), "ann")).code == 0
    );
    put("bob", &command);
    eventually!(
        RECOVERY,
        attempt(broker, &login(5, &unique("c"), "bob")).code == 0
    );
    ann.ping();
    command(&["HSET", "comqtt:acl:ann", "a", "0"]);
    eventually!(RECOVERY, !may_publish(&mut ann, "a"));
    assert!(may_publish(&mut ann, "b"));
}

#[test]
fn a_sentinel_names_the_next_master() {
    let watched = Watched::start(&Wrap::default());
    let sentinel = watched.sentinel();
    let keys = format!("addr: ['{sentinel}'], mode: sentinel, master-name: {MASTER}");
    let broker = builder(&keys).start();
    let command = |words: &[&str]| {
        let is_replica = watched.replica().command(&["ROLE"]).starts_with("slave");
        match is_replica {
            true => watched.master().command(words),
            false => watched.replica().command(words),
        }
    };
    outlives(&broker, || watched.fail_over(), command);
}

#[test]
fn nodes_of_a_redis_cluster_tell_who_has_a_user() {
    let cluster = RedisCluster::start_replicated();
    let addresses = cluster.masters().iter().map(Redis::address);
    let addresses: Vec<_> = addresses.map(|address| format!("'{address}'")).collect();
    let keys = format!("addr: [{}], mode: cluster", addresses.join(", "));
    let broker = builder(&keys).start();
    let command = |words: &[&str]| cluster.command(words);
    outlives(&broker, || cluster.fail_over("comqtt:auth"), command);
}

fn over_tls(files: &TempDir, ca: &str, shown: &str) -> (Redis, Broker) {
    let redis = Redis::start_with_tls(files.path());
    let folder = files.path().display();
    let address = redis.tls_address();
    let keys = format!("addr: ['{address}'], tls: {{enable: true, ca: '{folder}/{ca}'{shown}}}");
    (redis, builder(&keys).start())
}

fn shown(files: &TempDir) -> String {
    let folder = files.path().display();
    format!(", cert: '{folder}/client.pem', key: '{folder}/client.key'")
}

#[test]
fn users_are_asked_for_over_tls() {
    let files = redis_tls::files();
    let (redis, broker) = over_tls(&files, "ca.pem", &shown(&files));
    put("ann", |words| redis.command(words));
    drop(connect(&broker, 5, &unique("ann"), "ann"));
    redis.restart();
    eventually!(attempt(&broker, &login(5, &unique("c"), "ann")).code == 0);
}

/// Whoever stands in for the server could let everybody in.
#[test]
fn a_server_that_is_not_verified_lets_nobody_in() {
    let files = redis_tls::files();
    for (ca, shown, why) in [
        ("other.pem", shown(&files), "UnknownIssuer"),
        ("ca.pem", String::new(), "alert"),
    ] {
        let (redis, broker) = over_tls(&files, ca, &shown);
        put("ann", |words| redis.command(words));
        let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE, "{ca}");
        eventually!(broker.log().contains(why));
    }
    // SIGHUP reads the files again.
    let (redis, broker) = over_tls(&files, "other.pem", &shown(&files));
    put("ann", |words| redis.command(words));
    let attempt = || attempt(&broker, &login(5, &unique("c"), "ann")).code;
    assert_eq!(attempt(), UNAVAILABLE);
    let file = |name| files.path().join(name);
    fs::copy(file("ca.pem"), file("other.pem")).expect("it is writable");
    broker.signal("HUP");
    eventually!(attempt() == 0);
}

#[test]
fn files_without_tls_and_plaintext_are_told_of() {
    for (tls, says) in [
        ("{ca: /x.pem}", "tls.enable"),
        ("{enable: true, cert: /x.pem}", "tls.key"),
        ("{enable: true, ca: /nowhere/x.pem}", "/nowhere/x.pem"),
    ] {
        let started = builder(&format!("addr: ['127.0.0.1:1'], tls: {tls}")).try_start();
        let trouble = started.err().expect("it does not start");
        assert!(
            trouble.contains("auth.sources") && trouble.contains(says),
            "{trouble}"
        );
    }
    for (address, is_warned) in [("127.0.0.1:1", false), ("192.0.2.1:1", true)] {
        let broker = builder(&format!("addr: ['{address}']")).start();
        // By then it has asked for the first time.
        eventually!(broker.log().contains("does not say who they are"));
        let log = broker.log();
        assert_eq!(log.contains("nothing is encrypted"), is_warned, "{log}");
    }
}
