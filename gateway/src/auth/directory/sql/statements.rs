//! What a database is asked: made once, of names that were checked, each in quotes. Pure.

use super::super::MAX_ROWS;
use super::MAX_ALIKE;
use crate::config::{SqlKind, SqlUsers, UserTable};

/// A name that is longer is cut by one database or another.
const MAX_NAME: usize = 63;

/// The statements. Those that ask have one parameter, the key, and give three texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statements {
    /// Key, password, whether it is allowed.
    pub(super) user: String,
    /// Key, topic filter, access value.
    pub(super) rules: String,
    /// Stores a password: the new one, the key twice, the one before.
    pub(super) replace: String,
}

// === impl Statements ===

impl Statements {
    /// # Errors
    ///
    /// Which name is none, by what the configuration calls it.
    pub(crate) fn new(given: &SqlUsers) -> Result<Self, (&'static str, String)> {
        let SqlUsers {
            kind, users, rules, ..
        } = given;
        let select =
            |table: (&'static str, &String), columns: [(&'static str, &String); 3], most: usize| {
                let table = Self::table(*kind, table)?;
                let mut texts = Vec::new();
                for column in columns {
                    texts.push(Self::text(*kind, &Self::column(*kind, column)?));
                }
                let key = Self::column(*kind, columns[0])?;
                let (texts, parameter) = (texts.join(", "), Self::parameter(*kind));
                let limit = most + 1; // one that is too many is seen
                Ok(format!(
                    "SELECT {texts} FROM {table} WHERE {key} = {parameter} LIMIT {limit}"
                ))
            };
        Ok(Self {
            replace: Self::replacing(*kind, users)?,
            user: select(
                ("auth.table", &users.table),
                [
                    ("auth.user-column", &users.user),
                    ("auth.password-column", &users.password),
                    ("auth.allow-column", &users.allow),
                ],
                MAX_ALIKE,
            )?,
            rules: select(
                ("acl.table", &rules.table),
                [
                    ("acl.user-column", &rules.user),
                    ("acl.topic-column", &rules.topic),
                    ("acl.access-column", &rules.access),
                ],
                MAX_ROWS,
            )?,
        })
    }

    /// As in [`super::user_of`], the key and the password are those that are the same in every byte.
    fn replacing(kind: SqlKind, users: &UserTable) -> Result<String, (&'static str, String)> {
        let table = Self::table(kind, ("auth.table", &users.table))?;
        let key = Self::column(kind, ("auth.user-column", &users.user))?;
        let password = Self::column(kind, ("auth.password-column", &users.password))?;
        Ok(match kind {
            SqlKind::Mysql => format!(
                "UPDATE {table} SET {password} = ? WHERE {key} = ? \
                 AND CAST({key} AS BINARY) = CAST(? AS BINARY) \
                 AND CAST({password} AS BINARY) = CAST(? AS BINARY)"
            ),
            SqlKind::Postgresql => format!(
                "UPDATE {table} SET {password} = $1 WHERE {key} = $2 \
                 AND CAST({key} AS text) = $3 AND CAST({password} AS text) = $4"
            ),
        })
    }

    /// A table, or one of a schema: `schema.table`.
    fn table(
        kind: SqlKind,
        (key, text): (&'static str, &String),
    ) -> Result<String, (&'static str, String)> {
        let parts: Vec<&str> = text.split('.').collect();
        match parts.len() <= 2 && parts.iter().all(|part| is_name(part)) {
            true => Ok(quoted(kind, &parts)),
            false => Err((key, not_a_name(text))),
        }
    }

    fn column(
        kind: SqlKind,
        (key, text): (&'static str, &String),
    ) -> Result<String, (&'static str, String)> {
        match is_name(text) {
            true => Ok(quoted(kind, &[text])),
            false => Err((key, not_a_name(text))),
        }
    }

    fn text(kind: SqlKind, column: &str) -> String {
        match kind {
            SqlKind::Mysql => format!("CAST({column} AS CHAR)"),
            SqlKind::Postgresql => format!("CAST({column} AS text)"),
        }
    }

    fn parameter(kind: SqlKind) -> &'static str {
        match kind {
            SqlKind::Mysql => "?",
            SqlKind::Postgresql => "$1",
        }
    }
}

/// Names in quotes, with dots between them.
fn quoted(kind: SqlKind, names: &[&str]) -> String {
    let quote = match kind {
        SqlKind::Mysql => '`',
        SqlKind::Postgresql => '"',
    };
    let quoted = names.iter().map(|name| format!("{quote}{name}{quote}"));
    quoted.collect::<Vec<_>>().join(".")
}

