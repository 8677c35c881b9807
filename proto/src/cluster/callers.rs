//! Which nodes may call what, where they show who they are.
//!
//! A gateway has a share in everything, and is what clients reach: whoever takes one over must not
//! become the control plane. So it calls neither Raft nor the office, and of the commands only those
//! about itself (`control-plane/src/service/permit.rs`). A test compares this table with the schema:
//! a method that is not here is called by nobody.

/// Methods by their path, and the roles in the certificates of those who may call them.
pub const CALLERS: [(&str, &[&str]); 21] = [
    ("/gatemq.bridge.v1.Bridge/Check", &["control", "admin"]),
    ("/gatemq.bridge.v1.Bridge/Rules", &["control", "admin"]),
    ("/gatemq.control.v1.Control/Attend", &["control"]),
    ("/gatemq.control.v1.Control/Join", &["control"]),
    (
        "/gatemq.control.v1.Control/Propose",
        &["control", "gateway", "bridge"],
    ),
    (
        "/gatemq.control.v1.Control/Status",
        &["control", "gateway", "bridge", "admin"],
    ),
    ("/gatemq.control.v1.Control/Watch", &["gateway", "bridge"]),
    ("/gatemq.desk.v1.Desk/Disconnect", &["control", "admin"]),
    ("/gatemq.desk.v1.Desk/Drain", &["control", "admin"]),
    ("/gatemq.desk.v1.Desk/Find", &["control", "admin"]),
    ("/gatemq.desk.v1.Desk/Publish", &["control", "admin"]),
    ("/gatemq.desk.v1.Desk/ReadTrace", &["control", "admin"]),
    ("/gatemq.desk.v1.Desk/Show", &["control", "admin"]),
    // Gateways add up the figures of all.
    (
        "/gatemq.desk.v1.Desk/Stats",
        &["control", "gateway", "admin"],
    ),
    ("/gatemq.desk.v1.Office/Remove", &["control"]),
    ("/gatemq.intake.v1.Intake/Publish", &["bridge"]),
    ("/gatemq.peer.v1.Peer/Forward", &["gateway", "bridge"]),
    ("/gatemq.peer.v1.Peer/Release", &["gateway"]),
    ("/gatemq.raft.v1.Raft/Append", &["control"]),
    ("/gatemq.raft.v1.Raft/Snapshot", &["control"]),
    ("/gatemq.raft.v1.Raft/Vote", &["control"]),
];

/// The roles that may call a method.
pub fn callers(path: &str) -> &'static [&'static str] {
    let row = CALLERS.iter().find(|(method, _)| *method == path);
    row.map_or(&[], |(_, roles)| roles)
}
