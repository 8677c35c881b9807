//! What can happen in a run, as its clients, its faults and its probes see it; one line of JSON
//! each: `{"t":1,"ev":"connected","client":"s1",…}`.

use serde::{Deserialize, Serialize};

use super::{Name, Uid};

/// An event, and when it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `CLOCK_MONOTONIC` of the one machine that all clients are on, in nanoseconds.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened, in the order in which the test saw it: what a client does is recorded
/// before it is done, what the broker did after it was seen.
///
/// Connections of a client are numbered in the order of their CONNECT, from 1; a client that
/// another connection takes over from goes on with the old number on the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "fields are called by what they are; the rest is told at the variants"
)]
pub enum Event {
    // --- connections and sessions ---
    /// CONNECT goes out. Who leaves it away forgoes some rules about Session Present.
    Connecting {
        client: Name,
        connection: u32,
        /// The address that it connects to.
        node: Name,
        /// Clean Session (3.x), Clean Start (5).
        clean_start: bool,
    },
    /// CONNACK that accepts.
    Connected {
        client: Name,
        connection: u32,
        /// The address that it is connected to.
        node: Name,
        session_present: bool,
        clean_start: bool,
    },
    /// The connection is over, as far as the client can tell.
    Disconnected {
        client: Name,
        connection: u32,
        ending: Ending,
    },
    /// The session is over, and it is no fault of the broker's: its client chose that, or it has
    /// expired for sure.
    SessionEnded { client: Name, reason: SessionEnd },
    /// A CONNECT with a will goes out: before [`Event::Connected`] of the same connection.
    WillArmed {
        client: Name,
        connection: u32,
        /// The will; its publisher is the client.
        uid: Uid,
        qos: u8,
        retain: bool,
        /// In seconds.
        delay: u32,
    },

    // --- subscriptions ---
    /// SUBSCRIBE goes out, with the QoS that is asked for.
    Subscribing { client: Name, filter: Name, qos: u8 },
    /// SUBACK with this granted QoS.
    Subscribed { client: Name, filter: Name, qos: u8 },
    /// SUBACK with a reason of 0x80 and above.
    SubscribeRefused {
        client: Name,
        filter: Name,
        reason: u8,
    },
    /// UNSUBSCRIBE goes out.
    Unsubscribing { client: Name, filter: Name },
    /// UNSUBACK.
    Unsubscribed { client: Name, filter: Name },

    // --- messages ---
    /// A PUBLISH goes out, for the first time or again.
    Sent {
        uid: Uid,
        connection: u32,
        qos: u8,
        retain: bool,
        dup: bool,
        /// It has no payload: with RETAIN it clears. Nobody who receives it can tell its name.
        empty: bool,
    },
    /// PUBACK or PUBREC below 0x80: from here on it must not be lost.
    Accepted { uid: Uid, connection: u32 },
    /// PUBCOMP.
    Completed { uid: Uid, connection: u32 },
    /// PUBCOMP that says that the packet id is not known: the broker has no such exchange. Where PUBREL
    /// had been sent before, the PUBCOMP to that one may have been lost, and the exchange was over.
    Unknown {
        uid: Uid,
        connection: u32,
        released_before: bool,
    },
    /// PUBACK or PUBREC of 0x80 and above.
    Refused {
        uid: Uid,
        connection: u32,
        reason: u8,
    },
    /// An application received a message: for QoS 2, the first PUBLISH of the exchange.
    Received {
        client: Name,
        connection: u32,
        topic: Name,
        /// What the payload says; none if it is no whole message of ours.
        uid: Option<Uid>,
        qos: u8,
        dup: bool,
        /// It is a replay of a retained message. A live message that has RETAIN because its
        /// subscription asks for that (Retain As Published) is none.
        retain: bool,
    },
    /// An application received a message without payload: somebody cleared a retained one.
    ReceivedEmpty {
        client: Name,
        connection: u32,
        topic: Name,
        qos: u8,
    },
    /// What a new subscription to one topic replayed: the retained message, or nothing. Whatever
    /// retained messages come with it are not [`Event::Received`] too.
    RetainedRead {
        client: Name,
        topic: Name,
        value: Option<Uid>,
        /// `t` of the SUBSCRIBE.
        invoked: u64,
        /// `t` of the SUBACK, or of the retained message if it came later.
        returned: u64,
    },
    /// The subscriber has received until nothing came any more. It may go on afterwards, and drain
    /// again.
    Drained { client: Name },

