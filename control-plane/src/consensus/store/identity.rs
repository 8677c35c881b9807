//! Who a node is: what it must never forget, and never have in common with another.

use bytes::{Buf, BufMut, Bytes};

/// The length of the id of a cluster, in bytes.
pub(crate) const CLUSTER_ID: usize = 16;

/// The cluster that a node is of, and its number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: Bytes,
    pub(crate) number: u64,
    /// Its name, which its data go with.
    pub(crate) name: String,
    /// It founds the cluster, and goes on with that when it starts again in the middle of it.
    pub(crate) is_founder: bool,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + CLUSTER_ID + 9);
        bytes.put_u8(FORMAT);
        bytes.put_slice(&self.cluster_id);
        bytes.put_u64(self.number);
        bytes.put_u8(u8::from(self.is_founder));
        bytes.put_slice(self.name.as_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 1 + CLUSTER_ID + 9 || bytes.get_u8() != FORMAT {
            return None;
        }
        Some(Self {
            cluster_id: bytes.copy_to_bytes(CLUSTER_ID),
            number: bytes.get_u64(),
            is_founder: bytes.get_u8() != 0,
            name: String::from_utf8(bytes.to_vec()).ok()?,
        })
    }
}

/// The first byte of the record.
const FORMAT: u8 = 1;
