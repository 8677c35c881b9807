//! Nodes that know one another by certificates: a cluster of them works as any other, and whoever
//! is none of it is not heard, on no port, as no server, and not beyond its role.

mod forged;
mod impostor;
mod outsider;

use std::time::Duration;

use gatemq_proto::cluster::{
    control::ProposeRequest,
    state::{Command, Configure, Fence, command::Kind as Change, fence::Why},
};
use gatemq_tests::{
    Cluster, Connect, Node,
    cluster::{Kind, Place, Plan, Wrap},
    patience::becomes_true,
    unique,
};
use rcgen::ExtendedKeyUsagePurpose;
use tonic::Code;

use forged::{Authority, Shown};
use impostor::Impostor;
use outsider::Outsider;

/// How long something may take that happens at once.
const SOON: Duration = Duration::from_secs(20);

/// The authority of a cluster's nodes.
fn authority(cluster: &Cluster) -> Authority {
    Authority::read(&cluster.pki())
}

/// A message goes from a client of one gateway to a client of another, acknowledged.
#[track_caller]
pub(crate) fn crosses(from: &Node, to: &Node) {
    let topic = unique("crosses");
    let mut subscriber = to.v4(&unique("sub"));
    let mut publisher = from.v5(&unique("pub"));
    // The control plane may just have begun.
    subscriber.set_limit(SOON);
    publisher.set_limit(SOON);
    subscriber.subscribe(&topic, 1);
    publisher.publish(&topic, b"hello", 1);
    assert_eq!(subscriber.receive().payload, b"hello");
}

#[test]
fn a_cluster_with_certificates_works_between_all_tiers() {
    let mut cluster = Cluster::builder().control(1).gateways(2).tls().start();
    let (one, two) = (cluster.node("g1"), cluster.node("g2"));
    crosses(one, two);
    crosses(two, one);
    // A session moves: gateways ask one another to let go.
    let id = unique("moves");
    let connect = Connect::persistent(5, id.clone());
    let mut first = one.connect(&connect).0;
    let topic = unique("kept");
    first.subscribe(&topic, 1);
    let (mut second, connack) = two.connect(&connect);
    assert!(connack.session_present);
    one.v4(&unique("pub")).publish(&topic, b"kept", 1);
    assert_eq!(second.receive().payload, b"kept");
    // The control plane asks gateways, and one that comes later is known.
    cluster.add(Kind::Gateway, "g3");
    crosses(cluster.node("g3"), cluster.node("g1"));
    let clients = || cluster.node("c1").get("/api/v1/clients");
    let answer = clients().expect("the node answers");
    assert_eq!(answer.0, 200, "{answer:?}");
    assert!(answer.1.contains(&id), "{answer:?}");
    assert!(!answer.1.contains("unreachable\":[\""), "{answer:?}");
    let ends = cluster
        .node("g1")
        .metric("node_certificate_expiry_timestamp_seconds");
    assert!(ends.is_some_and(|ends| ends > 1.7e9), "{ends:?}");
}

#[test]
fn control_nodes_with_certificates_agree_and_lose_their_leader() {
    let cluster = Cluster::builder().whole(3).tls().start();
    cluster.wait_for_voters();
    let [one, two, three] = cluster.three();
    for (from, to) in [(one, two), (two, three), (three, one)] {
        crosses(from, to);
    }
    one.kill();
    let is_gone = || two.log().count("node is gone") > 0;
    assert!(becomes_true(SOON, is_gone), "it is not fenced");
    crosses(two, three);
    one.restart();
    crosses(one, three);
}

/// Everybody who is not of this authority, or not of today, on both ports.
#[test]
fn d5_whoever_has_no_certificate_of_the_cluster_is_not_heard() {
    let cluster = Cluster::builder().control(1).gateways(1).tls().start();
    let (ours, other) = (authority(&cluster), Authority::new());
    let good = "gatemq://tests/gateway/g9";
    let both = |uri: &str| ours.issue(uri, |_| {});
    let outsiders = [
        ("no certificate", Outsider::without()),
        ("self-signed", Outsider::showing(&Shown::self_signed(good))),
        (
            "another authority",
            Outsider::showing(&other.issue(good, |_| {})),
        ),
        (
            "expired",
            Outsider::showing(&ours.issue(good, |params| {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            })),
        ),
        (
            "not good yet",
            Outsider::showing(&ours.issue(good, |params| {
                params.not_before = rcgen::date_time_ymd(2090, 1, 1);
                params.not_after = rcgen::date_time_ymd(2091, 1, 1);
            })),
        ),
        (
            "another cluster",
            Outsider::showing(&both("gatemq://other/gateway/g9")),
        ),
        (
            "no node",
            Outsider::showing(&both("https://tests/gateway/g9")),
        ),
        (
            "a server's only",
            Outsider::showing(&ours.issue(good, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })),
        ),
    ];
    let ports = [cluster.node("c1").raft(), cluster.node("g1").grpc()];
    for address in ports {
        for (what, outsider) in &outsiders {
            let heard = outsider.speak(address);
            assert!(heard.is_empty(), "{what} at {address}: {heard:?}");
        }
        let heard = outsider::speak_plain(address);
        let is_alert = heard.len() <= 7 && heard.first().is_none_or(|kind| *kind == 0x15);
        assert!(is_alert, "plain at {address}: {heard:?}");
        // The sieve lets through what is right, or all of that would prove nothing.
        let right = Outsider::showing(&both(good));
        assert!(!right.speak(address).is_empty(), "a node at {address}");
    }
    crosses(cluster.node("g1"), cluster.node("g1"));
    for node in cluster.nodes() {
        assert!(node.log().count("a connection that is no node's") > 0);
    }
}

