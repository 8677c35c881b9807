//! PUBACK, PUBREC and PUBCOMP from a client: what the broker sent makes progress.

use super::Connection;
use crate::proto::mqtt::{Ack, Version};
use crate::session::End;
use crate::session::acks;
use crate::session::outbound::Acknowledged;
use crate::store::{self, keys, record};
use crate::turn::Turn;

impl Connection {
    /// PUBACK.
    pub(super) fn handle_puback(&mut self, ack: &Ack<'_>, turn: &mut Turn<'_>) -> Result<(), End> {
        let mut outbound = self.session.outbound.lock();
        let acknowledged = outbound.handle_puback(ack.packet_id);
        let is_stored = outbound.is_stored();
        drop(outbound);
        self.capture_ack("puback", ack);
        self.note_finished(&acknowledged, is_stored, turn);
        Ok(())
    }

    /// PUBREC: noted in the store, then answered with PUBREL.
    pub(super) fn handle_pubrec(&mut self, ack: &Ack<'_>, turn: &mut Turn<'_>) -> Result<(), End> {
        let mut outbound = self.session.outbound.lock();
        let acknowledged = outbound.handle_pubrec(ack.packet_id, ack.reason);
        let is_stored = outbound.is_stored();
        drop(outbound);
        self.capture_ack("pubrec", ack);
        match acknowledged {
            Acknowledged::Received { seq, body, is_new } => {
                if is_stored && is_new {
                    let number = self.session.number;
                    if body != 0 {
                        store::forget(&mut turn.batch, number, seq, body);
                    }
                    turn.batch
                        .put(&keys::queue(number, seq), &record::released());
                    turn.must_commit = true;
                }
                acks::pubrel(self.reply(turn), ack.packet_id);
            }
            Acknowledged::Unknown if ack.reason.is_error() => {}
            Acknowledged::Unknown if self.version == Version::V5 => {
                acks::pubrel_unknown(self.reply(turn), ack.packet_id);
            }
            Acknowledged::Unknown => acks::pubrel(self.reply(turn), ack.packet_id),
            Acknowledged::Finished { .. } => self.note_finished(&acknowledged, is_stored, turn),
        }
        Ok(())
    }

    /// PUBCOMP.
    pub(super) fn handle_pubcomp(&mut self, ack: &Ack<'_>, turn: &mut Turn<'_>) -> Result<(), End> {
        let mut outbound = self.session.outbound.lock();
        let acknowledged = outbound.handle_pubcomp(ack.packet_id);
        let is_stored = outbound.is_stored();
        drop(outbound);
        self.capture_ack("pubcomp", ack);
        self.note_finished(&acknowledged, is_stored, turn);
        Ok(())
    }

    /// Forgets a message that the client has finished, and makes room for the next.
    fn note_finished(&mut self, done: &Acknowledged, is_stored: bool, turn: &mut Turn<'_>) {
        if let Acknowledged::Finished { seq, body } = *done {
            if is_stored {
                store::forget(&mut turn.batch, self.session.number, seq, body);
            }
            self.needs_pump = true;
        }
    }
}
