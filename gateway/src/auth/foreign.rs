//! Rules as others write them, in answers over HTTP and in tokens: lists of EMQX, topics for each
//! action, filters with an access of comqtt. Pure.
//!
//! What is not understood, such as a rule that holds for one QoS alone, is an error: a rule that was
//! left out, or read as if it said less, could be the one that denies.

use std::cmp::Reverse;

use serde_json::{Map, Value};

use super::rules::{Actions, Effect, Names, Rule, check_placeholders, length};
use crate::proto::topic::{Bounds, Filter, levels};

/// Rules that one client may have.
const MAX_RULES: usize = 1_024;
/// Levels that the filters of all of them may have together: each costs memory as long as the client
/// is there.
const MAX_LEVELS: usize = 8_192;

/// `[{"permission": "allow", "action": "publish", "topic": "a/#"}, …]`: the first that speaks of a
/// topic decides.
pub(super) fn ordered(list: &[Value]) -> Result<Vec<Rule>, String> {
    let rule = |value: &Value| {
        let rule = value.as_object().ok_or("a rule is no object")?;
        let text = |name: &str| match rule.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(format!("a rule has no {name}")),
        };
        let effect = match text("permission")? {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            _ => return Err("a permission is neither allow nor deny".to_owned()),
        };
        let actions = match text("action")? {
            "publish" => Actions::PUBLISH,
            "subscribe" => Actions::SUBSCRIBE,
            "all" => Actions::BOTH,
            _ => return Err("an action is not publish, subscribe, or all".to_owned()),
        };
        if rule.len() > 3 {
            return Err("a rule has more than permission, action, and topic".to_owned());
        }
        read(effect, actions, text("topic")?)
    };
    bounded(list.iter().map(rule))
}

/// `{"pub": ["a/#"], "sub": […], "all": […]}`: what is allowed.
pub(super) fn allowed(lists: &Map<String, Value>) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (name, list) in lists {
        let actions = match name.as_str() {
            "pub" => Actions::PUBLISH,
            "sub" => Actions::SUBSCRIBE,
            "all" => Actions::BOTH,
            _ => return Err("topics are allowed for pub, sub, and all".to_owned()),
        };
        let list = list.as_array().ok_or("what is allowed is no list")?;
        rules.extend(list.iter().map(|topic| match topic {
            Value::String(topic) => read(Effect::Allow, actions, topic),
            _ => Err("a topic is no text".to_owned()),
        }));
    }
    bounded(rules.into_iter())
}

/// `{"a/#": 1, …}`: the longest filter, with the names in it, decides; 0 is nothing, 1 subscribe,
/// 2 publish, 3 both. Of two that are as long the one that denies.
pub(super) fn by_length(
    accesses: &Map<String, Value>,
    names: Names<'_>,
) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (filter, access) in accesses {
        let access = access.as_u64().filter(|access| *access <= 3);
        let access = access.ok_or("an access is not 0, 1, 2, or 3")?;
        for (bit, actions) in [(1, Actions::SUBSCRIBE), (2, Actions::PUBLISH)] {
            let effect = match access & bit {
                0 => Effect::Deny,
                _ => Effect::Allow,
            };
            rules.push(read(effect, actions, filter)?);
        }
    }
    rules.sort_by_cached_key(|rule| {
        let length = length(rule, names);
        (Reverse(length), rule.effect == Effect::Allow)
    });
    bounded(rules.into_iter().map(Ok))
}

/// One rule. The placeholders of EMQX become ours.
fn read(effect: Effect, actions: Actions, topic: &str) -> Result<Rule, String> {
    let filter = topic
        .replace("${username}", "%u")
        .replace("${clientid}", "%c");
    if filter.contains("${") {
        return Err("a topic has a placeholder that is not known here".to_owned());
    }
    if filter.starts_with("eq ") {
        return Err(
            "a topic is to be taken by the letter (eq), which is not known here".to_owned(),
        );
    }
    check_placeholders(&filter)
        .map_err(|_| "a topic has a % that stands for nothing".to_owned())?;
    match Filter::parse(&filter, Bounds::NONE) {
        Ok(parsed) if parsed.share.is_none() => {}
        Ok(_) => return Err("a rule is for $share, and speaks of no topic".to_owned()),
        Err(error) => return Err(format!("a rule's {error}")),
    }
    Ok(Rule {
        effect,
        actions,
        filter,
    })
}

fn bounded(rules: impl Iterator<Item = Result<Rule, String>>) -> Result<Vec<Rule>, String> {
    let mut taken = Vec::new();
    let mut n_levels = 0;
    for rule in rules {
        let rule = rule?;
        n_levels += levels(&rule.filter).count();
        taken.push(rule);
        if taken.len() > MAX_RULES || n_levels > MAX_LEVELS {
            return Err("there are more rules than one client may have".to_owned());
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests;
