//! Which session has which client identifier; [`places`] counts those of each user.

pub(crate) mod places;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use crate::session::Session;
use places::{Full, Place, Places};

const SHARDS: usize = 64;

/// All sessions of a gateway, by client identifier.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Box<[Mutex<HashTable<Arc<Session>>>]>,
    hasher: RandomState,
    n_sessions: AtomicUsize,
    n_connected: AtomicUsize,
    most_connected: AtomicUsize,
    /// Sessions by user, where those have a limit.
    places: Option<Arc<Places>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect(),
            hasher: RandomState::default(),
            n_sessions: AtomicUsize::new(0),
            n_connected: AtomicUsize::new(0),
            most_connected: AtomicUsize::new(0),
            places: None,
        }
    }
}

/// The sessions whose identifiers share a lock with one that is being looked at.
pub(crate) struct Shard<'a> {
    registry: &'a Registry,
    sessions: MutexGuard<'a, HashTable<Arc<Session>>>,
    hash: u64,
}

impl Registry {
    /// One for so many sessions of each user; 0 is no limit.
    pub(crate) fn new(most_per_user: usize) -> Self {
        Self {
            places: Places::new(most_per_user),
            ..Self::default()
        }
    }

    /// A place for a new session of this principal, where it needs one.
    pub(crate) fn ask_for_place(&self, principal: &str) -> Result<Option<Place>, Full> {
        let places = self.places.as_ref();
        places.map_or(Ok(None), |places| places.ask(principal))
    }

    /// Counts a session, that is there, for the principal that it has now.
    pub(crate) fn count(&self, session: &Session, principal: &str) {
        let Some(places) = &self.places else {
            return;
        };
        let mut place = session.place.lock();
        if !place.as_ref().is_some_and(|place| place.is_of(principal)) {
            *place = None; // given back before another one is taken
            *place = places.count(principal);
        }
    }

    /// Locks the place of a client identifier: while it is held, nobody else claims, frees or
    /// ends that session.
    pub(crate) fn lock(&self, client_id: &str) -> Shard<'_> {
        let hash = self.hasher.hash_one(client_id);
        // The table uses the hash's top and bottom bits; the shard takes some in between.
        let sessions = self.shards[(hash >> 32) as usize % SHARDS].lock();
        Shard {
            registry: self,
            sessions,
            hash,
        }
    }

    /// Sessions, connected or not.
    pub(crate) fn n_sessions(&self) -> usize {
        self.n_sessions.load(Ordering::Relaxed)
    }

    /// Clients connected now.
    pub(crate) fn n_connected(&self) -> usize {
        self.n_connected.load(Ordering::Relaxed)
    }

    /// Most clients that were connected at once.
    pub(crate) fn most_connected(&self) -> usize {
        self.most_connected.load(Ordering::Relaxed)
    }

    /// Counts a client that is connected now.
    pub(crate) fn count_connected(&self) {
        let n_connected = self.n_connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_connected
            .fetch_max(n_connected, Ordering::Relaxed);
    }

    /// Counts a client that is gone.
    pub(crate) fn count_disconnected(&self) {
        self.n_connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Every session there is now.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::with_capacity(self.n_sessions());
        for shard in &self.shards {
            all.extend(shard.lock().iter().cloned());
        }
        all
    }
}

impl Shard<'_> {
    pub(crate) fn find(&self, client_id: &str) -> Option<&Arc<Session>> {
        self.sessions
            .find(self.hash, |session| *session.client_id == *client_id)
    }

    /// Puts a session in; its client identifier must be the one that was locked.
    pub(crate) fn insert(&mut self, session: Arc<Session>) {
        let principal = session.life.lock().principal.clone();
        self.registry.count(&session, &principal);
        let hasher = &self.registry.hasher;
        self.sessions.insert_unique(self.hash, session, |other| {
            hasher.hash_one(&*other.client_id)
        });
        self.registry.n_sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes this very session out, if it is there.
    pub(crate) fn remove(&mut self, session: &Arc<Session>) {
        if let Ok(entry) = self
            .sessions
            .find_entry(self.hash, |other| Arc::ptr_eq(other, session))
        {
            entry.remove();
            session.place.lock().take();
            self.registry.n_sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
