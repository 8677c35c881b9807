//! One connection to one Redis server, which was checked and has the scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use super::config::{Address, Config};
use super::connection::Connection;
use super::reply::{self, Parts, Trouble};
use super::script::Scripts;
use super::time::micros_of;

/// A connection.
#[derive(Clone)]
pub(super) struct Link {
    /// Tells connections apart.
    pub(super) id: u64,
    pub(super) address: Address,
    connection: Connection,
    clock: Arc<Mutex<Clock>>,
}

/// How the clock of a server was when it was asked last.
#[derive(Clone, Copy)]
struct Clock {
    /// Unix milliseconds.
    server: u64,
    here: Instant,
}

// === impl Link ===

impl Link {
    /// Connects to a server that is to be a master. One that refuses, as where it has as many clients
    /// as it may have, was not asked anything yet: it is asked again.
    pub(super) async fn connect(
        address: &Address,
        config: &Config,
        scripts: &Scripts,
    ) -> Result<Self, Trouble> {
        let connected = Self::try_connect(address, config, scripts).await;
        connected.map_err(|trouble| match trouble {
            Trouble::Refused(why) | Trouble::Full(why) => Trouble::Later(why),
            trouble => trouble,
        })
    }

    async fn try_connect(
        address: &Address,
        config: &Config,
        scripts: &Scripts,
    ) -> Result<Self, Trouble> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let opened = Connection::open(address, config.login(), config).await;
        let mut connection = opened.map_err(|error| error.trouble())?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("ROLE");
        for script in scripts.all() {
            pipeline.add_command(script.load());
        }
        // Last, so that little time passes until the answer: far away, the scripts take a while.
        pipeline.cmd("TIME");
        let n_commands = pipeline.len();
        let answers = connection
            .send_packed_commands(&pipeline, 0, n_commands)
            .await
            .map_err(|error| Trouble::of_error(&error))?;
        let here = Instant::now();
        let mut answers = answers.into_iter().map(reply::value);
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let role = next()?.list().unwrap_or_default().into_iter().next();
        if role.and_then(|role| role.text().ok()).as_deref() != Some("master") {
            return Err(Trouble::Moved(format!("{address} is no master")));
        }
        for _ in scripts.all() {
            next()?;
        }
        let clock = Clock::new(next()?, here)?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address: address.clone(),
            connection,
            clock: Arc::new(Mutex::new(clock)),
        })
    }

    /// Asks the server for its time anew, for all who use the connection: it may have been set.
    pub(super) async fn look_at_clock(&self) -> Result<(), Trouble> {
        let answer = self.send(&redis::cmd("TIME")).await?;
        let clock = Clock::new(answer, Instant::now())?;
        *self.clock.lock() = clock;
        Ok(())
    }

    /// Sends a command, and waits for the answer as long as for the connection.
    pub(super) async fn send(&self, cmd: &Cmd) -> Result<Value, Trouble> {
        let answer = self.connection.clone().send_packed_command(cmd).await;
        reply::value(answer.map_err(|error| Trouble::of_error(&error))?)
    }

    /// Sends commands, one after the other; each has an answer of its own.
    pub(super) async fn send_all(
        &self,
        pipeline: &Pipeline,
        patience: Duration,
    ) -> Result<Vec<Value>, Trouble> {
        let mut connection = self.connection.clone();
        connection.set_response_timeout(patience);
        let answers = connection.send_packed_commands(pipeline, 0, pipeline.len());
        answers.await.map_err(|error| Trouble::of_error(&error))
    }

    /// What the server's clock will show at a moment, in Unix milliseconds.
    pub(super) fn server_time(&self, at: Instant) -> u64 {
        let Clock { server, here } = *self.clock.lock();
        let since = at.saturating_duration_since(here).as_millis();
        server + u64::try_from(since).unwrap_or(u64::MAX / 2)
    }

    /// As if the server's clock had been set back by so many milliseconds.
    #[cfg(test)]
    pub(super) fn is_ahead_by(&self, millis: u64) {
        self.clock.lock().server += millis;
    }
}

// === impl Clock ===

impl Clock {
    /// What TIME answered, and when that was here.
    fn new(answer: Value, here: Instant) -> Result<Self, Trouble> {
        let micros = micros_of(answer).map_err(|_| Trouble::Refused("TIME".to_owned()))?;
        Ok(Self {
            server: micros / 1000,
            here,
        })
    }
}
