//! Clients that do what a seed says, one thing after the other, so that it is known at each moment
//! what holds.

use std::{net::SocketAddr, time::Duration};

use gatemq_tests::{
    Publish, Will,
    acl::{File, random},
    eventually,
    history::Random,
    patience::becomes_true,
};

use super::{
    actor::{Actor, LIMIT, N_ALIASES},
    ledger::{Ledger, Message, Reader, Subscription, Totals},
};

/// Clients, besides the one that may have everything.
const N_ACTORS: usize = 8;
/// Topics that many of them use.
const N_TOPICS: usize = 12;

pub(super) struct Play {
    addresses: Vec<SocketAddr>,
    file: File,
    /// The first one may have everything, and has asked for it.
    actors: Vec<Actor>,
    topics: Vec<String>,
    ledger: Ledger,
}

fn subscription(filter: String, group: Option<usize>, qos: usize) -> Subscription {
    let asked = match group {
        Some(group) => format!("$share/g{group}/{filter}"),
        None => filter.clone(),
    };
    Subscription {
        asked,
        filter,
        is_shared: group.is_some(),
        qos: u8::try_from(qos).expect("a QoS"),
    }
}

impl Play {
    pub(super) fn new(addresses: &[SocketAddr], file: File, random: &mut Random) -> Self {
        let mut play = Self {
            addresses: addresses.to_vec(),
            file,
            actors: Vec::new(),
            topics: (0..N_TOPICS).map(|_| random::topic(random)).collect(),
            ledger: Ledger::new(addresses.len() == 1),
        };
        let root = random::Caller {
            username: Some("root"),
            client_id: "root",
            address: None,
        };
        play.add(&root, 5);
        // Few of a file's users may have client ids of their own.
        for _ in 0..2_000 {
            let caller = random::caller(random);
            let is_used = |actor: &Actor| actor.who.client_id == caller.client_id;
            if play.actors.len() <= N_ACTORS && !play.actors.iter().any(is_used) {
                play.add(&caller, if random.once_in(2) { 4 } else { 5 });
            }
        }
        let all = ["#", "$x/#", "$eve/#"].map(|filter| subscription(filter.to_owned(), None, 2));
        for number in 0..play.actors.len() {
            let address = play.address(random);
            play.actors[number].connect(address, None);
        }
        play.actors[0].subscribe(&play.file, &all, &mut play.ledger);
        play
    }

    /// One who is let in, if it is.
    fn add(&mut self, caller: &random::Caller, level: u8) {
        let here = Some([127, 0, 0, 1].into());
        let who = self.file.who(caller.username, caller.client_id, here);
        let number = self.actors.len();
        self.actors
            .extend(who.map(|who| Actor::new(number, caller, who, level)));
    }

    fn address(&self, random: &mut Random) -> SocketAddr {
        self.addresses[random.below(self.addresses.len())]
    }

    pub(super) fn go_on(&mut self, random: &mut Random, n_moves: usize) {
        for _ in 0..n_moves {
            let number = 1 + random.below(self.actors.len() - 1);
            if self.actors[number].client.is_none() {
                let address = self.address(random);
                self.actors[number].connect(address, None);
                self.ledger.totals.count("resumed", 1);
                continue;
            }
            match random.below(20) {
                0..4 => self.subscribe(number, random),
                4 => {
                    // What is retained comes for a subscription that is there.
                    self.actors[number].settle(&self.file, &mut self.ledger);
                    let is_done = self.actors[number].unsubscribe();
                    self.ledger.totals.count("unsubscribed", is_done.into());
                }
                5..7 => self.leave(number),
                7 => self.die(number, random),
                8 => self.actors[number].take(&self.file, &mut self.ledger),
                _ => self.publish(number, random),
            }
        }
        // Those who are away come back, to get what was kept.
        for number in 0..self.actors.len() {
            if self.actors[number].client.is_none() {
                let address = self.address(random);
                self.actors[number].connect(address, None);
            }
            let owed = usize::from(self.ledger.is_owed(number));
            self.ledger.totals.count("queued", owed);
            self.actors[number].settle(&self.file, &mut self.ledger);
        }
        // A will may still be on its way.
        becomes_true(LIMIT, || {
            self.take_all();
            !self.ledger.is_owed_to_groups()
        });
        self.ledger.close_groups();
        // But some are away again when rules change.
        for number in 1..self.actors.len() {
            if number % 4 == 0 {
                self.leave(number);
            }
        }
    }

    fn topic(&self, random: &mut Random) -> String {
        match random.once_in(3) {
            true => random::topic(random),
            false => self.topics[random.below(self.topics.len())].clone(),
        }
    }

