//! A `$share` group whose members are on several nodes is one group.

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Cluster, Connect, Node, Publish, Will, patience::becomes_true, unique, wire,
};

/// How long messages may take to come when a node that should have had them is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Members of a group, on the nodes in turn.
pub(super) fn members(nodes: &[&Node], n_members: usize, filter: &str, qos: u8) -> Vec<Client> {
    let members = (0..n_members).map(|number| {
        let mut member = nodes[number % nodes.len()].v5(&unique("member"));
        member.subscribe(filter, qos);
        member
    });
    members.collect()
}

/// Receives until so many came, and then nothing for a while: which member got what.
pub(super) fn drain(members: &mut [Client], n_expected: usize) -> Vec<Vec<u16>> {
    const QUIET: Duration = Duration::from_millis(150);
    const HOPELESS: Duration = Duration::from_secs(5);
    let mut received: Vec<Vec<u16>> = vec![Vec::new(); members.len()];
    let mut quiet_since = Instant::now();
    loop {
        for (member, received) in members.iter_mut().zip(&mut received) {
            while let Some(packet) = member.recv_within(Duration::from_millis(5)) {
                received.push(take(member, &packet));
                quiet_since = Instant::now();
            }
        }
        let n_received: usize = received.iter().map(Vec::len).sum();
        let quiet = quiet_since.elapsed();
        if quiet > HOPELESS || quiet > QUIET && n_received >= n_expected {
            return received;
        }
    }
}

fn take(member: &mut Client, packet: &wire::Packet) -> u16 {
    let publish = packet.publish(5);
    member.acknowledge(&publish);
    number_of(&publish.payload)
}

fn number_of(payload: &[u8]) -> u16 {
    u16::from_be_bytes(payload.try_into().expect("two bytes"))
}

/// How often each number came to the group.
pub(super) fn counts(received: &[Vec<u16>]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for number in received.iter().flatten() {
        *counts.entry(*number).or_default() += 1;
    }
    counts
}

#[test]
fn each_message_goes_to_one_member_and_each_member_gets_some() {
    const N_MESSAGES: u16 = 180;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for qos in 0..3 {
        let topic = unique("group");
        let mut members = members(&nodes, 6, &format!("$share/team/{topic}"), qos);
        thread::scope(|scope| {
            for (number, node) in (0..).zip(nodes) {
                let topic = &topic;
                scope.spawn(move || {
                    let mut publisher = node.v5(&unique("pub"));
                    for message in (number..N_MESSAGES).step_by(3) {
                        publisher.publish(topic, message.to_be_bytes(), qos);
                    }
                });
            }
        });
        let received = drain(&mut members, usize::from(N_MESSAGES));
        let expected: BTreeMap<_, _> = (0..N_MESSAGES).map(|number| (number, 1)).collect();
        assert_eq!(counts(&received), expected, "qos {qos}");
        let shares: Vec<_> = received.iter().map(Vec::len).collect();
        assert!(shares.iter().all(|n| *n >= 10), "qos {qos}: {shares:?}");
    }
}

/// Members of two groups and an ordinary subscriber of the same topic, all on other nodes.
/// The default strategy takes turns, wherever the members are.
#[test]
fn one_member_on_each_node_gets_a_third_each() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for node in nodes {
        let topic = unique("turns");
        let mut members = members(&nodes, 3, &format!("$share/turns/{topic}"), 1);
        let mut publisher = node.v5(&unique("pub"));
        for number in 0..30_u16 {
            publisher.publish(&topic, number.to_be_bytes(), 1);
        }
        let received = drain(&mut members, 30);
        let n_received: Vec<usize> = received.iter().map(Vec::len).collect();
        assert_eq!(n_received, [10, 10, 10], "from {}", node.name());
    }
}

