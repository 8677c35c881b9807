//! What nodes say to one another, by gRPC, and the form in which the control plane keeps its
//! state: messages and services generated from `proto/schema`.
//!
//! `proto/tests/generated.rs` keeps the generated files true to their schema; with
//! `GATEMQ_REGENERATE=1` it writes them.

pub use prost;

/// The commands that the control plane agrees on, and its whole state.
pub mod state {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.state.v1.rs");
    }
}

/// Raft between the nodes of the control plane.
pub mod raft {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.raft.v1.rs");
    }
}

/// What the control plane does for every other node.
pub mod control {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.control.v1.rs");
    }
}

/// What gateways and bridges do for one another.
pub mod peer {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.peer.v1.rs");
    }
}

/// What an operator asks, as the control plane passes it on.
pub mod desk {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.desk.v1.rs");
    }
}
