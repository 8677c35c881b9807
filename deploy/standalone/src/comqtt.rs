//! Translates a configuration file of comqtt, GateMQ's predecessor, into ours.
//!
//! Keys of the same meaning are renamed; the others are named, so that nobody relies on what is
//! not there. Our own keys may stand in such a file too, so that it can be moved step by step.

pub mod auth;
pub mod bridge;

use gatemq_node::config::Renamed;
use serde_yaml::Value;

/// What a file of comqtt means here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// Keys that have a meaning, under their new name.
    pub keys: Vec<Renamed>,
    /// Keys that were set and have none.
    pub without_meaning: Vec<String>,
}

impl Translation {
    /// Users and rules are where the file says, and not where everybody may do everything.
    pub fn set_sources(&mut self, sources: Vec<Value>) {
        const FROM: &str = "auth.conf-path";
        self.keys.retain(|key| key.from != "auth.way");
        let is_other = |key: &String| key != FROM && key != "auth.datasource";
        self.without_meaning.retain(is_other);
        self.keys.push(Renamed {
            from: FROM.to_owned(),
            to: "auth.sources".to_owned(),
            value: Value::Sequence(sources),
        });
    }

    /// What the bridge does is where the file says.
    pub fn has_bridge(&mut self) {
        let is_other = |key: &String| key != bridge::WAY && key != bridge::PATH;
        self.without_meaning.retain(is_other);
    }
}

/// Whether a file is comqtt's: it has a top-level key that only comqtt has.
pub fn recognises(tree: &Value) -> bool {
    OWN_KEYS.iter().any(|key| tree.get(key).is_some())
}

/// Translates a whole file.
pub fn translate(tree: &Value) -> Translation {
    // A certificate turns comqtt's only TCP and WebSocket listeners into TLS ones.
    let certificate = tree
        .get("mqtt")
        .and_then(|mqtt| mqtt.get("tls")?.get("server-cert")?.as_str());
    let tls = certificate.is_some_and(|path| !path.is_empty());
    let mut translation = Translation::default();
    leaves(tree, "", &mut |from, value| {
        for (to, value) in meaning(from, value, tls, &mut translation.without_meaning) {
            translation.keys.push(Renamed {
                from: from.to_owned(),
                to: to.to_owned(),
                value,
            });
        }
    });
    translation
}

/// The keys that one key of comqtt stands for; pushes it to `without` if it has no meaning.
fn meaning(
    from: &str,
    value: &Value,
    tls: bool,
    without: &mut Vec<String>,
) -> Vec<(String, Value)> {
    if let Some(name) = from.strip_prefix(CAPABILITIES)
        && let Some(to) = capability(name)
    {
        return vec![(to.to_owned(), capability_value(name, value))];
    }
    let value = value.clone();
    let to = match from {
        "mqtt.tcp" if tls => return vec![("tls".into(), value), ("tcp".into(), "".into())],
        "mqtt.ws" if tls => return vec![("wss".into(), value), ("ws".into(), "".into())],
        "mqtt.tcp" => "tcp",
        "mqtt.ws" => "ws",
        "mqtt.http" => "http",
        "mqtt.tls.server-cert" => "tls-cert",
        "mqtt.tls.server-key" => "tls-key",
        "mqtt.tls.ca-cert" => "tls-client-ca",
        "mqtt.options.sys-topic-resend-interval" => "sys-interval",
        "storage-way" => "storage.way",
        "storage-path" => "data-dir",
        "auth.way" => "auth-way",
        "cluster.node-name" => "node-name",
        "cluster.bind-addr" => "cluster.bind-ip",
        "cluster.bind-port" => "cluster.gossip-port",
        "cluster.advertise-addr" => "cluster.advertise-ip",
        "cluster.members"
        | "cluster.raft-port"
        | "cluster.raft-bootstrap"
        | "cluster.grpc-port"
        | "cluster.nodes-file-dir" => from,
        "redis.options.addr" => return vec![("redis.addr".into(), vec![value].into())],
        "redis.options.username" => "redis.username",
        "redis.options.password" => "redis.password",
        "redis.options.db" => "redis.db",
        "redis.prefix" | "auth.sources" => from,
        "log.enable" | "log.format" | "log.output" | "log.level" => from,
        "log.filename" => "log.file",
        "log.maxsize" => return vec![("log.max-size".into(), with_unit(value, "MiB"))],
        "log.maxage" | "log.max-age" => return vec![("log.max-age".into(), with_unit(value, "d"))],
        "log.maxbackups" | "log.max-backups" => "log.max-backups",
        _ if is_theirs(from) => {
            if !is_off(&value) {
                without.push(from.to_owned());
            }
            return Vec::new();
        }
        ours => ours,
    };
    vec![(to.to_owned(), value)]
}

fn capability(name: &str) -> Option<&'static str> {
    Some(match name {
        "maximum-message-expiry-interval" => "limits.message-expiry",
        "maximum-session-expiry-interval" => "limits.session-expiry",
        "maximum-packet-size" => "limits.maximum-packet-size",
        "receive-maximum" => "limits.receive-maximum",
        "topic-alias-maximum" => "limits.topic-alias-maximum",
        "maximum-qos" => "limits.maximum-qos",
        "minimum-protocol-version" => "limits.minimum-protocol-version",
        "retain-available" => "limits.retain-available",
        "wildcard-sub-available" => "limits.wildcard-available",
        "sub-id-available" => "limits.subscription-ids-available",
        "shared-sub-available" => "limits.shared-available",
        _ => return None,
    })
}

