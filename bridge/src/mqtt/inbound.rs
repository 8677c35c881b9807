//! What another broker has for us: a session there that is kept, whose messages are acknowledged
//! when this cluster has taken them.
//!
//! What is not acknowledged comes again with the next connection, and is brought again, unless it is
//! of QoS 2. Bridges share what comes, as members of a group, unless they are told not to. One that
//! leaves the group says so: else what is for it would wait in its session, maybe for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatemq_node::trace::Span;
use gatemq_proto::cluster::bridges::CAME_FROM;
use gatemq_proto::mqtt::Qos;
use gatemq_proto::topic;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::exchanges::{Exchanges, Step, Ticket};
use super::held::Held;
use super::link::{Arrived, Event, Link, Receipt, Sender, open};
use super::{Identity, Mapping, Remote, from_mqtt};
use crate::consume::rule::put_property;
use crate::outbound::refusals::Refusals;
use crate::outbound::traced::{self, Source, named};
use crate::outbound::{Answer, Arrival, Lane, Outbound};

/// What comes from one broker.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broker.
    pub remote: Remote,
    /// Which topics, and what they are here, with the highest QoS.
    pub rules: Vec<(Mapping, Qos)>,
    /// The group of all bridges there; none if each has all.
    pub group: Option<String>,
    /// Whose messages are not taken in again.
    pub identity: Identity,
    /// How long a message is tried again that is refused since somebody is full.
    pub patience: Duration,
}

/// A running session.
pub struct Receiver {
    counters: Arc<Counters>,
    is_shared: bool,
    leave: CancellationToken,
    ended: JoinHandle<()>,
}

/// What has come.
#[derive(Debug, Default)]
pub struct Counters {
    /// The broker's name.
    pub name: String,
    /// Messages that this cluster has taken.
    pub accepted: AtomicU64,
    /// Messages that have no topic here, or that it will never take.
    pub refused: AtomicU64,
    /// Messages that had gone there from here.
    pub returning: AtomicU64,
    /// Times that one was refused for now, to be sent again.
    pub retried: Arc<AtomicU64>,
    lines: Refusals,
}

/// Messages that are safe, on the connection of now.
#[derive(Default)]
struct Safe {
    owed: Mutex<Owed>,
    news: Notify,
}

#[derive(Default)]
struct Owed {
    /// The number of the connection.
    connection: u64,
    receipts: Vec<Receipt>,
    exchanges: Exchanges,
}

/// A message that waits for room in the lane.
type Waiting = (Arrival, Option<Span>, Receipt);

/// Between two connections: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long one that leaves takes at most.
const LEAVE: Duration = Duration::from_secs(5);
/// Nothing more comes after a subscription's end if nothing comes for so long.
const QUIET: Duration = Duration::from_millis(300);
/// What happens on a connection and is not looked at yet.
const EVENTS: usize = 8;

// === impl Receiver ===

impl Receiver {
    /// Begins to connect.
    #[must_use]
    pub fn start(plan: Plan, outbound: &Outbound) -> Self {
        let lane = outbound.lane(&plan.remote.name, plan.patience);
        let counters = Arc::new(Counters {
            name: plan.remote.name.clone(),
            retried: lane.retried(),
            ..Counters::default()
        });
        let (is_shared, leave) = (plan.group.is_some(), CancellationToken::new());
        let running = run(plan, lane, counters.clone(), leave.clone());
        Self {
            counters,
            is_shared,
            leave,
            ended: outbound.spawn(running),
        }
    }

    /// Ends it. Where others of its group go on, it leaves that to them: takes its subscriptions back,
    /// and waits a while for what has come before.
    pub async fn stop(mut self, others_go_on: bool) {
        if self.is_shared && others_go_on {
            self.leave.cancel();
            if timeout(LEAVE, &mut self.ended).await.is_err() {
                let mqtt = &self.counters.name;
                tracing::warn!(mqtt, "it keeps its share of what comes from another broker");
            }
        }
    }

