//! Keeps the table of callers true to `proto/schema`: each method has a row, and each row is one.
#![cfg(feature = "cluster")]

use std::collections::BTreeSet;
use std::path::Path;

use gatemq_proto::cluster::callers::{CALLERS, callers};

const SCHEMAS: [&str; 7] = [
    "state", "raft", "control", "peer", "desk", "intake", "bridge",
];

/// The paths of all methods, as gRPC calls them.
fn methods() -> BTreeSet<String> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let files = SCHEMAS.map(|name| format!("gatemq/{name}.proto"));
    let descriptors = protox::compile(files, [&schema]).expect("a valid schema");
    let mut methods = BTreeSet::new();
    for file in descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                methods.insert(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    methods
}

#[test]
fn each_method_has_a_row() {
    let rows: BTreeSet<String> = CALLERS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(rows, methods(), "add a row in proto/src/cluster/callers.rs");
    assert_eq!(rows.len(), CALLERS.len(), "no method has two");
    assert!(CALLERS.iter().all(|(_, roles)| !roles.is_empty()));
}

#[test]
fn gateways_call_neither_raft_nor_what_operators_do() {
    for (path, roles) in CALLERS {
        let is_theirs = matches!(
            path,
            "/gatemq.control.v1.Control/Propose"
                | "/gatemq.control.v1.Control/Status"
                | "/gatemq.control.v1.Control/Watch"
                | "/gatemq.desk.v1.Desk/Stats"
                | "/gatemq.peer.v1.Peer/Forward"
                | "/gatemq.peer.v1.Peer/Release"
        );
        assert_eq!(roles.contains(&"gateway"), is_theirs, "{path}");
        let is_raft = path.starts_with("/gatemq.raft.");
        assert!(!is_raft || roles == ["control"], "{path}");
    }
    assert!(callers("/gatemq.raft.v1.Raft/Other").is_empty());
    assert!(callers("").is_empty());
}
