//! What a bridge works with: ways that run, queues of the spool, and how rules get new ones while
//! messages come.
//!
//! A rule that changes keeps its flow, so that nothing overtakes what is on its way, unless it goes
//! another way now. Then its flow is closed, and what is open goes the new way before anything else;
//! what is in the spool is taken there. Kafka may then have some twice, under one id. What a rule that
//! goes has in the spool is sent to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gatemq_node::trace::Tracer;
use gatemq_storage::{Engine, Error as StorageError};
use parking_lot::Mutex;

use super::lane::{Course, Destination, Lane};
use super::{Figures, StartError, Way, orphans};
use crate::produce::{self, Entry, Feed, Link, Order, Producer};
use crate::spool::{self, OnFull, Spool};

/// The disk of a spool.
pub enum Disk {
    /// It is open.
    Open(Arc<dyn Engine>),
    /// A folder, which is opened when the first rule needs it, or if it is there.
    At(PathBuf),
}

/// What is the same for all queues, and where they are.
pub(super) struct Store {
    pub(super) disk: Disk,
    pub(super) bound: u64,
    pub(super) on_full: OnFull,
    pub(super) tracer: Tracer,
    /// Called if the disk fails.
    pub(super) on_failure: Mutex<Option<OnFailure>>,
}

type OnFailure = Box<dyn FnOnce(StorageError) + Send>;

/// A way that runs.
pub(super) struct Running {
    pub(super) name: String,
    /// How large a record may be for its client to take it; `None` for any size.
    pub(super) bound: Option<usize>,
    link: Link,
    producer: Producer,
}

/// Everything that runs; a clone is of the same.
#[derive(Clone, Default)]
pub(super) struct Works {
    ways: Vec<Arc<Running>>,
    spool: Option<Arc<Spool>>,
    /// By rule, those of rules that are gone among them.
    queues: BTreeMap<String, Queue>,
    /// Queues that stay: where they went is gone, too.
    n_stranded: usize,
    /// What ways that run no more have done.
    ended: BTreeMap<String, produce::Figures>,
}

/// A queue, and the flow that takes from it.
#[derive(Clone)]
struct Queue {
    number: usize,
    way: Arc<Running>,
    flow: Entry,
}

// === impl Disk ===

impl From<Arc<dyn Engine>> for Disk {
    fn from(engine: Arc<dyn Engine>) -> Self {
        Self::Open(engine)
    }
}

impl Disk {
    fn is_there(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::At(folder) => folder.is_dir(),
        }
    }

    fn open(&self) -> Result<Arc<dyn Engine>, StorageError> {
        match self {
            Self::Open(engine) => Ok(Arc::clone(engine)),
            Self::At(folder) => spool::disk(folder),
        }
    }
}

// === impl Running ===

impl Running {
    pub(super) fn start(name: String, link: Link) -> Result<Arc<Self>, StartError> {
        match Producer::start_on(&name, link.clone()) {
            Ok(producer) => Ok(Arc::new(Self {
                name,
                bound: match &link {
                    Link::Kafka(settings) => Some(settings.most_bytes()),
                    Link::Mqtt(..) => None,
                },
                link,
                producer,
            })),
            Err(error) => Err(StartError::Kafka { name, error }),
        }
    }

    fn is(&self, name: &str, link: &Link) -> bool {
        self.name == name && self.link.is_like(link)
    }

    fn feed(&self, spool: &Arc<Spool>, queue: usize, tracer: &Tracer) -> Entry {
        let feed = Feed::Spool(Arc::clone(spool), queue, tracer.clone());
        self.producer.open(feed)
    }
}

// === impl Works ===

impl Works {
    /// The way to a place: one that runs, or a new one.
    pub(super) fn way(&mut self, name: &str, link: Link) -> Result<Arc<Running>, StartError> {
        if let Some(way) = self.ways.iter().find(|way| way.is(name, &link)) {
            return Ok(Arc::clone(way));
        }
        let way = Running::start(name.to_owned(), link)?;
        self.ways.push(Arc::clone(&way));
        Ok(way)
    }

