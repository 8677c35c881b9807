//! Traces of clients that an operator asked for: what a client, an address or a topic does, as JSON
//! lines in a file. Payloads are never in it, only their lengths.
//!
//! Which there are comes from the control plane, as bans do, so that every gateway has them. While
//! there is none that goes on, each place that could have something to say looks at one flag.
//! [`wanted`] says what a trace is about, [`mod@line`] makes a line (both pure), [`queue`] takes it without
//! waiting, and [`mod@file`] is the thread that writes; [`tail`] reads.

mod file;
mod line;
mod queue;
mod tail;
mod wanted;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use self::file::Files;
pub(crate) use self::line::{About, Event};
use self::queue::Queue;
use self::wanted::Wanted;
use crate::clock::{Clock, wall_millis};
use crate::message::MessageRef;
use crate::proto::cluster::state::Trace;
use crate::proto::cluster::traces;
use crate::session::frames::Flags;

/// How long somebody who reads a file waits for others who do.
const PATIENCE: Duration = Duration::from_secs(1);

/// The disk does not answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// The traces of a gateway.
#[derive(Debug)]
pub(crate) struct Captures {
    is_any: AtomicBool,
    /// Those that go on.
    running: ArcSwap<Vec<Arc<Wanted>>>,
    /// Those that are over among them, by name.
    all: Mutex<BTreeMap<Box<str>, Arc<Wanted>>>,
    /// Where the files are; `None`: no trace is kept.
    folder: Option<PathBuf>,
    /// The way to the thread, when it has been started.
    queue: OnceLock<Arc<Queue>>,
    /// Held by who reads a file: a disk that hangs holds up one of them.
    reading: Mutex<()>,
    node: Arc<str>,
    clock: Clock,
}

/// A change of the traces that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Begin(Trace),
    /// It is over, and its file stays.
    Stop(String),
    End(String),
    /// All there are, and no others.
    All(Vec<Trace>),
}

// === impl Captures ===

impl Captures {
    /// Those of a node, that keep their files in a folder.
    pub(crate) fn new(folder: Option<PathBuf>, node: &str, clock: Clock) -> Self {
        Self {
            is_any: AtomicBool::new(false),
            running: ArcSwap::default(),
            all: Mutex::default(),
            folder,
            queue: OnceLock::new(),
            reading: Mutex::default(),
            node: node.into(),
            clock,
        }
    }

    /// Whether anybody wants to know anything.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    /// Says what happened to whoever wants to know; `make` is called only then. Ask
    /// [`Self::is_any`] first.
    pub(crate) fn tell(&self, about: &About<'_>, make: impl FnOnce() -> Event) {
        let (running, now) = (self.running.load(), self.clock.now());
        let mut wanted = running.iter().filter(|it| it.is_about(about, now));
        let Some(first) = wanted.next() else {
            if running.iter().all(|wanted| wanted.is_over(now)) {
                self.forget_over(now);
            }
            return;
        };
        let line = make().into_line(about, wall_millis(), &self.node).into();
        if let Some(queue) = self.queue.get() {
            queue.put(first, &line);
            wanted.for_each(|wanted| queue.put(wanted, &line));
        }
    }

    /// A client was sent a message.
    #[cold]
    pub(crate) fn tell_sent(
        &self,
        client_id: &str,
        address: Option<IpAddr>,
        message: &MessageRef<'_>,
        flags: Flags,
    ) {
        self.tell(&about(client_id, address, message), || {
            let event = Event::new("deliver").with("topic", message.topic);
            let event = event.with("qos", flags.qos as u8);
            let event = event.with_some("packet_id", flags.packet_id);
            let event = event.with("retain", flags.retain).with("dup", flags.dup);
            event.with("length", message.payload.len())
        });
    }

