//! The bridge of this process, if it is one: its spool, its ways to Kafka, and its place in the
//! cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_bridge::bridge::Disk;
use gatemq_bridge::bridge::StartError as NotStarted;
use gatemq_bridge::cluster::{Door, JoinError, Member};
use gatemq_bridge::consume::{Consumer, Options};
use gatemq_bridge::metrics::{BridgeMetrics, ConsumeMetrics, ReceiveMetrics};
use gatemq_bridge::mqtt::Identity;
use gatemq_bridge::mqtt::inbound::{self, Receiver};
use gatemq_bridge::rules::Rules;
use gatemq_bridge::{Bridge, Plan, cluster};
use gatemq_node::Shutdown;
use gatemq_node::admin::Hindrance;
use gatemq_node::config::Problem;
use gatemq_node::fatal;
use gatemq_node::membership::{Member as Node, Roles};
use gatemq_node::trace::Tracer;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use crate::config::Config;

/// A bridge that runs, and that no gateway knows of yet.
pub struct Prepared {
    bridge: Arc<Bridge>,
    rules: Arc<Rules>,
    consumers: Vec<Options>,
    receivers: Vec<inbound::Plan>,
    identity: Identity,
    door: Door,
}

/// A bridge that gateways send to.
pub struct Running {
    address: SocketAddr,
    bridge: Arc<Bridge>,
    consumers: Vec<Consumer>,
    receivers: Vec<Receiver>,
    member: Member,
}

/// Why there is no bridge.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it is to do cannot be done.
    #[error("bridge.{}: {}", .0.key, .0.what)]
    Config(Problem),
    /// A rule from Kafka does not start.
    #[error("bridge: from-kafka {0}: {1}")]
    Consumer(String, String),
    /// It does not start.
    #[error("bridge: {0}")]
    Bridge(#[from] NotStarted),
    /// It does not become part of its cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl Prepared {
    /// Opens what it needs on this machine; Kafka need not be there.
    ///
    /// # Errors
    ///
    /// Something on this machine is in the way.
    pub async fn new(config: &Config, tracer: Tracer) -> Result<Self, StartError> {
        let plan = config.bridge.plan().map_err(StartError::Config)?;
        let mut receivers = config.bridge.receivers(&plan).map_err(StartError::Config)?;
        let mut plan = Plan { tracer, ..plan };
        let remotes = receivers.iter_mut().map(|receiver| &mut receiver.remote);
        for remote in plan.remotes.iter_mut().chain(remotes) {
            remote.name_clients(&config.name());
        }
        let identity = plan.identity.clone();
        let consumers = config.bridge.consumers().map_err(StartError::Config)?;
        let door = Door::bind(config.cluster.peer(), &config.cluster.advertise_ip);
        let door = door.await.map_err(JoinError::from)?;
        let disk = Disk::At(PathBuf::from(&config.bridge.spool.path));
        let bridge = Bridge::start(plan, disk, |error| {
            fatal::end(fatal::STORE_FAILED, &format!("the spool failed: {error}"));
        })?;
        let bridge = Arc::new(bridge);
        Ok(Self {
            rules: Arc::new(Rules::new(config.bridge.clone(), bridge.clone())),
            bridge,
            consumers,
            receivers,
            identity,
            door,
        })
    }

    /// Makes it part of the cluster, and returns when whatever is published later comes to it.
    ///
    /// # Errors
    ///
    /// The cluster does not take it.
    pub async fn start(
        self,
        told: cluster::Config,
        metrics: &mut Registry,
        shutdown: &Shutdown,
    ) -> Result<Running, StartError> {
        metrics.register_collector(Box::new(BridgeMetrics::new(&self.bridge)));
        let of_streams = cluster::Metrics::register(metrics);
        let (stop, address) = (shutdown.token(), self.door.bound);
        let joining = Member::join(told, self.door, self.rules, of_streams, stop);
        let member = joining.await?;
        let outbound = member.outbound();
        let id = member.cluster_id();
        let mark: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        self.identity
            .get_or_init(|| gatemq_bridge::mqtt::mark(&mark));
        let mut consumers = Vec::with_capacity(self.consumers.len());
        for options in self.consumers {
            let name = options.rule.name.clone();
            let started = Consumer::start(options, &outbound);
            consumers.push(started.map_err(|error| StartError::Consumer(name, error.to_string()))?);
        }
        let gauges = consumers.iter().map(Consumer::gauge).collect();
        metrics.register_collector(Box::new(ConsumeMetrics(gauges)));
        let receivers = self.receivers.into_iter();
        let receivers: Vec<_> = receivers
            .map(|plan| Receiver::start(plan, &outbound))
            .collect();
        let counters = receivers.iter().map(Receiver::counters).collect();
        metrics.register_collector(Box::new(ReceiveMetrics(counters)));
        Ok(Running {
            address,
            member,
            bridge: self.bridge,
            consumers,
            receivers,
        })
    }
}

