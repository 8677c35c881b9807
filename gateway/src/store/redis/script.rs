//! The scripts that Redis runs, and the calls of them.
//!
//! Client ids, topics and values are arguments, never part of a script.

use gatemq_node::seeded_bug::{Bug, is_seeded};
use redis::Cmd;

use super::super::keys;
use super::super::record::SessionRecord;
use super::layout::{DEAD, ENDED, Layout, OF_NUMBER, OWNED};
use super::part::{Part, Retain, Withheld};
use super::places::Place;
use crate::retained::Quota;
use crate::session::recent::EXACT;

/// All scripts.
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) adopt: Script,
    pub(super) known: Script,
    pub(super) inherit: Script,
    pub(super) write: Script,
    pub(super) queue: Script,
    pub(super) retain: Script,
    pub(super) weigh: Script,
    pub(super) page: Script,
}

/// A script, known to a server that has it by its hash.
pub(super) struct Script {
    hash: String,
    text: String,
}

// === impl Scripts ===

impl Scripts {
    pub(super) fn new() -> Self {
        const STATE: &str = include_str!("scripts/state.lua");
        const WEIGHT: &str = include_str!("scripts/weight.lua");
        const WRITE: &str = include_str!("scripts/write.lua");
        let claim = [STATE, include_str!("scripts/claim.lua")].concat();
        let adopt = [STATE, include_str!("scripts/adopt.lua")].concat();
        let retain = [WEIGHT, include_str!("scripts/retain.lua")].concat();
        let weigh = [WEIGHT, include_str!("scripts/weigh.lua")].concat();
        let known = include_str!("scripts/known.lua");
        Self {
            claim: Script::new(claim),
            adopt: Script::new(adopt),
            known: Script::new(known),
            inherit: Script::new(include_str!("scripts/inherit.lua")),
            write: Script::new(match is_seeded(Bug::EpochCheckOff) {
                true => unfenced(WRITE),
                false => WRITE.to_owned(),
            }),
            queue: Script::new(include_str!("scripts/queue.lua")),
            retain: Script::new(retain),
            weigh: Script::new(weigh),
            page: Script::new(include_str!("scripts/page.lua")),
        }
    }

    pub(super) fn all(&self) -> [&Script; 9] {
        [
            &self.claim,
            &self.adopt,
            &self.known,
            &self.inherit,
            &self.write,
            &self.queue,
            &self.retain,
            &self.weigh,
            &self.page,
        ]
    }
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

// === impl Script ===

impl Script {
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            hash: redis::Script::new(&text).get_hash().to_owned(),
            text,
        }
    }

    /// What makes it known to a server.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.text);
        cmd
    }
}

/// The script of writes as it would be if nobody looked at who writes, and since when.
fn unfenced(write: &str) -> String {
    UNFENCED
        .iter()
        .fold(write.to_owned(), |text, (fence, gap)| {
            text.replace(fence, gap)
        })
}

/// What fences in that script, and what there is without it.
const UNFENCED: [(&str, &str); 3] = [
    ("redis.call('EXISTS', dead) == 1", "false"),
    (" and held[5] == owner\n", "\n"),
    (
        "    and tonumber(held[2]) <= epoch and epoch <= tonumber(held[3])\n",
        "",
    ),
];

/// The beginning of a call.
pub(super) fn call(script: &Script, keys: &[String]) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(&script.hash).arg(keys.len()).arg(keys);
    cmd
}

/// What a session's owner writes, in one call.
pub(super) fn write(
    scripts: &Scripts,
    layout: &Layout,
    (number, place, is_ended): (u64, &Place, bool),
    part: &Part<'_>,
    round: u64,
) -> Cmd {
    let Place { slice, owner, .. } = *place;
    let mut names = Vec::with_capacity(9);
    names.push(layout.session(slice, &place.client_id));
    names.extend(OF_NUMBER.map(|kind| layout.of(slice, kind, number)));
    names.extend([OWNED, ENDED, DEAD].map(|kind| layout.of(slice, kind, owner)));
    let mut cmd = call(&scripts.write, &names);
    cmd.arg(number).arg(place.epoch).arg(round);
    cmd.arg(flags(part, is_ended));
    cmd.arg(part.queue.deleted.len());
    cmd.arg(part.filters.deleted().count());
    cmd.arg(part.received.deleted().count());
    cmd.arg(part.queue.puts.len());
    cmd.arg(part.filters.puts().count());
    cmd.arg(part.received.puts().count());
    cmd.arg(part.recent.len()).arg(owner);
    let last = part.recent.iter().map(|(seq, _)| *seq).max();
    cmd.arg(last.map_or_else(String::new, |seq| seq.to_string()));
    cmd.arg(part.edge.map_or_else(String::new, |edge| edge.to_string()));
    for (from, to) in &part.queue.deleted {
        cmd.arg(*from).arg(below(*to));
    }
    for filter in part.filters.deleted() {
        cmd.arg(filter);
    }
    for id in part.received.deleted() {
        cmd.arg(id);
    }
    let mut member = Vec::new();
    for (seq, value) in &part.queue.puts {
        member.clear();
        member.extend_from_slice(&seq.to_be_bytes());
        member.extend_from_slice(value);
        cmd.arg(*seq).arg(&member[..]);
    }
    for (filter, value) in part.filters.puts() {
        cmd.arg(filter).arg(value);
    }
    for (id, origin) in part.received.puts() {
        cmd.arg(id).arg(origin);
    }
    for (seq, message) in &part.recent {
        cmd.arg(seq % EXACT * 8).arg(*message);
    }
    if let Some(Some(will)) = part.will {
        cmd.arg(will);
    }
    match part.record {
        Some(Some(record)) => {
            let terms = Terms::of(record);
            cmd.arg(record).arg(u8::from(terms.is_connected));
            cmd.arg(terms.expires).arg(terms.expiry);
            if let Some(principal) = terms.principal {
                cmd.arg(principal);
            }
        }
        Some(None) => {
            cmd.arg(&*place.client_id);
        }
        None => {}
    }
    cmd
}

