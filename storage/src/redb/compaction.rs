//! Gives the pages that nobody uses any more back to the file system.
//!
//! redb keeps them for what comes, and shortens its file by itself only if most of its end is free:
//! one page in use there holds all before it. A disk that was filled by what has been deleted since
//! would stay full. So the pages in use are moved to the front, which needs the file for itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use redb::ReadableTableMetadata;

use super::Redb;
use super::classify::At;
use crate::engine::{WORTHWHILE, moved_bytes};
use crate::{Engine, Error};

/// How long it waits for those who read.
const PATIENCE: Duration = Duration::from_millis(100);
/// What redb writes beside the pages that it moves, in bytes.
const MARGIN: u64 = 4 << 20;

impl Redb {
    pub(super) fn compact_if_worthwhile(&self) -> Result<(), Error> {
        let file = fs::metadata(&self.path).map_err(|error| Error::io(&self.path, error))?;
        // The file has holes: what its length says may never have been written.
        let on_disk = file.blocks() * 512;
        if on_disk < WORTHWHILE || moved_bytes(self)?.is_none() {
            return Ok(());
        }
        let stats = self.read(|table| table.stats())?;
        let used = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        // Where a page is moved to there may be a hole.
        let has_room = self.room().is_none_or(|room| room > used + MARGIN);
        if on_disk.saturating_sub(used) < WORTHWHILE || !has_room {
            return Ok(());
        }
        match self.database.try_write_for(PATIENCE) {
            Some(mut database) => database.compact().map(drop).at(&self.path),
            None => Ok(()), // it is read from all the time; the next call may be luckier
        }
    }
}
