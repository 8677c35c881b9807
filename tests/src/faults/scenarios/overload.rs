//! More than a gateway can carry: L1 to L9. What is measured is compared with a baseline of the same
//! run, never with a clock; the figures are the notes of the run.
//!
//! Bystanders ([`crowd`]) do nothing wrong all the time. Their baseline ([`stage`]) is taken on a quiet
//! machine and on one whose processors others use as well, for a load takes processor time from
//! everybody on its machine, whatever the broker does: the bound is for what it adds to that.

mod bounds;
mod client;
mod connects;
mod crowd;
mod fan_out;
mod figures;
mod flood;
mod herd;
mod logins;
mod plateau;
mod processors;
mod publishes;
mod recovery;
mod retained;
mod slow_store;
mod stage;
mod subscriptions;
mod watch;

use crate::faults::Scenario;

/// All of them.
pub(in crate::faults) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "L1",
        title: "thousands connect within seconds, with passwords that cost time",
        is_short: false,
        act: connects::storm,
    },
    Scenario {
        name: "L2",
        title: "five times as many publishes as a gateway can take",
        is_short: false,
        act: publishes::too_many,
    },
    Scenario {
        name: "L3",
        title: "one publisher floods, and fifty do not",
        is_short: false,
        act: flood::of_one,
    },
    Scenario {
        name: "L4",
        title: "one topic has 2,000 subscribers who read slowly",
        is_short: false,
        act: fan_out::slow_readers,
    },
    Scenario {
        name: "L5",
        title: "many subscribe to everything at once, and all of it is retained",
        is_short: false,
        act: retained::everything,
    },
    Scenario {
        name: "L6",
        title: "2,000 filters a second are subscribed to and given up",
        is_short: false,
        act: subscriptions::churn,
    },
    Scenario {
        name: "L7",
        title: "others take the processors",
        is_short: false,
        act: processors::taken,
    },
    Scenario {
        name: "L8",
        title: "the store is ten times as slow",
        is_short: false,
        act: slow_store::late,
    },
    Scenario {
        name: "L9",
        title: "a load beyond what can be carried ends, and all is as before",
        is_short: false,
        act: recovery::after,
    },
];
