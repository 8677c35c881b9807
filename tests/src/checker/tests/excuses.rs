//! Which faults are a reason for a message to come again, and which are none.

use std::{fs, path::Path};

use super::{
    check,
    model::{LATEST, received, sent},
    uid,
};
use crate::{
    checker::is_known,
    history::{Event, FaultOutcome, Uid},
};

const IN_FORCE: FaultOutcome = FaultOutcome::Installed;

fn fault((op, target): (&str, &str), outcome: FaultOutcome) -> Event {
    Event::Fault {
        op: op.into(),
        target: target.into(),
        outcome,
    }
}

/// What each of these breaks while such faults are in force, the message being sent before them.
#[track_caller]
fn excused(faults: &[(&str, &str)], is_excused: bool) {
    let subscribed = |client: &str, filter: &str, qos| Event::Subscribed {
        client: client.into(),
        filter: filter.into(),
        qos,
    };
    let faults = faults.iter().map(|it| fault(*it, IN_FORCE));
    let faults: Vec<_> = faults.collect();
    let it: Uid = uid("p", "t", 0);
    let came = |client, qos| received(client, LATEST, &it, qos, false);
    let first = [
        subscribed("s", "t", 1),
        subscribed("other", "u", 1),
        sent(&it, 1, false),
        came("s", 1),
    ];
    let again = [came("s", 1)];
    let events = first.into_iter().chain(faults.clone()).chain(again);
    check(events, if is_excused { &[] } else { &["I4"] });
    let first = [
        subscribed("a", "$share/g/t", 2),
        subscribed("b", "$share/g/t", 2),
        sent(&it, 2, false),
        came("a", 2),
    ];
    // A group is asked first, whatever has happened.
    let events = first.into_iter().chain(faults).chain([came("b", 2)]);
    check(events, &["I11"]);
}

#[test]
fn who_ends_stops_or_cuts_off_a_gateway_or_redis_is_a_reason() {
    for one in [
        ("kill", "g1"),
        ("kill", "n2"),
        ("kill", "visitor"),
        ("stop", "redis"),
        ("stop", "replica"),
        ("power", "all"),
        ("drain", "g3"),
        ("restart", "g1"),
        ("fail over", "redis"),
        ("cut off", "g2"),
        ("minority", "c1"),
        ("loss", "300 of 1,000"),
    ] {
        excused(&[one], true);
    }
}

#[test]
fn what_only_costs_time_is_no_reason() {
    for one in [
        ("clock", "g1"),
        ("bandwidth", "g1"),
        ("slow disk", "c1"),
        ("flood", "g1"),
        ("storm", "all"),
        ("descriptors", "g1"),
        ("Killed", "kafka"),
        ("kill", "b1"),
        ("nobody has heard of this", "g1"),
    ] {
        excused(&[one], false);
    }
}

/// One control node of three is no quorum less: it takes two.
#[test]
fn a_control_node_alone_is_no_reason() {
    excused(&[("kill", "c1")], false);
    excused(&[("kill", "c1"), ("EIO", "c2")], false);
    excused(&[("kill", "c1"), ("stop", "c1")], false);
    excused(&[("kill", "c1"), ("stop", "c2")], true);
    excused(&[("kill", "c1"), ("kill", "g1")], true);
}

/// One after the other they are not two.
#[test]
fn control_nodes_that_are_gone_in_turn_are_no_reason() {
    let it = uid("p", "t", 0);
    let subscribed = Event::Subscribed {
        client: "s".into(),
        filter: "t".into(),
        qos: 1,
    };
    let came = || received("s", LATEST, &it, 1, false);
    let events = [
        subscribed,
        sent(&it, 1, false),
        came(),
        fault(("kill", "c1"), IN_FORCE),
        fault(("kill", "c1"), FaultOutcome::Healed),
        fault(("kill", "c2"), IN_FORCE),
        came(),
    ];
    check(events, &["I4"]);
}

/// What scenarios make, as far as it is written where they make it; `Run` looks at the rest.
#[test]
fn each_fault_of_a_scenario_is_known() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/faults");
    let mut n_ops = 0;
    for text in sources(Path::new(folder)) {
        for made in ["fault(\"", "makes(\"", "begins(\""] {
            for rest in text.split(made).skip(1) {
                let (op, _) = rest.split_once('"').expect("it ends");
                assert!(is_known(op), "{op} in tests/src/checker/excuse.rs");
                n_ops += 1;
            }
        }
    }
    assert!(n_ops > 20, "{n_ops}");
}

fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(fs::read_to_string(&path).expect("a text"));
        }
    }
    found
}
