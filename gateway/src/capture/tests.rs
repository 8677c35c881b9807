//! From a change of the traces to lines of their files.

use super::*;
use crate::proto::cluster::state::TraceKind;
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);

fn trace(name: &str, kind: TraceKind, value: &str) -> Trace {
    Trace {
        name: name.to_owned(),
        kind: kind.into(),
        value: value.to_owned(),
        // By a clock that shows something else than this gateway's.
        at: 1_000,
        until: 61_000,
        ..Trace::default()
    }
}

fn captures(folder: &Path) -> Captures {
    Captures::new(Some(folder.to_owned()), "g1", Clock::start())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// The lines of a trace, when there are this many.
fn lines(captures: &Captures, name: &str, n_lines: usize) -> Vec<Value> {
    let mut lines = Vec::new();
    until("there are lines", || {
        lines = captures.read(name, 100).expect("lines");
        lines.len() >= n_lines
    });
    assert_eq!(lines.len(), n_lines, "{lines:?}");
    let read = |line: &String| serde_json::from_str(line).expect("JSON");
    lines.iter().map(read).collect()
}

fn tell(captures: &Captures, what: &'static str, client_id: &str, topic: Option<&str>) {
    let about = About {
        client_id,
        address: "10.0.0.1".parse().ok(),
        topic,
    };
    captures.tell(&about, || Event::new(what).with_some("topic", topic));
}

#[test]
fn a_line_goes_to_each_trace_that_it_is_for_and_a_trace_that_is_gone_has_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = captures(&folder.path().join("traces"));
    assert!(!captures.is_any());
    captures.change(Change::Begin(trace("one", TraceKind::ClientId, "dev-1")));
    captures.change(Change::Begin(trace("two", TraceKind::Topic, "a/#")));
    assert!(captures.is_any());
    tell(&captures, "connect", "dev-1", None);
    tell(&captures, "publish", "dev-1", Some("a/b"));
    tell(&captures, "publish", "dev-2", Some("a/b"));
    captures.tell(&About::default(), || unreachable!("nobody wants to know"));
    let one = lines(&captures, "one", 3);
    assert_eq!(
        (&one[0]["event"], &one[0]["of_client_id"]),
        (&"trace".into(), &"dev-1".into())
    );
    assert_eq!(
        (&one[1]["event"], &one[1]["node"]),
        (&"connect".into(), &"g1".into())
    );
    assert_eq!(one[2]["address"], "10.0.0.1");
    let two = lines(&captures, "two", 3);
    assert_eq!(
        (&two[1]["client_id"], &two[2]["client_id"]),
        (&"dev-1".into(), &"dev-2".into())
    );
    assert_eq!(captures.read("two", 1).expect("lines").len(), 1);
    captures.change(Change::End("one".to_owned()));
    let is_gone = |name: &str| captures.read(name, 1).expect("lines").is_empty();
    until("its file is gone", || is_gone("one"));
    captures.change(Change::All(Vec::new()));
    assert!(!captures.is_any());
    until("its file is gone", || is_gone("two"));
    assert!(is_gone("../two"));
}

#[test]
fn one_that_is_stopped_stays_readable_and_nobody_asks_for_it_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = captures(folder.path());
    let mut one = trace("one", TraceKind::ClientId, "dev-1");
    captures.change(Change::Begin(one.clone()));
    tell(&captures, "connect", "dev-1", None);
    lines(&captures, "one", 2);
    // A snapshot that says the same changes nothing.
    captures.change(Change::All(vec![one.clone()]));
    assert!(captures.is_any());
    captures.change(Change::Stop("one".to_owned()));
    assert!(!captures.is_any());
    lines(&captures, "one", 2);
    one.is_over = true;
    captures.change(Change::All(vec![one.clone()]));
    captures.change(Change::Begin(trace("two", TraceKind::ClientId, "dev-1")));
    tell(&captures, "publish", "dev-1", None);
    lines(&captures, "two", 2);
    lines(&captures, "one", 2);
    // A snapshot that says that one is over of which this was not heard.
    let mut two = trace("two", TraceKind::ClientId, "dev-1");
    two.is_over = true;
    captures.change(Change::All(vec![one, two]));
    assert!(!captures.is_any());
}

#[test]
fn one_that_has_taken_its_time_is_over_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = captures(folder.path());
    let mut one = trace("one", TraceKind::ClientId, "dev-1");
    one.until = one.at + 1;
    captures.change(Change::Begin(one));
    until("it is over", || {
        tell(&captures, "publish", "dev-1", None);
        !captures.is_any()
    });
    captures.change(Change::Begin(trace("two", TraceKind::ClientId, "dev-1")));
    assert!(captures.is_any());
}

#[test]
fn a_folder_that_cannot_be_made_holds_nobody_up_and_its_readers_are_told_what_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = captures(&folder.path().join("traces"));
    std::fs::write(folder.path().join("traces"), "no folder").expect("written");
    captures.change(Change::Begin(trace("one", TraceKind::ClientId, "dev-1")));
    for _ in 0..3 {
        tell(&captures, "publish", "dev-1", None);
    }
    let mut read = Vec::new();
    until("they are lost", || {
        read = lines(&captures, "one", 1);
        read[0]["lines"] == 3
    });
    assert_eq!(read[0]["event"], "lost");
}
