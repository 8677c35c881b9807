//! Guards the house: headers, sizes, names, and which crate may use which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file; tests may be longer.
const LONGEST: usize = 500;
/// Files that are longer, with the length that they must not exceed. The list only shrinks.
const LONGER: &[(&str, usize)] = &[];
/// Names that say nothing.
const BANNED: &[&str] = &[
    "util", "utils", "common", "helpers", "misc", "types", "base", "core", "manager",
];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ is in the workspace")
        .to_owned()
}

/// All files below the root with this ending, but for what is built or installed.
fn files(ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "data" {
                walk(&path, ending, found);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), ending, &mut found);
    found
}

/// Every Rust file of the product and its tests, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let ours = files(".rs")
        .into_iter()
        .filter(|path| !path.starts_with(root.join("tests/load")))
        .filter(|path| !path.to_string_lossy().contains("/generated/"));
    let named = ours.map(|path| {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let name = path.strip_prefix(&root).expect("below the root");
        (name.to_string_lossy().into_owned(), text)
    });
    named.collect()
}

fn manifests() -> BTreeMap<String, String> {
    let folders = [
        "proto",
        "router",
        "storage",
        "node",
        "control-plane",
        "gateway",
        "bridge",
        "deploy/standalone",
        "deploy/bridge",
        "tests",
    ];
    let read = |folder: &str| fs::read_to_string(root().join(folder).join("Cargo.toml"));
    let pairs = folders.map(|folder| (folder.to_owned(), read(folder).expect("a manifest")));
    pairs.into_iter().collect()
}

/// The crates that a crate and its tests are built with: those of `[dependencies]`,
/// `[dev-dependencies]`, `[build-dependencies]`, `[target.….dependencies]`, and of tables such as
/// `[dependencies.x]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_list = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            is_list = table.ends_with("dependencies");
            let single = table.rsplit_once("dependencies.");
            names.extend(single.map(|(_, name)| name));
        } else if is_list && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next());
        }
    }
    names
}

#[test]
fn dependencies_are_found_in_every_kind_of_table() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why\na.workspace = true\n\
        b = { version = \"1\" }\n[dependencies.c]\nversion = \"1\"\n[dev-dependencies]\nd = \"1\"\n\
        [build-dependencies.e]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n\
        [features]\ng = []\n";
    assert_eq!(dependencies(manifest), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! ") && !text.starts_with("#!["))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        silent,
        Vec::<String>::new(),
        "begin these files with `//! what it is for`"
    );
}

#[test]
fn files_stay_small() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let n_lines = text.lines().count();
        let is_test = name.contains("tests");
        let limit = LONGER
            .iter()
            .find(|(file, _)| *file == name)
            .map_or(LONGEST, |(_, n)| *n);
        if n_lines > limit && !is_test {
            long.push(format!("{name}: {n_lines} lines, at most {limit}"));
        }
    }
    assert_eq!(long, Vec::<String>::new(), "split these files");
}

/// Where a line's end is to be left out of a string, the `\` there is lost easily.
#[test]
fn no_text_has_a_hole() {
    let has_hole = |line: &str| {
        let quoted = line.trim_start().split('"').skip(1).step_by(2);
        quoted.map(str::trim).any(|text| {
            let hole = text.split_once("   ");
            // Behind a line's end inside of the text, what follows may be indented.
            hole.is_some_and(|(before, _)| !before.ends_with("\\n"))
        })
    };
    assert!(has_hole("warn!(\"new     filters\", x)") && !has_hole("a(\"b\",     \"c\")"));
    let mut found = Vec::new();
    // An example prints a table.
    let is_said = |name: &str| !name.contains("tests") && !name.contains("/examples/");
    for (name, text) in sources().iter().filter(|(name, _)| is_said(name)) {
        let lines = text.lines().enumerate().filter(|(_, line)| has_hole(line));
        found.extend(lines.map(|(at, _)| format!("{name}:{}", at + 1)));
    }
    assert_eq!(found, Vec::<String>::new(), "text with many spaces in it");
}

/// A task that panics tells nobody, and what waits for it waits for ever: see `vital.rs`.
#[test]
fn what_the_nodes_of_a_cluster_rely_on_is_watched_over() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let relied_on = ["gateway/src/cluster", "gateway/src/shared"];
        let is_relied_on = relied_on.iter().any(|folder| name.starts_with(folder));
        let product = text.split("#[cfg(test)]\nmod ").next();
        let spawns = product.is_some_and(|product| product.contains(".spawn("));
        if is_relied_on && !name.ends_with("/tests.rs") && spawns {
            found.push(name);
        }
    }
    assert_eq!(found, Vec::<String>::new(), "start tasks by `watch_over`");
}

