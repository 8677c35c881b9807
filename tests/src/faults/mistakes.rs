//! Which scenarios must notice which mistake that is put into a build on purpose
//! (`node/src/seeded_bug.rs`), and as what. `tests/run mistakes` tries it.

use super::{Outcome, Sign};
use crate::checker::Conclusion;

/// A mistake, and who notices it.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// What it is called in `SEEDED_BUG`.
    pub name: &'static str,
    /// Scenarios that must notice it, each by itself and in the short form, and what it may look
    /// like to each of them.
    pub noticed_by: &'static [(&'static str, &'static [Sign])],
}

/// What a run noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Nothing was wrong.
    Nothing,
    /// What was expected was wrong.
    AsExpected,
    /// Something else was wrong.
    Otherwise,
    /// The run shows nothing, though this machine can do what it needs.
    Unknown,
    /// The run shows nothing, because this machine cannot do what it needs.
    Incapable,
}

/// What came of a trial: a mistake, or none, before a scenario, with one seed or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The mistake was noticed as what it is; without one nothing was wrong.
    Passed,
    /// A run showed that it was not.
    Failed,
    /// No run showed anything: nothing is known of the scenario, which is not good enough.
    Unknown,
    /// This machine cannot do what the scenario needs, so that nothing can be known of it here.
    Incapable,
}

/// All that there are.
pub const ALL: &[Mistake] = &[
    Mistake {
        name: "ack-before-durable",
        noticed_by: &[("F1", &[Sign::Lost, Sign::Twice])],
    },
    Mistake {
        name: "qos2-dedupe-off",
        noticed_by: &[("F4", &[Sign::Twice])],
    },
    Mistake {
        name: "qos2-exchange-forgotten",
        noticed_by: &[
            ("F1", &[Sign::Twice]),
            ("F5", &[Sign::Twice, Sign::ExchangeForgotten]),
        ],
    },
    Mistake {
        name: "suback-before-watermark",
        noticed_by: &[("F7", &[Sign::Lost]), ("F37", &[Sign::Lost])],
    },
    Mistake {
        name: "epoch-check-off",
        noticed_by: &[("F6", &[Sign::Lost, Sign::Twice])],
    },
    Mistake {
        name: "drop-one-in-10000",
        noticed_by: &[("F43", &[Sign::Lost])],
    },
    Mistake {
        name: "reorder-on-resume",
        noticed_by: &[("F2", &[Sign::OutOfOrder])],
    },
    Mistake {
        name: "lease-ignored",
        noticed_by: &[
            ("F6", &[Sign::Lost, Sign::Zombie]),
            ("F8", &[Sign::LateAck]),
            ("F9", &[Sign::Lost]),
        ],
    },
    Mistake {
        name: "session-present-lies",
        noticed_by: &[("F42", &[Sign::SessionInvented])],
    },
    Mistake {
        name: "auth-fails-open",
        noticed_by: &[("F27", &[Sign::LetIn])],
    },
    Mistake {
        name: "will-twice",
        noticed_by: &[("F41", &[Sign::WillTwice])],
    },
];

// === impl Noticed ===

impl Noticed {
    /// What a run noticed that was to see one of these.
    pub fn of(outcome: &Outcome, expected: &[Sign]) -> Self {
        match outcome.verdict {
            Conclusion::Valid => Self::Nothing,
            Conclusion::Unknown if outcome.lacks.is_some() => Self::Incapable,
            Conclusion::Unknown => Self::Unknown,
            Conclusion::Invalid => {
                let is_seen = |sign| outcome.signs.contains_key(sign);
                match expected.iter().any(is_seen) {
                    true => Self::AsExpected,
                    false => Self::Otherwise,
                }
            }
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Of the runs of a trial, in their order; `has_mistake` is whether one was put in.
    pub fn of(has_mistake: bool, runs: &[Noticed]) -> Self {
        let wanted = match has_mistake {
            true => Noticed::AsExpected,
            false => Noticed::Nothing,
        };
        let shows = |it: &Noticed| !matches!(it, Noticed::Unknown | Noticed::Incapable);
        match () {
            () if runs.contains(&wanted) => Self::Passed,
            () if runs.iter().any(shows) => Self::Failed,
            () if runs.contains(&Noticed::Incapable) => Self::Incapable,
            () => Self::Unknown,
        }
    }

    /// Whether nothing is left to be mended: what cannot be had on this machine is no fault of the
    /// scenario's.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Incapable)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::faults::Scenario;

    #[test]
    fn each_mistake_of_a_build_has_scenarios_that_notice_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/src/seeded_bug.rs");
        let source = fs::read_to_string(path).expect("it is there");
        let names = source.lines().filter_map(|line| {
            let (name, _) = line.trim().strip_prefix("(\"")?.split_once("\", Bug::")?;
            Some(name)
        });
        let names: Vec<_> = names.collect();
        assert!(names.len() >= 10, "{names:?}");
        // Of what is made once in so many times the name has no number there.
        let is_of = |name: &str, it: &Mistake| match name.ends_with('-') {
            true => it.name.starts_with(name),
            false => it.name == name,
        };
        for name in &names {
            let n_rows = ALL.iter().filter(|it| is_of(name, it)).count();
            assert_eq!(n_rows, 1, "{name} in tests/src/faults/mistakes.rs");
        }
        for mistake in ALL {
            assert!(names.iter().any(|name| is_of(name, mistake)), "{mistake:?}");
            assert!(!mistake.noticed_by.is_empty(), "{mistake:?}");
            for (scenario, signs) in mistake.noticed_by {
                assert!(Scenario::named(scenario).is_some(), "{mistake:?}");
                assert!(!signs.is_empty(), "{mistake:?}");
            }
        }
    }

    #[test]
    fn who_shows_nothing_has_not_passed() {
        use Noticed::{AsExpected, Incapable, Nothing, Otherwise, Unknown};
        let with = |runs: &[Noticed]| Verdict::of(true, runs);
        assert_eq!(with(&[Unknown, Nothing, AsExpected]), Verdict::Passed);
        assert_eq!(with(&[Unknown, Nothing, Unknown]), Verdict::Failed);
        assert_eq!(with(&[Otherwise]), Verdict::Failed);
        assert_eq!(with(&[Unknown, Unknown, Unknown]), Verdict::Unknown);
        assert_eq!(with(&[Incapable]), Verdict::Incapable);
        assert_eq!(with(&[]), Verdict::Unknown);
        let without = |runs: &[Noticed]| Verdict::of(false, runs);
        assert_eq!(without(&[Nothing]), Verdict::Passed);
        assert_eq!(without(&[Otherwise]), Verdict::Failed);
        assert_eq!(without(&[Unknown]), Verdict::Unknown);
        assert!(Verdict::Passed.is_good() && Verdict::Incapable.is_good());
        assert!(!Verdict::Unknown.is_good() && !Verdict::Failed.is_good());
    }
}
