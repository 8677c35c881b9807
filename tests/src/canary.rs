//! An innocent pair of clients beside a test that misbehaves: a message every 50 ms from one to
//! the other. When a round trip takes more than a second or a connection drops, the test fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{broker::Broker, client::Client, patience, wire};

const LIMIT: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_millis(50);

/// Runs until `finish` is called or it is dropped; both fail the test when the pair had trouble.
pub struct Canary {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Report, String>>>,
}

/// What the pair saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Round trips that were made.
    pub n_trips: u32,
    /// The longest of them.
    pub longest: Duration,
}

impl Canary {
    /// Connects the pair; the first round trip is made before it returns.
    #[track_caller]
    pub fn start(broker: &Broker) -> Self {
        let topic = patience::unique("canary");
        let mut subscriber = Client::v4(broker, &patience::unique("canarysub"));
        let mut publisher = Client::v5(broker, &patience::unique("canarypub"));
        subscriber.subscribe(&topic, 0);
        trip(&mut publisher, &mut subscriber, &topic, 0).expect("the canary's first message");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut report = Report::default();
            while !stopped.load(Ordering::Relaxed) {
                let took = trip(&mut publisher, &mut subscriber, &topic, report.n_trips)?;
                report.n_trips += 1;
                report.longest = report.longest.max(took);
                patience::pause(PERIOD);
            }
            Ok(report)
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends the pair and says what it saw.
    #[track_caller]
    pub fn finish(mut self) -> Report {
        self.end()
            .expect("it ends once")
            .unwrap_or_else(|trouble| panic!("canary: {trouble}"))
    }

    fn end(&mut self) -> Option<Result<Report, String>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        Some(
            thread
                .join()
                .unwrap_or_else(|_| Err("its thread panicked".to_owned())),
        )
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(Err(trouble)) = self.end()
            && !thread::panicking()
        {
            panic!("canary: {trouble}");
        }
    }
}

fn trip(
    publisher: &mut Client,
    subscriber: &mut Client,
    topic: &str,
    number: u32,
) -> Result<Duration, String> {
    let start = Instant::now();
    let payload = number.to_be_bytes();
    publisher
        .try_send(&wire::Publish::new(topic, payload).bytes(5))
        .map_err(|error| format!("the publisher's connection dropped: {error}"))?;
    let packet = subscriber
        .recv_within(LIMIT)
        .ok_or_else(|| format!("message {number} did not arrive within {LIMIT:?}"))?;
    if packet.kind != wire::PUBLISH || !packet.body.ends_with(&payload) {
        return Err(format!("message {number} expected, got {packet:?}"));
    }
    Ok(start.elapsed())
}
