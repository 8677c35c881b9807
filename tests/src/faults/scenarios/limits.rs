//! Gateways that have too little memory or too few descriptors: F35, F36.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Client, Cluster, Connect, Node, Properties, Publish,
    faults::{Run, Scenario, over::Over},
    nemesis::limits::{Descriptors, Memory},
    patience::{becomes_true, pause},
    traffic::Link,
    unique,
    wire::{self, property},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F35",
        title: "a gateway may have 256 MiB, and is flooded",
        is_short: false,
        act: a_gateway_is_flooded,
    },
    Scenario {
        name: "F36",
        title: "a gateway has no descriptors left, and then has some",
        is_short: false,
        act: descriptors_run_out,
    },
];

/// What the gateway may have.
const MEMORY: u64 = 256 << 20;
/// How long the flood goes on at the most where nothing has to be shed yet.
const FLOOD: Duration = Duration::from_secs(60);
/// What each message of the flood has.
const LARGE: usize = 100_000;
/// Clients of the flood, and as many that take nothing of it.
const N_FLOODING: usize = 4;
/// How long one answer may take to somebody who did nothing wrong.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing comes before it is plain that the broker reads no more.
const HELD: Duration = Duration::from_millis(500);
/// From one message of the canary to the next.
const PERIOD: Duration = Duration::from_millis(50);
/// CONNACK, DISCONNECT: busy. PUBACK, DISCONNECT: over quota.
const SHED: [u8; 2] = [0x89, 0x97];

// --- F35 ---

/// What the flood met.
#[derive(Debug, Default)]
struct Met {
    n_taken: AtomicUsize,
    /// PUBACK, CONNACK or DISCONNECT with 0x89 or 0x97.
    n_shed: AtomicUsize,
    /// Times when the broker did not read on.
    n_held: AtomicUsize,
    /// What else was answered.
    strange: Mutex<Vec<String>>,
}

fn a_gateway_is_flooded(run: &mut Run) {
    let Some(memory) = run.can("memory", Memory::limit(MEMORY)) else {
        return;
    };
    let cluster = Cluster::builder().control(1).gateways(2);
    let cluster = cluster.wrap("g1", memory.wrap()).start();
    let [flooded, other] = ["g1", "g2"].map(|name| cluster.node(name));
    let traffic = run.everybody(&cluster);
    let seconds = run.rounds(6, 30).try_into().expect("small");
    let least = Duration::from_secs(seconds);
    run.somewhere(&traffic);
    let since = run.fault("flood", flooded.name());
    let (met, is_over) = (Met::default(), AtomicBool::new(false));
    let canary = thread::scope(|scope| {
        let over = Over(&is_over);
        let canary = scope.spawn(|| canary(other, &is_over));
        let topic = unique("flood");
        for number in 0..N_FLOODING {
            let topic = format!("{topic}/{number}");
            let (met, is_over) = (&met, &is_over);
            scope.spawn(move || flood(flooded, &topic, met, is_over));
        }
        let is_shed = || met.n_shed.load(Relaxed) > 0;
        while since.elapsed() < least || !is_shed() && since.elapsed() < FLOOD {
            knock(flooded, &met);
            pause(HELD);
        }
        drop(over);
        canary.join()
    });
    run.healed("flood", flooded.name());
    match canary {
        Ok(Ok(longest)) => run.note(format!("canary: {longest:.1?} at the longest")),
        Ok(Err(trouble)) => run.fail(format!("canary: {trouble}")),
        Err(_) => run.fail("canary: it panicked"),
    }
    let [n_taken, n_shed, n_held] =
        [met.n_taken, met.n_shed, met.n_held].map(AtomicUsize::into_inner);
    run.note(format!(
        "of the flood {n_taken} were taken, {n_shed} shed, {n_held} times it was held"
    ));
    for strange in met
        .strange
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        run.fail(strange);
    }
    if !flooded.is_running() || memory.n_killed().is_ok_and(|n_killed| n_killed > 0) {
        run.fail("the flooded gateway was killed");
    } else if n_shed == 0 {
        run.unavailable("flood", "nothing had to be shed");
    }
    run.recovers(&traffic, Instant::now());
    run.conclude(traffic);
    run.look_at(&cluster);
    drop(cluster); // the group goes after its process
}

