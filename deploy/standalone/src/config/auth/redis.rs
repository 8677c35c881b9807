//! Users and rules in Redis.

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Period};
use serde::{Deserialize, Serialize};

use super::lookup::Key;
use crate::config::cluster::{Members, Mode};
use crate::config::{Chosen, ServerTls};

/// Redis as a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RedisSource {
    pub addr: Members,
    pub mode: Chosen<Mode>,
    pub master_name: String,
    pub username: String,
    pub password: String,
    pub sentinel_username: String,
    pub sentinel_password: String,
    pub tls: ServerTls,
    pub db: Number<0, 65535>,
    pub timeout: Period<100, 60_000>,
    pub refresh: Period<1_000, 3_600_000>,
    pub auth: Users,
    pub acl: Rules,
}

/// Where users are in Redis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Users {
    pub mode: Chosen<Key>,
    pub prefix: String,
    pub password_hash: String,
    pub hash_key: String,
    pub rehash: bool,
}

/// Where rules are in Redis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rules {
    pub mode: Chosen<Key>,
    pub prefix: String,
}

impl Default for RedisSource {
    fn default() -> Self {
        Self {
            addr: Members(vec!["127.0.0.1:6379".to_owned()]),
            mode: Chosen(Mode::Single),
            master_name: "mymaster".to_owned(),
            username: String::new(),
            password: String::new(),
            sentinel_username: String::new(),
            sentinel_password: String::new(),
            tls: ServerTls::default(),
            db: Number::new(0),
            timeout: Period::new(2_000),
            refresh: Period::new(60_000),
            auth: Users::default(),
            acl: Rules::default(),
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self {
            mode: Chosen::default(),
            prefix: "comqtt:auth".to_owned(),
            password_hash: "auto".to_owned(),
            hash_key: String::new(),
            rehash: false,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: Chosen::default(),
            prefix: "comqtt:acl".to_owned(),
        }
    }
}

// === impl RedisSource ===

impl RedisSource {
    /// What the gateway is told, or which key is wrong.
    pub(super) fn to_gateway(&self) -> Result<gateway::AuthSource, (&'static str, String)> {
        let tls = self.tls.to_gateway();
        let server = gateway::Redis {
            addresses: self.addr.0.clone(),
            mode: match self.mode.0 {
                Mode::Single => gateway::RedisMode::Single,
                Mode::Sentinel => gateway::RedisMode::Sentinel(self.master_name.clone()),
                Mode::Cluster => gateway::RedisMode::Cluster,
            },
            username: self.username.clone(),
            password: self.password.clone(),
            sentinel_username: self.sentinel_username.clone(),
            sentinel_password: self.sentinel_password.clone(),
            tls: tls.map_err(|(key, what)| (key, what.to_owned()))?,
            db: self.db.get().unwrap_or(0),
            prefix: String::new(),
            timeout: self.timeout.duration(),
            wait_replicas: 0,
        };
        let is_one = self.mode.0 == Mode::Single;
        match self.addr.0.len() {
            0 => return Err(("addr", "names no server".to_owned())),
            2.. if is_one => return Err(("addr", "names several: set mode, too".to_owned())),
            _ => {}
        }
        server.check().map_err(|what| ("addr", what))?;
        for (key, prefix) in [
            ("auth.prefix", &self.auth.prefix),
            ("acl.prefix", &self.acl.prefix),
        ] {
            if prefix.is_empty() {
                return Err((key, "is empty".to_owned()));
            }
        }
        Ok(gateway::AuthSource::Redis(Box::new(gateway::RedisUsers {
            server,
            lookup: gateway::Lookup {
                auth_by: self.auth.mode.0.into(),
                acl_by: self.acl.mode.0.into(),
                password_hash: self.auth.password_hash.clone(),
                hash_key: self.auth.hash_key.clone(),
                rehash: self.auth.rehash,
                refresh: self.refresh.duration(),
            },
            auth_prefix: self.auth.prefix.clone(),
            acl_prefix: self.acl.prefix.clone(),
        })))
    }
}
