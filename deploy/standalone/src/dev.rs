//! `gatemq dev`: a whole cluster in one process, for trying out. Nothing of it outlives the process.
//!
//! Each node is what a process of its own would be, with a gossip, a gateway and ports of its own;
//! the first one has the control plane. Without `--redis` each gateway has its own sessions, in
//! memory: messages cross nodes, sessions do not.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, Command};

use crate::Tiers;
use crate::config::{self, Configured, Place};
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
        let number = |name: &str| matches.get_one::<u16>(name).copied().unwrap_or_default();
        let (n_gateways, port) = (number("gateways"), number("port"));
        let redis = matches.get_one::<String>("redis");
        let folder = tempfile::Builder::new().prefix("gatemq-dev-").tempdir();
        let folder = folder.map_err(|error| Refusal::Wrong(format!("no folder: {error}")))?;
        let nodes = (0..n_gateways).map(|at| {
            let tiers = if at == 0 { Tiers::ALL } else { Tiers::GATEWAY };
            let flags = flags(at, port, redis.map(String::as_str), folder.path());
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
            "{other} is the address of {} and of {}: choose another --port",
            one.key, other.key
        ))),
    }
}

/// The flags that a process of its own would have been given.
fn flags(at: u16, port: u16, redis: Option<&str>, folder: &Path) -> Flags {
    let name = format!("dev{}", at + 1);
    let local = |port: u16| format!("127.0.0.1:{port}");
    let mut settings = vec![
        ("node-name", name.clone()),
        ("data-dir", folder.join(&name).display().to_string()),
        ("tcp", local(port + at)),
        ("ws", String::new()),
        ("http", local(HTTP + at)),
        ("cluster.gossip-port", (GOSSIP + at).to_string()),
        ("cluster.raft-port", (RAFT + at).to_string()),
        ("cluster.grpc-port", (GRPC + at).to_string()),
        ("cluster.control-size", "1".to_owned()),
    ];
    match redis {
        Some(address) => {
            settings.push(("storage.way", "redis".to_owned()));
            settings.push(("redis.addr", address.to_owned()));
            // Each run is another cluster, and what it leaves there is nobody's.
            let run = folder.file_name().unwrap_or_default().to_string_lossy();
            settings.push(("redis.prefix", run.into_owned()));
        }
        None => settings.push(("storage.way", "memory".to_owned())),
    }
    match at {
        0 => settings.push(("cluster.raft-bootstrap", "true".to_owned())),
        _ => settings.push(("cluster.members", local(GOSSIP))),
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
        .arg(number("port", "1883", 1..=65_000).help("MQTT over TCP, of the first gateway"))
        .arg(
            Arg::new("redis")
                .long("redis")
                .value_name("ADDR")
                .help("Redis for the sessions; without it each gateway has its own"),
        )
}

/// The ports of the first node; the others follow.
const HTTP: u16 = 8080;
const GOSSIP: u16 = 7946;
const RAFT: u16 = 8946;
const GRPC: u16 = 17946;

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
    fn ports_of_two_nodes_that_meet_are_named() {
        let Err(Refusal::Wrong(line)) = parse(&["--port", "8079"]) else {
            panic!("the second gateway's port is the first one's HTTP");
        };
        let expected = "127.0.0.1:8080 is the address of http of dev1 and of tcp of dev2";
        assert!(line.starts_with(expected), "{line}");
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
