//! Messages that another node gave back: somebody whom they were for has moved, or the node is
//! gone. They are routed again by the table that holds now, in the order in which they came back.
//!
//! A message keeps its number, so a node that has had it gives it only to sessions that have come
//! since, and so does this one: nobody gets it twice who has had it.

use std::sync::Arc;
use std::time::Duration;

use super::Cluster;
use super::forward::{Forwarded, Scope, Targets, send_again};
use crate::broker::Broker;
use crate::turn::Turn;

/// Before a message is routed again: the change of the table is on its way.
const PAUSE: Duration = Duration::from_millis(5);

/// Routes again what comes back, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let routing = async {
        loop {
            let again = cluster.returns.take().await;
            tokio::time::sleep(PAUSE).await;
            for forwarded in again {
                route_again(&broker, &cluster, forwarded);
                tokio::task::consume_budget().await;
            }
        }
    };
    tokio::select! {
        () = routing => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

fn route_again(broker: &Arc<Broker>, cluster: &Cluster, mut forwarded: Forwarded) {
    let mut turn = Turn::new(broker);
    turn.take_up(&forwarded);
    let message = forwarded.message.clone();
    let message = message.as_ref().as_ref();
    let mut targets = Targets::new();
    if !message.is_expired(turn.now) {
        let plan = broker.table.plan(message.topic);
        let mut scope = Scope::Everywhere(&mut targets);
        if forwarded.target.is_direct {
            for filter in plan.filters() {
                scope.add_nodes(&filter.subscribers().nodes);
            }
            turn.since = Some(forwarded.stamp);
            turn.route_direct_here(message, &plan);
            turn.since = None;
        }
        let picks = std::mem::take(&mut forwarded.target.picks);
        for (group, filter) in picks {
            let not = forwarded.target.node;
            turn.pick_again(&forwarded.message, (&group, &filter), not, &mut targets);
        }
    }
    for target in targets.iter() {
        send_again(cluster, &forwarded, target);
    }
    // The message is done when all are that it has gone to now.
    turn.legs.extend(forwarded.leg.take());
    turn.legs.extend(turn.parent.take());
    turn.finish(None);
}
