//! Mistakes that can be put into a build on purpose, to see that the tests notice them.
//!
//! A test that has never been red proves nothing. A build with the feature `seeded-bugs` reads the
//! variable `SEEDED_BUG` when it starts, breaks the promise that is named there, and warns of it.
//! Each mistake is at the place where a real one would be made, behind one line:
//!
//! ```ignore
//! if is_seeded(Bug::DropOneInN) && is_its_turn() {
//!     return Verdict::Accepted;
//! }
//! ```
//!
//! Without the feature `is_seeded` is a constant, and nothing of all this is in the binary. With it
//! only a debug build compiles.

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("`seeded-bugs` is for debug builds that test the tests, never for a release");

/// A mistake, by what it is called in `SEEDED_BUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// `ack-before-durable`: what an acknowledgement waits for in the store is not awaited: PUBACK,
    /// PUBREC and the answers to other nodes leave before the commit, or before Redis confirms.
    ///
    /// Breaks "PUBACK means safe" and "kill any gateway". Who kills or cuts the power of a process
    /// that stores (F1, F2, F3, F4, F17, F23) must see an acknowledged message lost.
    AckBeforeDurable,
    /// `qos2-dedupe-off`: who is given a message of QoS 2 does not know it again.
    ///
    /// Breaks "QoS 2 counts once" at the subscriber's end. Who makes nodes route messages again,
    /// killing or cutting off the publisher's gateway or moving sessions (F1, F4, F12, F13, F34),
    /// must see one twice.
    Qos2DedupeOff,
    /// `qos2-exchange-forgotten`: a resumed session knows no packet identifiers of QoS 2 publishes
    /// that its client has not released.
    ///
    /// Breaks "QoS 2 counts once" at the publisher's end. Who kills a gateway between PUBREC and
    /// PUBREL, or before PUBREC (F1, F4, F5), must see a message twice.
    Qos2ExchangeForgotten,
    /// `suback-before-watermark`: SUBACK leaves when the control plane has agreed on the filter, and
    /// does not wait until every gateway has applied it.
    ///
    /// Breaks "SUBACK means routed". Who subscribes here and publishes there at once (F37, and F7
    /// to F15 with a new subscriber in them) must see an acknowledged message missing.
    SubackBeforeWatermark,
    /// `epoch-check-off`: Redis takes writes of a session from whoever had it once.
    ///
    /// Breaks "one owner". Who lets a gateway stand still, takes its sessions elsewhere and lets it
    /// go on (F6, F9, F10) must see what the zombie wrote.
    EpochCheckOff,
    /// `drop-one-in-N`, with a number for N: of so many messages of QoS 1 and 2 that come from other
    /// nodes one is acknowledged and given to nobody.
    ///
    /// Breaks "PUBACK means safe" without any fault. Every scenario with publishers and subscribers
    /// on different gateways and enough messages must see it.
    DropOneInN,
    /// `reorder-on-resume`: the first two messages that wait for a session when its client comes
    /// back change places.
    ///
    /// Breaks "order". Who lets subscribers come back to a backlog (F1, F2, F3, F34) must see it.
    ReorderOnResume,
    /// `lease-ignored`: a gateway whose lease ran out takes messages of QoS 1 and 2 as before, by a
    /// table that may be old.
    ///
    /// Breaks "SUBACK means routed" where the gateway is cut off. Who cuts it off from the control
    /// plane, or lets it stand still, while others subscribe (F6, F8, F9, F10, F11) must see an
    /// acknowledged message missing, or an acknowledgement that was not to be.
    LeaseIgnored,
    /// `session-present-lies`: a client that asks for its session is told that it has it, though
    /// there is none.
    ///
    /// Breaks "Session Present means that nothing was lost". Who loses sessions (F23 without
    /// persistence, a full queue that ends its session) must see the lie.
    SessionPresentLies,
    /// `will-twice`: who publishes a will that is stored in Redis, be it the client's own gateway or
    /// whoever looks after its sessions later, does so under an origin of its own instead of the
    /// stored one, and does not say that the will may have been published before.
    ///
    /// Breaks "wills fire once" where it is published a second time, because the first gateway died
    /// after the will was with some subscribers and before it was out of the store: these do not
    /// know it again. Who kills gateways whose wills are under way (F41) must see one twice.
    WillTwice,
    /// `auth-fails-open`: a source of clients and rules that fails counts as one that agrees: who
    /// comes is let in, with the rules that other sources have.
    ///
    /// Breaks "nobody comes in of whom nobody says who it is". Who takes a source away, or has it
    /// answer badly or late, while clients come (F27) must see one let in.
    AuthFailsOpen,
}

#[cfg(feature = "seeded-bugs")]
pub use seeded::{is_its_turn, is_seeded, plant};

