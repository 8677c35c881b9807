//! What became of a batch: what of it Redis has, and what it refused.

use std::collections::{BTreeMap, HashMap};

use gatemq_storage::Batch;
use redis::Value;

use super::layout;
use super::part::{self, Round, Touched};
use super::reply::{self, Parts};
use crate::metrics::Limit;
use crate::retained::Quota;

/// What became of a batch. What is not named here is as safe as Redis keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Sessions of which nothing was written, because they are not this gateway's any more.
    pub(crate) fenced: Vec<Fence>,
    /// Sessions of which what was put was refused, and why. What was removed is removed.
    pub(crate) refused: Vec<(u64, Refusal)>,
    /// What became of retained messages, in the order of the batch.
    pub(crate) retained: Vec<(Box<str>, Change)>,
}

/// A session of which nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) number: u64,
    pub(crate) why: Fenced,
    /// Under which claim it was to be written: this gateway may have it by another one by now.
    pub(crate) epoch: u64,
}

/// Why a session is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// Another owner, or a later session, has the client id.
    Taken,
    /// Redis does not have the session: it was wiped, or failed over and lost what it had
    /// confirmed.
    Missing,
    /// The caller did not attach it.
    Unattached,
}

/// Why what was put for a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Redis has no memory for it.
    NoMemory,
    /// Asking again would not help: something else than a session's is under one of its keys, or
    /// Redis may not be asked so. The log has what it says.
    Otherwise,
}

/// What became of a retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    New,
    Replaced,
    Cleared,
    /// There was none to be cleared.
    Absent,
    /// It had been made before; what there is now may be somebody else's.
    Made,
    /// It took long, and the session that it is of is another gateway's by now; or it took too long
    /// each time.
    Late,
    /// There are as many as there may be.
    Full,
    /// They have as many bytes as they may have.
    FullOfBytes,
    /// Redis has no memory for it, or refuses it otherwise.
    Refused,
}

/// The outcomes of a round.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    fenced: HashMap<u64, Fence>,
    refused: HashMap<u64, Refusal>,
    retained: BTreeMap<u8, Vec<Change>>,
}

// === impl Change ===

impl Change {
    /// Whether Redis has it as it was meant.
    pub(crate) fn is_kept(self) -> bool {
        match self {
            Self::New | Self::Replaced | Self::Cleared | Self::Absent | Self::Made => true,
            Self::Late | Self::Full | Self::FullOfBytes | Self::Refused => false,
        }
    }

    /// Whether its session is another gateway's: whoever it is of publishes it there.
    pub(crate) fn is_late(self) -> bool {
        self == Self::Late
    }

