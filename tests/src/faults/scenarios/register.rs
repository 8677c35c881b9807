//! Retained messages are set, cleared and read on all gateways at once, and one of them dies
//! meanwhile: F38. Each topic is a register, and I10 says what may be read of it.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Properties, Publish,
    faults::{Run, Scenario},
    history::{self, Ending, Event, History, Name, Random, Uid},
    patience::pause,
    traffic::{Journal, Link, Route},
    unique,
    wire::{self, Packet},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F38",
    title: "retained messages are set, cleared and read, and a gateway is killed",
    is_short: false,
    act: set_cleared_and_read,
}];

/// What each client does of a round: with two for each gateway, some 150 operations on two topics.
const N_ACTS: usize = 12;
/// Between two acts of a client pass up to so many microseconds: what is read should not be outrun by
/// what is written.
const WRITES: usize = 80_000;
const READS: usize = 8_000;
/// How long an answer may take while the dead gateway is not known to be dead.
const PATIENCE: Duration = Duration::from_secs(20);

fn set_cleared_and_read(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let (last, nobody) = (unique("last"), run.traffic(&cluster));
    let mut client = cluster.three()[0].v5(&unique("pub"));
    client.publish_retained(&last, b"x", 1);
    for round in 0..run.rounds(6, 30) {
        let prefix = unique("register");
        let topics = ["one", "two"].map(|name| format!("{prefix}/{name}"));
        let dies = (round % 3 == 2).then(|| cluster.three()[run.random.below(3)]);
        thread::scope(|scope| {
            for first in 0..3 {
                let mut writer = Worker::new("writer", &cluster, first, run);
                let mut reader = Worker::new("reader", &cluster, first, run);
                let (topics, last) = (&topics, &last);
                scope.spawn(move || writer.act(WRITES, |it, random| it.write(random, topics)));
                scope.spawn(move || reader.act(READS, |it, random| it.read(random, topics, last)));
            }
            if let Some(node) = dies {
                let wait = run.random.below(60).try_into().expect("small");
                pause(Duration::from_millis(wait));
                let killed = run.kill(node);
                run.restart(node);
                run.took(killed.elapsed());
                run.probe(&nobody);
            }
        });
    }
    run.judge();
    run.look_at(&cluster);
}

/// A client that writes, or one that reads; what fails is not tried again.
struct Worker {
    client: String,
    route: Route,
    journal: Journal,
    history: Arc<History>,
    random: Random,
    link: Option<Link>,
    last_id: u16,
    seq: u64,
}

// === impl Worker ===

impl Worker {
    /// One that begins at this gateway.
    fn new(kind: &str, cluster: &Cluster, first: usize, run: &mut Run) -> Self {
        let client = unique(kind);
        let mut addresses = cluster.addresses();
        addresses.rotate_left(first);
        let (history, random) = (run.history(), run.random.fork());
        let route = Route::new(addresses);
        Self {
            journal: Journal::new(&client, &history),
            client,
            route,
            history,
            random,
            link: None,
            last_id: 0,
            seq: 0,
        }
    }

