//! Routes against a plain map.

use std::collections::BTreeMap;

use super::*;

fn counts(n: u32) -> Counts {
    Counts {
        n_online: n,
        n_offline: n + 1,
    }
}

/// Numbers that look random and are the same in every run.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    }
}

fn check(routes: &Routes, model: &BTreeMap<String, Counts>) {
    assert_eq!(routes.len(), model.len());
    let all: Vec<_> = routes.iter().collect();
    let expected: Vec<_> = model.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(all, expected);
    for leaf in routes.leaves.iter() {
        assert!(!leaf.entries.is_empty() && leaf.entries.len() <= LEAF);
        assert_eq!(leaf.first, leaf.entries[0].filter);
    }
}

#[test]
fn does_what_a_map_does() {
    for seed in 1..=4 {
        let mut random = numbers(seed);
        let mut routes = Routes::default();
        let mut model = BTreeMap::new();
        for step in 0..20_000_u32 {
            // Grows, shrinks, grows again.
            let sets_of_10 = if step / 5_000 % 2 == 0 { 7 } else { 2 };
            let filter = format!("f/{}", random(3_000));
            if random(10) < sets_of_10 {
                routes.set(&filter, counts(step));
                model.insert(filter, counts(step));
            } else {
                routes.remove(&filter);
                model.remove(&filter);
            }
            if step % 1_000 == 0 {
                check(&routes, &model);
            }
        }
        check(&routes, &model);
        for n in 0..3_100 {
            let filter = format!("f/{n}");
            assert_eq!(routes.find(&filter), model.get(&filter).copied());
            let next = model.range(filter.clone()..).next();
            let next = next.map(|(k, v)| (k.as_str(), *v));
            assert_eq!(routes.from(&filter).next(), next);
        }
    }
}

#[test]
fn a_clone_keeps_what_it_had() {
    let mut routes = Routes::default();
    for n in 0..1_000 {
        routes.set(&format!("{n:04}"), counts(n));
    }
    let before: Vec<_> = routes.iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let clone = routes.clone();
    for n in 0..1_000 {
        routes.remove(&format!("{n:04}"));
        routes.set(&format!("x{n:04}"), counts(n));
    }
    let after: Vec<_> = clone.iter().map(|(k, v)| (k.to_owned(), v)).collect();
    assert_eq!(before, after);
    assert_eq!(routes.len(), 1_000);
}

#[test]
fn filters_in_order_leave_full_leaves() {
    let mut routes = Routes::default();
    for n in 0..LEAF * 10 {
        routes.set(&format!("{n:06}"), counts(0));
    }
    assert_eq!(routes.leaves.len(), 10);
}

#[test]
fn merges_in_the_order_of_filters() {
    let mut a = Routes::default();
    let mut b = Routes::default();
    for filter in ["a", "c", "d"] {
        a.set(filter, counts(1));
    }
    for filter in ["b", "c"] {
        b.set(filter, counts(2));
    }
    let merged = InOrder::new([(9, a.from("b")), (7, b.from("b"))].into_iter());
    let merged: Vec<_> = merged.map(|(filter, by, _)| (filter, by)).collect();
    assert_eq!(merged, [("b", 7), ("c", 7), ("c", 9), ("d", 9)]);
}
