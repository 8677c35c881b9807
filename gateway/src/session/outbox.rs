//! The bytes that wait for a connection's socket.
//!
//! Small packets are copied one after the other into one buffer, which goes out in one write;
//! a large payload is not copied but waits as a shared slice between two buffers. A full buffer is
//! followed by another one, as large as all that waits: if it grew instead, a message to thousands who
//! read slowly would copy all that waits for them. A connection to which nothing is on its way owns no
//! buffer: they come from and go back to a small pool of the thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use gatemq_node::trace::Span;

use super::outbound::MOST_TRACED;

/// Payloads from this size on are shared instead of copied.
pub(crate) const SHARED_FROM: usize = 8 * 1024;
/// Sizes of buffers, in bytes: a smaller one grows, and only a packet may make one larger.
const LEAST: usize = 4 * 1024;
const MOST: usize = 64 * 1024;
/// Buffers that a thread keeps, and how large one may be to be kept.
const POOLED: usize = 256;
const POOLED_CAPACITY: usize = 256 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What waits to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Vec<u8>,
    more: VecDeque<Chunk>,
    /// Bytes of the front chunk that are written already.
    written: usize,
    length: usize,
    /// Spans that end when all of it is written.
    spans: Vec<Span>,
}

#[derive(Debug)]
enum Chunk {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn give_back(self) {
        if let Self::Copied(buffer) = self {
            give_back(buffer);
        }
    }
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends with `write`, which must only append; about so many bytes.
    pub(crate) fn append(&mut self, n_bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let buffer = self.buffer(n_bytes);
        let before = buffer.len();
        write(buffer);
        let added = buffer.len() - before;
        self.length += added;
    }

    /// Appends a copy; returns the copy, for patching.
    pub(crate) fn append_slice(&mut self, bytes: &[u8]) -> &mut [u8] {
        self.length += bytes.len();
        let buffer = self.buffer(bytes.len());
        let before = buffer.len();
        buffer.extend_from_slice(bytes);
        &mut buffer[before..]
    }

    /// Appends without copying.
    pub(crate) fn append_shared(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.more.push_back(Chunk::Shared(bytes));
    }

    /// Keeps a span until the socket has what is there now; of many, not all.
    pub(crate) fn keep(&mut self, span: Span) {
        if self.spans.len() < MOST_TRACED {
            self.spans.push(span);
        }
    }

    /// Fills `slices` from the front; returns how many it filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut n_slices = 0;
        let mut skip = self.written;
        let chunks = self.more.iter().map(Chunk::as_slice);
        for chunk in std::iter::once(&self.first[..]).chain(chunks) {
            let rest = &chunk[skip.min(chunk.len())..];
            skip = skip.saturating_sub(chunk.len());
            if rest.is_empty() {
                continue;
            }
            let Some(slice) = slices.get_mut(n_slices) else {
                break;
            };
            *slice = IoSlice::new(rest);
            n_slices += 1;
        }
        n_slices
    }

    /// The only slice, where there is just one.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.more.is_empty().then(|| &self.first[self.written..])
    }

    /// Notes that bytes from the front were written.
    pub(crate) fn advance(&mut self, n_bytes: usize) {
        self.length -= n_bytes;
        self.written += n_bytes;
        if self.length == 0 {
            self.written = 0;
            self.more.drain(..).for_each(Chunk::give_back);
            self.first.clear();
            self.spans.clear();
            return;
        }
        if !self.more.is_empty() && self.written >= self.first.len() {
            self.written -= self.first.len();
            give_back(std::mem::take(&mut self.first));
            while let Some(chunk) = self.more.front()
                && self.written >= chunk.as_slice().len()
            {
                self.written -= chunk.as_slice().len();
                self.more.pop_front().into_iter().for_each(Chunk::give_back);
            }
        }
    }

    /// Puts what a writer could not write back in front of what came meanwhile.
    pub(crate) fn put_back(&mut self, mut rest: Self) {
        rest.spans.append(&mut self.spans);
        if self.is_empty() {
            rest.length += self.length;
            let empty = std::mem::replace(self, rest);
            empty.recycle();
            return;
        }
        rest.length += self.length;
        let later = std::mem::replace(self, rest);
        self.more.push_back(Chunk::Copied(later.first));
        self.more.extend(later.more);
    }

    /// Gives the buffer back to the thread's pool.
    pub(crate) fn recycle(self) {
        give_back(self.first);
    }

    /// Where so many bytes are appended.
    fn buffer(&mut self, n_bytes: usize) -> &mut Vec<u8> {
        if self.more.is_empty() && self.first.capacity() == 0 {
            self.first = pooled();
        }
        let has_room = |buffer: &Vec<u8>| {
            let needed = buffer.len() + n_bytes;
            buffer.is_empty() || needed <= buffer.capacity().max(LEAST)
        };
        let next = match self.more.back() {
            None if has_room(&self.first) => None,
            Some(Chunk::Copied(buffer)) if has_room(buffer) => None,
            Some(Chunk::Shared(_)) => Some(Vec::new()),
            None | Some(Chunk::Copied(_)) => {
                let mut buffer = pooled();
                buffer.reserve(self.length.min(MOST).max(n_bytes));
                Some(buffer)
            }
        };
        self.more.extend(next.map(Chunk::Copied));
        match self.more.back_mut() {
            Some(Chunk::Copied(buffer)) => buffer,
            _ => &mut self.first,
        }
    }
}

