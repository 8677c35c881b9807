//! Where records are in the engine: under the name of their queue and their number, so that they lie
//! in order.

/// The key of a record.
pub(super) fn record(queue: &str, number: u64) -> Vec<u8> {
    let mut key = first(queue);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Where the records of a queue begin.
pub(super) fn first(queue: &str) -> Vec<u8> {
    [PREFIX, queue.as_bytes(), &[0]].concat()
}

/// Where they end.
pub(super) fn end(queue: &str) -> Vec<u8> {
    [PREFIX, queue.as_bytes(), &[1]].concat()
}

/// The number of a record with this key; none if no queue has ever come so far, so that whoever goes on
/// behind it need not look.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    let (_, number) = key.split_last_chunk::<8>()?;
    Some(u64::from_be_bytes(*number)).filter(|number| *number < MOST)
}

/// The name of the queue that a key is of.
pub(super) fn queue(key: &[u8]) -> Option<&str> {
    let name = key.strip_prefix(PREFIX)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(name.get(..end)?).ok()
}

/// Where it is kept which Kafka a queue is for.
pub(super) fn home(queue: &str) -> Vec<u8> {
    [HOME, queue.as_bytes()].concat()
}

/// All keys of records are in this range.
pub(super) const ALL: (&[u8], &[u8]) = (b"q", b"r");

/// More records than a queue can have in its life.
const MOST: u64 = 1 << 62;
const PREFIX: &[u8] = b"q";
const HOME: &[u8] = b"h";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_in_order_within_their_queue() {
        let keys = ["a", "a-b", "ab"].map(|queue| {
            [
                first(queue),
                record(queue, 0),
                record(queue, 256),
                end(queue),
            ]
            .map(|key| key)
        });
        let keys = keys.concat();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(keys.iter().all(|key| ALL.0 < &key[..] && &key[..] < ALL.1));
        assert_eq!(number(&record("a", 77)), Some(77));
        assert_eq!(number(&record("a", u64::MAX)), None);
        assert_eq!(queue(&record("a-b", 77)), Some("a-b"));
        assert!(&home("a-b")[..] < ALL.0);
    }
}