/// What there is to do beside the lists: lower case for what goes, upper for what comes.
fn flags(part: &Part<'_>, is_ended: bool) -> String {
    let flags = [
        (part.queue.is_cleared, 'q'),
        (part.filters.is_cleared, 'f'),
        (part.received.is_cleared, 'i'),
        (part.will == Some(None), 'w'),
        (matches!(part.will, Some(Some(_))), 'W'),
        (matches!(part.record, Some(Some(_))), 'S'),
        (part.is_end(), 's'),
        (part.is_end() || is_ended, 'e'),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
    flags.map(|(_, flag)| flag).collect()
}

/// What Redis has to know of a session's record.
struct Terms {
    is_connected: bool,
    /// When it expires, in Unix milliseconds; empty for never, and while it is connected.
    expires: String,
    expiry: u32,
    /// Whom it is for; empty for whoever comes, `None` where that stays as it is.
    principal: Option<String>,
}

impl Terms {
    fn of(record: &[u8]) -> Self {
        let Ok(record) = SessionRecord::restore(record) else {
            // The gateway has just made it; should it ever not be readable, it does not expire.
            return Self {
                is_connected: false,
                expires: String::new(),
                expiry: u32::MAX,
                principal: None,
            };
        };
        let is_connected = record.detached_at == 0;
        let expires = match is_connected || record.expiry == u32::MAX {
            true => String::new(),
            false => {
                let lives = u64::from(record.expiry) * 1000;
                record.detached_at.saturating_add(lives).to_string()
            }
        };
        Self {
            is_connected,
            expires,
            expiry: record.expiry,
            principal: Some(record.principal),
        }
    }
}

/// Changes of retained messages in one shard, in one call, by `until` at the latest, in Unix
/// milliseconds by the server's clock.
pub(super) fn retain(
    scripts: &Scripts,
    layout: &Layout,
    shard: u8,
    changes: &[Retain<'_>],
    (writer, round, until): (u64, u64, Option<u64>),
    (bounds, others): (Quota, Quota),
) -> Cmd {
    let names = [
        layout.retained_values(shard),
        layout.retained_topics(shard),
        layout.retained_applied(shard, writer),
        layout.retained_bytes(shard),
        layout.retained_once(shard),
    ];
    let mut cmd = call(&scripts.retain, &names);
    cmd.arg(round);
    cmd.arg(bounds.messages).arg(others.messages);
    cmd.arg(bounds.bytes).arg(others.bytes);
    cmd.arg(until.map_or_else(String::new, |until| until.to_string()));
    for change in changes {
        let sign = match change.value {
            _ if change.withheld.is_some() => "x",
            Some(_) => "+",
            None => "-",
        };
        let value = match change.withheld {
            None => change.value.unwrap_or_default(),
            Some(Withheld::Elsewhere) => b"l",
            Some(Withheld::TooSlow) => b"m",
        };
        cmd.arg(sign).arg(change.topic).arg(value).arg(change.once);
    }
    cmd
}

/// Clears retained messages of one shard that still have these values.
pub(super) fn clear_retained(
    scripts: &Scripts,
    layout: &Layout,
    shard: u8,
    expired: &[(String, bytes::Bytes)],
) -> Cmd {
    let names = [
        layout.retained_values(shard),
        layout.retained_topics(shard),
        layout.retained_applied(shard, 0),
        layout.retained_bytes(shard),
        layout.retained_once(shard),
    ];
    let mut cmd = call(&scripts.retain, &names);
    cmd.arg(0).arg(0).arg(0).arg(0).arg(0).arg("");
    for (topic, value) in expired {
        cmd.arg("-").arg(topic).arg(&value[..]).arg("");
    }
    cmd
}

/// Counts the retained messages of one shard, and adds up the bytes of at most so many values where
/// that is not done.
pub(super) fn weigh(scripts: &Scripts, layout: &Layout, shard: u8, limit: usize) -> Cmd {
    let names = [
        layout.retained_values(shard),
        layout.retained_topics(shard),
        layout.retained_bytes(shard),
    ];
    let mut cmd = call(&scripts.weigh, &names);
    cmd.arg(limit);
    cmd
}

/// A page of a queue.
pub(super) fn queue(
    scripts: &Scripts,
    layout: &Layout,
    (slice, number): (u16, u64),
    (from, to): (u64, u64),
    (limit, n_bytes): (usize, usize),
) -> Cmd {
    let key = layout.of(slice, keys::QUEUE, number);
    let mut cmd = call(&scripts.queue, &[key]);
    cmd.arg(from).arg(below(to)).arg(limit).arg(n_bytes);
    cmd
}

/// A bound of scores that is not reached itself; scores are doubles, so the last seqs are all.
fn below(seq: u64) -> String {
    match seq {
        u64::MAX => "+inf".to_owned(),
        seq => format!("({seq}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fences_is_in_the_script_and_can_be_taken_out() {
        let write = include_str!("scripts/write.lua");
        let without = unfenced(write);
        for (fence, _) in UNFENCED {
            assert!(write.contains(fence) && !without.contains(fence), "{fence}");
        }
        assert!(without.contains("local is_live = held[1] == number\nlocal last"));
    }
}
