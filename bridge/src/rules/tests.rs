//! Which rules are in force, and what the cluster may set.

use super::*;
use crate::bridge::Disk;
use crate::produce::Compression;

const FILE: &str = "
kafka:
  - {name: main, brokers: ['127.0.0.1:1']}
  - {name: other, brokers: ['127.0.0.1:1']}
rules:
  - {name: a, filters: ['a/#'], topic: a, kafka: main}
  - {name: b, filters: ['b/#'], topic: b, kafka: main}
mqtt:
  - {name: hq, address: '127.0.0.1:1', to: [{name: up, topics: ['u/#']}]}
";

fn rules() -> Rules {
    let file: Config = serde_yaml::from_str(FILE).expect("it is read");
    let plan = file.plan().expect("a plan");
    let folder = std::path::PathBuf::from("/proc/nowhere");
    let bridge = Bridge::start(plan, Disk::At(folder), |error| panic!("{error}"));
    Rules::new(file, Arc::new(bridge.expect("it starts")))
}

fn texts(rules: &[(&str, &str)]) -> BTreeMap<String, String> {
    let texts = rules
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    texts.collect()
}

fn filters(rules: &Rules) -> Vec<String> {
    rules.bridge().filters().into_iter().collect()
}

#[tokio::test]
async fn what_the_cluster_sets_is_over_what_the_file_has_until_it_is_taken_back() {
    let rules = rules();
    assert_eq!(filters(&rules), ["a/#", "b/#", "u/#"]);
    let set = texts(&[
        (
            "a",
            r#"{"filters": ["x/#"], "topic": "a", "kafka": "other"}"#,
        ),
        (
            "c",
            r#"{"filters": ["c/#"], "topic": "c", "kafka": "main"}"#,
        ),
    ]);
    rules.set(&set).expect("it goes");
    assert_eq!(filters(&rules), ["b/#", "c/#", "u/#", "x/#"]);
    let listed = rules.list().into_iter().map(|it| (it.rule.name, it.is_set));
    let expected = [("a", true), ("b", false), ("c", true)];
    assert!(listed.eq(expected.map(|(name, is_set)| (name.to_owned(), is_set))));
    let off = r#"{"enabled": false, "filters": ["b/#"], "kafka": "main"}"#;
    rules.set(&texts(&[("b", off)])).expect("it goes");
    assert_eq!(filters(&rules), ["a/#", "u/#"]);
    rules.set(&texts(&[])).expect("it goes");
    assert_eq!(filters(&rules), ["a/#", "b/#", "u/#"]);
}

#[tokio::test]
async fn what_does_not_go_changes_nothing_and_is_named() {
    let rules = rules();
    let cases = [
        (
            "a",
            r#"{"filters": ["a/#/b"], "kafka": "main"}"#,
            "filters",
            "a/#/b",
        ),
        (
            "a",
            r#"{"filters": ["a"], "kafka": "main", "ack": "no"}"#,
            "ack",
            "unknown variant",
        ),
        ("a", r#"{"filter": ["a"]}"#, "filter", "unknown field"),
        ("a", r#"{"filters": ["a"]}"#, "kafka", "several"),
        (
            "a",
            r#"{"filters": ["a"], "kafka": "none"}"#,
            "kafka",
            "none",
        ),
        (
            "a",
            r#"{"name": "b", "filters": ["a"], "kafka": "main"}"#,
            "name",
            "\"a\"",
        ),
        ("a", "[]", "rule", "map"),
        (
            "a b",
            r#"{"filters": ["a"], "kafka": "main"}"#,
            "name",
            "letters",
        ),
        (
            "up",
            r#"{"filters": ["a"], "kafka": "main"}"#,
            "name",
            "another broker",
        ),
    ];
    for (name, text, key, what) in cases {
        let problem = rules.check(name, Some(text)).expect_err(text);
        assert_eq!(problem.key, key, "{text}: {}", problem.what);
        assert!(problem.what.contains(what), "{text}: {}", problem.what);
        let problem = rules.set(&texts(&[(name, text)])).expect_err(text);
        assert!(problem.key.starts_with("rules."), "{}", problem.key);
    }
    assert_eq!(filters(&rules), ["a/#", "b/#", "u/#"]);
    rules.check("a", None).expect("it is not set");
    let text = r#"{"filters": ["a"], "kafka": "main", "compression": "zstd"}"#;
    rules.set(&texts(&[("z", text)])).expect("it goes");
    let last = rules.list().pop().expect("some");
    assert_eq!(last.rule.compression, Compression::Zstd);
}

#[tokio::test]
async fn a_spool_that_cannot_be_opened_is_no_reason_to_stop() {
    let rules = rules();
    let text = r#"{"filters": ["s"], "kafka": "main", "ack": "spool"}"#;
    let problem = rules
        .set(&texts(&[("s", text)]))
        .expect_err("there is no folder");
    assert!(problem.what.contains("spool"), "{}", problem.what);
    assert_eq!(filters(&rules), ["a/#", "b/#", "u/#"]);
}
