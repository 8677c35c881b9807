//! A client of a play: it knows what it has asked for, and tells the ledger what comes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Connect, Properties, Publish, Will,
    acl::{File, Who, random::Caller},
    wire::{self, property},
};

use super::{
    super::scene::NOT_AUTHORIZED,
    ledger::{Ledger, Reader, Subscription},
};

/// How long what is due may take to come.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// The topic aliases that it uses.
pub(super) const N_ALIASES: usize = 4;

pub(super) struct Actor {
    pub(super) number: usize,
    pub(super) who: Who,
    pub(super) level: u8,
    pub(super) is_persistent: bool,
    pub(super) client: Option<Client>,
    pub(super) subscriptions: Vec<Subscription>,
    filters: Vec<String>,
    aliases: HashMap<u16, String>,
    username: String,
    password: String,
}

impl Actor {
    pub(super) fn new(number: usize, caller: &Caller, who: Who, level: u8) -> Self {
        let password = who.username.as_ref().unwrap_or(&who.client_id).clone();
        Self {
            number,
            level,
            is_persistent: number.is_multiple_of(2),
            client: None,
            subscriptions: Vec::new(),
            filters: Vec::new(),
            aliases: HashMap::new(),
            // Before 5.0 there is no password without a name; this one is nobody's.
            username: caller.username.unwrap_or("nobody's").to_owned(),
            password,
            who,
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            number: self.number,
            who: &self.who,
            is_here: self.client.is_some(),
            subscriptions: &self.subscriptions,
            filters: &self.filters,
        }
    }

    /// Connects; whether it was let in, which it is but for its will.
    #[track_caller]
    pub(super) fn connect(&mut self, address: SocketAddr, will: Option<Will>) -> bool {
        let id = &self.who.client_id;
        let plain = match self.is_persistent {
            true => Connect::persistent(self.level, id),
            false => Connect::new(self.level, id),
        };
        let connect = Connect {
            will,
            ..plain.username(&self.username).password(&self.password)
        };
        let mut client = Client::connect_tcp(address);
        let connack = client.handshake(&connect);
        let refused = if self.level == 5 { NOT_AUTHORIZED } else { 5 };
        if connect.will.is_some() && connack.code == refused {
            return false;
        }
        assert_eq!(connack.code, 0, "{:?}: {connack:?}", self.who);
        if !self.is_persistent {
            self.subscriptions.clear();
            self.filters.clear();
        }
        let had_some = !self.subscriptions.is_empty();
        assert!(connack.session_present || !had_some, "{:?}", self.who);
        self.aliases.clear();
        self.client = Some(client);
        true
    }

    fn here(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is connected")
    }

    /// Asks for filters, and tells what was granted.
    pub(super) fn subscribe(&mut self, file: &File, asked: &[Subscription], ledger: &mut Ledger) {
        let filters = asked.iter().map(|one| (&*one.asked, one.qos));
        let filters: Vec<_> = filters.collect();
        let suback = self.here().subscribe_with(&Properties::new(), &filters);
        assert_eq!(suback.codes.len(), asked.len());
        for (one, code) in asked.iter().zip(suback.codes) {
            let is_granted = code < 3;
            if !is_granted {
                let refused = if self.level == 5 {
                    NOT_AUTHORIZED
                } else {
                    0x80
                };
                assert_eq!(code, refused, "{one:?} of {:?}", self.who);
            }
            ledger.subscribed(file, (self.number, &self.who), one, is_granted);
            if is_granted {
                self.subscriptions.retain(|known| known.asked != one.asked);
                self.subscriptions.push(one.clone());
                self.filters.push(one.filter.clone());
            }
        }
    }

    /// Takes a subscription back; `false` if there is none.
    pub(super) fn unsubscribe(&mut self) -> bool {
        let Some(last) = self.subscriptions.pop() else {
            return false;
        };
        self.here().unsubscribe(&[&last.asked]);
        true
    }

    /// Publishes, by an alias where one is given. Returns whether it was taken, if that was said.
    pub(super) fn publish(&mut self, mut publish: Publish, alias: Option<u16>) -> Option<bool> {
        if let Some(alias) = alias.filter(|_| self.level == 5) {
            publish.properties = Properties::new().two(property::TOPIC_ALIAS, alias);
            match self.aliases.get(&alias) {
                Some(known) if *known == publish.topic => publish.topic.clear(),
                _ => {
                    self.aliases.insert(alias, publish.topic.clone());
                }
            }
        }
        let level = self.level;
        let client = self.here();
        publish.id = (publish.qos > 0).then(|| client.next_id());
        client.send(&publish.bytes(level));
        let Some(id) = publish.id else {
            client.ping(); // it has been read
            return None;
        };
        let kind = if publish.qos == 1 {
            wire::PUBACK
        } else {
            wire::PUBREC
        };
        let ack = client.expect_ack(kind, id);
        if publish.qos == 2 && ack.reason < 0x80 {
            client.send(&wire::ack(wire::PUBREL, id));
            client.expect_ack(wire::PUBCOMP, id);
        }
        let is_taken = ack.reason < 0x80;
        assert!(is_taken || ack.reason == NOT_AUTHORIZED, "{ack:?}");
        (level == 5).then_some(is_taken)
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, file: &File, ledger: &mut Ledger) {
        let Some(client) = &mut self.client else {
            return;
        };
        loop {
            client.ping();
            let mut has_come = false;
            while let Some(packet) = client.recv_within(Duration::ZERO) {
                let publish = packet.publish(self.level);
                client.acknowledge(&publish);
                has_come = true;
                let reader = Reader {
                    number: self.number,
                    who: &self.who,
                    is_here: true,
                    subscriptions: &self.subscriptions,
                    filters: &self.filters,
                };
                let (topic, payload) = (&*publish.topic, &*publish.payload);
                ledger.delivered(file, &reader, topic, payload, publish.retain);
            }
            if !has_come {
                return;
            }
        }
    }

    /// Takes what has come, and waits for what is due.
    pub(super) fn settle(&mut self, file: &File, ledger: &mut Ledger) {
        let deadline = Instant::now() + LIMIT;
        self.take(file, ledger);
        while self.client.is_some() && ledger.is_owed(self.number) && Instant::now() < deadline {
            self.take(file, ledger);
        }
        ledger.close(&self.reader());
    }

    /// Whether a filter may be asked for now.
    pub(super) fn may_ask_for(&mut self, filter: &str) -> bool {
        let suback = self
            .here()
            .subscribe_with(&Properties::new(), &[(filter, 0)]);
        suback.codes == [0]
    }
}
