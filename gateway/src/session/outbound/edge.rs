//! How far a queue may have been sent, as far as the store knows: its *edge*.
//!
//! Nothing of a stored session is sent at or beyond its edge, and an edge counts when it is safe. So
//! whoever goes on after a crash knows what may have been sent, however much of it the client had
//! finished that was not deleted yet, and however large its window was. The edge is one or two
//! windows ahead of what was sent: it is written about once for each window, and only the first
//! message of a connection may have to wait for it. An orderly end says exactly where it was, in the
//! session's record.

use super::{Outbound, Queued};
use crate::session::queued::Shelf;

/// What the edge is ahead at least, in messages: for windows that are smaller.
const AHEAD: u64 = 32;

impl Outbound {
    /// The same, of a queue of which the store has this edge.
    pub(crate) fn with_edge(mut self, edge: u64) -> Self {
        (self.edge, self.next_edge) = (edge, edge);
        self
    }

    /// An edge is safe.
    pub(crate) fn commit_edge(&mut self, edge: u64) {
        self.edge = self.edge.max(edge);
    }

    /// What is not safe by now may have been refused: it is said again.
    pub(super) fn forget_next_edge(&mut self) {
        self.next_edge = self.edge;
    }

    /// The next message to send, unless it is beyond the edge.
    pub(super) fn take_sendable(&mut self, shelf: &mut dyn Shelf) -> Option<Queued> {
        let was_read = !self.page.is_empty() || self.load_from < self.spill_end;
        let queued = self.take_next(shelf)?;
        if !self.is_stored || queued.seq < self.edge {
            return Some(queued);
        }
        self.move_edge(queued.seq, shelf);
        self.put_first(queued, was_read);
        None
    }

    /// Moves the edge if something waits, and little is left up to it: with the message that comes,
    /// or with what the client has finished, so that nothing waits for the edge alone.
    pub(crate) fn keep_edge_ahead(&mut self, shelf: &mut dyn Shelf) {
        if !self.is_stored || self.is_over || self.is_moved || !self.has_entries() {
            return;
        }
        let is_left_out = self.load_from < self.spill_end;
        let of_queue = self.queue.front().filter(|_| !is_left_out);
        let next = self.page.front().or(of_queue);
        let next = next.map_or(self.load_from, |queued| queued.seq);
        self.move_edge(next.max(self.sent_below), shelf);
    }

    fn move_edge(&mut self, from: u64, shelf: &mut dyn Shelf) {
        let Some(link) = &self.link else { return };
        let ahead = AHEAD.max(link.window as u64);
        if self.next_edge < from + ahead {
            self.next_edge = from + 2 * ahead;
            shelf.move_edge(self.next_edge);
        }
    }
}
