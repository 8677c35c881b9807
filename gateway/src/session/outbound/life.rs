//! A connection comes and goes, the session ends, or goes to another gateway.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Outbound, Phase};
use crate::message::Message;
use crate::session::link::Link;
use crate::session::queued::Share;

impl Outbound {
    /// The session has ended: it takes nothing more. Returns whether the store has all that
    /// there is of it; else it has after the last pending commit.
    pub(crate) fn end(&mut self) -> bool {
        self.is_over = true;
        self.pending.is_empty()
    }

    /// Whether the session has ended here.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_over
    }

    /// The session is another gateway's: nothing more is stored for it here.
    pub(crate) fn move_away(&mut self) {
        self.is_moved = true;
        self.pending.clear();
    }

    /// Whether the session is another gateway's by now.
    pub(crate) fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Nobody of this cluster has the session: what comes for it cannot be sent on either.
    pub(crate) fn give_up(&mut self) {
        self.is_stolen = true;
    }

    /// Whether nobody of this cluster has the session.
    pub(crate) fn is_stolen(&self) -> bool {
        self.is_stolen
    }

    /// Takes the connection out. What a stored session holds in memory is left to the store.
    pub(crate) fn detach(&mut self) -> Option<Box<Link>> {
        let link = self.link.take();
        self.break_traces();
        if self.is_stored {
            self.resend_below = self.sent_below;
            self.window = VecDeque::new();
            self.page = VecDeque::new();
            self.queue = VecDeque::new();
            (self.n_open, self.queue_bytes, self.shared_bytes) = (0, 0, 0);
            self.load_from_start();
        }
        link
    }

    /// Puts a connection in; a stored session begins with its first entry again.
    pub(crate) fn attach(&mut self, link: Box<Link>) {
        debug_assert!(self.link.is_none(), "a session has one connection");
        self.page.clear();
        self.load_from_start();
        self.forget_next_edge();
        self.link = Some(link);
    }

    /// All of the queue is left to the store.
    fn load_from_start(&mut self) {
        (self.load_from, self.spill_end) = (0, self.next_seq);
        self.loading = None;
    }

    /// The shared messages that another member of their group should get now that the session
    /// has ended: those still queued, and QoS 1 ones without an acknowledgement; of QoS 2 only
    /// those that were never sent `[MQTT-4.8.2-5]`.
    pub(crate) fn take_shared(&mut self) -> Vec<(Arc<Share>, Arc<Message>)> {
        let sent = self
            .window
            .drain(..)
            .filter(|sent| sent.phase == Phase::AwaitAck);
        let sent = sent.filter_map(|sent| sent.shared.map(|shared| *shared));
        let queued = self
            .queue
            .drain(..)
            .filter_map(|queued| queued.share.zip(queued.message));
        sent.chain(queued).collect()
    }
}