    /// Takes in what rules that are gone have left, if there is a disk; it goes to the first way to
    /// its place that runs, or to a new one to one of these.
    pub(super) fn take_in_orphans(
        &mut self,
        store: &Store,
        kafkas: &[Way],
        wanted: &[(Course, Arc<Running>)],
    ) -> Result<(), StartError> {
        if !store.disk.is_there() {
            return Ok(());
        }
        let (engine, spool) = self.spool(store)?;
        let wanted = wanted.iter().filter(|(course, _)| course.is_spooled());
        let wanted: Vec<&str> = wanted.map(|(course, _)| course.name()).collect();
        for orphan in spool::orphans(&*engine, &wanted)? {
            let Some(way) = self.way_home(&orphan, kafkas)? else {
                let (rule, home) = (orphan.name, orphan.home);
                tracing::warn!(
                    rule,
                    home,
                    "a rule and its target are gone: its records stay"
                );
                self.n_stranded += 1;
                continue;
            };
            let rule = orphan.name;
            tracing::info!(rule, "a rule is gone: what it has left is sent");
            let number = spool.add(&store.options(&rule, &way))?;
            spool.shut(number, true);
            let flow = way.feed(&spool, number, &store.tracer);
            self.queues.insert(rule, Queue { number, way, flow });
        }
        Ok(())
    }

    /// Lanes for these rules, each to a way of these works: where a rule goes the way it went, by the
    /// flow that it has. Nothing that runs is touched, but for queues that are let in again.
    ///
    /// # Errors
    ///
    /// If the spool cannot be read.
    pub(super) fn lanes(
        &mut self,
        wanted: Vec<(Course, Arc<Running>)>,
        before: &[Lane],
        store: &Store,
    ) -> Result<Vec<Lane>, StartError> {
        let spooled = wanted.iter().filter(|(course, _)| course.is_spooled());
        let queues = self.queues_for(spooled, store)?;
        // Nothing fails from here on.
        let lanes = wanted.into_iter().map(|(course, way)| {
            let to = match (&self.spool, queues.get(course.name())) {
                (Some(spool), Some(&number)) => {
                    spool.shut(number, false);
                    Destination::Spool(Arc::clone(spool), number)
                }
                _ => self.flow(&course, &way, before),
            };
            Lane { course, way, to }
        });
        Ok(lanes.collect())
    }

