//! Looks at the servers before they are used, so that whoever set them up is told in one line what
//! is wrong, and what to do.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};

use super::Error;
use super::config::{Address, Config, Servers};
use super::connection::{Connection, NoConnection};
use super::pool::Pool;
use super::reply::{Parts, Trouble};

/// The oldest version of Redis that has all that is used.
const OLDEST: (u64, u64) = (6, 2);

/// How long a server may hang up on everybody.
const HANGING_UP: Duration = Duration::from_secs(30);

/// Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the prefix {0:?} has a brace, which would move keys apart in a Redis Cluster")]
    Prefix(String),
    #[error("a Redis Cluster has the database 0 only: leave redis.db (--redis-db) out")]
    Database,
    #[error("{address} cannot be reached ({why}): start it, or correct redis.addr (--redis)")]
    Unreachable { address: Address, why: String },
    #[error("{address} cannot be reached ({why}): correct redis.tls, or redis.addr (--redis)")]
    Tls { address: Address, why: String },
    #[error(
        "what listens at {0} does not speak like redis: correct redis.addr (--redis), or set \
         redis.tls.enable if it has TLS"
    )]
    NotRedis(Address),
    #[error(
        "{0} asks for a password: set redis.password (--redis-pass), and redis.username where it \
         has users"
    )]
    NeedsPassword(Address),
    #[error(
        "{0} does not take the password: correct redis.password (--redis-pass), and redis.username \
         where it has users"
    )]
    WrongPassword(Address),
    #[error("{0} has no password: leave redis.password (--redis-pass) out")]
    HasNoPassword(Address),
    #[error("{address} does not let this user do what is needed: {why}: give it more rights")]
    NotAllowed { address: Address, why: String },
    #[error("{address} has no database {db}: lower redis.db (--redis-db)")]
    NoDatabase { address: Address, db: i64 },
    #[error(
        "{0} is a replica, which takes no writes (READONLY): name its master in redis.addr \
         (--redis), or its sentinels with redis.mode: sentinel"
    )]
    Replica(Address),
    #[error("{0} is a sentinel: set redis.mode: sentinel, or name the server itself")]
    Sentinel(Address),
    #[error(
        "{0} is no sentinel: set redis.mode: single (--redis-mode single) if it is the server \
         itself, or name sentinels in redis.addr (--redis); their port is mostly 26379"
    )]
    NoSentinel(Address),
    #[error(
        "{0} is a sentinel that asks for a password: set redis.sentinel-password, and \
         redis.sentinel-username where it has users"
    )]
    SentinelNeedsPassword(Address),
    #[error(
        "{0} is a sentinel that does not take the password: correct redis.sentinel-password, or leave it \
         out if there is none, and redis.sentinel-username where it has users"
    )]
    SentinelPassword(Address),
    #[error(
        "{0} is one server, and no node of a Redis Cluster: set redis.mode: single (--redis-mode \
         single), or name nodes of one"
    )]
    NoCluster(Address),
    #[error("redis does not answer: {0}")]
    Unanswered(String),
    #[error("redis refuses it: {0}")]
    Refused(String),
    #[error(
        "what listens at {0} hangs up: it is not up yet, or does not speak like redis; then correct \
         redis.addr (--redis), or set redis.tls.enable if it has TLS"
    )]
    HangsUp(Address),
    #[error("{address} has version {version}; 6.2 is the oldest that will do")]
    TooOld { address: Address, version: String },
}

impl OpenError {
    /// Whether it may pass by itself, after it has lasted so long: a server that is not up yet, or
    /// slow, or loads what it has. Who hangs up may be a proxy whose server is not up yet, but not for
    /// ever: then it is no Redis, or has TLS.
    pub(crate) fn may_pass(&self, lasts: Duration) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unanswered(_) => true,
            Self::HangsUp(_) => lasts < HANGING_UP,
            _ => false,
        }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused { why } => Self::Refused(why),
            error => Self::Unanswered(error.to_string()),
        }
    }
}

/// What a question is about, where its refusal means something else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Password,
    Database,
    Anything,
}

/// Looks at every server.
pub(super) async fn examine(pool: &Pool) -> Result<(), OpenError> {
    let config = &pool.config;
    // Whoever tells where the keys are is asked first: what is wrong there has its own words.
    match &config.servers {
        Servers::Single(address) => look_at(address, config).await?,
        Servers::Cluster(addresses) => {
            let mut first = None;
            for address in addresses {
                match look_at(address, config).await {
                    // Of those that are named not all have to be there, nor to be masters.
                    Ok(()) | Err(OpenError::Replica(_)) => {
                        first = None;
                        break;
                    }
                    Err(error) => first = first.or(Some(error)),
                }
            }
            first.map_or(Ok(()), Err)?;
        }
        Servers::Sentinel { addresses, .. } => {
            let mut first = None;
            for address in addresses {
                match look_at_sentinel(address, config).await {
                    Ok(()) => {
                        first = None;
                        break;
                    }
                    Err(error) => first = first.or(Some(error)),
                }
            }
            first.map_or(Ok(()), Err)?;
        }
    }
    let routes = pool.routes().await;
    let routes = routes.map_err(|trouble| match trouble {
        Trouble::Refused(why) => OpenError::Refused(why),
        trouble => OpenError::Unanswered(trouble.text()),
    })?;
    if let Servers::Single(_) = &config.servers {
        return Ok(());
    }
    for address in routes.servers() {
        look_at(&address, config).await?;
    }
    Ok(())
}

