//! What one client tells its history: its connections, their numbers, where they led and how they
//! ended, and what it sent, was told and received on them.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    history::{self, Ending, Event, History, Name, Uid},
    wire::Publish,
};

/// Packet Identifier Not Found.
const UNKNOWN_ID: u8 = 0x92;

/// The log of a client.
pub struct Journal {
    history: Arc<History>,
    client: Name,
    connection: u32,
    node: Name,
    clean_start: bool,
    is_connected: bool,
}

impl Journal {
    /// A client that has not connected yet.
    pub fn new(client: &str, history: &Arc<History>) -> Self {
        Self {
            history: Arc::clone(history),
            client: client.into(),
            connection: 0,
            node: "".into(),
            clean_start: false,
            is_connected: false,
        }
    }

    /// Number of the present connection, or of the last.
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// CONNECT goes out to this address.
    pub fn connecting(&mut self, address: SocketAddr, clean_start: bool) {
        self.connection += 1;
        self.node = address.to_string().into();
        self.clean_start = clean_start;
        self.history.record(Event::Connecting {
            client: self.client.clone(),
            connection: self.connection,
            node: self.node.clone(),
            clean_start,
        });
    }

    /// CONNACK accepted it.
    pub fn connected(&mut self, session_present: bool) {
        self.is_connected = true;
        self.history.record(Event::Connected {
            client: self.client.clone(),
            connection: self.connection,
            node: self.node.clone(),
            session_present,
            clean_start: self.clean_start,
        });
    }

    /// SUBSCRIBE goes out.
    pub fn subscribing(&self, filter: &str, qos: u8) {
        self.history.record(Event::Subscribing {
            client: self.client.clone(),
            filter: filter.into(),
            qos,
        });
    }

    /// SUBACK with this code.
    pub fn subscribed(&self, filter: &str, code: u8) {
        let (client, filter) = (self.client.clone(), filter.into());
        self.history.record(match code {
            0x80.. => Event::SubscribeRefused {
                client,
                filter,
                reason: code,
            },
            qos => Event::Subscribed {
                client,
                filter,
                qos,
            },
        });
    }

    /// The message goes out as this packet.
    pub fn sent(&self, uid: &Uid, packet: &Publish) {
        self.history.record(Event::Sent {
            uid: uid.clone(),
            connection: self.connection,
            qos: packet.qos,
            retain: packet.retain,
            dup: packet.dup,
            empty: packet.payload.is_empty(),
        });
    }

    /// PUBACK or PUBREC with this reason.
    pub fn answered(&self, uid: Uid, reason: u8) {
        self.answered_on(self.connection, uid, reason);
    }

    /// The same on the connection of this number.
    pub fn answered_on(&self, connection: u32, uid: Uid, reason: u8) {
        self.history.record(match reason {
            0x80.. => Event::Refused {
                uid,
                connection,
                reason,
            },
            _ => Event::Accepted { uid, connection },
        });
    }

    /// PUBCOMP, with this reason; and whether PUBREL had been sent before, or may have been.
    pub fn completed(&self, uid: Uid, reason: u8, released_before: bool) {
        self.completed_on(self.connection, uid, reason, released_before);
    }

    /// The same on the connection of this number.
    pub fn completed_on(&self, connection: u32, uid: Uid, reason: u8, released_before: bool) {
        self.history.record(match reason {
            UNKNOWN_ID => Event::Unknown {
                uid,
                connection,
                released_before,
            },
            _ => Event::Completed { uid, connection },
        });
    }

    /// The application gets what this packet brings on the present connection, or the last.
    pub fn received(&self, publish: &Publish) {
        self.received_on(self.connection, publish);
    }

    /// The same on the connection of this number.
    pub fn received_on(&self, connection: u32, publish: &Publish) {
        let (client, topic) = (self.client.clone(), publish.topic.as_str().into());
        self.history.record(match publish.payload.is_empty() {
            true => Event::ReceivedEmpty {
                client,
                connection,
                topic,
                qos: publish.qos,
            },
            false => Event::Received {
                client,
                connection,
                topic,
                uid: history::decode(&publish.payload),
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
            },
        });
    }

    /// The connection, if there is one, is over. Returns whether there was one.
    pub fn disconnected(&mut self, ending: Ending) -> bool {
        let was_connected = std::mem::take(&mut self.is_connected);
        if was_connected {
            self.history.record(Event::Disconnected {
                client: self.client.clone(),
                connection: self.connection,
                ending,
            });
        }
        was_connected
    }
}
