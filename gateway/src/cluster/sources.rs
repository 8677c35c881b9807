//! The nodes whose messages this gateway has had, and for how long it remembers them.
//!
//! A message keeps the name under which it was routed first ([`Origin`]) when that gateway is gone: its
//! publisher takes up a QoS 2 exchange elsewhere, and whoever adopts a will tries it again. So a node is
//! forgotten only when nothing is left of it in the cluster's state and nothing has come under its name
//! for [`LATELY`]. What comes again later than that is taken for a new message: a session leaves it out
//! that still knows it itself (`session/recent.rs`: the last 2,048 of QoS 2, with Redis), others have it
//! twice, and so may a group, whose next member is another one.
//!
//! A process that was taken for gone and came back keeps its first incarnation as its name, which is
//! none of the cluster's any more: it is forgotten while it sends nothing. That costs as little, unless
//! it then repeats what it could not say for so long.
//!
//! [`Origin`]: crate::session::received::Origin

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gatemq_router::peer::Seen;

use super::Cluster;
use crate::broker::Broker;

/// How long a node that is gone is remembered from its last message on; at most twice that. Clients
/// whose gateway dies are back within a few of their pauses, which are two minutes at most with most
/// of them. Until then each start of a gateway costs others up to 20 MB more.
const LATELY: Duration = Duration::from_secs(600);
/// How many messages of groups are remembered of a node, and of how many nodes: a message may be for
/// several groups. 14 to 16 MB for each that has sent so many.
const PICKS: usize = 262_144;
const SOURCES: usize = 256;

/// Nothing yet of what came for groups.
pub(super) fn picks() -> Seen {
    Seen::new(PICKS, SOURCES)
}

/// Forgets nodes that are gone, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let mut looks = tokio::time::interval(LATELY);
    loop {
        tokio::select! {
            _ = looks.tick() => cluster.forget_silent(),
            () = broker.tasks_end.cancelled() => return,
        }
    }
}

impl Cluster {
    fn forget_silent(&self) {
        let members = self.view.lock().members.keys().copied().collect();
        let members: HashSet<u64> = members;
        // What goes on under its own name may be of any time.
        let is_there = |source| source == self.source || members.contains(&source);
        self.seen.lock().forget_silent(is_there);
        self.picked.forget_silent(is_there);
    }
}

#[cfg(test)]
mod tests {
    use gatemq_router::peer::First;

    use super::*;
    use crate::cluster::view::Member;
    use crate::proto::cluster::state::Role;
    use crate::session::received::Origin;

    #[tokio::test]
    async fn a_gateway_that_is_gone_is_forgotten_a_while_after_its_last_message() {
        const THERE: u64 = 5;
        const GONE: u64 = 6;
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.as_ref().expect("there is one");
        let member = Member {
            name: "g2".to_owned(),
            role: Role::Gateway,
            peer_address: String::new(),
            is_fenced: true,
        };
        cluster.view.lock().members.insert(THERE, member);
        for source in [cluster.source, THERE, GONE] {
            cluster.seen.lock().note(source, 7, First::default());
            let origin = Origin { source, id: 7 };
            cluster.picked.claim(origin, ("g", "t"), source, 0);
        }
        let known = || {
            let sources = [cluster.source, THERE, GONE];
            let picks = sources.map(|source| {
                let origin = Origin { source, id: 7 };
                cluster.picked.has(origin, ("g", "t"))
            });
            assert_eq!(
                sources.map(|source| cluster.seen.lock().has(source, 7)),
                picks
            );
            picks
        };
        cluster.forget_silent();
        assert_eq!(known(), [true; 3], "it may have come just before");
        cluster.forget_silent();
        assert_eq!(known(), [true, true, false]);
    }
}
