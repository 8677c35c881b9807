//! Listeners: the list, and the simple keys (`tcp`, `ws`, …) that stand for one each.

use super::{Chosen, Config, filled};
use gatemq_gateway::config::{self as gateway, Address, Transport};
use gatemq_node::address::Listen;
use gatemq_node::config::{Number, Problem};
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
    pub tls: Tls,
    pub proxy_from: Vec<Network>,
    pub max_connections: Number<0, 1_000_000_000>,
    pub max_connections_per_address: Number<0, 1_000_000_000>,
    pub allow_anonymous: bool,
}

/// Where a listener's TLS identity is; empty: that of `tls-cert`, `tls-key` and `tls-client-ca`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    pub client_ca: String,
}

/// An address range, as in `10.0.0.0/8`; without a length it is one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub gateway::Network);

/// All listeners of a configuration, each with its key.
pub(super) fn all(config: &Config) -> Result<Vec<(String, gateway::Listener)>, Problem> {
    let mut listeners: Vec<(String, gateway::Listener)> = Vec::new();
    let simple = simple(config)
        .into_iter()
        .map(|(key, listener)| (key.to_owned(), listener));
    let listed = config.listeners.iter().cloned().enumerate();
    let listed = listed.map(|(index, listener)| (format!("listeners[{index}]"), listener));
    for (key, listener) in simple.chain(listed) {
        let address_key = match key.ends_with(']') {
            true => format!("{key}.address"),
            false => key.clone(),
        };
        let built = build(config, &listener, &key, &address_key)?;
        let taken =
            |(_, other): &&(String, gateway::Listener)| same(&built.address, &other.address);
        if let Some((other, _)) = listeners.iter().find(taken) {
            let what =
                format!("is the address of {other} already: change one, or write {other}: \"\"");
            return Err(Problem::new(address_key, what));
        }
        listeners.push((key, built));
    }
    Ok(listeners)
}

/// Reads the TLS files that the listeners name, as the gateway will.
pub(super) fn check_identities(config: &Config) -> Result<(), Problem> {
    for (key, listener) in all(config)? {
        let Some(gateway::Tls {
            certificate,
            key: private,
            client_ca,
        }) = listener.tls
        else {
            continue;
        };
        let shared = !key.ends_with(']') || certificate.as_os_str() == config.tls_cert.as_str();
        let paths = Paths {
            certificate,
            key: private,
            client_ca,
        };
        let Err(error) = Identity::load(paths.clone()) else {
            continue;
        };
        let [own, alike] = match error.file() {
            file if file == paths.key => ["key", "tls-key"],
            file if file == paths.certificate => ["certificate", "tls-cert"],
            _ => ["client-ca", "tls-client-ca"],
        };
        let key = if shared {
            alike.to_owned()
        } else {
            format!("{key}.tls.{own}")
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

fn build(
    config: &Config,
    listener: &Listener,
    key: &str,
    address_key: &str,
) -> Result<gateway::Listener, Problem> {
    let transport = listener.transport.0;
    let address = address(listener, address_key)?;
    let tls = tls(config, listener, key)?;
    if !listener.path.is_empty() && !matches!(transport, Transport::Ws | Transport::Wss) {
        let what = "is for ws and wss only (a Unix socket's path is its address)";
        return Err(Problem::new(format!("{key}.path"), what));
    }
    let known_clients = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let is_local = match &address {
        Address::Socket(address) => is_local(*address),
        Address::Path(_) => true,
    };
    let allow_anonymous =
        config.allow_anonymous || listener.allow_anonymous || is_local || known_clients;
    if !allow_anonymous {
        let (name, address) = (listener.transport.name(), &listener.address);
        let what = format!(
            "the {name} listener {address} takes clients from other machines without credentials: \
             if that is meant, say so by --allow-anonymous (or allow-anonymous: true)"
        );
        return Err(Problem::new(address_key, what));
    }
    Ok(gateway::Listener {
        transport,
        address,
        tls,
        path: filled(&listener.path),
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
        allow_anonymous,
    })
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

fn tls(config: &Config, listener: &Listener, key: &str) -> Result<Option<gateway::Tls>, Problem> {
    let own = &listener.tls;
    if !matches!(listener.transport.0, Transport::Tls | Transport::Wss) {
        return match *own == Tls::default() {
            true => Ok(None),
            false => Err(Problem::new(
                format!("{key}.tls"),
                "is for the transports tls and wss only",
            )),
        };
    }
    let shared = Tls {
        certificate: config.tls_cert.clone(),
        key: config.tls_key.clone(),
        client_ca: config.tls_client_ca.clone(),
    };
    let identity = if *own == Tls::default() { &shared } else { own };
    if identity.certificate.is_empty() || identity.key.is_empty() {
        let what = "needs a certificate and its key: set tls-cert and tls-key (or, in listeners, \
                    tls: { certificate: …, key: … })";
        return Err(Problem::new(key, what));
    }
    Ok(Some(gateway::Tls {
        certificate: identity.certificate.as_str().into(),
        key: identity.key.as_str().into(),
        client_ca: filled(&identity.client_ca),
    }))
}

/// Whether only this machine's clients can reach the address.
pub(super) fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether two listeners cannot both have their address; port 0 is never the same twice.
fn same(one: &Address, other: &Address) -> bool {
    let port = |address: &Address| match address {
        Address::Socket(address) => address.port(),
        Address::Path(_) => 1,
    };
    one == other && port(one) != 0
}

// === impl Listener ===

impl Default for Listener {
    fn default() -> Self {
        Self {
            transport: Chosen(Transport::Tcp),
            address: String::new(),
            path: String::new(),
            tls: Tls::default(),
            proxy_from: Vec::new(),
            max_connections: Number::new(0),
            max_connections_per_address: Number::new(0),
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
            address,
            proxy_from: vec![Network(network)],
            ..Self::default()
        }
    }
}

// === impl Network ===

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (address, prefix) = text
            .split_once('/')
            .map_or((&*text, None), |(a, p)| (a, Some(p)));
        let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
            (prefix <= longest).then_some(Self(gateway::Network { address, prefix }))
        });
        parsed.ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not a network: write 10.0.0.0/8 or fd00::/8"
            ))
        })
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.0.address, self.0.prefix))
    }
}