    fn subscribe(&mut self, number: usize, random: &mut Random) {
        let mut asked: Vec<Subscription> = Vec::new();
        for _ in 0..1 + random.below(4) {
            let filter = match random.once_in(3) {
                true => self.topic(random),
                false => random::filter(random),
            };
            let group = random.once_in(4).then(|| random.below(2));
            let one = subscription(filter, group, random.below(3));
            if asked.iter().all(|other| other.asked != one.asked) {
                asked.push(one);
            }
        }
        self.actors[number].subscribe(&self.file, &asked, &mut self.ledger);
    }

    fn publish(&mut self, number: usize, random: &mut Random) {
        let message = Message {
            topic: self.topic(random),
            qos: u8::try_from(random.below(3)).expect("a QoS"),
            retain: random.once_in(4),
            publisher: self.actors[number].who.clone(),
        };
        let alias = random.once_in(3).then(|| 1 + random.below(N_ALIASES));
        let alias = alias.map(|alias| u16::try_from(alias).expect("few"));
        let publish = Publish {
            qos: message.qos,
            retain: message.retain,
            ..Publish::new(&message.topic, self.ledger.next().to_string())
        };
        let is_aliased = alias.is_some() && self.actors[number].level == 5;
        self.ledger.totals.count("aliased", is_aliased.into());
        let is_taken = self.actors[number].publish(publish, alias);
        self.tell(&message, is_taken);
    }

    fn tell(&mut self, message: &Message, is_taken: Option<bool>) {
        let readers: Vec<Reader<'_>> = self.actors.iter().map(Actor::reader).collect();
        self.ledger
            .published(&self.file, message, is_taken, &readers);
    }

    /// Ends a connection; what is stored for it is kept if it is persistent.
    fn leave(&mut self, number: usize) {
        if !self.actors[number].is_persistent {
            self.settle_groups_of(number);
        }
        let actor = &mut self.actors[number];
        if !actor.is_persistent || self.ledger.is_owed_again(number) {
            actor.settle(&self.file, &mut self.ledger);
        }
        if !actor.is_persistent {
            actor.subscriptions.clear();
        }
        if let Some(client) = actor.client.take() {
            client.disconnect();
        }
    }

    /// A member of a group is about to end its session, and what it was given with that. A will may
    /// be on its way to it, or be kept for another one that is away: then nobody can say who it was for.
    fn settle_groups_of(&mut self, number: usize) {
        becomes_true(Duration::from_secs(1), || {
            let is_owed = self.ledger.is_owed_to_a_group_of(number);
            if is_owed {
                self.take_all();
            }
            !is_owed
        });
        self.ledger.forget_groups_of(number);
    }

    fn take_all(&mut self) {
        for actor in &mut self.actors {
            actor.take(&self.file, &mut self.ledger);
        }
    }

    /// Comes with a will, and is cut off.
    fn die(&mut self, number: usize, random: &mut Random) {
        self.leave(number);
        let message = Message {
            topic: self.topic(random),
            qos: u8::try_from(1 + random.below(2)).expect("a QoS"),
            retain: random.once_in(3),
            publisher: self.actors[number].who.clone(),
        };
        let uid = self.ledger.next();
        let will = Will {
            topic: message.topic.clone().into(),
            payload: uid.to_string().into(),
            qos: message.qos,
            retain: message.retain,
            ..Will::default()
        };
        let address = self.address(random);
        let is_taken = self.actors[number].connect(address, Some(will));
        let kind = if is_taken { "wills" } else { "wills refused" };
        self.ledger.totals.count(kind, 1);
        let client = self.actors[number].client.take();
        self.tell(&message, Some(is_taken));
        let Some(client) = client else { return };
        client.cut();
        // It is out when the first one has it, and the others have it then or soon.
        self.actors[0].settle(&self.file, &mut self.ledger);
    }

    /// Other rules hold from now on, under which all may subscribe to a mark.
    pub(super) fn change(&mut self, file: File, mark: &str) {
        for actor in self
            .actors
            .iter_mut()
            .filter(|actor| actor.client.is_some())
        {
            eventually!(Duration::from_secs(10), actor.may_ask_for(mark));
        }
        let readers: Vec<Reader<'_>> = self.actors.iter().map(Actor::reader).collect();
        self.ledger.change(&file, &readers);
        self.file = file;
    }

    /// What has happened; nothing of it may be wrong.
    #[track_caller]
    pub(super) fn end(mut self, what: &str) -> Totals {
        self.take_all();
        let wrong = &self.ledger.wrong;
        let some = wrong
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        let n_wrong = wrong.len();
        assert_eq!(n_wrong, 0, "{what}:\n{some}\n{}", self.file.yaml());
        self.ledger.totals
    }
}
