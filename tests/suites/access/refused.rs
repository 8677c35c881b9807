//! Clients that are refused at CONNECT: what the log says of them, and what is counted.

use std::{net::TcpStream, time::Duration};

use gatemq_tests::{Broker, Client, Connect, eventually, unique};

use super::scene::{BAD_LOGIN, attempt, builder, login};
use crate::listeners::http_client::get;

const USERS: &str = "
password-hash: plain
users:
- {username: ann, password: ann}
rules:
- {allow: all, topics: ['#']}
";
const BANNED: u8 = 0x8A;

/// The lines of the log, at the level of info, that say that a connection was refused.
fn lines(broker: &Broker) -> Vec<String> {
    let log = broker.log();
    let lines = log.lines();
    let lines = lines.filter(|it| it.contains("INFO") && it.contains("connection refused"));
    lines.map(str::to_owned).collect()
}

fn metrics(broker: &Broker, reason: &str) -> u64 {
    let line = format!("gateway_connections_refused_total{{reason=\"{reason}\"}} ");
    let body = get(broker.http(), "/metrics").body;
    let n = body.lines().find_map(|found| found.strip_prefix(&line));
    n.map_or(0, |n| n.parse().expect("a number"))
}

#[test]
fn whoever_is_refused_is_in_the_log_and_counted_by_the_reason() {
    let broker = builder(USERS)
        .file(
            "bans.yml",
            "bans: [{client-id: pump-7, reason: it is stolen}]",
        )
        .config(
            "auth: {sources: [{type: file, path: '{dir}/users.yml'}]}\n\
             bans: {file: '{dir}/bans.yml'}",
        )
        .start();
    let wrong = login(5, "a\u{202e} \"b", "ann").password("no");
    assert_eq!(attempt(&broker, &wrong).code, BAD_LOGIN);
    assert_eq!(attempt(&broker, &login(5, "pump-7", "ann")).code, BANNED);
    assert_eq!(attempt(&broker, &login(4, "pump-7", "ann")).code, 5);
    assert_eq!(attempt(&broker, &login(5, &unique("c"), "ann")).code, 0);
    // Whoever only looks whether the port is open is nobody to speak of.
    drop(TcpStream::connect(broker.tcp()).expect("it listens"));
    eventually!(metrics(&broker, "no CONNACK") == 1);
    let listener = format!("listener=\"tcp {}\"", broker.tcp());
    eventually!(lines(&broker).len() == 3);
    let found = lines(&broker);
    let has = |line: &str, parts: &[&str]| {
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
    };
    let all = [&*listener, "peer=127.0.0.1", "user=\"ann\"", "why="];
    found.iter().for_each(|line| has(line, &all));
    let name = r#"client.id="a\u{202e} \"b""#;
    has(
        &found[0],
        &[
            name,
            "reason=\"Bad User Name or Password\"",
            "code=\"0x86\"",
        ],
    );
    for line in &found[1..] {
        let parts = ["client.id=\"pump-7\"", "reason=\"Banned\"", "code=\"0x8A\""];
        has(line, &parts);
        has(
            line,
            &["client-id pump-7, a ban of the file: it is stolen\""],
        );
    }
    assert_eq!(metrics(&broker, "Bad User Name or Password"), 1);
    assert_eq!(metrics(&broker, "Banned"), 2);
}

#[test]
fn names_that_are_long_do_not_make_lines_that_are() {
    let broker = builder(USERS).start();
    let connect = Connect::new(5, "c".repeat(30_000)).username("u".repeat(30_000));
    assert_eq!(attempt(&broker, &connect).code, BAD_LOGIN);
    eventually!(lines(&broker).len() == 1);
    let found = lines(&broker);
    assert!(found[0].len() < 1_000, "{}", found[0].len());
}

#[test]
fn a_storm_of_them_is_a_few_lines_and_how_many_they_were() {
    const CLIENTS: usize = 200;
    let broker = builder(USERS).start();
    for n in 0..CLIENTS {
        let connect = login(5, &format!("storm-{n}"), "eve");
        assert_ne!(Client::attempt(&broker, &connect).1.code, 0);
    }
    let told = |log: &str| -> usize {
        let found = log.lines().filter(|line| line.contains("more connections"));
        let numbers = found.filter_map(|line| line.split_once("n_refused="));
        let numbers = numbers.filter_map(|(_, n)| n.split(' ').next()?.parse::<usize>().ok());
        numbers.sum()
    };
    let limit = Duration::from_secs(10);
    eventually!(limit, lines(&broker).len() + told(&broker.log()) == CLIENTS);
    assert!(told(&broker.log()) > 0, "all of them had a line");
}
