//! Gateways of a cluster without a control plane: for tests.

use gatemq_router::peer;
use tokio::net::TcpListener;

use super::view::Member;
use super::*;
use crate::proto::cluster::state::Role;

/// How long their leases run, in milliseconds: longer than a test.
const LEASED: u64 = 3_600_000;

impl Cluster {
    /// The first gateway of a cluster in which nobody answers.
    pub(crate) fn alone(
        store: &Store,
        clock: Clock,
        tasks: (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        Self::numbered(1, store, clock, tasks)
    }

    /// One of such a cluster, with this incarnation.
    pub(crate) fn numbered(
        incarnation: u64,
        store: &Store,
        clock: Clock,
        tasks: (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        let config = Config {
            name: format!("g{incarnation}"),
            control: watch::channel(Vec::new()).1,
            http_address: String::new(),
            subscribe_timeout: Duration::from_secs(1),
            bridge_wait: Duration::from_secs(1),
            dialer: Dialer::default(),
        };
        let joined = Joined {
            cluster_id: bytes::Bytes::from_static(&[7; 16]),
            incarnation,
        };
        let metrics =
            peer::Metrics::register(&mut prometheus_client::registry::Registry::default());
        let joined = (Introduction::default(), joined);
        Self::new(&config, joined, store, clock, metrics, tasks)
    }

    /// Gives it a lease.
    pub(crate) fn begin_lease(&self, now: u64) {
        self.lease.renew(now + LEASED, now);
    }

    /// How many messages have come back to it since this was asked last.
    pub(crate) fn n_returned(&self) -> usize {
        self.returns.take_now().len()
    }

    /// Takes what other gateways send, one of which knows of it.
    pub(crate) async fn meet(&self, broker: &Arc<Broker>, other: &Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let service = peer::service(
            self.identity.clone(),
            Arc::new(Inbound(broker.clone())),
            Releasing(broker.clone()),
            self.metrics.clone(),
            broker.tasks.clone(),
            broker.tasks_end.clone(),
        );
        let stop = broker.tasks_end.clone().cancelled_owned();
        let server: tonic::transport::Server = tonic::transport::Server::builder();
        let serving = peer::tune(server, SILENCE)
            .add_service(service)
            .serve_with_incoming_shutdown(peer::incoming(listener), stop);
        watch_over(&broker.tasks, "server", async move {
            serving.await.expect("it serves until the test ends");
        });
        other.peers.set_node(self.incarnation(), &address);
        let member = Member {
            name: self.config.name.clone(),
            role: Role::Gateway,
            peer_address: address,
            is_fenced: false,
        };
        other.view.lock().members.insert(self.incarnation(), member);
    }
}
