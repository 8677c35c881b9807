//! What the crate `memberlist` calls: it asks the table, and what follows is told to those who
//! watch, and logged.
//!
//! The crate calls from within its own locks, so nothing here waits.

use super::member::{Departure, Event, Member};
use super::table::{Peer, Refusal, Table};
use memberlist::bytes::Bytes;
use memberlist::delegate::{
    AliveDelegate, ConflictDelegate, Delegate, EventDelegate, MergeDelegate, NodeDelegate,
    PingDelegate,
};
use memberlist::proto::{self, NodeId, NodeState, State};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};

/// The name of a node, as the crate keeps it.
pub(super) type Id = NodeId<{ super::config::MAX_NAME }>;

type Node = NodeState<Id, SocketAddr>;

/// The table, and those who are told what follows.
#[derive(Debug)]
pub(super) struct Shared {
    table: Mutex<Table>,
    pub(super) members: watch::Sender<Arc<[Member]>>,
    pub(super) events: broadcast::Sender<Event>,
    /// Addresses of nodes said to have this node's name. One that finds no room comes again.
    contested: mpsc::Sender<SocketAddr>,
    /// The node whose knowledge was taken in last.
    pub(super) met: watch::Sender<Option<SocketAddr>>,
    /// Counts the messages of this node that came back to it.
    pub(super) echoes: watch::Sender<u64>,
    token: u64,
}

/// The crate's way to the table.
#[derive(Clone, Debug)]
pub(super) struct Hooks(pub(super) Arc<Shared>);

// === impl Shared ===

impl Shared {
    pub(super) fn new(table: Table, contested: mpsc::Sender<SocketAddr>) -> Self {
        let token = table.own_meta().token;
        let shared = Self {
            table: Mutex::new(table),
            members: watch::Sender::new(Arc::default()),
            events: broadcast::Sender::new(N_EVENTS),
            contested,
            met: watch::Sender::new(None),
            echoes: watch::Sender::new(0),
            token,
        };
        shared.with(|_| ());
        shared
    }

    /// Does something with the table, and tells what follows before anyone else can do more.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut table);
        let outcome = table.take_outcome();
        if let Some(members) = outcome.members {
            self.members.send_replace(members);
        }
        for event in outcome.events {
            log(&event, table.own_name());
            // Nobody listening is no error.
            let _ = self.events.send(event);
        }
        if outcome.met.is_some() {
            self.met.send_replace(outcome.met);
        }
        if let Some(address) = outcome.contested {
            let _ = self.contested.try_send(address);
        }
        result
    }

    /// A message that only this process recognizes when it comes back.
    pub(super) fn echo(&self) -> Bytes {
        Bytes::from([ECHO, &self.token.to_be_bytes()].concat())
    }
}

/// Events that a listener may be behind before it misses some.
const N_EVENTS: usize = 256;
const ECHO: &[u8] = b"gatemq echo ";

/// Tells what happened to operators.
fn log(event: &Event, own_name: &str) {
    match event {
        Event::Joined { member, before } => {
            let (name, address, roles) = (&member.name, member.address, roles(member));
            match before {
                None => tracing::info!(%name, %address, %roles, "joined"),
                Some(before) if before.address != address => {
                    let before = before.address;
                    tracing::info!(%name, %address, %before, %roles, "joined: changed address");
                }
                Some(before) if before.token != member.token() => {
                    tracing::info!(%name, %address, %roles, "joined: restarted");
                }
                Some(_) => tracing::info!(%name, %address, %roles, "joined: is back"),
            }
        }
        Event::Restarted { member, .. } => {
            let (name, address, roles) = (&member.name, member.address, roles(member));
            tracing::info!(%name, %address, %roles, "restarted");
        }
        Event::Updated(member) => {
            let (name, meta) = (&member.name, &member.meta);
            tracing::debug!(%name, ?meta, "says something else of itself");
        }
        Event::Left { member, how } => {
            let (name, address) = (&member.name, member.address);
            match how {
                Departure::Left => tracing::info!(%name, %address, "left"),
                Departure::Failed => tracing::warn!(%name, %address, "failed"),
                Departure::OtherCluster => {
                    tracing::warn!(%name, %address, "is no member: it is of another cluster");
                }
            }
        }
        Event::Unreadable {
            name,
            address,
            error,
        } => tracing::warn!(
            %name, %address, %error, "what the node says of itself cannot be read: is it of \
             another version?"
        ),
        Event::OtherCluster(stranger) => tracing::error!("{stranger}"),
        // Whether they are two is looked into.
        Event::NameContested { name, holder, .. } if name == own_name => {
            tracing::debug!(%holder, "this node's name is asked for");
        }
        Event::NameContested {
            name,
            holder,
            asking,
        } => tracing::warn!(
            %name, %holder, %asking, "two nodes have one name: the one that asks for it is let in \
             once the other is gone"
        ),
        // Said by whoever knows which of the two is to go on.
        Event::NameTaken(_) => {}
    }
}

fn roles(member: &Member) -> String {
    let meta = member.meta.as_ref();
    meta.map_or_else(|| "unknown".to_owned(), |meta| meta.roles.to_string())
}

fn peer(node: &Node) -> Peer<'_> {
    Peer {
        name: node.id().as_str(),
        address: *node.address(),
        meta: node.meta().as_bytes(),
    }
}

// === impl Hooks ===

impl Delegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;
}

impl AliveDelegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;
    type Error = Refusal;

    async fn notify_alive(&self, node: Arc<Node>) -> Result<(), Refusal> {
        self.0.with(|table| table.admit(peer(&node)))
    }
}

impl MergeDelegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;
    type Error = Refusal;

    async fn notify_merge(&self, nodes: Arc<[Node]>) -> Result<(), Refusal> {
        let alive = |node: &&Node| matches!(node.state(), State::Alive | State::Suspect);
        let peers: Vec<Peer<'_>> = nodes.iter().filter(alive).map(peer).collect();
        self.0.with(|table| table.judge(&peers))
    }
}

impl EventDelegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;

    async fn notify_join(&self, node: Arc<Node>) {
        self.0.with(|table| table.on_present(peer(&node)));
    }

    async fn notify_leave(&self, node: Arc<Node>) {
        self.0.with(|table| table.on_gone(node.id().as_str()));
    }

    async fn notify_update(&self, node: Arc<Node>) {
        self.0.with(|table| table.on_present(peer(&node)));
    }
}

impl ConflictDelegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;

    async fn notify_conflict(&self, existing: Arc<Node>, other: Arc<Node>) {
        let (holder, asking) = (*existing.address(), *other.address());
        self.0
            .with(|table| table.on_conflict(existing.id().as_str(), holder, asking));
    }
}

impl NodeDelegate for Hooks {
    async fn node_meta(&self, _limit: usize) -> proto::Meta {
        let bytes = self.0.with(|table| table.own_meta().encode());
        // Whoever sets it looks at its length first.
        let meta = bytes
            .ok()
            .and_then(|bytes| proto::Meta::try_from(bytes).ok());
        meta.unwrap_or_default()
    }

    async fn notify_message(&self, message: Cow<'_, [u8]>) {
        if message.as_ref() == self.0.echo() {
            self.0.echoes.send_modify(|count| *count += 1);
        }
    }
}

impl PingDelegate for Hooks {
    type Id = Id;
    type Address = SocketAddr;

    async fn ack_payload(&self) -> Bytes {
        Bytes::new()
    }

    async fn notify_ping_complete(&self, _node: Arc<Node>, _round_trip: Duration, _load: Bytes) {}
}
