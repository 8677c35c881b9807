//! Files that are written all or none, over nothing that is there, and secret ones for nobody else.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder, and what is to be written into it.
pub(super) struct Folder {
    path: PathBuf,
    files: Vec<(PathBuf, u32, String)>,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: Vec::new(),
        }
    }

    /// Adds a file that everybody may read.
    pub(super) fn public(&mut self, name: &str, content: String) {
        self.files.push((self.path.join(name), 0o644, content));
    }

    /// Adds one that only its owner may.
    pub(super) fn secret(&mut self, name: &str, content: String) {
        self.files.push((self.path.join(name), 0o600, content));
    }

    /// Writes all of them, or says which one cannot be.
    pub(super) fn write(self) -> Result<(), String> {
        self.make()?;
        if let Some((path, ..)) = self.files.iter().find(|(path, ..)| path.exists()) {
            return Err(is_there(path));
        }
        for (at, (path, mode, content)) in self.files.iter().enumerate() {
            if let Err(error) = write(path, *mode, content) {
                // What was written a moment ago is of no use alone.
                for (path, ..) in &self.files[..at] {
                    let _ = fs::remove_file(path);
                }
                return Err(match error.kind() {
                    io::ErrorKind::AlreadyExists => is_there(path),
                    _ => format!("{}: cannot be written: {error}", path.display()),
                });
            }
        }
        Ok(())
    }

    fn make(&self) -> Result<(), String> {
        let path = self.path.display();
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mode = fs::metadata(&self.path).map(|data| data.permissions().mode());
                match mode {
                    Ok(mode) if mode & 0o077 == 0 => Ok(()),
                    Ok(_) => Err(format!(
                        "{path}: others can look into this folder: chmod 700, or name one that is \
                         not there yet"
                    )),
                    Err(error) => Err(format!("{path}: cannot be looked at: {error}")),
                }
            }
            Err(error) => Err(format!("{path}: cannot be made: {error}")),
        }
    }
}

fn is_there(path: &Path) -> String {
    let path = path.display();
    format!("{path} is there already, and is not written over: move it away, or name another --dir")
}

fn write(path: &Path, mode: u32, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}
