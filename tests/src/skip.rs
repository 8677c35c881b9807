//! Tests that cannot run on this machine say so.

use std::{env, fs, io::Write};

/// A test that cannot run here: visible on a developer's machine, a failure in CI.
#[track_caller]
pub fn skip(what: &str, why: &str) {
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "{what}: cannot run, and CI runs everything: {why}"
    );
    tell(what, why);
}

/// Something shows nothing on this machine, and that fails nobody, not even in CI: it is told, now and
/// at the end of `tests/run`.
pub fn tell(what: &str, why: &str) {
    eprintln!("SKIPPED {what}: {why}");
    // What a test prints is shown only if it fails: the file named here is for `tests/run`.
    let Some(path) = env::var_os("GATEMQ_SKIPPED") else {
        return;
    };
    let file = fs::OpenOptions::new().append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{what}: {why}"));
    written.expect("the file for skipped tests is there");
}
