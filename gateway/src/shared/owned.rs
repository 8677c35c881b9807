//! The sessions that this gateway has, by number: what a commit refuses is named by that.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::session::Session;

/// Sessions by number.
#[derive(Debug, Default)]
pub(crate) struct Owned(Mutex<HashMap<u64, Arc<Session>, RandomState>>);

impl Owned {
    pub(crate) fn insert(&self, session: &Arc<Session>) {
        self.0.lock().insert(session.number, session.clone());
    }

    /// Takes this very session out; whether it was there. One that left and came back has the same
    /// number, and stays.
    pub(crate) fn remove(&self, session: &Arc<Session>) -> bool {
        let mut owned = self.0.lock();
        let is_it = |known: &Arc<Session>| Arc::ptr_eq(known, session);
        let is_there = owned.get(&session.number).is_some_and(is_it);
        if is_there {
            owned.remove(&session.number);
        }
        is_there
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Session>> {
        self.0.lock().get(&number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Life;
    use crate::session::outbound::Outbound;

    #[test]
    fn a_session_that_came_back_stays_when_the_one_before_goes() {
        let session = || Arc::new(Session::new(7, "c", Outbound::new(true), Life::default()));
        let (left, came_back) = (session(), session());
        let owned = Owned::default();
        owned.insert(&left);
        owned.insert(&came_back);
        assert!(!owned.remove(&left));
        assert!(owned.find(7).is_some_and(|it| Arc::ptr_eq(&it, &came_back)));
        assert!(owned.remove(&came_back) && owned.find(7).is_none());
    }
}
