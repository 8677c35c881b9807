//! Messages that come back, on a gateway without others: what is acknowledged, and when.

use gatemq_router::GroupNode;
use gatemq_router::peer::{self, Receipt as _, Verdict};

use std::sync::atomic::Ordering;

use super::*;
use crate::cluster::held;
use crate::proto::cluster::bridges;
use crate::proto::mqtt::{PacketId, Reason};
use crate::receipt::{IfRefused, Owed, Receipt};
use crate::session::outbound::Outbound;
use crate::session::received::Print;
use crate::session::{Life, Session};

/// Routes a message to nobody, for a publisher that waits for it.
fn route(broker: &Arc<Broker>, qos: Qos) {
    route_for(broker, qos, &Receipt::new(broker.incarnation()));
}

fn route_for(broker: &Arc<Broker>, qos: Qos, receipt: &Arc<Receipt>) {
    let mut turn = turn(broker, receipt);
    let plan = broker.table.plan("t");
    turn.route_begun(MessageRef::any(qos), &plan, Author::named("c", ""));
    turn.legs.extend(turn.parent.take());
    turn.finish(None);
    seal(broker, receipt);
}

/// A message that has gone to a node, for a publisher that waits for it.
fn sent(broker: &Arc<Broker>, receipt: &Arc<Receipt>, picks: GroupPicks) -> Forwarded {
    let cluster = broker.cluster.clone().expect("there is one");
    let mut turn = turn(broker, receipt);
    let target = Target {
        node: 9,
        is_direct: true,
        picks,
    };
    let message = MessageRef::any(Qos::AtLeastOnce);
    let sent = turn.returning(&cluster, &message, "c", target);
    turn.legs.extend(turn.parent.take());
    turn.finish(None);
    sent
}

/// Its publisher waits for nothing else.
fn seal(broker: &Broker, receipt: &Receipt) {
    let session = Session::new(2, "c", Outbound::new(true), Life::default());
    let owed = Owed::of_exchange(Arc::new(session), (PacketId::MIN, Print::any()), None);
    receipt.seal(Some(owed));
    broker.settle(receipt.commit());
}

/// How much is done, within this time, or sooner.
async fn n_done(broker: &Broker, wait: Duration) -> usize {
    verdicts(broker, wait).await.len()
}

/// Of what is done, within this time, or sooner, why it failed where it did.
async fn verdicts(broker: &Broker, wait: Duration) -> Vec<Option<Reason>> {
    let mut done = Vec::new();
    while let Ok(groups) = tokio::time::timeout(wait, broker.store.completed().take()).await {
        for ticket in groups.into_iter().flatten() {
            broker.settle_all(ticket.legs.into_iter().filter_map(|leg| leg.done(None)));
            let failure = |owed: Owed| owed.failures.first().map(|(_, reason)| *reason);
            done.extend(ticket.owed.map(failure));
        }
        if !done.is_empty() {
            break;
        }
    }
    done
}

/// A beat that was sent now is confirmed.
fn renew(broker: &Broker) {
    let cluster = broker.cluster.as_ref().expect("there is one");
    let now = broker.clock.now();
    cluster.lease.renew(now, now);
}

