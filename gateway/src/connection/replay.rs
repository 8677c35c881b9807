//! Retained messages on their way to new subscriptions: a page at a time, as fast as the client
//! takes them, between the packets that it sends and other connections' turns.
//!
//! Many may ask for everything at once. Some of them at a time are sent a few messages each
//! ([`Place`]), then the next ones: whoever has anything else to do waits for those only.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::task::{Context, Poll, ready};

use indexmap::IndexMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::PollSemaphore;

use super::Connection;
use crate::broker::Broker;
use crate::message::Message;
use crate::proto::mqtt::Qos;
use crate::retained::Replay;
use crate::session::queued::Terms;
use crate::session::{Session, Subscribed, Topic};
use crate::shared::Reading;
use crate::store::{keys, record};
use crate::turn::Turn;

/// Bytes that may wait for the client before the next message.
const AHEAD: usize = 256 * 1024;
/// Messages that may be queued for it.
const QUEUED: usize = 1024;
/// Pages read, and messages sent, before others get their turn.
const PAGES: usize = 4;
const MESSAGES: usize = 32;

/// Connections that are sent retained messages at the same time, at the most.
const AT_ONCE: usize = 4;

/// How many places there are: one thread at least has none to serve.
pub(crate) fn n_places() -> usize {
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    n_threads.saturating_sub(1).clamp(1, AT_ONCE)
}

/// The place of a connection among those that are sent retained messages. It is given back between
/// two portions; who waits for one is woken in order.
#[derive(Debug)]
pub(super) struct Place(PollSemaphore);

/// The replays of a connection, one at most for a filter; the first is under way.
pub(super) type Replays = IndexMap<Box<str>, Replaying>;

/// A replay and the subscription it is for.
#[derive(Debug)]
pub(super) struct Replaying {
    source: Source,
    /// Messages that were read, and the state of the retained messages in which they were.
    page: VecDeque<Arc<Message>>,
    seen: Option<u64>,
    /// The one that went out last, as long as it is not noted.
    last: Option<Arc<Message>>,
    qos: Qos,
    no_local: bool,
    id: u32,
}

/// Where the messages are.
#[derive(Debug)]
enum Source {
    /// In the gateway's own store.
    Own(Replay),
    /// In Redis.
    Shared(Reading),
}

/// How far a replay got.
enum Progress {
    /// The client has to take something first.
    Waits,
    /// There is more to read.
    Goes,
    Done,
}

impl Replaying {
    /// Begins a replay, if there can be anything; one that an earlier connection has begun goes on.
    pub(super) fn begin(broker: &Broker, filter: &str, subscribed: &Subscribed) -> Option<Self> {
        let sys = broker.sys.matching(filter); // `$SYS` values, which are not in the store
        let from = subscribed.replayed_to.as_ref().map(|topic| &*topic.0);
        let source = match broker.store.redis() {
            Some(_) => Source::Shared(Reading::new(filter, from)),
            None if sys.is_empty() && broker.retained.is_empty() && !subscribed.is_owed => {
                return None;
            }
            None => Source::Own(broker.retained.replay(filter, from)),
        };
        Some(Self {
            source,
            page: sys.into(),
            seen: None,
            last: None,
            qos: subscribed.qos,
            no_local: subscribed.no_local,
            id: subscribed.id,
        })
    }

    /// Up to which topic all have gone out, if that is not noted.
    fn take_last(&mut self) -> Option<Topic> {
        let last = self.last.take()?;
        let topic = last.as_ref().as_ref().topic;
        let is_in_order = match &self.source {
            Source::Own(replay) => replay.is_in_order(topic),
            Source::Shared(_) => true,
        };
        is_in_order.then(|| Topic(topic.into()))
    }
}

/// The replays that an earlier connection of the session left unfinished: they go on behind what is
/// in the session's queue.
pub(super) fn owed(broker: &Broker, session: &Session) -> Replays {
    let subscriptions = session.subscriptions.lock();
    let owed = subscriptions.iter().filter(|(_, known)| known.is_owed);
    owed.filter_map(|(filter, known)| {
        let replaying = Replaying::begin(broker, filter, known)?;
        Some((filter.clone(), replaying))
    })
    .collect()
}

