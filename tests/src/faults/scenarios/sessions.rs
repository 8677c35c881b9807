//! Sessions end in every way, or go on, and are then asked for on other gateways, amid a kill: F42.
//! Session Present has to tell each client the truth (I6). Each has a subscription and a message that
//! waits: it comes where the session goes on (I1), and not where it ended (I2).

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Properties, Publish,
    faults::{Run, Scenario},
    history::{self, Ending, Event, History, SessionEnd, Uid},
    patience::pause,
    traffic::{Journal, Link},
    unique,
    wire::{self, property},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F42",
    title: "sessions end, or go on, and are asked for on other gateways, amid a kill",
    is_short: true,
    act: sessions_are_asked_for,
}];

/// Sessions of a round; each way of ending comes as often as the others.
const N_SLEEPERS: usize = 20;
/// What those that expire have, in seconds.
const EXPIRY: u32 = 1;
/// What expires is gone by then, also where whoever looked after it has died meanwhile.
const EXPIRED: Duration = Duration::from_secs(5);
/// How long a CONNECT may take, with all its attempts.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where nothing is to come, nothing comes for so long.
const QUIET: Duration = Duration::from_millis(200);

/// What a client does with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It leaves in order: the session stays.
    Leaves,
    /// It ends the connection without a word: the session stays.
    Cuts,
    /// It leaves with an expiry of 0; before level 5 as those that begin anew.
    Discards,
    /// It begins anew somewhere else, with a session that ends with the connection.
    BeginsAnew,
    /// It is away for longer than its expiry; before level 5 it stays.
    Expires,
}

const WAYS: [Way; 5] = [
    Way::Leaves,
    Way::Cuts,
    Way::Discards,
    Way::BeginsAnew,
    Way::Expires,
];

/// A client that is away for a while.
struct Sleeper {
    client: String,
    level: u8,
    way: Way,
    journal: Journal,
    history: Arc<History>,
}

