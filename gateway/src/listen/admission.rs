//! How many connections a listener has, or logins are looked at, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The counts.
#[derive(Debug)]
pub(crate) struct Admission {
    maximum: usize,
    maximum_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Counts as a connection while it lives.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many as there may be.
    All,
    /// As many as there may be of this address.
    Address,
}

impl Admission {
    /// Bounds; 0 is no limit.
    pub(crate) fn new(maximum: usize, maximum_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            maximum,
            maximum_per_address,
            counts: Mutex::default(),
        })
    }

    /// Counts another connection, unless there are too many.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Admitted, Full> {
        let address = address.filter(|_| self.maximum_per_address > 0);
        let mut counts = self.counts.lock();
        if self.maximum > 0 && counts.total >= self.maximum {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let n_connections = counts.by_address.entry(address).or_default();
            if *n_connections >= self.maximum_per_address {
                return Err(Full::Address);
            }
            *n_connections += 1;
        }
        counts.total += 1;
        Ok(Admitted {
            admission: self.clone(),
            address,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.total -= 1;
        if let Some(address) = self.address
            && let Some(n_connections) = counts.by_address.get_mut(&address)
        {
            *n_connections -= 1;
            if *n_connections == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let admission = Admission::new(3, 2);
        let [a, b] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|octets| Some(IpAddr::from(octets)));
        let first = admission.admit(a).expect("room");
        let _second = admission.admit(a).expect("room");
        assert!(admission.admit(a).is_err(), "the address has its two");
        let _third = admission.admit(b).expect("room");
        assert!(admission.admit(b).is_err(), "the listener has its three");
        drop(first);
        assert!(admission.admit(a).is_ok());
    }

    #[test]
    fn each_address_has_its_own_places() {
        let admission = Admission::new(0, 2);
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().ok());
        let first = admission.admit(here);
        let second = admission.admit(here);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(admission.admit(here).err(), Some(Full::Address));
        let others = [
            admission.admit(there),
            admission.admit(None),
            admission.admit(None),
        ];
        assert!(others.iter().all(Result::is_ok));
        drop(first);
        assert!(admission.admit(here).is_ok());
        drop((second, others));
        assert!(admission.counts.lock().by_address.is_empty());
        let boundless = Admission::new(0, 0);
        let all: Vec<_> = (0..100).map(|_| boundless.admit(here)).collect();
        assert!(all.iter().all(Result::is_ok));
    }
}
