//! The judge is judged: right histories from a seeded model are green, and each kind of mistake
//! that is put into one turns it red, by its own name.

use super::{Event, Expected, Record, Uid, Verdict, Violation};
use crate::history::{Name, Random};

fn judge(events: &[Event]) -> Verdict {
    let of_event = |(t, event): (usize, &Event)| Record {
        t: t.try_into().expect("small"),
        event: event.clone(),
    };
    let records: Vec<_> = events.iter().enumerate().map(of_event).collect();
    super::judge(&records, &Expected::default())
}

const SEEDS: u64 = 200;
const CLIENT: &str = "subscriber";

fn uid(publisher: usize, topic: usize, seq: usize) -> Uid {
    Uid {
        publisher: format!("p{publisher}").into(),
        topic: format!("t/{topic}").into(),
        seq: u64::try_from(seq).expect("small"),
    }
}

fn received(uid: &Uid, qos: u8, dup: bool) -> Event {
    Event::Received {
        client: CLIENT.into(),
        connection: 1,
        topic: uid.topic.clone(),
        uid: Some(uid.clone()),
        qos,
        dup,
        retain: false,
    }
}

fn sent(uid: &Uid, qos: u8) -> Event {
    Event::Sent {
        uid: uid.clone(),
        connection: 1,
        qos,
        retain: false,
        dup: false,
        empty: false,
    }
}

fn connected(session_present: bool) -> Event {
    Event::Connected {
        client: CLIENT.into(),
        connection: 1,
        node: "n1".into(),
        session_present,
        clean_start: false,
    }
}

/// What a faultless broker might do: a subscriber that reconnects, publishers that send again,
/// QoS 1 repeated with a reason.
fn right(random: &mut Random) -> Vec<Event> {
    let client = || Name::from(CLIENT);
    let mut events = vec![
        connected(false),
        Event::Subscribed {
            client: client(),
            filter: "t/+".into(),
            qos: 2,
        },
    ];
    let mut queue: Vec<(Uid, u8)> = Vec::new();
    let mut next = [[0_usize; 3]; 2];
    for _ in 0..60 + random.below(60) {
        let (publisher, topic) = (random.below(2), random.below(3));
        let uid = uid(publisher, topic, next[publisher][topic]);
        next[publisher][topic] += 1;
        let qos = if topic == 0 { 1 } else { 2 };
        events.push(sent(&uid, qos));
        let again = random.below(8) == 0;
        if again {
            events.push(sent(&uid, qos));
        }
        queue.push((uid.clone(), qos));
        if again && qos == 1 {
            queue.push((uid.clone(), qos));
        }
        if random.below(10) > 0 {
            events.push(Event::Accepted { uid, connection: 1 });
        }
        for (uid, qos) in queue.drain(..random.below(queue.len() + 1)) {
            events.push(received(&uid, qos, false));
            if qos == 1 && random.below(10) == 0 {
                events.push(connected(true));
                events.push(received(&uid, qos, true));
            }
        }
    }
    for (uid, qos) in queue {
        events.push(received(&uid, qos, false));
    }
    events.push(Event::Drained { client: client() });
    events
}

/// The positions of the first receipts of accepted messages of this QoS.
fn receipts(events: &[Event], wanted: u8) -> Vec<usize> {
    let accepted = |wanted: &Uid| {
        events
            .iter()
            .any(|event| matches!(event, Event::Accepted { uid, .. } if uid == wanted))
    };
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if let Event::Received {
            uid: Some(uid),
            qos,
            ..
        } = event
            && *qos == wanted
            && !seen.contains(&uid)
            && accepted(uid)
        {
            seen.push(uid);
            found.push(index);
        }
    }
    found
}

fn name_at(events: &[Event], index: usize) -> Uid {
    match &events[index] {
        Event::Received { uid: Some(uid), .. } => uid.clone(),
        other => panic!("no receipt: {other:?}"),
    }
}

/// Puts one mistake into each of many right histories; each must be found by this name.
fn check(
    mistake: impl Fn(&mut Vec<Event>, &mut Random),
    is_it: impl Fn(&Violation) -> bool,
) -> Vec<Verdict> {
    let verdicts = (1..=SEEDS).map(|seed| {
        let mut random = Random::new(seed);
        let mut events = right(&mut random);
        mistake(&mut events, &mut random);
        let verdict = judge(&events);
        assert!(
            verdict.violations.iter().any(&is_it),
            "seed {seed}: the mistake was not found\n{verdict}"
        );
        verdict
    });
    verdicts.collect()
}

#[test]
fn right_histories_are_green() {
    let mut n_repeated = 0;
    for seed in 1..=SEEDS {
        let verdict = judge(&right(&mut Random::new(seed)));
        assert!(verdict.is_green(), "seed {seed}: {verdict}");
        assert!(verdict.n_accepted > 40, "seed {seed}: {verdict}");
        n_repeated += verdict.n_repeated;
    }
    assert!(n_repeated > 0, "the model repeats some");
}

