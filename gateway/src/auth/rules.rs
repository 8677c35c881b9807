//! Who may publish and subscribe to what: rules by topic filter. Pure.
//!
//! A [`Ruleset`] holds rules in the order in which they count: of those that hold for a topic the
//! first decides. A publish is judged by its topic; a subscription by its filter, which a rule's
//! filter has to cover: whatever the subscription gets, the rule speaks of. What a subscription
//! covers beyond an allowed filter it is not given, so a part of it that is denied is left out when
//! messages are delivered, each of which is judged by its own topic.
//!
//! `%u` and `%c` stand for the user name and the client id, `%%` for `%`. They stay in the tree of a
//! [`Ruleset`], which is therefore one for all clients, and are compared as text ([`pattern`]): a
//! user called `#` owns no wildcard, and an allowing rule does not hold for whoever has `+`, `#` or
//! `/` in what would be put in, `$` in front of it, or nothing at all, since that would reach into
//! somebody else's topics.

mod pattern;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};

use crate::proto::topic;
use pattern::Pattern;
pub(crate) use pattern::check_placeholders;

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
    literal: HashMap<Box<str>, u32, RandomState>,
    plus: Option<u32>,
    /// Levels in which names stand.
    named: Vec<(Pattern, u32)>,
    /// Of filters that end here.
    end: Verdicts,
    /// Of filters that go on with `#`, which also speak of what ends here.
    rest: Verdicts,
}

/// The first rules of each action.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdicts {
    publish: Places,
    subscribe: Places,
}

/// Where in the order the first rule is that allows, and the first that denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    allow: u32,
    deny: u32,
}

/// The place of no rule: behind all.
const NOWHERE: u32 = u32::MAX;

/// A way into the tree that is still to be gone.
struct Way<'f> {
    node: u32,
    /// The levels that are left; `None` behind the last one.
    rest: Option<&'f str>,
    /// Whether all names on the way are such as own topics.
    is_owners: bool,
}

// === impl Ruleset ===

impl Ruleset {
    /// Rules, each with its place in the order, in which they come. A filter that is none was refused
    /// when it was read.
    pub(crate) fn of<'r>(rules: impl IntoIterator<Item = (u32, &'r Rule)>) -> Self {
        let mut made = Self::default();
        for (place, rule) in rules {
            made.add(place, rule);
        }
        made
    }

    /// What the first rule says that speaks of the action on the topic, or on all that a filter
    /// (without `$share/<group>/`) may get, and its place; `None` if none does.
    pub(crate) fn judge(
        &self,
        action: Action,
        filter: &str,
        names: Names<'_>,
    ) -> Option<(u32, Effect)> {
        self.judge_for_all(action, filter, names).0
    }

    /// The same, and whether it holds whatever the names are.
    pub(crate) fn judge_for_all(
        &self,
        action: Action,
        filter: &str,
        names: Names<'_>,
    ) -> (Option<(u32, Effect)>, bool) {
        if self.nodes.is_empty() {
            return (None, true); // most clients have no rules of their own
        }
        let whole = match filter {
            "#" => "+/#", // the same topics: each has a level
            filter => filter,
        };
        let is_hidden = filter.starts_with('$'); // [MQTT-4.7.2-1]
        let (mut first, mut is_for_all) = (None, true);
        let mut open: SmallVec<[Way<'_>; 8]> = smallvec![Way {
            node: 0,
            rest: Some(whole),
            is_owners: true,
        }];
        while let Some(Way {
            node: at,
            rest,
            is_owners,
        }) = open.pop()
        {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            let takes_wildcards = at > 0 || !is_hidden;
            if takes_wildcards {
                node.rest.take(action, is_owners, &mut first);
            }
            let Some(rest) = rest else {
                node.end.take(action, is_owners, &mut first);
                continue;
            };
            if rest == "#" {
                continue; // only a rule with `#` here, or above, speaks of all of it
            }
            let (level, below) = match rest.split_once('/') {
                Some((level, below)) => (level, Some(below)),
                None => (rest, None),
            };
            let mut go = |node, rest, is_owners| {
                open.push(Way {
                    node,
                    rest,
                    is_owners,
                });
            };
            if level != "+"
                && let Some(next) = node.literal.get(level)
            {
                go(*next, below, is_owners);
            }
            if takes_wildcards && let Some(next) = node.plus {
                go(next, below, is_owners);
            }
            is_for_all &= node.named.is_empty();
            for (pattern, next) in &node.named {
                if let Some((below, is_owner)) = pattern.strip(rest, names) {
                    go(*next, below, is_owners && is_owner);
                }
            }
        }
        (first, is_for_all)
    }

    fn add(&mut self, place: u32, rule: &Rule) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for level in topic::levels(&rule.filter) {
            let new = self.nodes.len();
            let node = &mut self.nodes[at as usize];
            let next = new as u32;
            at = match level {
                "#" => return node.rest.add(place, rule),
                "+" => *node.plus.get_or_insert(next),
                text => match Pattern::parse(text) {
                    Ok(pattern) => {
                        let known = node.named.iter().find(|(known, _)| *known == pattern);
                        match known {
                            Some((_, known)) => *known,
                            None => {
                                node.named.push((pattern, next));
                                next
                            }
                        }
                    }
                    Err(text) => match node.literal.get(&*text) {
                        Some(known) => *known,
                        None => {
                            node.literal.insert(text.into(), next);
                            next
                        }
                    },
                },
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at as usize].end.add(place, rule);
    }
}

// === impl Verdicts ===

impl Verdicts {
    fn add(&mut self, place: u32, rule: &Rule) {
        let Actions { publish, subscribe } = rule.actions;
        for (includes, places) in [
            (publish, &mut self.publish),
            (subscribe, &mut self.subscribe),
        ] {
            let first = match rule.effect {
                Effect::Allow => &mut places.allow,
                Effect::Deny => &mut places.deny,
            };
            if includes {
                // Rules come in their order: the one that is there counts before.
                *first = place.min(*first);
            }
        }
    }

    /// Takes the first of these, if it counts before what is known.
    fn take(&self, action: Action, is_owners: bool, first: &mut Option<(u32, Effect)>) {
        let Places { allow, deny } = match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
        };
        let own = match is_owners && allow < deny {
            true => (allow, Effect::Allow),
            false => (deny, Effect::Deny),
        };
        if own.0 < first.map_or(NOWHERE, |(place, _)| place) {
            *first = Some(own);
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            allow: NOWHERE,
            deny: NOWHERE,
        }
    }
}

/// How many bytes a rule's filter has for a client; 0 if the rule is not for this one.
pub(crate) fn length(rule: &Rule, names: Names<'_>) -> usize {
    let mut n_bytes = 0;
    for level in topic::levels(&rule.filter) {
        n_bytes += 1 + match Pattern::parse(level) {
            Err(text) => text.len(),
            Ok(pattern) if rule.effect == Effect::Allow && !pattern.is_owner(names) => return 0,
            Ok(pattern) => pattern.length(names),
        };
    }
    n_bytes - 1 // there is no `/` behind the last one
}

#[cfg(test)]
mod tests;
