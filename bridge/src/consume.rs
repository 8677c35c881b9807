//! From Kafka to MQTT: a thread for each rule, which reads what its consumer group has for it, and
//! commits an offset when the cluster has taken the message, or never will.
//!
//! ```text
//!  Kafka ══ client ─> rule ─> Lane::push ─> a gateway
//!  commit <─ offsets <─────── answered
//! ```
//!
//! At least once: what is not committed comes again, from Kafka or, where a gateway is gone, by the lane. Each
//! partition stays in order. Before a partition is given back, what is on its way is settled, or left to
//! whoever has it next.
//!
//! In reading order: [`rule`] and [`template`] say which message a record becomes (pure), `offsets` what may be committed
//! (pure), `beginning` where a partition begins, `client` is Kafka's, `headers` what of
//! them can be read, `worker` the thread, [`dead_letter`] where what was refused goes.

mod beginning;
mod client;
pub mod dead_letter;
mod headers;
mod offsets;
pub mod rule;
pub mod template;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

pub use self::rule::{Property, Record, Rule};
pub use self::template::Template;

use self::client::Client;
use self::dead_letter::DeadLetters;
use self::offsets::Offsets;
use self::worker::Worker;
use crate::outbound::Outbound;
use crate::vital;

/// What a consumer is to do.
#[derive(Clone)]
pub struct Options {
    /// Which messages records become.
    pub rule: Rule,
    /// `HOST:PORT` of some brokers.
    pub brokers: Vec<String>,
    /// Topics in Kafka; what begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where a group begins that has committed nothing.
    pub start: Start,
    /// Further settings by librdkafka's names: TLS, SASL, time limits.
    pub further: Vec<(String, String)>,
    /// How long a message is tried again that is refused since somebody is full.
    pub patience: Duration,
    /// Where records go that are refused; none are left out.
    pub dead_letters: Option<dead_letter::Options>,
}

/// Where a group begins that has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With what is there.
    Earliest,
    /// With what comes.
    #[default]
    Latest,
}

/// A running consumer.
pub struct Consumer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a consumer has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records that the cluster has taken.
    pub accepted: u64,
    /// Records that have no valid topic, or that it will never take.
    pub refused: u64,
    /// Those of them that Kafka has as dead letters.
    pub dead_letters: u64,
    /// Headers that are left out, since their names are no text.
    pub headers_left_out: u64,
    /// Times that one was refused for now, to be sent again.
    pub retried: u64,
    /// Records on their way.
    pub open: u64,
    /// Records in Kafka behind what is committed, as far as known.
    pub lag: u64,
}

/// Looks at a consumer for as long as somebody wants to.
#[derive(Clone)]
pub struct Gauge(Arc<Shared>);

/// What the thread, its client and the answers share.
struct Shared {
    name: String,
    offsets: Mutex<Offsets>,
    /// Partitions that were given back, of which the thread has not heard.
    revoked: Mutex<Revoked>,
    /// A record was settled.
    settled: Condvar,
    must_stop: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    dead_letters: AtomicU64,
    headers_left_out: AtomicU64,
    retried: Arc<AtomicU64>,
    lag: AtomicU64,
}

/// Partitions that are another consumer's now.
#[derive(Default)]
struct Revoked {
    partitions: Vec<(String, i32)>,
    /// Theirs in `offsets`.
    places: Vec<u64>,
}

// === impl Options ===

impl Options {
    /// Looks at what a client would be set up with.
    ///
    /// # Errors
    ///
    /// Which of `settings` and `topics` is wrong, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        client::check(self)
    }
}

// === impl Consumer ===

impl Consumer {
    /// Begins to look for Kafka; that it is not there is no error. Runs on the runtime of the caller.
    ///
    /// # Errors
    ///
    /// If the options are wrong.
    pub fn start(options: Options, outbound: &Outbound) -> Result<Self, KafkaError> {
        let name = options.rule.name.clone();
        let dead_letters = options.dead_letters.clone();
        let dead_letters = dead_letters.map(|it| DeadLetters::start(&name, it));
        let dead_letters = dead_letters.transpose()?.map(Arc::new);
        let lane = outbound.lane(&name, options.patience);
        let shared = Arc::new(Shared {
            name,
            offsets: Mutex::default(),
            revoked: Mutex::default(),
            settled: Condvar::new(),
            must_stop: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            headers_left_out: AtomicU64::new(0),
            retried: lane.retried(),
            lag: AtomicU64::new(0),
        });
        let client = Client::start(&options, shared.clone())?;
        let worker = Worker::new(options.rule, client, lane, dead_letters, shared.clone());
        let thread = vital::spawn("kafka-consume", move || worker.run());
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Looks at it.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        Gauge(self.shared.clone())
    }

    /// Ends it (blocking): reads no further, waits a while for what is on its way, commits, and leaves
    /// the group.
    pub fn stop(&mut self) {
        self.shared.must_stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panics ends the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Gauge ===

impl Gauge {
    /// The rule's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            accepted: self.0.accepted.load(Relaxed),
            refused: self.0.refused.load(Relaxed),
            dead_letters: self.0.dead_letters.load(Relaxed),
            headers_left_out: self.0.headers_left_out.load(Relaxed),
            retried: self.0.retried.load(Relaxed),
            open: self.0.offsets.lock().n_open_of_all() as u64,
            lag: self.0.lag.load(Relaxed),
        }
    }
}

// === private ===

/// How long what is on its way is waited for, before a partition is given back and at the end.
const SETTLE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
