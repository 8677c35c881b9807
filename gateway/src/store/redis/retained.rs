//! Reading retained messages, counting them, and clearing those that have expired.
//!
//! They are set and cleared by batches; [`super::Verdict`] tells what became of each. How many there
//! may be, and of how many bytes, is a bound on all of them together. A shard is counted exactly, in
//! the call that writes to it; of the other 63 the writer knows what they were when it last wrote to
//! them or [`RedisStore::count_retained`] asked. So the bound can be exceeded by what all gateways set
//! in other shards meanwhile, never by what comes through one of them into one shard.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::layout::SHARDS;
use super::reply::{self, Parts};
use super::script;
use super::{Error, PAGE_BYTES, RedisStore};
use crate::retained::Quota;

/// Retained messages that are looked at in one step of a sweep.
const SWEPT: usize = 512;
/// Retained messages of which the bytes are added up in one call, and how many calls in a row go on with
/// that: what is left then is for the next time.
const WEIGHED: usize = 512;
const STEPS: usize = 10_000;

/// Retained messages, in the order of their topics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Topic and stored form of each.
    pub(crate) messages: Vec<(String, Bytes)>,
    /// The topic to go on with if these were not all.
    pub(crate) next: Option<Vec<u8>>,
}

/// What a step of a sweep did.
#[derive(Debug)]
pub(crate) struct Swept {
    /// Topics whose message had expired and is gone.
    pub(crate) cleared: Vec<String>,
    /// The topic to go on with; `None` at the end of the shard.
    pub(crate) next: Option<Vec<u8>>,
}

/// How many there are in each shard, as far as is known.
#[derive(Debug)]
pub(super) struct Counts(Box<[Count]>);

