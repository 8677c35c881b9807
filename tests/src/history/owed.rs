//! How many accepted messages each subscriber must still receive, kept up to date event by event:
//! subscribers ask many times a second while they drain, and a soak has a million messages.
//!
//! A group is owed a message as long as no member has it, and a member must still receive all that its
//! groups are owed: nobody knows which of them it is for.
//!
//! The rules are those of I1 (`checker/i01_no_loss.rs`) and, for groups, I11
//! (`checker/i11_shared.rs`), which a test compares with this.

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
    /// By the whole filters that their members ask for.
    groups: HashMap<Name, Group>,
    /// Events up to now: what was when.
    n_events: u64,
}

#[derive(Debug)]
struct Subscription {
    client: Name,
    /// As it was asked for.
    name: Name,
    /// Without `$share` and the group.
    filter: Name,
    is_shared: bool,
    is_alive: bool,
}

#[derive(Debug)]
struct Message {
    /// Subscriptions that were alive when it was first sent.
    subscriptions: Arc<[usize]>,
    /// When that was.
    sent: u64,
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
    /// The groups that it is a member of, or was.
    groups: Vec<Name>,
}

#[derive(Debug, Default)]
struct Group {
    owed: HashMap<Uid, Debt>,
    /// When a member's subscription ended, for the last time.
    ended: u64,
}

/// What a group is owed.
#[derive(Debug)]
struct Debt {
    qos: u8,
    /// Subscriptions of members, alive, that were there when it was first sent.
    subscriptions: Vec<usize>,
}

// === impl Owed ===

impl Owed {
    /// How many accepted messages this client must still receive, and each group that it is a member
    /// of.
    pub(super) fn missing(&self, client: &str) -> usize {
        let Some(client) = self.clients.get(client) else {
            return 0;
        };
        let alive = client.subscriptions.iter();
        let shared = alive.map(|index| &self.subscriptions[*index]);
        let shared = shared.filter(|it| it.is_shared);
        let groups: HashSet<&Name> = shared.map(|it| &it.name).collect();
        let owed = groups.into_iter().filter_map(|name| self.groups.get(name));
        client.n_owed + owed.map(|group| group.owed.len()).sum::<usize>()
    }

    /// Takes the next event.
    pub(super) fn handle(&mut self, event: &Event) {
        self.n_events += 1;
        match event {
            Event::Subscribed {
                client,
                filter,
                qos,
            } => self.subscribe(client, filter, *qos),
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

    fn subscribe(&mut self, client: &Name, name: &Name, qos: u8) {
        if qos == 0 {
            return self.end(client, Some(name));
        }
        let group = filter::shared(name);
        let filter = group.map_or_else(|| name.clone(), |(_, filter)| filter.into());
        let index = self.subscriptions.len();
        let of_client = self.clients.entry(client.clone()).or_default();
        of_client.subscriptions.push(index);
        if group.is_some() && !of_client.groups.contains(name) {
            of_client.groups.push(name.clone());
        }
        let alive = self.alive.entry(filter.clone()).or_default();
        alive.push(index);
        if filter.contains(['+', '#']) {
            self.wild.insert(filter.clone());
        }
        self.forget(&filter);
        self.subscriptions.push(Subscription {
            client: client.clone(),
            name: name.clone(),
            filter,
            is_shared: group.is_some(),
            is_alive: true,
        });
    }

    /// Ends the client's subscriptions, all or those that were asked for by one name.
    fn end(&mut self, client: &Name, name: Option<&Name>) {
        let Some(of_client) = self.clients.get_mut(client) else {
            return;
        };
        let subscriptions = &mut self.subscriptions;
        let is_ended = |index: &mut usize| name.is_none_or(|it| subscriptions[*index].name == *it);
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
            if self.subscriptions[index].is_shared {
                self.end_in_group(index);
            }
        }
    }

    /// A member's subscription ended. What the group is owed is owed to the members that are left, and
    /// were there; a message of QoS 2 may have gone with it `[MQTT-4.8.2-5]`.
    fn end_in_group(&mut self, index: usize) {
        let name = self.subscriptions[index].name.clone();
        let group = self.groups.entry(name).or_default();
        group.ended = self.n_events;
        group.owed.retain(|_, debt| {
            debt.subscriptions.retain(|it| *it != index);
            debt.qos != 2 && !debt.subscriptions.is_empty()
        });
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
            sent: self.n_events,
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
            let mut has_it: Vec<&Name> = Vec::new();
            for client in received.iter().filter_map(|it| self.clients.get(it)) {
                has_it.extend(&client.groups);
            }
            let mut groups: HashMap<&Name, Vec<usize>> = HashMap::new();
            let mut seen: HashSet<&Name> = received.iter().collect();
            for index in message.subscriptions.iter() {
                let subscription = &self.subscriptions[*index];
                if !subscription.is_alive {
                    continue;
                }
                if subscription.is_shared {
                    if !has_it.contains(&&subscription.name) {
                        groups.entry(&subscription.name).or_default().push(*index);
                    }
                } else if seen.insert(&subscription.client) {
                    owed.push(subscription.client.clone());
                }
            }
            for (name, subscriptions) in groups {
                let group = self.groups.entry(name.clone()).or_default();
                if message.qos != 2 || group.ended < message.sent {
                    let qos = message.qos;
                    group.owed.insert(uid.clone(), Debt { qos, subscriptions });
                }
            }
        }
        let owed = owed.into_iter().map(|name| {
            let client = self.clients.entry(name.clone()).or_default();
            client.n_owed += 1;
            (name, client.session)
        });
        message.state = State::Accepted {
            owed: owed.collect(),
        };
    }

    fn receive(&mut self, name: &Name, uid: &Uid) {
        let Some(message) = self.messages.get_mut(uid) else {
            return;
        };
        for group in self.clients.get(name).into_iter().flat_map(|it| &it.groups) {
            if let Some(group) = self.groups.get_mut(group) {
                group.owed.remove(uid);
            }
        }
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