    /// Does it so many times, on whichever gateway takes it.
    fn act(&mut self, rest: usize, mut once: impl FnMut(&mut Self, &mut Random) -> io::Result<()>) {
        let mut random = self.random.fork();
        for _ in 0..N_ACTS {
            pause(Duration::from_micros(
                random.below(rest).try_into().expect("small"),
            ));
            let done = self.connect().and_then(|()| once(self, &mut random));
            if done.is_err() {
                self.link = None;
                self.journal.disconnected(Ending::Cut);
                self.route.turn();
            }
        }
        if let Some(link) = self.link.take() {
            let ending = match link.disconnect() {
                Ok(()) => Ending::Orderly,
                Err(_) => Ending::Unclear,
            };
            self.journal.disconnected(ending);
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.link.is_none() {
            let address: SocketAddr = self.route.current();
            self.journal.connecting(address, true);
            let connect = Connect::new(5, &self.client);
            let (link, session_present, _) = Link::open_within(PATIENCE, address, &connect)?;
            self.journal.connected(session_present);
            self.link = Some(link);
        }
        Ok(())
    }

    /// Sets one topic, or clears it.
    fn write(&mut self, random: &mut Random, topics: &[String]) -> io::Result<()> {
        let topic = &topics[random.below(topics.len())];
        let is_empty = random.once_in(3);
        self.seq += 1;
        let uid = Uid {
            publisher: self.client.as_str().into(),
            topic: topic.as_str().into(),
            seq: self.seq,
        };
        let payload = match is_empty {
            true => Vec::new(),
            false => history::encode(&uid, 20),
        };
        let connection = self.journal.connection();
        let id = self.next_id();
        self.history.record(Event::Sent {
            uid: uid.clone(),
            connection,
            qos: 1,
            retain: true,
            dup: false,
            empty: is_empty,
        });
        let publish = Publish::new(topic, payload).qos(1, id).retain();
        self.link()?.send(&publish.bytes(5))?;
        let packet = self.wait_for(|packet| packet.kind == wire::PUBACK)?;
        let reason = packet.ack(wire::PUBACK, 5).reason;
        self.history.record(match reason {
            0x80.. => Event::Refused {
                uid,
                connection,
                reason,
            },
            _ => Event::Accepted { uid, connection },
        });
        Ok(())
    }

    /// Subscribes to one topic and looks what is there. Replays go out one after the other, so that
    /// it has come, if anything is to come, when that of the next subscription does.
    fn read(&mut self, random: &mut Random, topics: &[String], last: &str) -> io::Result<()> {
        let topic: &str = &topics[random.below(topics.len())];
        let none = Properties::new();
        let invoked = history::now();
        let id = self.next_id();
        let subscribe = wire::subscribe(5, id, &none, &[(topic, 0)]);
        self.link()?.send(&subscribe)?;
        let mut is_live = false;
        let suback = self.wait_for(|packet| {
            is_live |= packet.kind == wire::PUBLISH;
            packet.kind == wire::SUBACK
        })?;
        let mut returned = history::now();
        if suback.suback(wire::SUBACK, 5).codes != [0] {
            return Err(ErrorKind::Other.into());
        }
        let id = self.next_id();
        let subscribe = wire::subscribe(5, id, &none, &[(last, 0)]);
        self.link()?.send(&subscribe)?;
        let mut value = None;
        loop {
            let publish = self.wait_for(|packet| packet.kind == wire::PUBLISH)?;
            let publish = publish.publish(5);
            match &*publish.topic {
                found if found == last => break,
                found if found == topic && publish.retain => {
                    value = history::decode(&publish.payload);
                    returned = history::now();
                }
                found => is_live |= found == topic,
            }
        }
        // What was published meanwhile comes instead of what it replaces: then nothing was read.
        if is_live && value.is_none() {
            return self.unsubscribe(topic, last);
        }
        let client: Name = self.client.as_str().into();
        self.history.record(Event::RetainedRead {
            client,
            topic: topic.into(),
            value,
            invoked,
            returned,
        });
        self.unsubscribe(topic, last)
    }

    fn unsubscribe(&mut self, topic: &str, last: &str) -> io::Result<()> {
        let (id, none) = (self.next_id(), Properties::new());
        let unsubscribe = wire::unsubscribe(5, id, &none, &[topic, last]);
        self.link()?.send(&unsubscribe)?;
        self.wait_for(|packet| packet.kind == wire::UNSUBACK)?;
        Ok(())
    }

    /// Reads until such a packet comes.
    fn wait_for(&mut self, mut is_it: impl FnMut(&Packet) -> bool) -> io::Result<Packet> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let packet = self.link()?.recv(left)?.ok_or(ErrorKind::TimedOut)?;
            if is_it(&packet) {
                return Ok(packet);
            }
        }
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link.as_mut().ok_or(ErrorKind::NotConnected.into())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }
}
