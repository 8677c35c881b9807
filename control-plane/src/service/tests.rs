//! Real services on real sockets over a control plane without Raft.

use super::*;

use tokio::time::timeout;

mod fake;
mod gateway;
mod leases;
mod proposals;
mod round_trip;
mod streams;

/// For whatever must happen.
const DEADLINE: Duration = Duration::from_secs(10);
