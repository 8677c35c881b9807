//! How fast connections come: those of one address, of which too many are closed, and those of all
//! the listener, which wait.
//!
//! Memory is bounded: two tables of addresses. Whoever has not come for a second may come as if it
//! never had, so the older table is forgotten when the younger one is a second old, or full.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::rate::Bucket;

/// The least age of a table that is forgotten, in milliseconds: a bucket is full again by then.
const AGE: u64 = 1_000;
/// Addresses in one table: some 5 MB.
const MOST: usize = 65_536;
/// The shortest pause, in milliseconds.
const SHORTEST: u64 = 20;

/// The rates of a listener.
#[derive(Debug)]
pub(crate) struct Pace {
    all: Mutex<Option<Bucket>>,
    rate_per_address: u64,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    young: HashMap<IpAddr, Bucket, RandomState>,
    old: HashMap<IpAddr, Bucket, RandomState>,
    /// When the younger one was begun.
    began: u64,
}

impl Pace {
    /// Connections a second; 0 is no limit. As many as in a second may come at once.
    pub(crate) fn new(rate: u64, rate_per_address: u64, now: u64) -> Self {
        Self {
            all: Mutex::new(Bucket::new(rate, now)),
            rate_per_address,
            tables: Mutex::default(),
        }
    }

    /// Counts a connection, and says how many milliseconds it has to wait; 0 if it need not.
    pub(crate) fn wait(&self, now: u64) -> u64 {
        let mut all = self.all.lock();
        let wait = all.as_mut().map_or(0, |all| all.take(1, now));
        if wait > 0 { wait.max(SHORTEST) } else { 0 }
    }

    /// Counts a connection of an address, unless there are too many.
    pub(crate) fn admit(&self, address: IpAddr, now: u64) -> bool {
        let Some(full) = Bucket::new(self.rate_per_address, now) else {
            return true;
        };
        let address = network(address);
        let mut tables = self.tables.lock();
        tables.age(now);
        let Tables { young, old, .. } = &mut *tables;
        let known = young.entry(address);
        let bucket = known.or_insert_with(|| old.remove(&address).unwrap_or(full));
        bucket.try_take(now)
    }
}

impl Tables {
    fn age(&mut self, now: u64) {
        if self.young.len() >= MOST || now >= self.began + AGE {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
    }
}

/// Of IPv6 its network, /64: whoever has an address has all of those.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_rate_and_others_have_theirs() {
        let pace = Pace::new(0, 3, 0);
        let mut admitted = 0;
        for now in 0..2_000 {
            admitted += u32::from(pace.admit(address("10.0.0.1"), now));
        }
        assert_eq!(admitted, 3 + 5, "at once, and in the two seconds");
        assert!(pace.admit(address("10.0.0.2"), 2_000));
        assert!(!pace.admit(address("10.0.0.1"), 1_999));
        assert!(
            !pace.admit(address("::ffff:10.0.0.1"), 1_999),
            "it is the same"
        );
        assert!(pace.admit(address("10.0.0.1"), 3_000));
        assert_eq!(pace.wait(0), 0, "the listener has no rate");
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let pace = Pace::new(0, 1, 0);
        assert!(pace.admit(address("2001:db8::1"), 0));
        assert!(!pace.admit(address("2001:db8::ffff:1"), 0));
        assert!(pace.admit(address("2001:db8:0:1::1"), 0));
    }

    #[test]
    fn a_crowd_of_addresses_takes_bounded_memory_and_is_forgotten() {
        let pace = Pace::new(0, 1, 0);
        for number in 0..4 * MOST as u32 {
            assert!(pace.admit(std::net::Ipv4Addr::from(number).into(), 1));
        }
        let tables = pace.tables.lock();
        assert!(tables.young.len() <= MOST && tables.old.len() <= MOST);
        drop(tables);
        assert!(pace.admit(address("1.2.3.4"), 1_001) && pace.admit(address("1.2.3.4"), 2_001));
        let tables = pace.tables.lock();
        assert_eq!((tables.young.len(), tables.old.len()), (1, 0));
    }

    #[test]
    fn a_listener_lets_its_connections_wait() {
        let pace = Pace::new(10, 0, 0);
        let waits: Vec<_> = (0..12).map(|_| pace.wait(0)).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10..], [100, 200]);
        let quick = Pace::new(1_000, 0, 0);
        (0..1_000).for_each(|_| assert_eq!(quick.wait(0), 0));
        assert_eq!(quick.wait(0), SHORTEST);
        assert!(
            quick.admit(address("10.0.0.1"), 0),
            "addresses have no rate"
        );
    }
}
