//! One flow as the thread has it: where its records come from, and those on their way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gatemq_node::trace::Span;
use rdkafka::error::RDKafkaErrorCode as Code;
use tracing::field::display;

use super::budget::{self, Budget};
use super::link::{Client, NotTaken};
use super::mailbox::{Opened, Report};
use super::timing::Timing;
use super::traced;
use super::window::{Answer, Window};
use super::{Done, Feed, Order, Outcome, Terms};
use crate::Record;

/// What has to stay in order.
pub(super) struct Flow {
    feed: Feed,
    budget: Arc<Budget>,
    terms: Arc<Terms>,
    window: Window<Item>,
    timing: Timing,
    /// What is in the window of a flow that comes from the spool.
    n_bytes: usize,
    /// Not before this it sends again.
    resumes_at: Option<Instant>,
    pause: Duration,
}

struct Item {
    record: Record,
    /// Who waits for it.
    done: Option<Done>,
    /// Its number in the spool.
    number: u64,
    /// That of a record from the spool, if it is traced.
    span: Option<Span>,
}

/// Why a flow stopped sending.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is nothing to send now.
    Idle,
    /// The client has too much.
    Full,
    /// The client takes nothing any more.
    Over(String),
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// The topic of a record that was refused, and why.
    pub(super) refusal: Option<(String, &'static str)>,
    /// A topic that is waited for.
    pub(super) missing: Option<String>,
    /// What was said of a batch that was not taken for what one of its records is, or all are.
    pub(super) not_taken: Option<Answer>,
    /// A topic that does not take the time of now.
    pub(super) untimely: Option<String>,
}

// === impl Flow ===