/// The right authority, but another role than the call is for.
#[test]
fn d5_nobody_calls_beyond_its_role() {
    let cluster = Cluster::builder().control(1).gateways(1).tls().start();
    let authority = authority(&cluster);
    let node = |roles: &str| {
        let shown = authority.issue(&format!("gatemq://tests/{roles}/x1"), |_| {});
        Outsider::showing(&shown)
    };
    let (control, gateway) = (node("control"), node("gateway"));
    let (bridge, admin) = (node("bridge"), node("admin"));
    let raft = cluster.node("c1").raft();
    let grpc = cluster.node("g1").grpc();
    for method in ["Append", "Vote", "Snapshot"] {
        let path = format!("/gatemq.raft.v1.Raft/{method}");
        for outsider in [&gateway, &bridge, &admin] {
            assert_eq!(outsider.call(raft, &path), Code::PermissionDenied, "{path}");
        }
        // It gets as far as what is wrong with an empty call.
        assert_eq!(control.call(raft, &path), Code::InvalidArgument, "{path}");
    }
    for (outsider, address, path, expected) in [
        (
            &gateway,
            raft,
            "/gatemq.control.v1.Control/Status",
            Code::Ok,
        ),
        (&admin, raft, "/gatemq.control.v1.Control/Status", Code::Ok),
        (
            &gateway,
            raft,
            "/gatemq.control.v1.Control/Join",
            Code::PermissionDenied,
        ),
        (
            &gateway,
            raft,
            "/gatemq.control.v1.Control/Attend",
            Code::PermissionDenied,
        ),
        (
            &gateway,
            raft,
            "/gatemq.desk.v1.Office/Remove",
            Code::PermissionDenied,
        ),
        (
            &admin,
            raft,
            "/gatemq.control.v1.Control/Propose",
            Code::PermissionDenied,
        ),
        (
            &control,
            raft,
            "/gatemq.control.v1.Control/Watch",
            Code::PermissionDenied,
        ),
        (
            &gateway,
            grpc,
            "/gatemq.desk.v1.Desk/Stats",
            Code::FailedPrecondition,
        ),
        (
            &gateway,
            grpc,
            "/gatemq.desk.v1.Desk/Drain",
            Code::PermissionDenied,
        ),
        (
            &gateway,
            grpc,
            "/gatemq.desk.v1.Desk/Publish",
            Code::PermissionDenied,
        ),
        (
            &control,
            grpc,
            "/gatemq.desk.v1.Desk/Drain",
            Code::FailedPrecondition,
        ),
        (
            &control,
            grpc,
            "/gatemq.peer.v1.Peer/Forward",
            Code::PermissionDenied,
        ),
        (
            &control,
            grpc,
            "/gatemq.peer.v1.Peer/Release",
            Code::PermissionDenied,
        ),
        (
            &bridge,
            grpc,
            "/gatemq.peer.v1.Peer/Release",
            Code::PermissionDenied,
        ),
        (
            &control,
            grpc,
            "/gatemq.raft.v1.Raft/Vote",
            Code::Unimplemented,
        ),
        (
            &control,
            raft,
            "/gatemq.other.v1.Other/Call",
            Code::PermissionDenied,
        ),
    ] {
        assert_eq!(outsider.call(address, path), expected, "{path}");
    }
    // A gateway speaks for itself: it sets nothing, and fences nobody.
    let set = Change::Configure(Configure {
        key: "session.on-full".to_owned(),
        value: Some("reject".to_owned()),
        ..Configure::default()
    });
    let fence = Change::Fence(Fence {
        incarnation: incarnation(&cluster),
        why: Why::Left.into(),
    });
    for change in [set, fence] {
        let request = ProposeRequest {
            command: Some(Command {
                kind: Some(change.clone()),
            }),
            ..ProposeRequest::default()
        };
        let path = "/gatemq.control.v1.Control/Propose";
        let refused = gateway.ask(raft, path, request);
        assert_eq!(refused, Code::PermissionDenied, "{change:?}");
    }
    crosses(cluster.node("g1"), cluster.node("g1"));
}

/// The incarnation of `g1`, as the API tells it.
fn incarnation(cluster: &Cluster) -> u64 {
    let answer = cluster.node("c1").get("/api/v1/members/g1");
    let (_, body) = answer.expect("the node answers");
    let member: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let incarnation = member["items"][0]["incarnation"].as_u64();
    incarnation.unwrap_or_else(|| panic!("no incarnation: {body}"))
}

