//! The pass over the events that makes the picture.

use std::collections::{BTreeMap, HashMap};

use super::{Again, Client, Fault, Message, Moment, Picture, QUOTA_EXCEEDED, Receipt, Will};
use crate::history::{self, Event, FaultOutcome, Name, Record, Uid};

impl<'a> Picture<'a> {
    /// What this history tells.
    pub(in crate::checker) fn new(records: &'a [Record]) -> Self {
        let mut picture = Self {
            records,
            ..Self::default()
        };
        for (at, record) in records.iter().enumerate() {
            picture.handle(at, &record.event);
        }
        picture.name_receipts();
        picture.index_topics();
        picture
    }

    fn handle(&mut self, at: Moment, event: &'a Event) {
        match event {
            Event::Sent {
                uid, qos, empty, ..
            } => {
                let message = self.message(uid, at);
                if message.is_sent {
                    message.sent_again.get_or_insert(at);
                }
                message.is_sent = true;
                message.qos = *qos;
                message.is_empty = *empty;
                if *empty {
                    self.cleared.insert(&uid.topic);
                }
            }
            Event::Accepted { uid, .. } => {
                self.message(uid, at).accepted.get_or_insert(at);
            }
            Event::Refused { uid, reason, .. } => {
                let message = self.message(uid, at);
                message.is_refused = true;
                message.is_had_in_part |= *reason == QUOTA_EXCEEDED;
            }
            Event::Received { .. } | Event::ReceivedEmpty { .. } => self.receive(at, event),
            Event::WillArmed {
                client,
                connection,
                uid,
                qos,
                delay,
                ..
            } => {
                let message = self.message(uid, at);
                message.is_will = true;
                message.qos = *qos;
                let will = Will {
                    client: self.client_number(client),
                    connection: *connection,
                    message: self.message_numbers[uid],
                    delay: u64::from(*delay) * 1_000_000_000,
                };
                self.wills.push(will);
            }
            Event::Fault {
                op,
                target,
                outcome,
            } => self.fault(op, target, *outcome, at),
            Event::Completed { .. }
            | Event::Unknown { .. }
            | Event::RetainedRead { .. }
            | Event::StateHash { .. }
            | Event::Probe { .. } => {}
            _ => self.handle_client(at, event),
        }
    }

    /// What happens to one client alone.
    fn handle_client(&mut self, at: Moment, event: &'a Event) {
        match event {
            Event::Connecting {
                client,
                connection,
                clean_start,
                ..
            } => {
                let client = self.client_mut(client);
                client.connections.entry(*connection).or_default();
                if *clean_start {
                    client.session_ends(at, false);
                }
            }
            Event::Connected {
                client,
                connection,
                clean_start,
                ..
            } => {
                let client = self.client_mut(client);
                let connection = client.connections.entry(*connection).or_default();
                connection.connected = Some(at);
                if *clean_start {
                    client.session_ends(at, true);
                }
            }
            Event::Disconnected {
                client,
                connection,
                ending,
            } => {
                let client = self.client_mut(client);
                let connection = client.connections.entry(*connection).or_default();
                connection.ended.get_or_insert((at, *ending));
            }
            Event::SessionEnded { client, .. } => self.client_mut(client).session_ends(at, true),
            Event::Subscribing {
                client,
                filter,
                qos,
            } => self.client_mut(client).subscribing(filter, *qos, at),
            Event::Subscribed {
                client,
                filter,
                qos,
            } => self.client_mut(client).subscribed(filter, *qos, at),
            Event::SubscribeRefused { client, filter, .. } => {
                self.client_mut(client).subscribe_refused(filter, at);
            }
            Event::Unsubscribing { client, filter } => {
                self.client_mut(client).unsubscribing(filter, at);
            }
            Event::Unsubscribed { client, filter } => {
                self.client_mut(client).unsubscribed(filter, at);
            }
            Event::Drained { client } => self.client_mut(client).drained = Some(at),
            _ => {}
        }
    }

    fn client_number(&mut self, name: &'a Name) -> usize {
        *self.client_numbers.entry(name).or_insert_with(|| {
            self.clients.push(Client {
                name,
                connections: BTreeMap::new(),
                subscriptions: Vec::new(),
                session_ends: Vec::new(),
                drained: None,
            });
            self.clients.len() - 1
        })
    }

