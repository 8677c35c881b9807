//! What bridges are told of a connection: that it began and why it ended, and which filters its client
//! subscribed to.

use std::net::IpAddr;

use super::Connection;
use crate::proto::cluster::peer::{Event, event::Kind};
use crate::proto::mqtt::{Reason, Version};
use crate::session::{End, Session};
use crate::turn::Turn;

/// What a CONNECT said, as far as bridges are told.
pub(super) struct Beginning<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) listener: &'a str,
    pub(super) version: Version,
    pub(super) is_clean: bool,
}

/// Tells that a client has a session now.
pub(super) fn tell_of_begin(session: &Session, begin: &Beginning<'_>, turn: &mut Turn<'_>) {
    let now = turn.now;
    turn.tell_bridges(session, || Event {
        kind: Kind::Connect.into(),
        at: now,
        remote: remote(begin.address, begin.port),
        listener: transport(begin.listener).to_owned(),
        protocol_level: u32::from(begin.version as u8),
        is_clean: begin.is_clean,
        ..Event::default()
    });
}

impl Connection {
    /// Tells why the connection ends, before anybody else can have the session.
    pub(super) fn tell_of_end(&self, end: &End) {
        let mut turn = Turn::new(&self.broker);
        let now = turn.now;
        turn.tell_bridges(&self.session, || Event {
            kind: Kind::Disconnect.into(),
            at: now,
            reason: reason(end).to_owned(),
            ..Event::default()
        });
        turn.finish(None);
    }

    /// Tells of those filters of a packet that were taken.
    pub(super) fn tell_of_filters<'f>(
        &self,
        kind: Kind,
        filters: impl Iterator<Item = &'f str>,
        reasons: &[Reason],
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now;
        let taken = filters.zip(reasons);
        let mut taken = taken
            .filter(|(_, reason)| (**reason as u8) < 0x80)
            .peekable();
        if taken.peek().is_none() {
            return;
        }
        turn.tell_bridges(&self.session, || Event {
            kind: kind.into(),
            at: now,
            filters: taken.map(|(filter, _)| filter.to_owned()).collect(),
            ..Event::default()
        });
    }
}

fn remote(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => String::new(),
    }
}

/// What of a listener's name says how clients speak there.
fn transport(listener: &str) -> &str {
    let end = listener.find(|letter: char| !letter.is_ascii_alphanumeric());
    listener
        .get(..end.unwrap_or(listener.len()))
        .unwrap_or(listener)
}

/// Why it ended; nothing where the client wanted it so.
fn reason(end: &End) -> &str {
    match end {
        End::Disconnected {
            with_will: false, ..
        } => "",
        End::Disconnected {
            with_will: true, ..
        } => "disconnect with will message",
        End::Lost => "EOF",
        End::Refused(_, why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_connection_ended_is_a_text_unless_its_client_said_goodbye() {
        let goodbye = |with_will| End::Disconnected {
            with_will,
            expiry: None,
        };
        assert_eq!(reason(&goodbye(false)), "");
        assert_eq!(reason(&goodbye(true)), "disconnect with will message");
        assert_eq!(reason(&End::Lost), "EOF");
        let banned = End::refused(Reason::Banned, "banned");
        assert_eq!(reason(&banned), "banned");
    }

    #[test]
    fn where_a_client_is_has_a_port_if_that_is_known() {
        let address = "2001:db8::1".parse().expect("an address");
        assert_eq!(remote(Some(address), Some(7)), "[2001:db8::1]:7");
        assert_eq!(remote(Some(address), None), "2001:db8::1");
        assert_eq!(remote(None, Some(7)), "");
    }
}
