//! A client with a will, which does nothing but live: when its gateway fails it, the will is due. It
//! comes back elsewhere at once with another one, or it stays away.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    history::{self, Ending, Event, History, Uid},
    patience::pause,
    wire::{Connect, Properties, Will, property},
};

use super::{
    journal::Journal,
    link::{Link, PATIENCE, Route},
};

/// How often it looks whether it is to leave.
const GLANCE: Duration = Duration::from_millis(50);

/// Who it is.
pub struct Plan {
    /// Client id.
    pub client: String,
    /// Protocol level: 4 or 5.
    pub level: u8,
    /// What its wills are published to.
    pub topic: String,
    /// And with which QoS.
    pub qos: u8,
    /// For how many seconds a will waits for its client; 0 before level 5.
    pub delay: u32,
    /// Whether it comes back.
    pub returns: bool,
    /// Where it connects.
    pub route: Route,
    /// Where it logs.
    pub history: Arc<History>,
}

/// A client that lives.
pub struct Running {
    leave: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Uid>, String>>,
}

struct Mortal {
    plan: Plan,
    journal: Journal,
    leave: Arc<AtomicBool>,
    /// It ends its connection without a word.
    cut: Arc<AtomicBool>,
    /// Wills that must be published by now or soon.
    due: Vec<Uid>,
}

// === impl Plan ===

impl Plan {
    /// Connects; returns when that is done.
    pub fn start(self) -> Result<Running, String> {
        let [leave, cut] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut mortal = Mortal {
            journal: Journal::new(&self.client, &self.history),
            plan: self,
            leave: Arc::clone(&leave),
            cut: Arc::clone(&cut),
            due: Vec::new(),
        };
        let first = mortal.connect()?;
        let thread = thread::spawn(move || mortal.live(first));
        Ok(Running { leave, cut, thread })
    }
}

// === impl Running ===

impl Running {
    /// Ends its connection without a word, soon; it does not come back.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
    }

    /// Leaves in order, if it is there. Returns the wills that are due from earlier ends.
    pub fn leave(self) -> Result<Vec<Uid>, String> {
        self.leave.store(true, Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("a mortal's thread panicked".to_owned()))
    }
}

// === impl Mortal ===

impl Mortal {
    fn live(mut self, (mut link, mut will): (Link, Uid)) -> Result<Vec<Uid>, String> {
        loop {
            match link.recv(GLANCE) {
                Ok(_) if self.cut.load(Relaxed) => {
                    drop(link);
                    self.journal.disconnected(Ending::Cut);
                    self.due.push(will);
                    return Ok(self.due);
                }
                Ok(_) if self.leave.load(Relaxed) => {
                    let left = link.disconnect();
                    self.journal.disconnected(match left {
                        Ok(()) => Ending::Orderly,
                        Err(_) => Ending::Unclear,
                    });
                    return Ok(self.due);
                }
                Ok(_) => {}
                Err(_cut) => {
                    self.journal.disconnected(Ending::Cut);
                    // With a delay it is withdrawn, if its client is early enough.
                    if self.plan.delay == 0 || !self.plan.returns {
                        self.due.push(will);
                    }
                    if !self.plan.returns {
                        return Ok(self.due);
                    }
                    self.plan.route.turn();
                    (link, will) = self.connect()?;
                }
            }
        }
    }

    /// Connects, wherever that is possible, with a will of its own for each attempt.
    fn connect(&mut self) -> Result<(Link, Uid), String> {
        let start = Instant::now();
        loop {
            let address = self.plan.route.current();
            self.journal.connecting(address, false);
            let plan = &self.plan;
            let connection = self.journal.connection();
            let uid = Uid {
                publisher: (&plan.client).into(),
                topic: (&plan.topic).into(),
                seq: connection.into(),
            };
            plan.history.record(Event::WillArmed {
                client: (&plan.client).into(),
                connection,
                uid: uid.clone(),
                qos: plan.qos,
                retain: false,
                delay: plan.delay,
            });
            match Link::open(address, &self.packet(&uid)) {
                Ok((link, session_present, _)) => {
                    self.journal.connected(session_present);
                    return Ok((link, uid));
                }
                Err(error) if start.elapsed() > 3 * PATIENCE => {
                    return Err(format!("{}: it is not let in: {error}", plan.client));
                }
                Err(error) => {
                    // What was refused is not tried again at once.
                    let is_gone = error.kind() == ErrorKind::ConnectionRefused;
                    pause(Duration::from_millis(if is_gone { 5 } else { 100 }));
                    self.plan.route.turn();
                }
            }
        }
    }

    fn packet(&self, uid: &Uid) -> Connect {
        let plan = &self.plan;
        let mut will = Will::new(&plan.topic, history::encode(uid, 50)).qos(plan.qos);
        if plan.delay > 0 {
            will.properties = Properties::new().four(property::WILL_DELAY_INTERVAL, plan.delay);
        }
        let connect = Connect::persistent(plan.level, &plan.client);
        plan.route.sign(connect).will(will)
    }
}
