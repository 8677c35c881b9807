//! The thread of one rule from Kafka.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::consumer::CommitMode;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::runtime::Handle;

use super::client::Client;
use super::offsets::{Offsets, Ticket};
use super::rule::{Record, Rule};
use super::{SETTLE, Shared};
use crate::outbound::{Answer, Arrival, Lane};

/// What the thread has.
pub(super) struct Worker {
    rule: Rule,
    client: Client,
    lane: Lane,
    shared: Arc<Shared>,
    runtime: Handle,
    /// Records for which the lane has had no room, in order.
    held: VecDeque<Held>,
    is_paused: bool,
    commits_at: Instant,
    said: String,
    refusals: Arc<Refusals>,
}

/// A record that is not on its way yet.
struct Held {
    topic: String,
    partition: i32,
    offset: i64,
    /// None if it makes no message.
    arrival: Option<Arrival>,
}

/// Lines about records that are left out: no more than so many.
#[derive(Debug, Default)]
struct Refusals(parking_lot::Mutex<(Option<Instant>, u64)>);

// === impl Worker ===

impl Worker {
    /// To be made where there is a runtime.
    pub(super) fn new(rule: Rule, client: Client, lane: Lane, shared: Arc<Shared>) -> Self {
        Self {
            rule,
            client,
            lane,
            shared,
            runtime: Handle::current(),
            held: VecDeque::new(),
            is_paused: false,
            commits_at: Instant::now() + COMMIT,
            said: String::new(),
            refusals: Arc::default(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.must_stop.load(Relaxed) {
            self.hand_over();
            // Kafka is polled also while there is no room: it is how a member shows that it is alive.
            let wait = match self.held.is_empty() {
                true => POLL,
                false => Duration::ZERO,
            };
            self.pause(!self.held.is_empty());
            self.poll(wait);
            if Instant::now() >= self.commits_at {
                self.client.commit(&self.shared, CommitMode::Async);
                self.commits_at = Instant::now() + COMMIT;
            }
        }
        let deadline = Instant::now() + SETTLE;
        let mut offsets = self.shared.offsets.lock();
        while offsets.n_open_of_all() > 0 {
            let settled = &self.shared.settled;
            if settled.wait_until(&mut offsets, deadline).timed_out() {
                break; // it comes again
            }
        }
        drop(offsets);
        self.client.commit(&self.shared, CommitMode::Sync);
        *self.shared.offsets.lock() = Offsets::default();
    }

    /// Gives the lane what it has room for.
    fn hand_over(&mut self) {
        while let Some(held) = self.held.front() {
            if let Some(arrival) = &held.arrival {
                let room = self.lane.room(arrival);
                let has_room = async { tokio::time::timeout(POLL, room).await.is_ok() };
                if !self.runtime.block_on(has_room) {
                    return;
                }
            }
            let Some(held) = self.held.pop_front() else {
                return;
            };
            let mut offsets = self.shared.offsets.lock();
            let ticket = offsets.begin(&held.topic, held.partition, held.offset);
            match held.arrival {
                Some(arrival) => {
                    drop(offsets);
                    let (shared, refusals) = (self.shared.clone(), self.refusals.clone());
                    let topic = arrival.topic.clone();
                    let done = move |answer| settle(&shared, &refusals, ticket, &topic, answer);
                    self.lane.push(arrival, Box::new(done));
                }
                None => {
                    let record = offsets.position(ticket);
                    offsets.end(ticket);
                    drop(offsets);
                    self.shared.refused.fetch_add(1, Relaxed);
                    let why = "it has no valid topic of MQTT";
                    self.refusals.tell(&self.shared.name, why, &record);
                }
            }
        }
    }

    fn pause(&mut self, must_pause: bool) {
        match (must_pause, self.is_paused) {
            // Again and again: other partitions may have come.
            (true, _) => self.client.pause(),
            (false, true) => self.client.resume(),
            (false, false) => {}
        }
        self.is_paused = must_pause;
    }

    fn poll(&mut self, wait: Duration) {
        let polled = self.client.poll(wait);
        // What was given back meanwhile comes to whoever has it now.
        let revoked = std::mem::take(&mut *self.shared.revoked.lock());
        if !revoked.is_empty() {
            let is_ours = |held: &Held| {
                let mut revoked = revoked.iter();
                !revoked.any(|(topic, n)| *topic == held.topic && *n == held.partition)
            };
            self.held.retain(is_ours);
        }
        match polled {
            None => {}
            Some(Ok(message)) => {
                let held = read(&self.rule, &message);
                drop(message);
                self.held.push_back(held);
                self.said.clear();
            }
            Some(Err(error)) => {
                let why = error.to_string();
                if why != self.said {
                    let rule = &self.shared.name;
                    tracing::warn!(rule, why, "nothing comes from kafka");
                    self.said = why;
                }
            }
        }
    }
}

// === impl Refusals ===

impl Refusals {
    /// A record is left out.
    fn tell(&self, rule: &str, why: &str, record: &str) {
        let mut lines = self.0.lock();
        let (last, n_more) = &mut *lines;
        let now = Instant::now();
        if last.is_some_and(|last| now < last + LINES) {
            *n_more += 1;
            return;
        }
        let n_more = std::mem::take(n_more);
        *last = Some(now);
        tracing::warn!(rule, record, why, n_more, "a record of kafka is left out");
    }
}

// === private ===

/// How long the thread waits for one thing before it looks after the others.
const POLL: Duration = Duration::from_millis(100);
/// How often offsets are committed.
const COMMIT: Duration = Duration::from_millis(500);
/// A line about records that are left out comes no sooner after another.
const LINES: Duration = Duration::from_secs(5);

/// The message for a record.
fn read(rule: &Rule, message: &BorrowedMessage<'_>) -> Held {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let headers = headers.map(|header| (header.key, header.value.unwrap_or_default()));
    let record = Record {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        value: message.payload(),
        headers: headers.collect(),
    };
    Held {
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        arrival: rule.render(&record),
    }
}

/// The cluster has said what becomes of a message.
fn settle(shared: &Shared, refusals: &Refusals, ticket: Ticket, topic: &str, answer: Answer) {
    let mut offsets = shared.offsets.lock();
    match answer {
        Answer::Accepted => {
            shared.accepted.fetch_add(1, Relaxed);
        }
        Answer::Refused(reason) => {
            shared.refused.fetch_add(1, Relaxed);
            let why = format!("{reason} (as {topic})");
            refusals.tell(&shared.name, &why, &offsets.position(ticket));
        }
    }
    offsets.end(ticket);
    drop(offsets);
    shared.settled.notify_all();
}
