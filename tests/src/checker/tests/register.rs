//! I10: the search against a naive one on small histories, and histories of a register that is
//! right, with and without a mistake.

use std::collections::HashSet;

use super::{Conclusion, check, judged, model::SECOND, uid};
use crate::{
    checker::i10_retained::register::{Act, Found, Operation, search},
    history::{Event, Random, Record, Uid},
};

const TOPIC: &str = "r";

fn write(uid: &Uid, qos: u8, empty: bool, dup: bool) -> Event {
    Event::Sent {
        uid: uid.clone(),
        connection: 1,
        qos,
        retain: true,
        dup,
        empty,
    }
}

fn accepted(uid: &Uid) -> Event {
    Event::Accepted {
        uid: uid.clone(),
        connection: 1,
    }
}

fn refused(uid: &Uid) -> Event {
    Event::Refused {
        uid: uid.clone(),
        connection: 1,
        reason: 0x87,
    }
}

fn read(value: Option<&Uid>, invoked: u64, returned: u64) -> Event {
    Event::RetainedRead {
        client: "reader".into(),
        topic: TOPIC.into(),
        value: value.cloned(),
        invoked,
        returned,
    }
}

/// A read after everything else in a history of `check`, and one that began with it.
fn late(value: Option<&Uid>) -> Event {
    read(value, SECOND, SECOND + 1)
}

fn long(value: Option<&Uid>) -> Event {
    read(value, 0, SECOND)
}

#[test]
fn reads_find_what_was_written_last() {
    let [a, b] = [0, 1].map(|seq| uid("p", TOPIC, seq));
    let set = |uid: &Uid| [write(uid, 1, false, false), accepted(uid)];
    let both = || set(&a).into_iter().chain(set(&b));
    check([late(None)], &[]);
    check([late(Some(&a))], &["I10"]);
    check(set(&a).into_iter().chain([late(Some(&a))]), &[]);
    check(set(&a).into_iter().chain([late(None)]), &["I10"]);
    check(both().chain([late(Some(&b))]), &[]);
    let verdict = check(both().chain([late(Some(&a))]), &["I10"]);
    let text = verdict.violations[0].to_string();
    assert_eq!(
        text,
        "I10: reader found retained on r p|r|0, which no order explains"
    );
    // A read that began with everything may find anything; two may not go back.
    for value in [None, Some(&a), Some(&b)] {
        check(both().chain([long(value)]), &[]);
    }
    check(
        both().chain([read(Some(&a), 0, 5_000), late(Some(&b))]),
        &[],
    );
    check(both().chain([long(Some(&b)), late(Some(&a))]), &["I10"]);
    // A clear.
    let cleared = |value| {
        let clear = [write(&b, 1, true, false), accepted(&b)];
        set(&a).into_iter().chain(clear).chain([late(value)])
    };
    check(cleared(None), &[]);
    check(cleared(Some(&a)), &["I10"]);
}

#[test]
fn writes_that_nobody_answered_may_have_been_done_or_not() {
    let [a, b] = [0, 1].map(|seq| uid("p", TOPIC, seq));
    let set = |uid: &Uid| [write(uid, 1, false, false), accepted(uid)];
    let open = write(&b, 1, false, false);
    let begin = || set(&a).into_iter().chain([open.clone()]);
    for value in [&a, &b] {
        check(begin().chain([late(Some(value))]), &[]);
    }
    let later = |value| read(value, 2 * SECOND, 2 * SECOND + 1);
    let then = |one, other| begin().chain([late(Some(one)), later(Some(other))]);
    check(then(&a, &b), &[]);
    check(then(&b, &a), &["I10"]);
    // What was refused was not done.
    let answered = || begin().chain([refused(&b)]);
    check(answered().chain([late(Some(&a))]), &[]);
    check(answered().chain([late(Some(&b))]), &["I10"]);
}

/// With QoS 1 the first sending may be done after the last one; with QoS 2 they are one.
#[test]
fn what_was_sent_again_may_be_done_again_with_qos_1() {
    let [a, b] = [0, 1].map(|seq| uid("p", TOPIC, seq));
    for (qos, expected) in [(1, &[][..]), (2, &["I10"])] {
        let events = [
            write(&a, qos, false, false),
            write(&a, qos, false, true),
            accepted(&a),
            write(&b, qos, false, false),
            accepted(&b),
            late(Some(&b)),
            read(Some(&a), 2 * SECOND, 2 * SECOND + 1),
        ];
        check(events, expected);
    }
}

#[test]
fn too_much_at_a_time_is_unknown() {
    let mut records = Vec::new();
    let all: Vec<_> = (0..40).map(|seq| uid("p", TOPIC, seq)).collect();
    let mut add = |t, event| records.push(Record { t, event });
    for uid in &all {
        add(1, write(uid, 1, false, false));
    }
    for uid in &all {
        add(2, read(Some(uid), 1, 2));
    }
    for uid in &all {
        add(3, accepted(uid));
    }
    let verdict = judged(&records);
    assert_eq!(verdict.conclusion(), Conclusion::Unknown, "{verdict}");
}

