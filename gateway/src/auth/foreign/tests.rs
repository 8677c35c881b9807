//! What each form means, and what is not taken.

use serde_json::json;

use super::*;
use crate::auth::rules::{Action, Names, Ruleset};

const NAMES: Names<'static> = Names {
    username: Some("ann"),
    client_id: "pump-7",
};

fn longest(accesses: &Map<String, Value>) -> Result<Vec<Rule>, String> {
    by_length(accesses, NAMES)
}

fn judge(rules: &[Rule], action: Action, topic: &str) -> Option<Effect> {
    let made = Ruleset::of((0..).zip(rules));
    made.judge(action, topic, NAMES).map(|(_, effect)| effect)
}

fn check(rules: &[Rule], topic: &str, publish: Option<Effect>, subscribe: Option<Effect>) {
    let said = [Action::Publish, Action::Subscribe].map(|action| judge(rules, action, topic));
    assert_eq!(said, [publish, subscribe], "{topic}");
}

const ALLOW: Option<Effect> = Some(Effect::Allow);
const DENY: Option<Effect> = Some(Effect::Deny);

#[expect(clippy::needless_pass_by_value, reason = "tables are easier to read")]
fn list(rules: Value) -> Result<Vec<Rule>, String> {
    ordered(rules.as_array().expect("a list"))
}

type Reader = fn(&Map<String, Value>) -> Result<Vec<Rule>, String>;

#[expect(clippy::needless_pass_by_value, reason = "tables are easier to read")]
fn object(of: Reader, value: Value) -> Vec<Rule> {
    of(value.as_object().expect("an object")).expect("it is right")
}

#[test]
fn of_a_list_the_first_decides() {
    let rules = list(json!([
        {"permission": "deny", "action": "all", "topic": "a/secret"},
        {"permission": "allow", "action": "publish", "topic": "a/#"},
        {"permission": "allow", "action": "subscribe", "topic": "${clientid}/${username}"},
    ]));
    let rules = rules.unwrap();
    check(&rules, "a/secret", DENY, DENY);
    check(&rules, "a/b", ALLOW, None);
    check(&rules, "pump-7/ann", None, ALLOW);
    check(&rules, "b", None, None);
}

#[test]
fn what_is_not_understood_is_an_error() {
    for wrong in [
        json!(1),
        json!({}),
        json!({"permission": "allow", "action": "all"}),
        json!({"permission": "allow", "topic": "a"}),
        json!({"permission": "Allow", "action": "all", "topic": "a"}),
        json!({"permission": "allow", "action": "pub", "topic": "a"}),
        json!({"permission": "allow", "action": "all", "topic": ["a"]}),
        json!({"permission": "allow", "action": "all", "topic": "a#"}),
        json!({"permission": "allow", "action": "all", "topic": ""}),
        json!({"permission": "allow", "action": "all", "topic": "a\nb"}),
        json!({"permission": "allow", "action": "all", "topic": "eq a/#"}),
        json!({"permission": "allow", "action": "all", "topic": "a/${peerhost}"}),
        json!({"permission": "allow", "action": "all", "topic": "a/%h"}),
        json!({"permission": "allow", "action": "all", "topic": "$share/g/a"}),
        json!({"permission": "deny", "action": "all", "topic": "a", "qos": 1}),
    ] {
        assert!(list(json!([wrong])).is_err(), "{wrong}");
    }
}

#[test]
fn topics_for_each_action_are_allowed() {
    let lists = json!({"pub": ["up/%c", "x"], "sub": ["down/%u/#"], "all": ["both"]});
    let rules = object(allowed, lists);
    check(&rules, "up/pump-7", ALLOW, None);
    check(&rules, "up/pump-8", None, None);
    check(&rules, "down/ann/a", None, ALLOW);
    check(&rules, "both", ALLOW, ALLOW);
    for wrong in [json!({"pub": "a"}), json!({"pub": [1]}), json!({"Pub": []})] {
        assert!(allowed(wrong.as_object().unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn of_filters_with_an_access_the_longest_decides() {
    let accesses = json!({
        "a/#": 3, "a/b/#": 1, "a/b/c": 0, "#": 2, "x/+": 3, "x/y": 1, "+/z": 0, "of/%u": 0, "of/+": 3
    });
    let rules = object(longest, accesses);
    check(&rules, "a/c", ALLOW, ALLOW);
    check(&rules, "a/b/d", DENY, ALLOW);
    check(&rules, "a/b/c", DENY, DENY);
    check(&rules, "q", ALLOW, DENY);
    // As long as each other: what is denied by one of them is.
    check(&rules, "x/y", DENY, ALLOW);
    check(&rules, "x/z", DENY, DENY);
    check(&rules, "of/ann", DENY, DENY);
    for wrong in [
        json!({"a": 4}),
        json!({"a": -1}),
        json!({"a": "1"}),
        json!({"a#": 1}),
    ] {
        assert!(longest(wrong.as_object().unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn a_client_does_not_have_any_number_of_rules() {
    let rule = |topic: &str| json!({"permission": "allow", "action": "all", "topic": topic});
    let many = |n: usize, topic: &str| list(vec![rule(topic); n].into());
    assert!(many(MAX_RULES, "a").is_ok());
    assert!(many(MAX_RULES + 1, "a").is_err());
    assert!(many(1, &"/".repeat(MAX_LEVELS - 1)).is_ok());
    assert!(many(1, &"/".repeat(MAX_LEVELS)).is_err());
}
