//! What cannot be relied on is an error of the start, in one line.

use gatemq_tests::{Broker, Connect, Properties, unique};

use super::scene::{BAD_LOGIN, NOT_AUTHORIZED, USERS, attempt, builder, connect};

#[test]
fn files_that_cannot_be_used_end_the_start() {
    for (users, says) in [
        ("", "neither users nor rules"),
        ("users: [", "users.yml: "),
        (
            "unrestricted: true\nusers: [{username: a, password: b}]",
            "users[0].password",
        ),
        (
            "rules: [{allow: all, topics: [a], usr: b}]",
            "unknown field `usr`",
        ),
    ] {
        let Err(trouble) = builder(users).try_start() else {
            panic!("it started: {users}");
        };
        assert!(
            trouble.contains("auth.sources") && trouble.contains(says),
            "{trouble}"
        );
    }
    let missing = Broker::builder()
        .config("auth: {sources: [{type: file, path: '{dir}/none.yml'}]}")
        .try_start();
    let Err(trouble) = missing else {
        panic!("it started without its file");
    };
    assert!(trouble.contains("none.yml"), "{trouble}");
}

/// An empty list is a list, and so is one that has lost what was in it: it allows nothing.
#[test]
fn c11_no_rule_is_no_right() {
    for none in ["rules: []", "rules:"] {
        let broker = builder(&format!("{USERS}{none}")).start();
        let mut ann = connect(&broker, 5, &unique("ann"), "ann");
        let suback = ann.subscribe_with(&Properties::new(), &[("a", 1), ("#", 1)]);
        assert_eq!(suback.codes, [NOT_AUTHORIZED; 2], "{none}");
    }
    // Nor is a rule for everybody that has lost for whom it was.
    let lost = format!("{USERS}rules: [{{allow: all, topics: ['#'], users: }}]");
    assert!(builder(&lost).try_start().is_err());
}

#[test]
fn c14_nobody_is_known_by_default() {
    let users = format!("{USERS}rules: []");
    let broker = builder(&users).env("GATEMQ_AUTH_MAX_FAILURES", "0").start();
    let usual = [
        "admin",
        "root",
        "guest",
        "user",
        "mqtt",
        "public",
        "gatemq",
        "mosquitto",
    ];
    for username in usual {
        for password in usual.into_iter().filter(|password| *password != "root") {
            let login = Connect::new(5, unique("c"));
            let login = login.username(username).password(password);
            assert_eq!(attempt(&broker, &login).code, BAD_LOGIN, "{login:?}");
        }
    }
    // Nor does the API take a token that nobody has set, or any file of users.
    let Err(printed) = Broker::builder().arg("--print-config").try_start() else {
        panic!("it started");
    };
    assert!(printed.contains("sources: []"), "{printed}");
}
