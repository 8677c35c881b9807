//! Gateways and control nodes that end in order, and hand over what they have: F32 and F39.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::{
    Cluster, Connect, Node, Publish,
    faults::{Run, Scenario, over::Over},
    history::{self, Ending, Event, History, Name, Record, Uid},
    traffic::{Journal, Link, Traffic},
    unique, wire,
};

use super::guests::Guest;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F32",
        title: "nodes are restarted in order, one after the other",
        is_short: true,
        act: restarted_in_turn,
    },
    Scenario {
        name: "F39",
        title: "a gateway with many clients stops in order",
        is_short: false,
        act: drained,
    },
];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Threads that do what many clients do at the same time.
const N_HANDS: usize = 12;

fn restarted_in_turn(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(3).start();
    cluster.wait_for_voters();
    let traffic = run.everybody(&cluster);
    let mut order: Vec<_> = cluster.nodes().iter().collect();
    for at in (1..order.len()).rev() {
        order.swap(at, run.random.below(at + 1));
    }
    for _ in 0..run.rounds(0, 1) {
        order.extend_from_within(..);
    }
    order.truncate(run.rounds(4, order.len()));
    for node in order {
        run.somewhere(&traffic);
        restart(run, &traffic, node);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// A restart costs the clients of a gateway one connection each, and all others none.
fn restart(run: &mut Run, traffic: &Traffic<'_>, node: &Node) {
    let history = run.history();
    let n_before = history.records().len();
    let since = run.begins("restart", node.name());
    let status = node.terminate();
    run.sees("restart", node.name(), !node.is_running());
    if !status.success() {
        run.fail(format!("{} ends with {status}", node.name()));
    }
    node.restart();
    run.healed("restart", node.name());
    run.recovers(traffic, since);
    let most = usize::from(node.has_gateway());
    for (client, n_connected) in connected(&history.records()[n_before..]) {
        if n_connected > most {
            let name = node.name();
            run.fail(format!(
                "{client} connected {n_connected} times while {name} was restarted"
            ));
        }
    }
}

/// How often clients connected.
fn connected(records: &[Record]) -> HashMap<&Name, usize> {
    let mut found = HashMap::new();
    for record in records {
        if let Event::Connected { client, .. } = &record.event {
            *found.entry(client).or_default() += 1;
        }
    }
    found
}

fn drained(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 2) {
        let mut three = cluster.three();
        three.rotate_left(run.random.below(3));
        let [stops, stays, other] = three;
        let history = run.history();
        let wills = format!("{}/will", traffic.prefix());
        let n_guests = run.rounds(300, 2_000);
        let guests = (0..n_guests).map(|number| Guest::new(number, &wills, &history));
        let guests = Mutex::new(guests.collect::<Vec<_>>());
        all(run, &guests, |guest| guest.enter(stops.tcp()));
        let topics: Vec<_> = with(&guests, |all| all.iter().map(Guest::topic).collect());
        let n_before = history.records().len();
        run.somewhere(&traffic);
        let since = run.begins("drain", stops.name());
        let is_over = AtomicBool::new(false);
        let mut status = None;
        thread::scope(|scope| {
            let over = Over(&is_over);
            let publishing = scope.spawn(|| publish(stays.tcp(), &topics, &history, &is_over));
            let stopping = scope.spawn(|| stops.terminate());
            // Some come back before the others have gone.
            all(run, &guests, |guest| {
                guest.must_go(stays.tcp(), other.tcp())
            });
            let n_seconds = since.elapsed().as_secs_f64();
            run.note(format!(
                "{n_guests} are at other gateways after {n_seconds:.1} s"
            ));
            status = stopping.join().ok();
            drop(over);
            match publishing.join() {
                Ok(Ok(n_sent)) => run.note(format!("{n_sent} messages for those who moved")),
                Ok(Err(trouble)) => run.fail(format!("a publisher: {trouble}")),
                Err(_) => run.fail("a publisher's thread panicked"),
            }
        });
        run.sees("drain", stops.name(), !stops.is_running());
        if !status.is_some_and(|status| status.success()) {
            run.fail(format!("{} ends with {status:?}", stops.name()));
        }
        // How long many clients take to connect is one thing, whether others notice is another.
        traffic.everyone_goes_on();
        run.took(standstill(&history.records()[n_before..]));
        stops.restart();
        run.healed("drain", stops.name());
        run.probe(&traffic);
        all(run, &guests, Guest::leave);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// The longest time that passed between two answers to a publisher.
fn standstill(records: &[Record]) -> Duration {
    let (mut last, mut longest) = (HashMap::new(), 0);
    for record in records {
        if let Event::Accepted { uid, .. } | Event::Refused { uid, .. } = &record.event
            && let Some(before) = last.insert(&uid.publisher, record.t)
        {
            longest = longest.max(record.t.saturating_sub(before));
        }
    }
    Duration::from_nanos(longest)
}

/// Every guest does this, several at a time.
fn all(
    run: &mut Run,
    guests: &Mutex<Vec<Guest>>,
    act: impl Fn(&mut Guest) -> Result<(), String> + Sync,
) {
    let (done, troubles) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..N_HANDS {
            scope.spawn(|| {
                while let Some(mut guest) = with(guests, Vec::pop) {
                    if let Err(trouble) = act(&mut guest) {
                        with(&troubles, |all| all.push(trouble));
                    }
                    with(&done, |all| all.push(guest));
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    with(guests, |all| *all = done);
    let troubles = troubles.into_inner();
    let troubles = troubles.unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = troubles.first() {
        run.fail(format!("{} guests, one of them: {first}", troubles.len()));
    }
}

fn with<T, R>(shared: &Mutex<T>, act: impl FnOnce(&mut T) -> R) -> R {
    act(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One message for each topic, and again, until it is over. Returns how many.
fn publish(
    address: SocketAddr,
    topics: &[String],
    history: &Arc<History>,
    is_over: &AtomicBool,
) -> io::Result<u64> {
    let client = unique("pub");
    let mut journal = Journal::new(&client, history);
    let connect = Connect::new(5, &client);
    journal.connecting(address, connect.clean);
    let (mut link, session_present, _) = Link::open(address, &connect)?;
    journal.connected(session_present);
    let mut n_sent = 0;
    'all: for seq in 0.. {
        for topic in topics {
            if is_over.load(Relaxed) {
                break 'all;
            }
            let uid = Uid {
                publisher: client.as_str().into(),
                topic: topic.as_str().into(),
                seq,
            };
            let packet = Publish::new(topic, history::encode(&uid, 20)).qos(1, 1);
            journal.sent(&uid, &packet);
            link.send(&packet.bytes(5))?;
            let answer = link.recv(PATIENCE)?;
            let answer = answer.ok_or(io::ErrorKind::TimedOut)?;
            journal.answered(uid, answer.ack(wire::PUBACK, 5).reason);
            n_sent += 1;
        }
    }
    link.disconnect()?;
    journal.disconnected(Ending::Orderly);
    Ok(n_sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_answered_does_not_hide_who_is_not() {
        let accepted = |t, publisher: &str| Record {
            t,
            event: Event::Accepted {
                uid: Uid {
                    publisher: publisher.into(),
                    topic: "t".into(),
                    seq: t,
                },
                connection: 1,
            },
        };
        let records = [
            accepted(1, "a"),
            accepted(2, "b"),
            accepted(5, "b"),
            accepted(8, "b"),
            accepted(9, "a"),
        ];
        assert_eq!(standstill(&records), Duration::from_nanos(8));
        assert_eq!(standstill(&records[1..]), Duration::from_nanos(3));
    }
}
