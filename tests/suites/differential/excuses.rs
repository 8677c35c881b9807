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
        applies: |_, ours, theirs| {
            let n_wills = |views: &[View]| {
                let messages = views.iter().flat_map(|view| &view.messages);
                messages.filter(|(_, text)| text.contains("will")).count()
            };
            n_wills(ours) > n_wills(theirs)
        },
    },
];

fn is_odd(step: &Step, kinds: &[Odd]) -> bool {
    matches!(&step.act, Act::Odd(odd) if kinds.contains(odd))
}

fn only_we_close(step: &Step, ours: &[View], theirs: &[View]) -> bool {
    ours[step.client].is_closed && !theirs[step.client].is_closed
}

/// Why they may differ in this step, if they may.
pub(super) fn of(step: &Step, ours: &[View], theirs: &[View]) -> Option<&'static Excuse> {
    let mut excuses = EXCUSES.iter();
    excuses.find(|excuse| (excuse.applies)(step, ours, theirs))
}
