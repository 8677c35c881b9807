//! The spool: records that are safe on this node's disk until Kafka has confirmed them.
//!
//! Each rule has a queue of its own, in order, bounded in bytes; queues come and go with rules. A record is safe when its commit is
//! done; only then it may be produced, and it is removed after Kafka has confirmed it and all before
//! it. After a crash some that were confirmed may be there still: Kafka then gets them once more.
//!
//! [`ledger`] decides (pure); this is the shell around the engine.

mod keys;
pub mod ledger;
mod queue;

use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use gatemq_storage::{Batch, Committer, Engine, Error, Way};

use self::ledger::Admission;
pub use self::ledger::OnFull;
use self::queue::{Queue, Queues};
use crate::Record;
use crate::produce::{Done, Order, Outcome};

/// The queues of a node.
pub struct Spool {
    engine: Arc<dyn Engine>,
    committer: Committer<Tag>,
    queues: Arc<Queues>,
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
    /// One without queues. `on_failure` is called if the disk fails: nothing is known to be safe
    /// then, and the process has to end.
    pub fn open(engine: Arc<dyn Engine>, on_failure: impl FnOnce(Error) + Send + 'static) -> Self {
        let queues = Arc::<Queues>::default();
        let told = Arc::clone(&queues);
        let on_commit = move |tags| on_commit(&told, tags);
        let committer = Committer::start(Arc::clone(&engine), on_commit, on_failure);
        Self {
            committer,
            engine,
            queues,
        }
    }

    /// Adds a queue with what is there of it (blocking), and gives its number. There may be no other of
    /// its name.
    ///
    /// # Errors
    ///
    /// If the engine cannot read.
    pub fn add(&self, options: &Options) -> Result<usize, Error> {
        if home(&*self.engine, &options.name)?.as_deref() != Some(options.home.as_str()) {
            self.settle_in(&options.name, &options.home); // before the first record
        }
        let queue = Arc::new(Queue::restore(&*self.engine, options)?);
        let mut queues = self.queues.0.write();
        let number = queues.0;
        queues.0 += 1;
        queues.1.insert(number, queue);
        Ok(number)
    }

    /// Its disk.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Where the records of a queue go from now on: once nobody takes them to the old place.
    pub fn move_to(&self, queue: usize, home: &str) {
        if let Some(queue) = self.queues.get(queue) {
            self.settle_in(&queue.name, home);
        }
    }

    /// Lets nothing in any more, or again. Who waits for room gets back what it brings.
    pub fn shut(&self, queue: usize, is_shut: bool) {
        if let Some(queue) = self.queues.get(queue) {
            queue.state.lock().is_shut = is_shut;
            queue.room.notify_waiters();
        }
    }

    /// Forgets a queue, which is shut and drained.
    pub fn remove(&self, queue: usize) {
        let mut queues = self.queues.0.write();
        if let Some(queue) = queues.1.remove(&queue) {
            queue.room.notify_waiters();
        }
    }

    /// Appends a record, when there is room; what comes after it comes after it in Kafka, too. It is
    /// accepted when it is safe. Gives it back if the queue is shut.
    pub async fn append(&self, queue: usize, mut order: Order) -> Result<(), Order> {
        let Some(state) = self.queues.get(queue) else {
            return Err(order);
        };
        loop {
            let mut room = pin!(state.room.notified());
            room.as_mut().enable();
            order = match self.try_append(queue, &state, order, false) {
                Entrance::In => return Ok(()),
                Entrance::Shut(order) => return Err(order),
                Entrance::Full(order) => order,
            };
            room.await;
        }
    }

    /// The same for what was on its way elsewhere: there is room for it.
    pub(crate) fn take_over(&self, queue: usize, order: Order) -> Result<(), Order> {
        let Some(state) = self.queues.get(queue) else {
            return Err(order);
        };
        match self.try_append(queue, &state, order, true) {
            Entrance::In => Ok(()),
            Entrance::Shut(order) | Entrance::Full(order) => Err(order),
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

    /// How many bytes of records a queue may have.
    pub(crate) fn bound(&self, queue: usize) -> u64 {
        let queue = self.queues.get(queue);
        queue.map_or(0, |queue| queue.state.lock().ledger.bound())
    }

    /// Whether all that was ever put into a queue is confirmed or dropped.
    #[must_use]
    pub fn is_drained(&self, queue: usize) -> bool {
        let queue = self.queues.get(queue);
        queue.is_none_or(|queue| queue.state.lock().ledger.is_drained())
    }

    /// Waits until that is so.
    pub(crate) async fn drained(&self, queue: usize) {
        loop {
            let Some(state) = self.queues.get(queue) else {
                return;
            };
            let mut news = pin!(state.room.notified());
            news.as_mut().enable();
            if self.is_drained(queue) {
                return;
            }
            news.await;
        }
    }

    /// Waits (blocking) until what was appended is safe. For the end of the process.
    pub fn close(&self) {
        self.committer.close();
    }

    /// Who wants to know when there is more to take: the last one who has said so.
    pub(crate) fn listen(&self, queue: usize, listener: Box<dyn Fn() + Send + Sync>) {
        if let Some(queue) = self.queues.get(queue) {
            *queue.listener.lock() = Some(listener);
        }
    }

    /// All that was taken and is not confirmed may be taken again.
    pub(crate) fn give_back(&self, queue: usize) {
        if let Some(queue) = self.queues.get(queue) {
            let mut state = queue.state.lock();
            state.ledger.give_back();
            // It begins behind them.
            state.tail.clear();
            state.tail_bytes = 0;
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
            let page = self.read(&queue, range.start, range.end, most_bytes)?;
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

    fn try_append(&self, number: usize, queue: &Queue, order: Order, is_forced: bool) -> Entrance {
        let mut state = queue.state.lock();
        if state.is_shut {
            return Entrance::Shut(order);
        }
        if !is_forced && self.committer.pending_bytes() > MOST_PENDING {
            return Entrance::Full(order);
        }
        let weight = order.record.len() as u64 + OVERHEAD;
        let admission = match is_forced {
            true => Admission::Number(state.ledger.admit_all_the_same(weight), Vec::new()),
            false => state.ledger.admit(weight),
        };
        let Admission::Number(at, dropped) = admission else {
            return Entrance::Full(order);
        };
        let Order { record, done } = order;
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
        Entrance::In
    }

    fn settle_in(&self, queue: &str, home: &str) {
        let mut batch = Batch::new();
        batch.put(&keys::home(queue), home.as_bytes());
        self.committer.submit(batch, Tag::Other);
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

/// Whether a record has come in.
enum Entrance {
    In,
    Full(Order),
    Shut(Order),
}

/// What was read from the disk.
struct Page {
    records: Taken,
    through: u64,
    damaged: u64,
}

// === private ===

fn on_commit(queues: &Queues, tags: Vec<Tag>) {
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
    // Who waits for the disk may be of any queue.
    queues
        .all()
        .iter()
        .for_each(|queue| queue.room.notify_waiters());
    for queue in with_news.into_iter().filter_map(|at| queues.get(at)) {
        if let Some(listener) = &*queue.listener.lock() {
            listener();
        }
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

/// How much may wait for the disk before whoever brings more does.
const MOST_PENDING: usize = 64 << 20;
/// What a record weighs beside its bytes: its key.
const OVERHEAD: u64 = 32;

#[cfg(test)]
mod tests;
