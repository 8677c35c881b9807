//! A disk whose syncs fail once, or take their time (`tests/soak/sickdisk.c`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cluster::wrap::Wrap,
    nemesis::{Native, Unavailable},
};

/// The disk of a process that was started under [`SickDisk::wrap`]. It is well at first.
#[derive(Clone, Debug)]
pub struct SickDisk {
    folder: PathBuf,
}

impl SickDisk {
    /// What a process has to be started under.
    ///
    /// # Errors
    ///
    /// The library cannot be built here.
    pub fn wrap() -> Result<Wrap, Unavailable> {
        let library = Native::SickDisk.path()?;
        Ok(Wrap::default()
            .preload(&library)
            .env("SICKDISK_DIR", "{dir}"))
    }

    /// The disk of the process with this folder: `node.folder()`, `redis.folder()`.
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The next sync fails, one alone (EIO).
    ///
    /// # Errors
    ///
    /// The order cannot be written.
    pub fn fail_once(&self) -> io::Result<()> {
        self.order("sync-fails", "")
    }

    /// Whether the sync that was to fail did.
    pub fn has_failed(&self) -> bool {
        !self.folder.join("sync-fails").exists()
    }

    /// Each sync takes so much longer from now on.
    ///
    /// # Errors
    ///
    /// The order cannot be written.
    pub fn slow(&self, time: Duration) -> io::Result<()> {
        self.order("sync-takes", &time.as_micros().to_string())
    }

    /// How many syncs have taken longer by now, since the process was started first.
    pub fn n_slow(&self) -> u64 {
        let waited = fs::metadata(self.folder.join("sync-waited"));
        waited.map_or(0, |found| found.len())
    }

    /// All is well again.
    ///
    /// # Errors
    ///
    /// The orders cannot be taken back.
    pub fn heal(&self) -> io::Result<()> {
        for name in ["sync-fails", "sync-takes"] {
            match fs::remove_file(self.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whole, or not there.
    fn order(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, self.folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Instant};

    use super::*;
    use crate::cluster::place::Place;

    /// Ends with 0 if the sync that it asks for succeeds, with 5 (EIO) if it fails so.
    const SYNC: &str = "
import os, sys
it = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
try:
    (os.fsync if sys.argv[2] == 'fsync' else os.fdatasync)(it)
except OSError as error:
    sys.exit(error.errno)
";

    #[test]
    fn a_sync_fails_once_and_takes_its_time() {
        let wrap = match SickDisk::wrap() {
            Ok(wrap) => wrap,
            Err(why) => return crate::skip("a sick disk", &why.to_string()),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let sync = |call| {
            let mut command: Command = wrap.command(&Place::default(), "python3", folder.path());
            command.args(["-c", SYNC]).arg(folder.path().join("file"));
            let start = Instant::now();
            let status = command.arg(call).status().expect("python3 runs");
            (status.code(), start.elapsed())
        };
        let disk = SickDisk::of(folder.path());
        let slow = Duration::from_secs(1);
        for (n_slow, call) in (0..).zip(["fsync", "fdatasync"]) {
            assert_eq!(sync(call).0, Some(0));
            assert_eq!(disk.n_slow(), n_slow);
            disk.fail_once().expect("a folder of its own");
            assert!(!disk.has_failed());
            assert_eq!(sync(call).0, Some(5), "EIO");
            assert!(disk.has_failed());
            assert_eq!(sync(call).0, Some(0), "once");
            disk.slow(slow).expect("a folder of its own");
            let (code, took) = sync(call);
            assert!(code == Some(0) && took >= slow, "{code:?} after {took:?}");
            assert_eq!(disk.n_slow(), n_slow + 1);
            disk.fail_once().expect("a folder of its own");
            disk.heal().expect("a folder of its own");
            assert_eq!(sync(call).0, Some(0));
            assert!(!folder.path().join("sync-takes").exists());
        }
        disk.heal().expect("there is nothing to take back");
    }
}
