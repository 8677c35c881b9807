//! Bounds that compare times and rates mean nothing where others use the machine meanwhile: whether
//! they hold or not, the run shows nothing then.

use std::{collections::HashMap, fs, process};

use crate::faults::Run;

/// Such a part of the processors may be others'.
const FOREIGN: f64 = 0.15;

/// The bounds that did not hold since this was made.
pub(super) struct Bounds {
    begin: Option<Ticks>,
    broken: Vec<String>,
}

/// What the processors have done, in ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: f64,
    idle: f64,
    /// By this process and those that it has started.
    ours: f64,
}

// === impl Bounds ===

impl Bounds {
    /// All hold.
    pub(super) fn start() -> Self {
        Self {
            begin: Ticks::now(),
            broken: Vec::new(),
        }
    }

    /// One does not.
    pub(super) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    /// What is to be said of that.
    pub(super) fn tell(self, run: &mut Run) {
        let foreign = self
            .begin
            .zip(Ticks::now())
            .map(|(begin, now)| now.foreign(begin));
        let foreign = foreign.unwrap_or_default();
        run.note(format!(
            "others had {:.0} % of the processors",
            100.0 * foreign
        ));
        if foreign > FOREIGN {
            run.lacks("machine", "others use it");
            for what in self.broken {
                run.note(format!("perhaps: {what}"));
            }
            return;
        }
        for what in self.broken {
            run.fail(what);
        }
    }
}

// === impl Ticks ===

impl Ticks {
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let ticks = stat.lines().next()?.split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = ticks.filter_map(|word| word.parse().ok()).collect();
        Some(Self {
            all: ticks.iter().sum(),
            idle: ticks.get(3)? + ticks.get(4)?,
            ours: ours(),
        })
    }

    /// Which part of the processors others had since then.
    fn foreign(self, begin: Self) -> f64 {
        let all = (self.all - begin.all).max(1.0);
        let known = (self.idle - begin.idle) + (self.ours - begin.ours);
        (1.0 - known / all).clamp(0.0, 1.0)
    }
}

/// Ticks of this process, of those below it, and of those of them that have ended.
fn ours() -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: HashMap<u32, (u32, f64)> = pids.filter_map(|pid| Some((pid, read(pid)?))).collect();
    let is_ours = |mut pid: u32| {
        while pid > 1 && pid != process::id() {
            pid = all.get(&pid).map_or(0, |(parent, _)| *parent);
        }
        pid == process::id()
    };
    let found = all.iter().filter(|(pid, _)| is_ours(**pid));
    found.map(|(_, (_, ticks))| ticks).sum()
}

/// Parent and ticks of a process.
fn read(pid: u32) -> Option<(u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have spaces. After it: state, parent; the 12th to 15th are times, its own and
    // those of children that it has waited for.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter();
    let ticks = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_this_process_does_is_ours() {
        let begin = Ticks::now().expect("the system tells");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {}
        let now = Ticks::now().expect("the system tells");
        assert!(now.ours > begin.ours && now.all > begin.all);
        assert!((0.0..=1.0).contains(&now.foreign(begin)));
        // Nobody did anything.
        assert!(begin.foreign(begin) >= 0.0);
    }
}