/// Whether this process has the mistake.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline(always)]
pub const fn is_seeded(_bug: Bug) -> bool {
    false
}

/// Whether a mistake that is made once in a while is made now. Asking counts.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline(always)]
pub const fn is_its_turn() -> bool {
    false
}

/// Puts the mistake in that the environment names, if any.
///
/// # Errors
///
/// There is no such mistake; in one line.
#[cfg(not(feature = "seeded-bugs"))]
pub const fn plant() -> Result<(), String> {
    Ok(())
}

#[cfg(feature = "seeded-bugs")]
mod seeded {
    use super::Bug;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The variable. Those that begin with `GATEMQ_` are settings.
    const VARIABLE: &str = "SEEDED_BUG";
    /// What the names of mistakes that are made once in a while end in, without the number.
    const ONE_IN: &str = "-one-in-";

    /// All that there are, by their names.
    const ALL: &[(&str, Bug)] = &[
        ("ack-before-durable", Bug::AckBeforeDurable),
        ("qos2-dedupe-off", Bug::Qos2DedupeOff),
        ("qos2-exchange-forgotten", Bug::Qos2ExchangeForgotten),
        ("suback-before-watermark", Bug::SubackBeforeWatermark),
        ("epoch-check-off", Bug::EpochCheckOff),
        ("drop-one-in-", Bug::DropOneInN),
        ("reorder-on-resume", Bug::ReorderOnResume),
        ("lease-ignored", Bug::LeaseIgnored),
        ("session-present-lies", Bug::SessionPresentLies),
        ("will-twice", Bug::WillTwice),
        ("auth-fails-open", Bug::AuthFailsOpen),
    ];

    /// The one of this process, and once in how many times it is made.
    static PLANTED: OnceLock<Option<(Bug, u64)>> = OnceLock::new();
    static N_ASKED: AtomicU64 = AtomicU64::new(0);

    /// Whether this process has the mistake.
    #[must_use]
    pub fn is_seeded(bug: Bug) -> bool {
        matches!(PLANTED.get(), Some(Some((planted, _))) if *planted == bug)
    }

    /// Whether a mistake that is made once in a while is made now. Asking counts.
    #[must_use]
    pub fn is_its_turn() -> bool {
        let Some(Some((_, one_in))) = PLANTED.get() else {
            return false;
        };
        (N_ASKED.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(*one_in)
    }

    /// Puts the mistake in that the environment names, if any.
    ///
    /// # Errors
    ///
    /// There is no such mistake; in one line.
    pub fn plant() -> Result<(), String> {
        let named = std::env::var_os(VARIABLE).map(|name| name.to_string_lossy().into_owned());
        let named = named.filter(|name| !name.is_empty());
        let bug = named.as_deref().map(parse).transpose()?;
        if let Some(name) = &named {
            tracing::warn!(bug = %name, "this build breaks a promise on purpose, to test the tests");
        }
        let _ = PLANTED.set(bug); // a second node of the process has read the same
        Ok(())
    }

    fn parse(name: &str) -> Result<(Bug, u64), String> {
        let unknown = || {
            let names: Vec<String> = ALL.iter().map(|(name, _)| shown(name)).collect();
            format!("{VARIABLE}={name}: no such bug: {}", names.join(", "))
        };
        let find = |wanted: &str| ALL.iter().find(|(name, _)| *name == wanted);
        let (prefix, one_in) = match name.split_once(ONE_IN) {
            Some((what, number)) => (
                format!("{what}{ONE_IN}"),
                number.parse().ok().filter(|n| *n > 0),
            ),
            None => (name.to_owned(), Some(1)),
        };
        let found = find(&prefix).zip(one_in);
        found
            .map(|((_, bug), one_in)| (*bug, one_in))
            .ok_or_else(unknown)
    }

    fn shown(name: &str) -> String {
        match name.ends_with(ONE_IN) {
            true => format!("{name}N"),
            false => name.to_owned(),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn each_bug_is_found_by_its_name() {
            for (name, bug) in ALL.iter().filter(|(name, _)| !name.ends_with(ONE_IN)) {
                assert_eq!(parse(name), Ok((*bug, 1)));
            }
            assert_eq!(parse("drop-one-in-500"), Ok((Bug::DropOneInN, 500)));
        }

        #[test]
        fn what_is_none_is_told_in_one_line_with_all_that_there_are() {
            for name in [
                "",
                "drop",
                "drop-one-in-",
                "drop-one-in-0",
                "drop-one-in-N",
                "x-one-in-2",
            ] {
                let told = parse(name).unwrap_err();
                assert!(told.contains("drop-one-in-N, reorder-on-resume") && !told.contains('\n'));
            }
        }
    }
}
