//! A subscriber with a persistent session: it may be away, it may cut its connection in any phase
//! of an exchange, and it knows what its application has seen.
//!
//! QoS 2 by the standard's method: the application gets the message at the first PUBLISH whose
//! packet id is in no open exchange; the exchange is open until PUBREL `[MQTT-4.3.3-2]`.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    history::{self, Ending, Event, History, Random},
    patience::pause,
    wire::{self, Connect, Packet, Properties, property},
};

use super::{
    journal::Journal,
    link::{Link, PATIENCE, Route},
};

/// Nothing may come for so long after the last message that is due: a repeat would come now.
const QUIET: Duration = Duration::from_millis(700);
/// The same for a group: what was on its way to a member whose gateway is gone comes to another one
/// when that is known, after more than 2 s.
const QUIET_OF_GROUP: Duration = Duration::from_millis(2_500);
/// What has not come by then will not come.
const HOPELESS: Duration = Duration::from_secs(6);

/// A subscriber.
pub struct Subscriber {
    /// Client id.
    pub client: String,
    /// Protocol level: 4 or 5.
    pub level: u8,
    /// What it subscribes to.
    pub filter: String,
    /// The QoS that it asks for.
    pub qos: u8,
    /// Sent as a property with level 5; 65,535 is not sent.
    pub receive_maximum: u16,
    /// Where it connects.
    pub route: Route,
    /// Where it logs.
    pub history: Arc<History>,
    /// With a generator it cuts its connection now and then and answers late.
    pub careless: Option<Random>,
    /// How often it cuts: once in so many packets.
    pub cut_once_in: usize,
    subscribed: bool,
    /// Its session went away while it was away: what it misses will never come.
    session_lost: bool,
    /// QoS 2 exchanges that the application knows, by packet id.
    open: HashSet<u16>,
    last_id: u16,
    address: Arc<Mutex<Option<SocketAddr>>>,
    journal: Journal,
}

/// A subscriber at work.
pub struct Running {
    draining: Arc<AtomicBool>,
    /// Where it is connected, or was last.
    address: Arc<Mutex<Option<SocketAddr>>>,
    thread: JoinHandle<Result<(), String>>,
}

/// What holds for one connection.
struct Connection {
    link: Link,
    /// Packet ids of what came and was not fully acknowledged yet.
    unacknowledged: HashSet<u16>,
    /// Answers that are held back.
    answers: VecDeque<(u8, u16)>,
}

// === impl Running ===

impl Running {
    /// Where it is connected, or was last.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is to end when nothing comes any more; does not wait for that.
    pub fn tell_to_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Receives until nothing comes any more.
    pub fn drain(self) -> Result<(), String> {
        self.tell_to_drain();
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }
}

// === impl Subscriber ===

impl Subscriber {
    /// A subscriber that has not connected yet.
    pub fn new(
        client: String,
        level: u8,
        filter: String,
        qos: u8,
        route: Route,
        history: &Arc<History>,
    ) -> Self {
        Self {
            journal: Journal::new(&client, history),
            client,
            level,
            filter,
            qos,
            receive_maximum: u16::MAX,
            route,
            history: Arc::clone(history),
            careless: None,
            cut_once_in: 60,
            subscribed: false,
            session_lost: false,
            open: HashSet::new(),
            last_id: 0,
            address: Arc::default(),
        }
    }

    /// Subscribes and goes away; the session stays.
    pub fn subscribe_and_leave(&mut self) -> io::Result<()> {
        let connection = self.connect()?;
        connection.link.disconnect()
    }

