//! `gatemq dev`: a whole cluster in one process, for trying out. Nothing of it outlives the process.
//!
//! Each node is what a process of its own would be, with a gossip, a gateway and ports of its own;
//! the first one has the control plane. Without `--redis` each gateway has its own sessions, in
//! memory: messages cross nodes, sessions do not. With it, what they leave there is removed at the end.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use crate::Tiers;
use crate::config::{self, Configured, Place, StorageWay};
use crate::flags::{Flags, Refusal, refusal};

/// The nodes of a cluster for trying out.
#[derive(Debug)]
pub struct Dev {
    /// Each node's configuration, the first one's first.
    pub nodes: Vec<(Tiers, Configured)>,
    /// Where they keep what they have to keep.
    _folder: tempfile::TempDir,
}

/// Whether a command line asks for it: `gatemq dev …`.
pub fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| first == "dev")
}

impl Dev {
    /// Reads the command line behind `dev`.
    ///
    /// # Errors
    ///
    /// What is to be said instead.
    pub fn parse(arguments: &[OsString]) -> Result<Self, Refusal> {
        let matches = command()
            .try_get_matches_from(&arguments[1..])
            .map_err(|error| refusal(&error))?;
        let n_gateways = matches.get_one::<u16>("gateways").copied();
        let ports = Ports::of(&matches)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let folder = folder.map_err(|error| Refusal::Wrong(format!("no folder: {error}")))?;
        let nodes = (0..n_gateways.unwrap_or_default()).map(|at| {
            let tiers = if at == 0 { Tiers::ALL } else { Tiers::GATEWAY };
            let flags = flags(at, &ports, &matches, folder.path());
            let configured = config::load(tiers, &flags, []);
            let wrong = |error: gatemq_node::config::Error| Refusal::Wrong(error.to_string());
            Ok((tiers, configured.map_err(wrong)?))
        });
        let nodes = nodes.collect::<Result<Vec<_>, Refusal>>()?;
        check_apart(&nodes)?;
        Ok(Self {
            nodes,
            _folder: folder,
        })
    }

    /// Removes what the nodes have left in Redis; they have ended. Each run is another cluster, so
    /// that it is nobody's.
    pub fn clear(&self) {
        let Some((_, first)) = self.nodes.first() else {
            return;
        };
        let config = first.config();
        if config.storage.way != StorageWay::Redis {
            return;
        }
        let Ok(redis) = config.to_redis() else {
            return; // it has not been used either
        };
        let erase = async {
            let erasing = gatemq_gateway::erase(&redis);
            let erased = tokio::time::timeout(config.grace.duration(), erasing).await;
            erased.map_err(|_| "it takes too long".to_owned())?
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let cleared = match runtime {
            Ok(runtime) => runtime.block_on(erase),
            Err(error) => Err(error.to_string()),
        };
        match cleared {
            Ok(keys) => tracing::info!(keys, prefix = redis.prefix, "removed from redis"),
            Err(why) => tracing::warn!(
                why,
                "keys that begin with {}: are left in redis, and are nobody's: remove them",
                redis.prefix
            ),
        }
    }
}

/// Where the first node listens; each of the others does one port further on.
struct Ports {
    tcp: u16,
    /// The IP address, and the port; `None` for no HTTP.
    http: Option<(String, u16)>,
    gossip: u16,
    raft: u16,
    grpc: u16,
}

impl Ports {
    fn of(matches: &ArgMatches) -> Result<Self, Refusal> {
        let number = |name: &str| matches.get_one::<u16>(name).copied().unwrap_or_default();
        let http = matches.get_one::<String>("http").map_or("", String::as_str);
        Ok(Self {
            tcp: number("port"),
            http: http_of(http)?,
            gossip: number("gossip-port"),
            raft: number("raft-port"),
            grpc: number("grpc-port"),
        })
    }
}

/// Reads `PORT`, `:PORT` or `IP:PORT`.
fn http_of(text: &str) -> Result<Option<(String, u16)>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let (ip, port) = text.rsplit_once(':').unwrap_or(("", text));
    match port.parse() {
        Ok(port @ 1..=LAST) if ip.is_empty() => Ok(Some(("127.0.0.1".to_owned(), port))),
        Ok(port @ 1..=LAST) => Ok(Some((ip.to_owned(), port))),
        _ => {
            let what = format!("--http: {text:?} is neither PORT nor IP:PORT, from 1 to {LAST}");
            Err(Refusal::Wrong(what))
        }
    }
}