fn pooled() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
}

fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOLED_CAPACITY {
        return;
    }
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Outbox {
        /// Bytes of its own buffers.
        fn capacity(&self) -> usize {
            let more = self.more.iter().map(|chunk| match chunk {
                Chunk::Copied(buffer) => buffer.capacity(),
                Chunk::Shared(_) => 0,
            });
            self.first.capacity() + more.sum::<usize>()
        }
    }

    fn drained(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let n_slices = outbox.slices(&mut slices);
            let bytes: Vec<u8> = slices[..n_slices].iter().flat_map(|s| s.to_vec()).collect();
            let taken = bytes.len().min(step);
            all.extend_from_slice(&bytes[..taken]);
            outbox.advance(taken);
        }
        all
    }

    fn filled() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.append_slice(b"abc");
        outbox.append_shared(Bytes::from_static(b"SHARED"));
        outbox.append(3, |buffer| buffer.extend_from_slice(b"def"));
        outbox.append_slice(b"g");
        outbox.append_shared(Bytes::from_static(b"AGAIN"));
        outbox
    }

    #[test]
    fn bytes_come_out_in_order_however_they_are_cut() {
        for step in 1..20 {
            assert_eq!(
                drained(&mut filled(), step),
                b"abcSHAREDdefgAGAIN",
                "steps of {step}"
            );
        }
    }

    #[test]
    fn a_buffer_that_is_never_empty_does_not_grow_for_ever() {
        let mut outbox = Outbox::default();
        outbox.append_slice(&[0; 1000]);
        for _ in 0..10_000 {
            outbox.append_slice(&[0; 1000]);
            outbox.advance(1000);
        }
        assert_eq!(outbox.len(), 1000);
        assert!(outbox.capacity() <= 2 * MOST, "{}", outbox.capacity());
    }

    #[test]
    fn what_waits_is_not_moved_when_more_comes() {
        let mut outbox = Outbox::default();
        let mut before = Vec::new();
        for _ in 0..200 {
            outbox.append_slice(&[0; 4000]);
            let mut slices = [IoSlice::new(&[]); 64];
            let n_slices = outbox.slices(&mut slices);
            let after: Vec<_> = slices[..n_slices].iter().map(|it| it.as_ptr()).collect();
            assert!(after.starts_with(&before), "{} bytes wait", outbox.len());
            before = after;
        }
        assert!(before.len() < 20, "{} buffers", before.len());
        assert!(outbox.capacity() < outbox.len() + 2 * MOST);
        assert_eq!(drained(&mut outbox, 10_000).len(), 800_000);
    }

    #[test]
    fn buffers_between_shared_payloads_are_small() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.append_slice(&[0; 20]);
            outbox.append_shared(Bytes::from_static(&[1; SHARED_FROM]));
        }
        let n_bytes: usize = outbox.capacity();
        assert!(n_bytes < 100 * 64 + LEAST, "{n_bytes}");
    }

    #[test]
    fn what_was_not_written_goes_before_what_came_meanwhile() {
        for written in 0..18 {
            let mut taken = filled();
            taken.advance(written);
            let mut outbox = Outbox::default();
            outbox.append_slice(b"later");
            outbox.put_back(taken);
            assert_eq!(outbox.len(), 23 - written);
            let rest = &b"abcSHAREDdefgAGAINlater"[written..];
            assert_eq!(drained(&mut outbox, 4), rest, "{written} bytes written");
        }
    }
}
