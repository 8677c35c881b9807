//! How messages move between the regions of the queue: memory, store, page.

use gatemq_node::seeded_bug::{Bug, is_seeded};

use super::{Outbound, Queued, has_identifier};
use crate::message::Message;
use crate::proto::mqtt::Qos;
use crate::session::queued::{Lost, Shelf};

/// Messages that a stored session keeps in memory behind its window, and their bytes.
const IN_MEMORY: usize = 512;
const IN_MEMORY_BYTES: usize = 1024 * 1024;
/// Expired messages dropped at once.
const DROPPED: usize = 512;

impl Outbound {
    /// Notes that a message is safe in the store. Returns `true` with the last one of a session
    /// that has ended.
    pub(crate) fn commit(&mut self, seq: u64) -> bool {
        if self.pending.front() == Some(&seq) {
            self.pending.pop_front();
        } else if let Ok(at) = self.pending.binary_search(&seq) {
            self.pending.remove(at);
        }
        self.is_over && self.pending.is_empty()
    }

    /// Notes that the store did not take a message: its publisher is told so, and the session ends.
    /// Returns as [`Self::commit`] does.
    pub(crate) fn refuse(&mut self, seq: u64) -> bool {
        self.refused_from = self.refused_from.min(seq);
        self.commit(seq)
    }

    /// Keeps a stored message in memory as well, or leaves it to the store where there are many.
    pub(super) fn remember(&mut self, queued: Queued) {
        self.queue_bytes += queued.size();
        self.queue.push_back(queued);
        if self.queue.len() > IN_MEMORY || self.queue_bytes > IN_MEMORY_BYTES {
            let first = self
                .queue
                .front()
                .map_or(self.next_seq, |queued| queued.seq);
            if self.load_from >= self.spill_end {
                self.load_from = first;
            }
            self.queue.clear();
            self.queue_bytes = 0;
            self.spill_end = self.next_seq;
        }
    }

    /// Whether something waits that a pump might send.
    pub(crate) fn has_waiting(&self) -> bool {
        let link = self.link.as_ref();
        self.has_entries() && link.is_some_and(|link| self.n_open < link.window)
    }

    /// Whether there is anything behind the window.
    pub(super) fn has_entries(&self) -> bool {
        !self.queue.is_empty()
            || !self.page.is_empty()
            || (self.is_stored && self.load_from < self.spill_end)
    }

    /// The next message to send, if it is safe and its identifier is free.
    pub(super) fn take_next(&mut self, shelf: &mut dyn Shelf) -> Option<Queued> {
        let safe_below = self.pending.front().copied().unwrap_or(self.next_seq);
        let safe_below = safe_below.min(self.refused_from);
        if self.page.is_empty() && self.load_from < self.spill_end {
            if self.loading.is_some() {
                return None;
            }
            let end = self.spill_end.min(safe_below);
            if self.load_from >= end {
                return None; // the next one is being committed
            }
            let Some((page, next)) = shelf.page(self.load_from, end) else {
                self.loading = Some((self.load_from, end));
                return None;
            };
            self.load_from = next.unwrap_or(end);
            self.page.extend(page);
            self.reorder();
        }
        let from_page = !self.page.is_empty();
        if !from_page && self.load_from < self.spill_end {
            return None;
        }
        let source = if from_page {
            &mut self.page
        } else {
            &mut self.queue
        };
        let seq = source.front()?.seq;
        if (self.is_stored && seq >= safe_below) || !has_identifier(&self.window, seq) {
            return None;
        }
        let queued = source.pop_front()?;
        if !from_page {
            self.queue_bytes = self.queue_bytes.saturating_sub(queued.size());
        }
        Some(queued)
    }

    /// A page has come that took a while, of the entries `from` up to `end`. One that is not
    /// waited for any more is left out.
    pub(crate) fn handle_page(
        &mut self,
        (from, end): (u64, u64),
        page: Vec<Queued>,
        next: Option<u64>,
    ) {
        if self.is_loading((from, end)) {
            self.loading = None;
            self.load_from = next.unwrap_or(end);
            self.page.extend(page);
            self.reorder();
        }
    }

    /// With the mistake in, the first two messages of a page that were never sent change places.
    fn reorder(&mut self) {
        if is_seeded(Bug::ReorderOnResume) {
            let was_sent = |queued: &Queued| queued.seq < self.resend_below;
            let n_sent = self.page.iter().filter(|queued| was_sent(queued)).count();
            let page = self.page.make_contiguous();
            if let Some([first, second, ..]) = page.get_mut(n_sent..) {
                std::mem::swap(first, second);
                std::mem::swap(&mut first.seq, &mut second.seq);
            }
        }
    }

    /// Whether a page of these entries is waited for.
    pub(crate) fn is_loading(&self, range: (u64, u64)) -> bool {
        self.loading == Some(range)
    }

    /// Frees room by dropping the oldest message that is not on its way; how much, in bytes.
    pub(crate) fn drop_oldest(&mut self, shelf: &mut dyn Shelf) -> Option<usize> {
        self.drop_first(shelf, Lost::Oldest, |_| true)
    }

    /// Frees room by dropping the messages at the front that nobody wants any more. Returns how
    /// many they were.
    pub(crate) fn drop_expired(&mut self, shelf: &mut dyn Shelf, now: u64) -> usize {
        let is_expired = |message: &Message| message.as_ref().is_expired(now);
        let mut n_dropped = 0;
        while n_dropped < DROPPED && self.drop_first(shelf, Lost::Expired, is_expired).is_some() {
            n_dropped += 1;
        }
        n_dropped
    }

    /// Drops the first message that is not on its way, if it may go; its bytes.
    fn drop_first(
        &mut self,
        shelf: &mut dyn Shelf,
        why: Lost,
        may_go: impl Fn(&Message) -> bool,
    ) -> Option<usize> {
        if self.is_stored && self.link.is_none() && self.resend_below < self.next_seq {
            self.load_from = self.load_from.max(self.resend_below);
        }
        loop {
            let was_read = !self.page.is_empty() || self.load_from < self.spill_end;
            let queued = self.take_next(shelf)?;
            // What was sent is finished: its client may wait for that with its identifier
            // [MQTT-4.3.3-7]. The oldest goes all the same where all were sent and nobody is there.
            let is_sent = queued.seq < self.resend_below && queued.qos > Qos::AtMostOnce;
            let must_stay = is_sent && (self.link.is_some() || why == Lost::Expired);
            match &queued.message {
                // An open QoS 2 exchange, which stays in the store.
                None if self.link.is_none() => continue,
                Some(message) if !must_stay && may_go(message) => {
                    self.note(message, Err(why), shelf)
                }
                _ => {
                    self.put_first(queued, was_read);
                    return None;
                }
            }
            if self.is_stored {
                self.uncount(queued.size());
                shelf.forget(queued.seq, queued.body);
            }
            return Some(queued.size());
        }
    }

    /// Puts an entry back where [`Self::take_next`] took it.
    pub(super) fn put_first(&mut self, queued: Queued, was_read: bool) {
        if was_read {
            self.page.push_front(queued);
        } else {
            self.queue_bytes += queued.size();
            self.queue.push_front(queued);
        }
    }
}
