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

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Session>> {
        self.0.lock().remove(&number)
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Session>> {
        self.0.lock().get(&number).cloned()
    }
}
