//! What is written can be read again, and what is owed is what the judge says.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    Ending, Event, FaultOutcome, History, Record, SessionEnd, Uid, crc32, decode, encode, matches,
    shared,
};
use crate::patience::pause;

fn uid(publisher: usize, topic: usize, seq: u64) -> Uid {
    Uid {
        publisher: format!("p{publisher}").into(),
        topic: format!("t/{topic}").into(),
        seq,
    }
}

#[test]
fn payloads_tell_their_name_or_that_they_were_altered() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    for length in [0, 30, 200] {
        let name = uid(1, 2, 77);
        let payload = encode(&name, length);
        assert!(payload.len() >= length);
        assert_eq!(decode(&payload), Some(name));
        for place in 0..payload.len() {
            let mut altered = payload.clone();
            altered[place] ^= 4;
            assert_eq!(decode(&altered), None, "byte {place} of {length}");
        }
        for shorter in 0..payload.len() {
            assert_eq!(decode(&payload[..shorter]), None, "first {shorter} bytes");
        }
    }
}

#[test]
fn the_plain_matcher() {
    for (filter, topic, expected) in [
        ("#", "a/b", true),
        ("a/#", "a", true),
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/+", "a/b/c", false),
        ("+/+", "/a", true),
        ("#", "$SYS/a", false),
        ("$SYS/#", "$SYS/a", true),
        ("a", "a/", false),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

#[test]
fn groups_are_told_from_filters() {
    assert_eq!(shared("$share/g/a/+"), Some(("g", "a/+")));
    assert_eq!(shared("$share/g//a"), Some(("g", "/a")));
    assert_eq!(shared("$share/g"), None);
    assert_eq!(shared("share/g/a"), None);
}

/// One event of each kind.
fn all_kinds() -> Vec<Event> {
    let (client, filter, node) = ("s \"1\"", "t/\u{e9}/#", "127.0.0.1:1883");
    let uid = || uid(1, 2, u64::MAX);
    vec![
        Event::Connecting {
            client: client.into(),
            connection: 1,
            node: node.into(),
            clean_start: true,
        },
        Event::Connected {
            client: client.into(),
            connection: 1,
            node: node.into(),
            session_present: false,
            clean_start: true,
        },
        Event::Disconnected {
            client: client.into(),
            connection: 1,
            ending: Ending::Unclear,
        },
        Event::SessionEnded {
            client: client.into(),
            reason: SessionEnd::Expired,
        },
        Event::WillArmed {
            client: client.into(),
            connection: 2,
            uid: uid(),
            qos: 2,
            retain: false,
            delay: 5,
        },
        Event::Subscribing {
            client: client.into(),
            filter: filter.into(),
            qos: 2,
        },
        Event::Subscribed {
            client: client.into(),
            filter: filter.into(),
            qos: 1,
        },
        Event::SubscribeRefused {
            client: client.into(),
            filter: filter.into(),
            reason: 0x87,
        },
        Event::Unsubscribing {
            client: client.into(),
            filter: filter.into(),
        },
        Event::Unsubscribed {
            client: client.into(),
            filter: filter.into(),
        },
        Event::Sent {
            uid: uid(),
            connection: 1,
            qos: 1,
            retain: true,
            dup: false,
            empty: true,
        },
        Event::Accepted {
            uid: uid(),
            connection: 1,
        },
        Event::Completed {
            uid: uid(),
            connection: 1,
        },
        Event::Unknown {
            uid: uid(),
            connection: 1,
            released_before: true,
        },
        Event::Refused {
            uid: uid(),
            connection: 1,
            reason: 0x97,
        },
        Event::Received {
            client: client.into(),
            connection: 1,
            topic: "t/2".into(),
            uid: Some(uid()),
            qos: 1,
            dup: true,
            retain: false,
        },
        Event::Received {
            client: client.into(),
            connection: 1,
            topic: "t/2".into(),
            uid: None,
            qos: 0,
            dup: false,
            retain: false,
        },
        Event::ReceivedEmpty {
            client: client.into(),
            connection: 1,
            topic: "t/2".into(),
            qos: 0,
        },
        Event::RetainedRead {
            client: client.into(),
            topic: "t/2".into(),
            value: None,
            invoked: 1,
            returned: 2,
        },
        Event::Drained {
            client: client.into(),
        },
        Event::StateHash {
            node: "c1".into(),
            life: 3,
            applied: 1_000,
            hash: "00ff".into(),
        },
        Event::Fault {
            op: "kill".into(),
            target: "g2".into(),
            outcome: FaultOutcome::Indeterminate,
        },
        Event::Probe {
            client: client.into(),
            ok: true,
            after: 7,
        },
    ]
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [at_once, at_its_end] = ["at-once.jsonl", "at-its-end.jsonl"].map(|it| dir.path().join(it));
    let history = History::written_to(&at_once).expect("a file");
    for event in all_kinds() {
        history.record(event);
    }
    history.flush().expect("it is written");
    history.save(&at_its_end).expect("it is written");
    let events: Vec<_> = history.records().into_iter().map(|it| it.event).collect();
    assert_eq!(events, all_kinds());
    for path in [at_once, at_its_end] {
        let read = History::load(&path).expect("it is read");
        assert_eq!(read.records(), history.records());
        assert_eq!(read.n_accepted(), 1);
    }
    let times: Vec<_> = history.records().iter().map(|it| it.t).collect();
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
}

#[test]
fn a_line_is_short_json_and_what_is_none_is_told() {
    let record = Record {
        t: 1,
        event: Event::Accepted {
            uid: uid(1, 2, 3),
            connection: 4,
        },
    };
    let line = serde_json::to_string(&record).expect("it is written");
    assert_eq!(
        line,
        r#"{"t":1,"ev":"accepted","uid":"p1|t/2|3","connection":4}"#
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("history.jsonl");
    for wrong in [
        r#"{"t":1,"ev":"invented"}"#,
        r#"{"t":1,"ev":"accepted","uid":"p1|t"}"#,
        "{",
    ] {
        std::fs::write(&path, format!("{line}\n{wrong}\n")).expect("it is written");
        let trouble = History::load(&path).expect_err("no event");
        assert!(trouble.to_string().contains("line 2"), "{trouble}");
    }
}

/// What was owed to a session that ended is owed no more; what a new subscription owes is.
#[test]
fn what_is_missing_is_of_the_present_session() {
    let history = History::default();
    let subscribe = || {
        history.record(Event::Subscribed {
            client: "s".into(),
            filter: "t/+".into(),
            qos: 1,
        });
    };
    let accept = |seq| {
        let uid = uid(1, 2, seq);
        history.record(Event::Sent {
            uid: uid.clone(),
            connection: 1,
            qos: 1,
            retain: false,
            dup: false,
            empty: false,
        });
        history.record(Event::Accepted { uid, connection: 1 });
    };
    let receive = |seq| {
        history.record(Event::Received {
            client: "s".into(),
            connection: 1,
            topic: "t/2".into(),
            uid: Some(uid(1, 2, seq)),
            qos: 1,
            dup: false,
            retain: false,
        });
    };
    subscribe();
    accept(0);
    assert_eq!(history.missing("s"), 1);
    history.record(Event::SessionEnded {
        client: "s".into(),
        reason: SessionEnd::Chosen,
    });
    assert_eq!(history.missing("s"), 0);
    subscribe();
    accept(1);
    assert_eq!(history.missing("s"), 1);
    // It comes late, and is not the one that is owed.
    receive(0);
    assert_eq!(history.missing("s"), 1);
    receive(1);
    receive(1);
    assert_eq!(history.missing("s"), 0);
    assert_eq!(history.n_accepted(), 2);
}

/// Whichever member gets it: all of them miss it, and none when one has it.
#[test]
fn what_a_group_is_owed_each_member_misses() {
    let history = History::default();
    let group = "$share/g/t/+";
    for client in ["one", "other"] {
        history.record(Event::Subscribed {
            client: client.into(),
            filter: group.into(),
            qos: 1,
        });
    }
    let send = |seq, qos| {
        history.record(Event::Sent {
            uid: uid(1, 2, seq),
            connection: 1,
            qos,
            retain: false,
            dup: false,
            empty: false,
        });
    };
    let accept = |seq| {
        history.record(Event::Accepted {
            uid: uid(1, 2, seq),
            connection: 1,
        });
    };
    let receive = |client: &str, seq| {
        history.record(Event::Received {
            client: client.into(),
            connection: 1,
            topic: "t/2".into(),
            uid: Some(uid(1, 2, seq)),
            qos: 1,
            dup: false,
            retain: false,
        });
    };
    let missing = || ["one", "other"].map(|client| history.missing(client));
    (0..6).for_each(|seq| send(seq, 1));
    send(6, 2);
    send(7, 2);
    receive("one", 0); // before it is accepted
    (0..7).for_each(accept);
    assert_eq!(missing(), [6, 6]);
    receive("other", 1);
    receive("one", 1); // again: the judge has something to say of it
    receive("nobody", 2);
    assert_eq!(missing(), [5, 5]);
    // What was of QoS 2 may have gone with it.
    history.record(Event::Unsubscribing {
        client: "other".into(),
        filter: group.into(),
    });
    accept(7);
    assert_eq!(missing(), [4, 0]);
    history.record(Event::SessionEnded {
        client: "one".into(),
        reason: SessionEnd::Chosen,
    });
    history.record(Event::Subscribed {
        client: "one".into(),
        filter: group.into(),
        qos: 1,
    });
    assert_eq!(missing(), [0, 0]);
}

#[test]
fn a_history_has_each_name_once() {
    let history = History::default();
    for _ in 0..2 {
        let uid = uid(1, 2, 3);
        history.record(Event::Accepted { uid, connection: 1 });
    }
    let records = history.records();
    let names = records.iter().map(|record| match &record.event {
        Event::Accepted { uid, .. } => (uid.publisher.as_ptr(), uid.topic.as_ptr()),
        other => panic!("{other:?}"),
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names[0], names[1]);
}

#[test]
fn a_target_is_hit_until_all_that_hit_it_is_over() {
    use FaultOutcome::{Begun, Healed, Indeterminate, Installed, Skipped};
    let history = History::default();
    let is_hit = |target| history.is_hit(target, |op| op != "slow");
    history.fault("kill", "g1", Begun);
    assert!(is_hit("g1") && !is_hit("g2"));
    history.fault("kill", "g1", Installed);
    history.fault("stop", "g1", Indeterminate);
    history.fault("kill", "g1", Healed);
    assert!(is_hit("g1"));
    history.fault("stop", "g1", Healed);
    history.fault("slow", "g1", Installed);
    history.fault("stop", "", Skipped);
    assert!(!is_hit("g1") && !is_hit(""));
}

/// Two look at the same node all the time, whose index goes up meanwhile.
#[test]
fn what_is_seen_of_somebody_is_in_the_order_of_the_looks() {
    let history = History::default();
    let applied = AtomicU64::new(1);
    let look = || {
        let applied = applied.fetch_add(1, Ordering::Relaxed);
        pause(Duration::from_micros(applied % 7 * 50)); // its answer is on its way
        Some(Event::StateHash {
            node: "c1".into(),
            life: 1,
            applied,
            hash: "00".into(),
        })
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|_| history.observe("c1", look)));
        }
    });
    history.observe("c2", || None);
    assert_eq!(history.records().len(), 400);
    let verdict = history.judge();
    assert_eq!(verdict.n_broken("I9"), 0, "{verdict}");
}
