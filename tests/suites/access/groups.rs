//! A group whose members have different rights: each message goes to one that may have it, on
//! whichever node.

use std::{collections::BTreeSet, fs, time::Duration};

use gatemq_tests::{Cluster, unique};

use super::scene::{RULES, USERS, login};

#[test]
fn what_the_members_of_a_node_may_not_have_goes_to_those_of_another() {
    const N_MESSAGES: u16 = 60;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let users = dir.path().join("users.yml");
    fs::write(&users, format!("{USERS}{RULES}")).expect("it is writable");
    let source = format!("{{type: file, path: '{}'}}", users.display());
    let cluster = Cluster::builder()
        .control(1)
        .gateways(3)
        .setting(&format!("auth: {{sources: [{source}]}}"))
        .start();
    let nodes = cluster.three();
    let connect = |at: usize, username: &str| {
        let (client, _) = nodes[at].connect(&login(5, &unique(username), username));
        client
    };
    // `secret/#` is denied to bob, and what he asks for is more than that.
    let mut bobs = [1, 1, 2].map(|at| connect(at, "bob"));
    let mut ann = connect(0, "ann");
    for member in bobs.iter_mut().chain([&mut ann]) {
        member.subscribe("$share/g/#", 2);
    }
    for qos in [1, 2] {
        for at in 0..3 {
            let mut root = connect(at, "root");
            for number in 0..N_MESSAGES {
                root.publish("secret/a", number.to_be_bytes(), qos);
            }
            let mut come = BTreeSet::new();
            for _ in 0..N_MESSAGES {
                let publish = ann.receive();
                assert!(come.insert(publish.payload.clone()), "it came twice");
            }
        }
    }
    assert!(ann.recv_within(Duration::from_millis(300)).is_none());
    for bob in &mut bobs {
        assert!(bob.recv_within(Duration::from_millis(10)).is_none());
    }
    // Nobody waits for ever where none of them may have it.
    ann.disconnect();
    let mut root = connect(2, "root");
    root.publish("secret/a", b"for nobody", 1);
    root.publish("open/a", b"for one", 1);
}
