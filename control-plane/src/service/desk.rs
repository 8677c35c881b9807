//! Where beats come in and marks go out, whoever leads.
//!
//! Each stream that has to do with leases is a [`Listener`]: the `Watch` streams of this node's
//! gateways, and, where this node leads, the `Attend` streams of other nodes. While this node leads
//! there is a book, and a beat is entered in it by the task that received it. While another leads,
//! beats wait here for the [`Uplink`] to it, the newest of each gateway only. Nothing awaits here.
//!
//! A watermark is true for ever, whoever told it (see `leases.rs`), so this node's never goes back
//! when the office moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatemq_proto::cluster::control::{AttendReply, Attendant};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::replica::{Replica, View};
use crate::feed::Feed;
use crate::leases::{Answer, Leases, Terms};

#[derive(Debug)]
pub(super) struct Desk<R> {
    replica: Arc<R>,
    feed: Arc<Feed>,
    max_streams: usize,
    /// Of the times that the book is given.
    origin: Instant,
    watermark: AtomicU64,
    inner: Mutex<Inner>,
    /// The book's next deadline is earlier than when it was last asked for.
    pub(super) deadline_moved: Notify,
}

/// A stream that is told of watermarks and of what was confirmed of the beats that it brought.
#[derive(Debug)]
pub(super) struct Listener {
    number: u64,
    is_relay: bool,
    /// There may be something new. A permit is kept, so that a stream that is busy misses nothing.
    pub(super) news: Notify,
    /// Ends the stream.
    pub(super) token: CancellationToken,
    /// Confirmed beats that the stream has not taken yet, the newest of each incarnation.
    confirmed: Mutex<BTreeMap<u64, u64>>,
}

/// The way of beats to another node that leads.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// While this node leads.
    book: Option<Leases>,
    /// When the office's task will look at the book by itself.
    deadline: Option<Duration>,
    listeners: BTreeMap<u64, Arc<Listener>>,
    n_listeners_ever: u64,
    /// Those that watch this node, by incarnation.
    gateways: BTreeMap<u64, Watching>,
    /// While another leads.
    uplink: Option<Arc<Uplink>>,
    /// Of which gateways the uplink has not taken the last beat.
    waiting: BTreeSet<u64>,
}

#[derive(Debug)]
struct Watching {
    listener: Arc<Listener>,
    last: Option<Attendant>,
}

// === impl Desk: streams ===

impl<R: Replica> Desk<R> {
    pub(super) fn new(replica: Arc<R>, feed: Arc<Feed>, max_streams: usize) -> Self {
        Self {
            replica,
            feed,
            max_streams,
            origin: Instant::now(),
            watermark: AtomicU64::new(0),
            inner: Mutex::default(),
            deadline_moved: Notify::new(),
        }
    }

    /// A gateway watches this node; if it did already, that stream ends. `None` if there are too
    /// many.
    pub(super) fn enter(
        &self,
        incarnation: u64,
        token: CancellationToken,
    ) -> Option<Arc<Listener>> {
        let mut inner = self.inner.lock();
        let listener = inner.listen(false, token, self.max_streams)?;
        let watching = Watching {
            listener: Arc::clone(&listener),
            last: None,
        };
        if let Some(earlier) = inner.gateways.insert(incarnation, watching) {
            earlier.listener.token.cancel();
        }
        Some(listener)
    }

    /// Another node passes beats on to this one. `None` if this one does not lead, or has too many
    /// streams.
    pub(super) fn enter_relay(&self, token: CancellationToken) -> Option<Arc<Listener>> {
        let mut inner = self.inner.lock();
        inner.book.as_ref()?;
        inner.listen(true, token, self.max_streams)
    }

    pub(super) fn leave(&self, listener: &Listener) {
        listener.token.cancel();
        let mut inner = self.inner.lock();
        inner.listeners.remove(&listener.number);
        inner
            .gateways
            .retain(|_, watching| watching.listener.number != listener.number);
    }

    pub(super) fn watermark(&self) -> u64 {
        self.watermark.load(Relaxed)
    }

    /// Whether a gateway counts for the watermark, if this node leads.
    pub(super) fn counts(&self, incarnation: u64) -> bool {
        let attendants = self.attendants();
        attendants.iter().any(|one| one.incarnation == incarnation)
    }

