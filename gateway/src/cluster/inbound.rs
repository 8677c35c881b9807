//! Messages that other nodes send: to subscribers of this node, and never on to a third.
//!
//! A message is answered when it is safe here, with its batch; one that came before is answered
//! behind the batch of the first time.

mod take;

use std::sync::Arc;
use std::time::Duration;

use gatemq_router::peer::{
    Deliver, Flags, Inlet, Message, Release, ReleaseReply, ReleaseRequest, Verdict,
};

use self::take::{named, note_refusal, refused, take};
use super::Cluster;
use super::answers::Accepted;
use crate::broker::Broker;
use crate::memory::Level;
use crate::metrics::Limit;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::received::Origin;
use crate::store::redis::Fenced;
use crate::turn::Turn;

/// How long the last write of a session that is let go may take.
const WRITTEN: Duration = Duration::from_secs(2);

/// Takes what other nodes send.
#[derive(Clone, Debug)]
pub(crate) struct Inbound(pub(crate) Arc<Broker>);

/// Lets go of clients whose sessions other nodes have, or want.
#[derive(Clone, Debug)]
pub(crate) struct Releasing(pub(crate) Arc<Broker>);

impl Deliver for Inbound {
    const TELLS_EARLY: bool = false;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<Message>) {
        let broker = &self.0;
        let mut messages = (first..).zip(messages).peekable();
        let Some(cluster) = &broker.cluster else {
            return;
        };
        // A source that is gone and does not know it yet does not know either where anybody is now:
        // it is not to acknowledge anything any more. And if it is this gateway that is gone, nobody
        // is here any more.
        let is_current = || cluster.serves(inlet.destination());
        while messages.peek().is_some() {
            let has_room = tokio::select! {
                has_room = self.room() => has_room,
                () = broker.tasks_end.cancelled() => return, // unanswered: it goes elsewhere
            };
            let source = inlet.source();
            // One of which nothing is left any more was fenced before.
            let is_gone = cluster.is_fenced(source) || cluster.is_foreign(source);
            if is_gone || !is_current() {
                return Accepted::give_back(inlet, messages);
            }
            let mut turn = Turn::new(broker);
            let mut verdicts = Vec::new();
            while !turn.is_heavy()
                && let Some((number, message)) = messages.next()
            {
                let is_answered = message.flags & 0b11 != 0;
                if !has_room && !must_take(cluster, &message) {
                    match is_answered {
                        true => verdicts.push((number, refuse(cluster, &message, inlet.source()))),
                        false => turn.tally.dropped += 1,
                    }
                    continue;
                }
                // What becomes of one that nobody waits for is nobody else's fate.
                turn.inbound = Some(if is_answered {
                    verdicts.len()
                } else {
                    usize::MAX
                });
                let verdict = take(&mut turn, &message, inlet.source());
                turn.inbound = None;
                if is_answered {
                    verdicts.push((number, verdict));
                }
            }
            let mut accepted = Accepted::new(inlet, verdicts);
            if !is_current() {
                // Whoever was here may be elsewhere by now: that nobody wanted it says nothing.
                accepted.answer_all(&Verdict::Moved);
            }
            if let Some(unwritten) = turn.finish_forwarded(accepted) {
                unwritten.write().await;
            }
            tokio::task::consume_budget().await;
        }
    }
}

impl Inbound {
    /// Waits until there is room for messages: meanwhile the stream is not read, and whoever publishes
    /// elsewhere waits for an answer. Not for ever, or one gateway without memory stops all the others;
    /// returns whether there is. Where there is none, publishers are told, as where a queue is full.
    async fn room(&self) -> bool {
        let broker = &self.0;
        if broker.store.is_congested() {
            broker.store.relieved().await;
        }
        if broker.memory.level() < Level::Short {
            return true;
        }
        broker.metrics.limits_hit.inc(Limit::Memory);
        let longest = broker.config.limits.stuck_timeout;
        broker.memory.room_for_messages(longest).await
    }
}

