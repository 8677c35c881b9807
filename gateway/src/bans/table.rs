//! Bans by what they name, found without going through all of them: names by their hash, prefixes by
//! one look for each length that there is. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Add;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::proto::cluster::bans::Prefix;
use crate::proto::cluster::state::{Ban, BanKind};

/// The bans.
#[derive(Debug, Default)]
pub(super) struct Table {
    client_ids: Banned<Box<str>>,
    users: Banned<Box<str>>,
    /// By their length, in bytes.
    client_id_prefixes: ByLength<usize, Box<str>>,
    /// By how many bits count.
    addresses: ByLength<u8, Prefix>,
}

/// Whom bans are looked up for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whom<'a> {
    /// Empty for nobody yet.
    pub(crate) client_id: &'a str,
    /// The one that it gives, and the one that it is known by.
    pub(crate) usernames: [Option<&'a str>; 2],
    pub(crate) address: Option<IpAddr>,
}

/// How many bans there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) client_ids: usize,
    pub(crate) client_id_prefixes: usize,
    pub(crate) usernames: usize,
    pub(crate) addresses: usize,
}

/// A ban that keeps somebody out.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// What it names, as a file has it.
    pub(super) kind: &'static str,
    pub(super) value: &'a dyn fmt::Display,
    pub(super) reason: &'a str,
}

/// What a ban says beyond what it names.
#[derive(Debug)]
struct Terms {
    /// In Unix milliseconds; 0 for ever.
    until: u64,
    reason: Box<str>,
}

type Banned<K> = HashMap<K, Terms, RandomState>;
type ByLength<L, K> = BTreeMap<L, Banned<K>>;

// === impl Counts ===

impl Counts {
    /// With the names that the kinds have in a file.
    pub(crate) fn by_kind(self) -> [(&'static str, usize); 4] {
        [
            ("client-id", self.client_ids),
            ("client-id-prefix", self.client_id_prefixes),
            ("username", self.usernames),
            ("address", self.addresses),
        ]
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            client_ids: self.client_ids + more.client_ids,
            client_id_prefixes: self.client_id_prefixes + more.client_id_prefixes,
            usernames: self.usernames + more.usernames,
            addresses: self.addresses + more.addresses,
        }
    }
}

// === impl Table ===

impl Table {
    /// Takes a ban in, in the place of one of the same kind and value. One that this version does
    /// not know keeps nobody out.
    pub(super) fn set(&mut self, ban: &Ban) {
        let value = || ban.value.as_str().into();
        let terms = Terms {
            until: ban.until,
            reason: ban.reason.as_str().into(),
        };
        match ban.kind() {
            BanKind::Unspecified => {}
            BanKind::ClientId => {
                self.client_ids.insert(value(), terms);
            }
            BanKind::User => {
                self.users.insert(value(), terms);
            }
            BanKind::ClientIdPrefix => {
                let same = self.client_id_prefixes.entry(ban.value.len()).or_default();
                same.insert(value(), terms);
            }
            BanKind::Address => {
                if let Ok(prefix) = Prefix::parse(&ban.value) {
                    let same = self.addresses.entry(prefix.n_bits()).or_default();
                    same.insert(prefix, terms);
                }
            }
        }
    }

    /// Takes a ban out.
    pub(super) fn unset(&mut self, kind: BanKind, value: &str) {
        match kind {
            BanKind::Unspecified => {}
            BanKind::ClientId => {
                self.client_ids.remove(value);
            }
            BanKind::User => {
                self.users.remove(value);
            }
            BanKind::ClientIdPrefix => unset(&mut self.client_id_prefixes, &value.len(), value),
            BanKind::Address => {
                if let Ok(prefix) = Prefix::parse(value) {
                    unset(&mut self.addresses, &prefix.n_bits(), &prefix);
                }
            }
        }
    }

    /// How many bans of each kind are in force at a time, in Unix milliseconds.
    pub(super) fn count(&self, now: u64) -> Counts {
        Counts {
            client_ids: n_in_force(&self.client_ids, now),
            client_id_prefixes: n_in_force_of_all(&self.client_id_prefixes, now),
            usernames: n_in_force(&self.users, now),
            addresses: n_in_force_of_all(&self.addresses, now),
        }
    }

