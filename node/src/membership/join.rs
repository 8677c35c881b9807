//! Finds the cluster, and finds it again.
//!
//! Until the cluster is joined, all seeds and remembered members are asked in rounds; one that
//! takes this node in is enough, and so is a member that calls here. After that, those that are no
//! members are asked now and then: what was cut in two, or began as two, becomes one.

use super::config::is_host_and_port;
use super::gossip::{Gossip, Who};
use super::member::{NameTaken, OtherCluster};
use super::stranger;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How a cluster was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member that took this node in; `None` for a node that knows of no other.
    pub through: Option<String>,
}

/// Why a cluster, or a node, was not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// What answers belongs to another cluster.
    #[error(transparent)]
    OtherCluster(#[from] OtherCluster),
    /// Another process has this node's name, and is alive.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The cluster has this node by an address that it had before, and that still leads to it: it
    /// would be taken for its former self, which never dies.
    #[error(
        "the cluster knows this node by its former address {0}, which still leads here: stop it \
         for ten seconds, so that this is forgotten, and start it again"
    )]
    FormerAddress(SocketAddr),
    /// The name of this node is that of another one there, which may be dead: try again.
    #[error("the name of this node is held by the one at {0}")]
    NameHeld(SocketAddr),
    /// It is this node itself.
    #[error("that is this node itself")]
    Myself,
    /// It is no address, or does not answer, or not with the same keys.
    #[error("{0} cannot be joined: {1}")]
    Unreachable(String, String),
    /// The gossip has ended.
    #[error("the gossip has ended")]
    Stopped,
}

/// How far the search is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Searching,
    Joined(Joined),
    Refused(JoinError),
}

/// The search for the cluster.
pub(super) struct Search {
    pub(super) gossip: Arc<Gossip>,
    pub(super) seeds: Vec<String>,
    pub(super) remembered: Vec<SocketAddr>,
    pub(super) phase: watch::Sender<Phase>,
}

/// What came of asking one seed or remembered member.
#[derive(Debug)]
struct Answer {
    address: String,
    is_seed: bool,
    result: Result<(), JoinError>,
}

/// Asks a node that is said to have this node's name whether it is alive.
pub(super) async fn guard_name(
    gossip: Arc<Gossip>,
    mut contested: mpsc::Receiver<SocketAddr>,
    phase: watch::Sender<Phase>,
) {
    let mut told = None;
    while let Some(address) = contested.recv().await {
        match gossip.who_is_at(address).await {
            Some(Who::Another) => {
                let taken = gossip.shared.with(|table| table.on_name_taken(address));
                let name = taken.name.clone();
                refuse(&phase, taken.into());
                // Whoever has joined was here first, or cannot know better.
                let is_first = matches!(*phase.borrow(), Phase::Joined(_));
                if is_first && told.replace(address) != Some(address) {
                    tracing::warn!(
                        %name, %address,
                        "another process asks for this node's name, and is not let in: give it \
                         a name of its own"
                    );
                }
            }
            Some(Who::Myself) if address != gossip.address => {
                refuse(&phase, JoinError::FormerAddress(address));
            }
            Some(Who::Myself) | None => {}
        }
    }
}

/// Joins a node by `HOST:PORT`: any of the addresses that the name stands for.
pub(super) async fn join(gossip: &Gossip, text: &str) -> Result<SocketAddr, JoinError> {
    let mut result = Err(JoinError::Myself);
    for address in resolve(text).await? {
        if address == gossip.address {
            continue;
        }
        match gossip.join(address).await {
            Ok(()) => return Ok(address),
            Err(error) => result = Err(stranger::explain(address, error).await),
        }
    }
    result
}

impl Search {
    /// Never ends.
    pub(super) async fn run(self) {
        self.find().await;
        let mut known = VecDeque::from(self.remembered.clone());
        loop {
            sleep(self.gossip.rejoin_interval()).await;
            self.rejoin(&mut known).await;
        }
    }