    /// A client was not sent a message that it had subscribed to, and will not be.
    #[cold]
    pub(crate) fn tell_dropped(
        &self,
        client_id: &str,
        address: Option<IpAddr>,
        message: &MessageRef<'_>,
        why: &str,
    ) {
        self.tell(&about(client_id, address, message), || {
            let event = Event::new("drop").with("topic", message.topic);
            let event = event.with("qos", message.qos as u8);
            event.with("length", message.payload.len()).with("why", why)
        });
    }

    /// Takes a change in, and does not wait. Whatever is there no more loses its file.
    pub(crate) fn change(&self, change: Change) {
        let Some(queue) = self.begin_queue() else {
            return;
        };
        let now = self.clock.now();
        let made = |trace: &Trace| {
            let wanted = Wanted::of(trace, &self.node, now)?;
            Some((wanted.name.clone(), Arc::new(wanted)))
        };
        let mut all = self.all.lock();
        match change {
            Change::Begin(trace) => all.extend(made(&trace)),
            Change::Stop(name) => {
                if let Some(wanted) = all.get(&*name) {
                    wanted.end();
                }
            }
            Change::End(name) => _ = all.remove(&*name),
            Change::All(traces) => {
                let mut known = std::mem::take(&mut *all);
                all.extend(traces.iter().filter_map(|trace| {
                    let (name, new) = made(trace)?;
                    let known = known.remove(&name).filter(|known| known.head == new.head);
                    if let Some(known) = known.as_ref().filter(|_| trace.is_over) {
                        known.end();
                    }
                    Some((name, known.unwrap_or(new)))
                }));
            }
        }
        queue.keep(all.values().cloned().collect());
        self.run_those_of(&all, now);
    }

    /// The last lines of a trace, the oldest first (blocking).
    ///
    /// # Errors
    ///
    /// Others read, for too long: the disk does not answer.
    pub(crate) fn read(&self, name: &str, n_lines: usize) -> Result<Vec<String>, Busy> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        if traces::check_name(name).is_err() {
            return Ok(Vec::new());
        }
        let _alone = self.reading.try_lock_for(PATIENCE).ok_or(Busy)?;
        let lines = tail::last_lines(&file::path(folder, name), n_lines);
        let mut lines = lines.unwrap_or_default();
        let wanted = self.all.lock().get(name).cloned();
        let n_lost = wanted.map_or(0, |wanted| wanted.n_lost.load(Ordering::Relaxed));
        if n_lost > 0 {
            lines.push(file::lost(n_lost, &self.node)); // nothing in the file tells of them yet
        }
        Ok(lines)
    }

    fn forget_over(&self, now: u64) {
        if let Some(all) = self.all.try_lock() {
            self.run_those_of(&all, now); // or somebody else does it
        }
    }

    fn run_those_of(&self, all: &BTreeMap<Box<str>, Arc<Wanted>>, now: u64) {
        let running = all.values().filter(|wanted| !wanted.is_over(now));
        let running: Vec<_> = running.cloned().collect();
        self.is_any.store(!running.is_empty(), Ordering::Relaxed);
        self.running.store(Arc::new(running));
    }

    /// The way to the thread, which is started with the first word about traces, even if that is that
    /// there are none: files may have been left. `None` where no file is kept.
    fn begin_queue(&self) -> Option<&Arc<Queue>> {
        let folder = self.folder.as_ref()?;
        Some(self.queue.get_or_init(|| {
            let queue = Arc::<Queue>::default();
            let files = Files::new(folder.clone(), self.node.clone(), self.clock.clone());
            let writing = queue.clone();
            let thread = thread::Builder::new().name("traces".to_owned());
            if let Err(error) = thread.spawn(move || file::run(files, &writing)) {
                tracing::warn!(%error, "no thread for traces of clients: nothing of them is written");
            }
            queue
        }))
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get() {
            queue.close();
        }
    }
}

fn about<'a>(client_id: &'a str, address: Option<IpAddr>, message: &MessageRef<'a>) -> About<'a> {
    About {
        client_id,
        address,
        topic: Some(message.topic),
    }
}

#[cfg(test)]
mod tests;
