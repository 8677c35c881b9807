//! Runs that show nothing, though nothing is wrong; and the numbers.

use std::time::Duration;

use super::{
    Conclusion, Expected, Violation, history, judge, judged,
    model::{self, SECOND, STAYS, accepted, push, sent},
    uid,
};
use crate::history::{Event, FaultOutcome, Random, Record};

fn right() -> Vec<Record> {
    model::right(&mut Random::new(1))
}

fn fault(op: &str, outcome: FaultOutcome) -> Event {
    Event::Fault {
        op: op.into(),
        target: "g2".into(),
        outcome,
    }
}

/// The only doubt about these records.
#[track_caller]
fn doubt(records: &[Record], expected: &Expected) -> String {
    let verdict = judge(records, expected);
    assert_eq!(verdict.conclusion(), Conclusion::Unknown, "{verdict}");
    assert_eq!(verdict.doubts.len(), 1, "{verdict}");
    verdict.doubts[0].clone()
}

#[test]
fn who_does_not_drain_shows_nothing() {
    let is_drain =
        |record: &Record| matches!(&record.event, Event::Drained { client } if *client == STAYS);
    let mut records = right();
    records.retain(|record| !is_drain(record));
    let expected = Expected::default();
    assert_eq!(doubt(&records, &expected), "stays did not drain");
    // What it did not receive is not known to be lost.
    records.retain(
        |record| !matches!(&record.event, Event::Received { client, .. } if *client == STAYS),
    );
    assert_eq!(doubt(&records, &expected), "stays did not drain");
    // Nor is what was accepted after the drain.
    let mut records = right();
    let late = uid("p1", "t/0", 9_000);
    for event in [sent(&late, 1, false), accepted(&late)] {
        push(&mut records, event);
    }
    let verdict = judged(&records);
    assert_eq!(verdict.conclusion(), Conclusion::Unknown, "{verdict}");
    let text = "stays had drained when 1 more were accepted".to_owned();
    assert!(verdict.doubts.contains(&text), "{verdict}");
}

#[test]
fn faults_that_were_not_in_force_show_nothing() {
    for (outcome, expected) in [
        (FaultOutcome::Skipped, "flap of g2 was skipped"),
        (
            FaultOutcome::Indeterminate,
            "flap of g2 may not have been in force",
        ),
    ] {
        let mut records = right();
        push(&mut records, fault("flap", outcome));
        assert_eq!(doubt(&records, &Expected::default()), expected);
    }
    let expected = Expected {
        faults: vec!["flap".into()],
        ..Expected::default()
    };
    let mut records = right();
    assert_eq!(doubt(&records, &expected), "flap was never in force");
    let mut perhaps = records.clone();
    push(&mut perhaps, fault("flap", FaultOutcome::Indeterminate));
    assert_eq!(judge(&perhaps, &expected).doubts.len(), 2);
    push(&mut records, fault("flap", FaultOutcome::Installed));
    let verdict = judge(&records, &expected);
    assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
}

/// What is made is not in force before somebody has seen that.
#[test]
fn faults_that_were_begun_and_not_seen_show_nothing() {
    use FaultOutcome::{Begun, Healed, Indeterminate, Installed};
    let perhaps = "flap of g2 may not have been in force";
    let with = |outcomes: &[FaultOutcome]| {
        let mut records = right();
        for outcome in outcomes {
            push(&mut records, fault("flap", *outcome));
        }
        records
    };
    let expected = Expected::default();
    for outcomes in [
        &[Begun][..],
        &[Begun, Healed],
        &[Begun, Indeterminate, Healed],
        &[Begun, Installed, Healed, Begun, Healed],
    ] {
        assert_eq!(doubt(&with(outcomes), &expected), perhaps, "{outcomes:?}");
    }
    let verdict = judged(&with(&[Begun, Installed, Healed]));
    assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
}

/// A scenario of faults without one is none.
#[test]
fn a_run_without_its_fault_shows_nothing() {
    use FaultOutcome::{Healed, Installed};
    let expected = Expected {
        needs_fault: true,
        ..Expected::default()
    };
    let mut records = right();
    // What the model does is left out.
    records.retain(|record| !matches!(record.event, Event::Fault { .. }));
    assert_eq!(doubt(&records, &expected), "no fault was in force");
    for outcome in [Installed, Healed] {
        push(&mut records, fault("flap", outcome));
    }
    let verdict = judge(&records, &expected);
    assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
}

