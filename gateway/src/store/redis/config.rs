//! Where Redis is, and how long to wait for it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisConnectionInfo;

use super::OpenError;
use super::connection::Tls;
use crate::config::RedisMode;
use crate::retained::Quota;

/// Where Redis is and how it is used.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) servers: Servers,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Who asks the Sentinels, which have users of their own.
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
    /// TLS to all of them, or none.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Number of the database; a Redis Cluster has 0 only.
    pub(crate) db: i64,
    /// What all keys begin with; without braces.
    pub(crate) prefix: String,
    /// How long to wait for a connection, and for an answer.
    pub(crate) timeout: Duration,
    /// How many replicas must have a write before it counts (`WAIT`); 0 for none.
    pub(crate) n_replicas: u32,
    /// How long Redis waits for the replicas before the question is asked again; at most half of
    /// the timeout. Claims and reads through the same connection wait with it.
    pub(crate) replica_timeout: Duration,
    /// What there may be of retained messages; see [`super::retained`] for how exact this is.
    pub(crate) retained: Quota,
}

/// The ways in which Redis is run.
#[derive(Clone, Debug)]
pub(crate) enum Servers {
    Single(Address),
    /// The master of this name, as these Sentinels know it.
    Sentinel {
        addresses: Vec<Address>,
        master: String,
    },
    /// Some nodes of a Redis Cluster; the others are asked of them.
    Cluster(Vec<Address>),
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// The text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an address like host:port")]
pub(crate) struct InvalidAddress(String);

/// What the gateway was told cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error("{0}: correct tls")]
    Tls(String),
}

// === impl Config ===

impl Config {
    /// What the gateway was told, and what there may be of retained messages.
    pub(crate) fn of(given: &crate::config::Redis, retained: Quota) -> Result<Self, Unusable> {
        let parse = |default: u16| -> Result<Vec<Address>, InvalidAddress> {
            let addresses = given.addresses.iter();
            addresses
                .map(|text| Address::parse(text, default))
                .collect()
        };
        let servers = match &given.mode {
            RedisMode::Single => {
                let first = parse(6379)?.into_iter().next();
                Servers::Single(first.ok_or_else(|| InvalidAddress(String::new()))?)
            }
            RedisMode::Sentinel(master) => Servers::Sentinel {
                addresses: parse(26379)?,
                master: master.clone(),
            },
            RedisMode::Cluster => Servers::Cluster(parse(6379)?),
        };
        let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let tls = given.tls.clone().map(Tls::read).transpose();
        Ok(Self {
            username: filled(&given.username),
            password: filled(&given.password),
            sentinel_username: filled(&given.sentinel_username),
            sentinel_password: filled(&given.sentinel_password),
            tls: tls.map_err(Unusable::Tls)?.map(Arc::new),
            db: i64::from(given.db),
            prefix: given.prefix.clone(),
            timeout: given.timeout,
            n_replicas: given.wait_replicas,
            retained,
            ..Self::new(servers)
        })
    }

    /// What is used where nothing else is said.
    pub(crate) fn new(servers: Servers) -> Self {
        Self {
            servers,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: None,
            db: 0,
            prefix: "gatemq".to_owned(),
            timeout: Duration::from_secs(2),
            n_replicas: 0,
            replica_timeout: Duration::from_millis(500),
            retained: crate::config::Limits::default().retained(),
        }
    }

    /// Looks for what cannot work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.prefix.contains(['{', '}']) {
            return Err(OpenError::Prefix(self.prefix.clone()));
        }
        if self.is_cluster() && self.db != 0 {
            return Err(OpenError::Database);
        }
        Ok(())
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Who asks a server, and in which database.
    pub(super) fn login(&self) -> RedisConnectionInfo {
        login(&self.username, &self.password).set_db(self.db)
    }

    /// Who asks a Sentinel.
    pub(super) fn sentinel_login(&self) -> RedisConnectionInfo {
        login(&self.sentinel_username, &self.sentinel_password)
    }

    /// Whether what is said to the servers, passwords among it, can be read on the way. That is told of
    /// and not refused: networks where nobody else is are common, as are servers without TLS.
    pub(crate) fn is_overheard(&self) -> bool {
        let addresses = self.servers.addresses();
        self.tls.is_none() && !addresses.iter().all(Address::is_local)
    }

    /// Says so, once.
    pub(crate) fn warn_if_overheard(&self) {
        if self.is_overheard() {
            let servers = &self.servers;
            tracing::warn!(
                %servers,
                "redis is not on this machine, and nothing is encrypted on the way to it: set \
                 tls.enable, unless the network is yours alone"
            );
        }
    }
}

fn login(username: &Option<String>, password: &Option<String>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    login
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("db", &self.db)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// Those that are named.
    fn addresses(&self) -> &[Address] {
        match self {
            Self::Single(address) => std::slice::from_ref(address),
            Self::Sentinel { addresses, .. } | Self::Cluster(addresses) => addresses,
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
        f.write_str(&addresses.join(", "))
    }
}

// === impl Address ===

impl Address {
    /// Reads `host:port`, `[::1]:port` or, with the port left out, `host`.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(invalid)?;
                match port {
                    "" => (host, None),
                    port => (host, Some(port.strip_prefix(':').ok_or_else(invalid)?)),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => (text, None), // IPv6 without brackets
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Ok(default_port), str::parse);
        match (host, port) {
            ("", _) | (_, Err(_) | Ok(0)) => Err(invalid()),
            (host, Ok(port)) if !host.contains(['/', ' ', '@']) => Ok(Self {
                host: host.into(),
                port,
            }),
            _ => Err(invalid()),
        }
    }

    /// Whether nothing that is said to it leaves this machine. Of a name nobody knows, but for one.
    fn is_local(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(&*self.host == "localhost", |address| {
            address.to_canonical().is_loopback()
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let address = Address::parse(text, 6379).map(|address| address.to_string());
        assert_eq!(address.ok().as_deref(), expected, "{text}");
    }

    #[test]
    fn addresses() {
        check("redis", Some("redis:6379"));
        check("10.0.0.1:7000", Some("10.0.0.1:7000"));
        check("[::1]:7000", Some("[::1]:7000"));
        check("[::1]", Some("[::1]:6379"));
        check("::1", Some("[::1]:6379"));
        for text in [
            "",
            ":1",
            "a:0",
            "a:b",
            "a:70000",
            "[::1",
            "[::1]7",
            "redis://a:1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_leaves_this_machine_without_tls_can_be_read() {
        let config = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| Address::parse(text, 1));
            let addresses: Result<Vec<_>, _> = addresses.collect();
            Config::new(Servers::Cluster(addresses.expect("addresses")))
        };
        for local in ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(!config(&[local]).is_overheard(), "{local}");
        }
        for remote in [
            "redis:1",
            "10.0.0.1:1",
            "[fd00::1]:1",
            "localhost.example:1",
        ] {
            assert!(config(&[remote]).is_overheard(), "{remote}");
            let mut some = config(&["localhost:1", remote]);
            assert!(some.is_overheard(), "{remote}");
            let tls = Tls::read(crate::config::ClientTls::default()).expect("nothing to read");
            some.tls = Some(Arc::new(tls));
            assert!(!some.is_overheard(), "{remote}");
        }
    }

    #[test]
    fn a_configuration_in_a_log_has_no_password() {
        let address = Address::parse("a", 1).expect("valid");
        let mut config = Config::new(Servers::Single(address));
        config.password = Some("secret".to_owned());
        assert!(!format!("{config:?}").contains("secret"));
    }
}
