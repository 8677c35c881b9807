//! The bill of materials that `deploy/sbom.py` writes: everything that is linked is in it, as
//! Cargo.lock has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Crates that the binaries certainly have, and one that only tests have.
const LINKED: [&str; 6] = [
    "tokio",
    "rustls",
    "openraft",
    "redis",
    "rdkafka",
    "gatemq-proto",
];
const OF_TESTS: &str = "rumqttd";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn output(command: &mut Command) -> Vec<u8> {
    let made = command.current_dir(root()).output();
    let made = made.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{command:?}: {said}");
    made.stdout
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    let found = value[name].as_str();
    found.unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The checksum of each package of Cargo.lock.
fn checksums() -> BTreeMap<String, String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(" = ").trim_matches('"').to_owned())
        };
        let (name, version) = (field("name"), field("version"));
        let purl = name
            .zip(version)
            .map(|(name, it)| format!("pkg:cargo/{name}@{it}"));
        checksums.extend(purl.zip(field("checksum")));
    }
    checksums
}

#[test]
fn everything_that_is_linked_is_in_the_bill() {
    let written = output(Command::new("python3").arg("deploy/sbom.py"));
    let bill: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(text(&bill, "bomFormat"), "CycloneDX");
    assert_eq!(text(&bill, "specVersion"), "1.5");
    assert!(text(&bill, "serialNumber").starts_with("urn:uuid:"));
    let components = bill["components"].as_array().expect("components");
    let application = &bill["metadata"]["component"];
    let checksums = checksums();
    let mut listed = BTreeSet::new();
    for component in components.iter().chain([application]) {
        let purl = text(component, "purl");
        assert!(listed.insert(purl.to_owned()), "{purl} is there twice");
        let license = &component["licenses"][0];
        assert!(license.is_object(), "{purl} has no licence");
        let is_ours = text(component, "name").starts_with("gatemq-");
        let hash = component["hashes"][0]["content"].as_str();
        assert_eq!(hash, checksums.get(purl).map(String::as_str), "{purl}");
        assert_eq!(hash.is_none(), is_ours, "{purl}");
    }
    // As cargo says: NAME vVERSION, and more words.
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = output(Command::new(cargo).args([
        "tree",
        "--locked",
        "--package=gatemq-bridge-process",
        "--edges=normal",
        "--prefix=none",
        "--target=x86_64-unknown-linux-gnu",
    ]));
    let tree = String::from_utf8(tree).expect("UTF-8");
    let linked: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| {
            let version = rest.split(' ').next().unwrap_or_default();
            format!("pkg:cargo/{name}@{version}")
        })
        .collect();
    assert_eq!(listed, linked);
    let has = |name: &str| {
        listed
            .iter()
            .any(|purl| purl.contains(&format!("/{name}@")))
    };
    assert!(LINKED.iter().all(|name| has(name)) && !has(OF_TESTS));
    // Whatever is depended on is there, and everything is reached from the application.
    let edges = bill["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter();
    let edges: BTreeMap<&str, Vec<&str>> = edges
        .map(|edge| {
            let needed = edge["dependsOn"].as_array().expect("a list").iter();
            (
                text(edge, "ref"),
                needed.filter_map(Value::as_str).collect(),
            )
        })
        .collect();
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![text(application, "purl")]);
    while let Some(purl) = waiting.pop() {
        if reached.insert(purl.to_owned()) {
            let needed = edges.get(purl);
            waiting.extend(needed.unwrap_or_else(|| panic!("{purl} is not listed")));
        }
    }
    assert_eq!(reached, listed);
}
