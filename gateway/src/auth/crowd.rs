//! How many logins of one address are looked at at the same time: the places where passwords wait to
//! be compared are everybody's, and one address shall not take them all.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Logins under way, by address.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// 0 for no bound.
    most: usize,
    by_address: Mutex<HashMap<IpAddr, usize, RandomState>>,
}

/// Counts as a login under way while it lives.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    crowd: &'a Crowd,
    address: Option<IpAddr>,
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            by_address: Mutex::default(),
        }
    }

    /// One more, unless there are too many; of a client without an address (a Unix socket) any
    /// number.
    pub(crate) fn enter(&self, address: Option<IpAddr>) -> Option<Place<'_>> {
        let address = address.filter(|_| self.most > 0);
        if let Some(address) = address {
            let mut by_address = self.by_address.lock();
            let n_logins = by_address.entry(address).or_default();
            if *n_logins >= self.most {
                return None;
            }
            *n_logins += 1;
        }
        Some(Place {
            crowd: self,
            address,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.crowd.by_address.lock();
        if let Some(n_logins) = by_address.get_mut(&address) {
            *n_logins -= 1;
            if *n_logins == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places() {
        let crowd = Crowd::new(2);
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().ok());
        let first = crowd.enter(here);
        let second = crowd.enter(here);
        assert!(first.is_some() && second.is_some() && crowd.enter(here).is_none());
        let others = [crowd.enter(there), crowd.enter(None), crowd.enter(None)];
        assert!(others.iter().all(Option::is_some));
        drop(first);
        assert!(crowd.enter(here).is_some());
        drop((second, others));
        assert!(crowd.by_address.lock().is_empty());
        let boundless = Crowd::new(0);
        let all: Vec<_> = (0..100).map(|_| boundless.enter(here)).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