async fn connect(address: &Address, config: &Config) -> Result<Connection, OpenError> {
    // Who it is that asks is said later, in a way that tells what is wrong with it.
    let opened = Connection::open(address, RedisConnectionInfo::default(), config).await;
    opened.map_err(|error| {
        let (address, why) = (address.clone(), error.to_string());
        match error {
            NoConnection::Redis(_) => OpenError::Unreachable { address, why },
            NoConnection::Tls(_) => OpenError::Tls { address, why },
        }
    })
}

/// Whether a server is one that knows where the master is.
async fn look_at_sentinel(address: &Address, config: &Config) -> Result<(), OpenError> {
    let mut connection = connect(address, config).await?;
    if let Some(password) = &config.sentinel_password {
        let auth = auth(&config.sentinel_username, password);
        match connection.send_packed_command(&auth).await {
            Ok(Value::ServerError(_)) => {
                return Err(OpenError::SentinelPassword(address.clone()));
            }
            Ok(_) => {}
            Err(error) => return Err(failure(address, config, About::Anything, &error)),
        }
    }
    let asked = connection.send_packed_command(&redis::cmd("ROLE")).await;
    let role = match asked {
        Ok(Value::ServerError(error)) if error.code() == "NOAUTH" => {
            return Err(OpenError::SentinelNeedsPassword(address.clone()));
        }
        Ok(role) => role.list().unwrap_or_default().into_iter().next(),
        Err(error) => return Err(failure(address, config, About::Anything, &error)),
    };
    match role.and_then(|role| role.text().ok()).as_deref() {
        Some("sentinel") => Ok(()),
        _ => Err(OpenError::NoSentinel(address.clone())),
    }
}

/// Looks at one server, as whoever will use it.
async fn look_at(address: &Address, config: &Config) -> Result<(), OpenError> {
    let mut connection = connect(address, config).await?;
    let mut ask = async |about: About, cmd: Cmd| -> Result<Value, OpenError> {
        match connection.send_packed_command(&cmd).await {
            Ok(Value::ServerError(error)) => {
                let detail = error.details().unwrap_or_default();
                Err(refusal(address, config, about, error.code(), detail))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(failure(address, config, about, &error)),
        }
    };
    if let Some(password) = &config.password {
        ask(About::Password, auth(&config.username, password)).await?;
    }
    let role = ask(About::Anything, redis::cmd("ROLE")).await?;
    let role = role.list().unwrap_or_default().into_iter().next();
    match role.and_then(|role| role.text().ok()).as_deref() {
        Some("master") => {}
        Some("sentinel") => return Err(OpenError::Sentinel(address.clone())),
        Some(_) => return Err(OpenError::Replica(address.clone())),
        None => return Err(OpenError::NotRedis(address.clone())),
    }
    if config.db != 0 {
        let mut select = redis::cmd("SELECT");
        select.arg(config.db);
        ask(About::Database, select).await?;
    }
    let mut info = redis::cmd("INFO");
    info.arg("all");
    let info = ask(About::Anything, info).await?;
    look_at_facts(address, config, &info.text().unwrap_or_default())
}

fn auth(username: &Option<String>, password: &str) -> Cmd {
    let mut auth = redis::cmd("AUTH");
    if let Some(username) = username {
        auth.arg(username);
    }
    auth.arg(password);
    auth
}

/// Looks at what a server says of itself.
fn look_at_facts(address: &Address, config: &Config, info: &str) -> Result<(), OpenError> {
    let fact = |name: &str| {
        let mut facts = info.lines().filter_map(|line| line.split_once(':'));
        let found = facts.find(|(known, _)| *known == name);
        found.map(|(_, fact)| fact)
    };
    let version = fact("redis_version").unwrap_or_default();
    if number_of(version) < OLDEST {
        return Err(OpenError::TooOld {
            address: address.clone(),
            version: version.to_owned(),
        });
    }
    if config.is_cluster() && fact("cluster_enabled") == Some("0") {
        return Err(OpenError::NoCluster(address.clone()));
    }
    let appends = fact("aof_enabled") == Some("1");
    let policy = fact("maxmemory_policy").unwrap_or_default();
    if !appends || !matches!(policy, "noeviction" | "") {
        tracing::warn!(
            %address,
            appendonly = appends,
            maxmemory_policy = policy,
            "redis may lose what it confirmed: promises reach as far as it keeps that"
        );
    }
    Ok(())
}

/// What a question means that had no answer.
fn failure(address: &Address, config: &Config, about: About, error: &RedisError) -> OpenError {
    if let Some(code) = error.code() {
        return refusal(
            address,
            config,
            about,
            code,
            error.detail().unwrap_or_default(),
        );
    }
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => OpenError::Unanswered(format!("{address}: {error}")),
        ErrorKind::Io => OpenError::HangsUp(address.clone()),
        // It said something else.
        _ => OpenError::NotRedis(address.clone()),
    }
}

/// What an error in an answer means.
fn refusal(
    address: &Address,
    config: &Config,
    about: About,
    code: &str,
    detail: &str,
) -> OpenError {
    let address = address.clone();
    match (code, about) {
        ("NOAUTH", _) => OpenError::NeedsPassword(address),
        ("LOADING" | "BUSY" | "MASTERDOWN", _) => {
            OpenError::Unanswered(format!("{address}: {code} {detail}"))
        }
        ("ERR", About::Password) if detail.contains("without any password") => {
            OpenError::HasNoPassword(address)
        }
        (_, About::Password) => OpenError::WrongPassword(address),
        ("NOPERM", _) => OpenError::NotAllowed {
            address,
            why: detail.to_owned(),
        },
        (_, About::Database) => OpenError::NoDatabase {
            address,
            db: config.db,
        },
        _ => OpenError::Unanswered(format!("{address}: {code} {detail}")),
    }
}

/// The first two numbers of a version.
fn number_of(version: &str) -> (u64, u64) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
