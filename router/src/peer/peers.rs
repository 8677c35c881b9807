//! The lanes to all other nodes: where the gateway hands over what others are to deliver.
//!
//! Before it comes the match, which says which nodes want a message; `lane` carries it on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use gatemq_proto::cluster::peer::peer_client::PeerClient;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::transport::Channel;

use super::congestion::Congestion;
use super::lane::{Lane, Road};
use super::outbox::Limits;
use super::receipt::{Receipt, Verdict};
use super::transport::{Dial, Plain, endpoint};
use super::{Identity, MAX_MESSAGE, Metrics, Parcel, ReleaseReply, ReleaseRequest};

/// Bounds of the road. A message counts as its bytes and 128 more.
///
/// In memory are at most: `outbox_bytes` that wait, and beyond them what publishers who have not
/// stopped yet had read already; for each destination and lane `credit_bytes` that are unanswered,
/// or one larger message; and about 2 MiB that HTTP/2 has taken and not written.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node this is.
    pub identity: Identity,
    /// How other nodes are connected to.
    pub dial: Arc<dyn Dial>,
    /// Streams for each destination, at least 1. More let one destination use more cores.
    pub n_lanes: u32,
    /// Messages of QoS 1 and 2 that may be unanswered on a stream, at least 1. With all lanes
    /// together no more than the window of the destination's [`super::Seen`].
    pub credit_messages: usize,
    /// And their bytes; one larger message may be alone.
    pub credit_bytes: usize,
    /// Bytes that may wait in all lanes together. Beyond it QoS 0 is dropped, and
    /// [`Peers::is_congested`] says that publishers should stop.
    pub outbox_bytes: usize,
    /// How long a node may say nothing, not even to HTTP/2's pings, before its stream counts as
    /// broken; a ping is sent after half of it, so it is noticed after one and a half.
    pub silence: Duration,
    /// Told of what has panicked: a "lane", by which nothing leaves any more and what it holds is
    /// never settled, or a "receipt", of which whoever waits for it is not told.
    pub on_panic: fn(&str),
}

/// The ways to all other nodes. A clone is the same ways; the last one ends their tasks.
pub struct Peers<R> {
    inner: Arc<Inner<R>>,
}

struct Inner<R> {
    road: Arc<Road>,
    n_lanes: u32,
    nodes: RwLock<HashMap<u64, Arc<Node<R>>, RandomState>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    runtime: Handle,
}

struct Node<R> {
    lanes: Box<[Arc<Lane<R>>]>,
    address: watch::Sender<String>,
    /// Ends its tasks; cancelled once it is removed.
    stop: CancellationToken,
    /// For calls that are no messages: the address that it is to, and the way.
    channel: Mutex<Option<(String, Channel)>>,
}

// === impl Config ===

impl Config {
    /// The defaults: plain connections, 2 lanes, 16,384 messages and 16 MiB of credit, 64 MiB that may wait, 3 s of
    /// silence.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            dial: Arc::new(Plain),
            n_lanes: 2,
            credit_messages: 16_384,
            credit_bytes: 16 << 20,
            outbox_bytes: 64 << 20,
            silence: Duration::from_secs(3),
            on_panic: |what| tracing::error!(what, "something panicked"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            credit_messages: self.credit_messages.max(1),
            credit_bytes: self.credit_bytes,
            batch_messages: BATCH_MESSAGES,
            batch_bytes: BATCH_BYTES,
            idle_bytes: IDLE_BYTES,
        }
    }
}

// === impl Peers ===

