//! Filters that come and go, batches that are lost, watermarks that come late.

use std::collections::{BTreeSet, HashMap};

use super::*;

const NOBODY: [u32; 0] = [];

fn route(filter: &str) -> Route {
    Route {
        filter: filter.into(),
        ..Route::default()
    }
}

fn batch(announcements: &mut Announcements<u32>, here: &BTreeSet<&str>) -> Option<Routes> {
    let look = |filter: &str| here.contains(filter).then(|| route(filter));
    let (routes, idle) = announcements.take_batch(look);
    assert_eq!(idle, NOBODY);
    routes
}

#[test]
fn a_waiter_is_released_when_every_node_knows() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), Some(1));
    let routes = batch(&mut told, &["a"].into()).expect("something to tell");
    assert_eq!((routes.number, routes.set.len()), (1, 1));
    assert_eq!(told.wait("a", 2), None, "in flight");
    assert_eq!(told.committed(1, 10), NOBODY);
    assert_eq!(told.wait("a", 3), None, "not everybody knows");
    assert_eq!(told.settle(9), NOBODY);
    assert_eq!(told.settle(10), [1, 2, 3]);
    assert_eq!(told.wait("a", 4), Some(4), "everybody knows");
    assert_eq!(told.n_unsettled(), 0);
}

#[test]
fn what_came_and_went_is_not_told() {
    let mut told: Announcements<u32> = Announcements::new(1);
    told.note("a", Some(false), None);
    told.note("a", Some(true), None);
    assert_eq!(batch(&mut told, &[].into()), None);
    told.note("b", Some(true), None);
    let routes = batch(&mut told, &[].into()).expect("b is gone");
    assert_eq!(routes.removed, ["b"]);
    told.note("b", Some(false), None); // while that is in flight
    assert_eq!(told.committed(1, 1), NOBODY);
    let routes = batch(&mut told, &["b"].into()).expect("b is back");
    assert_eq!((routes.number, &*routes.set[0].filter), (2, "b"));
}

/// What others sent before they hear of it did not find who has come.
#[test]
fn who_has_come_is_told_of_although_the_filter_is_known() {
    let mut told: Announcements<u32> = Announcements::new(1);
    let here = BTreeSet::from(["a"]);
    told.note("a", Some(false), None);
    batch(&mut told, &here).expect("the first");
    told.note_anew("a"); // while the first is on its way
    assert_eq!(told.wait("a", 7), None);
    told.committed(1, 5);
    let again = batch(&mut told, &here).expect("once more");
    assert_eq!((again.number, &*again.set[0].filter), (2, "a"));
    told.committed(1, 6);
    assert_eq!(told.settle(5), NOBODY);
    assert_eq!(told.settle(6), [7]);
    // Gone and back before that could be told: it may be another one.
    told.note("a", Some(true), None);
    told.note_anew("a");
    let again = batch(&mut told, &here).expect("once more");
    assert_eq!(again.number, 3);
    // A batch that was too large, and is told in halves, forgets it not.
    told.committed(1, 7);
    told.note_anew("a");
    told.note_anew("b");
    let both = BTreeSet::from(["a", "b"]);
    batch(&mut told, &both).expect("two");
    assert!(told.halve());
    told.committed(1, 8);
    assert_eq!(batch(&mut told, &both).expect("the other").set.len(), 1);
    told.committed(1, 9);
    // Who has left again needs no mention.
    told.note("c", Some(false), None);
    told.note_anew("c");
    assert_eq!(batch(&mut told, &both), None);
}

#[test]
fn a_waiter_of_a_filter_that_is_back_waits_for_the_batch_in_flight() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), Some(1));
    batch(&mut told, &["a"].into());
    told.note("a", Some(true), None);
    told.note("a", Some(false), Some(2));
    assert_eq!(told.committed(1, 5), NOBODY);
    let look = |filter: &str| Some(route(filter));
    assert_eq!(told.take_batch(look), (None, vec![]));
    assert_eq!(told.settle(5), [1, 2]);
}

