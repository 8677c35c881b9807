//! Connecting to other nodes: in plain, or with this node's certificate and a look at theirs.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::Credentials;
use super::certificate;
use super::identity::{Identity, Role};

/// Who connects to other nodes. Without credentials connections are plain.
#[derive(Clone, Debug, Default)]
pub struct Dialer(Option<Arc<Credentials>>);

/// Whom a connection is for; anybody else is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whom {
    roles: Vec<Role>,
    node: Option<String>,
}

/// Another node was found than the one that was called.
#[derive(Debug, thiserror::Error)]
#[error("at {address} is {found}, and {} was called", whom.in_words())]
struct Unexpected {
    address: String,
    found: Identity,
    whom: Whom,
}

// === impl Whom ===

impl Whom {
    /// Any node of a role.
    pub fn any(role: Role) -> Self {
        Self::any_of(&[role])
    }

    /// Any node that has one of these roles.
    pub fn any_of(roles: &[Role]) -> Self {
        Self {
            roles: roles.to_vec(),
            node: None,
        }
    }

    /// The node of this name, in a role.
    pub fn node(role: Role, name: &str) -> Self {
        Self {
            roles: vec![role],
            node: Some(name.to_owned()),
        }
    }

    fn is(&self, found: &Identity) -> bool {
        let mut roles = self.roles.iter();
        roles.any(|role| found.roles.has(*role))
            && self.node.as_ref().is_none_or(|name| *name == found.node)
    }

    fn in_words(&self) -> String {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        let roles = roles.join(" or ");
        match &self.node {
            Some(name) => format!("{name}, as {roles},"),
            None => format!("a node that is {roles}"),
        }
    }
}

// === impl Dialer ===

impl Dialer {
    /// One that shows these credentials.
    pub fn new(credentials: Option<Arc<Credentials>>) -> Self {
        Self(credentials)
    }

    /// What it shows, if it shows any.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.0.clone()
    }

    /// A channel that connects when it is used, and again after it broke.
    pub fn connect_lazy(&self, endpoint: &Endpoint, whom: &Whom) -> Channel {
        match &self.0 {
            None => endpoint.connect_lazy(),
            Some(credentials) => {
                let (credentials, whom) = (credentials.clone(), whom.clone());
                endpoint.connect_with_connector_lazy(service_fn(move |uri| {
                    connect(credentials.clone(), whom.clone(), uri)
                }))
            }
        }
    }

    /// A channel that is connected.
    ///
    /// # Errors
    ///
    /// Nobody is there in time, or somebody else.
    pub async fn connect(&self, endpoint: &Endpoint, whom: &Whom) -> Result<Channel, Error> {
        match &self.0 {
            None => endpoint.connect().await,
            Some(credentials) => {
                let (credentials, whom) = (credentials.clone(), whom.clone());
                let connector =
                    service_fn(move |uri| connect(credentials.clone(), whom.clone(), uri));
                endpoint.connect_with_connector(connector).await
            }
        }
    }
}

/// Connects by TCP and TLS, with the certificates of now. The endpoint bounds the time.
async fn connect(
    credentials: Arc<Credentials>,
    whom: Whom,
    uri: Uri,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let address = uri.authority().map_or("", |authority| authority.as_str());
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Not sent, and not compared: certificates name nodes, not hosts.
    let name = ServerName::try_from("gatemq").map_err(io::Error::other)?;
    let connector = TlsConnector::from(credentials.client_config());
    let stream = connector.connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(|chain| chain.first());
    let shown = shown.ok_or_else(|| io::Error::other("it shows no certificate"))?;
    let found = certificate::read(shown).map_err(io::Error::other)?.identity;
    match whom.is(&found) {
        true => Ok(TokioIo::new(stream)),
        false => Err(io::Error::other(Unexpected {
            address: address.to_owned(),
            found,
            whom,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_and_node_have_to_be_those_that_are_called() {
        let found: Identity = "gatemq://c/control+gateway/n1".parse().unwrap();
        for (whom, is_it) in [
            (Whom::any(Role::Control), true),
            (Whom::any(Role::Gateway), true),
            (Whom::any(Role::Bridge), false),
            (Whom::any_of(&[Role::Bridge, Role::Gateway]), true),
            (Whom::node(Role::Control, "n1"), true),
            (Whom::node(Role::Control, "n2"), false),
            (Whom::node(Role::Control, "N1"), false),
            (Whom::node(Role::Bridge, "n1"), false),
        ] {
            assert_eq!(whom.is(&found), is_it, "{whom:?}");
        }
    }
}
