//! What a node of the control plane is told at its start.

use std::ops::Range;
use std::time::Duration;

use gatemq_node::credentials::Dialer;
use openraft::SnapshotPolicy;

use super::places::Places;
use super::start::StartError;

/// What a node of the control plane is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name; no other node of the control plane has it.
    pub name: String,
    /// Where others reach its gRPC services, host:port.
    pub address: String,
    /// Where others are now, wherever they were.
    pub places: Places,
    /// The version of the program.
    pub version: String,
    /// How many voters there are meant to be: 1, 3, 5 or 7. Counts where the cluster is founded.
    pub control_size: u32,
    /// Founds a cluster, if the node has no data and none of the known nodes is of one. A node
    /// whose data is lost must not have the flag before gossip knows the others.
    pub bootstrap: bool,
    /// How often the leader says that it is there. Also how long a follower may take to store one
    /// batch of entries.
    pub heartbeat: Duration,
    /// After how long without a leader a node stands for election.
    pub election: Range<Duration>,
    /// How many entries of the log make a new snapshot.
    pub snapshot_every: u64,
    /// How many entries stay in the log although a snapshot has them: who is behind by less needs
    /// no snapshot.
    pub keep_log: u64,
    /// How long a proposal may take before its outcome counts as unknown.
    pub propose_timeout: Duration,
    /// How long a learner must have been well before it becomes a voter.
    pub settle: Duration,
    /// How other nodes are connected to.
    pub dialer: Dialer,
}

impl Config {
    /// The defaults, for a machine that is shared with others.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            places: Places::default(),
            version: String::new(),
            control_size: 1,
            bootstrap: false,
            heartbeat: Duration::from_millis(250),
            election: Duration::from_millis(1_500)..Duration::from_millis(3_000),
            snapshot_every: 5_000,
            keep_log: 1_000,
            propose_timeout: Duration::from_secs(5),
            settle: Duration::from_secs(3),
            dialer: Dialer::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), StartError> {
        if !matches!(self.control_size, 1 | 3 | 5 | 7) {
            return Err(StartError::ControlSize(self.control_size));
        }
        if self.name.is_empty() {
            return Err(StartError::Config("the node has no name"));
        }
        Ok(())
    }

    /// openraft counts otherwise: a follower stands for election when a lease, the longest election
    /// timeout, *and* an election timeout have gone by without a leader.
    pub(super) fn of_raft(&self) -> Result<openraft::Config, StartError> {
        let lease = self.election.end / 2;
        let shortest = self.election.start.saturating_sub(lease);
        let shortest = shortest.max(self.heartbeat * 2);
        let config = openraft::Config {
            cluster_name: "control-plane".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(shortest),
            election_timeout_max: millis(lease),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every.max(1)),
            max_in_snapshot_log_to_keep: self.keep_log,
            purge_batch_size: PURGE,
            replication_lag_threshold: self.snapshot_every.saturating_add(self.keep_log),
            ..openraft::Config::default()
        };
        let flaw =
            "the election timeout must be more than four heartbeats, from shortest to longest";
        config.validate().map_err(|_| StartError::Config(flaw))
    }
}

/// Entries that are purged together, at least.
const PURGE: u64 = 64;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_begins_between_the_bounds() {
        let config = Config::new("c01", "c01:1").of_raft().unwrap();
        let lease = config.election_timeout_max;
        assert!(lease + config.election_timeout_min >= 1_500);
        assert_eq!(lease + config.election_timeout_max, 3_000);
        assert!(config.election_timeout_min >= 2 * config.heartbeat_interval);
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        let mut config = Config::new("c01", "c01:1");
        for even in [0, 2, 4] {
            config.control_size = even;
            assert!(matches!(config.check(), Err(StartError::ControlSize(_))));
        }
        config.heartbeat = Duration::from_secs(1);
        assert!(matches!(config.of_raft(), Err(StartError::Config(_))));
    }
}
