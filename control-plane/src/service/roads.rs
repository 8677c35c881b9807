//! Connections to other nodes of the control plane, one each.

use std::collections::BTreeMap;
use std::time::Duration;

use gatemq_node::credentials::{Dialer, Role, Whom};
use gatemq_proto::cluster::control::control_client::ControlClient;
use parking_lot::Mutex;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

#[derive(Debug)]
pub(super) struct Roads {
    connect_within: Duration,
    dialer: Dialer,
    /// By address. They connect when they are used, and again when that has failed.
    channels: Mutex<BTreeMap<String, Channel>>,
}

/// More addresses than a control plane has nodes; beyond that they are old ones.
const MAX_CHANNELS: usize = 16;

impl Roads {
    pub(super) fn new(connect_within: Duration, dialer: Dialer) -> Self {
        Self {
            connect_within,
            dialer,
            channels: Mutex::default(),
        }
    }

    /// # Errors
    ///
    /// The address is none.
    pub(super) fn client(&self, address: &str) -> Result<ControlClient<Channel>, Status> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(ControlClient::new(channel.clone()));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::unavailable(format!("the leader's address: {error}")))?
            .connect_timeout(self.connect_within)
            // A leader that vanished without a word is noticed in twice this.
            .http2_keep_alive_interval(self.connect_within)
            .keep_alive_timeout(self.connect_within);
        let channel = (self.dialer).connect_lazy(&endpoint, &Whom::any(Role::Control));
        if channels.len() >= MAX_CHANNELS {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(ControlClient::new(channel))
    }
}
