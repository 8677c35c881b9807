//! The bridge as one thing: takes messages, and says of each when it is safe.
//!
//! Before it the road between nodes; after it [`crate::rule`], then [`crate::spool`] or
//! [`crate::produce`].

mod orphans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gatemq_node::trace::{Parent, Tracer};
use gatemq_proto::cluster::bridges;
use gatemq_proto::topic;
use gatemq_storage::{Engine, Error as StorageError};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tracing::field::display;

use crate::mqtt::{Forward, Identity, Remote};
use crate::produce::{self, Done, Feed, Link, Outcome, Producer, Settings};
use crate::record::Record;
use crate::rule::headers::{came_from, from_kafka};
use crate::rule::{Ack, Rule};
use crate::spool::{self, OnFull, Spool};
use crate::{Event, Message, Origin};

/// What a bridge is to do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The ways to Kafka.
    pub ways: Vec<Way>,
    /// The rules, each with the number of its way.
    pub rules: Vec<(Rule, usize)>,
    /// Other brokers.
    pub remotes: Vec<Remote>,
    /// The rules to them, each with the number of its broker.
    pub forwards: Vec<(Forward, usize)>,
    /// Whose messages go there.
    pub identity: Identity,
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
    /// So many of them, the first, are of Kafka.
    n_kafkas: usize,
    /// Queues of rules that are gone, which are sent to their end.
    left: Vec<(String, usize)>,
    /// Those that stay: where they went is gone, too.
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
    course: Course,
    /// The name of its way.
    kafka: String,
    to: Destination,
}

/// A rule, to whichever kind of place.
enum Course {
    Kafka(Rule),
    Mqtt(Forward),
}

#[derive(Clone, Copy)]
enum Destination {
    /// The flow of a producer.
    Producer(usize, usize),
    /// A queue of the spool.
    Spool(usize),
}

/// Several records for one message: it is done when all are.
struct Join {
    n_left: AtomicUsize,
    worst: AtomicU8,
    done: Mutex<Option<Done>>,
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
        let n_ways = plan.ways.len();
        let forwards = plan.forwards.into_iter();
        let forwards = forwards.map(|(forward, way)| (Course::Mqtt(forward), n_ways + way));
        let rules = plan.rules.into_iter();
        let rules = rules.map(|(rule, way)| (Course::Kafka(rule), way));
        let courses: Vec<_> = rules.chain(forwards).collect();
        let ways = plan.ways.into_iter();
        let ways = ways.map(|way| (way.name, Link::Kafka(way.settings)));
        // Clients of other brokers run where this is started.
        let remotes = plan.remotes.into_iter();
        let remotes =
            remotes.map(|remote| (remote.name.clone(), Link::Mqtt(remote, Handle::current())));
        let ways: Vec<(String, Link)> = ways.chain(remotes).collect();

