//! Listeners: addresses bound, connections accepted, each handed to [`crate::connection`].
//!
//! On the way: [`admission`] counts, [`pace`] slows down, [`proxy`] reads the PROXY header of a load
//! balancer, [`certificate`] who the client is by its certificate, [`websocket`] makes a stream of
//! bytes out of WebSocket messages, and [`turned_away`] says whom none of them let through.

pub(crate) mod admission;
pub(crate) mod certificate;
pub(crate) mod old_lists;
mod pace;
pub(crate) mod proxy;
mod turned_away;
pub(crate) mod websocket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::address;
use gatemq_node::tls::{Identity, IdentityError, Paths};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::broker::Broker;
use crate::config::{Address, Listener, Transport};
use crate::connection::Connection;
use crate::connection::handshake::{Accepted, Named, Peer};
use crate::connection::stream::Stream;
use crate::metrics::Limit;
use crate::rate::Meter;
use admission::{Admission, Full};
use certificate::NoName;
use pace::Pace;
use turned_away::TurnedAway;

/// Connections that the system may keep waiting for `accept`.
const BACKLOG: i32 = 4096;
/// How often it is said that connections cannot be accepted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A listener whose address is bound.
pub(crate) struct Bound {
    config: Listener,
    socket: BoundSocket,
    identity: Option<Arc<Identity>>,
}

enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error(
        "{transport} listener: cannot listen on {address}: {error}; choose another address, or stop what listens there"
    )]
    Address {
        /// The listener's transport.
        transport: &'static str,
        /// Its address.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Its certificate or key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It needs a certificate and has none.
    #[error("{transport} listener {address}: needs a certificate and a key")]
    NoIdentity {
        /// The listener's transport.
        transport: &'static str,
        /// Its address.
        address: String,
    },
}

impl Transport {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Bound {
    /// Binds a listener's address and reads its certificate.
    pub(crate) fn bind(config: &Listener) -> Result<Self, BindError> {
        let transport = config.transport.name();
        let failed = |error| BindError::Address {
            transport,
            address: config.address.to_string(),
            error,
        };
        let identity = match &config.tls {
            Some(tls) if config.transport.is_encrypted() => {
                Some(Arc::new(Identity::load(Paths {
                    certificate: tls.certificate.clone(),
                    key: tls.key.clone(),
                    client_ca: tls.client_ca.clone(),
                    client_crl: tls.client_crl.clone(),
                })?))
            }
            None if config.transport.is_encrypted() => {
                return Err(BindError::NoIdentity {
                    transport,
                    address: config.address.to_string(),
                });
            }
            _ => None,
        };
        let socket = match &config.address {
            Address::Socket(address) => {
                BoundSocket::Tcp(address::bind(*address, bind_tcp).map_err(failed)?)
            }
            Address::Path(path) => {
                BoundSocket::Unix(bind_unix(path).map_err(failed)?, path.clone())
            }
        };
        Ok(Self {
            config: config.clone(),
            socket,
            identity,
        })
    }

    pub(crate) fn transport(&self) -> Transport {
        self.config.transport
    }

    /// Where it listens, with the port that it got.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            BoundSocket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.to_string(),
                Err(_) => self.config.address.to_string(),
            },
            BoundSocket::Unix(_, path) => path.display().to_string(),
        }
    }

    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.clone()
    }

    /// Accepts connections until the gateway drains.
    pub(crate) async fn serve(self, broker: Arc<Broker>) {
        let name = format!("{} {}", self.config.transport.name(), self.address());
        let listener = Arc::new(Accepting {
            name: name.into(),
            admission: Admission::new(
                self.config.max_connections,
                self.config.max_connections_per_address,
            ),
            pace: Pace::new(
                self.config.connection_rate,
                self.config.connection_rate_per_address,
                broker.clock.now(),
            ),
            publishes: Meter::new(
                self.config.listener_publish,
                [Limit::ListenerPublishRate, Limit::ListenerPublishBytes],
                broker.clock.now(),
            )
            .map(|meter| Arc::new(Mutex::new(meter))),
            config: self.config,
            identity: self.identity,
        });
        let mut warned_at = None;
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.socket) => accepted,
                () = broker.draining.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    if !listener.is_welcome(&broker, address) {
                        continue;
                    }
                    let waiting = listener.wait(&broker);
                    tokio::select! {
                        () = waiting => {}
                        () = broker.draining.cancelled() => break,
                    }
                    let serving = serve(broker.clone(), listener.clone(), stream, address);
                    broker.tasks.spawn(serving);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, mostly: some will be free again.
                    if warned_at.is_none_or(|at: Instant| at.elapsed() > WARN_EVERY) {
                        warned_at = Some(Instant::now());
                        tracing::warn!(%error, "cannot accept connections; trying on");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(100)) => {}
                        () = broker.draining.cancelled() => break,
                    }
                }
            }
        }
        if let BoundSocket::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path); // it may be gone already
        }
    }
}

