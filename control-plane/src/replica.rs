//! Raft and the state, as the service sees them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest, StatusReply};
use gatemq_proto::cluster::state::{Command, Outcome, Part, Role};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::consensus::{self, Applied, ChangeError, Consensus};
use crate::feed::Feed;
use crate::leases::Member;
use crate::service::replica::{Holder, Leadership, ProposeError, Replica, View};
use crate::state::State;

/// This node.
pub struct Node {
    consensus: Consensus,
    leadership: watch::Receiver<Leadership>,
}

/// Tells the feed what is applied.
pub(crate) struct Listener(pub(crate) Arc<Feed>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Applied for Listener {
    fn applied(&mut self, index: u64, command: &Command) {
        self.0.applied(index, command);
    }

    fn passed(&mut self, index: u64) {
        self.0.advance(index);
    }

    fn reset(&mut self, state: &State) {
        self.0.reset(state.revision());
    }
}

impl Node {
    pub(crate) fn start(
        consensus: Consensus,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (sender, leadership) = watch::channel(Leadership::Unknown);
        let follow = follow(consensus.clone(), sender);
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
        Self {
            consensus,
            leadership,
        }
    }
}

/// Tells who leads in the service's terms. When this node takes office it has applied all that was
/// in its log: where it is then is above whatever an earlier leader told.
async fn follow(consensus: Consensus, sender: watch::Sender<Leadership>) {
    let mut leadership = consensus.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        let term = now.term;
        sender.send_if_modified(|known| {
            let is_same_office =
                matches!(known, Leadership::Leading { term: known, .. } if *known == term);
            let next = match now {
                consensus::Leadership { is_self: true, .. } if is_same_office => return false,
                consensus::Leadership { is_self: true, .. } => Leadership::Leading {
                    term,
                    floor: consensus.with_state(State::revision),
                },
                consensus::Leadership {
                    leader: Some(leader),
                    ..
                } if leader.number != consensus.number() => Leadership::Following {
                    term,
                    leader: leader.number,
                    address: leader.address,
                },
                _ => Leadership::Unknown,
            };
            let is_news = next != *known;
            *known = next;
            is_news
        });
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

impl Replica for Node {
    type View = State;

    fn node(&self) -> u64 {
        self.consensus.number()
    }

    fn view(&self) -> State {
        self.consensus.state()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn quorum_age(&self) -> Option<Duration> {
        self.consensus.quorum_age()
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let proposed = self.consensus.propose(command).await;
        proposed.map_err(|error| match error {
            consensus::ProposeError::NotLeader { .. } | consensus::ProposeError::NoQuorum => {
                ProposeError::NotLeader
            }
            error => ProposeError::Undecided(error.to_string()),
        })
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinReply, Status> {
        let joined = self.consensus.join(request).await;
        joined.map_err(|error| match error {
            ChangeError::NotLeader { leader_address } => Status::unavailable(format!(
                "the leader has to be asked, at {}",
                leader_address
                    .as_deref()
                    .unwrap_or("an address not known yet")
            )),
            ChangeError::Later(text) => Status::unavailable(text),
            ChangeError::Refused(text) => Status::failed_precondition(text),
        })
    }

    fn status(&self) -> StatusReply {
        self.consensus.status()
    }
}

impl View for State {
    fn cluster_id(&self) -> Bytes {
        self.cluster_id().cloned().unwrap_or_default()
    }

    fn revision(&self) -> u64 {
        self.revision()
    }

    fn parts(&self) -> impl Iterator<Item = Part> + Send + '_ {
        self.parts()
    }

    fn member(&self, incarnation: u64) -> Option<Member> {
        let member = self.member(incarnation)?;
        Some(Member {
            incarnation,
            fenced: member.fenced(),
        })
    }

    fn members(&self) -> Vec<Member> {
        let members = self.members();
        let members = members.map(|(incarnation, member)| Member {
            incarnation,
            fenced: member.fenced(),
        });
        members.collect()
    }

    fn name(&self, incarnation: u64) -> Option<String> {
        let member = self.member(incarnation)?;
        Some(member.name().to_owned())
    }

    fn holder(&self, name: &str, role: Role, token: u64) -> Option<Holder> {
        let (incarnation, member) = self.living(name, role)?;
        (member.token() != token).then(|| Holder {
            incarnation,
            address: member.peer_address().to_owned(),
        })
    }
}
