//! What goes to Kafka for one message and one rule: made once, kept as one run of bytes, in memory
//! and on disk alike.
//!
//! After [`crate::rule`]; before [`crate::spool`] and [`crate::produce`].

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// A record as Kafka gets it. A clone costs no copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Bytes,
    topic: Range<usize>,
    key: Option<Range<usize>>,
    headers: Range<usize>,
}

/// A record that is being made: first its topic, then its key, its headers, and its value last.
#[derive(Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    topic: Range<usize>,
    key: Option<Range<usize>>,
    headers: usize,
}

// === impl Record ===

impl Record {
    /// Reads one that was kept; `None` if the bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        if reader.number::<1>()? != usize::from(FORMAT) {
            return None;
        }
        reader.take(8)?;
        let topic = reader.chunk()?;
        let key = match reader.number::<1>()? & usize::from(HAS_KEY) {
            0 => None,
            _ => Some(reader.chunk()?),
        };
        let n_bytes = reader.number::<4>()?;
        let headers = reader.take(n_bytes)?;
        std::str::from_utf8(bytes.get(topic.clone())?).ok()?;
        let record = Self {
            bytes,
            topic,
            key,
            headers,
        };
        let n_read: usize = record
            .headers()
            .map(|(name, value)| name.len() + value.len() + 8)
            .sum();
        (n_read == n_bytes).then_some(record)
    }

    /// The run of bytes that [`Self::from_bytes`] reads.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The topic in Kafka.
    #[must_use]
    pub fn topic(&self) -> &str {
        std::str::from_utf8(self.slice(&self.topic)).unwrap_or_default()
    }

    /// When the message came, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self) -> i64 {
        let number = self.bytes.get(1..9).and_then(|bytes| bytes.try_into().ok());
        i64::from_be_bytes(number.unwrap_or_default())
    }

    /// The key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.slice(range))
    }

    /// Names and values of the headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let block = self.slice(&self.headers);
        let mut reader = Reader {
            bytes: block,
            at: 0,
        };
        std::iter::from_fn(move || {
            let (name, value) = (reader.chunk()?, reader.chunk()?);
            let name = std::str::from_utf8(block.get(name)?).ok()?;
            Some((name, block.get(value)?))
        })
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.bytes.get(self.headers.end..).unwrap_or_default()
    }

    /// Whether it has no value, not even an empty one.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        let flags = self.bytes.get(self.topic.end);
        flags.is_some_and(|flags| flags & HAS_NO_VALUE != 0)
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A record takes some bytes always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = self.headers().map(|(name, value)| (name, text(value)));
        out.debug_struct("Record")
            .field("topic", &self.topic())
            .field("at", &self.at())
            .field("key", &self.key().map(text))
            .field("headers", &headers.collect::<Vec<_>>())
            .field("value", &text(self.value()))
            .finish()
    }
}

// === impl Draft ===

impl Draft {
    /// Begins a record. `room` is about how many bytes its value has.
    #[must_use]
    pub fn new(topic: &str, key: Option<&[u8]>, at: u64, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room + topic.len() + 256);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&at.to_be_bytes());
        let topic = put_chunk(&mut bytes, topic.as_bytes());
        bytes.push(if key.is_some() { HAS_KEY } else { 0 });
        let key = key.map(|key| put_chunk(&mut bytes, key));
        bytes.extend_from_slice(&[0; 4]);
        let headers = bytes.len();
        Self {
            bytes,
            topic,
            key,
            headers,
        }
    }

    /// Adds a header after the others.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        put_chunk(&mut self.bytes, name.as_bytes());
        put_chunk(&mut self.bytes, value);
    }

    /// Ends it: it has no value, not even an empty one.
    #[must_use]
    pub fn finish_without_value(mut self) -> Record {
        if let Some(flags) = self.bytes.get_mut(self.topic.end) {
            *flags |= HAS_NO_VALUE;
        }
        self.finish(|_| ())
    }

    /// Ends it: `write` appends the value.
    #[must_use]
    pub fn finish(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Record {
        let headers = self.headers..self.bytes.len();
        let n_bytes = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        if let Some(length) = self.bytes.get_mut(headers.start - 4..headers.start) {
            length.copy_from_slice(&n_bytes.to_be_bytes());
        }
        write(&mut self.bytes);
        Record {
            bytes: self.bytes.into(),
            topic: self.topic,
            key: self.key,
            headers,
        }
    }
}

// === private ===

/// The first byte: how the others are to be read.
const FORMAT: u8 = 1;
/// Bits of the byte behind the topic.
const HAS_KEY: u8 = 1;
const HAS_NO_VALUE: u8 = 2;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, n_bytes: usize) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(n_bytes)?;
        self.bytes.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }

    fn number<const N: usize>(&mut self) -> Option<usize> {
        let range = self.take(N)?;
        let digits = self.bytes.get(range)?.iter();
        Some(digits.fold(0, |number, &digit| number << 8 | usize::from(digit)))
    }

    fn chunk(&mut self) -> Option<Range<usize>> {
        let length = self.number::<4>()?;
        self.take(length)
    }
}

/// Appends a length and the bytes; returns where they are. A PUBLISH has at most 256 MiB.
fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) -> Range<usize> {
    let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    let start = out.len();
    out.extend_from_slice(chunk);
    start..out.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    proptest! {
        #[test]
        fn what_is_kept_is_read_again(
            topic in "[a-z.]{1,20}",
            key in option::of(vec(any::<u8>(), 0..20)),
            headers in vec(("[a-z.]{0,9}", vec(any::<u8>(), 0..9)), 0..5),
            value in vec(any::<u8>(), 0..50),
            at in 0..1_u64 << 50,
        ) {
            let mut draft = Draft::new(&topic, key.as_deref(), at, value.len());
            for (name, value) in &headers {
                draft.header(name, value);
            }
            let record = draft.finish(|out| out.extend_from_slice(&value));
            let again = Record::from_bytes(Bytes::copy_from_slice(record.as_bytes()));
            prop_assert_eq!(again.as_ref(), Some(&record));
            prop_assert_eq!(record.topic(), &topic);
            prop_assert_eq!(record.key(), key.as_deref());
            let read: Vec<_> = record
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect();
            prop_assert_eq!(read, headers);
            prop_assert_eq!(record.value(), value);
            prop_assert_eq!(record.at(), at as i64);
            prop_assert!(!record.is_tombstone());
            let tombstone = Draft::new(&topic, key.as_deref(), at, 0).finish_without_value();
            let again = Record::from_bytes(Bytes::copy_from_slice(tombstone.as_bytes()));
            prop_assert!(again.as_ref().is_some_and(Record::is_tombstone));
            prop_assert_eq!(tombstone.key(), key.as_deref());
        }

        #[test]
        fn anything_else_is_no_record_or_reads_without_a_panic(bytes in vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            bytes.insert(0, FORMAT);
            if let Some(record) = Record::from_bytes(bytes.into()) {
                let _ = format!("{record:?}");
            }
        }
    }
}
