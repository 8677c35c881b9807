//! The contract of an engine: what every caller may rely on, whichever engine is configured.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{Batch, Error};

/// The longest key, in bytes. A longer one, as the bound of a range too, is
/// [`Error::KeyTooLong`].
pub const MAX_KEY: usize = 65_535;

/// The most bytes that [`Engine::compact`] moves: about a second, on a slow disk.
const MOVED: u64 = 32 << 20;

/// What a record takes beside its key and value, in bytes, at least.
const RECORD: usize = 64;

/// How many bytes are worth a compaction.
pub(crate) const WORTHWHILE: u64 = 16 << 20;

/// An ordered key-value engine.
///
/// Keys are ordered by their bytes and have at most [`MAX_KEY`] of them. A range `start..end` excludes `end`; it is empty if `start` is
/// not below `end`. What is read is always the result of whole commits.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Visits the keys in `start..end` in byte order, until the visitor breaks.
    ///
    /// Sees one consistent snapshot; never loads more than a page. The visitor may use the engine.
    #[allow(clippy::type_complexity)] // A name for the visitor would only hide it.
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// The last key in `start..end`, with its value.
    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error>;

    /// Applies the batches, in order, as one atomic change.
    ///
    /// When it returns the change is safe on disk (if the engine is not volatile). After an error
    /// nothing is known about the change until the engine is opened again: do not retry.
    fn commit(&self, batches: &[Batch]) -> Result<(), Error>;

    /// Bytes that are left where the engine stores; `None` where that is not known or does not
    /// matter.
    fn room(&self) -> Option<u64> {
        None
    }

    /// Gives back to the file system what only deleted data takes: an engine keeps that otherwise.
    ///
    /// For a disk that is nearly full. Blocks, and reads and commits may wait until it returns; so
    /// it does nothing where more than 32 MiB are stored, where less than 16 MiB are to be had, or
    /// where there is no room for it. After an error what is stored is as it was, but the engine
    /// may take no changes any more.
    fn compact(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether what is stored ends with the process.
    fn is_volatile(&self) -> bool;
}

/// How many bytes a compaction would move; `None` if they are too many. Reads no more than those.
pub(crate) fn moved_bytes(engine: &impl Engine) -> Result<Option<u64>, Error> {
    let mut n_bytes = 0;
    engine.scan(b"", &[0xff; MAX_KEY], &mut |key, value| {
        n_bytes += (key.len() + value.len() + RECORD) as u64;
        match n_bytes > MOVED {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(Some(n_bytes).filter(|n_bytes| *n_bytes <= MOVED))
}

/// Checks the length of each key.
pub(crate) fn check_keys<const N: usize>(keys: [&[u8]; N]) -> Result<(), Error> {
    let longest = keys.iter().map(|key| key.len()).max().unwrap_or(0);
    check_length(longest)
}

/// Checks the lengths of all keys in the batches.
pub(crate) fn check_batches(batches: &[Batch]) -> Result<(), Error> {
    check_length(batches.iter().map(Batch::longest_key).max().unwrap_or(0))
}

fn check_length(length: usize) -> Result<(), Error> {
    if length > MAX_KEY {
        return Err(Error::KeyTooLong { length });
    }
    Ok(())
}
