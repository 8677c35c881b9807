//! What can go wrong in a store, by what the operator does next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Space is needed before anything can be stored.
    #[error("no space left for {}: free or add space, then start again ({source})", path.display())]
    Full {
        /// The file or directory that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error("{} is damaged: restore it from a backup, or move it away to start empty ({detail})", path.display())]
    Corrupt {
        /// The damaged file or directory.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// Data that was stored is gone.
    #[error("{} is missing: restore it from a backup, or remove {} to start empty", path.display(), marker.display())]
    Missing {
        /// What should be there.
        path: PathBuf,
        /// The file that says so.
        marker: PathBuf,
    },
    /// Another process holds the directory.
    #[error("{} is in use by another process: stop that process or choose another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another engine.
    #[error("{} holds data of the engine {found}, not {wanted}: choose {found} or another directory", path.display())]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine whose data is there.
        found: String,
        /// The engine that was asked for.
        wanted: &'static str,
    },
    /// The data was written by another version.
    #[error("{} has format {found}, this version reads {expected}: use the version that wrote it", path.display())]
    Version {
        /// The file or directory.
        path: PathBuf,
        /// The format that was found.
        found: String,
        /// The format that can be read.
        expected: u64,
    },
    /// A key or value is larger than the engine can hold.
    #[error("a value of {size} bytes is too large for {}", path.display())]
    TooLarge {
        /// The file or directory.
        path: PathBuf,
        /// How large it is.
        size: usize,
    },
    /// A bug of the caller: no engine takes such a key.
    #[error("a key of {length} bytes is too long: report this")]
    KeyTooLong {
        /// How long it is.
        length: usize,
    },
    /// The system failed; what it had not confirmed may be lost.
    #[error("{}: {source}: check the disk and the permissions, then start again", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure left the store unusable until it is opened again.
    #[error("{} takes no changes after an earlier failure: start again", path.display())]
    Stopped {
        /// The file or directory.
        path: PathBuf,
    },
    /// A bug: the engine stopped in the middle of a change.
    #[error("the storage engine panicked ({0}): start again and report this")]
    Panicked(String),
}

impl Error {
    /// The error for what the system said about a path.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path, source },
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt {
                path,
                detail: source.to_string(),
            },
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn corrupt(path: &Path, detail: &dyn fmt::Display) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            detail: detail.to_string(),
        }
    }
}

/// Runs the opening of an engine, whose code may panic over a damaged file.
pub(crate) fn guarded<T>(path: &Path, open: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(open))
        .unwrap_or_else(|panic| Err(Error::corrupt(path, &panic_text(panic.as_ref()))))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
