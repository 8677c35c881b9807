//! Memory that processes may have together: a control group, of either version. Needs root.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{cluster::wrap::Wrap, nemesis::Unavailable, patience};

/// A group of processes with a limit. Drop it after they have ended, and it goes.
#[derive(Debug)]
pub struct Memory {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

const GROUPS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "gatemq-tests-";

impl Memory {
    /// A group without processes that may have so many bytes, swap excluded.
    ///
    /// # Errors
    ///
    /// This machine does not let us.
    pub fn limit(bytes: u64) -> Result<Self, Unavailable> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (root, version) = root()?;
        remove_what_dead_runs_left(&root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("{PREFIX}{}-{number}", process::id()));
        let unavailable =
            |error: io::Error| Unavailable::new(format!("{}: {error}", folder.display()));
        fs::create_dir(&folder).map_err(unavailable)?;
        let group = Self {
            folder: folder.clone(),
            version,
        };
        group.change(bytes).map_err(unavailable)?;
        Ok(group)
    }

    /// What a process has to be started under, so that all its memory counts.
    pub fn wrap(&self) -> Wrap {
        let enter = r#"echo $$ > "$0" && exec "$@""#;
        let file = self.folder.join("cgroup.procs").display().to_string();
        Wrap::default().under(["sh", "-c", enter, &file])
    }

    /// A process that runs belongs to it from now on; what memory it has already does not count
    /// where groups are of version 1.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Another limit.
    ///
    /// # Errors
    ///
    /// It has more than that, or the system does not let us.
    pub fn change(&self, bytes: u64) -> io::Result<()> {
        let name = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        fs::write(self.folder.join(name), bytes.to_string())
    }

    /// How many of its processes the system has killed for want of memory.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn n_killed(&self) -> io::Result<u64> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(name))?;
        let found = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let number = found.and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("{name} has no oom_kill: {text}")))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A process that was killed a moment ago may be in it yet.
        patience::becomes_true(Duration::from_secs(2), || {
            fs::remove_dir(&self.folder).is_ok()
        });
    }
}

/// The folder that groups are made in.
fn root() -> Result<(PathBuf, Version), Unavailable> {
    let groups = Path::new(GROUPS);
    let one = groups.join("memory");
    if one.join("memory.limit_in_bytes").exists() {
        return Ok((one, Version::One));
    }
    let has_memory = |name| {
        let text = fs::read_to_string(groups.join(name)).unwrap_or_default();
        text.split_whitespace().any(|word| word == "memory")
    };
    if has_memory("cgroup.controllers") {
        if !has_memory("cgroup.subtree_control") {
            let asked = fs::write(groups.join("cgroup.subtree_control"), "+memory");
            asked.map_err(|error| Unavailable::new(format!("{GROUPS}: {error}")))?;
        }
        return Ok((groups.to_owned(), Version::Two));
    }
    Err(Unavailable::new(format!("{GROUPS} limits no memory")))
}

fn remove_what_dead_runs_left(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _in_use = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::cluster::place::Place;

    /// Has 64 MiB, and says so.
    const HAVE: &str = "bytearray(64 << 20); print('had them')";

    #[test]
    fn who_wants_more_is_killed_and_others_are_not() {
        let small = match Memory::limit(32 << 20) {
            Ok(group) => group,
            Err(why) => return crate::skip("a limit of memory", &why.to_string()),
        };
        let have = |group: &Memory| {
            let mut command = group
                .wrap()
                .command(&Place::default(), "python3", Path::new("/"));
            command.args(["-c", HAVE]).output().expect("sh runs")
        };
        let output = have(&small);
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
        assert_eq!(small.n_killed().expect("it is told"), 1);
        small.change(256 << 20).expect("it may be more");
        assert_eq!(have(&small).stdout, b"had them\n");
        let folder = small.folder.clone();
        drop(small);
        assert!(!folder.exists());
        // No process has this id.
        let left = folder.with_file_name(format!("{PREFIX}4294967295-0"));
        fs::create_dir(&left).expect("root can");
        drop(Memory::limit(32 << 20).expect("as before"));
        assert!(!left.exists());
    }
}