    async fn find(&self) {
        let first_pause = self.gossip.retry_interval();
        let mut pause = first_pause;
        let mut met = self.gossip.shared.met.subscribe();
        let mut patience = Patience::new(first_pause * N_PAUSES);
        let began = Instant::now();
        loop {
            let answers = self.ask_all().await;
            match conclude(&answers) {
                // The table has said who holds it; that is over in seconds, one way or the other.
                Phase::Searching if is_name_held(&answers) => pause = first_pause,
                Phase::Searching => match patience.is_over(began.elapsed()) {
                    true => warn_of(&answers),
                    false => tracing::debug!(?answers, "no other member takes this node in yet"),
                },
                Phase::Refused(error) => refuse(&self.phase, error),
                Phase::Joined(joined) => return self.joined(joined),
            }
            // To have heard of a member is not enough: it may not know this node, or another one
            // by its name.
            if let Ok(Ok(caller)) = timeout(pause, met.wait_for(Option::is_some)).await {
                let through = caller.map(|address| address.to_string());
                drop(caller);
                return self.joined(Joined { through });
            }
            pause = (pause * 2).min(first_pause * 10);
        }
    }

    fn joined(&self, joined: Joined) {
        match &joined.through {
            Some(member) => tracing::info!(%member, "cluster joined through"),
            None => tracing::info!("no other member is known yet"),
        }
        self.phase.send_replace(Phase::Joined(joined));
    }

    /// Asks the seeds, then the remembered members, a few at a time, until one takes this node in.
    async fn ask_all(&self) -> Vec<Answer> {
        let seeds = self.seeds.iter().map(|seed| (seed.clone(), true));
        let remembered = self
            .remembered
            .iter()
            .map(|address| (address.to_string(), false));
        let all: Vec<(String, bool)> = seeds.chain(remembered).collect();
        let mut answers = Vec::new();
        for some in all.chunks(N_AT_ONCE) {
            // Not tracked: it ends with this search, which is.
            let mut asked = JoinSet::new();
            for (address, is_seed) in some.iter().cloned() {
                let gossip = self.gossip.clone();
                asked.spawn(async move {
                    let result = join(&gossip, &address).await.map(drop);
                    Answer {
                        address,
                        is_seed,
                        result,
                    }
                });
            }
            answers.extend(asked.join_all().await);
            if answers.iter().any(|answer| answer.result.is_ok()) {
                break;
            }
        }
        answers
    }

    /// Asks every seed that is no member, and one other node that was one.
    async fn rejoin(&self, known: &mut VecDeque<SocketAddr>) {
        let members: Vec<SocketAddr> = {
            let members = self.gossip.shared.members.borrow();
            members.iter().map(|member| member.address).collect()
        };
        for address in members.iter().copied() {
            if !known.contains(&address) {
                known.push_front(address);
            }
        }
        known.truncate(MAX_KNOWN);
        let is_absent = |address: &SocketAddr| !members.contains(address);
        let mut absent = Vec::new();
        for seed in &self.seeds {
            let addresses = resolve(seed).await.unwrap_or_default();
            absent.extend(addresses.into_iter().filter(is_absent));
        }
        if let Some(index) = known.iter().position(is_absent) {
            let address = known.remove(index);
            absent.extend(address);
            known.extend(address);
        }
        absent.sort_unstable();
        absent.dedup();
        for address in absent {
            match self.gossip.join(address).await {
                Ok(()) => tracing::info!(member = %address, "cluster joined again through"),
                Err(error) => tracing::debug!(%address, %error, "no member"),
            }
        }
    }
}

/// When it is said that nobody takes this node in: not in the first moments of a start, when others
/// may be starting, too; and then ever less often. Pure.
#[derive(Debug)]
struct Patience(Duration);

impl Patience {
    fn new(first: Duration) -> Self {
        Self(first)
    }

    /// Whether it is to be said, this long after the beginning.
    fn is_over(&mut self, elapsed: Duration) -> bool {
        let is_over = elapsed >= self.0;
        if is_over {
            self.0 = elapsed * 2;
        }
        is_over
    }
}

/// What follows from a round of answers.
fn conclude(answers: &[Answer]) -> Phase {
    let joined = |through| Phase::Joined(Joined { through });
    if let Some(answer) = answers.iter().find(|answer| answer.result.is_ok()) {
        return joined(Some(answer.address.clone()));
    }
    let is_other = |answer: &&Answer| !matches!(answer.result, Err(JoinError::Myself));
    let others: Vec<&Answer> = answers.iter().filter(is_other).collect();
    if others.is_empty() {
        return joined(None);
    }
    // A remembered address may be another cluster's by now: that alone is nobody's mistake.
    let has_seed = others.iter().any(|answer| answer.is_seed);
    let strangers = others.iter().filter(|answer| answer.is_seed == has_seed);
    let mut strangers = strangers.filter_map(|answer| match &answer.result {
        Err(error @ JoinError::OtherCluster(_)) => Some(error.clone()),
        _ => None,
    });
    match strangers.next() {
        Some(error) if !is_name_held(answers) => Phase::Refused(error),
        _ => Phase::Searching,
    }
}