#[test]
fn a_batch_that_nobody_answered_is_sent_again_with_its_number() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), Some(1));
    let first = batch(&mut told, &["a"].into());
    told.note("z", Some(false), None);
    assert_eq!(batch(&mut told, &["a", "z"].into()), first);
    told.committed(1, 3);
    let second = batch(&mut told, &["a", "z"].into()).expect("z");
    assert_eq!((second.number, &*second.set[0].filter), (2, "z"));
}

#[test]
fn those_who_are_waited_for_go_first() {
    let mut told = Announcements::new(1);
    let filters: Vec<String> = (0..1_500).map(|n| n.to_string()).collect();
    for filter in &filters {
        told.note(filter, Some(false), None);
    }
    told.note("urgent", Some(false), Some(1));
    let all: BTreeSet<&str> = filters
        .iter()
        .map(String::as_str)
        .chain(["urgent"])
        .collect();
    let routes = batch(&mut told, &all).expect("much to tell");
    assert_eq!(
        (routes.set.len(), &*routes.set[0].filter),
        (1_000, "urgent")
    );
    told.committed(1, 1);
    assert_eq!(batch(&mut told, &all).expect("the rest").set.len(), 501);
}

/// Filters of the greatest length, so many that they fill several batches.
#[test]
fn no_batch_is_larger_than_a_command_may_be() {
    use crate::proto::cluster::prost::Message;
    let mut told: Announcements<u32> = Announcements::new(1);
    for number in 0..100 {
        let filter = format!("{number:05}{}", "x".repeat(65_530));
        told.note(&filter, Some(false), None);
    }
    let (mut n_told, mut number) = (0, 0);
    while let (Some(routes), _) = told.take_batch(|filter| Some(route(filter))) {
        assert!(routes.encoded_len() < (1 << 20) - (64 << 10));
        n_told += routes.set.len();
        number += 1;
        assert_eq!(routes.number, number);
        told.committed(1, number);
    }
    assert_eq!(n_told, 100);
}

#[test]
fn a_batch_that_is_too_large_is_halved_and_so_are_those_after_it() {
    let mut told = Announcements::new(1);
    for (number, filter) in ["a", "b", "c", "d"].into_iter().enumerate() {
        told.note(filter, Some(false), Some(number as u32));
    }
    let all: BTreeSet<&str> = ["a", "b", "d"].into();
    told.note("c", Some(true), None);
    // Of c nobody needs to be told: it came and went.
    let look = |filter: &str| all.contains(filter).then(|| route(filter));
    let (routes, idle) = told.take_batch(look);
    assert_eq!((routes.expect("three").set.len(), idle), (3, vec![2]));
    assert!(told.halve());
    let first = batch(&mut told, &all).expect("the first part");
    assert_eq!((first.number, first.set.len()), (1, 1));
    assert!(!told.halve(), "one filter is one filter");
    assert_eq!(told.committed(1, 1), NOBODY);
    for number in 2..=3 {
        let routes = batch(&mut told, &all).expect("another part");
        assert_eq!((routes.number, routes.set.len()), (number, 1));
        assert_eq!(told.committed(1, number), NOBODY);
    }
    assert_eq!(batch(&mut told, &all), None);
    assert_eq!(told.settle(1), [0]);
    assert_eq!(told.settle(3), [1, 3]);
}

/// What is noted of a filter while it is in a batch that is halved then.
#[test]
fn a_filter_that_was_not_told_after_all_is_known_as_before() {
    let mut told: Announcements<u32> = Announcements::new(1);
    told.note("a", Some(false), None);
    told.note("b", Some(false), None);
    let here = ["a", "b"].into();
    let last = batch(&mut told, &here).expect("both").set[1].filter.clone();
    told.note(&last, Some(true), None); // gone again
    assert!(told.halve());
    told.committed(1, 1);
    assert_eq!(batch(&mut told, &[].into()), None, "nobody ever knew of it");
}

