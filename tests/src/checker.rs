//! The judge of a history: whether a broker that keeps its promises could have done it. Pure:
//! events in, a verdict out.
//!
//! The rules, by their names in the project's fault plan:
//!
//! | rule | what it says |
//! |---|---|
//! | I1 | an accepted message that was first sent after a SUBACK for it is received by the drain |
//! | I2 | whatever is received was sent, to that topic, unaltered, not refused, and subscribed to |
//! | I3 | QoS 2 (and 0) is received once |
//! | I4 | QoS 1 is received again only with DUP, on a new connection, or when it was sent again |
//! | I5 | first receipts of one publisher, topic and QoS come in the order of sending |
//! | I6 | a session that was there is there again: Session Present does not turn to 0 |
//!
//! A run that did not drain, or in which too little happened, is no success: it is incomplete.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::history::{Event, Name, Record, Uid, matches};

/// What a run had to show.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Messages that must have been accepted.
    pub least_accepted: usize,
    /// Faults that must have been in force, by their `op`.
    pub faults: Vec<Name>,
}

/// What a broker did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is the client or message that it names"
)]
pub enum Violation {
    /// I1.
    Lost { uid: Uid, client: Name },
    /// I2: a receipt that no PUBLISH explains.
    Phantom { uid: Uid, client: Name },
    /// I2: a payload that is not what was sent.
    Corrupt { topic: Name, client: Name },
    /// I2: it came on another topic than it was sent to.
    Misrouted { uid: Uid, client: Name },
    /// I2: no subscription of the client matches.
    Unsubscribed { uid: Uid, client: Name },
    /// I2: the broker had refused it.
    RefusedButDelivered { uid: Uid, client: Name },
    /// I3.
    Twice { uid: Uid, client: Name },
    /// I4.
    Repeated { uid: Uid, client: Name },
    /// I5: it came after a later one.
    OutOfOrder { uid: Uid, after: u64, client: Name },
    /// I6.
    SessionLost { client: Name },
    /// The run proves nothing about this subscriber: it never drained.
    NotDrained { client: Name },
}

/// The judgement of one history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that was wrong; empty is green.
    pub violations: Vec<Violation>,
    /// Messages that the broker accepted.
    pub n_accepted: usize,
    /// Receipts, repeated ones included.
    pub n_received: usize,
    /// Receipts of QoS 1 messages that had come before, each of them justified.
    pub n_repeated: usize,
}

// === impl Verdict ===

