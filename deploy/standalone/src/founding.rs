//! Before a node begins a cluster: whoever it was told of has to be met first, and somebody whom an
//! earlier life of it knew. Else one that has lost its data would found a second cluster beside the
//! first as soon as the others are slow.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gatemq_control_plane::consensus::StartError;
use gatemq_node::membership::{JoinError, Membership};

/// Between one try and the next.
const AGAIN: Duration = Duration::from_millis(500);

/// Waits until all seeds, and one of the remembered members if there are any, have been met.
///
/// # Errors
///
/// One that is there is of a cluster already: this node is to join it.
pub(crate) async fn look_around(
    membership: &Membership,
    seeds: &[String],
    memory: &Path,
) -> Result<(), StartError> {
    let mut missing: BTreeSet<String> = seeds.iter().cloned().collect();
    let mut remembered: BTreeSet<String> = membership
        .remembered()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut told = (BTreeSet::new(), BTreeSet::new());
    loop {
        for address in missing.clone() {
            if is_there(membership, &address).await {
                missing.remove(&address);
            }
        }
        for address in remembered.clone() {
            if is_there(membership, &address).await {
                remembered.clear();
                break;
            }
        }
        look_for_cluster(membership)?;
        if missing.is_empty() && remembered.is_empty() {
            return Ok(());
        }
        let waiting = (missing.clone(), remembered.clone());
        if told != waiting {
            tell(&missing, &remembered, memory);
            told = waiting;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether somebody answers there, if only this node itself.
async fn is_there(membership: &Membership, address: &str) -> bool {
    matches!(
        membership.join(address).await,
        Ok(_) | Err(JoinError::Myself)
    )
}

fn look_for_cluster(membership: &Membership) -> Result<(), StartError> {
    let members = membership.members();
    let others = members.iter().filter(|member| !member.is_self);
    let mut clusters =
        others.filter_map(|member| Some((member, member.meta.as_ref()?.cluster_id?)));
    match clusters.next() {
        None => Ok(()),
        Some((member, id)) => Err(StartError::Founded {
            id: id.to_string(),
            address: format!("{} at {}", member.name, member.address),
        }),
    }
}

fn tell(missing: &BTreeSet<String>, remembered: &BTreeSet<String>, memory: &Path) {
    let list = |addresses: &BTreeSet<String>| {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        addresses.join(", ")
    };
    if !missing.is_empty() {
        tracing::warn!(
            members = list(missing),
            "waiting for the members that were named before a cluster is begun: name none that is \
             not there"
        );
    }
    if !remembered.is_empty() {
        tracing::warn!(
            members = list(remembered),
            "waiting for one of the members that this node knew earlier: it has no data, and they \
             may be a cluster; to begin a new one all the same, remove {}",
            memory.display()
        );
    }
}
