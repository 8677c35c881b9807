//! One message of a bridge, from its stream into the turn of its own that publishes it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::qos;
use crate::broker::Broker;
use crate::cluster::moves::Before;
use crate::connection::is_reserved;
use crate::message::MessageRef;
use crate::proto::cluster::intake::Message;
use crate::proto::mqtt::{self, Qos, Reason};
use crate::proto::topic;
use crate::receipt::{IfRefused, Owed};
use crate::rounds::Unwritten;
use crate::session::received::Origin;
use crate::store::Name;
use crate::trace;
use crate::turn::Turn;
use crate::turn::author::Author;
use crate::turn::traced::From;

/// What a stream needs to know of its messages of before.
#[derive(Debug)]
pub(super) struct Taker {
    /// The first incarnation of the bridge's process.
    source: u64,
    /// The publisher, as others see it.
    client_id: String,
    /// Its number: what goes to another node goes on one lane, in order.
    publisher: u64,
    before: Before,
    /// Links that got the last message, where they are very many.
    unwritten: Option<Unwritten>,
    /// Whether what comes now is given up if somebody has no room for it.
    pub(super) is_last_try: bool,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Fate {
    Known(Reason),
    /// What others say of it, and what this gateway does.
    Waits(oneshot::Receiver<Option<Reason>>, Reason, Option<Named>),
}

/// A message that may come again under its name.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) broker: Arc<Broker>,
    pub(super) origin: Origin,
}

// === impl Taker ===

impl Taker {
    pub(super) fn new(broker: &Broker, source: u64, client_id: String) -> Self {
        Self {
            source,
            client_id,
            publisher: broker.store.new_number(),
            before: broker.moves_before(),
            unwritten: None,
            is_last_try: false,
        }
    }

    /// Waits until the links that got the last message are written.
    pub(super) async fn written(&mut self) {
        if let Some(unwritten) = self.unwritten.take() {
            unwritten.write().await;
        }
    }

    /// Publishes a message; `None` if it might overtake one that is not answered.
    pub(super) fn take(
        &mut self,
        broker: &Arc<Broker>,
        message: &Message,
        has_open: bool,
    ) -> Option<Fate> {
        let qos = match check(broker, message) {
            Ok(qos) => qos,
            Err(reason) => return Some(Fate::Known(reason)),
        };
        let mut turn = Turn::new(broker);
        let plan = broker.table.plan(&message.topic);
        if let Some(cluster) = &broker.cluster
            && has_open
            && cluster.moves.any_since(self.before)
        {
            turn.finish(None);
            return None;
        }
        self.before = turn.before;
        turn.tally.published += 1;
        let longest = Some(turn.settings.message_expiry).filter(|longest| *longest > 0);
        let expiry = message.message_expiry.into_iter().chain(longest).min();
        let parent = trace::follow(&broker.config.tracer, &message.trace);
        let published = MessageRef {
            publisher: self.publisher,
            qos,
            retain: message.retain,
            expires_at: expiry.map_or(u64::MAX, |expiry| turn.now + u64::from(expiry) * 1000),
            topic: &message.topic,
            properties: &message.properties,
            payload: &message.payload,
            trace: parent.as_ref(),
        };
        turn.has_publisher = qos > Qos::AtMostOnce;
        if !self.is_last_try {
            turn.if_refused = IfRefused::InRow;
        }
        let author = Author::named(&self.client_id, "");
        let has_name = qos > Qos::AtMostOnce && message.id > 0;
        let origin = Origin {
            source: self.source,
            id: message.id,
        };
        let whose = (From::Request, &*self.client_id);
        let published = turn.publish_traced(published, whose, |turn, published| {
            if !has_name {
                return turn.publish(published, &plan, author);
            }
            let name = Name::Bridged(origin, message.was_sent);
            let published = turn.publish_as(name, published, &plan, author);
            if published.refused.is_some() {
                strike(broker, origin);
            }
            published
        });
        turn.has_publisher = false;
        let reason = published.reason();
        if !turn.must_wait() {
            self.unwritten = turn.finish_in_parts(None);
            return Some(Fate::Known(reason));
        }
        let (sender, waiter) = oneshot::channel();
        self.unwritten = turn.finish_in_parts(Some(Owed::of_nobody(sender)));
        let named = has_name.then(|| Named {
            broker: broker.clone(),
            origin,
        });
        Some(Fate::Waits(waiter, reason, named))
    }
}

// === impl Fate ===

impl Fate {
    /// The reason code that this gateway alone would answer with.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Known(reason) | Self::Waits(_, reason, _) => *reason,
        }
    }

    /// The reason code to answer with, when it is known.
    pub(super) async fn known(&mut self) -> Reason {
        let reason = match self {
            Self::Known(reason) => return *reason,
            Self::Waits(waiter, reason, named) => match waiter.await {
                Ok(None) => *reason,
                failed => {
                    if let Some(Named { broker, origin }) = named {
                        strike(broker, *origin);
                    }
                    failed.ok().flatten().unwrap_or(Reason::ServerShuttingDown)
                }
            },
        };
        *self = Self::Known(reason);
        reason
    }
}

// === private ===

/// It has been refused, here or elsewhere: it comes again for those who have not taken it. That some
/// have is known to them.
fn strike(broker: &Broker, origin: Origin) {
    if let Some(cluster) = &broker.cluster {
        cluster.seen.lock().strike(origin.source, origin.id);
    }
}

/// Whether it is a message that a client could publish; else what such a client would be told.
fn check(broker: &Broker, message: &Message) -> Result<Qos, Reason> {
    let limits = &broker.config.limits;
    let qos = qos(broker, message).ok_or(Reason::QosNotSupported)?;
    topic::validate_name(&message.topic, limits.topics()).map_err(|_| Reason::TopicNameInvalid)?;
    if is_reserved(&message.topic) {
        return Err(Reason::NotAuthorized);
    }
    if message.retain && !limits.retain_available {
        return Err(Reason::RetainNotSupported);
    }
    let n_bytes = message.topic.len() + message.properties.len() + message.payload.len();
    if n_bytes > limits.maximum_packet_size as usize {
        return Err(Reason::PacketTooLarge);
    }
    let mut scratch = Vec::new();
    let passed_on = mqtt::forwardable(&message.properties, &mut scratch);
    match passed_on.len() == message.properties.len() {
        true => Ok(qos),
        false => Err(Reason::MalformedPacket),
    }
}