/// Publishes large messages, as fast as it may, to somebody who takes one and no more; again on a
/// new connection where it is disconnected.
fn flood(node: &Node, topic: &str, met: &Met, is_over: &AtomicBool) {
    while !is_over.load(Relaxed) {
        let greedy = Connect::new(5, unique("greedy"));
        let greedy = greedy.properties(Properties::new().two(property::RECEIVE_MAXIMUM, 1));
        let opened = Link::open(node.tcp(), &greedy);
        let Ok((mut greedy, ..)) = opened else {
            pause(HELD);
            continue;
        };
        let filters = [(topic, 1)];
        let subscribe = wire::subscribe(5, 1, &Properties::new(), &filters);
        let Ok((mut publisher, ..)) = Link::open(node.tcp(), &Connect::new(5, unique("flood")))
        else {
            pause(HELD);
            continue;
        };
        let subscribed = greedy.send(&subscribe).and_then(|()| greedy.recv(PATIENCE));
        let mut id = 0;
        while subscribed.is_ok() && !is_over.load(Relaxed) {
            id = id % 60_000 + 1;
            let message = Publish::new(topic, vec![b'x'; LARGE]).qos(1, id);
            if publisher.send(&message.bytes(5)).is_err() {
                break;
            }
            match publisher.recv(HELD) {
                Ok(Some(packet)) => {
                    if !met.hears(&packet) {
                        break;
                    }
                }
                Ok(None) => {
                    met.n_held.fetch_add(1, Relaxed);
                    // What was sent is read when there is room: it is not for ever.
                    pause(HELD);
                }
                Err(_) => break,
            }
        }
    }
}

impl Met {
    /// Whether the connection goes on after this.
    fn hears(&self, packet: &wire::Packet) -> bool {
        let (reason, goes_on) = match packet.kind {
            wire::PUBACK => (packet.ack(wire::PUBACK, 5).reason, true),
            wire::DISCONNECT => (packet.disconnect(wire::DISCONNECT).reason, false),
            _ => {
                self.is_strange(format!("{packet:?} for a flood"));
                return false;
            }
        };
        match reason {
            _ if SHED.contains(&reason) => self.n_shed.fetch_add(1, Relaxed),
            0..0x80 => self.n_taken.fetch_add(1, Relaxed),
            _ => {
                self.is_strange(format!("{reason:#04x} for a flood"));
                0
            }
        };
        goes_on
    }

    fn is_strange(&self, what: String) {
        let strange = self.strange.lock();
        strange.unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// Somebody new comes to the flooded gateway, and is let in or told that it is busy.
fn knock(node: &Node, met: &Met) {
    let mut client = Client::connect_tcp(node.tcp());
    client.set_limit(PATIENCE);
    let code = client.handshake(&Connect::new(5, unique("knock"))).code;
    if SHED.contains(&code) {
        met.n_shed.fetch_add(1, Relaxed);
    } else if code != 0 {
        met.is_strange(format!("{code:#04x} for a CONNECT"));
    }
}

/// A pair of clients at a gateway that is not flooded; its longest round trip.
fn canary(node: &Node, is_over: &AtomicBool) -> Result<Duration, String> {
    let topic = unique("canary");
    let [mut subscriber, mut publisher] = ["sub", "pub"].map(|name| node.v5(&unique(name)));
    for client in [&mut subscriber, &mut publisher] {
        client.set_limit(PATIENCE);
    }
    subscriber.subscribe(&topic, 1);
    let mut longest = Duration::ZERO;
    while !is_over.load(Relaxed) {
        let start = Instant::now();
        let message = Publish::new(&topic, "x").qos(1, publisher.next_id());
        let sent = publisher.try_send(&message.bytes(5));
        sent.map_err(|error| format!("it cannot publish: {error}"))?;
        let (ack, came) = (
            publisher.recv_within(PATIENCE),
            subscriber.recv_within(PATIENCE),
        );
        let ack = ack.ok_or("its publish was not answered")?;
        if ack.kind != wire::PUBACK || ack.ack(wire::PUBACK, 5).reason >= 0x80 {
            return Err(format!("its publish was answered {ack:?}"));
        }
        let came = came.ok_or("its message did not come")?;
        if came.kind != wire::PUBLISH {
            return Err(format!("{came:?} came"));
        }
        subscriber.acknowledge(&came.publish(5));
        longest = longest.max(start.elapsed());
        pause(PERIOD);
    }
    Ok(longest)
}

// --- F36 ---

fn descriptors_run_out(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(2, 6) {
        run.somewhere(&traffic);
        let node = cluster.gateways()[run.random.below(2)];
        let mut before = node.v5(&unique("before"));
        before.set_limit(PATIENCE);
        // What is open stays so, and there is nothing new.
        let limit = Descriptors::limit(node.pid(), 3).expect("a child of ours");
        run.fault("descriptors", node.name());
        let mut waiting = Client::connect_tcp(node.tcp());
        waiting.send(&Connect::new(5, unique("waiting")).bytes());
        if waiting.recv_within(Duration::from_secs(2)).is_some() {
            run.unavailable("descriptors", "somebody was let in without one");
        }
        before.ping();
        let seconds = 1 + run.random.below(4);
        pause(Duration::from_secs(seconds.try_into().expect("small")));
        before.ping();
        drop(limit);
        run.healed("descriptors", node.name());
        let healed = Instant::now();
        let is_open = || Link::open(node.tcp(), &Connect::new(5, unique("after"))).is_ok();
        if !becomes_true(PATIENCE, is_open) {
            run.fail(format!("{} takes nobody, and may", node.name()));
        }
        run.recovers(&traffic, healed);
        before.ping();
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}