    /// What has come.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

async fn run(plan: Plan, lane: Lane, counters: Arc<Counters>, leave: CancellationToken) {
    let safe = Arc::new(Safe::default());
    let (mut pause, mut said) = (PAUSES.0, String::new());
    loop {
        let received = receive(&plan, &lane, &safe, &counters, &leave).await;
        let Some((why, was_connected)) = received else {
            return;
        };
        if was_connected {
            pause = PAUSES.0;
        }
        let mqtt = &plan.remote.name;
        if why != said {
            tracing::info!(mqtt, why, "nothing comes from another broker");
            said = why;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One connection; why it ended, and whether it was one. None if it has left its group.
async fn receive(
    plan: &Plan,
    lane: &Lane,
    safe: &Arc<Safe>,
    counters: &Arc<Counters>,
    leave: &CancellationToken,
) -> Option<(String, bool)> {
    let connection = safe.begin();
    let (sender, link) = open(&plan.remote, "from", true);
    // In a task of its own: a packet that is half written must not be given up for something else.
    let (events, mut next) = mpsc::channel(EVENTS);
    let end = CancellationToken::new();
    let _ends = end.clone().drop_guard();
    tokio::spawn(end.run_until_cancelled_owned(pump(link, events)));
    let mut held: Held<Waiting> = Held::default();
    let mut was_connected = false;
    let (mut is_leaving, mut n_left) = (false, plan.filters().len());
    let under_way = Arc::new(());
    loop {
        let is_settled = held.is_empty() && Arc::strong_count(&under_way) == 1;
        tokio::select! {
            // While there is no room the other broker is not read from: not even its signs of life, so
            // that the connection may end, and what is not acknowledged comes again.
            event = next.recv(), if held.has_room() => match event.unwrap_or_else(|| Err("it ended".to_owned())) {
                Err(why) => return Some((why, was_connected)),
                Ok(Event::Connected { is_resumed, .. }) => {
                    was_connected = true;
                    safe.owed.lock().exchanges.on_connected(is_resumed);
                    tracing::info!(mqtt = plan.remote.name, "messages come from another broker");
                    match is_leaving {
                        true => plan.unsubscribe(&sender),
                        false => _ = sender.subscribe(&plan.filters()),
                    }
                }
                Ok(Event::Dismissed(why)) => return Some((why, was_connected)),
                Ok(Event::NotSubscribed(why)) => {
                    // Whatever else has happened on it is not looked at any more.
                    safe.owed.lock().exchanges.on_connected(false);
                    return Some((format!("a subscription is refused: {why}"), false));
                }
                Ok(Event::Arrived(arrived)) if safe.is_new(connection, &arrived.receipt) => {
                    match plan.read(&arrived, counters) {
                        Some(mut arrival) => {
                            let topic = arrival.topic.clone();
                            let span = lane.begin_span(&mut arrival, Source::Mqtt, &topic);
                            let n_bytes = arrival.properties.len() + arrival.payload.len();
                            held.push((arrival, span, arrived.receipt), topic.len() + n_bytes);
                        }
                        None => safe.put(connection, None, arrived.receipt),
                    }
                }
                Ok(Event::Unsubscribed) => n_left = n_left.saturating_sub(1),
                Ok(Event::Released(id)) => safe.owed.lock().exchanges.on_released(id),
                Ok(_) => {}
            },
            () = room(lane, &held), if !held.is_empty() => {
                let Some((arrival, span, receipt)) = held.pop() else {
                    continue;
                };
                let (safe, counters) = (safe.clone(), counters.clone());
                let (topic, under_way) = (arrival.topic.clone(), under_way.clone());
                let ticket = safe.begin_exchange(connection, &receipt);
                lane.push(arrival, Box::new(move |answer| {
                    traced::end(span, answer);
                    match answer {
                        Answer::Accepted => {
                            counters.accepted.fetch_add(1, Relaxed);
                        }
                        Answer::Refused(reason) => counters.refuse(&topic, reason.name()),
                    }
                    safe.put(connection, ticket, receipt);
                    drop(under_way);
                }));
            }
            () = leave.cancelled(), if !is_leaving => {
                is_leaving = true;
                if was_connected {
                    plan.unsubscribe(&sender);
                }
            }
            () = sleep(QUIET), if is_leaving && n_left == 0 && is_settled => return None,
            () = safe.news.notified() => {}
        }
        safe.acknowledge(&sender);
    }
}

/// Keeps a connection going, up to its first error.
async fn pump(mut link: Link, events: mpsc::Sender<Result<Event, String>>) {
    loop {
        let event = link.next().await.map_err(|lost| lost.why);
        let is_over = event.is_err();
        if is_over {
            for id in link.released() {
                let _ = events.send(Ok(Event::Released(id))).await; // nobody listens any more
            }
        }
        if events.send(event).await.is_err() || is_over {
            return;
        }
    }
}

async fn room(lane: &Lane, held: &Held<Waiting>) {
    match held.front() {
        Some((arrival, ..)) => lane.room(arrival).await,
        None => std::future::pending().await,
    }
}

// === impl Plan ===

impl Plan {
    /// What is subscribed to.
    fn filters(&self) -> Vec<(String, u8)> {
        let mut all = Vec::new();
        for (mapping, qos) in &self.rules {
            for filter in mapping.remote_filters() {
                let path = match &self.group {
                    Some(group) => format!("$share/{group}/{filter}"),
                    None => filter.clone(),
                };
                all.push((path, *qos as u8));
            }
        }
        all
    }

    /// Takes back what is subscribed to.
    fn unsubscribe(&self, sender: &Sender) {
        for (filter, _) in self.filters() {
            sender.unsubscribe(&filter);
        }
    }

    /// The message for one of the other broker; `None` if it is not to be taken.
    fn read(&self, arrived: &Arrived, counters: &Counters) -> Option<Arrival> {
        let own = self.identity.get();
        let properties = &arrived.user_properties;
        if properties
            .iter()
            .any(|(name, place)| name == CAME_FROM && Some(place) == own)
        {
            counters.returning.fetch_add(1, Relaxed);
            return None;
        }
        let found = std::str::from_utf8(&arrived.topic).ok().and_then(|topic| {
            let is_for = |mapping: &Mapping| {
                let mut filters = mapping.remote_filters().iter();
                filters.any(|filter| topic::matches(filter, topic))
            };
            let (mapping, qos) = self.rules.iter().find(|(mapping, _)| is_for(mapping))?;
            let came_with = Qos::from_bits(arrived.qos).unwrap_or(*qos);
            Some((mapping.to_local(topic)?, came_with.min(*qos)))
        });
        let Some((topic, qos)) = found else {
            let topic = String::from_utf8_lossy(&arrived.topic);
            counters.refuse(&topic, "it has no topic here");
            return None;
        };
        let pairs = properties.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut block = Vec::new();
        arrived.described.write(&mut block);
        for (name, value) in properties {
            put_property(&mut block, name, value.as_bytes());
        }
        put_property(
            &mut block,
            CAME_FROM,
            from_mqtt(&self.remote.name).as_bytes(),
        );
        Some(Arrival {
            topic,
            qos,
            is_retained: arrived.is_retained,
            expiry: arrived.expiry,
            trace: named(pairs),
            properties: block.into(),
            payload: arrived.payload.clone(),
        })
    }
}

// === impl Counters ===

impl Counters {
    /// A message is left out.
    fn refuse(&self, topic: &str, why: &str) {
        self.refused.fetch_add(1, Relaxed);
        if let Some(n_more) = self.lines.room(Instant::now()) {
            let mqtt = &self.name;
            tracing::warn!(
                mqtt,
                topic,
                why,
                n_more,
                "a message of another broker is left out"
            );
        }
    }
}

// === impl Safe ===

impl Safe {
    /// A connection begins: what is said of an earlier one is not for it.
    fn begin(&self) -> u64 {
        let mut owed = self.owed.lock();
        owed.connection += 1;
        owed.receipts.clear();
        owed.connection
    }

    /// Whether a message is to be brought; one of QoS 2 that is known is not.
    fn is_new(&self, connection: u64, receipt: &Receipt) -> bool {
        let Some(id) = receipt.exchange() else {
            return true;
        };
        let mut owed = self.owed.lock();
        let step = owed.exchanges.on_publish(id, connection);
        if step == Step::Answer {
            owed.receipts.push(receipt.clone());
        }
        step == Step::Bring
    }

    /// A message is brought.
    fn begin_exchange(&self, connection: u64, receipt: &Receipt) -> Option<Ticket> {
        let id = receipt.exchange()?;
        Some(self.owed.lock().exchanges.begin(id, connection))
    }

    /// Nothing more is to become of a message.
    fn put(&self, connection: u64, ticket: Option<Ticket>, receipt: Receipt) {
        let mut owed = self.owed.lock();
        let now = owed.connection;
        let is_owed = match ticket {
            Some(ticket) => owed.exchanges.on_taken(ticket, now),
            None => connection == now,
        };
        if is_owed {
            owed.receipts.push(receipt);
            drop(owed);
            self.news.notify_one();
        }
    }

    /// Acknowledges what there is, in order; what has no room waits for the next time.
    fn acknowledge(&self, sender: &Sender) {
        let receipts = &mut self.owed.lock().receipts;
        let n_sent = receipts
            .iter()
            .take_while(|it| sender.acknowledge(it))
            .count();
        receipts.drain(..n_sent);
    }
}

#[cfg(test)]
mod tests;
