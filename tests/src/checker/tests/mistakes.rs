//! One mistake is put into many right histories, at a place that the seed chooses: I1 to I9, I11.

use std::collections::HashSet;

use super::{
    Verdict, Violation, check, judged,
    model::{
        self, LATEST, SECOND, STAYS, accepted, connected, connecting, disconnected, push, received,
        sent,
    },
    uid,
};
use crate::history::{Ending, Event, FaultOutcome, Name, Random, Record, SessionEnd, Uid};

const SEEDS: u64 = 40;

/// Makes a mistake in each of many right histories. It must be found by this name, and whatever is
/// found must be of these rules.
#[track_caller]
fn finds(
    rules: &[&str],
    mistake: impl Fn(&mut Vec<Record>, &mut Random),
    is_it: impl Fn(&Violation) -> bool,
) -> Vec<Verdict> {
    let verdicts = (1..=SEEDS).map(|seed| {
        let mut random = Random::new(seed);
        let mut records = model::right(&mut random);
        mistake(&mut records, &mut random);
        let verdict = judged(&records);
        assert!(
            verdict.violations.iter().any(&is_it),
            "seed {seed}: it was not found\n{verdict}"
        );
        let of_rules = |found: &Violation| rules.contains(&found.invariant());
        assert!(
            verdict.violations.iter().all(of_rules),
            "seed {seed}: not only {rules:?}\n{verdict}"
        );
        verdict
    });
    verdicts.collect()
}

/// Places of first receipts by the subscriber that stays, of messages that came with this QoS and
/// were accepted, if it is above 0.
fn receipts(records: &[Record], wanted: u8) -> Vec<usize> {
    let accepted = records.iter().filter_map(|record| match &record.event {
        Event::Accepted { uid, .. } => Some(uid),
        _ => None,
    });
    let accepted: HashSet<_> = accepted.collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (place, record) in records.iter().enumerate() {
        if let Event::Received {
            client,
            uid: Some(uid),
            qos,
            ..
        } = &record.event
            && *client == STAYS
            && *qos == wanted
            && (wanted == 0 || accepted.contains(uid))
            && seen.insert(uid)
        {
            found.push(place);
        }
    }
    assert!(!found.is_empty(), "too little happens");
    found
}

fn choose(records: &[Record], qos: u8, random: &mut Random) -> usize {
    let all = receipts(records, qos);
    all[random.below(all.len())]
}

fn uid_at(records: &[Record], place: usize) -> Uid {
    match &records[place].event {
        Event::Received { uid: Some(uid), .. } => uid.clone(),
        other => panic!("no receipt: {other:?}"),
    }
}

/// Puts an event behind another one.
fn insert(records: &mut Vec<Record>, place: usize, event: Event) {
    let t = records[place].t;
    records.insert(place + 1, Record { t, event });
}

fn drain(records: &[Record], client: &str) -> usize {
    let is_it = |it: &Record| matches!(&it.event, Event::Drained { client: it } if *it == client);
    records.iter().position(is_it).expect("it drained")
}

// === I1, I7 ===

#[test]
fn a_loss_is_found() {
    for qos in [1, 2] {
        let verdicts = finds(
            &["I1", "I7"],
            |records, random| {
                let lost = uid_at(records, choose(records, qos, random));
                records.retain(|record| {
                    let Event::Received { client, uid, .. } = &record.event else {
                        return true;
                    };
                    *client != STAYS || *uid != Some(lost.clone())
                });
            },
            |found| matches!(found, Violation::Lost { .. }),
        );
        assert!(verdicts.iter().all(|it| it.n_lost() == 1));
        assert!(verdicts.iter().any(|it| it.n_broken("I7") == 1));
    }
}

/// The sums notice that one was lost and another came twice: they are not worth the same.
#[test]
fn a_loss_is_not_made_up_for_by_a_repeat() {
    finds(
        &["I1", "I3", "I5", "I7"],
        |records, random| {
            let all = receipts(records, 2);
            let first = random.below(all.len() - 1);
            let twice = uid_at(records, all[first]);
            records[all[first + 1]].event = received(STAYS, LATEST, &twice, 2, false);
        },
        |found| matches!(found, Violation::Unbalanced { .. }),
    );
}

