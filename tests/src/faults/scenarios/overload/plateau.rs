//! Whether waits have come to a plateau. Who offers more than can be carried and is not held back waits
//! longer with every second: of five times as much four fifths of each second are added to what is not
//! answered yet, of one and a half times as much a third. So what two parts of the time are compared by
//! is how much of the time between them was added to the wait; a ratio of the two would hardly show it,
//! for a wait that grows from the beginning is in the last third only 1.7 times as long as in the second.

use std::time::Duration;

use super::figures::{Spread, millis};

/// Of the time between two parts so much may be added to the wait of half of all.
const RISE: f64 = 0.25;
/// And so much to the wait of one in a hundred, which a pause of the machine can hit,
const RISE_OF_FEW: f64 = 0.5;
/// unless it is less than so many times as long.
const TIMES: u32 = 2;

/// Whether nobody waits longer and longer: `before` and `after` are the waits in two parts of the time,
/// whose beginnings are so far apart.
///
/// # Errors
///
/// Somebody does; by how much.
pub(super) fn is_reached(before: &Spread, after: &Spread, apart: Duration) -> Result<(), String> {
    let rise = |before: Duration, after: Duration| after.saturating_sub(before);
    if before.n == 0 || after.n == 0 {
        return Err("nobody was answered in a third of the time".to_owned());
    }
    let (half, few) = (rise(before.p50, after.p50), rise(before.p99, after.p99));
    if half > apart.mul_f64(RISE) {
        return Err(told("p50", before.p50, after.p50, apart));
    }
    if few > apart.mul_f64(RISE_OF_FEW) && after.p99 > before.p99 * TIMES {
        return Err(told("p99", before.p99, after.p99, apart));
    }
    Ok(())
}

fn told(which: &str, before: Duration, after: Duration, apart: Duration) -> String {
    let [before, after, apart] = [before, after, apart].map(millis);
    format!("{which} {before:.0} ms, and {after:.0} ms {apart:.0} ms later")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between two parts.
    const APART: u32 = 3_000;

    /// The waits in a third of the time, in milliseconds, where it takes so long for who is answered at
    /// that moment.
    fn third(number: u32, wait: impl Fn(u32) -> f64) -> Spread {
        let moments = APART * number..APART * (number + 1);
        let waits = moments.map(|at| Duration::from_secs_f64(wait(at).max(0.0) / 1000.0));
        Spread::of(waits.collect())
    }

    fn is_plateau(wait: impl Fn(u32) -> f64) -> bool {
        let apart = Duration::from_millis(APART.into());
        is_reached(&third(1, &wait), &third(2, &wait), apart).is_ok()
    }

    #[test]
    fn who_is_not_held_back_waits_longer_and_longer() {
        for offered in [1.5, 2.0, 5.0] {
            assert!(
                !is_plateau(|at| f64::from(at) * (1.0 - 1.0 / offered)),
                "{offered}"
            );
        }
        // Also if it begins late.
        assert!(!is_plateau(|at| f64::from(at.saturating_sub(5_000)) * 0.8));
    }

    #[test]
    fn who_is_held_back_waits_as_long_as_before_more_or_less() {
        assert!(is_plateau(|_| 700.0));
        // As seen on two processors: it went down again.
        assert!(is_plateau(|at| if at < 6_000 { 790.0 } else { 290.0 }));
        assert!(is_plateau(|at| if at < 6_000 { 290.0 } else { 790.0 }));
        // It is short, and doubles.
        assert!(is_plateau(|at| if at < 6_000 { 5.0 } else { 12.0 }));
        // The machine stood still for a moment.
        assert!(is_plateau(|at| if (8_000..8_050).contains(&at) {
            1_400.0
        } else {
            300.0
        }));
        // A plateau that is reached in the first third.
        assert!(is_plateau(|at| f64::from(at.min(1_000)) * 0.8));
    }

    #[test]
    fn one_in_a_hundred_counts_too() {
        assert!(!is_plateau(|at| match at {
            6_000.. if at % 50 == 0 => 2_500.0,
            _ => 100.0,
        }));
    }

    #[test]
    fn who_is_not_answered_has_reached_nothing() {
        let (some, nobody) = (third(1, |_| 1.0), Spread::default());
        let apart = Duration::from_secs(3);
        assert!(is_reached(&some, &nobody, apart).is_err());
        assert!(is_reached(&nobody, &some, apart).is_err());
    }
}
