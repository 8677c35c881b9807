//! Many client ids move from gateway to gateway all the time, each by a connection that takes over
//! from the one before: F34. At the end each has one owner, and nothing is left of the others.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Node, Properties, Publish,
    faults::{Run, Scenario},
    history::{self, Ending, Event, History, Random, SessionEnd, Uid},
    patience::{becomes_true, pause},
    traffic::{Journal, Link},
    unique,
    wire::{self, Packet, property},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F34",
    title: "client ids are taken over again and again on three gateways",
    is_short: false,
    act: taken_over,
}];

/// Between two connections of one client id.
const BEAT: Duration = Duration::from_millis(100);
/// How long an answer may take: all of them want one at the same time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon the connection that was taken over from is closed, and all that was left is gone.
const SOON: Duration = Duration::from_secs(20);
/// Descriptors that a gateway may have more of than before: connections to others and to Redis, which
/// are made when they are wanted.
const MORE: usize = 20;

fn taken_over(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let figures = |node: &&Node| {
        let sessions = node.metric("gateway_sessions").unwrap_or_default();
        let clients = node.metric("gateway_clients_connected").unwrap_or_default();
        (sessions, clients)
    };
    let before: Vec<_> = cluster
        .three()
        .iter()
        .map(|it| it.n_descriptors())
        .collect();
    let (n_ids, n_turns) = (run.rounds(30, 200), run.rounds(12, 100));
    let start = Instant::now();
    run.begins("storm", "all");
    let history = run.history();
    let moving: Vec<_> = (0..n_ids)
        .map(|_| {
            let mover = Mover::new(&history, run.random.fork());
            let addresses = cluster.addresses();
            thread::spawn(move || mover.storm(&addresses, n_turns))
        })
        .collect();
    let moved = moving.into_iter().map(|thread| thread.join());
    let moved: Vec<_> = moved.collect();
    let was_one = moved.iter().any(|moved| matches!(moved, Ok(Ok(_))));
    run.sees("storm", "all", was_one);
    run.healed("storm", "all");
    let nobody = run.traffic(&cluster);
    run.probe(&nobody);
    let n_all = n_ids * n_turns;
    run.note(format!("{n_all} connections in {:.1?}", start.elapsed()));
    let mut owners = Vec::new();
    for outcome in moved {
        match outcome {
            Ok(Ok(owner)) => owners.push(owner),
            Ok(Err(trouble)) => run.fail(trouble),
            Err(_) => run.fail("a client's thread panicked"),
        }
    }
    // Each has one connection, on the gateway that took it last.
    let n_owners: u32 = owners.len().try_into().expect("not so many");
    let mut n_connected = 0.0;
    let is_one = becomes_true(SOON, || {
        n_connected = cluster.three().iter().map(|node| figures(node).1).sum();
        (n_connected - f64::from(n_owners)).abs() < 0.5
    });
    if !is_one {
        run.fail(format!("{n_connected} connections of {n_owners} clients"));
    }
    for owner in owners {
        if let Err(trouble) = owner.leave() {
            run.fail(trouble);
        }
    }
    let is_gone = becomes_true(SOON, || {
        let all = cluster.three();
        all.iter().all(|node| figures(node) == (0.0, 0.0))
    });
    if !is_gone {
        let left: Vec<_> = cluster.three().iter().map(figures).collect();
        run.fail(format!("sessions and connections are left: {left:?}"));
    }
    for (node, before) in cluster.three().into_iter().zip(before) {
        let mut now = 0;
        let is_back = becomes_true(SOON, || {
            now = node.n_descriptors();
            now <= before + MORE
        });
        if !is_back {
            let name = node.name();
            run.fail(format!(
                "{name} has {now} descriptors open, {before} before"
            ));
        }
    }
    run.judge();
    run.look_at(&cluster);
}

/// A client id. It subscribes to a topic of its own, and publishes to it on each connection.
struct Mover {
    client: String,
    journal: Journal,
    history: Arc<History>,
    random: Random,
    link: Option<Link>,
    seq: u64,
}

// === impl Mover ===

impl Mover {
    fn new(history: &Arc<History>, random: Random) -> Self {
        let client = unique("mover");
        Self {
            journal: Journal::new(&client, history),
            client,
            history: Arc::clone(history),
            random,
            link: None,
            seq: 0,
        }
    }

    fn storm(mut self, addresses: &[SocketAddr], n_turns: usize) -> Result<Self, String> {
        for turn in 0..n_turns {
            let start = Instant::now();
            let address = addresses[self.random.below(addresses.len())];
            let moved = self.take_over(address, turn == 0);
            moved.map_err(|error| format!("{}, connection {turn}: {error}", self.client))?;
            pause(BEAT.saturating_sub(start.elapsed()));
        }
        let mut trouble = Ok(());
        let has_all = becomes_true(PATIENCE, || {
            trouble = self.receive(Duration::from_millis(100));
            trouble.is_err() || self.history.missing(&self.client) == 0
        });
        trouble.map_err(|error| format!("{}, the last: {error}", self.client))?;
        if has_all {
            // A repeat would come now.
            let more = self.receive(Duration::from_millis(300));
            more.map_err(|error| format!("{}, the last: {error}", self.client))?;
        }
        let client = (&self.client).into();
        self.history.record(Event::Drained { client });
        Ok(self)
    }

