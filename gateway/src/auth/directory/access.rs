//! Rules as comqtt has them: rows of a topic filter and an access value. Pure.
//!
//! | value | may subscribe | may publish |
//! |---|---|---|
//! | 0 | no | no |
//! | 1 | yes | no |
//! | 2 | no | yes |
//! | 3 | yes | yes |
//!
//! Of all rows that speak of a topic the one with the longest filter decides, `%u` and `%c` filled
//! in, in bytes; of several as long one that denies. What no row speaks of is denied. A
//! [`Ruleset`] is in order, and its first decides: so the longest is put first.
//!
//! What a row with another value speaks of is denied. Of one whose filter is none, it is not known
//! what it was to speak of: all below the levels in front of the mistake is denied, with the length
//! of what is written. A row of `$share/<group>/<filter>` gives nothing, since shared subscriptions
//! are judged by the filter behind, and denies subscribing to that.

use std::cmp::Reverse;

use crate::auth::rules::{self, Actions, Effect, Names, Rule, Ruleset};
use crate::proto::topic::{self, Bounds, Filter};

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) filter: String,
    pub(crate) access: String,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("the access value is none of 0, 1, 2 and 3: what the filter matches is denied")]
    Access,
    #[error("the topic filter is none: all that it may have meant is denied")]
    Filter,
    #[error("a shared subscription is judged by the filter behind $share/<group>/: write that")]
    Shared,
}

/// The rules for a client, and what was wrong, each with the place of its row.
pub(crate) fn ruleset(rows: &[Row], names: Names<'_>) -> (Ruleset, Vec<(usize, Flaw)>) {
    let mut all = Vec::new();
    let mut flaws = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let (own, flaw) = read(row);
        flaws.extend(flaw.map(|flaw| (at, flaw)));
        let is_whole = flaw != Some(Flaw::Filter);
        all.extend(own.into_iter().map(|rule| {
            let length = match is_whole {
                true => rules::length(&rule, names),
                false => row.filter.len(),
            };
            (length, rule)
        }));
    }
    all.sort_by_key(|(length, rule)| (Reverse(*length), rule.effect == Effect::Allow));
    let ordered = (0..).zip(all.iter().map(|(_, rule)| rule));
    (Ruleset::of(ordered), flaws)
}

/// What a row says.
fn read(row: &Row) -> (Vec<Rule>, Option<Flaw>) {
    let Ok(parsed) = Filter::parse(&row.filter, Bounds::NONE) else {
        let rule = rule(Effect::Deny, Actions::BOTH, around(&row.filter));
        return (vec![rule], Some(Flaw::Filter));
    };
    let filter = parsed.filter.to_owned();
    let is_shared = parsed.share.is_some();
    let all_or_none = |effect| vec![rule(effect, Actions::BOTH, filter.clone())];
    let one = |given, denied| {
        let given = rule(Effect::Allow, given, filter.clone());
        vec![given, rule(Effect::Deny, denied, filter.clone())]
    };
    match row.access.as_str() {
        "1" | "2" | "3" if is_shared => (Vec::new(), Some(Flaw::Shared)),
        _ if is_shared => (
            vec![rule(Effect::Deny, Actions::SUBSCRIBE, filter)],
            Some(Flaw::Shared),
        ),
        "0" => (all_or_none(Effect::Deny), None),
        "1" => (one(Actions::SUBSCRIBE, Actions::PUBLISH), None),
        "2" => (one(Actions::PUBLISH, Actions::SUBSCRIBE), None),
        "3" => (all_or_none(Effect::Allow), None),
        _ => (all_or_none(Effect::Deny), Some(Flaw::Access)),
    }
}

/// A filter of all that one which is none may have meant.
fn around(written: &str) -> String {
    let is_sound =
        |level: &&str| !level.contains(['#', '\0']) && (*level == "+" || !level.contains('+'));
    let mut levels: Vec<&str> = topic::levels(written).take_while(is_sound).collect();
    levels.push("#");
    levels.join("/")
}

fn rule(effect: Effect, actions: Actions, filter: String) -> Rule {
    Rule {
        effect,
        actions,
        filter,
    }
}

#[cfg(test)]
mod tests;
