//! How much there was, and why that may be too little to show anything.

use std::time::Duration;

use super::{
    Expected, Picture, Verdict,
    picture::{Fault, Moment},
};
use crate::history::{Event, FaultOutcome};

pub(super) fn count(picture: &Picture<'_>, verdict: &mut Verdict) {
    for message in picture.messages.iter().filter(|it| it.is_sent) {
        verdict.n_sent += 1;
        match (message.accepted, message.is_refused) {
            (Some(_), _) => verdict.n_accepted += 1,
            (None, true) => verdict.n_refused += 1,
            (None, false) => verdict.n_unknown += usize::from(message.qos > 0),
        }
    }
    verdict.n_received = picture.receipts.len();
    let mut accepted: Vec<(Moment, Moment)> = picture
        .messages
        .iter()
        .filter_map(|it| Some((it.accepted?, it.first_sent)))
        .collect();
    accepted.sort_unstable();
    let after = |moment: Moment| accepted.partition_point(|(at, _)| *at < moment);
    let passed = |from: Moment, to: Moment| {
        let time = picture.t(to).saturating_sub(picture.t(from));
        Duration::from_nanos(time)
    };
    for fault in &picture.faults {
        if let Some((at, _)) = accepted.get(after(fault.from)) {
            let time = passed(fault.from, *at);
            verdict.standstill = verdict.standstill.max(Some(time));
        }
        let Some(healed) = fault.healed else {
            continue;
        };
        let mut later = accepted[after(healed)..].iter();
        if let Some((at, _)) = later.find(|(_, first_sent)| *first_sent > healed) {
            let time = passed(healed, *at);
            verdict.recovery = verdict.recovery.max(Some(time));
        }
    }
}

pub(super) fn doubt(picture: &Picture<'_>, expected: &Expected, verdict: &mut Verdict) {
    for record in picture.records {
        let Event::Fault {
            op,
            target,
            outcome,
        } = &record.event
        else {
            continue;
        };
        if *outcome == FaultOutcome::Skipped {
            verdict.doubts.push(format!("{op} of {target} was skipped"));
        }
    }
    for Fault { op, target, .. } in picture.faults.iter().filter(|it| !it.is_certain) {
        let doubt = format!("{op} of {target} may not have been in force");
        verdict.doubts.push(doubt);
    }
    if expected.needs_fault && !picture.faults.iter().any(|it| it.is_certain) {
        verdict.doubts.push("no fault was in force".to_owned());
    }
    for op in &expected.faults {
        if !picture.faults.iter().any(|it| it.op == op && it.is_certain) {
            verdict.doubts.push(format!("{op} was never in force"));
        }
    }
    if verdict.n_accepted < expected.least_accepted {
        let (n, least) = (verdict.n_accepted, expected.least_accepted);
        let doubt = format!("only {n} messages were accepted, {least} are needed");
        verdict.doubts.push(doubt);
    }
}