#[test]
fn a_loss_is_found() {
    let verdicts = check(
        |events, random| {
            let first = receipts(events, 2);
            let lost = name_at(events, first[random.below(first.len())]);
            events.retain(
                |event| !matches!(event, Event::Received { uid: Some(uid), .. } if *uid == lost),
            );
        },
        |found| matches!(found, Violation::Lost { .. }),
    );
    assert!(verdicts.iter().all(|verdict| verdict.n_lost() == 1));
}

#[test]
fn a_second_receipt_of_qos_2_is_found() {
    check(
        |events, random| {
            let first = receipts(events, 2);
            let twice = name_at(events, first[random.below(first.len())]);
            let last = events.len() - 1;
            events.insert(last, connected(true));
            events.insert(last + 1, received(&twice, 2, true));
        },
        |found| matches!(found, Violation::Twice { .. }),
    );
}

#[test]
fn an_unjustified_repeat_of_qos_1_is_found() {
    let verdicts = check(
        |events, _| {
            let fresh = uid(0, 0, 1_000);
            let last = events.len() - 1;
            let once = sent(&fresh, 1);
            let twice = [once, received(&fresh, 1, false), received(&fresh, 1, false)];
            events.splice(last..last, twice);
        },
        |found| matches!(found, Violation::Repeated { .. }),
    );
    assert!(verdicts.iter().all(|verdict| verdict.violations.len() == 1));
}

#[test]
fn a_changed_order_is_found() {
    check(
        |events, random| {
            let first = receipts(events, 2);
            loop {
                let (a, b) = (random.below(first.len()), random.below(first.len()));
                let (one, other) = (name_at(events, first[a]), name_at(events, first[b]));
                if a < b && one.publisher == other.publisher && one.topic == other.topic {
                    // The earlier one comes late, right after the other.
                    let late = events.remove(first[a]);
                    return events.insert(first[b], late);
                }
            }
        },
        |found| matches!(found, Violation::OutOfOrder { .. }),
    );
}

#[test]
fn a_phantom_is_found() {
    check(
        |events, random| {
            let place = 2 + random.below(events.len() - 2);
            events.insert(place, received(&uid(7, 1, 1), 2, false));
        },
        |found| matches!(found, Violation::Phantom { .. }),
    );
}

#[test]
fn altered_and_misrouted_messages_are_found() {
    check(
        |events, random| {
            let first = receipts(events, 2);
            let place = first[random.below(first.len())];
            if let Event::Received { uid, .. } = &mut events[place] {
                *uid = None;
            }
        },
        |found| matches!(found, Violation::Corrupt { .. }),
    );
    check(
        |events, random| {
            let first = receipts(events, 2);
            let place = first[random.below(first.len())];
            if let Event::Received { topic, .. } = &mut events[place] {
                *topic = "t/elsewhere".into();
            }
        },
        |found| matches!(found, Violation::Misrouted { .. }),
    );
}

#[test]
fn what_was_refused_or_not_subscribed_to_may_not_come() {
    check(
        |events, random| {
            let first = receipts(events, 2);
            let refused = name_at(events, first[random.below(first.len())]);
            for event in events {
                if matches!(event, Event::Accepted { uid, .. } if *uid == refused) {
                    *event = Event::Refused {
                        connection: 1,
                        reason: 0x97,
                        uid: refused.clone(),
                    };
                }
            }
        },
        |found| matches!(found, Violation::RefusedButDelivered { .. }),
    );
    check(
        |events, _| {
            if let Event::Subscribed { filter, .. } = &mut events[1] {
                *filter = "t/1".into();
            }
        },
        |found| matches!(found, Violation::Unsubscribed { .. }),
    );
}

#[test]
fn a_lost_session_and_a_missing_drain_are_found() {
    check(
        |events, random| {
            let place = 2 + random.below(events.len() - 2);
            events.insert(place, connected(false));
        },
        |found| matches!(found, Violation::SessionLost { .. }),
    );
    check(
        |events, _| {
            events.pop();
        },
        |found| matches!(found, Violation::NotDrained { .. }),
    );
}

#[test]
fn what_was_sent_before_the_suback_may_be_missing() {
    let early = uid(0, 0, 0);
    let before = [
        sent(&early, 1),
        Event::Accepted {
            uid: early,
            connection: 1,
        },
    ];
    let mut events = before.to_vec();
    events.push(Event::Subscribed {
        client: CLIENT.into(),
        filter: "#".into(),
        qos: 1,
    });
    events.push(Event::Drained {
        client: CLIENT.into(),
    });
    assert!(judge(&events).is_green());
}
