//! The black-box harness: starts the real `gatemq`, speaks bytes to its real sockets, and judges
//! what comes back. It depends on none of the product's crates, on purpose: a mistake that the
//! codec makes twice must not hide itself.
//!
//! A test in one screen:
//!
//! ```no_run
//! use gatemq_tests::{Broker, Client, unique};
//!
//! let broker = Broker::shared();
//! let topic = unique("news");
//! let mut subscriber = Client::v4(&broker, &unique("sub"));
//! subscriber.subscribe(&topic, 1);
//! Client::v5(&broker, &unique("pub")).publish(&topic, b"hello", 1);
//! assert_eq!(subscriber.receive().payload, b"hello");
//! ```
//!
//! `GATEMQ_BIN` names another binary, `GATEMQ_TEST_STORAGE` another storage way than memory where a
//! test does not choose one. `GATEMQ_TEST_TARGET=mosquitto` or `GATEMQ_TEST_ADDR=host:port` point the
//! suites at another broker, which is how the tests themselves are tested.
//!
//! A [`Cluster`] is several processes and a Redis of its own: `GATEMQ_BIN_DIR` names the folder of
//! its binaries, `GATEMQ_TEST_LEVEL` what they log, and `GATEMQ_SUBACK_ROUNDS=10000` makes the race
//! of SUBACK and PUBLISH longer.

pub mod acl;
pub mod broker;
pub mod canary;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod database;
pub mod faults;
pub mod history;
pub mod kafka;
pub mod mosquitto;
pub mod mutate;
pub mod nemesis;
pub mod patience;
pub mod ports;
pub mod redis;
pub mod skip;
pub mod traffic;
pub mod web;
pub mod websocket;
pub mod wire;

pub use broker::{Broker, Builder, Shared};
pub use canary::Canary;
pub use client::Client;
pub use cluster::{Cluster, Node};
pub use collector::Collector;
pub use kafka::Kafka;
pub use patience::{pause, unique};
pub use skip::skip;
pub use wire::{Connect, Packet, Properties, Publish, Value, Will};
