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
//! word, or from the rule's queue in the spool, and opened and closed while others go on. `window`,
//! `batching` and `timing` decide (pure); this is the shell.

mod batching;
pub(crate) mod budget;
mod client;
pub(crate) mod entry;
mod flow;
mod link;
pub(crate) mod mailbox;
mod settings;
mod timing;
mod traced;
pub(crate) mod window;
mod worker;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use gatemq_node::trace::Tracer;
use parking_lot::Mutex;
use rdkafka::error::KafkaError;

pub use self::settings::{Acks, Compression, Partitioner, Settings};
pub(crate) use self::traced::{end, span};
pub use self::window::Answer;

use self::budget::Budget;
pub(crate) use self::entry::Entry;
pub(crate) use self::link::Link;

use self::link::Client;
use self::mailbox::Mailbox;
use self::worker::Worker;
use crate::Record;
use crate::spool::Spool;
use crate::vital;

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
    /// From [`Entry::produce`].
    Direct,
    /// From a queue of the spool; traces go on from what their headers say.
    Spool(Arc<Spool>, usize, Tracer),
}

/// The way to one Kafka.
pub struct Producer {
    mailbox: Arc<Mailbox>,
    flows: Mutex<Flows>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
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

/// What may change of a flow.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Whether a record whose topic is not there is refused, rather than keeping others waiting.
    refuses_missing: AtomicBool,
}

/// The flows that are open.
#[derive(Default)]
struct Flows {
    /// The number to look for a free one from: none is used again at once, since reports of a flow that
    /// was closed may still be under way.
    next: usize,
    budgets: BTreeMap<usize, Arc<Budget>>,
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
pub struct Order {
    /// What goes to Kafka.
    pub record: Record,
    /// Who is told.
    pub done: Done,
}

// === impl Producer ===

impl Producer {
    /// Begins to look for Kafka; that it is not there is no error. The name is for logs.
    ///
    /// # Errors
    ///
    /// If the settings are wrong.
    pub fn start(name: &str, settings: Settings) -> Result<Self, KafkaError> {
        Self::start_on(name, Link::Kafka(settings))
    }

    /// The same on any way.
    pub(crate) fn start_on(name: &str, link: Link) -> Result<Self, KafkaError> {
        let mailbox = Arc::new(Mailbox::default());
        let counters = Arc::new(Counters::default());
        // The first client is made here, so that wrong settings are told at once.
        let client = Client::start(&link, 0, false, Arc::clone(&mailbox))?;
        let worker = Worker::new(
            name.to_owned(),
            link,
            client,
            Arc::clone(&mailbox),
            Arc::clone(&counters),
        );
        let thread = vital::spawn("kafka-produce", move || worker.run());
        Ok(Self {
            mailbox,
            flows: Mutex::default(),
            counters,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Begins a flow.
    pub fn open(&self, feed: Feed) -> Entry {
        let budget = Arc::new(Budget::default());
        let flow = self.flows.lock().add(Arc::clone(&budget));
        if let Feed::Spool(spool, queue, _) = &feed {
            let mailbox = Arc::clone(&self.mailbox);
            spool.listen(*queue, Box::new(move || mailbox.look()));
        }
        let terms = Arc::<Terms>::default();
        self.mailbox
            .open(flow, (feed, Arc::clone(&budget), Arc::clone(&terms)));
        Entry::new(flow, Arc::clone(&self.mailbox), budget, terms)
    }

    /// Ends a flow (blocking, but not for Kafka), and gives back what is not confirmed, in order; what
    /// is from the spool is taken anew by whoever has the queue next. Kafka may get it all the same.
    pub fn close(&self, entry: &Entry) -> Vec<Order> {
        let open = entry.close();
        self.flows.lock().budgets.remove(&entry.flow());
        open
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
        let flows = self.flows.lock();
        flows.budgets.values().all(|budget| budget.is_unused())
    }

    /// Ends it (blocking). What Kafka has not confirmed is unknown, or stays in the spool.
    pub fn stop(&self) {
        self.mailbox.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // One that panics ends the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Figures ===

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.failed += other.failed;
        self.replaced += other.replaced;
        self.open += other.open;
    }
}

// === impl Flows ===

impl Flows {
    fn add(&mut self, budget: Arc<Budget>) -> usize {
        let is_free = |flow: &usize| !self.budgets.contains_key(flow);
        let flow = (self.next..FLOWS).chain(0..self.next).find(is_free);
        let flow = flow.expect("a way has fewer rules");
        self.next = (flow + 1) % FLOWS;
        self.budgets.insert(flow, budget);
        flow
    }
}

/// More flows than one way has: what a number of one has room for.
const FLOWS: usize = 1 << 16;

#[cfg(test)]
mod tests;
