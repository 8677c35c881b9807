//! The trie against the reference matcher of `gatemq_proto::topic`.

use gatemq_proto::topic;
use proptest::prelude::*;

use super::*;

fn texts(trie: &Trie<()>, topic: &str) -> Vec<String> {
    let mut matches = Matches::new();
    trie.find(topic, &mut matches);
    let mut texts: Vec<String> = matches
        .iter()
        .map(|filter| filter.text().to_owned())
        .collect();
    texts.sort();
    texts
}

fn trie(filters: &[&str]) -> Trie<()> {
    let mut trie = Trie::default();
    for filter in filters {
        trie.get_or_insert(filter);
    }
    trie
}

fn check(filters: &[&str], topic: &str, expected: &[&str]) {
    assert_eq!(
        texts(&trie(filters), topic),
        expected,
        "{topic} over {filters:?}"
    );
}

#[test]
fn matches_of_the_standard_examples() {
    check(
        &["sport/tennis/player1/#"],
        "sport/tennis/player1",
        &["sport/tennis/player1/#"],
    );
    check(
        &["sport/#", "sport/+", "sport"],
        "sport",
        &["sport", "sport/#"],
    );
    check(&["sport/+", "sport/#"], "sport/", &["sport/#", "sport/+"]);
    check(&["+/+", "/+", "+"], "/finance", &["+/+", "/+"]);
    check(
        &["#", "+/monitor/Clients", "$SYS/#"],
        "$SYS/monitor/Clients",
        &["$SYS/#"],
    );
    check(
        &["$SYS/monitor/+"],
        "$SYS/monitor/Clients",
        &["$SYS/monitor/+"],
    );
    check(&["a//b", "a/+/b", "a/b"], "a//b", &["a/+/b", "a//b"]);
}

#[test]
fn removing_every_filter_frees_every_node() {
    let filters = ["a/b/c", "a/+/c", "a/#", "#", "+", "a/b", "/", "", "+/+/#"];
    let mut trie = trie(&filters);
    assert_eq!(trie.len(), filters.len());
    for filter in filters {
        assert!(trie.get(filter).is_some(), "{filter}");
        trie.remove(filter);
        assert!(trie.get(filter).is_none(), "{filter}");
    }
    assert!(trie.is_empty());
    assert_eq!(trie.nodes.len() - trie.free.len(), 1);
    assert_eq!(trie.children.len(), 0);
}

#[test]
fn deep_topics_need_no_stack() {
    let deep = "/".repeat(65_535);
    let trie = trie(&["#", &deep, &format!("{deep}/#")]);
    assert_eq!(texts(&trie, &deep).len(), 3);
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]", Just("$s".to_owned())]
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
    (prop::collection::vec(level, 1..5), any::<bool>()).prop_map(|(levels, multi)| {
        let text = levels.join("/");
        if multi { format!("{text}/#") } else { text }
    })
}

proptest! {
    #[test]
    fn agrees_with_the_reference(
        filters in prop::collection::btree_set(filter(), 0..20),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        topic in prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/")),
    ) {
        let mut trie = Trie::<()>::default();
        let mut filters: Vec<String> = filters.into_iter().collect();
        for filter in &filters {
            trie.get_or_insert(filter);
        }
        for index in removed {
            if !filters.is_empty() {
                let filter = filters.remove(index.index(filters.len()));
                trie.remove(&filter);
            }
        }
        let mut expected: Vec<String> =
            filters.into_iter().filter(|filter| topic::matches(filter, &topic)).collect();
        expected.sort();
        prop_assert_eq!(texts(&trie, &topic), expected);
    }
}