    /// Receives until `Running::drain` is called and nothing comes any more.
    pub fn start(mut self) -> Running {
        let draining = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&draining);
        let address = Arc::clone(&self.address);
        let thread = thread::spawn(move || self.run(&flag));
        Running {
            draining,
            address,
            thread,
        }
    }

    /// Receives until nothing comes any more, in this thread.
    pub fn drain(mut self) -> Result<(), String> {
        self.run(&AtomicBool::new(true))
    }

    fn run(&mut self, draining: &AtomicBool) -> Result<(), String> {
        let mut idle_since = Instant::now();
        let mut lost_since = idle_since;
        loop {
            let ended = self.connection(draining, &mut idle_since);
            let was_connected = self.journal.disconnected(match ended {
                Ok(()) => Ending::Orderly,
                Err(_) => Ending::Cut,
            });
            if was_connected {
                lost_since = Instant::now();
            }
            let trouble = match ended {
                Ok(()) => {
                    let client = (&self.client).into();
                    self.history.record(Event::Drained { client });
                    return Ok(());
                }
                Err(error) => error,
            };
            // Nobody lets it in, or all do and nothing comes.
            let is_hopeless =
                lost_since.elapsed() > 3 * PATIENCE || idle_since.elapsed() > 9 * PATIENCE;
            if trouble.kind() == ErrorKind::InvalidData || is_hopeless {
                return Err(format!("{}: {trouble}", self.client));
            }
            self.route.turn();
            pause(Duration::from_millis(5));
        }
    }

    fn connect(&mut self) -> io::Result<Connection> {
        let mut connect = Connect::persistent(self.level, &self.client);
        if self.level == 5 && self.receive_maximum < u16::MAX {
            connect.properties = connect
                .properties
                .two(property::RECEIVE_MAXIMUM, self.receive_maximum);
        }
        let connect = self.route.sign(connect);
        self.journal.connecting(self.route.current(), connect.clean);
        let (link, session_present, _) = Link::open(self.route.current(), &connect)?;
        let address = Some(self.route.current());
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
        self.journal.connected(session_present);
        if !session_present {
            self.open.clear();
            self.session_lost = self.subscribed;
        }
        let mut connection = Connection {
            link,
            unacknowledged: HashSet::new(),
            answers: VecDeque::new(),
        };
        if !self.subscribed {
            self.subscribe(&mut connection)?;
        }
        Ok(connection)
    }

    fn subscribe(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.last_id += 1;
        let filters = [(self.filter.as_str(), self.qos)];
        self.journal.subscribing(&self.filter, self.qos);
        let properties = Properties::new();
        let subscribe = wire::subscribe(self.level, self.last_id, &properties, &filters);
        connection.link.send(&subscribe)?;
        let suback = loop {
            let packet = connection.link.recv(PATIENCE)?;
            let packet = packet.ok_or(ErrorKind::TimedOut)?;
            if packet.kind == wire::SUBACK {
                break packet.suback(wire::SUBACK, self.level);
            }
            // Messages may come before it.
            self.handle(&packet, connection)?;
        };
        let [code] = suback.codes[..] else {
            panic!("one code for one filter: {suback:?}");
        };
        self.journal.subscribed(&self.filter, code);
        if code >= 0x80 {
            return Err(io::Error::other(format!("refused: {code:#04x}")));
        }
        assert_eq!(code, self.qos, "the broker grants what was asked for");
        self.subscribed = true;
        Ok(())
    }

    /// One connection; `Ok` when it is drained.
    fn connection(&mut self, draining: &AtomicBool, idle_since: &mut Instant) -> io::Result<()> {
        let mut connection = self.connect()?;
        let connected = Instant::now(); // it may have taken long
        let mut owed = (usize::MAX, connected);
        loop {
            let packet = connection.link.recv(Duration::from_millis(20))?;
            let drain = draining.load(Ordering::Relaxed);
            if let Some(packet) = packet {
                *idle_since = Instant::now();
                self.handle(&packet, &mut connection)?;
                if !drain {
                    self.maybe_cut()?;
                }
            } else {
                self.answer(&mut connection, 0)?;
                let quiet = idle_since.elapsed().min(connected.elapsed());
                if drain && self.is_drained(quiet, &mut owed) {
                    return connection.link.disconnect();
                }
            }
            // Answers may wait, but not so many that the broker's window fills.
            let most = self.receive_maximum.min(10) / 2;
            let keep = match &mut self.careless {
                Some(random) if !drain => random.below(usize::from(most)),
                _ => 0,
            };
            self.answer(&mut connection, keep)?;
        }
    }

    /// Whether nothing more will come, to a client to which nothing has come for so long, and which was
    /// owed so much since that time. A member of a group stays as long as others receive what that is
    /// owed.
    fn is_drained(&self, quiet: Duration, owed: &mut (usize, Instant)) -> bool {
        let missing = self.history.missing(&self.client);
        if owed.0 != missing {
            *owed = (missing, Instant::now());
        }
        let quiet = quiet.min(owed.1.elapsed());
        let is_complete = missing == 0 || self.session_lost;
        quiet
            > match is_complete {
                true if history::shared(&self.filter).is_some() => QUIET_OF_GROUP,
                true => QUIET,
                false => HOPELESS,
            }
    }

    fn handle(&mut self, packet: &Packet, connection: &mut Connection) -> io::Result<()> {
        match packet.kind {
            wire::PUBLISH => {
                let publish = packet.publish(self.level);
                let first = match (publish.qos, publish.id) {
                    (2, Some(id)) => {
                        connection.answers.push_back((wire::PUBREC, id));
                        self.open.insert(id)
                    }
                    (1, Some(id)) => {
                        connection.answers.push_back((wire::PUBACK, id));
                        true
                    }
                    _ => true,
                };
                if first {
                    self.journal.received(&publish);
                }
                connection.unacknowledged.extend(publish.id);
                // [MQTT-3.3.4-9]
                if connection.unacknowledged.len() > usize::from(self.receive_maximum) {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        format!("more than {} at a time", self.receive_maximum),
                    ));
                }
            }
            wire::PUBREL => {
                let id = packet.ack(wire::PUBREL, self.level).id;
                self.open.remove(&id);
                connection.answers.push_back((wire::PUBCOMP, id));
            }
            _ => return Err(io::Error::other(format!("unexpected {packet:?}"))),
        }
        Ok(())
    }

    /// Sends the answers that are due, in order, all but the last `keep`; may cut in between.
    fn answer(&mut self, connection: &mut Connection, keep: usize) -> io::Result<()> {
        while connection.answers.len() > keep {
            let Some((kind, id)) = connection.answers.pop_front() else {
                break;
            };
            if kind != wire::PUBREC {
                connection.unacknowledged.remove(&id);
            }
            connection.link.send(&wire::ack(kind, id))?;
            if keep > 0 {
                self.maybe_cut()?;
            }
        }
        Ok(())
    }

    /// An error now and then, which ends the connection with whatever is open.
    fn maybe_cut(&mut self) -> io::Result<()> {
        let once_in = self.cut_once_in;
        let careless = self.careless.as_mut();
        let cut = careless.is_some_and(|random| random.once_in(once_in));
        if cut {
            return Err(io::Error::new(ErrorKind::Interrupted, "cut by ourselves"));
        }
        Ok(())
    }
}
