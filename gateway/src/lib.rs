//! The gateway: where MQTT clients connect.
//!
//! A PUBLISH goes through these modules, in this order: [`listen`] accepts the connection,
//! [`connection`] reads and decodes, its `publish` decides, [`turn`] routes to sessions,
//! [`session`] holds the window and the outbox of each receiver; [`store`] makes safe what must
//! be, and [`completion`] acknowledges what is. [`lifecycle`] says how sessions begin and end,
//! [`restore`] what a restart brings back, [`agenda`] what happens later, and
//! [`vital`] what happens where it cannot go on.

mod agenda;
mod auth;
mod bans;
mod broker;
mod capture;
mod clock;
mod cluster;
mod completion;
mod condition;
pub mod config;
mod connection;
mod desk;
mod figures;
mod gateway;
mod intake;
mod lifecycle;
mod listen;
mod memory;
mod message;
mod metrics;
mod rate;
mod receipt;
mod registry;
mod restore;
mod retained;
mod room;
mod rounds;
#[cfg(test)]
#[path = "../../router/src/seeds.rs"]
mod seeds;
mod session;
mod settings;
mod shared;
mod store;
mod subscriptions;
mod sys;
mod tls;
mod trace;
mod turn;
mod users;
mod vital;
mod will;

use gatemq_proto as proto;

pub use auth::FileError as AuthError;
pub use auth::file::acl;
pub use auth::password::scram::Mechanism as Scram;
pub use auth::password::{hash as hash_password, scram_text as scram_password};
pub use cluster::{Config as ClusterConfig, JoinError};
pub use config::Config;
pub use gateway::{Gateway, Prepared, RedisError, StartError, Storage};
pub use listen::BindError;
pub use store::StrayStore;
pub use store::redis::erase;