#[test]
fn groups_and_ordinary_subscribers_do_not_take_from_each_other() {
    const N_MESSAGES: u16 = 60;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("groups");
    let mut red = members(&nodes, 3, &format!("$share/red/{topic}"), 1);
    let mut blue = members(&nodes, 3, &format!("$share/blue/{topic}/#"), 1);
    let mut plain = members(&nodes, 3, &topic, 1);
    let mut publisher = nodes[0].v4(&unique("pub"));
    for number in 0..N_MESSAGES {
        publisher.publish(&topic, number.to_be_bytes(), 1);
    }
    let n_expected = usize::from(N_MESSAGES);
    for (what, group) in [("red", &mut red), ("blue", &mut blue)] {
        let received = drain(group, n_expected);
        assert!(
            counts(&received).values().eq(vec![&1; n_expected]),
            "{what}: {received:?}"
        );
    }
    for (number, one) in plain.iter_mut().enumerate() {
        let received = drain(std::slice::from_mut(one), n_expected);
        let expected: Vec<_> = (0..N_MESSAGES).collect();
        assert_eq!(received[0], expected, "the subscriber on node {number}");
    }
}

/// [MQTT-4.8.2-4] and its like: a member that is away gets nothing while another one is there.
#[test]
fn the_only_member_that_is_there_gets_it_on_whatever_node() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (online, publishing) in [(1, 0), (2, 0), (0, 2), (1, 1)] {
        let what = format!("member on {online}, publisher on {publishing}");
        let topic = unique("online");
        let filter = format!("$share/team/{topic}");
        let mut away = Vec::new();
        for node in nodes {
            let connect = Connect::persistent(5, unique("away"));
            let mut member = node.connect(&connect).0;
            member.subscribe(&filter, 1);
            member.disconnect();
            away.push(connect);
        }
        let mut member = nodes[online].v5(&unique("there"));
        member.subscribe(&filter, 1);
        let mut publisher = nodes[publishing].v5(&unique("pub"));
        wait_until_known(&mut publisher, &mut member, &topic);
        for number in 0..20_u16 {
            publisher.publish(&topic, number.to_be_bytes(), 1);
            assert_eq!(number_of(&member.receive().payload), number, "{what}");
        }
        // When nobody is there it waits for one of them.
        member.disconnect();
        let mut n_waiting = 0;
        for number in 20..26_u16 {
            let ack = publisher.publish_packet(Publish {
                qos: 1,
                ..Publish::new(&topic, number.to_be_bytes())
            });
            assert_eq!(ack.expect("a PUBACK").reason, 0, "{what}");
            n_waiting += 1;
        }
        let mut clients: Vec<_> = away
            .iter()
            .map(|connect| nodes[publishing].connect(connect).0)
            .collect();
        let received = drain(&mut clients, n_waiting);
        let expected: BTreeMap<_, _> = (20..26).map(|number| (number, 1)).collect();
        assert_eq!(counts(&received), expected, "{what}: {received:?}");
    }
}

/// Waits until the publisher's node knows that this member is the only one with a connection: that
/// others have left is told a moment later. At QoS 0 nothing is kept for those.
fn wait_until_known(publisher: &mut Client, member: &mut Client, topic: &str) {
    const IN_A_ROW: usize = 8; // more than there are nodes in the round
    let is_known = becomes_true(PATIENCE, || {
        (0..IN_A_ROW).all(|_| {
            publisher.publish(topic, [0, 0], 0);
            member.recv_within(Duration::from_millis(300)).is_some()
        })
    });
    assert!(is_known, "others are still taken for connected");
    while member.recv_within(Duration::from_millis(100)).is_some() {}
}

/// [MQTT-4.8.2-5] and its like: what a member did not acknowledge goes to another one when its
/// session ends, on whatever node that is.
#[test]
fn what_a_member_did_not_acknowledge_goes_to_one_on_another_node() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("inherits");
    let filter = format!("$share/team/{topic}");
    let mut first = one.v5(&unique("first"));
    first.subscribe(&filter, 1);
    let mut publisher = three.v5(&unique("pub"));
    for number in 0..10_u16 {
        publisher.publish(&topic, number.to_be_bytes(), 1);
    }
    for number in 0..10_u16 {
        let publish = first.expect_publish();
        assert_eq!(number_of(&publish.payload), number);
        if number < 4 {
            first.acknowledge(&publish);
        }
    }
    first.ping();
    let mut second = two.v5(&unique("second"));
    second.subscribe(&filter, 1);
    first.disconnect();
    let received = drain(std::slice::from_mut(&mut second), 6);
    let mut numbers = received[0].clone();
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 5, 6, 7, 8, 9]);
}

