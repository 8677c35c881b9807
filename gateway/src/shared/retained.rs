//! Retained messages that every gateway reads and writes.
//!
//! A publish is stored first and goes to its subscribers then; a subscription is known to every
//! gateway first and reads what is stored then. So a subscriber gets each message one way or the
//! other. What reaches it live while it reads is newer than what it would read: see [`fresh`].
//!
//! [`fresh`]: crate::session::fresh

use std::sync::Arc;
use std::time::Duration;

use gatemq_node::uptime;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::message::{Message, MessageRef};
use crate::proto::topic;
use crate::retained::{Range, behind, ranges};
use crate::session::received::Origin;
use crate::session::{Session, Signal};
use crate::store::redis::{CERTAIN, SHARDS, Whose, shard_of, shards_of};
use crate::store::{self, Name, keys};
use crate::turn::author::Author;
use crate::turn::{Published, Turn};

/// Messages read at once, and how many of them are restored before others go on.
const PAGE: usize = 128;
const RESTORED: usize = 16;
/// How often they are counted, in rounds of that.
const COUNT: u64 = 30;
/// Pause before a page is asked for again that did not come.
const PAUSE: Duration = Duration::from_millis(200);
/// The same of one that cannot be read until somebody has mended what is stored.
const LONG_PAUSE: Duration = Duration::from_secs(5);
/// How often expired messages are looked for, by all gateways together.
const SWEEP: Duration = Duration::from_secs(1);

/// The retained messages of a filter, read a page at a time.
#[derive(Debug)]
pub(crate) struct Reading {
    filter: Arc<str>,
    position: Option<Position>,
    /// Where the page begins that is on its way.
    begun: Option<Position>,
    loading: Option<oneshot::Receiver<(Position, Vec<Arc<Message>>)>>,
}

/// Where a reading goes on: a shard, and the topics there.
#[derive(Clone, Debug)]
struct Position {
    shards: std::ops::Range<u8>,
    ranges: Vec<Range>,
    /// What is left of the ranges in the shard at hand.
    left: Vec<Range>,
}

impl Reading {
    /// Nothing has been read yet, or only up to a topic.
    pub(crate) fn new(filter: &str, from: Option<&str>) -> Self {
        let (mut shards, ranges) = (shards_of(filter), ranges(filter));
        let mut left = ranges.clone();
        if let Some(topic) = from {
            shards.start = shards.start.max(shard_of(topic.as_bytes()));
            left = behind(left, topic);
        }
        Self {
            filter: filter.into(),
            position: Some(Position {
                shards,
                ranges,
                left,
            }),
            begun: None,
            loading: None,
        }
    }

    /// Whether all has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.loading.is_none() && self.position.as_ref().is_none_or(Position::is_done)
    }

    /// The page that has come, if one has; else it is asked for, and the task of the session's
    /// connection is woken when it is there. One is asked for again if so much was published to the
    /// session meanwhile that nobody knows what of it is older.
    pub(crate) fn page(
        &mut self,
        broker: &Arc<Broker>,
        session: &Arc<Session>,
    ) -> Option<Vec<Arc<Message>>> {
        if let Some(loading) = &mut self.loading {
            let (position, page) = loading.try_recv().ok()?;
            self.loading = None;
            let topics = page.iter().map(|message| (**message).as_ref().topic);
            if session.fresh.lock().handle_page(topics) {
                self.position = Some(position);
                return Some(page);
            }
            self.position = self.begun.take();
        }
        if let Some(position) = self.position.take() {
            session.fresh.lock().expect_page(); // before it is read
            self.begun = Some(position.clone());
            self.loading = Some(broker.load_retained(session, &self.filter, position));
        }
        None
    }
}

impl Position {
    fn is_done(&self) -> bool {
        self.shards.is_empty()
    }

    fn next_shard(&mut self) {
        self.shards.start += 1;
        self.left = self.ranges.clone();
    }
}

