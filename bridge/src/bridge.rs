//! The bridge as one thing: takes messages, and says of each when it is safe.
//!
//! Before it the road between nodes; after it [`crate::rule`], then [`crate::spool`] or
//! [`crate::produce`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gatemq_node::trace::{Parent, Tracer};
use gatemq_proto::cluster::bridges;
use gatemq_storage::{Engine, Error as StorageError};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use tracing::field::display;

use crate::produce::{self, Done, Feed, Outcome, Producer, Settings};
use crate::record::Record;
use crate::rule::headers::{came_from, from_kafka};
use crate::rule::{Ack, Rule};
use crate::spool::{self, OnFull, Orphan, Spool};
use crate::{Event, Message, Origin};

/// What a bridge is to do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The ways to Kafka.
    pub ways: Vec<Way>,
    /// The rules, each with the number of its way.
    pub rules: Vec<(Rule, usize)>,
    /// How many bytes each rule may have in the spool.
    pub spool_bound: u64,
    /// What happens then.
    pub on_full: OnFull,
    /// Where traces of messages go on.
    pub tracer: Tracer,
}

/// A way to Kafka.
#[derive(Clone, Debug)]
pub struct Way {
    /// Its name in logs.
    pub name: String,
    /// How records get there.
    pub settings: Settings,
}

/// Why a bridge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool cannot be read.
    #[error("the spool: {0}")]
    Spool(#[from] StorageError),
    /// The settings of a way are wrong.
    #[error("kafka {name}: {error}")]
    Kafka {
        /// The way.
        name: String,
        /// What is wrong.
        error: KafkaError,
    },
    /// A rule names a way that is not there.
    #[error("rule {0} has no way to kafka")]
    NoWay(String),
}

/// A running bridge.
pub struct Bridge {
    lanes: Vec<Lane>,
    producers: Vec<(String, Producer)>,
    spool: Arc<Spool>,
    /// Queues of rules that are gone, which are sent to their end.
    left: Vec<(String, usize)>,
    /// Those that stay: their Kafka is gone, too.
    n_stranded: usize,
    /// Messages that make no record.
    n_unfit: AtomicU64,
    /// Messages that would go back where they came from.
    n_returning: AtomicU64,
    tracer: Tracer,
}

/// What a bridge has done, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Messages of which a rule could make no record, since the start.
    pub unfit: u64,
    /// Messages that a rule did not bring back to where they came from.
    pub returning: u64,
    /// The ways to Kafka, by name.
    pub ways: Vec<(String, produce::Figures)>,
    /// The queues in the spool, by the name of their rule.
    pub queues: Vec<(String, spool::Figures)>,
    /// Rules that are gone and have records in the spool.
    pub orphans: usize,
}

/// A rule, and where its records go.
struct Lane {
    rule: Rule,
    /// The name of its way.
    kafka: String,
    to: Destination,
}

#[derive(Clone, Copy)]
enum Destination {
    /// The flow of a producer.
    Kafka(usize, usize),
    /// A queue of the spool.
    Spool(usize),
}

/// Several records for one message: it is done when all are.
struct Join {
    n_left: AtomicUsize,
    worst: AtomicU8,
    done: Mutex<Option<Done>>,
}

// === impl Plan ===

impl Plan {
    fn kafka(&self, way: usize) -> String {
        self.ways
            .get(way)
            .map(|way| way.name.clone())
            .unwrap_or_default()
    }

    /// Adds what rules that are gone have left in the spool, for the Kafka that they had; returns how
    /// many have none any more.
    fn take_in_orphans(
        &self,
        engine: &dyn Engine,
        spooled: &mut Vec<(String, usize)>,
    ) -> Result<usize, StorageError> {
        let known: Vec<&str> = spooled.iter().map(|(name, _)| name.as_str()).collect();
        let mut n_stranded = 0;
        for Orphan { name, kafka } in spool::orphans(engine, &known)? {
            let is_it = |way: &Way| Some(&way.name) == kafka.as_ref();
            match self.ways.iter().position(is_it) {
                Some(way) => {
                    tracing::info!(
                        rule = name,
                        "what a rule that is gone has left is sent to kafka"
                    );
                    spooled.push((name, way));
                }
                None => {
                    let rule = name;
                    tracing::warn!(
                        rule,
                        kafka,
                        "a rule is gone, and its kafka: its records stay"
                    );
                    n_stranded += 1;
                }
            }
        }
        Ok(n_stranded)
    }
}

// === impl Bridge ===