    /// Those who count, if this node leads.
    pub(super) fn attendants(&self) -> Vec<Attendant> {
        let inner = self.inner.lock();
        inner.book.iter().flat_map(Leases::attendants).collect()
    }
}

// === impl Desk: beats ===

impl<R: Replica> Desk<R> {
    /// A beat of a gateway that watches this node.
    pub(super) fn hear(&self, listener: &Listener, said: Attendant) {
        let quorum_age = self.replica.quorum_age();
        let mut inner = self.inner.lock();
        let Some(watching) = inner.gateways.get_mut(&said.incarnation) else {
            return;
        };
        if watching.listener.number != listener.number {
            return; // it watches by a newer stream
        }
        watching.last = Some(said);
        if inner.book.is_some() {
            return self.enter_in_book(&mut inner, quorum_age, listener, &[said]);
        }
        inner.waiting.insert(said.incarnation);
        if let Some(uplink) = &inner.uplink {
            uplink.news.notify_one();
        }
    }

    /// Beats that another node passes on.
    pub(super) fn hear_relayed(&self, listener: &Listener, said: &[Attendant]) {
        let quorum_age = self.replica.quorum_age();
        let mut inner = self.inner.lock();
        self.enter_in_book(&mut inner, quorum_age, listener, said);
    }

    /// `quorum_age` was read after the beats were received, and the clock after that.
    fn enter_in_book(
        &self,
        inner: &mut Inner,
        quorum_age: Option<Duration>,
        listener: &Listener,
        said: &[Attendant],
    ) {
        let Some(book) = &mut inner.book else { return };
        let now = self.origin.elapsed();
        book.advance(now, self.feed.revision());
        for &beat in said {
            let mut answer = book.beat(now, quorum_age, beat);
            if answer == Answer::Unknown && beat.incarnation > book.members_revision() {
                // It was registered a moment ago.
                let view = self.replica.view();
                book.set_members(now, view.revision(), &view.members());
                answer = book.beat(now, quorum_age, beat);
            }
            if answer == Answer::Confirmed {
                listener.confirm(beat.incarnation, beat.beat);
                listener.news.notify_one();
            }
        }
        self.publish(inner);
    }

    /// After whatever was done to the book: a watermark that moved goes to everybody.
    fn publish(&self, inner: &Inner) {
        let Some(book) = &inner.book else { return };
        if self.watermark.fetch_max(book.watermark(), Relaxed) < book.watermark() {
            inner.notify_all();
        }
        let is_earlier = |next| inner.deadline.is_none_or(|deadline| next < deadline);
        if book.next_deadline().is_some_and(is_earlier) {
            self.deadline_moved.notify_one();
        }
    }
}

// === impl Desk: this node leads ===

impl<R: Replica> Desk<R> {
    /// Opens the book, and enters at once what this node's gateways said last. Returns the revision
    /// of the members in it.
    pub(super) fn open_book(&self, terms: Terms, floor: u64) -> u64 {
        let quorum_age = self.replica.quorum_age();
        let view = self.replica.view();
        let mut inner = self.inner.lock();
        let now = self.origin.elapsed();
        let book = Leases::new(terms, now, floor, view.revision(), view.members());
        inner.book = Some(book);
        let said = inner.gateways.values();
        let said = said.filter_map(|one| Some((Arc::clone(&one.listener), one.last?)));
        for (listener, last) in said.collect::<Vec<_>>() {
            self.enter_in_book(&mut inner, quorum_age, &listener, &[last]);
        }
        self.publish(&inner);
        view.revision()
    }

    /// This node is out of office: other nodes have to look for another leader.
    pub(super) fn close_book(&self) {
        let mut inner = self.inner.lock();
        if inner.book.take().is_some() {
            for relay in inner
                .listeners
                .values()
                .filter(|listener| listener.is_relay)
            {
                relay.token.cancel();
            }
        }
    }

    /// Something was applied here; `has_members` if it may concern them.
    pub(super) fn advance_book(&self, has_members: bool) {
        let mut inner = self.inner.lock();
        let Some(book) = &mut inner.book else { return };
        let now = self.origin.elapsed();
        if has_members {
            let view = self.replica.view();
            book.set_members(now, view.revision(), &view.members());
        }
        book.advance(now, self.feed.revision());
        self.publish(&inner);
    }

