//! What one client tells its history about its connections: their numbers, where they led, how
//! they ended.

use std::{net::SocketAddr, sync::Arc};

use crate::history::{Ending, Event, History, Name};

/// The log of a client's connections.
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
