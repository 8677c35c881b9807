//! The spool: records that are safe on this node's disk until Kafka has confirmed them.
//!
//! Each rule has a queue of its own, in order, bounded in bytes. A record is safe when its commit is
//! done; only then it may be produced, and it is removed after Kafka has confirmed it and all before
//! it. After a crash some that were confirmed may be there still: Kafka then gets them once more.
//!
//! [`ledger`] decides (pure); this is the shell around the engine.

mod keys;
pub mod ledger;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use gatemq_storage::{Batch, Committer, Engine, Error, Way};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::ledger::OnFull;
use self::ledger::{Admission, Ledger};
use crate::Record;
use crate::produce::{Done, Outcome};

/// The queues of a node.
pub struct Spool {
    engine: Arc<dyn Engine>,
    committer: Committer<Tag>,
    queues: Arc<Vec<Queue>>,
}

/// A queue that is to be there.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: that of its rule.
    pub name: String,
    /// Where its records go: the name of a Kafka, or `mqtt:` and that of another broker.
    pub home: String,
    /// How many bytes of records it may have.
    pub bound: u64,
    /// What happens then.
    pub on_full: OnFull,
}

/// A queue that has records and is not to be there: its rule is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name.
    pub name: String,
    /// Where its records were to go, if that is known.
    pub home: Option<String>,
}

/// Finds the queues that have records and other names than these.
///
/// # Errors
///
/// If the engine cannot read.
pub fn orphans(engine: &dyn Engine, names: &[&str]) -> Result<Vec<Orphan>, Error> {
    let mut orphans = Vec::new();
    let mut start = keys::ALL.0.to_vec();
    loop {
        let mut found = None;
        engine.scan(&start, keys::ALL.1, &mut |key, _| {
            found = keys::queue(key).map(str::to_owned);
            ControlFlow::Break(())
        })?;
        let Some(name) = found else {
            return Ok(orphans);
        };
        start = keys::end(&name);
        if !names.contains(&name.as_str()) {
            let home = home(engine, &name)?;
            orphans.push(Orphan { name, home });
        }
    }
}

fn home(engine: &dyn Engine, queue: &str) -> Result<Option<String>, Error> {
    let key = keys::home(queue);
    let end = [&key[..], &[0]].concat(); // the very next key
    let mut kafka = None;
    engine.scan(&key, &end, &mut |_, value| {
        kafka = String::from_utf8(value.to_vec()).ok();
        ControlFlow::Break(())
    })?;
    Ok(kafka)
}

/// Opens the disk of a spool, in a folder of its own.
///
/// # Errors
///
/// If it cannot be read, or another process has it.
pub fn disk(folder: &Path) -> Result<Arc<dyn Engine>, Error> {
    gatemq_storage::open(Way::Fjall, folder)
}

/// What a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What its records weigh, in bytes.
    pub bytes: u64,
    /// How many records were dropped because it was full, since the start.
    pub dropped: u64,
    /// How many records could not be read back, since the start.
    pub damaged: u64,
}

/// Records with their numbers.
pub type Taken = Vec<(u64, Record)>;

