//! Asks another gateway for a session that it has: to let go of its client, and then of the session.

use std::time::Duration;

use crate::broker::Broker;
use crate::store::redis::{Holder, Taken};

/// How long another gateway may take to let go of a client.
const LET_GO: Duration = Duration::from_secs(3);

impl Broker {
    /// Asks a gateway to disconnect a client; whether it has.
    pub(super) async fn ask_to_let_go(&self, client_id: &str, holder: &Holder) -> bool {
        let Some(cluster) = &self.cluster else {
            return false;
        };
        if !cluster.is_alive(holder.owner) {
            return false;
        }
        let request = cluster.release_request(client_id, holder);
        let asking = cluster.peers.release(holder.owner, request);
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(Ok(reply)) => reply.is_released,
            Ok(Err(status)) => {
                let why = status.message();
                tracing::warn!(owner = holder.owner, why, "a gateway does not let go");
                false
            }
            Err(_) => {
                tracing::warn!(owner = holder.owner, "a gateway does not let go in time");
                false
            }
        }
    }

    /// Has the gateway that had a session let go of it for good; returns what that session has had
    /// of QoS 2 lately. A gateway that is gone takes that with it.
    pub(super) async fn hand_over(&self, client_id: &str, own: u64, taken: &Taken) -> Vec<u64> {
        let holder = taken.previous.filter(|holder| holder.owner != own);
        let (Some(cluster), Some(holder)) = (&self.cluster, holder) else {
            return Vec::new();
        };
        if taken.resumed.is_none() || !cluster.is_alive(holder.owner) {
            return Vec::new();
        }
        let mut request = cluster.release_request(client_id, &holder);
        request.has_claimed = true;
        let asking = cluster.peers.release(holder.owner, request);
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(Ok(reply)) => reply.recent,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}