impl Bridge {
    /// Starts it; Kafka need not be there. What the spool has of an earlier life is produced first.
    /// `on_failure` is called if the spool's disk fails: the process has to end then.
    ///
    /// # Errors
    ///
    /// If the spool cannot be read, or the plan is wrong.
    pub fn start(
        plan: Plan,
        engine: Arc<dyn Engine>,
        on_failure: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StartError> {
        let spooled = plan.rules.iter().filter(|(rule, _)| rule.ack == Ack::Spool);
        let spooled = spooled.map(|(rule, way)| (rule.name.clone(), *way));
        let mut spooled: Vec<(String, usize)> = spooled.collect();
        let n_spooled = spooled.len();
        let n_stranded = plan.take_in_orphans(&*engine, &mut spooled)?;
        let queues = spooled.iter().map(|(name, way)| spool::Options {
            name: name.clone(),
            kafka: plan.kafka(*way),
            bound: plan.spool_bound,
            on_full: plan.on_full,
        });
        let queues: Vec<_> = queues.collect();
        let spool = Arc::new(Spool::open(engine, &queues, on_failure)?);
        let mut feeds: Vec<Vec<Feed>> = plan.ways.iter().map(|_| Vec::new()).collect();
        let mut lanes = Vec::with_capacity(plan.rules.len());
        let mut n_queues = 0;
        for (rule, way) in plan.rules {
            let (Some(feeds), Some(named)) = (feeds.get_mut(way), plan.ways.get(way)) else {
                return Err(StartError::NoWay(rule.name));
            };
            let kafka = named.name.clone();
            let to = match rule.ack {
                Ack::Kafka => {
                    feeds.push(Feed::Direct);
                    Destination::Kafka(way, feeds.len() - 1)
                }
                Ack::Spool => {
                    let tracer = plan.tracer.clone();
                    feeds.push(Feed::Spool(Arc::clone(&spool), n_queues, tracer));
                    n_queues += 1;
                    Destination::Spool(n_queues - 1)
                }
            };
            lanes.push(Lane { rule, kafka, to });
        }
        let of_orphans = (n_spooled..).zip(spooled.drain(n_spooled..));
        let mut left = Vec::new();
        for (queue, (name, way)) in of_orphans {
            if let Some(feeds) = feeds.get_mut(way) {
                let tracer = plan.tracer.clone();
                feeds.push(Feed::Spool(Arc::clone(&spool), queue, tracer));
                left.push((name, queue));
            }
        }
        let ways = plan.ways.into_iter().zip(feeds);
        let start = |(Way { name, settings }, feeds)| match Producer::start(&name, settings, feeds)
        {
            Ok(producer) => Ok((name, producer)),
            Err(error) => Err(StartError::Kafka { name, error }),
        };
        Ok(Self {
            lanes,
            producers: ways.map(start).collect::<Result<_, _>>()?,
            spool,
            left,
            n_stranded,
            n_unfit: AtomicU64::new(0),
            n_returning: AtomicU64::new(0),
            tracer: plan.tracer,
        })
    }

    /// The filters that gateways have to know of, so that what matches comes here.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        let filters = self.lanes.iter().flat_map(|lane| &lane.rule.filters);
        let mut rules = self.lanes.iter().map(|lane| &lane.rule);
        let events = rules.any(Rule::wants_events).then_some(bridges::EVENTS);
        filters.map(String::as_str).chain(events)
    }

    /// Takes a message for all rules that match it. Returns when what comes after it may come: not to
    /// return is back-pressure. `done` is called later, from anywhere, when the message is as safe as
    /// each of these rules says; at once if none matches.
    ///
    /// Two calls at the same time are in no order; one after the other they are.
    pub async fn accept(&self, message: &Message<'_>, done: Done) {
        let mut records = Vec::new();
        let mut is_refused = false;
        let parent = message.trace.and_then(|span| self.tracer.follow(span));
        let message = &Message {
            trace: message.trace.filter(|_| self.tracer.injects()),
            ..*message
        };
        let matching = self.lanes.iter();
        for lane in matching.filter(|lane| lane.rule.matches(message.topic)) {
            match lane.rule.render(message) {
                Ok(record) if lane.is_source(message, &record) => {
                    self.n_returning.fetch_add(1, Ordering::Relaxed);
                }
                Ok(record) => records.push((lane.to, record)),
                Err(error) => {
                    self.n_unfit.fetch_add(1, Ordering::Relaxed);
                    let (rule, topic) = (&lane.rule.name, message.topic);
                    let trace_id = parent.as_ref().map(|it| display(it.context().trace()));
                    tracing::debug!(rule, topic, %error, trace_id, "a message makes no record");
                    is_refused = true;
                }
            }
        }
        self.hand_over(records, is_refused, parent, done).await;
    }

