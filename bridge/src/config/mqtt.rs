//! Other brokers of MQTT, as an operator writes them.

use std::fs;
use std::time::Duration;

use gatemq_node::config::{Period, Problem};
use gatemq_proto::mqtt::Qos;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::from_kafka::{LONGEST_RETRY, RETRY};
use super::{Config, check_unique};
use crate::bridge::Plan;
use crate::mqtt::inbound;
use crate::mqtt::mapping::overlap;
use crate::mqtt::{Forward, Mapping, Remote, Tls};

/// Another broker, what goes there, and what comes from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mqtt {
    /// Its name.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// 5, or 4 for 3.1.1.
    pub version: u8,
    /// What we are called there, before this node's name and that of this; empty for `gatemq`.
    pub client_id: String,
    /// Empty for none.
    pub username: String,
    /// `@FILE` is what the file has.
    pub password: String,
    /// How often a sign of life is sent at least.
    pub keep_alive: Period<1_000, 3_600_000>,
    /// Authorities of its certificate, a PEM file: TLS. Empty for none.
    pub ca: String,
    /// Our certificate and its key, PEM files; empty for none.
    pub cert: String,
    /// See there.
    pub key: String,
    /// Whether bridges share what comes from there, or each has all.
    pub share: bool,
    /// How long a message from there is tried again that is refused since a subscriber is full.
    pub retry: Period<0, LONGEST_RETRY>,
    /// What goes there.
    pub to: Vec<To>,
    /// What comes from there.
    pub from: Vec<From>,
}

/// What goes there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the sample")]
pub struct To {
    pub name: String,
    pub topics: Vec<String>,
    pub local_prefix: String,
    pub remote_prefix: String,
    pub qos: u8,
    pub ack: Taken,
}

/// What comes from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "as in the sample")]
pub struct From {
    pub topics: Vec<String>,
    pub local_prefix: String,
    pub remote_prefix: String,
    pub qos: u8,
}

/// When a message counts as taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// The other broker has acknowledged it.
    #[default]
    Remote,
    /// It is safe on this node's disk.
    Spool,
}

type Wrong = (String, String);

/// What our client of 5.0 takes no less than.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

// === impl Mqtt, To, From ===

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            name: "other".to_owned(),
            address: String::new(),
            version: 5,
            client_id: String::new(),
            username: String::new(),
            password: String::new(),
            keep_alive: Period::new(30_000),
            ca: String::new(),
            cert: String::new(),
            key: String::new(),
            share: true,
            retry: Period::new(RETRY),
            to: Vec::new(),
            from: Vec::new(),
        }
    }
}

impl Default for To {
    fn default() -> Self {
        Self {
            name: "to-other".to_owned(),
            topics: Vec::new(),
            local_prefix: String::new(),
            remote_prefix: String::new(),
            qos: 1,
            ack: Taken::Remote,
        }
    }
}

impl Default for From {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            local_prefix: String::new(),
            remote_prefix: String::new(),
            qos: 1,
        }
    }
}

impl Mqtt {
    pub(super) fn example() -> Self {
        Self {
            address: "127.0.0.1:1884".to_owned(),
            to: vec![To {
                topics: vec!["a/#".to_owned()],
                ..To::default()
            }],
            from: vec![From {
                topics: vec!["b/#".to_owned()],
                ..From::default()
            }],
            ..Self::default()
        }
    }

