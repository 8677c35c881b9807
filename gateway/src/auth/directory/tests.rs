//! What follows from what a directory finds, and from what it does not.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::*;
use crate::auth::Rights;
use crate::auth::password::hash;
use crate::auth::rules::Action;

/// A directory in memory.
#[derive(Debug, Default)]
struct Memory {
    users: Mutex<HashMap<&'static str, (String, bool)>>,
    rows: HashMap<&'static str, Vec<(&'static str, &'static str)>>,
    is_gone: bool,
}

impl Memory {
    fn check(&self) -> Result<(), Unavailable> {
        match self.is_gone {
            true => Err(Unavailable::Failed("gone".to_owned())),
            false => Ok(()),
        }
    }
}

impl Directory for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn user<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<User>, Unavailable>> {
        let found = self.users.lock().get(key).cloned();
        let found = found.map(|(password, is_allowed)| User {
            password,
            is_allowed,
            whole: Vec::new(),
        });
        Box::pin(std::future::ready(self.check().map(|()| found)))
    }

    fn rows<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Unavailable>> {
        let rows = self.rows.get(key).into_iter().flatten();
        let rows = rows.map(|(filter, access)| Row {
            filter: (*filter).to_owned(),
            access: (*access).to_owned(),
        });
        Box::pin(std::future::ready(self.check().map(|()| rows.collect())))
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        user: &'a User,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, Unavailable>> {
        let mut users = self.users.lock();
        let found = users
            .get_mut(key)
            .filter(|(stored, _)| *stored == user.password);
        let was_done = found
            .map(|(stored, _)| password.clone_into(stored))
            .is_some();
        Box::pin(std::future::ready(self.check().map(|()| was_done)))
    }
}

fn lookup(auth_by: Key, acl_by: Key, password_hash: &str) -> Lookup {
    Lookup {
        auth_by,
        acl_by,
        password_hash: password_hash.to_owned(),
        hash_key: String::new(),
        rehash: false,
        refresh: Duration::from_secs(60),
    }
}

fn source(memory: Memory, lookup: &Lookup) -> DirectorySource<Memory> {
    let pool = Arc::new(Pool::new(pool::Limits::default()));
    DirectorySource::new(memory, lookup, pool).expect("it can be used")
}

/// With the password `secret`, stored plain.
fn ann(by: Key) -> DirectorySource<Memory> {
    let users = [
        ("ann", ("secret".to_owned(), true)),
        ("bob", ("secret".to_owned(), false)),
        ("eve", (String::new(), true)),
    ];
    let memory = Memory {
        users: Mutex::new(users.into()),
        ..Memory::default()
    };
    source(memory, &lookup(by, Key::None, "plain"))
}

