//! What must hold after any abuse: the process lives and did not panic, its memory is bounded,
//! the abusers' descriptors are free again within 30 s, and two innocent clients noticed nothing.

use std::{env, fs, time::Duration};

use gatemq_tests::{Broker, Canary, eventually};

/// The state before the abuse.
pub(crate) struct Oracle<'a> {
    broker: &'a Broker,
    canary: Canary,
    rss_kib: u64,
    n_descriptors: usize,
}

impl<'a> Oracle<'a> {
    /// Looks at a broker that no other test uses, and puts a canary beside it.
    #[track_caller]
    pub(crate) fn watch(broker: &'a Broker) -> Self {
        let canary = Canary::start(broker);
        Self {
            broker,
            canary,
            rss_kib: broker.rss_kib(),
            n_descriptors: broker.fd_count(),
        }
    }

    /// How much memory has come since.
    pub(super) fn growth_kib(&self) -> u64 {
        self.broker.rss_kib().saturating_sub(self.rss_kib)
    }

    /// Memory may have grown by so much.
    #[track_caller]
    pub(crate) fn grew_less_than(&self, limit_kib: u64) {
        let growth = self.growth_kib();
        assert!(
            growth < limit_kib,
            "memory grew by {growth} KiB; {limit_kib} is the limit"
        );
    }

    /// The abuse is over and its connections are closed or dropped; memory may have grown by so
    /// much.
    #[track_caller]
    pub(crate) fn judge(self, limit_kib: u64) {
        assert!(
            self.broker.is_running(),
            "the broker is gone: {}",
            self.broker.log()
        );
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
        self.grew_less_than(limit_kib);
        // What a flood has sent may take a while to be read, on a machine that does something else too.
        let limit = Duration::from_secs(30);
        eventually!(limit, self.broker.fd_count() <= self.n_descriptors);
        let report = self.canary.finish();
        eprintln!(
            "canary: {} trips, the longest {:?}",
            report.n_trips, report.longest
        );
    }
}

/// The number for two cores, times `GATEMQ_TEST_SCALE`.
pub(super) fn scaled(number: usize) -> usize {
    let factor = env::var("GATEMQ_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok());
    number * factor.unwrap_or(1)
}

/// Processor time that the broker has used, in milliseconds.
#[track_caller]
pub(super) fn processor_ms(broker: &Broker) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", broker.pid()));
    let stat = stat.expect("the broker runs");
    // The second field is a name in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    // Linux counts in hundredths of a second, whatever the kernel's own clock.
    ticks * 10
}
