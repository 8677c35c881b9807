//! The layout of the keys. Numbers are big-endian, so that keys sort as their numbers do.
//!
//! ```text
//!   s <session>                     session record
//!   f <session> <filter>            subscription
//!   q <session> <seq>               message in its queue or on its way
//!   n <session>                     from which seq on nothing of its queue has been sent
//!   i <session> <packet id>         QoS 2 publish received and not yet released; in Redis, who
//!                                   routed it first, and its number there
//!   m <session> <seq>               in Redis: what the QoS 2 message of this seq is known by
//!   w <session>                     will
//!   r <topic>                       retained message
//!   o <topic>                       in Redis: what the change of that is known by that comes next, so
//!                                   that it is made once
//!   p <topic>                       in Redis: of which session the change of that is that comes next, and
//!                                   for how long it is certain that this gateway has that
//!   b <body>                        body of a message in several queues
//!   x <body> <session> <seq>        one of the queues it is in
//!   k                               the secret that goes with the store
//! ```

pub(crate) const SESSION: u8 = b's';
pub(crate) const FILTER: u8 = b'f';
pub(crate) const QUEUE: u8 = b'q';
pub(crate) const EDGE: u8 = b'n';
pub(crate) const RECEIVED: u8 = b'i';
pub(crate) const RECENT: u8 = b'm';
pub(crate) const WILL: u8 = b'w';
pub(crate) const RETAINED: u8 = b'r';
pub(crate) const ONCE: u8 = b'o';
pub(crate) const WHOSE: u8 = b'p';
pub(crate) const BODY: u8 = b'b';
pub(crate) const REFERENCE: u8 = b'x';
const SECRET: u8 = b'k';

/// Entries of a queue have lower numbers: those that the scores of a sorted set of Redis tell apart.
/// Where that of the last one is damaged there, they go on in the middle, where none has ever been.
pub(crate) const SEQS: u64 = 1 << 53;

type Key = smallvec::SmallVec<[u8; 64]>;

fn key(kind: u8, numbers: &[u64]) -> Key {
    let mut key = Key::new();
    key.push(kind);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

/// All keys of a kind.
pub(crate) fn all(kind: u8) -> (Key, Key) {
    (key(kind, &[]), key(kind + 1, &[]))
}

/// All keys of a kind that belong to a session.
pub(crate) fn of_session(kind: u8, session: u64) -> (Key, Key) {
    of_number(kind, session)
}

/// All keys of a kind that begin with a number, be it the highest that there is: what is read back
/// may be damaged.
fn of_number(kind: u8, number: u64) -> (Key, Key) {
    let end = match number.checked_add(1) {
        Some(next) => key(kind, &[next]),
        None => all(kind).1,
    };
    (key(kind, &[number]), end)
}

pub(crate) fn secret() -> Key {
    key(SECRET, &[])
}

pub(crate) fn session(session: u64) -> Key {
    key(SESSION, &[session])
}

pub(crate) fn filter(session: u64, filter: &str) -> Key {
    let mut key = key(FILTER, &[session]);
    key.extend_from_slice(filter.as_bytes());
    key
}

pub(crate) fn queue(session: u64, seq: u64) -> Key {
    key(QUEUE, &[session, seq])
}

pub(crate) fn received(session: u64, packet_id: std::num::NonZeroU16) -> Key {
    let mut key = key(RECEIVED, &[session]);
    key.extend_from_slice(&packet_id.get().to_be_bytes());
    key
}

pub(crate) fn edge(session: u64) -> Key {
    key(EDGE, &[session])
}

pub(crate) fn recent(session: u64, seq: u64) -> Key {
    key(RECENT, &[session, seq])
}

pub(crate) fn will(session: u64) -> Key {
    key(WILL, &[session])
}

pub(crate) fn retained(topic: &str) -> Key {
    let mut key = key(RETAINED, &[]);
    key.extend_from_slice(topic.as_bytes());
    key
}

pub(crate) fn once(topic: &str) -> Key {
    let mut key = key(ONCE, &[]);
    key.extend_from_slice(topic.as_bytes());
    key
}

pub(crate) fn whose(topic: &str) -> Key {
    let mut key = key(WHOSE, &[]);
    key.extend_from_slice(topic.as_bytes());
    key
}

pub(crate) fn body(body: u64) -> Key {
    key(BODY, &[body])
}

pub(crate) fn reference(body: u64, session: u64, seq: u64) -> Key {
    key(REFERENCE, &[body, session, seq])
}

pub(crate) fn references(body: u64) -> (Key, Key) {
    of_number(REFERENCE, body)
}

/// The first number of a key: its session or body.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = key.get(1..9)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

/// The sequence number of a queue key.
pub(crate) fn seq(key: &[u8]) -> u64 {
    let bytes = key.get(9..17).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_be_bytes)
}

/// What follows the session's number in a key.
pub(crate) fn rest(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}