/// Nodes of one process do not listen on the same address, either.
fn check_apart(nodes: &[(Tiers, Configured)]) -> Result<(), Refusal> {
    let of_node = |(tiers, node): &(Tiers, Configured)| {
        let name = node.config().node_name.clone();
        let places = config::places(node.config(), *tiers, &node.gateway);
        places.into_iter().map(move |place| Place {
            key: format!("{} of {name}", place.key),
            ..place
        })
    };
    let places: Vec<Place> = nodes.iter().flat_map(of_node).collect();
    match config::meeting(&places) {
        None => Ok(()),
        Some((one, other)) => Err(Refusal::Wrong(format!(
            "{other} is the address of {} and of {}: choose another {}",
            one.key,
            other.key,
            flag_of(&one.key, &other.key)
        ))),
    }
}

/// The flag that sets two places apart.
fn flag_of(one: &str, other: &str) -> &'static str {
    let is_http = |key: &str| key.starts_with("http ");
    match is_http(one) || is_http(other) {
        true => "--port or --http",
        false => "--port",
    }
}

/// The flags that a process of its own would have been given.
fn flags(at: u16, ports: &Ports, matches: &ArgMatches, folder: &Path) -> Flags {
    let name = format!("dev{}", at + 1);
    let local = |port: u16| format!("127.0.0.1:{port}");
    let http = ports.http.as_ref();
    let http = http.map_or_else(String::new, |(ip, port)| format!("{ip}:{}", port + at));
    let mut settings = vec![
        ("node-name", name.clone()),
        ("data-dir", folder.join(&name).display().to_string()),
        ("tcp", local(ports.tcp + at)),
        ("ws", String::new()),
        ("http", http),
        ("cluster.gossip-port", (ports.gossip + at).to_string()),
        ("cluster.raft-port", (ports.raft + at).to_string()),
        ("cluster.grpc-port", (ports.grpc + at).to_string()),
        ("cluster.control-size", "1".to_owned()),
    ];
    let given = |flag: &str| matches.get_one::<String>(flag).cloned();
    settings.extend(
        PASSED_ON
            .iter()
            .filter_map(|(flag, key, ..)| Some((*key, given(flag)?))),
    );
    match given("redis") {
        Some(address) => {
            settings.push(("storage.way", "redis".to_owned()));
            settings.push(("redis.addr", address));
            // Each run is another cluster, and what it leaves there is nobody's.
            let run = folder.file_name().unwrap_or_default().to_string_lossy();
            settings.push(("redis.prefix", run.into_owned()));
        }
        None => settings.push(("storage.way", "memory".to_owned())),
    }
    match at {
        0 => settings.push(("cluster.raft-bootstrap", "true".to_owned())),
        _ => settings.push(("cluster.members", local(ports.gossip))),
    }
    Flags {
        settings: settings
            .into_iter()
            .map(|(key, value)| (format!("{name}: {key}"), key, value))
            .collect(),
        ..Flags::default()
    }
}

fn command() -> Command {
    let number = |name: &'static str, default: &'static str, range| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .default_value(default)
            .value_parser(clap::value_parser!(u16).range(range))
    };
    Command::new("gatemq dev")
        .bin_name("gatemq dev")
        .about("A whole cluster in one process, for trying out; nothing of it is kept")
        .arg(number("gateways", "3", 1..=9).help("Gateways; the first one is at --port"))
        .arg(number("port", "1883", PORTS).help("MQTT over TCP, of the first gateway"))
        .arg(
            Arg::new("http")
                .long("http")
                .value_name("ADDR")
                .default_value("8080")
                .help("HTTP of the first node, PORT or IP:PORT; \"\" is off"),
        )
        .arg(number("gossip-port", "7946", PORTS).help("Gossip of the first node"))
        .arg(number("raft-port", "8946", PORTS).help("Control plane of the first node"))
        .arg(number("grpc-port", "17946", PORTS).help("Messages of other nodes, of the first"))
        .args(PASSED_ON.iter().map(|(name, _, value, help)| {
            Arg::new(*name).long(*name).value_name(*value).help(*help)
        }))
        .arg(
            Arg::new("redis")
                .long("redis")
                .value_name("ADDR")
                .help("Redis for the sessions; without it each gateway has its own"),
        )
        .after_help("The other nodes listen at the ports that follow, each at the next one.")
}

