//! A message of an operator, from the request to where it is safe.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::Status;

use crate::broker::Broker;
use crate::connection::is_reserved;
use crate::message::MessageRef;
use crate::proto::cluster::desk::PublishRequest;
use crate::proto::mqtt::{self, Qos, Reason};
use crate::proto::topic;
use crate::receipt::Owed;
use crate::rounds::Unwritten;
use crate::turn::Turn;
use crate::turn::author::Author;
use crate::turn::traced::From;

/// How long to wait until this gateway may take a message at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before looking again.
const AGAIN: Duration = Duration::from_millis(5);
/// The publisher, as strategies of shared subscriptions see it.
const CLIENT: &str = "$api";

/// What is still to be waited for.
enum Outcome {
    Done(Reason),
    Waits(oneshot::Receiver<Option<Reason>>, Reason),
}

/// Publishes, and returns when the message is safe, and is written to whoever gets it now: as a client's,
/// with its reason code.
///
/// # Errors
///
/// It cannot be a message of this broker, or cannot be taken now.
pub(super) async fn publish(
    broker: &Arc<Broker>,
    request: &PublishRequest,
) -> Result<Reason, Status> {
    let qos = check(broker, request)?;
    let properties = properties(request, broker.config.limits.topics())?;
    if let Some(hindrance) = broker.memory.hindrance() {
        return Err(Status::unavailable(hindrance)); // another gateway may have some
    }
    let ready = async {
        while !is_ready(broker, qos) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    if tokio::time::timeout(PATIENCE, ready).await.is_err() {
        let why = "this gateway takes no message now: it may not know of every subscriber, or too \
                   much waits to be stored";
        return Err(Status::unavailable(why));
    }
    let (outcome, unwritten) = begin(broker, request, qos, &properties);
    if let Some(unwritten) = unwritten {
        written(broker, unwritten).await;
    }
    match outcome {
        Outcome::Done(reason) => Ok(reason),
        Outcome::Waits(waiter, reason) => match waiter.await {
            Ok(failure) => Ok(failure.unwrap_or(reason)),
            Err(_) => Err(Status::unknown("the gateway stops")),
        },
    }
}

fn check(broker: &Broker, request: &PublishRequest) -> Result<Qos, Status> {
    let limits = &broker.config.limits;
    let invalid = |text: &str| Status::invalid_argument(text.to_owned());
    let qos = u8::try_from(request.qos).ok().and_then(Qos::from_bits);
    let qos = qos.ok_or_else(|| invalid("qos is 0, 1 or 2"))?;
    topic::validate_name(&request.topic, limits.topics())
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    if is_reserved(&request.topic) {
        return Err(invalid("nobody but the broker publishes to this topic"));
    }
    if qos > limits.maximum_qos {
        return Err(invalid("qos is above what this gateway takes"));
    }
    if request.retain && !limits.retain_available {
        return Err(invalid("this gateway keeps no retained messages"));
    }
    Ok(qos)
}

/// Whether a client's publish would be read now.
fn is_ready(broker: &Broker, qos: Qos) -> bool {
    /// The first byte of a PUBLISH.
    const PUBLISH: u8 = 0x30;
    let first = PUBLISH | (qos as u8) << 1;
    !broker.must_hold(first) && !broker.is_congested()
}

/// Publishes. Returns the links, too, that are not written yet, where they are very many.
fn begin(
    broker: &Arc<Broker>,
    request: &PublishRequest,
    qos: Qos,
    properties: &[u8],
) -> (Outcome, Option<Unwritten>) {
    let mut turn = Turn::new(broker);
    turn.tally.published += 1;
    let longest = Some(turn.settings.message_expiry).filter(|longest| *longest > 0);
    let expiry = request.message_expiry.into_iter().chain(longest).min();
    let message = MessageRef {
        publisher: 0,
        qos,
        retain: request.retain,
        expires_at: expiry.map_or(u64::MAX, |expiry| turn.now + u64::from(expiry) * 1000),
        topic: &request.topic,
        properties,
        payload: &request.payload,
        trace: None,
    };
    let plan = broker.table.plan(&request.topic);
    turn.has_publisher = qos > Qos::AtMostOnce;
    let whose = (From::Request, CLIENT);
    let published = turn.publish_traced(message, whose, |turn, message| {
        turn.publish(message, &plan, Author::named(CLIENT, ""))
    });
    turn.has_publisher = false;
    let reason = published.reason();
    if !turn.must_wait() {
        return (Outcome::Done(reason), turn.finish_in_parts(None));
    }
    let (sender, waiter) = oneshot::channel();
    let unwritten = turn.finish_in_parts(Some(Owed::of_nobody(sender)));
    (Outcome::Waits(waiter, reason), unwritten)
}

/// Waits until the links are written, as a client's next message would. They are, some at a time, also
/// where nobody waits any more.
async fn written(broker: &Broker, unwritten: Unwritten) {
    let (writing, done) = oneshot::channel::<()>();
    broker.see_to("links", async move {
        unwritten.write().await;
        drop(writing);
    });
    let _ = done.await; // nothing is sent: it is over
}

/// The properties to pass on, encoded.
fn properties(request: &PublishRequest, topics: topic::Bounds) -> Result<Vec<u8>, Status> {
    let mut block = Vec::new();
    if request.is_text {
        block.extend([0x01, 1]); // Payload Format Indicator
    }
    let properties = request.user_properties.iter();
    let mut texts = properties
        .flat_map(|property| [&property.name, &property.value])
        .chain([&request.content_type]);
    if texts.any(|text| text.contains('\0')) {
        let why = "a property has the character U+0000"; // [MQTT-1.5.4-2]
        return Err(Status::invalid_argument(why));
    }
    let too_long = || Status::invalid_argument("a property has more than 65535 bytes");
    let mut add = |id: u8, parts: &[&[u8]]| {
        block.push(id);
        for part in parts {
            let length = u16::try_from(part.len()).map_err(|_| too_long())?;
            block.extend(length.to_be_bytes());
            block.extend_from_slice(part);
        }
        Ok::<(), Status>(())
    };
    if !request.content_type.is_empty() {
        add(0x03, &[request.content_type.as_bytes()])?;
    }
    if !request.response_topic.is_empty() {
        topic::validate_name(&request.response_topic, topics) // [MQTT-3.3.2-14]
            .map_err(|error| Status::invalid_argument(format!("the response topic: {error}")))?;
        add(0x08, &[request.response_topic.as_bytes()])?;
    }
    if !request.correlation_data.is_empty() {
        add(0x09, &[&request.correlation_data])?;
    }
    for property in &request.user_properties {
        add(0x26, &[property.name.as_bytes(), property.value.as_bytes()])?;
    }
    let mut scratch = Vec::new();
    let passed_on = mqtt::forwardable(&block, &mut scratch);
    match passed_on.len() == block.len() {
        true => Ok(block),
        false => Err(Status::invalid_argument(
            "a property is not one that MQTT allows",
        )),
    }
}
