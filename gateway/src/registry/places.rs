//! How many sessions each user has on this gateway, where that has a limit.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// The counts.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<HashMap<Box<str>, usize, foldhash::fast::RandomState>>,
}

/// That of a session of a user, as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    principal: Box<str>,
}

/// The user has as many sessions as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Places {
    /// So many sessions of each user; none for 0, which is no limit.
    pub(crate) fn new(most: usize) -> Option<Arc<Self>> {
        let taken = Mutex::default();
        (most > 0).then(|| Arc::new(Self { most, taken }))
    }

    /// A place for another session of this principal, if there is one left. One that is no user's
    /// needs none.
    pub(crate) fn ask(self: &Arc<Self>, principal: &str) -> Result<Option<Place>, Full> {
        self.take(principal, self.most)
    }

    /// The place of a session that is there already, or has been given elsewhere.
    pub(crate) fn count(self: &Arc<Self>, principal: &str) -> Option<Place> {
        self.take(principal, usize::MAX).unwrap_or_default()
    }

    fn take(self: &Arc<Self>, principal: &str, most: usize) -> Result<Option<Place>, Full> {
        // See `auth::Rights::principal`: who is known by its client identifier has one session.
        if !principal.starts_with("user ") {
            return Ok(None);
        }
        let mut taken = self.taken.lock();
        let n_taken = taken.entry_ref(principal).or_default();
        if *n_taken >= most {
            return Err(Full);
        }
        *n_taken += 1;
        Ok(Some(Place {
            places: self.clone(),
            principal: principal.into(),
        }))
    }
}

impl Place {
    pub(crate) fn is_of(&self, principal: &str) -> bool {
        *self.principal == *principal
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(n_taken) = taken.get_mut(&self.principal) {
            *n_taken -= 1;
            if *n_taken == 0 {
                taken.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_gets_them_back() {
        let places = Places::new(2).expect("a limit");
        let mut anns = vec![places.ask("user ann"), places.ask("user ann")];
        assert_eq!(places.ask("user ann").err(), Some(Full));
        assert!(places.ask("user bob").is_ok_and(|place| place.is_some()));
        anns.pop();
        let again = places.ask("user ann").expect("it has a place again");
        assert!(again.expect("a user's").is_of("user ann"));
        drop(anns);
        assert!(places.taken.lock().is_empty());
    }

    #[test]
    fn sessions_that_are_there_count_whatever_the_limit() {
        let places = Places::new(1).expect("a limit");
        let there: Vec<_> = (0..3).map(|_| places.count("user ann")).collect();
        assert!(places.ask("user ann").is_err());
        drop(there);
        assert!(places.ask("user ann").is_ok());
    }

    #[test]
    fn who_is_no_user_needs_no_place() {
        let places = Places::new(1).expect("a limit");
        for principal in ["", "client c", "client user c"] {
            let all: Vec<_> = (0..3).map(|_| places.ask(principal)).collect();
            assert!(all.iter().all(|place| matches!(place, Ok(None))));
        }
        assert!(Places::new(0).is_none());
    }
}