/// What I1 leaves out, each with what it does not.
#[test]
fn what_is_not_owed_may_be_missing() {
    let client = || Name::from("s");
    let (early, late) = (uid("p", "t", 0), uid("p", "t", 1));
    let begin = |qos| {
        [
            connected(&client(), 1, false, false),
            Event::Subscribed {
                client: client(),
                filter: "#".into(),
                qos,
            },
        ]
    };
    let drained = || Event::Drained { client: client() };
    let unsubscribing = || Event::Unsubscribing {
        client: client(),
        filter: "#".into(),
    };
    let message = |uid: &Uid| [sent(uid, 1, false), accepted(uid)];
    // First sent before SUBACK.
    let [connack, suback] = begin(1);
    let [publish, puback] = message(&early);
    check([connack, publish, suback, puback, drained()], &[]);
    // Granted QoS 0, or a session that ended.
    let events = begin(0).into_iter().chain(message(&early));
    check(events.chain([drained()]), &[]);
    let events = begin(1).into_iter().chain(message(&early));
    let ended = Event::SessionEnded {
        client: client(),
        reason: SessionEnd::Expired,
    };
    check(events.chain([ended, drained()]), &[]);
    // Accepted after UNSUBSCRIBE; what was accepted before is owed.
    let [publish, puback] = message(&late);
    let events = begin(1)
        .into_iter()
        .chain([publish, unsubscribing(), puback]);
    check(events.chain([drained()]), &[]);
    let events = begin(1).into_iter().chain(message(&late));
    check(events.chain([unsubscribing(), drained()]), &["I1", "I7"]);
    // Not answered.
    let events = begin(1).into_iter().chain([sent(&late, 1, false)]);
    check(events.chain([drained()]), &[]);
    // A new SUBSCRIBE to the same is no gap, unless it is for QoS 0.
    for (qos, expected) in [(2, &["I1", "I7"][..]), (0, &[])] {
        let again = Event::Subscribing {
            client: client(),
            filter: "#".into(),
            qos,
        };
        let [publish, puback] = message(&late);
        let events = begin(1).into_iter().chain([publish, again, puback]);
        check(events.chain([drained()]), expected);
    }
}

// === I2 ===

#[test]
fn a_phantom_is_found() {
    finds(
        &["I2", "I7"],
        |records, random| {
            let place = choose(records, 2, random);
            insert(
                records,
                place,
                received(STAYS, LATEST, &uid("p7", "t/1", 1), 2, false),
            );
        },
        |found| matches!(found, Violation::Phantom { .. }),
    );
    finds(
        &["I2", "I3", "I5", "I7"],
        |records, random| {
            let place = choose(records, 2, random);
            let early = records[place].event.clone();
            let uid = uid_at(records, place);
            let is_sent =
                |it: &Record| matches!(&it.event, Event::Sent { uid: it, .. } if *it == uid);
            let sent = records.iter().position(is_sent).expect("it was sent");
            records.remove(place);
            insert(records, sent - 1, early);
            // So that it is not lost too.
            let end = drain(records, STAYS);
            insert(records, end - 1, received(STAYS, LATEST, &uid, 2, false));
        },
        |found| matches!(found, Violation::Phantom { .. }),
    );
}

#[test]
fn altered_and_misrouted_messages_are_found() {
    finds(
        &["I1", "I2", "I7"],
        |records, random| {
            let place = choose(records, 2, random);
            if let Event::Received { uid, .. } = &mut records[place].event {
                *uid = None;
            }
        },
        |found| matches!(found, Violation::Corrupt { .. }),
    );
    finds(
        &["I1", "I2"],
        |records, random| {
            let place = choose(records, 2, random);
            if let Event::Received { topic, .. } = &mut records[place].event {
                *topic = "t/elsewhere".into();
            }
        },
        |found| matches!(found, Violation::Misrouted { .. }),
    );
    finds(
        &["I2"],
        |records, random| {
            let place = choose(records, 2, random);
            let empty = Event::ReceivedEmpty {
                client: STAYS.into(),
                connection: LATEST,
                topic: "t/1".into(),
                qos: 1,
            };
            insert(records, place, empty);
        },
        |found| matches!(found, Violation::Corrupt { .. }),
    );
}

