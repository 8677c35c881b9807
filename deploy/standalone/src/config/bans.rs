//! The section `bans`: whom a gateway keeps out by itself.

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Period, Problem};
use serde::{Deserialize, Serialize};

/// Bans of this node, besides those of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Bans {
    pub file: String,
    pub flapping: Flapping,
}

/// Clients that come and go again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Flapping {
    pub max_connects: Number<0, 1_000_000>,
    pub window: Period<1_000, 3_600_000>,
    pub ban: Period<1_000, 86_400_000>,
}

impl Default for Flapping {
    fn default() -> Self {
        Self {
            max_connects: Number::new(0),
            window: Period::new(60_000),
            ban: Period::new(300_000),
        }
    }
}

impl Bans {
    /// What the gateway is told.
    pub(super) fn to_gateway(&self) -> gateway::Bans {
        gateway::Bans {
            file: (!self.file.is_empty()).then(|| self.file.clone().into()),
            flapping: gateway::Flapping {
                max_connects: self.flapping.max_connects.get().unwrap_or(u32::MAX),
                window: self.flapping.window.duration(),
                ban: self.flapping.ban.duration(),
            },
        }
    }

    /// Reads the file, as the gateway will.
    pub(super) fn check_files(&self) -> Result<(), Problem> {
        let checked = self.to_gateway().check();
        checked.map_err(|error| Problem::new("bans.file", error.to_string()))
    }
}
