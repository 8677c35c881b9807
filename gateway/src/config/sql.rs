//! A database of clients and rules, and the tables that they are in.

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
    /// Authorities that its certificate must come from, PEM; `None` for those that browsers trust.
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
    /// It is, and the certificate comes from the right authority.
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
        if self.ca.is_some() && self.tls == SqlTls::Disable {
            return Err(("ssl-ca", "has no meaning without TLS".to_owned()));
        }
        Statements::new(self).map(drop)
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
