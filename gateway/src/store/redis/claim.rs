//! Who has a client id: one gateway at a time, decided by one call in Redis.
//!
//! A claim raises the session's epoch, so that writes of the owner before it are refused from then
//! on. It can be sent again when its answer is lost: it is known by its new number, and gets the
//! same session once more. One that arrives after its caller gave up does nothing.

use std::num::NonZeroU16;
use std::ops::Range;

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backlog::Entry;
use super::layout::{DEAD, ENDED, OF_NUMBER, OWNED, slice_of};
use super::pool::Use;
use super::reply::{self, Malformed, Parts};
use super::script;
use super::{Error, RedisStore};
use crate::proto::mqtt::Version;
use crate::session::Subscribed;
use crate::session::received::Origin;
use crate::session::recent::EXACT;
use crate::store::keys::SEQS;
use crate::store::record::{self, SessionRecord};
use crate::will::Will;

/// What a CONNECT asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) client_id: &'a str,
    /// The number of the session if it is a new one: never used before, by no gateway. Also what
    /// this claim is known by: after [`Error::Unanswered`] the same one may be made again.
    pub(crate) new_number: u64,
    /// The incarnation that claims.
    pub(crate) owner: u64,
    /// Who the client is; a session is for the one that made it. `None` where nobody looks at that.
    pub(crate) principal: Option<&'a str>,
    pub(crate) clean_start: bool,
    /// Session expiry in force, in seconds.
    pub(crate) expiry: u32,
    pub(crate) version: Version,
    /// Unix milliseconds.
    pub(crate) now: u64,
    /// The session (number and epoch) that may be taken from a gateway that does not let it go.
    pub(crate) force: Option<(u64, u64)>,
    /// The number and epoch under which the caller has the session in memory, if it does: what is
    /// stored is left out of the answer where they are those of the session.
    pub(crate) known: Option<(u64, u64)>,
    /// Whether the caller has a lease. Without one it gets nothing that is another owner's.
    pub(crate) is_leased: bool,
    /// Whether nobody waits for the session any more, and it is only to be known whether this very
    /// claim was carried out: if it was not, it is not now.
    pub(crate) is_again: bool,
}

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    Taken(Box<Taken>),
    /// Another gateway has it, with a connection; it is to be asked to let go.
    Held(Holder),
    /// It belongs to another principal.
    Forbidden,
    /// Another gateway has it, and the caller has no lease.
    Unleased,
    /// The claim that was made before was not carried out.
    Undone,
}

/// A gateway that has, or had, a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) owner: u64,
    pub(crate) number: u64,
    pub(crate) epoch: u64,
}

/// A session that the caller owns now.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    /// Who had it before. Another gateway still has its routes, and is to drop them.
    pub(crate) previous: Option<Holder>,
    /// What it brings along; `None` for a new session.
    pub(crate) resumed: Option<Resumed>,
    /// The session that ended with this claim, to be attached as [`super::Place::ended`]: its will
    /// is to be published and deleted, what a `$share` group is owed is to be redelivered, and its
    /// queue to be deleted as a whole. If nothing is left there is nothing to do.
    pub(crate) ended: Option<Ended>,
    /// The owners whose routes stand in for it until [`RedisStore::made_known`].
    pub(crate) trail: Vec<u64>,
}

/// What an existing session brings along.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// As it was before the claim, however often that is made: `detached_at` is 0 if it had a
    /// connection.
    pub(crate) record: SessionRecord,
    /// `None` if the caller has it.
    pub(crate) stored: Option<Stored>,
}

/// What is stored of a session.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) subscriptions: Vec<(Box<str>, Subscribed)>,
    /// QoS 2 publishes received and not yet released.
    pub(crate) received: Vec<(NonZeroU16, Origin)>,
    /// What the last QoS 2 messages of its queue are known by, the oldest first.
    pub(crate) recent: Vec<u64>,
    pub(crate) queue: Option<QueueBounds>,
    /// The number of the next entry of the queue, be the ones before it there or finished.
    pub(crate) next_seq: u64,
    /// Nothing of the queue has been sent from this number on; `None` where that is not known.
    pub(crate) edge: Option<u64>,
    /// The will of the connection before; it stays stored until it is deleted.
    pub(crate) will: Option<Will>,
}

/// What is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueBounds {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) n_entries: u64,
    /// At least: of the first entries.
    pub(crate) n_bytes: u64,
}