struct Queue {
    name: String,
    state: Mutex<State>,
    /// Told when there is more room.
    room: Notify,
    /// Told when there is more to take.
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct State {
    ledger: Ledger,
    /// The first of those that are on the disk and not taken, as far as they are in memory.
    tail: VecDeque<(u64, Record)>,
    tail_bytes: usize,
    dropped: u64,
    damaged: u64,
}

/// What a commit was for.
enum Tag {
    Append {
        queue: usize,
        number: u64,
        record: Record,
        done: Done,
    },
    /// What nobody waits for.
    Other,
}

// === impl Spool ===

impl Spool {
    /// Finds what is there. `on_failure` is called if the disk fails: nothing is known to be safe
    /// then, and the process has to end.
    ///
    /// # Errors
    ///
    /// If the engine cannot read.
    pub fn open(
        engine: Arc<dyn Engine>,
        queues: &[Options],
        on_failure: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Self, Error> {
        let mut homes = Batch::new();
        for options in queues {
            if home(&*engine, &options.name)?.as_deref() != Some(options.home.as_str()) {
                homes.put(&keys::home(&options.name), options.home.as_bytes());
            }
        }
        let queues: Vec<Queue> = queues
            .iter()
            .map(|options| Queue::restore(&*engine, options))
            .collect::<Result<_, _>>()?;
        let queues = Arc::new(queues);
        let told = Arc::clone(&queues);
        let on_commit = move |tags| on_commit(&told, tags);
        let committer = Committer::start(Arc::clone(&engine), on_commit, on_failure);
        if !homes.is_empty() {
            committer.submit(homes, Tag::Other); // before the first record
        }
        Ok(Self {
            committer,
            engine,
            queues,
        })
    }

    /// Appends a record, when there is room; what comes after it comes after it in Kafka, too. It is
    /// accepted when it is safe.
    pub async fn append(&self, queue: usize, record: Record, done: Done) {
        let Some(state) = self.queues.get(queue) else {
            return done(Outcome::Unknown);
        };
        let mut waiting = Some((record, done));
        loop {
            let mut room = pin!(state.room.notified());
            room.as_mut().enable();
            let Some((record, done)) = waiting.take() else {
                return;
            };
            waiting = self.try_append(queue, state, record, done);
            if waiting.is_none() {
                return;
            }
            room.await;
        }
    }

    /// What a queue has.
    #[must_use]
    pub fn figures(&self, queue: usize) -> Figures {
        let Some(queue) = self.queues.get(queue) else {
            return Figures {
                bytes: 0,
                dropped: 0,
                damaged: 0,
            };
        };
        let state = queue.state.lock();
        Figures {
            bytes: state.ledger.bytes(),
            dropped: state.dropped,
            damaged: state.damaged,
        }
    }

    /// Whether all that was ever put into a queue is confirmed or dropped.
    #[must_use]
    pub fn is_drained(&self, queue: usize) -> bool {
        let queue = self.queues.get(queue);
        queue.is_none_or(|queue| queue.state.lock().ledger.is_drained())
    }

    /// Waits (blocking) until what was appended is safe. For the end of the process.
    pub fn close(&self) {
        self.committer.close();
    }

    /// Who wants to know when there is more to take; once for each queue.
    pub(crate) fn listen(&self, queue: usize, listener: Box<dyn Fn() + Send + Sync>) {
        if let Some(queue) = self.queues.get(queue) {
            let _ = queue.listener.set(listener);
        }
    }

    /// Takes the next records of a queue, about as many bytes; one at a time may do so.
    ///
    /// # Errors
    ///
    /// If the engine cannot read.
    pub fn take(&self, queue: usize, most_bytes: usize) -> Result<Taken, Error> {
        let Some(queue) = self.queues.get(queue) else {
            return Ok(Taken::new());
        };
        loop {
            let range = {
                let mut state = queue.state.lock();
                let from_memory = state.take_tail(most_bytes);
                if !from_memory.is_empty() {
                    return Ok(from_memory);
                }
                state.ledger.to_take()
            };
            if range.is_empty() {
                return Ok(Taken::new());
            }
            let page = self.read(queue, range.start, range.end, most_bytes)?;
            let mut state = queue.state.lock();
            if state.ledger.to_take().start != range.start {
                continue; // some of them were dropped meanwhile
            }
            state.ledger.on_taken(page.through);
            state.damaged += page.damaged;
            if page.damaged > 0 {
                let (queue, records) = (&queue.name, page.damaged);
                tracing::error!(queue, records, "records of the spool are damaged");
            }
            if !page.records.is_empty() {
                return Ok(page.records);
            }
        }
    }

    /// All that were taken below this number are confirmed.
    pub fn confirm(&self, queue: usize, through: u64) {
        let Some(queue) = self.queues.get(queue) else {
            return;
        };
        let mut state = queue.state.lock();
        let (gone, is_freed) = state.ledger.on_confirmed(through);
        if let Some(gone) = gone {
            let mut batch = Batch::new();
            remove(&mut batch, &queue.name, &gone);
            self.committer.submit(batch, Tag::Other);
        }
        drop(state);
        if is_freed {
            queue.room.notify_waiters();
        }
    }

    /// Gives both back if there is no room.
    fn try_append(
        &self,
        number: usize,
        queue: &Queue,
        record: Record,
        done: Done,
    ) -> Option<(Record, Done)> {
        let mut state = queue.state.lock();
        let weight = record.len() as u64 + OVERHEAD;
        let Admission::Number(at, dropped) = state.ledger.admit(weight) else {
            return Some((record, done));
        };
        let mut batch = Batch::new();
        for numbers in dropped {
            state.dropped += numbers.end - numbers.start;
            state.tail.clear();
            state.tail_bytes = 0;
            remove(&mut batch, &queue.name, &numbers);
        }
        batch.put(&keys::record(&queue.name, at), record.as_bytes());
        let tag = Tag::Append {
            queue: number,
            number: at,
            record,
            done,
        };
        // Under the lock, so that records are written in the order of their numbers.
        self.committer.submit(batch, tag);
        None
    }

    fn read(&self, queue: &Queue, start: u64, end: u64, most_bytes: usize) -> Result<Page, Error> {
        let mut page = Page {
            records: Taken::new(),
            through: end,
            damaged: 0,
        };
        let mut n_bytes = 0;
        let (first, last) = (
            keys::record(&queue.name, start),
            keys::record(&queue.name, end),
        );
        self.engine.scan(&first, &last, &mut |key, value| {
            let record = Record::from_bytes(Bytes::copy_from_slice(value));
            match keys::number(key).zip(record) {
                Some(numbered) => page.records.push(numbered),
                None => page.damaged += 1,
            }
            n_bytes += value.len();
            if n_bytes < most_bytes {
                return ControlFlow::Continue(());
            }
            page.through = keys::number(key).map_or(end, |number| number + 1);
            ControlFlow::Break(())
        })?;
        Ok(page)
    }
}

/// What was read from the disk.
struct Page {
    records: Taken,
    through: u64,
    damaged: u64,
}

// === impl Queue ===

impl Queue {
    fn restore(engine: &dyn Engine, options: &Options) -> Result<Self, Error> {
        let mut ledger = Ledger::new(options.bound, options.on_full);
        let (start, end) = (keys::first(&options.name), keys::end(&options.name));
        engine.scan(&start, &end, &mut |key, value| {
            if let Some(number) = keys::number(key) {
                ledger.restore(number, value.len() as u64 + OVERHEAD);
            }
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            name: options.name.clone(),
            state: Mutex::new(State {
                ledger,
                tail: VecDeque::new(),
                tail_bytes: 0,
                dropped: 0,
                damaged: 0,
            }),
            room: Notify::new(),
            listener: OnceLock::new(),
        })
    }
}

// === impl State ===

impl State {
    /// A record is on the disk; it stays in memory if it is the next, or follows those that are.
    fn on_committed(&mut self, number: u64, record: Record) {
        self.ledger.on_committed(number);
        let next = match self.tail.back() {
            Some((last, _)) => last + 1,
            None => self.ledger.to_take().start,
        };
        if next == number && self.tail_bytes < TAIL_BYTES {
            self.tail_bytes += record.len();
            self.tail.push_back((number, record));
        }
    }

