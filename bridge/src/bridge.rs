//! The bridge as one thing: takes messages, and says of each when it is safe.
//!
//! Before it the road between nodes; after it [`crate::rule`], then [`crate::spool`] or
//! [`crate::produce`].

mod join;
mod lane;
mod orphans;
mod works;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatemq_node::trace::{Parent, Tracer};
use gatemq_proto::cluster::bridges;
use gatemq_storage::Error as StorageError;
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::field::display;

pub use self::works::Disk;

use self::join::Join;
use self::lane::{Course, Destination, Lane};
use self::works::{Running, Store, Works};
use crate::librdkafka::describe;
use crate::mqtt::{Forward, Identity, Remote};
use crate::produce::{self, Done, Link, Order, Outcome, Settings};
use crate::record::Record;
use crate::rule::Rule;
use crate::spool::{self, OnFull};
use crate::{Event, Message, Origin};

/// What a bridge is to do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Every Kafka that is known, for what rules that are gone have left.
    pub kafkas: Vec<Way>,
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
    #[error("spool: {0}")]
    Spool(#[from] StorageError),
    /// The settings of a way are wrong.
    #[error("kafka {name}: {}", describe(.error))]
    Kafka {
        /// The way.
        name: String,
        /// What is wrong.
        error: KafkaError,
    },
    /// What the spool has under a rule's name is for another kind of place.
    #[error(
        "rule {rule}: the spool has records of a rule of this name for {home}: give it another name"
    )]
    OtherKind {
        /// Its name.
        rule: String,
        /// Where they are for.
        home: String,
    },
    /// A rule names a way that is not there.
    #[error("rule {0} has no way to kafka")]
    NoWay(String),
}

/// A running bridge.
pub struct Bridge {
    /// What messages go by.
    lanes: watch::Sender<Arc<Vec<Lane>>>,
    works: Mutex<Works>,
    /// Changes are made one after the other.
    turn: Mutex<()>,
    store: Store,
    /// Messages that make no record.
    n_unfit: AtomicU64,
    /// Messages that would go back where they came from.
    n_returning: AtomicU64,
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
        disk: impl Into<Disk>,
        on_failure: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StartError> {
        let bridge = Self {
            lanes: watch::Sender::default(),
            works: Mutex::default(),
            turn: Mutex::default(),
            store: Store {
                disk: disk.into(),
                bound: plan.spool_bound,
                on_full: plan.on_full,
                tracer: plan.tracer,
                on_failure: Mutex::new(Some(Box::new(on_failure))),
            },
            n_unfit: AtomicU64::new(0),
            n_returning: AtomicU64::new(0),
        };
        let mut works = Works::default();
        let mut wanted = wanted(&mut works, plan.ways, plan.rules)?;
        for (forward, remote) in plan.forwards {
            let remote = plan.remotes.get(remote);
            let remote = remote.ok_or_else(|| StartError::NoWay(forward.name.clone()))?;
            // Its client runs where this is started.
            let link = Link::Mqtt(remote.clone(), Handle::current());
            wanted.push((Course::Mqtt(forward), works.way(&remote.name, link)?));
        }
        works.take_in_orphans(&bridge.store, &plan.kafkas, &wanted)?;
        bridge.go_by(works, wanted)?;
        Ok(bridge)
    }

    /// Goes by other rules to Kafka from now on, each with the number of its way (blocking, but not for
    /// Kafka); what goes to other brokers stays. Messages come meanwhile.
    ///
    /// # Errors
    ///
    /// A way cannot be had, or the spool cannot be read: then nothing has changed.
    pub fn change(&self, ways: Vec<Way>, rules: Vec<(Rule, usize)>) -> Result<(), StartError> {
        let _turn = self.turn.lock();
        let mut works = self.works.lock().clone();
        let mut wanted = wanted(&mut works, ways, rules)?;
        for lane in self.lanes().iter() {
            if let Course::Mqtt(forward) = &lane.course {
                wanted.push((Course::Mqtt(forward.clone()), Arc::clone(&lane.way)));
            }
        }
        self.go_by(works, wanted)
    }

    /// The filters that gateways have to know of, so that what matches comes here.
    #[must_use]
    pub fn filters(&self) -> BTreeSet<String> {
        let lanes = self.lanes();
        let courses = || lanes.iter().map(|lane| &lane.course);
        let events = courses().any(Course::wants_events);
        let events = events.then(|| bridges::EVENTS.to_owned());
        courses()
            .flat_map(Course::filters)
            .cloned()
            .chain(events)
            .collect()
    }

    /// Takes a message for all rules that match it. Returns when what comes after it may come: not to
    /// return is back-pressure. `done` is called later, from anywhere, when the message is as safe as
    /// each of these rules says; at once if none matches.
    ///
    /// Two calls at the same time are in no order; one after the other they are.
    pub async fn accept(&self, message: &Message<'_>, done: Done) {
        let lanes = self.lanes();
        let mut records = Vec::new();
        let mut is_refused = false;
        let parent = message
            .trace
            .and_then(|span| self.store.tracer.follow(span));
        let message = &Message {
            trace: message.trace.filter(|_| self.store.tracer.injects()),
            ..*message
        };
        let matching = lanes.iter();
        for lane in matching.filter(|lane| lane.course.matches(message.topic)) {
            match lane.render(message) {
                Ok(record) if lane.is_source(message, &record) => {
                    self.n_returning.fetch_add(1, Ordering::Relaxed);
                }
                Ok(record) => records.push((lane, record)),
                Err(error) => {
                    self.n_unfit.fetch_add(1, Ordering::Relaxed);
                    let (rule, topic) = (lane.course.name(), message.topic);
                    let trace_id = parent.as_ref().map(|it| display(it.context().trace()));
                    tracing::debug!(rule, topic, %error, trace_id, "a message makes no record");
                    is_refused = true;
                }
            }
        }
        self.hand_over(&lanes, records, is_refused, parent, done)
            .await;
    }

