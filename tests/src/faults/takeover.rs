//! How soon a gateway that died is noticed, a session of it is usable at another one, and who had
//! published there goes on.
//!
//! Noticed is when the control plane counts one member less. Usable is when the session's client,
//! which asks another gateway all the time, is connected there with Session Present and has
//! received a message that was published behind that: often sooner, because a session may be
//! claimed as soon as the lease of its gateway is surely over. Going on is from a publisher's CONNACK
//! to the first acknowledgement on that connection.

use std::{
    collections::HashMap,
    io, thread,
    time::{Duration, Instant},
};

use super::Run;
use crate::{
    Cluster, Connect, Node, Properties, Publish,
    history::{Event, Record},
    patience::{becomes_true, pause},
    traffic::Link,
    unique, wire,
};

/// A gateway that is gone is noticed by then.
const NOTICED: Duration = Duration::from_secs(3);
/// And its sessions are usable by then: 2 s later.
const USABLE: Duration = Duration::from_secs(5);
/// And who is connected elsewhere is answered by then. The plan has 3 s, but messages for sessions of a
/// dead gateway wait until it is noticed, and its sessions are adopted.
const RESUMED: Duration = USABLE;
/// How long it is tried.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one CONNECT waits for its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// From one look, or one attempt, to the next.
const PERIOD: Duration = Duration::from_millis(20);

/// The figures of all deaths of a run.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    noticed: Vec<Duration>,
    usable: Vec<Duration>,
    resumed: Vec<Duration>,
}

/// A session of one gateway, whose client is going to look for it at another one.
pub(super) struct Witness<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    connect: Connect,
    topic: String,
    link: Link,
    n_members: f64,
}

// === impl Takeovers ===

impl Takeovers {
    /// Adds how soon each who had connected anew was answered, of those who publish.
    pub(super) fn add_resumed(&mut self, records: &[Record]) {
        self.resumed.extend(resumed(records));
    }

    /// What is to be said of them, and whether they were as promised. A short form says it only:
    /// it is made while others need the machine.
    pub(super) fn tell(mut self, run: &mut Run) {
        let is_full = run.rounds(0, 1) > 0;
        for (what, times, limit) in [
            ("noticed", &mut self.noticed, NOTICED),
            ("usable elsewhere", &mut self.usable, USABLE),
            ("resumed by its publisher", &mut self.resumed, RESUMED),
        ] {
            times.sort();
            let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
                continue;
            };
            let n_times = times.len();
            run.note(format!(
                "{what} after {median:.2?}, at most {longest:.2?} ({n_times} times)"
            ));
            if is_full && *longest > limit {
                run.fail(format!("{what} only after {longest:.2?}"));
            }
        }
    }
}

// === impl Witness ===

impl<'a> Witness<'a> {
    /// A session at a gateway that is going to die.
    ///
    /// # Errors
    ///
    /// The gateway does not take it.
    pub(super) fn at(cluster: &'a Cluster, node: &'a Node) -> io::Result<Self> {
        let connect = Connect::persistent(5, unique("witness"));
        let topic = unique("witnessed");
        let (mut link, ..) = Link::open(node.tcp(), &connect)?;
        let filters = [(topic.as_str(), 1)];
        link.send(&wire::subscribe(5, 1, &Properties::new(), &filters))?;
        link.recv(ATTEMPT)?;
        let n_members = n_members(cluster).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            cluster,
            node,
            connect,
            topic,
            link,
            n_members,
        })
    }

    /// Looks on from when its gateway was killed until its session is usable elsewhere.
    pub(super) fn look_on(self, run: &mut Run, killed: Instant, all: &mut Takeovers) {
        let others = self.cluster.gateways().into_iter();
        let other = others
            .into_iter()
            .find(|other| other.name() != self.node.name() && other.is_running())
            .expect("somebody is left");
        drop(self.link);
        let (noticed, usable) = thread::scope(|scope| {
            let noticing = scope.spawn(|| {
                let fewer = || n_members(self.cluster).is_some_and(|now| now < self.n_members);
                becomes_true(LIMIT, fewer).then(|| killed.elapsed())
            });
            let mut usable = None;
            while usable.is_none() && killed.elapsed() < LIMIT {
                match is_usable(other, &self.connect, &self.topic) {
                    Ok(true) => usable = Some(killed.elapsed()),
                    Ok(false) => {
                        run.fail("a session of a dead gateway is not there any more");
                        break;
                    }
                    Err(_) => pause(PERIOD),
                }
            }
            (noticing.join().expect("it only looks"), usable)
        });
        match noticed {
            Some(noticed) => all.noticed.push(noticed),
            None => run.fail("nobody noticed that a gateway is dead"),
        }
        match usable {
            Some(usable) => all.usable.push(usable),
            None => run.fail("a session of a dead gateway is nowhere"),
        }
    }
}

/// How many gateways and bridges the control plane knows of.
fn n_members(cluster: &Cluster) -> Option<f64> {
    let mut all = cluster.controls().into_iter();
    all.find_map(|node| node.metric("control_members"))
}

/// Whether the session is there, once its client is connected and has received something.
fn is_usable(node: &Node, connect: &Connect, topic: &str) -> io::Result<bool> {
    const PUBLISH: u16 = 2;
    let (mut link, is_present, _) = Link::open_within(ATTEMPT, node.tcp(), connect)?;
    let publish = Publish::new(topic, "x").qos(1, PUBLISH);
    link.send(&publish.bytes(5))?;
    let deadline = Instant::now() + ATTEMPT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let packet = link.recv(left)?.ok_or(io::ErrorKind::TimedOut)?;
        if packet.kind == wire::PUBLISH {
            let id = packet.publish(5).id.unwrap_or_default();
            link.send(&wire::ack(wire::PUBACK, id))?;
            link.disconnect()?;
            return Ok(is_present);
        }
    }
}

/// From each CONNACK but a client's first to the first acknowledgement on that connection. Where there
/// is none before the next CONNACK, it counts from there: somebody else's death came between.
fn resumed(records: &[Record]) -> Vec<Duration> {
    let mut since = HashMap::new();
    let mut resumed = Vec::new();
    for record in records {
        match &record.event {
            Event::Connected {
                client, connection, ..
            } if *connection > 1 => {
                since.insert(client, (*connection, record.t));
            }
            Event::Accepted { uid, connection } => {
                let waiting = since.get(&uid.publisher);
                if let Some((_, from)) = waiting.filter(|(number, _)| number == connection) {
                    resumed.push(Duration::from_nanos(record.t - from));
                    since.remove(&uid.publisher);
                }
            }
            _ => {}
        }
    }
    resumed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    #[test]
    fn going_on_counts_from_the_connack_to_the_first_answer() {
        let history = History::default();
        let put = |t, event| history.add(Record { t, event });
        let connected = |client, connection| Event::connected_at("there", client, connection);
        put(1, connected("one", 1));
        put(2, Event::accepted_of("one", 1));
        put(10, connected("one", 2));
        put(11, connected("other", 5));
        put(12, Event::accepted_of("one", 1)); // of before
        put(15, Event::accepted_of("one", 2));
        put(16, Event::accepted_of("one", 2));
        put(20, connected("other", 6));
        put(27, Event::accepted_of("other", 6));
        put(30, connected("subscriber", 2));
        let times = resumed(&history.records());
        assert_eq!(times, [5, 7].map(Duration::from_nanos));
    }
}
