//! What the road between nodes costs: messages through one loopback stream, both ends in this
//! process. Prints messages per second and CPU seconds per million, sender and receiver together.
//!
//! ```sh
//! cargo run --release -p gatemq-router --example road -- [MESSAGES] [PAYLOAD] [PER_TURN] [TASKS]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::{
    self, Config, Deliver, Draft, Flags, Identity, Inlet, Message, Metrics, Peers, Picks, Receipt,
    Release, ReleaseReply, ReleaseRequest, Verdict,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

/// What is sent: by so many tasks, each of which forwards so many messages in one turn, as if it
/// had read them of a client's socket, and then lets others run.
#[derive(Clone, Copy)]
struct Load {
    n_messages: u64,
    size: usize,
    per_turn: u64,
    n_tasks: u64,
}

/// Counts what comes, and accepts it.
#[derive(Debug, Default)]
struct Sink(AtomicU64);

/// Has no sessions.
struct Nothing;

/// Counts what is accepted.
struct Count(Arc<AtomicU64>);

impl Deliver for Sink {
    const TELLS_EARLY: bool = false;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<Message>) {
        let n = messages.len() as u64;
        let is_kept =
            |message: &Message| Flags::of(message).is_some_and(|f| f.qos() != Qos::AtMostOnce);
        let numbers = (first..).zip(&messages);
        inlet.accept_all(
            numbers
                .filter(|(_, message)| is_kept(message))
                .map(|(n, _)| n),
        );
        self.0.fetch_add(n, Relaxed);
    }
}

impl Release for Nothing {
    async fn release(&self, _: ReleaseRequest) -> ReleaseReply {
        ReleaseReply::default()
    }
}

impl Receipt for Count {
    fn settle(self, verdict: Verdict) {
        assert_eq!(verdict, Verdict::Accepted);
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let load = Load {
        n_messages: number(2_000_000)?,
        size: number(64)? as usize,
        per_turn: number(1)?,
        n_tasks: number(100)?,
    };
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        run(qos, load).await?;
    }
    Ok(())
}

async fn run(qos: Qos, load: Load) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (sink, settled) = (Arc::new(Sink::default()), Arc::default());
    let (stop, tracker, metrics) = (
        CancellationToken::new(),
        TaskTracker::new(),
        Metrics::default(),
    );
    let identity = Identity {
        cluster_id: Bytes::from_static(b"cluster"),
        incarnation: Arc::new(|| 1),
    };
    let service = peer::service(
        identity.clone(),
        sink.clone(),
        Nothing,
        metrics.clone(),
        tracker.clone(),
        stop.clone(),
    );
    let server = peer::tune(Server::builder(), Duration::from_secs(3));
    let stopped = stop.clone().cancelled_owned();
    let incoming = peer::incoming(listener);
    let served = tracker.spawn(server.serve_with_incoming_shutdown(service, incoming, stopped));

    let config = Config::new(identity);
    let peers = Peers::new(&config, || 0, metrics.clone(), tracker.clone(), &stop);
    peers.set_node(1, &address.to_string());
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let n = load.n_messages / load.n_tasks * load.n_tasks;
    let senders: Vec<_> = (0..load.n_tasks)
        .map(|task| tracker.spawn(send(peers.clone(), Arc::clone(&settled), qos, load, task)))
        .collect();
    for sender in senders {
        sender.await?;
    }
    peers.flushed().await;
    let n_dropped = metrics.n_dropped();
    while sink.0.load(Relaxed) < n - n_dropped {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let (batches, messages) = metrics.n_sent();
    report(&format!(
        "QoS {} {} B: {:.0}/s, {:.2} CPU s per million, {:.1} messages per batch, {n_dropped} dropped",
        qos as u8,
        load.size,
        n as f64 / seconds,
        cpu / n as f64 * 1e6,
        messages as f64 / batches as f64,
    ));
    assert!(qos == Qos::AtMostOnce || settled.load(Relaxed) == n);
    stop.cancel();
    served.await??;
    Ok(())
}

async fn send(peers: Peers<Count>, settled: Arc<AtomicU64>, qos: Qos, load: Load, task: u64) {
    let payload = vec![b'x'; load.size];
    let n = load.n_messages / load.n_tasks;
    for number in 1..=n {
        let id = task * n + number;
        let draft = Draft {
            id,
            source: 0,
            qos,
            is_retained: false,
            publisher: 1,
            expires_at: None,
            topic: b"sensors/17/temperature",
            properties: b"",
            payload: &payload,
            client_id: "",
            knows: 0,
        };
        let parcel = draft.seal().address(true, Picks::default());
        let receipt = (qos != Qos::AtMostOnce).then(|| Count(Arc::clone(&settled)));
        peers.forward(1, 1, parcel, receipt);
        if number.is_multiple_of(load.per_turn) {
            tokio::task::yield_now().await;
            if peers.is_congested() {
                peers.relieved().await;
            }
        }
    }
}

/// What this process has used, by all its threads.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn report(line: &str) {
    println!("{line}");
}
