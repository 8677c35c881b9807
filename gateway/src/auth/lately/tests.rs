//! What was said before must be said of nobody, and of nothing, else.

use std::cell::Cell;

use super::*;
use crate::auth::rules::{Actions, Rule};
use crate::auth::{Part, Rights, Who};

fn rules(from: u32, rules: &[(Effect, &str)]) -> Arc<Ruleset> {
    let rules: Vec<_> = rules
        .iter()
        .map(|(effect, filter)| Rule {
            effect: *effect,
            actions: Actions::BOTH,
            filter: (*filter).to_owned(),
        })
        .collect();
    Arc::new(Ruleset::of((from..).zip(&rules)))
}

fn client(client_id: &str, common: &Arc<Ruleset>, own: &Arc<Ruleset>) -> Rights {
    let who = Who {
        client_id,
        username: None,
        address: None,
        by: crate::auth::By::Nobody,
        brought: None,
    };
    let part = Part {
        common: common.clone(),
        own: own.clone(),
    };
    Rights::of(&who, Some(part))
}

#[test]
fn a_topic_is_judged_once_in_a_row() {
    let lately = Lately::default();
    let n_judged = Cell::new(0);
    let asked = |action, topic: &str, is_allowed| {
        lately.or_judge(action, topic, || {
            n_judged.set(n_judged.get() + 1);
            is_allowed
        })
    };
    assert!(asked(Action::Publish, "a", true));
    assert!(asked(Action::Publish, "a", false), "as before");
    assert!(!asked(Action::Subscribe, "a", false), "another action");
    assert!(!asked(Action::Publish, "a/b", false));
    assert!(asked(Action::Publish, "a", true));
    assert_eq!(n_judged.get(), 4);
}

#[test]
fn a_long_topic_is_judged_each_time_and_not_kept() {
    let lately = Lately::default();
    let asked = |topic: &str, is_allowed| lately.or_judge(Action::Publish, topic, || is_allowed);
    let (longest, long) = ("a".repeat(LONGEST), "a".repeat(LONGEST + 1));
    assert!(asked(&longest, true));
    assert!(!asked(&long, false) && asked(&long, true), "judged anew");
    assert!(asked(&longest, false), "as before");
}

#[test]
fn who_finds_somebody_else_there_does_not_wait() {
    let lately = Lately::default();
    let outer = lately.or_judge(Action::Publish, "a", || {
        lately.or_judge(Action::Publish, "b", || false)
    });
    assert!(!outer);
    assert!(lately.or_judge(Action::Publish, "b", || true), "not kept");
}

#[test]
fn rules_with_names_are_judged_for_each_client() {
    let common = rules(
        0,
        &[(Effect::Deny, "dev/%c/secret"), (Effect::Allow, "dev/#")],
    );
    let none = Arc::default();
    let clients = ["a", "b", "a"].map(|client_id| client(client_id, &common, &none));
    let mut message = OfMessage::default();
    let may = |client: &Rights, message: &mut OfMessage| client.may_have("dev/a/secret", message);
    let said = clients.each_ref().map(|client| may(client, &mut message));
    assert_eq!(said, [false, true, false]);
}

#[test]
fn own_rules_count_beside_what_is_known_of_the_message() {
    let common = rules(1, &[(Effect::Allow, "#")]);
    let none = Arc::default();
    let own = rules(0, &[(Effect::Deny, "a/secret")]);
    let mut message = OfMessage::default();
    assert!(client("a", &common, &none).may_have("a/secret", &mut message));
    assert!(message.is_known());
    assert!(!client("b", &common, &own).may_have("a/secret", &mut message));
    let other = rules(0, &[(Effect::Deny, "#")]);
    assert!(!client("c", &other, &none).may_have("a/secret", &mut message));
}
