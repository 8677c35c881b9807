//! The task of a lane: one stream to one gateway after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gatemq_node::credentials::{Role, Whom};
use gatemq_proto::cluster::intake::intake_client::IntakeClient;
use gatemq_proto::cluster::intake::publish_request::Kind;
use gatemq_proto::cluster::intake::{Open, PublishRequest};
use gatemq_router::control::rounds::Rounds;
use gatemq_router::control::{CALL, Failure};
use gatemq_router::peer::MAX_MESSAGE;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::window::Stop;
use super::{Outbound, Shared, weight};

/// How long a gateway may say nothing, not even to a ping, before its stream counts as broken.
const SILENCE: Duration = Duration::from_secs(3);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Stop(#[from] Stop),
    #[error("it takes no part any more")]
    Gone,
}

/// Sends what the lane has, until it ends.
pub(super) async fn run(outbound: Outbound, shared: Arc<Shared>) {
    let mut rounds = Rounds::new(outbound.gateways.clone());
    let mut said = String::new();
    loop {
        // Without a message there is nothing to connect for.
        while !shared.window.lock().has_more() {
            shared.work.notified().await;
        }
        let address = rounds.next().await;
        let Err(end) = carry(&outbound, &shared, &address).await;
        let withdrawn = shared.window.lock().rewind();
        shared.leave(&withdrawn);
        if let End::Stop(Stop::Later(_)) = &end {
            shared.n_retried.fetch_add(1, Relaxed);
        }
        let (rule, why) = (&shared.name, end.to_string());
        if why == said {
            tracing::debug!(rule, address, why, "the stream to a gateway ended");
        } else {
            tracing::info!(rule, address, why, "the stream to a gateway ended");
        }
        said = why;
    }
}

async fn carry(
    outbound: &Outbound,
    shared: &Shared,
    address: &str,
) -> Result<std::convert::Infallible, End> {
    let mut client = connect(outbound, address).await?;
    let (requests, stream) = mpsc::channel(4);
    let open = Kind::Open(Open {
        cluster_id: outbound.cluster_id.clone(),
        source: outbound.source,
        rule: shared.name.clone(),
    });
    let _ = requests.send(PublishRequest { kind: Some(open) }).await;
    let opening = client.publish(ReceiverStream::new(stream));
    let opened = tokio::time::timeout(CALL, opening).await;
    let mut replies = opened
        .map_err(Failure::from)?
        .map_err(Failure::from)?
        .into_inner();
    tracing::info!(rule = shared.name, address, "stream to a gateway open");
    let mut gateways = outbound.gateways.clone();
    loop {
        let has_more = shared.window.lock().has_more();
        tokio::select! {
            reply = replies.message() => {
                let reply = reply.map_err(Failure::from)?.ok_or(End::Gone)?;
                let mut settled = Vec::new();
                let handled = shared.window.lock().handle(&reply, Instant::now(), &mut settled);
                for (message, done, answer) in settled {
                    let n_bytes = weight(&message.topic, &message.properties, &message.payload);
                    shared.budget.leave(n_bytes);
                    done(answer);
                }
                handled?;
            }
            permit = requests.reserve(), if has_more => {
                let permit = permit.map_err(|_| End::Gone)?;
                let batch = shared.window.lock().take_batch(Instant::now());
                if let Some(batch) = batch {
                    let kind = Some(Kind::Batch(batch));
                    permit.send(PublishRequest { kind });
                }
            }
            () = shared.work.notified() => {}
            gone = is_gone(&mut gateways, address) => {
                if gone {
                    return Err(End::Gone);
                }
            }
        }
    }
}

/// Whether a gateway is none any more, whenever others are known.
async fn is_gone(gateways: &mut watch::Receiver<Vec<String>>, address: &str) -> bool {
    match gateways.changed().await {
        Ok(()) => !gateways.borrow_and_update().iter().any(|it| it == address),
        Err(_) => std::future::pending().await,
    }
}

async fn connect(
    outbound: &Outbound,
    address: &str,
) -> Result<IntakeClient<tonic::transport::Channel>, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(SILENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(SILENCE / 2)
        .keep_alive_timeout(SILENCE)
        .keep_alive_while_idle(true);
    let whom = Whom::any(Role::Gateway);
    let channel = outbound.dialer.connect(&endpoint, &whom).await?;
    Ok(IntakeClient::new(channel).max_encoding_message_size(MAX_MESSAGE))
}