impl Release for Releasing {
    async fn release(&self, request: ReleaseRequest) -> ReleaseReply {
        let broker = &self.0;
        if request.stands_in > 0 {
            let (client_id, gone) = (&request.client_id, request.stands_in);
            broker.say_again(client_id, request.number, gone).await;
            return ReleaseReply::default();
        }
        if !request.is_moved {
            // Its will goes out from here, and not from there once more at the same time.
            let out = broker.wills.out(request.number);
            let _ = tokio::time::timeout(WRITTEN, out).await;
        }
        let session = broker
            .registry
            .lock(&request.client_id)
            .find(&request.client_id)
            .cloned();
        let Some(session) = session else {
            return ReleaseReply::default();
        };
        if request.is_moved {
            // Unless it has come back meanwhile.
            let epoch = session
                .claim_epoch
                .load(std::sync::atomic::Ordering::Acquire);
            if session.number == request.number && epoch <= request.epoch {
                broker.drop_moved(&session);
            }
            return ReleaseReply::default();
        }
        let epoch = session
            .claim_epoch
            .load(std::sync::atomic::Ordering::Acquire);
        let is_gone = request.has_claimed && session.number == request.number;
        if is_gone && epoch <= request.epoch {
            broker.lose(&session, Fenced::Taken);
        }
        broker.wait_until_free(&session).await;
        let out = broker.wills.out(session.number);
        let _ = tokio::time::timeout(WRITTEN, out).await;
        // Behind what it wrote last: whoever asked can claim it now, and has all that it has had.
        let written = broker.store.make_safe(gatemq_storage::Batch::default());
        let _ = tokio::time::timeout(WRITTEN, written).await;
        let recent = session.recent.lock().loose();
        ReleaseReply { recent }
    }
}

/// Whether a message is taken though there is no room.
///
/// One that has been here before, if only for some of those whom it is for, is theirs already: its
/// publisher would send it as another one if it were refused. And one that nobody would publish again
/// would be lost, although it is acknowledged; what there is of those does not grow by waiting.
fn must_take(cluster: &Cluster, message: &Message) -> bool {
    let Some(flags) = Flags::of(message).filter(|flags| flags.qos() > Qos::AtMostOnce) else {
        return false;
    };
    let (source, id) = (message.source, message.id);
    let origin = Origin { source, id };
    let has_had = |pick| cluster.picked.has(origin, named(pick));
    flags.is_orphan()
        || flags.is_ask()
        || cluster.seen.lock().has(source, id)
        || message.picks.iter().any(has_had)
}

/// Refuses a message for want of room.
fn refuse(cluster: &Cluster, message: &Message, from: u64) -> Verdict {
    let reason = Reason::QuotaExceeded;
    note_refusal(cluster, message, from, reason as u8);
    refused(reason)
}

#[cfg(test)]
mod tests {
    use gatemq_router::peer::{First, Pick};

    use super::*;

    #[tokio::test]
    async fn without_room_only_what_is_new_and_would_be_published_again_is_refused() {
        const SOURCE: u64 = 5;
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_deref().expect("there is one");
        let pick = |group: &str| Pick {
            group: group.into(),
            filter: "a/#".into(),
        };
        let message = |id, flags, picks| Message {
            id,
            source: SOURCE,
            flags,
            picks,
            ..Message::default()
        };
        let (direct, orphan) = (1 << 3, 1 << 5);
        cluster.seen.lock().note(SOURCE, 7, First::default());
        let origin = Origin {
            source: SOURCE,
            id: 8,
        };
        cluster.picked.claim(origin, ("g", "a/#"), SOURCE, 0);
        for (id, flags, picks, expected) in [
            (6, direct | 1, vec![], false),
            (6, direct | orphan | 1, vec![], true),
            (6, 2, vec![pick("g")], false),
            (6, orphan | 2, vec![pick("g")], true),
            (0, direct | orphan, vec![], false), // of QoS 0
            (7, direct | 1, vec![], true),
            (7, 2, vec![pick("g")], true),
            (8, 2, vec![pick("h"), pick("g")], true),
            (8, 1, vec![pick("h")], false),
            (6, 3, vec![], false),
        ] {
            let message = message(id, flags, picks);
            assert_eq!(must_take(cluster, &message), expected, "{message:?}");
        }
    }
}
