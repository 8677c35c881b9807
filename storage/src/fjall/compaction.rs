//! Gives the table files of what was deleted back to the file system.
//!
//! fjall merges table files when new ones come, and where nothing new is stored none come. So what
//! is deleted is written out, and all is merged into the last level, while reads and commits go on.
//! The journal in use stays, with up to 64 MiB and what is written until its end is noticed.

use std::thread;
use std::time::{Duration, Instant};

use super::Fjall;
use crate::Error;
use crate::directory::room;
use crate::engine::{WORTHWHILE, moved_bytes};

/// A key behind all others, which is never there.
const NOBODYS: [u8; 1] = [0xff];
/// How long it waits for what was deleted to be written out.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// What fjall writes beside the records that are left, in bytes.
const MARGIN: u64 = 16 << 20;

impl Fjall {
    pub(super) fn compact_if_worthwhile(&self) -> Result<(), Error> {
        let on_disk = self.records.disk_space();
        if on_disk < WORTHWHILE {
            return Ok(());
        }
        let Some(left) = moved_bytes(self)? else {
            return Ok(());
        };
        let has_room = room(&self.path).is_none_or(|room| room > left + MARGIN);
        if on_disk.saturating_sub(left) < WORTHWHILE || !has_room || !self.write_out()? {
            return Ok(());
        }
        self.records
            .major_compact()
            .map_err(|error| self.at(error))?;
        // A journal goes when there is a table file newer than all of it, and an old table file
        // with the next change of the memtable. There may be none of either for a long time.
        let gone = self.records.remove(NOBODYS);
        gone.map_err(|error| self.at(error))?;
        self.write_out().map(drop)
    }

    /// Makes a table file of what is in memory; false if that takes too long.
    fn write_out(&self) -> Result<bool, Error> {
        let rotated = self.records.rotate_memtable();
        rotated.map_err(|error| self.at(error))?;
        let deadline = Instant::now() + PATIENCE;
        while self.records.sealed_memtable_count() > 0 {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::park_timeout(LOOK);
        }
        Ok(true)
    }
}