    /// Takes something that a client did, for all rules that want to know.
    pub async fn tell(&self, event: &Event<'_>, origin: Option<Origin>, done: Done) {
        let records = self.lanes.iter().filter_map(|lane| {
            let record = lane.rule.render_event(event, origin)?;
            Some((lane.to, record))
        });
        self.hand_over(records.collect(), false, None, done).await;
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let ways = self.producers.iter();
        let queues = self.lanes.iter().filter_map(|lane| match lane.to {
            Destination::Spool(queue) => Some((lane.rule.name.clone(), self.spool.figures(queue))),
            Destination::Kafka(..) => None,
        });
        let left = self.left.iter();
        let left = left.filter(|(_, queue)| !self.spool.is_drained(*queue));
        let of_left = |(name, queue): &(String, usize)| (name.clone(), self.spool.figures(*queue));
        let left: Vec<_> = left.map(of_left).collect();
        Figures {
            orphans: left.len() + self.n_stranded,
            unfit: self.n_unfit.load(Ordering::Relaxed),
            returning: self.n_returning.load(Ordering::Relaxed),
            ways: ways
                .map(|(name, producer)| (name.clone(), producer.figures()))
                .collect(),
            queues: queues.chain(left).collect(),
        }
    }

    /// Waits until nothing is on its way to Kafka, for at most this long; says whether that is so.
    /// Nothing may be brought meanwhile.
    pub async fn drain(&self, grace: Duration) -> bool {
        let drained = async {
            // Asked for once or twice in the life of a process: not worth a signal of its own.
            while !self.is_drained() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(grace, drained).await.is_ok()
    }

    /// Ends it (blocking). What is not safe by then is [`Outcome::Unknown`]; what is in the spool
    /// stays there.
    pub fn stop(mut self) {
        for (_, producer) in &mut self.producers {
            producer.stop();
        }
        self.spool.close();
    }

    fn is_drained(&self) -> bool {
        let is_sent = |(_, producer): &(String, Producer)| producer.is_drained();
        let is_empty = |lane: &Lane| match lane.to {
            Destination::Spool(queue) => self.spool.is_drained(queue),
            Destination::Kafka(..) => true,
        };
        let mut left = self.left.iter();
        self.producers.iter().all(is_sent)
            && self.lanes.iter().all(is_empty)
            && left.all(|(_, queue)| self.spool.is_drained(*queue))
    }

    async fn hand_over(
        &self,
        records: Vec<(Destination, Record)>,
        is_refused: bool,
        parent: Option<Parent>,
        done: Done,
    ) {
        let joined = match (records.len(), is_refused) {
            (0, false) => return done(Outcome::Accepted),
            (0, true) => return done(Outcome::Refused),
            (1, false) => None,
            (n_records, _) => Some(Arc::new(Join::new(n_records, is_refused))),
        };
        let mut done = Some(done);
        if let Some(join) = &joined {
            *join.done.lock() = done.take();
        }
        for (to, record) in records {
            let done: Done = match (&joined, done.take()) {
                (Some(join), _) => {
                    let join = Arc::clone(join);
                    Box::new(move |outcome| join.on_done(outcome))
                }
                (None, Some(done)) => done,
                (None, None) => return,
            };
            match to {
                Destination::Spool(queue) => self.spool.append(queue, record, done).await,
                Destination::Kafka(way, flow) => match self.producers.get(way) {
                    Some((_, producer)) => {
                        let done = traced(parent.as_ref(), &record, done);
                        producer.produce(flow, record, done).await;
                    }
                    None => done(Outcome::Unknown),
                },
            }
        }
    }
}

/// The same, with the span of a record that goes to Kafka now.
fn traced(parent: Option<&Parent>, record: &Record, done: Done) -> Done {
    match parent {
        None => done,
        Some(parent) => {
            let span = produce::span(parent, record);
            Box::new(move |outcome| {
                produce::end(span, outcome);
                done(outcome);
            })
        }
    }
}

// === impl Lane ===

impl Lane {
    /// Whether a message came from the topic that the record would go to: it is there.
    fn is_source(&self, message: &Message<'_>, record: &Record) -> bool {
        let mut places = came_from(message).peekable();
        if places.peek().is_none() {
            return false;
        }
        let there = from_kafka(&self.kafka, record.topic());
        places.any(|place| place == there)
    }
}

// === impl Join ===

impl Join {
    fn new(n_left: usize, is_refused: bool) -> Self {
        Self {
            n_left: AtomicUsize::new(n_left),
            worst: AtomicU8::new(u8::from(is_refused)),
            done: Mutex::new(None),
        }
    }

    fn on_done(&self, outcome: Outcome) {
        let rank = match outcome {
            Outcome::Accepted => 0,
            Outcome::Refused => 1,
            Outcome::Unknown => 2,
        };
        self.worst.fetch_max(rank, Ordering::AcqRel);
        if self.n_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let done = self.done.lock().take();
        if let Some(done) = done {
            done(match self.worst.load(Ordering::Acquire) {
                0 => Outcome::Accepted,
                1 => Outcome::Refused,
                _ => Outcome::Unknown,
            });
        }
    }
}

#[cfg(test)]
mod tests;
