//! Since when memory is short, where it goes to and fro about the mark: who must not wait for ever
//! counts all of that as one time, or each look that finds a little less in use would begin it anew.
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How long it has to be over at the longest before the next one counts as another.
const OVER: Duration = Duration::from_secs(10);

/// The time in which there is too little memory for messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shortage {
    /// Of the one that lasts, or was the last.
    began: Option<Instant>,
    /// When that was over, if it is.
    over: Option<Instant>,
}

// === impl Shortage ===

impl Shortage {
    /// Memory is short from now on. It is the same shortage as the last one unless that has been over
    /// for as long as it had lasted, or for [`OVER`].
    pub(super) fn begin(&mut self, now: Instant) {
        let is_same = self.began.zip(self.over).is_some_and(|(began, over)| {
            let lasted = over.saturating_duration_since(began);
            now.saturating_duration_since(over) < lasted.min(OVER)
        });
        if !is_same {
            self.began = Some(now);
        }
        self.over = None;
    }

    /// It is not short any more.
    pub(super) fn end(&mut self, now: Instant) {
        self.over = Some(now);
    }

    /// Since when it is short, if it is.
    pub(super) fn since(&self) -> Option<Instant> {
        self.began.filter(|_| self.over.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Since which second it counts as short at last, with these seconds in which it began and ended
    /// in turns.
    fn since(turns: &[u64]) -> Option<u64> {
        let origin = Instant::now();
        let mut shortage = Shortage::default();
        for (nth, at) in turns.iter().enumerate() {
            let now = origin + Duration::from_secs(*at);
            match nth % 2 {
                0 => shortage.begin(now),
                _ => shortage.end(now),
            }
        }
        shortage.since().map(|since| (since - origin).as_secs())
    }

    #[test]
    fn it_goes_on_where_it_was_over_for_a_moment() {
        assert_eq!(since(&[]), None);
        assert_eq!(since(&[3]), Some(3));
        assert_eq!(since(&[3, 5]), None);
        // To and fro about the mark.
        assert_eq!(since(&[0, 4, 5, 9, 12, 15, 17]), Some(0));
        assert_eq!(since(&[0, 4, 5, 9, 12, 15, 17, 18]), None);
        // It was over for as long as it was short.
        assert_eq!(since(&[0, 4, 8]), Some(8));
        assert_eq!(since(&[0, 4, 5, 6, 11]), Some(0));
        assert_eq!(since(&[0, 4, 5, 6, 12]), Some(12));
        // It was over for long enough, however long it was short.
        assert_eq!(since(&[0, 100, 109]), Some(0));
        assert_eq!(since(&[0, 100, 110]), Some(110));
    }
}
