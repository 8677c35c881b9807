//! The thread of one rule from Kafka.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gatemq_node::trace::Span;
use rdkafka::consumer::CommitMode;
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use tokio::runtime::Handle;

use super::client::Client;
use super::dead_letter::DeadLetters;
use super::headers;
use super::offsets::{Offsets, Ticket};
use super::rule::{Record, Rule};
use super::{SETTLE, Shared};
use crate::outbound::refusals::Refusals;
use crate::outbound::traced::{self, Source};
use crate::outbound::{Answer, Arrival, Lane};
use crate::produce::Outcome;

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
    refused: Refused,
    /// Of headers that are left out.
    lines: Refusals,
    dead_letters: Option<Arc<DeadLetters>>,
}

/// A record that is not on its way yet.
struct Held {
    topic: String,
    partition: i32,
    offset: i64,
    /// None if it makes no message.
    arrival: Option<Arrival>,
    /// That of a message that is traced.
    span: Option<Span>,
    /// As it is in Kafka, where there are dead letters.
    message: Option<OwnedMessage>,
}

/// What becomes of records that are refused.
#[derive(Clone)]
struct Refused {
    shared: Arc<Shared>,
    lines: Arc<Refusals>,
    dead_letters: Option<Weak<DeadLetters>>,
}

// === impl Worker ===

impl Worker {
    /// To be made where there is a runtime.
    pub(super) fn new(
        rule: Rule,
        client: Client,
        lane: Lane,
        dead_letters: Option<Arc<DeadLetters>>,
        shared: Arc<Shared>,
    ) -> Self {
        let refused = Refused {
            shared: shared.clone(),
            lines: Arc::default(),
            dead_letters: dead_letters.as_ref().map(Arc::downgrade),
        };
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
            refused,
            lines: Refusals::default(),
            dead_letters,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.must_stop.load(Relaxed) {
            self.hand_over();
            // Kafka is polled also while there is no room: it is how a member shows that it is alive.
            let wait = match self.held.is_empty() || !self.has_room_for_refused() {
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
            if !self.has_room_for_refused() {
                return;
            }
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
                    let (refused, topic) = (self.refused.clone(), arrival.topic.clone());
                    let done = move |answer| {
                        traced::end(held.span, answer);
                        match answer {
                            Answer::Accepted => {
                                refused.shared.accepted.fetch_add(1, Relaxed);
                                refused.shared.settle(ticket);
                            }
                            Answer::Refused(reason) => {
                                let why = format!("{reason} (as {topic})");
                                refused.tell(ticket, held.message.as_ref(), &why);
                            }
                        }
                    };
                    self.lane.push_of(ticket.place(), arrival, Box::new(done));
                }
                None => {
                    drop(offsets);
                    let why = "it has no valid topic of MQTT";
                    self.refused.tell(ticket, held.message.as_ref(), why);
                }
            }
        }
    }

    /// Whether another may be refused.
    fn has_room_for_refused(&self) -> bool {
        let dead_letters = self.dead_letters.as_ref();
        dead_letters.is_none_or(|it| it.has_room())
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

    /// A record has headers that are left out.
    fn note_headers(&self, held: &Held, n_left_out: usize) {
        let n_headers = u64::try_from(n_left_out).unwrap_or(u64::MAX);
        self.shared.headers_left_out.fetch_add(n_headers, Relaxed);
        if let Some(n_more) = self.lines.room(Instant::now()) {
            let (rule, topic) = (&self.shared.name, &held.topic);
            let (partition, offset) = (held.partition, held.offset);
            tracing::warn!(
                rule,
                topic,
                partition,
                offset,
                n_headers,
                n_more,
                "headers of kafka are left out: their names are no text"
            );
        }
    }

    fn poll(&mut self, wait: Duration) {
        let polled = self.client.poll(wait);
        // What was given back meanwhile comes to whoever has it now.
        let revoked = std::mem::take(&mut *self.shared.revoked.lock());
        if !revoked.partitions.is_empty() {
            let is_ours = |held: &Held| {
                let mut revoked = revoked.partitions.iter();
                !revoked.any(|(topic, n)| *topic == held.topic && *n == held.partition)
            };
            self.held.retain(is_ours);
        }
        for place in revoked.places {
            self.lane.withdraw(place);
        }
        match polled {
            None => {}
            Some(Ok(message)) => {
                let (mut held, n_left_out) =
                    read(&self.rule, &message, self.dead_letters.is_some());
                if n_left_out > 0 {
                    self.note_headers(&held, n_left_out);
                }
                if let Some(arrival) = &mut held.arrival {
                    let source = Source::Kafka;
                    held.span = self.lane.begin_span(arrival, source, &held.topic);
                }
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

// === impl Refused ===

impl Refused {
    /// Nothing becomes of a record: it is a dead letter then, or left out.
    fn tell(&self, ticket: Ticket, message: Option<&OwnedMessage>, why: &str) {
        let shared = &self.shared;
        shared.refused.fetch_add(1, Relaxed);
        let Some((message, dead_letters)) = message.zip(self.dead_letters.as_ref()) else {
            self.log(ticket, why, "a record of kafka is left out");
            return shared.settle(ticket);
        };
        let Some(dead_letters) = dead_letters.upgrade() else {
            return; // it has ended: it comes again
        };
        self.log(ticket, why, "a record of kafka becomes a dead letter");
        let refused = self.clone();
        dead_letters.send(message, why, move |outcome| match outcome {
            Outcome::Accepted => {
                refused.shared.dead_letters.fetch_add(1, Relaxed);
                refused.shared.settle(ticket);
            }
            Outcome::Refused => {
                let why = "it is no dead letter that kafka would take";
                refused.log(ticket, why, "a record of kafka is left out");
                refused.shared.settle(ticket);
            }
            Outcome::Unknown => {} // it comes again
        });
    }

    fn log(&self, ticket: Ticket, why: &str, what: &str) {
        if let Some(n_more) = self.lines.room(Instant::now()) {
            let record = self.shared.offsets.lock().position(ticket);
            tracing::warn!(rule = self.shared.name, record, why, n_more, "{what}");
        }
    }
}

// === impl Shared ===

impl Shared {
    /// It is known what becomes of a record.
    fn settle(&self, ticket: Ticket) {
        self.offsets.lock().end(ticket);
        self.settled.notify_all();
    }
}

// === private ===

/// How long the thread waits for one thing before it looks after the others.
const POLL: Duration = Duration::from_millis(100);
/// How often offsets are committed.
const COMMIT: Duration = Duration::from_millis(500);

/// The message for a record, and how many of its headers are left out.
fn read(rule: &Rule, message: &BorrowedMessage<'_>, is_kept: bool) -> (Held, usize) {
    let headers = headers::read(message.headers());
    let record = Record {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        value: message.payload(),
        headers: headers.all,
    };
    let held = Held {
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        arrival: rule.render(&record),
        span: None,
        message: is_kept.then(|| message.detach()),
    };
    (held, headers.n_left_out)
}
