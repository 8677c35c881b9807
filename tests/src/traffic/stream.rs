//! Publishers and subscribers that go to another gateway when theirs fails them, and the judge of
//! what they saw.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Cluster,
    checker::{self, Verdict, Violation},
    history::{History, Random},
    patience::{becomes_true, pause},
    unique,
};

use super::{
    link::Route,
    mortal::{self, Plan as Mortal},
    probe::probe,
    publisher::{self, Plan},
    subscriber::{self, Subscriber},
};

/// How long a stream may stand still: a lease runs out, sessions are adopted, a leader is elected.
const STANDSTILL: Duration = Duration::from_secs(45);
/// How long a gateway may let nobody in that has just been cut off and joins anew.
const LET_IN: Duration = Duration::from_secs(3);
/// How long the will of a client may take whose gateway is gone, with its delay.
const ADOPTED: Duration = Duration::from_secs(30);

/// A stream of QoS 1 and QoS 2 messages through a cluster.
pub struct Traffic<'a> {
    cluster: &'a Cluster,
    /// What they see.
    pub history: Arc<History>,
    /// What depends on the seed.
    pub random: Random,
    prefix: String,
    pace: Duration,
    login: Option<(String, String)>,
    publishers: Vec<publisher::Running>,
    present: Vec<subscriber::Running>,
    absent: Vec<Subscriber>,
    members: Vec<subscriber::Running>,
    mortals: Vec<mortal::Running>,
}

impl<'a> Traffic<'a> {
    /// Nobody yet; the seed is `GATEMQ_SEED` or the clock's, and printed.
    pub fn new(what: &str, cluster: &'a Cluster) -> Self {
        Self::seeded(cluster, Random::from_env(what))
    }

    /// Nobody yet; everything that the clients choose depends on this.
    pub fn seeded(cluster: &'a Cluster, random: Random) -> Self {
        Self {
            cluster,
            history: Arc::default(),
            random,
            prefix: unique("traffic"),
            pace: Duration::ZERO,
            login: None,
            publishers: Vec::new(),
            present: Vec::new(),
            absent: Vec::new(),
            members: Vec::new(),
            mortals: Vec::new(),
        }
    }

