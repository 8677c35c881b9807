//! The engine that keeps everything in one file, a copy-on-write tree: redb.
//!
//! A commit writes the changed pages beside the old ones, then the header, and syncs the file once;
//! after a crash the checksums tell which of the last two states is complete. The whole file is
//! checked when it is opened: damage is reported then, not met later.

mod classify;
mod compaction;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition,
};

use self::classify::{At, classify};
use crate::directory::{Directory, private, room};
use crate::engine::{check_batches, check_keys};
use crate::error::guarded;
use crate::{Batch, Engine, Error, Op, Way};

/// How redb is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most memory that pages of the file may take; used as the file is.
    pub cache_bytes: usize,
    /// Reads the whole file when it is opened, to find damage before it is met.
    pub check: bool,
}

/// A store in one file.
pub struct Redb {
    // Fields drop in this order; the lock goes last.
    /// Shared by whoever reads or commits. Always taken recursively: who visits a scan may read.
    database: RwLock<Database>,
    path: PathBuf,
    _directory: Option<Directory>,
}

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The format of what is stored, at the key `format` of `META`.
const FORMAT: u64 = 1;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            check: true,
        }
    }
}

impl Options {
    fn builder(self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder.set_check_integrity_on_open(self.check);
        builder
    }
}

// === impl Redb ===

impl Redb {
    /// Opens the store in a directory, or creates it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, Options::default())
    }

    /// Opens the store with other options than the default ones.
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, Error> {
        let directory = Directory::open(dir, Way::Redb)?;
        let path = directory.data(|new| {
            let file = private().create_new(true).open(new);
            drop(file.map_err(|error| Error::io(new, error))?);
            let database = options.builder().create(new).at(new)?;
            initialize(&database).map_err(|error| classify(new, error))
        })?;
        guarded(&path, || {
            let database = options.builder().open(&path).at(&path)?;
            check_format(&database, &path)?;
            Ok(Self {
                database: RwLock::new(database),
                path: path.clone(),
                _directory: Some(directory),
            })
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<&[u8], &[u8]>) -> Result<T, redb::StorageError>,
    ) -> Result<T, Error> {
        let database = self.database.read_recursive();
        let transaction = database.begin_read().at(&self.path)?;
        let table = transaction.open_table(RECORDS).at(&self.path)?;
        read(&table).at(&self.path)
    }
}

impl Engine for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        check_keys([key])?;
        self.read(|table| {
            let value = table.get(key)?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })
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
        self.read(|table| {
            for entry in table.range(start..end)? {
                let (key, value) = entry?;
                if visit(key.value(), value.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        check_keys([start, end])?;
        if start >= end {
            return Ok(None);
        }
        self.read(|table| {
            let entry = table.range(start..end)?.next_back().transpose()?;
            let copy = Bytes::copy_from_slice;
            Ok(entry.map(|(key, value)| (copy(key.value()), copy(value.value()))))
        })
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        check_batches(batches)?;
        let database = self.database.read_recursive();
        let mut transaction = database.begin_write().at(&self.path)?;
        transaction
            .set_durability(Durability::Immediate)
            .at(&self.path)?;
        let mut table = transaction.open_table(RECORDS).at(&self.path)?;
        for op in batches.iter().flat_map(Batch::iter) {
            apply(&mut table, op).at(&self.path)?;
        }
        drop(table);
        transaction.commit().at(&self.path)
    }

    fn room(&self) -> Option<u64> {
        room(&self.path)
    }

    fn compact(&self) -> Result<(), Error> {
        self.compact_if_worthwhile()
    }

    fn is_volatile(&self) -> bool {
        false
    }
}

// === private ===

fn apply(table: &mut Table<'_, &[u8], &[u8]>, op: Op<'_>) -> Result<(), redb::StorageError> {
    match op {
        Op::Put { key, value } => drop(table.insert(key, value)?),
        Op::Delete { key } => drop(table.remove(key)?),
        Op::DeleteRange { start, end } if start < end => {
            table.retain_in(start..end, |_, _| false)?;
        }
        Op::DeleteRange { .. } => {}
        Op::DeleteUnlessAny { key, start, end } => {
            let is_any = start < end && table.range(start..end)?.next().transpose()?.is_some();
            if !is_any {
                table.remove(key)?;
            }
        }
    }
    Ok(())
}

fn initialize(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    Ok(transaction.commit()?)
}

fn check_format(database: &Database, path: &Path) -> Result<(), Error> {
    let transaction = database.begin_read().at(path)?;
    let table = transaction.open_table(META).at(path)?;
    let format = table.get("format").at(path)?.map(|format| format.value());
    match format {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(Error::Version {
            path: path.to_path_buf(),
            found: other.to_string(),
            expected: FORMAT,
        }),
        None => Err(Error::corrupt(path, &"it has no format")),
    }
}

#[cfg(test)]
mod tests;
