//! Users and rules in MySQL, MariaDB or PostgreSQL.

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Period};
use serde::{Deserialize, Serialize};

use super::lookup::Key;
use crate::config::Chosen;
use crate::config::choice::Choice;

/// A database as a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SqlSource {
    pub host: String,
    pub port: Number<0, 65535>,
    pub database: String,
    pub username: String,
    pub password: String,
    pub sslmode: Chosen<SslMode>,
    pub ssl_ca: String,
    pub max_connections: Number<1, 1_000>,
    pub timeout: Period<100, 60_000>,
    pub refresh: Period<1_000, 3_600_000>,
    pub auth: Users,
    pub acl: Rules,
}

/// The table of users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Users {
    pub mode: Chosen<Key>,
    pub table: String,
    pub user_column: String,
    pub password_column: String,
    pub allow_column: String,
    pub password_hash: String,
    pub hash_key: String,
    pub rehash: bool,
}

/// The table of rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rules {
    pub mode: Chosen<Key>,
    pub table: String,
    pub user_column: String,
    pub topic_column: String,
    pub access_column: String,
}

/// Whether TLS is used, by PostgreSQL's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Choice for SslMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("prefer", Self::Prefer),
        ("disable", Self::Disable),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl From<SslMode> for gateway::SqlTls {
    fn from(mode: SslMode) -> Self {
        match mode {
            SslMode::Disable => Self::Disable,
            SslMode::Prefer => Self::Prefer,
            SslMode::Require => Self::Require,
            SslMode::VerifyCa => Self::VerifyCa,
            SslMode::VerifyFull => Self::VerifyFull,
        }
    }
}

impl Default for SqlSource {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: Number::new(0),
            database: "comqtt".to_owned(),
            username: "comqtt".to_owned(),
            password: String::new(),
            sslmode: Chosen::default(),
            ssl_ca: String::new(),
            max_connections: Number::new(10),
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
            table: "auth".to_owned(),
            user_column: "username".to_owned(),
            password_column: "password".to_owned(),
            allow_column: "allow".to_owned(),
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
            table: "acl".to_owned(),
            user_column: "username".to_owned(),
            topic_column: "topic".to_owned(),
            access_column: "access".to_owned(),
        }
    }
}

// === impl SqlSource ===

impl SqlSource {
    /// What the gateway is told, or which key is wrong.
    pub(super) fn to_gateway(
        &self,
        kind: gateway::SqlKind,
    ) -> Result<gateway::AuthSource, (&'static str, String)> {
        let usual_port = match kind {
            gateway::SqlKind::Mysql => 3306,
            gateway::SqlKind::Postgresql => 5432,
        };
        let port = self.port.get().filter(|port| *port != 0);
        let ca = Some(&self.ssl_ca).filter(|path| !path.is_empty());
        let users = gateway::SqlUsers {
            kind,
            host: self.host.clone(),
            port: port.unwrap_or(usual_port),
            database: self.database.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            tls: self.sslmode.0.into(),
            ca: ca.map(Into::into),
            max_connections: self.max_connections.get().unwrap_or(1),
            timeout: self.timeout.duration(),
            lookup: gateway::Lookup {
                auth_by: self.auth.mode.0.into(),
                acl_by: self.acl.mode.0.into(),
                password_hash: self.auth.password_hash.clone(),
                hash_key: self.auth.hash_key.clone(),
                rehash: self.auth.rehash,
                refresh: self.refresh.duration(),
            },
            users: gateway::UserTable {
                table: self.auth.table.clone(),
                user: self.auth.user_column.clone(),
                password: self.auth.password_column.clone(),
                allow: self.auth.allow_column.clone(),
            },
            rules: gateway::RuleTable {
                table: self.acl.table.clone(),
                user: self.acl.user_column.clone(),
                topic: self.acl.topic_column.clone(),
                access: self.acl.access_column.clone(),
            },
        };
        users.check()?;
        Ok(gateway::AuthSource::Sql(Box::new(users)))
    }
}
