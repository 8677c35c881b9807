//! The directory of a durable engine: one process at a time, one engine for good.
//!
//! The marker file names the engine. It is written after the engine's empty data is complete, and
//! that data gets its name by a rename: so what has its name is complete, a marker without data
//! means that data was lost, and what a crash left half created is safe to remove.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Way};

/// A data directory that no other process has open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    way: Way,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl Directory {
    /// Creates the directory if it is not there, locks it and refuses another engine's data.
    pub(crate) fn open(path: &Path, way: Way) -> Result<Self, Error> {
        create(path)?;
        let directory = Self {
            path: path.to_path_buf(),
            way,
            _lock: lock(path)?,
        };
        match directory.owner()? {
            Some(found) if found != way.name() => Err(Error::OtherEngine {
                path: path.to_path_buf(),
                found,
                wanted: way.name(),
            }),
            _ => Ok(directory),
        }
    }

    /// The engine's file or directory. If there is none yet, `create` makes an empty one.
    pub(crate) fn data(
        &self,
        create: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let (data, marker) = (data(&self.path, self.way), self.marker());
        if !exists(&data)? {
            if exists(&marker)? {
                return Err(Error::Missing { path: data, marker });
            }
            let new = data.with_added_extension("new");
            remove(&new).map_err(|error| Error::io(&new, error))?;
            create(&new)?;
            fs::rename(&new, &data).map_err(|error| Error::io(&data, error))?;
            sync(&self.path)?;
        }
        if !exists(&marker)? {
            self.write_marker(&marker)?;
        }
        Ok(data)
    }

    /// Whose data is here.
    fn owner(&self) -> Result<Option<String>, Error> {
        let marker = self.marker();
        match fs::read_to_string(&marker) {
            Ok(name) => return Ok(Some(name.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&marker, error)),
        }
        for way in [Way::Redb, Way::Fjall] {
            if exists(&data(&self.path, way))? {
                return Ok(Some(way.name().to_owned()));
            }
        }
        Ok(None)
    }

    fn write_marker(&self, marker: &Path) -> Result<(), Error> {
        let new = marker.with_added_extension("new");
        let write = || {
            let mut file = private().create(true).truncate(true).open(&new)?;
            writeln!(file, "{}", self.way)?;
            file.sync_all()?;
            fs::rename(&new, marker)
        };
        write().map_err(|error| Error::io(marker, error))?;
        sync(&self.path)
    }

    fn marker(&self) -> PathBuf {
        self.path.join("gatemq.engine")
    }
}

/// How to open a file for this user only.
pub(crate) fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

fn data(directory: &Path, way: Way) -> PathBuf {
    directory.join(format!("gatemq.{way}"))
}

/// Creates the directory and those above it, each one safe on disk.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    let at = |error| Error::io(path, error);
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if path.is_dir() {
        return Ok(());
    }
    create(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.map_err(at),
    }?;
    sync(parent)
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("gatemq.lock");
    let file = private()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| Error::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            path: directory.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
    }
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| Error::io(path, error))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory safe.
fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io(directory, error))
}

/// Bytes that are left for us on the file system of a path.
pub(crate) fn room(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
