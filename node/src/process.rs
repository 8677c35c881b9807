//! What the operating system knows of this process: its limit of open files, and its metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;
use tokio::runtime::Handle;

/// Raises the limit of open files (one per connection) as far as the system lets this process,
/// and returns it.
pub fn raise_file_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// The `process_…` metrics that Prometheus users expect, read from `/proc` when asked for, and how
/// many tasks the process has.
#[derive(Debug)]
pub struct ProcessMetrics(Handle);

impl ProcessMetrics {
    /// Those of this process, and of the runtime that this is called on: whoever asks for them later
    /// may have one of its own.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn of_this_runtime() -> Self {
        Self(Handle::current())
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(stat) = Stat::read() else {
            return Ok(());
        };
        let mut gauge = |name, help, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            resident_bytes(),
        )?;
        gauge("process_open_fds", "Open files and sockets", open_files())?;
        let limit = getrlimit(Resource::Nofile)
            .current
            .map_or(f64::INFINITY, |limit| limit as f64);
        gauge("process_max_fds", "Limit of open files and sockets", limit)?;
        gauge("process_threads", "Threads", stat.threads)?;
        gauge(
            "process_tasks",
            "Tasks of the runtime that have not ended",
            self.0.metrics().num_alive_tasks() as f64,
        )?;
        gauge(
            "process_start_time_seconds",
            "Start, since the Unix epoch",
            stat.started,
        )?;
        let cpu = ConstCounter::new(stat.cpu);
        let help = "Processor time, user and system";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)
    }
}

struct Stat {
    cpu: f64,
    threads: f64,
    started: f64,
}

impl Stat {
    /// Reads `/proc/self/stat`; the fields after the name, which may have blanks in it, count
    /// from 3 in proc(5).
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?;
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)?,
            started: booted.trim().parse::<f64>().ok()? + field(22)? / TICKS_PER_SECOND,
        })
    }
}

fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

fn open_files() -> f64 {
    fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
}

/// The unit of times in `/proc` (USER_HZ), which Linux keeps at 100 everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn the_file_limit_is_raised_to_the_hard_one() {
        let raised = raise_file_limit().unwrap();
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            raised
        );
    }

    #[tokio::test]
    async fn process_metrics_are_there_and_plausible() {
        for _ in 0..5 {
            tokio::spawn(std::future::pending::<()>());
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics::of_this_runtime()));
        // As the HTTP server does, which has a runtime of its own.
        let asking = std::thread::spawn(move || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).map(|()| text)
        });
        let text = asking.join().unwrap().unwrap();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") > 2.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_tasks") >= 5.0);
        assert!(value("process_start_time_seconds") > 1_600_000_000.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