fn sessions_are_asked_for(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    let history = run.history();
    for _ in 0..run.rounds(2, 8) {
        let mut three = cluster.three();
        three.rotate_left(run.random.below(3));
        let [first, second, third] = three.map(|node| node.tcp());
        let sleepers = (0..N_SLEEPERS).map(|number| Sleeper::new(number, &history));
        let mut sleepers: Vec<_> = sleepers.collect();
        for sleeper in &mut sleepers {
            let slept = sleeper.fall_asleep(first, second, third);
            slept.unwrap_or_else(|error| run.fail(format!("{}: {error}", sleeper.client)));
        }
        run.somewhere(&traffic);
        // Of those that had them, or of those that will.
        let dies = three[run.random.below(3)];
        let killed = run.kill(dies);
        run.recovers(&traffic, killed);
        run.restart(dies);
        run.probe(&traffic);
        pause(EXPIRED);
        for sleeper in &mut sleepers {
            let awake = sleeper.wake_up(third);
            awake.unwrap_or_else(|error| run.fail(format!("{}: {error}", sleeper.client)));
        }
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

// === impl Sleeper ===

impl Sleeper {
    /// The sleeper of this number. It has no session yet.
    fn new(number: usize, history: &Arc<History>) -> Self {
        let client = unique("sleeper");
        let level = if (number / WAYS.len()).is_multiple_of(2) {
            5
        } else {
            4
        };
        Self {
            journal: Journal::new(&client, history),
            client,
            level,
            way: match (level, WAYS[number % WAYS.len()]) {
                (4, Way::Discards) => Way::BeginsAnew,
                (4, Way::Expires) => Way::Leaves,
                (_, way) => way,
            },
            history: Arc::clone(history),
        }
    }

    /// Begins a session here with a message that waits in it, which somebody sends from elsewhere,
    /// goes away, and does with the session what it does, there if that has to be somewhere else.
    fn fall_asleep(
        &mut self,
        here: SocketAddr,
        there: SocketAddr,
        elsewhere: SocketAddr,
    ) -> io::Result<()> {
        let mut connect = Connect::persistent(self.level, &self.client);
        if self.way == Way::Expires {
            let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, EXPIRY);
            connect = connect.properties(expiry);
        }
        let mut link = self.open(here, &connect)?;
        insist(|| self.subscribe(&mut link))?;
        match self.way {
            Way::Leaves | Way::Expires => {
                self.leave(link)?;
                self.is_written_to(elsewhere)
            }
            Way::Cuts => {
                drop(link);
                self.journal.disconnected(Ending::Cut);
                self.is_written_to(elsewhere)
            }
            Way::Discards => {
                // It comes, and is not acknowledged.
                self.is_written_to(elsewhere)?;
                self.ends(SessionEnd::Chosen);
                let none = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 0);
                self.leave_by(link, &wire::disconnect_with(0, &none))
            }
            Way::BeginsAnew => {
                self.leave(link)?;
                self.is_written_to(elsewhere)?;
                let mut link = self.open(there, &Connect::new(self.level, &self.client))?;
                self.receive(&mut link, QUIET)?;
                self.ends(SessionEnd::Chosen);
                self.leave(link)
            }
        }
    }

    /// Asks for its session here, is told whether there is one, and gets what is in it.
    fn wake_up(&mut self, here: SocketAddr) -> io::Result<()> {
        if self.way == Way::Expires {
            self.ends(SessionEnd::Expired);
        }
        let mut link = self.open(here, &Connect::persistent(self.level, &self.client))?;
        let start = Instant::now();
        self.receive(&mut link, QUIET)?;
        while self.history.missing(&self.client) > 0 && start.elapsed() < PATIENCE {
            self.receive(&mut link, QUIET)?;
        }
        let client = (&self.client).into();
        self.history.record(Event::Drained { client });
        self.leave(link)
    }

    /// To what is called as it is.
    fn subscribe(&self, link: &mut Link) -> io::Result<()> {
        const ID: u16 = 1;
        let (client, filter, qos) = ((&self.client).into(), (&self.client).into(), 1);
        self.history.record(Event::Subscribing {
            client,
            filter,
            qos,
        });
        let none = Properties::new();
        let filters = [(self.client.as_str(), qos)];
        link.send(&wire::subscribe(self.level, ID, &none, &filters))?;
        let packet = link.recv(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
        if packet.kind != wire::SUBACK || packet.suback(wire::SUBACK, self.level).codes != [qos] {
            return Err(io::Error::other(format!("no SUBACK: {packet:?}")));
        }
        let (client, filter) = ((&self.client).into(), (&self.client).into());
        self.history.record(Event::Subscribed {
            client,
            filter,
            qos,
        });
        Ok(())
    }

    /// Somebody publishes what it has subscribed to, and is answered.
    fn is_written_to(&self, from: SocketAddr) -> io::Result<()> {
        insist(|| self.write_to(from))
    }

    fn write_to(&self, from: SocketAddr) -> io::Result<()> {
        const ID: u16 = 1;
        const LEVEL: u8 = 5;
        let writer = unique("writer");
        let (mut link, ..) = Link::open(from, &Connect::new(LEVEL, &writer))?;
        let uid = Uid {
            publisher: writer.into(),
            topic: (&self.client).into(),
            seq: 0,
        };
        let publish = Publish::new(&self.client, history::encode(&uid, 20)).qos(1, ID);
        let connection = 1;
        self.history.record(Event::Sent {
            uid: uid.clone(),
            connection,
            qos: 1,
            retain: false,
            dup: false,
            empty: false,
        });
        link.send(&publish.bytes(LEVEL))?;
        let packet = link.recv(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
        if packet.kind != wire::PUBACK || packet.ack(wire::PUBACK, LEVEL).reason >= 0x80 {
            return Err(io::Error::other(format!("no PUBACK: {packet:?}")));
        }
        self.history.record(Event::Accepted { uid, connection });
        link.disconnect()
    }

    /// What comes, until nothing does for so long.
    fn receive(&self, link: &mut Link, quiet: Duration) -> io::Result<()> {
        while let Some(packet) = link.recv(quiet)? {
            if packet.kind != wire::PUBLISH {
                return Err(io::Error::other(format!("unexpected {packet:?}")));
            }
            let publish = packet.publish(self.level);
            self.history.record(Event::Received {
                client: (&self.client).into(),
                connection: self.journal.connection(),
                topic: publish.topic.into(),
                uid: history::decode(&publish.payload),
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
            });
            link.send(&wire::ack(wire::PUBACK, publish.id.unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Connects, however many attempts that takes.
    fn open(&mut self, address: SocketAddr, connect: &Connect) -> io::Result<Link> {
        let start = Instant::now();
        loop {
            self.journal.connecting(address, connect.clean);
            match Link::open(address, connect) {
                Ok((link, session_present, _)) => {
                    self.journal.connected(session_present);
                    return Ok(link);
                }
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => pause(Duration::from_millis(100)),
            }
        }
    }

    /// Leaves, and waits until the gateway has seen that.
    fn leave(&mut self, link: Link) -> io::Result<()> {
        self.leave_by(link, &wire::disconnect())
    }

    fn leave_by(&mut self, link: Link, packet: &[u8]) -> io::Result<()> {
        let left = link.end_with(packet);
        self.journal.disconnected(match left {
            Ok(()) => Ending::Orderly,
            Err(_) => Ending::Unclear,
        });
        left
    }

    fn ends(&self, reason: SessionEnd) {
        let client = (&self.client).into();
        self.history.record(Event::SessionEnded { client, reason });
    }
}

/// Does it again until it succeeds: on a busy machine a gateway may have to begin anew just now.
fn insist(mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    let mut done = act();
    while done.is_err() && start.elapsed() < PATIENCE {
        pause(Duration::from_millis(100));
        done = act();
    }
    done
}
