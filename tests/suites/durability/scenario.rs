//! A broker, publishers that write without pause, subscribers that are away, and kills in between.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Builder,
    checker::Verdict,
    history::{History, Random},
    patience::pause,
    traffic::{
        Route, Subscriber,
        publisher::{self, Plan},
    },
    unique,
};

/// Everything of one run.
pub(super) struct Scenario {
    pub(super) broker: Broker,
    pub(super) history: Arc<History>,
    pub(super) random: Random,
    /// Topic level that all topics of the run begin with.
    prefix: String,
    publishers: Vec<publisher::Running>,
    absent: Vec<Subscriber>,
}

/// How many rounds of kills a run has: `GATEMQ_KILL_ROUNDS`, or these.
pub(super) fn rounds(usual: usize) -> usize {
    match env::var("GATEMQ_KILL_ROUNDS") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("GATEMQ_KILL_ROUNDS={text}: a number is expected")),
        Err(_) => usual,
    }
}

impl Scenario {
    /// A broker that runs, and nobody who speaks to it.
    pub(super) fn new(what: &str, builder: Builder) -> Self {
        Self {
            broker: builder.start(),
            history: Arc::default(),
            random: Random::from_env(what),
            prefix: unique("durable"),
            publishers: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// A subscriber to everything; it has not connected yet.
    pub(super) fn subscriber(&self, level: u8, qos: u8) -> Subscriber {
        Subscriber::new(
            unique("sub"),
            level,
            format!("{}/#", self.prefix),
            qos,
            Route::new([self.broker.tcp()]),
            &self.history,
        )
    }

    /// Two subscribers with persistent sessions, one of each version, that subscribe and leave.
    pub(super) fn with_absent_subscribers(mut self) -> Self {
        for (level, qos) in [(5, 2), (4, 1)] {
            let mut subscriber = self.subscriber(level, qos);
            subscriber
                .subscribe_and_leave()
                .expect("the subscription is granted");
            self.absent.push(subscriber);
        }
        self
    }

    /// Two publishers, one of each version, with QoS 1 and QoS 2.
    pub(super) fn with_publishers(mut self) -> Self {
        for level in [4, 5] {
            let topics = [("one", 1), ("two", 2), ("deep/one", 1), ("deep/two", 2)];
            let topics = topics.map(|(name, qos)| (format!("{}/{name}", self.prefix), qos));
            let plan = Plan {
                client: unique("pub"),
                level,
                topics: topics.to_vec(),
                route: Route::new([self.broker.tcp()]),
                history: Arc::clone(&self.history),
                random: self.random.fork(),
                pace: Duration::ZERO,
            };
            self.publishers.push(plan.start());
        }
        self
    }

    /// Lets the stream run on until so many more messages were accepted.
    #[track_caller]
    pub(super) fn stream(&self, n_messages: usize) {
        let goal = self.history.n_accepted() + n_messages;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.history.n_accepted() < goal {
            assert!(
                Instant::now() < deadline && self.publishers.iter().all(|one| one.is_alive()),
                "the stream stands still at {} of {goal}\n{}",
                self.history.n_accepted(),
                self.broker.log()
            );
            pause(Duration::from_micros(100));
        }
    }

    /// Lets the stream run on for a random while, and kills the broker in its middle.
    #[track_caller]
    pub(super) fn kill_somewhere(&mut self) {
        let n_messages = 20 + self.random.below(300);
        self.stream(n_messages);
        let wait = u64::try_from(self.random.below(4_000)).expect("small");
        pause(Duration::from_micros(wait));
        self.broker.kill();
    }

    /// The broker must not have complained about anything: what it finds damaged, it damaged.
    #[track_caller]
    pub(super) fn assert_no_complaints(&self) {
        let log = self.broker.log();
        let is_complaint = |line: &&str| line.contains(" ERROR ") || line.contains("panicked");
        let complaints: Vec<_> = log.lines().filter(is_complaint).collect();
        assert!(
            complaints.is_empty(),
            "{} complaints: {:#?}",
            complaints.len(),
            &complaints[..complaints.len().min(5)]
        );
    }

    /// The publishers finish; the subscribers that were away come back and receive.
    #[track_caller]
    pub(super) fn finish(&mut self) -> Verdict {
        for publisher in self.publishers.drain(..) {
            if let Err(trouble) = publisher.finish() {
                panic!("{trouble}\n{}", self.broker.log());
            }
        }
        for subscriber in self.absent.drain(..) {
            if let Err(trouble) = subscriber.drain() {
                panic!("{trouble}\n{}", self.broker.log());
            }
        }
        self.history.judge()
    }
}