        let spooled = courses.iter().filter(|(course, _)| course.is_spooled());
        let spooled = spooled.map(|(course, way)| (course.name().to_owned(), *way));
        let mut spooled: Vec<(String, usize)> = spooled.collect();
        let n_spooled = spooled.len();
        let homes: Vec<String> = ways
            .iter()
            .map(|(name, link)| orphans::home(name, link))
            .collect();
        let n_stranded = orphans::take_in(&*engine, &homes, &mut spooled)?;
        let queues = spooled.iter().map(|(name, way)| spool::Options {
            name: name.clone(),
            home: homes.get(*way).cloned().unwrap_or_default(),
            bound: plan.spool_bound,
            on_full: plan.on_full,
        });
        let queues: Vec<_> = queues.collect();
        let spool = Arc::new(Spool::open(engine, &queues, on_failure)?);
        // Spans of records are of Kafka.
        let tracer_of = |way: usize| match way < n_ways {
            true => plan.tracer.clone(),
            false => Tracer::off(),
        };
        let mut feeds: Vec<Vec<Feed>> = ways.iter().map(|_| Vec::new()).collect();
        let mut lanes = Vec::with_capacity(courses.len());
        let mut n_queues = 0;
        for (course, way) in courses {
            let (Some(feeds), Some((name, _))) = (feeds.get_mut(way), ways.get(way)) else {
                return Err(StartError::NoWay(course.name().to_owned()));
            };
            let kafka = name.clone();
            let to = if course.is_spooled() {
                feeds.push(Feed::Spool(Arc::clone(&spool), n_queues, tracer_of(way)));
                n_queues += 1;
                Destination::Spool(n_queues - 1)
            } else {
                feeds.push(Feed::Direct);
                Destination::Producer(way, feeds.len() - 1)
            };
            lanes.push(Lane { course, kafka, to });
        }
        let of_orphans = (n_spooled..).zip(spooled.drain(n_spooled..));
        let mut left = Vec::new();
        for (queue, (name, way)) in of_orphans {
            if let Some(feeds) = feeds.get_mut(way) {
                feeds.push(Feed::Spool(Arc::clone(&spool), queue, tracer_of(way)));
                left.push((name, queue));
            }
        }
        let ways = ways.into_iter().zip(feeds);
        let start = |((name, link), feeds): ((String, Link), Vec<Feed>)| match Producer::start_on(
            &name, link, feeds,
        ) {
            Ok(producer) => Ok((name, producer)),
            Err(error) => Err(StartError::Kafka { name, error }),
        };
        Ok(Self {
            lanes,
            producers: ways.map(start).collect::<Result<_, _>>()?,
            spool,
            n_kafkas: n_ways,
            left,
            n_stranded,
            n_unfit: AtomicU64::new(0),
            n_returning: AtomicU64::new(0),
            tracer: plan.tracer,
        })
    }

    /// The filters that gateways have to know of, so that what matches comes here.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        let courses = || self.lanes.iter().map(|lane| &lane.course);
        let filters = courses().flat_map(Course::filters);
        let events = courses().any(Course::wants_events);
        let events = events.then_some(bridges::EVENTS);
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
        for lane in matching.filter(|lane| lane.course.matches(message.topic)) {
            match lane.course.render(message) {
                Ok(record) if lane.is_source(message, &record) => {
                    self.n_returning.fetch_add(1, Ordering::Relaxed);
                }
                Ok(record) => records.push((lane.to, record)),
                Err(error) => {
                    self.n_unfit.fetch_add(1, Ordering::Relaxed);
                    let (rule, topic) = (lane.course.name(), message.topic);
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
            let record = match &lane.course {
                Course::Kafka(rule) => rule.render_event(event, origin)?,
                Course::Mqtt(_) => return None,
            };
            Some((lane.to, record))
        });
        self.hand_over(records.collect(), false, None, done).await;
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let ways = self.producers.iter();
        let queues = self.lanes.iter().filter_map(|lane| match lane.to {
            Destination::Spool(queue) => {
                Some((lane.course.name().to_owned(), self.spool.figures(queue)))
            }
            Destination::Producer(..) => None,
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
            Destination::Producer(..) => true,
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
                Destination::Producer(way, flow) => match self.producers.get(way) {
                    Some((_, producer)) => {
                        let parent = parent.as_ref().filter(|_| way < self.n_kafkas);
                        let done = traced(parent, &record, done);
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
        if let Course::Mqtt(forward) = &self.course {
            return forward.is_source(message);
        }
        let mut places = came_from(message).peekable();
        if places.peek().is_none() {
            return false;
        }
        let there = from_kafka(&self.kafka, record.topic());
        places.any(|place| place == there)
    }
}

// === impl Course ===

impl Course {
    fn name(&self) -> &str {
        match self {
            Self::Kafka(rule) => &rule.name,
            Self::Mqtt(forward) => &forward.name,
        }
    }

    fn filters(&self) -> &[String] {
        match self {
            Self::Kafka(rule) => &rule.filters,
            Self::Mqtt(forward) => forward.mapping.local_filters(),
        }
    }

    fn wants_events(&self) -> bool {
        matches!(self, Self::Kafka(rule) if rule.wants_events())
    }

    fn is_spooled(&self) -> bool {
        match self {
            Self::Kafka(rule) => rule.ack == Ack::Spool,
            Self::Mqtt(forward) => forward.is_spooled,
        }
    }

    fn matches(&self, topic: &str) -> bool {
        let mut filters = self.filters().iter();
        filters.any(|filter| topic::matches(filter, topic))
    }

    fn render(&self, message: &Message<'_>) -> Result<Record, String> {
        match self {
            Self::Kafka(rule) => rule.render(message).map_err(|error| error.to_string()),
            Self::Mqtt(forward) => {
                let record = forward.render(message);
                record.ok_or_else(|| "it has no topic there".to_owned())
            }
        }
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
