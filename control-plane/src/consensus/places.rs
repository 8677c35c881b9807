//! Where the other nodes of the control plane are now. Gossip learns it as soon as one has come back
//! somewhere else; the membership says where it was when a leader last wrote that down, which nobody
//! can do any more when a quorum has moved at once.
//!
//! To follow gossip is safe: a voter is known by its number, each call names the number that it is
//! for, and whoever else is reached at an address refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::raft::Node;

/// The addresses that gossip knows, by the names of the nodes.
#[derive(Clone, Debug)]
pub struct Places(watch::Receiver<Arc<BTreeMap<String, String>>>);

/// Which of its addresses a node is called at.
#[derive(Debug)]
pub(super) struct Ways {
    places: Places,
    /// Of nodes by number: the address from gossip at which it was not.
    astray: Mutex<BTreeMap<u64, String>>,
}

// === impl Places ===

impl Default for Places {
    /// Gossip knows of nobody.
    fn default() -> Self {
        Self(watch::channel(Arc::default()).1)
    }
}

impl Places {
    /// What gossip knows, and every change of it.
    #[must_use]
    pub fn new(known: watch::Receiver<Arc<BTreeMap<String, String>>>) -> Self {
        Self(known)
    }

    /// Where a node is, as far as gossip knows, and else as the membership has it.
    pub(super) fn of(&self, node: &Node) -> String {
        let known = self.0.borrow();
        known.get(&node.name).unwrap_or(&node.address).clone()
    }

    /// Waits until gossip knows something else; for ever if it never will.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

// === impl Ways ===

impl Ways {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            astray: Mutex::default(),
        }
    }

    /// Where to call a node: as gossip says; if it was not there, as the membership does.
    pub(super) fn to(&self, number: u64, node: &Node) -> String {
        let now = self.places.of(node);
        let is_astray = self.astray.lock().get(&number) == Some(&now);
        match is_astray {
            true => node.address.clone(),
            false => now,
        }
    }

    /// A call at that address has failed: the next one goes to the other, if there are two.
    pub(super) fn failed(&self, number: u64, node: &Node, address: &str) {
        let now = self.places.of(node);
        let mut astray = self.astray.lock();
        match address == now && now != node.address {
            true => astray.insert(number, now),
            false => astray.remove(&number),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_where_gossip_says_and_in_turns_if_it_is_not_there() {
        let node = Node {
            name: "c2".to_owned(),
            address: "old:1".to_owned(),
        };
        let (gossip, known) = watch::channel(Arc::default());
        let ways = Ways::new(Places::new(known));
        let fail = || {
            let address = ways.to(2, &node);
            ways.failed(2, &node, &address);
            address
        };
        assert_eq!([fail(), fail()], ["old:1", "old:1"]);
        let tell = |address: &str| {
            let places = BTreeMap::from([("c2".to_owned(), address.to_owned())]);
            gossip.send_replace(Arc::new(places));
        };
        tell("new:1");
        assert_eq!([fail(), fail(), fail()], ["new:1", "old:1", "new:1"]);
        // What is new is tried at once.
        tell("newer:1");
        assert_eq!(
            [ways.to(2, &node), ways.to(2, &node)],
            ["newer:1", "newer:1"]
        );
    }
}
