//! The memory that the system allows this process, by its control groups: version 2, and 1.
//!
//! A process is in a group, which is in others, and each may have a limit; the tightest holds. In a
//! container the own group may be where outside of it the root is, so that path is tried, too.

use std::path::{Path, PathBuf};

/// A limit above that is none: version 1 says "none" by the largest number of pages there is.
const NONE: u64 = 1 << 60;

/// The limit in bytes, if there is one.
pub(super) fn limit() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    tightest(&read(Path::new("/proc/self/cgroup"))?, read)
}

/// The tightest limit of the groups that are listed as in `/proc/self/cgroup`.
fn tightest(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let group = Path::new(group.trim_start_matches('/'));
        let path = |group: &Path| -> PathBuf { Path::new(root).join(group).join(file) };
        group.ancestors().map(path).collect()
    });
    let limits = files.filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    limits.filter(|limit| *limit < NONE).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(groups: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some(format!("{}\n", found.1))
        };
        assert_eq!(tightest(groups, read), expected);
    }

    #[test]
    fn the_tightest_group_holds() {
        check(
            "0::/system.slice/gatemq.service\n",
            &[
                (
                    "/sys/fs/cgroup/system.slice/gatemq.service/memory.max",
                    "max",
                ),
                ("/sys/fs/cgroup/system.slice/memory.max", "2000"),
                ("/sys/fs/cgroup/memory.max", "3000"),
            ],
            Some(2_000),
        );
    }

    #[test]
    fn in_a_container_the_own_group_is_the_root() {
        check(
            "0::/\n",
            &[("/sys/fs/cgroup/memory.max", "1000")],
            Some(1_000),
        );
        check(
            "5:cpu,cpuacct:/docker/c\n4:memory:/docker/c\n0::/docker/c\n",
            &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000")],
            Some(1_000),
        );
    }

    #[test]
    fn none_is_said_in_several_ways() {
        check("", &[], None);
        check("0::/\n", &[("/sys/fs/cgroup/memory.max", "max")], None);
        check("0::/a\n", &[], None);
        check(
            "4:memory:/\n",
            &[(
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            )],
            None,
        );
        check(
            "nonsense\n:\n4:cpu:/\n",
            &[("/sys/fs/cgroup/cpu/memory.max", "1")],
            None,
        );
    }
}
