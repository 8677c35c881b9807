//! The way into the cluster: what a bridge brings from elsewhere goes to a gateway, which publishes
//! it as if a client had, and says when it is as safe as if that client had been acknowledged.
//!
//! ```text
//!  Lane::publish ─> budget ─> window ─> stream ══ a gateway
//!  done(Accepted) <───────────┘  answers, in order
//! ```
//!
//! A [`Lane`] is what has to stay in order: one rule. It sends to one gateway at a time; when that
//! is gone, or cannot take a message, all that is not answered goes to the next. `window` decides
//! (pure), with `patience`; `stream` is one connection; [`traced`] its span; `refusals` are the lines of the log.

mod patience;
pub(crate) mod refusals;
mod stream;
pub(crate) mod traced;
mod window;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatemq_node::credentials::Dialer;
use gatemq_node::trace::{Context, Span, Tracer};
use gatemq_proto::cluster::intake::Message;
use gatemq_proto::mqtt::{Qos, Reason};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::produce::budget::Budget;
use traced::Source;
use window::Window;

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// A valid topic name.
    pub topic: String,
    /// How it is to be published; a gateway that takes less takes it with less.
    pub qos: Qos,
    /// Whether it is to be kept for who subscribes later.
    pub is_retained: bool,
    /// Seconds until it expires.
    pub expiry: Option<u32>,
    /// The span that it comes from, if it is known.
    pub trace: Option<Context>,
    /// MQTT 5.0 properties that a server passes on, encoded.
    pub properties: Bytes,
    /// The application message.
    pub payload: Bytes,
}

/// What the cluster says of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is as safe as if a client had been told so.
    Accepted,
    /// It will never be taken, or was refused for too long.
    Refused(Reason),
}

/// Called with the answer, in the order of the messages; it must not block.
pub type Answered = Box<dyn FnOnce(Answer) + Send>;

/// Makes lanes.
#[derive(Clone, Debug)]
pub struct Outbound {
    cluster_id: Bytes,
    /// The incarnation under which this process first took part.
    source: u64,
    /// Where gateways are.
    gateways: watch::Receiver<Vec<String>>,
    dialer: Dialer,
    /// Ids of messages, of all lanes.
    ids: Arc<AtomicU64>,
    tracer: Tracer,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// Messages in order, on their way to a gateway. It ends with its last handle, and with the
/// process.
pub struct Lane {
    shared: Arc<Shared>,
    ids: Arc<AtomicU64>,
    tracer: Tracer,
    end: CancellationToken,
}

struct Shared {
    name: String,
    window: Mutex<Window<Answered>>,
    budget: Budget,
    /// There is something to send.
    work: Notify,
    /// Times that a message was refused for now, to be sent again.
    n_retried: Arc<AtomicU64>,
}

// === impl Outbound ===

impl Outbound {
    /// Into this cluster, as this member of it.
    #[must_use]
    pub fn new(
        cluster_id: Bytes,
        source: u64,
        gateways: watch::Receiver<Vec<String>>,
        dialer: Dialer,
        tasks: TaskTracker,
        end: CancellationToken,
    ) -> Self {
        Self {
            cluster_id,
            source,
            gateways,
            dialer,
            ids: Arc::new(AtomicU64::new(1)),
            tracer: Tracer::off(),
            tasks,
            end,
        }
    }

    /// The same, with spans for what is traced.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// A lane for the rule of this name. What is refused since somebody is full is tried again for
    /// so long.
    #[must_use]
    pub fn lane(&self, rule: &str, patience: Duration) -> Lane {
        let shared = Arc::new(Shared {
            name: rule.to_owned(),
            window: Mutex::new(Window::new(patience)),
            budget: Budget::default(),
            work: Notify::new(),
            n_retried: Arc::default(),
        });
        let end = self.end.child_token();
        let running = stream::run(self.clone(), shared.clone());
        self.tasks
            .spawn(end.clone().run_until_cancelled_owned(running));
        Lane {
            shared,
            ids: self.ids.clone(),
            tracer: self.tracer.clone(),
            end,
        }
    }
}

impl Outbound {
    /// Runs something that brings messages.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.tasks.spawn(task)
    }
}

// === impl Lane ===

impl Lane {
    /// Publishes a message behind those before it. Returns when there may be another: not to return
    /// is back-pressure.
    pub async fn publish(&self, arrival: Arrival, done: Answered) {
        self.room(&arrival).await;
        self.push(arrival, done);
    }

    /// Waits for room for a message, and takes it: [`Self::push`] has to follow. To give this up
    /// before it returns takes nothing.
    pub async fn room(&self, arrival: &Arrival) {
        let n_bytes = weight(&arrival.topic, &arrival.properties, &arrival.payload);
        self.shared.budget.enter(n_bytes).await;
    }

    /// Begins the span of a message from a topic elsewhere, if it is traced: its end is the answer. It
    /// may make the message larger, so it comes before [`Self::room`].
    pub(crate) fn begin_span(
        &self,
        arrival: &mut Arrival,
        source: Source,
        topic: &str,
    ) -> Option<Span> {
        traced::begin(&self.tracer, arrival, source, topic)
    }

    /// Publishes a message for which there is room.
    pub fn push(&self, arrival: Arrival, done: Answered) {
        self.push_of(NOWHERE, arrival, done);
    }

    /// Nothing of this origin is sent any more; who waits for what was not sent hears nothing.
    pub(crate) fn withdraw(&self, origin: u64) {
        let withdrawn = self.shared.window.lock().withdraw(origin);
        self.shared.leave(&withdrawn);
    }

    /// Publishes a message of this origin, which is not 0, for which there is room.
    pub(crate) fn push_of(&self, origin: u64, arrival: Arrival, done: Answered) {
        let id = match arrival.qos {
            Qos::AtMostOnce => 0,
            _ => self.ids.fetch_add(1, Ordering::Relaxed),
        };
        let message = Message {
            id,
            qos: arrival.qos as u32,
            retain: arrival.is_retained,
            message_expiry: arrival.expiry,
            topic: arrival.topic,
            properties: arrival.properties,
            payload: arrival.payload,
            trace: arrival
                .trace
                .map(|it| Bytes::copy_from_slice(&it.to_bytes()))
                .unwrap_or_default(),
            was_sent: false,
        };
        self.shared.window.lock().push(message, done, origin);
        self.shared.work.notify_one();
    }

    /// How often a message was refused for now, to be sent again.
    #[must_use]
    pub fn retried(&self) -> Arc<AtomicU64> {
        self.shared.n_retried.clone()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.window.lock().is_empty()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lane = out.debug_struct("Lane");
        lane.field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Gives back the room of messages that are withdrawn.
    fn leave(&self, withdrawn: &[Message]) {
        for message in withdrawn {
            let n_bytes = weight(&message.topic, &message.properties, &message.payload);
            self.budget.leave(n_bytes);
        }
    }
}

/// The origin of what is never withdrawn.
const NOWHERE: u64 = 0;

/// What a message takes of the budget, and of a batch: it gives back what it took.
fn weight(topic: &str, properties: &Bytes, payload: &Bytes) -> usize {
    topic.len() + properties.len() + payload.len()
}

#[cfg(test)]
mod tests;