/// Letters, digits, `_` and `$`: nothing that ends a quote.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_first)
        && text.len() <= MAX_NAME
        && text.bytes().all(is_inner)
}

fn not_a_name(text: &str) -> String {
    format!("{text:?} is not a name: write letters, digits and _, at most {MAX_NAME}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Key, Lookup, RuleTable, SqlTls, UserTable};
    use std::time::Duration;

    fn given(kind: SqlKind) -> SqlUsers {
        SqlUsers {
            kind,
            host: "db".to_owned(),
            port: 1,
            database: "comqtt".to_owned(),
            username: "gate".to_owned(),
            password: "hunter2".to_owned(),
            tls: SqlTls::Prefer,
            ca: None,
            max_connections: 1,
            timeout: Duration::from_secs(1),
            lookup: Lookup {
                auth_by: Key::Username,
                acl_by: Key::Username,
                password_hash: "auto".to_owned(),
                hash_key: "hunter2".to_owned(),
                rehash: false,
                refresh: Duration::from_secs(1),
            },
            users: UserTable {
                table: "auth".to_owned(),
                user: "username".to_owned(),
                password: "password".to_owned(),
                allow: "allow".to_owned(),
            },
            rules: RuleTable {
                table: "mqtt.acl".to_owned(),
                user: "username".to_owned(),
                topic: "topic".to_owned(),
                access: "access".to_owned(),
            },
        }
    }

    #[test]
    fn names_are_in_quotes_and_the_key_is_bound() {
        let made = Statements::new(&given(SqlKind::Postgresql)).unwrap();
        let user = "SELECT CAST(\"username\" AS text), CAST(\"password\" AS text), \
                    CAST(\"allow\" AS text) FROM \"auth\" WHERE \"username\" = $1 LIMIT 101";
        assert_eq!(made.user, user);
        let made = Statements::new(&given(SqlKind::Mysql)).unwrap();
        let rules = "SELECT CAST(`username` AS CHAR), CAST(`topic` AS CHAR), \
                     CAST(`access` AS CHAR) FROM `mqtt`.`acl` WHERE `username` = ? LIMIT 10001";
        assert_eq!(made.rules, rules);
        let replace = "UPDATE `auth` SET `password` = ? WHERE `username` = ? \
                       AND CAST(`username` AS BINARY) = CAST(? AS BINARY) \
                       AND CAST(`password` AS BINARY) = CAST(? AS BINARY)";
        assert_eq!(made.replace, replace);
    }

    #[test]
    fn what_is_no_name_is_an_error_of_its_key() {
        let long = "x".repeat(64);
        for kind in [SqlKind::Mysql, SqlKind::Postgresql] {
            for wrong in [
                "",
                "1a",
                "a b",
                "a;b",
                "a\"b",
                "a`b",
                "a'b",
                "a--",
                "a\0",
                "ä",
                "a.b.c",
                ".a",
                "a.",
                "(SELECT 1)",
                &long,
            ] {
                let mut table = given(kind);
                wrong.clone_into(&mut table.users.table);
                assert_eq!(table.check().unwrap_err().0, "auth.table", "{wrong:?}");
                let mut column = given(kind);
                wrong.clone_into(&mut column.rules.access);
                assert_eq!(
                    column.check().unwrap_err().0,
                    "acl.access-column",
                    "{wrong:?}"
                );
            }
            assert_eq!(given(kind).check(), Ok(()));
        }
        let mut column = given(SqlKind::Mysql);
        column.users.user = "auth.username".to_owned();
        assert_eq!(column.check().unwrap_err().0, "auth.user-column");
    }

    #[test]
    fn what_is_no_address_is_an_error_of_its_key() {
        let check = |change: fn(&mut SqlUsers)| {
            let mut given = given(SqlKind::Postgresql);
            change(&mut given);
            given.check().unwrap_err().0
        };
        assert_eq!(check(|given| given.host.clear()), "host");
        assert_eq!(check(|given| given.host = "postgres://a".into()), "host");
        assert_eq!(check(|given| given.database.clear()), "database");
        assert_eq!(check(|given| given.username.clear()), "username");
        let without = |given: &mut SqlUsers| {
            (given.tls, given.ca) = (SqlTls::Disable, Some("ca.pem".into()));
        };
        assert_eq!(check(without), "ssl-ca");
    }

    #[test]
    fn a_configuration_in_a_log_has_no_password() {
        assert!(!format!("{:?}", given(SqlKind::Mysql)).contains("hunter2"));
    }
}
