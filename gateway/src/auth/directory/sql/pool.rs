//! Connections to a database, so many at once and no more.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::mysql::{
    MySqlConnectOptions, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlSslMode,
};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Database, Error, Executor, Row};

use crate::auth::Unavailable;
use crate::config::{SqlKind, SqlTls, SqlUsers};

/// How much of what a database says of an error is passed on.
const MAX_ERROR: usize = 200;

/// A row of three columns.
pub(super) type Texts = [Option<String>; 3];

/// The connections, made for the first question: a configuration can be checked without any.
pub(super) struct Pool {
    given: SqlUsers,
    opened: OnceLock<Opened>,
}

enum Opened {
    Mysql(MySqlPool),
    Postgresql(PgPool),
}

/// A connection that goes back to the pool only if all was read that it was asked for: after a
/// timeout nobody knows when its answer comes, if it does.
struct Lent<DB: Database> {
    connection: PoolConnection<DB>,
    is_whole: bool,
}

/// The rows of a statement; the same for both kinds of databases, which have no type in common.
macro_rules! rows {
    ($pool:expr, $statement:expr, $key:expr) => {{
        let mut lent = Lent::of($pool.acquire().await?);
        // The statement is made of checked names; the key is bound.
        let query = sqlx::query(AssertSqlSafe($statement)).bind($key);
        let rows = query.fetch_all(&mut *lent.connection).await;
        lent.is_whole = rows.as_ref().err().is_none_or(is_of_data);
        let texts = |row: &_| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?]);
        rows?
            .iter()
            .map(texts)
            .collect::<Result<Vec<Texts>, Error>>()
    }};
}

/// How many rows a statement has changed.
macro_rules! changes {
    ($pool:expr, $statement:expr, $values:expr) => {{
        let mut lent = Lent::of($pool.acquire().await?);
        let [first, second, third, fourth] = $values;
        let query = sqlx::query(AssertSqlSafe($statement))
            .bind(first)
            .bind(second);
        let query = query.bind(third).bind(fourth);
        let done = query.execute(&mut *lent.connection).await;
        lent.is_whole = done.as_ref().err().is_none_or(is_of_data);
        Ok::<u64, Error>(done?.rows_affected())
    }};
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(given: &SqlUsers) -> Self {
        Self {
            given: given.clone(),
            opened: OnceLock::new(),
        }
    }

    /// What a statement gives for a key, within the timeout.
    pub(super) async fn fetch(
        &self,
        statement: &str,
        key: &str,
    ) -> Result<Vec<Texts>, Unavailable> {
        let fetching = async {
            match self.opened.get_or_init(|| Opened::of(&self.given)) {
                Opened::Mysql(pool) => rows!(pool, statement, key),
                Opened::Postgresql(pool) => rows!(pool, statement, key),
            }
        };
        self.within(fetching).await
    }

    /// How many rows a statement has changed, within the timeout.
    pub(super) async fn change(
        &self,
        statement: &str,
        values: [&str; 4],
    ) -> Result<u64, Unavailable> {
        let changing = async {
            match self.opened.get_or_init(|| Opened::of(&self.given)) {
                Opened::Mysql(pool) => changes!(pool, statement, values),
                Opened::Postgresql(pool) => changes!(pool, statement, values),
            }
        };
        self.within(changing).await
    }

    async fn within<T>(
        &self,
        asking: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Unavailable> {
        let timeout = self.given.timeout;
        match tokio::time::timeout(timeout, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_of_data(&error) => Err(Unavailable::Unusable(shown(&error))),
            Ok(Err(Error::PoolTimedOut)) | Err(_) => Err(silent(timeout)),
            Ok(Err(error)) => Err(Unavailable::Failed(shown(&error))),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.given).finish()
    }
}

// === impl Opened ===

impl Opened {
    fn of(given: &SqlUsers) -> Self {
        match given.kind {
            SqlKind::Mysql => Self::mysql(given),
            SqlKind::Postgresql => Self::postgresql(given),
        }
    }

    fn mysql(given: &SqlUsers) -> Self {
        let mut options = MySqlConnectOptions::new()
            .host(&given.host)
            .port(given.port)
            .username(&given.username)
            .password(&given.password)
            .database(&given.database)
            .ssl_mode(match given.tls {
                SqlTls::Disable => MySqlSslMode::Disabled,
                SqlTls::Prefer => MySqlSslMode::Preferred,
                SqlTls::Require => MySqlSslMode::Required,
                SqlTls::VerifyCa => MySqlSslMode::VerifyCa,
                SqlTls::VerifyFull => MySqlSslMode::VerifyIdentity,
            });
        if let Some(ca) = &given.ca {
            options = options.ssl_ca(ca);
        }
        let options = options.disable_statement_logging();
        // A password that does not fit is to be an error, and not to be cut.
        let strict = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
        let pool = bounded(MySqlPoolOptions::new(), given).after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(strict).await.map(drop) })
        });
        Self::Mysql(pool.connect_lazy_with(options))
    }

    fn postgresql(given: &SqlUsers) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&given.host)
            .port(given.port)
            .username(&given.username)
            .password(&given.password)
            .database(&given.database)
            .application_name("gatemq")
            .ssl_mode(match given.tls {
                SqlTls::Disable => PgSslMode::Disable,
                SqlTls::Prefer => PgSslMode::Prefer,
                SqlTls::Require => PgSslMode::Require,
                SqlTls::VerifyCa => PgSslMode::VerifyCa,
                SqlTls::VerifyFull => PgSslMode::VerifyFull,
            });
        if let Some(ca) = &given.ca {
            options = options.ssl_root_cert(ca);
        }
        let options = options.disable_statement_logging();
        Self::Postgresql(bounded(PgPoolOptions::new(), given).connect_lazy_with(options))
    }
}

fn bounded<DB: Database>(options: PoolOptions<DB>, given: &SqlUsers) -> PoolOptions<DB> {
    options
        .max_connections(given.max_connections)
        .acquire_timeout(given.timeout)
}

// === impl Lent ===

impl<DB: Database> Lent<DB> {
    fn of(connection: PoolConnection<DB>) -> Self {
        Self {
            connection,
            is_whole: false,
        }
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.connection.close_on_drop();
        }
    }
}

/// A column as text, or that it is NULL.
fn text<R: Row>(row: &R, at: usize) -> Result<Option<String>, Error>
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    row.try_get(at)
}

/// Whether it is the key that the database does not take, such as letters that its encoding has not:
/// another client's will do.
fn is_of_data(error: &Error) -> bool {
    const ILLEGAL_MIX_OF_COLLATIONS: u16 = 1267;
    let Error::Database(error) = error else {
        return false;
    };
    let mysql = error.try_downcast_ref::<MySqlDatabaseError>();
    mysql.is_some_and(|error| error.number() == ILLEGAL_MIX_OF_COLLATIONS)
        || error.code().is_some_and(|code| code.starts_with("22"))
}

/// What a database says, in one line; none of it is a password.
fn shown(error: &Error) -> String {
    let text = error.to_string();
    let shown: String = text.chars().take(MAX_ERROR).collect();
    shown.replace(char::is_control, " ")
}

fn silent(timeout: Duration) -> Unavailable {
    Unavailable::Failed(format!("no answer within {timeout:?}"))
}
