//! Ordered key-value engines behind one trait, and the group commit in front of them.
//!
//! Knows no MQTT. A caller collects changes in a [`Batch`] and hands it to the [`Committer`], whose
//! one thread writes everything that waits as one change of the [`Engine`]. Three engines:
//! [`memory`], [`redb`] and [`fjall`]; [`way`] names and opens them, and one conformance suite
//! ([`suite`]) is run by each.

pub mod batch;
pub mod engine;
pub mod error;

pub mod committer;

pub mod fjall;
pub mod memory;
pub mod redb;
pub mod way;

mod directory;
mod net;

#[doc(hidden)]
pub mod suite;

pub use self::batch::{Batch, Op};
pub use self::committer::{Committer, Stats};
pub use self::engine::{Engine, MAX_KEY};
pub use self::error::Error;
pub use self::fjall::Fjall;
pub use self::memory::Memory;
pub use self::redb::Redb;
pub use self::way::{Way, open};