    /// How it is reached.
    fn remote(&self) -> Result<Remote, Wrong> {
        let wrong = |key: &str, what: &str| (key.to_owned(), what.to_owned());
        let address = self.address.rsplit_once(':');
        let address = address.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port)) = address.filter(|(host, _)| !host.is_empty()) else {
            return Err(wrong("address", "is not HOST:PORT"));
        };
        if !matches!(self.version, 4 | 5) {
            return Err(wrong("version", "is 5, or 4 for 3.1.1"));
        }
        let keep_alive = Duration::from_millis(self.keep_alive.get().unwrap_or(30_000));
        if self.version == 5 && keep_alive < SHORTEST_KEEP_ALIVE {
            return Err(wrong("keep-alive", "is 5s to 1h with version 5"));
        }
        let file = |key: &str, path: &str| match path {
            "" => Ok(None),
            path => match fs::read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => Err((key.to_owned(), format!("{path}: {error}"))),
            },
        };
        let password = match self.password.strip_prefix('@') {
            None => self.password.clone(),
            Some(path) => {
                let bytes = file("password", path)?.unwrap_or_default();
                String::from_utf8_lossy(&bytes)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned()
            }
        };
        let certificates = |key: &str, path: &str| {
            let bytes = file(key, path)?;
            let read = bytes.as_deref().map_or(Ok(()), check_certificates);
            match read {
                Ok(()) => Ok(bytes),
                Err(what) => Err((key.to_owned(), format!("{path}: {what}"))),
            }
        };
        let key = file("key", &self.key)?;
        if let Some(Err(error)) = key.as_deref().map(PrivateKeyDer::from_pem_slice) {
            return Err(wrong("key", &format!("{}: {error}", self.key)));
        }
        let identity = match (certificates("cert", &self.cert)?, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => return Err(wrong("cert", "a certificate and its key go together")),
        };
        let authorities = certificates("ca", &self.ca)?;
        if authorities.is_none() && identity.is_some() {
            return Err(wrong("ca", "is needed with a certificate"));
        }
        Ok(Remote {
            name: self.name.clone(),
            address: (host.to_owned(), port),
            is_v5: self.version == 5,
            client_id: self.client_id.clone(),
            login: (!self.username.is_empty()).then(|| (self.username.clone(), password)),
            keep_alive,
            suspect: std::sync::Arc::default(),
            tls: authorities.map(|authorities| Tls {
                authorities,
                identity,
            }),
        })
    }

    /// Topics both ways, of rules in their order.
    fn mappings(&self) -> Result<(Vec<Mapping>, Vec<Mapping>), Wrong> {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for (at, rule) in self.to.iter().enumerate() {
            let made = Mapping::new(&rule.topics, &rule.local_prefix, &rule.remote_prefix);
            to.push(made.map_err(|what| (format!("to[{at}].topics"), what))?);
            qos(rule.qos, 2).map_err(|what| (format!("to[{at}].qos"), what))?;
        }
        for (at, rule) in self.from.iter().enumerate() {
            let made = Mapping::new(&rule.topics, &rule.local_prefix, &rule.remote_prefix);
            from.push(made.map_err(|what| (format!("from[{at}].topics"), what))?);
            qos(rule.qos, 2).map_err(|what| (format!("from[{at}].qos"), what))?;
        }
        if self.version == 4 {
            let there = to.iter().flat_map(Mapping::remote_filters);
            for (one, other) in there.flat_map(|one| {
                let back = from.iter().flat_map(Mapping::remote_filters);
                back.map(move |other| (one, other))
            }) {
                if overlap(one, other) {
                    let what = format!(
                        "what goes there as {one:?} would come back by {other:?}, which 3.1.1 does \
                         not show: give them prefixes, or take version 5"
                    );
                    return Err(("from".to_owned(), what));
                }
            }
        }
        Ok((to, from))
    }
}

fn qos(number: u8, highest: u8) -> Result<Qos, String> {
    let qos = Qos::from_bits(number).filter(|_| number <= highest);
    qos.ok_or_else(|| format!("is 0 to {highest}"))
}

// === impl Config ===

impl Config {
    /// Adds other brokers, and what goes there.
    pub(super) fn plan_mqtt(&self, plan: &mut Plan) -> Result<(), Problem> {
        check_unique("mqtt", self.mqtt.iter().map(|mqtt| &mqtt.name))?;
        let names = self.rules.iter().map(|rule| &rule.name);
        let mut names: Vec<&String> = names.collect();
        for (at, mqtt) in self.mqtt.iter().enumerate() {
            let wrong = |(key, what): Wrong| Problem::new(format!("mqtt[{at}].{key}"), what);
            let remote = mqtt.remote().map_err(wrong)?;
            let (to, _) = mqtt.mappings().map_err(wrong)?;
            if mqtt.to.is_empty() {
                continue;
            }
            plan.remotes.push(remote);
            for (number, (rule, mapping)) in mqtt.to.iter().zip(to).enumerate() {
                if names.contains(&&rule.name) {
                    let what = "another rule has this name".to_owned();
                    return Err(wrong((format!("to[{number}].name"), what)));
                }
                names.push(&rule.name);
                let forward = Forward {
                    name: rule.name.clone(),
                    remote: mqtt.name.clone(),
                    mapping,
                    qos: qos(rule.qos, 2).unwrap_or(Qos::AtLeastOnce),
                    is_spooled: rule.ack == Taken::Spool,
                    identity: plan.identity.clone(),
                };
                plan.forwards.push((forward, plan.remotes.len() - 1));
            }
        }
        Ok(())
    }

