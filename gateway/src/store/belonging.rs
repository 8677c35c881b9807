//! Which store this gateway has, and whether it is its cluster's: gateways with different ones would
//! not see each other's sessions and retained messages, and whoever moved from one to the other
//! would miss what was acknowledged.
//!
//! The cluster agrees on one when its first gateway joins. In Redis it has a name of its own, which
//! stands beside its keys (`P:cluster`) and in the control plane's state, and is not made up again
//! where there is nothing: an empty Redis may be the wrong one, or one that has lost everything,
//! and which of both it is only the operator knows.

use super::redis::{self, Mark};
use super::{Backing, Patience, Store};

/// The store of a gateway whose sessions end with it.
const IN_MEMORY: &str = "memory";

/// This gateway's store is not its cluster's, or may not be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stray {
    #[error("redis: {0}")]
    Unanswered(#[from] redis::Error),
    #[error(
        "redis: the keys that begin with {prefix} are of the cluster {theirs}, and this gateway is \
         of {ours}: give each cluster a redis.prefix of its own (--redis-prefix); if the other one \
         is gone for good, remove what it left, all keys that begin with {prefix}"
    )]
    OtherCluster {
        prefix: String,
        theirs: String,
        ours: String,
    },
    #[error(
        "redis: the keys that begin with {prefix} are of the cluster {theirs}: to be a node of it, \
         name one of its nodes (--members HOST:PORT) and leave out --raft-bootstrap; to begin \
         another one, give it a redis.prefix of its own (--redis-prefix); if that cluster is gone \
         for good, remove what it left, all keys that begin with {prefix}"
    )]
    Taken { prefix: String, theirs: String },
    #[error(
        "redis: the keys that begin with {prefix} are another store ({own}) than the one that the \
         cluster's gateways have ({agreed}): set redis.addr, redis.db and redis.prefix as theirs"
    )]
    OtherStore {
        prefix: String,
        own: String,
        agreed: String,
    },
    #[error(
        "redis: the cluster's sessions are not at the keys that begin with {prefix} here: set \
         redis.addr, redis.db and redis.prefix as the other gateways have them; if this is the \
         right Redis, and it has lost all that it had, let the cluster begin anew with it, with \
         redis-cli at the address, database and login that this gateway has: \
         SET \"{prefix}cluster\" {mark} NX"
    )]
    Nothing { prefix: String, mark: String },
    #[error(
        "redis: {found} replicas are there, and redis.wait-replicas asks for {wanted}, so that \
         nothing would ever be confirmed: start replicas, or lower redis.wait-replicas"
    )]
    FewReplicas { found: u32, wanted: u32 },
    #[error(
        "the gateways of this cluster keep their sessions in Redis: set storage.way: redis \
         (--storage-way redis), and redis.addr, redis.db and redis.prefix as theirs"
    )]
    NotInRedis,
}

/// The store of a gateway is not its cluster's, or not free for another one.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StrayStore(#[from] Stray);

impl Stray {
    /// Whether it may pass by itself: Redis does not answer just now.
    pub(crate) fn may_pass(&self) -> bool {
        use redis::Error::{Unanswered, Unasked};
        matches!(self, Self::Unanswered(Unanswered { .. } | Unasked { .. }))
    }
}

impl Store {
    /// Asks, at the start, until Redis has an answer.
    pub(crate) async fn patiently<T>(
        &self,
        mut ask: impl AsyncFnMut(&Self) -> Result<T, Stray>,
    ) -> Result<T, Stray> {
        let mut patience = Patience::new(&self.waiting);
        loop {
            match ask(self).await {
                Err(stray) if stray.may_pass() => patience.wait(&stray).await,
                answer => return answer,
            }
        }
    }

    /// The name of this store, which is the one that a cluster has agreed on, or that it may agree
    /// on if it has none yet.
    pub(crate) async fn belong(&self, cluster_id: &[u8], agreed: &str) -> Result<String, Stray> {
        match (self.compare(cluster_id, agreed).await?, &self.backing) {
            (None, Backing::Redis(redis)) => {
                let mark = Mark {
                    cluster: hex(cluster_id),
                    store: new_name(),
                };
                check_replicas(redis).await?;
                redis.take(&mark).await?;
                // Somebody may have been faster.
                let name = self.compare(cluster_id, agreed).await?;
                Ok(name.unwrap_or(mark.store))
            }
            (name, _) => Ok(name.unwrap_or_else(|| IN_MEMORY.to_owned())),
        }
    }

    /// The name of this store, if it is the one that a cluster has agreed on, or may agree on;
    /// `None` if it has none yet. Nothing is written.
    pub(crate) async fn compare(
        &self,
        cluster_id: &[u8],
        agreed: &str,
    ) -> Result<Option<String>, Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return match agreed {
                "" | IN_MEMORY => Ok(Some(IN_MEMORY.to_owned())),
                _ => Err(Stray::NotInRedis),
            };
        };
        let (prefix, ours) = (redis.beginning(), hex(cluster_id));
        let is_open = agreed.is_empty() || agreed == IN_MEMORY;
        match redis.mark().await? {
            None if is_open => Ok(None),
            None => {
                let mark = Mark {
                    cluster: ours,
                    store: agreed.to_owned(),
                };
                let mark = mark.to_string();
                Err(Stray::Nothing { prefix, mark })
            }
            Some(found) if found.cluster != ours => Err(Stray::OtherCluster {
                prefix,
                theirs: found.cluster,
                ours,
            }),
            Some(found) if is_open || agreed == found.store => Ok(Some(found.store)),
            Some(found) => Err(Stray::OtherStore {
                prefix,
                own: found.store,
                agreed: agreed.to_owned(),
            }),
        }
    }

    /// Whether a cluster may be begun with this store.
    pub(crate) async fn check_free(&self) -> Result<(), Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return Ok(());
        };
        match redis.mark().await? {
            None => check_replicas(redis).await,
            Some(found) => Err(Stray::Taken {
                prefix: redis.beginning(),
                theirs: found.cluster,
            }),
        }
    }

    /// Says once more whose the store is, in case Redis has lost it with all else: who joins later
    /// finds the same store, which this gateway uses. Returns what stood there instead.
    pub(crate) async fn hold(&self, cluster_id: &[u8], store: &str) -> Result<Held, Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return Ok(Held::Kept);
        };
        let mark = Mark {
            cluster: hex(cluster_id),
            store: store.to_owned(),
        };
        match redis.mark().await? {
            Some(found) if found == mark => Ok(Held::Kept),
            Some(found) if found.cluster != mark.cluster => Err(Stray::OtherCluster {
                prefix: redis.beginning(),
                theirs: found.cluster,
                ours: mark.cluster,
            }),
            found => {
                redis.put_mark(&mark).await?;
                Ok(match found {
                    Some(_) => Held::Renamed,
                    None => Held::Lost,
                })
            }
        }
    }
}

/// Before a store is begun: one without its replicas confirms nothing, not even whose it is.
async fn check_replicas<T: Send + 'static>(redis: &redis::RedisStore<T>) -> Result<(), Stray> {
    match redis.lacks_replicas().await? {
        None => Ok(()),
        Some(redis::Few { found, wanted }) => Err(Stray::FewReplicas { found, wanted }),
    }
}

/// What stood where it is said whose the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// What this gateway would have written.
    Kept,
    /// Another name, which the cluster has not agreed on.
    Renamed,
    /// Nothing: Redis has lost it, and probably all else.
    Lost,
}

/// A name that no other store has.
fn new_name() -> String {
    // The hasher's keys come from the system's randomness.
    let number = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    format!("redis-{number:016x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
