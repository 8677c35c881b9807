//! How a gateway becomes part of its cluster: through any node of the control plane, with a store
//! that is the cluster's.

use std::time::Duration;

use gatemq_node::credentials::{Dialer, Role as NodeRole, Whom};
use gatemq_router::peer::deepest;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::JoinError;
use crate::proto::cluster::control::control_client::ControlClient;
use crate::proto::cluster::control::{ProposeRequest, StatusRequest};
use crate::proto::cluster::other_protocol;
use crate::proto::cluster::state::{Command, Register, Role, command::Kind};
use crate::store::{Store, Stray, StrayStore};

/// How long a call may take.
pub(super) const CALL: Duration = Duration::from_secs(5);
/// Pauses between tries: the first, and the longest.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a start waits before it says what for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the name of this gateway may be that of another one: its own last run, until that is
/// known to be over.
const NAME_TAKEN: Duration = Duration::from_secs(10);

/// What a node gets when it joins.
pub(crate) struct Joined {
    pub(crate) cluster_id: bytes::Bytes,
    pub(crate) incarnation: u64,
}

/// Why one try did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", deepest(.0))]
    Transport(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Status(#[from] Box<tonic::Status>),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    OtherVersion(String),
    #[error("the cluster has no id yet")]
    NoCluster,
    #[error("it does not know yet where the cluster's sessions are, as its leader does")]
    Unsaid,
    #[error(transparent)]
    Stray(#[from] Stray),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<tokio::time::error::Elapsed> for Failure {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Timeout
    }
}

/// What a gateway says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) peer_address: String,
    pub(crate) http_address: String,
    pub(crate) token: u64,
    /// What the cluster calls its store; empty before it has joined.
    pub(crate) store: String,
}

/// Joins the cluster through any node of its control plane; tries until it works.
///
/// # Errors
///
/// The reason, if the name stays that of another gateway for longer than it takes to notice that
/// the last run of this one is over, or if its store is not the cluster's.
pub(crate) async fn join(
    control: &mut tokio::sync::watch::Receiver<Vec<String>>,
    dialer: &Dialer,
    introduction: &mut Introduction,
    store: &Store,
) -> Result<Joined, JoinError> {
    let began = Instant::now();
    let mut refused_since = None;
    let mut pause = PAUSES.0;
    let mut last_said = String::new();
    loop {
        let addresses = control.borrow_and_update().clone();
        let mut why = "no node of the control plane is known yet".to_owned();
        for address in &addresses {
            match try_join(address, dialer, introduction, store).await {
                Ok(joined) => return Ok(joined),
                Err(Failure::OtherVersion(refusal)) => return Err(JoinError::Refused(refusal)),
                Err(Failure::Stray(stray)) => return Err(StrayStore::from(stray).into()),
                Err(Failure::Refused(refusal)) => {
                    let since = refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > NAME_TAKEN {
                        return Err(JoinError::Refused(refusal));
                    }
                    why = refusal;
                }
                Err(failure) => why = format!("{address}: {failure}"),
            }
        }
        // At first that is how a start goes.
        if began.elapsed() < PATIENCE {
            tracing::debug!(why, "not in the cluster yet");
        } else if why != last_said {
            tracing::info!(why, "waiting for the control plane");
            last_said = why;
        }
        let _ = tokio::time::timeout(pause, control.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn try_join(
    address: &str,
    dialer: &Dialer,
    introduction: &mut Introduction,
    store: &Store,
) -> Result<Joined, Failure> {
    let mut client = ControlClient::new(connect(address, dialer).await?);
    let (cluster_id, agreed) = ask_where(&mut client, address).await?;
    // Found out before anybody hears of this gateway; the control plane judges once more, since
    // two may be the first ones.
    introduction.store = store.belong(&cluster_id, &agreed).await?;
    let incarnation = register(&mut client, &cluster_id, introduction).await?;
    Ok(Joined {
        cluster_id,
        incarnation,
    })
}

/// The cluster's id, and where its sessions are; empty if it has not agreed on that.
async fn ask_where(
    client: &mut ControlClient<Channel>,
    address: &str,
) -> Result<(bytes::Bytes, String), Failure> {
    let status = tokio::time::timeout(CALL, client.status(StatusRequest {})).await??;
    let status = status.into_inner();
    check_protocol(address, status.protocol)?;
    if status.cluster_id.is_empty() {
        return Err(Failure::NoCluster);
    }
    let is_leader = status.node != 0 && status.leader == status.node;
    if status.store.is_empty() && !(is_leader && status.applied >= status.committed) {
        return Err(Failure::Unsaid); // it may only not have heard of it
    }
    Ok((status.cluster_id, status.store))
}

/// Waits until a node says where the cluster's sessions are, and compares that with a store.
pub(crate) async fn compare(
    control: &mut tokio::sync::watch::Receiver<Vec<String>>,
    dialer: &Dialer,
    store: &Store,
) -> Result<(), Stray> {
    let mut pause = PAUSES.0;
    loop {
        let addresses = control.borrow_and_update().clone();
        for address in &addresses {
            let asking = async {
                let mut client = ControlClient::new(connect(address, dialer).await?);
                ask_where(&mut client, address).await
            };
            match asking.await {
                Ok((cluster_id, agreed)) => {
                    return store.compare(&cluster_id, &agreed).await.map(drop);
                }
                Err(Failure::OtherVersion(_)) => return Ok(()), // whoever joins is told so
                Err(why) => tracing::debug!(address, %why, "where sessions are is not known yet"),
            }
        }
        let _ = tokio::time::timeout(pause, control.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A control plane of another version may not know that it should refuse this gateway.
pub(super) fn check_protocol(address: &str, theirs: u32) -> Result<(), Failure> {
    let who = format!("the control plane at {address}");
    match other_protocol(&who, theirs) {
        None => Ok(()),
        Some(refusal) => Err(Failure::OtherVersion(refusal)),
    }
}

pub(super) async fn connect(address: &str, dialer: &Dialer) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2));
    let whom = Whom::any(NodeRole::Control);
    Ok(dialer.connect(&endpoint, &whom).await?)
}

pub(super) async fn register(
    client: &mut ControlClient<Channel>,
    cluster_id: &bytes::Bytes,
    introduction: &Introduction,
) -> Result<u64, Failure> {
    let register = Register {
        name: introduction.name.clone(),
        role: Role::Gateway.into(),
        peer_address: introduction.peer_address.clone(),
        http_address: introduction.http_address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        token: introduction.token,
        store: introduction.store.clone(),
    };
    let request = ProposeRequest {
        cluster_id: cluster_id.clone(),
        command: Some(Command {
            kind: Some(Kind::Register(register)),
        }),
        n_hops: 0,
    };
    let outcome = tokio::time::timeout(CALL, client.propose(request)).await??;
    let outcome = outcome.into_inner();
    match outcome.refused.is_empty() {
        true => Ok(outcome.index),
        false => Err(Failure::Refused(outcome.refused)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::PROTOCOL;

    #[test]
    fn a_control_plane_of_another_version_is_not_joined() {
        let refusal = |theirs| match check_protocol("c1:1", theirs) {
            Err(Failure::OtherVersion(refusal)) => refusal,
            _ => String::new(),
        };
        assert_eq!(refusal(PROTOCOL), "");
        assert!(refusal(0).starts_with("the control plane at c1:1 is of an older version"));
        assert!(refusal(PROTOCOL + 1).starts_with("the control plane at c1:1 is of a newer"));
    }
}
