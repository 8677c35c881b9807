//! Users and rules in PostgreSQL and MariaDB, in the tables that comqtt has.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect,
    broker::Builder,
    database::{Database, Kind, LOGIN},
    eventually, pause, unique,
};

use super::scene::{
    BAD_LOGIN, NOT_AUTHORIZED, UNAVAILABLE, attempt, connect, login, may_publish, may_subscribe,
};

/// Both, and what comqtt calls their tables.
const KINDS: [(Kind, &str, &str); 2] = [
    (Kind::Postgresql, "mqtt_user", "mqtt_acl"),
    (Kind::Mariadb, "auth", "acl"),
];

struct Scene {
    database: Database,
    users: &'static str,
    rules: &'static str,
}

// === impl Scene ===

impl Scene {
    /// One with `ann`, `bob` and `cat`, whose passwords are their names and who may do everything.
    fn of((kind, users, rules): (Kind, &'static str, &'static str)) -> Self {
        let scene = Self {
            database: Database::start(kind),
            users,
            rules,
        };
        for name in ["ann", "bob", "cat"] {
            scene.put(name);
        }
        scene
    }

    fn builder(&self) -> Builder {
        self.builder_of("password-hash: plain")
    }

    /// `auth` are keys of the users.
    fn builder_of(&self, auth: &str) -> Builder {
        let (keys, users, rules) = (self.database.keys(), self.users, self.rules);
        Broker::builder().config(format!(
            "auth: {{max-failures: 0, sources: [{{{keys}, timeout: 500ms, refresh: 1s, max-connections: 4, \
             auth: {{table: {users}, {auth}}}, acl: {{table: {rules}}}}}]}}"
        ))
    }

    fn put(&self, name: &str) {
        let Self { users, rules, .. } = self;
        let name = name.replace('\'', "''");
        self.database.run(&format!(
            "INSERT INTO {users} (username, password) VALUES ('{name}', '{name}');
             INSERT INTO {rules} (username, topic) VALUES ('{name}', '#');"
        ));
    }

    fn rule(&self, name: &str, topic: &str, access: i32) {
        let rules = self.rules;
        self.database.run(&format!(
            "INSERT INTO {rules} (username, topic, access) VALUES ('{name}', '{topic}', {access})"
        ));
    }

    fn n_users(&self) -> String {
        self.database
            .run(&format!("SELECT count(*) FROM {}", self.users))
    }
}

fn for_both(act: fn(&Scene)) {
    std::thread::scope(|scope| {
        let acting = KINDS.map(|kind| scope.spawn(move || act(&Scene::of(kind))));
        for acting in acting {
            if let Err(panicked) = acting.join() {
                std::panic::resume_unwind(panicked);
            }
        }
    });
}

#[test]
fn only_those_come_in_who_are_in_the_table() {
    for_both(|scene| {
        let broker = scene.builder().start();
        scene.put("off");
        scene.put("odd");
        let users = scene.users;
        scene.database.run(&format!(
            "UPDATE {users} SET allow = 0 WHERE username = 'off';
             UPDATE {users} SET password = '' WHERE username = 'odd';"
        ));
        let id = unique("c");
        for level in [3, 4, 5] {
            assert_eq!(attempt(&broker, &login(level, &id, "ann")).code, 0);
            let refused = if level == 5 { BAD_LOGIN } else { 4 };
            for (username, password) in [
                ("ann", "bob"),
                ("ann", ""),
                ("Ann", "ann"),
                ("ANN", "ann"),
                ("ann ", "ann"),
                ("a\u{301}nn", "ann"),
                ("zed", "ann"),
                ("", ""),
                ("off", "off"),
            ] {
                let wrong = Connect::new(level, &id)
                    .username(username)
                    .password(password);
                assert_eq!(
                    attempt(&broker, &wrong).code,
                    refused,
                    "{username} {password}"
                );
            }
            let refused = if level == 5 { UNAVAILABLE } else { 3 };
            let wrong = Connect::new(level, &id).username("odd").password("");
            assert_eq!(attempt(&broker, &wrong).code, refused);
        }
        let log = broker.log();
        assert_eq!(
            log.matches("stored for a client is wrong").count(),
            1,
            "{log}"
        );
        assert!(!log.contains("does not say who they are"), "{log}");
    });
}