async fn admit(
    source: &DirectorySource<Memory>,
    client_id: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> Result<Admission, Unavailable> {
    let credentials = Credentials {
        client_id,
        username,
        password: password.map(str::as_bytes),
        address: None,
    };
    source.admit(&credentials).await
}

fn allowed(by: By) -> Admission {
    Admission::Allowed(Known {
        is_superuser: false,
        by,
        mark: FixedState::default().hash_one("secret"),
        brought: None,
    })
}

#[tokio::test]
async fn who_has_a_certificate_needs_no_password_and_comes_in_as_itself_only() {
    let by_name = ann(Key::Username);
    let by_id = ann(Key::ClientId);
    for (source, client_id, username, expected) in [
        (&by_name, "c", "ann", allowed(By::Username)),
        (&by_name, "c", "bob", Admission::Denied),
        (&by_name, "ann", "zed", Admission::Unknown),
        // The client id is somebody's who has a password.
        (&by_id, "ann", "zed", Admission::Denied),
        (&by_id, "c", "ann", Admission::Unknown),
    ] {
        let said = source.vouch(client_id, username).await;
        assert_eq!(
            said.expect("it answers"),
            expected,
            "{client_id} {username}"
        );
    }
}

#[tokio::test]
async fn who_is_stored_for_scram_is_found_for_it() {
    let text = crate::auth::password::scram_text(b"secret", Mechanism::Sha512);
    let text = text.expect("it can be one");
    let made = |by| {
        let users = [
            ("ann", (text.clone(), true)),
            ("bob", (text.clone(), false)),
            ("eve", (hash(b"secret"), true)),
            ("mal", ("SCRAM-SHA-512$1:x$y:z".to_owned(), true)),
        ];
        let memory = Memory {
            users: Mutex::new(users.into()),
            ..Memory::default()
        };
        source(memory, &lookup(by, Key::Username, "auto"))
    };
    let by_name = made(Key::Username);
    let found = async |source: &DirectorySource<Memory>, username, mechanism| {
        let asking = source.proof("ann", username, mechanism);
        match asking.await.expect("it answers") {
            Proof::Of(..) => Some(true),
            Proof::None => Some(false),
            Proof::Unknown => None,
        }
    };
    assert_eq!(found(&by_name, "ann", Mechanism::Sha512).await, Some(true));
    assert_eq!(found(&by_name, "ann", Mechanism::Sha256).await, Some(false));
    for name in ["bob", "eve", "mal"] {
        assert_eq!(
            found(&by_name, name, Mechanism::Sha512).await,
            Some(false),
            "{name}"
        );
    }
    for name in ["", "zed", "a\0b"] {
        assert_eq!(
            found(&by_name, name, Mechanism::Sha512).await,
            None,
            "{name:?}"
        );
    }
    // By client identifiers it is known as whose that of the client is, and no user.
    for (by, expected) in [(Key::ClientId, Some(false)), (Key::None, None)] {
        assert_eq!(found(&made(by), "ann", Mechanism::Sha512).await, expected);
    }
    let said = admit(&by_name, "c", Some("ann"), Some("secret")).await;
    assert!(matches!(said, Ok(Admission::Allowed(_))), "{said:?}");
}

#[tokio::test]
async fn a_client_is_found_by_its_key_and_by_nothing_else() {
    let right = Some("secret");
    let by_name = ann(Key::Username);
    let admitted = async |username, password| {
        let admission = admit(&by_name, "ann", username, password).await;
        admission.expect("it answers")
    };
    assert_eq!(admitted(Some("ann"), right).await, allowed(By::Username));
    assert_eq!(
        admitted(Some("ann"), Some("wrong")).await,
        Admission::Denied
    );
    assert_eq!(admitted(Some("ann"), None).await, Admission::Denied);
    assert_eq!(admitted(Some("bob"), right).await, Admission::Denied);
    for unknown in [Some("Ann"), Some("ann "), Some(""), Some("ann\0"), None] {
        assert_eq!(
            admitted(unknown, right).await,
            Admission::Unknown,
            "{unknown:?}"
        );
        assert_eq!(
            admitted(unknown, None).await,
            Admission::Unknown,
            "{unknown:?}"
        );
    }
    let by_id = ann(Key::ClientId);
    let admission = admit(&by_id, "ann", Some("bob"), right).await;
    assert_eq!(admission.expect("it answers"), allowed(By::ClientId));
    let nobody = ann(Key::Username);
    let nobody = DirectorySource {
        auth_by: Key::None,
        ..nobody
    };
    let admission = admit(&nobody, "ann", Some("ann"), right).await;
    assert_eq!(admission.expect("it answers"), Admission::Unknown);
}

#[tokio::test]
async fn what_cannot_be_read_lets_nobody_in() {
    let memory = ann(Key::Username);
    let answer = admit(&memory, "c", Some("eve"), Some("")).await;
    assert!(
        matches!(answer, Err(Unavailable::Unusable(_))),
        "{answer:?}"
    );
    let memory = Memory {
        is_gone: true,
        ..Memory::default()
    };
    let gone = source(memory, &lookup(Key::Username, Key::Username, "auto"));
    let answer = admit(&gone, "c", Some("ann"), Some("secret")).await;
    assert!(matches!(answer, Err(Unavailable::Failed(_))), "{answer:?}");
    assert!(gone.probe().await.is_err());
    let who = Who {
        client_id: "c",
        username: Some("ann"),
        address: None,
        by: By::Username,
        brought: None,
    };
    assert!(gone.rights(&who).await.is_err());
}

#[tokio::test]
async fn whoever_is_looked_up_is_asked_for_by_what_it_proved() {
    let source = ann(Key::Username);
    let identity = |by, username: Option<&str>| Identity {
        by,
        username: username.map(Into::into),
        ..Identity::default()
    };
    let found = async |identity: Identity| {
        let admission = source.look_up("ann", &identity).await;
        admission.expect("it answers")
    };
    let ann = identity(By::Username, Some("ann"));
    assert_eq!(found(ann).await, allowed(By::Username));
    let bob = identity(By::Username, Some("bob"));
    assert_eq!(found(bob).await, Admission::Denied);
    let gone = identity(By::Username, Some("zed"));
    assert_eq!(found(gone).await, Admission::Unknown);
    assert_eq!(
        found(identity(By::ClientId, None)).await,
        Admission::Unknown
    );
}

#[tokio::test]
async fn rules_are_those_of_the_key() {
    let rows = [("ann", vec![("a/#", "3"), ("a/secret", "0"), ("b", "x")])];
    let memory = || Memory {
        rows: rows.clone().into(),
        ..Memory::default()
    };
    let by_name = source(memory(), &lookup(Key::None, Key::Username, "auto"));
    let may = async |username: Option<&str>, topic: &str| {
        let who = Who {
            client_id: "ann",
            username,
            address: None,
            by: By::Username,
            brought: None,
        };
        let part = by_name.rights(&who).await.expect("it answers");
        Rights::of(&who, part).allow(Action::Publish, topic)
    };
    assert!(may(Some("ann"), "a/b").await);
    for (username, topic) in [
        (Some("ann"), "a/secret"),
        (Some("ann"), "b"),
        (Some("ann"), "c"),
        (Some("bob"), "a/b"),
        (Some(""), "a/b"),
        (None, "a/b"),
    ] {
        assert!(!may(username, topic).await, "{username:?} {topic}");
    }
    let none = source(memory(), &lookup(Key::Username, Key::None, "auto"));
    let who = Who {
        client_id: "ann",
        username: Some("ann"),
        address: None,
        by: By::Username,
        brought: None,
    };
    assert!(matches!(none.rights(&who).await, Ok(None)));
}

/// The time that a refusal takes does not tell who is there.
#[tokio::test]
async fn whoever_is_not_there_costs_as_much() {
    let users = [("ann", (hash(b"secret"), true))];
    let memory = Memory {
        users: Mutex::new(users.into()),
        ..Memory::default()
    };
    let source = source(memory, &lookup(Key::Username, Key::None, "auto"));
    let time = async |username| {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let start = std::time::Instant::now();
            let _ = admit(&source, "c", Some(username), Some("wrong")).await;
            least = least.min(start.elapsed());
        }
        least
    };
    let (wrong, unknown) = (time("ann").await, time("zed").await);
    assert!(
        unknown * 4 > wrong && wrong * 4 > unknown,
        "{wrong:?} {unknown:?}"
    );
}

