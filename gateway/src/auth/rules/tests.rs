//! The rules against their plain form, and the cases that brokers got wrong.

use proptest::prelude::*;

use super::*;

const NOBODY: Names<'static> = Names {
    username: Some("ann"),
    client_id: "pump-7",
};

fn rule(effect: Effect, filter: &str) -> Rule {
    Rule {
        effect,
        actions: Actions::BOTH,
        filter: filter.to_owned(),
    }
}

fn allow(filter: &str) -> Rule {
    rule(Effect::Allow, filter)
}

fn deny(filter: &str) -> Rule {
    rule(Effect::Deny, filter)
}

fn judge(rules: &[Rule], names: Names<'_>, action: Action, topic: &str) -> Option<Effect> {
    let made = Ruleset::of((0..).zip(rules));
    made.judge(action, topic, names).map(|(_, effect)| effect)
}

fn publish(rules: &[Rule], topic: &str) -> Option<Effect> {
    judge(rules, NOBODY, Action::Publish, topic)
}

fn subscribe(rules: &[Rule], filter: &str) -> Option<Effect> {
    judge(rules, NOBODY, Action::Subscribe, filter)
}

const ALLOW: Option<Effect> = Some(Effect::Allow);
const DENY: Option<Effect> = Some(Effect::Deny);

#[test]
fn the_first_rule_that_speaks_of_it_decides() {
    let rules = [deny("a/secret"), allow("a/#"), deny("#")];
    assert_eq!(publish(&rules, "a/secret"), DENY);
    assert_eq!(publish(&rules, "a/b"), ALLOW);
    assert_eq!(publish(&rules, "a"), ALLOW); // [MQTT-4.7.1-2]: the level above, too
    assert_eq!(publish(&rules, "b"), DENY);
    assert_eq!(publish(&rules[..2], "b"), None);
}

#[test]
fn a_percent_sign_is_written_twice() {
    let rules = [allow("load/%%/%%u"), allow("%%%c")];
    assert_eq!(publish(&rules, "load/%/%u"), ALLOW);
    assert_eq!(publish(&rules, "%pump-7"), ALLOW);
    for filter in ["a", "%u/%c/%%", "%%%u"] {
        assert_eq!(check_placeholders(filter), Ok(()), "{filter}");
    }
    for filter in ["%", "%%%", "a/%d", "%/u", "%ü"] {
        assert!(check_placeholders(filter).is_err(), "{filter}");
    }
}

#[test]
fn a_rule_speaks_of_whole_levels() {
    // comqtt let `allowed` match `allowed/secret`, and `a/+` match `a/b/c`.
    let rules = [allow("allowed"), allow("a/+")];
    assert_eq!(publish(&rules, "allowed/secret"), None);
    assert_eq!(publish(&rules, "a/b/c"), None);
    assert_eq!(publish(&rules, "a/b"), ALLOW);
    assert_eq!(publish(&rules, "a"), None);
}

#[test]
fn wildcards_do_not_speak_of_topics_of_the_broker() {
    let rules = [allow("#"), allow("+/info")];
    for topic in ["$SYS", "$SYS/info", "$SYS/broker/uptime"] {
        assert_eq!(publish(&rules, topic), None);
        assert_eq!(subscribe(&rules, topic), None);
    }
    assert_eq!(subscribe(&[allow("$SYS/#")], "$SYS/broker/#"), ALLOW);
    assert_eq!(publish(&[allow("a/#")], "a/$x"), ALLOW);
}

#[test]
fn a_subscription_is_allowed_where_all_that_it_gets_is_spoken_of() {
    let rules = [allow("a/#"), allow("b/+"), allow("c/+/d")];
    for filter in ["a", "a/#", "a/+", "a/+/#", "b/+", "b/x", "c/+/d", "c/x/d"] {
        assert_eq!(subscribe(&rules, filter), ALLOW, "{filter}");
    }
    for filter in ["#", "+", "+/b", "+/#", "b/#", "b", "c/#", "c/+/+", "c/+"] {
        assert_eq!(subscribe(&rules, filter), None, "{filter}");
    }
    // Each topic has a level; but of `a/#` one ends above.
    assert_eq!(subscribe(&[deny("+/#"), allow("#")], "#"), DENY);
    assert_eq!(subscribe(&[allow("#")], "+/#"), ALLOW);
    assert_eq!(subscribe(&[allow("a/+/#")], "a/#"), None);
}

#[test]
fn actions_are_judged_apart() {
    let mut rules = [deny("a"), allow("a")];
    rules[0].actions = Actions {
        publish: true,
        subscribe: false,
    };
    assert_eq!(publish(&rules, "a"), DENY);
    assert_eq!(subscribe(&rules, "a"), ALLOW);
}

#[test]
fn names_are_text_wherever_they_stand() {
    let rules = [allow("dev/%c/up"), allow("home-%u/#"), allow("p%%%u")];
    assert_eq!(publish(&rules, "dev/pump-7/up"), ALLOW);
    assert_eq!(publish(&rules, "home-ann/a/b"), ALLOW);
    assert_eq!(publish(&rules, "p%ann"), ALLOW);
    assert_eq!(publish(&rules, "dev/pump-8/up"), None);
}

