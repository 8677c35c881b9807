//! Publishers and subscribers that go to another gateway when theirs fails them, and the judge of
//! what they saw.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Cluster,
    history::{History, Random, Verdict},
    patience::pause,
    unique,
};

use crate::durability::{
    link::Route,
    publisher::{self, Plan},
    subscriber::{self, Subscriber},
};

/// How long a stream may stand still: a lease runs out, sessions are adopted, a leader is elected.
const STANDSTILL: Duration = Duration::from_secs(45);

/// A stream of QoS 1 and QoS 2 messages through a cluster.
pub(super) struct Traffic<'a> {
    cluster: &'a Cluster,
    pub(super) history: Arc<History>,
    pub(super) random: Random,
    prefix: String,
    publishers: Vec<publisher::Running>,
    present: Vec<subscriber::Running>,
    absent: Vec<Subscriber>,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(what: &str, cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            history: Arc::default(),
            random: Random::from_env(what),
            prefix: unique("traffic"),
            publishers: Vec::new(),
            present: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Sessions on each gateway whose clients leave, and come back on another one at the end.
    pub(super) fn with_absent_subscribers(mut self) -> Self {
        for number in 0..self.cluster.gateways().len() {
            let (level, qos) = if number % 2 == 0 { (5, 2) } else { (4, 1) };
            let mut subscriber = self.subscriber(number, level, qos);
            subscriber
                .subscribe_and_leave()
                .expect("the subscription is granted");
            subscriber.route.turn();
            self.absent.push(subscriber);
        }
        self
    }

    /// Subscribers that are there all the time, on each gateway.
    pub(super) fn with_present_subscribers(mut self) -> Self {
        for number in 0..self.cluster.gateways().len() {
            let (level, qos) = if number % 2 == 0 { (4, 2) } else { (5, 1) };
            let mut subscriber = self.subscriber(number, level, qos);
            subscriber
                .subscribe_and_leave()
                .expect("the subscription is granted");
            self.present.push(subscriber.start());
        }
        self
    }

    /// Two publishers, on different gateways.
    pub(super) fn with_publishers(mut self) -> Self {
        for (number, level) in [(0, 4), (1, 5)] {
            let topics = [("one", 1), ("two", 2), ("deep/one", 1), ("deep/two", 2)];
            let topics = topics.map(|(name, qos)| (format!("{}/{name}", self.prefix), qos));
            let plan = Plan {
                client: unique("pub"),
                level,
                topics: topics.to_vec(),
                route: self.route(number),
                history: Arc::clone(&self.history),
                random: self.random.fork(),
            };
            self.publishers.push(plan.start());
        }
        self
    }

    /// Lets the stream run on until so many more messages were accepted; how long it took.
    #[track_caller]
    pub(super) fn stream(&self, n_messages: usize) -> Duration {
        let goal = self.history.n_accepted() + n_messages;
        let start = Instant::now();
        while self.history.n_accepted() < goal {
            assert!(
                start.elapsed() < STANDSTILL && self.publishers.iter().all(|one| one.is_alive()),
                "the stream stands still at {} of {goal}",
                self.history.n_accepted()
            );
            pause(Duration::from_micros(200));
        }
        start.elapsed()
    }

    /// As [`Self::finish`], where gateways died: nothing may be lost, nothing may come that nobody
    /// sent, and QoS 2 comes once. QoS 1 may come again without DUP, and of messages that were on
    /// their way when their subscriber moved one may overtake another; how often is printed.
    #[track_caller]
    pub(super) fn finish_lossless(self, what: &str, n_expected: usize) {
        self.judge(what, n_expected, |kind| {
            !["Repeated", "OutOfOrder"].contains(&kind)
        });
    }

    /// Everybody finishes, who was away comes back and receives; then it is judged.
    #[track_caller]
    pub(super) fn finish(self, what: &str, n_expected: usize) {
        self.judge(what, n_expected, |_| true);
    }

    #[track_caller]
    fn judge(self, what: &str, n_expected: usize, counts: impl Fn(&str) -> bool) {
        let troubles = self.publishers.into_iter().map(|one| one.finish());
        let mut troubles: Vec<_> = troubles.filter_map(Result::err).collect();
        troubles.extend(
            self.absent
                .into_iter()
                .map(Subscriber::drain)
                .filter_map(Result::err),
        );
        let present = self.present.into_iter().map(|one| one.drain());
        troubles.extend(present.filter_map(Result::err));
        let mut verdict: Verdict = self.history.judge();
        eprintln!("{what}: {}, {verdict}", kinds(&verdict));
        assert_eq!(troubles, Vec::<String>::new(), "{what}");
        verdict.violations.retain(|violation| {
            let text = format!("{violation:?}");
            counts(text.split([' ', '{']).next().unwrap_or_default())
        });
        verdict.assert_green(n_expected, what);
        // No node may have panicked.
        let complaints = self.cluster.complaints(|line| line.contains("panicked"));
        assert_eq!(complaints, Vec::<String>::new());
    }

    /// A way that begins at this gateway.
    fn route(&self, first: usize) -> Route {
        let mut addresses = self.cluster.addresses();
        let n_addresses = addresses.len();
        addresses.rotate_left(first % n_addresses);
        Route::new(addresses)
    }

    fn subscriber(&self, first: usize, level: u8, qos: u8) -> Subscriber {
        Subscriber::new(
            unique("sub"),
            level,
            format!("{}/#", self.prefix),
            qos,
            self.route(first),
            &self.history,
        )
    }
}

/// How often each rule was broken towards each client.
fn kinds(verdict: &Verdict) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for violation in &verdict.violations {
        let text = format!("{violation:?}");
        let kind = text.split(' ').next().unwrap_or_default();
        let (_, client) = text.rsplit_once("client: ").unwrap_or_default();
        let key = format!("{kind} {}", client.trim_end_matches(" }"));
        *kinds.entry(key).or_default() += 1;
    }
    format!("{kinds:?}")
}
