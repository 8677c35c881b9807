//! How a node that runs makes sure that it is a member: it tells where it is until the membership
//! has it, and asks again when no leader calls it, for nobody calls one that was removed.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::joining::Joining;
use super::raft::Membership;
use super::{ChangeError, Consensus};

/// How long to wait before a node says again where it is.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the node stops, or hears that it has been removed.
pub(super) async fn announce(
    consensus: Consensus,
    mut joining: Joining,
    dismiss: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let mut metrics = consensus.inner.raft.server_metrics();
    let refused = Mutex::new(String::new());
    let patience = consensus.inner.config.election.end * 2;
    let is_missed = || !consensus.is_leader_of_raft() && !consensus.inner.heard.is_within(patience);
    loop {
        let is_known = {
            let metrics = metrics.borrow_and_update();
            let membership = metrics.membership_config.membership();
            joining.remembered = addresses(membership);
            let own = membership.get_node(&consensus.number());
            own.is_some_and(|own| own.address == joining.node.address)
        };
        let has_more = async {
            if *dismiss.borrow() {
                return false;
            }
            if is_known && !is_missed() {
                return tokio::select! {
                    changed = metrics.changed() => changed.is_ok(),
                    () = tokio::time::sleep(AGAIN) => true,
                };
            }
            if tell(&consensus, &mut joining, &refused).await {
                dismiss.send_replace(true);
                return false;
            }
            tokio::time::sleep(AGAIN).await;
            true
        };
        tokio::select! {
            () = stop.cancelled() => return,
            has_more = has_more => if !has_more { return },
        }
    }
}

/// Returns whether the answer was that this node has been removed.
async fn tell(consensus: &Consensus, joining: &mut Joining, refused: &Mutex<String>) -> bool {
    let identity = &consensus.inner.identity;
    let mut addresses: Vec<String> = consensus.leader_address().into_iter().collect();
    for other in joining.others() {
        if !addresses.contains(&other) {
            addresses.push(other);
        }
    }
    for address in addresses {
        let Some(reply) = joining.tell(&address, identity).await else {
            continue;
        };
        if !reply.refused.is_empty() && !reply.is_dismissed {
            let is_news =
                std::mem::replace(&mut *refused.lock(), reply.refused.clone()) != reply.refused;
            if is_news {
                tracing::error!(said = reply.refused, "the control plane refuses this node");
            }
        }
        return reply.is_dismissed;
    }
    // The leader itself has nobody else to tell.
    let request = joining.request(Some(identity));
    if let Err(ChangeError::Later(text)) = consensus.join(request).await {
        tracing::debug!(text, "not announced yet");
    }
    false
}

/// Where the nodes of a membership are.
pub(super) fn addresses(membership: &Membership) -> Vec<String> {
    let nodes = membership.nodes();
    nodes.map(|(_, node)| node.address.clone()).collect()
}