/// Runs what routes again, with a lease.
async fn start(broker: &Arc<Broker>, cluster: &Arc<Cluster>) {
    tokio::spawn(run(broker.clone(), cluster.clone()));
    tokio::spawn(held::run(broker.clone(), cluster.clone()));
    let renewing = broker.clone();
    tokio::spawn(async move {
        loop {
            renew(&renewing);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A bridge that takes messages, or is gone.
fn bridge(n_online: u32) -> GroupNode {
    GroupNode {
        node: 9,
        n_online,
        n_offline: 1 - n_online,
    }
}

#[tokio::test]
async fn what_is_routed_without_the_lease_is_acknowledged_when_everybody_is_known() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    tokio::spawn(run(broker.clone(), cluster.clone()));
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(20));
    route(&broker, Qos::ExactlyOnce);
    let n_early = n_done(&broker, short).await;
    assert_eq!(n_early, 0, "who gets it is not known");
    renew(&broker);
    assert_eq!(n_done(&broker, long).await, 1);
    // Nobody waits where nothing is promised.
    cluster.lease.end();
    route(&broker, Qos::AtMostOnce);
    assert_eq!(n_done(&broker, long).await, 1);
}

/// A turn that routes a message of QoS 1 for a publisher that waits for it.
fn turn<'a>(broker: &'a Arc<Broker>, receipt: &Arc<Receipt>) -> Turn<'a> {
    let mut turn = Turn::new(broker);
    turn.parent = Some(receipt.leg(Some(0)));
    turn.has_publisher = true;
    turn.begin_message();
    turn
}

#[tokio::test]
async fn what_is_routed_while_the_lease_is_lost_and_got_back_is_looked_at_again() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    for is_lost in [false, true] {
        let receipt = Receipt::new(broker.incarnation());
        let mut turn = turn(&broker, &receipt);
        if is_lost {
            cluster.lease.end(); // the table goes back: nobody is found
        }
        let plan = broker.table.plan("t");
        renew(&broker);
        turn.route_begun(
            MessageRef::any(Qos::AtLeastOnce),
            &plan,
            Author::named("c", ""),
        );
        turn.legs.extend(turn.parent.take());
        turn.finish(None);
        seal(&broker, &receipt);
        let n_doubted = cluster.returns.take_now().len();
        assert_eq!(n_doubted, usize::from(is_lost));
    }
}

#[tokio::test]
async fn what_another_node_accepted_counts_only_if_the_lease_is_the_same() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    for is_lost in [false, true] {
        let receipt = Receipt::new(broker.incarnation());
        let sent = sent(&broker, &receipt, SmallVec::new());
        if is_lost {
            cluster.lease.end();
        }
        renew(&broker);
        sent.settle(Verdict::Accepted);
        assert_eq!(cluster.returns.take_now().len(), usize::from(is_lost));
    }
}

#[tokio::test]
async fn what_is_looked_at_or_routed_again_without_the_lease_is_not_done() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    let earlier = cluster.lease.generation();
    cluster.lease.end();
    renew(&broker);
    let receipt = Receipt::new(broker.incarnation());
    let mut moved = sent(&broker, &receipt, SmallVec::new());
    moved.fate = Fate::Accepted;
    let mut waiting = vec![moved];
    look(&broker, &cluster, earlier, &mut waiting);
    let mut moved = waiting.pop().expect("it was another lease");
    moved.fate = Fate::Moved;
    cluster.lease.end();
    route_again(&broker, &cluster, moved);
    let mut waiting = Vec::from(cluster.returns.take_now());
    assert_eq!(waiting.len(), 1, "nobody knows whom it has missed");
    renew(&broker);
    look(&broker, &cluster, cluster.lease.generation(), &mut waiting);
    assert!(waiting.is_empty());
}

/// Where the clients of a whole node come to others there is always somebody who is moving.
#[tokio::test]
async fn whoever_has_come_since_a_message_is_given_it_once_whatever_else_moves() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    let lease = cluster.lease.generation();
    let look = |waiting: &mut Vec<Forwarded>| {
        look(&broker, &cluster, lease, waiting);
        waiting.pop()
    };
    broker.table.set_node(None, "t", bridge(1));
    let receipt = Receipt::new(broker.incarnation());
    let sent = sent(&broker, &receipt, SmallVec::new());
    let mut session = Session::new(7, "comes", Outbound::new(true), Life::default());
    session.arrives();
    *session.arrived.get_mut() = cluster.stamp();
    let session = Arc::new(session);
    let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
    broker.table.subscribe(None, "t", 7, subscription);
    drop(cluster.moves.change());
    sent.settle(Verdict::Accepted);
    let mut waiting = Vec::from(cluster.returns.take_now());
    let again = look(&mut waiting).expect("somebody has come");
    route_again(&broker, &cluster, again);
    assert_eq!(session.outbound.lock().n_queued(), 1);
    // It went to the other node, too, which has it once more.
    let mut waiting = Vec::from(cluster.returns.take_now());
    drop(cluster.moves.change());
    waiting[0].fate = Fate::Accepted;
    assert!(look(&mut waiting).is_none(), "all have it");
    seal(&broker, &receipt);
    assert_eq!(n_done(&broker, Duration::from_secs(20)).await, 1);
}

