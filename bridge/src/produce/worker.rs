//! The thread of one way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::batching::Batching;
use super::flow::{Flow, Stop, Tally};
use super::link::{Client, Link};
use super::mailbox::{Letters, Mailbox};
use super::{Counters, Outcome};
use crate::librdkafka::describe;

/// What the thread has.
pub(super) struct Worker {
    name: String,
    link: Link,
    /// None while one is to be made.
    client: Option<Client>,
    generation: u64,
    /// When the next client may be made.
    renews_at: Instant,
    flows: BTreeMap<usize, Flow>,
    n_turns: usize,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    batching: Batching,
    /// The first client that has its records as they go now.
    mode_since: u64,
    /// Refusals that nobody was told of, and when the last were told.
    n_untold: u64,
    refusals_told_at: Option<Instant>,
    missing_told_at: Option<Instant>,
    untimely_told_at: Option<Instant>,
    /// When Kafka has last confirmed something, or there was nothing to confirm.
    heard_at: Instant,
    has_told: bool,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(
        name: String,
        link: Link,
        client: Client,
        mailbox: Arc<Mailbox>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            name,
            link,
            client: Some(client),
            generation: 0,
            renews_at: now,
            batching: Batching::new(now),
            mode_since: 0,
            n_untold: 0,
            refusals_told_at: None,
            missing_told_at: None,
            untimely_told_at: None,
            flows: BTreeMap::new(),
            n_turns: 0,
            mailbox,
            counters,
            heard_at: now,
            has_told: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut letters = Letters::default();
        let mut is_full = false;
        loop {
            let until = self.next_look(is_full);
            self.mailbox.wait(until, &mut letters);
            if letters.must_stop {
                break;
            }
            let tally = self.read(&mut letters);
            self.renew();
            is_full = self.turn(tally);
        }
        // Those who came last are in no flow yet.
        self.read(&mut letters);
        drop(self.client.take());
        for flow in self.flows.into_values() {
            for order in flow.close() {
                (order.done)(Outcome::Unknown);
            }
        }
    }

    /// When there is something to do though nobody says so.
    fn next_look(&self, is_full: bool) -> Instant {
        let now = Instant::now();
        let mut until = now + IDLE;
        if is_full {
            until = now + A_MOMENT;
        }
        if self.client.is_none() {
            until = until.min(self.renews_at);
        }
        let resumes = self.flows.values().filter_map(Flow::resumes_at);
        resumes.fold(until, Instant::min)
    }

    fn read(&mut self, letters: &mut Letters) -> Tally {
        let mut tally = Tally::default();
        for (at, opened) in letters.opened.drain(..) {
            self.flows.insert(at, Flow::new(opened));
        }
        for (at, order) in letters.orders.drain(..) {
            if let Some(flow) = self.flows.get_mut(&at) {
                flow.on_order(order);
            }
        }
        for report in letters.reports.drain(..) {
            let is_current = report.generation == self.generation;
            if let Some(flow) = self.flows.get_mut(&report.flow) {
                let was_single = self.batching.is_single() && report.generation >= self.mode_since;
                flow.on_report(report, is_current, was_single, &mut tally);
            }
        }
        for (at, tell) in letters.closed.drain(..) {
            let flow = self.flows.remove(&at);
            // Who has asked waits for it.
            let _ = tell.send(flow.map(Flow::close).unwrap_or_default());
        }
        if (letters.must_look || tally.failed > 0)
            && let Some(why) = self.client.as_ref().and_then(Client::fatal)
        {
            self.give_up(&why);
        }
        let is_answered = self.flows.values().all(Flow::is_answered);
        let (not_taken, now) = (tally.not_taken, Instant::now());
        if let Some(why) = self.batching.look(not_taken, is_answered, now) {
            self.give_up(why);
            self.mode_since = self.generation;
        }
        tally
    }

    /// Lets all flows do what they can; says whether the client has too much.
    fn turn(&mut self, mut tally: Tally) -> bool {
        let now = Instant::now();
        let (is_held, most_open) = (self.batching.is_ending(now), self.batching.most_open());
        let mut is_full = false;
        let mut over = None;
        let mut flows: Vec<_> = self.flows.iter_mut().collect();
        // Each is the first some time: the client may have room for one record only.
        let n_flows = flows.len().max(1);
        self.n_turns = self.n_turns.wrapping_add(1);
        flows.rotate_left(self.n_turns % n_flows);
        for (&at, flow) in flows {
            flow.settle();
            flow.refill();
            let Some(client) = self.client.as_ref().filter(|_| !is_held) else {
                continue;
            };
            match flow.send(at, client, most_open, now, &mut tally) {
                Stop::Idle => {}
                Stop::Full => is_full = true,
                Stop::Over(why) => over = Some(why),
            }
            flow.settle();
        }
        if let Some(why) = over {
            self.give_up(&why);
        }
        self.count(&tally, now);
        is_full
    }

