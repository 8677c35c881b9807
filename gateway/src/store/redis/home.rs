//! Whose keys these are: a prefix belongs to the first cluster that uses it, so that two clusters
//! that were told of the same Redis do not take each other's sessions; and it is one store with a
//! name, so that gateways of one cluster that were told of different ones find out.

use std::fmt;

use redis::Value;

use super::reply::{Malformed, Parts};
use super::{Error, RedisStore};

/// What stands at `P:cluster`: `<cluster's id>/<store's name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The cluster whose keys these are, in hexadecimal digits.
    pub(crate) cluster: String,
    /// What the cluster calls this store.
    pub(crate) store: String,
}

/// Replicas that a server has, and that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Few {
    pub(crate) found: u32,
    pub(crate) wanted: u32,
}

// === impl Mark ===

impl Mark {
    fn parse(text: &str) -> Self {
        let (cluster, store) = text.split_once('/').unwrap_or((text, ""));
        Self {
            cluster: cluster.to_owned(),
            store: store.to_owned(),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.store)
    }
}

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Whose these keys are; `None` if they are nobody's.
    pub(crate) async fn mark(&self) -> Result<Option<Mark>, Error> {
        let pool = &self.shared.pool;
        let (key, slot) = pool.layout.home();
        let look = |_| {
            let mut get = redis::cmd("GET");
            get.arg(&key);
            get
        };
        let found = pool.request(slot, pool.deadline(), false, look).await?;
        if found == Value::Nil {
            return Ok(None);
        }
        let text = found.text().map_err(|Malformed| Error::Malformed)?;
        Ok(Some(Mark::parse(&text)))
    }

    /// Takes the keys, unless they are somebody's. Returns whose they are now.
    pub(crate) async fn take(&self, mark: &Mark) -> Result<Mark, Error> {
        self.set_mark(mark, &["NX"]).await?;
        self.mark().await?.ok_or(Error::Malformed)
    }

    /// Says whose the keys are, whatever stood there.
    pub(crate) async fn put_mark(&self, mark: &Mark) -> Result<(), Error> {
        self.set_mark(mark, &[]).await
    }

    async fn set_mark(&self, mark: &Mark, options: &[&str]) -> Result<(), Error> {
        let pool = &self.shared.pool;
        let (key, slot) = pool.layout.home();
        let text = mark.to_string();
        let set = |_| {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(&text).arg(options);
            set
        };
        pool.request(slot, pool.deadline(), true, set).await?;
        Ok(())
    }

    /// How many replicas the server of the mark has, where more are to have each write.
    pub(crate) async fn lacks_replicas(&self) -> Result<Option<Few>, Error> {
        let pool = &self.shared.pool;
        let wanted = pool.config.n_replicas;
        if wanted == 0 {
            return Ok(None);
        }
        let (_, slot) = pool.layout.home();
        let look = |_| redis::cmd("ROLE");
        let role = pool.request(slot, pool.deadline(), false, look).await?;
        let replicas = role.list()?.into_iter().nth(2);
        let replicas = replicas.ok_or(Malformed)?.list()?.len();
        let found = u32::try_from(replicas).unwrap_or(u32::MAX);
        Ok((found < wanted).then_some(Few { found, wanted }))
    }

    /// What all keys begin with, for people.
    pub(crate) fn beginning(&self) -> String {
        self.shared.pool.layout.beginning()
    }
}
