//! The shell around the crate `memberlist`.
//!
//! Four things about the crate (0.8.5) decide what is set here:
//!
//! - Once it forgets nodes that are long dead, its index of nodes can be wrong for a moment, and
//!   what is gossiped in that moment hits another node, or panics. So it never forgets: what stays
//!   is one entry for each name that was ever seen.
//! - A connection that sends one byte of plain gossip and then nothing keeps a thread busy for
//!   ever. So nothing is ever read in plain: without keys, gossip is sealed with [`Key::OPEN`],
//!   which everybody knows.
//! - It makes room for what a stream promises before it knows whose stream that is: see `stream`.
//! - It encrypts only if it is told three times: an algorithm, keys, and to insist both ways.

use super::config::{Config, Key, Timing};
use super::handle::StartError;
use super::hooks::{Hooks, Id, Shared};
use super::join::JoinError;
use super::meta::Meta;
use super::stream::Streams;
use super::table::{Refusal, Table};
use memberlist::delegate::DelegateError;
use memberlist::error::Error;
use memberlist::net::{NetTransportOptions, Node};
use memberlist::proto::{EncryptionAlgorithm, MaybeResolvedAddress, SecretKey};
use memberlist::tokio::{TokioNetTransport, TokioSocketAddrResolver};
use memberlist::{Memberlist, Options};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, timeout};

type Transport = TokioNetTransport<Id, TokioSocketAddrResolver, Streams>;

/// A running gossip.
pub(super) struct Gossip {
    crate_: Memberlist<Transport, Hooks>,
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
    id: Id,
    timing: Timing,
    /// Whether others heard that this node leaves; set by the first to say so.
    has_left: OnceCell<bool>,
}

/// Who answers to this node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// This process: the address is one that it had before.
    Myself,
    Another,
}

impl Gossip {
    /// Binds the sockets and begins. `meta` has been looked at.
    pub(super) async fn start(
        config: &Config,
        meta: Meta,
        contested: mpsc::Sender<SocketAddr>,
    ) -> Result<Self, StartError> {
        let id: Id = config
            .name
            .parse()
            .expect("a checked name is short and has no blanks");
        let assumed = config.advertise.unwrap_or(config.bind);
        let table = Table::new(&config.name, assumed, meta);
        let shared = Arc::new(Shared::new(table, contested));
        let mut n_attempts = 0;
        let crate_ = loop {
            let mut transport = NetTransportOptions::new(id.clone());
            transport.add_bind_address(config.bind);
            if let Some(advertise) = config.advertise {
                transport = transport.with_advertise_address(advertise);
            }
            let hooks = Hooks(shared.clone());
            match Memberlist::with_delegate(hooks, transport, options(config)).await {
                Ok(crate_) => break crate_,
                // The free TCP port that it found may be taken for UDP.
                Err(_) if config.bind.port() == 0 && n_attempts < N_ATTEMPTS => n_attempts += 1,
                Err(error) => {
                    return Err(StartError::Gossip(config.bind, error.to_string()));
                }
            }
        };
        let address = *crate_.advertise_address();
        shared.with(|table| table.set_own_address(address));
        Ok(Self {
            crate_,
            shared,
            address,
            id,
            timing: config.timing.clone(),
            has_left: OnceCell::new(),
        })
    }

