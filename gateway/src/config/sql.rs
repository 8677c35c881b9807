//! A database of clients and rules, and the tables that they are in.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Lookup;
use crate::auth::Statements;

/// Users and rules in a database, in two tables as comqtt has them.
#[derive(Clone)]
pub struct SqlUsers {
    /// What kind of database it is.
    pub kind: SqlKind,
    /// Its host, without the port.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database there.
    pub database: String,
    /// Who logs in.
    pub username: String,
    /// The password.
    pub password: String,
    /// Whether TLS is used.
    pub tls: SqlTls,
    /// Authorities that its certificate may come from, PEM, besides those that browsers trust.
    pub ca: Option<PathBuf>,
    /// Connections at once.
    pub max_connections: u32,
    /// How long an answer may take, with a connection for it.
    pub timeout: Duration,
    /// How it is asked.
    pub lookup: Lookup,
    /// Where users are.
    pub users: UserTable,
    /// Where rules are.
    pub rules: RuleTable,
}

/// The kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the databases' names")]
pub enum SqlKind {
    Mysql,
    Postgresql,
}

/// Whether TLS is used with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlTls {
    /// It is not.
    Disable,
    /// It is where the database has it, whoever that is.
    Prefer,
    /// It is, whoever that is.
    Require,
    /// It is, and the certificate comes from an authority, for whatever name: it is refused.
    VerifyCa,
    /// It is, and the certificate is that of the host, too.
    VerifyFull,
}

/// The table of users, and its columns.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what is in the columns")]
pub struct UserTable {
    pub table: String,
    pub user: String,
    pub password: String,
    pub allow: String,
}

/// The table of rules, and its columns.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what is in the columns")]
pub struct RuleTable {
    pub table: String,
    pub user: String,
    pub topic: String,
    pub access: String,
}

impl SqlUsers {
    /// Looks for what cannot work, whether the database is there or not.
    ///
    /// # Errors
    ///
    /// Which part is wrong, by the name that it has in the configuration, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let is_host = |text: &str| !text.is_empty() && !text.contains(['/', ' ', '@', '?', '#']);
        if !is_host(&self.host) {
            let what = format!("{:?} is no host: write a name or an address", self.host);
            return Err(("host", what));
        }
        for (key, value) in [("database", &self.database), ("username", &self.username)] {
            if value.is_empty() || value.contains('\0') {
                return Err((key, "is empty, or no name".to_owned()));
            }
        }
        if self.tls == SqlTls::VerifyCa {
            // The authorities of browsers are believed beside those of `ca`, and they sign for anybody.
            let what = "verify-ca would believe whoever has a certificate, for whatever name: set \
                        verify-full";
            return Err(("sslmode", what.to_owned()));
        }
        if self.ca.is_some() && self.tls != SqlTls::VerifyFull {
            let what = "has a meaning with sslmode: verify-full only; the database's certificate is \
                        not looked at otherwise";
            return Err(("ssl-ca", what.to_owned()));
        }
        Statements::new(self).map(drop)
    }

    /// Says if somebody on the way could speak for the database: let in whom it likes.
    pub(crate) fn warn_if_unverified(&self) {
        let address = self.host.parse::<IpAddr>();
        let is_local = address.map_or(self.host == "localhost", |address| {
            address.to_canonical().is_loopback()
        });
        if !is_local && self.tls != SqlTls::VerifyFull {
            let (host, sslmode) = (&self.host, self.tls);
            tracing::warn!(
                %host, ?sslmode,
                "the database of users is not on this machine, and nobody looks at its certificate: set \
                 sslmode: verify-full, unless the network is yours alone"
            );
        }
    }
}

impl std::fmt::Debug for SqlUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the password.
        let mut shown = f.debug_struct("SqlUsers");
        shown
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("lookup", &self.lookup)
            .finish_non_exhaustive()
    }
}