#[test]
fn a_new_incarnation_tells_everything_again_and_keeps_who_waits() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), Some(1));
    batch(&mut told, &["a"].into());
    told.committed(1, 7);
    told.note("b", Some(false), Some(2));
    batch(&mut told, &["a", "b"].into());
    told.halt();
    assert_eq!(batch(&mut told, &["a", "b"].into()), None, "it is nobody");
    told.begin_again(9);
    let routes = batch(&mut told, &["a", "b"].into()).expect("all of it");
    assert_eq!((routes.incarnation, routes.number), (9, 1));
    assert_eq!(routes.set.len(), 2);
    assert_eq!(
        told.committed(1, 8),
        NOBODY,
        "a late answer is not of this one"
    );
    assert_eq!(batch(&mut told, &[].into()), Some(routes));
    assert_eq!(told.committed(9, 20), NOBODY);
    let mut done = told.settle(20);
    done.sort_unstable();
    assert_eq!(done, [1, 2]);
}

#[test]
fn who_waits_too_long_is_given_up() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), Some(1));
    batch(&mut told, &["a"].into());
    told.note("b", Some(false), Some(2));
    assert_eq!(told.give_up(|waiter| *waiter == 1), [1]);
    told.committed(1, 3);
    assert_eq!(told.settle(3), NOBODY);
    assert_eq!(told.give_up(|_| true), [2]);
}

/// Chance decides what happens; others end up with what is here, and nobody is released before
/// everybody knows.
#[test]
fn others_end_with_what_is_here() {
    for seed in 0..300u64 {
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        let names = ["a", "b", "c", "d"];
        let mut here: BTreeSet<&str> = BTreeSet::new();
        let mut log: Vec<Routes> = Vec::new();
        let mut told = Announcements::new(1);
        let mut waiting: HashMap<u32, (&str, bool)> = HashMap::new();
        let (mut next, mut lost) = (0u32, None);
        for _ in 0..200 {
            let name = names[roll(4) as usize];
            match roll(6) {
                0 | 1 => {
                    let waiter = (roll(2) == 0).then_some(next);
                    let was_here = here.contains(name);
                    if !here.remove(name) {
                        here.insert(name);
                    }
                    if let Some(waiter) = waiter {
                        waiting.insert(waiter, (name, here.contains(name)));
                        next += 1;
                    }
                    told.note(name, Some(was_here), waiter);
                }
                2 | 3 => {
                    let look = |filter: &str| here.contains(filter).then(|| route(filter));
                    let (routes, idle) = told.take_batch(look);
                    for waiter in idle {
                        waiting.remove(&waiter);
                    }
                    if let Some(routes) = routes {
                        let known = log.last().is_some_and(|last| last.number >= routes.number);
                        if !known {
                            log.push(routes.clone());
                        }
                        lost = Some(log.len() as u64);
                        if !known && roll(4) == 0 && told.halve() {
                            log.pop(); // it was refused, so nobody has it
                            lost = None;
                        } else if roll(3) > 0 {
                            told.committed(1, log.len() as u64);
                            lost = None;
                        }
                    }
                }
                _ if lost.is_none() => {
                    let watermark = roll(log.len() as u64 + 1);
                    for waiter in told.settle(watermark) {
                        waiting.remove(&waiter);
                    }
                }
                _ => {}
            }
        }
        // All that waits goes through in the end.
        loop {
            let look = |filter: &str| here.contains(filter).then(|| route(filter));
            let (routes, idle) = told.take_batch(look);
            idle.iter().for_each(|waiter| {
                waiting.remove(waiter);
            });
            let Some(routes) = routes else { break };
            if log.last().is_none_or(|last| last.number < routes.number) {
                log.push(routes);
            }
            for waiter in told.committed(1, log.len() as u64) {
                waiting.remove(&waiter);
            }
        }
        for waiter in told.settle(log.len() as u64) {
            waiting.remove(&waiter);
        }
        let mut there: BTreeSet<String> = BTreeSet::new();
        for routes in log {
            for route in routes.set {
                there.insert(route.filter);
            }
            for filter in routes.removed {
                there.remove(&filter);
            }
        }
        let here: BTreeSet<String> = here.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(there, here, "seed {seed}");
        assert!(waiting.is_empty(), "seed {seed}: {waiting:?}");
        assert_eq!(told.n_unsettled(), 0, "seed {seed}");
    }
}

