//! A TCP relay whose connections can be disturbed while they are used.
//!
//! ```no_run
//! # use std::time::Duration;
//! use gatemq_tests::nemesis::relay::{Fault, Relay};
//!
//! let relay = Relay::start(([127, 0, 0, 1], 6379)).expect("a port is free");
//! // … clients use relay.address() …
//! relay.set(Fault::delay(Duration::from_millis(200), Duration::from_millis(100)));
//! relay.reset();
//! relay.heal();
//! ```
//!
//! Each direction of a connection is a reader, a bounded queue and a writer (`relay/pump.rs`); the
//! faults are the writer's. What is stalled is kept, up to 1 MiB for each direction; then the
//! reader stops, and the sender finds its socket full.

mod link;
mod pump;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{runtime::Runtime, sync::watch};

use crate::history::Random;

/// What happens to bytes on their way in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They go on at once.
    #[default]
    None,
    /// Each piece waits this long, and up to `jitter` longer. The order stays.
    Delay {
        /// At least.
        time: Duration,
        /// In addition, at most.
        jitter: Duration,
    },
    /// They stay here until the fault is over. Ends of connections wait as well.
    Stall,
    /// No more than so many a second.
    Rate(u64),
    /// After so many more on a connection, it is closed towards both (FIN).
    CutAfter(u64),
    /// The same, and it is aborted (RST).
    ResetAfter(u64),
}

/// One of a connection's directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connects to the target.
    Up,
    /// From the target to who connects.
    Down,
}

/// A relay to one target. Dropping it aborts its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    orders: Orders,
    /// Only `None` while it is dropped.
    runtime: Option<Runtime>,
}

/// What the relay's connections are told; they hold the other ends.
#[derive(Debug)]
struct Orders {
    up: watch::Sender<Fault>,
    down: watch::Sender<Fault>,
    is_open: watch::Sender<bool>,
    /// How all connections end, when that changes.
    endings: watch::Sender<Option<Ending>>,
    counts: watch::Sender<Counts>,
    /// How often a fault held bytes up or ended a connection.
    n_hit: Arc<AtomicUsize>,
}

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Cut,
    Reset,
}

/// What the relay has to do with now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    n_open: usize,
    is_listening: bool,
}

// === impl Fault ===

impl Fault {
    /// A delay between `time` and `time` plus `jitter`.
    pub fn delay(time: Duration, jitter: Duration) -> Self {
        Self::Delay { time, jitter }
    }
}

// === impl Relay ===

impl Relay {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn start(target: impl Into<SocketAddr>) -> io::Result<Self> {
        Self::listen(([127, 0, 0, 1], 0), target, Random::new(1))
    }

    /// Listens on this address; the jitter of delays comes from the generator.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn listen(
        address: impl Into<SocketAddr>,
        target: impl Into<SocketAddr>,
        random: Random,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address.into())?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("relay")
            .enable_all()
            .build()?;
        let listening = Counts {
            is_listening: true,
            ..Counts::default()
        };
        let orders = Orders {
            up: watch::Sender::new(Fault::None),
            down: watch::Sender::new(Fault::None),
            is_open: watch::Sender::new(true),
            endings: watch::Sender::new(None),
            counts: watch::Sender::new(listening),
            n_hit: Arc::default(),
        };
        let links = link::Links {
            address,
            target: target.into(),
            up: orders.up.subscribe(),
            down: orders.down.subscribe(),
            is_open: orders.is_open.subscribe(),
            endings: orders.endings.subscribe(),
            counts: orders.counts.clone(),
            n_hit: Arc::clone(&orders.n_hit),
            random: Arc::new(Mutex::new(random)),
        };
        runtime.spawn(links.accept(listener));
        Ok(Self {
            address,
            orders,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open now.
    pub fn n_open(&self) -> usize {
        self.orders.counts.borrow().n_open
    }

    /// How often a [`Fault`] has held bytes up or ended a connection by now: one that nothing comes in the
    /// way of is in force and does nothing.
    pub fn n_hit(&self) -> usize {
        self.orders.n_hit.load(Relaxed)
    }

    /// Disturbs both directions of all connections, those to come included.
    pub fn set(&self, fault: Fault) {
        self.set_one(Direction::Up, fault);
        self.set_one(Direction::Down, fault);
    }

    /// Disturbs one direction of them.
    pub fn set_one(&self, direction: Direction, fault: Fault) {
        let faults = match direction {
            Direction::Up => &self.orders.up,
            Direction::Down => &self.orders.down,
        };
        faults.send_replace(fault);
    }

    /// Who connects from now on is refused, as if nobody listened; connections that are there go
    /// on. Returns when it is so.
    pub fn refuse(&self) {
        self.set_open(false);
    }

    /// Who connects is taken again. Returns when it is so.
    pub fn accept(&self) {
        self.set_open(true);
    }

    /// Closes all connections in order (FIN); what was on its way is lost. New ones are taken.
    /// Returns when they are gone.
    pub fn cut(&self) {
        self.end(Ending::Cut);
    }

    /// Aborts all connections (RST). New ones are taken. Returns when they are gone.
    pub fn reset(&self) {
        self.end(Ending::Reset);
    }

    /// No fault any more. What was stalled goes on, what was ended stays so.
    pub fn heal(&self) {
        self.set(Fault::None);
        self.accept();
    }

    fn set_open(&self, is_open: bool) {
        self.orders.is_open.send_replace(is_open);
        self.wait_until(|counts| counts.is_listening == is_open);
    }

    fn end(&self, ending: Ending) {
        self.orders.endings.send_replace(Some(ending));
        // Only for what was open now: new ones may come at any time.
        self.wait_until(|counts| counts.n_open == 0);
    }

    /// Waits for at most two seconds: a port that somebody else took would never be listened on.
    fn wait_until(&self, is_so: impl Fn(&Counts) -> bool) {
        let runtime = self.runtime.as_ref().expect("it is not dropped");
        let mut counts = self.orders.counts.subscribe();
        runtime.block_on(async {
            let wait = counts.wait_for(|counts| is_so(counts));
            let _in_time = tokio::time::timeout(Duration::from_secs(2), wait).await;
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A number from the generator that all connections share.
fn fork(random: &Mutex<Random>) -> Random {
    let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
    random.fork()
}
