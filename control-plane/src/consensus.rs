//! Agrees on commands by Raft: log, network, membership of the control plane.
