//! Who may join the control plane, and how one is removed from it.

use std::collections::BTreeSet;

use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest};
use gatemq_proto::cluster::state::{Admit, ControlNode, Dismiss, command};

use super::{Controller, Unable};
use crate::consensus::raft::Node;
use crate::hex::hex;

impl Controller {
    /// Answers a node that wants to join, or that tells where it is.
    pub(super) async fn join(&mut self, request: JoinRequest) -> Result<JoinReply, Unable> {
        let Some(node) = request.node else {
            return Err(Unable::Refused("the node is missing".to_owned()));
        };
        self.confirm_leadership().await?;
        if self.current.with(|state| state.cluster_id().is_none()) {
            // Its founder leads already, and is about to say so: whoever joins asks again.
            return Err(Unable::Later("no cluster has been founded yet".to_owned()));
        }
        let number = if request.number == 0 {
            self.admit(node).await
        } else {
            self.recognize(request.number, node).await
        };
        match number {
            Ok(number) => Ok(self.reply(number, String::new())),
            Err(Unable::Refused(refused)) => Ok(self.reply(0, refused)),
            Err(unable) => Err(unable),
        }
    }

    /// Dismisses a node. The membership follows, by this leader or the next.
    pub(super) async fn remove(&mut self, number: u64) -> Result<(), Unable> {
        self.confirm_leadership().await?;
        if self
            .current
            .with(|state| state.control_node(number).is_none())
        {
            let text = format!("number {number} is no node of the control plane");
            return Err(Unable::Refused(text));
        }
        self.check_quorum_without(number).await?;
        self.commit(command::Kind::Dismiss(Dismiss { number }))
            .await?;
        self.known.announced.remove(&number);
        tracing::info!(number, "node dismissed from the control plane");
        Ok(())
    }

    /// A new node. One whose name is known may have its data lost, or be another one by mistake:
    /// it gets another number only if the first one has never been used.
    async fn admit(&mut self, node: ControlNode) -> Result<u64, Unable> {
        let known = self.current.with(|state| {
            let known = state.control_node_named(&node.name);
            known.map(|(number, _)| number)
        });
        if let Some(number) = known
            && !self.has_taken_part(number)
        {
            self.commit(command::Kind::Dismiss(Dismiss { number }))
                .await?;
        }
        let name = node.name.clone();
        let admit = Admit { node: Some(node) };
        let admitted = self.commit(command::Kind::Admit(admit)).await?;
        tracing::info!(
            name,
            number = admitted.index,
            "node admitted to the control plane"
        );
        Ok(admitted.index)
    }

    /// A node that has its number: remembers where it is.
    async fn recognize(&mut self, number: u64, node: ControlNode) -> Result<u64, Unable> {
        let (known, revision) = self.current.with(|state| {
            let known = state.control_node(number).map(|known| known.name.clone());
            (known, state.revision())
        });
        match known {
            Some(name) if name == node.name => {}
            Some(name) => {
                let text = format!("number {number} is {name} here, not {}", node.name);
                return Err(Unable::Refused(text));
            }
            None if number > revision => {
                return Err(Unable::Later("this leader is behind".to_owned()));
            }
            // `Consensus::join` has answered all others.
            None => return Err(Unable::Later(format!("{} is being removed", node.name))),
        }
        let ControlNode { name, address, .. } = node;
        let node = Node { name, address };
        if number != self.identity.number {
            self.check_move(number, &node).await?;
            self.known.announced.insert(number, node);
        }
        Ok(number)
    }

    /// Believes that a node has moved only if it answers where it says, and no more where it was:
    /// two copies of one data directory would else take turns.
    async fn check_move(&self, number: u64, node: &Node) -> Result<(), Unable> {
        let membership = self.membership();
        let Some(before) = membership.get_node(&number) else {
            return Ok(());
        };
        if before == node {
            return Ok(());
        }
        if !self.is_at(number, &node.address).await {
            let text = format!("number {number} does not answer at {}", node.address);
            return Err(Unable::Later(text));
        }
        if before.address != node.address && self.is_at(number, &before.address).await {
            let text = format!(
                "number {number} answers at {} and at {}: two nodes have the same data",
                before.address, node.address
            );
            tracing::error!(text, "refused to move a node");
            return Err(Unable::Refused(text));
        }
        Ok(())
    }

    /// Refuses a removal after which too few would be left to agree on anything.
    async fn check_quorum_without(&self, number: u64) -> Result<(), Unable> {
        let membership = self.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if !voters.contains(&number) {
            return Ok(());
        }
        let rest: BTreeSet<u64> = voters.into_iter().filter(|it| *it != number).collect();
        let others = rest.iter().filter(|it| **it != self.identity.number);
        let others = others.filter_map(|it| Some((*it, membership.get_node(it)?)));
        let mut well = self.who_answers(others).await;
        well.extend(rest.get(&self.identity.number));
        if well.len() > rest.len() / 2 {
            return Ok(());
        }
        Err(Unable::Refused(format!(
            "without number {number} only {} of {} voters are there: too few to go on",
            well.len(),
            rest.len()
        )))
    }

    /// Whether a number may have been used, so that nobody else may be taken for it.
    fn has_taken_part(&self, number: u64) -> bool {
        self.known.announced.contains_key(&number) || self.membership().get_node(&number).is_some()
    }

    /// What is decided here is decided for the cluster: not by one that was a leader once.
    async fn confirm_leadership(&self) -> Result<(), Unable> {
        if !self.leads() {
            return Err(Unable::NotLeader);
        }
        let confirmed = self.raft.ensure_linearizable();
        match tokio::time::timeout(self.patience, confirmed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Unable::Later(error.to_string())),
            Err(_) => Err(Unable::Later("a quorum does not answer".to_owned())),
        }
    }

    fn reply(&self, number: u64, refused: String) -> JoinReply {
        JoinReply {
            cluster_id: self.identity.cluster_id.clone(),
            number,
            refused,
            protocol: PROTOCOL,
            is_dismissed: false,
        }
    }

    /// What a node of another cluster is told, by any node.
    pub(in crate::consensus) fn other_cluster(own: &[u8], other: &[u8]) -> String {
        format!(
            "this node's data is of the cluster {}, not of {}: give it the right members, or \
             another data directory",
            hex(other),
            hex(own)
        )
    }
}
