//! What is made can be used, by its nodes alone, and is not made twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use gatemq_node::credentials::{Credentials, Files};

use super::*;

fn pki(arguments: &str, dir: &Path) -> Result<String, String> {
    let words = ["gatemq", "pki"].into_iter().chain(arguments.split(' '));
    let dir = ["--dir".to_owned(), dir.display().to_string()];
    let words = words.map(str::to_owned).chain(dir).map(OsString::from);
    run(&words.collect::<Vec<_>>()).map_err(|refusal| match refusal {
        Refusal::Wrong(line) | Refusal::Answer(line) => line,
    })
}

fn load(dir: &Path, node: &str, roles: &str) -> Result<Credentials, String> {
    let files = Files {
        ca: dir.join("ca.crt"),
        certificate: dir.join(format!("{node}.crt")),
        key: dir.join(format!("{node}.key")),
    };
    let roles = roles.parse().expect("roles");
    Credentials::load(files, node, roles).map_err(|error| error.to_string())
}

const INIT: &str = "init --cluster prod --node c01:gateway,control --node g1:gateway";

#[test]
fn the_nodes_of_a_new_cluster_can_use_what_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("pki");
    let told = pki(INIT, &dir).expect("made");
    for line in ["node-name: c01", "    cert: g1.crt", "    ca: ca.crt"] {
        assert!(told.contains(line), "{told}");
    }
    load(&dir, "c01", "control+gateway").expect("usable");
    load(&dir, "g1", "gateway").expect("usable");
    assert!(load(&dir, "g1", "control").is_err());
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for (name, expected) in [
        ("ca.crt", 0o644),
        ("c01.crt", 0o644),
        ("g1.crt", 0o644),
        ("ca.key", 0o600),
        ("c01.key", 0o600),
        ("g1.key", 0o600),
        ("gossip.key", 0o600),
    ] {
        assert_eq!(mode(&dir.join(name)), expected, "{name}");
    }
    let key = fs::read_to_string(dir.join("gossip.key")).expect("a key");
    let key = key.trim();
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(!told.contains(key), "what is secret is not on the screen");
}

#[test]
fn one_more_node_is_of_the_same_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("pki");
    pki(INIT, &dir).expect("made");
    pki("node g2 --role gateway --days 30", &dir).expect("made");
    let days = |node: &str| {
        let good_until = load(&dir, node, "gateway").expect("usable").good_until();
        let left = good_until.duration_since(std::time::SystemTime::now());
        left.expect("good").as_secs() / (24 * 3600)
    };
    assert_eq!((days("g2"), days("g1")), (29, 364));
    pki("node ops --role admin", &dir).expect("made");
    load(&dir, "ops", "admin").expect("usable");
    let refused = pki("node g3 --role gateway", &dir.join("none")).unwrap_err();
    assert!(refused.contains("ca.crt: cannot be read"), "{refused}");
}

#[test]
fn nothing_is_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("pki");
    pki(INIT, &dir).expect("made");
    let all = || {
        let files = fs::read_dir(&dir).expect("a folder");
        let files = files.map(|file| file.expect("a file").path());
        let mut all: Vec<_> = files
            .map(|path| (fs::read(&path).expect("there"), path))
            .collect();
        all.sort();
        all
    };
    let before = all();
    for again in [
        INIT,
        "init --cluster other --node x:gateway",
        "node g1 --role gateway",
        "node ca --role gateway",
    ] {
        let refused = pki(again, &dir).unwrap_err();
        assert!(refused.contains("is there already"), "{again}: {refused}");
        assert_eq!(all(), before, "{again}");
    }
    let open = folder.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("changed");
    let refused = pki(INIT, &open).unwrap_err();
    assert!(refused.contains("others can look into"), "{refused}");
}

#[test]
fn clients_have_an_authority_that_is_none_of_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (nodes, dir) = (folder.path().join("pki"), folder.path().join("clients"));
    pki(INIT, &nodes).expect("made");
    pki("init --clients", &dir).expect("made");
    let told = pki("client pump-7 --dns pump-7.example --uri urn:pump:7", &dir).expect("made");
    assert!(
        told.contains("username: cn") && told.contains("pump-7.key"),
        "{told}"
    );
    pki("client ann@example.com --email ann@example.com", &dir).expect("made");
    pki("server localhost 127.0.0.1 ::1", &dir).expect("made");
    let mode = |name: &str| {
        let data = fs::metadata(dir.join(name)).expect("there");
        data.permissions().mode() & 0o777
    };
    for name in ["ca", "pump-7", "ann@example.com", "localhost"] {
        assert_eq!(mode(&format!("{name}.crt")), 0o644, "{name}");
        assert_eq!(mode(&format!("{name}.key")), 0o600, "{name}");
    }
    // Neither makes what the other does, and nothing is written over.
    for (wrong, dir, says) in [
        (
            "client pump-8",
            &nodes,
            "is the authority of the nodes of prod",
        ),
        (
            "server localhost",
            &nodes,
            "is the authority of the nodes of prod",
        ),
        ("node g9 --role gateway", &dir, "ca.crt"),
        ("init --clients", &dir, "is there already"),
        ("client pump-7", &dir, "is there already"),
        ("client ca", &dir, "is there already"),
        (
            "client pump-8",
            &folder.path().join("none"),
            "cannot be read",
        ),
    ] {
        let refused = pki(wrong, dir).unwrap_err();
        assert!(
            refused.contains(says) && !refused.contains('\n'),
            "{wrong}: {refused}"
        );
    }
    for name in ["a/b", "..", ".a", "a b", "\u{e4}", &"x".repeat(65)] {
        let words = ["gatemq", "pki", "client", name, "--dir"].map(OsString::from);
        let words = words.into_iter().chain([dir.clone().into_os_string()]);
        let Err(Refusal::Wrong(refused)) = run(&words.collect::<Vec<_>>()) else {
            panic!("{name} is a name");
        };
        assert!(refused.contains("is no name"), "{name}: {refused}");
    }
}

#[test]
fn what_is_wrong_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("pki");
    for (wrong, says) in [
        ("init --cluster prod --node g1", "write NAME:ROLE"),
        ("init --cluster prod --node g1:boss", "\"boss\" is no role"),
        ("init --cluster prod --node g1:", "\"\" is no role"),
        (
            "init --cluster prod --node g/1:gateway",
            "\"g/1\" is no name",
        ),
        ("init --cluster p/d --node g1:gateway", "\"p/d\" is no name"),
        (
            "init --cluster prod --node g1:gateway --node g1:control",
            "two nodes of one name",
        ),
        ("init --cluster prod --node g1:gateway --days 0", "days"),
        ("init --cluster prod", "--node"),
        ("init --clients --cluster prod", "--clients"),
        ("client", "NAME"),
        ("server", "HOST"),
    ] {
        let refused = pki(wrong, &dir).unwrap_err();
        assert!(refused.contains(says), "{wrong}: {refused}");
        assert!(!refused.contains('\n'), "{wrong}: {refused}");
        assert!(!dir.exists(), "{wrong}");
    }
}