/// What the tasks of a listener's connections share.
struct Accepting {
    /// Its transport and address.
    name: Arc<str>,
    config: Listener,
    identity: Option<Arc<Identity>>,
    admission: Arc<Admission>,
    pace: Pace,
    /// Of all its clients together.
    publishes: Option<Arc<Mutex<Meter>>>,
}

impl Accepting {
    /// Whether a connection from this address may come now, as far as the address is the client's. One
    /// that may not is closed without a word, and takes no turn of the others.
    fn is_welcome(&self, broker: &Broker, address: Option<SocketAddr>) -> bool {
        let address = address.map(|address| address.ip());
        let is_own = |from: &IpAddr| !proxy::is_listed(&self.config.proxy_from, *from);
        let is_welcome = address
            .filter(is_own)
            .is_none_or(|address| self.count(broker, address));
        if !is_welcome {
            broker.metrics.connections_refused.inc(None);
        }
        is_welcome
    }

    /// Counts a connection of a client, unless there are too many from its address.
    fn count(&self, broker: &Broker, address: IpAddr) -> bool {
        let is_admitted = self.pace.admit(address, broker.clock.now());
        if !is_admitted {
            let limit = Limit::ConnectionRatePerAddress;
            broker.metrics.limits_hit.inc(limit);
        }
        is_admitted
    }