    /// Takes something that a client did, for all rules that want to know.
    pub async fn tell(&self, event: &Event<'_>, origin: Option<Origin>, done: Done) {
        let lanes = self.lanes();
        let records = lanes.iter().filter_map(|lane| {
            let record = match &lane.course {
                Course::Kafka(rule) => rule.render_event(event, origin)?,
                Course::Mqtt(_) => return None,
            };
            Some((lane, record))
        });
        let records = records.collect();
        self.hand_over(&lanes, records, false, None, done).await;
    }

    /// Where its spans begin.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.store.tracer.clone()
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let figures = self.works.lock().figures(&self.lanes());
        Figures {
            unfit: self.n_unfit.load(Ordering::Relaxed),
            returning: self.n_returning.load(Ordering::Relaxed),
            ..figures
        }
    }

    /// Waits until nothing is on its way to Kafka, for at most this long; says whether that is so.
    /// Nothing may be brought meanwhile.
    pub async fn drain(&self, grace: Duration) -> bool {
        let drained = async {
            // Asked for once or twice in the life of a process: not worth a signal of its own.
            while !self.works.lock().is_drained() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(grace, drained).await.is_ok()
    }

    /// Ends it (blocking). What is not safe by then is [`Outcome::Unknown`]; what is in the spool
    /// stays there.
    pub fn stop(self) {
        let _turn = self.turn.lock();
        self.works.lock().stop();
    }

    fn lanes(&self) -> Arc<Vec<Lane>> {
        Arc::clone(&self.lanes.borrow())
    }

    /// Lets messages go by these rules, and then settles what follows from it.
    fn go_by(
        &self,
        mut works: Works,
        wanted: Vec<(Course, Arc<Running>)>,
    ) -> Result<(), StartError> {
        let before = self.lanes();
        let lanes = Arc::new(works.lanes(wanted, &before, &self.store)?);
        let mut open = works.close(&before, &lanes);
        for lane in lanes.iter() {
            for order in open.remove(lane.course.name()).unwrap_or_default() {
                if let Err(order) = lane.take_over(order) {
                    (order.done)(Outcome::Unknown);
                }
            }
        }
        // No rule wants these any more.
        for order in open.into_values().flatten() {
            (order.done)(Outcome::Accepted);
        }
        self.lanes.send_replace(Arc::clone(&lanes));
        works.settle(&lanes, &self.store);
        *self.works.lock() = works;
        Ok(())
    }

    async fn hand_over(
        &self,
        lanes: &Arc<Vec<Lane>>,
        records: Vec<(&Lane, Record)>,
        is_refused: bool,
        parent: Option<Parent>,
        done: Done,
    ) {
        let n_records = records.len();
        if n_records == 0 {
            return done(match is_refused {
                true => Outcome::Refused,
                false => Outcome::Accepted,
            });
        }
        let mut done = Some(done);
        let mut take_done = || done.take();
        let join = match (n_records, is_refused) {
            (1, false) => None,
            _ => take_done().map(|done| Join::new(n_records, is_refused, done)),
        };
        for (lane, record) in records {
            let done: Done = match (&join, take_done()) {
                (Some(join), _) => {
                    let join = Arc::clone(join);
                    Box::new(move |outcome| join.on_done(outcome))
                }
                (None, Some(done)) => done,
                (None, None) => return,
            };
            let done = match lane.to {
                Destination::Flow(..) => traced(parent.as_ref(), &record, done),
                Destination::Spool(..) => done,
            };
            if let Err(order) = lane.take(Order { record, done }).await {
                self.bring_again(lane.course.name(), lanes, order).await;
            }
        }
    }

    /// Brings a record to where its rule goes now: these lanes do not go there any more.
    async fn bring_again(&self, rule: &str, before: &Arc<Vec<Lane>>, mut order: Order) {
        let mut changes = self.lanes.subscribe();
        let mut before = Arc::clone(before);
        loop {
            let changed = changes.wait_for(|lanes| !Arc::ptr_eq(lanes, &before)).await;
            let Ok(lanes) = changed.map(|lanes| Arc::clone(&lanes)) else {
                return (order.done)(Outcome::Unknown);
            };
            let Some(lane) = lanes.iter().find(|lane| lane.course.name() == rule) else {
                return (order.done)(Outcome::Accepted); // nobody wants it any more
            };
            match lane.take(order).await {
                Ok(()) => return,
                Err(back) => order = back,
            }
            before = lanes;
        }
    }
}

/// The same, with the span of a record that leaves now.
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

/// Rules with ways of these works, which are started if they do not run.
fn wanted(
    works: &mut Works,
    ways: Vec<Way>,
    rules: Vec<(Rule, usize)>,
) -> Result<Vec<(Course, Arc<Running>)>, StartError> {
    let running = ways
        .into_iter()
        .map(|way| works.way(&way.name, Link::Kafka(way.settings)));
    let running: Vec<_> = running.collect::<Result<_, _>>()?;
    let course = |(rule, way): (Rule, usize)| match running.get(way) {
        Some(way) => Ok((Course::Kafka(rule), Arc::clone(way))),
        None => Err(StartError::NoWay(rule.name)),
    };
    rules.into_iter().map(course).collect()
}

#[cfg(test)]
mod tests;
