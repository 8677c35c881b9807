//! The history of a run: what was sent, acknowledged and received, what went wrong on purpose, and
//! when. Clients write it, [`crate::checker`] judges it, and as lines of JSON it can be kept and
//! read again.

mod event;
mod filter;
mod message;
mod name;
mod owed;
mod random;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::time::{ClockId, clock_gettime};

pub use event::{Ending, Event, FaultOutcome, Record, SessionEnd};
pub use filter::{matches, shared};
pub use message::{Uid, crc32, decode, encode};
pub use name::Name;
pub use random::Random;

use crate::checker::{self, Expected, Verdict};
use owed::Owed;

/// A history that is being written, by many threads.
#[derive(Debug, Default)]
pub struct History {
    log: Mutex<Log>,
    n_accepted: AtomicUsize,
    /// One for each whom somebody looks at.
    looks: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    /// Each name once.
    names: HashSet<Name>,
    owed: Owed,
    /// Where it is written while it goes on.
    file: Option<BufWriter<File>>,
    /// Why that came to an end.
    trouble: Option<io::Error>,
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let [seconds, rest] = [time.tv_sec, time.tv_nsec].map(|it| u64::try_from(it).unwrap_or(0));
    seconds * 1_000_000_000 + rest
}

// === impl History ===

impl History {
    /// A history that is also written to this file, line by line, while it goes on.
    ///
    /// # Errors
    ///
    /// When the file cannot be made. What fails later, [`Self::flush`] tells.
    pub fn written_to(path: &Path) -> io::Result<Self> {
        let history = Self::default();
        history.lock().file = Some(BufWriter::new(File::create(path)?));
        Ok(history)
    }

    /// The history in a file, as [`Self::save`] wrote it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or a line is no event; the line's number is told.
    pub fn load(path: &Path) -> io::Result<Self> {
        let history = Self::default();
        for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
            let record = serde_json::from_str(&line?).map_err(|error| {
                let line = number + 1;
                io::Error::other(format!("{}, line {line}: {error}", path.display()))
            })?;
            history.add(record);
        }
        Ok(history)
    }

    /// Writes everything to a file, a line of JSON for each event.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for record in &self.lock().records {
            write_line(&mut file, record)?;
        }
        file.flush()
    }

    /// Writes what is left of the file that it is written to while it goes on.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong with that file.
    pub fn flush(&self) -> io::Result<()> {
        let mut log = self.lock();
        match (log.trouble.take(), &mut log.file) {
            (Some(trouble), _) => Err(trouble),
            (None, Some(file)) => file.flush(),
            (None, None) => Ok(()),
        }
    }

    /// Adds an event: after the act for what the broker did, before it for what a client does.
    pub fn record(&self, event: Event) {
        let mut log = self.lock();
        // Inside of the lock, so that times go up.
        let t = now();
        self.put(&mut log, Record { t, event });
    }

    /// Looks at somebody and adds what was seen, if anything, while nobody else looks at the same: else
    /// what was seen first might be added last.
    pub fn observe(&self, whom: &str, look: impl FnOnce() -> Option<Event>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let one_at_a_time = Arc::clone(looks.entry(whom.to_owned()).or_default());
        drop(looks);
        let _alone = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = look() {
            self.record(event);
        }
    }

    /// Adds what became of a fault.
    pub fn fault(&self, op: &str, target: &str, outcome: FaultOutcome) {
        self.record(Event::Fault {
            op: op.into(),
            target: target.into(),
            outcome,
        });
    }

    /// Adds an event of another time, which must be the latest up to now.
    pub fn add(&self, record: Record) {
        self.put(&mut self.lock(), record);
    }

    fn put(&self, log: &mut Log, mut record: Record) {
        log.intern(&mut record.event);
        log.owed.handle(&record.event);
        if let Some(file) = &mut log.file
            && let Err(error) = write_line(file, &record)
        {
            log.file = None;
            log.trouble = Some(error);
        }
        let accepted = matches!(record.event, Event::Accepted { .. });
        log.records.push(record);
        self.n_accepted
            .fetch_add(usize::from(accepted), Ordering::Release);
    }

    /// How many acknowledgements of success there were.
    pub fn n_accepted(&self) -> usize {
        self.n_accepted.load(Ordering::Acquire)
    }

    /// The accepted messages that this subscriber must still receive; costs nothing.
    pub fn missing(&self, subscriber: &str) -> usize {
        self.lock().owed.missing(subscriber)
    }

    /// Whether anybody has received this message.
    pub fn has_arrived(&self, wanted: &Uid) -> bool {
        let log = self.lock();
        let is_it = |record: &Record| matches!(&record.event, Event::Received { uid: Some(uid), .. } if uid == wanted);
        log.records.iter().rev().any(is_it)
    }

    /// Whether a fault of such a kind is in force on this target, or may be.
    pub fn is_hit(&self, target: &str, is_such: impl Fn(&str) -> bool) -> bool {
        let log = self.lock();
        let mut latest: HashMap<&Name, bool> = HashMap::new();
        for record in &log.records {
            if let Event::Fault {
                op,
                target: hit,
                outcome,
            } = &record.event
                && **hit == *target
                && is_such(op)
            {
                let is_over = matches!(outcome, FaultOutcome::Healed | FaultOutcome::Skipped);
                latest.insert(op, !is_over);
            }
        }
        latest.into_values().any(|is_in_force| is_in_force)
    }

    /// What has happened up to now.
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// Judges what has been recorded; nothing more is expected of the run. Who records meanwhile
    /// waits.
    pub fn judge(&self) -> Verdict {
        self.judge_as(&Expected::default())
    }

    /// Judges what has been recorded, of a run that had to show something.
    pub fn judge_as(&self, expected: &Expected) -> Verdict {
        checker::judge(&self.lock().records, expected)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Log ===

impl Log {
    /// Has the event share its names with those before it.
    fn intern(&mut self, event: &mut Event) {
        event.rename(|name| match self.names.get(&**name) {
            Some(known) => *name = known.clone(),
            None => {
                self.names.insert(name.clone());
            }
        });
    }
}

fn write_line(file: &mut impl Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *file, record)?;
    file.write_all(b"\n")
}
