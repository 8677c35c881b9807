//! The rows of the tables of bug classes, and that each has a test named after it.

use std::{collections::BTreeSet, fs, path::Path};

/// Tables and how many rows each has: A, what a packet may be wrong in; B, what a connected client
/// may exhaust; C, who may do what; D, everything else that listens or is read.
const TABLES: [(char, usize); 4] = [('a', 14), ('b', 10), ('c', 14), ('d', 10)];

#[test]
fn every_row_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for folder in ["tests/suites", "gateway/src"] {
        collect(&root.join(folder), &mut found);
    }
    let rows = TABLES
        .into_iter()
        .flat_map(|(table, n_rows)| (1..=n_rows).map(move |row| format!("{table}{row}")));
    let missing: Vec<String> = rows.filter(|row| !found.contains(row)).collect();
    assert_eq!(missing, Vec::<String>::new(), "rows without a test");
}

/// What is before the first `_` in the names of functions that follow `#[test]`.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let tests = text.split("#[test]").skip(1);
            let names = tests.filter_map(|rest| rest.trim_start().strip_prefix("fn "));
            let rows = names.filter_map(|name| name.split('_').next());
            found.extend(rows.map(str::to_owned));
        }
    }
}