#[test]
fn what_was_refused_or_not_subscribed_to_may_not_come() {
    finds(
        &["I2", "I7"],
        |records, random| {
            let refused = uid_at(records, choose(records, 2, random));
            records.retain(|record| match &record.event {
                Event::Sent { uid, dup, .. } => !dup || *uid != refused,
                _ => true,
            });
            for record in records {
                if matches!(&record.event, Event::Accepted { uid, .. } if *uid == refused) {
                    record.event = Event::Refused {
                        uid: refused.clone(),
                        connection: LATEST,
                        reason: 0x87,
                    };
                }
            }
        },
        |found| matches!(found, Violation::RefusedButDelivered { .. }),
    );
    finds(
        &["I2"],
        |records, random| {
            let place = choose(records, 2, random);
            let other = uid_at(records, place);
            insert(records, place, received("p1", LATEST, &other, 2, false));
        },
        |found| matches!(found, Violation::Unsubscribed { .. }),
    );
    finds(
        &["I1", "I2", "I7"],
        |records, random| {
            let place = choose(records, 2, random);
            if let Event::Received { qos, .. } = &mut records[place].event {
                *qos = 1;
            }
        },
        |found| matches!(found, Violation::Regraded { .. }),
    );
}

/// A subscription explains nothing before it was asked for, or when it was refused.
#[test]
fn what_comes_without_a_suback_is_found() {
    let (it, client) = (uid("p", "t", 0), || Name::from("s"));
    let subscribing = Event::Subscribing {
        client: client(),
        filter: "t".into(),
        qos: 1,
    };
    let refused = Event::SubscribeRefused {
        client: client(),
        filter: "t".into(),
        reason: 0x87,
    };
    let [publish, came] = [sent(&it, 1, false), received("s", 1, &it, 1, false)];
    let in_order = |events: [&Event; 3], expected| check(events.map(Event::clone), expected);
    in_order([&publish, &subscribing, &came], &[]);
    in_order([&subscribing, &publish, &came], &[]);
    in_order([&publish, &came, &subscribing], &["I2"]);
    let verdict = check([publish, subscribing, refused, came], &["I2"]);
    let found = &verdict.violations[0];
    assert!(matches!(found, Violation::Unsubscribed { .. }), "{verdict}");
}

/// An exchange whose PUBREC came is there until its PUBCOMP, wherever the session is.
#[test]
fn an_exchange_that_is_forgotten_is_found() {
    let (it, p) = (uid("p", "t", 0), Name::from("p"));
    let answered = |connection| Event::Accepted {
        uid: it.clone(),
        connection,
    };
    let unknown = |connection, released_before| Event::Unknown {
        uid: it.clone(),
        connection,
        released_before,
    };
    let begin = || {
        let first = [connecting(&p, 1, false), connected(&p, 1, false, false)];
        first.into_iter().chain([sent(&it, 2, false), answered(1)])
    };
    let back = |present| {
        let events = [
            disconnected(&p, 1, Ending::Cut),
            connecting(&p, 2, false),
            connected(&p, 2, present, false),
        ];
        begin().chain(events)
    };
    check(begin().chain([unknown(1, false)]), &["I6"]);
    check(back(true).chain([unknown(2, false)]), &["I6"]);
    // The PUBCOMP to an earlier PUBREL may have been lost.
    check(back(true).chain([unknown(2, true)]), &[]);
    // With the session the exchange is gone: what is wrong then is that.
    let verdict = check(back(false).chain([unknown(2, false)]), &["I6"]);
    let found = &verdict.violations[..];
    assert!(
        matches!(found, [Violation::SessionLost { .. }]),
        "{verdict}"
    );
}

