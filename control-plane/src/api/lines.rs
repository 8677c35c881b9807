//! Calls to other nodes: one connection to each, all asked at once, each with a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use gatemq_node::credentials::{Dialer, Role as NodeRole, Whom};
use gatemq_proto::cluster::bridge::bridge_client::BridgeClient;
use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::control::{StatusReply, StatusRequest};
use gatemq_proto::cluster::desk::desk_client::DeskClient;
use gatemq_proto::cluster::desk::office_client::OfficeClient;
use gatemq_proto::cluster::state::Role;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::Api;
use crate::state::State;

/// Connections to other nodes.
#[derive(Debug)]
pub(super) struct Lines {
    dialer: Dialer,
    /// By address and role; each connects when it is used, and again when that has failed.
    channels: Mutex<BTreeMap<(String, Whom), Channel>>,
}

/// A gateway or a bridge that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) address: String,
}

/// What the nodes of the control plane say.
pub(super) struct Survey {
    /// This node.
    pub(super) own: StatusReply,
    /// All that answered, this node among them, by number.
    pub(super) all: BTreeMap<u64, StatusReply>,
    /// The names of those that did not.
    pub(super) unreachable: Vec<String>,
}

/// More addresses than a cluster has nodes; beyond that they are old ones.
const CHANNELS: usize = 4096;
/// How long another node may take to be connected to.
const CONNECT: Duration = Duration::from_secs(1);
/// How long it may take to answer a question.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

// === impl Lines ===

impl Lines {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            channels: Mutex::default(),
        }
    }

    fn channel(&self, address: &str, role: NodeRole) -> Result<Channel, Status> {
        let mut channels = self.channels.lock();
        let key = (address.to_owned(), Whom::any(role));
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::unavailable(format!("its address: {error}")))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(CONNECT)
            .keep_alive_timeout(CONNECT);
        let channel = self.dialer.connect_lazy(&endpoint, &key.1);
        if channels.len() >= CHANNELS {
            channels.clear();
        }
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    /// The desk of the gateway at an address.
    pub(super) fn desk(&self, address: &str) -> Result<DeskClient<Channel>, Status> {
        Ok(DeskClient::new(self.channel(address, NodeRole::Gateway)?))
    }

    /// The bridge at an address.
    pub(super) fn bridge(&self, address: &str) -> Result<BridgeClient<Channel>, Status> {
        Ok(BridgeClient::new(self.channel(address, NodeRole::Bridge)?))
    }

    /// What the node of the control plane at an address does for this one.
    pub(super) fn office(&self, address: &str) -> Result<OfficeClient<Channel>, Status> {
        Ok(OfficeClient::new(self.channel(address, NodeRole::Control)?))
    }

    async fn status(&self, address: &str) -> Result<StatusReply, Status> {
        let mut client = ControlClient::new(self.channel(address, NodeRole::Control)?);
        within(ANSWER, client.status(StatusRequest {})).await
    }
}

/// Waits for an answer, and no longer than that.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// The gateways that take part, by incarnation.
pub(super) fn gateways(state: &State) -> Vec<Member> {
    living(state, Role::Gateway)
}

/// The bridges that take part, by incarnation.
pub(super) fn bridges(state: &State) -> Vec<Member> {
    living(state, Role::Bridge)
}

fn living(state: &State, role: Role) -> Vec<Member> {
    let members = state.members();
    let living = members.filter(|(_, member)| !member.is_fenced() && member.role() == role);
    let members = living.map(|(incarnation, member)| Member {
        name: member.name().to_owned(),
        incarnation,
        address: member.peer_address().to_owned(),
    });
    members.collect()
}

/// Asks all members at once, each by the line to its address.
async fn ask_all<C, T, F>(
    members: Vec<Member>,
    line: impl Fn(&str) -> Result<C, Status>,
    ask: impl Fn(C) -> F,
) -> (Vec<(Member, T)>, Vec<String>)
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let asked = members.into_iter().map(|member| {
        let call = line(&member.address).map(&ask);
        async move {
            let answer = match call {
                Ok(call) => within(ANSWER, call).await,
                Err(status) => Err(status),
            };
            (member, answer)
        }
    });
    let (mut answers, mut unreachable) = (Vec::new(), Vec::new());
    for (member, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => answers.push((member, answer)),
            Err(status) => {
                tracing::debug!(name = member.name, %status, "a member does not answer");
                unreachable.push(member.name);
            }
        }
    }
    (answers, unreachable)
}

// === impl Api ===

impl Api {
    /// Asks all gateways at once. Returns the answers, and the names of those that gave none.
    pub(super) async fn ask_gateways<T, F>(
        &self,
        gateways: Vec<Member>,
        ask: impl Fn(DeskClient<Channel>) -> F,
    ) -> (Vec<(Member, T)>, Vec<String>)
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let desk = |address: &str| self.lines.desk(address);
        ask_all(gateways, desk, ask).await
    }

    /// The same of bridges.
    pub(super) async fn ask_bridges<T, F>(
        &self,
        bridges: Vec<Member>,
        ask: impl Fn(BridgeClient<Channel>) -> F,
    ) -> (Vec<(Member, T)>, Vec<String>)
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let bridge = |address: &str| self.lines.bridge(address);
        ask_all(bridges, bridge, ask).await
    }

    /// Asks all nodes of the control plane how they are.
    pub(super) async fn survey(&self) -> Survey {
        let mut own = self.consensus.status();
        own.watermark = self.service.watermark();
        own.attendants = self.service.attendants();
        let others = own.nodes.iter().filter(|node| node.number != own.node);
        let asked = others.filter_map(|control| {
            let node = control.node.as_ref()?;
            Some(async move {
                let answer = self.lines.status(&node.address).await;
                (control.number, node.name.clone(), answer)
            })
        });
        let (mut all, mut unreachable) = (BTreeMap::new(), Vec::new());
        for (number, name, answer) in join_all(asked).await {
            match answer {
                Ok(status) if status.cluster_id == own.cluster_id => {
                    all.insert(number, status);
                }
                _ => unreachable.push(name),
            }
        }
        all.insert(own.node, own.clone());
        Survey {
            own,
            all,
            unreachable,
        }
    }
}

// === impl Survey ===

impl Survey {
    /// The node that leads, if it answered and takes itself for the leader, too.
    pub(super) fn leader(&self) -> Option<&StatusReply> {
        let leader = self.all.get(&self.own.leader)?;
        (leader.leader == leader.node).then_some(leader)
    }
}
