//! How much may pass in a time: buckets of tokens. Pure: times are passed in.
//!
//! Who wants to pass takes its tokens at once, and is told how long it has to wait until they are
//! there. So those who share a bucket have their turns in the order in which they came, nobody asks
//! twice, and what is larger than the bucket passes too, when its tokens have flowed in. Where too much
//! is owed already ([`MOST_OWED`]) those who share a bucket wait without taking, and ask again.

use crate::config::Rates;
use crate::metrics::Limit;

/// A token, in the unit that is counted: so many flow in each millisecond as tokens each second.
const TOKEN: i64 = 1_000;
/// How many milliseconds' worth may be owed by those who share a bucket when one more takes from it.
const MOST_OWED: u64 = 10_000;
/// How many have flowed in when somebody asks again for whom too much was owed.
const EASED: u64 = 1_000;

/// Tokens that flow in evenly, up to as many as flow in within a second.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: i64,
    /// Below zero: what is taken and not there yet.
    level: i64,
    /// When it had that level.
    at: u64,
}

/// The publishes of one client, or of several, and their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// What they are called, in metrics.
    names: [Limit; 2],
}

// === impl Bucket ===

impl Bucket {
    /// A full one, with a rate in tokens a second; none for 0, which is no limit.
    pub(crate) fn new(rate: u64, now: u64) -> Option<Self> {
        // More than that in a second is no limit that anybody reaches.
        let rate = i64::try_from(rate).ok()?.min(1 << 50);
        (rate > 0).then_some(Self {
            rate,
            level: rate * TOKEN,
            at: now,
        })
    }

    /// Takes tokens, and says in how many milliseconds all of them are there.
    pub(crate) fn take(&mut self, n_tokens: usize, now: u64) -> u64 {
        self.fill(now);
        let n_tokens = i64::try_from(n_tokens).unwrap_or(i64::MAX);
        self.level = self.level.saturating_sub(n_tokens.saturating_mul(TOKEN));
        self.wait(now)
    }

    /// Puts tokens back that were taken and not used.
    fn give_back(&mut self, n_tokens: usize) {
        let n_tokens = i64::try_from(n_tokens).unwrap_or(i64::MAX);
        let level = self.level.saturating_add(n_tokens.saturating_mul(TOKEN));
        self.level = level.min(self.rate * TOKEN);
    }

    /// In how many milliseconds to ask again, if too much is owed for anybody to take.
    fn is_owed_too_much(&mut self, now: u64) -> Option<u64> {
        self.fill(now);
        let wait = self.wait(now);
        (wait > MOST_OWED).then(|| wait - MOST_OWED + EASED)
    }

    /// In how many milliseconds all that is taken is there.
    fn wait(&self, now: u64) -> u64 {
        match u64::try_from(self.level.saturating_neg()) {
            Ok(0) | Err(_) => 0, // it is all there
            // Others may have looked at the clock later, and got in first.
            Ok(owed) => owed.div_ceil(self.rate.unsigned_abs()) + (self.at - now.min(self.at)),
        }
    }

    /// Takes one token if it is there.
    pub(crate) fn try_take(&mut self, now: u64) -> bool {
        self.fill(now);
        let is_there = self.level >= TOKEN;
        self.level -= if is_there { TOKEN } else { 0 };
        is_there
    }

    fn fill(&mut self, now: u64) {
        let since = i64::try_from(now.saturating_sub(self.at)).unwrap_or(i64::MAX);
        let flown = self.rate.saturating_mul(since);
        self.level = self.level.saturating_add(flown).min(self.rate * TOKEN);
        self.at = self.at.max(now);
    }
}

// === impl Meter ===

impl Meter {
    /// One for these rates; `None` where both are 0, which is no limit.
    pub(crate) fn new(rates: Rates, names: [Limit; 2], now: u64) -> Option<Self> {
        let meter = Self {
            messages: Bucket::new(rates.messages, now),
            bytes: Bucket::new(rates.bytes, now),
            names,
        };
        (meter.messages.is_some() || meter.bytes.is_some()).then_some(meter)
    }

    /// Counts a publish of so many bytes, and says how many milliseconds it has to wait, and why.
    pub(crate) fn take(&mut self, n_bytes: usize, now: u64) -> (u64, Limit) {
        let wait = |bucket: &mut Option<Bucket>, n_tokens| {
            bucket
                .as_mut()
                .map_or(0, |bucket| bucket.take(n_tokens, now))
        };
        let for_messages = wait(&mut self.messages, 1);
        let for_bytes = wait(&mut self.bytes, n_bytes);
        match for_messages >= for_bytes {
            true => (for_messages, self.names[0]),
            false => (for_bytes, self.names[1]),
        }
    }

    /// Puts back what a publish of so many bytes took, which is not taken after all.
    pub(crate) fn give_back(&mut self, n_bytes: usize) {
        for (bucket, n_tokens) in [(&mut self.messages, 1), (&mut self.bytes, n_bytes)] {
            bucket
                .iter_mut()
                .for_each(|bucket| bucket.give_back(n_tokens));
        }
    }

