//! The section `auth`: who knows the clients, and what they may do.

use gatemq_gateway::config as gateway;
use gatemq_node::config::Problem;
use serde::{Deserialize, Serialize};

use super::choice::{Choice, Chosen};

/// Authentication and authorization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Auth {
    pub sources: Vec<Source>,
}

/// Something that knows clients, or rules, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: Chosen<Kind>,
    pub path: String,
}

/// What a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A file of users and rules.
    #[default]
    File,
}

impl Choice for Kind {
    const NAMES: &'static [(&'static str, Self)] = &[("file", Self::File)];
}

// === impl Auth ===

impl Auth {
    /// What the gateway is told.
    pub(super) fn to_gateway(&self) -> Result<gateway::Auth, Problem> {
        let sources = self.sources.iter().enumerate();
        let sources = sources.map(|(at, source)| match source.kind.0 {
            Kind::File if source.path.is_empty() => {
                let key = format!("auth.sources[{at}].path");
                Err(Problem::new(key, "names no file"))
            }
            Kind::File => Ok(gateway::AuthSource::File(source.path.clone().into())),
        });
        Ok(gateway::Auth {
            sources: sources.collect::<Result<_, Problem>>()?,
        })
    }

    /// Reads the files, as the gateway will.
    pub(super) fn check_files(&self) -> Result<(), Problem> {
        let wrong =
            |error: gatemq_gateway::AuthError| Problem::new("auth.sources", error.to_string());
        self.to_gateway()?.check().map_err(wrong)
    }
}

// === impl Source ===

impl Source {
    /// One with every key set.
    pub(super) fn example() -> Self {
        Self {
            kind: Chosen(Kind::File),
            path: "./users.yml".to_owned(),
        }
    }
}
