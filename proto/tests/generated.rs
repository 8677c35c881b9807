//! Keeps the generated gRPC code true to `proto/schema`. `GATEMQ_REGENERATE=1` writes it.

use std::fs;
use std::path::Path;

const SCHEMAS: [&str; 7] = [
    "state", "raft", "control", "peer", "desk", "intake", "bridge",
];

#[test]
fn the_generated_code_is_what_the_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = root.join("schema");
    let files = SCHEMAS.map(|name| format!("gatemq/{name}.proto"));
    let descriptors = protox::compile(files, [&schema]).expect("a valid schema");
    let folder = tempfile::tempdir().expect("a folder");
    tonic_prost_build::configure()
        .out_dir(folder.path())
        .bytes(".")
        .btree_map(".")
        .compile_fds(descriptors)
        .expect("generated");
    let committed = root.join("src/cluster/generated");
    let regenerate = std::env::var_os("GATEMQ_REGENERATE").is_some();
    for name in SCHEMAS {
        let file = format!("gatemq.{name}.v1.rs");
        let generated = fs::read_to_string(folder.path().join(&file)).expect("generated");
        if regenerate {
            fs::write(committed.join(&file), &generated).expect("a writable folder");
        }
        let known = fs::read_to_string(committed.join(&file)).unwrap_or_default();
        assert!(
            known == generated,
            "{file} is not what the schema says: run this test with GATEMQ_REGENERATE=1"
        );
    }
}
