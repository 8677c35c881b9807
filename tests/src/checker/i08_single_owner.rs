//! I8, one owner: once a later connection of a client id is accepted, nothing comes on an earlier
//! one, but for what was on its way. Source: `[MQTT-3.1.4-3]`, P4. What wills come of that is in
//! `i08_single_owner/wills.rs`.
//!
//! The later connection has its CONNACK at a time that the same clock tells; 1 s is left for what
//! was in sockets and for clients that read late.

mod wills;

use std::{collections::HashMap, time::Duration};

use super::{Picture, Verdict, Violation};
use crate::history::{Event, Name};

/// For what was on its way.
const SLACK: u64 = 1_000_000_000;

/// When a connection was accepted that is later than these.
#[derive(Default)]
struct Superseded {
    at: HashMap<u32, u64>,
    /// Connections that none is later than.
    latest: Vec<u32>,
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut clients: HashMap<&Name, Superseded> = HashMap::new();
    for record in picture.records {
        match &record.event {
            Event::Connected {
                client, connection, ..
            } => {
                let superseded = clients.entry(client).or_default();
                let before = superseded.latest.extract_if(.., |it| *it < *connection);
                let before: Vec<_> = before.collect();
                let pairs = before.into_iter().map(|earlier| (earlier, record.t));
                superseded.at.extend(pairs);
                superseded.latest.push(*connection);
            }
            Event::Received {
                client, connection, ..
            }
            | Event::ReceivedEmpty {
                client, connection, ..
            } => saw(&clients, client, *connection, record.t, verdict),
            Event::Accepted { uid, connection }
            | Event::Completed { uid, connection }
            | Event::Unknown {
                uid, connection, ..
            }
            | Event::Refused {
                uid, connection, ..
            } => saw(&clients, &uid.publisher, *connection, record.t, verdict),
            _ => {}
        }
    }
    wills::judge(picture, verdict);
}

/// The client saw something on this connection.
fn saw(
    clients: &HashMap<&Name, Superseded>,
    client: &Name,
    connection: u32,
    t: u64,
    verdict: &mut Verdict,
) {
    let superseded = clients.get(client).and_then(|it| it.at.get(&connection));
    let late = superseded.map(|since| t.saturating_sub(*since));
    if let Some(late) = late.filter(|late| *late > SLACK) {
        verdict.violations.push(Violation::Zombie {
            connection,
            late: Duration::from_nanos(late),
            client: client.clone(),
        });
    }
}
