//! I12, liveness: after the last fault was healed, each client's write and read succeed within
//! 10 s. Source: the project's fault plan.
//!
//! Probes before the last heal are not looked at: another fault was in force, or may have been.

use std::time::Duration;

use super::{Picture, Verdict, Violation};
use crate::history::{Event, FaultOutcome};

/// How long recovery may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let is_heal = |event: &Event| {
        let healed = FaultOutcome::Healed;
        matches!(event, Event::Fault { outcome, .. } if *outcome == healed)
    };
    let records = picture.records;
    let last = records.iter().rposition(|record| is_heal(&record.event));
    for record in &records[last.unwrap_or_default()..] {
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
