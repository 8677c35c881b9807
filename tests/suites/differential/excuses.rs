//! Where the two may differ: what the standard leaves open, and what mosquitto 2.0.11 has otherwise
//! than the standard.

use super::{
    program::{Act, Odd, Step},
    view::View,
};

/// One way to differ.
pub(super) struct Excuse {
    /// What is said about it, and where.
    pub(super) statement: &'static str,
    applies: fn(&Step, &[View], &[View]) -> bool,
}

const EXCUSES: &[Excuse] = &[
    Excuse {
        // DUP is 0 with QoS 0: mosquitto does not look.
        statement: "MQTT-3.3.1-2",
        applies: |step, ours, theirs| {
            is_odd(step, &[Odd::DupOfQos0]) && only_we_close(step, ours, theirs)
        },
    },
    Excuse {
        // Identifiers of subscriptions are the server's to say: mosquitto does not look.
        statement: "MQTT-3.3.4-6",
        applies: |step, ours, theirs| {
            is_odd(step, &[Odd::SubscriptionIdOfAPublish]) && only_we_close(step, ours, theirs)
        },
    },
    Excuse {
        // What only a server sends, or is longer than it may be, is an error: mosquitto overlooks it.
        statement: "MQTT-4.13.1-1",
        applies: |step, ours, theirs| {
            is_odd(step, &[Odd::Pingresp, Odd::LongPing]) && only_we_close(step, ours, theirs)
        },
    },
    Excuse {
        // A filter that is none is refused by SUBACK here, and ends the connection there: both may be.
        statement: "MQTT-4.7.1-1",
        applies: |step, ours, theirs| {
            is_odd(step, &[Odd::BadFilter, Odd::SubscribeToNothing])
                && only_we_close(step, theirs, ours)
        },
    },
    Excuse {
        // A connection that is taken over, or ended for what its client did, has ended without a
        // DISCONNECT: its will is due. mosquitto keeps some of these to itself.
        statement: "MQTT-3.1.2-8",
        applies: |step, ours, theirs| {
            ends_without_disconnect(step, ours) && has_a_will_more(ours, theirs)
        },
    },
];

fn is_odd(step: &Step, kinds: &[Odd]) -> bool {
    matches!(&step.act, Act::Odd(odd) if kinds.contains(odd))
}

fn only_we_close(step: &Step, ours: &[View], theirs: &[View]) -> bool {
    ours[step.client].is_closed && !theirs[step.client].is_closed
}

/// Whether a connection ends in this step, other than by a DISCONNECT.
fn ends_without_disconnect(step: &Step, ours: &[View]) -> bool {
    match &step.act {
        Act::Disconnect(..) => false,
        Act::Cut => true,
        _ => ours[step.client].is_closed || ours[step.client].is_taken_over,
    }
}

/// Whether one will, for whoever of the clients gets it, is all that is seen here and not there.
fn has_a_will_more(ours: &[View], theirs: &[View]) -> bool {
    let mut wills = Vec::new();
    for (ours, theirs) in ours.iter().zip(theirs).filter(|(one, two)| one != two) {
        let without = |at: usize| {
            let mut without = ours.clone();
            without.messages.remove(at);
            without
        };
        let is_will = |at: &usize| ours.messages[*at].1.contains("will");
        let mut at = (0..ours.messages.len()).filter(is_will);
        match at.find(|at| without(*at) == *theirs) {
            Some(at) => wills.push(&ours.messages[at].0),
            None => return false,
        }
    }
    !wills.is_empty() && wills.iter().all(|topic| *topic == wills[0])
}

/// Why they may differ in this step, if they may.
pub(super) fn of(step: &Step, ours: &[View], theirs: &[View]) -> Option<&'static Excuse> {
    let mut excuses = EXCUSES.iter();
    excuses.find(|excuse| (excuse.applies)(step, ours, theirs))
}

#[test]
fn a_will_is_excused_where_a_connection_ends_and_nothing_else_differs() {
    let view = |messages: &[&str], is_closed| View {
        messages: messages
            .iter()
            .map(|text| ("a".to_owned(), (*text).to_owned()))
            .collect(),
        is_closed,
        ..View::default()
    };
    let is_excused = |act: Act, ours: &[View], theirs: &[View]| {
        let step = Step { client: 0, act };
        of(&step, ours, theirs).is_some_and(|excuse| excuse.statement == "MQTT-3.1.2-8")
    };
    let will = "\"will\" qos 0";
    let (none, closed) = (view(&[], false), view(&[], true));
    let theirs = [closed.clone(), view(&["m1"], false)];
    let ours = [closed.clone(), view(&["m1", will], false)];
    assert!(is_excused(Act::Again, &ours, &theirs));
    assert!(is_excused(Act::Cut, &ours, &theirs));
    assert!(!is_excused(Act::Disconnect(0, None), &ours, &theirs));
    let more = [none.clone(), view(&[will], false)];
    assert!(!is_excused(
        Act::Again,
        &more,
        &[none.clone(), none.clone()]
    ));
    for wrong in [
        view(&["m1", "m2"], false),
        view(&["m1", will, will], false),
        view(&[will], false),
        view(&["m1", will], true),
    ] {
        assert!(!is_excused(Act::Again, &[closed.clone(), wrong], &theirs));
    }
    assert!(!is_excused(Act::Again, &[none, ours[1].clone()], &theirs));
    assert!(!is_excused(Act::Again, &theirs, &ours));
}
