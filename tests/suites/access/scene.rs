//! A broker with users and rules.

use std::fs;

use gatemq_tests::{
    Broker, Client, Cluster, Connect, Publish,
    broker::Builder,
    wire::{self, Ack, Connack},
};
use tempfile::TempDir;

use crate::listeners::http_client::get;

/// The reason codes of 5.0 that are about this.
pub(super) const BAD_LOGIN: u8 = 0x86;
pub(super) const NOT_AUTHORIZED: u8 = 0x87;
pub(super) const UNAVAILABLE: u8 = 0x88;

/// Their passwords are their names.
pub(super) const USERS: &str = "
password-hash: plain
users:
- {username: ann, password: ann}
- {username: bob, password: bob}
- {username: root, password: root, superuser: true}
- {client-id: pump-7, password: pump-7}
";

pub(super) const RULES: &str = "
rules:
- {deny: all, topics: [secret/#, +/secret], users: [bob]}
- {allow: all, topics: ['#'], users: [ann, bob]}
- {allow: publish, topics: [up/%c], clients: [pump-*]}
- {allow: subscribe, topics: [public/#]}
";

pub(super) fn builder(users: &str) -> Builder {
    Broker::builder()
        .file("users.yml", users)
        .config("auth: {sources: [{type: file, path: '{dir}/users.yml'}]}")
}

/// Two gateways that know these users; the file is there as long as the folder.
pub(super) fn two_gateways(users: &str) -> (Cluster, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("users.yml");
    fs::write(&path, users).expect("it is writable");
    let path = path.display();
    let source = format!("auth: {{sources: [{{type: file, path: '{path}'}}]}}");
    let cluster = Cluster::builder().control(1).gateways(2).setting(&source);
    (cluster.start(), folder)
}

pub(super) fn start() -> Broker {
    builder(&format!("{USERS}{RULES}")).start()
}

/// A CONNECT of a user whose password is its name.
pub(super) fn login(level: u8, client_id: &str, username: &str) -> Connect {
    Connect::new(level, client_id)
        .username(username)
        .password(username)
}

/// How often the only source, a file, has said this of clients that connect.
pub(super) fn n_answers(broker: &Broker, outcome: &str) -> u64 {
    let line =
        format!("gateway_auth_answers_total{{place=\"0\",source=\"file\",outcome=\"{outcome}\"}} ");
    let body = get(broker.http(), "/metrics").body;
    let n = body.lines().find_map(|found| found.strip_prefix(&line));
    n.map_or(0, |n| n.parse().expect("a number"))
}

pub(super) fn attempt(broker: &Broker, connect: &Connect) -> Connack {
    let (client, connack) = Client::attempt(broker, connect);
    if connack.code == 0 {
        client.disconnect();
    }
    connack
}

pub(super) fn connect(broker: &Broker, level: u8, client_id: &str, username: &str) -> Client {
    Client::connect(broker, &login(level, client_id, username)).0
}

/// Publishes with QoS 1 or 2 and returns the PUBACK or PUBREC, whatever it says.
pub(super) fn try_publish(client: &mut Client, publish: Publish) -> Ack {
    let id = client.next_id();
    let publish = Publish {
        id: Some(id),
        ..publish
    };
    client.send(&publish.bytes(5));
    let kind = match publish.qos {
        1 => wire::PUBACK,
        _ => wire::PUBREC,
    };
    client.expect_ack(kind, id)
}

/// Whether a client may publish to a topic, by what it is told.
pub(super) fn may_publish(client: &mut Client, topic: &str) -> bool {
    let publish = Publish {
        qos: 1,
        ..Publish::new(topic, b"x")
    };
    try_publish(client, publish).reason < 0x80
}

/// Whether a client may subscribe to a filter, by what it is told.
pub(super) fn may_subscribe(client: &mut Client, filter: &str) -> bool {
    let suback = client.subscribe_with(&Default::default(), &[(filter, 0)]);
    suback.codes[0] < 0x80
}
