//! Traces of clients come, end and go.

use gatemq_proto::cluster::state::{Trace, TraceKind, Untrace};
use gatemq_proto::cluster::traces::MOST;

use super::*;

fn trace(name: &str, until: u64) -> Kind {
    Kind::Trace(Trace {
        name: name.to_owned(),
        kind: TraceKind::Topic.into(),
        value: "site/#".to_owned(),
        until,
        ..Trace::default()
    })
}

fn untrace(name: &str, until: u64, stays_readable: bool) -> Kind {
    Kind::Untrace(Untrace {
        name: name.to_owned(),
        until,
        stays_readable,
    })
}

/// Until when a trace is, and whether it is over.
fn known(bench: &Bench, name: &str) -> Option<(u64, bool)> {
    let trace = bench.state.settings().trace(name);
    trace.map(|trace| (trace.until, trace.is_over))
}

#[test]
fn a_trace_begins_ends_and_goes_and_parts_have_it() {
    let mut bench = Bench::founded();
    bench.apply(trace("one", 5)).unwrap();
    bench.apply(trace("one", 5)).unwrap();
    bench.apply(trace("two", 5)).unwrap();
    bench.apply(untrace("one", 0, true)).unwrap();
    bench.apply(untrace("one", 5, true)).unwrap();
    assert_eq!(known(&bench, "one"), Some((5, true)));
    bench.state = again(&bench.state);
    assert_eq!(known(&bench, "one"), Some((5, true)));
    assert_eq!(known(&bench, "two"), Some((5, false)));
    bench.apply(untrace("one", 0, false)).unwrap();
    bench.apply(untrace("one", 0, false)).unwrap();
    bench.apply(untrace("one", 0, true)).unwrap();
    assert_eq!(known(&bench, "one"), None);
    assert!(bench.apply(trace("../one", 5)).is_err());
}

/// The leader ends what is over, while somebody else begins another one of the same name.
#[test]
fn a_trace_that_took_the_place_of_one_that_is_over_goes_on() {
    let mut bench = Bench::founded();
    bench.apply(trace("one", 5)).unwrap();
    bench.apply(trace("one", 50)).unwrap();
    for stays_readable in [true, false] {
        bench.apply(untrace("one", 5, stays_readable)).unwrap();
        assert_eq!(known(&bench, "one"), Some((50, false)));
    }
}

#[test]
fn there_is_room_for_so_many() {
    let mut bench = Bench::founded();
    for number in 0..MOST {
        bench.apply(trace(&format!("t{number}"), 5)).unwrap();
    }
    let refused = bench.apply(trace("one-more", 5)).unwrap_err();
    assert!(refused.starts_with("there are 16 traces"), "{refused}");
    bench.apply(trace("t0", 6)).unwrap();
    bench.apply(untrace("t1", 0, true)).unwrap();
    assert!(bench.apply(trace("one-more", 5)).is_err());
    bench.apply(untrace("t1", 0, false)).unwrap();
    bench.apply(trace("one-more", 5)).unwrap();
}
