//! The section `auth`: who knows the clients, and what they may do.

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Problem};
use serde::{Deserialize, Serialize};

mod http;
mod jwt;
mod lookup;
mod redis;
mod sql;

use http::HttpSource;
use jwt::JwtSource;
use redis::RedisSource;
use sql::SqlSource;

/// Authentication and authorization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Auth {
    pub sources: Vec<Source>,
    pub max_failures: Number<0, 1_000>,
    pub max_logins_per_address: Number<0, 100_000>,
}

/// Something that knows clients, or rules, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Source {
    /// A file of users and rules.
    File(FileSource),
    /// A server that is asked over HTTP.
    Http(HttpSource),
    /// Tokens that clients bring.
    Jwt(Box<JwtSource>),
    /// Users and rules in Redis.
    Redis(Box<RedisSource>),
    /// Users and rules in MySQL or MariaDB.
    Mysql(Box<SqlSource>),
    /// Users and rules in PostgreSQL.
    Postgresql(Box<SqlSource>),
}

/// A file of users and rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileSource {
    pub path: String,
}

// === impl Auth ===

impl Default for Auth {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            max_failures: Number::new(5),
            max_logins_per_address: Number::new(64),
        }
    }
}

impl Auth {
    /// What the gateway is told.
    pub(super) fn to_gateway(&self) -> Result<gateway::Auth, Problem> {
        let sources = self.sources.iter().enumerate();
        let sources = sources.map(|(at, source)| {
            let wrong = |(key, what): (&str, String)| {
                Problem::new(format!("auth.sources[{at}].{key}"), what)
            };
            match source {
                Source::File(file) => file.to_gateway().map_err(wrong),
                Source::Http(http) => http.to_gateway().map_err(wrong),
                Source::Jwt(jwt) => jwt.to_gateway().map_err(wrong),
                Source::Redis(redis) => redis.to_gateway().map_err(wrong),
                Source::Mysql(sql) => sql.to_gateway(gateway::SqlKind::Mysql).map_err(wrong),
                Source::Postgresql(sql) => {
                    sql.to_gateway(gateway::SqlKind::Postgresql).map_err(wrong)
                }
            }
        });
        Ok(gateway::Auth {
            sources: sources.collect::<Result<_, Problem>>()?,
            max_failures: self.max_failures.get().unwrap_or(u32::MAX),
            max_logins_per_address: self.max_logins_per_address.get().unwrap_or(usize::MAX),
            believes_certificates: false, // the listeners say it
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
    /// One of each type with every key set.
    pub(super) fn examples() -> Vec<Self> {
        vec![
            Self::File(FileSource {
                path: "./users.yml".to_owned(),
            }),
            Self::Http(HttpSource::example()),
            Self::Jwt(Box::new(JwtSource::example())),
            Self::Redis(Box::default()),
            Self::Mysql(Box::default()),
            Self::Postgresql(Box::default()),
        ]
    }
}

// === impl FileSource ===

impl FileSource {
    /// What the gateway is told, or which key is wrong.
    fn to_gateway(&self) -> Result<gateway::AuthSource, (&'static str, String)> {
        if self.path.is_empty() {
            return Err(("path", "names no file".to_owned()));
        }
        Ok(gateway::AuthSource::File(self.path.clone().into()))
    }
}