/// A probe counts from the heal, or nothing is known of how long the recovery took.
#[test]
fn a_recovery_that_nobody_measured_shows_nothing() {
    use FaultOutcome::{Healed, Installed};
    let expected = Expected {
        needs_probe: true,
        ..Expected::default()
    };
    let unmeasured = "nobody wrote and read as soon as the last fault was healed";
    let healed_and_probed = |probes: &[(u64, u64)]| {
        let mut records = right();
        for outcome in [Installed, Healed] {
            push(&mut records, fault("kill", outcome));
        }
        let healed = records.last().map_or(0, |record| record.t);
        for (at, after) in probes {
            let (t, after) = (healed + at * SECOND, after * SECOND);
            let (client, ok) = (STAYS.into(), true);
            let event = Event::Probe { client, ok, after };
            records.push(Record { t, event });
        }
        records
    };
    // Nobody at all; somebody who began when it was long over.
    for probes in [&[][..], &[(30, 1)], &[(20, 5), (40, 9)]] {
        let records = healed_and_probed(probes);
        assert_eq!(doubt(&records, &expected), unmeasured, "{probes:?}");
    }
    for probes in [&[(3, 3)][..], &[(4, 3)], &[(3, 3), (30, 1)]] {
        let verdict = judge(&healed_and_probed(probes), &expected);
        assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
    }
    let slow = judge(&healed_and_probed(&[(30, 30)]), &expected);
    assert_eq!(slow.n_broken("I12"), 1, "{slow}");
    // One before the last heal is not enough.
    let mut records = healed_and_probed(&[(3, 3)]);
    push(&mut records, fault("kill", Healed));
    assert_eq!(doubt(&records, &expected), unmeasured);
}

#[test]
fn too_little_shows_nothing() {
    let n_accepted = judged(&right()).n_accepted;
    for (least_accepted, conclusion) in [
        (n_accepted, Conclusion::Valid),
        (n_accepted + 1, Conclusion::Unknown),
    ] {
        let expected = Expected {
            least_accepted,
            ..Expected::default()
        };
        assert_eq!(judge(&right(), &expected).conclusion(), conclusion);
    }
}

#[test]
fn what_is_wrong_counts_more_than_what_is_open() {
    let mut records = right();
    push(&mut records, fault("flap", FaultOutcome::Skipped));
    let probe = Event::Probe {
        client: STAYS.into(),
        ok: false,
        after: 1,
    };
    push(&mut records, probe);
    let verdict = judged(&records);
    assert_eq!(verdict.conclusion(), Conclusion::Invalid);
    assert!(matches!(verdict.violations[0], Violation::Stuck { .. }));
    assert!(Conclusion::Valid < Conclusion::Unknown && Conclusion::Unknown < Conclusion::Invalid);
}

#[test]
fn the_numbers_add_up() {
    let [one, two, three, four] = [0, 1, 2, 3].map(|seq| uid("p", "t", seq));
    let refused = Event::Refused {
        uid: two.clone(),
        connection: 1,
        reason: 0x97,
    };
    let mut records = history([
        sent(&one, 1, false),
        sent(&two, 1, false),
        fault("kill", FaultOutcome::Installed),
        accepted(&one),
        refused,
        sent(&three, 1, false),
        sent(&three, 1, true),
        fault("kill", FaultOutcome::Healed),
        accepted(&three),
        sent(&four, 2, false),
        accepted(&four),
    ]);
    let verdict = judged(&records);
    let counted = [
        verdict.n_sent,
        verdict.n_accepted,
        verdict.n_refused,
        verdict.n_unknown,
    ];
    assert_eq!(counted, [4, 3, 1, 0]);
    // A microsecond from one to the next: only the fourth was sent after the heal.
    assert_eq!(verdict.standstill, Some(Duration::from_micros(1)));
    assert_eq!(verdict.recovery, Some(Duration::from_micros(3)));
    records.pop();
    let verdict = judged(&records);
    assert_eq!((verdict.n_unknown, verdict.recovery), (1, None));
}
