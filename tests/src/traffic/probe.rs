//! After a fault was healed: one write and one read by a client of its own, until they succeed.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    history::{Event, History},
    patience::pause,
    unique,
    wire::{self, Connect, Properties, Publish},
};

use super::link::{Link, Route};

/// How long a probe goes on: longer than recovery may take, so that the log tells how late it was.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one attempt may wait for a connection, for its CONNACK, and for all the rest.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Subscribes, publishes with QoS 1 and receives, by whichever gateway of the route takes it, and
/// again until it succeeds. Logs how long after the heal that was, or that it did not succeed.
pub fn probe(mut route: Route, history: &Arc<History>, healed: Instant) {
    let client = unique("probe");
    let mut result = attempt(&client, &route);
    while result.is_err() && healed.elapsed() < LIMIT {
        route.turn();
        pause(Duration::from_millis(20));
        result = attempt(&client, &route);
    }
    history.record(Event::Probe {
        client: client.into(),
        ok: result.is_ok(),
        after: u64::try_from(healed.elapsed().as_nanos()).unwrap_or(u64::MAX),
    });
}

fn attempt(client: &str, route: &Route) -> io::Result<()> {
    const SUBSCRIBE: u16 = 1;
    const PUBLISH: u16 = 2;
    // A topic of its own for each attempt, which nobody else subscribes to.
    let topic = unique("probe");
    let level = 5;
    let connect = route.sign(Connect::new(level, client));
    let (mut link, _, _) = Link::open_within(ATTEMPT, route.current(), &connect)?;
    let (deadline, payload) = (Instant::now() + ATTEMPT, b"probe");
    let filters = [(topic.as_str(), 1)];
    let none = Properties::new();
    link.send(&wire::subscribe(level, SUBSCRIBE, &none, &filters))?;
    let (mut is_accepted, mut is_received) = (false, false);
    while !(is_accepted && is_received) {
        let left = deadline.saturating_duration_since(Instant::now());
        let packet = link.recv(left)?.ok_or(ErrorKind::TimedOut)?;
        match packet.kind {
            wire::SUBACK if packet.suback(wire::SUBACK, level).codes == [1] => {
                let publish = Publish::new(&topic, payload).qos(1, PUBLISH);
                link.send(&publish.bytes(level))?;
            }
            wire::PUBACK if packet.ack(wire::PUBACK, level).reason < 0x80 => is_accepted = true,
            wire::PUBLISH => {
                let publish = packet.publish(level);
                is_received |= publish.payload == payload;
                link.send(&wire::ack(wire::PUBACK, publish.id.unwrap_or_default()))?;
            }
            _ => return Err(io::Error::other(format!("refused: {packet:?}"))),
        }
    }
    link.disconnect()
}
