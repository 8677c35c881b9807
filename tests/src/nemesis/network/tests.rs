//! The network with real sockets in its namespaces: a server that answers each datagram, and Redis.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use super::{CLIENTS, Network, command};
use crate::{
    cluster::{
        place::Place,
        process::{Log, Process},
        wrap::Wrap,
    },
    ports,
    redis::Redis,
};

const SHORT: Duration = Duration::from_millis(300);
const START_LIMIT: Duration = Duration::from_secs(20);
/// Answers each datagram, and says what came.
const ECHO: &str = "
import socket, sys
it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
it.bind((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
while True:
    text, whom = it.recvfrom(2048)
    print('came:', text.decode(), flush=True)
    it.sendto(text, whom)
";

/// A network, unless this machine can have none.
fn start(what: &str) -> Option<Network> {
    match Network::capability() {
        Ok(()) => Some(Network::start().expect("there was one a moment ago")),
        Err(why) => {
            crate::skip(what, &why.to_string());
            None
        }
    }
}

/// Somebody who answers datagrams.
struct Echo {
    address: SocketAddr,
    log: Log,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Echo {
    fn start(place: &Place) -> Self {
        let (port, log) = (ports::free(), Log::default());
        let address = place.port(port);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut command = Wrap::default().command(place, "python3", folder.path());
        command.args(["-c", ECHO, &place.address().to_string(), &port.to_string()]);
        let process = Process::spawn(command, folder.path(), &log, "ready");
        let mut process = process.expect("python3 runs");
        let ready = process.wait_until_ready(START_LIMIT);
        ready.unwrap_or_else(|trouble| panic!("{trouble}: {}", log.text()));
        Self {
            address,
            log,
            _process: process,
            _folder: folder,
        }
    }

    /// Sends it texts, and counts what comes back until all has, or nothing does for so long.
    fn ask(&self, texts: &[String], wait: Duration) -> usize {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        let (mut n_sent, mut n_back) = (0, 0);
        // A few at a time, so that no queue is too short for them.
        for some in texts.chunks(16) {
            for text in some {
                let sent = socket.send_to(text.as_bytes(), self.address);
                sent.expect("what is lost is lost in silence");
            }
            n_sent += some.len();
            socket.set_nonblocking(true).expect("it can be");
            while socket.recv(&mut [0; 64]).is_ok() {
                n_back += 1;
            }
            socket.set_nonblocking(false).expect("it can be");
            crate::pause(Duration::from_millis(1));
        }
        while n_back < n_sent && socket.recv(&mut [0; 64]).is_ok() {
            n_back += 1;
        }
        n_back
    }

    fn answers(&self, text: &str) -> bool {
        self.ask(&[text.to_owned()], SHORT) == 1
    }

    fn got(&self, text: &str) -> bool {
        self.log.count(&format!("came: {text}")) > 0
    }
}

/// Whether Redis answers to somebody in that place, and how long that takes.
fn ping(from: &Place, redis: &Redis) -> Option<Duration> {
    let address = redis.address();
    let mut command =
        Wrap::default()
            .under(["timeout", "1.5"])
            .command(from, "redis-cli", "/".as_ref());
    command.args(["-h", &address.ip().to_string()]);
    command.args(["-p", &address.port().to_string(), "PING"]);
    let start = Instant::now();
    let output = command.output().expect("redis-cli runs");
    (output.stdout == b"PONG\n").then(|| start.elapsed())
}

#[test]
fn two_sets_are_cut_off_from_one_another_and_from_nobody_else() {
    let Some(network) = start("a partition") else {
        return;
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| network.join(name).expect("a place"));
    assert_eq!(network.nodes(), ["a", "b", "c"]);
    assert_eq!(network.join("b").expect("the same"), b);
    let redis = Redis::start_in(b, Wrap::default());
    assert_eq!(redis.command(&["PING"]), "PONG", "from outside");
    let reaches = |from| ping(from, &redis).is_some();
    assert!(reaches(&a) && reaches(&c));
    network.partition(&["a"], &["b"]);
    assert!(!reaches(&a) && reaches(&c));
    assert_eq!(redis.command(&["PING"]), "PONG", "from outside");
    network.join_up(&["b"], &["a"]);
    assert!(reaches(&a));
    network.isolate("b");
    assert!(!reaches(&a) && !reaches(&c));
    assert_eq!(redis.command(&["PING"]), "PONG", "from outside");
    network.heal();
    assert!(reaches(&a) && reaches(&c));
}

#[test]
fn one_way_is_one_way() {
    let Some(network) = start("a cut one way") else {
        return;
    };
    let echo = Echo::start(&network.join("a").expect("a place"));
    assert!(echo.answers("before"));
    network.cut(&[CLIENTS], &["a"]);
    assert!(!echo.answers("there"));
    assert!(!echo.got("there"));
    network.heal();
    network.cut(&["a"], &[CLIENTS]);
    assert!(!echo.answers("back"));
    assert!(echo.got("back"), "only the answer is lost");
    network.heal();
    assert!(echo.answers("after"));
}

#[test]
fn so_many_packets_are_lost() {
    let Some(network) = start("loss") else {
        return;
    };
    let echo = Echo::start(&network.join("a").expect("a place"));
    let texts: Vec<_> = (0..1_000).map(|number: u32| number.to_string()).collect();
    let ask = || echo.ask(&texts, Duration::from_secs(2));
    assert!(ask() > 990);
    network.lose_between(&[CLIENTS], &["a"], 300);
    // Both ways: 49 % come back, and 5 standard deviations are 8 %.
    let n_back = ask();
    assert!((410..=570).contains(&n_back), "{n_back}");
    network.lose(300); // between nodes
    network.lose_between(&["a"], &[CLIENTS], 0);
    assert!(ask() > 990);
}

#[test]
fn a_delay_is_of_one_pair_and_both_ways() {
    let Some(network) = start("a delay") else {
        return;
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| network.join(name).expect("a place"));
    let redis = Redis::start_in(b, Wrap::default());
    let time = Duration::from_millis(150);
    let set = |time, jitter| network.delay("a", "b", time, jitter);
    match set(time, time / 2) {
        Ok(()) => {}
        Err(why) => return crate::skip("a delay", &why.to_string()),
    }
    // A connection and an answer are two round trips.
    let slow = ping(&a, &redis).expect("it answers");
    assert!(slow >= 4 * time, "{slow:?}");
    // The machine may be busy: the quickest of some counts.
    let quickest = |from| (0..5).filter_map(|_| ping(from, &redis)).min();
    let others = quickest(&c).expect("it answers");
    assert!(others < 2 * time, "{others:?}");
    // Much passes, and whole: the kernel joins packets and leaves their sums for later.
    let text = "x".repeat(3_000_000);
    redis.command(&["SETRANGE", "long", "2999999", "x"]);
    set(Duration::from_millis(20), Duration::ZERO).expect("as before");
    let address = redis.address();
    let get = |words: &[&str]| {
        let mut command = Wrap::default().command(&a, "redis-cli", "/".as_ref());
        command.args(["-h", &address.ip().to_string()]);
        command.args(["-p", &address.port().to_string()]);
        command.args(words).output().expect("it runs").stdout.len()
    };
    assert_eq!(get(&["GET", "long"]), text.len() + 1);
    network.heal();
    let healed = quickest(&a).expect("it answers");
    assert!(healed < 4 * time, "{healed:?}");
    network
        .delay(CLIENTS, "b", time, Duration::ZERO)
        .expect("as before");
    let start = Instant::now();
    assert_eq!(redis.command(&["PING"]), "PONG");
    assert!(start.elapsed() >= 4 * time, "{:?}", start.elapsed());
}

#[test]
fn a_bandwidth_is_kept_both_ways() {
    let Some(network) = start("a bandwidth") else {
        return;
    };
    let redis = Redis::start_in(network.join("a").expect("a place"), Wrap::default());
    redis.command(&["SETRANGE", "long", "399999", "x"]);
    let get = || {
        let start = Instant::now();
        assert!(redis.command(&["GET", "long"]).len() >= 399_999);
        start.elapsed()
    };
    network.limit("a", Some(2_000));
    let slow = get(); // 3.2 megabits
    assert!(slow >= Duration::from_millis(1_200), "{slow:?}");
    network.limit("a", None);
    let quick = (0..5).map(|_| get()).min();
    assert!(quick < Some(slow), "{quick:?}");
    network.limit("a", Some(2_000));
    network.limit("a", Some(4_000));
    network.heal();
    assert!((0..5).map(|_| get()).min() < Some(slow));
}

#[test]
fn a_link_comes_and_goes() {
    let Some(network) = start("a link that flaps") else {
        return;
    };
    let echo = Echo::start(&network.join("a").expect("a place"));
    let flap = network.flap(&[CLIENTS], &["a"], Duration::from_millis(800));
    assert!(!echo.answers("cut"));
    crate::eventually!(echo.answers("joined up"));
    crate::eventually!(!echo.answers("cut again"));
    assert!(flap.end() >= 2);
    assert!(echo.answers("after"));
}

#[test]
fn nothing_is_left_and_what_dead_runs_left_goes() {
    let Some(network) = start("leftovers") else {
        return;
    };
    network.join("a").expect("a place");
    let own = network.0.setup.namespace("");
    let there = |prefix: &str| {
        let entries = fs::read_dir("/run/netns").expect("namespaces are there");
        let names = entries.flatten().map(|entry| entry.file_name());
        let ours = names.filter(|name| name.to_string_lossy().starts_with(prefix));
        ours.count()
    };
    assert_eq!(there(&own), 2);
    drop(network);
    assert_eq!(there(&own), 0);
    // No network has this number, so that its lock is free, as a dead run's is.
    command::ip("netns add gmq255-ghost").expect("root can");
    let network = start("leftovers").expect("there was one a moment ago");
    assert_eq!(there("gmq255-"), 0);
    assert!(network.join("no-good").is_err());
    let listed = Command::new("ip").args(["link", "show"]).output();
    let listed = String::from_utf8_lossy(&listed.expect("ip runs").stdout).into_owned();
    assert!(!listed.contains(&format!("{}:", own.trim_end_matches('-'))));
}
