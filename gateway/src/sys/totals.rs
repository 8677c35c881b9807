//! `$SYS/cluster`: the figures of all gateways together, which each of them adds up for itself.
//!
//! A gateway tells the others what it has published of itself last, so that nobody is made to count
//! anew for each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::proto::cluster::desk::StatsRequest;
use crate::proto::cluster::desk::desk_client::DeskClient;
use crate::proto::cluster::state::Role;

/// How long the others may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Topics and the figures of which they are the sums.
const SUMS: &[(&str, &str)] = &[
    ("$SYS/cluster/load/bytes/received", "bytes_received"),
    ("$SYS/cluster/load/bytes/sent", "bytes_sent"),
    ("$SYS/cluster/clients/connected", "clients_connected"),
    ("$SYS/cluster/clients/disconnected", "clients_disconnected"),
    ("$SYS/cluster/clients/total", "clients_total"),
    ("$SYS/cluster/packets/received", "packets_received"),
    ("$SYS/cluster/packets/sent", "packets_sent"),
    ("$SYS/cluster/messages/received", "messages_received"),
    ("$SYS/cluster/messages/sent", "messages_sent"),
    ("$SYS/cluster/messages/dropped", "messages_dropped"),
    ("$SYS/cluster/messages/inflight", "inflight"),
    ("$SYS/cluster/subscriptions/count", "subscriptions"),
    ("$SYS/cluster/subscriptions/shared", "subscriptions_shared"),
];

/// What one gateway tells of itself, by the names of `/mqtt/stats`.
type Numbers = BTreeMap<String, u64>;

/// Asks every other gateway, and adds up what those have told that answer in time.
pub(super) async fn totals(
    cluster: &Cluster,
    own: &Figures,
    max_age: Duration,
) -> Vec<(&'static str, String)> {
    let request = StatsRequest {
        cluster_id: cluster.id.clone(),
        is_brief: false,
        max_age: u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX),
    };
    let asked = others(cluster).into_iter().map(|gateway| {
        let request = request.clone();
        async move {
            let mut desk = DeskClient::new(cluster.peers.way(gateway).ok()?);
            let answer = tokio::time::timeout(PATIENCE, desk.stats(request)).await;
            // One that does not answer is not in the sums, and `gateways` says so.
            Some(answer.ok()?.ok()?.into_inner().figures)
        }
    });
    let mut all = vec![own.numbers()];
    all.extend(join_all(asked).await.into_iter().flatten());
    add_up(&all)
}

/// The other gateways that take part.
fn others(cluster: &Cluster) -> Vec<u64> {
    let view = cluster.view.lock();
    let others = view.members.iter().filter(|(incarnation, member)| {
        **incarnation != view.own && member.role == Role::Gateway && !member.is_fenced
    });
    others.map(|(incarnation, _)| *incarnation).collect()
}

/// The topics with their values, of what every gateway has told.
fn add_up(all: &[Numbers]) -> Vec<(&'static str, String)> {
    let sum = |figure: &str| {
        let figures = all.iter().filter_map(|numbers| numbers.get(figure));
        figures.fold(0, |sum: u64, value| sum.saturating_add(*value))
    };
    let sums = SUMS
        .iter()
        .map(|(topic, figure)| (*topic, sum(figure).to_string()));
    let n_gateways = ("$SYS/cluster/gateways", all.len().to_string());
    // All of them have the same retained messages, and hear of a new one a moment apart.
    let retained = all.iter().filter_map(|numbers| numbers.get("retained"));
    let retained = retained.max().copied().unwrap_or(0);
    let retained = ("$SYS/cluster/retained", retained.to_string());
    sums.chain([n_gateways, retained]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(figures: &[(&str, u64)]) -> Numbers {
        let figures = figures.iter();
        figures
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn gateways_are_added_up_and_what_they_have_in_common_is_not() {
        let all = [
            numbers(&[("clients_connected", 2), ("retained", 5)]),
            numbers(&[("clients_connected", 3), ("retained", 6)]),
        ];
        let totals: BTreeMap<_, _> = add_up(&all).into_iter().collect();
        assert_eq!(totals["$SYS/cluster/clients/connected"], "5");
        assert_eq!(totals["$SYS/cluster/retained"], "6");
        assert_eq!(totals["$SYS/cluster/gateways"], "2");
        assert_eq!(totals["$SYS/cluster/messages/sent"], "0");
    }

    #[test]
    fn every_sum_is_of_a_figure_that_gateways_tell() {
        let names = serde_json::to_value(Figures::default());
        let names = names.expect("figures are JSON");
        for (topic, figure) in SUMS {
            assert!(names.get(figure).is_some(), "{topic}: {figure}");
        }
    }
}
