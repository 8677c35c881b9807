//! D9: files of one control node that are not what was written. The node says so and does not
//! serve, or it has all that it had; the others go on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gatemq_tests::{Cluster, Node, history::Random, patience::becomes_true, unique};

use super::SOON;

/// Ways to spoil a file.
const WAYS: [&str; 4] = ["flipped", "truncated", "reordered", "zeroed"];
/// How often each file is spoilt in each way.
const ROUNDS: usize = 3;

fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(data_files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in data_files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, target).expect("a copy");
    }
}

fn spoil(file: &Path, way: &str, random: &mut Random) {
    let mut bytes = fs::read(file).expect("a readable file");
    // What was written is at the beginning; a file may be mostly air.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    match way {
        "flipped" => {
            for _ in 0..32 {
                bytes[random.below(used)] ^= 1 << random.below(8);
            }
        }
        "truncated" => bytes.truncate(random.below(used)),
        "zeroed" => {
            let from = random.below(used);
            let to = (from + 4096).min(used);
            bytes[from..to].fill(0);
        }
        _ => {
            let half = used / 2;
            let (front, back) = bytes.split_at_mut(half);
            front.swap_with_slice(&mut back[..half]);
        }
    }
    fs::write(file, bytes).expect("a writable file");
}

/// The routes that it knows, however they are cut into pages.
fn routes(node: &Node) -> Option<String> {
    let (status, body) = node.get("/api/v1/routes?limit=1000")?;
    (status == 200).then_some(body)
}

#[test]
fn d9_a_node_with_spoilt_files_does_not_serve_and_the_others_do() {
    let cluster = Cluster::builder().control(3).gateways(1).start();
    cluster.wait_for_voters();
    let (others, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let mut client = gateway.v5(&unique("sub"));
    client.set_limit(SOON);
    for at in 0..200 {
        client.subscribe(&format!("kept/{at}/+"), 1);
    }
    let mut publisher = gateway.v5(&unique("pub"));
    publisher.set_limit(SOON);
    let node = cluster.node("c3");
    let expected = routes(others).expect("the node answers");
    assert!(becomes_true(SOON, || routes(node).as_ref() == Some(&expected)));
    // In order: of a store that was not closed, redb takes the commit before where the last one is
    // damaged, and the node would have lost what it has said it has.
    node.terminate();
    let kept = tempfile::tempdir().expect("a temporary directory");
    copy(&node.data_dir(), kept.path());
    let mut random = Random::from_env("files");
    let (mut n_refused, mut n_whole) = (0, 0);
    for file in data_files(kept.path()) {
        let name = file
            .strip_prefix(kept.path())
            .expect("it is below")
            .to_owned();
        if fs::metadata(&file).is_ok_and(|it| it.len() == 0) {
            continue;
        }
        for way in WAYS.into_iter().flat_map(|way| [way; ROUNDS]) {
            fs::remove_dir_all(node.data_dir()).expect("a folder");
            copy(kept.path(), &node.data_dir());
            spoil(&node.data_dir().join(&name), way, &mut random);
            let n_lines = node.log().n_lines();
            let what = format!("{} {way}", name.display());
            node.launch().expect("the binary runs");
            // Ready, it has to have everything; it may have got it from the others.
            let ready = node.wait_until_ready();
            let text = node.log().text();
            let said: Vec<&str> = text.lines().skip(n_lines).collect();
            let said = said.join("\n");
            match ready {
                Ok(()) => {
                    n_whole += 1;
                    let is_whole = || routes(node).as_ref() == Some(&expected);
                    assert!(becomes_true(SOON, is_whole), "{what}: {said}");
                }
                Err(_) => {
                    n_refused += 1;
                    assert!(said.lines().count() > 0, "{what}: not a word");
                    assert!(!said.contains("panicked"), "{what}: {said}");
                }
            }
            node.kill();
            // A gateway with a lease: the others agree. They agree on nothing new, though: a node
            // that is given its old files back would have lost what it has said it has.
            publisher.publish("kept/0/x", b"x", 1);
            assert_eq!(client.receive().topic, "kept/0/x", "{what}");
        }
    }
    eprintln!("{n_refused} refused, {n_whole} whole");
    assert!(n_refused > 0, "no damage was noticed");
    // With its own files it is one of them again.
    fs::remove_dir_all(node.data_dir()).expect("a folder");
    copy(kept.path(), &node.data_dir());
    node.restart();
    assert!(becomes_true(SOON, || routes(node).as_ref() == Some(&expected)));
    super::is_well(&cluster);
}