    /// The client takes nothing any more: the next one sends what is not confirmed.
    fn give_up(&mut self, why: &str) {
        if self.client.is_none() {
            return;
        }
        let (to, kind) = (&self.name, self.link.kind());
        tracing::warn!(to, kind, why, "the client is replaced");
        // Dropping it reports what is still in it; that counts if it is confirmed.
        drop(self.client.take());
        self.generation += 1;
        self.counters.replaced.fetch_add(1, Relaxed);
        let now = Instant::now();
        // What it has reported is read first: that may be confirmed, or go otherwise.
        self.renews_at = self.renews_at.max(now + A_MOMENT);
        self.flows.values_mut().for_each(|flow| flow.restart(now));
    }

    fn renew(&mut self) {
        let now = Instant::now();
        if self.client.is_some() || now < self.renews_at {
            return;
        }
        // So that one that fails at once does not keep the processor busy.
        self.renews_at = now + RENEWAL;
        let (mailbox, is_single) = (Arc::clone(&self.mailbox), self.batching.is_single());
        match Client::start(&self.link, self.generation, is_single, mailbox) {
            Ok(client) => self.client = Some(client),
            Err(error) => {
                let error = describe(&error);
                tracing::error!(to = self.name, error, "no client can be made");
            }
        }
    }

    /// Says what is refused, and what is waited for, but not each time.
    fn tell(&mut self, tally: &Tally, now: Instant) {
        let is_due = |told: Option<Instant>| told.is_none_or(|told| now - told > SELDOM);
        let (to, kind) = (&self.name, self.link.kind());
        self.n_untold += tally.refused;
        if let Some((topic, why)) = &tally.refusal
            && is_due(self.refusals_told_at)
        {
            let records = std::mem::take(&mut self.n_untold);
            tracing::warn!(
                to,
                kind,
                topic,
                records,
                why,
                "records are refused for good"
            );
            self.refusals_told_at = Some(now);
        }
        if let Some(topic) = &tally.missing
            && is_due(self.missing_told_at)
        {
            let what = "there is no such topic, or it may not be written: what is for it waits";
            tracing::warn!(to, kind, topic, "{what}");
            self.missing_told_at = Some(now);
        }
        if let Some(topic) = &tally.untimely
            && is_due(self.untimely_told_at)
        {
            let what = "it does not take the time of now: what is for it waits for a clock";
            tracing::warn!(to, kind, topic, "{what}");
            self.untimely_told_at = Some(now);
        }
    }

    fn count(&mut self, tally: &Tally, now: Instant) {
        self.tell(tally, now);
        let counters = &self.counters;
        counters.confirmed.fetch_add(tally.confirmed, Relaxed);
        counters.refused.fetch_add(tally.refused, Relaxed);
        counters.failed.fetch_add(tally.failed, Relaxed);
        let n_open: usize = self.flows.values().map(Flow::len).sum();
        counters.open.store(n_open as u64, Relaxed);
        let (to, kind, waiting) = (&self.name, self.link.kind(), n_open);
        if tally.confirmed > 0 || n_open == 0 {
            self.heard_at = now;
            if std::mem::take(&mut self.has_told) {
                tracing::info!(to, kind, "it confirms again");
            }
        } else if now - self.heard_at > SILENCE && !self.has_told {
            self.has_told = true;
            tracing::warn!(
                to,
                kind,
                waiting,
                "it confirms nothing: what is for it waits"
            );
        }
    }
}

/// How long it sleeps when nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits for a client that has too much.
const A_MOMENT: Duration = Duration::from_millis(5);
/// How often it is told that something is refused, or waited for.
const SELDOM: Duration = Duration::from_secs(10);
/// The least time between two clients.
const RENEWAL: Duration = Duration::from_millis(500);
/// So long Kafka may take to confirm something before that is worth a word.
const SILENCE: Duration = Duration::from_secs(5);
