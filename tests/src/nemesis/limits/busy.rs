//! Processor time that somebody else takes.

use std::{path::Path, time::Duration};

use crate::cluster::{
    place::Place,
    process::{Log, Process},
    wrap::Wrap,
};

/// Processes that do nothing, as fast as they can. They end when this is dropped, or by themselves.
pub struct Busy {
    processes: Vec<Process>,
}

/// Looks at the time itself: a process beside it would outlive a kill.
const LOOP: &str = r#"while [ "$SECONDS" -lt "$0" ]; do :; done"#;

impl Busy {
    /// Starts so many of them, which end by themselves after this time, in whole seconds.
    ///
    /// # Errors
    ///
    /// bash cannot be run.
    pub fn start(n_processes: usize, limit: Duration) -> Result<Self, String> {
        let start = |_| {
            let mut command = Wrap::default().command(&Place::default(), "bash", Path::new("/"));
            command.args(["-c", LOOP, &limit.as_secs().to_string()]);
            // There is no folder to be removed.
            Process::spawn(command, Path::new("/nowhere"), &Log::default(), "")
        };
        let processes = (0..n_processes).map(start).collect::<Result<_, _>>()?;
        Ok(Self { processes })
    }

    /// How many are at it.
    pub fn n_running(&mut self) -> usize {
        let running = self.processes.iter_mut().map(Process::is_running);
        running.filter(|is_running| *is_running).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    #[test]
    fn they_take_time_and_end() {
        let mut busy = Busy::start(2, Duration::from_secs(2)).expect("bash runs");
        assert_eq!(busy.n_running(), 2);
        eventually!(!busy.processes[0].processor_time().is_zero());
        eventually!(Duration::from_secs(20), busy.n_running() == 0);
        drop(Busy::start(1, Duration::from_secs(100)).expect("bash runs"));
    }
}