    /// Until another connection may come. Those behind it wait in the system's queue meanwhile.
    async fn wait(&self, broker: &Broker) {
        let millis = self.pace.wait(broker.clock.now());
        if millis > 0 {
            broker.metrics.limits_hit.inc(Limit::ConnectionRate);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Takes a place for a connection.
    fn admit(
        &self,
        broker: &Broker,
        address: Option<IpAddr>,
    ) -> Result<admission::Admitted, String> {
        self.admission.admit(address).map_err(|full| {
            broker.metrics.limits_hit.inc(match full {
                Full::All => Limit::MaxConnections,
                Full::Address => Limit::MaxConnectionsPerAddress,
            });
            "too many connections".to_owned()
        })
    }
}

enum Raw {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(socket: &BoundSocket) -> io::Result<(Raw, Option<SocketAddr>)> {
    match socket {
        BoundSocket::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            Ok((Raw::Tcp(stream), Some(address)))
        }
        BoundSocket::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            Ok((Raw::Unix(stream), None))
        }
    }
}

/// Serves one connection, from its first byte to its last.
async fn serve(
    broker: Arc<Broker>,
    listener: Arc<Accepting>,
    raw: Raw,
    address: Option<SocketAddr>,
) {
    let deadline = Instant::now() + broker.config.limits.connect_timeout;
    // The handshakes are boxed: what they need is gone when the connection idles.
    let opening = Box::pin(open(broker, &listener, raw, address, deadline));
    let Some((connection, admitted)) = opening.await else {
        return;
    };
    drop(listener);
    connection.run().await;
    drop(admitted);
}

async fn open(
    broker: Arc<Broker>,
    listener: &Accepting,
    raw: Raw,
    address: Option<SocketAddr>,
    deadline: Instant,
) -> Option<(Box<Connection>, admission::Admitted)> {
    let port = address.map(|address| address.port());
    let address = address.map(|address| address.ip());
    let mut peer = Peer {
        // An IPv4 address is one, whichever kind of socket it reached.
        address: address.map(|address| address.to_canonical()),
        port,
        listener: listener.name.clone(),
        allow_anonymous: listener.config.allow_anonymous,
        named: None,
    };
    let preparing = prepare(&broker, listener, raw, address, &mut peer);
    let prepared = match tokio::time::timeout_at(deadline, preparing).await {
        Ok(prepared) => prepared,
        Err(_) => Err("the handshake took too long".to_owned().into()),
    };
    match prepared {
        Ok((stream, socket, admitted)) => {
            let accepted = Accepted {
                stream,
                socket,
                peer,
                listener: listener.publishes.clone(),
                client_publish: listener.config.client_publish,
                deadline,
            };
            let connection = Connection::open(broker, accepted).await?;
            Some((connection, admitted))
        }
        Err(turned_away) => {
            turned_away.tell(&broker, &peer);
            None
        }
    }
}

type Prepared = (
    Stream,
    Option<Arc<crate::session::link::Socket>>,
    admission::Admitted,
);

/// Everything before the first byte of MQTT.
async fn prepare(
    broker: &Broker,
    listener: &Accepting,
    raw: Raw,
    address: Option<IpAddr>,
    peer: &mut Peer,
) -> Result<Prepared, TurnedAway> {
    let config = &listener.config;
    let mut stream = match raw {
        Raw::Unix(stream) => {
            let admitted = listener.admit(broker, None)?;
            let (stream, socket) = Stream::unix(stream);
            return Ok((stream, socket, admitted));
        }
        Raw::Tcp(stream) => stream,
    };
    let _ = stream.set_nodelay(true); // a socket that is gone already says so soon enough
    if let Some(from) = address
        && proxy::is_listed(&config.proxy_from, from)
    {
        let named = proxy::read(&mut stream).await?;
        peer.address = named.map(|named| named.to_canonical()).or(peer.address);
        peer.port = peer.port.filter(|_| named.is_none());
        if named.is_some_and(|named| !listener.count(broker, named)) {
            return Err("too many connections a second from its address"
                .to_owned()
                .into());
        }
    }
    // A handshake costs more than it is worth to say no; who speaks MQTT at once is told by CONNACK.
    if config.transport != Transport::Tcp && broker.bans.check_address(peer.address).is_err() {
        return Err(TurnedAway::by_ban());
    }
    let admitted = listener.admit(broker, peer.address)?;
    let largest = broker.config.limits.maximum_packet_size;
    let failed = |error: io::Error| TurnedAway::by_tls(&error);
    let (stream, socket) = match (config.transport, &listener.identity) {
        (Transport::Tcp | Transport::Unix, _) => Stream::tcp(stream),
        (Transport::Ws, _) => Stream::owned(websocket::accept(stream, config, largest).await?),
        (Transport::Tls, Some(identity)) => {
            let acceptor = TlsAcceptor::from(identity.server_config());
            let stream = acceptor.accept(stream).await.map_err(failed)?;
            peer.named = named(config, &stream);
            Stream::owned(stream)
        }
        (Transport::Wss, Some(identity)) => {
            let acceptor = TlsAcceptor::from(identity.server_config());
            let stream = acceptor.accept(stream).await.map_err(failed)?;
            peer.named = named(config, &stream);
            Stream::owned(websocket::accept(stream, config, largest).await?)
        }
        (Transport::Tls | Transport::Wss, None) => return Err("no certificate".to_owned().into()),
    };
    Ok((stream, socket, admitted))
}

/// What the client's certificate says of who it is, where the listener asks for that. What a PROXY
/// header says of certificates is not looked at.
fn named(config: &Listener, stream: &TlsStream<TcpStream>) -> Option<Result<Named, NoName>> {
    let terms = config.tls.as_ref()?.client_name?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let read = match chain {
        [own, ..] => certificate::name(own, terms.by),
        [] => Err(NoName::NoCertificate),
    };
    Some(read.map(|username| Named { username, terms }))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?; // all interfaces means IPv4, too
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds a Unix socket; one that nobody listens on any more is replaced.
fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_stale = std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_stale {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether the error is of a connection that ended before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