/// Any order of the operations that respects their times, by trying all.
fn naive(operations: &[Operation<'_>], value: Option<&Uid>, done: &mut Vec<usize>) -> bool {
    let is_left = |number: &usize| !done.contains(number);
    let left: Vec<usize> = (0..operations.len()).filter(is_left).collect();
    if left.iter().all(|it| operations[*it].returned.is_none()) {
        return true;
    }
    let returns = left.iter().filter_map(|it| operations[*it].returned);
    let first = returns.min().unwrap_or(u64::MAX);
    for number in left {
        let operation = operations[number];
        let next = match operation.act {
            _ if operation.invoked > first => continue,
            Act::Write(written) => written,
            Act::Read(found) if found == value => value,
            Act::Read(_) => continue,
        };
        done.push(number);
        if naive(operations, next, done) {
            return true;
        }
        done.pop();
    }
    false
}

#[test]
fn the_search_finds_what_trying_all_finds() {
    let uids: Vec<_> = (0..3).map(|seq| uid("p", TOPIC, seq)).collect();
    let (mut n_good, mut n_bad) = (0, 0);
    for seed in 1..=4_000 {
        let mut random = Random::new(seed);
        let mut time = || u64::try_from(random.below(12)).expect("small");
        let operations: Vec<_> = (0..6)
            .map(|_| {
                let (invoked, length) = (time(), time() / 2);
                let value = uids.get(usize::try_from(time() % 4).expect("small"));
                let returned = (time() > 1).then_some(invoked + length);
                match time() % 2 {
                    0 => Operation {
                        act: Act::Write(value),
                        invoked,
                        returned,
                    },
                    _ => Operation {
                        act: Act::Read(value),
                        invoked,
                        returned: Some(invoked + length),
                    },
                }
            })
            .collect();
        let found = search(&operations, &HashSet::new());
        let expected = naive(&operations, None, &mut Vec::new());
        assert_eq!(
            found == Found::Order,
            expected,
            "seed {seed}: {operations:?}"
        );
        *if expected { &mut n_good } else { &mut n_bad } += 1;
    }
    assert!(n_good > 300 && n_bad > 300, "{n_good} and {n_bad}");
}

/// A register that is right, used by several at a time: the operations under way, what is in it.
struct Register {
    records: Vec<Record>,
    t: u64,
    value: Option<Uid>,
    open: Vec<Open>,
    n_writes: u64,
}

struct Open {
    /// The message and whether it clears; none for a read.
    write: Option<(Uid, bool)>,
    invoked: u64,
    /// What it found, once it has taken effect.
    effect: Option<Option<Uid>>,
}

impl Register {
    fn run(random: &mut Random, n_steps: usize) -> Vec<Record> {
        let mut register = Self {
            records: Vec::new(),
            t: 1,
            value: None,
            open: Vec::new(),
            n_writes: 0,
        };
        for _ in 0..n_steps {
            register.t += u64::from(random.below(3) > 0);
            match random.below(3) {
                0 if register.open.len() < 5 => register.invoke(random),
                1 if !register.open.is_empty() => register.take_effect(random),
                2 if !register.open.is_empty() => register.end(random),
                _ => {}
            }
        }
        register.records
    }

    fn record(&mut self, event: Event) {
        let t = self.t;
        self.records.push(Record { t, event });
    }

    fn invoke(&mut self, random: &mut Random) {
        let is_write = random.once_in(2);
        let write = is_write.then(|| (uid("p", TOPIC, self.n_writes), random.once_in(4)));
        if let Some((uid, empty)) = &write {
            self.n_writes += 1;
            self.record(self::write(uid, 1, *empty, false));
        }
        self.open.push(Open {
            write,
            invoked: self.t,
            effect: None,
        });
    }

    fn take_effect(&mut self, random: &mut Random) {
        let place = random.below(self.open.len());
        let open = &mut self.open[place];
        if open.effect.is_none() {
            if let Some((uid, empty)) = &open.write {
                self.value = (!empty).then(|| uid.clone());
            }
            open.effect = Some(self.value.clone());
        }
    }

    fn end(&mut self, random: &mut Random) {
        let open = self.open.swap_remove(random.below(self.open.len()));
        let is_lost = random.once_in(8);
        match (open.write, open.effect) {
            // What has had no effect may be refused, or never be answered.
            (Some((uid, _)), None) if !is_lost => self.record(refused(&uid)),
            (Some((uid, _)), Some(_)) if !is_lost => self.record(accepted(&uid)),
            (None, Some(found)) => {
                self.record(read(found.as_ref(), open.invoked, self.t));
            }
            _ => {}
        }
    }
}

#[test]
fn a_right_register_is_valid() {
    for seed in 1..=300 {
        let records = Register::run(&mut Random::new(seed), 400);
        let verdict = judged(&records);
        let conclusion = verdict.conclusion();
        assert_eq!(conclusion, Conclusion::Valid, "seed {seed}: {verdict}");
    }
    // A long history costs no more than its parts.
    let verdict = judged(&Register::run(&mut Random::new(0), 20_000));
    assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
}

/// A reader is given what had been overwritten before it began.
#[test]
fn a_stale_read_is_found() {
    for seed in 1..=100 {
        let mut random = Random::new(seed);
        let mut records = Register::run(&mut random, 300);
        let t = records.last().expect("some").t;
        let [old, new] = [9_000, 9_001].map(|seq| uid("p", TOPIC, seq));
        for (step, event) in (1..).zip([
            write(&old, 1, false, false),
            accepted(&old),
            write(&new, 1, random.once_in(2), false),
            accepted(&new),
            read(Some(&old), t + 10, t + 11),
        ]) {
            records.push(Record { t: t + step, event });
        }
        let verdict = judged(&records);
        assert_eq!(verdict.n_broken("I10"), 1, "seed {seed}: {verdict}");
    }
}
