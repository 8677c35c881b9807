//! The rows against their plain form, and those that are not what they should be.

use proptest::prelude::*;

use super::*;
use crate::auth::rules::Action;

const ANN: Names<'static> = Names {
    username: Some("ann"),
    client_id: "pump-7",
};

fn rows(rows: &[(&str, &str)]) -> Vec<Row> {
    let row = |(filter, access): &(&str, &str)| Row {
        filter: (*filter).to_owned(),
        access: (*access).to_owned(),
    };
    rows.iter().map(row).collect()
}

fn may(given: &[(&str, &str)], action: Action, topic: &str) -> bool {
    let (made, _) = ruleset(&rows(given), ANN);
    let said = made.judge(action, topic, ANN);
    said.is_some_and(|(_, effect)| effect == Effect::Allow)
}

fn may_both(given: &[(&str, &str)], topic: &str) -> (bool, bool) {
    let may = |action| may(given, action, topic);
    (may(Action::Subscribe), may(Action::Publish))
}

fn flaws(given: &[(&str, &str)]) -> Vec<(usize, Flaw)> {
    ruleset(&rows(given), ANN).1
}

#[test]
fn a_value_says_what_may_be_done_and_what_may_not() {
    for (access, expected) in [
        ("0", (false, false)),
        ("1", (true, false)),
        ("2", (false, true)),
        ("3", (true, true)),
    ] {
        let given = [("a/b", access), ("#", "3")];
        assert_eq!(may_both(&given, "a/b"), expected, "{access}");
        assert_eq!(may_both(&given, "a/c"), (true, true));
        assert_eq!(flaws(&given), []);
    }
    assert_eq!(may_both(&[], "a"), (false, false));
    assert_eq!(may_both(&[("a", "3")], "b"), (false, false));
}

#[test]
fn the_longest_decides_wherever_it_stands() {
    let given = [
        ("a/#", "3"),
        ("a/secret/#", "0"),
        ("#", "0"),
        ("a/secret/bc", "1"),
    ];
    for turn in 0..given.len() {
        let mut given = given;
        given.rotate_left(turn);
        assert_eq!(may_both(&given, "a/b"), (true, true));
        assert_eq!(may_both(&given, "a/secret/a"), (false, false));
        assert_eq!(may_both(&given, "a/secret/bc"), (true, false));
        assert_eq!(may_both(&given, "b"), (false, false));
    }
}

#[test]
fn of_several_as_long_one_that_denies_decides() {
    for given in [[("a/+", "3"), ("+/b", "1")], [("+/b", "1"), ("a/+", "3")]] {
        assert_eq!(may_both(&given, "a/b"), (true, false));
    }
}

#[test]
fn names_are_filled_in_before_it_is_measured() {
    // `dev/%c/#` is shorter than `dev/pump-+/#`… as it is written, and longer for this client.
    let given = [("dev/%c/a", "3"), ("dev/+/a/#", "0")];
    assert_eq!(may_both(&given, "dev/pump-7/a"), (true, true));
    let given = [("%u/x", "3"), ("ann/+", "0")];
    assert_eq!(may_both(&given, "ann/x"), (false, false));
    // A row whose name would open more is not for such a client.
    let wild = Names {
        username: Some("#"),
        client_id: "+",
    };
    let (made, _) = ruleset(&rows(&[("%u", "3"), ("dev/%c/#", "3")]), wild);
    for topic in ["a", "dev/a/b"] {
        assert_eq!(
            made.judge(Action::Publish, topic, wild)
                .map(|(_, effect)| effect),
            None
        );
    }
}

#[test]
fn a_row_that_is_wrong_denies() {
    for access in ["", "4", "-1", "03", "1 ", "x", "3.0", "true"] {
        let given = [("a/#", access), ("#", "3")];
        assert_eq!(may_both(&given, "a/b"), (false, false), "{access}");
        assert_eq!(may_both(&given, "b"), (true, true), "{access}");
        assert_eq!(flaws(&given), [(0, Flaw::Access)]);
    }
    for (filter, denied) in [
        ("a/b#", "a/x"),
        ("a/#/b", "a/x"),
        ("a/+x/b", "a/c"),
        ("a/\0", "a/y"),
    ] {
        let given = [("a/#", "3"), ("b", "3"), (filter, "3")];
        assert_eq!(may_both(&given, denied), (false, false), "{filter:?}");
        assert_eq!(may_both(&given, "b"), (true, true), "{filter:?}");
        assert_eq!(flaws(&given), [(2, Flaw::Filter)]);
    }
    assert_eq!(flaws(&[("", "3")]), [(0, Flaw::Filter)]);
    assert_eq!(may_both(&[("", "3")], "a"), (false, false));
}

#[test]
fn a_row_of_a_shared_subscription_gives_nothing() {
    let given = [("$share/g/a", "3"), ("b", "3"), ("$share/g/b", "0")];
    assert_eq!(may_both(&given, "a"), (false, false));
    assert_eq!(may_both(&given, "b"), (false, true));
    assert_eq!(flaws(&given), [(0, Flaw::Shared), (2, Flaw::Shared)]);
}

/// Whether a filter covers another, level by level.
fn covers(own: &str, asked: &str) -> bool {
    if asked.starts_with('$') && own.starts_with(['+', '#']) {
        return false;
    }
    let (own, asked): (Vec<_>, Vec<_>) = (own.split('/').collect(), asked.split('/').collect());
    for at in 0.. {
        match (own.get(at).copied(), asked.get(at).copied()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(own), Some(level)) if own == level && level != "#" && level != "+" => {}
            _ => return false,
        }
    }
    false
}

/// All rows that speak of it, the longest of them, and whether none of these denies.
fn plainly(rows: &[(String, u8)], action: Action, asked: &str) -> bool {
    let filled = |filter: &String| filter.replace("%u", "ann").replace("%c", "pump-7");
    let speaking = rows
        .iter()
        .map(|(filter, access)| (filled(filter), *access));
    let speaking: Vec<_> = speaking
        .filter(|(filter, _)| covers(filter, asked))
        .collect();
    let longest = speaking.iter().map(|(filter, _)| filter.len()).max();
    let bit = match action {
        Action::Subscribe => 1,
        Action::Publish => 2,
    };
    let mut decide = speaking
        .iter()
        .filter(|(filter, _)| Some(filter.len()) == longest);
    longest.is_some() && decide.all(|(_, access)| access & bit != 0)
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof!["", "a", "ann", "\\+", "\\$x", "%u", "%c", "p%c"];
    let rest = prop_oneof![Just(""), Just("/#")];
    (proptest::collection::vec(level, 1..4), rest)
        .prop_map(|(levels, rest)| levels.join("/") + rest)
        .prop_filter("a filter", |text| !text.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn rules_say_what_rows_say(
        given in proptest::collection::vec((filter(), 0..4u8), 0..10),
        asked in proptest::collection::vec(filter(), 1..8),
        publishes in any::<bool>(),
    ) {
        let stored: Vec<Row> = given
            .iter()
            .map(|(filter, access)| Row { filter: filter.clone(), access: access.to_string() })
            .collect();
        let (made, flaws) = ruleset(&stored, ANN);
        prop_assert_eq!(flaws, []);
        let action = if publishes { Action::Publish } else { Action::Subscribe };
        for asked in asked {
            let asked = asked.replace("%u", "ann").replace("%c", "pump-7");
            let said = made.judge(action, &asked, ANN).map(|(_, effect)| effect == Effect::Allow);
            prop_assert_eq!(said.unwrap_or(false), plainly(&given, action, &asked), "{}", asked);
        }
    }
}
