//! Short runs of mqload against relays: what it counts adds up, and it ends by itself.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Relay(Child, u16);

impl Relay {
    fn start() -> Relay {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(env!("CARGO_BIN_EXE_mqrelay"))
            .arg(port.to_string())
            .spawn()
            .expect("mqrelay starts");
        let relay = Relay(child, port);
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "mqrelay does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        relay
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.1)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mqload(mode: &str, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqload"));
    command.arg(mode).args(arguments.split_whitespace());
    command
}

fn run(mode: &str, relays: &[&Relay], arguments: &str) -> Value {
    let addresses: Vec<_> = relays.iter().map(|relay| relay.address()).collect();
    let pids: Vec<_> = relays
        .iter()
        .map(|relay| relay.0.id().to_string())
        .collect();
    let (addresses, pids) = (addresses.join(","), pids.join(","));
    let out = mqload(mode, arguments)
        .args(["--addr", &addresses, "--pid", &pids])
        .output()
        .expect("mqload runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(result: &Value, key: &str) -> f64 {
    result[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {result}"))
}

#[test]
fn a_fill_subscribes_to_all_filters_over_all_addresses() {
    let relays = [Relay::start(), Relay::start()];
    let arguments = "--n 20003 --clients 6 --batch 100 --sub-window 2 --timeout 20";
    let result = run("suback", &[&relays[0], &relays[1]], arguments);
    assert_eq!(number(&result, "total_filters"), 20003.0);
    assert_eq!(number(&result, "refused"), 0.0);
    assert_eq!(number(&result["suback_us"], "n"), 201.0);
    // both were at work, and each one's share is there
    let each = result["each"].as_array().expect("a process each");
    assert_eq!(each.len(), 2);
    let sum: f64 = each.iter().map(|process| number(process, "cpu_s")).sum();
    assert!((sum - number(&result, "broker_cpu_s")).abs() < 0.01);
    assert!(each.iter().all(|process| number(process, "cpu_s") > 0.0));
}

#[test]
fn subscribes_at_a_rate_come_at_that_rate() {
    let relay = Relay::start();
    let arguments = "--clients 4 --batch 5 --rate 1000 --warmup 0.2 --secs 1";
    let result = run("suback", &[&relay], arguments);
    let rate = number(&result, "filters_per_s");
    assert!((700.0..1300.0).contains(&rate), "{result}");
    assert_eq!(number(&result, "unanswered"), 0.0);
}

#[test]
fn a_table_is_held_until_the_input_ends() {
    let relay = Relay::start();
    let mut child = mqload("suback", "--n 40 --clients 2 --batch 10 --hold 60")
        .args(["--addr", &relay.address()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mqload runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let filled: Value = serde_json::from_str(&lines.next().expect("a line").expect("text"))
        .expect("the fill's figures");
    assert_eq!(number(&filled, "total_filters"), 40.0);
    assert!(child.try_wait().expect("its state").is_none());
    drop(child.stdin.take());
    let held: Value = serde_json::from_str(&lines.next().expect("a line").expect("text"))
        .expect("the end's figures");
    assert_eq!(number(&held, "closed"), 0.0);
    assert!(child.wait().expect("its end").success());
}

#[test]
fn messages_that_go_nowhere_are_bounded_by_answers() {
    for (qos, fresh) in [(0, ""), (0, "--fresh"), (1, "--fresh")] {
        let relay = Relay::start();
        let arguments = format!("--pubs 3 --window 8 --qos {qos} --warmup 0.1 --secs 0.4 {fresh}");
        let result = run("sink", &[&relay], &arguments);
        assert!(number(&result, "total_sent") > 1000.0, "{result}");
        assert!(number(&result, "broker_cpu_s_per_M_sent") > 0.0, "{result}");
        for key in ["total_recv", "stalls", "missing", "closed"] {
            assert_eq!(number(&result, key), 0.0, "{key} in {result}");
        }
    }
}

#[test]
fn topics_that_are_new_each_time_reach_their_subscriber() {
    let relay = Relay::start();
    let arguments = "--pubs 2 --window 4 --fresh --warmup 0.1 --secs 0.4 --base a/table";
    let result = run("p2p", &[&relay], arguments);
    assert!(number(&result, "total_recv") > 100.0, "{result}");
    assert_eq!(number(&result, "missing"), 0.0, "{result}");
    assert_eq!(number(&result, "stalls"), 0.0, "{result}");
}
