//! A control plane without Raft: a log in memory that all nodes apply at once, and leaders by
//! decree; with real services on real sockets.

use crate::service::replica::Holder;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::prost::bytes::Bytes;
use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Fence, Member as MemberPart, Role};
use gatemq_proto::cluster::state::{
    Members, Part, Register, Route, RoutePart, Routes, Summary, command, part,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};

use super::super::replica::{Leadership, ProposeError};
use super::*;
use crate::leases::Member;

pub(super) const CLUSTER: &[u8] = b"0123456789abcdef";

/// Short enough for tests, long enough for a busy machine.
pub(super) const TERMS: Terms = Terms {
    lease: Duration::from_millis(700),
    margin: Duration::from_millis(100),
    quorum_within: Duration::from_millis(300),
    fence_after: Duration::from_millis(1200),
    hold: Duration::from_millis(50),
};

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    log: Arc<Mutex<Log>>,
    pub(super) token: CancellationToken,
    pub(super) tracker: TaskTracker,
}

pub(super) struct Node {
    pub(super) fake: Arc<Fake>,
    pub(super) service: Service<Fake>,
    pub(super) address: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Fake {
    node: u64,
    feed: Arc<Feed>,
    applied: Mutex<Table>,
    leadership: watch::Sender<Leadership>,
    log: Arc<Mutex<Log>>,
    pub(super) will: Mutex<Will>,
}

/// What a node does as it should not.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) quorum_age: Option<Duration>,
    /// It applies nothing.
    pub(super) is_behind: bool,
    /// Its proposals never end.
    pub(super) is_stuck: bool,
}

#[derive(Debug, Default)]
struct Log {
    term: u64,
    /// Entry `i` has index `i + 1`; one without a kind is no command.
    entries: Vec<Command>,
    nodes: Vec<Arc<Fake>>,
}

/// The state, as little as is needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    revision: u64,
    members: BTreeMap<u64, Option<Why>>,
    routes: BTreeMap<u64, Vec<Route>>,
}

pub(super) fn config() -> Config {
    Config {
        terms: TERMS,
        ..Config::default()
    }
}

/// With leases so long that none runs out while a test runs.
pub(super) fn patient() -> Config {
    let lease = Duration::from_secs(600);
    let terms = Terms {
        lease,
        fence_after: 2 * lease,
        ..TERMS
    };
    Config { terms, ..config() }
}

// === impl Cluster ===

impl Cluster {
    /// Nodes 1 and up; node 1 leads.
    pub(super) async fn start(n_nodes: u64) -> Self {
        Self::start_with(n_nodes, Bounds::default(), config()).await
    }

    pub(super) async fn start_patient(n_nodes: u64) -> Self {
        Self::start_with(n_nodes, Bounds::default(), patient()).await
    }

    pub(super) async fn start_with(n_nodes: u64, bounds: Bounds, config: Config) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            log: Arc::default(),
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        for node in 1..=n_nodes {
            cluster.add(node, bounds, config).await;
        }
        cluster.lead(1);
        cluster
    }

    async fn add(&mut self, node: u64, bounds: Bounds, config: Config) {
        let feed = Feed::new(bounds, 0);
        let fake = Arc::new(Fake {
            node,
            feed: Arc::clone(&feed),
            applied: Mutex::default(),
            leadership: watch::Sender::new(Leadership::Unknown),
            log: Arc::clone(&self.log),
            will: Mutex::new(Will {
                quorum_age: Some(Duration::ZERO),
                is_behind: false,
                is_stuck: false,
            }),
        });
        self.log.lock().nodes.push(Arc::clone(&fake));
        let (tracker, token) = (self.tracker.clone(), self.token.clone());
        let service = Service::start(
            config,
            Dialer::default(),
            Arc::clone(&fake),
            feed,
            tracker,
            token,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = service.server();
        let end = self.token.clone().cancelled_owned();
        self.tracker.spawn(async move {
            let serve = Server::builder().serve_with_incoming_shutdown(server, incoming, end);
            serve.await.unwrap();
        });
        self.nodes.push(Node {
            fake,
            service,
            address,
        });
    }

    /// Node `leader` takes office, and all know.
    pub(super) fn lead(&self, leader: u64) {
        let (term, floor) = {
            let mut log = self.log.lock();
            log.term += 1;
            log.append(Command::default());
            (log.term, log.entries.len() as u64)
        };
        let address = self.node(leader).address.to_string();
        for node in &self.nodes {
            node.fake
                .leadership
                .send_replace(match node.fake.node == leader {
                    true => Leadership::Leading { term, floor },
                    false => Leadership::Following {
                        term,
                        leader,
                        address: address.clone(),
                    },
                });
        }
    }

    pub(super) fn node(&self, node: u64) -> &Node {
        &self.nodes[node as usize - 1]
    }

    /// Commits a command, whoever leads.
    pub(super) fn commit(&self, kind: command::Kind) -> u64 {
        self.log.lock().append(Command { kind: Some(kind) })
    }

    /// A new incarnation.
    pub(super) fn register(&self) -> u64 {
        self.commit(command::Kind::Register(Register::default()))
    }

    pub(super) fn fence(&self, incarnation: u64) -> u64 {
        let why = Why::Removed.into();
        self.commit(command::Kind::Fence(Fence { incarnation, why }))
    }

    pub(super) async fn stop(self) {
        self.token.cancel();
        self.tracker.close();
        timeout(DEADLINE, self.tracker.wait())
            .await
            .expect("all tasks end");
    }
}

