//! What this node does by itself, by who leads: keeps the book and fences, or attends the leader.

use std::sync::Arc;
use std::time::Duration;

use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Command, Fence, command};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::replica::{Leadership, Replica, View};
use super::watch::concerns_members;
use super::{Shared, uplink};
use crate::feed::Bounds;

/// How often it is looked whether somebody is to be fenced.
const FENCE_EVERY: Duration = Duration::from_millis(100);

/// Until the service ends.
pub(super) async fn run<R: Replica>(shared: Arc<Shared<R>>) {
    let mut leadership = shared.replica.leadership();
    loop {
        let current = leadership.borrow_and_update().clone();
        let work = async {
            match &current {
                Leadership::Unknown => std::future::pending().await,
                Leadership::Following {
                    leader, address, ..
                } => uplink::follow(&shared, *leader, address).await,
                Leadership::Leading { term, floor } => lead(&shared, *term, *floor).await,
            }
        };
        let is_over = tokio::select! {
            () = shared.token.cancelled() => true,
            changed = leadership.wait_for(|now| *now != current) => changed.is_err(),
            () = work => false,
        };
        shared.desk.close_book();
        shared.desk.close_uplink();
        if is_over {
            return;
        }
    }
}

/// Keeps the book. Whoever notices that this node leads no more drops this.
async fn lead<R: Replica>(shared: &Arc<Shared<R>>, term: u64, floor: u64) {
    shared.feed.reached(floor).await;
    let revision = shared.desk.open_book(shared.config.terms, floor);
    tracing::info!(term, floor, "leads the control plane");
    let mut reader = shared.feed.reader(revision);
    let mut fence_ticks = interval(FENCE_EVERY);
    fence_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fencing = None;
    loop {
        let deadline = shared.desk.expire_book();
        tokio::select! {
            batch = reader.next(Bounds::default()) => match batch {
                Ok(batch) => {
                    let mut commands = batch.commands.iter();
                    let has_members = commands.any(|one| concerns_members(&one.command));
                    shared.desk.advance_book(has_members);
                }
                Err(_) => {
                    reader = shared.feed.reader(shared.replica.view().revision());
                    shared.desk.advance_book(true);
                }
            },
            () = sleep(deadline.unwrap_or(Duration::MAX)) => {}
            () = shared.desk.deadline_moved.notified() => {}
            _ = fence_ticks.tick() => fence_the_silent(shared, &mut fencing),
        }
    }
}

/// Proposes to fence those who are due, one after the other and beside everything else. One that
/// did not come through is due again.
fn fence_the_silent<R: Replica>(
    shared: &Arc<Shared<R>>,
    fencing: &mut Option<AbortOnDropHandle<()>>,
) {
    if fencing.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    let due = shared.desk.due_fences();
    if due.is_empty() {
        return;
    }
    let shared_by_task = Arc::clone(shared);
    let task = shared.tracker.spawn(async move {
        for incarnation in due {
            tracing::info!(incarnation, "fences a gateway that is silent for long");
            let fence = Fence {
                incarnation,
                why: Why::Lease.into(),
            };
            let kind = Some(command::Kind::Fence(fence));
            let proposed = shared_by_task.propose(Command { kind }, 1).await;
            if let Err(status) = proposed {
                tracing::warn!(incarnation, why = status.message(), "could not fence");
            }
        }
    });
    *fencing = Some(AbortOnDropHandle::new(task));
}
