//! I12, liveness: after the last fault was healed, each client's write and read succeed within
//! 10 s. Source: the project's fault plan. Each asks one gateway and no other (`traffic/probe.rs`),
//! so that one that takes nobody any more is found.
//!
//! Probes before the last heal are not looked at: another fault was in force, or may have been. Those
//! that began later, long after the heal, have to succeed as soon after their own beginning; they alone
//! show nothing of a run that needs a probe.

use std::time::Duration;

use super::{Expected, Picture, Verdict, Violation, picture::Moment};
use crate::history::{Event, FaultOutcome, Record};

/// How long recovery may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How soon after the heal a probe begins, or it does not measure the recovery.
const BEGINS: u64 = 1_000_000_000;

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    for record in &picture.records[last_heal(picture).unwrap_or_default()..] {
        let Event::Probe { client, ok, after } = &record.event else {
            continue;
        };
        let after = Duration::from_nanos(*after);
        if *ok && after < LIMIT {
            verdict.slowest_probe = verdict.slowest_probe.max(Some(after));
        } else {
            let client = client.clone();
            verdict.violations.push(Violation::Stuck { after, client });
        }
    }
}

/// Why nobody knows how long the recovery took, where that has to be known.
pub(super) fn doubt(picture: &Picture<'_>, expected: &Expected, verdict: &mut Verdict) {
    if !expected.needs_probe {
        return;
    }
    let healed = last_heal(picture);
    let since = &picture.records[healed.unwrap_or_default()..];
    let measures = |record: &Record| {
        let Event::Probe { after, .. } = &record.event else {
            return false;
        };
        let began = record.t.saturating_sub(*after);
        healed.is_none_or(|healed| began <= picture.t(healed) + BEGINS)
    };
    if !since.iter().any(measures) {
        let doubt = "nobody wrote and read as soon as the last fault was healed";
        verdict.doubts.push(doubt.to_owned());
    }
}

fn last_heal(picture: &Picture<'_>) -> Option<Moment> {
    let is_heal = |record: &Record| {
        let healed = FaultOutcome::Healed;
        matches!(&record.event, Event::Fault { outcome, .. } if *outcome == healed)
    };
    picture.records.iter().rposition(is_heal)
}
