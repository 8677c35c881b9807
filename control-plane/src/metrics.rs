//! What `/metrics` shows of a node of the control plane.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::consensus::Consensus;

/// The figures of this node, as it sees the others.
pub struct ControlPlaneMetrics(Consensus);

/// What is shown.
#[derive(Clone, Debug, Default)]
struct Figures {
    node: u64,
    leader: u64,
    term: u64,
    last_log: u64,
    committed: u64,
    applied: u64,
    n_voters: usize,
    n_nodes: usize,
    n_silent: usize,
    n_members: usize,
    n_routes: usize,
}

// === impl ControlPlaneMetrics ===

impl ControlPlaneMetrics {
    /// Those of this node.
    #[must_use]
    pub fn new(consensus: &Consensus) -> Self {
        Self(consensus.clone())
    }

    fn figures(&self) -> Figures {
        let status = self.0.status();
        let (n_members, n_routes) = self.0.with_state(|state| {
            let members = state.members().filter(|(_, member)| !member.is_fenced());
            (members.count(), state.n_routes())
        });
        Figures {
            node: status.node,
            leader: status.leader,
            term: status.term,
            last_log: status.last_log,
            committed: status.committed,
            applied: status.applied,
            n_voters: status.voters.len(),
            n_nodes: status.nodes.len(),
            n_silent: status.silent.len(),
            n_members,
            n_routes,
        }
    }
}

impl fmt::Debug for ControlPlaneMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ControlPlaneMetrics")
            .finish_non_exhaustive()
    }
}

impl Collector for ControlPlaneMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        write(&self.figures(), &mut encoder)
    }
}

fn write(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let leads = figures.leader != 0 && figures.leader == figures.node;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let gauges = [
        ("leads", "Whether this node leads", u64::from(leads)),
        (
            "knows_leader",
            "Whether this node knows who leads",
            u64::from(figures.leader != 0),
        ),
        (
            "term",
            "How many elections there were: each is another term",
            figures.term,
        ),
        (
            "log_last",
            "The last entry of this node's log",
            figures.last_log,
        ),
        (
            "log_committed",
            "The last entry that is committed, as far as this node knows",
            figures.committed,
        ),
        (
            "log_applied",
            "The last entry that this node has applied",
            figures.applied,
        ),
        ("voters", "Nodes that vote", count(figures.n_voters)),
        (
            "nodes",
            "Nodes of the control plane, with those that do not vote",
            count(figures.n_nodes),
        ),
        (
            "silent_nodes",
            "Nodes of the control plane that do not answer this one",
            count(figures.n_silent),
        ),
        (
            "members",
            "Gateways and bridges that are members",
            count(figures.n_members),
        ),
        (
            "routes",
            "Filters, each counted for every node that has subscribers of it",
            count(figures.n_routes),
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let name = format!("control_{name}");
        gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct Fixed(Figures);

    impl Collector for Fixed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            write(&self.0, &mut encoder)
        }
    }

    fn shown(figures: Figures) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed(figures)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        text
    }

    #[test]
    fn a_node_leads_if_the_leader_is_itself() {
        for (leader, leads, knows) in [(3, 1, 1), (1, 0, 1), (0, 0, 0)] {
            let text = shown(Figures {
                node: 3,
                leader,
                n_voters: 5,
                ..Figures::default()
            });
            for line in [
                format!("control_leads {leads}\n"),
                format!("control_knows_leader {knows}\n"),
                "control_voters 5\n".to_owned(),
            ] {
                assert!(text.contains(&line), "{line}: {text}");
            }
        }
        let young = shown(Figures::default());
        assert!(
            young.contains("control_leads 0\n"),
            "without a number: {young}"
        );
    }
}