    /// Exchanges all that is known with the node at this address.
    pub(super) async fn join(&self, address: SocketAddr) -> Result<(), JoinError> {
        let joined = self.crate_.join(MaybeResolvedAddress::Resolved(address));
        let unreachable = |why: String| JoinError::Unreachable(address.to_string(), why);
        // Connecting, sending and receiving are each bounded by the crate.
        let joined = timeout(3 * self.timing.stream_timeout, joined).await;
        match joined.map_err(|_| unreachable("it does not answer".to_owned()))? {
            Ok(_) => Ok(()),
            Err(Error::Delegate(
                DelegateError::MergeDelegate(refusal) | DelegateError::AliveDelegate(refusal),
            )) => Err(match refusal {
                Refusal::Myself => JoinError::Myself,
                Refusal::NameHeld(holder) => JoinError::NameHeld(holder),
                Refusal::OtherCluster(other) => JoinError::OtherCluster(other),
            }),
            Err(Error::NotRunning) => Err(JoinError::Stopped),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// Who answers to this node's name at an address.
    pub(super) async fn who_is_at(&self, address: SocketAddr) -> Option<Who> {
        let mut echoes = self.shared.echoes.subscribe();
        for _ in 0..N_PINGS {
            let _ = self.crate_.send(&address, self.shared.echo()).await;
            let node = Node::new(self.id.clone(), address);
            if self.crate_.ping(node).await.is_ok() {
                let echo = timeout(self.timing.probe_timeout, echoes.changed()).await;
                return Some(if echo.is_ok() {
                    Who::Myself
                } else {
                    Who::Another
                });
            }
        }
        None
    }

    /// Says something else of this node. `meta` has been looked at.
    pub(super) async fn update(&self, meta: Meta) {
        self.shared.with(|table| table.set_own_meta(meta));
        // It is on its way when this returns; waiting until it is gone would tell nobody more.
        let _ = self.crate_.update_node(Duration::from_millis(1)).await;
    }

    /// Says that this node leaves, once. Whether others have been told in time.
    pub(super) async fn leave(&self, time: Duration) -> bool {
        let leave = async {
            // For the crate, no time is all the time in the world.
            let time = time.max(Duration::from_millis(2));
            let until = Instant::now() + time;
            self.shared.with(|table| {
                let is_leaving = true;
                let meta = table.own_meta().clone();
                table.set_own_meta(Meta { is_leaving, ..meta });
            });
            // Others tell by the meta who leaves and who fails, so it has to be there first.
            let is_told = self.crate_.update_node(time / 2).await.is_ok();
            let rest = until.saturating_duration_since(Instant::now());
            let left = self.crate_.leave(rest.max(Duration::from_millis(1))).await;
            is_told && left.is_ok()
        };
        *self.has_left.get_or_init(|| leave).await
    }

    /// Closes the sockets.
    pub(super) async fn stop(&self) {
        match timeout(STOP, self.crate_.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the gossip did not end well"),
            Err(_) => tracing::warn!("the gossip does not end"),
        }
    }

    /// Between attempts to reach a seed, at first.
    pub(super) fn retry_interval(&self) -> Duration {
        self.timing.retry_interval
    }

    /// Between attempts to reach those that are no members.
    pub(super) fn rejoin_interval(&self) -> Duration {
        self.timing.rejoin_interval
    }

    /// The keys that are read with; the first is written with.
    pub(super) fn keys(&self) -> Vec<Key> {
        let keys = self.keyring().keys();
        let key = |key| match key {
            SecretKey::Aes256(bytes) => Some(Key(bytes)),
            SecretKey::Aes128(_) | SecretKey::Aes192(_) => None,
        };
        keys.filter_map(key).collect()
    }

    pub(super) fn keyring(&self) -> &memberlist::keyring::Keyring {
        let keyring = self.crate_.keyring();
        keyring.expect("gossip always has a key")
    }
}

fn options(config: &Config) -> Options {
    let timing = &config.timing;
    let mut keys = config.keys.iter().map(|key| SecretKey::Aes256(key.0));
    let primary = keys.next().unwrap_or(SecretKey::Aes256(Key::OPEN.0));
    Options::lan()
        .with_probe_interval(timing.probe_interval)
        .with_probe_timeout(timing.probe_timeout)
        .with_timeout(timing.stream_timeout)
        .with_suspicion_mult(timing.suspicion_intervals)
        .with_suspicion_max_timeout_mult(2)
        // A node that is itself slow asks up to four times less often before it blames others.
        .with_awareness_max_multiplier(4)
        .with_gossip_interval(timing.gossip_interval)
        .with_gossip_nodes(4)
        .with_push_pull_interval(timing.exchange_interval)
        .with_gossip_to_the_dead_time(NEVER)
        // The name of a dead node is free at once: it comes back with another address.
        .with_dead_node_reclaim_time(Duration::from_millis(1))
        .with_encryption_algo(EncryptionAlgorithm::NoPadding)
        .with_gossip_verify_incoming(true)
        .with_gossip_verify_outgoing(true)
        .with_primary_key(primary)
        .with_secret_keys(keys.collect::<Vec<_>>().as_slice().into())
}

/// A century.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Attempts to find a port that is free for TCP and UDP.
const N_ATTEMPTS: usize = 20;
/// Questions, by UDP, before a node is taken for dead.
const N_PINGS: usize = 3;
/// How long closing the sockets may take.
const STOP: Duration = Duration::from_secs(2);