/// `correct horse`, by bcrypt.
const BCRYPT: &str = "$2b$05$10OJE9UY1F.N4D3eU8NUXOYGQA3zhPeUsmWW.zS0KDyvuz0nAqgWG";

#[tokio::test]
async fn a_weak_password_is_hashed_anew_by_who_gives_it() {
    let users = [
        ("ann", (BCRYPT.to_owned(), true)),
        ("off", (BCRYPT.to_owned(), false)),
    ];
    let memory = Memory {
        users: Mutex::new(users.into()),
        ..Memory::default()
    };
    let asked = Lookup {
        rehash: true,
        ..lookup(Key::Username, Key::None, "auto")
    };
    let source = source(memory, &asked);
    let stored = |name| source.directory.users.lock()[name].0.clone();
    let identity = |admission: Admission| {
        let Admission::Allowed(known) = admission else {
            panic!("{admission:?}");
        };
        Identity {
            by: known.by,
            username: Some("ann".into()),
            mark: known.mark,
            ..Identity::default()
        }
    };
    let there = async |identity: &Identity| {
        let found = source.look_up("c", identity).await.expect("it answers");
        matches!(found, Admission::Allowed(known) if known.mark == identity.mark)
    };
    // Whoever came before it was hashed anew.
    let earlier = Identity {
        by: By::Username,
        username: Some("ann".into()),
        mark: mark_of(BCRYPT),
        ..Identity::default()
    };
    for (name, password) in [("ann", "wrong"), ("off", "correct horse")] {
        let _ = admit(&source, "c", Some(name), Some(password)).await;
        assert_eq!(stored(name), BCRYPT, "{name}");
    }
    let admitted = admit(&source, "c", Some("ann"), Some("correct horse")).await;
    let now = identity(admitted.expect("it answers"));
    let anew = stored("ann");
    assert!(anew.starts_with("$argon2id$"), "{anew}");
    assert!(there(&now).await && there(&earlier).await);
    let admitted = admit(&source, "c", Some("ann"), Some("correct horse")).await;
    assert_eq!(identity(admitted.expect("it answers")).mark, now.mark);
    assert_eq!(stored("ann"), anew, "once is enough");
    // Another password is another one.
    source
        .directory
        .users
        .lock()
        .insert("ann", (hash(b"other"), true));
    assert!(!there(&now).await && !there(&earlier).await);
}

