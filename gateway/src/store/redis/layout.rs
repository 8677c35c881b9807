//! The layout of the keys in Redis.
//!
//! ```text
//!   P:{k}:s:<client id>      hash: a session's number, epoch, owner, record, …
//!   P:{k}:f:<number>         hash: filter → subscription
//!   P:{k}:q:<number>         sorted set: score seq, member seq (8 bytes) and entry
//!   P:{k}:i:<number>         hash: packet id (2 bytes) of a QoS 2 publish not yet released → who
//!                            routed it first, and its number there (8 bytes each)
//!   P:{k}:m:<number>         the last QoS 2 messages of its queue, 8 bytes each: a ring, by seq; the
//!                            last of those seqs is in the session's hash; of one that has ended,
//!                            the seq from which on nothing of its queue was sent, if known
//!   P:{k}:w:<number>         will
//!   P:{k}:o:<incarnation>    set: client ids of the sessions of an owner, and of those that went
//!                            to another one whose routes not every gateway may know of yet
//!   P:{k}:e:<incarnation>    hash: number → round:client id, of sessions of an owner that have
//!                            ended and of which a will or a queue is still to be looked after;
//!                            number → >heir:client id while it goes from a dead owner to its heir
//!   P:{k}:x:<incarnation>    there if this owner is dead, and others look after what it had here
//!   P:{rN}:v                 hash: topic → retained message
//!   P:{rN}:b                 their bytes, the values' only; it may be missing
//!   P:{rN}:t                 sorted set, all scores 0: the topics, in the order of their bytes
//!   P:{rN}:d                 sorted set, by age: who routed them first, and their numbers there (8 bytes
//!                            each), of the last changes that are made once, whoever asks for them
//!   P:{rN}:a:<writer>        the last call of a writer that was carried out, with its outcome
//!   P:cluster                whose keys these are, and what the cluster calls them: <id>/<name>
//! ```
//!
//! `P` is the prefix, `k` the slice of the client id, `N` the shard of the topic's first level.
//! A slice is the FNV-1a hash (64 bits) of the client id modulo 1,024, a shard that of the first
//! level modulo 64. What is in braces decides the slot in a Redis Cluster, so all keys of one call
//! are on one node. Numbers are in decimal.

use super::super::keys;

/// Slices of the sessions.
pub(crate) const SLICES: u16 = 1024;
/// Shards of the retained messages.
pub(crate) const SHARDS: u8 = 64;

/// The slice of a client id.
pub(crate) fn slice_of(client_id: &str) -> u16 {
    (fnv(client_id.as_bytes()) % u64::from(SLICES)) as u16
}

/// The shard of a topic, or of a filter whose first level is no wildcard.
pub(crate) fn shard_of(topic: &[u8]) -> u8 {
    let level = topic.split(|byte| *byte == b'/').next().unwrap_or_default();
    (fnv(level) % u64::from(SHARDS)) as u8
}

/// The shards that can have topics of a filter.
pub(crate) fn shards_of(filter: &str) -> std::ops::Range<u8> {
    if filter.starts_with(['+', '#']) {
        return 0..SHARDS;
    }
    let shard = shard_of(filter.as_bytes());
    shard..shard + 1
}

/// Makes the keys, and knows their slots.
#[derive(Debug)]
pub(super) struct Layout {
    prefix: String,
    slices: Box<[u16]>,
    shards: Box<[u16]>,
}

// === impl Layout ===

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            slices: (0..SLICES).map(|k| slot_of(&k.to_string())).collect(),
            shards: (0..SHARDS).map(|n| slot_of(&format!("r{n}"))).collect(),
        }
    }

    /// What the keys of a slice begin with.
    pub(super) fn slice(&self, slice: u16) -> String {
        format!("{}:{{{slice}}}:", self.prefix)
    }

    pub(super) fn session(&self, slice: u16, client_id: &str) -> String {
        format!("{}:{{{slice}}}:s:{client_id}", self.prefix)
    }

    /// The key of a kind (`f`, `q`, `i`, `w`) of a session's number, or (`o`, `e`, `x`) of an owner.
    pub(super) fn of(&self, slice: u16, kind: u8, number: u64) -> String {
        format!("{}:{{{slice}}}:{}:{number}", self.prefix, char::from(kind))
    }

    pub(super) fn retained_values(&self, shard: u8) -> String {
        format!("{}:{{r{shard}}}:v", self.prefix)
    }

    pub(super) fn retained_bytes(&self, shard: u8) -> String {
        format!("{}:{{r{shard}}}:b", self.prefix)
    }

    pub(super) fn retained_topics(&self, shard: u8) -> String {
        format!("{}:{{r{shard}}}:t", self.prefix)
    }

    pub(super) fn retained_once(&self, shard: u8) -> String {
        format!("{}:{{r{shard}}}:d", self.prefix)
    }

    pub(super) fn retained_applied(&self, shard: u8, writer: u64) -> String {
        format!("{}:{{r{shard}}}:a:{writer}", self.prefix)
    }

    /// What all keys begin with.
    pub(super) fn beginning(&self) -> String {
        format!("{}:", self.prefix)
    }

    /// The key that says whose these keys are, and its slot.
    pub(super) fn home(&self) -> (String, u16) {
        let key = format!("{}cluster", self.beginning());
        let slot = slot_of(&key);
        (key, slot)
    }

    /// The key of the cluster's secret, and its slot.
    pub(super) fn secret(&self) -> (String, u16) {
        let key = format!("{}secret", self.beginning());
        let slot = slot_of(&key);
        (key, slot)
    }

    pub(super) fn slot_of_slice(&self, slice: u16) -> u16 {
        self.slices.get(usize::from(slice)).copied().unwrap_or(0)
    }

    pub(super) fn slot_of_shard(&self, shard: u8) -> u16 {
        self.shards.get(usize::from(shard)).copied().unwrap_or(0)
    }
}

/// Kinds of keys of a session's number.
pub(super) const OF_NUMBER: [u8; 5] = [
    keys::FILTER,
    keys::QUEUE,
    keys::RECEIVED,
    keys::RECENT,
    keys::WILL,
];
/// The sessions of an owner.
pub(super) const OWNED: u8 = b'o';
/// The ended sessions of an owner.
pub(super) const ENDED: u8 = b'e';
/// Whether an owner is dead.
pub(super) const DEAD: u8 = b'x';

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The slot of a hash tag, or of a key without one: CRC-16 (XMODEM) modulo 16,384, as Redis Cluster wants it.
pub(super) fn slot_of(tag: &str) -> u16 {
    let mut crc = 0u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_documented_ones() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x85944171f73967e8);
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12182); // CLUSTER KEYSLOT foo
    }

    #[test]
    fn slices_and_shards_stay_what_they_are() {
        // A change of these would lose every stored session.
        assert_eq!(slice_of("pump-7"), (fnv(b"pump-7") % 1024) as u16);
        assert_eq!(shard_of(b"a/b/c"), shard_of(b"a"));
        assert_eq!(shard_of(b"/a"), shard_of(b""));
        assert_eq!(shards_of("a/+"), shards_of("a"));
        assert_eq!(shards_of("+/a"), 0..SHARDS);
        assert_eq!(shards_of("#"), 0..SHARDS);
        assert_eq!(shards_of("+").len(), 64);
    }

    #[test]
    fn client_ids_and_numbers_spread_over_slices() {
        let mut seen = vec![0u32; usize::from(SLICES)];
        for n in 0..100_000 {
            seen[usize::from(slice_of(&format!("client-{n}")))] += 1;
        }
        assert!(seen.iter().all(|n| (40..200).contains(n)), "{seen:?}");
    }
}