impl Verdict {
    /// Whether nothing was wrong.
    pub fn is_green(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many accepted messages were lost.
    pub fn n_lost(&self) -> usize {
        let lost = |violation: &&Violation| matches!(violation, Violation::Lost { .. });
        self.violations.iter().filter(lost).count()
    }

    /// Fails the test unless all is green and at least so many messages were accepted.
    #[track_caller]
    pub fn assert_green(&self, least_accepted: usize, context: &str) {
        assert!(self.is_green(), "{context}\n{self}");
        assert!(
            self.n_accepted >= least_accepted,
            "{context}: only {} messages were accepted, {least_accepted} are needed",
            self.n_accepted
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} accepted, {} receipts ({} repeated), {} violations",
            self.n_accepted,
            self.n_received,
            self.n_repeated,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(20) {
            writeln!(out, "  {violation:?}")?;
        }
        Ok(())
    }
}

// === the judge ===

/// What is known of a message.
#[derive(Default)]
struct Message {
    first_sent: usize,
    n_sent: usize,
    qos: u8,
    accepted: bool,
    refused: bool,
}

/// What is known of a subscriber.
#[derive(Default)]
struct Subscriber<'a> {
    /// Filter, granted QoS, when.
    subscriptions: Vec<(&'a str, u8, usize)>,
    n_connections: usize,
    /// Number of receipts, and the connection of the last.
    received: HashMap<&'a Uid, (usize, usize)>,
    /// The highest first receipt by publisher, topic and QoS.
    highest: HashMap<(&'a str, &'a str, u8), u64>,
    drained: bool,
}

/// Judges a history.
pub fn judge(records: &[Record], _expected: &Expected) -> Verdict {
    let mut verdict = Verdict::default();
    let mut messages: HashMap<&Uid, Message> = HashMap::new();
    let mut clients: HashMap<&str, Subscriber<'_>> = HashMap::new();
    for (now, record) in records.iter().enumerate() {
        let event = &record.event;
        match event {
            Event::Connected {
                client,
                session_present,
                ..
            } => {
                let subscriber = clients.entry(client).or_default();
                if subscriber.n_connections > 0 && !session_present {
                    let client = client.clone();
                    verdict.violations.push(Violation::SessionLost { client });
                }
                subscriber.n_connections += 1;
            }
            Event::Subscribed {
                client,
                filter,
                qos,
            } => {
                let subscriber = clients.entry(client).or_default();
                subscriber.subscriptions.push((filter, *qos, now));
            }
            Event::Sent { uid, qos, .. } => {
                let message = messages.entry(uid).or_default();
                if message.n_sent == 0 {
                    message.first_sent = now;
                }
                message.n_sent += 1;
                message.qos = *qos;
            }
            Event::Accepted { uid, .. } => messages.entry(uid).or_default().accepted = true,
            Event::Refused { uid, .. } => messages.entry(uid).or_default().refused = true,
            Event::Received { .. } => {
                verdict.n_received += 1;
                verdict.receipt(event, &messages, &mut clients);
            }
            Event::Drained { client } => clients.entry(client).or_default().drained = true,
            _ => {}
        }
    }
    verdict.n_accepted = messages.values().filter(|found| found.accepted).count();
    verdict.losses(&messages, &clients);
    verdict
}

impl Verdict {
    /// Judges one receipt by what is known at its time.
    fn receipt<'a>(
        &mut self,
        event: &'a Event,
        messages: &HashMap<&'a Uid, Message>,
        clients: &mut HashMap<&'a str, Subscriber<'a>>,
    ) {
        let Event::Received {
            client,
            topic,
            uid,
            qos,
            dup,
            ..
        } = event
        else {
            return;
        };
        let (wrong, name) = (&mut self.violations, client);
        let client = name.clone();
        let Some(uid) = uid else {
            let topic = topic.clone();
            return wrong.push(Violation::Corrupt { topic, client });
        };
        let owned = uid.clone();
        let Some(message) = messages.get(uid) else {
            return wrong.push(Violation::Phantom { uid: owned, client });
        };
        if *topic != uid.topic {
            return wrong.push(Violation::Misrouted { uid: owned, client });
        }
        if message.refused && !message.accepted {
            return wrong.push(Violation::RefusedButDelivered { uid: owned, client });
        }
        let subscriber = clients.entry(name).or_default();
        let mut filters = subscriber.subscriptions.iter();
        if !filters.any(|(filter, ..)| matches(filter, topic)) {
            return wrong.push(Violation::Unsubscribed { uid: owned, client });
        }
        let connection = subscriber.n_connections;
        if let Some((count, last)) = subscriber.received.get_mut(uid) {
            *count += 1;
            if *qos != 1 {
                wrong.push(Violation::Twice { uid: owned, client });
            } else if *dup || *last != connection || message.n_sent > 1 {
                self.n_repeated += 1;
            } else {
                wrong.push(Violation::Repeated { uid: owned, client });
            }
            *last = connection;
            return;
        }
        subscriber.received.insert(uid, (1, connection));
        let stream = (&*uid.publisher, &*uid.topic, *qos);
        let highest = subscriber.highest.entry(stream).or_insert(uid.seq);
        if *highest > uid.seq {
            wrong.push(Violation::OutOfOrder {
                uid: owned,
                after: *highest,
                client,
            });
        }
        *highest = (*highest).max(uid.seq);
    }

    /// Finds what should have been received and was not.
    fn losses(
        &mut self,
        messages: &HashMap<&Uid, Message>,
        clients: &HashMap<&str, Subscriber<'_>>,
    ) {
        let mut seen = HashSet::new();
        for (name, subscriber) in clients {
            let client = Name::from(*name);
            if subscriber.subscriptions.is_empty() {
                continue;
            }
            if !subscriber.drained && seen.insert(*name) {
                let client = client.clone();
                self.violations.push(Violation::NotDrained { client });
            }
            for (uid, message) in messages {
                let due = message.accepted
                    && message.qos > 0
                    && subscriber.subscriptions.iter().any(|(filter, qos, since)| {
                        *qos > 0 && message.first_sent > *since && matches(filter, &uid.topic)
                    });
                if due && !subscriber.received.contains_key(*uid) {
                    let (uid, client) = ((*uid).clone(), client.clone());
                    self.violations.push(Violation::Lost { uid, client });
                }
            }
        }
    }
}
