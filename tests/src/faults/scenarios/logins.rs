//! Those who know the clients fail: F27. A server over HTTP and a Redis, each behind a relay, are
//! away, slow, silent, or talk nonsense, while clients come: nobody is let in whom nobody knows, who
//! is there goes on, and nothing grows.

mod desk;
mod knocks;
mod resident;

use std::time::{Duration, Instant};

use crate::{
    Cluster, Node,
    faults::{Run, Scenario},
    history::Random,
    nemesis::{
        Relay,
        relay::{Direction, Fault},
    },
    patience::{becomes_true, pause},
    redis::Redis,
    traffic::Traffic,
    unique,
};
use desk::{Desk, KNOWN_HERE, KNOWN_THERE, Mood, SECRET, password};
use knocks::{Closed, Knocking, Knocks, N_USERS, Shows};
use resident::Resident;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F27",
    title: "the back ends of logins are away, slow, or talk nonsense",
    is_short: true,
    act: nobody_can_say_who_they_are,
}];

/// How long an answer may take: far more than each source may.
const LATE: Duration = Duration::from_secs(5);
/// Clients that come at once to one gateway.
const N_CROWD: usize = 120;
/// How soon logins work again, and what was taken is given back.
const SOON: Duration = Duration::from_secs(10);
/// How soon what idles is gone: connections and threads wait for a while.
const GIVEN_BACK: Duration = Duration::from_secs(30);
/// The user of the usual clients.
const USUAL: &str = "web-usual";

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Web,
    Rows,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody listens.
    Refused,
    /// Each answer is ended by an RST before it is whole.
    Torn,
    /// The same, by a FIN.
    CutShort,
    /// Nothing comes through.
    Stalled,
    /// All comes through [`LATE`].
    Slow,
    /// The server begins to answer.
    Silent,
    /// The server answers [`LATE`].
    Late,
    /// The server answers with nonsense.
    Garbled,
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Stopped,
}

const TROUBLES: [(Source, Trouble); 13] = [
    (Source::Web, Trouble::Refused),
    (Source::Web, Trouble::Torn),
    (Source::Web, Trouble::CutShort),
    (Source::Web, Trouble::Stalled),
    (Source::Web, Trouble::Slow),
    (Source::Web, Trouble::Silent),
    (Source::Web, Trouble::Late),
    (Source::Web, Trouble::Garbled),
    (Source::Rows, Trouble::Refused),
    (Source::Rows, Trouble::Torn),
    (Source::Rows, Trouble::Stalled),
    (Source::Rows, Trouble::Killed),
    (Source::Rows, Trouble::Stopped),
];

/// The two that know clients.
struct Sources {
    desk: Desk,
    rows: Redis,
    to_desk: Relay,
    to_rows: Relay,
}

/// What a run works with.
struct Scene<'a> {
    sources: &'a Sources,
    gateways: &'a [&'a Node],
    traffic: &'a Traffic<'a>,
    residents: Vec<Resident<'a>>,
    knocks: &'a Knocks,
    /// A topic for wills that must not be published.
    wills: String,
}

/// What a gateway has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    tasks: f64,
    files: f64,
    threads: f64,
    memory: f64,
}

// --- F27 ---