impl Broker {
    /// How long it is certain that a session is here that was here just now, in milliseconds that the
    /// machine has been up.
    fn certain_until(&self) -> u64 {
        let cluster = self.cluster.as_ref();
        let (up, now) = (uptime(), self.clock.now());
        let leased = cluster.map(|cluster| match cluster.lease.is_held(now) {
            true => Duration::from_millis(cluster.lease.ends_at().saturating_sub(now)),
            false => Duration::ZERO,
        });
        let until = up + leased.unwrap_or(CERTAIN).min(CERTAIN);
        u64::try_from(until.as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads on for a session's replay; the page comes to the receiver, and the connection's task
    /// is woken. An empty page is the end.
    fn load_retained(
        self: &Arc<Self>,
        session: &Arc<Session>,
        filter: &Arc<str>,
        mut position: Position,
    ) -> oneshot::Receiver<(Position, Vec<Arc<Message>>)> {
        let (mut sender, loading) = oneshot::channel();
        let (broker, session, filter) = (self.clone(), session.clone(), filter.clone());
        self.see_to("retained", async move {
            let page = tokio::select! {
                page = read(&broker, &filter, &mut position) => page,
                () = sender.closed() => return, // its connection is gone, or does not want it any more
            };
            let _ = sender.send((position, page));
            session.signal(Signal::Flush);
        });
        loading
    }
}

/// The next messages that match, at least one unless there is none.
async fn read(broker: &Broker, filter: &str, position: &mut Position) -> Vec<Arc<Message>> {
    let Some(redis) = broker.store.redis() else {
        return Vec::new();
    };
    while !position.is_done() {
        let shard = position.shards.start;
        let Some((start, end)) = position.left.last().cloned() else {
            position.next_shard();
            continue;
        };
        // The keys of the ranges begin with their kind.
        let (start, end) = (start.get(1..).unwrap_or_default(), end.get(1..));
        let end = end.filter(|end| !end.is_empty());
        let page = match redis.retained_page(shard, start, end, PAGE).await {
            Ok(page) => page,
            Err(error) if error.is_lasting() => {
                tracing::error!(filter, shard, %error, "retained messages cannot be read");
                tokio::time::sleep(LONG_PAUSE).await;
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "retained messages not read yet");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match (page.next, position.left.last_mut()) {
            (Some(topic), Some((start, _))) => *start = [&[keys::RETAINED], &topic[..]].concat(),
            _ => _ = position.left.pop(),
        }
        if position.left.is_empty() {
            position.next_shard(); // the last page is known as such
        }
        let mut messages = Vec::with_capacity(page.messages.len());
        for some in page.messages.chunks(RESTORED) {
            let matching = some.iter().filter(|(name, _)| topic::matches(filter, name));
            messages.extend(matching.filter_map(|(name, value)| restore(name, value)));
            tokio::task::yield_now().await;
        }
        if !messages.is_empty() {
            return messages;
        }
    }
    Vec::new()
}

fn restore(topic: &str, value: &[u8]) -> Option<Arc<Message>> {
    let restored = Message::restore(value);
    let restored =
        restored.inspect_err(|error| tracing::error!(topic, %error, "retained message left out"));
    restored.ok().map(Arc::new)
}

impl Turn<'_> {
    /// Puts a message into the batch as its topic's retained one, or clears that; if it has an
    /// `origin`, then once, however often it is tried, by whomever; if it is of a session, then only
    /// if this gateway has that.
    pub(super) fn keep(
        &mut self,
        message: &MessageRef<'_>,
        origin: Option<Origin>,
        session: Option<u64>,
    ) {
        if let Some(session) = session {
            let until = self.broker.certain_until();
            let whose = Whose { session, until };
            self.batch
                .put(&keys::whose(message.topic), &whose.to_bytes());
        }
        if let Some(origin) = origin {
            self.batch
                .put(&keys::once(message.topic), &origin.to_bytes());
        }
        let key = keys::retained(message.topic);
        if message.payload.is_empty() {
            self.batch.delete(&key); // [MQTT-3.3.1-6]
        } else {
            let mut value = Vec::new();
            message.store(&mut value);
            self.batch.put(&key, &value);
        }
        self.must_commit = true;
    }

    /// Stores a retained publish of QoS 0 or 1, or under its name a will of a session, or what a bridge
    /// brings; it goes to its subscribers when it is stored.
    pub(crate) fn publish_stored(
        &mut self,
        message: &MessageRef<'_>,
        author: Author<'_>,
        (name, session): (Option<Name>, Option<u64>),
    ) -> Published {
        let once = name.and_then(|name| name.kept_as(message.qos));
        self.keep(message, once, session);
        let leg = self.has_publisher.then(|| self.leg());
        self.published.push(store::Published {
            message: Arc::new(message.to_message()),
            client_id: author.client_id.into(),
            username: match &self.publisher {
                Some(_) => "".into(), // that of its session
                None => author.username(),
            },
            leg,
            publisher: self.publisher.clone(),
            is_held: true,
            is_unkept: false,
            exchange: None,
            name,
            is_refused: false,
        });
        if let Some(publisher) = &self.publisher {
            publisher.held.add(false);
        }
        Published {
            is_matched: true,
            refused: None,
        }
    }
}

/// Clears retained messages that have expired, a few at a time, until the gateway stops.
pub(crate) async fn sweep(broker: Arc<Broker>) {
    let mut shard = 0;
    let mut from = Vec::new();
    for second in 0u64.. {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = broker.tasks_end.cancelled() => return,
        }
        let Some(redis) = broker.store.redis() else {
            return;
        };
        if second % COUNT == 0 {
            let counted = tokio::select! {
                counted = redis.count_retained() => counted,
                () = broker.tasks_end.cancelled() => return,
            };
            if let Err(error) = counted {
                tracing::debug!(%error, "retained messages not counted");
            }
        }
        match redis.sweep_retained(shard, &from, broker.clock.now()).await {
            Ok(swept) => {
                if !swept.cleared.is_empty() {
                    tracing::debug!(n = swept.cleared.len(), "retained messages expired");
                }
                from = swept.next.unwrap_or_default();
                if from.is_empty() {
                    shard = (shard + 1) % SHARDS;
                }
            }
            Err(error) => {
                tracing::debug!(shard, %error, "retained messages not swept");
                if error.is_lasting() {
                    (shard, from) = ((shard + 1) % SHARDS, Vec::new());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Life;
    use crate::session::outbound::Outbound;

    #[tokio::test]
    async fn a_page_is_read_once_more_if_nobody_knows_what_of_it_is_old() {
        let broker = Broker::in_memory(); // every page is empty
        let session = Session::new(1, "c", Outbound::new(false), Life::default());
        let session = Arc::new(session);
        let come = async || {
            while !session.take_signal(Signal::Flush) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let mut reading = Reading::new("#", None);
        assert!(reading.page(&broker, &session).is_none());
        for n in 0..50_000 {
            session.fresh.lock().note(&n.to_string());
        }
        let limit = Duration::from_secs(20);
        let first = tokio::time::timeout(limit, come());
        first.await.expect("the first try");
        assert!(reading.page(&broker, &session).is_none(), "once more");
        session.fresh.lock().note("a");
        let second = tokio::time::timeout(limit, come());
        second.await.expect("the second one");
        assert!(reading.page(&broker, &session).is_some());
    }
}
