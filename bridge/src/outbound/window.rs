//! What of a lane is on its way to a gateway, in order: pure.
//!
//! Messages leave in batches and are answered in order. A stream that is lost, and a message that a
//! gateway cannot take now, put everything that is not answered back: it is sent again under the
//! same ids, and as sent before, so whoever has had it does not get it twice. A gateway takes nothing
//! behind a message that comes again, or it would be out of order: so it is said with each when that
//! is not so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gatemq_proto::cluster::bridges;
use gatemq_proto::cluster::intake::{Batch, Message, PublishReply};
use gatemq_proto::mqtt::Reason;

use super::patience::Patience;
use super::{Answer, weight};

/// Messages that are not answered, each with something that waits for it.
#[derive(Debug)]
pub(super) struct Window<W> {
    entries: VecDeque<Entry<W>>,
    /// The number of the first.
    first: u64,
    /// How many of them are on this stream.
    n_sent: usize,
    /// Whether some of them would come again. If so, those behind them would, too, to the end of the
    /// stream: they must not be taken where those are not.
    has_in_row: bool,
    patience: Patience,
}

#[derive(Debug)]
struct Entry<W> {
    message: Message,
    waiter: W,
    /// What it is of; see [`Window::withdraw`].
    origin: u64,
    is_withdrawn: bool,
    /// Whether it is given up, on this stream, if somebody has no room for it.
    is_last_try: bool,
}

/// What a stream ends for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// It answers what it was not sent.
    #[error("it answers what it was not sent")]
    Violation,
    /// It cannot take the next message now.
    #[error("it cannot take a message now: {0}")]
    Later(String),
}

// === impl Window ===

impl<W> Window<W> {
    /// One that tries again for so long what is refused since somebody is full.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            n_sent: 0,
            has_in_row: false,
            patience: Patience::new(limit),
        }
    }

    /// Puts a message of this origin behind the others.
    pub(super) fn push(&mut self, message: Message, waiter: W, origin: u64) {
        self.entries.push_back(Entry {
            message,
            waiter,
            origin,
            is_withdrawn: false,
            is_last_try: false,
        });
    }

    /// Nothing of this origin is to be sent any more, be it for the first time or again. Gives what
    /// has not been sent; what has may be answered.
    pub(super) fn withdraw(&mut self, origin: u64) -> Vec<Message> {
        let mine = self.entries.iter_mut().filter(|it| it.origin == origin);
        mine.for_each(|entry| entry.is_withdrawn = true);
        self.remove_withdrawn()
    }

    /// Takes out what is withdrawn and is not on this stream.
    fn remove_withdrawn(&mut self) -> Vec<Message> {
        if self.n_sent == 0 && self.entries.front().is_some_and(|first| first.is_withdrawn) {
            self.patience.on_settled(); // what was said of it is not of the next one
        }
        let waiting = self.entries.split_off(self.n_sent);
        let (withdrawn, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|entry| entry.is_withdrawn);
        self.entries.extend(rest);
        withdrawn.into_iter().map(|entry| entry.message).collect()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something is to be sent.
    pub(super) fn has_more(&self) -> bool {
        self.n_sent < self.entries.len()
    }

    /// Everything is to be sent again; gives what is not, since it is withdrawn.
    pub(super) fn rewind(&mut self) -> Vec<Message> {
        (self.n_sent, self.has_in_row) = (0, false);
        self.remove_withdrawn()
    }

    /// The next messages.
    pub(super) fn take_batch(&mut self, now: Instant) -> Option<Batch> {
        let is_alone = self.n_sent == 0 && self.patience.is_over();
        let is_last_try = is_alone || !self.has_in_row && self.patience.is_gone(now);
        let most = if is_alone { 1 } else { MOST };
        let mut batch = Batch {
            first: self.first + self.n_sent as u64,
            messages: Vec::new(),
            is_last_try,
        };
        let mut n_bytes = 0;
        for entry in self.entries.iter_mut().skip(self.n_sent) {
            let message = &entry.message;
            n_bytes += weight(&message.topic, &message.properties, &message.payload);
            let n_messages = batch.messages.len();
            if n_messages > 0 && (n_messages >= most || n_bytes > MOST_BYTES) {
                break;
            }
            entry.is_last_try = is_last_try;
            batch.messages.push(message.clone()); // what is large in it is shared
            entry.message.was_sent = true;
        }
        self.n_sent += batch.messages.len();
        self.has_in_row |= !is_last_try;
        (!batch.messages.is_empty()).then_some(batch)
    }

    /// Takes in answers; `settled` gets those that are final.
    ///
    /// # Errors
    ///
    /// If the stream is to end. What came before in the reply holds.
    pub(super) fn handle(
        &mut self,
        reply: &PublishReply,
        now: Instant,
        settled: &mut Vec<(Message, W, Answer)>,
    ) -> Result<(), Stop> {
        // Compared, never reckoned with: what a peer says may be any number.
        if reply.first != self.first && !reply.reasons.is_empty() {
            return Err(Stop::Violation);
        }
        for code in &reply.reasons {
            if self.n_sent == 0 {
                return Err(Stop::Violation);
            }
            let reason = Reason::from_u8(*code).ok_or(Stop::Violation)?;
            let is_last_try = |entry: &Entry<W>| entry.is_last_try;
            if bridges::is_retried(reason, self.entries.front().is_some_and(is_last_try)) {
                if bridges::is_bounded(reason) {
                    self.patience.on_refused(now);
                }
                return Err(Stop::Later(reason.to_string()));
            }
            let Some(Entry {
                message, waiter, ..
            }) = self.entries.pop_front()
            else {
                return Err(Stop::Violation);
            };
            match bridges::is_bounded(reason) {
                true => self.patience.on_given_up(now),
                false => self.patience.on_settled(),
            }
            let answer = match reason.is_error() {
                true => Answer::Refused(reason),
                false => Answer::Accepted,
            };
            self.first += 1;
            self.n_sent -= 1;
            settled.push((message, waiter, answer));
        }
        Ok(())
    }
}

