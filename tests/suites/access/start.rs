//! What cannot be relied on is an error of the start, in one line.

use super::scene::builder;

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
    let missing = gatemq_tests::Broker::builder()
        .config("auth: {sources: [{type: file, path: '{dir}/none.yml'}]}")
        .try_start();
    let Err(trouble) = missing else {
        panic!("it started without its file");
    };
    assert!(trouble.contains("none.yml"), "{trouble}");
}