/// What an ended session left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) will: Option<Will>,
    pub(crate) n_queued: u64,
    /// Nothing of the queue was sent from this number on; `None` where that is not known.
    pub(crate) sent_below: Option<u64>,
}

/// The numbers and owner under which a session was last seen, for a Redis Cluster.
pub(super) type Seen = (String, String);

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Gets the session of a client id for a connection. The caller then attaches it.
    ///
    /// If this gateway has had a session of the client id, and has it not any more in memory, the
    /// claim waits until all that was submitted for that one is done: its end might come later.
    pub(crate) async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, Error> {
        let pool = &self.shared.pool;
        let deadline = pool.deadline();
        if claim.known.is_none() && self.shared.places.has_client(claim.client_id) {
            self.settle(deadline).await?;
        }
        let record = SessionRecord {
            client_id: claim.client_id.to_owned(),
            version: claim.version,
            expiry: claim.expiry,
            detached_at: 0,
            created_at: claim.now,
            sent_below: u64::MAX,
            principal: claim.principal.unwrap_or_default().to_owned(),
        };
        let (record, mut seen) = (record.store(), None);
        let slot = pool.layout.slot_of_slice(slice_of(claim.client_id));
        loop {
            let make = |until: u64| self.claim_command(claim, &record, until, seen.as_ref());
            let answer = pool.request(slot, deadline, true, make).await?;
            match parse(answer)? {
                Answer::Claimed(claimed) => return complete(claimed, claim),
                Answer::Seen(now) => seen = Some(now),
                // The clock of the server was set anew, or the answer took too long.
                Answer::Late => pool.give_up_all(Use::Requests),
                Answer::Gone | Answer::Waits(_) => return Err(Error::Malformed),
            }
        }
    }

    /// Waits until all that was submitted before is done.
    pub(super) async fn settle(&self, deadline: Instant) -> Result<(), Error> {
        let (waiter, done) = oneshot::channel();
        self.shared.backlog.push(Entry::Wait(waiter));
        match tokio::time::timeout_at(deadline, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Unasked {
                why: "what was written before is not confirmed".to_owned(),
            }),
        }
    }

    fn claim_command(
        &self,
        claim: &Claim<'_>,
        record: &[u8],
        until: u64,
        seen: Option<&Seen>,
    ) -> Cmd {
        let pool = &self.shared.pool;
        let slice = slice_of(claim.client_id);
        let prefix = pool.layout.slice(slice);
        let mut names = vec![
            pool.layout.session(slice, claim.client_id),
            pool.layout.of(slice, OWNED, claim.owner),
            pool.layout.of(slice, ENDED, claim.owner),
            pool.layout.of(slice, DEAD, claim.owner),
        ];
        let (number, owner) = seen.map_or(("", ""), |(number, owner)| (number, owner));
        if seen.is_some() {
            names.extend(names_of(&prefix, number));
            names.push(format!("{prefix}{}:{owner}", char::from(OWNED)));
        }
        let (force_number, force_epoch) = match claim.force {
            Some((number, epoch)) => (number.to_string(), epoch.to_string()),
            None => (String::new(), String::new()),
        };
        let mut cmd = script::call(&pool.scripts.claim, &names);
        cmd.arg(prefix).arg(claim.client_id).arg(claim.new_number);
        cmd.arg(claim.owner)
            .arg(claim.principal.unwrap_or_default());
        cmd.arg(u8::from(claim.clean_start)).arg(claim.expiry);
        cmd.arg(record).arg(claim.now);
        cmd.arg(force_number).arg(force_epoch);
        cmd.arg(until);
        let known = claim.known;
        let known = known.map_or_else(String::new, |(number, epoch)| format!("{number} {epoch}"));
        cmd.arg(known);
        cmd.arg(u8::from(pool.config.is_cluster()));
        cmd.arg(number).arg(owner);
        cmd.arg(u8::from(claim.is_leased));
        cmd.arg(u8::from(claim.is_again));
        cmd.arg(u8::from(claim.principal.is_some()));
        cmd
    }
}

/// Only who has a session in memory gets it without its state.
fn complete(claimed: Claimed, claim: &Claim<'_>) -> Result<Claimed, Error> {
    if let Claimed::Taken(taken) = &claimed
        && let Some(resumed) = &taken.resumed
        && resumed.stored.is_none()
        && claim.known.is_none()
    {
        return Err(Error::Malformed);
    }
    Ok(claimed)
}

