//! The client of Kafka: takes records, and says into a mailbox what became of them.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::link::NotTaken;
use super::mailbox::{Mailbox, Report};
use super::settings::Settings;
use super::window::Answer;
use crate::Record;

/// A client, which lives until an error is its last.
pub(super) struct Client {
    producer: ThreadedProducer<Context>,
}

/// What the client tells of.
struct Context {
    generation: u64,
    mailbox: Arc<Mailbox>,
}

// === impl Client ===

impl Client {
    /// Begins to look for Kafka; `is_single` if each record is to be a batch of its own. The
    /// generation tells its reports from those of an earlier client.
    pub(super) fn start(
        settings: &Settings,
        generation: u64,
        is_single: bool,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, KafkaError> {
        let context = Context {
            generation,
            mailbox,
        };
        let mut config = settings.config();
        if is_single {
            config.set("batch.num.messages", "1");
        }
        let producer = config.create_with_context(context)?;
        Ok(Self { producer })
    }

    /// Takes a record, without waiting. What becomes of it is reported under this flow and number.
    /// With a time, in milliseconds since 1970, it has that one in Kafka, and its own in a header.
    pub(super) fn send(
        &self,
        flow: usize,
        number: u64,
        record: &Record,
        time: Option<i64>,
    ) -> Result<(), NotTaken> {
        let own_time = record.at().to_string();
        let own_time = time.map(|_| (TIME, own_time.as_bytes()));
        let mut headers: Option<OwnedHeaders> = None;
        for (key, value) in record.headers().chain(own_time) {
            let value = Some(value);
            let all = headers.unwrap_or_default();
            headers = Some(all.insert(Header { key, value }));
        }
        let mut message = BaseRecord::with_opaque_to(record.topic(), pack(flow, number));
        message.timestamp = Some(time.unwrap_or(record.at()));
        message.payload = (!record.is_tombstone()).then(|| record.value());
        message.key = record.key();
        message.headers = headers;
        let Err((error, _)) = self.producer.send(message) else {
            return Ok(());
        };
        Err(match error.rdkafka_error_code() {
            Some(Code::QueueFull) => NotTaken::Full,
            Some(Code::Fatal) => NotTaken::Over(error.to_string()),
            _ if is_for_ever(&error) || of_batch(&error).is_some() => NotTaken::Refused(error),
            _ if is_without_topic(&error) => NotTaken::NoTopic(error),
            _ => match self.fatal() {
                Some(text) => NotTaken::Over(text),
                None => NotTaken::Full,
            },
        })
    }

    /// Why the client takes none any more, if that is so.
    pub(super) fn fatal(&self) -> Option<String> {
        let error = self.producer.client().fatal_error();
        error.map(|(code, text)| format!("{code:?}: {text}"))
    }
}

// === impl Context ===

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, text, "kafka client");
            }
            // It repeats what it does not get done, and the bridge tells of it once.
            _ => tracing::info!(facility, text, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::info!(%error, reason, "kafka client");
        self.mailbox.look();
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, packed: usize) {
        let (flow, number) = unpack(packed);
        let answer = match result {
            Ok(_) => Answer::Confirmed,
            Err((error, _)) if is_for_ever(error) => Answer::Refused,
            Err((error, _)) if is_without_topic(error) => Answer::NoTopic,
            Err((error, _)) => of_batch(error).unwrap_or(Answer::Failed),
        };
        if let Err((error, message)) = result
            && answer != Answer::Failed
        {
            let topic = message.topic();
            tracing::debug!(topic, %error, "kafka does not take a record");
        }
        self.mailbox.report(Report {
            generation: self.generation,
            flow,
            number,
            answer,
        });
    }
}

// === private ===

/// Whether Kafka would say the same of the record any other time.
fn is_for_ever(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::InvalidTopic | Code::InvalidArgument))
}

/// What Kafka says of a whole batch: which of its records is meant is not certain. Some brokers do
/// not say, and where they name two or more the client makes the same of each, whatever it was.
fn of_batch(error: &KafkaError) -> Option<Answer> {
    match error.rdkafka_error_code()? {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(Answer::TooLarge),
        Code::InvalidRecord | Code::PolicyViolation => Some(Answer::Unfit),
        Code::InvalidTimestamp => Some(Answer::Untimely),
        _ => None,
    }
}

fn is_without_topic(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
        )
    )
}

/// What the client gives back with its report: flow and number in one word.
fn pack(flow: usize, number: u64) -> usize {
    flow << NUMBER_BITS | (number & NUMBER_MASK) as usize
}

fn unpack(packed: usize) -> (usize, u64) {
    (packed >> NUMBER_BITS, packed as u64 & NUMBER_MASK)
}

/// The header for the time of a message whose record has another one, in milliseconds since 1970.
const TIME: &str = "mqtt.timestamp";
/// More records than a client can send in its life.
const NUMBER_BITS: u32 = 48;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_so_perhaps_for_its_batch() {
        for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge] {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(of_batch(&error), Some(Answer::TooLarge), "{code:?}");
        }
    }

    #[test]
    fn flow_and_number_come_back() {
        for pair in [(0, 0), (3, 1), (65_535, NUMBER_MASK)] {
            assert_eq!(unpack(pack(pair.0, pair.1)), pair);
        }
    }
}
