//! Both ends of the road, for tests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::{
    self, Config, Deliver, Draft, Identity, Inlet, Message, Metrics, Outgoing, Parcel, Peers,
    Picks, Receipt, Release, ReleaseReply, ReleaseRequest, Verdict,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

pub(crate) const SOURCE: u64 = 7;
pub(crate) const DESTINATION: u64 = 9;
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// What a destination does with messages of QoS 1 and 2.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// All are safe at once.
    Accept,
    /// Nothing is settled until [`Destination::settle_all`].
    Hold,
    /// Each gets what its payload asks for: see [`verdict_of`].
    AsAsked,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) inlet: Arc<Inlet>,
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// Records and settles.
#[derive(Debug)]
pub(crate) struct Recorder {
    manner: Mutex<Manner>,
    pub(crate) arrivals: Mutex<Vec<Arrival>>,
    /// One permit lets one batch pass.
    pub(crate) gate: Semaphore,
    /// The next delivery does not return before it is told.
    pub(crate) stuck: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A node that messages go to.
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) incarnation: Arc<AtomicU64>,
    pub(crate) metrics: Metrics,
    pub(crate) released: Arc<Mutex<Vec<ReleaseRequest>>>,
    pub(crate) stop: CancellationToken,
}

struct Releaser(Arc<Mutex<Vec<ReleaseRequest>>>);

/// A node that sends.
pub(crate) struct Source {
    pub(crate) peers: Peers<Note>,
    registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) notes: Arc<Mutex<Vec<(u64, Verdict)>>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

/// A receipt that writes down what became of the message with this id.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) id: u64,
    notes: Arc<Mutex<Vec<(u64, Verdict)>>>,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn set_manner(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }
}

impl Deliver for Recorder {
    const TELLS_EARLY: bool = false;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<Message>) {
        self.gate.acquire().await.unwrap().forget();
        let manner = self.manner.lock().clone();
        if matches!(manner, Manner::Accept) {
            self.gate.add_permits(1);
        }
        for (number, message) in (first..).zip(messages) {
            let verdict = match manner {
                Manner::Accept => Some(Verdict::Accepted),
                Manner::Hold => None,
                Manner::AsAsked => Some(verdict_of(&message)),
            };
            self.arrivals.lock().push(Arrival {
                inlet: inlet.clone(),
                number,
                message,
            });
            if let Some(verdict) = verdict {
                inlet.settle(number, verdict);
            }
        }
        let stuck = self.stuck.lock().take();
        if let Some(stuck) = stuck {
            stuck.await.unwrap();
        }
    }
}

// === impl Destination ===

impl Destination {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Arc::new(Recorder {
            manner: Mutex::new(manner),
            arrivals: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            stuck: Mutex::default(),
        });
        let incarnation = Arc::new(AtomicU64::new(DESTINATION));
        let metrics = Metrics::register(&mut Registry::default());
        let released = Arc::default();
        let stop = CancellationToken::new();
        let service = peer::service(
            identity(incarnation.clone()),
            recorder.clone(),
            Releaser(Arc::clone(&released)),
            metrics.clone(),
            TaskTracker::new(),
            stop.clone(),
        );
        let server = peer::tune(Server::builder(), SILENCE);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let incoming = peer::incoming(listener);
            server
                .serve_with_incoming_shutdown(service, incoming, stopped)
                .await
                .unwrap();
        });
        Self {
            address,
            recorder,
            incarnation,
            metrics,
            released,
            stop,
        }
    }

    pub(crate) fn n_arrived(&self) -> usize {
        self.recorder.arrivals.lock().len()
    }

    /// The ids that the payloads name, in the order of arrival.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let arrivals = self.recorder.arrivals.lock();
        arrivals
            .iter()
            .map(|arrival| id_of(&arrival.message))
            .collect()
    }

    /// The ids of each publisher, repeats left out.
    pub(crate) fn by_publisher(&self) -> HashMap<u64, Vec<u64>> {
        let mut found: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut known = std::collections::HashSet::new();
        for arrival in self.recorder.arrivals.lock().iter() {
            let id = id_of(&arrival.message);
            if known.insert(id) {
                found.entry(arrival.message.publisher).or_default().push(id);
            } else {
                let flags = peer::Flags::of(&arrival.message).unwrap();
                assert!(flags.is_repeat(), "a repeat is marked");
            }
        }
        found
    }

    /// The next delivery does not return before this is used.
    pub(crate) fn get_stuck(&self) -> oneshot::Sender<()> {
        let (release, stuck) = oneshot::channel();
        *self.recorder.stuck.lock() = Some(stuck);
        release
    }

    /// Accepts all that was held, and from now on everything.
    pub(crate) fn settle_all(&self) {
        self.recorder.set_manner(Manner::Accept);
        for arrival in self.recorder.arrivals.lock().iter() {
            arrival.inlet.settle(arrival.number, Verdict::Accepted);
        }
    }
}