    /// Publishers that are added later let this time pass between two messages, on the average.
    pub fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Clients that are added later say by user name and password who they are.
    pub fn logged_in(mut self, username: &str, password: &str) -> Self {
        self.login = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// Sessions on each gateway whose clients leave, and come back on another one at the end.
    pub fn with_absent_subscribers(mut self) -> Self {
        for number in 0..self.cluster.gateways().len() {
            let (level, qos) = if number % 2 == 0 { (5, 2) } else { (4, 1) };
            let mut subscriber = self.subscriber(number, level, qos);
            subscribe(&mut subscriber);
            subscriber.route.turn();
            self.absent.push(subscriber);
        }
        self
    }

    /// Subscribers that are there all the time, on each gateway.
    pub fn with_present_subscribers(mut self) -> Self {
        for number in 0..self.cluster.gateways().len() {
            let (level, qos) = if number % 2 == 0 { (4, 2) } else { (5, 1) };
            let mut subscriber = self.subscriber(number, level, qos);
            subscribe(&mut subscriber);
            self.present.push(subscriber.start());
        }
        self
    }

    /// A group that shares everything, with a member on each gateway that is there all the time.
    pub fn with_group(mut self) -> Self {
        let group = unique("group");
        for number in 0..self.cluster.gateways().len() {
            let (level, qos) = if number % 2 == 0 { (5, 2) } else { (4, 1) };
            let mut member = self.subscriber(number, level, qos);
            member.filter = format!("$share/{group}/{}", member.filter);
            subscribe(&mut member);
            self.members.push(member.start());
        }
        self
    }

    /// One more subscriber, which is there from now on: returns when its subscription is granted.
    #[track_caller]
    pub fn one_more_subscribes(&mut self) {
        let mut subscriber = self.subscriber(self.present.len(), 5, 2);
        subscribe(&mut subscriber);
        self.present.push(subscriber.start());
    }

    /// Clients with wills on each gateway, with a delay and without: some come back when their gateway
    /// fails them, some do not. The subscribers, which must be there already, receive their wills.
    pub fn with_wills(mut self) -> Self {
        for number in 0..self.cluster.gateways().len() {
            for (level, qos, delay, returns) in [
                (4, 1, 0, false),
                (5, 2, 0, true),
                (5, 2, 2, false),
                (5, 1, 2, true),
            ] {
                let client = unique("mortal");
                let plan = Mortal {
                    topic: format!("{}/will/{client}", self.prefix),
                    client,
                    level,
                    qos,
                    delay,
                    returns,
                    route: self.route(number),
                    history: Arc::clone(&self.history),
                };
                self.mortals.push(plan.start().expect("it is let in"));
            }
        }
        self
    }

    /// Two publishers, on different gateways.
    pub fn with_publishers(mut self) -> Self {
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
                pace: self.pace,
            };
            self.publishers.push(plan.start());
        }
        self
    }

    /// Somebody subscribes to this, at this gateway, and stays: it is to be drained before the
    /// others. Returns when the subscription is granted.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn newcomer(
        &self,
        gateway: SocketAddr,
        filter: &str,
    ) -> Result<subscriber::Running, String> {
        let mut addresses = self.cluster.addresses();
        let at = addresses.iter().position(|it| *it == gateway);
        addresses.rotate_left(at.expect("a gateway of this cluster"));
        let (client, route) = (unique("newcomer"), Route::new(addresses));
        let mut one = Subscriber::new(client, 5, filter.into(), 1, route, &self.history);
        let start = Instant::now();
        let mut subscribed = one.subscribe_and_leave();
        while subscribed.is_err() && start.elapsed() < LET_IN {
            pause(Duration::from_millis(50));
            subscribed = one.subscribe_and_leave();
        }
        subscribed.map_err(|error| format!("{}: {error}", one.client))?;
        Ok(one.start())
    }

    /// Lets the stream run on until so many more messages were accepted; how long it took.
    #[track_caller]
    pub fn stream(&self, n_messages: usize) -> Duration {
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

    /// The topic level that all its topics begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until each publisher was answered so often that some of it was sent from now on.
    #[track_caller]
    pub fn everyone_goes_on(&self) {
        let goals = self.publishers.iter().map(|one| one.n_settled());
        let goals: Vec<_> = goals
            .map(|settled| settled + publisher::WINDOW + 1)
            .collect();
        let start = Instant::now();
        for (one, goal) in self.publishers.iter().zip(goals) {
            while one.n_settled() < goal {
                assert!(
                    start.elapsed() < STANDSTILL && one.is_alive(),
                    "a publisher stands still at {} of {goal}",
                    one.n_settled()
                );
                pause(Duration::from_millis(1));
            }
        }
    }

    /// Where the publisher of this number is connected, or was last.
    pub fn publisher_at(&self, number: usize) -> Option<SocketAddr> {
        self.publishers.get(number)?.address()
    }

    /// Where the subscriber of this number, of those that are there, is connected, or was last.
    pub fn subscriber_at(&self, number: usize) -> Option<SocketAddr> {
        self.present.get(number)?.address()
    }

    /// A client at each gateway, and no other, writes and reads, until that succeeds; the history has
    /// how long after the heal it was. Gateways that a fault of the run has ended or stopped are not
    /// asked; one that has ended by itself is.
    pub fn probe(&self, healed: Instant) {
        self.probe_meanwhile(healed, || ());
    }

    /// The same, and something else at the same time.
    pub fn probe_meanwhile(&self, healed: Instant, act: impl FnOnce()) {
        thread::scope(|scope| {
            for (number, node) in self.cluster.gateways().into_iter().enumerate() {
                if self.history.is_hit(node.name(), checker::ends) {
                    continue;
                }
                let route = self.route(number);
                scope.spawn(move || probe(&route, &self.history, healed));
            }
            act();
        });
    }

    /// As [`Self::finish`], where gateways died, of which the history does not tell: QoS 1 may come
    /// again without DUP. How often is printed.
    #[track_caller]
    pub fn finish_lossless(self, what: &str, n_expected: usize) {
        self.judge(what, n_expected, |found| {
            !matches!(found, Violation::Repeated { .. })
        });
    }

    /// Everybody finishes, who was away comes back and receives; then it is judged.
    #[track_caller]
    pub fn finish(self, what: &str, n_expected: usize) {
        self.judge(what, n_expected, |_| true);
    }

    #[track_caller]
    fn judge(self, what: &str, n_expected: usize, counts: impl Fn(&Violation) -> bool) {
        let cluster = self.cluster;
        let history = Arc::clone(&self.history);
        let troubles = self.conclude();
        let mut verdict = history.judge();
        eprintln!("{what}: {}, {verdict}", kinds(&verdict));
        assert_eq!(troubles, Vec::<String>::new(), "{what}");
        verdict.violations.retain(counts);
        verdict.assert_green(n_expected, what);
        // No node may have panicked.
        let complaints = cluster.complaints(|line| line.contains("panicked"));
        assert_eq!(complaints, Vec::<String>::new());
    }

    /// Everybody finishes, who was away comes back and receives. Returns who could not.
    pub fn conclude(self) -> Vec<String> {
        let finished = self.publishers.into_iter().map(|one| one.finish());
        let mut troubles: Vec<_> = finished.filter_map(Result::err).collect();
        for mortal in self.mortals {
            match mortal.leave() {
                // The judge tells which of them did not come.
                Ok(due) => {
                    let has_come = |uid| self.history.has_arrived(uid);
                    becomes_true(ADOPTED, || due.iter().all(has_come));
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        let back = self.absent.into_iter().map(Subscriber::start);
        let there = self.present.into_iter().chain(self.members);
        let receiving: Vec<_> = back.chain(there).collect();
        for subscriber in &receiving {
            subscriber.tell_to_drain();
        }
        let drained = receiving.into_iter().map(|one| one.drain());
        troubles.extend(drained.filter_map(Result::err));
        troubles
    }

    /// A way that begins at the gateway of this number.
    pub fn route(&self, first: usize) -> Route {
        let mut addresses = self.cluster.addresses();
        let n_addresses = addresses.len();
        addresses.rotate_left(first % n_addresses);
        let route = Route::new(addresses);
        match &self.login {
            Some((username, password)) => route.logged_in(username, password),
            None => route,
        }
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

/// Subscribes and leaves, also where the machine is so busy that a gateway has no lease just now.
#[track_caller]
fn subscribe(subscriber: &mut Subscriber) {
    let mut subscribed = subscriber.subscribe_and_leave();
    let start = Instant::now();
    while subscribed.is_err() && start.elapsed() < STANDSTILL {
        pause(Duration::from_millis(100));
        subscriber.route.turn();
        subscribed = subscriber.subscribe_and_leave();
    }
    subscribed.expect("the subscription is granted");
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