#[tokio::test]
async fn what_comes_back_from_several_nodes_is_routed_once_for_all_of_them() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    let nodes = [8, 9].map(|node| GroupNode { node, ..bridge(1) });
    for node in nodes {
        broker.table.set_node(None, "t", node); // nothing gets there: all comes back
    }
    let receipt = Receipt::new(broker.incarnation());
    let mut waiting = vec![sent(&broker, &receipt, SmallVec::new())];
    seal(&broker, &receipt);
    let mut order = Order::default();
    let mut route_all = |waiting: &mut Vec<Forwarded>| {
        for due in order.take_due(waiting, cluster.source) {
            route_again(&broker, &cluster, due);
        }
        waiting.extend(cluster.returns.take_now());
        waiting.len()
    };
    for _ in 0..6 {
        assert_eq!(route_all(&mut waiting), nodes.len());
    }
    assert_eq!(n_done(&broker, Duration::from_millis(1)).await, 0);
    for node in nodes {
        broker.table.remove_node(None, "t", node.node);
    }
    assert_eq!(route_all(&mut waiting), 0);
    assert_eq!(n_done(&broker, Duration::from_secs(20)).await, 1);
}

#[tokio::test]
async fn what_is_for_a_bridge_waits_for_one_for_a_while() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    start(&broker, &cluster).await;
    let gone = bridge(0);
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(20));
    let held = || cluster.returns.held.bytes();
    broker.table.set_node(Some(bridges::GROUP), "t", gone);
    route(&broker, Qos::AtLeastOnce);
    assert_eq!(n_done(&broker, short).await, 0);
    assert!(held() > 0);
    assert_eq!(verdicts(&broker, long).await, [Some(NO_BRIDGE)]);
    assert_eq!(held(), 0);
    // Who has it waits no longer than until nobody wants it.
    route(&broker, Qos::AtLeastOnce);
    broker.table.remove_node(Some(bridges::GROUP), "t", 9);
    assert_eq!(verdicts(&broker, long).await, [None]);
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn a_will_waits_for_a_bridge_for_as_long_as_it_takes() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    start(&broker, &cluster).await;
    broker.table.set_node(Some(bridges::GROUP), "t", bridge(0));
    let held = &cluster.returns.held;
    let full = held.fill();
    route_for(
        &broker,
        Qos::AtLeastOnce,
        &Receipt::of(IfRefused::Lost, broker.incarnation()),
    );
    // One that is not for ever does not wait behind it.
    drop(full);
    route(&broker, Qos::AtLeastOnce);
    let long = Duration::from_secs(20);
    assert_eq!(verdicts(&broker, long).await, [Some(NO_BRIDGE)]);
    assert!(held.bytes() > 0);
    assert_eq!(held.n_wills(), 1);
    broker.table.remove_node(Some(bridges::GROUP), "t", 9);
    assert_eq!(verdicts(&broker, long).await, [None]);
    assert_eq!((held.bytes(), held.n_wills()), (0, 0));
}

