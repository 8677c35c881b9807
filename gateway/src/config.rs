//! The gateway's configuration as plain data, with its defaults.
//!
//! Whoever composes the process fills it in; nothing in this crate reads a file, a flag or the
//! environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use gatemq_node::trace::Tracer;

use crate::proto::mqtt::{self, Qos};
use crate::proto::topic::Bounds;
use crate::retained::Quota;
use crate::store::redis;
pub use crate::tls::ClientTls;

mod bans;
mod certificate;
mod lookup;
mod sql;
mod token;
mod web;

pub use bans::{Bans, Flapping};
pub use certificate::{ClientName, NamedBy};
pub use lookup::{Key, Lookup, RedisUsers};
pub use sql::{RuleTable, SqlKind, SqlTls, SqlUsers, UserTable};
pub use token::{Algorithm, Expected, JwtSource, KeySource, RemoteKeys, TokenFrom};
pub use web::{Carriage, Fetch, HttpSource};

/// Everything a gateway is told at its start.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The listeners, any number of each kind.
    pub listeners: Vec<Listener>,
    /// Limits of packets, connections, sessions and the broker.
    pub limits: Limits,
    /// How the broker treats sessions and messages.
    pub session: SessionPolicy,
    /// How a shared subscription picks its member.
    pub share_strategy: ShareStrategy,
    /// How often `$SYS` topics are published; zero turns them off.
    pub sys_interval: Duration,
    /// Where it listens for other nodes; `None` for a broker on its own.
    pub peer: Option<Peer>,
    /// Who may connect, and what they may do.
    pub auth: Auth,
    /// Whom this gateway keeps out by itself.
    pub bans: Bans,
    /// Where traces of messages begin.
    pub tracer: Tracer,
    /// Where traces of clients are written; `None`: there are none.
    pub trace_folder: Option<PathBuf>,
}

/// Who knows the clients, in the order in which they are asked; nobody: then everybody may do
/// everything, where the listener takes anonymous clients.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// Where clients and rules are.
    pub sources: Vec<AuthSource>,
    /// How often in a row one name from one address may fail to log in before it has to wait, 1 s
    /// and each time twice as long, up to a minute; 0: it never has to.
    pub max_failures: u32,
    /// Logins of one address that are looked at at the same time; 0: any number.
    pub max_logins_per_address: usize,
    /// Whether there is a listener where a certificate with a user name is enough.
    pub believes_certificates: bool,
}

impl Auth {
    /// Reads the files that it names, as the gateway will.
    ///
    /// # Errors
    ///
    /// The first one that cannot be used.
    pub fn check(&self) -> Result<(), crate::AuthError> {
        crate::auth::Guard::open(self).map(drop)
    }
}

/// Something that knows clients, or rules, or both.
#[derive(Clone, Debug)]
pub enum AuthSource {
    /// A file of users and rules.
    File(PathBuf),
    /// A server that is asked.
    Http(HttpSource),
    /// Tokens that clients bring.
    Jwt(JwtSource),
    /// Users and rules in Redis.
    Redis(Box<RedisUsers>),
    /// Users and rules in a database.
    Sql(Box<SqlUsers>),
}

/// Where a gateway of a cluster listens for other nodes' messages.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address.
    pub bind: SocketAddr,
    /// Host by which others reach that; empty for the address that was bound.
    pub advertise: String,
}

/// Where a cluster's sessions are.
#[derive(Clone)]
pub struct Redis {
    /// `host:port` of the server, of the sentinels, or of some nodes of the Redis Cluster.
    pub addresses: Vec<String>,
    /// What kind of Redis it is.
    pub mode: RedisMode,
    /// Who logs in, and with which password; empty for nobody and none.
    pub username: String,
    /// The password.
    pub password: String,
    /// Who logs in to the sentinels, and with which password; empty for nobody and none.
    pub sentinel_username: String,
    /// The password.
    pub sentinel_password: String,
    /// TLS to the servers and to the sentinels; `None`: there is none.
    pub tls: Option<ClientTls>,
    /// The database.
    pub db: u32,
    /// What each key begins with.
    pub prefix: String,
    /// How long it may take for an answer.
    pub timeout: Duration,
    /// Replicas that must have a write before it counts as safe.
    pub wait_replicas: u32,
}

