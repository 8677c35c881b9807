//! How a gateway becomes part of its cluster: through any node of the control plane, with a store
//! that is the cluster's.

use std::time::Duration;

use gatemq_node::credentials::Dialer;
use gatemq_router::control::{self, NAME_TAKEN, PAUSES};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::JoinError;
use super::dial::To;
use crate::proto::cluster::control::control_client::ControlClient;
use crate::proto::cluster::state::{Register, Role};
use crate::store::{Store, Stray, StrayStore};

/// How long a start waits before it says what for.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a node gets when it joins.
pub(crate) struct Joined {
    pub(crate) cluster_id: bytes::Bytes,
    pub(crate) incarnation: u64,
}

/// Why one try did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Control(#[from] control::Failure),
    #[error("it does not know yet where the cluster's sessions are, as its leader does")]
    Unsaid,
    #[error(transparent)]
    Stray(#[from] Stray),
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
                Err(Failure::Control(control::Failure::OtherVersion(refusal))) => {
                    return Err(JoinError::Refused(refusal));
                }
                Err(Failure::Stray(stray)) if !stray.may_pass() => {
                    return Err(StrayStore::from(stray).into());
                }
                Err(Failure::Control(control::Failure::Refused(refusal))) => {
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
    let register = introduction.to_register();
    let incarnation = control::register(&mut client, &cluster_id, register).await?;
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
    let status = control::status(client, address).await?;
    if status.cluster_id.is_empty() {
        return Err(control::Failure::NoCluster.into());
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
                    let ask = async |store: &Store| store.compare(&cluster_id, &agreed).await;
                    return store.patiently(ask).await.map(drop);
                }
                // Whoever joins is told so.
                Err(Failure::Control(control::Failure::OtherVersion(_))) => return Ok(()),
                Err(why) => tracing::debug!(address, %why, "where sessions are is not known yet"),
            }
        }
        let _ = tokio::time::timeout(pause, control.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

pub(super) async fn connect(address: &str, dialer: &Dialer) -> Result<Channel, control::Failure> {
    control::connect(address, &To::control(dialer.clone())).await
}

impl Introduction {
    pub(super) fn to_register(&self) -> Register {
        Register {
            name: self.name.clone(),
            role: Role::Gateway.into(),
            peer_address: self.peer_address.clone(),
            http_address: self.http_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            token: self.token,
            store: self.store.clone(),
        }
    }
}
