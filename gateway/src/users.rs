//! What all connections of one user have in common, on this gateway.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::config::Rates;
use crate::metrics::Limit;
use crate::rate::Meter;

/// Users that are kept before those are looked for that have no connection any more.
const FEW: usize = 64;

/// The users that are connected, by their names.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<Meters>);

#[derive(Debug, Default)]
struct Meters {
    by_name: HashMap<Box<str>, Weak<Mutex<Meter>>, foldhash::fast::RandomState>,
    /// How many there were after those without a connection had been taken out.
    n_kept: usize,
}

impl Users {
    /// How fast a user publishes, over all connections that ask; `None` where that has no limit. A
    /// user who comes back after the last one has gone begins anew.
    pub(crate) fn meter(&self, name: &str, rates: Rates, now: u64) -> Option<Arc<Mutex<Meter>>> {
        let names = [Limit::UserPublishRate, Limit::UserPublishBytes];
        let new = Meter::new(rates, names, now)?;
        let mut meters = self.0.lock();
        if let Some(known) = meters.by_name.get(name).and_then(Weak::upgrade) {
            return Some(known);
        }
        if meters.by_name.len() >= 2 * meters.n_kept.max(FEW) {
            meters.by_name.retain(|_, meter| meter.strong_count() > 0);
            meters.n_kept = meters.by_name.len();
        }
        let meter = Arc::new(Mutex::new(new));
        meters.by_name.insert(name.into(), Arc::downgrade(&meter));
        Some(meter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Rates = Rates {
        messages: 1,
        bytes: 0,
    };

    #[test]
    fn connections_of_one_user_share_a_meter_and_others_do_not() {
        let users = Users::default();
        let [ann, again, bob] = ["ann", "ann", "bob"].map(|name| users.meter(name, SLOW, 0));
        assert_eq!(ann.expect("a limit").lock().take(1, 0).0, 0);
        assert!(again.expect("a limit").lock().take(1, 0).0 > 0);
        assert_eq!(bob.expect("a limit").lock().take(1, 0).0, 0);
        assert!(users.meter("ann", Rates::default(), 0).is_none());
    }

    #[test]
    fn users_that_have_gone_are_forgotten() {
        let users = Users::default();
        let stays = users.meter("stays", SLOW, 0);
        for number in 0..10_000 {
            users.meter(&number.to_string(), SLOW, 0);
        }
        assert!(users.0.lock().by_name.len() <= 2 * FEW);
        let again = users.meter("stays", SLOW, 0);
        let (stays, again) = (stays.expect("a limit"), again.expect("a limit"));
        assert!(Arc::ptr_eq(&stays, &again));
    }
}
