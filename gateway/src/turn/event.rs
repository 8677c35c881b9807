//! What clients do, told to bridges: they connect, disconnect, subscribe, unsubscribe.
//!
//! An event is a message of QoS 1 that only bridges get, under the topic of its client, so that one
//! bridge has all that a client does, in the order in which it did it here. Nobody waits for it:
//! while no bridge takes events, they are dropped and counted, beyond a bound too. Comes from
//! [`crate::connection`]; continues in [`crate::cluster::forward`].

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use gatemq_router::Plan;
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;

use super::author::Author;
use super::{Turn, bridge};
use crate::cluster::Cluster;
use crate::cluster::forward::Targets;
use crate::message::MessageRef;
use crate::proto::cluster::bridges;
use crate::proto::cluster::peer::Event;
use crate::proto::mqtt::Qos;
use crate::room::{Place, Room};
use crate::session::{Session, Subscription};

/// How many bytes of events may be on their way.
const MOST: usize = 16 << 20;
/// What an event takes of the memory beside its bytes.
const OVERHEAD: usize = 512;

/// What a gateway knows of those who want events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Who wants them; looked at anew when the table has changed.
    plan: ArcSwapOption<Plan<Subscription>>,
    /// Bytes on their way.
    open: Room,
}

/// An event until a bridge has it.
#[derive(Debug)]
pub(crate) struct Open {
    _place: Place,
    dropped: Counter,
}

// === impl Events, Open ===

impl Events {
    /// Takes room for an event; `None` if so many wait that it has to be dropped.
    fn admit(&self, n_bytes: usize, dropped: &Counter) -> Option<Arc<Open>> {
        Some(Arc::new(Open {
            _place: self.open.take(n_bytes + OVERHEAD, MOST)?,
            dropped: dropped.clone(),
        }))
    }
}

impl Open {
    /// No bridge will get the event.
    pub(crate) fn give_up(&self) {
        self.dropped.inc();
    }
}

// === telling ===

impl Turn<'_> {
    /// Tells bridges what a client did, if any of them asks; `make` is called only then.
    pub(crate) fn tell_bridges(&mut self, session: &Session, make: impl FnOnce() -> Event) {
        let broker = self.broker;
        let Some(cluster) = &broker.cluster else {
            return;
        };
        let plan = self.who_wants_events(cluster);
        for filter in plan.filters() {
            let subscribers = filter.subscribers();
            if let Some(group) = subscribers.groups.get(bridges::GROUP) {
                let topic = bridges::events_of(&session.client_id);
                let node = bridge::pick(&group.nodes, &topic, |_| true);
                let target = node.map(|node| {
                    let mut targets = Targets::new();
                    targets.add_pick(node, &group.name, filter.text());
                    targets
                });
                self.send_event(cluster, session, (&topic, target), &make());
                return;
            }
        }
    }

    fn send_event(
        &mut self,
        cluster: &Cluster,
        session: &Session,
        (topic, targets): (&str, Option<Targets>),
        event: &Event,
    ) {
        let dropped = &self.broker.metrics.events_dropped;
        let payload = event.encode_to_vec();
        let n_bytes = payload.len() + topic.len() + 2 * session.client_id.len();
        let open = cluster.events.admit(n_bytes, dropped);
        let (Some(targets), Some(open)) = (targets, open) else {
            dropped.inc();
            return;
        };
        let message = MessageRef {
            // The lane on the way: the same for all sessions that the client ever has.
            publisher: lane(topic),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: u64::MAX,
            topic,
            properties: &[],
            payload: &payload,
            trace: None,
        };
        self.begin_message();
        // Nobody waits for it.
        let has_publisher = std::mem::take(&mut self.has_publisher);
        self.forward_in(&message, &targets, Author::of(session), Some(&open));
        self.has_publisher = has_publisher;
    }

    fn who_wants_events(&self, cluster: &Cluster) -> Arc<Plan<Subscription>> {
        let table = &self.broker.table;
        let known = cluster.events.plan.load_full();
        if let Some(plan) = known.filter(|plan| table.is_current(plan)) {
            return plan;
        }
        let plan = table.plan(&bridges::events_of(""));
        cluster.events.plan.store(Some(plan.clone()));
        plan
    }
}

/// A number that is the same for all events of one client.
fn lane(topic: &str) -> u64 {
    let digits = topic.rsplit('/').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::session::Life;
    use crate::session::outbound::Outbound;
    use gatemq_router::GroupNode;

    #[test]
    fn what_waits_for_bridges_is_bounded() {
        let events = Events::default();
        let dropped = Counter::default();
        let half = MOST / 2 - OVERHEAD;
        let first = events.admit(half, &dropped).expect("there is room");
        let second = events.admit(half, &dropped).expect("there is room");
        assert!(events.admit(1, &dropped).is_none());
        assert!(
            events.admit(1, &dropped).is_none(),
            "what was refused takes none"
        );
        drop(first);
        assert!(events.admit(half, &dropped).is_some());
        drop(second);
        assert_eq!(events.open.n_bytes(), 0);
    }

    #[tokio::test]
    async fn nothing_is_made_of_what_nobody_wants_and_what_nobody_takes_is_counted() {
        let broker = Broker::in_cluster();
        let session = Session::new(1, "c", Outbound::new(true), Life::default());
        let tell = || {
            let mut is_made = false;
            let mut turn = Turn::new(&broker);
            turn.tell_bridges(&session, || {
                is_made = true;
                Event::default()
            });
            turn.finish(None);
            is_made
        };
        let set = |n_online| {
            let node = GroupNode {
                node: 9,
                n_online,
                n_offline: 0,
            };
            let table = &broker.table;
            table.set_node(Some(bridges::GROUP), bridges::EVENTS, node);
        };
        let n_dropped = || broker.metrics.events_dropped.get();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let n_open = || cluster.events.open.n_bytes();
        assert!(!tell());
        set(0);
        assert!(tell());
        assert_eq!((n_dropped(), n_open()), (1, 0));
        set(1);
        assert!(tell());
        assert_eq!(n_dropped(), 1);
        assert!(n_open() > 0, "it is on its way");
    }

    #[test]
    fn a_client_has_one_lane() {
        assert_eq!(lane("$bridge/events/00000000000000ff"), 255);
        assert_ne!(
            lane(&bridges::events_of("a")),
            lane(&bridges::events_of("b"))
        );
    }
}