    /// What comes from other brokers, with the identity of a plan.
    ///
    /// # Errors
    ///
    /// Which key is wrong, from here on, and why.
    pub fn receivers(&self, plan: &Plan) -> Result<Vec<inbound::Plan>, Problem> {
        let mut all = Vec::new();
        for (at, mqtt) in self.mqtt.iter().enumerate() {
            let wrong = |(key, what): Wrong| Problem::new(format!("mqtt[{at}].{key}"), what);
            let remote = mqtt.remote().map_err(wrong)?;
            let (_, from) = mqtt.mappings().map_err(wrong)?;
            if from.is_empty() {
                continue;
            }
            let rules = mqtt.from.iter().zip(from);
            let rules = rules
                .map(|(rule, mapping)| (mapping, qos(rule.qos, 2).unwrap_or(Qos::AtLeastOnce)));
            all.push(inbound::Plan {
                remote,
                rules: rules.collect(),
                group: mqtt.share.then(|| format!("gatemq-{}", mqtt.name)),
                identity: plan.identity.clone(),
                patience: mqtt.retry.duration(),
            });
        }
        Ok(all)
    }
}

/// Whether there are certificates in PEM, and nothing that is none.
fn check_certificates(bytes: &[u8]) -> Result<(), String> {
    let mut n_certificates = 0;
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        certificate.map_err(|error| error.to_string())?;
        n_certificates += 1;
    }
    match n_certificates {
        0 => Err("has no certificate in PEM".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Problem> {
        let address = match text.contains("address") {
            true => "",
            false => "address: 'h:1883', ",
        };
        let text = format!("mqtt: [{{name: hq, {address}{text}}}]");
        let config: Config = serde_yaml::from_str(&text).expect("it is read");
        let plan = config.plan()?;
        config.receivers(&plan)?;
        Ok(plan)
    }

    #[track_caller]
    fn check(text: &str, key: &str, what: &str) {
        let problem = plan(text).expect_err("something is wrong");
        assert_eq!(problem.key, key, "{}", problem.what);
        assert!(problem.what.contains(what), "{}", problem.what);
    }

    #[test]
    fn another_broker_becomes_a_way() {
        let plan =
            plan("to: [{topics: ['a/#'], remote-prefix: g/, ack: spool}], from: [{topics: [b]}]");
        let plan = plan.expect("a plan");
        assert_eq!(plan.remotes[0].address, ("h".to_owned(), 1883));
        assert!(plan.forwards[0].0.is_spooled);
        assert_eq!(plan.forwards[0].0.mapping.remote_filters(), ["g/a/#"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("address: h", "mqtt[0].address", "HOST:PORT");
        check("version: 3", "mqtt[0].version", "3.1.1");
        check("keep-alive: 4s", "mqtt[0].keep-alive", "5s");
        assert!(plan("version: 4, keep-alive: 4s").is_ok());
        check("ca: /nowhere", "mqtt[0].ca", "/nowhere");
        check("ca: /dev/null", "mqtt[0].ca", "no certificate");
        check("key: /dev/null", "mqtt[0].key", "/dev/null: ");
        check("to: [{topics: ['a/#/b']}]", "mqtt[0].to[0].topics", "a/#/b");
        check(
            "from: [{topics: [a], qos: 3}]",
            "mqtt[0].from[0].qos",
            "0 to 2",
        );
        let twice = "to: [{topics: [a]}, {topics: [b]}]";
        check(twice, "mqtt[0].to[1].name", "another");
    }

    #[test]
    fn over_3_1_1_nothing_may_come_back() {
        let both = "to: [{topics: ['#']}], from: [{topics: ['#']}]";
        check(&format!("version: 4, {both}"), "mqtt[0].from", "prefixes");
        assert!(plan(&format!("version: 5, {both}")).is_ok());
        let apart = "to: [{topics: ['#'], remote-prefix: up/}], \
                     from: [{topics: ['#'], remote-prefix: down/}]";
        assert!(plan(&format!("version: 4, {apart}")).is_ok());
    }
}