    /// In how many milliseconds to ask again, and why, if others owe too much for anybody to take.
    pub(crate) fn is_owed_too_much(&mut self, now: u64) -> Option<(u64, Limit)> {
        let buckets = [&mut self.messages, &mut self.bytes].into_iter();
        let waits = buckets.zip(self.names).filter_map(|(bucket, name)| {
            let wait = bucket.as_mut()?.is_owed_too_much(now)?;
            Some((wait, name))
        });
        waits.max_by_key(|(wait, _)| *wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Most that may have passed in so many milliseconds.
    fn most(rate: u64, millis: u64) -> u128 {
        u128::from(rate) + u128::from(rate) * u128::from(millis) / 1000
    }

    proptest! {
        /// However many tokens somebody wants, and however often, who waits as long as told.
        #[test]
        fn no_more_passes_than_a_burst_and_what_has_flowed_in(
            rate in 1_u64..10_000,
            comes in proptest::collection::vec((0_u64..500, 0_usize..20_000), 1..200),
        ) {
            let mut bucket = Bucket::new(rate, 0).expect("there is a limit");
            let (mut now, mut passed, mut free_at) = (0, 0_u128, 0);
            for (pause, n_tokens) in comes {
                now += pause;
                let at = now + bucket.take(n_tokens, now);
                prop_assert!(at >= free_at, "they have their turns in order");
                free_at = at;
                passed += n_tokens as u128;
                prop_assert!(passed <= most(rate, at));
            }
        }

        #[test]
        fn no_more_is_let_through_at_once_than_there_is(
            rate in 1_u64..100,
            pauses in proptest::collection::vec(0_u64..100, 1..500),
        ) {
            let mut bucket = Bucket::new(rate, 0).expect("there is a limit");
            let (mut now, mut passed) = (0, 0_u128);
            for pause in pauses {
                now += pause;
                passed += u128::from(bucket.try_take(now));
                prop_assert!(passed <= most(rate, now));
            }
        }
    }

    #[test]
    fn what_is_owed_is_waited_for_to_the_millisecond() {
        let mut bucket = Bucket::new(10, 1_000).expect("there is a limit");
        let waits: Vec<_> = (0..12).map(|_| bucket.take(1, 1_000)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        assert_eq!(bucket.take(0, 1_200), 0, "paid back");
        assert_eq!(bucket.take(35, 1_200), 3_500, "more than fits at once");
        assert_eq!(bucket.take(0, 60_000), 0);
        assert!(bucket.try_take(60_000));
        assert_eq!(
            bucket.take(10, 60_000),
            100,
            "no more than a second's worth is kept"
        );
        assert_eq!(bucket.take(1, 59_990), 210, "time does not go back");
    }

    #[test]
    fn without_a_rate_there_is_no_limit_and_none_overflows() {
        assert!(Bucket::new(0, 0).is_none());
        let mut bucket = Bucket::new(u64::MAX >> 1, 0).expect("there is a limit");
        assert_eq!(bucket.take(1 << 30, u64::MAX), 0);
        let mut bucket = Bucket::new(1, 0).expect("there is a limit");
        for _ in 0..3 {
            assert!(bucket.take(usize::MAX, 0) > 1 << 50);
        }
    }

    #[test]
    fn what_is_given_back_is_there_for_others() {
        let mut bucket = Bucket::new(10, 0).expect("there is a limit");
        assert_eq!(bucket.take(40, 0), 3_000);
        assert_eq!(bucket.take(10, 1_000), 3_000);
        bucket.give_back(40);
        assert_eq!(bucket.take(1, 1_000), 0);
        bucket.give_back(1_000);
        assert_eq!(bucket.take(11, 1_000), 100, "no more than fits");
    }

    #[test]
    fn nobody_takes_where_ten_seconds_worth_is_owed() {
        let rates = Rates {
            messages: 10,
            bytes: 1_000,
        };
        let names = [Limit::UserPublishRate, Limit::UserPublishBytes];
        let mut meter = Meter::new(rates, names, 0).expect("two limits");
        for _ in 0..110 {
            assert_eq!(meter.is_owed_too_much(0), None);
            meter.take(1, 0);
        }
        assert_eq!(meter.is_owed_too_much(0), None, "ten seconds are not more");
        meter.take(30_000, 0);
        assert_eq!(
            meter.is_owed_too_much(0),
            Some((20_110, Limit::UserPublishBytes))
        );
        meter.give_back(30_000);
        assert_eq!(meter.is_owed_too_much(0), None);
        meter.take(1, 0);
        assert_eq!(
            meter.is_owed_too_much(0),
            Some((1_100, Limit::UserPublishRate))
        );
        assert_eq!(meter.is_owed_too_much(1_100), None);
    }

    #[test]
    fn the_tighter_of_two_rates_says_how_long_and_has_its_name() {
        let rates = |messages, bytes| Rates { messages, bytes };
        let names = [Limit::ClientPublishRate, Limit::ClientPublishBytes];
        let meter = |messages, bytes| Meter::new(rates(messages, bytes), names, 0);
        assert!(meter(0, 0).is_none());
        let mut both = meter(1, 100).expect("two limits");
        assert_eq!(both.take(100, 0).0, 0);
        assert_eq!(both.take(10, 0), (1_000, Limit::ClientPublishRate));
        assert_eq!(both.take(390, 0), (4_000, Limit::ClientPublishBytes));
        let mut bytes = meter(0, 100).expect("one limit");
        assert_eq!((0..10).map(|_| bytes.take(10, 0).0).max(), Some(0));
        assert_eq!(bytes.take(10, 0), (100, Limit::ClientPublishBytes));
    }
}
