//! The stream of one gateway: a snapshot where it needs one, every change in order, and marks.
//!
//! There is one order: a mark never says more than has been sent on its stream. The stream is made
//! as fast as the gateway reads it: nothing is prepared for a gateway that does not, but two parts
//! of a snapshot. One that reads so slowly that the feed goes past it gets another snapshot.
//!
//! A task of its own takes the gateway's beats, so that they are heard even while the gateway does
//! not read.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use gatemq_node::credentials::Identity;
use gatemq_proto::cluster::control::watch_reply::{Begin, Kind};
use gatemq_proto::cluster::control::watch_request::{Beat, Hello, Kind as Said};
use gatemq_proto::cluster::control::{Attendant, Change, Changes, Mark, WatchReply, WatchRequest};
use gatemq_proto::cluster::other_protocol;
use gatemq_proto::cluster::state::{Command, Part, command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Shared;
use super::desk::Listener;
use super::permit;
use super::replica::{Replica, View};
use crate::feed::{Batch, Bounds, Lost, Reader};

type Replies = BoxStream<'static, Result<WatchReply, Status>>;

/// How many gateways of other versions are told of.
const STRANGERS: usize = 1024;

/// Takes the gateway's first message; what follows is the stream.
pub(super) async fn begin<R: Replica>(
    shared: Arc<Shared<R>>,
    caller: Option<Arc<Identity>>,
    mut requests: Streaming<WatchRequest>,
) -> Result<Replies, Status> {
    let hello = take_hello(&shared, &mut requests).await?;
    shared.check_cluster(&hello.cluster_id)?;
    check_protocol(&shared, &hello)?;
    catch_up(&shared, &hello).await?;
    if let Some(caller) = caller {
        permit::own(&caller, hello.incarnation, &shared.replica.view())?;
    }
    if is_fenced(&shared, hello.incarnation) {
        let mark = reply(Kind::Mark(Mark {
            is_fenced: true,
            ..Mark::default()
        }));
        return Ok(stream::iter([Ok(mark)]).boxed());
    }
    let token = shared.token.child_token();
    let listener = shared.desk.enter(hello.incarnation, token).ok_or_else(|| {
        Status::resource_exhausted("this node has as many streams as it takes: try another node")
    })?;
    tracing::debug!(
        incarnation = hello.incarnation,
        revision = hello.revision,
        "gateway watches"
    );
    let beats = take_beats(
        Arc::clone(&shared),
        Arc::clone(&listener),
        hello.incarnation,
        requests,
    );
    shared.tracker.spawn(beats);
    let watch = Watch::new(shared, listener, &hello);
    let replies = stream::unfold(watch, async |mut watch| {
        let kind = watch.next().await?;
        Some((Ok(reply(kind)), watch))
    });
    Ok(replies.boxed())
}

/// Refuses a gateway of another version: it could not follow, or would be followed wrongly.
fn check_protocol<R: Replica>(shared: &Shared<R>, hello: &Hello) -> Result<(), Status> {
    let who = format!("the gateway of incarnation {}", hello.incarnation);
    let Some(refused) = other_protocol(&who, hello.protocol) else {
        return Ok(());
    };
    // It tries again and again.
    let mut strangers = shared.strangers.lock();
    if strangers.len() < STRANGERS && strangers.insert(hello.incarnation) {
        tracing::warn!(refused, "a gateway is not taken in");
    }
    Err(Status::failed_precondition(refused))
}

async fn take_hello<R: Replica>(
    shared: &Shared<R>,
    requests: &mut Streaming<WatchRequest>,
) -> Result<Hello, Status> {
    let first = timeout(shared.config.silent_for, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
    match first.and_then(|request| request.kind) {
        Some(Said::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument(
            "the first message must be a hello",
        )),
    }
}

/// Waits until this node knows whatever the gateway knows: a table never goes back, and who was
/// registered a moment ago at another node is not unknown.
async fn catch_up<R: Replica>(shared: &Shared<R>, hello: &Hello) -> Result<(), Status> {
    let known = hello.revision.max(hello.incarnation);
    let reached = timeout(shared.config.catch_up_within, shared.feed.reached(known)).await;
    reached.map_err(|_| {
        Status::unavailable(format!(
            "this node has applied revision {} and the gateway knows {known}: try another node",
            shared.feed.revision()
        ))
    })
}

fn is_fenced<R: Replica>(shared: &Shared<R>, incarnation: u64) -> bool {
    let member = shared.replica.view().member(incarnation);
    member.is_none_or(|member| member.fenced.is_some())
}

/// Hears the gateway until either side ends, or it has been silent for too long.
async fn take_beats<R: Replica>(
    shared: Arc<Shared<R>>,
    listener: Arc<Listener>,
    incarnation: u64,
    mut requests: Streaming<WatchRequest>,
) {
    let hear = async {
        loop {
            let request = timeout(shared.config.silent_for, requests.message()).await;
            let Ok(Ok(Some(WatchRequest {
                kind: Some(Said::Beat(Beat { number, applied })),
            }))) = request
            else {
                return;
            };
            let said = Attendant {
                incarnation,
                beat: number,
                applied,
            };
            shared.desk.hear(&listener, said);
        }
    };
    listener.token.run_until_cancelled(hear).await;
    listener.token.cancel();
    tracing::debug!(incarnation, "gateway watches no more");
}

struct Watch<R: Replica> {
    shared: Arc<Shared<R>>,
    listener: Arc<Listener>,
    incarnation: u64,
    phase: Phase,
    /// The gateway has everything up to here once it has read what was sent.
    sent: u64,
    /// The last mark.
    marked: Mark,
    /// The newest confirmed beat.
    confirmed: u64,
    /// Something was sent that may concern this gateway's own standing.
    is_in_question: bool,
}

enum Phase {
    /// It needs a snapshot.
    Begin,
    Snapshot {
        parts: mpsc::Receiver<Part>,
        revision: u64,
    },
    Changes(Reader),
    /// It was told that it is fenced.
    Over,
}

/// What comes next of a phase.
enum Next {
    Begin,
    Part(Part),
    /// The snapshot is complete at that revision.
    Complete(u64),
    Changes(Batch),
    Lost(Lost),
}

impl<R: Replica> Watch<R> {
    fn new(shared: Arc<Shared<R>>, listener: Arc<Listener>, hello: &Hello) -> Self {
        Self {
            incarnation: hello.incarnation,
            phase: match hello.revision {
                0 => Phase::Begin,
                known => Phase::Changes(shared.feed.reader(known)),
            },
            sent: hello.revision,
            marked: Mark::default(),
            confirmed: 0,
            // It may have been fenced since it was looked at.
            is_in_question: true,
            shared,
            listener,
        }
    }

    async fn next(&mut self) -> Option<Kind> {
        loop {
            if matches!(self.phase, Phase::Over) {
                self.part().await;
                return None;
            }
            if let Some(mark) = self.next_mark() {
                return Some(Kind::Mark(mark));
            }
            let most = self.shared.config.changes;
            let next = tokio::select! {
                biased;
                () = self.listener.token.cancelled() => return None,
                () = self.listener.news.notified() => continue,
                next = self.phase.next(most) => next,
            };
            if let Some(kind) = self.take(next) {
                return Some(kind);
            }
        }
    }

    /// A gateway that was told that it is fenced gets time to say that it knows: then nobody has
    /// to wait for its lease to run out.
    async fn part(&self) {
        let gone = self.listener.token.cancelled();
        let _ = timeout(self.shared.config.silent_for, gone).await;
    }

    /// What the gateway is to be told of all gateways, if that is anything new.
    fn next_mark(&mut self) -> Option<Mark> {
        for taken in self.listener.take_confirmed() {
            self.confirmed = self.confirmed.max(taken.beat);
        }
        let is_fenced =
            std::mem::take(&mut self.is_in_question) && is_fenced(&self.shared, self.incarnation);
        if is_fenced {
            self.phase = Phase::Over;
        }
        let mark = Mark {
            watermark: self.shared.desk.watermark().min(self.sent),
            beat: self.confirmed,
            is_fenced,
        };
        let is_new = mark != self.marked;
        self.marked = mark;
        is_new.then_some(mark)
    }

    fn take(&mut self, next: Next) -> Option<Kind> {
        match next {
            Next::Begin => {
                let view = self.shared.replica.view();
                let cluster_id = view.cluster_id();
                self.phase = self.begin_snapshot(view);
                Some(Kind::Begin(Begin { cluster_id }))
            }
            Next::Part(part) => Some(Kind::Part(part)),
            Next::Complete(revision) => {
                self.phase = Phase::Changes(self.shared.feed.reader(revision));
                self.sent = self.sent.max(revision);
                self.is_in_question = true;
                Some(Kind::Changes(Changes {
                    changes: Vec::new(),
                    revision,
                }))
            }
            Next::Changes(batch) => {
                self.sent = self.sent.max(batch.revision);
                let mut commands = batch.commands.iter();
                self.is_in_question |= commands.any(|one| concerns_members(&one.command));
                Some(Kind::Changes(to_changes(&batch)))
            }
            Next::Lost(lost) => {
                tracing::info!(
                    incarnation = self.incarnation,
                    position = lost.position,
                    "gateway is too far behind and gets a snapshot"
                );
                self.phase = Phase::Begin;
                None
            }
        }
    }

    /// The parts are made by a task of its own, two ahead, for an iterator over the state cannot be
    /// kept beside the state. It ends with the receiver.
    fn begin_snapshot(&self, view: R::View) -> Phase {
        let (sender, parts) = mpsc::channel(2);
        let revision = view.revision();
        self.shared.tracker.spawn(async move {
            for part in view.parts() {
                if sender.send(part).await.is_err() {
                    return;
                }
            }
        });
        Phase::Snapshot { parts, revision }
    }
}

impl<R: Replica> Drop for Watch<R> {
    fn drop(&mut self) {
        self.shared.desk.leave(&self.listener);
    }
}

impl Phase {
    /// Cancel-safe.
    async fn next(&mut self, most: Bounds) -> Next {
        match self {
            Self::Begin => Next::Begin,
            Self::Snapshot { parts, revision } => match parts.recv().await {
                Some(part) => Next::Part(part),
                None => Next::Complete(*revision),
            },
            Self::Changes(reader) => match reader.next(most).await {
                Ok(batch) => Next::Changes(batch),
                Err(lost) => Next::Lost(lost),
            },
            Self::Over => std::future::pending().await,
        }
    }
}

/// Whether a command may change who takes part.
pub(super) fn concerns_members(command: &Command) -> bool {
    use command::Kind::{Fence, Forget, Register};
    matches!(command.kind, Some(Register(_) | Fence(_) | Forget(_)))
}

/// Here commands are copied, for a message owns what it sends.
fn to_changes(batch: &Batch) -> Changes {
    let changes = batch.commands.iter().map(|applied| Change {
        revision: applied.revision,
        command: Some(applied.command.clone()),
    });
    Changes {
        changes: changes.collect(),
        revision: batch.revision,
    }
}

fn reply(kind: Kind) -> WatchReply {
    WatchReply { kind: Some(kind) }
}
