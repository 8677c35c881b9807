//! Settings that may change while the cluster runs: which there are, and what they may be.
//!
//! The control plane refuses what is not in this table, gateways do what it says. A setting that
//! is not changed is what the process was started with. Pure.

use serde::de::DeserializeOwned;
use serde_yaml::Value as Yaml;

use crate::config::{Number, Period, Problem, Size};
use crate::log;

/// One of them.
#[derive(Debug)]
pub struct Setting {
    /// As in the configuration file.
    pub key: &'static str,
    /// What it does, and whom it reaches.
    pub what: &'static str,
    /// What it may be.
    pub kind: Kind,
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// Bytes, from the first to the second.
    Bytes(u64, u64),
    /// A period of whole seconds, from the first to the second.
    Seconds(u64, u64),
    /// True or false.
    Switch,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A level of the log, with exceptions by module.
    LogFilter,
}

/// What a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, bytes or seconds.
    Number(u64),
    /// True or false.
    Switch(bool),
    /// A choice or a filter.
    Text(String),
}

/// The settings, in the order of their keys.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "limits.max-inflight",
        what: "QoS 1 and 2 messages on their way to one client; new connections, and never more \
               than the gateway was started with",
        kind: Kind::Number(1, 65_535),
    },
    Setting {
        key: "limits.max-outbox-bytes",
        what: "bytes that wait for one connection before QoS 0 messages are dropped for it; all \
               connections",
        kind: Kind::Bytes(1 << 10, 1 << 40),
    },
    Setting {
        key: "limits.max-queued-bytes",
        what: "bytes that wait for one client; all sessions, from the next message on",
        kind: Kind::Bytes(1 << 10, 1 << 40),
    },
    Setting {
        key: "limits.max-queued-messages",
        what: "messages that wait for one client; all sessions, from the next message on",
        kind: Kind::Number(1, 1_000_000_000),
    },
    Setting {
        key: "limits.max-sessions",
        what: "sessions of one gateway; new sessions",
        kind: Kind::Number(1, 1_000_000_000),
    },
    Setting {
        key: "limits.max-subscriptions",
        what: "subscriptions of one session; new subscriptions",
        kind: Kind::Number(1, 1_000_000_000),
    },
    Setting {
        key: "limits.message-expiry",
        what: "longest life of a message, 0 is no limit; messages published from now on",
        kind: Kind::Seconds(0, 4_294_967_295),
    },
    Setting {
        key: "log.level",
        what: "level of the log and exceptions by module; all processes with a gateway",
        kind: Kind::LogFilter,
    },
    Setting {
        key: "session.on-full",
        what: "what happens when a message does not fit in a session's queue; all sessions",
        kind: Kind::Choice(&["end-session", "reject", "drop-oldest"]),
    },
    Setting {
        key: "session.queue-qos0",
        what: "whether QoS 0 messages wait for a client that is away; all sessions",
        kind: Kind::Switch,
    },
    Setting {
        key: "share-strategy",
        what: "how a shared subscription picks the member that gets a message; all groups",
        kind: Kind::Choice(&[
            "round-robin",
            "random",
            "sticky",
            "hash-client",
            "hash-topic",
            "local",
        ]),
    },
];

/// The setting of a key.
///
/// # Errors
///
/// There is none of that name, or none that may change while the cluster runs.
pub fn find(key: &str) -> Result<&'static Setting, Problem> {
    let found = SETTINGS.iter().find(|setting| setting.key == key);
    found.ok_or_else(|| {
        let keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        let what = format!(
            "no setting of this name can change while the cluster runs; there are {}",
            keys.join(", ")
        );
        Problem::new(key, what)
    })
}

// === impl Setting ===

impl Setting {
    /// Reads a value as it stands in a configuration file.
    ///
    /// # Errors
    ///
    /// It is not what the setting may be: what would be is in the problem.
    pub fn read(&self, text: &str) -> Result<Value, Problem> {
        self.parse(text).ok_or_else(|| {
            let what = format!("{text:?} is not {}", self.kind.expected());
            Problem::new(self.key, what)
        })
    }

