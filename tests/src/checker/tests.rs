//! The judge is judged: histories of a right broker are valid, and each kind of mistake that is
//! put into one is found, by its own name.

mod dropped;
mod excuses;
mod mistakes;
mod model;
mod register;
mod unknown;
mod wills;

use std::{ops::RangeInclusive, thread};

use super::{Conclusion, Expected, Verdict, Violation, judge};
use crate::history::{Event, History, Name, Random, Record, Uid};
use model::{STAYS, push};

fn uid(publisher: &str, topic: &str, seq: u64) -> Uid {
    Uid {
        publisher: publisher.into(),
        topic: topic.into(),
        seq,
    }
}

fn judged(records: &[Record]) -> Verdict {
    judge(records, &Expected::default())
}

/// A history of these events, a microsecond from one to the next.
fn history(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let mut records = Vec::new();
    for event in events {
        push(&mut records, event);
    }
    records
}

/// Judges these events; all violations that are found must be of these rules, which must all be
/// found.
#[track_caller]
fn check(events: impl IntoIterator<Item = Event>, expected: &[&str]) -> Verdict {
    let verdict = judged(&history(events));
    let mut found: Vec<_> = verdict
        .violations
        .iter()
        .map(Violation::invariant)
        .collect();
    found.dedup();
    assert_eq!(found, expected, "{verdict}");
    verdict
}

/// The numbers of many right histories, which must all be valid.
fn sums(seeds: RangeInclusive<u64>) -> Verdict {
    let mut all = Verdict::default();
    for seed in seeds {
        let records = model::right(&mut Random::new(seed));
        let verdict = judged(&records);
        let conclusion = verdict.conclusion();
        assert_eq!(conclusion, Conclusion::Valid, "seed {seed}: {verdict}");
        all.n_accepted += verdict.n_accepted;
        all.n_refused += verdict.n_refused;
        all.n_unknown += verdict.n_unknown;
        all.n_received += verdict.n_received;
        all.n_repeated += verdict.n_repeated;
        all.recovery = all.recovery.max(verdict.recovery);
    }
    all
}

#[test]
fn right_histories_are_valid() {
    thread::scope(|scope| {
        for seeds in [1..=1_000, 1_001..=2_000] {
            scope.spawn(move || {
                let all = sums(seeds);
                // The model does all that it is there for.
                assert!(all.n_accepted > 10_000, "{all}");
                assert!(all.n_refused > 500 && all.n_unknown > 500, "{all}");
                assert!(all.n_received > 50_000 && all.n_repeated > 1_000, "{all}");
                assert!(all.recovery.is_some(), "{all}");
            });
        }
    });
}

/// What subscribers ask for while they drain is what the judge says at the end.
#[test]
fn what_is_missing_is_what_is_lost() {
    let (mut n_lost, mut n_lost_for_groups) = (0, 0);
    for seed in 1..=200 {
        let mut random = Random::new(seed);
        let mut records = model::right(&mut random);
        records.retain(|record| {
            let is_receipt = matches!(record.event, Event::Received { .. });
            !is_receipt || !random.once_in(20)
        });
        let history = History::default();
        for record in &records {
            history.add(record.clone());
        }
        let verdict = history.judge();
        let mut names: Vec<Name> = Vec::new();
        let mut groups: Vec<(&Name, &Name)> = Vec::new();
        for record in &records {
            match &record.event {
                Event::Drained { client } => names.push(client.clone()),
                Event::Subscribed { client, filter, .. } => groups.push((client, filter)),
                _ => {}
            }
        }
        for name in names {
            let lost = verdict.violations.iter().filter(|found| match found {
                Violation::Lost { client, .. } => *client == name,
                Violation::GroupLost { group, .. } => groups.contains(&(&name, group)),
                _ => false,
            });
            let lost = lost.count();
            assert_eq!(
                history.missing(&name),
                lost,
                "seed {seed}, {name}: {verdict}"
            );
            n_lost += lost;
        }
        n_lost_for_groups += verdict.n_broken("I11");
        assert_eq!(history.missing("nobody"), 0);
    }
    assert!(
        n_lost > 300 && n_lost_for_groups > 30,
        "{n_lost}, {n_lost_for_groups}"
    );
}

/// Whoever reads the log sees the rule first.
#[test]
fn a_violation_names_its_rule() {
    let found = Violation::Lost {
        uid: uid("p1", "t/1", 7),
        client: STAYS.into(),
    };
    assert_eq!(
        found.to_string(),
        "I1: p1|t/1|7 was accepted, and lost for stays"
    );
    let verdict = Verdict {
        violations: vec![found],
        ..Verdict::default()
    };
    assert_eq!(verdict.n_broken("I1"), 1);
    assert!(
        verdict.to_string().starts_with("INVALID: 0 sent"),
        "{verdict}"
    );
}