/// A session that ended took its queue with it: what waited in it may come on a connection that was
/// there before, and on later ones by what was subscribed to there.
#[test]
fn what_an_ended_session_left_is_found() {
    let (it, s) = (uid("p", "t", 0), Name::from("s"));
    let subscribed = || Event::Subscribed {
        client: s.clone(),
        filter: "t".into(),
        qos: 1,
    };
    let chosen = || Event::SessionEnded {
        client: s.clone(),
        reason: SessionEnd::Chosen,
    };
    let begin = || {
        [
            connecting(&s, 1, false),
            connected(&s, 1, false, false),
            subscribed(),
            sent(&it, 1, false),
        ]
    };
    let check = |more: Vec<Event>, expected| check(begin().into_iter().chain(more), expected);
    let came = |connection| received("s", connection, &it, 1, false);
    let clean = || [connecting(&s, 2, true), connected(&s, 2, false, true)];
    let again = || [connecting(&s, 2, false), connected(&s, 2, false, false)];
    let cut = || disconnected(&s, 1, Ending::Cut);
    // A clean start, an end that the client chose: the queue is of the session before.
    check(
        [vec![cut()], clean().into(), vec![came(2)]].concat(),
        &["I2"],
    );
    check(
        [vec![chosen(), cut()], again().into(), vec![came(2)]].concat(),
        &["I2"],
    );
    // The session is the same, or the connection is.
    let back = [connecting(&s, 2, false), connected(&s, 2, true, false)];
    check([vec![cut()], back.into(), vec![came(2)]].concat(), &[]);
    check([clean().into(), vec![came(1)]].concat(), &[]);
    check(vec![chosen(), came(1)], &[]);
    // It subscribed again, in the later session: the message may have been on its way.
    check(
        [vec![cut()], clean().into(), vec![subscribed(), came(2)]].concat(),
        &[],
    );
}

/// An earlier sending of what is refused may have been taken over.
#[test]
fn what_was_refused_when_it_was_sent_again_may_come() {
    let client = Name::from("s");
    let subscribed = Event::Subscribed {
        client: client.clone(),
        filter: "t".into(),
        qos: 1,
    };
    let refused = Event::Refused {
        uid: uid("p", "t", 0),
        connection: 2,
        reason: 0x87,
    };
    let it = uid("p", "t", 0);
    let (first, again) = (sent(&it, 1, false), sent(&it, 1, true));
    let came = received("s", 1, &it, 1, false);
    let drained = Event::Drained { client };
    check([subscribed, first, again, refused, came, drained], &[]);
}

/// Where one of those that it went to has no room, others may have it.
#[test]
fn what_was_refused_for_want_of_room_may_come() {
    for (reason, broken) in [(0x97, &[][..]), (0x87, &["I2", "I7"][..])] {
        let client = Name::from("s");
        let it = uid("p", "t", 0);
        let subscribed = Event::Subscribed {
            client: client.clone(),
            filter: "t".into(),
            qos: 1,
        };
        let refused = Event::Refused {
            uid: it.clone(),
            connection: 1,
            reason,
        };
        let came = received("s", 1, &it, 1, false);
        let drained = Event::Drained { client };
        check(
            [subscribed, sent(&it, 1, false), refused, came, drained],
            broken,
        );
    }
}

// === I3, I4, I5 ===

#[test]
fn a_second_receipt_of_qos_2_or_0_is_found() {
    for qos in [2, 0] {
        let verdicts = finds(
            &["I3", "I7"],
            |records, random| {
                let twice = uid_at(records, choose(records, qos, random));
                let (name, end) = (STAYS.into(), drain(records, STAYS) - 1);
                insert(records, end, received(STAYS, LATEST, &twice, qos, true));
                insert(records, end, connected(&name, LATEST, true, false));
            },
            |found| matches!(found, Violation::Twice { .. }),
        );
        // The sums notice it, unless something unknown makes up for it.
        assert!(verdicts.iter().any(|it| it.n_broken("I7") > 0));
    }
}

/// One copy for all of a client's own subscriptions, one for each shared one.
#[test]
fn more_copies_than_subscriptions_are_found() {
    let it = uid("p", "t", 0);
    let subscribed = |filter: &str| Event::Subscribed {
        client: "s".into(),
        filter: filter.into(),
        qos: 2,
    };
    for (filters, n_due) in [
        (&["t", "#", "t"][..], 1),
        (&["t", "$share/g/t"], 2),
        (&["$share/g/t", "$share/h/+", "$share/g/t"], 2),
    ] {
        let begin = filters.iter().map(|filter| subscribed(filter));
        let begin = begin.chain([sent(&it, 2, false)]);
        let copies = |n| vec![received("s", 1, &it, 2, false); n];
        let is_owed = begin.clone().chain(copies(n_due));
        check(is_owed, &[]);
        let verdict = check(begin.chain(copies(n_due + 1)), &["I3"]);
        assert_eq!(verdict.n_duplicated(), 1, "{filters:?}: {verdict}");
    }
}

