//! The way to the control plane, as every node has it that messages are routed to, gateways and
//! bridges: how it is reached, and how a node becomes a member. [`lease`] is how long it is one, [`rounds`] whom it asks next.
//!
//! What the control plane says then is followed by each in its own way: `gateway/src/cluster/control.rs`,
//! `bridge/src/cluster/line.rs`.

pub mod lease;
pub mod rounds;

use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::control::{ProposeRequest, StatusReply, StatusRequest};
use gatemq_proto::cluster::other_protocol;
use gatemq_proto::cluster::state::{Command, Outcome, Register, command::Kind};
use tonic::transport::{Channel, Endpoint};

use crate::peer::{Dial, deepest};

/// How long a call may take.
pub const CALL: Duration = Duration::from_secs(5);
/// Pauses between tries: the first, and the longest.
pub const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often the lease is renewed.
pub const BEAT: Duration = Duration::from_millis(250);
/// How long a node of the control plane may confirm nothing before another one is tried.
pub const SILENCE: Duration = Duration::from_millis(1_500);
/// How long the name of a node may be that of another one: its own last run, until that is known to be
/// over.
pub const NAME_TAKEN: Duration = Duration::from_secs(10);

/// Why one try did not work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody is there.
    #[error("{}", deepest(.0))]
    Transport(#[from] tonic::transport::Error),
    /// What was asked is not done.
    #[error("{}", .0.message())]
    Status(#[from] Box<tonic::Status>),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The cluster does not take the node.
    #[error("{0}")]
    Refused(String),
    /// The two do not understand each other.
    #[error("{0}")]
    OtherVersion(String),
    /// It is not part of a cluster itself.
    #[error("the cluster has no id yet")]
    NoCluster,
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

/// Connects to a node of the control plane.
///
/// # Errors
///
/// Nobody is there in time, or somebody else.
pub async fn connect(address: &str, dial: &dyn Dial) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2));
    Ok(dial.connect(&endpoint).await?)
}

/// How the control plane is, if it is of this version.
///
/// # Errors
///
/// It does not answer, or is of another version.
pub async fn status(
    client: &mut ControlClient<Channel>,
    address: &str,
) -> Result<StatusReply, Failure> {
    let status = tokio::time::timeout(CALL, client.status(StatusRequest {})).await??;
    let status = status.into_inner();
    check_protocol(address, status.protocol)?;
    Ok(status)
}

/// Becomes a member; returns the incarnation.
///
/// # Errors
///
/// It does not answer, or the cluster does not take the node.
pub async fn register(
    client: &mut ControlClient<Channel>,
    cluster_id: &Bytes,
    register: Register,
) -> Result<u64, Failure> {
    let outcome = propose(client, cluster_id, Kind::Register(register), CALL).await?;
    match outcome.refused.is_empty() {
        true => Ok(outcome.index),
        false => Err(Failure::Refused(outcome.refused)),
    }
}

/// Proposes a change, and returns what came of it.
///
/// # Errors
///
/// It does not answer in time: nothing is known of the change then.
pub async fn propose(
    client: &mut ControlClient<Channel>,
    cluster_id: &Bytes,
    kind: Kind,
    within: Duration,
) -> Result<Outcome, Failure> {
    let request = ProposeRequest {
        cluster_id: cluster_id.clone(),
        command: Some(Command { kind: Some(kind) }),
        n_hops: 0,
    };
    let outcome = tokio::time::timeout(within, client.propose(request)).await??;
    Ok(outcome.into_inner())
}

/// A control plane of another version may not know that it should refuse this node.
fn check_protocol(address: &str, theirs: u32) -> Result<(), Failure> {
    let who = format!("the control plane at {address}");
    match other_protocol(&who, theirs) {
        None => Ok(()),
        Some(refusal) => Err(Failure::OtherVersion(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::PROTOCOL;

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
