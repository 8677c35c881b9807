//! What bridges bring from elsewhere: published here as a client's messages are, and answered when it is
//! as safe.
//!
//! A stream is read like a connection: only while messages may be taken, and no further than so many
//! unanswered ones. [`take`] publishes one. Answers leave in the order of the messages. When this gateway stops,
//! or cannot take any for a while, the stream ends: the bridge goes on at another one with all that is
//! not answered. It ends, too, with the first message that is refused for now: that one comes again, and
//! what was taken behind it would overtake it.

mod numbers;
mod take;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use gatemq_router::peer::MAX_MESSAGE;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::take::{Fate, Taker};
use crate::broker::Broker;
use crate::memory::Level;
use crate::proto::cluster::bridges;
use crate::proto::cluster::intake::intake_server::{self, IntakeServer};
use crate::proto::cluster::intake::publish_request::Kind;
use crate::proto::cluster::intake::{Message, Open, PublishReply, PublishRequest};
use crate::proto::mqtt::Qos;

/// How long a stream is read no further because messages cannot be taken here, before it ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before memory is looked at again.
const LOOK: Duration = Duration::from_millis(10);
/// Unanswered messages of a stream, and answers that go in one reply.
const OPEN: usize = 4_096;

/// Takes what bridges bring to this gateway.
#[derive(Clone, Debug)]
pub(crate) struct Intake(Arc<Broker>);

/// The service, for the server that other nodes call.
pub(crate) fn service(broker: &Arc<Broker>) -> IntakeServer<Intake> {
    IntakeServer::new(Intake(broker.clone())).max_decoding_message_size(MAX_MESSAGE)
}

/// One stream, as it is read.
struct Reader {
    broker: Arc<Broker>,
    taker: Taker,
    /// Messages that were taken.
    n_taken: u64,
    /// How many of them are answered.
    answered: watch::Receiver<u64>,
    /// A retained one may be stored behind those that follow it.
    was_retained: bool,
}

/// What the answering half is told.
enum Note {
    /// Of the message of this number, and whether it is given up if somebody has no room for it.
    Fate(u64, Fate, bool),
    End(Status),
}

