//! The leader's side of a node that passes on what its gateways say.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use gatemq_proto::cluster::control::{AttendReply, AttendRequest};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Shared;
use super::desk::Listener;
use super::replica::Replica;

type Replies = BoxStream<'static, Result<AttendReply, Status>>;

/// Takes the node's first message; what follows is the stream.
pub(super) async fn begin<R: Replica>(
    shared: Arc<Shared<R>>,
    mut requests: Streaming<AttendRequest>,
) -> Result<Replies, Status> {
    let first = timeout(shared.config.silent_for, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("nothing came"))??;
    let first = first.ok_or_else(|| Status::invalid_argument("nothing came"))?;
    shared.check_cluster(&first.cluster_id)?;
    let token = shared.token.child_token();
    let relay = shared.desk.enter_relay(token);
    let relay = relay.ok_or_else(|| Status::unavailable("this node does not lead"))?;
    tracing::debug!(node = first.node, "node attends");
    shared.desk.hear_relayed(&relay, &first.attendants);
    shared.tracker.spawn(take_beats(
        Arc::clone(&shared),
        Arc::clone(&relay),
        requests,
    ));
    let attend = Attend {
        shared,
        relay,
        told: None,
        is_over: false,
    };
    let replies = stream::unfold(attend, async |mut attend| {
        let reply = attend.next().await?;
        Some((reply, attend))
    });
    Ok(replies.boxed())
}

async fn take_beats<R: Replica>(
    shared: Arc<Shared<R>>,
    relay: Arc<Listener>,
    mut requests: Streaming<AttendRequest>,
) {
    let hear = async {
        while let Ok(Some(request)) = requests.message().await {
            shared.desk.hear_relayed(&relay, &request.attendants);
        }
    };
    relay.token.run_until_cancelled(hear).await;
    relay.token.cancel();
}

struct Attend<R: Replica> {
    shared: Arc<Shared<R>>,
    relay: Arc<Listener>,
    /// The last watermark that was sent.
    told: Option<u64>,
    is_over: bool,
}

impl<R: Replica> Attend<R> {
    async fn next(&mut self) -> Option<Result<AttendReply, Status>> {
        if self.is_over {
            return None;
        }
        loop {
            let reply = AttendReply {
                watermark: self.shared.desk.watermark(),
                attendants: self.relay.take_confirmed(),
            };
            if self.told != Some(reply.watermark) || !reply.attendants.is_empty() {
                self.told = Some(reply.watermark);
                return Some(Ok(reply));
            }
            tokio::select! {
                biased;
                () = self.relay.token.cancelled() => {
                    self.is_over = true;
                    return Some(Err(Status::unavailable("this node does not lead any more")));
                }
                () = self.relay.news.notified() => {}
            }
        }
    }
}

impl<R: Replica> Drop for Attend<R> {
    fn drop(&mut self) {
        self.shared.desk.leave(&self.relay);
    }
}
