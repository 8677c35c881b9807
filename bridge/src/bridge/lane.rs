//! One rule of a bridge, and where its records go.

use std::sync::Arc;

use gatemq_proto::topic;

use super::works::Running;
use crate::Message;
use crate::mqtt::Forward;
use crate::produce::{Entry, Order};
use crate::record::Record;
use crate::rule::headers::{came_from, from_kafka};
use crate::rule::{Ack, Rule};
use crate::spool::Spool;

/// A rule, and where its records go.
pub(super) struct Lane {
    pub(super) course: Course,
    pub(super) way: Arc<Running>,
    pub(super) to: Destination,
}

/// A rule, to whichever kind of place.
pub(super) enum Course {
    /// To Kafka.
    Kafka(Rule),
    /// To another broker.
    Mqtt(Forward),
}

/// What a record is handed to.
#[derive(Clone)]
pub(super) enum Destination {
    /// A flow of the way.
    Flow(Entry, Option<Before>),
    /// A queue of the spool.
    Spool(Arc<Spool>, usize),
}

/// A queue that has to be empty first: the rule went through the spool until now.
pub(super) type Before = (Arc<Spool>, usize);

// === impl Lane ===

impl Lane {
    /// The record of a message, or why there is none.
    pub(super) fn render(&self, message: &Message<'_>) -> Result<Record, String> {
        let record = self.course.render(message)?;
        match self.way.bound {
            // Its client would never take it: nobody may think that it is safe.
            Some(most) if record.len() > most => Err(format!(
                "it has {} bytes, and message.max.bytes lets {most} pass",
                record.len()
            )),
            _ => Ok(record),
        }
    }

    /// Takes a record when there is room for it, in order; gives it back if the rule goes elsewhere now.
    pub(super) async fn take(&self, order: Order) -> Result<(), Order> {
        match &self.to {
            Destination::Spool(spool, queue) => spool.append(*queue, order).await,
            Destination::Flow(entry, before) => {
                if let Some((spool, queue)) = before {
                    tokio::select! {
                        () = spool.drained(*queue) => {}
                        () = entry.closed() => {}
                    }
                }
                entry.produce(order).await
            }
        }
    }

    /// Takes what the rule had on its way elsewhere.
    pub(super) fn take_over(&self, order: Order) -> Result<(), Order> {
        match &self.to {
            Destination::Spool(spool, queue) => spool.take_over(*queue, order),
            Destination::Flow(entry, _) => entry.take_over(order),
        }
    }

    /// Whether a message came from the topic that the record would go to: it is there.
    pub(super) fn is_source(&self, message: &Message<'_>, record: &Record) -> bool {
        if let Course::Mqtt(forward) = &self.course {
            return forward.is_source(message);
        }
        let mut places = came_from(message).peekable();
        if places.peek().is_none() {
            return false;
        }
        let there = from_kafka(&self.way.name, record.topic());
        places.any(|place| place == there)
    }
}

// === impl Course ===

impl Course {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Kafka(rule) => &rule.name,
            Self::Mqtt(forward) => &forward.name,
        }
    }

    pub(super) fn filters(&self) -> &[String] {
        match self {
            Self::Kafka(rule) => &rule.filters,
            Self::Mqtt(forward) => forward.mapping.local_filters(),
        }
    }

    pub(super) fn wants_events(&self) -> bool {
        matches!(self, Self::Kafka(rule) if rule.wants_events())
    }

    pub(super) fn is_spooled(&self) -> bool {
        match self {
            Self::Kafka(rule) => rule.ack == Ack::Spool,
            Self::Mqtt(forward) => forward.is_spooled,
        }
    }

    pub(super) fn refuses_missing(&self) -> bool {
        matches!(self, Self::Kafka(rule) if rule.refuses_missing)
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        let mut filters = self.filters().iter();
        filters.any(|filter| topic::matches(filter, topic))
    }

    fn render(&self, message: &Message<'_>) -> Result<Record, String> {
        match self {
            Self::Kafka(rule) => rule.render(message).map_err(|error| error.to_string()),
            Self::Mqtt(forward) => {
                let record = forward.render(message);
                record.ok_or_else(|| "it has no topic there".to_owned())
            }
        }
    }
}
