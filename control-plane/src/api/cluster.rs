//! `/cluster`: who leads, how far everybody is, and whether all have the same state.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use gatemq_proto::cluster::control::StatusReply;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::endpoint::Endpoint;
use super::problem::Problem;
use crate::hex::hex;

/// The control plane, as the node that answers sees it.
#[derive(Debug, Serialize, ToSchema)]
struct Cluster {
    /// 32 hexadecimal digits that no other cluster has.
    cluster_id: String,
    /// The node that answers.
    node: Node,
    /// Null while none is known.
    leader: Option<Node>,
    term: u64,
    /// The last entry of this node's log, the last of it that is committed, and applied, as far as
    /// this node knows.
    last_log: u64,
    committed: u64,
    applied: u64,
    voters: Vec<Node>,
    learners: Vec<Node>,
    /// Milliseconds since the leader last heard from a quorum; null if it does not answer.
    quorum_age: Option<u64>,
    /// Every gateway with a lease has applied everything up to here.
    watermark: u64,
    /// How many voters the cluster is meant to have.
    control_size: u32,
    n_gateways: usize,
    /// Filters, each counted for every node that has subscribers of it.
    n_routes: usize,
    /// Nodes of the control plane that did not answer.
    unreachable: Vec<String>,
}

/// A node of the control plane.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    number: u64,
    name: String,
    address: String,
}

/// What the node that answers has applied, in two numbers.
#[derive(Debug, Serialize, ToSchema)]
struct Fingerprint {
    /// The index of the last entry of the log that was applied.
    revision: u64,
    /// 16 hexadecimal digits: nodes that differ here at the same revision do not agree. What an
    /// answer of another version of the program says cannot be compared.
    hash: String,
}

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/cluster", "showCluster", "The state of the cluster", show)
            .answers::<Cluster>("As the node that answers sees it"),
        Endpoint::get(
            "/cluster/hash",
            "hashState",
            "A hash of the state that this node has applied",
            fingerprint,
        )
        .says(
            "Every node of the control plane has the same one at the same revision; it is for \
             those who check that. It takes time: all of the state is read.",
        )
        .answers::<Fingerprint>("Of the node that answers, and of no other")
        .fails(&[503]),
    ]
}

async fn show(Shared(api): Shared<Arc<Api>>) -> Json<Cluster> {
    let survey = api.survey().await;
    let own = &survey.own;
    let (n_routes, n_gateways) = {
        let state = api.consensus.state();
        let living = state.members().filter(|(_, member)| !member.is_fenced());
        (state.n_routes(), living.count())
    };
    let leader = survey.leader();
    let watermarks = survey.all.values().map(|status| status.watermark);
    let named = |is_voter: bool| {
        let numbers = own.nodes.iter().map(|node| node.number);
        let numbers = numbers.filter(|number| own.voters.contains(number) == is_voter);
        numbers.filter_map(|number| node(own, number)).collect()
    };
    Json(Cluster {
        cluster_id: hex(&own.cluster_id),
        node: node(own, own.node).unwrap_or_else(|| Node {
            number: own.node,
            name: api.name.clone(),
            address: String::new(),
        }),
        leader: node(own, own.leader),
        term: own.term,
        last_log: own.last_log,
        committed: own.committed,
        applied: own.applied,
        voters: named(true),
        learners: named(false),
        quorum_age: leader.and_then(|leader| leader.quorum_age),
        watermark: watermarks.max().unwrap_or(0),
        control_size: own.control_size,
        n_gateways,
        n_routes,
        unreachable: survey.unreachable,
    })
}

async fn fingerprint(Shared(api): Shared<Arc<Api>>) -> Result<Json<Fingerprint>, Problem> {
    let stops = || Problem::no_leader("this node stops");
    let _permit = api.hashing.acquire().await.map_err(|_| stops())?;
    // Both of one moment: the copy is cheap, and nobody changes it.
    let state = api.consensus.state();
    let hashed = tokio::task::spawn_blocking(move || Fingerprint {
        revision: state.revision(),
        hash: hex(&state.hash().to_be_bytes()),
    });
    Ok(Json(hashed.await.map_err(|_| stops())?))
}

fn node(status: &StatusReply, number: u64) -> Option<Node> {
    let control = status.nodes.iter().find(|node| node.number == number)?;
    let node = control.node.as_ref()?;
    Some(Node {
        number,
        name: node.name.clone(),
        address: node.address.clone(),
    })
}