    /// The limit that was in the way, if one was.
    pub(crate) fn limit(self) -> Option<Limit> {
        match self {
            Self::Full => Some(Limit::MaxRetained),
            Self::FullOfBytes => Some(Limit::MaxRetainedBytes),
            _ => None,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether Redis has all of it.
    pub(crate) fn is_safe(&self) -> bool {
        let is_kept = |change: &Change| change.is_kept();
        self.fenced.is_empty()
            && self.refused.is_empty()
            && self.retained.iter().all(|(_, change)| is_kept(change))
    }

    /// Why nothing was written of a session, if nothing was.
    pub(crate) fn fence_of(&self, number: u64) -> Option<&Fence> {
        self.fenced.iter().find(|fence| fence.number == number)
    }

    /// The sessions of which nothing was written, and why.
    #[cfg(test)]
    pub(crate) fn fenced(&self) -> Vec<(u64, Fenced)> {
        let fenced = self.fenced.iter();
        fenced.map(|fence| (fence.number, fence.why)).collect()
    }

    /// Whether nothing, or not all, was written of a session.
    pub(crate) fn is_lost(&self, number: u64) -> bool {
        self.fence_of(number).is_some() || self.is_refused(number)
    }

    /// Whether what was put for a session was refused.
    pub(crate) fn is_refused(&self, number: u64) -> bool {
        self.refused.iter().any(|(refused, _)| *refused == number)
    }
}

// === impl Outcomes ===

impl Outcomes {
    pub(super) fn fence(&mut self, fence: Fence) {
        self.fenced.insert(fence.number, fence);
    }

    /// Whether nothing was written of a session, or not all.
    pub(super) fn is_lost(&self, number: u64) -> bool {
        self.fenced.contains_key(&number) || self.refused.contains_key(&number)
    }

    fn refuse(&mut self, number: u64, why: Refusal) {
        self.refused.insert(number, why);
    }

    /// Notes what write.lua answered, for a session under this epoch.
    pub(super) fn note_session(
        &mut self,
        number: u64,
        epoch: u64,
        answer: Result<&Value, Refusal>,
    ) {
        let why = match answer {
            Ok(Value::Int(0)) => return,
            Ok(Value::Int(1)) => Fenced::Taken,
            Ok(Value::Int(2)) => Fenced::Missing,
            Ok(Value::Int(3)) => return self.refuse(number, Refusal::NoMemory),
            Ok(_) => return self.refuse(number, Refusal::Otherwise),
            Err(why) => return self.refuse(number, why),
        };
        self.fence(Fence { number, why, epoch });
    }

    /// Notes what retain.lua answered to `n` changes; `None` stands for an error. Returns how many
    /// messages the shard has.
    pub(super) fn note_shard(
        &mut self,
        shard: u8,
        n: usize,
        answer: Option<Value>,
    ) -> Option<Quota> {
        let answer = answer.and_then(|answer| reply::values::<3>(answer.list().ok()?).ok());
        let (count, outcome) = match answer {
            Some([messages, outcome, bytes]) => {
                let messages = messages.number().ok();
                let count = messages.zip(bytes.number().ok());
                let count = count.map(|(messages, bytes)| Quota { messages, bytes });
                (count, outcome.bytes().unwrap_or_default())
            }
            None => (None, Vec::new()),
        };
        let letters = outcome.into_iter().chain(std::iter::repeat(b'm')).take(n);
        let changes = letters.map(|letter| match letter {
            b'n' => Change::New,
            b'r' => Change::Replaced,
            b'c' => Change::Cleared,
            b'a' => Change::Absent,
            b'k' => Change::Made,
            b'l' => Change::Late,
            b'f' => Change::Full,
            b'b' => Change::FullOfBytes,
            _ => Change::Refused,
        });
        self.retained.insert(shard, changes.collect());
        count
    }

    /// The verdict on each batch of the round.
    pub(super) fn verdicts(self, round: &Round<'_>, batches: &[Batch]) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::default(); batches.len()];
        if self.fenced.is_empty() && self.refused.is_empty() && round.retained.is_empty() {
            return verdicts;
        }
        let mut retained: BTreeMap<u8, _> = self.retained.into_iter().collect();
        let mut retained: BTreeMap<u8, _> = retained
            .iter_mut()
            .map(|(shard, changes)| (*shard, changes.drain(..)))
            .collect();
        for (batch, verdict) in batches.iter().zip(&mut verdicts) {
            for touched in part::touched(batch) {
                match touched {
                    Touched::Session(number) => {
                        if let Some(fence) = self.fenced.get(&number)
                            && !verdict.fenced.contains(fence)
                        {
                            verdict.fenced.push(*fence);
                        }
                        if let Some(why) = self.refused.get(&number)
                            && !verdict.is_refused(number)
                        {
                            verdict.refused.push((number, *why));
                        }
                    }
                    Touched::Retained(topic) => {
                        let shard = retained.get_mut(&layout::shard_of(topic));
                        let change = shard.and_then(Iterator::next).unwrap_or(Change::Refused);
                        let topic = String::from_utf8_lossy(topic).into();
                        verdict.retained.push((topic, change));
                    }
                }
            }
        }
        verdicts
    }
}
