//! A list of changes to hand to an engine: all operations share one byte buffer.

use std::fmt;

/// Changes that are applied together, in order.
#[derive(Clone, Default)]
pub struct Batch {
    /// Keys and values of all operations, one after the other.
    buffer: Vec<u8>,
    ops: Vec<Record>,
    longest_key: usize,
}

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets the value of a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value from now on.
        value: &'a [u8],
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes all keys in `start..end`.
    DeleteRange {
        /// The first key to go.
        start: &'a [u8],
        /// The first key to stay.
        end: &'a [u8],
    },
    /// Removes `key` if, after the preceding operations of the commit, no key is in `start..end`.
    DeleteUnlessAny {
        /// The key.
        key: &'a [u8],
        /// Where the keys that keep it begin.
        start: &'a [u8],
        /// Where they end.
        end: &'a [u8],
    },
}

// === impl Batch ===

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, [key, value, &[]]);
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(Kind::Delete, [key, &[], &[]]);
    }

    /// Removes all keys in `start..end`.
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) {
        self.push(Kind::DeleteRange, [start, end, &[]]);
    }

    /// Removes `key` if, after the preceding operations of the same commit, no key is left in
    /// `start..end`. This lets callers keep reference counts as keys.
    pub fn delete_unless_any(&mut self, key: &[u8], start: &[u8], end: &[u8]) {
        self.push(Kind::DeleteUnlessAny, [key, start, end]);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// How many bytes of memory the operations take; 0 if there are none.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.ops.len() * size_of::<Record>()
    }

    /// Removes all operations and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.ops.clear();
        self.longest_key = 0;
    }

    /// The length of the longest key in an operation, in bytes.
    pub(crate) fn longest_key(&self) -> usize {
        self.longest_key
    }

    /// The operations, in order.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        let mut rest = self.buffer.as_slice();
        self.ops.iter().map(move |record| {
            let [a, b, c] = record.lengths.map(|length| {
                let (part, tail) = rest.split_at(length as usize);
                rest = tail;
                part
            });
            match record.kind {
                Kind::Put => Op::Put { key: a, value: b },
                Kind::Delete => Op::Delete { key: a },
                Kind::DeleteRange => Op::DeleteRange { start: a, end: b },
                Kind::DeleteUnlessAny => Op::DeleteUnlessAny {
                    key: a,
                    start: b,
                    end: c,
                },
            }
        })
    }

    fn push(&mut self, kind: Kind, parts: [&[u8]; 3]) {
        let keys = match kind {
            Kind::Put => &parts[..1],
            Kind::Delete | Kind::DeleteRange | Kind::DeleteUnlessAny => &parts[..],
        };
        let longest = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        self.longest_key = self.longest_key.max(longest);
        let lengths = parts.map(|part| {
            self.buffer.extend_from_slice(part);
            u32::try_from(part.len()).expect("an MQTT packet, the largest value, is below 256 MiB")
        });
        self.ops.push(Record { kind, lengths });
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

// === private ===

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
    DeleteUnlessAny,
}

/// The parts of an operation follow those of the one before it in the buffer.
#[derive(Clone, Copy)]
struct Record {
    kind: Kind,
    lengths: [u32; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in_order() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        assert_eq!(batch.bytes(), 0);
        for _ in 0..2 {
            batch.put(b"k", b"value");
            batch.delete(b"");
            batch.delete_range(b"a", b"b");
            batch.delete_unless_any(b"x", b"y", b"z");
            let expected = [
                Op::Put {
                    key: b"k",
                    value: b"value",
                },
                Op::Delete { key: b"" },
                Op::DeleteRange {
                    start: b"a",
                    end: b"b",
                },
                Op::DeleteUnlessAny {
                    key: b"x",
                    start: b"y",
                    end: b"z",
                },
            ];
            assert_eq!(batch.iter().collect::<Vec<_>>(), expected);
            assert_eq!(batch.len(), 4);
            assert_eq!(batch.bytes(), 11 + 4 * 16);
            batch.clear();
            assert!(batch.is_empty());
        }
    }
}