pub(super) fn names_of(prefix: &str, number: &str) -> [String; 5] {
    OF_NUMBER.map(|kind| format!("{prefix}{}:{number}", char::from(kind)))
}

/// What a script answers.
pub(super) enum Answer {
    Claimed(Claimed),
    /// The session has this number and owner, and the call is to name their keys.
    Seen(Seen),
    Late,
    /// It is not the dead one's any more.
    Gone,
    /// Somebody has it, and not every gateway knows of its routes there.
    Waits(Holder),
}

pub(super) fn parse(answer: Value) -> Result<Answer, Error> {
    let mut parts = answer.list()?.into_iter();
    let mut next = || parts.next().ok_or(Malformed);
    let claimed = match &*next()?.text()? {
        "taken" => {
            let (number, epoch) = (next()?.number()?, next()?.number()?);
            let (previous, resumed_, ended_) = (next()?, next()?, next()?);
            let trail = next()?.text()?;
            Claimed::Taken(Box::new(Taken {
                number,
                epoch,
                previous: previous_of(&previous.text()?)?,
                resumed: resumed(resumed_)?,
                ended: ended(ended_)?,
                trail: trail_of(&trail)?,
            }))
        }
        "held" => Claimed::Held(holder(next)?),
        "known" => return Ok(Answer::Seen((next()?.text()?, next()?.text()?))),
        "late" => return Ok(Answer::Late),
        "gone" => return Ok(Answer::Gone),
        "waits" => return Ok(Answer::Waits(holder(next)?)),
        "dead" => return Err(Error::Dead),
        "damaged" => {
            SessionRecord::restore(&next()?.bytes()?)?;
            return Err(Malformed.into()); // it is another client's
        }
        "forbidden" => Claimed::Forbidden,
        "unleased" => Claimed::Unleased,
        "undone" => Claimed::Undone,
        _ => return Err(Malformed.into()),
    };
    Ok(Answer::Claimed(claimed))
}

fn holder(mut next: impl FnMut() -> Result<Value, Malformed>) -> Result<Holder, Malformed> {
    Ok(Holder {
        owner: next()?.number()?,
        number: next()?.number()?,
        epoch: next()?.number()?,
    })
}

fn trail_of(text: &str) -> Result<Vec<u64>, Malformed> {
    let owners = text.split_ascii_whitespace();
    let owners = owners.map(|owner| owner.parse().map_err(|_| Malformed));
    owners.collect()
}

fn previous_of(text: &str) -> Result<Option<Holder>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut numbers = text
        .split(' ')
        .map(|number| number.parse().map_err(|_| Malformed));
    let mut next = || numbers.next().ok_or(Malformed)?;
    Ok(Some(Holder {
        owner: next()?,
        number: next()?,
        epoch: next()?,
    }))
}

fn resumed(answer: Value) -> Result<Option<Resumed>, Error> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let [record, state] = reply::values(answer.list()?)?;
    let record = SessionRecord::restore(&record.bytes()?)?;
    let state = state.list()?;
    let stored = match state.is_empty() {
        true => None,
        false => Some(stored(state, &record.client_id)?),
    };
    Ok(Some(Resumed { record, stored }))
}

fn stored(state: Vec<Value>, client_id: &str) -> Result<Stored, Malformed> {
    let [filters, received, queue, will_, recent, last_seq, edge] = reply::values(state)?;
    let mut subscriptions = Vec::new();
    let mut filters = filters.list()?.into_iter();
    while let (Some(filter), Some(value)) = (filters.next(), filters.next()) {
        let (filter, value) = (filter.bytes()?, value.bytes()?);
        match (record::filter(&filter), record::subscribed(&value)) {
            (Ok(filter), Ok(subscribed)) => subscriptions.push((filter.into(), subscribed)),
            _ => tracing::error!(client.id = client_id, "subscription left out"),
        }
    }
    let mut ids = received.list()?.into_iter();
    let mut received = Vec::new();
    while let (Some(id), Some(origin)) = (ids.next(), ids.next()) {
        let id = id.bytes()?[..].try_into().map_or(0, u16::from_be_bytes);
        match (NonZeroU16::new(id), Origin::from_bytes(&origin.bytes()?)) {
            (Some(id), Some(origin)) => received.push((id, origin)),
            _ => tracing::error!(client.id = client_id, "QoS 2 identifier left out"),
        }
    }
    let recent = match recent {
        Value::Nil => Vec::new(),
        recent => recent.bytes()?,
    };
    let queue = queue_bounds(queue.list()?)?;
    let last_seq = number(last_seq)?.filter(|seq| *seq < SEQS);
    let next_seq = queue
        .map_or(0, |queue| queue.last + 1)
        .max(last_seq.map_or(0, |seq| seq + 1));
    Ok(Stored {
        subscriptions,
        received,
        recent: oldest_first(&recent, next_seq),
        queue,
        next_seq,
        edge: number(edge)?,
        will: will(will_, client_id)?,
    })
}

