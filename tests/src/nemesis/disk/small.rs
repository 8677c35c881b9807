//! A file system of its own for a data directory, so small that it can be filled. Needs the right
//! to mount.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use crate::nemesis::Unavailable;

/// A file system in memory, as long as it is in scope.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

/// What somebody else has taken of it.
const OTHERS: &str = "others";

impl SmallDisk {
    /// Mounts one of this many MiB over a directory, which is made if it is not there; what is in
    /// it is copied. Nobody may use the directory meanwhile. What is written later is gone with the
    /// disk, and what was there before is there again.
    ///
    /// # Errors
    ///
    /// This machine does not let us.
    pub fn mount(mebibytes: usize, path: &Path) -> Result<Self, Unavailable> {
        let before = tempfile::tempdir().map_err(|error| Unavailable::new(error.to_string()))?;
        let copy = |from: &Path, to: &Path| {
            let from = from.join(".");
            run(Command::new("cp").arg("--archive").arg(from).arg(to))
        };
        fs::create_dir_all(path)
            .map_err(|error| Unavailable::new(format!("{}: {error}", path.display())))?;
        copy(path, before.path())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o"]);
        mount.arg(format!("size={mebibytes}m,mode=700"));
        run(mount.arg("tmpfs").arg(path))?;
        let disk = Self(path.to_owned());
        copy(before.path(), path)?;
        Ok(disk)
    }

    /// Takes so much of it, as somebody else would.
    #[track_caller]
    pub fn take(&self, mebibytes: usize) {
        let mut file = self.others();
        for _ in 0..mebibytes {
            file.write_all(&vec![1; 1024 * 1024])
                .expect("there is room");
        }
    }

    /// Takes all that is left.
    #[track_caller]
    pub fn fill(&self) {
        let mut file = self.others();
        for size in [1024 * 1024, 4096] {
            let piece = vec![1; size];
            let full = loop {
                if let Err(error) = file.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives back what was taken.
    #[track_caller]
    pub fn give_back(&self) {
        fs::remove_file(self.0.join(OTHERS)).expect("something was taken");
    }

    fn others(&self) -> File {
        let path = self.0.join(OTHERS);
        let file = File::options().create(true).append(true).open(path);
        file.expect("it is writable")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where somebody has a file open yet.
        let _ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<(), Unavailable> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.map_err(|error| Unavailable::new(format!("{what}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Unavailable::new(format!("{what}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_fills_up_and_has_room_again() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("data");
        fs::create_dir_all(path.join("below")).expect("a folder of its own");
        fs::write(path.join("below/before"), "was there").expect("a folder of its own");
        let disk = match SmallDisk::mount(4, &path) {
            Ok(disk) => disk,
            Err(why) => return crate::skip("a small disk", &why.to_string()),
        };
        let before = fs::read_to_string(path.join("below/before"));
        assert_eq!(before.expect("it was copied"), "was there");
        disk.take(2);
        fs::write(path.join("own"), vec![2; 1024 * 1024]).expect("there is room yet");
        disk.fill();
        let full = fs::write(path.join("more"), vec![2; 8192]).expect_err("no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.give_back();
        fs::write(path.join("more"), vec![2; 1024 * 1024]).expect("there is room again");
        drop(disk);
        assert!(!path.join("own").exists());
        assert!(path.join("below/before").exists());
    }
}