    /// How many client identifiers are banned, those of which the time is over among them.
    pub(super) fn n_client_ids(&self) -> usize {
        self.client_ids.len()
    }

    /// Forgets banned client identifiers of which the time is over.
    pub(super) fn forget_over(&mut self, now: u64) {
        self.client_ids.retain(|_, terms| terms.is_in_force(now));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.client_ids.is_empty()
            && self.users.is_empty()
            && self.client_id_prefixes.is_empty()
            && self.addresses.is_empty()
    }

    /// Whether somebody is banned at a time, in Unix milliseconds.
    pub(super) fn has(&self, whom: &Whom<'_>, now: u64) -> bool {
        self.find(whom, now).is_some()
    }

    /// A ban that keeps somebody out at a time, in Unix milliseconds, if there is one.
    pub(super) fn find(&self, whom: &Whom<'_>, now: u64) -> Option<Found<'_>> {
        let mut users = whom.usernames.into_iter().flatten();
        let address = whom.address;
        let found = address.and_then(|address| self.find_address(address, now));
        found
            .or_else(|| find(&self.client_ids, whom.client_id, now, "client-id"))
            .or_else(|| users.find_map(|user| find(&self.users, user, now, "username")))
            .or_else(|| self.find_beginning(whom.client_id, now))
    }

    fn find_address(&self, address: IpAddr, now: u64) -> Option<Found<'_>> {
        let address = Prefix::of(address);
        let lengths = self.addresses.range(..=address.n_bits());
        let mut lengths = lengths.map(|(n_bits, same)| (address.shorten(*n_bits), same));
        lengths.find_map(|(prefix, same)| find(same, &prefix, now, "address"))
    }

    fn find_beginning(&self, client_id: &str, now: u64) -> Option<Found<'_>> {
        let lengths = self.client_id_prefixes.range(..=client_id.len());
        let mut beginnings = lengths.filter_map(|(n, same)| Some((client_id.get(..*n)?, same)));
        beginnings.find_map(|(beginning, same)| find(same, beginning, now, "client-id-prefix"))
    }
}

// === impl Terms ===

impl Terms {
    fn is_in_force(&self, now: u64) -> bool {
        self.until == 0 || now < self.until
    }
}

fn n_in_force<K>(bans: &Banned<K>, now: u64) -> usize {
    bans.values().filter(|terms| terms.is_in_force(now)).count()
}

fn n_in_force_of_all<L, K>(bans: &ByLength<L, K>, now: u64) -> usize {
    bans.values().map(|same| n_in_force(same, now)).sum()
}

fn find<'a, K, Q>(bans: &'a Banned<K>, key: &Q, now: u64, kind: &'static str) -> Option<Found<'a>>
where
    K: Borrow<Q> + Hash + Eq + fmt::Display,
    Q: Hash + Eq + ?Sized,
{
    let (value, terms) = bans.get_key_value(key)?;
    terms.is_in_force(now).then_some(Found {
        kind,
        value,
        reason: &terms.reason,
    })
}

