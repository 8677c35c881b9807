//! The power fails: SIGKILL, and every write that was not synced is lost or torn. What was
//! acknowledged must be there all the same; and when the fsync is taken out of the very same
//! scenario, or acknowledgements do not wait for it, the judge must notice.

use std::path::Path;

use gatemq_tests::{
    Broker,
    checker::{Verdict, Violation},
    cluster::{Place, Wrap},
    history::Random,
    nemesis::{
        Native,
        disk::power::{self, Disk, Unsynced},
    },
};

use super::scenario::{Scenario, rounds};

/// Runs the scenario; `None` where the library cannot be built here.
fn run(storage: &str, disk: Disk, rounds: usize) -> Option<Verdict> {
    let what = format!("power cut, {disk:?} disk, {storage}");
    let wrap = match power::wrap(disk) {
        Ok(wrap) => wrap,
        Err(why) => {
            crate::foreign::skip(&what, &why.to_string());
            return None;
        }
    };
    let builder = Broker::builder().storage(storage).wrap(wrap);
    let mut scenario = Scenario::new(&what, builder)
        .with_absent_subscribers()
        .with_publishers();
    if !matches!(disk, Disk::Honest) {
        scenario.stream(1_000); // so that a late disk has the sessions
    }
    for round in 0..rounds {
        scenario.kill_somewhere();
        // A disk that lies about its syncs may leave torn pages that no engine can repair; there
        // the proof needs a clean cut.
        let torn = matches!(disk, Disk::Honest) && round % 2 == 1;
        let unsynced = if torn {
            Unsynced::Torn(&mut scenario.random)
        } else {
            Unsynced::Lost
        };
        power::cut(scenario.broker.dir(), unsynced).expect("the data can be replaced");
        scenario.broker.restart();
    }
    let verdict = scenario.finish();
    eprintln!("{what}: {rounds} cuts, {verdict}");
    Some(verdict)
}

fn loses_nothing(storage: &str, usual: usize) {
    let rounds = rounds(usual);
    if let Some(verdict) = run(storage, Disk::Honest, rounds) {
        verdict.assert_green(20 * rounds, storage);
    }
}

/// The mutation proof: the run must be red, and red for loss.
fn without_fsync_is_noticed(storage: &str) {
    if let Some(verdict) = run(storage, Disk::Deaf, 1) {
        assert!(
            verdict.n_lost() > 0,
            "acknowledged messages were lost, and the judge did not notice: {verdict}"
        );
    }
}

/// The finer mutation: of each run only the last milliseconds are lost, and nothing else is wrong.
fn late_fsync_is_noticed(storage: &str) {
    // In one run of two cuts there may be nothing that was acknowledged in those milliseconds.
    for _ in 0..5 {
        let Some(verdict) = run(storage, Disk::Late(10), 2) else {
            return;
        };
        let n_lost = verdict.n_lost();
        // The sums of I7 tell of the same.
        assert_eq!(
            n_lost + verdict.n_broken("I7"),
            verdict.violations.len(),
            "all else is right: {verdict}"
        );
        if n_lost > 0 {
            assert!(verdict.n_received > 1_000, "not only those: {verdict}");
            return;
        }
    }
    panic!("acknowledged messages were lost, and the judge did not notice");
}

#[test]
fn power_cut_loses_nothing_acknowledged_redb() {
    loses_nothing("redb", 6);
}

#[test]
fn power_cut_loses_nothing_acknowledged_fjall() {
    loses_nothing("fjall", 4);
}

#[test]
fn power_cut_without_fsync_is_noticed_redb() {
    without_fsync_is_noticed("redb");
}

#[test]
fn power_cut_without_fsync_is_noticed_fjall() {
    without_fsync_is_noticed("fjall");
}

#[test]
fn power_cut_before_a_late_fsync_is_noticed_redb() {
    late_fsync_is_noticed("redb");
}

#[test]
fn power_cut_before_a_late_fsync_is_noticed_fjall() {
    late_fsync_is_noticed("fjall");
}

#[test]
fn without_a_disk_the_judge_sees_everything_lost() {
    let mut scenario = Scenario::new("memory only", Broker::builder())
        .with_absent_subscribers()
        .with_publishers();
    scenario.kill_somewhere();
    scenario.broker.restart();
    let verdict = scenario.finish();
    assert!(verdict.n_lost() > 0, "{verdict}");
    let session = |found: &Violation| matches!(found, Violation::SessionLost { .. });
    assert!(verdict.violations.iter().any(session), "{verdict}");
}

/// The disk itself is tested with a program whose writes are known.
#[test]
fn the_disk_forgets_what_was_not_synced() {
    if let Err(why) = Native::PowerCut.path() {
        return crate::foreign::skip("the disk that forgets", &why.to_string());
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/durability/disk_probe.py");
    let run = |mode: &str, disk: Disk| {
        let wrap: Wrap = power::wrap(disk).expect("the library was built");
        let status = wrap
            .command(&Place::default(), "python3", dir.path())
            .arg(&probe)
            .args([dir.path().join("data").as_os_str(), mode.as_ref()])
            .status()
            .expect("python3 runs");
        assert!(status.code().is_none(), "the probe kills itself: {status}");
    };
    let check = |mode: &str, disk: Disk, expected: &[(&str, Option<&[u8]>)]| {
        run(mode, disk);
        power::cut(dir.path(), Unsynced::Lost).expect("the data can be replaced");
        for (name, content) in expected {
            let found = std::fs::read(dir.path().join("data").join(name)).ok();
            assert_eq!(found.as_deref(), *content, "{name} in mode {mode}");
        }
    };
    let [a, b] = [b"a".repeat(10_000), b"b".repeat(5_000)];
    check(
        "first",
        Disk::Honest,
        &[
            ("synced", Some(&a)),
            ("below/appended", Some(b"hello world")),
            // The file was synced, its new name was not; likewise the directory's.
            ("before", Some(b"new")),
            ("after", None),
            ("old/file", Some(b"inside")),
            ("new", None),
            ("never", None),
        ],
    );
    let overwritten = [&a[..2_500], &b, &a[7_500..9_000]].concat();
    check(
        "second",
        Disk::Honest,
        &[
            ("synced", Some(&overwritten)),
            ("below/appended", Some(b"hello world")),
            ("before", None),
            ("after", Some(b"new")),
            ("old/file", None),
            ("new/file", Some(b"inside")),
            ("never", Some(b"")),
        ],
    );
    check(
        "third",
        Disk::Deaf,
        &[("synced", Some(&overwritten)), ("third", None)],
    );
    // A torn cut keeps each page as it was or as it became.
    let mut random = Random::new(1);
    run("torn", Disk::Honest);
    power::cut(dir.path(), Unsynced::Torn(&mut random)).expect("the data can be replaced");
    let torn = std::fs::read(dir.path().join("data/torn")).expect("it was synced once");
    let pages: Vec<_> = torn.chunks(4096).map(|page| page[0]).collect();
    assert!(pages.contains(&b'o') && pages.contains(&b'n'), "{pages:?}");
    assert!(
        torn.chunks(4096)
            .all(|page| page.iter().all(|byte| *byte == page[0]))
    );
}
