//! Gateways that die in the middle of an exchange, with the answer or the next packet on its way:
//! F4 and F5. The publishers here do by hand what a client does that never saw an acknowledgement.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Publish,
    faults::{Run, Scenario, Sign},
    history::{History, Uid, encode},
    patience::{becomes_true, pause},
    traffic::{Journal, Link},
    unique,
    wire::{self, Packet},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F4",
        title: "a gateway is killed when a message is safe, and its publisher does not know it",
        is_short: true,
        act: acknowledged_to_nobody,
    },
    Scenario {
        name: "F5",
        title: "a gateway is killed between PUBREC and PUBREL, which goes to another one",
        is_short: true,
        act: released_elsewhere,
    },
];

/// Publishers of a round.
const N_PUBLISHERS: usize = 40;
/// How long an answer may take while the dead gateway is not known to be dead.
const PATIENCE: Duration = Duration::from_secs(20);
/// Packet Identifier Not Found.
const UNKNOWN_ID: u8 = 0x92;

/// A publisher that stops in the middle of an exchange.
pub(super) struct Interrupted {
    client: String,
    journal: Journal,
    link: Option<Link>,
    uid: Uid,
    packet: Publish,
}

fn acknowledged_to_nobody(run: &mut Run) {
    interrupt(run, |publisher| {
        publisher.send();
    });
}

fn released_elsewhere(run: &mut Run) {
    interrupt(run, |publisher| {
        publisher.send();
        if publisher.packet.qos == 2 {
            publisher.expect(wire::PUBREC);
            publisher.accepted();
        }
    });
}

/// Rounds of publishers that get so far, lose their gateway, and go on elsewhere.
fn interrupt(run: &mut Run, mut get_so_far: impl FnMut(&mut Interrupted)) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run
        .traffic(&cluster)
        .with_absent_subscribers()
        .with_present_subscribers();
    let prefix = traffic.prefix().to_owned();
    for round in 0..run.rounds(3, 20) {
        let [dies, goes_on, _] = {
            let mut three = cluster.three();
            three.rotate_left(run.random.below(3));
            three
        };
        let mut publishers: Vec<_> = (0..N_PUBLISHERS)
            .map(|number| {
                let topic = format!("{prefix}/{round}/{number}");
                let qos = if number % 4 == 0 { 1 } else { 2 };
                Interrupted::connect(dies.tcp(), &topic, qos, &run.history())
            })
            .collect();
        for publisher in &mut publishers {
            get_so_far(publisher);
        }
        // Until the message has reached somebody, or until just before.
        let history = run.history();
        let uid = publishers[run.random.below(N_PUBLISHERS)].uid.clone();
        if run.random.once_in(2) {
            becomes_true(Duration::from_millis(200), || history.has_arrived(&uid));
        } else {
            let micros = u64::try_from(run.random.below(4_000)).expect("small");
            pause(Duration::from_micros(micros));
        }
        let killed = run.kill(dies);
        for publisher in &mut publishers {
            if let Err(trouble) = publisher.go_on(goes_on.tcp()) {
                run.fail_as(Sign::ExchangeForgotten, trouble);
            }
        }
        run.took(killed.elapsed());
        run.restart(dies);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

// === impl Interrupted ===

impl Interrupted {
    /// Connects there, to publish one message to this topic.
    pub(super) fn connect(
        address: SocketAddr,
        topic: &str,
        qos: u8,
        history: &Arc<History>,
    ) -> Self {
        let client = unique("pub");
        let uid = Uid {
            publisher: client.as_str().into(),
            topic: topic.into(),
            seq: 0,
        };
        let packet = Publish::new(topic, encode(&uid, 100)).qos(qos, 1);
        let mut publisher = Self {
            journal: Journal::new(&client, history),
            client,
            link: None,
            uid,
            packet,
        };
        publisher.open(address);
        publisher
    }

    /// Connects, wherever that is, until it is taken.
    fn open(&mut self, address: SocketAddr) {
        self.link = None;
        let start = Instant::now();
        while self.link.is_none() {
            self.journal.connecting(address, false);
            let connect = Connect::persistent(5, &self.client);
            match Link::open(address, &connect) {
                Ok((link, session_present, _)) => {
                    self.journal.connected(session_present);
                    self.link = Some(link);
                }
                Err(error) => assert!(start.elapsed() < PATIENCE, "{}: {error}", self.client),
            }
        }
    }

    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("it is connected")
    }

    /// Sends its message, and waits for nothing.
    pub(super) fn send(&mut self) {
        self.journal.sent(&self.uid, &self.packet);
        let bytes = self.packet.bytes(5);
        // Where the gateway is just killed the bytes are lost with it.
        let _lost = self.link().send(&bytes);
    }

    /// What it is told until then of its message of QoS 1, which it does not send again, if
    /// anything.
    pub(super) fn hear(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.link().recv(left);
        if let Ok(Some(packet)) = answer
            && packet.kind == wire::PUBACK
        {
            let reason = packet.ack(wire::PUBACK, 5).reason;
            self.journal.answered(self.uid.clone(), reason);
        }
    }

    fn expect(&mut self, kind: u8) {
        let reason = self.answer(kind);
        assert!(reason < 0x80, "{}: refused, {reason:02x}", self.client);
    }

    /// The reason of the acknowledgement that comes, which must be of this kind.
    fn answer(&mut self, kind: u8) -> u8 {
        let answer = self.link().recv(PATIENCE);
        let client = &self.client;
        let packet: Packet = match answer {
            Ok(Some(packet)) => packet,
            other => panic!("{client}: {other:?} instead of an answer"),
        };
        assert_eq!(packet.kind, kind, "{client}: {packet:?}");
        packet.ack(kind, 5).reason
    }

    fn accepted(&mut self) {
        self.journal.answered(self.uid.clone(), 0);
        // From here on its message is not sent again.
        self.packet.dup = true;
    }

    /// Does the rest on another gateway; an error if that does not know of an exchange that is open.
    fn go_on(&mut self, address: SocketAddr) -> Result<(), String> {
        let is_released = self.packet.dup;
        self.open(address);
        if !is_released {
            self.packet.dup = true;
            self.send();
            let kind = if self.packet.qos == 1 {
                wire::PUBACK
            } else {
                wire::PUBREC
            };
            self.expect(kind);
            self.accepted();
        }
        if self.packet.qos == 2 {
            let pubrel = wire::ack(wire::PUBREL, 1);
            self.link().send(&pubrel).expect("the gateway lives");
            let reason = self.answer(wire::PUBCOMP);
            if reason == UNKNOWN_ID {
                return Err(format!("{}: {} is not known", self.client, self.uid));
            }
            assert!(reason < 0x80, "{}: PUBCOMP with {reason:02x}", self.client);
            self.journal.completed(self.uid.clone(), reason, true);
        }
        let link = self.link.take().expect("it is connected");
        link.disconnect().expect("the gateway lives");
        Ok(())
    }
}
