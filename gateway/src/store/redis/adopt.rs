//! What becomes of the sessions of a dead owner.
//!
//! Each step leaves what it takes where it was, under the dead one's name, until nothing more is to
//! be done for it; so a step whose answer was lost, or that failed half way, is simply done again,
//! and the dead one's name is free of sessions only when others have them in every respect.

use redis::Value;

use super::claim::{Answer, Claimed, Ended, Holder, Seen, Taken, ended, names_of, parse};
use super::layout::{DEAD, ENDED, OWNED, slice_of};
use super::reply::{self, Parts};
use super::{Error, RedisStore, script};
use crate::store::keys;

/// How long it is remembered that an owner is dead, in seconds: longer than a process stands still
/// that is to go on.
const REMEMBERED: u64 = 7 * 24 * 3600;

/// What a session of a dead owner is.
#[derive(Debug)]
pub(crate) enum Adopted {
    /// The caller's now. The caller may have been told before.
    Taken(Box<Taken>),
    /// Somebody else's, maybe the caller's, as it knows; but not every gateway knows of its routes
    /// there: the dead one's stand in.
    Waits(Holder),
    /// Not the dead one's any more in any respect.
    Gone,
}

/// Some of what an owner has in a slice.
#[derive(Debug)]
pub(crate) struct Found<P> {
    pub(crate) parts: Vec<P>,
    /// What of it is none of ours, as it can be shown: a name or a number that cannot be read.
    pub(crate) damaged: Vec<String>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<u64>,
}

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Marks an owner as dead in a slice: it claims and writes nothing there from now on.
    pub(crate) async fn bury(&self, owner: u64, slice: u16) -> Result<(), Error> {
        let pool = &self.shared.pool;
        let make = |_| {
            let mut cmd = redis::cmd("SET");
            cmd.arg(pool.layout.of(slice, DEAD, owner));
            cmd.arg(1).arg("EX").arg(REMEMBERED);
            cmd
        };
        let slot = pool.layout.slot_of_slice(slice);
        pool.request(slot, pool.deadline(), true, make).await?;
        Ok(())
    }

    /// Gets a session of a dead owner, without a connection. `known` is the number and epoch under
    /// which the caller has the session in memory, if it does. `now` is in Unix milliseconds.
    ///
    /// As with [`Self::claim`], what was submitted for a session that is not in memory any more is
    /// written first.
    pub(crate) async fn adopt(
        &self,
        client_id: &str,
        (from, owner): (u64, u64),
        known: Option<(u64, u64)>,
        now: u64,
    ) -> Result<Adopted, Error> {
        let pool = &self.shared.pool;
        let deadline = pool.deadline();
        if known.is_none() && self.shared.places.has_client(client_id) {
            self.settle(deadline).await?;
        }
        let slice = slice_of(client_id);
        let layout = &pool.layout;
        let known = known.map_or_else(String::new, |(number, epoch)| format!("{number} {epoch}"));
        let mut seen: Option<Seen> = None;
        loop {
            let make = |_| {
                let mut names = vec![
                    layout.session(slice, client_id),
                    layout.of(slice, OWNED, owner),
                    layout.of(slice, OWNED, from),
                    layout.of(slice, DEAD, owner),
                ];
                let number = seen.as_ref().map_or("", |(number, _)| number);
                if !number.is_empty() {
                    names.extend(names_of(&layout.slice(slice), number));
                }
                let mut cmd = script::call(&pool.scripts.adopt, &names);
                cmd.arg(layout.slice(slice)).arg(client_id);
                cmd.arg(owner).arg(from).arg(now);
                cmd.arg(u8::from(pool.config.is_cluster())).arg(number);
                cmd.arg(&known);
                cmd
            };
            let slot = layout.slot_of_slice(slice);
            let answer = pool.request(slot, deadline, true, make).await?;
            match parse(answer)? {
                Answer::Claimed(Claimed::Taken(taken)) => return Ok(Adopted::Taken(taken)),
                Answer::Seen(now) => seen = Some(now),
                Answer::Waits(holder) => return Ok(Adopted::Waits(holder)),
                Answer::Gone => return Ok(Adopted::Gone),
                Answer::Claimed(_) | Answer::Late => return Err(Error::Malformed),
            }
        }
    }

    /// Gets what an ended session of a dead owner left, if that was still to be looked after. The
    /// dead one's entry stays until [`Self::inherited`].
    pub(crate) async fn inherit(
        &self,
        client_id: &str,
        number: u64,
        from: u64,
        owner: u64,
    ) -> Result<Option<Ended>, Error> {
        let pool = &self.shared.pool;
        let slice = slice_of(client_id);
        let layout = &pool.layout;
        let make = |_| {
            let names = [
                layout.of(slice, ENDED, from),
                layout.of(slice, ENDED, owner),
                layout.of(slice, keys::WILL, number),
                layout.of(slice, keys::QUEUE, number),
                layout.of(slice, DEAD, owner),
                layout.of(slice, keys::RECENT, number),
            ];
            let mut cmd = script::call(&pool.scripts.inherit, &names);
            cmd.arg(number).arg(owner);
            cmd
        };
        let slot = layout.slot_of_slice(slice);
        let answer = pool.request(slot, pool.deadline(), true, make).await?;
        match answer {
            Value::BulkString(_) | Value::SimpleString(_) => Err(Error::Dead),
            answer => Ok(ended(answer)?),
        }
    }

    /// What an ended session of a dead owner left is looked after.
    pub(crate) async fn inherited(
        &self,
        client_id: &str,
        number: u64,
        from: u64,
    ) -> Result<(), Error> {
        let pool = &self.shared.pool;
        let slice = slice_of(client_id);
        let make = |_| {
            let mut cmd = redis::cmd("HDEL");
            cmd.arg(pool.layout.of(slice, ENDED, from)).arg(number);
            cmd
        };
        let slot = pool.layout.slot_of_slice(slice);
        pool.request(slot, pool.deadline(), true, make).await?;
        Ok(())
    }

    /// Client ids of the sessions that an owner has in a slice, or whose routes it stands in for,
    /// from a cursor on, which is 0 at the beginning. Some may come twice, none is left out that
    /// stays.
    pub(crate) async fn sessions_of(
        &self,
        owner: u64,
        slice: u16,
        cursor: u64,
    ) -> Result<Found<String>, Error> {
        let (names, next) = self.walk("SSCAN", OWNED, owner, slice, cursor).await?;
        let (mut parts, mut damaged) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            match String::from_utf8(name.bytes()?) {
                Ok(client_id) => parts.push(client_id),
                Err(error) => damaged.push(shown(error.as_bytes())),
            }
        }
        Ok(Found {
            parts,
            damaged,
            next,
        })
    }

    /// Numbers and client ids of the ended sessions in a slice that an owner still was to look
    /// after; as [`Self::sessions_of`].
    pub(crate) async fn ended_of(
        &self,
        owner: u64,
        slice: u16,
        cursor: u64,
    ) -> Result<Found<(u64, String)>, Error> {
        let (entries, next) = self.walk("HSCAN", ENDED, owner, slice, cursor).await?;
        let mut entries = entries.into_iter();
        let (mut parts, mut damaged) = (Vec::new(), Vec::new());
        while let (Some(number), Some(mark)) = (entries.next(), entries.next()) {
            let (number, mark) = (number.bytes()?, mark.bytes()?);
            match ended_session(&number, &mark) {
                Some(ended) => parts.push(ended),
                None => damaged.push(shown(&number)),
            }
        }
        Ok(Found {
            parts,
            damaged,
            next,
        })
    }

    /// The key of a session, and those of what an owner has in a slice: sessions, and what is left of
    /// some that have ended.
    pub(crate) fn key_of(&self, client_id: &str) -> String {
        let layout = &self.shared.pool.layout;
        layout.session(slice_of(client_id), client_id)
    }

    pub(crate) fn keys_of(&self, owner: u64, slice: u16) -> [String; 2] {
        let layout = &self.shared.pool.layout;
        [OWNED, ENDED].map(|kind| layout.of(slice, kind, owner))
    }

    async fn walk(
        &self,
        command: &str,
        kind: u8,
        owner: u64,
        slice: u16,
        cursor: u64,
    ) -> Result<(Vec<Value>, Option<u64>), Error> {
        let pool = &self.shared.pool;
        let make = |_| {
            let mut cmd = redis::cmd(command);
            cmd.arg(pool.layout.of(slice, kind, owner));
            cmd.arg(cursor).arg("COUNT").arg(256);
            cmd
        };
        let slot = pool.layout.slot_of_slice(slice);
        let answer = pool.request(slot, pool.deadline(), false, make).await?;
        let [next, found] = reply::values(answer.list()?)?;
        let next = next.number()?;
        Ok((found.list()?, (next != 0).then_some(next)))
    }
}

/// The number and the client id of a session that has ended.
fn ended_session(number: &[u8], mark: &[u8]) -> Option<(u64, String)> {
    let number = str::from_utf8(number).ok()?.parse().ok()?;
    let (_, client_id) = str::from_utf8(mark).ok()?.split_once(':')?;
    Some((number, client_id.to_owned()))
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