#[tonic::async_trait]
impl intake_server::Intake for Intake {
    type PublishStream = ReceiverStream<Result<PublishReply, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(Kind::Open(open)) = first.and_then(|request| request.kind) else {
            return Err(Status::invalid_argument("a stream begins with its open"));
        };
        self.check(&open)?;
        let (counter, answered) = watch::channel(0);
        let reader = Reader {
            broker: self.0.clone(),
            taker: Taker::new(&self.0, open.source, bridges::client_id(&open.rule)),
            n_taken: 0,
            answered,
            was_retained: false,
        };
        let (notes, noted) = mpsc::channel(OPEN);
        let (replies, stream) = mpsc::channel(4);
        let end = self.0.tasks_end.clone();
        let answering = answer(noted, counter, replies);
        self.0
            .tasks
            .spawn(end.clone().run_until_cancelled_owned(answering));
        self.0
            .tasks
            .spawn(end.run_until_cancelled_owned(reader.run(requests, notes)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Intake {
    fn check(&self, open: &Open) -> Result<(), Status> {
        let own = self.0.cluster.as_ref().map(|cluster| &cluster.id);
        if own.is_none_or(|own| *own != open.cluster_id) {
            return Err(Status::failed_precondition(
                "this gateway is in another cluster than the bridge",
            ));
        }
        match self.0.is_draining() {
            true => Err(stops()),
            false => Ok(()),
        }
    }
}

// === impl Note ===

impl Note {
    /// Waits for what becomes of the message, though nobody is told.
    async fn see_out(self) {
        if let Self::Fate(_, mut fate, _) = self {
            fate.known().await;
        }
    }
}

// === impl Reader ===

impl Reader {
    async fn run(mut self, requests: Streaming<PublishRequest>, notes: mpsc::Sender<Note>) {
        if let Err(status) = self.read(requests, &notes).await {
            let _ = notes.send(Note::End(status)).await; // nobody is there any more
        }
    }

    async fn read(
        &mut self,
        mut requests: Streaming<PublishRequest>,
        notes: &mpsc::Sender<Note>,
    ) -> Result<(), Status> {
        let draining = self.broker.draining.clone();
        loop {
            let request = tokio::select! {
                request = requests.message() => request?,
                () = draining.cancelled() => return Err(stops()),
            };
            let Some(request) = request else {
                return Ok(());
            };
            let Some(Kind::Batch(batch)) = request.kind else {
                return Err(Status::invalid_argument("only batches may follow the open"));
            };
            self.taker.is_last_try = batch.is_last_try;
            for (number, message) in numbers::of(&batch)?.zip(&batch.messages) {
                let ready = tokio::time::timeout(PATIENCE, self.ready(message));
                tokio::select! {
                    ready = ready => ready.map_err(|_| busy())?,
                    () = draining.cancelled() => return Err(stops()),
                }
                let Some(fate) = self.take(message).await else {
                    return Ok(());
                };
                self.taker.written().await;
                self.n_taken += 1;
                let is_last = bridges::is_retried(fate.reason(), batch.is_last_try);
                let note = Note::Fate(number, fate, batch.is_last_try);
                if !hand_over(notes, note).await || is_last {
                    return Ok(()); // the answering half ends the stream
                }
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Waits until a client's publish would be read.
    async fn ready(&self, message: &Message) {
        /// The first byte of a PUBLISH.
        const PUBLISH: u8 = 0x30;
        let first = PUBLISH | u8::try_from(message.qos & 0b11).unwrap_or_default() << 1;
        let n_bytes = message.payload.len() + message.topic.len() + message.properties.len();
        let broker = &self.broker;
        loop {
            if broker.must_hold(first) {
                broker.lease_held().await;
            } else if broker.is_congested() {
                broker.relieved().await;
            } else if broker.memory.level() >= Level::Short {
                broker.memory.enough_for_messages().await;
            } else if broker.memory.admit(n_bytes) {
                return;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Publishes a message; behind all others where it might overtake one. `None` if nobody is
    /// answered any more, such as behind one that comes again.
    async fn take(&mut self, message: &Message) -> Option<Fate> {
        self.answered.has_changed().ok()?;
        if self.was_retained || message.retain {
            self.settle().await?;
        }
        self.was_retained = message.retain;
        loop {
            let has_open = *self.answered.borrow() < self.n_taken;
            match self.taker.take(&self.broker, message, has_open) {
                Some(fate) => return Some(fate),
                None => self.settle().await?,
            }
        }
    }

    /// Waits until all that was taken is answered; `None` if nobody is any more.
    async fn settle(&mut self) -> Option<()> {
        let n_taken = self.n_taken;
        let answered = self.answered.wait_for(|n| *n >= n_taken).await;
        answered.ok().map(drop)
    }
}

/// Tells the answering half; false if that takes nothing any more: then what becomes of the message is
/// waited for here.
async fn hand_over(notes: &mpsc::Sender<Note>, note: Note) -> bool {
    match notes.send(note).await {
        Ok(()) => true,
        Err(mpsc::error::SendError(note)) => {
            note.see_out().await;
            false
        }
    }
}

/// Answers in order, as many at once as are known, and ends the stream with the first that is refused
/// for now: that is told nobody as answered, so who waits for it hears of the end.
async fn answer(
    mut noted: mpsc::Receiver<Note>,
    counter: watch::Sender<u64>,
    replies: mpsc::Sender<Result<PublishReply, Status>>,
) {
    let mut next = noted.recv().await;
    while let Some(note) = next.take() {
        let (first, mut fate, is_last_try) = match note {
            Note::Fate(number, fate, is_last_try) => (number, fate, is_last_try),
            Note::End(status) => {
                let _ = replies.send(Err(status)).await;
                return;
            }
        };
        let reason = fate.known().await;
        let mut reasons = vec![reason as u8];
        let mut is_retried = bridges::is_retried(reason, is_last_try);
        while !is_retried
            && reasons.len() < OPEN
            && let Ok(note) = noted.try_recv()
        {
            let known = match note {
                Note::Fate(number, mut other, is_last_try) => match other.known().now_or_never() {
                    Some(reason) => Ok((reason, is_last_try)),
                    None => Err(Note::Fate(number, other, is_last_try)),
                },
                end @ Note::End(_) => Err(end),
            };
            match known {
                Ok((reason, is_last_try)) => {
                    reasons.push(reason as u8);
                    is_retried = bridges::is_retried(reason, is_last_try);
                }
                Err(note) => {
                    next = Some(note);
                    break;
                }
            }
        }
        let n_reasons = reasons.len() as u64;
        let reply = PublishReply {
            first,
            reasons: reasons.into(),
        };
        if is_retried {
            drop(counter);
            noted.close(); // nothing more is taken, also while nobody reads the answer
            let _ = replies.send(Ok(reply)).await;
            let _ = replies.send(Err(comes_again())).await;
            drop(replies);
            return see_out(next, noted).await;
        }
        counter.send_modify(|n| *n += n_reasons);
        if replies.send(Ok(reply)).await.is_err() {
            drop(counter);
            return see_out(next, noted).await;
        }
        if next.is_none() {
            next = noted.recv().await;
        }
    }
}

/// Sees out the rest: what is refused of it is not to be taken for had when it comes again.
async fn see_out(next: Option<Note>, mut noted: mpsc::Receiver<Note>) {
    noted.close();
    let mut next = match next {
        Some(note) => Some(note),
        None => noted.recv().await,
    };
    while let Some(note) = next {
        note.see_out().await;
        next = noted.recv().await;
    }
}

/// The highest QoS that this gateway takes, of what a bridge asks for.
fn qos(broker: &Broker, message: &Message) -> Option<Qos> {
    let qos = u8::try_from(message.qos).ok().and_then(Qos::from_bits)?;
    Some(qos.min(broker.config.limits.maximum_qos))
}

fn stops() -> Status {
    Status::unavailable("this gateway stops")
}

fn comes_again() -> Status {
    Status::unavailable(
        "a message was refused that is to come again: what is behind it has to wait",
    )
}

fn busy() -> Status {
    let why = "this gateway takes no message now: it may not know of every subscriber, has no memory, \
               or too much waits to be stored";
    Status::unavailable(why)
}

#[cfg(test)]
mod tests;
