//! Bytes that were read and not handled yet.
//!
//! Usually none, and then no buffer is owned; else the beginning of a packet whose rest has not
//! arrived, or packets beyond what one turn handles. The buffer grows with what has arrived,
//! never with what a packet's length announces.

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are handled.
    handled: usize,
}

impl Unread {
    pub(crate) fn is_empty(&self) -> bool {
        self.handled == self.bytes.len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.handled..]
    }

    /// Adds bytes at the end.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes bytes from the front.
    pub(crate) fn advance(&mut self, n_bytes: usize) {
        self.handled += n_bytes;
        if self.is_empty() {
            *self = Self::default();
        } else if self.handled > self.bytes.len() / 2 {
            self.bytes.drain(..self.handled);
            self.handled = 0;
        }
    }
}

impl From<&[u8]> for Unread {
    fn from(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            handled: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_buffer_with_the_last_one() {
        let mut unread = Unread::default();
        unread.keep(b"abcdef");
        unread.advance(2);
        unread.keep(b"gh");
        assert_eq!(unread.as_slice(), b"cdefgh");
        unread.advance(4);
        assert_eq!(unread.as_slice(), b"gh");
        unread.advance(2);
        assert!(unread.is_empty());
        assert_eq!(unread.bytes.capacity(), 0);
    }
}
