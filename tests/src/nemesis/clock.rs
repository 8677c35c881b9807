//! A wall clock that is wrong, of one process, to be set while it runs (`tests/soak/wrongclock.c`).
//! The monotonic clock, by which the product measures time, stays right.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Native, Unavailable};
use crate::cluster::wrap::Wrap;

/// The clock of a process that was started under [`Clock::wrap`]. It is right at first.
#[derive(Clone, Debug)]
pub struct Clock {
    path: PathBuf,
}

/// How soon a process has noticed that its clock was set.
pub const NOTICED: Duration = Duration::from_millis(200);

impl Clock {
    /// What a process has to be started under.
    ///
    /// # Errors
    ///
    /// The library cannot be built here.
    pub fn wrap() -> Result<Wrap, Unavailable> {
        let library = Native::WrongClock.path()?;
        Ok(Wrap::default()
            .preload(&library)
            .env("WRONGCLOCK_FILE", "{dir}/clock"))
    }

    /// The clock of the process with this folder: `node.folder()`, `redis.folder()`.
    pub fn of(folder: &Path) -> Self {
        Self {
            path: folder.join("clock"),
        }
    }

    /// It is ahead by so much.
    ///
    /// # Errors
    ///
    /// It cannot be set.
    pub fn ahead(&self, time: Duration) -> io::Result<()> {
        self.set(&format!("+{}", time.as_secs()))
    }

    /// It is behind by so much.
    ///
    /// # Errors
    ///
    /// It cannot be set.
    pub fn behind(&self, time: Duration) -> io::Result<()> {
        self.set(&format!("-{}", time.as_secs()))
    }

    /// It is right.
    ///
    /// # Errors
    ///
    /// It cannot be set.
    pub fn right(&self) -> io::Result<()> {
        self.set("+0")
    }

    fn set(&self, text: &str) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{text}\n"))?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::{
        cluster::{
            place::Place,
            process::{Log, Process},
        },
        patience::becomes_true,
    };

    /// Tells its clocks, ten times a second.
    const TELL: &str = "
import time
while True:
    print('clocks', int(time.time()), int(time.monotonic()), flush=True)
    time.sleep(0.1)
";

    /// What the process told last: how far its clocks are from ours.
    fn told(log: &Log) -> [i64; 2] {
        let line = log.tail(1);
        let mut words = line.split(' ').skip(1);
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = i64::try_from(wall.expect("past 1970").as_secs()).expect("small");
        let up = fs::read_to_string("/proc/uptime").expect("Linux tells");
        let up = up
            .split('.')
            .next()
            .and_then(|text| text.parse::<i64>().ok());
        [wall, up.expect("seconds")].map(|ours| number().unwrap_or_default() - ours)
    }

    #[test]
    fn the_wall_clock_goes_wrong_and_right_and_the_other_stays() {
        let wrap = match Clock::wrap() {
            Ok(wrap) => wrap,
            Err(why) => return crate::skip("a wrong clock", &why.to_string()),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (log, clock) = (Log::default(), Clock::of(folder.path()));
        let mut command = wrap.command(&Place::default(), "python3", folder.path());
        command.args(["-c", TELL]);
        let process = Process::spawn(command, folder.path(), &log, "clocks");
        let mut process = process.expect("python3 runs");
        let ready = process.wait_until_ready(Duration::from_secs(20));
        ready.unwrap_or_else(|trouble| panic!("{trouble}: {}", log.text()));
        let becomes = |expected: i64| {
            let near = |found: i64, expected: i64| (found - expected).abs() <= 3;
            let is_so = || {
                let [wall, monotonic] = told(&log);
                near(wall, expected) && near(monotonic, 0)
            };
            assert!(
                becomes_true(100 * NOTICED, is_so),
                "{expected}: {:?}",
                told(&log)
            );
        };
        let hour = Duration::from_secs(3_600);
        becomes(0);
        clock.ahead(hour).expect("a folder of its own");
        becomes(3_600);
        clock.behind(hour).expect("a folder of its own");
        becomes(-3_600);
        clock.right().expect("a folder of its own");
        becomes(0);
    }
}
