//! Clusters of real processes: what holds on one node holds between nodes, and goes on to hold when
//! processes and Redis are stopped, killed and started again.

mod addresses;
mod answers;
pub(crate) mod api;
mod bans;
mod death;
mod dev;
mod http;
mod intake;
mod owed;
mod redis;
mod redis_cluster;
pub(crate) mod redis_tls;
mod retained;
mod routes;
mod sessions;
mod shared;
mod split;
mod start;
mod state;
mod stop;
mod suback;
pub(crate) mod tls;
mod wills;

/// Ordered pairs of different nodes of three.
const PAIRS: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