#[tokio::test]
async fn a_password_that_has_changed_meanwhile_stays() {
    let memory = Memory {
        users: Mutex::new([("ann", (hash(b"other"), true))].into()),
        ..Memory::default()
    };
    let asked = Lookup {
        rehash: true,
        ..lookup(Key::Username, Key::None, "auto")
    };
    let source = source(memory, &asked);
    let found = User {
        password: BCRYPT.to_owned(),
        is_allowed: true,
        whole: Vec::new(),
    };
    let before = source.directory.users.lock()["ann"].0.clone();
    let left = source.hash_anew("ann", found, b"correct horse").await;
    assert_eq!(left.password, BCRYPT);
    assert_eq!(source.directory.users.lock()["ann"].0, before);
}

#[test]
fn what_makes_no_sense_is_no_source() {
    let pool = Arc::new(Pool::new(pool::Limits::default()));
    let weak = Lookup {
        rehash: true,
        ..lookup(Key::Username, Key::None, "bcrypt")
    };
    for (lookup, says) in [
        (lookup(Key::None, Key::None, "auto"), "neither"),
        (
            lookup(Key::Username, Key::None, "rot13"),
            "password-hash: \"rot13\"",
        ),
        (lookup(Key::Username, Key::None, "hmac-sha256"), "hash-key"),
        (weak, "rehash"),
    ] {
        let wrong = DirectorySource::new(Memory::default(), &lookup, pool.clone());
        let wrong = wrong.expect_err("it cannot be used");
        assert!(wrong.contains(says), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_said_once() {
    let said = Said::default();
    assert!(said.is_new(&"a"));
    assert!(!said.is_new(&"a"));
    said.forget();
    assert!(said.is_new(&"a"));
    assert_eq!((0..10_000).filter(|n| said.is_new(n)).count(), 999);
}

#[tokio::test]
async fn a_client_id_that_is_somebodys_proves_nothing_for_a_user() {
    let source = ann(Key::ClientId);
    for (client_id, is_known) in [("ann", true), ("bob", true), ("c", false)] {
        let proof = source.proof(client_id, "zed", Mechanism::Sha256).await;
        let proof = proof.expect("it answers");
        assert_eq!(matches!(proof, Proof::None), is_known, "{client_id}");
        assert_eq!(matches!(proof, Proof::Unknown), !is_known, "{client_id}");
    }
}