    /// The numbers of the queues of these rules, by name: those that are there, and new ones.
    fn queues_for<'a>(
        &mut self,
        spooled: impl Iterator<Item = &'a (Course, Arc<Running>)>,
        store: &Store,
    ) -> Result<BTreeMap<String, usize>, StartError> {
        let mut numbers = BTreeMap::new();
        let mut added = Vec::new();
        for (course, way) in spooled {
            let (_, spool) = self.spool(store)?;
            let name = course.name();
            let number = match self.queues.get(name) {
                Some(queue) => queue.number,
                None => match add(&spool, &store.options(name, way)) {
                    Ok(number) => {
                        added.push(number);
                        number
                    }
                    Err(error) => {
                        added.into_iter().for_each(|number| spool.remove(number));
                        return Err(error);
                    }
                },
            };
            numbers.insert(name.to_owned(), number);
        }
        Ok(numbers)
    }

    /// The flow of a rule that does not go through the spool: the one that it has, if it goes the way
    /// that it went.
    fn flow(&self, course: &Course, way: &Arc<Running>, before: &[Lane]) -> Destination {
        let name = course.name();
        let mut before = before.iter().filter(|lane| lane.course.name() == name);
        let flow = before.find_map(|lane| match &lane.to {
            Destination::Flow(entry, queue) if Arc::ptr_eq(&lane.way, way) => {
                Some((entry.clone(), queue.clone()))
            }
            _ => None,
        });
        let (entry, queue) = flow.unwrap_or_else(|| {
            let queue = self.queues.get(name).zip(self.spool.clone());
            let queue = queue.map(|(queue, spool)| (spool, queue.number));
            (way.producer.open(Feed::Direct), queue)
        });
        entry.refuse_missing(course.refuses_missing());
        Destination::Flow(entry, queue)
    }

    /// Closes flows of lanes that go, or go another way now (blocking, but not for Kafka); gives what
    /// is open in them, by rule.
    pub(super) fn close(&self, before: &[Lane], lanes: &[Lane]) -> BTreeMap<String, Vec<Order>> {
        let mut open = BTreeMap::new();
        let is_kept = |old: &Lane| {
            let is_same = |lane: &Lane| {
                let goes_there = Arc::ptr_eq(&lane.way, &old.way) && lane.queue().is_none();
                goes_there && lane.course.name() == old.course.name()
            };
            lanes.iter().any(is_same)
        };
        for old in before.iter().filter(|old| !is_kept(old)) {
            if let Destination::Flow(entry, _) = &old.to {
                let orders = old.way.producer.close(entry);
                open.insert(old.course.name().to_owned(), orders);
            }
        }
        open
    }

    /// What follows when all messages go by the new lanes (blocking, but not for Kafka): queues get the
    /// ways that they are to have, and those that nobody needs end.
    pub(super) fn settle(&mut self, lanes: &[Lane], store: &Store) {
        let Some(spool) = self.spool.clone() else {
            return self.end_ways(lanes);
        };
        for lane in lanes {
            let (rule, way) = (lane.course.name(), &lane.way);
            let Some(number) = lane.queue() else {
                continue;
            };
            match self.queues.get(rule) {
                Some(queue) if Arc::ptr_eq(&queue.way, way) => continue,
                Some(queue) => {
                    queue.way.producer.close(&queue.flow);
                    spool.move_to(number, &orphans::home(&way.name, &way.link));
                }
                None => {}
            }
            let (flow, way) = (way.feed(&spool, number, &store.tracer), Arc::clone(way));
            self.queues
                .insert(rule.to_owned(), Queue { number, way, flow });
        }
        for lane in lanes {
            if let Some(queue) = self.queues.get(lane.course.name()) {
                queue.flow.refuse_missing(lane.course.refuses_missing());
            }
        }
        let spooled: BTreeSet<usize> = lanes.iter().filter_map(Lane::queue).collect();
        self.queues.retain(|_, queue| {
            if spooled.contains(&queue.number) {
                return true;
            }
            spool.shut(queue.number, true);
            if !spool.is_drained(queue.number) {
                return true;
            }
            queue.way.producer.close(&queue.flow);
            spool.remove(queue.number);
            false
        });
        self.end_ways(lanes);
    }

    /// Whether nothing is on its way, or waits in the spool.
    pub(super) fn is_drained(&self) -> bool {
        let is_drained = |queue: &Queue| match &self.spool {
            Some(spool) => spool.is_drained(queue.number),
            None => true,
        };
        let mut ways = self.ways.iter();
        ways.all(|way| way.producer.is_drained()) && self.queues.values().all(is_drained)
    }

    /// Ends everything (blocking).
    pub(super) fn stop(&self) {
        self.ways.iter().for_each(|way| way.producer.stop());
        if let Some(spool) = &self.spool {
            spool.close();
        }
    }

    /// What they have done; `lanes` are those of rules that are there.
    pub(super) fn figures(&self, lanes: &[Lane]) -> Figures {
        let mut ways = self.ended.clone();
        for way in &self.ways {
            *ways.entry(way.name.clone()).or_default() += way.producer.figures();
        }
        let spooled: BTreeSet<usize> = lanes.iter().filter_map(Lane::queue).collect();
        let mut figures = Figures {
            ways: ways.into_iter().collect(),
            orphans: self.n_stranded,
            ..Figures::default()
        };
        let Some(spool) = &self.spool else {
            return figures;
        };
        for (rule, queue) in &self.queues {
            let is_left = !spooled.contains(&queue.number);
            if is_left && spool.is_drained(queue.number) {
                continue;
            }
            figures.orphans += usize::from(is_left);
            let figures_of = spool.figures(queue.number);
            figures.queues.push((rule.clone(), figures_of));
        }
        figures
    }

    /// The spool, which is opened if it is not, and its engine.
    fn spool(&mut self, store: &Store) -> Result<(Arc<dyn Engine>, Arc<Spool>), StorageError> {
        if let Some(spool) = &self.spool {
            return Ok((spool.engine(), Arc::clone(spool)));
        }
        let engine = store.disk.open()?;
        let on_failure = store.on_failure.lock().take();
        let on_failure = move |error| {
            if let Some(on_failure) = on_failure {
                on_failure(error);
            }
        };
        let spool = Arc::new(Spool::open(Arc::clone(&engine), on_failure));
        self.spool = Some(Arc::clone(&spool));
        Ok((engine, spool))
    }

    fn way_home(
        &mut self,
        orphan: &spool::Orphan,
        kafkas: &[Way],
    ) -> Result<Option<Arc<Running>>, StartError> {
        let Some(home) = &orphan.home else {
            return Ok(None);
        };
        let is_it = |way: &&Arc<Running>| orphans::home(&way.name, &way.link) == *home;
        if let Some(way) = self.ways.iter().find(is_it) {
            return Ok(Some(Arc::clone(way)));
        }
        match kafkas.iter().find(|kafka| kafka.name == *home) {
            Some(kafka) => {
                let link = Link::Kafka(kafka.settings.clone());
                self.way(&kafka.name, link).map(Some)
            }
            None => Ok(None),
        }
    }

    fn end_ways(&mut self, lanes: &[Lane]) {
        let queues = &self.queues;
        let is_used = |way: &Arc<Running>| {
            let mut lanes = lanes.iter().map(|lane| &lane.way);
            let mut queues = queues.values().map(|queue| &queue.way);
            lanes.any(|used| Arc::ptr_eq(used, way)) || queues.any(|used| Arc::ptr_eq(used, way))
        };
        let (used, ended): (Vec<_>, Vec<_>) = self.ways.drain(..).partition(is_used);
        self.ways = used;
        for way in ended {
            way.producer.stop();
            let mut figures = way.producer.figures();
            figures.open = 0;
            *self.ended.entry(way.name.clone()).or_default() += figures;
        }
    }
}