impl<R: Receipt> Peers<R> {
    /// No ways yet. `clock` is what expiries are given by, in milliseconds; it is read once for a
    /// batch with a message that expires. Tasks run on the runtime that this is called on, and
    /// end when `stop` is cancelled; receipts that are unsettled then stay so.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(
        config: &Config,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        metrics: Metrics,
        tracker: TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let road = Road {
            identity: config.identity.clone(),
            dial: Arc::clone(&config.dial),
            limits: config.limits(),
            silence: config.silence,
            clock: Arc::new(clock),
            congestion: Congestion::new(config.outbox_bytes, metrics.waiting_bytes.clone()),
            metrics,
            emptied: Notify::new(),
            on_panic: config.on_panic,
        };
        let inner = Inner {
            road: Arc::new(road),
            n_lanes: config.n_lanes.max(1),
            nodes: RwLock::default(),
            tracker,
            stop: stop.child_token(),
            runtime: Handle::current(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A node has appeared, or has another address (host and port). Nothing is connected before
    /// there is a message for it.
    pub fn set_node(&self, incarnation: u64, address: &str) {
        let mut nodes = self.inner.nodes.write();
        forget_removed(&mut nodes);
        let node = nodes
            .entry(incarnation)
            .or_insert_with(|| Arc::new(self.inner.new_node(incarnation, address)));
        node.address.send_if_modified(|known| {
            let is_new = known != address;
            if is_new {
                address.clone_into(known);
            }
            is_new
        });
    }

    /// A node is fenced and gone: all that it has not answered is settled with
    /// [`Verdict::Moved`], in order, and its messages of QoS 0 are dropped.
    pub fn remove_node(&self, incarnation: u64) {
        let node = self.inner.nodes.read().get(&incarnation).cloned();
        let Some(node) = node else { return };
        // It stays known until its last receipt is settled: a message for it that comes meanwhile
        // must not be settled before those ahead of it.
        node.close();
        forget_removed(&mut self.inner.nodes.write());
    }

    /// This node was taken for gone, and comes back as another incarnation: all that no node has
    /// answered is settled with [`Verdict::Moved`], in order for each lane, and no node is known
    /// until it is set again.
    pub fn begin_again(&self) {
        let nodes = std::mem::take(&mut *self.inner.nodes.write());
        nodes.into_values().for_each(|node| node.close());
    }

    /// Puts a message on its way. `lane_key` is a hash of the publisher: what has the same key
    /// arrives in order. Never blocks or awaits.
    ///
    /// False if it was dropped: of QoS 0 and beyond the bound, or while there is no stream and
    /// 4 MiB wait for one; too large; or the node is unknown or gone. A receipt is then settled
    /// with [`Verdict::Moved`], of a message that is too large with [`Verdict::Refused`]. A message
    /// of QoS 0 needs no receipt; one that it has is settled as accepted when it is sent.
    pub fn forward(
        &self,
        incarnation: u64,
        lane_key: u64,
        parcel: Parcel,
        receipt: Option<R>,
    ) -> bool {
        let node = self.inner.nodes.read().get(&incarnation).cloned();
        let is_known = node.is_some();
        match node.filter(|_| parcel.len() <= MAX_MESSAGE) {
            Some(node) => {
                let lane = &node.lanes[spread(lane_key, node.lanes.len())];
                lane.forward(parcel, receipt, || self.inner.start(&node, lane.clone()))
            }
            None => {
                if !parcel.is_kept() {
                    self.inner.road.metrics.messages_dropped.inc();
                }
                if let Some(receipt) = receipt {
                    receipt.settle(if is_known {
                        too_large()
                    } else {
                        Verdict::Moved
                    });
                }
                false
            }
        }
    }

    /// Whether so much waits that publishers should stop: connections should not be read from.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.inner.road.congestion.is_congested()
    }

    /// Waits until publishers may go on: until no more than three quarters of the bound wait.
    /// Cancel-safe.
    pub async fn relieved(&self) {
        self.inner.road.congestion.relieved().await;
    }

    /// Waits until all has been sent and answered and every receipt settled, for an orderly end.
    /// With a node that does not answer this takes until it is removed, so the caller bounds it.
    /// Cancel-safe.
    pub async fn flushed(&self) {
        loop {
            let emptied = self.inner.road.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.inner.is_done() {
                return;
            }
            emptied.await;
        }
    }

    /// Asks a node to let go of a client's session. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// `NotFound` if the node is unknown; else what the node or the way to it says.
    pub async fn release(
        &self,
        incarnation: u64,
        request: ReleaseRequest,
    ) -> Result<ReleaseReply, Status> {
        let way = self.way(incarnation)?;
        let reply = PeerClient::new(way).release(request).await?;
        Ok(reply.into_inner())
    }

    /// The way to a node for calls that are no messages; it connects when it is used, and again.
    ///
    /// # Errors
    ///
    /// `NotFound` if the node is unknown.
    pub fn way(&self, incarnation: u64) -> Result<Channel, Status> {
        let node = self.inner.nodes.read().get(&incarnation).cloned();
        let node = node.ok_or_else(|| Status::not_found("no such node"))?;
        node.channel(&self.inner.road)
    }
}

impl<R> Clone for Peers<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<R> fmt::Debug for Peers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.inner.nodes.read();
        let nodes: Vec<u64> = nodes.keys().copied().collect();
        f.debug_struct("Peers")
            .field("nodes", &nodes)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl<R: Receipt> Inner<R> {
    fn new_node(&self, incarnation: u64, address: &str) -> Node<R> {
        let lane = |number| Arc::new(Lane::new(self.road.clone(), incarnation, number));
        Node {
            lanes: (0..self.n_lanes).map(lane).collect(),
            address: watch::channel(address.to_owned()).0,
            stop: self.stop.child_token(),
            channel: Mutex::new(None),
        }
    }

    fn start(&self, node: &Node<R>, lane: Arc<Lane<R>>) {
        let task = lane.run(node.address.subscribe(), node.stop.clone());
        let (running, on_panic) = (
            self.tracker.spawn_on(task, &self.runtime),
            self.road.on_panic,
        );
        let watching = async move {
            if running.await.is_err_and(|error| error.is_panic()) {
                on_panic("lane");
            }
        };
        self.tracker.spawn_on(watching, &self.runtime);
    }

    fn is_done(&self) -> bool {
        let nodes = self.nodes.read();
        nodes
            .values()
            .all(|node| node.lanes.iter().all(|lane| lane.is_done()))
    }
}

impl<R> Drop for Inner<R> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Node ===

impl<R: Receipt> Node<R> {
    /// Ends its tasks, and settles all that it has not answered.
    fn close(&self) {
        self.stop.cancel();
        self.lanes.iter().for_each(|lane| lane.close());
    }
}

impl<R> Node<R> {
    /// The way for calls that are no messages, to where the node is now.
    fn channel(&self, road: &Road) -> Result<Channel, Status> {
        let address = self.address.borrow().clone();
        let mut known = self.channel.lock();
        if let Some((_, channel)) = known.as_ref().filter(|(known, _)| *known == address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(&address, road.silence)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let channel = road.dial.connect_lazy(&endpoint);
        *known = Some((address, channel.clone()));
        Ok(channel)
    }
}

// === private ===

const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;
const IDLE_BYTES: usize = 4 << 20;

/// Which of some lanes a key has.
fn spread(key: u64, n_lanes: usize) -> usize {
    // The upper half of a product takes all bits of the key into account, whatever hashed it.
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(mixed) * n_lanes as u128) >> 64) as usize
}

/// Drops what was removed and has nothing left to settle.
fn forget_removed<R: Receipt>(nodes: &mut HashMap<u64, Arc<Node<R>>, RandomState>) {
    nodes.retain(|_, node| {
        !node.stop.is_cancelled() || node.lanes.iter().any(|lane| !lane.is_quiet())
    });
}

/// "Packet too large" of MQTT 5.0.
fn too_large() -> Verdict {
    Verdict::Refused {
        reason: 0x95,
        picks: Vec::new(),
    }
}