/// What temporary folders, and keys in Redis, begin with.
const PREFIX: &str = "gatemq-dev-";
/// Ports of the first node: the others' follow.
const PORTS: std::ops::RangeInclusive<i64> = 1..=LAST as i64;
const LAST: u16 = 65_000;

/// Flags that mean what they mean elsewhere: name, key, name of the value, help.
const PASSED_ON: [(&str, &str, &str, &str); 4] = [
    (
        "redis-mode",
        "redis.mode",
        "MODE",
        "single, sentinel or cluster",
    ),
    ("redis-pass", "redis.password", "TEXT", "Its password"),
    ("redis-db", "redis.db", "N", "Its database"),
    (
        "level",
        "log.level",
        "FILTER",
        "Level, and exceptions by module",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Dev, Refusal> {
        let arguments = ["gatemq", "dev"].iter().chain(arguments);
        Dev::parse(&arguments.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn each_node_has_ports_of_its_own() {
        let dev = parse(&["--gateways", "3"]).expect("three nodes");
        let ports: Vec<String> = dev
            .nodes
            .iter()
            .map(|(_, node)| node.config().tcp.0.expect("a listener").to_string())
            .collect();
        assert_eq!(
            ports,
            ["127.0.0.1:1883", "127.0.0.1:1884", "127.0.0.1:1885"]
        );
        assert!(dev.nodes[0].0.control && !dev.nodes[1].0.control);
    }

    #[test]
    fn every_port_can_be_chosen() {
        let dev = parse(&[
            "--gateways=2",
            "--port=21000",
            "--http=21100",
            "--gossip-port=21200",
            "--raft-port=21300",
            "--grpc-port=21400",
        ]);
        let dev = dev.expect("two nodes");
        let (_, second) = &dev.nodes[1];
        let config = second.config();
        let http = config.http.0.expect("it has HTTP");
        assert_eq!(http.to_string(), "127.0.0.1:21101");
        assert_eq!(config.cluster.members.0, ["127.0.0.1:21200"]);
        assert_eq!(config.cluster.gossip().to_string(), "127.0.0.1:21201");
        assert_eq!(config.cluster.raft().to_string(), "127.0.0.1:21301");
        let http = |text: &str| http_of(text).map_err(drop);
        let local = |ip: &str| Ok(Some((ip.to_owned(), 90)));
        assert_eq!(http("90"), local("127.0.0.1"));
        assert_eq!(http(":90"), local("127.0.0.1"));
        assert_eq!(http("127.0.0.2:90"), local("127.0.0.2"));
        assert_eq!(http("[::1]:90"), local("[::1]"));
        assert_eq!(http(""), Ok(None));
        for wrong in ["x", "0", "127.0.0.1", "65001"] {
            assert_eq!(http(wrong), Err(()), "{wrong}");
        }
    }

    /// What a start says is to be changed by a flag, dev has.
    #[test]
    fn flags_that_messages_name_are_there() {
        let Err(Refusal::Answer(help)) = parse(&["--help"]) else {
            panic!("help is asked for");
        };
        for flag in [
            "http",
            "raft-port",
            "port",
            "redis",
            "redis-mode",
            "redis-pass",
            "redis-db",
        ] {
            assert!(help.contains(&format!("--{flag} <")), "{flag}: {help}");
        }
    }

    #[test]
    fn ports_of_two_nodes_that_meet_are_named() {
        let Err(Refusal::Wrong(line)) = parse(&["--port", "8079"]) else {
            panic!("the second gateway's port is the first one's HTTP");
        };
        let expected = "127.0.0.1:8080 is the address of http of dev1 and of tcp of dev2";
        assert!(line.starts_with(expected), "{line}");
        assert!(line.ends_with("choose another --port or --http"), "{line}");
    }

    #[test]
    fn wrong_numbers_are_one_line() {
        for arguments in [
            &["--gateways", "0"][..],
            &["--gateways", "x"],
            &["--nodes", "3"],
        ] {
            let Err(Refusal::Wrong(line)) = parse(arguments) else {
                panic!("{arguments:?} is taken");
            };
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(line.matches("--help").count(), 1, "{line}");
        }
    }

    #[test]
    fn its_help_is_of_its_own() {
        let Err(Refusal::Answer(help)) = parse(&["--help"]) else {
            panic!("help is asked for");
        };
        assert!(help.contains("Usage: gatemq dev [OPTIONS]"), "{help}");
    }
}