#[test]
fn members_come_and_go_on_all_nodes_and_nothing_is_lost() {
    const N_MESSAGES: u16 = 200;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("comeandgo");
    let filter = format!("$share/team/{topic}");
    let mut stays = members(&nodes[..1], 1, &filter, 1);
    let received = thread::scope(|scope| {
        let coming_and_going: Vec<_> = [1, 2]
            .map(|number| {
                let (node, filter) = (nodes[number], &filter);
                scope.spawn(move || {
                    let mut received = Vec::new();
                    for round in 0..15 {
                        let mut member = node.v5(&unique("guest"));
                        member.subscribe(filter, 1);
                        while let Some(packet) = member.recv_within(Duration::from_millis(20)) {
                            received.push(take(&mut member, &packet));
                        }
                        member.ping(); // what was acknowledged counts
                        if round % 2 == 0 {
                            member.unsubscribe(&[filter]);
                        }
                        member.disconnect();
                    }
                    received
                })
            })
            .into();
        let mut publisher = nodes[2].v5(&unique("pub"));
        publisher.set_limit(PATIENCE);
        for number in 0..N_MESSAGES {
            publisher.publish(&topic, number.to_be_bytes(), 1);
        }
        let joined = coming_and_going.into_iter().map(|guest| guest.join());
        let mut received: Vec<_> = joined
            .map(|received| received.expect("a guest that reads"))
            .collect();
        received.extend(drain(&mut stays, 0));
        received
    });
    let counts = counts(&received);
    let lost: Vec<_> = (0..N_MESSAGES)
        .filter(|number| !counts.contains_key(number))
        .collect();
    let n_repeated = counts.values().filter(|n| **n > 1).count();
    eprintln!(
        "members come and go: {} lost, {n_repeated} repeated",
        lost.len()
    );
    assert_eq!(lost, Vec::<u16>::new());
}

/// The node of a member is killed: what it had and did not acknowledge, and all that comes after,
/// goes to the others.
#[test]
fn a_killed_node_takes_nothing_from_a_group() {
    const N_MESSAGES: u16 = 120;
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let nodes = cluster.three();
    let topic = unique("killed");
    let mut members = members(&nodes, 3, &format!("$share/team/{topic}"), 1);
    let mut publisher = nodes[0].v5(&unique("pub"));
    publisher.set_limit(PATIENCE);
    let mut by_the_dead = HashMap::new();
    for number in 0..N_MESSAGES {
        if number == N_MESSAGES / 2 {
            // What it has read and acknowledged does not count as lost.
            let dying = &mut members[2];
            while let Some(packet) = dying.recv_within(Duration::from_millis(50)) {
                *by_the_dead.entry(take(dying, &packet)).or_insert(0) += 1;
            }
            dying.ping();
            nodes[2].kill();
        }
        publisher.publish(&topic, number.to_be_bytes(), 1);
    }
    members.pop();
    let mut received: Vec<Vec<u16>> = vec![Vec::new(); 2];
    let mut lost = Vec::new();
    let all_came = becomes_true(PATIENCE, || {
        for (received, new) in received.iter_mut().zip(drain(&mut members, 0)) {
            received.extend(new);
        }
        let counts = counts(&received);
        lost = (0..N_MESSAGES)
            .filter(|number| !counts.contains_key(number) && !by_the_dead.contains_key(number))
            .collect();
        lost.is_empty()
    });
    let n_all: usize = received.iter().map(Vec::len).sum::<usize>() + by_the_dead.len();
    eprintln!(
        "a member's node was killed: {} lost, {} repeated",
        lost.len(),
        n_all.saturating_sub(usize::from(N_MESSAGES))
    );
    assert!(all_came, "lost: {lost:?}");
}