impl Flow {
    pub(super) fn new((feed, budget, terms): Opened) -> Self {
        Self {
            feed,
            budget,
            terms,
            window: Window::new(0, |item| item.record.topic()),
            timing: Timing::default(),
            n_bytes: 0,
            resumes_at: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Somebody has brought a record.
    pub(super) fn on_order(&mut self, order: Order) {
        self.window.push(Item {
            record: order.record,
            done: Some(order.done),
            number: 0,
            span: None, // who waits for it has it
        });
    }

    /// Something is known of a record; `was_single` if it was a batch of its own.
    pub(super) fn on_report(
        &mut self,
        report: Report,
        is_current: bool,
        was_single: bool,
        tally: &mut Tally,
    ) {
        let Report { number, answer, .. } = report;
        let answer = match answer {
            // Also of an earlier client: that it is over is often heard of first.
            Answer::TooLarge | Answer::Unfit => {
                tally.not_taken = Some(answer);
                match was_single {
                    true => Answer::Refused,
                    false => Answer::Failed,
                }
            }
            // Never refused: another time is to be had.
            Answer::Untimely => {
                tally.not_taken = Some(answer);
                if was_single {
                    self.on_untimely(number, tally);
                }
                Answer::Failed
            }
            Answer::NoTopic if self.refuses_missing() => Answer::Refused,
            Answer::NoTopic => {
                let record = self.window.get_mut(number).map(|item| item.record.topic());
                tally.missing = record.map(str::to_owned);
                Answer::Failed
            }
            other => other,
        };
        tally.failed += u64::from(answer == Answer::Failed);
        let Some(item) = self.window.on_answer(number, answer, is_current) else {
            return;
        };
        match answer {
            Answer::Confirmed => {
                tally.confirmed += 1;
                self.pause = FIRST_PAUSE;
            }
            _ => {
                tally.refused += 1;
                let why = match report.answer {
                    Answer::TooLarge => "it is larger than its topic takes",
                    Answer::Unfit => "it is not as its topic wants it",
                    Answer::NoTopic => NO_TOPIC,
                    _ => "it never takes such a record",
                };
                tally.refusal = Some((item.record.topic().to_owned(), why));
            }
        }
        self.window.tell(number, answer);
    }

    /// A record that was alone is refused for its time: it goes with another one.
    fn on_untimely(&mut self, number: u64, tally: &mut Tally) {
        let Some(item) = self.window.get_mut(number) else {
            return;
        };
        let (topic, at) = (item.record.topic(), item.record.at());
        if !self.timing.on_refused(topic, at, now_ms()) {
            tally.untimely = Some(topic.to_owned());
        }
    }

    /// Lets go of what is done, at the front.
    pub(super) fn settle(&mut self) {
        let mut through = None;
        while let Some(item) = self.window.take_done() {
            let n_bytes = item.record.len();
            match &self.feed {
                Feed::Direct => self.budget.leave(n_bytes),
                Feed::Spool(..) => {
                    self.n_bytes -= n_bytes;
                    through = Some(item.number + 1);
                }
            }
        }
        if let (Feed::Spool(spool, queue, _), Some(through)) = (&self.feed, through) {
            spool.confirm(*queue, through);
        }
    }

    /// Takes from the spool what there is room for.
    pub(super) fn refill(&mut self) {
        let Feed::Spool(spool, queue, tracer) = &self.feed else {
            return;
        };
        // What is on its way cannot be dropped: of a small queue that is no more than the half.
        let half = usize::try_from(spool.bound(*queue) / 2).unwrap_or(usize::MAX);
        let most = budget::MOST_BYTES.min(half);
        while self.window.len() < budget::MOST_RECORDS && self.n_bytes < most {
            match spool.take(*queue, A_PAGE.min(most - self.n_bytes)) {
                Ok(taken) if taken.is_empty() => return,
                Ok(taken) => {
                    for (number, record) in taken {
                        self.n_bytes += record.len();
                        self.window.push(Item {
                            span: traced::span_of_spooled(tracer, &record),
                            record,
                            done: None,
                            number,
                        });
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be read");
                    return;
                }
            }
        }
    }

    /// Hands to the client what it takes, and no more than so many that are not answered.
    pub(super) fn send(
        &mut self,
        at: usize,
        client: &Client,
        most_open: Option<usize>,
        now: Instant,
        tally: &mut Tally,
    ) -> Stop {
        if self.window.is_ready_to_rewind() {
            let pause = self.pause;
            match *self.resumes_at.get_or_insert_with(|| now + pause) {
                resumes_at if now < resumes_at => return Stop::Idle,
                _ => {
                    self.pause = (pause * 2).min(LONGEST_PAUSE);
                    self.resumes_at = None;
                    self.window.rewind();
                }
            }
        } else if let Some(resumes_at) = self.resumes_at {
            if now < resumes_at {
                return Stop::Idle;
            }
            self.resumes_at = None;
        }
        let refuses_missing = self.refuses_missing();
        loop {
            if most_open.is_some_and(|most| self.window.n_open() >= most) {
                return Stop::Idle; // an answer wakes it
            }
            let Some((number, item)) = self.window.next() else {
                return Stop::Idle;
            };
            let record = &item.record;
            let time = self.timing.instead(record.topic(), record.at(), now_ms());
            match client.send(at, number, record, time) {
                Ok(()) => self.window.on_sent(),
                Err(NotTaken::Full) => return Stop::Full,
                Err(NotTaken::Away) => return Stop::Idle,
                Err(NotTaken::Over(why)) => return Stop::Over(why),
                Err(NotTaken::NoTopic(_)) if !refuses_missing => {
                    tally.missing = Some(item.record.topic().to_owned());
                    self.resumes_at = Some(now + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    return Stop::Idle;
                }
                Err(NotTaken::Refused(error) | NotTaken::NoTopic(error)) => {
                    let topic = item.record.topic();
                    let trace_id = traced::named(&item.record).map(|it| display(it.trace()));
                    tracing::debug!(topic, %error, trace_id, "kafka does not take a record");
                    tally.refused += 1;
                    let why = match error.rdkafka_error_code() {
                        Some(Code::MessageSizeTooLarge) => "it is larger than message.max.bytes",
                        Some(Code::InvalidArgument) => "it never takes such a record",
                        _ => NO_TOPIC,
                    };
                    tally.refusal = Some((topic.to_owned(), why));
                    if self.window.refuse_next().is_some() {
                        self.window.tell(number, Answer::Refused);
                    }
                }
            }
        }
    }

    /// All that is not confirmed will be sent again, by another client: not at once if something of
    /// this flow was not taken, for that may be why there is another.
    pub(super) fn restart(&mut self, now: Instant) {
        self.resumes_at = None;
        if self.window.has_stumbled() {
            self.resumes_at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        self.window.rewind();
    }

    fn refuses_missing(&self) -> bool {
        self.terms.refuses_missing.load(Relaxed)
    }

    /// When it has to be looked at.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.resumes_at
    }

    /// Whether all that the client has of it is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.window.n_open() == 0
    }

    /// How many records are on their way.
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// Gives back what somebody waits for, in order; what is from the spool may be taken again.
    pub(super) fn close(mut self) -> Vec<Order> {
        self.settle();
        if let Feed::Spool(spool, queue, _) = &self.feed {
            spool.give_back(*queue);
        }
        let mut orders = Vec::new();
        for item in self.window.into_open() {
            if let Some(done) = item.done {
                self.budget.leave(item.record.len());
                let record = item.record;
                orders.push(Order { record, done });
            }
        }
        orders
    }
}

impl Window<Item> {
    /// Tells who waits for a record what became of it.
    fn tell(&mut self, number: u64, answer: Answer) {
        let Some(item) = self.get_mut(number) else {
            return;
        };
        let outcome = match answer {
            Answer::Confirmed => Outcome::Accepted,
            Answer::Refused => Outcome::Refused,
            // None of an end.
            _ => Outcome::Unknown,
        };
        if let Some(span) = item.span.take() {
            traced::end(span, outcome);
        }
        if let Some(done) = item.done.take() {
            done(outcome);
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
}

/// How much is read from the spool at once.
const A_PAGE: usize = 1 << 20;
/// How long a flow waits before it sends again what was not taken; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Why a record was refused.
const NO_TOPIC: &str = "there is no such topic, or it may not be written";
