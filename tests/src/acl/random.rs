//! Files, clients, topics and filters from a seed: small worlds, in which rules, names and topics
//! meet often, with every name in them that a rule could be made to mean more by.

use std::net::IpAddr;

use super::{Action, File, Rule, User};
use crate::history::Random;

/// User names that a file may have.
pub const USERNAMES: [&str; 11] = [
    "ann", "bob", "team-1", "team-2", "team", "$eve", "x+y", "a/b", "#", "%c", "b",
];
/// Client ids that a client may have.
pub const CLIENTS: [&str; 11] = [
    "pump-1", "pump-2", "ann", "bob", "a", "a/b", "+", "%u", "$x", "c#", "pump-1-",
];
/// Levels of topics, names among them.
const LEVELS: [&str; 14] = [
    "a",
    "b",
    "c",
    "",
    "$x",
    "ann",
    "bob",
    "pump-1",
    "dev-pump-1",
    "ann-pump-1",
    "team-1",
    "%c",
    "%u",
    "$eve",
];
const PLACEHOLDERS: [&str; 7] = ["%c", "%u", "%c", "%u", "dev-%c", "%u-%c", "%%c"];
const ADDRESSES: [&str; 7] = [
    "127.0.0.1",
    "10.1.2.3",
    "10.1.2.4",
    "11.0.0.1",
    "::1",
    "fd00::7",
    "fe00::7",
];
const NETWORKS: [(&str, u8); 9] = [
    ("127.0.0.0", 8),
    ("127.0.0.1", 32),
    ("10.0.0.0", 8),
    ("10.1.2.2", 31),
    ("11.2.3.4", 0),
    ("::1", 128),
    ("fd00::", 8),
    ("fd00::", 7),
    ("::", 0),
];

/// What a client gives when it connects.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its user name, which may be nobody's.
    pub username: Option<&'static str>,
    /// Its client id.
    pub client_id: &'static str,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

fn one<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

/// A file of up to 12 rules.
pub fn file(random: &mut Random) -> File {
    let mut users = Vec::new();
    for name in USERNAMES {
        if !random.once_in(4) {
            let own = random.once_in(8).then(|| one(random, &CLIENTS));
            users.push(User {
                username: Some(name.to_owned()),
                client_id: own.map(str::to_owned),
                is_superuser: random.once_in(12),
            });
        }
    }
    for id in CLIENTS {
        if random.once_in(6) || users.is_empty() {
            users.push(User {
                username: None,
                client_id: Some(id.to_owned()),
                is_superuser: random.once_in(12),
            });
        }
    }
    let n_rules = random.below(13);
    let rules = (0..n_rules).map(|_| rule(random)).collect();
    File {
        users,
        rules: (!random.once_in(30)).then_some(rules),
    }
}

/// One rule, of the kind that a file has.
pub fn rule(random: &mut Random) -> Rule {
    let actions: [&[Action]; 3] = [
        &[Action::Publish],
        &[Action::Subscribe],
        &[Action::Publish, Action::Subscribe],
    ];
    let actions = one(random, &actions).to_vec();
    let allow = !random.once_in(3);
    let n_topics = 1 + random.below(3);
    Rule {
        allow,
        actions,
        topics: (0..n_topics).map(|_| pattern(random)).collect(),
        users: names(random, &USERNAMES, &["team-*", "a*", "*", "team*", "%*"]),
        clients: names(random, &CLIENTS, &["pump-*", "*", "pump-1*", "a*"]),
        addresses: random.once_in(6).then(|| {
            let networks = (0..1 + random.below(2)).map(|_| one(random, &NETWORKS));
            let networks = networks.collect::<Vec<_>>();
            let parsed = networks
                .into_iter()
                .map(|(at, n_bits)| (address(at), n_bits));
            parsed.collect()
        }),
    }
}

fn names(random: &mut Random, known: &[&str], beginnings: &[&str]) -> Option<Vec<String>> {
    random.once_in(3).then(|| {
        let n_names = 1 + random.below(3);
        let name = |random: &mut Random| match random.once_in(3) {
            true => one(random, beginnings).to_owned(),
            false => one(random, known).to_owned(),
        };
        (0..n_names).map(|_| name(random)).collect()
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("it is one")
}

/// A client, who need not be one that a file knows.
pub fn caller(random: &mut Random) -> Caller {
    let username = one(random, &USERNAMES);
    let client_id = one(random, &CLIENTS);
    let at = one(random, &ADDRESSES);
    Caller {
        username: (!random.once_in(6)).then_some(username),
        client_id,
        address: (!random.once_in(10)).then(|| address(at)),
    }
}

/// A topic that can be published to.
pub fn topic(random: &mut Random) -> String {
    loop {
        let n_levels = 1 + random.below(4);
        let levels = (0..n_levels).map(|_| one(random, &LEVELS));
        let topic = levels.collect::<Vec<_>>().join("/");
        if !topic.is_empty() {
            return topic;
        }
    }
}

/// A filter that can be subscribed to, without wildcards sometimes.
pub fn filter(random: &mut Random) -> String {
    with_wildcards(random, |random| one(random, &LEVELS))
}

/// The topics of a rule, with placeholders.
fn pattern(random: &mut Random) -> String {
    with_wildcards(random, |random| match random.once_in(4) {
        true => one(random, &PLACEHOLDERS),
        // What could be a placeholder is one in a rule.
        false => one(random, &LEVELS[..11]),
    })
}

fn with_wildcards(random: &mut Random, level: impl Fn(&mut Random) -> &'static str) -> String {
    loop {
        let n_levels = random.below(4);
        let mut levels = Vec::new();
        for _ in 0..n_levels {
            levels.push(match random.once_in(4) {
                true => "+",
                false => level(random),
            });
        }
        if random.once_in(3) {
            levels.push("#");
        }
        let filter = levels.join("/");
        if !filter.is_empty() {
            return filter;
        }
    }
}
