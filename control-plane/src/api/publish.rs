//! `/publish`: a message from outside of MQTT, answered when it is safe.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gatemq_proto::cluster::desk::{PublishReply, PublishRequest, UserProperty};
use gatemq_proto::mqtt::Reason;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use utoipa::ToSchema;

use super::Api;
use super::access::about::About;
use super::access::guard::Caller;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::Json as Body;
use super::lines::{Member, gateways, within};
use super::problem::Problem;

/// A message. With neither payload it is empty, which clears a retained one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Message {
    topic: String,
    /// The payload as text.
    payload: Option<String>,
    /// The payload in Base64, for what is no text.
    payload_base64: Option<String>,
    /// 0, 1 or 2; 0 if it is left out.
    #[serde(default)]
    qos: u32,
    #[serde(default)]
    retain: bool,
    /// Seconds after which nobody gets it any more; left out for never.
    message_expiry: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    /// In Base64.
    correlation_data_base64: Option<String>,
    /// Pairs of name and value.
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    topic: String,
    /// The gateway that took it.
    node: String,
    /// The MQTT reason code: 0, or 16 if nobody subscribes.
    reason_code: u8,
    reason: String,
    /// Whether somebody subscribes, or may.
    is_matched: bool,
}

/// How long a gateway may take: the server answers within five seconds.
const SAFE: Duration = Duration::from_secs(4);

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::post(
            "/publish",
            "publish",
            "Publishes a message through a gateway; QoS 1 and 2 are answered when it is safe",
            publish,
        )
        .needs(Scope::Operator)
        .says(
            "To any topic but those that the broker keeps to itself ($SYS and below). A token that \
             names topics (api.tokens[].publish) publishes to those alone: to others the answer is \
             403. Rules of clients are not asked: who has a token is no client.",
        )
        .body::<Message>()
        .answers::<Published>("It is safe; at QoS 0, on its way")
        .fails(&[503, 504]),
    ]
}

async fn publish(
    Shared(api): Shared<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(about): Extension<About>,
    Body(message): Body<Message>,
) -> Result<Json<Published>, Problem> {
    let topic = message.topic.clone();
    about.say(&format!("topic {topic}"));
    // What is no topic matches nothing, or is refused by the gateway.
    caller.may_publish(&topic)?;
    let request = request(message, api.consensus.cluster_id().clone())?;
    let mut gateways = gateways(&api.consensus.state());
    // The one of this process first: it is there.
    gateways.sort_by_key(|gateway| gateway.name != api.name);
    let sending = async {
        for gateway in gateways {
            match api.publish_by(&gateway, request.clone()).await {
                Err(status) if is_unsent(&status) => {}
                answer => return Ok((gateway, answer)),
            }
        }
        Err(Problem::unavailable("no gateway takes messages now"))
    };
    let answered = tokio::time::timeout(SAFE, sending).await;
    let (gateway, answer) =
        answered.map_err(|_| Problem::undecided("it is not safe yet, and may never be"))??;
    let reply = answer.map_err(|status| Problem::of_call(&gateway.name, &status))?;
    let code = u8::try_from(reply.reason).unwrap_or(u8::MAX);
    let reason = Reason::from_u8(code).map_or("unknown", Reason::name);
    if code >= 0x80 {
        let detail = format!("{}: {reason} (0x{code:02X})", gateway.name);
        return Err(Problem::not_taken(detail));
    }
    Ok(Json(Published {
        topic,
        node: gateway.name,
        reason_code: code,
        reason: reason.to_owned(),
        is_matched: code != Reason::NoMatchingSubscribers as u8,
    }))
}

impl Api {
    async fn publish_by(
        &self,
        gateway: &Member,
        request: PublishRequest,
    ) -> Result<PublishReply, Status> {
        let mut desk = self.lines.desk(&gateway.address)?;
        within(SAFE, desk.publish(request)).await
    }
}

/// Whether a gateway has certainly not taken it: there was no connection, or it says so itself.
fn is_unsent(status: &Status) -> bool {
    if status.code() != Code::Unavailable {
        return false;
    }
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        return true; // the gateway's own words
    }
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn request(message: Message, cluster_id: bytes::Bytes) -> Result<PublishRequest, Problem> {
    let decode = |name: &str, text: String| {
        let decoded = STANDARD.decode(text);
        decoded.map_err(|error| Problem::bad_request(format!("{name} is no Base64: {error}")))
    };
    let is_text = message.payload.is_some();
    let payload = match (message.payload, message.payload_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => decode("payload_base64", text)?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => {
            let detail = "payload and payload_base64 exclude each other";
            return Err(Problem::bad_request(detail));
        }
    };
    let correlation = message.correlation_data_base64.unwrap_or_default();
    let properties = message.user_properties.into_iter();
    Ok(PublishRequest {
        cluster_id,
        topic: message.topic,
        payload: payload.into(),
        qos: message.qos,
        retain: message.retain,
        message_expiry: message.message_expiry,
        content_type: message.content_type.unwrap_or_default(),
        response_topic: message.response_topic.unwrap_or_default(),
        correlation_data: decode("correlation_data_base64", correlation)?.into(),
        user_properties: properties
            .map(|(name, value)| UserProperty { name, value })
            .collect(),
        is_text,
    })
}
