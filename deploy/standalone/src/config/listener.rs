//! Listeners: the list, and the simple keys (`tcp`, `ws`, …) that stand for one each.

use super::limits::rates;
use super::{Chosen, Config, filled};
use gatemq_gateway::config::{self as gateway, Address, ClientName, NamedBy, Transport};
use gatemq_node::address::Listen;
use gatemq_node::config::{Number, Problem, Size};
use gatemq_node::tls::{Identity, Paths};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::net::{IpAddr, SocketAddr};

/// One entry of `listeners`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Listener {
    pub transport: Chosen<Transport>,
    pub address: String,
    pub path: String,
    pub origins: Vec<String>,
    pub tls: Tls,
    pub proxy_from: Vec<Network>,
    pub max_connections: Number<0, 1_000_000_000>,
    pub max_connections_per_address: Number<0, 1_000_000_000>,
    pub connection_rate: Number<0, 1_000_000_000>,
    pub connection_rate_per_address: Number<0, 1_000_000_000>,
    pub client_publish_rate: Number<0, 1_000_000_000>,
    pub client_publish_bytes: Size<0, { 1 << 40 }>,
    pub listener_publish_rate: Number<0, 1_000_000_000>,
    pub listener_publish_bytes: Size<0, { 1 << 40 }>,
    pub allow_anonymous: bool,
}

/// Where a listener's TLS identity is; empty: that of `tls-cert`, `tls-key`, `tls-client-ca` and
/// `tls-client-crl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    pub client_ca: String,
    pub client_crl: String,
    pub username: Chosen<Option<NamedBy>>,
    pub username_is_client_id: bool,
    pub password: bool,
}

/// An address range, as in `10.0.0.0/8`; without a length it is one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub gateway::Network);

/// Where a listener stands in the configuration.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A key of its own, such as `tcp`.
    Simple(&'static str),
    /// An element of `listeners`.
    Listed(usize),
}

/// All listeners of a configuration.
pub(super) fn all(config: &Config) -> Result<Vec<gateway::Listener>, Problem> {
    wanted(config)
        .map(|(place, listener)| build(config, &listener, place))
        .collect()
}

/// The keys of their addresses, in the same order.
pub(super) fn keys(config: &Config) -> impl Iterator<Item = String> {
    wanted(config).map(|(place, _)| place.address())
}

/// The listeners as they are written: those of the simple keys, then those of the list.
fn wanted(config: &Config) -> impl Iterator<Item = (Place, Listener)> {
    let simple = simple(config).into_iter();
    let simple = simple.map(|(key, listener)| (Place::Simple(key), listener));
    let listed = config.listeners.iter().cloned().enumerate();
    simple.chain(listed.map(|(index, listener)| (Place::Listed(index), listener)))
}

/// Reads the TLS files that the listeners name, as the gateway will.
pub(super) fn check_identities(config: &Config) -> Result<(), Problem> {
    for (place, listener) in wanted(config) {
        let Some(tls) = build(config, &listener, place)?.tls else {
            continue;
        };
        let paths = Paths {
            certificate: tls.certificate,
            key: tls.key,
            client_ca: tls.client_ca,
            client_crl: tls.client_crl,
        };
        let Err(error) = Identity::load(paths.clone()) else {
            continue;
        };
        let own = &listener.tls;
        let (is_own, name, shared) = match error.file() {
            file if file == paths.key => (!own.key.is_empty(), "key", "tls-key"),
            file if file == paths.certificate => {
                (!own.certificate.is_empty(), "certificate", "tls-cert")
            }
            file if Some(file) == paths.client_crl.as_deref() => {
                (!own.client_crl.is_empty(), "client-crl", "tls-client-crl")
            }
            _ => (!own.client_ca.is_empty(), "client-ca", "tls-client-ca"),
        };
        let key = if is_own {
            format!("{place}.tls.{name}")
        } else {
            shared.to_owned()
        };
        return Err(Problem::new(key, error.to_string()));
    }
    Ok(())
}

/// The listeners that the simple keys stand for.
fn simple(config: &Config) -> Vec<(&'static str, Listener)> {
    let of = |transport, address: String| {
        (!address.is_empty()).then(|| Listener {
            transport: Chosen(transport),
            address,
            ..Listener::default()
        })
    };
    [
        ("tcp", of(Transport::Tcp, config.tcp.to_string())),
        ("ws", of(Transport::Ws, config.ws.to_string())),
        ("tls", of(Transport::Tls, config.tls.to_string())),
        ("wss", of(Transport::Wss, config.wss.to_string())),
        ("unix", of(Transport::Unix, config.unix.clone())),
    ]
    .into_iter()
    .filter_map(|(key, listener)| Some((key, listener?)))
    .collect()
}

