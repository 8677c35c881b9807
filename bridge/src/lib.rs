//! The bridge to Kafka: a destination of the routing table that produces to Kafka before a
//! publisher is acknowledged, or once a message is safe in a spool on this node's disk.
//!
//! In reading order: [`message`] is what gateways send, [`rule`] what becomes of it (pure),
//! [`record`] what goes to Kafka for it; [`event`] is comqtt's JSON. [`spool`] keeps records on
//! disk, [`produce`] brings them to Kafka, [`bridge`] is all of it as one thing, and [`reception`]
//! where gateways bring it messages; [`cluster`] makes it known to them. [`mqtt`] is another broker
//! in the place of Kafka. The other way round, [`consume`] reads from Kafka, and [`outbound`]
//! brings that to gateways. [`config`] is what an operator writes, and [`rules`] what becomes of it while
//! the cluster runs.

pub mod message;
pub mod record;
pub mod rule;

pub mod event;

mod librdkafka;
pub mod mqtt;
pub mod produce;
pub mod spool;

pub mod bridge;
pub mod reception;

pub mod cluster;
pub mod metrics;
pub mod outbound;

pub mod consume;

pub mod config;
pub mod rules;

mod vital;

pub use bridge::{Bridge, Plan};
pub use config::Config;
pub use event::Event;
pub use message::{Message, Origin};
pub use record::Record;
pub use rule::{Ack, Rule};