fn repeat(records: &mut Vec<Record>, end: usize, faults: &[FaultOutcome]) {
    let fresh = uid("p1", "t/0", 9_000);
    let faults = faults.iter().map(|outcome| Event::Fault {
        op: "kill".into(),
        target: "g2".into(),
        outcome: *outcome,
    });
    let twice = received(STAYS, LATEST, &fresh, 1, false);
    let begin = [sent(&fresh, 1, false), twice.clone()];
    for event in [twice]
        .into_iter()
        .chain(faults)
        .chain(begin.into_iter().rev())
    {
        insert(records, end - 1, event);
    }
}

#[test]
fn an_unjustified_repeat_of_qos_1_is_found() {
    let verdicts = finds(
        &["I4"],
        |records, _| {
            // No fault is in force at the end.
            let end = drain(records, STAYS);
            repeat(records, end, &[]);
        },
        |found| matches!(found, Violation::Repeated { .. }),
    );
    assert!(verdicts.iter().all(|it| it.violations.len() == 1));
    assert!(
        verdicts
            .iter()
            .all(|it| it.n_repeated_without_reason() == 1)
    );
}

/// What was sent again is a reason from then on.
#[test]
fn a_repeat_before_it_was_sent_again_is_found() {
    let it = uid("p", "t", 0);
    let subscribed = Event::Subscribed {
        client: "s".into(),
        filter: "t".into(),
        qos: 1,
    };
    let came = || received("s", 1, &it, 1, false);
    let begin = [subscribed, sent(&it, 1, false), came()];
    let again = sent(&it, 1, true);
    let events = begin.iter().cloned();
    check(events.clone().chain([again.clone(), came()]), &[]);
    check(events.chain([came(), again]), &["I4"]);
}

/// Of those that come again on a later connection the most to one client count; what its publisher sent
/// again does not.
#[test]
fn what_comes_again_because_its_client_connected_anew_is_counted() {
    let all: Vec<_> = (0..6).map(|seq| uid("p", "t", seq)).collect();
    let subscribed = |client: &str| Event::Subscribed {
        client: client.into(),
        filter: "t".into(),
        qos: 1,
    };
    let mut events = vec![subscribed("s"), subscribed("other")];
    for it in &all {
        events.push(sent(it, 1, false));
        events.extend(["s", "other"].map(|client| received(client, 1, it, 1, false)));
    }
    events.push(sent(&all[5], 1, true));
    let again = |client, connection, seq: usize| received(client, connection, &all[seq], 1, true);
    events.push(again("s", 1, 0));
    events.extend([2, 3, 4, 5].map(|seq| again("s", 2, seq)));
    events.extend([0, 1].map(|seq| again("s", 3, seq)));
    events.extend([0, 1].map(|seq| again("other", 2, seq)));
    let verdict = check(events, &[]);
    assert_eq!(
        (verdict.most_resumed, verdict.n_repeated),
        (3, 9),
        "{verdict}"
    );
}

#[test]
fn a_fault_is_a_reason_to_repeat_if_it_was_in_force() {
    use FaultOutcome::{Healed, Indeterminate, Installed, Skipped};
    let verdict = |faults: &[FaultOutcome]| {
        let mut records = model::right(&mut Random::new(1));
        let end = drain(&records, STAYS);
        // In the order of time they are the other way round.
        let faults: Vec<_> = faults.iter().rev().copied().collect();
        repeat(&mut records, end, &faults);
        judged(&records)
    };
    for good in [&[Installed][..], &[Indeterminate], &[Installed, Healed]] {
        let verdict = verdict(good);
        assert_eq!(verdict.n_repeated_by_fault, 1, "{good:?}: {verdict}");
        assert!(verdict.is_green(), "{good:?}: {verdict}");
    }
    let verdict = verdict(&[Skipped]);
    assert_eq!(verdict.n_broken("I4"), 1, "{verdict}");
    // It began after the repeat.
    let mut records = model::right(&mut Random::new(1));
    let end = drain(&records, STAYS);
    let fault = Event::Fault {
        op: "kill".into(),
        target: "g2".into(),
        outcome: Installed,
    };
    insert(&mut records, end, fault);
    repeat(&mut records, end, &[]);
    assert_eq!(judged(&records).n_broken("I4"), 1);
    // It was over before the message was sent.
    let mut records = model::right(&mut Random::new(1));
    let end = drain(&records, STAYS);
    for outcome in [Healed, Installed] {
        let (op, target) = ("kill".into(), "g2".into());
        let fault = Event::Fault {
            op,
            target,
            outcome,
        };
        insert(&mut records, end - 1, fault);
    }
    repeat(&mut records, end + 2, &[]);
    assert_eq!(judged(&records).n_broken("I4"), 1);
}

