//! The other side of `Watch`, by hand or by itself.

use std::collections::BTreeMap;

use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::control::watch_reply::Kind;
use gatemq_proto::cluster::control::watch_request::{Beat, Hello, Kind as Said};
use gatemq_proto::cluster::control::{Mark, WatchRequest};
use gatemq_proto::cluster::state::{command, part};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use super::*;

/// A stream of which the test sees each message.
pub(super) struct Gateway {
    pub(super) incarnation: u64,
    requests: mpsc::Sender<WatchRequest>,
    replies: Streaming<WatchReply>,
    n_beats: u64,
    /// What it has been told and sent.
    pub(super) seen: Seen,
}

/// What has come on a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) n_begins: u64,
    pub(super) n_commands: u64,
    /// Everything up to here, once the snapshot is complete.
    pub(super) revision: u64,
    pub(super) mark: Mark,
    /// How many routes each incarnation has.
    pub(super) routes: BTreeMap<u64, usize>,
    is_in_snapshot: bool,
}

/// One that applies at once, and beats.
pub(super) struct Alive {
    pub(super) seen: watch::Receiver<Seen>,
    _task: AbortOnDropHandle<()>,
}

pub(super) fn hello(incarnation: u64, revision: u64) -> Hello {
    Hello {
        cluster_id: fake::CLUSTER.into(),
        incarnation,
        revision,
        protocol: gatemq_proto::cluster::PROTOCOL,
    }
}

impl Gateway {
    /// Watches from a revision.
    pub(super) async fn watch(node: &fake::Node, incarnation: u64, revision: u64) -> Self {
        Self::say(node.client().await, hello(incarnation, revision))
            .await
            .unwrap()
    }

    pub(super) async fn say(
        mut client: ControlClient<Channel>,
        hello: Hello,
    ) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(64);
        let (incarnation, revision) = (hello.incarnation, hello.revision);
        let kind = Some(Said::Hello(hello));
        requests.send(WatchRequest { kind }).await.unwrap();
        let replies = client
            .watch(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        Ok(Self {
            incarnation,
            requests,
            replies,
            n_beats: 0,
            seen: Seen {
                revision,
                ..Seen::default()
            },
        })
    }

    pub(super) async fn next(&mut self) -> Option<Kind> {
        let reply = timeout(DEADLINE, self.replies.message())
            .await
            .expect("a reply in time");
        let kind = reply.ok()??.kind?;
        self.seen.take(self.incarnation, &kind);
        Some(kind)
    }

    /// Says what has been applied; returns the number of the beat.
    pub(super) async fn beat(&mut self, applied: u64) -> u64 {
        self.n_beats += 1;
        let beat = Beat {
            number: self.n_beats,
            applied,
        };
        let kind = Some(Said::Beat(beat));
        self.requests.send(WatchRequest { kind }).await.unwrap();
        self.n_beats
    }

    /// Reads on until something holds.
    pub(super) async fn until(&mut self, is_true: impl Fn(&Seen) -> bool) {
        while !is_true(&self.seen) {
            assert!(self.next().await.is_some(), "stream ended: {:?}", self.seen);
        }
    }

    /// Reads everything, and beats for the lease that it asks for: with everything applied.
    pub(super) fn live(mut self) -> Alive {
        let (seen, receiver) = watch::channel(self.seen.clone());
        let task = async move {
            let mut beats = interval(Duration::from_millis(100));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let before = self.seen.revision;
                tokio::select! {
                    kind = self.replies.message() => {
                        let Ok(Some(WatchReply { kind: Some(kind) })) = kind else { return };
                        self.seen.take(self.incarnation, &kind);
                        seen.send_replace(self.seen.clone());
                        if self.seen.revision > before && !self.seen.is_in_snapshot {
                            self.beat(self.seen.revision).await;
                        }
                    }
                    _ = beats.tick() => {
                        self.beat(self.seen.revision).await;
                    }
                }
            }
        };
        Alive {
            seen: receiver,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }
}

impl Alive {
    pub(super) async fn until(&mut self, is_true: impl Fn(&Seen) -> bool) -> Seen {
        let reached = timeout(DEADLINE, self.seen.wait_for(|seen| is_true(seen))).await;
        let reached = reached.ok().and_then(Result::ok).map(|seen| seen.clone());
        reached.unwrap_or_else(|| panic!("it stays at {:?}", self.seen.borrow()))
    }
}

impl Seen {
    /// Checks what must hold on every stream.
    fn take(&mut self, incarnation: u64, kind: &Kind) {
        match kind {
            Kind::Begin(begin) => {
                assert_eq!(begin.cluster_id, fake::CLUSTER);
                self.n_begins += 1;
                self.routes.clear();
                self.is_in_snapshot = true;
            }
            Kind::Part(part) => {
                assert!(self.is_in_snapshot, "a part without a beginning");
                if let Some(part::Kind::Routes(routes)) = &part.kind {
                    self.routes.insert(routes.incarnation, routes.routes.len());
                }
            }
            Kind::Changes(changes) => {
                self.is_in_snapshot = false;
                assert!(changes.revision >= self.revision, "revisions go back");
                for change in &changes.changes {
                    assert!(change.revision > self.revision, "a change comes twice");
                    self.revision = change.revision;
                    self.n_commands += 1;
                    let kind = change
                        .command
                        .as_ref()
                        .and_then(|command| command.kind.as_ref());
                    if let Some(command::Kind::Routes(routes)) = kind {
                        self.routes.insert(routes.incarnation, routes.set.len());
                    }
                }
                self.revision = changes.revision;
            }
            Kind::Mark(mark) => {
                assert!(
                    mark.watermark <= self.revision,
                    "{incarnation} is told {mark:?} before changes after {}",
                    self.revision
                );
                assert!(
                    mark.watermark >= self.mark.watermark,
                    "the watermark goes back"
                );
                assert!(mark.beat >= self.mark.beat, "beats go back");
                self.mark = *mark;
            }
        }
    }
}
