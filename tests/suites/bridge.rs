//! The bridge to Kafka, against a real Apache Kafka that is killed and started again.

mod harness;
