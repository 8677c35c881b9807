//! Writes what waits, a round at a time, until Redis has confirmed all of it.
//!
//! Comes after [`super::RedisStore::submit_with`]. A round has everything that waited when the last
//! one ended, sorted by [`super::part`] into one call for each session and each shard of retained
//! messages; the calls go to their servers in pipelines, all at once. The next round begins when
//! every call of this one is confirmed, so a session's changes arrive in order, wherever its keys
//! move meanwhile, and the tickets are done in the order in which they came. What is to be retained
//! and takes long is looked at again ([`late`]).

mod late;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::Shared;
use super::backlog::{Entry, Group};
use super::config::Address;
use super::layout::SHARDS;
use super::link::Link;
use super::part::Round;
use super::places::Place;
use super::pool::{Pauses, Pool, Use};
use super::reply::{self, Trouble};
use super::script;
use super::verdict::{Fence, Fenced, Outcomes, Refusal, Verdict};

pub(crate) use late::CERTAIN;

/// Calls in one pipeline: while Redis works on one, the next is made.
const PIPELINE: usize = 128;
/// How often Redis is looked at while there is nothing to write.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// The slowest network that large messages get through, in bytes a millisecond: for each so many
/// bytes of a round, its answers may take longer than the timeout.
const SLOWEST: usize = 4096;

/// The one that writes.
pub(super) struct Writer<T> {
    shared: Arc<Shared<T>>,
    places: HashMap<u64, Held, foldhash::fast::RandomState>,
    /// The number of the last round. Numbers begin with the clock, so that they rise over restarts
    /// of the store too, and stay below 2^53, which Lua can count to.
    round: u64,
    /// Tells this store from others that write retained messages.
    writer: u64,
    /// How long the answers of this round may take.
    patience: Duration,
}

/// A session that is attached.
struct Held {
    place: Arc<Place>,
    /// Whether it has ended, before it was attached or since.
    is_ended: bool,
}

/// One call of a round.
struct Call {
    target: Target,
    slot: u16,
    is_done: bool,
    /// By when it is to be carried out, see [`late`]; `None` for any time.
    until: Option<u64>,
    /// Whether that is over, and how often it was.
    is_late: bool,
    n_late: u32,
}

#[derive(Clone, Copy)]
enum Target {
    Session(u64),
    Shard(u8),
}

/// The store was closed before everything was confirmed.
struct Stopped;

/// Says so if the writer ends, however it does.
struct Ended<'a, T>(&'a Shared<T>);

// === impl Writer ===