#[test]
fn names_say_something() {
    let mut vague = Vec::new();
    for (name, text) in sources() {
        let files = name.split('/').map(|part| part.trim_end_matches(".rs"));
        let modules = text.lines().filter_map(|line| {
            let line = line.trim();
            let (before, name) = line.split_once("mod ")?;
            let is_module = before.is_empty() || before.starts_with("pub") && before.ends_with(' ');
            name.split([' ', ';', '{']).next().filter(|_| is_module)
        });
        if files
            .chain(modules)
            .any(|part| BANNED.contains(&part) || part == "mod")
        {
            vague.push(name);
        }
    }
    assert_eq!(
        vague,
        Vec::<String>::new(),
        "name these after what is in them"
    );
}

#[test]
fn crates_use_only_what_they_may() {
    let allowed: [(&str, &[&str]); 10] = [
        ("proto", &[]),
        ("storage", &[]),
        ("node", &[]),
        ("router", &["gatemq-proto"]),
        (
            "control-plane",
            &["gatemq-proto", "gatemq-storage", "gatemq-node"],
        ),
        (
            "gateway",
            &[
                "gatemq-proto",
                "gatemq-router",
                "gatemq-storage",
                "gatemq-node",
            ],
        ),
        (
            "bridge",
            &[
                "gatemq-proto",
                "gatemq-router",
                "gatemq-storage",
                "gatemq-node",
            ],
        ),
        (
            "deploy/standalone",
            &[
                "gatemq-proto",
                "gatemq-storage",
                "gatemq-node",
                "gatemq-control-plane",
                "gatemq-gateway",
                "gatemq-bridge",
            ],
        ),
        ("deploy/bridge", &["gatemq-standalone"]),
        (
            "tests",
            &["gatemq-proto", "gatemq-gateway", "gatemq-bridge"],
        ),
    ];
    let manifests = manifests();
    for (folder, allowed) in allowed {
        for name in dependencies(&manifests[folder]) {
            if name.starts_with("gatemq-") {
                assert!(allowed.contains(&name), "{folder} may not use {name}");
            }
        }
    }
}

/// The lints of the workspace forbid it, so no crate of ours can allow it again.
#[test]
fn nothing_of_ours_is_unsafe() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a manifest");
    assert!(read("Cargo.toml").contains("\nunsafe_code = \"forbid\"\n"));
    for (folder, manifest) in manifests() {
        let takes_them = manifest.contains("[lints]\nworkspace = true\n");
        assert!(
            takes_them,
            "{folder} does not take the lints of the workspace"
        );
    }
    // The targets of the fuzzer are no members of it.
    let word = concat!("uns", "afe ");
    for (name, text) in sources() {
        let mut lines = text.lines().map(str::trim_start);
        let is_used = lines.any(|line| !line.starts_with("//") && line.contains(word));
        assert!(!is_used, "{name}");
    }
}

#[test]
fn the_codec_and_the_routing_table_know_no_runtime_and_no_clock() {
    let storage = &manifests()["storage"];
    assert!(
        !dependencies(storage)
            .iter()
            .any(|name| name.starts_with("tokio")),
        "storage uses tokio"
    );
    for (name, text) in sources() {
        let is_codec = name.starts_with("proto/src") && !name.starts_with("proto/src/cluster");
        let is_road = |name: &str| {
            name.starts_with("router/src/peer") || name.starts_with("router/src/control")
        };
        let is_table = name.starts_with("router/src") && !is_road(&name);
        let is_pure = is_codec || is_table;
        assert!(!is_pure || !text.contains("tokio::"), "{name} uses tokio");
        for call in ["Instant::now", "SystemTime::now", ".await"] {
            assert!(!is_pure || !text.contains(call), "{name} calls {call}");
        }
    }
}

#[test]
fn node_and_storage_know_no_mqtt() {
    for (name, text) in sources() {
        let is_plain = name.starts_with("node/src") || name.starts_with("storage/src");
        assert!(
            !is_plain || !text.contains("gatemq_proto"),
            "{name} knows MQTT"
        );
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for path in files(".md") {
        let folder = path.parent().expect("it is in a folder");
        let text = fs::read_to_string(&path).expect("UTF-8");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(
                folder.join(file).exists(),
                "{}: no such file: {link}",
                path.display()
            );
        }
    }
}