/// Whether something that the connection is owed has not gone out yet. If so, the connection is told
/// when it has: looked at under the lock under which it goes out, or that might be just before it is
/// noted who waits.
fn awaits_settled(session: &Session, n_tickets: u64) -> bool {
    let mut outbound = session.outbound.lock();
    if n_tickets == session.settled.load(Acquire) {
        return false;
    }
    if let Some(link) = &mut outbound.link {
        link.is_awaited = true;
    }
    true
}

impl Connection {
    /// Waits for a place; it is this connection's until the permit is dropped.
    fn poll_place(&mut self, context: &mut Context<'_>) -> Poll<OwnedSemaphorePermit> {
        let all = &self.broker.replaying;
        let begin = || Box::new(Place(PollSemaphore::new(all.clone())));
        let place = self.place.get_or_insert_with(begin);
        match ready!(place.0.poll_acquire(context)) {
            Some(permit) => Poll::Ready(permit),
            None => Poll::Pending, // they are never closed
        }
    }

    /// Whether retained messages of a filter are on their way, or an earlier connection has left some
    /// of them.
    pub(super) fn is_sending(&self, filter: &str, is_owed: bool) -> bool {
        let is_sent = || self.sent.iter().any(|sent| **sent == *filter);
        self.replays.contains_key(filter) || is_owed && !is_sent()
    }

    /// Notes that the client is owed no retained messages any more of what it has been sent.
    fn note_sent(&mut self, turn: &mut Turn<'_>) {
        if self.sent.is_empty() {
            return;
        }
        let mut subscriptions = self.session.subscriptions.lock();
        for filter in self.sent.drain(..) {
            if !self.replays.contains_key(&filter) // it has been asked for once more
                && let Some(known) = subscriptions.get_mut(&filter)
                && std::mem::take(&mut known.is_owed)
            {
                known.replayed_to = None;
                let key = keys::filter(self.session.number, &filter);
                turn.batch.put(&key, &record::store_subscribed(known));
            }
        }
    }

    /// Goes on with the replays as far as the client keeps up.
    pub(super) fn drive_replays(&mut self, context: &mut Context<'_>) {
        self.drop_refused();
        if self.replays.is_empty() && self.sent.is_empty() {
            self.place = None;
            return;
        }
        let Poll::Ready(permit) = self.poll_place(context) else {
            return;
        };
        let broker = self.broker.clone();
        let mut turn = Turn::new(&broker);
        match self.replay(&mut turn) {
            Progress::Goes => context.waker().wake_by_ref(), // after the others
            Progress::Waits | Progress::Done => self.place = None,
        }
        turn.finish(None);
        drop(permit);
    }

    /// Begins with the replays within the turn of their SUBSCRIBE.
    pub(super) fn begin_replays(&mut self, turn: &mut Turn<'_>) {
        if turn.broker.store.redis().is_some() {
            return; // when SUBACK has gone out
        }
        self.has_more_to_replay = matches!(self.replay(turn), Progress::Goes);
    }

    /// Notes how far the first replay is, in the batch of its messages if there is one: whoever goes on
    /// with it sends none of those twice.
    fn note_progress(&mut self, turn: &mut Turn<'_>) {
        if let Some((filter, replaying)) = self.replays.get_index_mut(0)
            && let Some(topic) = replaying.take_last()
            && let Some(known) = self.session.subscriptions.lock().get_mut(filter)
            && known.is_owed
        {
            known.replayed_to = Some(Box::new(topic));
            if !turn.batch.is_empty() {
                let key = keys::filter(self.session.number, filter);
                turn.batch.put(&key, &record::store_subscribed(known));
            }
        }
    }

    /// Goes on with the replays. Of those that come to their end it is noted in the batch of their last
    /// messages; of those without any in one batch for all, when the last one is through.
    fn replay(&mut self, turn: &mut Turn<'_>) -> Progress {
        let progress = self.send_pages(turn);
        self.note_progress(turn);
        if self.replays.is_empty() || !turn.batch.is_empty() {
            self.note_sent(turn);
        }
        progress
    }

