//! Connections to other nodes of the control plane, shared by all who call them.

use std::collections::HashMap;
use std::time::Duration;

use gatemq_node::credentials::{Dialer, Role, Whom};
use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::raft::raft_client::RaftClient;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint, Error};

/// Connections by address and by whom they are for. A connection is made when it is used, and again
/// after it broke.
pub(crate) struct Channels {
    dialer: Dialer,
    by_address: Mutex<HashMap<(String, Whom), Channel>>,
}

/// The largest message in either direction: a call of Raft has entries of up to 64 KiB in all, or
/// one larger entry.
pub(crate) const MESSAGE_BYTES: usize = 8 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How often an idle connection is probed, and how long the answer may take: a peer that is gone
/// without a word must not swallow calls for longer.
const PROBE: Duration = Duration::from_secs(2);
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// Addresses come and go; nobody needs more than these at once.
const CHANNELS: usize = 64;

// === impl Channels ===

impl Channels {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            by_address: Mutex::default(),
        }
    }

    /// A client for Raft at an address, for the node of this name.
    ///
    /// # Errors
    ///
    /// What is no address; connecting itself fails with the call.
    pub(crate) fn raft(&self, address: &str, name: &str) -> Result<RaftClient<Channel>, Error> {
        let whom = Whom::node(Role::Control, name);
        let client = RaftClient::new(self.channel(address, whom)?);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES))
    }

    /// A client for the control service at an address.
    ///
    /// # Errors
    ///
    /// What is no address; connecting itself fails with the call.
    pub(crate) fn control(&self, address: &str) -> Result<ControlClient<Channel>, Error> {
        let whom = Whom::any(Role::Control);
        Ok(ControlClient::new(self.channel(address, whom)?))
    }

    fn channel(&self, address: &str, whom: Whom) -> Result<Channel, Error> {
        let mut by_address = self.by_address.lock();
        let key = (address.to_owned(), whom);
        if let Some(channel) = by_address.get(&key) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(PROBE_ANSWER)
            .keep_alive_while_idle(true);
        let channel = self.dialer.connect_lazy(&endpoint, &key.1);
        if by_address.len() >= CHANNELS {
            by_address.clear();
        }
        by_address.insert(key, channel.clone());
        Ok(channel)
    }
}
