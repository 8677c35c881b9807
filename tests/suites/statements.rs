//! The table of normative statements (`conformance/statements.tsv`) is complete, and every proof
//! that it names is a test in the tree.
//!
//! The proof of a row is what its last column lists, every test that bears the statement's number
//! (`mqtt311_3_3_1_2_…` for 3.1.1, `mqtt_3_3_1_2_…` for 5.0), and every test below
//! `conformance_v311` or `conformance_v5` in which a tag such as `[MQTT-3.3.1-2]` stands. A number
//! of more or fewer parts, as in `mqtt_4_10_…`, is a section of the standard and proves no row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const TABLE: &str = include_str!("../conformance/statements.tsv");

/// Section, first and last number of its statements, in Appendix B of each standard.
type Ranges = &'static [(&'static str, u32, u32)];

#[rustfmt::skip]
const V311: Ranges = &[
    ("1.5.3", 1, 3), ("2.2.2", 1, 2), ("2.3.1", 1, 7), ("3.1.0", 1, 2), ("3.1.2", 1, 24),
    ("3.1.3", 1, 11), ("3.1.4", 1, 5), ("3.2.0", 1, 1), ("3.2.2", 1, 6), ("3.3.1", 1, 12),
    ("3.3.2", 1, 3), ("3.3.4", 1, 1), ("3.3.5", 1, 2), ("3.6.1", 1, 1), ("3.8.1", 1, 1),
    ("3.8.3", 1, 4), ("3.8.4", 1, 6), ("3.9.3", 1, 2), ("3.10.1", 1, 1), ("3.10.3", 1, 2),
    ("3.10.4", 1, 6), ("3.12.4", 1, 1), ("3.14.1", 1, 1), ("3.14.4", 1, 3), ("4.1.0", 1, 2),
    ("4.3.1", 1, 1), ("4.3.2", 1, 2), ("4.3.3", 1, 2), ("4.4.0", 1, 1), ("4.5.0", 1, 2),
    ("4.6.0", 1, 6), ("4.7.1", 1, 3), ("4.7.2", 1, 1), ("4.7.3", 1, 4), ("4.8.0", 1, 2),
    ("6.0.0", 1, 4), ("7.0.0", 1, 2), ("7.1.1", 1, 1), ("7.1.2", 1, 1),
];

#[rustfmt::skip]
const V5: Ranges = &[
    ("1.5.4", 1, 3), ("1.5.5", 1, 1), ("1.5.7", 1, 1), ("2.1.3", 1, 1), ("2.2.1", 2, 6),
    ("2.2.2", 1, 1), ("3.1.0", 1, 2), ("3.1.2", 1, 30), ("3.1.3", 1, 12), ("3.1.4", 1, 6),
    ("3.2.0", 1, 2), ("3.2.2", 1, 22), ("3.3.1", 1, 13), ("3.3.2", 1, 20), ("3.3.4", 1, 10),
    ("3.4.2", 1, 3), ("3.5.2", 1, 3), ("3.6.1", 1, 1), ("3.6.2", 1, 3), ("3.7.2", 1, 3),
    ("3.8.1", 1, 1), ("3.8.3", 1, 5), ("3.8.4", 1, 8), ("3.9.2", 1, 2), ("3.9.3", 1, 2),
    ("3.10.1", 1, 1), ("3.10.3", 1, 2), ("3.10.4", 1, 6), ("3.11.2", 1, 2), ("3.11.3", 1, 2),
    ("3.12.4", 1, 1), ("3.14.0", 1, 1), ("3.14.1", 1, 1), ("3.14.2", 1, 4), ("3.14.4", 1, 3),
    ("3.15.1", 1, 1), ("3.15.2", 1, 3), ("4.1.0", 1, 2), ("4.2", 1, 1), ("4.3.1", 1, 1),
    ("4.3.2", 1, 5), ("4.3.3", 1, 13), ("4.4.0", 1, 2), ("4.5.0", 1, 2), ("4.6.0", 1, 6),
    ("4.7.0", 1, 1), ("4.7.1", 1, 2), ("4.7.2", 1, 1), ("4.7.3", 1, 4), ("4.8.2", 1, 6),
    ("4.9.0", 1, 3), ("4.12.0", 1, 7), ("4.12.1", 1, 2), ("4.13.1", 1, 1), ("4.13.2", 1, 1),
    ("6.0.0", 1, 4), ("7.0.0", 1, 2), ("7.1.1", 1, 1), ("7.1.2", 1, 1),
];

/// Version, its name in test names, the directory of its suite, its statements.
const VERSIONS: [(&str, &str, &str, Ranges); 2] = [
    ("3.1.1", "mqtt311_", "conformance_v311", V311),
    ("5.0", "mqtt_", "conformance_v5", V5),
];

/// A version and an id, which may be unknown to the table.
type Statement = (&'static str, String);

struct Row {
    version: &'static str,
    id: &'static str,
    concerns: &'static str,
    statement: &'static str,
    proof: &'static str,
}

impl Row {
    /// The tests that the table names; none where it says why there is none.
    fn listed(&self) -> impl Iterator<Item = &'static str> + use<> {
        let proof = if self.is_excused() { "" } else { self.proof };
        proof
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
    }

    fn key(&self) -> Statement {
        (self.version, self.id.to_owned())
    }

    fn is_excused(&self) -> bool {
        self.proof.starts_with("n/a: ")
    }
}

#[test]
fn every_statement_of_the_standards_is_listed_once() {
    for (version, _, _, ranges) in VERSIONS {
        let listed: Vec<_> = rows()
            .filter(|row| row.version == version)
            .map(|row| row.id)
            .collect();
        assert_eq!(listed, ids(ranges), "{version}");
    }
}

