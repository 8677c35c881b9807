//! A gateway whose work takes its time keeps its lease; one whose work does not go on loses it.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::super::control::attend;
use super::*;
use crate::broker::Broker;
use crate::proto::cluster::control::{Changes, Mark};

/// Far longer than anything here takes.
const WITHIN: Duration = Duration::from_secs(20);

/// A line to a node of the control plane that confirms every beat.
struct Line {
    /// Of the gateway, with one thread, which may be blocked; and of the test.
    _runtime: Runtime,
    own: Runtime,
    broker: Arc<Broker>,
    requests: mpsc::Receiver<WatchRequest>,
    replies: mpsc::Sender<Result<WatchReply, Status>>,
    /// What the last beat said.
    said: watch_request::Beat,
}

impl Line {
    /// The table is whole, and the lease runs.
    fn new(patience: u64) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let own = Builder::new_current_thread().enable_all().build();
        let own = own.expect("a runtime");
        let broker = runtime.block_on(async { Broker::in_cluster() });
        let (requests, beats) = mpsc::channel(16);
        let (replies, stream) = mpsc::channel(64);
        let ours = broker.clone();
        runtime.spawn(async move {
            let cluster = ours.cluster.clone().expect("it is one of a cluster");
            attend(
                &ours,
                &cluster,
                requests,
                ReceiverStream::new(stream),
                patience,
            )
            .await
        });
        let said = watch_request::Beat::default();
        let mut line = Self {
            _runtime: runtime,
            own,
            broker,
            requests: beats,
            replies,
            said,
        };
        line.reply(changes(7));
        line.until("the lease runs", |line| line.has_lease());
        line
    }

    fn reply(&self, kind: watch_reply::Kind) {
        let reply = WatchReply { kind: Some(kind) };
        self.replies.try_send(Ok(reply)).expect("there is room");
    }

    /// The next beat, which is confirmed.
    fn beat(&mut self, within: Duration) -> bool {
        let requests = &mut self.requests;
        let next = async { timeout(within, requests.recv()).await };
        let next = self.own.block_on(next);
        let Ok(Some(request)) = next else {
            return false;
        };
        let Some(watch_request::Kind::Beat(beat)) = request.kind else {
            panic!("no beat: {request:?}");
        };
        self.said = beat;
        self.reply(watch_reply::Kind::Mark(Mark {
            beat: beat.number,
            ..Mark::default()
        }));
        true
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < WITHIN, "it did not come: {what}");
            self.beat(BEAT / 5);
        }
    }

    fn has_lease(&self) -> bool {
        let cluster = self
            .broker
            .cluster
            .as_ref()
            .expect("it is one of a cluster");
        cluster.lease.is_held(self.broker.clock.now())
    }
}

fn changes(revision: u64) -> watch_reply::Kind {
    watch_reply::Kind::Changes(Changes {
        changes: Vec::new(),
        revision,
    })
}

#[test]
fn beats_and_what_is_confirmed_do_not_wait_behind_work() {
    let mut line = Line::new(u64::MAX);
    let broker = line.broker.clone();
    let cluster = broker.cluster.as_ref().expect("it is one of a cluster");
    let work = cluster.view.lock();
    // More than may wait, so that the work is behind in every respect.
    for revision in 8..40 {
        line.reply(changes(revision));
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert!(line.beat(WITHIN), "no beat");
        assert_eq!(line.said.applied, 7, "it has done nothing more");
    }
    drop(work);
    line.until("all of it is done", |line| line.said.applied == 39);
    line.until("the lease runs", Line::has_lease);
}

#[test]
fn the_lease_is_kept_while_one_reply_takes_its_time() {
    let mut line = Line::new(u64::MAX);
    let broker = line.broker.clone();
    let cluster = broker.cluster.as_ref().expect("it is one of a cluster");
    let generation = cluster.lease.generation();
    let work = cluster.view.lock();
    line.reply(changes(8));
    let began = Instant::now();
    // Longer than a lease that nobody renews. Some replies are heard and wait meanwhile.
    while began.elapsed() < Duration::from_secs(3) {
        assert!(line.beat(WITHIN), "no beat");
        assert!(line.has_lease());
    }
    drop(work);
    line.until("it is done", |line| line.said.applied == 8);
    assert_eq!(
        cluster.lease.generation(),
        generation,
        "it was lost meanwhile"
    );
}

#[test]
fn a_gateway_whose_work_is_stuck_beats_no_more() {
    let mut line = Line::new(1_000);
    let broker = line.broker.clone();
    let cluster = broker.cluster.as_ref().expect("it is one of a cluster");
    let work = cluster.view.lock();
    line.reply(changes(8));
    line.until("the lease ends", |line| !line.has_lease());
    assert!(!line.beat(4 * BEAT), "it is dead and looks alive");
    drop(work);
    line.until("it goes on where it was", |line| {
        line.has_lease() && line.said.applied == 8
    });
}
