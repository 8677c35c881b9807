//! Agrees on commands by Raft: log, network, membership of the control plane.

mod log;
mod machine;
mod raft;
mod store;
mod wire;

pub use self::machine::Applied;
pub use self::store::Unreadable;
