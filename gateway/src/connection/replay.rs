//! Retained messages on their way to a new subscription: a page at a time, as fast as the
//! client takes them, between the packets that it sends.

use std::sync::Arc;

use super::Connection;
use crate::broker::Broker;
use crate::message::Message;
use crate::proto::mqtt::Qos;
use crate::retained::Replay;
use crate::session::Subscribed;
use crate::session::outbound::Terms;
use crate::turn::Turn;

/// Bytes that may wait for the client before the next page is read.
const AHEAD: usize = 256 * 1024;
/// Messages that may be queued for it.
const QUEUED: usize = 1024;

/// A replay and the subscription it is for.
#[derive(Debug)]
pub(super) struct Replaying {
    replay: Replay,
    /// `$SYS` values, which are not in the store.
    sys: Vec<Arc<Message>>,
    qos: Qos,
    id: u32,
}

impl Replaying {
    /// Begins a replay, if there can be anything.
    pub(super) fn begin(broker: &Broker, filter: &str, subscribed: &Subscribed) -> Option<Self> {
        let sys = broker.sys.matching(filter);
        if sys.is_empty() && broker.retained.is_empty() {
            return None;
        }
        let replay = broker.retained.replay(filter);
        Some(Self {
            replay,
            sys,
            qos: subscribed.qos,
            id: subscribed.id,
        })
    }

    pub(super) fn filter(&self) -> &str {
        self.replay.filter()
    }
}

impl Connection {
    /// Goes on with the replays as far as the client keeps up.
    pub(super) fn drive_replays(&mut self) {
        if !self.replays.is_empty() {
            let broker = self.broker.clone();
            let mut turn = Turn::new(&broker);
            self.replay(&mut turn);
            turn.finish(None);
        }
    }

    /// As [`Self::drive_replays`], within a turn.
    pub(super) fn replay(&mut self, turn: &mut Turn<'_>) {
        while let Some(replaying) = self.replays.front_mut() {
            let mut outbound = self.session.outbound.lock();
            let n_queued = outbound.n_queued();
            let Some(link) = &mut outbound.link else {
                return;
            };
            if link.outbox.len() > AHEAD {
                link.is_awaited = true;
                return;
            }
            if replaying.qos > Qos::AtMostOnce && n_queued > QUEUED {
                return; // an acknowledgement will wake the task
            }
            drop(outbound);
            let mut page = std::mem::take(&mut replaying.sys);
            page.extend(
                self.broker
                    .retained
                    .page(&self.broker.store, &mut replaying.replay),
            );
            let ids = [replaying.id];
            let terms = Terms {
                qos: replaying.qos,
                retain: true, // [MQTT-3.3.1-8]
                ids: &ids[..usize::from(replaying.id != 0)],
                share: None,
            };
            for message in &page {
                turn.deliver_retained(&self.session, message, &terms);
            }
            if replaying.replay.is_done() {
                self.replays.pop_front();
            }
        }
    }
}