#[test]
fn a_changed_order_is_found() {
    finds(
        &["I5"],
        |records, random| {
            let all = receipts(records, 2);
            let mut pairs = Vec::new();
            for (place, a) in all.iter().enumerate() {
                let one = uid_at(records, *a);
                let later = all[place + 1..].iter().filter(|b| {
                    let other = uid_at(records, **b);
                    one.publisher == other.publisher && one.topic == other.topic
                });
                pairs.extend(later.map(|b| (*a, *b)));
            }
            let (a, b) = pairs[random.below(pairs.len())];
            // The earlier one comes late, right behind the other.
            let mut late = records.remove(a);
            late.t = records[b - 1].t;
            if let Event::Received { connection, .. } = &mut late.event {
                *connection = LATEST;
            }
            records.insert(b, late);
        },
        |found| matches!(found, Violation::OutOfOrder { .. }),
    );
}

/// The standard orders what has one QoS.
#[test]
fn only_one_qos_is_in_order() {
    for (granted, qos, expected) in [
        (2, 1, &[][..]),
        (1, 1, &[]),
        (2, 2, &["I5"]),
        (1, 2, &["I5"]),
    ] {
        let [one, two] = [0, 1].map(|seq| uid("p", "t", seq));
        let subscribed = Event::Subscribed {
            client: "s".into(),
            filter: "t".into(),
            qos: granted,
        };
        let events = [
            subscribed,
            sent(&one, 2, false),
            sent(&two, qos, false),
            received("s", 1, &two, qos.min(granted), false),
            received("s", 1, &one, granted, false),
        ];
        check(events, expected);
    }
}

// === I6 ===

#[test]
fn a_lost_session_is_found() {
    finds(
        &["I6"],
        |records, random| {
            let name = ["p1", STAYS][random.below(2)].into();
            push(records, connected(&name, LATEST, false, false));
        },
        |found| matches!(found, Violation::SessionLost { .. }),
    );
}

#[test]
fn a_session_that_ended_may_not_be_there() {
    let name = Name::from("s");
    let ended = || Event::SessionEnded {
        client: name.clone(),
        reason: SessionEnd::Chosen,
    };
    let there = |connection| {
        [
            connecting(&name, connection, false),
            connected(&name, connection, true, false),
        ]
    };
    let clean = |present| {
        [
            connecting(&name, 2, true),
            connected(&name, 2, present, true),
        ]
    };
    let start = || {
        [
            connecting(&name, 1, false),
            connected(&name, 1, false, false),
        ]
    };
    check(start().into_iter().chain(clean(true)), &["I6"]);
    check(start().into_iter().chain(clean(false)), &[]);
    let [_, connack] = clean(false);
    check(start().into_iter().chain([connack]), &[]);
    let events = start().into_iter().chain([ended()]);
    check(events.chain(there(2)), &["I6"]);
    // The CONNACK of another attempt may have been lost.
    let events = start()
        .into_iter()
        .chain([ended(), connecting(&name, 2, false)]);
    check(events.chain(there(3)), &[]);
    // So may that of a clean start, which ended the session.
    let gone = [
        connecting(&name, 3, false),
        connected(&name, 3, false, false),
    ];
    let events = start().into_iter().chain([connecting(&name, 2, true)]);
    check(events.chain(gone.clone()), &[]);
    check(start().into_iter().chain(gone), &["I6"]);
}