/// What is noted of a queue by its numbers: the last QoS 2 message that was put into it, its edge, and
/// how far it was sent when its session ended.
fn number(noted: Value) -> Result<Option<u64>, Malformed> {
    match noted {
        Value::Nil => Ok(None),
        noted => match &*noted.text()? {
            "" => Ok(None),
            noted => Ok(Some(noted.parse().map_err(|_| Malformed)?)),
        },
    }
}

/// What a ring holds, beginning with the place of the next entry: there is the oldest.
fn oldest_first(ring: &[u8], next_seq: u64) -> Vec<u64> {
    let (slots, _) = ring.as_chunks::<8>();
    let at = usize::try_from(next_seq % EXACT).unwrap_or(0);
    let (newest, oldest) = slots.split_at(at.min(slots.len()));
    let messages = oldest.iter().chain(newest);
    let messages = messages.map(|message| u64::from_be_bytes(*message));
    messages.filter(|message| *message != 0).collect() // 0 where there was one of QoS 1
}

fn queue_bounds(parts: Vec<Value>) -> Result<Option<QueueBounds>, Malformed> {
    if parts.len() == 1 {
        return Ok(None);
    }
    let [n_entries, first, last, n_bytes] = reply::values(parts)?;
    let seq = |value: Value| Ok::<_, Malformed>(seq_of(&value.bytes()?).map(|(seq, _)| seq));
    Ok(Some(QueueBounds {
        first: seq(first)?.unwrap_or(0),
        last: seq(last)?.unwrap_or(SEQS / 2),
        n_entries: n_entries.number()?,
        n_bytes: n_bytes.number()?,
    }))
}

/// The number and the value of an entry of a queue, unless it is damaged.
pub(super) fn seq_of(member: &[u8]) -> Option<(u64, &[u8])> {
    let (seq, value) = member.split_first_chunk::<8>()?;
    let seq = u64::from_be_bytes(*seq);
    (seq < SEQS).then_some((seq, value))
}

pub(super) fn ended(answer: Value) -> Result<Option<Ended>, Malformed> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let [ended, will_, n_queued, sent_below] = reply::values(answer.list()?)?;
    Ok(Some(Ended {
        number: ended.number()?,
        will: will(will_, "")?,
        n_queued: n_queued.number()?,
        sent_below: number(sent_below)?,
    }))
}

fn will(answer: Value, client_id: &str) -> Result<Option<Will>, Malformed> {
    if answer == Value::Nil {
        return Ok(None);
    }
    match record::will(&answer.bytes()?) {
        Ok(will) => Ok(Some(will)),
        Err(error) => {
            tracing::error!(client.id = client_id, %error, "will left out");
            Ok(None)
        }
    }
}

/// The entries of a page of a queue, of which these numbers were asked for.
pub(super) fn entries(
    members: Vec<Value>,
    asked: Range<u64>,
) -> Result<Vec<(u64, Bytes)>, Malformed> {
    let mut entries = Vec::with_capacity(members.len());
    for member in members {
        let member = Bytes::from(member.bytes()?);
        match seq_of(&member) {
            Some((seq, _)) if asked.contains(&seq) => entries.push((seq, member.slice(8..))),
            _ => tracing::error!("queue entry left out: no such number"),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_was_asked_for_and_nothing_else() {
        let member = |seq: u64| Value::BulkString([&seq.to_be_bytes(), &b"x"[..]].concat());
        let seqs = [4, u64::MAX, 7, SEQS, 3, 9];
        let members = seqs.into_iter().map(member).collect();
        let page = entries(members, 4..9).expect("well formed");
        let seqs: Vec<u64> = page.into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(seqs, [4, 7]);
    }
}
