//! What users may do, judged a second time: a plain walk over the rules, made from what
//! `deploy/config/users.yml` and SECURITY.md say, and from nothing of the product.

use std::net::IpAddr;

use super::{Action, File, Rule, Who};

/// Whether a client may do this with a topic, or with all topics of a filter.
pub fn allowed(file: &File, who: &Who, action: Action, filter: &str) -> bool {
    let Some(rules) = &file.rules else {
        return true;
    };
    let first = rules.iter().find(|rule| speaks(rule, who, action, filter));
    who.is_superuser || first.is_some_and(|rule| rule.allow)
}

/// Whether a rule says anything of this: of a filter, if it covers all of it.
fn speaks(rule: &Rule, who: &Who, action: Action, filter: &str) -> bool {
    let is_named = |known: &String, name: &str| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => known == name,
    };
    let is_listed = |list: &Option<Vec<String>>, name: Option<&str>| match (list, name) {
        (None, _) => true,
        (Some(list), Some(name)) => list.iter().any(|known| is_named(known, name)),
        (Some(_), None) => false,
    };
    let is_there = |networks: &Vec<(IpAddr, u8)>| {
        let is_in = |at| networks.iter().any(|network| contains(*network, at));
        who.address.is_some_and(is_in)
    };
    let covers = |own: String| examples(filter).iter().all(|topic| matches(&own, topic));
    rule.actions.contains(&action)
        && is_listed(&rule.users, who.username.as_deref())
        && is_listed(&rule.clients, Some(&who.client_id))
        && rule.addresses.as_ref().is_none_or(is_there)
        && rule
            .topics
            .iter()
            .any(|topic| filled(rule.allow, topic, who).is_some_and(covers))
}

/// A filter of a rule with names in the place of `%c` and `%u`, where there are names that fit, and `%`
/// in that of `%%`.
/// Signs of a name that no topic can have stand for themselves: for no topic.
fn filled(allow: bool, topic: &str, who: &Who) -> Option<String> {
    let Some((before, after)) = topic.split_once('%') else {
        return Some(topic.to_owned());
    };
    let name = match after.chars().next() {
        Some('c') => &*who.client_id,
        Some('u') => who.username.as_deref().unwrap_or_default(),
        _ => return Some(format!("{before}%{}", filled(allow, &after[1..], who)?)),
    };
    let is_unfit = name.is_empty() || name.starts_with('$') || name.contains(['+', '#', '/']);
    let rest = filled(allow, &after[1..], who)?;
    let name = name.replace(['+', '#'], "\0");
    (!allow || !is_unfit).then(|| format!("{before}{name}{rest}"))
}

/// Topics of a filter of which a rule speaks only if it speaks of all others, too: with a level that
/// nobody has named in the place of `+`, and none, or very many of them, in the place of `#`.
fn examples(filter: &str) -> Vec<String> {
    let named = |level| if level == "+" { "?" } else { level };
    let mut levels: Vec<&str> = filter.split('/').map(named).collect();
    if levels.last() != Some(&"#") {
        return vec![levels.join("/")];
    }
    levels.pop();
    let fewest = levels.first().map(|_| levels.join("/"));
    levels.extend(["?"; 20]);
    vec![fewest.unwrap_or("?".to_owned()), levels.join("/")]
}

/// Whether a topic is one of a filter's.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(own), Some(level)) if own == "+" || own == level => {}
            _ => return false,
        }
    }
}

/// Whether an address is in a network.
fn contains((network, n_bits): (IpAddr, u8), at: IpAddr) -> bool {
    let bits = |at: IpAddr| match at {
        IpAddr::V4(at) => u128::from(at.to_bits()) << 96,
        IpAddr::V6(at) => at.to_bits(),
    };
    let differing = bits(network) ^ bits(at);
    network.is_ipv4() == at.is_ipv4() && differing.leading_zeros() >= u32::from(n_bits)
}