/// Nobody had the client id before, unless by a CONNECT whose CONNACK was lost.
#[test]
fn a_session_that_never_was_may_not_be_there() {
    let name = Name::from("s");
    let first = |present| {
        [
            connecting(&name, 1, false),
            connected(&name, 1, present, false),
        ]
    };
    check(first(false), &[]);
    check(first(true), &["I6"]);
    let second = [
        connecting(&name, 2, false),
        connected(&name, 2, true, false),
    ];
    let events = [connecting(&name, 1, false)].into_iter().chain(second);
    check(events, &[]);
    // Who says nothing of its CONNECTs.
    let [_, connack] = first(true);
    check([connack], &[]);
}

#[test]
fn what_comes_after_unsuback_is_found() {
    let (name, filter) = (Name::from("s"), Name::from("t"));
    let [client, of] = [&name, &filter].map(|it| move || it.clone());
    let before = [
        Event::Subscribed {
            client: client(),
            filter: of(),
            qos: 1,
        },
        Event::Unsubscribing {
            client: client(),
            filter: of(),
        },
    ];
    let unsuback = || Event::Unsubscribed {
        client: client(),
        filter: of(),
    };
    let late = uid("p", "t", 0);
    let message = || [sent(&late, 1, false), received("s", 1, &late, 1, false)];
    let events = before.clone().into_iter().chain([unsuback()]);
    check(events.chain(message()), &["I6"]);
    // What was first sent before it may come after it.
    let [publish, receipt] = message();
    check(
        before.into_iter().chain([publish, unsuback(), receipt]),
        &[],
    );
}

// === I8: owners; wills are in a file of their own ===

#[test]
fn what_comes_on_an_old_connection_is_found() {
    let (old, new) = (uid("p", "t", 0), Name::from("s"));
    let verdict = |late: u64, event: fn(&Uid) -> Event| {
        let mut records = Vec::new();
        for event in [
            connected(&new, 1, false, false),
            Event::Subscribed {
                client: new.clone(),
                filter: "#".into(),
                qos: 1,
            },
            sent(&old, 1, false),
            connected(&new, 2, true, false),
            connected(&"p".into(), 1, false, false),
            connected(&"p".into(), 2, true, false),
        ] {
            push(&mut records, event);
        }
        let t = records.last().expect("some").t + late;
        let event = event(&old);
        records.push(Record { t, event });
        judged(&records)
    };
    let receipt = |uid: &Uid| received("s", 1, uid, 1, false);
    let puback = |uid: &Uid| Event::Accepted {
        uid: uid.clone(),
        connection: 1,
    };
    for event in [receipt, puback] {
        let late = verdict(SECOND + 1, event);
        assert_eq!(late.n_broken("I8"), 1, "{late}");
        assert_eq!(late.violations.len(), 1, "{late}");
        assert!(verdict(SECOND - 10_000, event).is_green());
    }
    let on_the_new_one = verdict(9 * SECOND, |uid| received("s", 2, uid, 1, false));
    assert!(on_the_new_one.is_green(), "{on_the_new_one}");
}

// === I9 ===

fn state(node: &str, life: u32, applied: u64, hash: &str) -> Event {
    Event::StateHash {
        node: node.into(),
        life,
        applied,
        hash: hash.into(),
    }
}

#[test]
fn states_that_differ_are_found() {
    check([state("c1", 1, 7, "a"), state("c2", 1, 8, "b")], &[]);
    let verdict = check([state("c1", 1, 7, "a"), state("c2", 1, 7, "b")], &["I9"]);
    let text = verdict.violations[0].to_string();
    assert_eq!(text, "I9: c2 and c1 differ at applied index 7");
    // Also with itself, at another time.
    check([state("c1", 1, 7, "a"), state("c1", 2, 7, "b")], &["I9"]);
    finds(
        &["I9"],
        |records, random| {
            let place = random.below(records.len());
            for hash in ["x", "y"] {
                insert(records, place, state(hash, 1, 9_999, hash));
            }
        },
        |found| matches!(found, Violation::Diverged { .. }),
    );
}

#[test]
fn an_applied_index_that_falls_is_found() {
    check([state("c1", 1, 8, "b"), state("c1", 1, 7, "a")], &["I9"]);
    // A process that starts again applies again.
    check([state("c1", 1, 8, "b"), state("c1", 2, 7, "a")], &[]);
}

