//! Sending all clients elsewhere, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::lifecycle::farewell::disconnect;
use crate::proto::cluster::desk::DrainRequest;
use crate::proto::mqtt::Reason;
use crate::session::End;

/// The longest time over which clients are disconnected, in milliseconds.
const LONGEST: u64 = 600_000;

/// Takes no more connections, and begins to disconnect the clients; returns how many there are.
pub(super) fn drain(broker: &Arc<Broker>, request: &DrainRequest) -> u64 {
    let over = Duration::from_millis(request.over.min(LONGEST));
    broker.drain();
    let sessions = broker.connected();
    let n_clients = sessions.len();
    tracing::info!(clients = n_clients, ?over, "this gateway is drained");
    let (reason, text) = match request.has_other {
        true => (
            Reason::UseAnotherServer,
            "this gateway is drained: connect to another",
        ),
        false => (Reason::ServerShuttingDown, "this gateway is drained"),
    };
    let disconnecting = disconnect(sessions, over, End::refused(reason, text));
    let ended = broker.tasks_end.clone();
    broker
        .tasks
        .spawn(ended.run_until_cancelled_owned(disconnecting));
    n_clients as u64
}
