//! The road between nodes: how a message gets from the gateway that took it to the nodes whose
//! subscribers it is for, and how the answer comes back.
//!
//! ```text
//!  source                                                      destination
//!  Peers::forward ─> lane: outbox ─> batch ══ gRPC stream ══> Inlet ─> Deliver::deliver
//!  Receipt::settle <─ in order    <── reply ══ per (lane) ═══ ledger <─ Inlet::settle, any order
//! ```
//!
//! Publishers are spread over a few lanes for each destination by a hash; a lane has one stream at
//! a time, and its order never changes. Messages of QoS 1 and 2 are kept until the destination
//! has answered and are sent again, marked, when a stream breaks; those of QoS 0 are sent once.
//! What is forwarded is never forwarded again.
//!
//! In reading order: [`parcel`] is a message on its way, [`receipt`] what becomes of it;
//! `outbox` decides what a lane sends and settles (pure), `frame` writes it, `lane` carries it,
//! [`peers`] are the lanes of all destinations, with `congestion` for who publishes and `backoff`
//! for who does not answer. On the other side `ledger` knows what is done (pure), [`inlet`] tells
//! the source, [`mod@service`] takes streams, and [`seen`] knows repeats (pure). `transport` sets
//! up the connections of both, `door` is where they come in.

pub mod parcel;
pub mod receipt;

mod outbox;

mod backoff;
mod congestion;
mod frame;
mod lane;
pub mod peers;
mod transport;

mod ledger;

mod door;
pub mod inlet;
pub mod seen;
pub mod service;

pub mod metrics;

#[cfg(test)]
mod simulation;

pub use door::{BindError, Door};
pub use inlet::Inlet;
pub use lane::deepest;
pub use metrics::Metrics;
pub use parcel::{Draft, Flags, Outgoing, Parcel, Picks, Trace};
pub use peers::{Config, Peers};
pub use receipt::{Receipt, Verdict};
pub use seen::{First, Seen};
pub use service::{Deliver, Release, service};
pub use transport::{Dial, Dialing, Plain, incoming, tune};

pub use gatemq_proto::cluster::peer::{Message, Pick, ReleaseReply, ReleaseRequest};

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The largest message that goes from one node to another, in bytes with all that belongs to it:
/// what MQTT's largest packet can make, and room for the groups that it is for.
pub const MAX_MESSAGE: usize = MAX_FRAME - 1024;
/// The largest gRPC message of a stream, in bytes.
const MAX_FRAME: usize = 272 << 20;

/// Which node this is, for both directions.
#[derive(Clone)]
pub struct Identity {
    /// The cluster that it belongs to: nodes of others are refused.
    pub cluster_id: Bytes,
    /// The incarnation that it has now.
    pub incarnation: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("cluster_id", &self.cluster_id)
            .field("incarnation", &(self.incarnation)())
            .finish()
    }
}
