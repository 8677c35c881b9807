//! Another broker of MQTT, both ways: what matches goes there as records go to Kafka, by a client
//! that `produce` keeps, and what that broker has for us comes in as records come from Kafka.
//!
//! In reading order: [`mapping`] which topic is which there (pure), `described` which properties go
//! along, [`forward`] what goes there (pure), `link` a connection, 5.0 or 3.1.1, `publisher` the client that sends, [`inbound`] the
//! one that receives, with `exchanges`, which takes each message of QoS 2 once (pure), and `held`, what waits (pure).
//!
//! No message circles. What came from a broker does not go back to it; what went there carries this
//! cluster's mark, and is not taken in again, nor sent anywhere when another cluster sends it back. 3.1.1 has nothing to carry a mark, so there a
//! configuration is refused by which a message could come back.

mod described;
mod exchanges;
pub mod forward;
mod held;
pub mod inbound;
mod link;
pub mod mapping;
pub(crate) mod publisher;
mod suspect;
mod under_way;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use forward::Forward;
pub use mapping::Mapping;
pub use suspect::Suspect;

/// How another broker is reached.
#[derive(Clone)]
pub struct Remote {
    /// What rules call it.
    pub name: String,
    /// Host name or address, and port.
    pub address: (String, u16),
    /// Whether 5.0 is spoken, else 3.1.1.
    pub is_v5: bool,
    /// What our clients are called there, before `-to` and `-from`; its beginning, until a node is
    /// known that they are called by.
    pub client_id: String,
    /// User name and password; no name for none.
    pub login: Option<(String, String)>,
    /// How often a sign of life is sent at least.
    pub keep_alive: Duration,
    /// With TLS: the authorities that may have signed its certificate, and our own certificate and
    /// key, all PEM.
    pub tls: Option<Tls>,
    /// What it ends connections for; to begin with, nothing.
    pub suspect: Arc<Suspect>,
}

/// What TLS needs.
#[derive(Clone)]
#[expect(missing_docs, reason = "explained where it is used")]
pub struct Tls {
    pub authorities: Vec<u8>,
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// This cluster, as a mark on what leaves it; known when the bridge is a member.
pub type Identity = Arc<OnceLock<String>>;

// === impl Remote ===

impl Remote {
    /// Calls its clients by this node and this broker: two of one name would end one another's
    /// connections.
    pub fn name_clients(&mut self, node: &str) {
        let begin = match self.client_id.as_str() {
            "" => "gatemq",
            given => given,
        };
        self.client_id = format!("{begin}-{node}-{}", self.name);
    }
}

impl fmt::Debug for Remote {
    /// Without the password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut remote = out.debug_struct("Remote");
        remote.field("name", &self.name);
        remote
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a message is marked with that leaves the cluster of this id.
#[must_use]
pub fn mark(id: &str) -> String {
    format!("{CLUSTERS}{id}")
}

/// Whether a mark is that of a cluster.
fn is_cluster(mark: &str) -> bool {
    mark.starts_with(CLUSTERS)
}

const CLUSTERS: &str = "gatemq:";

/// What is said of a message that comes from another broker.
pub(crate) fn from_mqtt(name: &str) -> String {
    format!("mqtt:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(client_id: &str, node: &str, name: &str) -> String {
        let mut remote = Remote {
            name: name.to_owned(),
            address: ("h".to_owned(), 1883),
            is_v5: true,
            client_id: client_id.to_owned(),
            login: None,
            keep_alive: Duration::from_secs(30),
            tls: None,
            suspect: Arc::default(),
        };
        remote.name_clients(node);
        remote.client_id
    }

    #[test]
    fn no_two_clients_have_one_name() {
        assert_eq!(called("", "b1", "hq"), "gatemq-b1-hq");
        assert_eq!(called("plant", "b1", "hq"), "plant-b1-hq");
        let all = [
            ("", "b1", "hq"),
            ("x", "b1", "hq"),
            ("x", "b2", "hq"),
            ("x", "b1", "other"),
        ];
        let names = all.map(|(id, node, name)| called(id, node, name));
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