    fn client_mut(&mut self, name: &'a Name) -> &mut Client<'a> {
        let number = self.client_number(name);
        &mut self.clients[number]
    }

    fn message(&mut self, uid: &'a Uid, at: Moment) -> &mut Message<'a> {
        let n_streams = self.streams.len();
        let number = *self.message_numbers.entry(uid).or_insert_with(|| {
            let stream = self.streams.entry((&uid.publisher, &uid.topic));
            self.messages.push(Message {
                uid,
                stream: *stream.or_insert(n_streams),
                qos: 0,
                is_empty: false,
                first_sent: at,
                sent_again: None,
                is_sent: false,
                accepted: None,
                is_refused: false,
                is_had_in_part: false,
                is_will: false,
            });
            self.messages.len() - 1
        });
        &mut self.messages[number]
    }

    fn receive(&mut self, at: Moment, event: &'a Event) {
        let (client, connection, topic, uid, qos, dup, retain) = match event {
            Event::Received {
                client,
                connection,
                topic,
                uid,
                qos,
                dup,
                retain,
            } => (
                client,
                *connection,
                topic,
                uid.as_ref(),
                *qos,
                *dup,
                *retain,
            ),
            // Somebody sent that; nobody can tell who.
            Event::ReceivedEmpty { topic, .. } if self.cleared.contains(&**topic) => return,
            Event::ReceivedEmpty {
                client,
                connection,
                topic,
                qos,
            } => (client, *connection, topic, None, *qos, false, false),
            _ => return,
        };
        let client = self.client_number(client);
        self.receipts.push(Receipt {
            at,
            client,
            connection,
            topic,
            uid,
            message: None,
            qos,
            dup,
            retain,
            flaw: None,
            again: None,
        });
    }

    fn fault(&mut self, op: &'a Name, target: &'a Name, outcome: FaultOutcome, at: Moment) {
        match outcome {
            FaultOutcome::Begun | FaultOutcome::Installed | FaultOutcome::Indeterminate => {
                let is_certain = outcome == FaultOutcome::Installed;
                // What was begun is now known to be in force, or still not.
                let mut begun = self.faults.iter_mut().rev();
                let begun = begun.find(|it| {
                    let is_it = it.op == op && it.target == target;
                    is_it && it.healed.is_none() && !it.is_certain
                });
                match begun.filter(|_| outcome != FaultOutcome::Begun) {
                    Some(begun) => begun.is_certain = is_certain,
                    None => self.faults.push(Fault {
                        op,
                        target,
                        from: at,
                        healed: None,
                        is_certain,
                    }),
                }
            }
            FaultOutcome::Skipped => {}
            FaultOutcome::Healed => {
                let open = self.faults.iter_mut().filter(|it| it.healed.is_none());
                for fault in open.filter(|it| it.op == op && it.target == target) {
                    fault.healed = Some(at);
                }
            }
        }
    }

    /// Finds the message of each receipt.
    fn name_receipts(&mut self) {
        for receipt in &mut self.receipts {
            let number = receipt.uid.and_then(|uid| self.message_numbers.get(uid));
            receipt.message = number.copied();
        }
    }

    /// Finds the subscriptions that match each topic: those without wildcards by their name.
    fn index_topics(&mut self) {
        let mut exact: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        let mut wild = exact.clone();
        for (client, it) in self.clients.iter().enumerate() {
            for (number, subscription) in it.subscriptions.iter().enumerate() {
                let is_wild = subscription.filter.contains(['+', '#']);
                let filters = if is_wild { &mut wild } else { &mut exact };
                let numbers = filters.entry(subscription.filter).or_default();
                numbers.push((client, number));
            }
        }
        let of_messages = self.messages.iter().map(|it| &it.uid.topic);
        let of_receipts = self.receipts.iter().map(|it| it.topic);
        for topic in of_messages.chain(of_receipts) {
            if self.topics.contains_key(&**topic) {
                continue;
            }
            let matching = wild.iter().filter(|(it, _)| history::matches(it, topic));
            let matching = matching.map(|(_, numbers)| numbers);
            let mut by_client: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (client, number) in matching.chain(exact.get(&**topic)).flatten() {
                by_client.entry(*client).or_default().push(*number);
            }
            for numbers in by_client.values_mut() {
                numbers.sort_unstable();
            }
            self.topics.insert(topic, by_client);
        }
    }

    /// Finds receipts of the same message by the same client, once it is known which of all
    /// receipts something explains.
    pub(in crate::checker) fn find_repeats(&mut self) {
        // The connection of the last one, and how many there were without a reason.
        let mut last: HashMap<(usize, usize), (u32, usize)> = HashMap::new();
        for (number, receipt) in self.receipts.iter_mut().enumerate() {
            let is_live = receipt.flaw.is_none() && !receipt.retain;
            let Some(message) = receipt.message.filter(|_| is_live) else {
                continue;
            };
            let key = (receipt.client, message);
            let Some((connection, n_bare)) = last.get_mut(&key) else {
                last.insert(key, (receipt.connection, 0));
                self.first_receipts.insert(key, number);
                continue;
            };
            let is_new_connection = *connection != receipt.connection;
            let sent_again = self.messages[message].sent_again;
            let was_sent_again = sent_again.is_some_and(|at| at < receipt.at);
            let has_reason = receipt.dup || is_new_connection || was_sent_again;
            *connection = receipt.connection;
            receipt.again = Some(if receipt.qos == 1 && has_reason {
                Again::WithReason
            } else {
                *n_bare += 1;
                Again::Bare(*n_bare)
            });
        }
    }
}
