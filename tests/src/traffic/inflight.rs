//! What a client has published and was not told the end of: what answers mean for it, and what is
//! sent again on the next connection `[MQTT-4.4.0-1]`.

use std::{collections::VecDeque, io};

use crate::{
    history::Uid,
    wire::{self, Packet, Publish},
};

use super::journal::Journal;

/// Messages of QoS 1 and 2 in the order in which they were sent first.
pub(super) struct Inflight {
    level: u8,
    messages: VecDeque<Message>,
    last_id: u16,
}

struct Message {
    uid: Uid,
    packet: Publish,
    /// PUBREC came: PUBREL is due, and no more PUBLISH.
    is_released: bool,
    /// How often PUBREL was sent, or may have been.
    n_released: usize,
}

/// What an answer means.
pub(super) struct Answer {
    /// Of a PUBACK or PUBREC; a PUBCOMP says nothing new.
    pub(super) reason: Option<u8>,
    /// What is to be sent back.
    pub(super) reply: Option<Vec<u8>>,
}

// === impl Inflight ===

impl Inflight {
    /// Nothing yet, for this protocol level.
    pub(super) fn new(level: u8) -> Self {
        Self {
            level,
            messages: VecDeque::new(),
            last_id: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A packet id that no message here has.
    pub(super) fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = Some(self.last_id);
            if self.messages.iter().all(|message| message.packet.id != id) {
                return self.last_id;
            }
        }
    }

    /// A message goes out, with a packet id if it needs one: its bytes. Of one of QoS 0 nothing
    /// more is heard.
    pub(super) fn begin(&mut self, uid: Uid, mut packet: Publish, journal: &Journal) -> Vec<u8> {
        packet.id = (packet.qos > 0).then(|| self.next_id());
        journal.sent(&uid, &packet);
        let bytes = packet.bytes(self.level);
        if packet.qos > 0 {
            self.messages.push_back(Message {
                uid,
                packet,
                is_released: false,
                n_released: 0,
            });
        }
        bytes
    }

    /// Everything goes out again, on another connection: its bytes.
    pub(super) fn again(&mut self, journal: &Journal) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in &mut self.messages {
            let id = message.packet.id.expect("QoS above 0 has an id");
            if message.is_released {
                message.n_released += 1;
                bytes.extend(wire::ack(wire::PUBREL, id));
            } else {
                message.packet.dup = true;
                journal.sent(&message.uid, &message.packet);
                bytes.extend(message.packet.bytes(self.level));
            }
        }
        bytes
    }

    /// Forgets messages of this QoS: they are not sent again.
    pub(super) fn forget(&mut self, qos: u8) {
        self.messages.retain(|message| message.packet.qos != qos);
    }

    /// An answer comes; `None` where it is to nothing that is here.
    ///
    /// # Errors
    ///
    /// It is no answer, or none to a message of that QoS.
    pub(super) fn handle(
        &mut self,
        packet: &Packet,
        journal: &Journal,
    ) -> io::Result<Option<Answer>> {
        if !matches!(packet.kind, wire::PUBACK | wire::PUBREC | wire::PUBCOMP) {
            return Err(io::Error::other(format!("unexpected {packet:?}")));
        }
        let ack = packet.ack(packet.kind, self.level);
        let of_id = |message: &Message| message.packet.id == Some(ack.id);
        let Some(index) = self.messages.iter().position(of_id) else {
            // The answer to a PUBREL that was sent again may come twice.
            return Ok(None);
        };
        let message = &mut self.messages[index];
        let (uid, reason) = (message.uid.clone(), ack.reason);
        let (mut is_over, mut reply) = (true, None);
        match (packet.kind, message.packet.qos) {
            (wire::PUBACK, 1) => journal.answered(uid, reason),
            (wire::PUBREC, 2) if reason >= 0x80 => journal.answered(uid, reason),
            (wire::PUBREC, 2) => {
                if !std::mem::replace(&mut message.is_released, true) {
                    journal.answered(uid, reason);
                }
                message.n_released += 1;
                (is_over, reply) = (false, Some(wire::ack(wire::PUBREL, ack.id)));
            }
            (wire::PUBCOMP, 2) if message.is_released => {
                journal.completed(uid, reason, message.n_released > 1);
            }
            (_, qos) => {
                let why = format!("{packet:?} for a message of QoS {qos}");
                return Err(io::Error::other(why));
            }
        }
        if is_over {
            self.messages.remove(index);
        }
        Ok(Some(Answer {
            reason: (packet.kind != wire::PUBCOMP).then_some(reason),
            reply,
        }))
    }
}