#[test]
fn a_name_with_a_meaning_opens_nothing() {
    for name in ["#", "+", "a/b", "", "a+", "x/#", "$SYS"] {
        let names = Names {
            username: Some(name),
            client_id: name,
        };
        let allowing = [allow("dev/%c"), allow("dev/%u/#"), allow("%u/#")];
        let allowed = |topic| judge(&allowing, names, Action::Publish, topic);
        let own = format!("dev/{name}");
        for topic in ["dev/other", "dev/a/b", "x/y", "a/b", "dev/", &own] {
            assert_eq!(allowed(topic), None, "{name} {topic}");
        }
        // A denial still holds for what it says, and for nothing else.
        let denying = [deny("dev/%c"), allow("#")];
        let denied = |topic| judge(&denying, names, Action::Publish, topic);
        if !name.contains(['+', '#']) {
            // Else it is the name of no topic.
            assert_eq!(denied(&own), DENY, "{name}");
        }
        assert_eq!(denied("dev/other"), ALLOW, "{name}");
    }
    let nameless = Names {
        username: None,
        client_id: "c",
    };
    let rules = [allow("home/%u/#"), allow("c/%c")];
    let allowed = |topic| judge(&rules, nameless, Action::Publish, topic);
    assert_eq!(allowed("home//a"), None);
    assert_eq!(allowed("c/c"), ALLOW);
}

#[test]
fn deep_topics_are_no_matter() {
    let deep = "a/".repeat(30_000);
    let rules = [allow(&format!("{deep}#")), deny(&"+/".repeat(20_000))];
    assert_eq!(publish(&rules, &deep), ALLOW);
    assert_eq!(publish(&rules, &"/".repeat(60_000)), None);
}

fn includes(actions: Actions, action: Action) -> bool {
    match action {
        Action::Publish => actions.publish,
        Action::Subscribe => actions.subscribe,
    }
}

/// A rule's filter with names put in, in which what they have of wildcards is marked as text; `None`
/// if the rule is not for them.
fn filled(rule: &Rule, names: Names<'_>) -> Option<String> {
    let username = names.username.unwrap_or_default();
    let mut filled = rule.filter.clone();
    for (placeholder, name) in [("%u", username), ("%c", names.client_id)] {
        if !filled.contains(placeholder) {
            continue;
        }
        let is_owner =
            !name.is_empty() && !name.contains(['+', '#', '/']) && !name.starts_with('$');
        if rule.effect == Effect::Allow && !is_owner {
            return None;
        }
        filled = filled.replace(
            placeholder,
            &name.replace(['+', '#'], "a wildcard is no text"),
        );
    }
    Some(filled)
}

/// Whether a rule's filter covers a filter, level by level.
fn covers(rule: &str, filter: &str) -> bool {
    if filter.starts_with('$') && rule.starts_with(['+', '#']) {
        return false;
    }
    let (rule, filter): (Vec<_>, Vec<_>) = (rule.split('/').collect(), filter.split('/').collect());
    for at in 0.. {
        match (rule.get(at).copied(), filter.get(at).copied()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(own), Some(level)) if own == level && level != "#" && level != "+" => {}
            _ => return false,
        }
    }
    false
}

fn filter() -> impl Strategy<Value = String> {
    filter_of(prop_oneof!["", "a", "b", "\\+", "\\$x"])
}

fn filter_of(level: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let rest = prop_oneof![Just(""), Just("/#")];
    (proptest::collection::vec(level, 1..4), rest)
        .prop_map(|(levels, rest)| levels.join("/") + rest)
        .prop_filter("a filter", |text| !text.is_empty())
}

/// A filter as rules are written.
fn written() -> impl Strategy<Value = String> {
    filter_of(prop_oneof![
        "", "a", "b", "\\+", "\\$x", "%u", "%c", "%ub", "a%c%u"
    ])
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["", "a", "b", "a/b", "\\$x", "\\+", "#", "b/"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_tree_says_what_the_list_says(
        rules in proptest::collection::vec((any::<bool>(), 0..3u8, written()), 0..12),
        asked in proptest::collection::vec(filter(), 1..8),
        publishes in any::<bool>(),
        (username, client_id) in (proptest::option::of(name()), name()),
    ) {
        let names = Names { username: username.as_deref(), client_id: &client_id };
        let rules: Vec<Rule> = rules
            .into_iter()
            .map(|(allows, actions, filter)| Rule {
                effect: if allows { Effect::Allow } else { Effect::Deny },
                actions: Actions { publish: actions != 1, subscribe: actions != 2 },
                filter,
            })
            .collect();
        let action = if publishes { Action::Publish } else { Action::Subscribe };
        for asked in asked {
            let speaks = |rule: &&Rule| {
                includes(rule.actions, action)
                    && filled(rule, names).is_some_and(|filter| covers(&filter, &asked))
            };
            let first = rules.iter().find(speaks);
            prop_assert_eq!(judge(&rules, names, action, &asked), first.map(|rule| rule.effect), "{}", asked);
        }
    }

    /// What a rule covers of a subscription, it speaks of in each message.
    #[test]
    fn what_is_subscribed_is_spoken_of(own in filter(), asked in filter(), topic in "[ab$/x]{1,5}") {
        if covers(&own, &asked) && topic::matches(&asked, &topic) {
            prop_assert_eq!(publish(&[allow(&own)], &topic), ALLOW);
        }
    }
}
