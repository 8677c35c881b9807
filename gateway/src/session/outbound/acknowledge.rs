//! What the client's acknowledgements do to the window.

use std::num::NonZeroU16;

use super::{IDENTIFIERS, Outbound, Phase};
use crate::proto::mqtt::Reason;

/// What an acknowledgement of the client leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// The message is finished: forget it.
    Finished { seq: u64, body: u64 },
    /// PUBREC came: note that, then send PUBREL.
    Received { seq: u64, body: u64, is_new: bool },
    /// No such packet identifier.
    Unknown,
}

impl Outbound {
    /// PUBACK.
    pub(crate) fn handle_puback(&mut self, packet_id: NonZeroU16) -> Acknowledged {
        match self.find(packet_id) {
            Some(at) if self.window[at].phase == Phase::AwaitAck => self.finish(at),
            _ => Acknowledged::Unknown,
        }
    }

    /// PUBREC.
    pub(crate) fn handle_pubrec(&mut self, packet_id: NonZeroU16, reason: Reason) -> Acknowledged {
        let Some(at) = self.find(packet_id) else {
            return Acknowledged::Unknown;
        };
        let sent = &mut self.window[at];
        match sent.phase {
            Phase::AwaitRec if reason.is_error() => self.finish(at), // [MQTT-4.3.3-4]
            Phase::AwaitRec | Phase::AwaitComp => {
                let is_new = sent.phase == Phase::AwaitRec;
                sent.phase = Phase::AwaitComp;
                self.shared_bytes -= sent.shared_size();
                sent.shared = None;
                let received = Acknowledged::Received {
                    seq: sent.seq,
                    body: sent.body,
                    is_new,
                };
                // All that stays in the store is that it is open.
                let size = std::mem::take(&mut sent.size);
                self.stored_bytes = self.stored_bytes.saturating_sub(size);
                received
            }
            _ => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP.
    pub(crate) fn handle_pubcomp(&mut self, packet_id: NonZeroU16) -> Acknowledged {
        match self.find(packet_id) {
            Some(at) if self.window[at].phase == Phase::AwaitComp => self.finish(at),
            _ => Acknowledged::Unknown,
        }
    }

    fn find(&self, packet_id: NonZeroU16) -> Option<usize> {
        let first = self.window.front()?.seq;
        let offset = u64::from(packet_id.get()) - 1 + IDENTIFIERS - first % IDENTIFIERS;
        let seq = first + offset % IDENTIFIERS;
        if seq == first {
            return Some(0);
        }
        self.window.binary_search_by_key(&seq, |sent| sent.seq).ok()
    }

    fn finish(&mut self, at: usize) -> Acknowledged {
        let sent = &mut self.window[at];
        sent.phase = Phase::Done;
        self.shared_bytes -= sent.shared_size();
        sent.shared = None;
        let finished = Acknowledged::Finished {
            seq: sent.seq,
            body: sent.body,
        };
        self.n_open -= 1;
        let (seq, size) = (sent.seq, sent.size);
        self.end_trace(seq);
        if self.is_stored {
            self.uncount(size);
        }
        while self
            .window
            .front()
            .is_some_and(|sent| sent.phase == Phase::Done)
        {
            self.window.pop_front();
        }
        finished
    }
}