/// What kind of Redis it is.
#[derive(Clone, Debug)]
pub enum RedisMode {
    /// One server.
    Single,
    /// A server of this name and its replicas, watched over by sentinels.
    Sentinel(String),
    /// Redis Cluster.
    Cluster,
}

impl Redis {
    /// Looks for what cannot work, whether Redis is there or not.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let config =
            redis::Config::of(self, Quota::default()).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the password.
        let mut shown = f.debug_struct("Redis");
        shown
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// One listening address.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Transport, by its name in the configuration.
    pub transport: Transport,
    /// Where to listen.
    pub address: Address,
    /// Certificate and key for [`Transport::Tls`] and [`Transport::Wss`].
    pub tls: Option<Tls>,
    /// URL path of a WebSocket; `None` takes any.
    pub path: Option<String>,
    /// Origins of web pages that may open a WebSocket, besides those of the broker's own host;
    /// `*` is all.
    pub origins: Vec<String>,
    /// Networks whose connections begin with a PROXY protocol header (v1 or v2). A connection
    /// from any other address is taken as it comes.
    pub proxy_from: Vec<Network>,
    /// Connections at once; zero is no limit.
    pub max_connections: usize,
    /// Connections at once from one address; zero is no limit.
    pub max_connections_per_address: usize,
    /// Connections a second, and of one address (IPv6: one network, /64); zero is no limit. As many as
    /// in a second may come at once; of the others those of one address are closed, the rest wait.
    pub connection_rate: u64,
    /// Those of one address.
    pub connection_rate_per_address: u64,
    /// Publishes of each client.
    pub client_publish: Rates,
    /// Publishes of all its clients together.
    pub listener_publish: Rates,
    /// Whether a client may connect without credentials.
    pub allow_anonymous: bool,
}

/// How fast publishes may come; 0 is no limit. As many as in a second may come at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// PUBLISH packets a second.
    pub messages: u64,
    /// Their bytes a second.
    pub bytes: u64,
}

/// How bytes reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the transports' names")]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
    Unix,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and port; port 0 takes a free one.
    Socket(SocketAddr),
    /// The path of a Unix socket.
    Path(PathBuf),
}

/// Where a TLS listener's identity is, and whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities that a client certificate must come from, PEM; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// What these authorities have revoked: lists in PEM, or one in DER.
    pub client_crl: Option<PathBuf>,
    /// Who a client is by its certificate; `None` if that does not say it.
    pub client_name: Option<ClientName>,
}

/// An address range, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address in the range.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl std::str::FromStr for Network {
    type Err = String;

    /// As in `10.0.0.0/8` or `fd00::/8`; an address alone is a range of one.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
            (prefix <= longest).then_some(Self { address, prefix })
        });
        parsed.ok_or_else(|| format!("{text:?} is not a network: write 10.0.0.0/8 or fd00::/8"))
    }
}