    fn take_tail(&mut self, most_bytes: usize) -> Taken {
        let mut taken = Taken::new();
        let mut n_bytes = 0;
        while n_bytes < most_bytes
            && let Some((number, record)) = self.tail.pop_front()
        {
            n_bytes += record.len();
            self.ledger.on_taken(number + 1);
            taken.push((number, record));
        }
        self.tail_bytes -= n_bytes;
        taken
    }
}

// === private ===

fn on_commit(queues: &[Queue], tags: Vec<Tag>) {
    let mut with_news: Vec<usize> = Vec::new();
    let mut all_done = Vec::with_capacity(tags.len());
    for tag in tags {
        let Tag::Append {
            queue: at,
            number,
            record,
            done,
        } = tag
        else {
            continue;
        };
        if let Some(queue) = queues.get(at) {
            queue.state.lock().on_committed(number, record);
            if !with_news.contains(&at) {
                with_news.push(at);
            }
        }
        all_done.push(done);
    }
    for queue in with_news.into_iter().filter_map(|at| queues.get(at)) {
        if let Some(listener) = queue.listener.get() {
            listener();
        }
        // What is on the disk may be dropped now.
        queue.room.notify_waiters();
    }
    for done in all_done {
        done(Outcome::Accepted);
    }
}

fn remove(batch: &mut Batch, queue: &str, numbers: &std::ops::Range<u64>) {
    batch.delete_range(
        &keys::record(queue, numbers.start),
        &keys::record(queue, numbers.end),
    );
}

/// What a record weighs beside its bytes: its key.
const OVERHEAD: u64 = 32;
/// How much of a queue is kept in memory, too, so that Kafka at its usual pace costs no read.
const TAIL_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