/// comqtt writes 1 and 0 for true and false, and 0 for packets of any size.
fn capability_value(name: &str, value: &Value) -> Value {
    match (name, value.as_u64()) {
        ("maximum-packet-size", Some(0)) => LARGEST_PACKET.into(),
        (_, Some(number @ (0 | 1))) if name.ends_with("-available") => (number == 1).into(),
        _ => value.clone(),
    }
}

fn with_unit(value: Value, unit: &str) -> Value {
    value
        .as_u64()
        .map_or(value, |number| format!("{number}{unit}").into())
}

fn is_theirs(key: &str) -> bool {
    let top = key.split('.').next().unwrap_or(key);
    key == "log.compress" || OWN_KEYS.contains(&top) || SECTIONS.contains(&top)
}

/// Whether a value means that the thing is not wanted.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(section) => section.is_empty(),
        Value::Null | Value::Tagged(_) => true,
    }
}

/// Calls `each` with every value that is set and is no section.
fn leaves(tree: &Value, key: &str, each: &mut impl FnMut(&str, &Value)) {
    match tree {
        Value::Mapping(section) => {
            for (name, value) in section {
                let name = name.as_str().unwrap_or("?");
                let key = if key.is_empty() {
                    name.to_owned()
                } else {
                    format!("{key}.{name}")
                };
                leaves(value, &key, each);
            }
        }
        Value::Null => {}
        value => each(key, value),
    }
}

/// Top-level keys that only comqtt has.
const OWN_KEYS: [&str; 7] = [
    "mqtt",
    "storage-way",
    "storage-path",
    "bridge-way",
    "bridge-path",
    "pprof-enable",
    "dashboard-enable",
];

/// Top-level keys of comqtt that could be anybody's.
const SECTIONS: [&str; 4] = ["auth", "cluster", "redis", "dashboard"];

const CAPABILITIES: &str = "mqtt.options.capabilities.";

/// The largest packet that MQTT knows, in bytes, with its header.
const LARGEST_PACKET: u64 = 268_435_460;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, keys: &[(&str, &str)], without: &[&str]) {
        let translation = translate(&serde_yaml::from_str(yaml).unwrap());
        let found: Vec<_> = translation
            .keys
            .iter()
            .map(|key| (key.to.as_str(), serde_yaml::to_string(&key.value).unwrap()))
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(key, value)| (*key, value.trim()))
            .collect();
        assert_eq!(found, keys);
        assert_eq!(translation.without_meaning, without);
    }

    #[test]
    fn only_comqtt_files_are_recognised() {
        for (yaml, expected) in [
            ("mqtt: {tcp: ':1883'}", true),
            ("storage-way: 1", true),
            ("storage: {way: 1}", false),
            ("log: {enable: true}", false),
            ("{}", false),
        ] {
            assert_eq!(
                recognises(&serde_yaml::from_str(yaml).unwrap()),
                expected,
                "{yaml}"
            );
        }
    }

    #[test]
    fn listeners_keep_their_names_unless_a_certificate_makes_them_tls() {
        let plain =
            "mqtt: { tcp: ':1', ws: ':2', http: ':3', tls: { server-cert: , zero-rtt: false } }";
        check(plain, &[("tcp", ":1"), ("ws", ":2"), ("http", ":3")], &[]);
        let tls =
            "mqtt: { tcp: ':1', ws: ':2', tls: { server-cert: a, server-key: b, ca-cert: c } }";
        let keys = [
            ("tls", ":1"),
            ("tcp", "''"),
            ("wss", ":2"),
            ("ws", "''"),
            ("tls-cert", "a"),
            ("tls-key", "b"),
            ("tls-client-ca", "c"),
        ];
        check(tls, &keys, &[]);
    }

    #[test]
    fn capabilities_become_limits() {
        check(
            "mqtt: { options: { sys-topic-resend-interval: 3, inline-client: true, capabilities: {
                maximum-packet-size: 0, shared-sub-available: 0, retain-available: 1,
                maximum-client-writes-pending: 8192, maximum-message-expiry-interval: 86400,
                compatibilities: { always-return-response: false, obscure-not-authorized: true } } } }",
            &[
                ("sys-interval", "3"),
                ("limits.maximum-packet-size", "268435460"),
                ("limits.shared-available", "false"),
                ("limits.retain-available", "true"),
                ("limits.message-expiry", "86400"),
            ],
            &[
                "mqtt.options.inline-client",
                "mqtt.options.capabilities.maximum-client-writes-pending",
                "mqtt.options.capabilities.compatibilities.obscure-not-authorized",
            ],
        );
    }

    #[test]
    fn logs_keep_their_bounds_however_the_key_is_written() {
        check(
            "log: { enable: true, format: 1, output: 2, filename: a.log, maxsize: 100, max-age: 30,
                max-backups: 10, compress: true, level: -4 }",
            &[
                ("log.enable", "true"),
                ("log.format", "1"),
                ("log.output", "2"),
                ("log.file", "a.log"),
                ("log.max-size", "100MiB"),
                ("log.max-age", "30d"),
                ("log.max-backups", "10"),
                ("log.level", "-4"),
            ],
            &["log.compress"],
        );
    }

    #[test]
    fn what_is_off_or_ours_is_not_complained_about() {
        check(
            "{ bridge-way: 0, bridge-path: x.yml, pprof-enable: false, dashboard: { users-file: }, \
             redis: { prefix: comqtt }, limits: { max-inflight: 5 } }",
            &[("redis.prefix", "comqtt"), ("limits.max-inflight", "5")],
            &["bridge-path"],
        );
    }
}
