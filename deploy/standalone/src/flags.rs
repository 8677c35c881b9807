//! The command line: comqtt's names where the meaning is the same.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file.
    pub conf: Option<PathBuf>,
    /// comqtt's file of its bridge.
    pub bridge_conf: Option<PathBuf>,
    /// Settings: the flag, its key in the configuration, the value.
    pub settings: Vec<(String, &'static str, String)>,
    /// Flags that were given and do nothing.
    pub without_meaning: Vec<String>,
    /// Check the configuration and end.
    pub check_config: bool,
    /// Print the configuration that holds and end.
    pub print_config: bool,
}

/// Why the command line starts nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Help or the version was asked for: it is to be printed.
    Answer(String),
    /// It is wrong, for a reason that fits on one line.
    Wrong(String),
}

/// Flags that set a key: name, key, name of the value, help.
#[rustfmt::skip]
const SETTINGS: &[(&str, &str, &str, &str)] = &[
    ("data-dir", "data-dir", "DIR", "Where sessions and messages are kept [default: ./data]"),
    ("storage-way", "storage.way", "WAY", "memory, redb, fjall or redis (0 to 3) [default: redb; of a cluster redis]"),
    ("tcp", "tcp", "ADDR", "MQTT over TCP; \"\" is off [default: 127.0.0.1:1883]"),
    ("ws", "ws", "ADDR", "MQTT over WebSocket; \"\" is off [default: 127.0.0.1:1882]"),
    ("tls", "tls", "ADDR", "MQTT over TLS [default: off]"),
    ("wss", "wss", "ADDR", "MQTT over WebSocket over TLS [default: off]"),
    ("unix", "unix", "PATH", "MQTT over a Unix socket [default: off]"),
    ("http", "http", "ADDR", "Health, metrics, stats; \"\" is off [default: 127.0.0.1:8080]"),
    ("tls-cert", "tls-cert", "FILE", "Certificate chain of --tls and --wss, PEM"),
    ("tls-key", "tls-key", "FILE", "Private key of --tls and --wss, PEM"),
    ("tls-client-ca", "tls-client-ca", "FILE", "Authorities that clients must come from, PEM"),
    ("tls-client-crl", "tls-client-crl", "FILE", "What they have revoked: lists, PEM, or one, DER"),
    ("auth-way", "auth-way", "WAY", "0 (anonymous) is the only one in this version"),
    ("node-name", "node-name", "NAME", "Name of this node; in a cluster no other node has it"),
    ("workers", "workers", "N", "Worker threads; 0 is one per processor [default: 0]"),
    ("grace", "grace", "TIME", "How long an orderly end may take [default: 10s]"),
    ("log-format", "log.format", "FORMAT", "text or json (0, 1) [default: text]"),
    ("log-output", "log.output", "OUTPUT", "console, file or both (0, 1, 2) [default: console]"),
    ("log-file", "log.file", "FILE", "The log file [default: ./logs/gatemq.log]"),
    ("level", "log.level", "FILTER", "Level, and exceptions by module [default: info]"),
    ("members", "cluster.members", "LIST", "Nodes to join the cluster through, HOST:PORT of their gossip"),
    ("bind-ip", "cluster.bind-ip", "IP", "Address for other nodes [default: 127.0.0.1]"),
    ("advertise-ip", "cluster.advertise-ip", "HOST", "How other nodes reach it [default: bind-ip]"),
    ("gossip-port", "cluster.gossip-port", "PORT", "Gossip, UDP and TCP [default: 7946]"),
    ("raft-port", "cluster.raft-port", "PORT", "Control plane, gRPC [default: 8946]"),
    ("grpc-port", "cluster.grpc-port", "PORT", "Messages of other nodes, gRPC [default: 17946]"),
    ("control-size", "cluster.control-size", "N", "Voters of the control plane: 1, 3, 5, 7 [default: 3]"),
    ("nodes-file-dir", "cluster.nodes-file-dir", "DIR", "Where members are remembered [default: data-dir]"),
    ("redis", "redis.addr", "LIST", "Redis for a cluster's sessions [default: 127.0.0.1:6379]"),
    ("redis-mode", "redis.mode", "MODE", "single, sentinel or cluster [default: single]"),
    ("redis-pass", "redis.password", "TEXT", "Its password"),
    ("redis-db", "redis.db", "N", "Its database [default: 0]"),
    ("redis-prefix", "redis.prefix", "TEXT", "What keys begin with; of each cluster another [default: gatemq]"),
];