    /// Lets leases run out, and returns in how long that has to be done again.
    pub(super) fn expire_book(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let now = self.origin.elapsed();
        let book = inner.book.as_mut()?;
        book.expire(now);
        inner.deadline = book.next_deadline();
        self.publish(&inner);
        inner.deadline.map(|deadline| deadline.saturating_sub(now))
    }

    pub(super) fn due_fences(&self) -> Vec<u64> {
        let quorum_age = self.replica.quorum_age();
        let inner = self.inner.lock();
        let now = self.origin.elapsed();
        inner
            .book
            .as_ref()
            .map_or_else(Vec::new, |book| book.due_fences(now, quorum_age))
    }
}

// === impl Desk: another node leads ===

impl<R: Replica> Desk<R> {
    /// There is a way to the leader, and all gateways' last beats are to go it; one before it is
    /// used no more.
    pub(super) fn open_uplink(&self) -> Arc<Uplink> {
        let uplink = Arc::new(Uplink::default());
        let mut inner = self.inner.lock();
        let spoken = inner
            .gateways
            .iter()
            .filter(|(_, watching)| watching.last.is_some());
        inner.waiting = spoken.map(|(incarnation, _)| *incarnation).collect();
        if let Some(earlier) = inner.uplink.replace(Arc::clone(&uplink)) {
            earlier.news.notify_one();
        }
        uplink
    }

    pub(super) fn close_uplink(&self) {
        if let Some(uplink) = self.inner.lock().uplink.take() {
            uplink.news.notify_one();
        }
    }

    /// Waits for beats that are to go to the leader, and takes all there are; `None` once another
    /// uplink has taken over. Cancel-safe.
    pub(super) async fn take_waiting(&self, uplink: &Arc<Uplink>) -> Option<Vec<Attendant>> {
        loop {
            let waiting = self.inner.lock().take_waiting(uplink)?;
            if !waiting.is_empty() {
                return Some(waiting);
            }
            uplink.news.notified().await;
        }
    }

    /// The leader's answer.
    pub(super) fn take_reply(&self, reply: &AttendReply) {
        let inner = self.inner.lock();
        for taken in &reply.attendants {
            if let Some(watching) = inner.gateways.get(&taken.incarnation) {
                watching.listener.confirm(taken.incarnation, taken.beat);
                watching.listener.news.notify_one();
            }
        }
        if self.watermark.fetch_max(reply.watermark, Relaxed) < reply.watermark {
            inner.notify_all();
        }
    }
}

// === impl Inner ===

impl Inner {
    fn listen(
        &mut self,
        is_relay: bool,
        token: CancellationToken,
        max_streams: usize,
    ) -> Option<Arc<Listener>> {
        if self.listeners.len() >= max_streams {
            return None;
        }
        self.n_listeners_ever += 1;
        let listener = Arc::new(Listener {
            number: self.n_listeners_ever,
            is_relay,
            news: Notify::new(),
            token,
            confirmed: Mutex::default(),
        });
        self.listeners
            .insert(listener.number, Arc::clone(&listener));
        Some(listener)
    }

    fn notify_all(&self) {
        for listener in self.listeners.values() {
            listener.news.notify_one();
        }
    }

    fn take_waiting(&mut self, uplink: &Arc<Uplink>) -> Option<Vec<Attendant>> {
        let current = self.uplink.as_ref()?;
        if !Arc::ptr_eq(current, uplink) {
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let last = |incarnation| self.gateways.get(&incarnation)?.last;
        Some(waiting.into_iter().filter_map(last).collect())
    }
}

// === impl Listener ===

impl Listener {
    fn confirm(&self, incarnation: u64, beat: u64) {
        let mut confirmed = self.confirmed.lock();
        let newest = confirmed.entry(incarnation).or_default();
        *newest = beat.max(*newest);
    }

    /// What was confirmed since the last time.
    pub(super) fn take_confirmed(&self) -> Vec<Attendant> {
        let confirmed = std::mem::take(&mut *self.confirmed.lock());
        let confirmed = confirmed.into_iter();
        confirmed
            .map(|(incarnation, beat)| Attendant {
                incarnation,
                beat,
                applied: 0,
            })
            .collect()
    }
}
