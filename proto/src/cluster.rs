//! What nodes say to one another, by gRPC, and the form in which the control plane keeps its
//! state: messages and services generated from `proto/schema`.
//!
//! `proto/tests/generated.rs` keeps the generated files true to their schema; with
//! `GATEMQ_REGENERATE=1` it writes them.

pub use prost;

pub mod bans;
pub mod bridges;
pub mod callers;
pub mod traces;

/// The form of the protocol between nodes that this version speaks. It rises when a node of before
/// could not follow: then all nodes have to be of one version.
pub const PROTOCOL: u32 = 3;

/// Why a node that speaks another form of the protocol cannot take part, in one line; `None` if it
/// speaks this one. A node that does not say has an older one.
pub fn other_protocol(who: &str, theirs: u32) -> Option<String> {
    let age = match theirs.cmp(&PROTOCOL) {
        std::cmp::Ordering::Less => "an older",
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => "a newer",
    };
    Some(format!(
        "{who} is of {age} version: it speaks form {theirs} of the protocol between nodes, and \
         this node form {PROTOCOL}: run one version of GateMQ on all nodes"
    ))
}

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

/// What bridges bring from elsewhere, to be published.
pub mod intake {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.intake.v1.rs");
    }
}

/// What an operator asks of bridges, as the control plane passes it on.
pub mod bridge {
    pub use v1::*;

    #[allow(missing_docs, unused_qualifications, clippy::all)] // generated
    pub mod v1 {
        include!("cluster/generated/gatemq.bridge.v1.rs");
    }
}