fn build(config: &Config, listener: &Listener, place: Place) -> Result<gateway::Listener, Problem> {
    let transport = listener.transport.0;
    let address = address(listener, &place.address())?;
    let tls = tls(config, listener, place)?;
    let is_websocket = matches!(transport, Transport::Ws | Transport::Wss);
    let problem = |key: &str, what: &str| Err(Problem::new(format!("{place}.{key}"), what));
    if !listener.path.is_empty() && !is_websocket {
        let what = "is for ws and wss only (a Unix socket's path is its address)";
        return problem("path", what);
    }
    if !listener.path.is_empty() && !listener.path.starts_with('/') {
        return problem("path", "a URL path begins with /");
    }
    if !listener.origins.is_empty() && !is_websocket {
        return problem("origins", "is for ws and wss only");
    }
    if !listener.proxy_from.is_empty() && transport == Transport::Unix {
        return problem("proxy-from", "is not for unix: nobody is in between there");
    }
    // Behind a proxy the clients are elsewhere, wherever the listener is.
    let is_local = match &address {
        Address::Socket(address) => is_local(*address) && listener.proxy_from.is_empty(),
        Address::Path(_) => true,
    };
    let known_clients = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let is_asked_for = config.allow_anonymous || listener.allow_anonymous;
    // Where clients are known, one that says nothing of itself comes in nowhere by accident.
    let is_guarded = !config.auth.sources.is_empty();
    let allow_anonymous = is_asked_for || (!is_guarded && (is_local || known_clients));
    if !allow_anonymous && !is_guarded {
        let (name, address) = (listener.transport.name(), &listener.address);
        let what = format!(
            "the {name} listener {address} takes clients from other machines without credentials: \
             if that is meant, say so by --allow-anonymous (or allow-anonymous: true)"
        );
        return Err(Problem::new(place.address(), what));
    }
    let origins = match listener.origins.is_empty() && is_websocket {
        true => config.ws_origins.clone(),
        false => listener.origins.clone(),
    };
    let limits = &config.limits;
    Ok(gateway::Listener {
        transport,
        address,
        tls,
        path: filled(&listener.path),
        origins,
        proxy_from: listener
            .proxy_from
            .iter()
            .map(|network| network.0)
            .collect(),
        max_connections: listener.max_connections.get().unwrap_or(usize::MAX),
        max_connections_per_address: listener
            .max_connections_per_address
            .get()
            .unwrap_or(usize::MAX),
        connection_rate: or(
            number(listener.connection_rate),
            number(limits.connection_rate),
        ),
        connection_rate_per_address: or(
            number(listener.connection_rate_per_address),
            number(limits.connection_rate_per_address),
        ),
        client_publish: or_rates(
            rates(listener.client_publish_rate, listener.client_publish_bytes),
            rates(limits.client_publish_rate, limits.client_publish_bytes),
        ),
        listener_publish: or_rates(
            rates(
                listener.listener_publish_rate,
                listener.listener_publish_bytes,
            ),
            rates(limits.listener_publish_rate, limits.listener_publish_bytes),
        ),
        allow_anonymous,
    })
}

/// A listener's own limit; where it says nothing, that of all listeners.
fn or(own: u64, all: u64) -> u64 {
    if own > 0 { own } else { all }
}

fn or_rates(own: gateway::Rates, all: gateway::Rates) -> gateway::Rates {
    gateway::Rates {
        messages: or(own.messages, all.messages),
        bytes: or(own.bytes, all.bytes),
    }
}

fn number<const A: u64, const B: u64>(number: Number<A, B>) -> u64 {
    number.get().unwrap_or(u64::MAX)
}

fn address(listener: &Listener, key: &str) -> Result<Address, Problem> {
    if listener.address.is_empty() {
        return Err(Problem::new(key, "a listener needs an address"));
    }
    if listener.transport.0 == Transport::Unix {
        return Ok(Address::Path(listener.address.clone().into()));
    }
    match listener.address.parse::<Listen>() {
        Ok(Listen(Some(address))) => Ok(Address::Socket(address)),
        Ok(Listen(None)) => Err(Problem::new(key, "a listener needs an address")),
        Err(error) => Err(Problem::new(key, error.to_string())),
    }
}

