//! Which store this gateway has, and whether it is its cluster's: gateways with different ones would
//! not see each other's sessions and retained messages, and whoever moved from one to the other
//! would miss what was acknowledged.
//!
//! The cluster agrees on one when its first gateway joins. In Redis it has a name of its own, which
//! stands beside its keys (`P:cluster`) and in the control plane's state, and is not made up again
//! where there is nothing: an empty Redis may be the wrong one, or one that has lost everything,
//! and which of both it is only the operator knows.

use super::redis::{self, Mark};
use super::{Backing, Store};

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
         right Redis, and it has lost all that it had, let the cluster begin anew with it: \
         redis-cli SET {prefix}cluster {mark}"
    )]
    Nothing { prefix: String, mark: String },
    #[error(
        "the gateways of this cluster keep their sessions in Redis: set storage.way: redis \
         (--storage-way redis), and redis.addr, redis.db and redis.prefix as theirs"
    )]
    NotInRedis,
}

impl Store {
    /// The name of this store, which is the one that a cluster has agreed on, or that it may agree
    /// on if it has none yet.
    pub(crate) async fn belong(&self, cluster_id: &[u8], agreed: &str) -> Result<String, Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return match agreed {
                "" | IN_MEMORY => Ok(IN_MEMORY.to_owned()),
                _ => Err(Stray::NotInRedis),
            };
        };
        let (prefix, ours) = (redis.beginning(), hex(cluster_id));
        let found = match redis.mark().await? {
            Some(found) => found,
            None if agreed.is_empty() || agreed == IN_MEMORY => {
                let mark = Mark {
                    cluster: ours.clone(),
                    store: new_name(),
                };
                redis.take(&mark).await?
            }
            None => {
                let mark = Mark {
                    cluster: ours,
                    store: agreed.to_owned(),
                };
                let mark = mark.to_string();
                return Err(Stray::Nothing { prefix, mark });
            }
        };
        if found.cluster != ours {
            let theirs = found.cluster;
            return Err(Stray::OtherCluster {
                prefix,
                theirs,
                ours,
            });
        }
        if agreed.is_empty() || agreed == found.store || agreed == IN_MEMORY {
            return Ok(found.store);
        }
        Err(Stray::OtherStore {
            prefix,
            own: found.store,
            agreed: agreed.to_owned(),
        })
    }

    /// Whether a cluster may be begun with this store.
    pub(crate) async fn check_free(&self) -> Result<(), Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return Ok(());
        };
        match redis.mark().await? {
            None => Ok(()),
            Some(found) => Err(Stray::Taken {
                prefix: redis.beginning(),
                theirs: found.cluster,
            }),
        }
    }

    /// Says once more whose the store is, in case Redis has lost it with all else: who joins later
    /// finds the same store, which this gateway uses.
    pub(crate) async fn hold(&self, cluster_id: &[u8], store: &str) -> Result<(), Stray> {
        let Backing::Redis(redis) = &self.backing else {
            return Ok(());
        };
        let mark = Mark {
            cluster: hex(cluster_id),
            store: store.to_owned(),
        };
        let found = match redis.mark().await? {
            Some(found) => found,
            None => redis.take(&mark).await?,
        };
        match found == mark {
            true => Ok(()),
            false => Err(Stray::OtherCluster {
                prefix: redis.beginning(),
                theirs: found.cluster,
                ours: mark.cluster,
            }),
        }
    }
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