impl<T: Send + 'static> Writer<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            shared,
            places: HashMap::default(),
            round: u64::try_from(now.as_micros()).unwrap_or(0).min(1 << 52),
            writer: RandomState::new().hash_one(now) | 1,
            patience: Duration::ZERO,
        }
    }

    /// Writes until the store is closed and nothing is left, or must not wait any longer.
    pub(super) async fn run(mut self, mut sink: impl FnMut(Vec<(T, Verdict)>) + Send) {
        let shared = self.shared.clone();
        let _ended = Ended(&shared);
        let mut entries = VecDeque::new();
        self.look().await; // so that the first round need not wait for connections
        loop {
            if !shared.backlog.take(&mut entries) {
                return;
            }
            if entries.is_empty() {
                tokio::select! {
                    () = shared.backlog.arrived() => {}
                    () = tokio::time::sleep(BEAT) => self.look().await,
                    () = shared.stop.cancelled() => return,
                }
                continue;
            }
            match self.write(&mut entries).await {
                Ok(done) if done.is_empty() => {}
                Ok(done) => sink(done),
                Err(Stopped) => return,
            }
        }
    }

    /// Writes one round.
    async fn write(
        &mut self,
        entries: &mut VecDeque<Entry<T>>,
    ) -> Result<Vec<(T, Verdict)>, Stopped> {
        let group = Group::fill(entries);
        for (number, place) in group.attached {
            let is_ended = place.is_ended;
            self.places.insert(number, Held { place, is_ended });
        }
        let mut done = Vec::new();
        if !group.tickets.is_empty() {
            let started = Instant::now();
            self.round += 1;
            let millis = (group.n_bytes / SLOWEST) as u64;
            self.patience = self.shared.pool.config.timeout + Duration::from_millis(millis);
            let mut round = Round::default();
            for batch in &group.batches {
                round.add(batch);
            }
            let outcomes = self.carry_out(&mut round).await?;
            let verdicts: Vec<Verdict> = outcomes.verdicts(&round, &group.batches);
            let n_operations = group.batches.iter().map(|batch| batch.len()).sum();
            drop(round);
            let n_batches = group.batches.len();
            self.shared
                .count(n_batches, n_operations, group.n_bytes, started);
            self.shared
                .pending_bytes
                .fetch_sub(group.n_bytes + group.weight, Relaxed);
            done.extend(group.tickets.into_iter().zip(verdicts));
        }
        for number in group.detached {
            if let Some(held) = self.places.remove(&number) {
                self.shared.places.remove(number, &held.place);
            }
        }
        for waiter in group.waiters {
            let _ = waiter.send(()); // whoever waited may have given up
        }
        Ok(done)
    }

    /// Sends the calls of a round, those without a confirmation again and again.
    async fn carry_out(&mut self, round: &mut Round<'_>) -> Result<Outcomes, Stopped> {
        let shared = self.shared.clone();
        let mut outcomes = Outcomes::default();
        if round.n_foreign > 0 {
            tracing::error!(n = round.n_foreign, "changes that have no place in redis");
        }
        let mut calls = self.calls(round, &mut outcomes);
        let mut pauses = Pauses::new();
        loop {
            let attempt = self.attempt(round, &mut calls, &mut outcomes);
            let trouble = tokio::select! {
                trouble = attempt => trouble,
                () = shared.stop.cancelled() => return Err(Stopped),
            };
            let Some(trouble) = trouble else { break };
            match &trouble {
                Trouble::Late => {}
                Trouble::Ask(_) | Trouble::Soon(_) => shared.health.slow(),
                trouble => shared.health.down(&trouble.text()),
            }
            tokio::select! {
                () = pauses.wait() => {}
                () = shared.stop.cancelled() => return Err(Stopped),
            }
            tokio::select! {
                () = self.look_late(round, &mut calls) => {}
                () = shared.stop.cancelled() => return Err(Stopped),
            }
        }
        if !calls.is_empty() {
            shared.health.up();
        }
        for (number, part) in &round.sessions {
            if part.is_end()
                && !outcomes.is_lost(*number)
                && let Some(held) = self.places.get_mut(number)
            {
                held.is_ended = true;
            }
        }
        Ok(outcomes)
    }

    fn calls(&self, round: &Round<'_>, outcomes: &mut Outcomes) -> Vec<Call> {
        let layout = &self.shared.pool.layout;
        let mut calls = Vec::with_capacity(round.sessions.len() + round.retained.len());
        for number in round.sessions.keys() {
            match self.places.get(number) {
                Some(held) => calls.push(Call {
                    target: Target::Session(*number),
                    slot: layout.slot_of_slice(held.place.slice),
                    is_done: false,
                    until: None,
                    is_late: false,
                    n_late: 0,
                }),
                None => outcomes.fence(Fence {
                    number: *number,
                    why: Fenced::Unattached,
                    epoch: 0,
                }),
            }
        }
        calls.extend(round.retained.iter().map(|(shard, changes)| Call {
            target: Target::Shard(*shard),
            slot: layout.slot_of_shard(*shard),
            is_done: false,
            until: late::until(changes),
            is_late: false,
            n_late: 0,
        }));
        calls
    }

    /// Sends all calls that are not done once; tells of the trouble if some still are not.
    async fn attempt(
        &self,
        round: &Round<'_>,
        calls: &mut [Call],
        outcomes: &mut Outcomes,
    ) -> Option<Trouble> {
        let pool = &self.shared.pool;
        let routes = match pool.routes().await {
            Ok(routes) => routes,
            Err(trouble) => return Some(trouble),
        };
        let mut by_server: BTreeMap<&Address, Vec<usize>> = BTreeMap::new();
        let mut found = None;
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| !call.is_done) {
            match routes.of(call.slot) {
                Some(server) => by_server.entry(server).or_default().push(at),
                None => found = Some(Trouble::Moved("no node has the slot".to_owned())),
            }
        }
        let servers = by_server
            .iter()
            .map(|(server, ats)| self.send(server, round, calls, ats));
        let sent = async {
            let sent = join_all(servers).await;
            by_server.values().zip(sent).collect::<Vec<_>>()
        };
        let sent = self.or_slow(sent).await;
        let mut done = Vec::new();
        for (ats, answers) in sent {
            match answers {
                Ok(answers) => done.extend(ats.iter().copied().zip(answers)),
                Err(trouble) => found = Some(trouble),
            }
        }
        for (at, answer) in done {
            let call = &mut calls[at];
            if let Some(until) = call.until
                && late::is_late(&answer)
            {
                call.n_late += 1;
                if late::has_time(until) || call.n_late > 1 {
                    pool.give_up_all(Use::Writes);
                }
                call.is_late = true;
                found = Some(Trouble::Late);
                continue;
            }
            match self.conclude(call.target, round, answer, outcomes) {
                Ok(()) => call.is_done = true,
                Err(trouble) => found = Some(trouble),
            }
        }
        match &found {
            Some(Trouble::Scripts) => pool.give_up_all(Use::Writes),
            Some(Trouble::Moved(_)) if !pool.config.is_cluster() => pool.give_up_all(Use::Writes),
            _ => {}
        }
        if !matches!(found, None | Some(Trouble::Late)) {
            pool.doubt(Some(&routes));
        }
        found
    }

    /// Sends some calls to one server. An error means that the outcome of all is unknown.
    async fn send(
        &self,
        server: &Address,
        round: &Round<'_>,
        calls: &[Call],
        ats: &[usize],
    ) -> Result<Vec<Value>, Trouble> {
        let pool = &self.shared.pool;
        let link = pool.link(server, Use::Writes).await?;
        let mut sent = Vec::with_capacity(ats.len() / PIPELINE + 1);
        for ats in ats.chunks(PIPELINE) {
            let mut pipeline = redis::Pipeline::with_capacity(ats.len());
            for at in ats {
                pipeline.add_command(self.command(&calls[*at], round, &link));
            }
            let link = link.clone();
            // On a task of its own, so that it is on its way while the next one is made.
            let patience = self.patience;
            let stop = self.shared.stop.clone();
            let task = async move {
                tokio::select! {
                    sent = link.send_all(&pipeline, patience) => sent,
                    () = stop.cancelled() => Err(Trouble::Lost("closed".to_owned())),
                }
            };
            sent.push(self.shared.tasks.spawn(task));
        }
        let mut answers = Vec::with_capacity(ats.len());
        for sent in sent {
            match sent.await {
                Ok(Ok(some)) => answers.extend(some),
                Ok(Err(trouble)) => {
                    pool.give_up(&link, Use::Writes);
                    return Err(trouble);
                }
                Err(ended) => return Err(Trouble::Lost(ended.to_string())),
            }
        }
        if let Some(wait) = pool.wait() {
            let answer = link.send(&wait).await;
            let is_replicated = answer.and_then(|answer| pool.check_wait(answer));
            if let Err(Trouble::Lost(_)) = &is_replicated {
                pool.give_up(&link, Use::Writes);
            }
            is_replicated?;
        }
        match answers.len() == ats.len() {
            true => Ok(answers),
            false => Err(Trouble::Lost("answers are missing".to_owned())),
        }
    }

    fn command(&self, call: &Call, round: &Round<'_>, link: &Link) -> Cmd {
        let Pool {
            scripts,
            layout,
            config,
            ..
        } = &self.shared.pool;
        match call.target {
            Target::Session(number) => {
                let part = round.sessions.get(&number);
                let part = part.expect("a call is made of what the round has");
                let held = self.places.get(&number);
                let held = held.expect("a call is made for a session that is attached");
                let session = (number, &*held.place, held.is_ended);
                script::write(scripts, layout, session, part, self.round)
            }
            Target::Shard(shard) => {
                let changes = round
                    .retained
                    .get(&shard)
                    .map_or(&[][..], |changes| changes);
                let counts = &self.shared.retained;
                let others = (0..SHARDS).filter(|other| *other != shard);
                let others = counts.sum(others);
                let bounds = (config.retained, others);
                let until = |until| link.server_time(late::instant(until));
                script::retain(
                    scripts,
                    layout,
                    shard,
                    changes,
                    (self.writer, self.round, call.until.map(until)),
                    bounds,
                )
            }
        }
    }

    /// Notes the outcome of a call, if its answer has one.
    fn conclude(
        &self,
        target: Target,
        round: &Round<'_>,
        answer: Value,
        outcomes: &mut Outcomes,
    ) -> Result<(), Trouble> {
        let answer = match reply::value(answer) {
            Err(trouble @ (Trouble::Full(_) | Trouble::Refused(_))) => {
                tracing::error!(why = trouble.text(), "redis refuses a write");
                Err(match trouble {
                    Trouble::Full(_) => Refusal::NoMemory,
                    _ => Refusal::Otherwise,
                })
            }
            Err(trouble) => return Err(trouble),
            Ok(answer) => Ok(answer),
        };
        match target {
            Target::Session(number) => {
                let epoch = self.places.get(&number).map_or(0, |held| held.place.epoch);
                outcomes.note_session(number, epoch, answer.as_ref().map_err(|why| *why));
            }
            Target::Shard(shard) => {
                let n = round.retained.get(&shard).map_or(0, Vec::len);
                if let Some(count) = outcomes.note_shard(shard, n, answer.ok()) {
                    self.shared.retained.set(shard, count);
                }
            }
        }
        Ok(())
    }

    /// Asks whether Redis is there, through the connections for writes.
    async fn look(&self) {
        let pool = &self.shared.pool;
        let ping = redis::cmd("PING");
        let look = async {
            let routes = pool.routes().await?;
            for server in routes.servers() {
                let link = pool.link(&server, Use::Writes).await?;
                if let Err(trouble) = link.send(&ping).await {
                    pool.give_up(&link, Use::Writes);
                    return Err(trouble);
                }
            }
            Ok(())
        };
        let looked = tokio::select! {
            looked = self.or_slow(look) => looked,
            () = self.shared.stop.cancelled() => return,
        };
        match looked {
            Ok(()) => self.shared.health.up(),
            Err(trouble) => {
                pool.doubt(None);
                self.shared.health.down(&trouble.text());
            }
        }
    }

    /// Waits for something that should be quick, and tells when it is not.
    async fn or_slow<V>(&self, future: impl Future<Output = V>) -> V {
        tokio::pin!(future);
        let soon = self.shared.pool.config.timeout / 4;
        match tokio::time::timeout(soon, &mut future).await {
            Ok(value) => value,
            Err(_) => {
                self.shared.health.slow();
                future.await
            }
        }
    }
}

impl<T> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        self.0.backlog.close();
        self.0.ended.cancel();
        if std::thread::panicking() {
            self.0.health.down("the writer failed");
        }
    }
}
