//! A publisher with a persistent session that never gives up: after each cut it connects again
//! and sends again, in order, whatever was not acknowledged `[MQTT-4.4.0-1]`.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    history::{self, Ending, History, Random, Uid},
    patience::pause,
    wire::{Connect, Packet, Publish},
};

use super::{
    inflight::Inflight,
    journal::Journal,
    link::{Link, PATIENCE, Route},
};

/// Messages that may be unacknowledged at a time.
pub const WINDOW: usize = 16;
/// For how long it goes on without an answer, where nothing else is said: control planes without a
/// quorum may take 30 s.
const GIVES_UP: Duration = Duration::from_secs(40);
/// How often it looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// What a publisher is to do.
pub struct Plan {
    /// Client id.
    pub client: String,
    /// Protocol level: 4 or 5.
    pub level: u8,
    /// Topic and QoS; each message goes to a random one.
    pub topics: Vec<(String, u8)>,
    /// Where it connects.
    pub route: Route,
    /// Where it logs.
    pub history: Arc<History>,
    /// What it sends next.
    pub random: Random,
    /// It lets up to twice this pass from one new message to the next: this on the average.
    pub pace: Duration,
}

/// A publisher at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    thread: JoinHandle<Result<(), String>>,
}

/// What can be seen of a publisher from outside.
#[derive(Default)]
struct Progress {
    n_settled: AtomicUsize,
    /// Where it is connected, or was last.
    address: Mutex<Option<SocketAddr>>,
}

struct Publisher {
    plan: Plan,
    journal: Journal,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    inflight: Inflight,
    next_seq: HashMap<String, u64>,
    /// Since when nothing was acknowledged.
    idle_since: Instant,
    /// When the next new message is due.
    next_at: Instant,
    gives_up: Duration,
}

// === impl Running ===

impl Plan {
    /// Starts publishing.
    pub fn start(self) -> Running {
        self.start_patient(GIVES_UP)
    }

    /// The same; it goes on for so long without an answer.
    pub fn start_patient(self, gives_up: Duration) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let publisher = Publisher {
            journal: Journal::new(&self.client, &self.history),
            inflight: Inflight::new(self.level),
            plan: self,
            stop: Arc::clone(&stop),
            progress: Arc::clone(&progress),
            next_seq: HashMap::new(),
            idle_since: Instant::now(),
            next_at: Instant::now(),
            gives_up,
        };
        let thread = thread::spawn(move || publisher.run());
        Running {
            stop,
            progress,
            thread,
        }
    }
}

impl Running {
    /// Sends nothing new, and returns when all that was sent is acknowledged.
    pub fn finish(self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }

    /// How many of its messages were accepted or refused.
    pub fn n_settled(&self) -> usize {
        self.progress.n_settled.load(Ordering::Acquire)
    }

    /// Where it is connected, or was last.
    pub fn address(&self) -> Option<SocketAddr> {
        let address = self.progress.address.lock();
        *address.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it still works.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

// === impl Publisher ===

impl Publisher {
    fn run(mut self) -> Result<(), String> {
        loop {
            let ended = self.connection();
            self.journal.disconnected(match ended {
                Ok(()) => Ending::Orderly,
                Err(_) => Ending::Cut,
            });
            match ended {
                Ok(()) => return Ok(()),
                Err(error) if self.idle_since.elapsed() > self.gives_up => {
                    return Err(format!("{}: nothing goes on: {error}", self.plan.client));
                }
                Err(_cut) => {
                    self.plan.route.turn();
                    pause(Duration::from_millis(5));
                }
            }
        }
    }

    /// One connection; `Ok` when everything is done.
    fn connection(&mut self) -> io::Result<()> {
        let plan = &self.plan;
        let connect = Connect::persistent(plan.level, &plan.client);
        let connect = plan.route.sign(connect);
        self.journal.connecting(plan.route.current(), connect.clean);
        let (mut link, session_present, maximum) = Link::open(plan.route.current(), &connect)?;
        let address = Some(plan.route.current());
        *self
            .progress
            .address
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = address;
        self.journal.connected(session_present);
        let window = WINDOW.min(usize::from(maximum));
        link.send(&self.inflight.again(&self.journal))?;
        let mut heard_at = Instant::now();
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let may_send = |inflight: usize| !stopping && inflight < window;
            while may_send(self.inflight.len()) && self.next_at <= Instant::now() {
                self.send_next(&mut link)?;
            }
            if self.inflight.is_empty() {
                heard_at = Instant::now();
                if stopping {
                    return link.disconnect();
                }
            }
            // Until an answer is overdue, or the next message is due, or it is time to stop.
            let overdue = (heard_at + PATIENCE).saturating_duration_since(Instant::now());
            if overdue.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            let due = self.next_at.saturating_duration_since(Instant::now());
            let wait = match may_send(self.inflight.len()) {
                true => due.min(overdue),
                false => overdue,
            };
            if let Some(packet) = link.recv(wait.min(GLANCE))? {
                heard_at = Instant::now();
                self.handle(&packet, &mut link)?;
            }
        }
    }

    fn send_next(&mut self, link: &mut Link) -> io::Result<()> {
        let plan = &mut self.plan;
        let (topic, qos) = plan.topics[plan.random.below(plan.topics.len())].clone();
        let seq = self.next_seq.entry(topic.clone()).or_insert(0);
        let uid = Uid {
            publisher: (&plan.client).into(),
            topic: (&topic).into(),
            seq: *seq,
        };
        *seq += 1;
        let length = match plan.random.below(40) {
            0 => 8 * 1024,
            _ => plan.random.below(300),
        };
        let packet = Publish {
            qos,
            ..Publish::new(&topic, history::encode(&uid, length))
        };
        let bytes = self.inflight.begin(uid, packet, &self.journal);
        let most = 2 * usize::try_from(plan.pace.as_micros()).expect("a pace is short");
        let pause = plan.random.below(most + 1).try_into().expect("it fits");
        self.next_at = Instant::now() + Duration::from_micros(pause);
        link.send(&bytes)
    }

    fn handle(&mut self, packet: &Packet, link: &mut Link) -> io::Result<()> {
        let Some(answer) = self.inflight.handle(packet, &self.journal)? else {
            return Ok(());
        };
        self.idle_since = Instant::now();
        if answer.reason.is_some() {
            self.progress.n_settled.fetch_add(1, Ordering::Release);
        }
        answer.reply.map_or(Ok(()), |reply| link.send(&reply))
    }
}
