//! The `tracing` section: which messages are traced, and who collects it.

use gatemq_node::config::{Number, Problem};
use gatemq_node::trace;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// Traces of messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Tracing {
    pub endpoint: String,
    pub ratio: Ratio,
    pub asked_per_second: Number<0, 1_000_000>,
    pub inject: bool,
    pub tls_ca: String,
}

/// A part of something, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio(f64);

// === impl Tracing ===

impl Default for Tracing {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            ratio: Ratio(0.01),
            asked_per_second: Number::new(100),
            inject: true,
            tls_ca: String::new(),
        }
    }
}

impl Tracing {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let wrong = |error: trace::StartError| {
            let key = match error {
                trace::StartError::Endpoint => "tracing.endpoint",
                trace::StartError::Tls(_) => "tracing.tls-ca",
            };
            let what = match error {
                trace::StartError::Endpoint => format!("{:?} {error}", self.endpoint),
                trace::StartError::Tls(_) => error.to_string(),
            };
            Problem::new(key, what)
        };
        let told = self.to_node("", "");
        told.map_or(Ok(()), |told| told.check().map_err(wrong))
    }

    /// What the node is told; `None` if nothing is traced.
    pub fn to_node(&self, program: &'static str, node: &str) -> Option<trace::Config> {
        (!self.endpoint.is_empty()).then(|| trace::Config {
            endpoint: self.endpoint.clone(),
            ratio: self.ratio.0,
            asked_per_second: self.asked_per_second.get().unwrap_or(0),
            inject: self.inject,
            tls_ca: self.tls_ca.clone(),
            service: program,
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ratio = f64::deserialize(deserializer)?;
        match (0.0..=1.0).contains(&ratio) {
            true => Ok(Self(ratio)),
            false => Err(D::Error::custom(format!(
                "{ratio} is no part of the messages: write a number from 0 to 1, such as 0.01"
            ))),
        }
    }
}