/// Limits; each one that a client should know is in its CONNACK.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest packet taken, in bytes (5 to 268,435,460).
    pub maximum_packet_size: u32,
    /// Largest CONNECT taken, in bytes.
    pub maximum_connect_size: u32,
    /// Time from accepting a connection to its whole CONNECT.
    pub connect_timeout: Duration,
    /// QoS 1 and 2 publishes that a client may have unacknowledged.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages on their way to one client, if it does not ask for fewer.
    pub max_inflight: u16,
    /// Topic aliases that a client may use.
    pub topic_alias_maximum: u16,
    /// Topic aliases that the broker uses towards a client, if that takes so many.
    pub topic_alias_out: u16,
    /// Levels of a topic name or filter.
    pub max_topic_levels: usize,
    /// Bytes of a topic name or filter.
    pub max_topic_length: usize,
    /// User properties of one packet.
    pub max_user_properties: usize,
    /// Highest QoS taken.
    pub maximum_qos: Qos,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_available: bool,
    /// Whether subscription identifiers may be used.
    pub subscription_ids_available: bool,
    /// Whether `$share` may be used.
    pub shared_available: bool,
    /// Oldest protocol level taken: 3, 4 or 5.
    pub minimum_protocol_version: u8,
    /// Longest keep alive; a longer or missing one becomes this (5.0), 0 is no limit.
    pub server_keep_alive: u16,
    /// Longest session expiry, in seconds.
    pub session_expiry: u32,
    /// Longest life of a message, in seconds; 0 is no limit.
    pub message_expiry: u32,
    /// Messages in one session's queue.
    pub max_queued_messages: usize,
    /// Bytes in one session's queue, as far as it is in memory.
    pub max_queued_bytes: usize,
    /// Bytes waiting for one connection's socket before QoS 0 messages are dropped for it.
    pub max_outbox_bytes: usize,
    /// How long a connection may take nothing of what waits for it.
    pub stuck_timeout: Duration,
    /// Retained messages.
    pub max_retained: usize,
    /// Bytes of all of them together, as they are stored; 0 is no limit.
    pub max_retained_bytes: u64,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Sessions, connected or not.
    pub max_sessions: usize,
    /// Sessions of one user, connected or not; 0 is no limit.
    pub max_sessions_per_user: usize,
    /// Resident memory of the process, in bytes; 0 is what the system allows it, if that is limited,
    /// otherwise [`LEAST_MEMORY`] at least.
    pub memory: u64,
    /// Publishes of all connections of one user.
    pub user_publish: Rates,
}

/// The least memory that a limit may leave: a node of a cluster has half of it before anybody
/// connects, and at four fifths nobody is let in.
pub const LEAST_MEMORY: u64 = 64 << 20;

impl Limits {
    /// What the decoder of packets is told.
    pub(crate) fn decoding(&self) -> mqtt::Limits {
        mqtt::Limits {
            max_user_properties: self.max_user_properties,
            topics: self.topics(),
        }
    }

    /// What there may be of retained messages.
    pub(crate) fn retained(&self) -> Quota {
        Quota {
            messages: self.max_retained as u64,
            bytes: match self.max_retained_bytes {
                0 => u64::MAX,
                bytes => bytes,
            },
        }
    }

    /// Bounds on topic names and filters.
    pub(crate) fn topics(&self) -> Bounds {
        Bounds {
            levels: self.max_topic_levels,
            length: self.max_topic_length,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_packet_size: 1024 * 1024,
            maximum_connect_size: 64 * 1024,
            connect_timeout: Duration::from_secs(5),
            receive_maximum: 1024,
            max_inflight: 1024,
            topic_alias_maximum: 32,
            topic_alias_out: 32,
            max_topic_levels: 128,
            max_topic_length: 4096,
            max_user_properties: 64,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            minimum_protocol_version: 3,
            server_keep_alive: 0,
            session_expiry: u32::MAX,
            message_expiry: 0,
            max_queued_messages: 100_000,
            max_queued_bytes: 64 * 1024 * 1024,
            max_outbox_bytes: 4 * 1024 * 1024,
            stuck_timeout: Duration::from_secs(30),
            max_retained: 1_000_000,
            max_retained_bytes: 1 << 30,
            max_subscriptions: 100_000,
            max_sessions: 10_000_000,
            max_sessions_per_user: 0,
            memory: 0,
            user_publish: Rates::default(),
        }
    }
}

/// How the broker treats sessions and messages.
#[derive(Clone, Debug, Default)]
pub struct SessionPolicy {
    /// What happens to a session whose queue is full.
    pub on_full: OnFull,
    /// Whether QoS 0 messages are queued for a session without a connection.
    pub queue_qos0: bool,
    /// Response Information for clients that ask for it.
    pub response_information: Option<String>,
}

/// What happens when a message does not fit in a session's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The session ends, so that its next Session Present is 0: no loss is hidden.
    #[default]
    EndSession,
    /// The new message is not queued, and its publisher is told (0x97).
    Reject,
    /// The oldest queued message is dropped and counted.
    DropOldest,
}

/// How a shared subscription picks the member that gets a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareStrategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same one until it goes away.
    Sticky,
    /// By a hash of the publisher's client identifier.
    HashClient,
    /// By a hash of the topic.
    HashTopic,
    /// One on this node before any other; in turn among them.
    Local,
}
