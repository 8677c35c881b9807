//! The connections to all servers: made when they are needed, given up when they fail.
//!
//! Writes have a connection of their own to each server, so that what waits for a replica or for
//! a large group of writes holds up neither claims nor reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::Error;
use super::config::{Address, Config};
use super::layout::Layout;
use super::link::Link;
use super::reply::{self, Trouble};
use super::route::Routes;
use super::script::Scripts;

/// The first and the longest pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    Writes,
    /// Claims and reads.
    Requests,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) scripts: Scripts,
    routes: Mutex<Option<Arc<Routes>>>,
    /// Held by whoever finds the routes out.
    finding: tokio::sync::Mutex<()>,
    seats: Mutex<HashMap<(Address, Use), Arc<Seat>>>,
}

/// The place of a connection.
#[derive(Default)]
struct Seat {
    link: Mutex<Option<Link>>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

/// How far one attempt at a request has come.
#[derive(Default)]
struct Used {
    server: Option<Address>,
    link: Option<Link>,
    /// Whether the server may have carried it out.
    is_open: bool,
}

/// Pauses that grow.
pub(super) struct Pauses(Duration);

// === impl Pool ===

impl Pool {
    pub(super) fn new(config: Config) -> Self {
        Self {
            layout: Layout::new(&config.prefix),
            scripts: Scripts::new(),
            config,
            routes: Mutex::default(),
            finding: tokio::sync::Mutex::default(),
            seats: Mutex::default(),
        }
    }

    /// Where the keys are.
    pub(super) async fn routes(&self) -> Result<Arc<Routes>, Trouble> {
        if let Some(routes) = self.routes.lock().clone() {
            return Ok(routes);
        }
        let _finding = self.finding.lock().await;
        if let Some(routes) = self.routes.lock().clone() {
            return Ok(routes);
        }
        let links: Vec<Link> = {
            let seats = self.seats.lock();
            let seats = seats.iter().filter(|((_, what), _)| *what == Use::Requests);
            seats
                .filter_map(|(_, seat)| seat.link.lock().clone())
                .collect()
        };
        let routes = Arc::new(Routes::find(&self.config, &links).await?);
        let servers = routes.servers();
        // Connections to servers that have no keys any more.
        self.seats
            .lock()
            .retain(|(server, _), _| servers.contains(server));
        *self.routes.lock() = Some(routes.clone());
        Ok(routes)
    }

    /// The routes may be wrong: whoever needs them next finds them out anew.
    pub(super) fn doubt(&self, routes: Option<&Arc<Routes>>) {
        let mut known = self.routes.lock();
        let is_same = match (&*known, routes) {
            (Some(known), Some(routes)) => Arc::ptr_eq(known, routes),
            _ => true,
        };
        if is_same {
            *known = None;
        }
    }

    /// The connection to a server.
    pub(super) async fn link(&self, server: &Address, what: Use) -> Result<Link, Trouble> {
        let seat = {
            let mut seats = self.seats.lock();
            seats.entry((server.clone(), what)).or_default().clone()
        };
        if let Some(link) = seat.link.lock().clone() {
            return Ok(link);
        }
        let _connecting = seat.connecting.lock().await;
        if let Some(link) = seat.link.lock().clone() {
            return Ok(link);
        }
        let link = Link::connect(server, &self.config, &self.scripts).await?;
        *seat.link.lock() = Some(link.clone());
        Ok(link)
    }

    /// Gives a connection up.
    pub(super) fn give_up(&self, link: &Link, what: Use) {
        let seats = self.seats.lock();
        if let Some(seat) = seats.get(&(link.address.clone(), what)) {
            seat.link.lock().take_if(|known| known.id == link.id);
        }
    }

    /// The connections that there are.
    pub(super) fn links(&self) -> Vec<Link> {
        let seats = self.seats.lock();
        let links = seats.values().filter_map(|seat| seat.link.lock().clone());
        links.collect()
    }

    /// When a request that begins now has to be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    /// Asks now and then which master the Sentinels name: one that was cut off from them would
    /// still confirm what will be lost.
    pub(super) async fn watch_master(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let Ok(found) = Routes::find(&self.config, &[]).await else {
                continue;
            };
            let is_new = {
                let mut known = self.routes.lock();
                let is_new = known.as_ref().is_some_and(|known| **known != found);
                if is_new {
                    *known = Some(Arc::new(found));
                }
                is_new
            };
            if is_new {
                self.give_up_all(Use::Writes);
                self.give_up_all(Use::Requests);
            }
        }
    }

    /// Gives all connections for a use up, to make them anew.
    pub(super) fn give_up_all(&self, what: Use) {
        let seats = self.seats.lock();
        let seats = seats.iter().filter(|((_, known), _)| *known == what);
        for (_, seat) in seats {
            *seat.link.lock() = None;
        }
    }

