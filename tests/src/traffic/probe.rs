//! After a fault was healed: one write and one read by a client of its own, at one gateway and no
//! other, until they succeed.

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

/// Subscribes, publishes with QoS 1 and receives, by the gateway that the route begins at, and again
/// until it succeeds: another one's answer would say nothing of this one, which may have been hit.
/// Logs how long after the heal that was, or that it did not succeed.
pub fn probe(route: &Route, history: &Arc<History>, healed: Instant) {
    let client = unique("probe");
    let mut result = attempt(&client, route);
    while result.is_err() && healed.elapsed() < LIMIT {
        pause(Duration::from_millis(20));
        result = attempt(&client, route);
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, SocketAddr, TcpListener},
        thread,
    };

    use super::*;

    /// A broker for one client, which gets back what it publishes.
    fn alive() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut packet = |answers: &dyn Fn(&[u8]) -> Vec<u8>| {
                let mut head = [0; 2];
                stream.read_exact(&mut head)?;
                let mut body = vec![0; head[1].into()];
                stream.read_exact(&mut body)?;
                stream.write_all(&answers(&body))
            };
            packet(&|_| vec![0x20, 3, 0, 0, 0])?;
            packet(&|body| vec![0x90, 4, body[0], body[1], 0, 1])?;
            packet(&|body| {
                let length = u8::try_from(body.len()).expect("it is short");
                let back = [&[0x32, length], body].concat();
                [&[0x40, 2, 0, 2][..], &back].concat()
            })?;
            packet(&|_| Vec::new())?;
            packet(&|_| Vec::new())
        });
        address
    }

    /// Nobody listens there.
    fn dead() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.local_addr().expect("it listened")
    }

    #[test]
    fn whoever_else_answers_says_nothing_of_the_gateway_that_is_asked() {
        let almost = LIMIT.checked_sub(Duration::from_millis(300));
        let healed = Instant::now().checked_sub(almost.expect("the limit is longer"));
        let healed = healed.expect("the machine runs for longer");
        for (addresses, is_well) in [([alive(), dead()], true), ([dead(), alive()], false)] {
            let history = Arc::<History>::default();
            probe(&Route::new(addresses), &history, healed);
            let records = history.records();
            let [record] = &records[..] else {
                panic!("{records:?}");
            };
            assert!(
                matches!(record.event, Event::Probe { ok, .. } if ok == is_well),
                "{record:?}"
            );
        }
    }
}
