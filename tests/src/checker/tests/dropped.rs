//! Messages that queues dropped by their policy, and that the broker counted, or did not.

use super::{
    Conclusion, Expected, Verdict, Violation, history, judge,
    model::{accepted, received, sent},
    uid,
};
use crate::{checker::Dropped, history::Event};

const N_MESSAGES: u64 = 10;

/// Two subscribers to all, of whom the slow one lacks the first so many messages and the other one so
/// many, and one message that nobody answered. The queue of the slow one drops, and so many were
/// counted.
fn judged(slow_lacks: u64, other_lacks: u64, n_counted: usize) -> Verdict {
    let mut events = Vec::new();
    for client in ["slow", "other"] {
        events.push(Event::Subscribed {
            client: client.into(),
            filter: "#".into(),
            qos: 1,
        });
    }
    for seq in 0..N_MESSAGES {
        let uid = uid("p", "t", seq);
        events.extend([sent(&uid, 1, false), accepted(&uid)]);
        for (client, n_lacking) in [("slow", slow_lacks), ("other", other_lacks)] {
            if seq >= n_lacking {
                events.push(received(client, 1, &uid, 1, false));
            }
        }
    }
    events.push(sent(&uid("p", "t", N_MESSAGES), 1, false));
    for client in ["slow", "other"] {
        events.push(Event::Drained {
            client: client.into(),
        });
    }
    let expected = Expected {
        dropped: Dropped {
            clients: vec!["slow".into()],
            n_messages: n_counted,
        },
        ..Expected::default()
    };
    judge(&history(events), &expected)
}

#[test]
fn what_was_counted_is_not_lost() {
    for (slow_lacks, n_counted) in [(0, 0), (3, 3), (10, 10)] {
        let verdict = judged(slow_lacks, 0, n_counted);
        assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
        assert_eq!((verdict.n_lost(), verdict.n_dropped), (0, n_counted));
    }
    // What nobody answered may have been dropped, or not have come at all.
    let verdict = judged(3, 0, 4);
    assert_eq!(verdict.conclusion(), Conclusion::Valid, "{verdict}");
    assert_eq!(verdict.n_dropped, 3);
}

#[test]
fn more_than_was_counted_is_lost() {
    let verdict = judged(3, 0, 2);
    let miscounted = Violation::Miscounted {
        missing: 3,
        unknown: 1,
        counted: 2,
    };
    assert_eq!(verdict.violations[0], miscounted, "{verdict}");
    assert_eq!((verdict.n_lost(), verdict.n_dropped), (3, 0));
}

#[test]
fn what_came_and_was_counted_all_the_same_is_found() {
    let verdict = judged(3, 0, 5);
    let miscounted = Violation::Miscounted {
        missing: 3,
        unknown: 1,
        counted: 5,
    };
    assert_eq!(verdict.violations, [miscounted]);
}

#[test]
fn nobody_else_may_miss_anything() {
    let verdict = judged(0, 1, 1);
    let is_other =
        |it: &Violation| matches!(it, Violation::Lost { client, .. } if *client == "other");
    assert!(verdict.violations.iter().any(is_other), "{verdict}");
    assert_eq!(verdict.n_lost(), 1, "{verdict}");
}