// === impl Store ===

impl Store {
    fn options(&self, rule: &str, way: &Running) -> spool::Options {
        spool::Options {
            name: rule.to_owned(),
            home: orphans::home(&way.name, &way.link),
            bound: self.bound,
            on_full: self.on_full,
        }
    }
}

// === impl Lane ===

impl Lane {
    /// Its queue, if it has one.
    fn queue(&self) -> Option<usize> {
        match self.to {
            Destination::Flow(..) => None,
            Destination::Spool(_, queue) => Some(queue),
        }
    }
}

// === private ===

/// Adds a queue, unless it has records for another kind of place.
fn add(spool: &Spool, options: &spool::Options) -> Result<usize, StartError> {
    check_home(spool, options)?;
    Ok(spool.add(options)?)
}

/// Refuses to read what was for one kind of place as if it were for the other.
fn check_home(spool: &Spool, options: &spool::Options) -> Result<(), StartError> {
    let left = spool::orphans(&*spool.engine(), &[])?.into_iter();
    let mut left = left.filter(|left| left.name == options.name);
    let Some(home) = left.find_map(|left| left.home) else {
        return Ok(());
    };
    match orphans::is_of_mqtt(&home) == orphans::is_of_mqtt(&options.home) {
        true => Ok(()),
        false => Err(StartError::OtherKind {
            rule: options.name.clone(),
            home,
        }),
    }
}