impl Node {
    pub(super) async fn client(&self) -> ControlClient<Channel> {
        ControlClient::connect(format!("http://{}", self.address))
            .await
            .unwrap()
    }
}

// === impl Fake ===

impl Fake {
    pub(super) fn set_behind(&self, is_behind: bool) {
        self.will.lock().is_behind = is_behind;
        let log = self.log.lock();
        self.apply(&log);
    }

    pub(super) fn forget_leader(&self) {
        self.leadership.send_replace(Leadership::Unknown);
    }

    pub(super) fn follow(&self, address: &str) {
        self.leadership.send_replace(Leadership::Following {
            term: 99,
            leader: 99,
            address: address.to_owned(),
        });
    }

    fn apply(&self, log: &Log) {
        if self.will.lock().is_behind {
            return;
        }
        let from = self.applied.lock().revision;
        for (index, command) in (1..).zip(&log.entries).skip(from as usize) {
            self.applied.lock().apply(index, command);
            match command.kind {
                Some(_) => self.feed.applied(index, command),
                None => self.feed.advance(index),
            }
        }
    }
}

impl Log {
    fn append(&mut self, command: Command) -> u64 {
        self.entries.push(command);
        for node in &self.nodes {
            node.apply(self);
        }
        self.entries.len() as u64
    }
}

impl Replica for Fake {
    type View = Table;

    fn node(&self) -> u64 {
        self.node
    }

    fn view(&self) -> Table {
        self.applied.lock().clone()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    fn quorum_age(&self) -> Option<Duration> {
        self.will.lock().quorum_age
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        if !matches!(*self.leadership.borrow(), Leadership::Leading { .. }) {
            return Err(ProposeError::NotLeader);
        }
        if self.will.lock().is_stuck {
            std::future::pending::<()>().await;
        }
        let index = self.log.lock().append(command);
        Ok(Outcome {
            index,
            refused: String::new(),
        })
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinReply, Status> {
        Ok(JoinReply {
            number: request.number,
            ..JoinReply::default()
        })
    }

    fn status(&self) -> StatusReply {
        StatusReply {
            node: self.node,
            ..StatusReply::default()
        }
    }
}

// === impl Table ===

impl Table {
    fn apply(&mut self, index: u64, command: &Command) {
        self.revision = index;
        match &command.kind {
            Some(command::Kind::Register(_)) => {
                self.members.insert(index, None);
            }
            Some(command::Kind::Fence(fence)) => {
                self.members.insert(fence.incarnation, Some(fence.why()));
            }
            Some(command::Kind::Routes(Routes {
                incarnation, set, ..
            })) => {
                self.routes.insert(*incarnation, set.clone());
            }
            _ => {}
        }
    }
}

impl View for Table {
    fn cluster_id(&self) -> Bytes {
        Bytes::from_static(CLUSTER)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn parts(&self) -> impl Iterator<Item = Part> + Send + '_ {
        let summary = part::Kind::Summary(Summary {
            cluster_id: self.cluster_id(),
            control_size: 3,
            store: String::new(),
        });
        let members = self
            .members
            .iter()
            .map(|(&incarnation, fenced)| MemberPart {
                incarnation,
                fenced: fenced.unwrap_or_default().into(),
                ..MemberPart::default()
            });
        let members = part::Kind::Members(Members {
            control: Vec::new(),
            members: members.collect(),
        });
        let routes = self.routes.iter().map(|(&incarnation, routes)| {
            part::Kind::Routes(RoutePart {
                incarnation,
                routes: routes.clone(),
            })
        });
        let kinds = [summary, members].into_iter().chain(routes);
        kinds.map(|kind| Part { kind: Some(kind) })
    }

    fn member(&self, incarnation: u64) -> Option<Member> {
        let fenced = *self.members.get(&incarnation)?;
        Some(Member {
            incarnation,
            fenced,
        })
    }

    fn members(&self) -> Vec<Member> {
        self.members
            .keys()
            .filter_map(|&incarnation| self.member(incarnation))
            .collect()
    }

    fn name(&self, _: u64) -> Option<String> {
        None
    }

    fn holder(&self, _: &str, _: Role, _: u64) -> Option<Holder> {
        None
    }
}
