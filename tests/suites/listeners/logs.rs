//! Logs of the real process: format, where they go, rotation, and the filter by module.

use std::fs;

use gatemq_tests::{Broker, Client, eventually, unique};

/// Starts a broker with this `log` section, connects a few clients, and ends it in order.
fn run(log: &str) -> Broker {
    let broker = Broker::builder()
        .config(format!("log:\n{log}  file: '{{dir}}/logs/gatemq.log'\n"))
        .start();
    for _ in 0..20 {
        Client::v5(&broker, &unique("logged")).disconnect();
    }
    eventually!(Client::v5(&broker, &unique("last")).is_open());
    assert_eq!(broker.terminate().code(), Some(0));
    broker
}

fn file(broker: &Broker, name: &str) -> Option<String> {
    fs::read_to_string(broker.dir().join("logs").join(name)).ok()
}

/// Lines that are one JSON object each, with what every line must have.
#[track_caller]
fn check_json(text: &str) {
    assert!(text.lines().count() > 1, "{text}");
    for line in text.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        for field in [
            "\"timestamp\":",
            "\"level\":",
            "\"message\":",
            "\"target\":",
        ] {
            assert!(line.contains(field), "{field} is not in {line}");
        }
    }
}

#[test]
fn json_goes_to_the_file_and_nowhere_else() {
    let broker = run("  format: json\n  output: file\n  level: debug\n");
    let text = file(&broker, "gatemq.log").expect("a log file");
    check_json(&text);
    assert!(text.contains("\"message\":\"ready\""), "{text}");
    assert!(text.contains("\"client.id\":\"logged"), "{text}");
    assert!(!broker.log().contains("timestamp"), "{}", broker.log());
}

#[test]
fn both_means_the_same_lines_twice() {
    let broker = run("  output: both\n");
    let text = file(&broker, "gatemq.log").expect("a log file");
    let said: Vec<_> = text.lines().filter(|line| line.contains("INFO")).collect();
    assert!(said.len() >= 2, "{text}");
    for line in said {
        let (_time, line) = line.split_once(' ').expect("a time and more");
        assert!(broker.log().contains(line), "{line} is not on the console");
    }
}

#[test]
fn console_makes_no_file() {
    let broker = run("  output: console\n");
    assert_eq!(file(&broker, "gatemq.log"), None);
    assert!(broker.log().contains("ready"));
}

#[test]
fn a_full_file_is_followed_by_a_new_one_and_old_ones_go() {
    let broker = run("  output: file\n  level: trace\n  max-size: 1KiB\n  max-backups: 2\n");
    assert!(file(&broker, "gatemq.log").is_some());
    for name in ["gatemq.log.1", "gatemq.log.2"] {
        let text = file(&broker, name).unwrap_or_else(|| panic!("no {name}"));
        assert!(text.len() <= 2048 && text.ends_with('\n'), "{name}: {text}");
    }
    assert_eq!(file(&broker, "gatemq.log.3"), None);
}

#[test]
fn modules_have_levels_of_their_own() {
    let level = "  output: file\n  level: 'warn,gatemq_gateway::connection=debug'\n";
    let text = file(&run(level), "gatemq.log").expect("a log file");
    assert!(text.contains("DEBUG gatemq_gateway::connection"), "{text}");
    assert!(!text.contains("INFO"), "{text}");
    let others = text
        .lines()
        .filter(|line| !line.contains("gatemq_gateway::connection"));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}