fn nobody_can_say_who_they_are(run: &mut Run) {
    let sources = Sources::start();
    let setting = sources.setting();
    let cluster = Cluster::builder().setting(&setting).control(1).gateways(2);
    let cluster = cluster.start();
    let gateways = cluster.gateways();
    let traffic = run.traffic(&cluster).logged_in(USUAL, &password(USUAL));
    let traffic = traffic
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    let mut residents = Vec::new();
    for node in &gateways {
        for (shows, prefix) in [(Shows::Web, KNOWN_HERE), (Shows::Row, KNOWN_THERE)] {
            let resident = Resident::enter(node, shows, &format!("{prefix}0"));
            residents.push(resident.expect("it is let in"));
        }
    }
    let knocks = Knocks::default();
    let mut scene = Scene {
        sources: &sources,
        gateways: &gateways,
        traffic: &traffic,
        residents,
        knocks: &knocks,
        wills: format!("{}/wills", traffic.prefix()),
    };
    let mut closed = Vec::new();
    let (wills, mut random) = (scene.wills.clone(), run.random.fork());
    let addresses = cluster.addresses();
    run.meanwhile(
        |go_on| knocks.go_on(&addresses, &wills, &mut random, go_on),
        |run| {
            // With all that those who come take.
            run.somewhere(&traffic);
            let before = scene.taken();
            for (source, trouble) in chosen(run) {
                run.somewhere(&traffic);
                closed.push(scene.fail(run, source, trouble, &before));
            }
            scene.is_given_back(run, &before);
        },
    );
    let (wrong, told) = knocks.judge(&closed, &sources.desk);
    run.note(told);
    if let Some(slowest) = closed.iter().max_by_key(|one| one.well - one.until) {
        let (what, time) = (&slowest.what, slowest.well - slowest.until);
        run.note(format!("all were let in {time:.1?} after {what}"));
    }
    for (sign, what) in wrong {
        run.fail_as(sign, what);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// What is to fail in this run: of each source something in the short form, all of it else.
fn chosen(run: &mut Run) -> Vec<(Source, Trouble)> {
    let mut all = TROUBLES.to_vec();
    for last in (1..all.len()).rev() {
        all.swap(last, run.random.below(last + 1));
    }
    let mut left = [run.rounds(2, all.len()), run.rounds(1, all.len())];
    all.retain(|(source, _)| {
        let left = &mut left[usize::from(*source == Source::Rows)];
        let is_one = *left > 0;
        *left = left.saturating_sub(1);
        is_one
    });
    all
}

/// For how long something fails.
fn length(run: &Run) -> Duration {
    let seconds = run.rounds(3, 6);
    Duration::from_secs(seconds.try_into().expect("small"))
}

// === impl Scene ===

impl Scene<'_> {
    /// A source fails for a while, and is well again.
    fn fail(
        &mut self,
        run: &mut Run,
        source: Source,
        trouble: Trouble,
        before: &[Taken],
    ) -> Closed {
        let (op, what) = (
            format!("{trouble:?}"),
            format!("{trouble:?} {}", source.name()),
        );
        let since = run.begins(&op, source.name());
        self.sources.begin(source, trouble, &mut run.random);
        run.sees(&op, source.name(), true);
        let from = Instant::now();
        let node = self.gateways[run.random.below(self.gateways.len())];
        self.knocks
            .crowd(N_CROWD, node.tcp(), &self.wills, &mut run.random);
        self.go_on(run);
        if run.random.once_in(2) {
            node.reload(); // all are judged again, as far as that can be
        }
        pause(length(run).saturating_sub(from.elapsed()));
        self.go_on(run);
        for ((node, now), before) in self.gateways.iter().zip(self.taken()).zip(before) {
            if !now.is_within(*before, MEANWHILE) {
                let name = node.name();
                run.fail(format!("{name}, {what}: {now:?}, {before:?} before"));
            }
        }
        let until = Instant::now();
        self.sources.end(source, trouble);
        run.healed(&op, source.name());
        let healed = Instant::now();
        run.probe(self.traffic);
        self.all_come_in(run, &what);
        let well = Instant::now();
        run.took(well - healed);
        self.traffic.everyone_goes_on();
        Closed {
            what,
            since,
            from,
            until,
            well,
        }
    }

    /// Everybody who was let in before goes on.
    fn go_on(&mut self, run: &mut Run) {
        for resident in &mut self.residents {
            if let Err(trouble) = resident.goes_on(self.knocks, &mut run.random) {
                run.fail(trouble);
            }
        }
        self.traffic.everyone_goes_on();
    }

    /// Users of each source come in at each gateway.
    fn all_come_in(&self, run: &mut Run, what: &str) {
        for node in self.gateways {
            for shows in [Shows::Web, Shows::Row] {
                let comes_in = || {
                    let (client, random) = (unique("again"), &mut run.random);
                    let knocking = Knocking::begin(node.tcp(), shows, &client, "", random);
                    knocking.end(self.knocks)
                };
                if !becomes_true(SOON, comes_in) {
                    let name = node.name();
                    run.fail(format!("{name}: {shows:?} is not let in after {what}"));
                }
            }
        }
    }

    /// What each gateway has taken.
    fn taken(&self) -> Vec<Taken> {
        self.gateways.iter().map(|node| Taken::by(node)).collect()
    }

    /// Nothing is left of all that.
    fn is_given_back(&self, run: &mut Run, before: &[Taken]) {
        for (node, before) in self.gateways.iter().zip(before) {
            let mut now = *before;
            let is_back = becomes_true(GIVEN_BACK, || {
                now = Taken::by(node);
                now.is_within(*before, AFTERWARDS)
            });
            if !is_back {
                let name = node.name();
                run.fail(format!("{name}, at the end: {now:?}, {before:?} before"));
            }
        }
    }
}

// === impl Source ===

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Web => "http",
            Self::Rows => "redis",
        }
    }
}