impl Release for Releaser {
    async fn release(&self, request: ReleaseRequest) -> ReleaseReply {
        self.0.lock().push(request);
        ReleaseReply::default()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Source ===

impl Source {
    pub(crate) fn start(config: &Config) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let peers = Peers::new(config, || 0, metrics.clone(), tracker.clone(), &stop);
        Self {
            peers,
            registry,
            metrics,
            notes: Arc::default(),
            stop,
            tracker,
        }
    }

    /// One with a way to a destination.
    pub(crate) fn to(address: SocketAddr) -> Self {
        let source = Self::start(&config());
        source.peers.set_node(DESTINATION, &address.to_string());
        source
    }

    /// The metrics as they are scraped.
    pub(crate) fn scrape(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) fn note(&self, id: u64) -> Note {
        Note {
            id,
            notes: self.notes.clone(),
        }
    }

    /// Sends a message of a publisher, with a receipt at QoS 1 and 2.
    pub(crate) fn send(&self, publisher: u64, id: u64, qos: Qos) -> bool {
        self.send_parcel(publisher, id, parcel(publisher, id, qos))
    }

    pub(crate) fn send_parcel(&self, publisher: u64, id: u64, parcel: Parcel) -> bool {
        let receipt = Some(self.note(id));
        self.peers.forward(DESTINATION, publisher, parcel, receipt)
    }

    pub(crate) fn send_many(&self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.send(1, id, Qos::AtLeastOnce);
        }
    }

    pub(crate) fn n_settled(&self) -> usize {
        self.notes.lock().len()
    }
}

impl Receipt for Note {
    fn settle(self, verdict: Verdict) {
        self.notes.lock().push((self.id, verdict));
    }
}

// === others ===

pub(crate) fn config() -> Config {
    Config::new(identity(Arc::new(AtomicU64::new(SOURCE))))
}

pub(crate) fn identity(incarnation: Arc<AtomicU64>) -> Identity {
    Identity {
        cluster_id: Bytes::from_static(b"the cluster"),
        incarnation: Arc::new(move || incarnation.load(SeqCst)),
    }
}

pub(crate) fn outgoing(publisher: u64, id: u64, qos: Qos, payload: &[u8]) -> Outgoing {
    let draft = Draft {
        id,
        source: 0,
        qos,
        is_retained: false,
        publisher,
        expires_at: None,
        topic: b"sensors/1/temperature",
        properties: b"",
        payload,
        client_id: "",
        knows: 0,
    };
    draft.seal()
}

/// A message whose payload is its id.
pub(crate) fn parcel(publisher: u64, id: u64, qos: Qos) -> Parcel {
    outgoing(publisher, id, qos, &id.to_be_bytes()).address(true, Picks::default())
}

pub(crate) fn id_of(message: &Message) -> u64 {
    let bytes = message
        .payload
        .first_chunk()
        .expect("payloads begin with the id");
    u64::from_be_bytes(*bytes)
}

/// Every third message moved, every fifth found nobody in its groups.
pub(crate) fn verdict_of(message: &Message) -> Verdict {
    let id = id_of(message);
    if id.is_multiple_of(5) {
        Verdict::Refused {
            reason: 0x10,
            picks: message.picks.clone(),
        }
    } else if id.is_multiple_of(3) {
        Verdict::Moved
    } else {
        Verdict::Accepted
    }
}

pub(crate) fn accepted(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, Verdict)> {
    ids.into_iter().map(|id| (id, Verdict::Accepted)).collect()
}

pub(crate) fn moved(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, Verdict)> {
    ids.into_iter().map(|id| (id, Verdict::Moved)).collect()
}

/// Waits for something, for at most 20 seconds.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, future)
        .await
        .expect("it should have happened by now")
}

/// Waits until something holds, for at most 20 seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
