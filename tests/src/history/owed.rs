//! How many accepted messages each subscriber must still receive, kept up to date event by event:
//! subscribers ask many times a second while they drain, and a soak has a million messages.
//!
//! The rule is that of I1 (`checker/i01_no_loss.rs`), which a test compares with this.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Event, Name, Uid, filter};

/// What is owed, and to whom.
#[derive(Debug, Default)]
pub(super) struct Owed {
    subscriptions: Vec<Subscription>,
    /// Those that are alive, by filter.
    alive: HashMap<Name, Vec<usize>>,
    /// The filters of these that have wildcards.
    wild: HashSet<Name>,
    /// Subscriptions that are alive and match, by topic; forgotten when they change.
    matching: HashMap<Name, Arc<[usize]>>,
    messages: HashMap<Uid, Message>,
    clients: HashMap<Name, Client>,
}

#[derive(Debug)]
struct Subscription {
    client: Name,
    filter: Name,
    is_alive: bool,
}

#[derive(Debug)]
struct Message {
    /// Subscriptions that were alive when it was first sent.
    subscriptions: Arc<[usize]>,
    qos: u8,
    is_empty: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody is owed anything, and these have received it all the same.
    Sent { received: Vec<Name> },
    /// Accepted: it is owed to these, in that session of theirs.
    Accepted { owed: Vec<(Name, u32)> },
}

#[derive(Debug, Default)]
struct Client {
    n_owed: usize,
    /// Its subscriptions that are alive.
    subscriptions: Vec<usize>,
    /// Counts on when the session ends: what was owed to it is owed no more.
    session: u32,
}

// === impl Owed ===

impl Owed {
    /// How many accepted messages this client must still receive.
    pub(super) fn missing(&self, client: &str) -> usize {
        self.clients.get(client).map_or(0, |client| client.n_owed)
    }

    /// Takes the next event.
    pub(super) fn handle(&mut self, event: &Event) {
        match event {
            Event::Subscribed {
                client,
                filter,
                qos,
            } if filter::shared(filter).is_none() => self.subscribe(client, filter, *qos),
            Event::Unsubscribing { client, filter } => self.end(client, Some(filter)),
            Event::SessionEnded { client, .. }
            | Event::Connecting {
                client,
                clean_start: true,
                ..
            }
            | Event::Connected {
                client,
                clean_start: true,
                ..
            } => self.end_session(client),
            Event::Sent {
                uid, qos, empty, ..
            } => self.send(uid, *qos, *empty),
            Event::Accepted { uid, .. } => self.accept(uid),
            Event::Received {
                client,
                uid: Some(uid),
                retain: false,
                ..
            } => self.receive(client, uid),
            _ => {}
        }
    }

    fn subscribe(&mut self, client: &Name, filter: &Name, qos: u8) {
        if qos == 0 {
            return self.end(client, Some(filter));
        }
        let index = self.subscriptions.len();
        self.subscriptions.push(Subscription {
            client: client.clone(),
            filter: filter.clone(),
            is_alive: true,
        });
        let of_client = self.clients.entry(client.clone()).or_default();
        of_client.subscriptions.push(index);
        let alive = self.alive.entry(filter.clone()).or_default();
        alive.push(index);
        if filter.contains(['+', '#']) {
            self.wild.insert(filter.clone());
        }
        self.forget(filter);
    }

    /// Ends the client's subscriptions, all or those to one filter.
    fn end(&mut self, client: &Name, filter: Option<&Name>) {
        let Some(of_client) = self.clients.get_mut(client) else {
            return;
        };
        let subscriptions = &mut self.subscriptions;
        let is_ended =
            |index: &mut usize| filter.is_none_or(|it| subscriptions[*index].filter == *it);
        let ended: Vec<_> = of_client.subscriptions.extract_if(.., is_ended).collect();
        for index in ended {
            self.subscriptions[index].is_alive = false;
            let filter = self.subscriptions[index].filter.clone();
            if let Some(alive) = self.alive.get_mut(&filter) {
                alive.retain(|it| *it != index);
                if alive.is_empty() {
                    self.alive.remove(&filter);
                    self.wild.remove(&filter);
                }
            }
            self.forget(&filter);
        }
    }

    /// What matched is found anew, where subscriptions to this filter matter.
    fn forget(&mut self, filter: &Name) {
        if filter.contains(['+', '#']) {
            self.matching.clear();
        } else {
            self.matching.remove(filter);
        }
    }

    fn end_session(&mut self, name: &Name) {
        self.end(name, None);
        let client = self.clients.entry(name.clone()).or_default();
        client.session += 1;
        client.n_owed = 0;
    }

    fn send(&mut self, uid: &Uid, qos: u8, is_empty: bool) {
        if self.messages.contains_key(uid) {
            return;
        }
        let subscriptions = match self.matching.get(&uid.topic) {
            Some(found) => Arc::clone(found),
            None => self.find(&uid.topic),
        };
        let state = State::Sent {
            received: Vec::new(),
        };
        let message = Message {
            subscriptions,
            qos,
            is_empty,
            state,
        };
        self.messages.insert(uid.clone(), message);
    }

    fn find(&mut self, topic: &Name) -> Arc<[usize]> {
        let wild = self.wild.iter().filter(|it| filter::matches(it, topic));
        let filters = wild.chain([topic]);
        let found = filters.filter_map(|filter| self.alive.get(filter));
        let found: Arc<[usize]> = found.flatten().copied().collect();
        self.matching.insert(topic.clone(), Arc::clone(&found));
        found
    }

    fn accept(&mut self, uid: &Uid) {
        let Some(message) = self.messages.get_mut(uid) else {
            return;
        };
        let State::Sent { received } = &message.state else {
            return;
        };
        let mut owed = Vec::new();
        if message.qos > 0 && !message.is_empty {
            let mut seen: HashSet<&Name> = received.iter().collect();
            for index in message.subscriptions.iter() {
                let subscription = &self.subscriptions[*index];
                if subscription.is_alive && seen.insert(&subscription.client) {
                    let client = self.clients.entry(subscription.client.clone()).or_default();
                    client.n_owed += 1;
                    owed.push((subscription.client.clone(), client.session));
                }
            }
        }
        message.state = State::Accepted { owed };
    }

    fn receive(&mut self, name: &Name, uid: &Uid) {
        let Some(message) = self.messages.get_mut(uid) else {
            return;
        };
        match &mut message.state {
            State::Sent { received } => received.push(name.clone()),
            State::Accepted { owed } => {
                let Some(place) = owed.iter().position(|(owed, _)| owed == name) else {
                    return;
                };
                let (_, session) = owed.swap_remove(place);
                if owed.is_empty() {
                    *owed = Vec::new(); // nearly all come to that: its memory is free
                }
                if let Some(client) = self.clients.get_mut(name)
                    && client.session == session
                {
                    client.n_owed -= 1;
                }
            }
        }
    }
}