// === I11 ===

fn in_group(member: &str, group: &str, qos: u8) -> Event {
    Event::Subscribed {
        client: member.into(),
        filter: format!("$share/{group}/t").into(),
        qos,
    }
}

#[test]
fn a_group_that_misses_a_message_is_found() {
    let it = uid("p", "t", 0);
    let drained = |client: &str| Event::Drained {
        client: client.into(),
    };
    let left = |client: &str| Event::SessionEnded {
        client: client.into(),
        reason: SessionEnd::Chosen,
    };
    for qos in [1, 2] {
        let members = [in_group("a", "g", 2), in_group("b", "g", 2)];
        let begin = members
            .into_iter()
            .chain([sent(&it, qos, false), accepted(&it)]);
        let begin: Vec<_> = begin.collect();
        let drains = [drained("a"), drained("b")];
        let check = |more: Vec<Event>, expected| {
            check(begin.iter().chain(&more).chain(&drains).cloned(), expected)
        };
        let verdict = check(vec![], &["I11"]);
        assert_eq!(verdict.n_lost(), 1);
        check(vec![received("b", 1, &it, qos, false)], &[]);
        // With QoS 2 it may go with a member.
        check(vec![left("a")], if qos == 2 { &[] } else { &["I11"] });
        check(vec![left("a"), left("b")], &[]);
        // The other group's receipt is not this one's.
        check(
            vec![in_group("c", "h", 2), received("c", 1, &it, qos, false)],
            &["I11"],
        );
    }
    // Nobody was there before.
    let events = [sent(&it, 1, false), in_group("a", "g", 1), accepted(&it)];
    check(events.into_iter().chain([drained("a")]), &[]);
}

#[test]
fn a_group_that_receives_twice_is_found() {
    let it = uid("p", "t", 0);
    let begin = [
        in_group("a", "g", 2),
        in_group("b", "g", 2),
        sent(&it, 2, false),
        received("a", 1, &it, 2, false),
    ];
    let both = |more: Vec<Event>, expected| check(begin.iter().cloned().chain(more), expected);
    both(vec![received("b", 1, &it, 2, false)], &["I11"]);
    both(vec![received("a", 1, &it, 2, false)], &["I3"]);
    // It has that from a subscription of its own.
    let own = Event::Subscribed {
        client: "b".into(),
        filter: "t".into(),
        qos: 2,
    };
    both(vec![own, received("b", 1, &it, 2, false)], &[]);
    // Where the gateway that chose is gone, who chooses anew asks all others first.
    let fault = Event::Fault {
        op: "kill".into(),
        target: "g1".into(),
        outcome: FaultOutcome::Installed,
    };
    both(vec![fault, received("b", 1, &it, 2, false)], &["I11"]);
    // Another group's member is no second one.
    both(
        vec![in_group("c", "h", 2), received("c", 1, &it, 2, false)],
        &[],
    );
}

// === I12 ===

#[test]
fn a_probe_that_is_late_or_fails_is_found() {
    let probe = |ok, after| Event::Probe {
        client: "s".into(),
        ok,
        after,
    };
    let fault = |outcome| Event::Fault {
        op: "kill".into(),
        target: "g2".into(),
        outcome,
    };
    let healed = || fault(FaultOutcome::Healed);
    check([healed(), probe(true, 10 * SECOND)], &["I12"]);
    check([healed(), probe(false, 1)], &["I12"]);
    let verdict = check([healed(), probe(true, 9 * SECOND)], &[]);
    assert_eq!(verdict.slowest_probe.map(|it| it.as_secs()), Some(9));
    // Only the last heal counts.
    check([healed(), probe(false, 1), healed()], &[]);
}

/// A client's connections end, or do not: nothing else is wrong with any of these.
#[test]
fn connections_may_end_as_they_like() {
    let name = Name::from("s");
    for ending in [Ending::Cut, Ending::Orderly, Ending::Unclear] {
        let first = [
            connecting(&name, 1, false),
            connected(&name, 1, false, false),
        ];
        let events = first.into_iter().chain([disconnected(&name, 1, ending)]);
        let again = [
            connecting(&name, 2, false),
            connected(&name, 2, true, false),
        ];
        check(events.chain(again), &[]);
    }
}