/// Flags that set a key to true or false; `--flag` is `--flag=true`.
#[rustfmt::skip]
const SWITCHES: &[(&str, &str, &str)] = &[
    ("allow-anonymous", "allow-anonymous", "Listen to other machines without credentials"),
    ("http-allow-anonymous", "http-allow-anonymous", "Answer other machines over HTTP without tokens"),
    ("allow-plaintext", "cluster.allow-plaintext", "Reach other nodes without keys or certificates"),
    ("raft-bootstrap", "cluster.raft-bootstrap", "Begin a new cluster; on its first node only"),
    ("log-enable", "log.enable", "Whether to log at all [default: true]"),
];

/// comqtt's flags that do nothing here.
const WITHOUT_MEANING: &[&str] = &[
    "env",
    "error-file",
    "info-file",
    "auth-ds",
    "auth-path",
    "quic",
    "raft-log-level",
];

/// comqtt's flag for what nodes always do here.
const ALWAYS_ON: &str = "grpc-enable";

impl Flags {
    /// Reads the command line, the program's name first.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Refusal> {
        let matches = command()
            .try_get_matches_from(arguments)
            .map_err(|error| refusal(&error))?;
        let given = |names: &[&'static str]| -> Vec<String> {
            let given = names.iter().filter(|name| matches.contains_id(name));
            given.map(|name| format!("--{name}")).collect()
        };
        if matches
            .get_one::<String>(ALWAYS_ON)
            .is_some_and(|value| value != "true")
        {
            let what = "nodes always speak gRPC with each other: leave the flag out";
            return Err(Refusal::Wrong(format!("--{ALWAYS_ON}: {what}")));
        }
        Ok(Self {
            conf: matches.get_one("conf").cloned(),
            bridge_conf: matches.get_one("bridge-conf").cloned(),
            settings: settings(&matches),
            without_meaning: given(WITHOUT_MEANING),
            check_config: matches.get_flag("check-config"),
            print_config: matches.get_flag("print-config"),
        })
    }
}

fn settings(matches: &ArgMatches) -> Vec<(String, &'static str, String)> {
    let all = SETTINGS.iter().map(|(name, key, ..)| (*name, *key));
    let all = all.chain(SWITCHES.iter().map(|(name, key, _)| (*name, *key)));
    all.filter_map(|(name, key)| {
        let text = matches.get_one::<String>(name)?;
        Some((format!("--{name}"), key, text.clone()))
    })
    .collect()
}

fn command() -> Command {
    let conf = Arg::new("conf")
        .long("conf")
        .value_name("FILE")
        .help("Configuration file, YAML");
    let bridge_conf = Arg::new("bridge-conf")
        .long("bridge-conf")
        .value_name("FILE")
        .help("comqtt's file of its bridge to Kafka, YAML; for gatemq-bridge");
    let action = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    let settings = SETTINGS.iter().map(|(name, _, value, help)| {
        let flag = Arg::new(*name).long(*name).value_name(*value).help(*help);
        flag.allow_negative_numbers(true)
    });
    let switches = SWITCHES
        .iter()
        .map(|(name, _, help)| optional(name).help(*help));
    let silent = WITHOUT_MEANING
        .iter()
        .chain([&ALWAYS_ON])
        .map(|name| optional(name).hide(true));
    Command::new("gatemq")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An MQTT broker; settings: defaults < --conf FILE < GATEMQ_… variables < flags")
        .after_help(
            "More of Redis is set by redis.master-name, .username, .tls, .timeout and .wait-replicas \
             in the file, or GATEMQ_REDIS_….\n`gatemq dev` runs a whole cluster in one process, for \
             trying out: see `gatemq dev --help`.\n`gatemq passwd` reads a password from its \
             standard input, and prints what to write for it into a file of users; `gatemq acl \
             check` says what such a file lets a client do.\n`gatemq pki` makes certificates for the \
             nodes of a cluster and for clients: see `gatemq pki --help`.\n`gatemq token` makes a token for the HTTP \
             API.\n`gatemq healthcheck` asks a running one whether it is ready.",
        )
        .args_override_self(true)
        .arg(conf.value_parser(clap::value_parser!(PathBuf)))
        .arg(bridge_conf.value_parser(clap::value_parser!(PathBuf)))
        .args(settings)
        .args(switches)
        .arg(action("check-config", "Check the configuration and end"))
        .arg(action(
            "print-config",
            "Print the configuration that holds, as YAML, and end",
        ))
        .args(silent.map(|flag| flag.require_equals(false).allow_hyphen_values(false)))
}

/// A flag whose value may be left out: it is then `true`.
fn optional(name: &'static str) -> Arg {
    let flag = Arg::new(name)
        .long(name)
        .num_args(0..=1)
        .require_equals(true);
    flag.default_missing_value("true")
}