fn unset<L: Ord, K, Q>(bans: &mut ByLength<L, K>, length: &L, key: &Q)
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if let Some(same) = bans.get_mut(length) {
        same.remove(key);
        if same.is_empty() {
            bans.remove(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(kind: BanKind, value: &str, until: u64) -> Ban {
        Ban {
            kind: kind.into(),
            value: value.to_owned(),
            until,
            ..Ban::default()
        }
    }

    fn of(bans: &[(BanKind, &str)]) -> Table {
        let mut table = Table::default();
        for (kind, value) in bans {
            table.set(&ban(*kind, value, 0));
        }
        table
    }

    #[test]
    fn those_in_force_are_counted_by_their_kind() {
        let mut table = of(&[
            (BanKind::ClientId, "a"),
            (BanKind::ClientIdPrefix, "b"),
            (BanKind::ClientIdPrefix, "ccc"),
            (BanKind::Address, "10.0.0.0/8"),
            (BanKind::Address, "192.168.1.7"),
            (BanKind::Address, "192.168.1.8"),
        ]);
        table.set(&ban(BanKind::User, "eve", 5));
        let counted = |now| {
            let counts = table.count(now) + Counts::default();
            counts.by_kind().map(|(_, n)| n)
        };
        assert_eq!((counted(4), counted(5)), ([1, 2, 1, 3], [1, 2, 0, 3]));
    }

    fn client(client_id: &str) -> Whom<'_> {
        Whom {
            client_id,
            ..Whom::default()
        }
    }

    fn from(address: &str) -> Whom<'static> {
        Whom {
            address: Some(address.parse().expect("an address")),
            ..Whom::default()
        }
    }

    #[test]
    fn names_are_found_whole_and_by_their_beginning() {
        let table = of(&[
            (BanKind::ClientId, "pump"),
            (BanKind::ClientIdPrefix, "bad-"),
            (BanKind::ClientIdPrefix, "worse"),
            (BanKind::User, "eve"),
        ]);
        for banned in ["pump", "bad-", "bad-1", "worse than that"] {
            assert!(table.has(&client(banned), 1), "{banned}");
        }
        for good in ["", "pum", "pumps", "bad", "a bad-1", "eve", "wors\u{e9}e"] {
            assert!(!table.has(&client(good), 1), "{good}");
        }
        for usernames in [[Some("eve"), None], [Some("ann"), Some("eve")]] {
            let whom = Whom {
                usernames,
                ..client("x")
            };
            assert!(table.has(&whom, 1));
        }
        let pump = Whom {
            usernames: [Some("pump"), Some("bad-")],
            ..client("x")
        };
        assert!(!table.has(&pump, 1));
    }

    #[test]
    fn what_is_found_says_what_it_names_and_why() {
        let mut table = of(&[(BanKind::ClientIdPrefix, "bad-")]);
        table.set(&Ban {
            reason: "it is stolen".to_owned(),
            ..ban(BanKind::Address, "10.0.0.0/8", 0)
        });
        let check = |whom: &Whom<'_>, expected: Option<(&str, &str, &str)>| {
            let found = table.find(whom, 1);
            let found = found.map(|it| (it.kind, it.value.to_string(), it.reason));
            let expected = expected.map(|(kind, value, why)| (kind, value.to_owned(), why));
            assert_eq!(found, expected, "{whom:?}");
        };
        check(
            &from("10.1.2.3"),
            Some(("address", "10.0.0.0/8", "it is stolen")),
        );
        check(&client("bad-1"), Some(("client-id-prefix", "bad-", "")));
        check(&client("good"), None);
    }

    #[test]
    fn addresses_are_found_by_every_length() {
        let bans = ["10.0.0.0/8", "192.168.1.7", "2001:db8::/32"];
        let table = of(&bans.map(|value| (BanKind::Address, value)));
        for banned in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "192.168.1.7",
            "2001:db8:1::1",
        ] {
            assert!(table.has(&from(banned), 1), "{banned}");
        }
        for good in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1"] {
            assert!(!table.has(&from(good), 1), "{good}");
        }
        assert!(!table.has(&client("10.0.0.1"), 1), "it has no address");
        let everybody = of(&[(BanKind::Address, "0.0.0.0/0")]);
        assert!(everybody.has(&from("1.2.3.4"), 1) && !everybody.has(&from("::1"), 1));
    }

    #[test]
    fn one_that_is_over_keeps_nobody_out_and_one_that_is_taken_back_is_gone() {
        let mut table = Table::default();
        let kinds = [
            (BanKind::ClientId, "c"),
            (BanKind::ClientIdPrefix, "c"),
            (BanKind::User, "u"),
            (BanKind::Address, "10.0.0.0/8"),
        ];
        let whom = Whom {
            client_id: "c",
            usernames: [Some("u"), None],
            address: "10.0.0.1".parse().ok(),
        };
        for (kind, value) in kinds {
            table.set(&ban(kind, value, 5));
            assert!(table.has(&whom, 4) && !table.has(&whom, 5), "{kind:?}");
            table.set(&ban(kind, value, 7));
            assert!(table.has(&whom, 6), "{kind:?}: it was made longer");
            table.unset(kind, value);
            assert!(!table.has(&whom, 4) && table.is_empty(), "{kind:?}");
            table.unset(kind, value);
        }
    }
}