// === impl Sources ===

impl Sources {
    fn start() -> Self {
        let (desk, rows) = (Desk::start(), Redis::start());
        for number in 0..N_USERS {
            let name = format!("{KNOWN_THERE}{number}");
            let password = password(&name);
            let user = format!(r#"{{"username":"{name}","password":"{password}","allow":true}}"#);
            rows.command(&["HSET", "comqtt:auth", &name, &user]);
            let (key, secret) = (format!("comqtt:acl:{name}"), format!("{SECRET}/#"));
            rows.command(&["HSET", &key, "#", "3", &secret, "0"]);
        }
        let relay = |target| Relay::start(target).expect("a port is free");
        Self {
            to_desk: relay(desk.web().address()),
            to_rows: relay(rows.address()),
            desk,
            rows,
        }
    }

    /// They are asked in this order; each answer may take a second.
    fn setting(&self) -> String {
        let (desk, rows) = (self.to_desk.address(), self.to_rows.address());
        let times = "timeout: 1s, refresh: 1s";
        format!(
            "auth: {{max-failures: 0, sources: [{{type: http, {times}, \
             auth-url: 'http://{desk}/auth', acl-url: 'http://{desk}/acl'}}, \
             {{type: redis, {times}, addr: ['{rows}'], auth: {{password-hash: plain}}}}]}}"
        )
    }

    fn relay(&self, source: Source) -> &Relay {
        match source {
            Source::Web => &self.to_desk,
            Source::Rows => &self.to_rows,
        }
    }

    /// From when this returns until it is over the source says yes to nobody.
    fn begin(&self, source: Source, trouble: Trouble, random: &mut Random) {
        let relay = self.relay(source);
        // So much of an answer comes, which is more than that in any case.
        let most = match source {
            Source::Web => 36,
            Source::Rows => 3,
        };
        let part = 1 + u64::try_from(random.below(most)).expect("small");
        match trouble {
            Trouble::Refused => {
                relay.refuse();
                relay.reset();
            }
            Trouble::Torn => relay.set_one(Direction::Down, Fault::ResetAfter(part)),
            Trouble::CutShort => relay.set_one(Direction::Down, Fault::CutAfter(part)),
            Trouble::Stalled => relay.set(Fault::Stall),
            Trouble::Slow => relay.set(Fault::delay(LATE, Duration::ZERO)),
            Trouble::Silent => self.desk.set(Mood::Silent),
            Trouble::Late => self.desk.set(Mood::Late(LATE)),
            Trouble::Garbled => self.desk.set(Mood::Garbled),
            Trouble::Killed => self.rows.kill(),
            Trouble::Stopped => self.rows.pause(),
        }
    }

    fn end(&self, source: Source, trouble: Trouble) {
        match trouble {
            Trouble::Silent | Trouble::Late | Trouble::Garbled => self.desk.set(Mood::Well),
            Trouble::Killed => self.rows.restart(),
            Trouble::Stopped => self.rows.resume(),
            _ => self.relay(source).heal(),
        }
    }
}

// === impl Taken ===

/// How much more a gateway may take while many come of whom nobody can say who they are.
const MEANWHILE: Taken = Taken {
    tasks: 80.0,
    files: 160.0,
    threads: 24.0,
    memory: 65_536.0,
};
/// How much more than before all that.
const AFTERWARDS: Taken = Taken {
    tasks: 24.0,
    files: 32.0,
    threads: 16.0,
    memory: 65_536.0,
};

impl Taken {
    fn by(node: &Node) -> Self {
        let figure = |name: &str| {
            let mut value = None;
            becomes_true(SOON, || {
                value = node.metric(name);
                value.is_some()
            });
            value.expect("a node that runs tells its figures")
        };
        Self {
            tasks: figure("process_tasks"),
            files: figure("process_open_fds"),
            threads: figure("process_threads"),
            memory: figure("process_resident_memory_bytes") / 1024.0,
        }
    }

    /// Whether it is so much more than that at most.
    fn is_within(self, before: Self, more: Self) -> bool {
        self.tasks <= before.tasks + more.tasks
            && self.files <= before.files + more.files
            && self.threads <= before.threads + more.threads
            && self.memory <= before.memory + more.memory
    }
}
