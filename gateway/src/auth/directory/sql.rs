//! Users and rules in MySQL, MariaDB or PostgreSQL, in tables as comqtt has them.
//!
//! What is asked is fixed when the source is opened (`statements.rs`); what clients are called is
//! bound, never part of it. A database may find more for a name than is there under it, such as
//! `ann` for `Ann` or `ann `, by the collation of the column: only what is the same in every byte
//! counts. All columns are asked for as text, so that numbers, booleans and text do.
//!
//! Connections are made when they are needed, and one that was asked something and did not answer
//! is given up: nobody waits for it again.

mod pool;
mod statements;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::access::Row;
use super::{Directory, DirectorySource, MAX_ROWS, User};
use crate::auth::password::pool::Pool as Passwords;
use crate::auth::{FileError, Source, Unavailable};
use crate::config::{SqlKind, SqlUsers};
use crate::tls;
use pool::{Pool, Texts};
pub(crate) use statements::Statements;

/// Users that a database may find for one name.
const MAX_ALIKE: usize = 100;

/// Opens a database as a source; whether it is there is seen when it is asked.
pub(in crate::auth) fn open(
    given: &SqlUsers,
    passwords: Arc<Passwords>,
) -> Result<impl Source + use<>, FileError> {
    let name = name_of(given);
    let wrong = |what: String| FileError::Wrong(name.clone(), what);
    let check = given.check();
    check.map_err(|(key, what)| wrong(format!("{key}: {what}")))?;
    if let Some(ca) = &given.ca {
        tls::authorities(ca).map_err(|error| wrong(format!("ssl-ca: {error}")))?;
    }
    given.warn_if_unverified();
    let statements = Statements::new(given);
    let directory = SqlDirectory {
        statements: statements.map_err(|(key, what)| wrong(format!("{key}: {what}")))?,
        pool: Pool::new(given),
        name: name.clone(),
    };
    let source = DirectorySource::new(directory, &given.lookup, passwords);
    source.map_err(wrong)
}

#[derive(Debug)]
struct SqlDirectory {
    statements: Statements,
    pool: Pool,
    name: String,
}

// === impl SqlDirectory ===

impl Directory for SqlDirectory {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn user<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<User>, Unavailable>> {
        Box::pin(async move {
            let found = self.pool.fetch(&self.statements.user, key).await?;
            user_of(found, key)
        })
    }

    fn rows<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Unavailable>> {
        Box::pin(async move {
            let found = self.pool.fetch(&self.statements.rules, key).await?;
            rows_of(found, key)
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        user: &'a User,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            let values = [password, key, key, &user.password];
            let n_changed = self.pool.change(&self.statements.replace, values).await?;
            Ok(n_changed == 1)
        })
    }
}

fn name_of(given: &SqlUsers) -> String {
    let kind = match given.kind {
        SqlKind::Mysql => "mysql",
        SqlKind::Postgresql => "postgresql",
    };
    let SqlUsers {
        host,
        port,
        database,
        ..
    } = given;
    match host.contains(':') {
        true => format!("{kind} [{host}]:{port}/{database}"),
        false => format!("{kind} {host}:{port}/{database}"),
    }
}

fn user_of(found: Vec<Texts>, key: &str) -> Result<Option<User>, Unavailable> {
    if found.len() > MAX_ALIKE {
        return Err(Unavailable::Unusable("too many users are alike".to_owned()));
    }
    let mut own = found
        .into_iter()
        .filter(|[user, ..]| user.as_deref() == Some(key));
    let Some([_, password, allow]) = own.next() else {
        return Ok(None);
    };
    if own.next().is_some() {
        return Err(Unavailable::Unusable("the user is there twice".to_owned()));
    }
    let is_allowed = is_allowed(allow.as_deref()).ok_or_else(|| {
        Unavailable::Unusable("whether the user is allowed is neither yes nor no".to_owned())
    })?;
    Ok(Some(User {
        password: password.unwrap_or_default(),
        is_allowed,
        whole: Vec::new(),
    }))
}

/// As numbers, booleans and bits are written; nothing is no.
fn is_allowed(text: Option<&str>) -> Option<bool> {
    match text {
        None | Some("0" | "false" | "f" | "\0") => Some(false),
        Some("true" | "t" | "\u{1}") => Some(true),
        Some(text) => text.parse::<i64>().ok().map(|number| number != 0),
    }
}

fn rows_of(found: Vec<Texts>, key: &str) -> Result<Vec<Row>, Unavailable> {
    if found.len() > MAX_ROWS {
        let why = format!("there are more than {MAX_ROWS} rules for a client");
        return Err(Unavailable::Unusable(why));
    }
    let own = found
        .into_iter()
        .filter(|[user, ..]| user.as_deref() == Some(key));
    let row = |[_, filter, access]: Texts| Row {
        filter: filter.unwrap_or_default(),
        access: access.unwrap_or_default(),
    };
    Ok(own.map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: [&str; 3]) -> Texts {
        texts.map(|text| Some(text.to_owned()).filter(|text| text != "NULL"))
    }

    fn user(found: &[[&str; 3]]) -> Result<Option<(String, bool)>, ()> {
        let found = found.iter().copied().map(texts).collect();
        let user = user_of(found, "ann").map_err(drop)?;
        Ok(user.map(|user| (user.password, user.is_allowed)))
    }

    #[test]
    fn only_what_is_the_same_in_every_byte_counts() {
        let right = ["ann", "x", "1"];
        let known = Ok(Some(("x".to_owned(), true)));
        assert_eq!(user(&[right]), known);
        for alike in ["Ann", "ANN", "ann ", "a\u{308}nn", "NULL", ""] {
            assert_eq!(user(&[[alike, "x", "1"]]), Ok(None), "{alike}");
            assert_eq!(user(&[[alike, "y", "1"], right]), known, "{alike}");
        }
        assert_eq!(user(&[]), Ok(None));
        assert_eq!(user(&[right, right]), Err(()));
        assert_eq!(user(&[right, right, right]), Err(()));
        let found = vec![texts(right); MAX_ALIKE + 1];
        assert!(user_of(found, "other").is_err());
        let rows = [["Ann", "#", "3"], ["ann", "a", "1"]].map(texts);
        let rows = rows_of(rows.into(), "ann").unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].filter, "a");
        assert!(rows_of(vec![texts(right); MAX_ROWS + 1], "other").is_err());
    }

    #[test]
    fn allowed_is_what_any_column_says() {
        for (written, expected) in [
            ("1", Ok(true)),
            ("2", Ok(true)),
            ("-1", Ok(true)),
            ("true", Ok(true)),
            ("t", Ok(true)),
            ("\u{1}", Ok(true)),
            ("0", Ok(false)),
            ("00", Ok(false)),
            ("false", Ok(false)),
            ("f", Ok(false)),
            ("\0", Ok(false)),
            ("NULL", Ok(false)),
            ("", Err(())),
            ("yes", Err(())),
            ("0.5", Err(())),
        ] {
            let found = user(&[["ann", "x", written]]);
            let is_allowed = found.map(|user| user.is_some_and(|(_, is_allowed)| is_allowed));
            assert_eq!(is_allowed, expected, "{written:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        assert_eq!(
            user(&[["ann", "NULL", "1"]]),
            Ok(Some((String::new(), true)))
        );
        let rows = rows_of(vec![texts(["ann", "NULL", "NULL"])], "ann").unwrap();
        assert_eq!((&*rows[0].filter, &*rows[0].access), ("", ""));
    }
}