    fn parse(&self, text: &str) -> Option<Value> {
        let yaml: Yaml = serde_yaml::from_str(text).ok()?;
        let within = |number: u64, least: u64, most: u64| {
            (least..=most)
                .contains(&number)
                .then_some(Value::Number(number))
        };
        match self.kind {
            Kind::Number(least, most) => {
                let number: Number<0, { u64::MAX }> = read(yaml)?;
                within(number.get()?, least, most)
            }
            Kind::Bytes(least, most) => {
                let bytes: Size<0, { u64::MAX }> = read(yaml)?;
                within(bytes.get()?, least, most)
            }
            Kind::Seconds(least, most) => {
                let period: Period<0, { u64::MAX }> = read(yaml)?;
                let millis: u64 = period.get()?;
                millis
                    .is_multiple_of(1000)
                    .then(|| within(millis / 1000, least, most))?
            }
            Kind::Switch => yaml.as_bool().map(Value::Switch),
            Kind::Choice(names) => {
                let name = yaml.as_str()?;
                names.contains(&name).then(|| Value::Text(name.to_owned()))
            }
            Kind::LogFilter => {
                let filter = yaml.as_str()?;
                log::filter(filter).ok()?;
                Some(Value::Text(filter.to_owned()))
            }
        }
    }
}

// === impl Kind ===

impl Kind {
    /// What is expected, for people.
    pub fn expected(self) -> String {
        match self {
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Bytes(least, most) => {
                format!("a size from {least} to {most} bytes, as 64KiB, 1MiB or a number")
            }
            Self::Seconds(least, most) => {
                format!("a period from {least} to {most} seconds, as 90s, 1h or a number")
            }
            Self::Switch => "true or false".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::LogFilter => {
                "a level (off, error, warn, info, debug, trace) and exceptions by module, as \
                 info,gatemq_gateway::session=debug"
                    .to_owned()
            }
        }
    }
}

fn read<T: DeserializeOwned>(yaml: Yaml) -> Option<T> {
    serde_yaml::from_value(yaml).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, text: &str) -> Result<Value, String> {
        let setting = find(key).map_err(|problem| problem.what)?;
        setting.read(text).map_err(|problem| problem.what)
    }

    #[test]
    fn values_are_read_as_in_a_file() {
        assert_eq!(read("limits.max-inflight", "7"), Ok(Value::Number(7)));
        assert_eq!(
            read("limits.max-queued-bytes", "2MiB"),
            Ok(Value::Number(2 << 20))
        );
        assert_eq!(read("limits.message-expiry", "1h"), Ok(Value::Number(3600)));
        assert_eq!(read("limits.message-expiry", "90"), Ok(Value::Number(90)));
        assert_eq!(read("session.queue-qos0", "true"), Ok(Value::Switch(true)));
        let local = Value::Text("local".to_owned());
        assert_eq!(read("share-strategy", "local"), Ok(local));
        assert!(read("log.level", "info,gatemq_gateway=debug").is_ok());
    }

    #[test]
    fn what_a_setting_may_not_be_is_refused_with_what_it_may() {
        let cases = [
            ("limits.max-inflight", "0", "a whole number from 1 to 65535"),
            ("limits.max-inflight", "7s", "a whole number from 1"),
            ("limits.max-inflight", "", "a whole number"),
            ("limits.max-inflight", "[", "a whole number"),
            ("limits.message-expiry", "1500ms", "a period"),
            ("limits.max-queued-bytes", "1", "a size from 1024"),
            ("session.queue-qos0", "1", "true or false"),
            ("session.on-full", "explode", "one of end-session, reject"),
            ("log.level", "loud", "a level (off, error"),
            ("tcp", ":1883", "no setting of this name can change"),
        ];
        for (key, text, expected) in cases {
            let what = read(key, text).unwrap_err();
            assert!(what.contains(expected), "{key}: {what}");
        }
    }

    #[test]
    fn keys_are_in_order() {
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.key));
    }
}
