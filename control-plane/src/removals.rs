//! Whom operators have removed, by name, since this process follows the log: whoever remembers
//! nodes for later forgets those. Pure but for [`follow`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{Command, fence};
use tokio::sync::watch;

use crate::consensus::Consensus;
use crate::feed::{Bounds, Feed};
use crate::state::State;

/// Nodes by what they are, and whom of them the cluster knows no more.
#[derive(Debug, Default)]
struct Names {
    control: BTreeMap<u64, String>,
    /// Gateways and bridges that are not fenced.
    living: BTreeMap<u64, String>,
    removed: BTreeSet<String>,
}

/// Names that are kept.
const MAX_REMOVED: usize = 1_024;

/// Tells who has been removed, until it is dropped.
pub(crate) async fn follow(
    consensus: Consensus,
    feed: Arc<Feed>,
    removed: watch::Sender<BTreeSet<String>>,
) {
    let mut names = Names::default();
    let tell = |names: &Names| {
        removed.send_if_modified(|told| {
            let is_news = *told != names.removed;
            told.clone_from(&names.removed);
            is_news
        });
    };
    loop {
        let state = consensus.state();
        names.begin(&state);
        let mut reader = feed.reader(state.revision());
        drop(state);
        tell(&names);
        while let Ok(batch) = reader.next(Bounds::default()).await {
            for applied in &batch.commands {
                names.take(applied.revision, &applied.command);
            }
            tell(&names);
        }
    }
}

impl Names {
    /// Begins with a state; nodes of the control plane that it does not have were removed.
    fn begin(&mut self, state: &State) {
        let control = state.control_nodes();
        let control = control.map(|(number, node)| (number, node.name.clone()));
        let before = std::mem::replace(&mut self.control, control.collect());
        let members = state.members().filter(|(_, member)| !member.is_fenced());
        let living = members.map(|(incarnation, member)| (incarnation, member.name().to_owned()));
        self.living = living.collect();
        for (number, name) in before {
            if !self.control.contains_key(&number) {
                self.remove(name);
            }
        }
    }

    /// Takes in what has changed the state.
    fn take(&mut self, revision: u64, command: &Command) {
        match &command.kind {
            Some(Kind::Admit(admit)) => {
                let name = admit.node.clone().unwrap_or_default().name;
                self.removed.remove(&name);
                self.control.insert(revision, name);
            }
            Some(Kind::Dismiss(dismiss)) => {
                if let Some(name) = self.control.remove(&dismiss.number) {
                    self.remove(name);
                }
            }
            Some(Kind::Register(register)) => {
                self.living.retain(|_, name| *name != register.name);
                self.removed.remove(&register.name);
                self.living.insert(revision, register.name.clone());
            }
            Some(Kind::Fence(fence)) => {
                let name = self.living.remove(&fence.incarnation);
                if let (Some(name), fence::Why::Removed) = (name, fence.why()) {
                    self.remove(name);
                }
            }
            _ => {}
        }
    }

    /// One that is a node of the control plane still is not removed.
    fn remove(&mut self, name: String) {
        if self.control.values().any(|known| *known == name) {
            return;
        }
        if self.removed.len() >= MAX_REMOVED {
            self.removed.pop_first();
        }
        self.removed.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state::{Admit, ControlNode, Dismiss, Fence, Register};

    fn admit(name: &str) -> Kind {
        let node = ControlNode {
            name: name.into(),
            ..ControlNode::default()
        };
        Kind::Admit(Admit { node: Some(node) })
    }

    fn register(name: &str) -> Kind {
        Kind::Register(Register {
            name: name.into(),
            ..Register::default()
        })
    }

    fn fence(incarnation: u64, why: fence::Why) -> Kind {
        let why = why.into();
        Kind::Fence(Fence { incarnation, why })
    }

    /// Who is removed after these commands, whose indices count from 1.
    fn removed(kinds: &[Kind]) -> Vec<String> {
        let mut names = Names::default();
        for (index, kind) in (1..).zip(kinds) {
            let kind = Some(kind.clone());
            names.take(index, &Command { kind });
        }
        names.removed.into_iter().collect()
    }

    #[test]
    fn those_that_an_operator_removes_are_told_until_they_come_again() {
        use fence::Why::{Lease, Left, Removed};
        let (c2, g1) = (admit("c2"), register("g1"));
        let dismiss = Kind::Dismiss(Dismiss { number: 1 });
        let gone = [c2.clone(), g1.clone(), dismiss, fence(2, Removed)];
        assert_eq!(removed(&gone), ["c2", "g1"]);
        let back = [&gone[..], &[admit("c2"), register("g1")]].concat();
        assert_eq!(removed(&back), [] as [&str; 0]);
        for why in [Lease, Left] {
            let stopped = [c2.clone(), g1.clone(), fence(2, why)];
            assert_eq!(removed(&stopped), [] as [&str; 0], "{why:?}");
        }
        let part = [admit("n1"), register("n1"), fence(2, Removed)];
        assert_eq!(removed(&part), [] as [&str; 0], "its control plane stays");
    }
}
