//! I8, wills: once for each connection that ends without DISCONNECT, and never else.

use super::{
    check, judged,
    model::{self, SECOND, connected, connecting, disconnected, received},
    uid,
};
use crate::history::{Ending, Event, FaultOutcome, Name, Random, Record, SessionEnd, Uid};

/// A client with a will, and a watcher that drains at last.
#[derive(Clone)]
struct Scene {
    records: Vec<Record>,
    t: u64,
    client: Name,
    qos: u8,
}

// === impl Scene ===

impl Scene {
    fn new(qos: u8, delay: u32) -> Self {
        let mut scene = Self {
            records: Vec::new(),
            t: 1,
            client: "dies".into(),
            qos,
        };
        let armed = Event::WillArmed {
            client: scene.client.clone(),
            connection: 1,
            uid: will(),
            qos,
            retain: false,
            delay,
        };
        let filter = || Name::from("t/#");
        scene.add(Event::Subscribed {
            client: "watcher".into(),
            filter: filter(),
            qos: 2,
        });
        scene.add(connecting(&scene.client.clone(), 1, false));
        scene.add(armed);
        scene.add(connected(&scene.client.clone(), 1, false, false));
        scene
    }

    fn add(&mut self, event: Event) {
        self.t += 1_000;
        self.records.push(Record { t: self.t, event });
    }

    fn pass(mut self, time: u64) -> Self {
        self.t += time;
        self
    }

    fn ends(mut self, ending: Ending) -> Self {
        self.add(disconnected(&self.client.clone(), 1, ending));
        self
    }

    fn comes_back(mut self, clean: bool) -> Self {
        let client = self.client.clone();
        self.add(connecting(&client, 2, clean));
        self.add(connected(&client, 2, !clean, clean));
        self
    }

    /// What becomes of a gateway that stands still.
    fn stop(mut self, outcome: FaultOutcome) -> Self {
        self.add(fault(outcome));
        self
    }

    fn session_ends(mut self) -> Self {
        self.add(Event::SessionEnded {
            client: self.client.clone(),
            reason: SessionEnd::Expired,
        });
        self
    }

    fn comes(mut self) -> Self {
        self.add(received("watcher", 1, &will(), self.qos, false));
        self
    }

    /// What is wrong with the will once the watcher has drained.
    #[track_caller]
    fn check(&self, expected: &[&str]) {
        let mut records = self.records.clone();
        let t = self.t + 100 * SECOND;
        let event = Event::Drained {
            client: "watcher".into(),
        };
        records.push(Record { t, event });
        let verdict = judged(&records);
        let wills = verdict
            .violations
            .iter()
            .filter(|it| it.invariant() == "I8");
        let found: Vec<_> = wills.map(ToString::to_string).collect();
        let found: Vec<_> = found.iter().map(|it| it.strip_prefix("I8: ")).collect();
        let expected: Vec<_> = expected.iter().copied().map(Some).collect();
        assert_eq!(found, expected, "{verdict}");
    }
}

fn fault(outcome: FaultOutcome) -> Event {
    Event::Fault {
        op: "stop".into(),
        target: "g1".into(),
        outcome,
    }
}

fn will() -> Uid {
    uid("dies", "t/will", 0)
}

const LOST: &str = "watcher missed the will dies|t/will|0";
const AGAIN: &str = "watcher received the will dies|t/will|0 again";
const UNASKED: &str = "watcher received the will dies|t/will|0, which was not due";

#[test]
fn a_cut_publishes_the_will_once() {
    for qos in [1, 2] {
        for delay in [0, 5] {
            Scene::new(qos, delay).ends(Ending::Cut).comes().check(&[]);
            Scene::new(qos, delay).ends(Ending::Cut).check(&[LOST]);
        }
    }
    Scene::new(2, 0)
        .ends(Ending::Cut)
        .comes()
        .comes()
        .check(&[AGAIN]);
    // QoS 0 may be lost, and comes once.
    Scene::new(0, 0).ends(Ending::Cut).check(&[]);
    Scene::new(0, 0)
        .ends(Ending::Cut)
        .comes()
        .comes()
        .check(&[AGAIN]);
}

