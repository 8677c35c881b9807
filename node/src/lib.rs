//! What every process of GateMQ is, whatever it does: configured, logging, observable, stoppable.
//!
//! In reading order: a process reads its [`config`], with [`address`]es in it; starts its [`log`];
//! knows which [`settings`] may change while it runs; asks the system for room ([`process`]);
//! tells a collector of what becomes of messages ([`trace`]); answers operators ([`admin`]); shows who it is to clients ([`tls`]) and to other nodes
//! ([`credentials`]); finds the others ([`membership`]); and ends in order ([`shutdown`]), or at
//! once where it must not go on ([`fatal`]). What others grant for a time is counted by
//! [`mod@uptime`]. What tests are to notice is put in by [`seeded_bug`].
//! Nothing here knows MQTT, but for the names of settings.

pub mod config;

pub mod address;

pub mod log;

pub mod settings;

pub mod process;

pub mod trace;

pub mod admin;

pub mod tls;

pub mod credentials;

pub mod membership;

pub mod shutdown;

pub mod fatal;

pub mod uptime;

pub mod seeded_bug;

pub use shutdown::{Reload, Shutdown};
pub use uptime::uptime;
