//! A link that comes and goes.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Network;

/// Two sets of members that are cut off from one another and joined up again. Dropping it ends
/// that, joined up.
#[derive(Debug)]
pub struct Flap {
    /// Closed when it is to end.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<usize>>,
}

impl Flap {
    /// Begins with a cut, which is there when this returns.
    pub(super) fn start(
        network: Network,
        some: &[&str],
        others: &[&str],
        period: Duration,
    ) -> Self {
        network.partition(some, others);
        let (end, ended) = mpsc::channel();
        let [some, others] = [some, others].map(|names| {
            let names = names.iter().map(|&name| name.to_owned());
            names.collect::<Vec<_>>()
        });
        let thread = thread::spawn(move || {
            let (some, others) = (borrowed(&some), borrowed(&others));
            let (mut n_cuts, mut is_cut) = (1, true);
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(period) {
                is_cut = !is_cut;
                if is_cut {
                    network.partition(&some, &others);
                    n_cuts += 1;
                } else {
                    network.join_up(&some, &others);
                }
            }
            if is_cut {
                network.join_up(&some, &others);
            }
            n_cuts
        });
        Self {
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Ends it; how often it was cut.
    pub fn end(mut self) -> usize {
        self.stop()
    }

    fn stop(&mut self) -> usize {
        self.end = None;
        let thread = self.thread.take();
        let cuts = thread.map(|thread| thread.join().expect("the switch takes its rules"));
        cuts.unwrap_or_default()
    }
}

impl Drop for Flap {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
