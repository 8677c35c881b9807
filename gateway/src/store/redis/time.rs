//! What time it is for everybody who uses the store.

use futures_util::future::join_all;
use gatemq_node::uptime;
use redis::Value;

use super::reply::{self, Malformed, Parts};
use super::{Error, RedisStore};
use crate::clock::Reading;

/// How often it is asked for one reading: the first answer may have waited for a connection.
const QUESTIONS: usize = 3;

impl<T: Send + 'static> RedisStore<T> {
    /// Reads the clock of the server that has the cluster's mark: those of a Redis Cluster need not
    /// agree either. Deadlines go by each server's own from then on as it is now: one that was set back
    /// would take what is late for in time.
    pub(crate) async fn read_clock(&self) -> Result<Reading, Error> {
        join_all(self.shared.pool.links().iter().map(async |link| {
            if let Err(trouble) = link.look_at_clock().await {
                let (server, why) = (&link.address, trouble.text());
                tracing::debug!(%server, why, "a server of redis does not say its time");
            }
        }))
        .await;
        let mut reading = self.ask_time().await?;
        for _ in 1..QUESTIONS {
            reading = reading.and(self.ask_time().await?);
        }
        Ok(reading)
    }

    async fn ask_time(&self) -> Result<Reading, Error> {
        let pool = &self.shared.pool;
        let (_, slot) = pool.layout.home();
        let ask = |_| redis::cmd("TIME");
        let sent = uptime();
        let answer = pool.request(slot, pool.deadline(), false, ask).await?;
        let received = uptime();
        let micros = i64::try_from(micros_of(answer)?).map_err(|_| Malformed)?;
        Ok(Reading::new(sent, micros, received))
    }
}

/// The Unix microseconds in an answer to TIME.
pub(super) fn micros_of(answer: Value) -> Result<u64, Malformed> {
    let [seconds, micros] = reply::values(answer.list()?)?;
    let seconds = seconds.number()?.checked_mul(1_000_000).ok_or(Malformed)?;
    seconds.checked_add(micros.number()?).ok_or(Malformed)
}
