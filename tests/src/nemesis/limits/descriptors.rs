//! Descriptors that a running process may have open.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// A process whose limit was lowered. Dropping this lifts it again.
#[derive(Debug)]
pub struct Descriptors {
    pid: Pid,
    before: Rlimit,
}

impl Descriptors {
    /// The process may open files and sockets up to this number; those beyond it stay open. As it
    /// is our child and not waited for yet, the id is its own.
    ///
    /// # Errors
    ///
    /// There is no such process, or it is not ours.
    pub fn limit(pid: u32, most: u64) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let new = Rlimit {
            current: Some(most),
            // Stays, so that it can be lifted again; ours is what it was started with.
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(Some(pid), Resource::Nofile, new)?;
        Ok(Self { pid, before })
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let Rlimit { current, maximum } = self.before;
        let before = Rlimit { current, maximum };
        let _gone_meanwhile = prlimit(Some(self.pid), Resource::Nofile, before);
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        cluster::{
            place::Place,
            process::{Log, Process},
            wrap::Wrap,
        },
        eventually,
    };

    /// Opens a file ten times a second and tells whether it could.
    const OPEN: &str = "
import time
while True:
    try:
        open('/dev/null').close()
        print('open', flush=True)
    except OSError as error:
        print('error', error.errno, flush=True)
    time.sleep(0.1)
";

    #[test]
    fn a_limit_holds_and_is_lifted() {
        let log = Log::default();
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut command = Wrap::default().command(&Place::default(), "python3", Path::new("/"));
        command.args(["-c", OPEN]);
        let process = Process::spawn(command, folder.path(), &log, "open");
        let mut process = process.expect("python3 runs");
        let ready = process.wait_until_ready(Duration::from_secs(20));
        ready.unwrap_or_else(|trouble| panic!("{trouble}: {}", log.text()));
        let limit = Descriptors::limit(process.pid(), 3).expect("a child of ours");
        eventually!(log.tail(1) == "error 24"); // EMFILE
        drop(limit);
        eventually!(log.tail(1) == "open");
    }
}
