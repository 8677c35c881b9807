//! The nodes of the control plane one after the other, for who follows one until it is cut off.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::PAUSES;

/// Whose turn it is.
#[derive(Debug)]
pub struct Rounds {
    nodes: watch::Receiver<Vec<String>>,
    turn: usize,
    pause: Duration,
    /// When the last one was given, if there was one.
    given_at: Option<Instant>,
}

// === impl Rounds ===

impl Rounds {
    /// Among these, as they come and go.
    #[must_use]
    pub fn new(nodes: watch::Receiver<Vec<String>>) -> Self {
        Self {
            nodes,
            turn: 0,
            pause: PAUSES.0,
            given_at: None,
        }
    }

    /// The next one: the first at once, another after a pause, which grows while none could be followed
    /// for long, and ends when others are known.
    pub async fn next(&mut self) -> String {
        loop {
            if self.turn > 0 {
                self.rest().await;
            }
            let addresses = self.nodes.borrow_and_update().clone();
            let address = addresses.get(self.turn % addresses.len().max(1)).cloned();
            self.turn += 1;
            self.given_at = address.is_some().then(Instant::now);
            if let Some(address) = address {
                return address;
            }
        }
    }

    async fn rest(&mut self) {
        if self.given_at.is_some_and(|at| at.elapsed() > PAUSES.1) {
            self.pause = PAUSES.0;
        }
        let _ = tokio::time::timeout(self.pause, self.nodes.changed()).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_has_its_turn_and_who_comes_later_is_waited_for() {
        let (tell, nodes) = watch::channel(Vec::new());
        let mut rounds = Rounds::new(nodes);
        tokio::spawn(async move {
            let _ = tell.send(vec!["a".to_owned(), "b".to_owned()]);
            tell.closed().await;
        });
        let first = rounds.next().await;
        let second = rounds.next().await;
        assert_ne!(first, second);
        assert_eq!(rounds.next().await, first);
    }
}