#[test]
fn the_longest_filter_decides() {
    for_both(|scene| {
        let broker = scene.builder().start();
        for (filter, access) in [
            ("a/#", 1),
            ("a/secret/#", 0),
            ("up/%c", 2),
            ("b/+", 3),
            ("+/c", 0),
            ("odd/#", 4),
            ("bad/x#", 3),
        ] {
            scene.rule("ann", filter, access);
        }
        let id = unique("ann");
        let mut ann = connect(&broker, 5, &id, "ann");
        let own = format!("up/{id}");
        for (topic, publishes, subscribes) in [
            ("any", true, true),
            ("a/x", false, true),
            ("a/secret/x", false, false),
            (&*own, true, false),
            ("up/other", true, true),
            ("b/x", true, true),
            ("b/c", false, false),
            ("odd/x", false, false),
            ("bad/y", false, false),
        ] {
            assert_eq!(may_publish(&mut ann, topic), publishes, "{topic}");
            assert_eq!(may_subscribe(&mut ann, topic), subscribes, "{topic}");
        }
        let wrong = "stored for a client is wrong";
        eventually!(broker.log().matches(wrong).count() == 2);
    });
}

/// What stands in a name is compared, and never carried out.
#[test]
fn a_name_is_no_statement() {
    for_both(|scene| {
        let broker = scene.builder().start();
        let n_users = scene.n_users();
        let drop_table = format!("'; DROP TABLE {}; --", scene.users);
        let long = "x".repeat(60_000);
        for name in [
            "'",
            "''",
            "\"",
            "`",
            "\\",
            "\\'",
            "' OR '1'='1",
            "' OR 1=1 -- ",
            "ann' -- ",
            "ann'#",
            "ann/*",
            "$1",
            "?",
            ":name",
            "{}",
            "%",
            "_nn",
            "a%",
            "*",
            "0",
            "\u{feff}ann",
            "\u{1F600}",
            &drop_table,
            &long,
        ] {
            let named = Connect::new(4, unique("c")).username(name).password("ann");
            let code = attempt(&broker, &named).code;
            assert_eq!(code, 4, "{}", name.chars().take(40).collect::<String>());
        }
        assert_eq!(scene.n_users(), n_users);
        let log = broker.log();
        assert!(!log.contains("does not say who they are"), "{log}");
        // And whoever is called so is let in.
        let quoted = "o'Neil \"{*}`:%u --";
        scene.put(quoted);
        let named = Connect::new(5, unique("c"))
            .username(quoted)
            .password(quoted);
        let (mut client, connack) = Client::attempt(&broker, &named);
        assert_eq!(connack.code, 0);
        assert!(may_publish(&mut client, "a"));
    });
}

#[test]
fn without_the_database_nobody_new_comes_in_and_nobody_has_to_go() {
    for_both(|scene| {
        let broker = scene.builder().start();
        let mut ann = connect(&broker, 5, &unique("ann"), "ann");
        ann.subscribe("a", 1);
        for way in ["killed", "stopped"] {
            match way {
                "killed" => scene.database.kill(),
                _ => scene.database.pause(),
            }
            for name in ["ann", "nobody"] {
                let begun = Instant::now();
                let connack = attempt(&broker, &login(5, &unique("c"), name));
                assert_eq!(connack.code, UNAVAILABLE, "{way}");
                assert!(begun.elapsed() < Duration::from_secs(2), "{way}");
            }
            // More than one round of questions.
            pause(Duration::from_secs(2));
            ann.publish("a", b"x", 1);
            assert_eq!(ann.receive().topic, "a", "{way}");
            match way {
                "killed" => scene.database.restart(),
                _ => scene.database.resume(),
            }
            let limit = Duration::from_secs(15);
            eventually!(
                limit,
                attempt(&broker, &login(5, &unique("c"), "ann")).code == 0
            );
            ann.ping();
        }
        assert!(!broker.log().contains(LOGIN.1), "{}", broker.log());
    });
}

#[test]
fn a_database_that_is_not_there_yet_does_not_end_the_start() {
    for_both(|scene| {
        scene.database.kill();
        let broker = scene.builder().start();
        eventually!(broker.log().contains("does not say who they are"));
        let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE);
        scene.database.restart();
        let limit = Duration::from_secs(15);
        eventually!(
            limit,
            attempt(&broker, &login(5, &unique("c"), "ann")).code == 0
        );
        assert_eq!(broker.log().matches("does not say who they are").count(), 1);
    });
}