#[test]
fn an_orderly_end_and_an_open_connection_publish_nothing() {
    Scene::new(2, 0).ends(Ending::Orderly).check(&[]);
    Scene::new(2, 0)
        .ends(Ending::Orderly)
        .comes()
        .check(&[UNASKED]);
    Scene::new(2, 0).check(&[]);
    Scene::new(2, 0).comes().check(&[UNASKED]);
    // Nobody knows whether the DISCONNECT arrived.
    Scene::new(2, 0).ends(Ending::Unclear).comes().check(&[]);
    Scene::new(2, 0).ends(Ending::Unclear).check(&[]);
}

#[test]
fn who_comes_back_within_the_delay_has_no_will() {
    let back = |delay, after| {
        let scene = Scene::new(2, delay).ends(Ending::Cut);
        scene.pass(after).comes_back(false)
    };
    back(5, SECOND).check(&[]);
    back(5, SECOND).comes().check(&[UNASKED]);
    // Nobody knows when the broker saw the end.
    for after in [5 * SECOND, 20 * SECOND] {
        back(5, after).check(&[]);
        back(5, after).comes().check(&[]);
    }
    // It is too late.
    back(5, 36 * SECOND).check(&[LOST]);
    // Without a delay there is no coming back in time; a takeover ends the connection too.
    back(0, SECOND).check(&[LOST]);
    Scene::new(2, 0).comes_back(false).check(&[LOST]);
    Scene::new(2, 0).comes_back(false).comes().check(&[]);
    Scene::new(2, 5).comes_back(false).check(&[]);
}

#[test]
fn the_end_of_the_session_is_the_end_of_the_delay() {
    let cut = || Scene::new(2, 60).ends(Ending::Cut).pass(SECOND);
    cut().comes_back(true).check(&[LOST]);
    cut().comes_back(true).comes().check(&[]);
    cut().session_ends().comes_back(false).check(&[LOST]);
    cut().session_ends().comes_back(false).comes().check(&[]);
    // Nobody knows whether a CONNECT with a clean start arrived.
    let mut scene = cut();
    scene.add(connecting(&"dies".into(), 2, true));
    for (connection, scene) in [(3, scene.clone()), (3, scene.comes())] {
        let mut scene = scene;
        scene.add(connecting(&"dies".into(), connection, false));
        scene.add(connected(&"dies".into(), connection, true, false));
        scene.check(&[]);
    }
}

#[test]
fn without_a_connack_both_are_right() {
    let client = Name::from("dies");
    let armed = Event::WillArmed {
        client: client.clone(),
        connection: 1,
        uid: will(),
        qos: 1,
        retain: false,
        delay: 0,
    };
    let watches = Event::Subscribed {
        client: "watcher".into(),
        filter: "t/will".into(),
        qos: 1,
    };
    let drained = Event::Drained {
        client: "watcher".into(),
    };
    let came = received("watcher", 1, &will(), 1, false);
    let begin = [watches, connecting(&client, 1, true), armed];
    check(begin.iter().cloned().chain([drained.clone()]), &[]);
    check(begin.into_iter().chain([came, drained]), &[]);
}

/// Who drains while the delay passes has not missed it.
#[test]
fn a_will_is_owed_by_the_drain_only_if_it_was_due() {
    for (delay, n_lost) in [(0, 1), (5, 0)] {
        let mut scene = Scene::new(2, delay).ends(Ending::Cut).pass(SECOND);
        scene.add(Event::Drained {
            client: "watcher".into(),
        });
        let verdict = judged(&scene.records);
        assert_eq!(verdict.n_broken("I8"), n_lost, "{verdict}");
    }
}