impl Running {
    /// Tells, whenever it is asked, what keeps it from its work.
    pub fn hindrance(&self) -> impl Fn() -> Option<Hindrance> + Send + Sync + 'static + use<> {
        self.member.hindrance()
    }

    /// Where gateways reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Bytes {
        self.member.cluster_id()
    }

    /// Finishes what it has, as far as there is time, and leaves; what other brokers have for this
    /// cluster is left to other bridges, where some go on.
    pub async fn stop(self, others_go_on: bool, grace: Duration) {
        let receivers = self.receivers.into_iter();
        let leaving: JoinSet<_> = receivers.map(|it| it.stop(others_go_on)).collect();
        // What they have brought is answered before the way into the cluster ends.
        let consumers = self.consumers;
        let stopping = tokio::task::spawn_blocking(|| drop(consumers));
        let both = async {
            leaving.join_all().await;
            stopping.await
        };
        let _ = tokio::time::timeout(grace, both).await;
        self.member.leave(grace).await;
        // Somebody who still has it keeps it for the rest of the process.
        if let Some(bridge) = Arc::into_inner(self.bridge) {
            let _ = tokio::task::spawn_blocking(|| bridge.stop()).await;
        }
    }
}

/// Whether a bridge goes on that comes before this node by name. The first of all leaves its work to
/// nobody: where all end, what other brokers have for this cluster waits for it.
pub fn is_one_before(nodes: &[Node]) -> bool {
    let Some(own) = nodes.iter().find(|node| node.is_self) else {
        return false;
    };
    let is_bridge = |node: &Node| {
        let meta = node.meta.as_ref();
        meta.is_some_and(|meta| meta.roles.contains(Roles::BRIDGE) && !meta.is_leaving)
    };
    let mut others = nodes.iter().filter(|node| node.name < own.name);
    others.any(is_bridge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_node::membership::Meta;

    fn node(name: &str, roles: Roles, is_leaving: bool, is_self: bool) -> Node {
        let meta = Meta {
            roles,
            is_leaving,
            ..Meta::default()
        };
        Node {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], 1).into(),
            meta: Some(Arc::new(meta)),
            is_self,
        }
    }

    #[test]
    fn the_first_bridge_that_goes_on_keeps_its_work() {
        let own = node("b-2", Roles::BRIDGE, true, true);
        for (other, expected) in [
            (node("b-1", Roles::BRIDGE, false, false), true),
            (node("b-1", Roles::BRIDGE, true, false), false),
            (node("b-1", Roles::GATEWAY, false, false), false),
            (node("b-3", Roles::BRIDGE, false, false), false),
        ] {
            assert_eq!(
                is_one_before(&[other.clone(), own.clone()]),
                expected,
                "{other:?}"
            );
        }
        assert!(!is_one_before(&[own]));
    }
}
