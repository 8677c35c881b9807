//! Messages of QoS 2 that another broker has for us, each taken once: pure.
//!
//! ```text
//!  PUBLISH ─> new: to this cluster ─> it has taken it: PUBREC ─> PUBREL: forgotten
//!        └──> known: PUBREC, as soon as this cluster has taken it
//! ```
//!
//! An identifier is known from when its message is on its way until it is released, over all
//! connections of a session there. It is not on disk: what a bridge that is killed has brought, and
//! not answered, comes again with the next one.

use std::collections::HashMap;

/// Identifiers of one session.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Counts sessions: what is said of an earlier one is not for this one.
    session: u64,
    known: HashMap<u16, Exchange>,
}

#[derive(Debug)]
struct Exchange {
    is_taken: bool,
    /// On which connection it came last: on another it is not answered.
    connection: u64,
}

/// A message on its way into this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    session: u64,
    id: u16,
}

/// What becomes of a message that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is to be brought.
    Bring,
    /// It is on its way.
    Wait,
    /// It is taken, and to be answered again.
    Answer,
}

// === impl Exchanges ===

impl Exchanges {
    /// A connection begins, with the session of the one before or with another.
    pub(super) fn on_connected(&mut self, is_resumed: bool) {
        if !is_resumed {
            self.session += 1;
            self.known.clear();
        }
    }

    /// A message comes, for the first time or again.
    pub(super) fn on_publish(&mut self, id: u16, connection: u64) -> Step {
        let Some(exchange) = self.known.get_mut(&id) else {
            return Step::Bring;
        };
        exchange.connection = connection;
        match exchange.is_taken {
            true => Step::Answer,
            false => Step::Wait,
        }
    }

    /// A message is on its way.
    pub(super) fn begin(&mut self, id: u16, connection: u64) -> Ticket {
        let exchange = Exchange {
            is_taken: false,
            connection,
        };
        self.known.insert(id, exchange);
        Ticket {
            session: self.session,
            id,
        }
    }

    /// This cluster has taken a message: whether it is to be answered on this connection. If not, it
    /// comes again.
    pub(super) fn on_taken(&mut self, ticket: Ticket, connection: u64) -> bool {
        if ticket.session != self.session {
            return false;
        }
        self.known.get_mut(&ticket.id).is_some_and(|exchange| {
            exchange.is_taken = true;
            exchange.connection == connection
        })
    }

    /// The other broker has heard the answer: its next message of this identifier is another.
    pub(super) fn on_released(&mut self, id: u16) {
        self.known.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Exchanges, Ticket) {
        let mut exchanges = Exchanges::default();
        exchanges.on_connected(false);
        assert_eq!(exchanges.on_publish(7, 1), Step::Bring);
        let ticket = exchanges.begin(7, 1);
        (exchanges, ticket)
    }

    #[test]
    fn a_message_is_brought_once_and_answered_as_often_as_it_comes() {
        let (mut exchanges, ticket) = begun();
        assert_eq!(exchanges.on_publish(7, 1), Step::Wait);
        assert!(exchanges.on_taken(ticket, 1));
        exchanges.on_connected(true);
        assert_eq!(exchanges.on_publish(7, 2), Step::Answer);
        exchanges.on_released(7);
        assert_eq!(exchanges.on_publish(7, 2), Step::Bring, "another one");
    }

    #[test]
    fn what_is_taken_after_its_connection_is_answered_when_it_comes_again() {
        let (mut exchanges, ticket) = begun();
        exchanges.on_connected(true);
        assert!(!exchanges.on_taken(ticket, 2), "it did not come there");
        assert_eq!(exchanges.on_publish(7, 2), Step::Answer);
    }

    #[test]
    fn what_comes_again_before_it_is_taken_is_answered_on_its_new_connection() {
        let (mut exchanges, ticket) = begun();
        exchanges.on_connected(true);
        assert_eq!(exchanges.on_publish(7, 2), Step::Wait);
        assert!(exchanges.on_taken(ticket, 2));
    }

    #[test]
    fn another_session_knows_nothing_of_the_one_before() {
        let (mut exchanges, of_before) = begun();
        exchanges.on_connected(false);
        assert_eq!(exchanges.on_publish(7, 2), Step::Bring);
        let ticket = exchanges.begin(7, 2);
        assert!(!exchanges.on_taken(of_before, 2));
        assert_eq!(exchanges.on_publish(7, 2), Step::Wait);
        assert!(exchanges.on_taken(ticket, 2));
    }
}