/// It is taken for gone meanwhile, and the delay begins, long before its client hears of that.
#[test]
fn who_comes_back_at_once_from_a_gateway_that_stood_still_may_be_too_late() {
    let cut = |stood, since| {
        let scene = Scene::new(1, 2).stop(FaultOutcome::Installed);
        let scene = scene.pass(stood * SECOND).stop(FaultOutcome::Healed);
        scene.pass(since * SECOND).ends(Ending::Cut)
    };
    for (stood, since) in [(6, 0), (6, 2), (2, 4)] {
        cut(stood, since).comes_back(false).check(&[]);
        cut(stood, since).comes_back(false).comes().check(&[]);
        cut(stood, since).comes().comes_back(false).check(&[]);
    }
    // The delay cannot have passed.
    let unasked = |scene: Scene| scene.comes_back(false).comes().check(&[UNASKED]);
    unasked(cut(1, 0));
    // It has heard of that long ago.
    unasked(cut(6, 6));
    // It stands still after the end, or did so before there was the connection.
    unasked(
        Scene::new(1, 2)
            .ends(Ending::Cut)
            .stop(FaultOutcome::Installed),
    );
    let mut young = Scene::new(1, 2).pass(60 * SECOND);
    young.records.iter_mut().for_each(|it| it.t += 60 * SECOND);
    let event = fault(FaultOutcome::Installed);
    young.records.insert(0, Record { t: 0, event });
    unasked(young.pass(SECOND).ends(Ending::Cut));
}

/// Who subscribes when it is taken for gone need not have the will; nobody else misses it.
#[test]
fn a_will_may_be_out_before_its_client_knows_of_its_end() {
    let late = Name::from("late");
    let subscribes = Event::Subscribed {
        client: late.clone(),
        filter: "t/will".into(),
        qos: 1,
    };
    let scene = |is_stopped| {
        let mut scene = Scene::new(1, 0);
        if is_stopped {
            scene = scene.stop(FaultOutcome::Installed);
        }
        scene.add(subscribes.clone());
        let mut scene = scene.pass(6 * SECOND).ends(Ending::Cut);
        scene.add(Event::Drained {
            client: late.clone(),
        });
        scene
    };
    scene(true).comes().check(&[]);
    scene(true).check(&[LOST]);
    let missed = "late missed the will dies|t/will|0";
    scene(false).comes().check(&[missed]);
}

/// A fault is no reason for QoS 2, also of a will.
#[test]
fn a_will_of_qos_2_comes_once_through_a_fault() {
    let mut scene = Scene::new(2, 0);
    scene.add(Event::Fault {
        op: "kill".into(),
        target: "g1".into(),
        outcome: FaultOutcome::Installed,
    });
    scene.ends(Ending::Cut).comes().comes().check(&[AGAIN]);
}

/// Mistakes in the histories of a right broker, whose wills are of all kinds.
#[test]
fn lost_and_unasked_wills_are_found_among_others() {
    let (mut n_lost, mut n_unasked) = (0, 0);
    for seed in 1..=60 {
        let mut random = Random::new(seed);
        let records = model::right(&mut random);
        let is_will = |record: &Record| match &record.event {
            Event::Received {
                client,
                uid: Some(uid),
                ..
            } => *client == model::STAYS && uid.topic == "t/will",
            _ => false,
        };
        let wills: Vec<_> = (0..records.len())
            .filter(|it| is_will(&records[*it]))
            .collect();
        if wills.is_empty() {
            continue;
        }
        let place = wills[random.below(wills.len())];
        let Event::Received { uid: Some(uid), .. } = records[place].event.clone() else {
            panic!("a receipt");
        };
        let mut without = records.clone();
        without.retain(|it| !(is_will(it) && names(it, &uid)));
        let verdict = judged(&without);
        n_lost += verdict.n_broken("I8");
        // Its client left in order, which the broker did not see.
        let mut orderly = records;
        for record in &mut orderly {
            if let Event::Disconnected { client, ending, .. } = &mut record.event
                && *client == uid.publisher
            {
                *ending = Ending::Orderly;
            }
        }
        n_unasked += usize::from(judged(&orderly).n_broken("I8") > 0);
    }
    assert!(n_lost > 15 && n_unasked > 15, "{n_lost} and {n_unasked}");
}

fn names(record: &Record, wanted: &Uid) -> bool {
    matches!(&record.event, Event::Received { uid: Some(uid), .. } if uid == wanted)
}