    fn send_pages(&mut self, turn: &mut Turn<'_>) -> Progress {
        let mut n_sent = 0;
        for _ in 0..PAGES {
            let Some((_, replaying)) = self.replays.get_index_mut(0) else {
                break;
            };
            if replaying.page.is_empty() {
                match &mut replaying.source {
                    Source::Own(replay) => {
                        let retained = &turn.broker.retained;
                        replaying.seen = retained.settled();
                        replaying.page = retained.page(&turn.broker.store, replay).into();
                    }
                    // Not before every gateway knows of the subscription, and SUBACK says so.
                    Source::Shared(_) if awaits_settled(&self.session, self.n_tickets) => {
                        return Progress::Waits;
                    }
                    Source::Shared(reading) if !reading.is_done() => {
                        let Some(page) = reading.page(&self.broker, &self.session) else {
                            return Progress::Waits;
                        };
                        replaying.page = page.into();
                    }
                    Source::Shared(_) => {}
                }
            }
            while let Some(message) = replaying.page.front() {
                if n_sent == MESSAGES {
                    return Progress::Goes;
                }
                if replaying.no_local && message.as_ref().as_ref().publisher == self.session.number
                {
                    replaying.last = replaying.page.pop_front(); // [MQTT-3.8.3-3]
                    continue;
                }
                let size = message.as_ref().as_ref().size();
                let mut outbound = self.session.outbound.lock();
                let bounds = &turn.settings.bounds;
                let is_short = outbound.is_stored() && turn.broker.store.is_short();
                let has_room = replaying.qos.min(message.as_ref().as_ref().qos) == Qos::AtMostOnce
                    || (!is_short && outbound.has_room(size, bounds, QUEUED));
                let Some(link) = &mut outbound.link else {
                    return Progress::Waits;
                };
                if !link.outbox.is_empty() && link.outbox.len() + size > AHEAD.min(bounds.outbox) {
                    link.is_awaited = true;
                    return Progress::Waits;
                }
                if !has_room {
                    return Progress::Waits; // until an acknowledgement, or anything else, comes
                }
                drop(outbound);
                let ids = [replaying.id];
                let terms = Terms {
                    qos: replaying.qos,
                    retain: true, // [MQTT-3.3.1-8]
                    ids: &ids[..usize::from(replaying.id != 0)],
                    share: None,
                };
                turn.deliver_retained(&self.session, message, replaying.seen, &terms);
                replaying.last = replaying.page.pop_front();
                n_sent += 1;
            }
            let is_done = match &replaying.source {
                Source::Own(replay) => replay.is_done(),
                Source::Shared(reading) => reading.is_done(),
            };
            if is_done && let Some((filter, _)) = self.replays.swap_remove_index(0) {
                self.sent.push(filter);
            }
        }
        match self.replays.is_empty() {
            true => {
                self.session.unwatch_fresh();
                Progress::Done
            }
            false => Progress::Goes,
        }
    }

    /// Of a filter that SUBACK has refused nothing is sent.
    fn drop_refused(&mut self) {
        if self.replays.is_empty() {
            return;
        }
        let subscriptions = self.session.subscriptions.lock();
        self.replays
            .retain(|filter, _| subscriptions.contains_key(filter));
        drop(subscriptions);
        if self.replays.is_empty() {
            self.session.unwatch_fresh();
        }
    }

    /// A filter's replay is not wanted any more.
    pub(super) fn drop_replay(&mut self, filter: &str) {
        self.replays.swap_remove(filter);
        if self.replays.is_empty() {
            self.session.unwatch_fresh();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Release;
    use std::time::Duration;

    use super::*;
    use crate::session::Life;
    use crate::session::link::Link;
    use crate::session::outbound::Outbound;

    fn session() -> Session {
        let session = Session::new(7, "c", Outbound::new(false), Life::default());
        session.outbound.lock().attach(Link::any(1));
        session
    }

    fn is_awaited(session: &Session) -> bool {
        let outbound = session.outbound.lock();
        outbound.link.as_ref().is_some_and(|link| link.is_awaited)
    }

    #[test]
    fn who_waits_for_what_is_owed_is_told() {
        let session = session();
        assert!(!awaits_settled(&session, 0) && !is_awaited(&session));
        assert!(awaits_settled(&session, 1) && is_awaited(&session));
    }

    /// Nobody would tell it any more.
    #[test]
    fn nobody_waits_for_what_goes_out_just_then() {
        let session = session();
        let waits = std::thread::scope(|scope| {
            let outbound = session.outbound.lock();
            let asking = scope.spawn(|| awaits_settled(&session, 1));
            // It gets to the lock, most likely; if it does not, that is all the same.
            let (_sender, never) = std::sync::mpsc::channel::<()>();
            let _ = never.recv_timeout(Duration::from_millis(50));
            session.settled.store(1, Release);
            drop(outbound);
            asking.join().expect("it does not panic")
        });
        assert!(!waits && !is_awaited(&session));
    }
}
