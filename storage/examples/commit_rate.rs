//! Prints how many commits and puts a second an engine does, by group size and value size, and
//! how long it takes to open what was stored.
//!
//! `cargo run --release -p gatemq-storage --example commit_rate <engine> [directory] [seconds]`
//! where the time is that of each line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gatemq_storage::{Batch, Engine, Way, open};

const PREFIXES: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let way: Way = args.next().ok_or("name an engine")?.parse()?;
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let bound = Duration::from_secs_f64(args.next().map_or(Ok(1.0), |text| text.parse())?);
    let mut out = io::stdout();
    writeln!(out, "engine  value  group  commits/s     puts/s  resident")?;
    for size in [64, 1_024] {
        let path = tempfile::tempdir_in(&directory)?;
        let engine = open(way, path.path())?;
        let value = vec![7; size];
        let mut number = 0;
        writeln!(out, "{way:6}  {size:5}  open {:>32}", resident())?;
        for group in [1, 10, 100, 1_000] {
            let rate = measure(&*engine, group, &value, bound, &mut number)?;
            let puts = rate * group as f64;
            let resident = resident();
            writeln!(
                out,
                "{way:6}  {size:5}  {group:5}  {rate:9.0}  {puts:9.0}  {resident}"
            )?;
        }
        drop(engine);
        let start = Instant::now();
        drop(open(way, path.path())?);
        let elapsed = start.elapsed();
        writeln!(
            out,
            "{way:6}  {size:5}  {number} records reopened in {elapsed:.1?}"
        )?;
    }
    Ok(())
}

/// Commits a second; each commit has `group` batches of one put.
fn measure(
    engine: &dyn Engine,
    group: usize,
    value: &[u8],
    bound: Duration,
    number: &mut u64,
) -> Result<f64, gatemq_storage::Error> {
    let start = Instant::now();
    let mut batches = vec![Batch::new(); group];
    let mut commits = 0;
    while start.elapsed() < bound {
        for batch in &mut batches {
            // As many queues fill: the end of one of many ranges of keys.
            let prefix = *number * 7_919 % PREFIXES;
            batch.clear();
            batch.put(
                &[prefix.to_be_bytes(), number.to_be_bytes()].concat(),
                value,
            );
            *number += 1;
        }
        engine.commit(&batches)?;
        commits += 1;
    }
    Ok(f64::from(commits) / start.elapsed().as_secs_f64())
}

/// The memory of this process, as the system counts it.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "?".to_owned(), |rest| rest.trim().to_owned())
}
