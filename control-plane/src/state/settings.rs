//! Configuration that may change at run time, with its history, bans, and traces of clients.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use gatemq_proto::cluster::state::{Ban, BanKind, Configure, Trace, Unban, Untrace};
use gatemq_proto::cluster::{bans, traces};

use super::Refusal;

/// How many changes of the configuration are remembered.
pub const HISTORY: usize = 1_000;

/// The longest value of a key, in bytes.
const VALUE: usize = 64 << 10;

/// Configuration, bans and traces. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The change that set each key.
    in_force: Arc<BTreeMap<String, Configure>>,
    /// The newest last.
    history: Arc<VecDeque<Configure>>,
    bans: Arc<BTreeMap<(i32, String), Ban>>,
    /// How many of them are gateways' own.
    n_automatic: usize,
    /// By name.
    traces: Arc<BTreeMap<String, Trace>>,
}

// === impl Settings ===

impl Settings {
    /// The value of a key, if it is set.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.in_force.get(key)?.value.as_deref()
    }

    /// All keys that are set, in their order, with the change that set them.
    pub fn in_force(&self) -> impl Iterator<Item = &Configure> {
        self.in_force.values()
    }

    /// The last [`HISTORY`] changes, the newest last.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Configure> {
        self.history.iter()
    }

    /// All bans, those whose time is over among them: only a reader has a clock.
    pub fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    /// The bans behind this kind and value, in the order of kinds and values.
    pub fn bans_after(&self, kind: i32, value: &str) -> impl Iterator<Item = &Ban> {
        let after = Bound::Excluded((kind, value.to_owned()));
        self.bans.range((after, Bound::Unbounded)).map(|it| it.1)
    }

    /// The ban of just this kind and value.
    pub fn find_ban(&self, kind: BanKind, value: &str) -> Option<&Ban> {
        self.bans.get(&(kind.into(), value.to_owned()))
    }

    /// All traces by name, those that are over among them.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.traces.values()
    }

    /// The trace of this name.
    pub fn trace(&self, name: &str) -> Option<&Trace> {
        self.traces.get(name)
    }

    pub(super) fn configure(&mut self, change: &Configure) -> Result<bool, Refusal> {
        if change.key.is_empty() {
            return Err(Refusal::Missing("the key"));
        }
        let length = change.value.as_ref().map_or(0, String::len);
        if length > VALUE {
            return Err(Refusal::TooLong {
                key: change.key.clone(),
                length,
                most: VALUE,
            });
        }
        let in_force = self.in_force.get(&change.key);
        let is_same = match &change.value {
            Some(_) => in_force == Some(change),
            None => in_force.is_none(),
        };
        if is_same {
            return Ok(false);
        }
        self.set(change.clone());
        Ok(true)
    }

    pub(super) fn ban(&mut self, ban: &Ban) -> Result<bool, Refusal> {
        bans::check(ban).map_err(|(field, what)| Refusal::BadBan { field, what })?;
        let key = (ban.kind, ban.value.clone());
        let known = self.bans.get(&key);
        let lasts_as_long = |known: &Ban| known.until == 0 || known.until >= ban.until.max(1);
        if known == Some(ban) || known.is_some_and(|it| ban.is_automatic && lasts_as_long(it)) {
            return Ok(false);
        }
        if known.is_none() && self.bans.len() >= bans::MOST {
            return Err(Refusal::TooManyBans(bans::MOST));
        }
        let is_more = !known.is_some_and(|known| known.is_automatic);
        if ban.is_automatic && is_more && self.n_automatic >= bans::MOST_AUTOMATIC {
            return Err(Refusal::TooManyBans(bans::MOST_AUTOMATIC));
        }
        self.set_ban(ban.clone());
        Ok(true)
    }

    pub(super) fn unban(&mut self, unban: &Unban) -> Result<bool, Refusal> {
        let key = (unban.kind, unban.value.clone());
        let is_meant = |known: &Ban| unban.until == 0 || unban.until == known.until;
        let Some(known) = self.bans.get(&key).filter(|known| is_meant(known)) else {
            return Ok(false);
        };
        self.n_automatic -= usize::from(known.is_automatic);
        Arc::make_mut(&mut self.bans).remove(&key);
        Ok(true)
    }

    pub(super) fn begin_trace(&mut self, trace: &Trace) -> Result<bool, Refusal> {
        traces::check(trace).map_err(|(field, what)| Refusal::BadTrace { field, what })?;
        let known = self.traces.get(&trace.name);
        if known == Some(trace) {
            return Ok(false);
        }
        if known.is_none() && self.traces.len() >= traces::MOST {
            return Err(Refusal::TooManyTraces(traces::MOST));
        }
        self.set_trace(trace.clone());
        Ok(true)
    }

    /// Takes a trace back, or only ends it.
    pub(super) fn end_trace(&mut self, untrace: &Untrace) -> bool {
        let is_meant = |known: &Trace| untrace.until == 0 || untrace.until == known.until;
        let Some(known) = self.traces.get(&untrace.name).filter(|it| is_meant(it)) else {
            return false;
        };
        if !untrace.stays_readable {
            Arc::make_mut(&mut self.traces).remove(&untrace.name);
            return true;
        }
        let over = Trace {
            is_over: true,
            ..known.clone()
        };
        let has_changed = !known.is_over;
        self.set_trace(over);
        has_changed
    }

    /// Changes such that setting them in order gives the configuration and its history: first
    /// what is in force and too old for the history.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Configure> {
        let is_forgotten = |change: &&Configure| !self.history.contains(*change);
        let is_full = self.history.len() == HISTORY;
        let forgotten = self
            .in_force()
            .filter(move |it| is_full && is_forgotten(it));
        forgotten.chain(self.history())
    }

    pub(super) fn set(&mut self, change: Configure) {
        let in_force = Arc::make_mut(&mut self.in_force);
        if change.value.is_some() {
            in_force.insert(change.key.clone(), change.clone());
        } else {
            in_force.remove(&change.key);
        }
        let history = Arc::make_mut(&mut self.history);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(change);
    }

    pub(super) fn set_ban(&mut self, ban: Ban) {
        self.n_automatic += usize::from(ban.is_automatic);
        let bans = Arc::make_mut(&mut self.bans);
        let known = bans.insert((ban.kind, ban.value.clone()), ban);
        self.n_automatic -= usize::from(known.is_some_and(|known| known.is_automatic));
    }

    pub(super) fn set_trace(&mut self, trace: Trace) {
        Arc::make_mut(&mut self.traces).insert(trace.name.clone(), trace);
    }
}