/// [MQTT-4.8.2]: which member had it is known to the node where that member is, and to no other.
#[test]
fn a_qos_2_message_that_is_sent_again_on_another_node_reaches_its_group_once() {
    const N_ROUNDS: u16 = 24;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("again");
    let mut members = members(&nodes, 3, &format!("$share/team/{topic}"), 2);
    let connect = Connect::persistent(5, unique("pub"));
    for number in 0..N_ROUNDS {
        let (from, to) = (
            usize::from(number % 3),
            usize::from((number + 1 + number / 12) % 3),
        );
        let sent = Publish::new(&topic, number.to_be_bytes()).qos(2, 7);
        let mut client = nodes[from].connect(&connect).0;
        client.send(&sent.bytes(5));
        client.expect_ack(wire::PUBREC, 7);
        client.cut();
        let (mut client, connack) = nodes[to].connect(&connect);
        assert!(connack.session_present);
        client.send(&sent.dup().bytes(5));
        client.expect_ack(wire::PUBREC, 7);
        client.send(&wire::ack(wire::PUBREL, 7));
        client.expect_ack(wire::PUBCOMP, 7);
    }
    let received = drain(&mut members, usize::from(N_ROUNDS));
    let expected: BTreeMap<_, _> = (0..N_ROUNDS).map(|number| (number, 1)).collect();
    assert_eq!(counts(&received), expected, "{received:?}");
}

/// Whoever goes on with a message asks where it may be, and that is all that there is.
#[test]
fn a_group_on_one_other_node_gets_what_is_gone_on_with() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("only");
    let mut member = three.v5(&unique("member"));
    member.subscribe(&format!("$share/team/{topic}"), 2);
    for number in 0..6_u16 {
        let will = Will::new(&topic, number.to_be_bytes()).qos(2);
        let connect = Connect::persistent(5, unique("mortal")).will(will);
        one.connect(&connect).0.cut();
        assert_eq!(take_next(&mut member), number, "a will");
    }
    let connect = Connect::persistent(5, unique("pub"));
    for number in 10..16_u16 {
        let sent = Publish::new(&topic, number.to_be_bytes()).qos(2, 7);
        let mut client = one.connect(&connect).0;
        client.send(&sent.bytes(5));
        client.cut();
        let mut client = two.connect(&connect).0;
        client.send(&sent.dup().bytes(5));
        client.expect_ack(wire::PUBREC, 7);
        client.send(&wire::ack(wire::PUBREL, 7));
        client.expect_ack(wire::PUBCOMP, 7);
        assert_eq!(take_next(&mut member), number, "gone on with");
    }
    member.expect_silence(50);
}

fn take_next(member: &mut Client) -> u16 {
    number_of(&member.receive().payload)
}

/// A publisher's node is killed while its messages are on their way, and with it a member: whoever
/// has one of them, on whatever node by then, is the only one.
#[test]
fn a_killed_node_gives_no_qos_2_message_to_a_second_member() {
    const N_MESSAGES: u16 = 60;
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let nodes = cluster.three();
    let topic = unique("killed");
    let sessions = [0, 1, 2].map(|_| Connect::persistent(5, unique("member")));
    // Whoever has QoS 1 itself keeps others from having it twice.
    for ((connect, node), qos) in sessions.iter().zip(nodes).zip([1, 2, 2]) {
        let mut member = node.connect(connect).0;
        member.subscribe(&format!("$share/team/{topic}"), qos);
        member.disconnect();
    }
    let connect = Connect::persistent(5, unique("pub"));
    let mut publisher = nodes[0].connect(&connect).0;
    // Until every node knows that members are there.
    publisher.publish(&topic, N_MESSAGES.to_be_bytes(), 2);
    let sent = |number: u16| Publish::new(&topic, number.to_be_bytes()).qos(2, number + 1);
    for number in 0..N_MESSAGES {
        publisher.send(&sent(number).bytes(5));
    }
    // Some are with members by now, and some are not.
    for number in 0..N_MESSAGES / 4 {
        publisher.expect_ack(wire::PUBREC, number + 1);
    }
    nodes[0].kill();
    let (mut publisher, connack) = nodes[1].connect(&connect);
    assert!(connack.session_present);
    publisher.set_limit(PATIENCE);
    for number in 0..N_MESSAGES {
        publisher.send(&sent(number).dup().bytes(5));
    }
    for number in 0..N_MESSAGES {
        publisher.expect_ack(wire::PUBREC, number + 1);
        publisher.send(&wire::ack(wire::PUBREL, number + 1));
    }
    let mut members: Vec<Client> = sessions
        .iter()
        .map(|connect| nodes[2].connect(connect).0)
        .collect();
    let n_expected = usize::from(N_MESSAGES) + 1;
    let received = drain(&mut members, n_expected);
    let expected: BTreeMap<_, _> = (0..=N_MESSAGES).map(|number| (number, 1)).collect();
    assert_eq!(counts(&received), expected, "{received:?}");
}
