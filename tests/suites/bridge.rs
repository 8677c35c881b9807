//! The bridge to Kafka, against a real Apache Kafka that is killed and started again.
//!
//! `harness` tries the Kafka itself; `recovery` what is in Kafka after it was away; `login` TLS and
//! SASL; `cluster` has clients, gateways and bridges, `from_kafka` the other way, `events` what
//! clients do, `comqtt` a file of comqtt's; `rules` are changed while messages come; `mqtt` has another
//! broker in the place of Kafka.
//! `reader` reads all that a topic has, and judges it.

mod cluster;
mod comqtt;
mod events;
mod from_kafka;
mod harness;
mod login;
mod mqtt;
pub(crate) mod reader;
mod recovery;
mod rules;
