//! What shows that a fault is in force.

use std::{fs, time::Duration};

use crate::patience::becomes_true;

/// How soon a process that was sent SIGSTOP stands still.
const STOPPED: Duration = Duration::from_secs(2);

/// Whether this process, which was sent SIGSTOP, does nothing any more.
pub(super) fn stands_still(pid: u32) -> bool {
    becomes_true(STOPPED, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.unwrap_or_default();
        // Its name is in brackets, and may be anything; its state comes next.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|it| it.starts_with(['T', 't']))
    })
}
