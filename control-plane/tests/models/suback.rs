//! SUBACK means routed: no publish that is read after a SUBACK, and acknowledged, misses the subscriber.
//!
//! The subscriber is of a gateway that has its route from the beginning; the others are here, each
//! with a table that follows the log, beats, a lease, and publishers. What is mirrored:
//!
//! | here | in the code |
//! |---|---|
//! | [`Action::Subscribe`], `Commit`, `Suback` | `gateway/src/cluster/announcements.rs`: committed, then the watermark |
//! | `Apply`, `Lag` | `gateway/src/cluster/view.rs`, `control.rs`; `control-plane/src/service/watch.rs` |
//! | `Beat`, `Confirm`, `Expire` | `router/src/control/lease.rs`, `gateway/src/cluster/control.rs` |
//! | `Hear`, `Discount`, `Elect`, [`State::raise`] | `control-plane/src/leases.rs` |
//! | `Fence`, `Restart` | `control-plane/src/state/apply.rs`, `gateway/src/cluster/control.rs` |
//! | `Read`, `Route`, `Look` | `gateway/src/broker.rs` (`must_hold`), `cluster/reroute.rs` (`doubt`), `router/src/control/lease.rs` (its generation) |
//!
//! Time is left out. That the book counts a gateway longer than the gateway believes in its lease is
//! an order of two events: `Discount` comes after `Expire`. So is what a new leader waits for. What
//! those rest on, clocks and the age of the quorum, is in the simulation of `leases.rs`; here an
//! election ends what the leader before can confirm, and what it has told and confirmed may still
//! arrive at any time. One beat and one confirmation of a gateway are on their way, the newest: an
//! older one says less. The leader has applied all of its log.

mod actions;
mod office;

use std::collections::BTreeMap;

use stateright::{Model, Property};

pub(crate) use actions::Action;

/// The clause that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// SUBACK waits for the watermark.
    Watermark,
    /// A publish is read with a lease, and it is looked behind its routing whether there is one.
    Lease,
    /// Only the second of those two.
    Doubt,
    /// That look takes a lease that was gained anew for another one.
    Generation,
    /// The book counts a gateway for longer than it believes in its lease.
    Margin,
    /// Who did not count gets a lease only with all that the watermark says.
    CatchUp,
    /// A new leader confirms nothing below the end of its log.
    Floor,
    /// A new leader counts whomever the one before may have confirmed.
    Members,
    /// A fence ends no lease in the book.
    FencedCount,
    /// A gateway gives up its lease before its table goes back.
    GivingUp,
}

/// A world.
#[derive(Clone, Copy, Debug)]
struct Suback {
    n_gateways: usize,
    without: Without,
    /// How many restarts, fences, elections and tables that go back there are together.
    n_troubles: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    /// Entry `i` has index `i + 1`.
    log: Vec<Entry>,
    subscriber: Subscriber,
    gateways: Vec<Gateway>,
    office: Office,
    /// The highest watermark that any leader has told: it may arrive at any time.
    told: u8,
    publish: Publish,
    /// Troubles that may still come.
    left: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Entry {
    /// A new leader's, or the cluster's founding.
    Other,
    Register(usize),
    Route,
    Fence(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Subscriber {
    Absent,
    Proposed,
    /// Its route has this index.
    Committed(u8),
    Confirmed(u8),
}

/// A gateway that has publishers.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Gateway {
    /// The index of its registration; 0 while it has none.
    incarnation: u8,
    applied: u8,
    has_lease: bool,
    /// On its way to the leader.
    beat: Option<Beat>,
    /// On its way back.
    confirmed: Option<Age>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Beat {
    applied: u8,
    age: Age,
}

/// Whether what was sent then can give a lease still.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Age {
    Fresh,
    Over,
}

/// The leader's book.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Office {
    floor: u8,
    watermark: u8,
    /// By incarnation: what it has applied, and how old is what was confirmed.
    counted: BTreeMap<u8, Beat>,
}

/// One publish, which begins after the SUBACK.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Publish {
    None,
    /// Read by a gateway.
    Read(usize),
    /// Routed to nobody, and not acknowledged.
    Nowhere(usize),
    /// Acknowledged, and the subscriber has not got it.
    Missed,
}

const MISSES: &str = "no publish that is acknowledged misses the subscriber";

impl Suback {
    /// Whether a clause holds.
    fn has(&self, clause: Without) -> bool {
        self.without != clause
    }
}

impl Model for Suback {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut log = vec![Entry::Other];
        log.extend((0..self.n_gateways).map(Entry::Register));
        let revision = log.len() as u8;
        // Each has a lease by a beat that was confirmed.
        let gateway = |number: usize| Gateway {
            incarnation: number as u8 + 2,
            applied: revision,
            has_lease: true,
            beat: None,
            confirmed: None,
        };
        let gateways: Vec<Gateway> = (0..self.n_gateways).map(gateway).collect();
        let beat = Beat {
            applied: revision,
            age: Age::Fresh,
        };
        let counted = gateways.iter().map(|it| (it.incarnation, beat));
        vec![State {
            office: Office {
                floor: 1,
                watermark: revision,
                counted: counted.collect(),
            },
            log,
            subscriber: Subscriber::Absent,
            gateways,
            told: revision,
            publish: Publish::None,
            left: self.n_troubles,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions::possible(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        actions::act(self, &mut state, action);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(MISSES, |_, state: &State| state.publish != Publish::Missed),
            // So that it does not hold because nothing happens.
            Property::sometimes(
                "a SUBACK is sent after all that may happen",
                |_, state: &State| state.is_confirmed() && state.left == 0,
            ),
            Property::sometimes("all may publish after that", |_, state: &State| {
                let all_may = state.gateways.iter().all(|it| it.has_lease);
                state.is_confirmed() && state.left == 0 && all_may
            }),
        ]
    }
}

impl State {
    fn is_confirmed(&self) -> bool {
        matches!(self.subscriber, Subscriber::Confirmed(_))
    }
}

fn world(n_gateways: usize, n_troubles: u8, without: Without) -> Suback {
    Suback {
        n_gateways,
        without,
        n_troubles,
    }
}

#[test]
fn no_publish_that_is_acknowledged_misses_a_subscriber_that_has_its_suback() {
    for (n_gateways, n_troubles) in [(1, 3), (2, 1)] {
        let n_states = crate::check(world(n_gateways, n_troubles, Without::Nothing));
        eprintln!("{n_gateways} gateways, {n_troubles} troubles: {n_states} states");
    }
}

#[test]
fn each_clause_is_needed() {
    use Without::*;
    let clauses = [
        Watermark,
        Lease,
        Doubt,
        Generation,
        Margin,
        CatchUp,
        Floor,
        Members,
        FencedCount,
        GivingUp,
    ];
    for without in clauses {
        let is_broken = crate::is_broken(world(1, 2, without), MISSES);
        assert!(is_broken, "nothing needs {without:?}");
    }
}
