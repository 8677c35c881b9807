//! Sessions end in every way, or go on, and are then asked for on other gateways, amid a kill: F42.
//! Session Present has to tell each client the truth (I6).

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Properties,
    faults::{Run, Scenario},
    history::{Ending, Event, History, SessionEnd},
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
            let slept = sleeper.fall_asleep(first, second);
            slept.unwrap_or_else(|error| run.fail(format!("{}: {error}", sleeper.client)));
        }
        run.somewhere(&traffic);
        // Of those that had them, or of those that will.
        let dies = three[run.random.below(3)];
        let killed = run.kill(dies);
        run.recovers(&traffic, killed);
        run.restart(dies);
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

    /// Begins a session here, goes away, and does with it what it does, there if that has to be
    /// somewhere else.
    fn fall_asleep(&mut self, here: SocketAddr, there: SocketAddr) -> io::Result<()> {
        let mut connect = Connect::persistent(self.level, &self.client);
        if self.way == Way::Expires {
            let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, EXPIRY);
            connect = connect.properties(expiry);
        }
        let link = self.open(here, &connect)?;
        match self.way {
            Way::Leaves | Way::Expires => self.leave(link),
            Way::Cuts => {
                drop(link);
                self.journal.disconnected(Ending::Cut);
                Ok(())
            }
            Way::Discards => {
                self.ends(SessionEnd::Chosen);
                let none = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 0);
                self.leave_by(link, &wire::disconnect_with(0, &none))
            }
            Way::BeginsAnew => {
                self.leave(link)?;
                let link = self.open(there, &Connect::new(self.level, &self.client))?;
                self.ends(SessionEnd::Chosen);
                self.leave(link)
            }
        }
    }

    /// Asks for its session here, and is told whether there is one.
    fn wake_up(&mut self, here: SocketAddr) -> io::Result<()> {
        if self.way == Way::Expires {
            self.ends(SessionEnd::Expired);
        }
        let link = self.open(here, &Connect::persistent(self.level, &self.client))?;
        self.leave(link)
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