    /// Connects while the connection before is open, which must end then.
    fn take_over(&mut self, address: SocketAddr, is_first: bool) -> io::Result<()> {
        let before = self.link.take();
        let number = self.journal.connection();
        self.journal.connecting(address, false);
        let connect = Connect::persistent(5, &self.client);
        let (link, session_present, _) = Link::open_within(PATIENCE, address, &connect)?;
        self.link = Some(link);
        self.journal.connected(session_present);
        if let Some(before) = before {
            self.until_closed(before, number)?;
            self.history.record(Event::Disconnected {
                client: (&self.client).into(),
                connection: number,
                ending: Ending::Cut,
            });
        }
        if is_first {
            self.subscribe()?;
        }
        self.publish()
    }

    /// What still comes on the connection that was taken over from.
    fn until_closed(&self, mut link: Link, number: u32) -> io::Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match link.recv(left) {
                Ok(Some(packet)) if packet.kind == wire::PUBLISH => {
                    self.note(&packet, number);
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(io::Error::other("the earlier connection stays open")),
                Err(_closed) => return Ok(()),
            }
        }
    }

    fn subscribe(&mut self) -> io::Result<()> {
        let (client, filter) = ((&self.client).into(), (&self.client).into());
        self.history.record(Event::Subscribing {
            client,
            filter,
            qos: 1,
        });
        let filters = [(self.client.as_str(), 1)];
        let subscribe = wire::subscribe(5, 1, &Properties::new(), &filters);
        self.link()?.send(&subscribe)?;
        let packet = self.wait_for(wire::SUBACK)?;
        if packet.suback(wire::SUBACK, 5).codes != [1] {
            return Err(io::Error::other(format!("refused: {packet:?}")));
        }
        let (client, filter) = ((&self.client).into(), (&self.client).into());
        self.history.record(Event::Subscribed {
            client,
            filter,
            qos: 1,
        });
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        let uid = Uid {
            publisher: (&self.client).into(),
            topic: (&self.client).into(),
            seq: self.seq,
        };
        self.seq += 1;
        let publish = Publish::new(&self.client, history::encode(&uid, 20)).qos(1, 2);
        self.journal.sent(&uid, &publish);
        self.link()?.send(&publish.bytes(5))?;
        let reason = self.wait_for(wire::PUBACK)?.ack(wire::PUBACK, 5).reason;
        self.journal.answered(uid, reason);
        Ok(())
    }

    /// Reads until such a packet comes; what is received meanwhile is received, and acknowledged now
    /// and then, so that there is something to come again.
    fn wait_for(&mut self, kind: u8) -> io::Result<Packet> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let packet = self.link()?.recv(left)?.ok_or(ErrorKind::TimedOut)?;
            if packet.kind == kind {
                return Ok(packet);
            }
            let is_careful = self.random.once_in(2);
            self.handle(&packet, is_careful)?;
        }
    }

    /// Receives what comes within this time.
    fn receive(&mut self, limit: Duration) -> io::Result<()> {
        while let Some(packet) = self.link()?.recv(limit)? {
            self.handle(&packet, true)?;
        }
        Ok(())
    }

    fn handle(&mut self, packet: &Packet, acknowledge: bool) -> io::Result<()> {
        if packet.kind != wire::PUBLISH {
            return Err(io::Error::other(format!("unexpected {packet:?}")));
        }
        let id = self.note(packet, self.journal.connection());
        match id {
            Some(id) if acknowledge => self.link()?.send(&wire::ack(wire::PUBACK, id)),
            _ => Ok(()),
        }
    }

    /// It was received; returns its packet id.
    fn note(&self, packet: &Packet, connection: u32) -> Option<u16> {
        let publish = packet.publish(5);
        self.journal.received_on(connection, &publish);
        publish.id
    }

    /// Ends its session and its connection.
    fn leave(mut self) -> Result<(), String> {
        let client = (&self.client).into();
        let reason = SessionEnd::Chosen;
        self.history.record(Event::SessionEnded { client, reason });
        let none = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 0);
        let goodbye = wire::disconnect_with(0, &none);
        let left = self.link().and_then(|link| link.send(&goodbye));
        self.journal.disconnected(Ending::Orderly);
        left.map_err(|error| format!("{}: its connection is gone: {error}", self.client))
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link.as_mut().ok_or(ErrorKind::NotConnected.into())
    }
}
