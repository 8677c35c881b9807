//! `/stats`: the figures of each gateway, and of all together.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use gatemq_proto::cluster::desk::StatsRequest;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::endpoint::Endpoint;
use super::lines::gateways;

/// The figures, by the names of `/mqtt/stats`.
#[derive(Debug, Serialize, ToSchema)]
struct Stats {
    /// Sums; figures of which a sum says nothing are not in it.
    total: BTreeMap<String, u64>,
    nodes: Vec<NodeStats>,
    /// Gateways that did not answer: they are not in the sums.
    unreachable: Vec<String>,
}

/// The figures of one gateway.
#[derive(Debug, Serialize, ToSchema)]
struct NodeStats {
    name: String,
    incarnation: u64,
    is_draining: bool,
    figures: BTreeMap<String, u64>,
}

/// Figures that are no sums: times, and highest values.
const NO_SUMS: &[&str] = &[
    "started",
    "time",
    "uptime",
    "clients_maximum",
    "store_last_commit_micros",
];
/// Figures of what all gateways have in common: each has every filter of the cluster in its table.
const COMMON: &[&str] = &["retained", "filters"];

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/stats",
            "showStats",
            "Figures of each gateway and in total",
            show,
        )
        .answers::<Stats>("Figures of one moment"),
    ]
}

async fn show(Shared(api): Shared<Arc<Api>>) -> Json<Stats> {
    let request = StatsRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        is_brief: false,
        max_age: 0,
    };
    let all = gateways(&api.consensus.state());
    let (answers, unreachable) = api
        .ask_gateways(all, |mut desk| {
            let request = request.clone();
            async move { desk.stats(request).await }
        })
        .await;
    let nodes = answers.into_iter().map(|(gateway, reply)| NodeStats {
        name: gateway.name,
        incarnation: gateway.incarnation,
        is_draining: reply.is_draining,
        figures: reply.figures,
    });
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Json(Stats {
        total: total(&nodes),
        nodes,
        unreachable,
    })
}

fn total(nodes: &[NodeStats]) -> BTreeMap<String, u64> {
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    let figures = nodes.iter().flat_map(|node| &node.figures);
    for (name, figure) in figures.filter(|(name, _)| !NO_SUMS.contains(&name.as_str())) {
        let sum = total.entry(name.clone()).or_default();
        *sum = match COMMON.contains(&name.as_str()) {
            true => (*sum).max(*figure),
            false => sum.saturating_add(*figure),
        };
    }
    total
}
