//! The end of a process that must not go on: it says why first.
//!
//! One that does not come to run ends with 1 or 2, as its `main` says; these are of one that ran.

use crate::log;
use std::io::Write;
use std::time::Duration;

/// The store failed: what is on disk is unknown until it is read anew.
pub const STORE_FAILED: i32 = 74;
/// A task panicked without which the process cannot do what it promises.
pub const TASK_PANICKED: i32 = 70;
/// Exit code: the cluster does not take this node in.
pub const NOT_JOINED: i32 = 69;

/// How long the thread that writes the log gets for what is queued.
const LOG_TIME: Duration = Duration::from_millis(200);

/// Says why on stderr, whatever is logged where, and in the log file; then ends the process with this
/// exit code. May block the calling thread for a moment.
pub fn end(code: i32, why: &str) -> ! {
    if log::has_file() {
        // On the console it stands anyway.
        tracing::error!(code, why, "the process ends");
    }
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "gatemq: {why}: the process ends");
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is to go on, and the log is written by a thread of its own"
    )]
    std::thread::sleep(LOG_TIME);
    std::process::exit(code)
}
