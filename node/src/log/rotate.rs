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
    /// When to try again after a rotation that failed, in bytes of this file.
    retry_at: u64,
}

impl Rotating {
    /// Opens the file, and its folder, to append to it.
    pub(super) fn open(bounds: Bounds) -> io::Result<Self> {
        if let Some(folder) = bounds.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(&bounds.path)?;
        let size = file.metadata()?.len();
        let retry_at = 0;
        let rotating = Self {
            bounds,
            file,
            size,
            retry_at,
        };
        rotating.remove_old();
        Ok(rotating)
    }

    /// Begins a new file. Nothing is moved before the new file is there: whatever fails, the
    /// lines go on into the old one.
    fn rotate(&mut self) -> io::Result<()> {
        let new = self.beside("new");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&new)?;
        drop(file);
        let file = append(&new)?;
        if fs::exists(&self.bounds.path)? {
            self.shift()?;
        }
        fs::rename(&new, &self.bounds.path)?;
        self.file = file;
        self.size = 0;
        self.remove_old();
        Ok(())
    }

    /// Gives each backup the next number, and the file the first one.
    fn shift(&self) -> io::Result<()> {
        for number in (1..self.bounds.max_backups).rev() {
            let (from, to) = (self.backup(number), self.backup(number + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.bounds.max_backups > 0 {
            fs::rename(&self.bounds.path, self.backup(1))?;
        }
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
        self.beside(&number.to_string())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.bounds.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

impl Write for Rotating {
    /// Takes one whole line, so that no line is torn between two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_full = self.size > 0 && self.size + line.len() as u64 > self.bounds.max_size;
        if is_full && self.size >= self.retry_at {
            // A file that cannot be renamed grows on: its lines are worth more than its bound.
            let is_new = self.rotate().is_ok();
            let later = self.size + self.bounds.max_size / 16;
            self.retry_at = if is_new { 0 } else { later };
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
    fn a_rotation_that_fails_costs_neither_lines_nor_backups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(folder.path().join("a.log.1"), "old\n").unwrap();
        // In the way of the new file: a folder of its name.
        let in_the_way = folder.path().join("a.log.new");
        fs::create_dir(&in_the_way).unwrap();
        let bounds = Bounds {
            path: path.clone(),
            max_size: 16,
            max_backups: 3,
            max_age: Duration::ZERO,
        };
        let mut log = Rotating::open(bounds).unwrap();
        for _ in 0..4 {
            log.write_all(b"seven b\n").unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("a.log"), "seven b\n".repeat(4));
        assert_eq!(read("a.log.1"), "old\n");
        fs::remove_dir(in_the_way).unwrap();
        log.write_all(b"new\n").unwrap();
        assert_eq!(read("a.log"), "new\n");
        assert_eq!(read("a.log.1"), "seven b\n".repeat(4));
        assert_eq!(read("a.log.2"), "old\n");
        // Somebody moved the file away: a new one begins, and the backups stay.
        fs::rename(&path, folder.path().join("moved")).unwrap();
        for _ in 0..3 {
            log.write_all(b"seven b\n").unwrap();
        }
        assert_eq!(read("a.log"), "seven b\n".repeat(2));
        assert_eq!(read("a.log.1"), "seven b\n".repeat(4));
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
