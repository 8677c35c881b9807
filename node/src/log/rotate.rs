//! A file that starts anew when it is full; the full ones stay beside it as `.1` (the newest),
//! `.2`, … within bounds of number and age.

use super::File as Bounds;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file being written.
pub(super) struct Rotating {
    bounds: Bounds,
    file: File,
    size: u64,
}

impl Rotating {
    /// Opens the file, and its folder, to append to it.
    pub(super) fn open(bounds: Bounds) -> io::Result<Self> {
        if let Some(folder) = bounds.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(&bounds.path)?;
        let size = file.metadata()?.len();
        let rotating = Self { bounds, file, size };
        rotating.remove_old();
        Ok(rotating)
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.bounds.max_backups).rev() {
            let (from, to) = (self.backup(number), self.backup(number + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.bounds.max_backups == 0 {
            fs::remove_file(&self.bounds.path)?;
        } else {
            fs::rename(&self.bounds.path, self.backup(1))?;
        }
        self.file = append(&self.bounds.path)?;
        self.size = 0;
        self.remove_old();
        Ok(())
    }

    /// Removes backups that are too old; the numbers grow with age, so it ends at a gap.
    fn remove_old(&self) {
        if self.bounds.max_age.is_zero() {
            return;
        }
        for number in 1.. {
            let path = self.backup(number);
            let Ok(written) = fs::metadata(&path).and_then(|data| data.modified()) else {
                break;
            };
            if written.elapsed().is_ok_and(|age| age > self.bounds.max_age) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn backup(&self, number: usize) -> PathBuf {
        let mut name = self.bounds.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for Rotating {
    /// Takes one whole line, so that no line is torn between two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.bounds.max_size {
            // A file that cannot be renamed grows on: its lines are worth more than its bound.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn check(max_backups: usize, expected: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let bounds = Bounds {
            path,
            max_size: 8,
            max_backups,
            max_age: Duration::ZERO,
        };
        let mut log = Rotating::open(bounds).unwrap();
        for line in [
            "one\n",
            "two\n",
            "three\n",
            "a line that is too long\n",
            "five\n",
        ] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn full_files_are_kept_up_to_their_number() {
        let long = "a line that is too long\n";
        check(0, &[("a.log", "five\n")]);
        check(1, &[("a.log", "five\n"), ("a.log.1", long)]);
        let all = [
            ("a.log", "five\n"),
            ("a.log.1", long),
            ("a.log.2", "three\n"),
            ("a.log.3", "one\ntwo\n"),
        ];
        check(9, &all);
    }

    #[test]
    fn opening_appends_and_removes_what_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "before\n").unwrap();
        let old = File::create(folder.path().join("a.log.1")).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(100))
            .unwrap();
        let max_age = Duration::from_secs(50);
        let bounds = Bounds {
            path: path.clone(),
            max_size: 100,
            max_backups: 3,
            max_age,
        };
        Rotating::open(bounds)
            .unwrap()
            .write_all(b"after\n")
            .unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "before\nafter\n");
        assert!(!folder.path().join("a.log.1").exists());
    }
}
