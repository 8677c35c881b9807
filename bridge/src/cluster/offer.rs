//! From the rules that the cluster sets to what the bridge offers gateways, and since when that is in
//! force.
//!
//! ```text
//!  told by the control plane ─> Rules::set ─> Offer ─> announced ─> all gateways have it: in force
//! ```
//!
//! A bridge that cannot go by a rule that the cluster has set takes nothing until it can: what comes for
//! it waits, and so do those who have published it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::config::Problem;
use gatemq_proto::cluster::bridges;

use super::Shared;
use super::settings::Texts;
use crate::rules::Rules;

/// What a bridge offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Its rules are those of this revision.
    pub(super) revision: u64,
    /// What it announces, or why it cannot go by the rules.
    pub(super) routes: Result<BTreeSet<String>, String>,
}

/// What is known of offers that were announced.
#[derive(Debug, Default)]
pub(super) struct Force {
    /// The last one: the revision of its rules, and by which index gateways have it.
    announced: Option<(u64, u64)>,
    /// The revision of the rules that are in force.
    revision: u64,
    watermark: u64,
}

/// How long before it is tried again to go by rules that did not go.
const AGAIN: Duration = Duration::from_secs(10);

/// Goes by whatever the cluster sets, until the bridge has left.
pub(super) async fn run(shared: Arc<Shared>, rules: Arc<Rules>) {
    let mut told = shared.rules.subscribe();
    let following = async {
        loop {
            let wanted = told.borrow_and_update().clone();
            let mut is_done = true;
            if let Some((texts, revision)) = wanted {
                let offer = go_by(&rules, texts, revision).await;
                is_done = offer.routes.is_ok();
                // Before anything else comes in: it may not be for the rules that it goes by.
                shared.is_fit.send_replace(is_done);
                shared.offer.send_replace(Some(offer));
            }
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if !is_done => {}
            }
        }
    };
    shared.end.run_until_cancelled(following).await;
}

async fn go_by(rules: &Arc<Rules>, texts: Texts, revision: u64) -> Offer {
    let (going, names) = (Arc::clone(rules), texts.len());
    let gone = tokio::task::spawn_blocking(move || {
        going.set(&texts)?;
        Ok(going.bridge().filters())
    });
    let interrupted = |_| Err(Problem::new("rules", "interrupted"));
    match gone.await.unwrap_or_else(interrupted) {
        Ok(filters) => {
            tracing::debug!(revision, set = names, "goes by the rules of the cluster");
            let routes = filters.iter().map(|filter| bridges::route(filter));
            Offer {
                revision,
                routes: Ok(routes.collect()),
            }
        }
        Err(Problem { key, what }) => {
            let problem = format!("bridge.{key}, set by the cluster: {what}");
            tracing::error!(problem, "takes nothing: a rule does not go here");
            Offer {
                revision,
                routes: Err(problem),
            }
        }
    }
}

// === impl Force ===

impl Force {
    /// An offer is announced: whoever has applied this index knows.
    pub(super) fn on_announced(&mut self, revision: u64, index: u64) {
        self.announced = Some((revision, index));
        self.look();
    }

    /// All gateways have applied everything up to here.
    pub(super) fn on_watermark(&mut self, watermark: u64) {
        self.watermark = self.watermark.max(watermark);
        self.look();
    }

    /// The revision of the rules that are in force; 0 for none.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn look(&mut self) {
        if let Some((revision, index)) = self.announced
            && index <= self.watermark
        {
            self.revision = revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_in_force_when_all_gateways_know_of_it() {
        let mut force = Force::default();
        force.on_announced(5, 9);
        assert_eq!(force.revision(), 0);
        force.on_watermark(8);
        assert_eq!(force.revision(), 0);
        force.on_watermark(9);
        assert_eq!(force.revision(), 5);
        force.on_announced(11, 12);
        assert_eq!(force.revision(), 5);
        force.on_watermark(12);
        assert_eq!(force.revision(), 11);
        // No filter has changed with these rules.
        force.on_announced(13, 12);
        assert_eq!(force.revision(), 13);
    }
}