    // --- what is not a client's ---
    /// A node of the control plane tells the hash of its state.
    StateHash {
        node: Name,
        /// Number of its process: it counts on at each start.
        life: u32,
        /// Index of the last command that was applied.
        applied: u64,
        hash: Name,
    },
    /// A fault, and what became of it.
    Fault {
        /// What it is: `kill`, `partition`.
        op: Name,
        /// Whom it hits: `g2`.
        target: Name,
        outcome: FaultOutcome,
    },
    /// After a fault was healed a client wrote and read.
    Probe {
        client: Name,
        /// Whether what it wrote was accepted and came back.
        ok: bool,
        /// How long after the heal that was, in nanoseconds.
        after: u64,
    },
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// DISCONNECT was sent, and the broker closed after it: it has seen it.
    Orderly,
    /// No DISCONNECT was sent, or one that asks for the will.
    Cut,
    /// DISCONNECT was sent, and nobody knows whether it arrived.
    Unclear,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The client asked for it: a clean start, an expiry of 0.
    Chosen,
    /// It was away for longer than its expiry, and for what the broker may be late.
    Expired,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultOutcome {
    /// It is being made: from here on it may be in force.
    Begun,
    /// It was seen to be in force.
    Installed,
    /// It cannot be had here.
    Skipped,
    /// It may be in force, or not.
    Indeterminate,
    /// It is over: the node is back, the link is whole.
    Healed,
}

impl Event {
    /// A client has a connection at a node.
    #[cfg(test)]
    pub(crate) fn connected_at(node: &str, client: &str, connection: u32) -> Self {
        Self::Connected {
            client: client.into(),
            connection,
            node: node.into(),
            session_present: false,
            clean_start: false,
        }
    }

    /// A client has been acknowledged a message on a connection.
    #[cfg(test)]
    pub(crate) fn accepted_of(client: &str, connection: u32) -> Self {
        let uid = Uid {
            publisher: client.into(),
            topic: "topic".into(),
            seq: 0,
        };
        Self::Accepted { uid, connection }
    }

    /// Has each name in it changed.
    pub(super) fn rename(&mut self, mut change: impl FnMut(&mut Name)) {
        let of_uid = |uid: &mut Uid, change: &mut dyn FnMut(&mut Name)| {
            change(&mut uid.publisher);
            change(&mut uid.topic);
        };
        match self {
            Self::Connecting { client, node, .. } | Self::Connected { client, node, .. } => {
                change(client);
                change(node);
            }
            Self::Disconnected { client, .. }
            | Self::SessionEnded { client, .. }
            | Self::Drained { client }
            | Self::Probe { client, .. } => change(client),
            Self::WillArmed { client, uid, .. } => {
                change(client);
                of_uid(uid, &mut change);
            }
            Self::Subscribing { client, filter, .. }
            | Self::Subscribed { client, filter, .. }
            | Self::SubscribeRefused { client, filter, .. }
            | Self::Unsubscribing { client, filter }
            | Self::Unsubscribed { client, filter } => {
                change(client);
                change(filter);
            }
            Self::Sent { uid, .. }
            | Self::Accepted { uid, .. }
            | Self::Completed { uid, .. }
            | Self::Unknown { uid, .. }
            | Self::Refused { uid, .. } => of_uid(uid, &mut change),
            Self::Received {
                client, topic, uid, ..
            }
            | Self::RetainedRead {
                client,
                topic,
                value: uid,
                ..
            } => {
                change(client);
                change(topic);
                if let Some(uid) = uid {
                    of_uid(uid, &mut change);
                }
            }
            Self::ReceivedEmpty { client, topic, .. } => {
                change(client);
                change(topic);
            }
            Self::StateHash { node, hash, .. } => {
                change(node);
                change(hash);
            }
            Self::Fault { op, target, .. } => {
                change(op);
                change(target);
            }
        }
    }
}