fn tls(
    config: &Config,
    listener: &Listener,
    place: Place,
) -> Result<Option<gateway::Tls>, Problem> {
    let own = &listener.tls;
    if !matches!(listener.transport.0, Transport::Tls | Transport::Wss) {
        return match *own == Tls::default() {
            true => Ok(None),
            false => Err(Problem::new(
                format!("{place}.tls"),
                "is for the transports tls and wss only",
            )),
        };
    }
    // A certificate and its key belong together. Authorities hold for every listener that names
    // none of its own: a certificate of its own must not turn the question for the client's off.
    let (certificate, key) = match own.certificate.is_empty() && own.key.is_empty() {
        true => (&config.tls_cert, &config.tls_key),
        false => (&own.certificate, &own.key),
    };
    if certificate.is_empty() || key.is_empty() {
        let what = "needs a certificate and its key: set tls-cert and tls-key (or, in listeners, \
                    tls: { certificate: …, key: … })";
        return Err(Problem::new(place.to_string(), what));
    }
    let own_ca = Some(&own.client_ca).filter(|authorities| !authorities.is_empty());
    let client_ca = filled(own_ca.unwrap_or(&config.tls_client_ca));
    // Lists are of authorities: those of all listeners say nothing of a listener's own.
    let client_crl = match own_ca.is_none() && own.client_crl.is_empty() {
        true => filled(&config.tls_client_crl),
        false => filled(&own.client_crl),
    };
    if client_crl.is_some() && client_ca.is_none() {
        let key = match own.client_crl.is_empty() {
            true => "tls-client-crl".to_owned(),
            false => format!("{place}.tls.client-crl"),
        };
        let what = "says whose certificates are believed no more, and none are asked for: set \
                    client-ca (or tls-client-ca), too";
        return Err(Problem::new(key, what));
    }
    Ok(Some(gateway::Tls {
        certificate: certificate.as_str().into(),
        key: key.as_str().into(),
        client_name: client_name(config, own, client_ca.is_some())
            .map_err(|(key, what)| Problem::new(format!("{place}.tls.{key}"), what))?,
        client_ca,
        client_crl,
    }))
}

/// Who a client is by its certificate, or what is wrong with which key.
fn client_name(
    config: &Config,
    tls: &Tls,
    are_clients_verified: bool,
) -> Result<Option<ClientName>, (&'static str, &'static str)> {
    let Some(by) = tls.username.0 else {
        let no_use = "is for clients whose certificate has their user name: set username";
        return match (tls.username_is_client_id, tls.password) {
            (true, _) => Err(("username-is-client-id", no_use)),
            (_, true) => Err(("password", no_use)),
            (false, false) => Ok(None),
        };
    };
    if !are_clients_verified {
        let what =
            "anybody can write a certificate: set client-ca, whose certificates are believed";
        return Err(("username", what));
    }
    if config.auth.sources.is_empty() {
        let what = "nobody is asked who clients are and what they may do: write auth.sources, be it \
                    a file with rules alone";
        return Err(("username", what));
    }
    Ok(Some(ClientName {
        by,
        is_client_id: tls.username_is_client_id,
        needs_password: tls.password,
    }))
}

/// Whether only this machine's clients can reach the address.
pub(super) fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

// === impl Place ===

impl Place {
    /// The key of its address.
    fn address(self) -> String {
        match self {
            Self::Simple(key) => key.to_owned(),
            Self::Listed(_) => format!("{self}.address"),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simple(key) => formatter.write_str(key),
            Self::Listed(index) => write!(formatter, "listeners[{index}]"),
        }
    }
}

// === impl Listener ===

impl Default for Listener {
    fn default() -> Self {
        Self {
            transport: Chosen(Transport::Tcp),
            address: String::new(),
            path: String::new(),
            origins: Vec::new(),
            tls: Tls::default(),
            proxy_from: Vec::new(),
            max_connections: Number::new(0),
            max_connections_per_address: Number::new(0),
            connection_rate: Number::new(0),
            connection_rate_per_address: Number::new(0),
            client_publish_rate: Number::new(0),
            client_publish_bytes: Size::new(0),
            listener_publish_rate: Number::new(0),
            listener_publish_bytes: Size::new(0),
            allow_anonymous: false,
        }
    }
}

impl Listener {
    /// One with an element in each of its lists.
    pub(super) fn example() -> Self {
        let network = gateway::Network {
            address: IpAddr::from([10, 0, 0, 0]),
            prefix: 8,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1884)).to_string();
        Self {
            transport: Chosen(Transport::Ws),
            address,
            origins: vec!["https://dash.example".to_owned()],
            proxy_from: vec![Network(network)],
            allow_anonymous: true,
            ..Self::default()
        }
    }
}

// === impl Network ===

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.0.address, self.0.prefix))
    }
}
