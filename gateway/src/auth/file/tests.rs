//! What a file of users and rules means, and what is wrong with one.

use super::*;
use crate::auth::Rights;
use crate::auth::rules::Action;

/// `secret`, by sha256.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn file(text: &str) -> FileSource {
    let text = text.replace("SECRET", SECRET);
    FileSource {
        path: "users.yml".into(),
        pool: Arc::new(Pool::new(pool::Limits::default())),
        known: ArcSwap::from_pointee(Known::parse(&text, "users.yml").expect("it is right")),
    }
}

async fn admit(
    source: &FileSource,
    client_id: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> Admission {
    let credentials = Credentials {
        client_id,
        username,
        password: password.map(str::as_bytes),
        address: None,
    };
    source.admit(&credentials).await.expect("it answers")
}

fn allowed(by: By) -> Admission {
    Admission::Allowed(crate::auth::Known {
        is_superuser: false,
        by,
        mark: FixedState::default().hash_one(SECRET),
        brought: None,
    })
}

const USERS: &str = "
password-hash: sha256
unrestricted: true
users:
- {username: ann, password: SECRET}
- {username: bob, client-id: desk-1, password: SECRET}
- {client-id: pump-7, password: SECRET}
- {username: root, password: SECRET, superuser: true}
";

#[tokio::test]
async fn users_are_known_by_what_is_written_of_them() {
    let source = file(USERS);
    let right = Some("secret");
    let by_name = allowed(By::Username);
    assert_eq!(admit(&source, "any", Some("ann"), right).await, by_name);
    assert_eq!(admit(&source, "desk-1", Some("bob"), right).await, by_name);
    let by_id = allowed(By::ClientId);
    assert_eq!(admit(&source, "pump-7", None, right).await, by_id);
    // The name is not looked at, and does not count either.
    assert_eq!(admit(&source, "pump-7", Some("cy"), right).await, by_id);
    let root = admit(&source, "any", Some("root"), right).await;
    assert!(matches!(root, Admission::Allowed(known) if known.is_superuser));
    for (client_id, username, password) in [
        ("any", Some("ann"), Some("wrong")),
        ("any", Some("ann"), Some("")),
        ("any", Some("ann"), None),
        ("desk-2", Some("bob"), right),
        // What is somebody's client id is nobody else's.
        ("desk-1", Some("ann"), right),
        ("pump-7", Some("ann"), right),
        ("pump-7", Some("ann"), Some("wrong")),
        ("pump-7", None, None),
        ("desk-1", Some("cy"), right),
        ("desk-1", None, right),
        ("desk-1", None, None),
    ] {
        let admission = admit(&source, client_id, username, password).await;
        assert_eq!(admission, Admission::Denied, "{client_id} {username:?}");
    }
    for username in [None, Some("cy"), Some("Ann"), Some("ann ")] {
        let admission = admit(&source, "any", username, right).await;
        assert_eq!(admission, Admission::Unknown, "{username:?}");
    }
}

async fn rights(source: &FileSource, who: Who<'_>) -> Rights {
    let part = source.rights(&who).await.expect("it answers");
    Rights::of(&who, part)
}

fn who<'a>(username: Option<&'a str>, client_id: &'a str, address: &str) -> Who<'a> {
    Who {
        client_id,
        username,
        address: address.parse().ok(),
        by: By::Username,
        brought: None,
    }
}

#[tokio::test]
async fn rules_are_for_those_whom_they_name() {
    let source = file(
        "
rules:
- {deny: all, topics: [secret/#], users: [team-*]}
- {allow: all, topics: [own/%c/#, home/%u], clients: [pump-*], addresses: [10.0.0.0/8]}
- {allow: subscribe, topics: [news/#, secret/#]}
- {allow: publish, topics: [inbox], users: [ann]}
",
    );
    let pump = rights(&source, who(Some("ann"), "pump-7", "10.1.2.3")).await;
    assert!(pump.allow(Action::Publish, "own/pump-7/x") && pump.allow(Action::Publish, "home/ann"));
    assert!(!pump.allow(Action::Publish, "own/pump-8/x"));
    assert!(pump.allow(Action::Publish, "inbox") && pump.allow(Action::Subscribe, "secret/#"));
    for other in [
        who(Some("ann"), "pump-7", "11.1.2.3"),
        who(Some("ann"), "pump-7", "unknown"),
        who(Some("ann"), "desk", "10.1.2.3"),
    ] {
        let other = rights(&source, other).await;
        assert!(!other.allow(Action::Publish, "own/pump-7/x"));
        assert!(other.allow(Action::Subscribe, "news/a") && other.allow(Action::Publish, "inbox"));
    }
    let team = rights(&source, who(Some("team-red"), "x", "10.0.0.1")).await;
    assert!(!team.allow(Action::Subscribe, "secret/#"));
    assert!(team.allow(Action::Subscribe, "news/#") && !team.allow(Action::Publish, "news/a"));
    let nobody = rights(&source, who(None, "x", "10.0.0.1")).await;
    assert!(nobody.allow(Action::Subscribe, "secret/a") && !nobody.allow(Action::Publish, "inbox"));
}

#[tokio::test]
async fn without_rules_a_file_says_nothing_of_rights() {
    let of_users = rights(&file(USERS), who(None, "x", "")).await;
    assert!(of_users.allow(Action::Publish, "any"));
    let none = rights(&file("rules: []"), who(None, "x", "")).await;
    assert!(!none.allow(Action::Publish, "any") && !none.allow(Action::Subscribe, "#"));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, says) in [
        ("", "neither users nor rules"),
        (
            "unrestricted: true\npassword-hash: plain\nusers: [{username: a, client-id: , password: b}]",
            "users[0].client-id is empty",
        ),
        (
            "rules: [{deny: all, topics: [a], users: }]",
            "rules[0].users is empty",
        ),
        (
            "password-hash: plain\nusers: [{username: a, password: b}]",
            "`unrestricted: true`",
        ),
        ("unrestricted: true\nrules: []", "leave one out"),
        ("users: []", "neither users nor rules"),
        ("user: []", "unknown field `user`"),
        ("users: [{username: a}]", "missing field `password`"),
        ("unrestricted: true\nusers: [{password: $2b$}]", "users[0]"),
        (
            "unrestricted: true\nusers: [{username: a, password: plain text}]",
            "users[0].password",
        ),
        (
            "password-hash: md6\nrules: []",
            "password-hash: \"md6\" is not a way",
        ),
        ("password-hash: hmac-sha1\nrules: []", "hash-key"),
        (
            "password-hash: plain\nunrestricted: true\nusers: [{username: a, password: x}, {username: a, password: y}]",
            "users[1]: \"a\" is there twice",
        ),
        (
            "rules: [{topics: [a]}]",
            "rules[0] needs either allow or deny",
        ),
        (
            "rules: [{allow: all, deny: all, topics: [a]}]",
            "either allow or deny",
        ),
        (
            "rules: [{allow: all, topics: []}]",
            "rules[0].topics is empty",
        ),
        (
            "rules: [{allow: read, topics: [a]}]",
            "unknown variant `read`",
        ),
        (
            "rules: [{allow: all, topics: ['a/#/b']}]",
            "rules[0].topics: \"a/#/b\"",
        ),
        (
            "rules: [{allow: all, topics: [$share/g/a]}]",
            "leave out $share",
        ),
        (
            "rules: [{allow: all, topics: ['a/%x/b']}]",
            "rules[0].topics: \"a/%x/b\": %x stands for nothing: %u is the user name, %c",
        ),
        ("rules: [{deny: all, topics: ['%%/100%']}]", "% stands for"),
        (
            "rules: [{allow: all, topics: [a], addresses: [ten]}]",
            "\"ten\" is not a network",
        ),
        (
            "rules: [{allow: all, topics: [a], user: b}]",
            "unknown field `user`",
        ),
    ] {
        let error = Known::parse(text, "users.yml").expect_err(text).to_string();
        assert!(
            error.starts_with("users.yml: ") && error.contains(says),
            "{text}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn clients_that_have_the_same_rules_share_them() {
    let file = "rules:\n- {allow: all, users: [ann], topics: ['a/%c']}\n\
                - {allow: all, clients: ['b*'], topics: ['b']}\n- {allow: all, topics: ['%u']}\n";
    let known = Known::parse(file, "a file").expect("rules");
    let rules = known.rules.as_ref().expect("rules");
    let part = |username, client_id| {
        rules.of(&Who {
            client_id,
            username: Some(username),
            address: None,
            by: By::Username,
            brought: None,
        })
    };
    let one = part("ann", "a-1");
    assert!(Arc::ptr_eq(&one.own, &part("ann", "a-2").own));
    assert!(!Arc::ptr_eq(&one.own, &part("ann", "b-1").own));
    assert!(!Arc::ptr_eq(&one.own, &part("bob", "a-1").own));
    assert!(Arc::ptr_eq(&one.common, &part("bob", "b-1").common));
    // What nobody has any more goes.
    let first = Arc::downgrade(&one.own);
    drop(one);
    let file: Vec<_> = (0..200)
        .map(|n| format!("- {{allow: all, clients: ['c{n}'], topics: [x]}}\n"))
        .collect();
    let known = Known::parse(&format!("rules:\n{}", file.concat()), "a file").expect("rules");
    let rules = known.rules.as_ref().expect("rules");
    let of = |n: usize| {
        let client_id = format!("c{n}");
        let who = Who {
            client_id: &client_id,
            username: None,
            address: None,
            by: By::Nobody,
            brought: None,
        };
        Arc::downgrade(&rules.of(&who).own)
    };
    assert!(
        first.upgrade().is_some(),
        "some are kept for who comes next"
    );
    let trees: Vec<_> = (0..200).map(of).collect();
    let n_there = trees.iter().filter(|tree| tree.strong_count() > 0).count();
    assert!(n_there <= 64, "{n_there}");
}

#[tokio::test]
async fn a_client_id_that_is_somebodys_is_not_asked_for_a_proof_by_others() {
    let source = file(USERS);
    for client_id in ["desk-1", "pump-7"] {
        for username in ["cy", "ann"] {
            let proof = source.proof(client_id, username, Mechanism::Sha256).await;
            let proof = proof.expect("it answers");
            assert!(matches!(proof, Proof::None), "{client_id} {username}");
        }
    }
    let proof = source.proof("any", "cy", Mechanism::Sha256).await;
    assert!(matches!(proof.expect("it answers"), Proof::Unknown));
}
