//! What a client has got, without what the standard leaves open.

use gatemq_tests::{
    Packet, Properties,
    wire::{self, property},
};

/// What a client has got in a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// CONNACK: session present, code.
    pub(super) connack: Option<(bool, u8)>,
    /// Everything else that answers something, in the order of its words: what of it comes first is
    /// open.
    pub(super) replies: Vec<String>,
    /// By topic, in the order in which they came.
    pub(super) messages: Vec<(String, String)>,
    /// The broker has closed the connection.
    pub(super) is_closed: bool,
    /// An older connection of the client has been closed.
    pub(super) is_taken_over: bool,
    /// An answer has not come.
    pub(super) is_silent: bool,
}

impl View {
    pub(super) fn take(&mut self, packet: &Packet, level: u8) {
        match packet.kind {
            wire::CONNACK => {
                let connack = packet.connack(level);
                self.connack = Some((connack.session_present, connack.code));
            }
            wire::PUBLISH => {
                let publish = packet.publish(level);
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                let flags = (publish.dup, publish.retain);
                let shown = properties(&publish.properties);
                let text = format!(
                    "{payload:?} qos {} dup, retain {flags:?} {shown}",
                    publish.qos
                );
                self.messages.push((publish.topic, text));
            }
            wire::PUBACK | wire::PUBREC | wire::PUBREL | wire::PUBCOMP => {
                let ack = packet.ack(packet.kind, level);
                // That nobody wants a message, or that an identifier is not known, need not be said.
                let reason = match ack.reason {
                    0x10 | 0x92 => 0,
                    reason => reason,
                };
                // Identifiers of what the broker sends are its own.
                let id = match packet.kind {
                    wire::PUBREL => String::new(),
                    _ => ack.id.to_string(),
                };
                self.replies
                    .push(format!("{} {id} {reason:#x}", wire::name(packet.kind)));
            }
            wire::SUBACK | wire::UNSUBACK => {
                let ack = packet.suback(packet.kind, level);
                let (name, codes) = (wire::name(packet.kind), ack.codes);
                self.replies.push(format!("{name} {} {codes:02x?}", ack.id));
            }
            // That it ends is what counts; before that a broker may say why.
            wire::PINGRESP | wire::DISCONNECT => {}
            other => self.replies.push(wire::name(other).to_owned()),
        }
    }

    /// As it is compared. Where filters overlap it is open how often a message comes and how.
    pub(super) fn normal(&self, name: &str, overlaps: bool) -> Self {
        let mut normal = self.clone();
        for (topic, _) in &mut normal.messages {
            *topic = topic.replace(name, "");
        }
        normal.messages.sort_by(|one, two| one.0.cmp(&two.0));
        normal.replies.sort();
        if overlaps {
            for (_, text) in &mut normal.messages {
                let end = text.find(" qos ").unwrap_or(text.len());
                text.truncate(end);
            }
            normal.messages.sort();
            normal.messages.dedup();
            normal.replies.retain(|reply| !reply.starts_with("PUBREL"));
        }
        normal
    }
}

/// What a publisher has said, and the numbers of subscriptions, in an order of their own.
fn properties(properties: &Properties) -> String {
    let mut shown: Vec<String> = properties
        .list
        .iter()
        .filter(|(id, _)| *id != property::TOPIC_ALIAS)
        .map(|(id, value)| match *id {
            // It has become less on the way, or not yet.
            property::MESSAGE_EXPIRY_INTERVAL => format!("{id:02x}"),
            _ => format!("{id:02x} {value:?}"),
        })
        .collect();
    // User properties keep their order [MQTT-3.3.2-18].
    shown.sort_by(|one, two| one[..2].cmp(&two[..2]));
    shown.join(", ")
}