#[tokio::test]
async fn what_a_session_refuses_is_told_although_a_bridge_is_waited_for() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    start(&broker, &cluster).await;
    broker.table.set_node(Some(bridges::GROUP), "t", bridge(0));
    let session = Session::new(7, "stolen", Outbound::new(true), Life::default());
    session.outbound.lock().give_up();
    let subscription = Subscription::any(Arc::new(session), Qos::AtLeastOnce);
    broker.table.subscribe(None, "t", 7, subscription);
    let receipt = Receipt::new(broker.incarnation());
    let picks = SmallVec::from_iter([(bridges::GROUP.into(), "t".into())]);
    let moved = sent(&broker, &receipt, picks);
    cluster.returns.put(moved);
    seal(&broker, &receipt);
    while cluster.returns.held.bytes() == 0 {
        assert_eq!(n_done(&broker, Duration::from_millis(1)).await, 0);
    }
    broker.table.remove_node(Some(bridges::GROUP), "t", 9);
    let told = verdicts(&broker, Duration::from_secs(20)).await;
    assert_eq!(told, [Some(Reason::UnspecifiedError)]);
}

#[tokio::test]
async fn what_matches_two_filters_of_bridges_is_held_once() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    for filter in ["t", "#"] {
        broker
            .table
            .set_node(Some(bridges::GROUP), filter, bridge(0));
    }
    route(&broker, Qos::AtLeastOnce);
    let held = &cluster.returns.held;
    let n_bytes = held.bytes();
    assert!((1..1_024).contains(&n_bytes), "{n_bytes}");
    // Whichever of them finds a bridge.
    for there in ["t", "#"] {
        let taken = held.take(0, |filter| filter == there);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].target.picks.len(), 2);
        taken.into_iter().for_each(|it| held.put(it));
    }
}

#[tokio::test]
async fn what_a_gateway_that_was_taken_for_gone_had_under_way_is_not_routed_again() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    // Without the lease it comes back to be looked at again; of a will nobody else would.
    let of_before = broker.incarnation();
    route(&broker, Qos::AtLeastOnce);
    route_for(
        &broker,
        Qos::AtLeastOnce,
        &Receipt::of(IfRefused::Lost, of_before),
    );
    cluster.incarnation.store(of_before + 1, Ordering::Release);
    route(&broker, Qos::ExactlyOnce);
    start(&broker, &cluster).await;
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(20));
    let mut done = n_done(&broker, long).await;
    done += n_done(&broker, short).await;
    assert_eq!(done, 2, "the will, and what came since");
}

/// It was asked last, and may have said no for want of others that could have had it.
#[tokio::test]
async fn who_was_asked_whether_a_group_has_had_a_message_may_get_it_then() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.clone().expect("there is one");
    renew(&broker);
    broker.table.set_node(
        Some("g"),
        "t",
        GroupNode {
            node: 8,
            ..bridge(1)
        },
    );
    let receipt = Receipt::new(broker.incarnation());
    let picks = GroupPicks::from_iter([("g".into(), "t".into())]);
    let mut sent = sent(&broker, &receipt, picks);
    sent.message = Arc::new(MessageRef::any(Qos::ExactlyOnce).to_message());
    sent.target.is_direct = false;
    sent.settle(Verdict::Moved);
    let came_back = || Vec::from(cluster.returns.take_now()).pop();
    let asked = came_back().expect("its node was gone");
    assert!(asked.asking.is_some());
    route_again(&broker, &cluster, asked);
    // Nothing gets to that node here: all comes back at once.
    let mut asked = came_back().expect("it is asked");
    assert_eq!((asked.target.node, asked.asking.is_some()), (8, true));
    let no = vec![peer::Pick {
        group: "g".into(),
        filter: "t".into(),
    }];
    asked.fate = Fate::Moved;
    asked.settle(Verdict::Refused {
        reason: Reason::NoMatchingSubscribers as u8,
        picks: no,
    });
    route_again(&broker, &cluster, came_back().expect("it said no"));
    let chosen = came_back().expect("it is chosen");
    assert_eq!((chosen.target.node, chosen.target.picks.len()), (8, 1));
    seal(&broker, &receipt);
    assert_eq!(n_done(&broker, Duration::from_millis(1)).await, 0);
}
