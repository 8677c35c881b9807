//! What gateways take while a run goes on: resident memory, and connections that wait for `accept`.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Node, patience::pause};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(100);
/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// Looks at one gateway until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Vec<Glance>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Glance {
    at: Instant,
    memory_kib: u64,
    n_waiting: u64,
}

// === impl Watch ===

impl Watch {
    /// The gateway must run for as long as this.
    pub(super) fn start(node: &Node) -> Self {
        let seen: Arc<Mutex<Vec<Glance>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (pid, address) = (node.pid(), node.tcp());
        let (to, end) = (Arc::clone(&seen), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !end.load(Relaxed) {
                let glance = Glance {
                    at: Instant::now(),
                    memory_kib: resident(pid).unwrap_or_default(),
                    n_waiting: waiting(address).unwrap_or_default(),
                };
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(glance);
                pause(GLANCE);
            }
        });
        Self {
            seen,
            is_over,
            thread: Some(thread),
        }
    }

    /// The most memory between two moments, in MiB.
    pub(super) fn memory(&self, from: Instant, to: Instant) -> f64 {
        let kib = self.most(from, to, |glance| glance.memory_kib);
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }

    /// The same in equal parts of the time.
    pub(super) fn memories(&self, from: Instant, to: Instant, n_parts: u32) -> Vec<f64> {
        let part = (to - from) / n_parts;
        let parts = (0..n_parts)
            .map(|number| self.memory(from + part * number, from + part * (number + 1)));
        parts.collect()
    }

    /// The memory now.
    pub(super) fn memory_now(&self) -> f64 {
        let now = Instant::now();
        self.memory(now, now)
    }

    /// The most connections that waited for `accept`.
    pub(super) fn waiting(&self, from: Instant, to: Instant) -> u64 {
        self.most(from, to, |glance| glance.n_waiting)
    }

    /// The last look before the first moment counts too: on a busy machine there may be no other.
    fn most(&self, from: Instant, to: Instant, of: impl Fn(&Glance) -> u64) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.partition_point(|glance| glance.at < from);
        let looks = seen.iter().skip(first.saturating_sub(1));
        let until = looks.take_while(|glance| glance.at <= to.max(from));
        until.map(of).max().unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// In KiB; nothing where the process is gone.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the system has made and the process not accepted: of a socket that listens, what is to be
/// received. Of this network only.
fn waiting(address: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{:04X}", address.port());
    let queues = table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        (state == LISTENS && local.ends_with(&port)).then_some(queues)
    })?;
    let (_, received) = queues.split_once(':')?;
    u64::from_str_radix(received, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        assert_eq!(waiting(address), Some(0));
        let clients = [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
        assert_eq!(waiting(address), Some(3));
        drop(listener.accept().expect("three wait"));
        assert_eq!(waiting(address), Some(2));
        drop((clients, listener));
        assert_eq!(waiting(address), None);
        assert!(resident(std::process::id()).is_some_and(|kib| kib > 100));
    }
}
