//! The engine that keeps everything in a log-structured merge tree: fjall.
//!
//! A commit is one record of fjall's journal, with a checksum, synced before it becomes visible.
//! Damage in table files is noticed by their checksums. But damage to a tag or length within the
//! journal reads as its end, and fjall drops what follows: where disks are not trusted, use redb.

mod compaction;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::directory::{Directory, room};
use crate::engine::{check_batches, check_keys};
use crate::error::guarded;
use crate::net::net;
use crate::{Batch, Engine, Error, Way};

/// How much memory and disk fjall may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Blocks that were read; filled as they are.
    pub cache_bytes: u64,
    /// Changes that are kept in memory before they are written to a table file.
    pub memtable_bytes: u64,
    /// Journal files on disk before they are replaced by table files; at least 64 MiB.
    pub journal_bytes: u64,
    /// Threads that write and merge table files.
    pub threads: usize,
}

/// A store in a directory of files.
pub struct Fjall {
    // Fields drop in this order; the lock goes last.
    records: Keyspace,
    database: Database,
    path: PathBuf,
    _directory: Directory,
}

/// The name of the keyspace carries the format of what is stored in it.
const RECORDS: &str = "records-1";
const FORMAT: u64 = 1;

/// What fjall merges at once, at most, in bytes: a guess at what its strategy chooses.
const MERGED: u64 = 256 << 20;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            memtable_bytes: 8 << 20,
            journal_bytes: 64 << 20,
            threads: 1,
        }
    }
}

// === impl Fjall ===

impl Fjall {
    /// Opens the store in a directory, or creates it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, Options::default())
    }

    /// Opens the store with other bounds than the default ones.
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, Error> {
        let directory = Directory::open(dir, Way::Fjall)?;
        let path = directory.data(|new| database(new, options).map(drop))?;
        let (database, records) = database(&path, options)?;
        Ok(Self {
            records,
            database,
            path,
            _directory: directory,
        })
    }

    fn at(&self, error: fjall::Error) -> Error {
        classify(&self.path, error)
    }
}

impl Engine for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        check_keys([key])?;
        // By a snapshot: a commit is visible as a whole or not at all.
        let value = self.database.snapshot().get(&self.records, key);
        let value = value.map_err(|error| self.at(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        check_keys([start, end])?;
        if start >= end {
            return Ok(());
        }
        for entry in self.database.snapshot().range(&self.records, start..end) {
            let (key, value) = entry.into_inner().map_err(|error| self.at(error))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        check_keys([start, end])?;
        if start >= end {
            return Ok(None);
        }
        let mut range = self.database.snapshot().range(&self.records, start..end);
        let Some(entry) = range.next_back() else {
            return Ok(None);
        };
        let (key, value) = entry.into_inner().map_err(|error| self.at(error))?;
        Ok(Some((
            Bytes::copy_from_slice(&key),
            Bytes::copy_from_slice(&value),
        )))
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        check_batches(batches)?;
        // All operations of a fjall batch have one sequence number: a key may be in it only once.
        let snapshot = self.database.snapshot();
        let net = net(batches, &|start, end, visit| {
            for entry in snapshot.range(&self.records, start..end) {
                let key = entry.key().map_err(|error| self.at(error))?;
                if visit(&key).is_break() {
                    break;
                }
            }
            Ok(())
        })?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in &net {
            match value {
                Some(value) => batch.insert(&self.records, key.as_ref(), *value),
                None => batch.remove(&self.records, key.as_ref()),
            }
        }
        batch.commit().map_err(|error| self.at(error))
    }

    /// Without what it takes by itself: to write out what is in memory, and to merge table files,
    /// which are there twice meanwhile. Its threads stop for good where there is no room.
    fn room(&self) -> Option<u64> {
        let tables = self.records.disk_space().min(MERGED);
        let own = self.database.write_buffer_size() + tables;
        Some(room(&self.path)?.saturating_sub(own))
    }

    fn compact(&self) -> Result<(), Error> {
        self.compact_if_worthwhile()
    }

    fn is_volatile(&self) -> bool {
        false
    }
}

// === private ===

fn database(path: &Path, options: Options) -> Result<(Database, Keyspace), Error> {
    guarded(path, || {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes)
            .max_cached_files(Some(128))
            .worker_threads(options.threads)
            .open()
            .map_err(|error| classify(path, error))?;
        let names = database.list_keyspace_names();
        if let Some(other) = names.iter().find(|name| &***name != RECORDS) {
            return Err(Error::Version {
                path: path.to_path_buf(),
                found: other.to_string(),
                expected: FORMAT,
            });
        }
        let records = database
            .keyspace(RECORDS, || {
                KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes)
            })
            .map_err(|error| classify(path, error))?;
        Ok((database, records))
    })
}

/// What a failure means for the operator.
fn classify(path: &Path, error: fjall::Error) -> Error {
    use fjall::{Error as Fjall, LsmError as Tree};
    match error {
        Fjall::Io(error) | Fjall::Storage(Tree::Io(error)) => match error.kind() {
            // One of its own files.
            io::ErrorKind::NotFound => Error::corrupt(path, &error),
            _ => Error::io(path, error),
        },
        Fjall::Locked => Error::InUse {
            path: path.to_path_buf(),
        },
        Fjall::Poisoned => Error::Stopped {
            path: path.to_path_buf(),
        },
        Fjall::InvalidVersion(version) => Error::Version {
            path: path.to_path_buf(),
            found: format!("{version:?}"),
            expected: 3,
        },
        Fjall::KeyspaceDeleted => Error::io(path, io::Error::other(error)),
        damage => Error::corrupt(path, &damage),
    }
}