    /// Asks the server that has a slot, again where that makes sense, until the deadline.
    /// `make` is told the deadline by the server's clock, in Unix milliseconds.
    pub(super) async fn request(
        &self,
        slot: u16,
        deadline: Instant,
        must_be_replicated: bool,
        make: impl Fn(u64) -> Cmd,
    ) -> Result<Value, Error> {
        let mut pauses = Pauses::new();
        let mut last = None;
        let mut asked = None;
        // Whether it may have been carried out without an answer.
        let mut is_unknown = false;
        loop {
            let mut used = Used::default();
            let attempt = self.attempt(slot, asked.take(), &mut used, |link| {
                let cmd = make(link.server_time(deadline.into_std()));
                self.with_wait(&cmd, must_be_replicated)
            });
            let outcome = tokio::time::timeout_at(deadline, attempt).await;
            let late = used.late(last.as_ref());
            let Used { link, is_open, .. } = used;
            is_unknown |= is_open;
            let trouble = match outcome {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    if let Some(link) = &link {
                        self.give_up(link, Use::Requests);
                    }
                    return Err(match is_unknown {
                        true => Error::Unanswered { why: late },
                        false => Error::Unasked { why: late },
                    });
                }
            };
            match &trouble {
                Trouble::Lost(_) | Trouble::Scripts => {
                    if let Some(link) = &link {
                        self.give_up(link, Use::Requests);
                    }
                    self.doubt(None);
                }
                Trouble::Moved(_) => {
                    // A demoted master would say the same for ever.
                    if let (Some(link), false) = (&link, self.config.is_cluster()) {
                        self.give_up(link, Use::Requests);
                    }
                    self.doubt(None);
                }
                Trouble::Ask(address) => asked = Some(address.clone()),
                Trouble::Soon(_) | Trouble::Late | Trouble::Later(_) => {}
                Trouble::Full(why) => return Err(Error::Full { why: why.clone() }),
                Trouble::Refused(why) => return Err(Error::Refused { why: why.clone() }),
            }
            last = Some(trouble);
            if asked.is_none() {
                pauses.wait_until(deadline).await;
            }
        }
    }

    async fn attempt(
        &self,
        slot: u16,
        asked: Option<Address>,
        used: &mut Used,
        make: impl FnOnce(&Link) -> Pipeline,
    ) -> Result<Value, Trouble> {
        let is_asked = asked.is_some();
        let server = match asked {
            Some(server) => server,
            None => {
                let routes = self.routes().await?;
                let server = routes.of(slot).cloned();
                server.ok_or_else(|| Trouble::Moved(format!("no node has slot {slot}")))?
            }
        };
        used.server = Some(server.clone());
        let link = self.link(&server, Use::Requests).await?;
        used.link = Some(link.clone());
        let mut pipeline = redis::pipe();
        if is_asked {
            pipeline.cmd("ASKING");
        }
        for cmd in make(&link).cmd_iter() {
            pipeline.add_command(cmd.clone());
        }
        used.is_open = true;
        let mut answers = link
            .send_all(&pipeline, self.config.timeout)
            .await?
            .into_iter();
        if is_asked {
            answers.next();
        }
        let value = reply::value(answers.next().unwrap_or(Value::Nil));
        used.is_open = value.is_ok(); // replicas may lack it still
        let value = value?;
        if let Some(n_replicas) = answers.next() {
            self.check_wait(n_replicas)?;
        }
        Ok(value)
    }

    /// A command, with the wait for replicas if there is to be one.
    fn with_wait(&self, cmd: &Cmd, must_be_replicated: bool) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.add_command(cmd.clone());
        if must_be_replicated && let Some(wait) = self.wait() {
            pipeline.add_command(wait);
        }
        pipeline
    }

    /// What waits until the replicas have what was written through the same connection.
    pub(super) fn wait(&self) -> Option<Cmd> {
        let Config {
            n_replicas,
            replica_timeout,
            ..
        } = self.config;
        (n_replicas > 0).then(|| {
            // Before the answer itself would be too late.
            let longest = replica_timeout.min(self.config.timeout / 2);
            let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
            let mut wait = redis::cmd("WAIT");
            wait.arg(n_replicas).arg(millis.max(1)); // 0 would be for ever
            wait
        })
    }

    /// Whether enough replicas have it.
    pub(super) fn check_wait(&self, answer: Value) -> Result<(), Trouble> {
        match reply::value(answer)? {
            Value::Int(n) if n >= i64::from(self.config.n_replicas) => Ok(()),
            Value::Int(n) => Err(Trouble::Soon(format!(
                "{n} replicas have it, and redis.wait-replicas asks for {}",
                self.config.n_replicas
            ))),
            _ => Err(Trouble::Refused("WAIT has no number".to_owned())),
        }
    }
}

// === impl Used ===

impl Used {
    /// What was waited for, after the last trouble if there was one, for an error.
    fn late(&self, last: Option<&Trouble>) -> String {
        match (&self.server, &self.link, last.map(Trouble::text)) {
            (Some(server), _, Some(said)) if said.contains(&*server.host) => said,
            (Some(server), _, Some(said)) => format!("{server}: {said}"),
            (None, _, Some(said)) => said,
            (Some(server), None, None) => format!("no connection to {server} in time"),
            (Some(server), Some(_), None) => format!("{server} says nothing"),
            (None, _, None) => "it is not known in time which server has the keys".to_owned(),
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

// === impl Pauses ===

impl Pauses {
    pub(super) fn new() -> Self {
        Self(PAUSE)
    }

    /// Waits, but not beyond the deadline.
    pub(super) async fn wait_until(&mut self, deadline: Instant) {
        tokio::time::sleep_until(deadline.min(Instant::now() + self.0)).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
