//! The way to one Kafka, or one other broker of MQTT: a thread that hands records to a client,
//! keeps them until they are confirmed, and replaces the client when it is beyond help.
//!
//! ```text
//!  Producer::produce ─> mailbox ─> flow: window ─> client ══ Kafka
//!  Spool::take ───────────────────────┘   │
//!  done(Accepted), Spool::confirm <───────┘ reports, through the mailbox
//! ```
//!
//! A *flow* is what has to stay in order: one rule. It is fed directly, by who waits for Kafka's
//! word, or from the rule's queue in the spool. `window` decides (pure); this is the shell.

pub(crate) mod budget;
mod client;
mod flow;
mod link;
pub(crate) mod mailbox;
mod settings;
mod traced;
pub(crate) mod window;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use gatemq_node::trace::Tracer;
use rdkafka::error::KafkaError;

pub use self::settings::{Acks, Compression, Partitioner, Settings};
pub(crate) use self::traced::{end, span};
pub use self::window::Answer;

use self::budget::Budget;
pub(crate) use self::link::Link;

use self::link::Client;
use self::mailbox::Mailbox;
use self::worker::Worker;
use crate::Record;
use crate::spool::Spool;

/// What became of a message that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is safe, as its rule says.
    Accepted,
    /// It will never be taken.
    Refused,
    /// Nobody will say any more: it is to be sent again.
    Unknown,
}

/// Called once with what became of a message; on any thread, so it must not block.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Where the records of a flow come from.
pub enum Feed {
    /// From [`Producer::produce`].
    Direct,
    /// From a queue of the spool; traces go on from what their headers say.
    Spool(Arc<Spool>, usize, Tracer),
}

/// The way to one Kafka.
pub struct Producer {
    mailbox: Arc<Mailbox>,
    budgets: Vec<Arc<Budget>>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// What a producer has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records that Kafka has confirmed.
    pub confirmed: u64,
    /// Records that it will never take.
    pub refused: u64,
    /// Times that a record was handed to a client and came back; it is sent again.
    pub failed: u64,
    /// Clients that were replaced.
    pub replaced: u64,
    /// Records that are on their way now.
    pub open: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    confirmed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    replaced: AtomicU64,
    open: AtomicU64,
}

/// A record that somebody waits for.
pub(crate) struct Order {
    record: Record,
    done: Done,
}

// === impl Producer ===

impl Producer {
    /// Begins to look for Kafka; that it is not there is no error. The name is for logs.
    ///
    /// # Errors
    ///
    /// If the settings are wrong.
    pub fn start(name: &str, settings: Settings, feeds: Vec<Feed>) -> Result<Self, KafkaError> {
        Self::start_on(name, Link::Kafka(settings), feeds)
    }

    /// The same on any way.
    pub(crate) fn start_on(name: &str, link: Link, feeds: Vec<Feed>) -> Result<Self, KafkaError> {
        let mailbox = Arc::new(Mailbox::default());
        let counters = Arc::new(Counters::default());
        for feed in &feeds {
            if let Feed::Spool(spool, queue, _) = feed {
                let mailbox = Arc::clone(&mailbox);
                spool.listen(*queue, Box::new(move || mailbox.look()));
            }
        }
        let budgets: Vec<_> = feeds.iter().map(|_| Arc::new(Budget::default())).collect();
        // The first client is made here, so that wrong settings are told at once.
        let client = Client::start(&link, 0, Arc::clone(&mailbox))?;
        let feeds = feeds.into_iter().zip(&budgets);
        let worker = Worker::new(
            name.to_owned(),
            link,
            client,
            feeds.map(|(feed, budget)| (feed, Arc::clone(budget))),
            Arc::clone(&mailbox),
            Arc::clone(&counters),
        );
        let thread = thread::Builder::new()
            .name("kafka-produce".to_owned())
            .spawn(move || worker.run())
            .expect("a process that starts can start a thread");
        Ok(Self {
            mailbox,
            budgets,
            counters,
            thread: Some(thread),
        })
    }

    /// Hands a record to a flow, when the flow has room; what comes after it comes after it in
    /// Kafka, too. It is accepted when Kafka has confirmed it.
    pub async fn produce(&self, flow: usize, record: Record, done: Done) {
        let Some(budget) = self.budgets.get(flow) else {
            return done(Outcome::Unknown);
        };
        let n_bytes = record.len();
        budget.enter(n_bytes).await;
        if let Err(order) = self.mailbox.order(flow, Order { record, done }) {
            budget.leave(n_bytes);
            (order.done)(Outcome::Unknown);
        }
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let counters = &self.counters;
        Figures {
            confirmed: counters.confirmed.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            replaced: counters.replaced.load(Relaxed),
            open: counters.open.load(Relaxed),
        }
    }

    /// Whether nothing is on its way in flows that are fed directly.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.budgets.iter().all(|budget| budget.is_unused())
    }

    /// Ends it (blocking). What Kafka has not confirmed is unknown, or stays in the spool.
    pub fn stop(&mut self) {
        self.mailbox.stop();
        if let Some(thread) = self.thread.take() {
            // It panics for nothing that a caller could do something about.
            let _ = thread.join();
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
