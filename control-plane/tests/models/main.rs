//! Models of the protocols between nodes, in which every order of events is tried.
//!
//! A simulation takes one order of what happens for each seed; a model checker takes all that a
//! small world allows. A model is the protocol and nothing else: what the code decides is here in a
//! few lines, and each file says which code that is. A clause of a protocol can be left out, and
//! then the checker has to find how that goes wrong: so no clause is there for nothing, and no
//! property is kept because nothing happens.

mod suback;
mod takeover;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Model};

/// Tries everything; returns how many states there are.
///
/// # Panics
///
/// If a property does not hold, with the way to where it does not; or if something that is to be
/// possible never comes to be.
fn check<M>(model: M) -> usize
where
    M: Model<
            State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
            Action: Debug + Clone + PartialEq,
        > + Send
        + Sync
        + 'static,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// Whether there is a way to a state in which a property does not hold; it is printed.
fn is_broken<M>(model: M, property: &'static str) -> bool
where
    M: Model<
            State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
            Action: Debug + Clone + PartialEq,
        > + Send
        + Sync
        + 'static,
{
    let properties = stateright::HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().threads(2).finish_when(properties);
    let checker = checker.spawn_bfs().join();
    let way = checker.discovery(property);
    if let Some(way) = &way {
        eprintln!("{property}: {:?}", way.clone().into_actions());
    }
    way.is_some()
}
