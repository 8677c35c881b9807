//! What a trace is about, and until when. Pure, but for what was lost of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::line::{About, Event};
use crate::proto::cluster::bans::Prefix;
use crate::proto::cluster::state::{Trace, TraceKind};
use crate::proto::cluster::traces;
use crate::proto::topic;

/// A trace, as this gateway looks at it.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Of its file, too.
    pub(super) name: Box<str>,
    /// The first line of its file. It says which trace this is: another one may have had the name.
    pub(super) head: Box<str>,
    whom: Whom,
    /// When it is over, in Unix milliseconds of this gateway's clock.
    until: AtomicU64,
    /// Lines that are not in its file, and that nothing there tells of yet.
    pub(super) n_lost: AtomicU64,
}

#[derive(Debug)]
enum Whom {
    Client(Box<str>),
    Address(Prefix),
    /// A topic filter.
    Topic(Box<str>),
}

// === impl Wanted ===

impl Wanted {
    /// A trace of which this gateway hears now. It takes as long as it was asked for, by this
    /// gateway's own clock, which need not show what others show; if the leader takes it for over
    /// before, as it does of one that began before this gateway started, that counts.
    ///
    /// `None` for one of a kind that this version does not know.
    pub(super) fn of(trace: &Trace, node: &str, now: u64) -> Option<Self> {
        traces::check_name(&trace.name).ok()?;
        let value = trace.value.as_str();
        let (kind, whom) = match trace.kind() {
            TraceKind::Unspecified => return None,
            TraceKind::ClientId => ("of_client_id", Whom::Client(value.into())),
            TraceKind::Address => ("of_address", Whom::Address(Prefix::parse(value).ok()?)),
            TraceKind::Topic => ("of_topic", Whom::Topic(value.into())),
        };
        let head = Event::new("trace").with("name", &trace.name);
        let head = head.with(kind, value).with("by", &trace.by);
        let lasts = trace.until.saturating_sub(trace.at).min(traces::LONGEST);
        Some(Self {
            name: trace.name.as_str().into(),
            head: head.into_line(&About::default(), trace.at, node).into(),
            whom,
            until: AtomicU64::new(if trace.is_over { 0 } else { now + lasts }),
            n_lost: AtomicU64::new(0),
        })
    }

    /// Nothing more is for it.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        now >= self.until.load(Ordering::Relaxed)
    }

    /// Whether something that happens now is for it. Of what is about a filter, a trace of topics sees
    /// the filters that it has itself, or that it would match as topics.
    pub(super) fn is_about(&self, about: &About<'_>, now: u64) -> bool {
        if self.is_over(now) {
            return false;
        }
        match &self.whom {
            Whom::Client(wanted) => **wanted == *about.client_id,
            Whom::Address(prefix) => about.address.is_some_and(|address| {
                let address = Prefix::of(address);
                address.n_bits() >= prefix.n_bits() && address.shorten(prefix.n_bits()) == *prefix
            }),
            Whom::Topic(filter) => about
                .topic
                .is_some_and(|about| **filter == *about || topic::matches(filter, about)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is heard of at 1,000 and takes 100.
    fn wanted(kind: TraceKind, value: &str) -> Wanted {
        let trace = Trace {
            name: "t".to_owned(),
            kind: kind.into(),
            value: value.to_owned(),
            at: 7_000_000,
            until: 7_000_100,
            ..Trace::default()
        };
        Wanted::of(&trace, "g1", 1_000).expect("a kind that is known")
    }

    #[test]
    fn each_kind_sees_its_own_for_as_long_as_it_was_asked_for() {
        let about = About {
            client_id: "dev-1",
            address: "10.1.2.3".parse().ok(),
            topic: Some("a/b"),
        };
        let sees = |kind, value: &str| {
            let wanted = wanted(kind, value);
            assert!(!wanted.is_about(&about, 1_100), "{value}");
            wanted.is_about(&about, 1_099)
        };
        assert!(sees(TraceKind::ClientId, "dev-1") && !sees(TraceKind::ClientId, "dev-2"));
        assert!(sees(TraceKind::Address, "10.0.0.0/8") && !sees(TraceKind::Address, "11.0.0.0/8"));
        assert!(sees(TraceKind::Topic, "a/+") && !sees(TraceKind::Topic, "b/+"));
        let of = |topic| About {
            topic,
            ..About::default()
        };
        let topics = wanted(TraceKind::Topic, "a/+");
        assert!(!topics.is_about(&of(None), 0));
        assert!(topics.is_about(&of(Some("a/+")), 0));
        let addresses = wanted(TraceKind::Address, "10.0.0.0/8");
        assert!(!addresses.is_about(&of(None), 0));
        addresses.end();
        assert!(addresses.is_over(0));
    }

    #[test]
    fn one_that_is_over_or_has_a_name_that_is_none_sees_nothing() {
        let mut trace = Trace {
            name: "t".to_owned(),
            kind: TraceKind::Topic.into(),
            value: "#".to_owned(),
            until: u64::MAX,
            is_over: true,
            ..Trace::default()
        };
        let wanted = Wanted::of(&trace, "g1", 5).expect("a trace");
        assert!(wanted.is_over(5));
        trace.name = "../t".to_owned();
        assert!(Wanted::of(&trace, "g1", 5).is_none());
    }
}
