//! How a node becomes part of the control plane, and says where it is when it is part of it.
//!
//! ```text
//!   new node            leader
//!   Join(name) ───────> Admit is committed; its index is the number
//!   number  <────────── (nothing more: the node may never have got it)
//!   stores it
//!   Join(number) ─────> adds it as a learner: from here on, the number may have voted
//! ```
//!
//! A number that was admitted and never came back has taken part in nothing, so a node of that
//! name may have another. Once it has come back, an empty data directory under its name is
//! refused: somebody has to say that the old one is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest, StatusReply, StatusRequest};
use gatemq_proto::cluster::state::ControlNode;
use gatemq_proto::cluster::{PROTOCOL, other_protocol};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::store::{CLUSTER_ID, Identity};

/// Asks other nodes to let this one join.
pub(super) struct Joining {
    pub(super) channels: Arc<Channels>,
    pub(super) node: ControlNode,
    /// Addresses from gossip, this node's own among them.
    pub(super) known: watch::Receiver<Vec<String>>,
    /// Addresses from this node's own log, if gossip has told of nobody yet.
    pub(super) remembered: Vec<String>,
}

/// Why a node does not join.
#[derive(Debug)]
pub(super) enum NotJoined {
    Refused(String),
    Stopped,
}

/// How long a node may take to answer: it may have to commit something first.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a node may take to answer a question that it can answer by itself.
pub(super) const QUICK_ANSWER: Duration = Duration::from_secs(1);
/// How often a node that would found a cluster asks one that does not answer.
const ROUNDS: u32 = 5;
/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_millis(500);

// === impl Joining ===

impl Joining {
    /// Asks until a leader says yes or no.
    pub(super) async fn ask_for_number(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Identity, NotJoined> {
        let mut told = None;
        loop {
            let addresses = self.others();
            for address in &addresses {
                let answer = tokio::select! {
                    () = stop.cancelled() => return Err(NotJoined::Stopped),
                    answer = self.ask(address, None, ANSWER) => answer,
                };
                let Some(reply) = answer else { continue };
                if !reply.refused.is_empty() {
                    return Err(NotJoined::Refused(reply.refused));
                }
                if reply.cluster_id.len() == CLUSTER_ID && reply.number > 0 {
                    return Ok(Identity {
                        cluster_id: reply.cluster_id,
                        number: reply.number,
                        name: self.node.name.clone(),
                        is_founder: false,
                    });
                }
            }
            if told.as_ref() != Some(&addresses) {
                let known = addresses.join(", ");
                tracing::info!(known, "waiting for a leader of the control plane to join");
                told = Some(addresses);
            }
            tokio::select! {
                () = stop.cancelled() => return Err(NotJoined::Stopped),
                Ok(()) = self.known.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Tells the known nodes who and where this one is; returns what one of them has against it.
    /// A node that cannot be reached has nothing against it.
    pub(super) async fn present(&mut self, identity: &Identity) -> Option<String> {
        let addresses = self.others();
        let asked = addresses
            .iter()
            .map(|address| self.ask(address, Some(identity), QUICK_ANSWER));
        let replies = join_all(asked).await;
        let refused = replies.into_iter().flatten().map(|reply| reply.refused);
        refused.into_iter().find(|refused| !refused.is_empty())
    }

    /// The id and address of a cluster that known nodes are of. One that does not answer is asked
    /// again: it may be starting, or be slow, and what it knows must not be missed.
    pub(super) async fn find_cluster(&mut self) -> Option<(Bytes, String)> {
        let mut without = BTreeSet::new();
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let others = self.others();
            let waiting: Vec<String> = others
                .into_iter()
                .filter(|address| !without.contains(address))
                .collect();
            if waiting.is_empty() {
                return None;
            }
            let asked = waiting
                .iter()
                .map(|address| status(&self.channels, address));
            for (address, answer) in waiting.iter().zip(join_all(asked).await) {
                match answer {
                    Some(status) if !status.cluster_id.is_empty() => {
                        return Some((status.cluster_id, address.clone()));
                    }
                    Some(_) => drop(without.insert(address.clone())),
                    None => {}
                }
            }
        }
        None
    }

    /// Tells one node who and where this one is, as a member; `None` if it does not know what to
    /// say.
    pub(super) async fn tell(&self, address: &str, identity: &Identity) -> Option<JoinReply> {
        self.ask(address, Some(identity), ANSWER).await
    }

    /// The addresses that gossip or the log tells of, without this node's own.
    pub(super) fn others(&mut self) -> Vec<String> {
        let mut others: Vec<String> = Vec::new();
        let known = self.known.borrow_and_update();
        for address in known.iter().chain(&self.remembered) {
            if *address != self.node.address && !others.contains(address) {
                others.push(address.clone());
            }
        }
        others
    }

    pub(super) fn request(&self, identity: Option<&Identity>) -> JoinRequest {
        JoinRequest {
            node: Some(self.node.clone()),
            cluster_id: identity.map(|it| it.cluster_id.clone()).unwrap_or_default(),
            number: identity.map_or(0, |it| it.number),
            protocol: PROTOCOL,
        }
    }

    async fn ask(
        &self,
        address: &str,
        identity: Option<&Identity>,
        within: Duration,
    ) -> Option<JoinReply> {
        let mut client = self.channels.control(address).ok()?;
        let answer = client.join(self.request(identity));
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(reply)) => Some(checked(address, reply.into_inner())),
            Ok(Err(status)) => {
                tracing::debug!(address, said = status.message(), "no answer to join");
                None
            }
            Err(_) => None,
        }
    }
}

/// A cluster of another version may not know that it should refuse this node.
fn checked(address: &str, mut reply: JoinReply) -> JoinReply {
    if reply.refused.is_empty()
        && let Some(refused) = other_protocol(&format!("the node at {address}"), reply.protocol)
    {
        reply.refused = refused;
    }
    reply
}

/// How the node at an address is, if it answers soon.
pub(super) async fn status(channels: &Channels, address: &str) -> Option<StatusReply> {
    let mut client = channels.control(address).ok()?;
    let answer = client.status(StatusRequest {});
    let answer = tokio::time::timeout(QUICK_ANSWER, answer)
        .await
        .ok()?
        .ok()?;
    Some(answer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_another_version_is_not_joined() {
        let answer = |protocol| {
            let reply = JoinReply {
                number: 7,
                protocol,
                ..JoinReply::default()
            };
            checked("c1:1", reply).refused
        };
        assert_eq!(answer(PROTOCOL), "");
        assert!(answer(0).starts_with("the node at c1:1 is of an older version"));
        assert!(answer(PROTOCOL + 1).starts_with("the node at c1:1 is of a newer version"));
    }
}