#[test]
fn a_change_holds_for_those_who_are_there() {
    for_both(|scene| {
        let broker = scene.builder().start();
        let Scene { users, rules, .. } = scene;
        let [mut ann, mut bob, mut cat] =
            ["ann", "bob", "cat"].map(|name| connect(&broker, 5, &unique(name), name));
        cat.subscribe("a/#", 1);
        scene.rule("cat", "a/b", 0);
        eventually!(!may_publish(&mut cat, "a/b"));
        ann.publish("a/b", b"not for cat", 1);
        ann.publish("a/c", b"for cat", 1);
        while cat.receive().payload != b"for cat" {}
        let given = format!("DELETE FROM {rules} WHERE topic = 'a/b'");
        scene.database.run(&given);
        eventually!(may_publish(&mut cat, "a/b"));
        scene
            .database
            .run(&format!("DELETE FROM {users} WHERE username = 'bob'"));
        bob.expect_disconnect(NOT_AUTHORIZED);
        ann.ping();
    });
}

/// In the row of its user, and in no other that the database takes for the same.
#[test]
fn a_weak_password_is_stored_anew() {
    for_both(|scene| {
        let Scene { users, .. } = scene;
        scene.database.run(&format!("UPDATE {users} SET password = '$2b$05$10OJE9UY1F.N4D3eU8NUXOYGQA3zhPeUsmWW.zS0KDyvuz0nAqgWG'"));
        let builder = |more: &str| scene.builder_of(&format!("password-hash: auto{more}"));
        let right = || {
            Connect::new(5, unique("c"))
                .username("ann")
                .password("correct horse")
        };
        let stored = |name: &str| {
            let statement = format!("SELECT password FROM {users} WHERE username = '{name}'");
            scene.database.run(&statement)
        };
        let plain = builder("").start();
        assert_eq!(attempt(&plain, &right()).code, 0);
        assert!(stored("ann").starts_with("$2b$"));
        let broker = builder(", rehash: true").start();
        let (mut ann, connack) = Client::attempt(&broker, &right());
        assert_eq!(connack.code, 0);
        let anew = stored("ann");
        assert!(anew.starts_with("$argon2id$"), "{anew}");
        assert!(stored("bob").starts_with("$2b$"));
        assert_eq!(attempt(&broker, &right()).code, 0);
        pause(Duration::from_secs(2));
        ann.ping();
        assert_eq!(stored("ann"), anew);
    });
}

#[test]
fn a_table_that_is_not_there_lets_nobody_in() {
    for_both(|scene| {
        let Scene { users, .. } = scene;
        scene
            .database
            .run(&format!("ALTER TABLE {users} RENAME TO other"));
        let broker = scene.builder().start();
        eventually!(broker.log().contains("does not say who they are"));
        eventually!(broker.log().contains(users));
        let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE);
        scene
            .database
            .run(&format!("ALTER TABLE other RENAME TO {users}"));
        eventually!(attempt(&broker, &login(5, &unique("c"), "ann")).code == 0);
    });
}

#[test]
fn what_cannot_work_ends_the_start_and_says_no_password() {
    for kind in ["mysql", "postgresql"] {
        for (more, says) in [
            ("host: ''", "host"),
            ("host: 'postgres://a'", "host"),
            ("database: ''", "database"),
            ("username: ''", "username"),
            ("auth: {table: ''}", "auth.table"),
            ("auth: {table: 'a; DROP TABLE b'}", "auth.table"),
            ("acl: {topic-column: 'a\"b'}", "acl.topic-column"),
            ("auth: {password-hash: rot13}", "rot13"),
            ("auth: {mode: none}, acl: {mode: none}", "neither"),
            ("sslmode: maybe", "maybe"),
            ("sslmode: disable, ssl-ca: ca.pem", "ssl-ca"),
            (
                "sslmode: verify-full, ssl-ca: nowhere/ca.pem",
                "nowhere/ca.pem",
            ),
            ("max-connections: 0", "from 1 to 1000"),
            ("timeout: 0s", "0s"),
            ("tables: x", "unknown key"),
        ] {
            let source = format!("type: {kind}, password: hunter2, {more}");
            let started = Broker::builder()
                .config(format!("auth: {{sources: [{{{source}}}]}}"))
                .try_start();
            let Err(trouble) = started else {
                panic!("it started: {more}");
            };
            assert!(
                trouble.contains("auth.sources") && trouble.contains(says),
                "{trouble}"
            );
            assert!(!trouble.contains("hunter2"), "{trouble}");
        }
    }
}