/// One line instead of clap's several.
pub(crate) fn refusal(error: &clap::Error) -> Refusal {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Answer(text),
        _ => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let is_ours = |line: &&str| {
                !line.starts_with("Usage:") && !line.starts_with("For more information")
            };
            let lines = lines.take_while(is_ours);
            let lines: Vec<_> = lines
                .map(|line| line.trim_start_matches("error: "))
                .collect();
            Refusal::Wrong(format!("{} (--help lists all flags)", lines.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, Refusal> {
        Flags::parse(["gatemq"].iter().chain(arguments).map(OsString::from))
    }

    fn check(arguments: &[&str], expected: (&str, &str, &str)) {
        let flags = parse(arguments).unwrap();
        let [(flag, key, text)] = flags.settings.as_slice() else {
            panic!("{flags:?}")
        };
        assert_eq!((flag.as_str(), *key, text.as_str()), expected);
    }

    fn check_wrong(arguments: &[&str], start: &str) {
        let Err(Refusal::Wrong(line)) = parse(arguments) else {
            panic!("{arguments:?} is taken")
        };
        assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
    }

    #[test]
    fn settings_are_given_by_key() {
        check(&["--tcp", ""], ("--tcp", "tcp", ""));
        check(&["--tcp=:1883"], ("--tcp", "tcp", ":1883"));
        check(
            &["--storage-way", "1"],
            ("--storage-way", "storage.way", "1"),
        );
        check(&["--level", "-4"], ("--level", "log.level", "-4"));
        check(
            &["--allow-anonymous"],
            ("--allow-anonymous", "allow-anonymous", "true"),
        );
        check(
            &["--log-enable=false"],
            ("--log-enable", "log.enable", "false"),
        );
        check(&["--tcp", ":1", "--tcp", ":2"], ("--tcp", "tcp", ":2"));
    }

    #[test]
    fn every_setting_is_a_key_of_the_configuration() {
        use gatemq_node::config::Schema;
        let schema = serde_yaml::to_value(crate::config::Config::example()).unwrap();
        let keys = SETTINGS
            .iter()
            .map(|(_, key, ..)| key)
            .chain(SWITCHES.iter().map(|(_, key, _)| key));
        for key in keys {
            let found = key
                .split('.')
                .try_fold(&schema, |tree, name| tree.get(name));
            assert!(found.is_some(), "{key}");
        }
    }

    #[test]
    fn wrong_flags_are_one_line() {
        check_wrong(
            &["--data-dri", "x"],
            "unexpected argument '--data-dri' found; tip: a similar",
        );
        check_wrong(&["x"], "unexpected argument 'x' found");
        check_wrong(&["--tcp"], "a value is required for '--tcp <ADDR>'");
        let hinted = |line: &str| line.matches("--help").count() == 1;
        let wrong = parse(&["--workers"]);
        assert!(
            matches!(&wrong, Err(Refusal::Wrong(line)) if hinted(line)),
            "{wrong:?}"
        );
    }

    #[test]
    fn the_flags_of_a_cluster_are_comqtts() {
        check(
            &["--members", "a:1,b:2"],
            ("--members", "cluster.members", "a:1,b:2"),
        );
        check(
            &["--raft-bootstrap"],
            ("--raft-bootstrap", "cluster.raft-bootstrap", "true"),
        );
        check(&["--redis=x:1"], ("--redis", "redis.addr", "x:1"));
        let flags = parse(&["--grpc-enable=true"]).unwrap();
        assert_eq!(flags.without_meaning, [] as [&str; 0], "it is always on");
        check_wrong(&["--grpc-enable=false"], "--grpc-enable: nodes always");
    }

    #[test]
    fn flags_without_meaning_are_taken_and_named() {
        let flags = parse(&["--env", "dev", "--error-file=x"]).unwrap();
        assert_eq!(flags.without_meaning, ["--env", "--error-file"]);
    }

    #[test]
    fn help_and_version_are_answers() {
        let version = format!("gatemq {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(parse(&["--version"]), Err(Refusal::Answer(version)));
        let Err(Refusal::Answer(help)) = parse(&["--help"]) else {
            panic!("help is asked for");
        };
        for word in [
            "--tcp",
            "--redis ",
            "--redis-prefix",
            "redis.master-name",
            "gatemq dev",
            "gatemq passwd",
            "gatemq pki",
            "gatemq token",
            "gatemq acl",
            "gatemq healthcheck",
        ] {
            assert!(help.contains(word), "{word} is not in the help");
        }
    }
}