#[test]
fn every_row_says_whom_it_concerns_and_what_it_asks() {
    for row in rows() {
        let id = row.id;
        assert!(
            ["server", "client", "both", "none"].contains(&row.concerns),
            "{id}"
        );
        assert!(
            (10..160).contains(&row.statement.len()),
            "{id}: {}",
            row.statement
        );
        assert!(
            !row.proof.starts_with("n/a") || row.is_excused(),
            "{id}: n/a needs a reason"
        );
    }
}

#[test]
fn every_statement_that_concerns_a_server_has_a_proof() {
    let proven: BTreeSet<_> = tests().into_values().flatten().collect();
    let missing: Vec<_> = rows()
        .filter(|row| ["server", "both"].contains(&row.concerns) && !row.is_excused())
        .filter(|row| row.listed().next().is_none() && !proven.contains(&row.key()))
        .map(|row| format!("{} [MQTT-{}] {}", row.version, row.id, row.statement))
        .collect();
    assert!(
        missing.is_empty(),
        "{} without proof:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn every_proof_is_a_test() {
    let tests = tests();
    let missing: Vec<_> = rows()
        .flat_map(|row| row.listed().map(move |name| (row.version, row.id, name)))
        .filter(|(_, _, name)| !tests.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

#[test]
fn every_number_in_a_test_is_one_of_the_standard() {
    let known: BTreeSet<_> = rows().map(|row| row.key()).collect();
    let unknown: Vec<_> = tests()
        .into_iter()
        .flat_map(|(name, statements)| {
            statements
                .into_iter()
                .map(move |statement| (name.clone(), statement))
        })
        .filter(|(_, statement)| !known.contains(statement))
        .collect();
    assert!(unknown.is_empty(), "no such statement: {unknown:#?}");
}

#[test]
fn names_are_read_as_statements() {
    let check = |name: &str, expected: Option<(&'static str, &str)>| {
        let found = statement_of(name);
        assert_eq!(
            found,
            expected.map(|(version, id)| (version, id.to_owned())),
            "{name}"
        );
    };
    check("mqtt311_3_3_1_2_dup", Some(("3.1.1", "3.3.1-2")));
    check("mqtt_3_3_1_12_dup", Some(("5.0", "3.3.1-12")));
    check("mqtt_4_7_1_2_and_3_wildcards", Some(("5.0", "4.7.1-2")));
    check("mqtt_4_2_1_stream", Some(("5.0", "4.2-1")));
    check("mqtt_4_10_request", None);
    check("mqtt_3_3_2_3_4_alias", None);
    check("mqtt_packets", None);
    check("packets", None);
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        let [version, id, concerns, statement, proof] = cells[..] else {
            panic!("five columns, separated by tabs: {line:?}");
        };
        Row {
            version,
            id,
            concerns,
            statement,
            proof,
        }
    })
}

fn ids(ranges: Ranges) -> Vec<String> {
    let of_section = |(section, first, last): &(&str, u32, u32)| {
        (*first..=*last)
            .map(|number| format!("{section}-{number}"))
            .collect::<Vec<_>>()
    };
    ranges.iter().flat_map(of_section).collect()
}

/// The statement whose number the name of a test bears.
fn statement_of(name: &str) -> Option<Statement> {
    let (version, rest) = VERSIONS
        .iter()
        .find_map(|(version, prefix, _, _)| Some((*version, name.strip_prefix(prefix)?)))?;
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match rest.split('_').take_while(is_number).collect::<Vec<_>>()[..] {
        [a, b, c, number] => Some((version, format!("{a}.{b}.{c}-{number}"))),
        // The one statement whose section has two parts.
        ["4", "2", "1"] if version == "5.0" => Some((version, "4.2-1".to_owned())),
        _ => None,
    }
}

/// The ids in tags such as `[MQTT-3.3.1-2]`.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let is_id = |id: &&str| {
        id.bytes()
            .all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
    };
    line.split("[MQTT-")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(']')?.0))
        .filter(is_id)
}

/// Every test function below the workspace, with the statements that it names and tags.
fn tests() -> BTreeMap<String, BTreeSet<Statement>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above");
    let mut files = Vec::new();
    collect(root, &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        let path = file.to_string_lossy().replace('\\', "/");
        let suite = VERSIONS
            .iter()
            .find(|(_, _, suite, _)| path.contains(&format!("/{suite}/")));
        let text = fs::read_to_string(&file).expect("a source file can be read");
        read_tests(&text, suite.map(|(version, ..)| *version), &mut found);
    }
    found
}

/// Adds the tests in a source file as rustfmt leaves it.
fn read_tests(
    text: &str,
    version: Option<&'static str>,
    found: &mut BTreeMap<String, BTreeSet<Statement>>,
) {
    let mut is_next = false;
    let mut inside: Option<String> = None;
    for line in text.lines() {
        let start = line.trim_start();
        is_next |= start.starts_with("#[test]") || start.starts_with("#[tokio::test");
        let declared = start
            .strip_prefix("async ")
            .unwrap_or(start)
            .strip_prefix("fn ");
        if let Some(rest) = declared {
            let name = rest.split(['(', '<']).next().unwrap_or(rest).to_owned();
            inside = is_next.then_some(name);
            is_next = false;
            if let Some(name) = &inside {
                found
                    .entry(name.clone())
                    .or_default()
                    .extend(statement_of(name));
            }
        }
        if let (Some(name), Some(version)) = (&inside, version) {
            let tagged = tags(line).map(|id| (version, id.to_owned()));
            found.entry(name.clone()).or_default().extend(tagged);
        }
        if line == "}" {
            inside = None;
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("the tree can be read");
    for entry in entries.map(|entry| entry.expect("an entry can be read")) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "fuzz", "node_modules"].contains(&&*name) {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}
