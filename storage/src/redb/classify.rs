//! What redb's errors mean for the operator.

use std::io;
use std::path::Path;

use crate::Error;

/// Adds the file to an error of redb.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<redb::Error>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|error| classify(path, error.into()))
    }
}

pub(super) fn classify(path: &Path, error: redb::Error) -> Error {
    use redb::Error as Redb;
    match error {
        Redb::Io(error) => Error::io(path, error),
        Redb::DatabaseAlreadyOpen | Redb::LockProtocolMismatch => Error::InUse {
            path: path.to_path_buf(),
        },
        Redb::UpgradeRequired(version) => Error::Version {
            path: path.to_path_buf(),
            found: version.to_string(),
            expected: 3,
        },
        Redb::ValueTooLarge(size) => Error::TooLarge {
            path: path.to_path_buf(),
            size,
        },
        Redb::PreviousIo | Redb::DatabaseClosed => Error::Stopped {
            path: path.to_path_buf(),
        },
        Redb::Corrupted(detail) => Error::corrupt(path, &detail),
        error @ (Redb::RepairAborted
        | Redb::TableTypeMismatch { .. }
        | Redb::TableIsMultimap(_)
        | Redb::TableDoesNotExist(_)
        | Redb::TypeDefinitionChanged { .. }) => Error::corrupt(path, &error),
        error => Error::io(path, io::Error::other(error)),
    }
}