/// Those of a shard, and their bytes.
#[derive(Debug, Default)]
struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Reads up to `limit` messages of a shard, at most a MiB beyond the first, with topics from
    /// `start` up to but not including `end`; without an end to the last. A filter whose first
    /// level is a wildcard has messages in all shards, see [`super::shards_of`].
    pub(crate) async fn retained_page(
        &self,
        shard: u8,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        let pool = &self.shared.pool;
        let bound = |sign: u8, topic: &[u8]| [&[sign], topic].concat();
        let make = |_| {
            let names = [
                pool.layout.retained_topics(shard),
                pool.layout.retained_values(shard),
            ];
            let mut cmd = script::call(&pool.scripts.page, &names);
            cmd.arg(bound(b'[', start));
            cmd.arg(end.map_or_else(|| b"+".to_vec(), |end| bound(b'(', end)));
            cmd.arg(limit.max(1)).arg(PAGE_BYTES);
            cmd
        };
        let slot = pool.layout.slot_of_shard(shard);
        let answer = pool.request(slot, pool.deadline(), false, make).await?;
        let [last, found] = reply::values(answer.list()?)?;
        let mut found = found.list()?.into_iter();
        let mut page = Page::default();
        while let (Some(topic), Some(value)) = (found.next(), found.next()) {
            match String::from_utf8(topic.bytes()?) {
                Ok(topic) => page.messages.push((topic, value.bytes()?.into())),
                Err(error) => tracing::error!(shard, %error, "retained message left out"),
            }
        }
        let mut next = last.bytes()?;
        if !next.is_empty() {
            next.push(0); // no topic has U+0000
            page.next = Some(next);
        }
        Ok(page)
    }

    /// Looks at some messages of a shard, from a topic on, and clears those that have expired by
    /// `now`, in Unix milliseconds. Who sweeps which shard when is the callers' business.
    pub(crate) async fn sweep_retained(
        &self,
        shard: u8,
        from: &[u8],
        now: u64,
    ) -> Result<Swept, Error> {
        let page = self.retained_page(shard, from, None, SWEPT).await?;
        let is_expired = |value: &Bytes| {
            let expires_at = crate::message::expiry_of(value);
            expires_at.is_some_and(|expires_at| expires_at <= now)
        };
        let mut expired = page.messages;
        expired.retain(|(_, value)| is_expired(value));
        let mut cleared = Vec::new();
        if !expired.is_empty() {
            let pool = &self.shared.pool;
            // Only what still has the value that was seen: a newer one may have come.
            let make = |_| script::clear_retained(&pool.scripts, &pool.layout, shard, &expired);
            let slot = pool.layout.slot_of_shard(shard);
            let answer = pool.request(slot, pool.deadline(), true, make).await?;
            let [messages, outcome, bytes] = reply::values(answer.list()?)?;
            let (messages, bytes) = (messages.number()?, bytes.number()?);
            self.shared.retained.set(shard, Quota { messages, bytes });
            let outcome = outcome.bytes()?;
            let gone = expired
                .into_iter()
                .zip(outcome)
                .filter(|(_, letter)| *letter == b'c');
            cleared.extend(gone.map(|((topic, _), _)| topic));
        }
        Ok(Swept {
            cleared,
            next: page.next,
        })
    }

    /// Counts the retained messages, in all shards. To be called at the start and now and then:
    /// other gateways set and clear some too. Where their bytes are not added up, as after an update
    /// from a version that did not, it does that by and by.
    pub(crate) async fn count_retained(&self) -> Result<u64, Error> {
        let counts = (0..SHARDS).map(|shard| self.weigh_retained(shard, WEIGHED));
        let counts = futures_util::future::join_all(counts).await;
        let mut unfinished = Vec::new();
        for (shard, is_more) in (0..).zip(counts) {
            if is_more? {
                unfinished.push(shard);
            }
        }
        let mut steps = 0..STEPS;
        for shard in unfinished {
            // One at a time: Redis answers others in between.
            while steps.next().is_some() && self.weigh_retained(shard, WEIGHED).await? {}
        }
        Ok(self.n_retained())
    }

    /// Counts a shard, and adds up bytes of at most `limit` messages where that is not done. Returns
    /// whether there are more of them.
    ///
    /// What it writes need not be at replicas: it would be added up again.
    pub(super) async fn weigh_retained(&self, shard: u8, limit: usize) -> Result<bool, Error> {
        let pool = &self.shared.pool;
        let make = |_| script::weigh(&pool.scripts, &pool.layout, shard, limit.max(1));
        let slot = pool.layout.slot_of_shard(shard);
        let answer = pool.request(slot, pool.deadline(), false, make).await?;
        let [messages, bytes, is_more] = reply::values(answer.list()?)?;
        let (messages, bytes) = (messages.number()?, bytes.number()?);
        self.shared.retained.set(shard, Quota { messages, bytes });
        Ok(is_more.number()? != 0)
    }

    /// How many retained messages there are, as far as is known.
    pub(crate) fn n_retained(&self) -> u64 {
        self.shared.retained.sum(0..SHARDS).messages
    }

    /// What their stored forms are in all, as far as is known.
    pub(crate) fn n_retained_bytes(&self) -> u64 {
        self.shared.retained.sum(0..SHARDS).bytes
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Count::default()).collect())
    }

    /// What is in these shards together.
    pub(super) fn sum(&self, shards: impl Iterator<Item = u8>) -> Quota {
        let mut sum = Quota::default();
        for count in shards.filter_map(|shard| self.0.get(usize::from(shard))) {
            let (messages, bytes) = (&count.messages, &count.bytes);
            sum.messages = sum
                .messages
                .saturating_add(messages.load(Ordering::Relaxed));
            sum.bytes = sum.bytes.saturating_add(bytes.load(Ordering::Relaxed));
        }
        sum
    }

    pub(super) fn set(&self, shard: u8, found: Quota) {
        if let Some(count) = self.0.get(usize::from(shard)) {
            count.messages.store(found.messages, Ordering::Relaxed);
            count.bytes.store(found.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis has written down of a shard may be damaged.
    #[test]
    fn sums_end_at_the_highest_number() {
        let counts = Counts::new();
        for shard in 0..3 {
            let messages = u64::from(shard);
            let bytes = i64::MAX as u64;
            counts.set(shard, Quota { messages, bytes });
        }
        let sum = counts.sum(0..SHARDS);
        assert_eq!((sum.messages, sum.bytes), (3, u64::MAX));
    }
}