/// Somebody who comes later waits for what there was when they came, not for what changes since: a
/// group whose members come and go all the time keeps nobody.
#[test]
fn nobody_waits_for_what_changes_afterwards() {
    let mut told = Announcements::new(1);
    told.note("$share/g/a", None, None);
    assert_eq!(told.wait("$share/g/a", 1), None);
    for revision in 1..20 {
        batch(&mut told, &["$share/g/a"].into()).expect("something to tell");
        told.note("$share/g/a", None, None);
        told.note("b", Some(false), None);
        assert_eq!(told.committed(1, revision), NOBODY);
        let expected: &[u32] = if revision == 1 { &[1] } else { &[] };
        assert_eq!(told.settle(revision), expected);
        assert!(told.is_unsettled("$share/g/a"));
    }
}

/// Nothing can be told for a while, and clients subscribe to ever new filters meanwhile.
#[test]
fn what_comes_and_goes_while_nothing_is_agreed_on_is_not_remembered() {
    let mut told = Announcements::new(1);
    told.note("a", Some(false), None);
    told.note("b", Some(false), None);
    batch(&mut told, &["a", "b"].into()).expect("in flight");
    for n in 0..1_000 {
        // As from sessions that begin and end, and as from a client that waits for both answers.
        let filter = format!("answers/{n}");
        told.note(&filter, Some(false), None);
        told.note(&filter, Some(true), None);
        let asked = format!("asked/{n}");
        told.note(&asked, Some(false), Some(2 * n));
        told.note(&asked, Some(true), Some(2 * n + 1));
        // One that stays is asked for again and again.
        told.note("stays", if n == 0 { Some(false) } else { None }, Some(n));
        let late = told.give_up(|_| true);
        assert_eq!(late.len(), 3);
    }
    assert_eq!(told.dirty.len(), 1, "stays");
    assert!(told.urgent.is_empty());
    // What others know is told, whatever comes and goes: what is in flight, and what was before.
    told.note("a", Some(true), None);
    for _ in 0..2 {
        told.note("b", Some(true), None);
        told.note("b", Some(false), None);
    }
    told.note("b", Some(true), None);
    told.note("$share/g/c", Some(false), None);
    told.note("$share/g/c", Some(true), None); // one of its members
    told.committed(1, 5);
    let here = BTreeSet::from(["stays", "$share/g/c"]);
    let routes = batch(&mut told, &here).expect("news");
    let mut removed = routes.removed;
    removed.sort();
    assert_eq!(removed, ["a", "b"]);
    assert_eq!(routes.set.len(), 2);
}

#[test]
fn a_filter_that_came_and_went_and_came_is_told() {
    let mut told: Announcements<u32> = Announcements::new(1);
    for was_known in [false, true, false] {
        told.note("a", Some(was_known), None);
    }
    let routes = batch(&mut told, &["a"].into()).expect("it is here");
    assert_eq!(routes.set.len(), 1);
}

/// Others have to do with the announcements, too.
#[test]
fn of_what_need_not_be_told_some_is_looked_at_in_one_go() {
    let mut told: Announcements<u32> = Announcements::new(1);
    for n in 0..2 * IDLE {
        let filter = n.to_string();
        told.note(&filter, Some(true), None);
        told.note(&filter, Some(false), None); // it is back
    }
    let mut n_looks = Vec::new();
    while told.has_more() {
        let mut n_looked = 0;
        let look = |filter: &str| {
            n_looked += 1;
            Some(route(filter))
        };
        assert_eq!(told.take_batch(look), (None, vec![]));
        n_looks.push(n_looked);
    }
    assert_eq!(n_looks, [IDLE, IDLE]);
}
