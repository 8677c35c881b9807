//! Whose keys these are: a prefix belongs to the first cluster that uses it, so that two clusters
//! that were told of the same Redis do not take each other's sessions.

use super::reply::{Malformed, Parts};
use super::{Error, RedisStore};

impl<T: Send + 'static> RedisStore<T> {
    /// Takes the prefix for a cluster, unless another one has it. Returns the cluster whose it is
    /// now, by the id that it was taken with.
    pub(crate) async fn move_in(&self, cluster_id: &str) -> Result<String, Error> {
        let pool = &self.shared.pool;
        let (key, slot) = pool.layout.home();
        let take = |_| {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(cluster_id).arg("NX");
            set
        };
        pool.request(slot, pool.deadline(), true, take).await?;
        let look = |_| {
            let mut get = redis::cmd("GET");
            get.arg(&key);
            get
        };
        let owner = pool.request(slot, pool.deadline(), false, look).await?;
        owner.text().map_err(|Malformed| Error::Malformed)
    }

    /// What all keys begin with, for people.
    pub(crate) fn beginning(&self) -> String {
        self.shared.pool.layout.beginning()
    }
}
