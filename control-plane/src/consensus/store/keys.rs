//! The layout of the keys. Numbers are big-endian, so that keys sort as their numbers do.
//!
//! Gateways use small letters (`gateway/src/store/keys.rs`), so that one engine can be a whole
//! node's.
//!
//! ```text
//!   I                        who this node is: cluster and number
//!   V                        vote
//!   C                        how far the log was known to be committed
//!   P                        how far the log is purged
//!   L <index>                entry of the log
//!   H                        head of the snapshot: its generation, metadata, number of parts
//!   S <generation> <part>    part of a snapshot
//! ```

pub(super) const IDENTITY: &[u8] = b"I";
pub(super) const VOTE: &[u8] = b"V";
pub(super) const COMMITTED: &[u8] = b"C";
pub(super) const PURGED: &[u8] = b"P";
pub(super) const SNAPSHOT: &[u8] = b"H";

const LOG: u8 = b'L';
const PART: u8 = b'S';

/// All entries of the log.
pub(super) const ALL_LOG: (&[u8], &[u8]) = (&[LOG], &[LOG + 1]);
/// All parts of all snapshots.
pub(super) const ALL_PARTS: (&[u8], &[u8]) = (&[PART], &[PART + 1]);

pub(super) fn log(index: u64) -> [u8; 9] {
    let mut key = [LOG; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in the key of an entry.
pub(super) fn log_index(key: &[u8]) -> Option<u64> {
    let bytes = key.get(1..)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

pub(super) fn part(generation: u64, number: u32) -> [u8; 13] {
    let mut key = [PART; 13];
    key[1..9].copy_from_slice(&generation.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}