// === private ===

/// Messages of a batch, and their bytes but for the last one.
const MOST: usize = 512;
const MOST_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn window(n_messages: u32) -> Window<u32> {
        let mut window = Window::new(LIMIT);
        for number in 0..n_messages {
            let message = Message {
                id: u64::from(number) + 70,
                ..Message::default()
            };
            window.push(message, number, 0);
        }
        window
    }

    /// What is sent next: the number of the first, and the messages.
    fn sent<W>(window: &mut Window<W>) -> (u64, Vec<Message>) {
        let batch = window.take_batch(Instant::now()).expect("a batch");
        (batch.first, batch.messages)
    }

    fn reply(first: u64, reasons: impl Into<bytes::Bytes>) -> PublishReply {
        PublishReply {
            first,
            reasons: reasons.into(),
        }
    }

    #[test]
    fn what_is_answered_is_done_and_in_order() {
        let mut window = window(3);
        let (first, batch) = sent(&mut window);
        assert_eq!((first, batch.len()), (1, 3));
        assert!(!window.has_more());
        let mut settled = Vec::new();
        let now = Instant::now();
        let handled = window.handle(&reply(1, vec![0, 0x95]), now, &mut settled);
        assert_eq!(handled, Ok(()));
        let answers: Vec<_> = settled.iter().map(|it| (it.1, it.2)).collect();
        let refused = Answer::Refused(Reason::PacketTooLarge);
        assert_eq!(answers, [(0, Answer::Accepted), (1, refused)]);
        assert_eq!(
            window.handle(&reply(3, vec![0x10]), now, &mut settled),
            Ok(())
        );
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_not_answered_is_sent_again_under_its_id() {
        let mut window = window(3);
        sent(&mut window);
        let mut settled = Vec::new();
        let answers = reply(1, vec![0, 0x97, 0]);
        let handled = window.handle(&answers, Instant::now(), &mut settled);
        assert!(matches!(handled, Err(Stop::Later(_))), "{handled:?}");
        assert_eq!(settled.len(), 1);
        window.rewind();
        window.push(Message::default(), 3, 0);
        let (first, batch) = sent(&mut window);
        let sent: Vec<_> = batch.iter().map(|it| (it.id, it.was_sent)).collect();
        assert_eq!((first, sent), (2, vec![(71, true), (72, true), (0, false)]));
    }

    #[test]
    fn what_stays_refused_for_somebody_is_given_up_and_what_the_gateway_refuses_never() {
        let begin = Instant::now();
        for (code, is_given_up) in [(0x97, true), (0x83, true), (0x80, false), (0x89, false)] {
            let mut window = window(3);
            let mut settled = Vec::new();
            let at = |seconds| begin + Duration::from_secs(seconds);
            for seconds in [0, 9, 10] {
                let batch = window.take_batch(at(seconds)).expect("a batch");
                assert!(!batch.is_last_try && batch.messages.len() == 3);
                let handled = window.handle(&reply(1, vec![code; 3]), at(seconds), &mut settled);
                assert!(matches!(handled, Err(Stop::Later(_))), "{handled:?}");
                window.rewind();
            }
            let batch = window.take_batch(at(11)).expect("a batch");
            assert_eq!(batch.is_last_try, is_given_up, "{code:x}");
            assert_eq!(batch.messages.len(), if is_given_up { 1 } else { 3 });
            let handled = window.handle(&reply(1, vec![code]), at(11), &mut settled);
            assert_eq!(handled.is_ok(), is_given_up, "{code:x}");
            assert_eq!(settled.len(), usize::from(is_given_up));
        }
    }

    #[test]
    fn what_follows_one_that_is_given_up_is_given_up_too_but_only_on_another_stream() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (mut window, mut settled) = (window(5), Vec::new());
        for seconds in [0, 10] {
            window.take_batch(at(seconds)).expect("a batch");
            let handled = window.handle(&reply(1, vec![0x97]), at(seconds), &mut settled);
            assert!(handled.is_err());
            window.rewind();
        }
        assert!(window.take_batch(at(11)).expect("the first").is_last_try);
        let rest = window.take_batch(at(11)).expect("those behind it");
        assert!(!rest.is_last_try, "they are not tried for long yet");
        let handled = window.handle(&reply(1, vec![0x97]), at(11), &mut settled);
        assert_eq!((handled, settled.len()), (Ok(()), 1));
        window.push(Message::default(), 5, 0);
        let behind = window.take_batch(at(11)).expect("one more");
        assert!(
            !behind.is_last_try,
            "it may be taken where those before it are not"
        );
        let handled = window.handle(&reply(2, vec![0x97]), at(11), &mut settled);
        assert!(matches!(handled, Err(Stop::Later(_))), "{handled:?}");
        window.rewind();
        let rest = window.take_batch(at(12)).expect("all");
        assert!(rest.is_last_try && rest.messages.len() == 5);
        let handled = window.handle(&reply(2, vec![0x97; 5]), at(12), &mut settled);
        assert_eq!((handled, settled.len()), (Ok(()), 6));
    }

    #[test]
    fn what_is_withdrawn_is_not_sent_any_more() {
        let mut window = window(0);
        let push = |window: &mut Window<u32>, id: u64, origin| {
            let message = Message {
                id,
                ..Message::default()
            };
            window.push(message, 0, origin);
        };
        let ids = |all: &[Message]| all.iter().map(|it| it.id).collect::<Vec<_>>();
        push(&mut window, 1, 7);
        push(&mut window, 2, 8);
        sent(&mut window);
        push(&mut window, 3, 7);
        push(&mut window, 4, 8);
        assert_eq!(ids(&window.withdraw(7)), [3]);
        let (first, batch) = sent(&mut window);
        assert_eq!((first, ids(&batch)), (3, vec![4]));
        assert_eq!(ids(&window.rewind()), [1], "it would be sent again");
        let (first, batch) = sent(&mut window);
        assert_eq!((first, ids(&batch)), (1, vec![2, 4]));
        let mut settled = Vec::new();
        let handled = window.handle(&reply(1, vec![0, 0]), Instant::now(), &mut settled);
        assert_eq!(handled, Ok(()));
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_behind_one_that_is_withdrawn_is_tried_as_long_as_any() {
        let begin = Instant::now();
        let mut window = Window::new(LIMIT);
        for origin in [7, 8, 8] {
            window.push(Message::default(), 0, origin);
        }
        for now in [begin, begin + LIMIT] {
            window.take_batch(now).expect("a batch");
            let handled = window.handle(&reply(1, vec![0x97]), now, &mut Vec::new());
            assert!(matches!(handled, Err(Stop::Later(_))), "{handled:?}");
            window.rewind();
        }
        assert_eq!(window.withdraw(7).len(), 1);
        let batch = window.take_batch(begin + LIMIT).expect("the others");
        assert!(!batch.is_last_try && batch.messages.len() == 2);
    }

    #[test]
    fn an_answer_to_nothing_ends_the_stream() {
        let mut window = window(2);
        let mut settled = Vec::new();
        let mut check = |window: &mut Window<u32>, reply: &PublishReply| {
            let handled = window.handle(reply, Instant::now(), &mut settled);
            assert_eq!(handled, Err(Stop::Violation));
        };
        check(&mut window, &reply(1, vec![0]));
        sent(&mut window);
        check(&mut window, &reply(2, vec![0]));
        check(&mut window, &reply(1, vec![0xF0]));
        check(&mut window, &reply(u64::MAX, vec![0, 0]));
    }

    #[test]
    fn a_batch_has_a_bound_and_one_message_always_fits() {
        let mut window = Window::new(LIMIT);
        for _ in 0..3 {
            let message = Message {
                payload: vec![0; MOST_BYTES].into(),
                ..Message::default()
            };
            window.push(message, (), 0);
        }
        assert_eq!(sent(&mut window).1.len(), 1);
        assert_eq!(sent(&mut window).0, 2);
    }
}
