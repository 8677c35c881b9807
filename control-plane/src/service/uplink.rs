//! While another node leads: passes on to it what this node's gateways say.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use gatemq_proto::cluster::control::{AttendRequest, Attendant};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::Shared;
use super::desk::Uplink;
use super::replica::{Replica, View};

/// Between attempts; it doubles while they fail at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Keeps a stream to the leader. Whoever notices that another leads drops this.
pub(super) async fn follow<R: Replica>(shared: &Arc<Shared<R>>, leader: u64, address: &str) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let Err(status) = attend(shared, address).await;
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tracing::debug!(leader, address, %status, "stream to the leader ended");
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// One stream, until it ends.
async fn attend<R: Replica>(shared: &Arc<Shared<R>>, address: &str) -> Result<Infallible, Status> {
    let mut client = shared.roads.client(address)?;
    let relay = Relay {
        shared: Arc::clone(shared),
        uplink: shared.desk.open_uplink(),
        is_first: true,
    };
    let requests = stream::unfold(relay, async |mut relay| {
        let request = relay.next().await?;
        Some((request, relay))
    });
    let answer = timeout(shared.config.connect_within, client.attend(requests)).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("the leader does not answer"))?;
    let mut replies = answer?.into_inner();
    while let Some(reply) = replies.message().await? {
        shared.desk.take_reply(&reply);
    }
    Err(Status::unavailable("the leader ended the stream"))
}

/// Makes the requests, each when the last is on its way: whatever waits by then goes in one.
struct Relay<R: Replica> {
    shared: Arc<Shared<R>>,
    uplink: Arc<Uplink>,
    is_first: bool,
}

impl<R: Replica> Relay<R> {
    async fn next(&mut self) -> Option<AttendRequest> {
        if std::mem::take(&mut self.is_first) {
            // At once, for the leader says nothing before it knows who this is.
            return Some(self.request(Vec::new()));
        }
        let waiting = self.shared.desk.take_waiting(&self.uplink).await?;
        Some(self.request(waiting))
    }

    fn request(&self, attendants: Vec<Attendant>) -> AttendRequest {
        AttendRequest {
            cluster_id: self.shared.replica.view().cluster_id(),
            node: self.shared.replica.node(),
            attendants,
        }
    }
}