/// Somebody has the address of a control node, and is none: gateways tell it nothing.
#[test]
fn a_server_that_is_not_of_the_control_plane_is_told_nothing() {
    let cluster = Cluster::builder().control(1).gateways(1).tls().start();
    let (ours, other) = (authority(&cluster), Authority::new());
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    // It is called until gossip says that nobody is there, so each comes into a running cluster.
    let takes_its_place = |shown: &Shown, is_done: &dyn Fn(&Impostor) -> bool| {
        control.kill();
        let impostor = Impostor::start(control.raft(), shown);
        let is_done = becomes_true(SOON, || is_done(&impostor));
        let n_heard = impostor.n_heard();
        drop(impostor);
        control.restart();
        crosses(gateway, gateway);
        (is_done, n_heard)
    };
    let is_called = |impostor: &Impostor| impostor.n_calls() > 0;
    let issue = |uri: &str| ours.issue(uri, |_| {});
    for (what, shown) in [
        ("a gateway", issue("gatemq://tests/gateway/c1")),
        ("another cluster's", issue("gatemq://other/control/c1")),
        (
            "another authority's",
            other.issue("gatemq://tests/control/c1", |_| {}),
        ),
        (
            "self-signed",
            Shown::self_signed("gatemq://tests/control/c1"),
        ),
    ] {
        let (is_called, n_heard) = takes_its_place(&shown, &is_called);
        assert!(is_called, "{what} was not called");
        assert_eq!(n_heard, 0, "{what} was told something");
    }
    let right = issue("gatemq://tests/control/c1");
    let (is_told, _) = takes_its_place(&right, &|impostor| impostor.n_heard() > 0);
    assert!(is_told, "one that is right is not spoken to");
}

#[test]
fn certificates_are_read_again_and_bad_ones_change_nothing() {
    let cluster = Cluster::builder().control(1).gateways(2).tls().start();
    let authority = authority(&cluster);
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let outsider = Outsider::showing(&authority.issue("gatemq://tests/admin/ops", |_| {}));
    let put = |name: &str, shown: &Shown| shown.write(&cluster.pki(), name);
    for (node, address, uri) in [
        (control, control.raft(), "gatemq://tests/control/c1"),
        (gateway, gateway.grpc(), "gatemq://tests/gateway/g1"),
    ] {
        let before = outsider.sees(address);
        let new = authority.issue(uri, |_| {});
        put(node.name(), &new);
        node.reload();
        let is_new = becomes_true(SOON, || outsider.sees(address) == new.certificate());
        assert!(is_new && before != new.certificate(), "{}", node.name());
        let another = authority.issue("gatemq://tests/gateway/g7", |_| {});
        let expired = authority.issue(uri, |params| {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        });
        for (n_bad, bad) in [another, expired, Shown::self_signed(uri)]
            .iter()
            .enumerate()
        {
            put(node.name(), bad);
            node.reload();
            let told = "certificate for other nodes not reloaded";
            assert!(becomes_true(SOON, || node.log().count(told) > n_bad));
            assert_eq!(outsider.sees(address), new.certificate());
        }
        put(node.name(), &new);
        crosses(gateway, cluster.node("g2"));
    }
}

#[test]
fn what_is_no_certificate_of_this_node_ends_the_start_in_one_line() {
    let cluster = Cluster::builder().control(1).gateways(1).tls().start();
    let authority = authority(&cluster);
    let node = cluster.prepare(Kind::Gateway, "g2");
    let expired = authority.issue("gatemq://tests/gateway/g2", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let issue = |uri: &str| authority.issue(uri, |_| {});
    for (shown, says) in [
        (issue("gatemq://tests/control/g2"), "is for control only"),
        (issue("gatemq://tests/gateway/g1"), "is for the node g1"),
        (expired, "is not good today"),
    ] {
        shown.write(&cluster.pki(), "g2");
        node.launch().expect("the binary runs");
        let status = node.wait(SOON);
        assert_eq!(status.code(), Some(2), "{}", node.log().text());
        let line = node.log().tail(1);
        assert!(
            line.contains("cluster.tls.cert: ") && line.contains(says),
            "{line}"
        );
    }
    issue("gatemq://tests/gateway/g2").write(&cluster.pki(), "g2");
    node.restart();
}

/// Without certificates nobody gets in, and is told why it waits.
#[test]
fn a_plain_node_does_not_join() {
    let cluster = Cluster::builder().control(1).gateways(1).tls().start();
    let plain = Node::new(Plan {
        name: "g2".to_owned(),
        kind: Kind::Gateway,
        flags: vec![
            format!("--members={}", cluster.node("c1").gossip()),
            "--storage-way=redis".to_owned(),
            format!("--redis={}", cluster.redis().address()),
        ],
        config: String::new(),
        folder: cluster.pki(),
        place: Place::default(),
        wrap: Wrap::default(),
    });
    plain.launch().expect("the binary runs");
    let waits = "waiting for the control plane";
    assert!(becomes_true(SOON, || plain.log().count(waits) > 0));
    let told = "a connection that is no node's";
    assert!(becomes_true(SOON, || cluster.node("c1").log().count(told) > 0));
    assert!(plain.is_running() && plain.log().count("joined the cluster") == 0);
}
