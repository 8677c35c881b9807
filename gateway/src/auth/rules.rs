//! Who may publish and subscribe to what: rules by topic filter. Pure.
//!
//! A [`Ruleset`] holds rules in the order in which they count: of those that hold for a topic the
//! first decides. A
//! publish is judged by its topic; a subscription by its filter, which a rule's filter has to cover:
//! whatever the subscription gets, the rule speaks of. What a subscription covers beyond an allowed
//! filter it is not given, so a part of it that is denied is left out when messages are delivered,
//! each of which is judged by its own topic.
//!
//! `%u` and `%c` stand for the user name and the client id, `%%` for `%`. They are put in as text: a user called
//! `#` owns no wildcard, and an allowing rule is left out for whoever has `+`, `#` or `/` in what
//! would be put in, `$` in front of it, or nothing at all, since that would reach into somebody else's topics.

use std::collections::HashMap;

use crate::proto::topic;

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Subscribe,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// The actions that a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actions {
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
}

impl Actions {
    pub(crate) const BOTH: Self = Self {
        publish: true,
        subscribe: true,
    };
    pub(crate) const PUBLISH: Self = Self {
        publish: true,
        subscribe: false,
    };
    pub(crate) const SUBSCRIBE: Self = Self {
        publish: false,
        subscribe: true,
    };
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    /// A topic filter, in which [`check_placeholders`] says what may stand for something.
    pub(crate) filter: String,
}

/// What stands for a client in rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) username: Option<&'a str>,
    pub(crate) client_id: &'a str,
}

/// Rules in the order in which they count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    nodes: Vec<Node>,
}

/// What is below some levels of the rules' filters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    literal: HashMap<Box<str>, usize>,
    plus: Option<usize>,
    /// Of filters that end here.
    end: Verdicts,
    /// Of filters that go on with `#`, which also speak of what ends here.
    rest: Verdicts,
}

/// The first rule of each action: its place in the order, and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Verdicts {
    publish: Option<(u32, Effect)>,
    subscribe: Option<(u32, Effect)>,
}

/// A level of a rule's filter.
enum Level<'a> {
    Literal(&'a str),
    Plus,
    Rest,
}

// === impl Ruleset ===

impl Ruleset {
    /// Rules, each with its place in the order, as they are for a client. They come in that order.
    /// A filter that is none was refused when it was read.
    pub(crate) fn of<'r>(
        rules: impl IntoIterator<Item = (u32, &'r Rule)>,
        names: Names<'_>,
    ) -> Self {
        let mut made = Self::default();
        for (place, rule) in rules {
            made.add(place, rule, names);
        }
        made
    }

    /// What the first rule says that speaks of the action on the topic, or on all that a filter
    /// (without `$share/<group>/`) may get, and its place; `None` if none does.
    pub(crate) fn judge(&self, action: Action, filter: &str) -> Option<(u32, Effect)> {
        if self.nodes.is_empty() {
            return None; // most clients have no rules of their own
        }
        let levels: Vec<&str> = match filter {
            "#" => vec!["+", "#"], // the same topics: each has a level
            filter => topic::levels(filter).collect(),
        };
        let is_hidden = filter.starts_with('$'); // [MQTT-4.7.2-1]
        let mut first = None;
        let mut open = vec![(0, 0)];
        while let Some((node, depth)) = open.pop() {
            let Some(node) = self.nodes.get(node) else {
                continue;
            };
            let takes_wildcards = depth > 0 || !is_hidden;
            if takes_wildcards {
                node.rest.take(action, &mut first);
            }
            match levels.get(depth).copied() {
                None => node.end.take(action, &mut first),
                Some("#") => {} // only a rule with `#` here, or above, speaks of all of it
                Some(level) => {
                    if level != "+"
                        && let Some(next) = node.literal.get(level)
                    {
                        open.push((*next, depth + 1));
                    }
                    if takes_wildcards && let Some(next) = node.plus {
                        open.push((next, depth + 1));
                    }
                }
            }
        }
        first
    }

    fn add(&mut self, place: u32, rule: &Rule, names: Names<'_>) {
        let Some(levels) = filled(rule, names) else {
            return;
        };
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for (level, is_wildcard) in &levels {
            let level = match (level.as_str(), is_wildcard) {
                ("+", true) => Level::Plus,
                ("#", true) => Level::Rest,
                (text, _) => Level::Literal(text),
            };
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match level {
                Level::Rest => return node.rest.add(place, rule),
                Level::Plus => *node.plus.get_or_insert(next),
                Level::Literal(text) => match node.literal.get(text) {
                    Some(known) => *known,
                    None => {
                        node.literal.insert(text.into(), next);
                        next
                    }
                },
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].end.add(place, rule);
    }
}

impl Verdicts {
    fn add(&mut self, place: u32, rule: &Rule) {
        // Rules come in their order: the one that is there counts before.
        if rule.actions.publish {
            self.publish.get_or_insert((place, rule.effect));
        }
        if rule.actions.subscribe {
            self.subscribe.get_or_insert((place, rule.effect));
        }
    }

    fn take(&self, action: Action, first: &mut Option<(u32, Effect)>) {
        let own = match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
        };
        if let Some((place, _)) = own
            && first.is_none_or(|(known, _)| place < known)
        {
            *first = own;
        }
    }
}

/// Looks for a `%` in a rule's filter that stands for nothing: what it was meant for would be in no
/// topic.
pub(crate) fn check_placeholders(filter: &str) -> Result<(), String> {
    let mut rest = filter;
    while let Some(at) = rest.find('%') {
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('u' | 'c' | '%') => rest = after.as_str(),
            other => {
                let found: String = std::iter::once('%').chain(other).collect();
                return Err(format!(
                    "{found} stands for nothing: %u is the user name, %c the client id, and %% is %"
                ));
            }
        }
    }
    Ok(())
}

/// How many bytes a rule's filter has for a client; 0 if the rule is not for this one.
pub(crate) fn length(rule: &Rule, names: Names<'_>) -> usize {
    let levels = filled(rule, names).unwrap_or_default();
    let n_bytes: usize = levels.iter().map(|(level, _)| level.len() + 1).sum();
    n_bytes.saturating_sub(1) // there is no `/` behind the last one
}

/// The levels of a rule's filter for a client, and whether each is as it was written, so that a
/// wildcard is one; `None` if the rule is not for this client.
fn filled(rule: &Rule, names: Names<'_>) -> Option<Vec<(String, bool)>> {
    let values = [
        ("%u", names.username.unwrap_or_default()),
        ("%c", names.client_id),
    ];
    let mut levels = Vec::new();
    for level in topic::levels(&rule.filter) {
        if !level.contains('%') {
            levels.push((level.to_owned(), true));
            continue;
        }
        let mut text = String::new();
        let mut rest = level;
        while let Some(at) = rest.find('%') {
            let (before, after) = rest.split_at(at);
            text.push_str(before);
            let known = values.iter().find(|(name, _)| after.starts_with(name));
            rest = match known {
                Some((name, value)) => {
                    let is_own = !value.is_empty()
                        && !value.starts_with('$')
                        && !value.contains(['+', '#', '/']);
                    if rule.effect == Effect::Allow && !is_own {
                        return None;
                    }
                    text.push_str(value);
                    &after[name.len()..]
                }
                None => {
                    text.push('%');
                    after.strip_prefix("%%").unwrap_or(&after[1..])
                }
            };
        }
        text.push_str(rest);
        levels.extend(topic::levels(&text).map(|level| (level.to_owned(), false)));
    }
    Some(levels)
}

#[cfg(test)]
mod tests;