fn is_name_held(answers: &[Answer]) -> bool {
    let is_held = |answer: &Answer| matches!(answer.result, Err(JoinError::NameHeld(_)));
    answers.iter().any(is_held)
}

fn warn_of(answers: &[Answer]) {
    let errors = answers.iter().filter_map(|answer| match &answer.result {
        Err(JoinError::Myself) | Ok(()) => None,
        Err(error) => Some(error.to_string()),
    });
    let errors: Vec<String> = errors.take(N_AT_ONCE).collect();
    tracing::warn!(
        errors = errors.join("; "),
        "no other member takes this node in yet; trying again: are they up, and are the keys the \
         same?"
    );
}

fn refuse(phase: &watch::Sender<Phase>, error: JoinError) {
    phase.send_if_modified(|phase| {
        let is_new = *phase == Phase::Searching;
        if is_new {
            *phase = Phase::Refused(error);
        }
        is_new
    });
}

async fn resolve(text: &str) -> Result<Vec<SocketAddr>, JoinError> {
    let unreachable = |why: String| JoinError::Unreachable(text.to_owned(), why);
    if !is_host_and_port(text) {
        return Err(unreachable("write HOST:PORT".to_owned()));
    }
    match timeout(RESOLVING, tokio::net::lookup_host(text)).await {
        Ok(Ok(addresses)) => Ok(addresses.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable("its name is not resolved in time".to_owned())),
    }
}

/// First pauses between rounds until it is said that nobody takes this node in.
const N_PAUSES: u32 = 10;
/// Nodes that are asked at the same time.
const N_AT_ONCE: usize = 8;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 32;
/// Addresses of former members that are tried again.
const MAX_KNOWN: usize = 64;
const RESOLVING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::ClusterId;

    fn other_cluster() -> JoinError {
        JoinError::OtherCluster(OtherCluster {
            name: "b".to_owned(),
            address: ([10, 0, 0, 1], 1).into(),
            theirs: ClusterId([1; 16]),
            ours: ClusterId([2; 16]),
        })
    }

    fn silent() -> JoinError {
        JoinError::Unreachable("c:1".to_owned(), "refused".to_owned())
    }

    fn check(seeds: &[Result<(), JoinError>], remembered: &[Result<(), JoinError>], phase: &Phase) {
        let answer = |result: &Result<(), JoinError>, is_seed| Answer {
            address: "a:1".to_owned(),
            is_seed,
            result: result.clone(),
        };
        let seeds = seeds.iter().map(|result| answer(result, true));
        let remembered = remembered.iter().map(|result| answer(result, false));
        let answers: Vec<Answer> = seeds.chain(remembered).collect();
        assert_eq!(conclude(&answers), *phase, "{answers:?}");
    }

    #[test]
    fn a_start_is_given_some_time_before_it_is_complained_of() {
        let mut patience = Patience::new(Duration::from_secs(5));
        let said = (0..60).filter(|second| patience.is_over(Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [5, 10, 20, 40]);
    }

    #[test]
    fn one_answer_is_enough() {
        let through = Some("a:1".to_owned());
        let joined = Phase::Joined(Joined { through });
        check(&[Err(silent()), Ok(()), Err(other_cluster())], &[], &joined);
        check(&[Err(silent())], &[Ok(())], &joined);
    }

    #[test]
    fn a_node_that_knows_only_itself_is_alone() {
        let alone = Phase::Joined(Joined { through: None });
        check(&[], &[], &alone);
        check(&[Err(JoinError::Myself)], &[Err(JoinError::Myself)], &alone);
        check(
            &[Err(JoinError::Myself), Err(silent())],
            &[],
            &Phase::Searching,
        );
    }

    #[test]
    fn only_another_cluster_is_an_error() {
        let refused = Phase::Refused(other_cluster());
        check(&[Err(silent()), Err(other_cluster())], &[], &refused);
        check(&[], &[Err(other_cluster())], &refused);
        // Remembered, while the seeds may still be ours.
        check(&[Err(silent())], &[Err(other_cluster())], &Phase::Searching);
    }

    #[test]
    fn a_held_name_is_waited_for() {
        let held = JoinError::NameHeld(([10, 0, 0, 1], 1).into());
        check(&[Err(held.clone())], &[], &Phase::Searching);
        check(&[Err(other_cluster()), Err(held)], &[], &Phase::Searching);
    }
}
