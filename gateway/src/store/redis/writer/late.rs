//! What is to be retained, and takes long.
//!
//! Retained messages are no session's in Redis, so nothing there fences them: a call of a gateway that
//! stood still, or that Redis did not hear for a while, would put back what its client has replaced
//! since, at another gateway. So a change has with it of which session it is, and a time until which
//! that is certain to be here: nobody else has let its client in by then, see [`CERTAIN`]. The call says
//! so, and behind that time Redis does nothing but say that it is late. Then it is asked whether this
//! gateway may still write for the session; what is of one that it may not write for is not made, and
//! the rest is sent once more, as certain again as when it was asked. Nothing is sent before all of the
//! round is done, so the changes keep their order. What does not arrive in time however often it is
//! sent, since it is too large for the network that there is, is not made either ([`TRIES`]): all that
//! this gateway writes would wait for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use gatemq_node::uptime;
use redis::Value;

use super::super::Error;
use super::super::part::{Part, Retain, Round, Withheld};
use super::super::script;
use super::{Call, Held, Target, Writer};

/// How long a session is certainly here that was here a moment ago, or as long as the lease if that is
/// shorter: another gateway asks for it for 3 s before it takes it from one that has a lease.
pub(crate) const CERTAIN: Duration = Duration::from_secs(2);
/// How often a call may come too late: the first time it may have waited long before it was sent.
const TRIES: u32 = 4;
/// Sessions that are asked for at once.
const AT_ONCE: usize = 256;

/// By when changes are to be made, in milliseconds that the machine has been up.
pub(super) fn until(changes: &[Retain<'_>]) -> Option<u64> {
    let whose = changes.iter().filter_map(|change| change.whose);
    whose.map(|whose| whose.until).min()
}

/// That time as others count; now if it is over.
pub(super) fn instant(until: u64) -> Instant {
    let left = Duration::from_millis(until).saturating_sub(uptime());
    Instant::now() + left
}

/// Whether much time was left, by this clock: then the server's is not as it was when it was asked.
/// Some is left to whoever is far away, since what is known of the server's clock is as old as the
/// answer was on its way.
pub(super) fn has_time(until: u64) -> bool {
    uptime() + CERTAIN / 2 < Duration::from_millis(until)
}

/// Whether retain.lua says that it came too late.
pub(super) fn is_late(answer: &Value) -> bool {
    matches!(answer, Value::Array(parts) if parts.len() == 1)
}

/// Gives up the largest of what has come too late too often: it is for them that the others wait.
fn give_up(round: &mut Round<'_>, calls: &mut [Call]) {
    for call in calls.iter_mut().filter(|call| call.is_late) {
        let Target::Shard(shard) = call.target else {
            continue;
        };
        if call.n_late < TRIES {
            continue;
        }
        let size = |change: &Retain<'_>| change.value.map_or(0, <[u8]>::len);
        let is_open = |it: &Retain<'_>| it.whose.is_some() && it.withheld.is_none();
        let changes = round.retained.get(&shard).into_iter().flatten();
        let sizes = changes.filter(|change| is_open(change)).map(size);
        let largest = sizes.max().unwrap_or(0);
        let changes = round.retained.get_mut(&shard).into_iter().flatten();
        for change in changes.filter(|change| is_open(change) && size(change) * 2 >= largest) {
            let topic = String::from_utf8_lossy(change.topic);
            tracing::warn!(
                %topic,
                "redis does not get in time what is to be retained: it is not; is the network too slow?"
            );
            change.withheld = Some(Withheld::TooSlow);
        }
        call.n_late = TRIES - 1; // the next ones if that is not enough
        let mut changes = round.retained.get(&shard).into_iter().flatten();
        if !changes.any(is_open) {
            (call.until, call.is_late) = (None, false); // of what is left nothing is anybody's
        }
    }
}

impl<T: Send + 'static> Writer<T> {
    /// Looks after calls that came too late, all at once: the next attempt has the time that one asking
    /// gives. What is not known is looked at again, behind that attempt.
    pub(super) async fn look_late(&self, round: &mut Round<'_>, calls: &mut [Call]) {
        give_up(round, calls);
        let late = calls.iter_mut().filter(|call| call.is_late);
        let mut late: Vec<(u8, &mut Call)> = late
            .filter_map(|call| match call.target {
                Target::Shard(shard) => Some((shard, call)),
                Target::Session(_) => None,
            })
            .collect();
        let asked_at = uptime();
        let changes = late
            .iter()
            .filter_map(|(shard, _)| round.retained.get(shard));
        let undecided = changes.flatten().filter(|change| change.withheld.is_none());
        let mut sessions: Vec<u64> = undecided.filter_map(|it| Some(it.whose?.session)).collect();
        sessions.sort_unstable();
        sessions.dedup();
        let asking = sessions.into_iter().map(async |session| {
            let ends = round.sessions.get(&session).is_some_and(Part::is_end);
            let is_here = self.may_write(session, ends).await?;
            Ok::<_, Error>((session, is_here))
        });
        let asking = stream::iter(asking).buffer_unordered(AT_ONCE);
        let are_here: HashMap<u64, bool> = match asking.try_collect().await {
            Ok(are_here) => are_here,
            Err(error) => {
                tracing::debug!(%error, "not known whose retained messages are now");
                for (_, call) in late {
                    call.n_late -= 1; // the next one has no new time
                }
                return;
            }
        };
        let until = u64::try_from((asked_at + CERTAIN).as_millis()).unwrap_or(u64::MAX);
        for (shard, call) in &mut late {
            let changes = round.retained.get_mut(shard).into_iter().flatten();
            for change in changes {
                let session = change.whose.map(|whose| whose.session);
                if session.is_some_and(|it| are_here.get(&it) == Some(&false)) {
                    change.withheld.get_or_insert(Withheld::Elsewhere);
                }
            }
            (call.until, call.is_late) = (Some(until), false);
        }
    }

    /// Whether this gateway may write for a session, or nobody has it because it has ended here.
    async fn may_write(&self, session: u64, ends: bool) -> Result<bool, Error> {
        let Some(Held { place, is_ended }) = self.places.get(&session) else {
            return Ok(false);
        };
        let pool = &self.shared.pool;
        let nothing = Part::default();
        // A write of nothing, of a round that has been: it is judged like any other.
        let make = |_| {
            let whose = (session, &**place, false);
            script::write(&pool.scripts, &pool.layout, whose, &nothing, 0)
        };
        let slot = pool.layout.slot_of_slice(place.slice);
        let answer = pool.request(slot, pool.deadline(), false, make).await?;
        Ok(match answer {
            Value::Int(0) => true,
            Value::Int(2) => ends || *is_ended, // nobody has it
            _ => false,
        })
    }
}
