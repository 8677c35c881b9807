//! The client that sends to another broker: takes records, and says into a mailbox what became of
//! them. As with Kafka's, it is replaced when its connection is lost, and the next one sends, in
//! order, all that was not acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::link::{Event, Limits, Link, Lost, Sender, open};
use super::suspect::Evidence;
use super::under_way::UnderWay;
use super::{Remote, Suspect, forward};
use crate::Record;
use crate::produce::mailbox::{Mailbox, Report};
use crate::produce::window::Answer;

/// A connection that sends, until it is lost.
pub(crate) struct Publisher {
    sender: Sender,
    shared: Arc<Shared>,
    end: CancellationToken,
}

struct Shared {
    generation: u64,
    mailbox: Arc<Mailbox>,
    /// Flow and number of what has no identifier yet, in order.
    handed: Mutex<VecDeque<(usize, u64)>>,
    /// How many were handed over of which nothing is known.
    n_open: AtomicUsize,
    suspect: Arc<Suspect>,
    /// What the other broker takes.
    limits: Mutex<Limits>,
    /// What is handed over sooner could expire on the way.
    is_connected: AtomicBool,
    /// Why it sends nothing any more.
    over: Mutex<Option<String>>,
}

/// Between two tries to connect: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

// === impl Publisher ===

impl Publisher {
    /// Begins to connect. The generation tells its reports from those of an earlier one.
    pub(crate) fn start(
        remote: &Remote,
        generation: u64,
        mailbox: Arc<Mailbox>,
        runtime: &Handle,
    ) -> Self {
        let shared = Arc::new(Shared {
            generation,
            mailbox,
            handed: Mutex::default(),
            n_open: AtomicUsize::new(0),
            suspect: remote.suspect.clone(),
            limits: Mutex::new(Limits::NONE),
            is_connected: AtomicBool::new(false),
            over: Mutex::default(),
        });
        let end = CancellationToken::new();
        let _runtime = runtime.enter(); // clients of rumqttc have timers
        let (sender, link) = open(remote, "to", false);
        let running = run(link, shared.clone(), remote.clone());
        runtime.spawn(end.clone().run_until_cancelled_owned(running));
        Self {
            sender,
            shared,
            end,
        }
    }

    /// Takes a record, without waiting, if there is room: while one is suspected there is for one, so
    /// that it is certain which the connection ends for. What becomes of it is reported under this
    /// flow and number.
    pub(crate) fn send(&self, flow: usize, number: u64, record: &Record) -> bool {
        let is_first = self.shared.n_open.load(Ordering::Acquire) == 0;
        if !is_first && self.shared.suspect.is_any(Instant::now()) {
            return false;
        }
        let Some(mut parting) = forward::read(record, now()) else {
            // Nobody is to get it any more.
            self.shared.tell((flow, number), Answer::Confirmed);
            return true;
        };
        self.shared.limits.lock().hold(&mut parting);
        // Under the lock: what is handed over first gets its identifier first.
        let mut handed = self.shared.handed.lock();
        let is_taken = self.sender.publish(parting);
        if is_taken {
            handed.push_back((flow, number));
            self.shared.n_open.fetch_add(1, Ordering::AcqRel);
        }
        is_taken
    }

    /// Whether it is connected; when it begins to be, it says so.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Acquire)
    }

    /// Why it takes none any more, if that is so.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.shared.over.lock().clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

// === impl Shared ===

impl Shared {
    /// What became of a record that was handed over.
    fn report(&self, record: (usize, u64), answer: Answer) {
        self.n_open.fetch_sub(1, Ordering::AcqRel);
        self.tell(record, answer);
    }

    /// The other broker, of this name, has done with a record.
    fn conclude(&self, record: (usize, u64), outcome: Result<(), String>, name: &str) {
        match outcome {
            Ok(()) => {
                self.suspect.on_acknowledged(Instant::now());
                self.report(record, Answer::Confirmed);
            }
            Err(why) => {
                tracing::debug!(mqtt = name, why, "a message is refused there");
                self.report(record, refused(&why));
            }
        }
    }

    fn tell(&self, (flow, number): (usize, u64), answer: Answer) {
        if answer != Answer::Failed {
            self.suspect.acquit((flow, number));
        }
        self.mailbox.report(Report {
            generation: self.generation,
            flow,
            number,
            answer,
        });
    }
}

async fn run(mut link: Link, shared: Arc<Shared>, remote: Remote) {
    let name = &remote.name;
    let mut under_way = UnderWay::new();
    let mut pause = PAUSES.0;
    let mut was_connected = false;
    // What was sent last had QoS 0: the connection may end for that.
    let mut is_clouded = false;
    let mut said = String::new();
    let why = loop {
        match link.next().await {
            Ok(Event::Connected { limits, .. }) => {
                was_connected = true;
                *shared.limits.lock() = limits;
                shared.is_connected.store(true, Ordering::Release);
                tracing::info!(mqtt = name, "connected to another broker");
                shared.mailbox.look();
            }
            Ok(Event::Sent(id)) => {
                let Some(record) = shared.handed.lock().pop_front() else {
                    break "it sends what it was not given".to_owned();
                };
                match id {
                    0 => {
                        is_clouded = true;
                        shared.report(record, Answer::Confirmed);
                    }
                    _ => under_way.on_sent(id, record),
                }
            }
            Ok(Event::Received(id)) => under_way.on_received(id),
            Ok(Event::Answered(id, outcome)) => {
                if let Some(record) = under_way.on_answered(id) {
                    is_clouded = false;
                    shared.conclude(record, outcome, name);
                }
            }
            Ok(Event::Completed(id, outcome)) => {
                if let Some(record) = under_way.on_completed(id) {
                    is_clouded = false;
                    shared.conclude(record, outcome, name);
                }
            }
            Ok(Event::TooLarge) => {
                if let Some(record) = shared.handed.lock().pop_front() {
                    shared.report(record, Answer::Refused);
                }
                break "a message is larger than it takes".to_owned();
            }
            Ok(Event::Dismissed(why)) => {
                // It answers in order: this is the one, or the next connection ends for another.
                if let Some((record, _)) = under_way.first()
                    && remote
                        .suspect
                        .is_guilty(record, Evidence::Told, Instant::now())
                {
                    shared.report(record, Answer::Refused);
                }
                break why;
            }
            Ok(_) => {}
            // Nothing was sent: what waits is for the next try.
            Err(Lost { why, .. }) if !was_connected => {
                if why != said {
                    tracing::info!(mqtt = name, why, "another broker is not reached");
                    said = why;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Err(Lost { why, is_closed }) => {
                if let Some((record, is_alone)) = under_way.first().filter(|_| is_closed) {
                    let is_alone = is_alone && shared.handed.lock().is_empty();
                    let evidence = Evidence::Closed(is_alone && !is_clouded);
                    // Failed: its rule waits a while, and longer each time, before it comes again.
                    let is_guilty = shared.suspect.is_guilty(record, evidence, Instant::now());
                    shared.report(
                        record,
                        match is_guilty {
                            true => Answer::Refused,
                            false => Answer::Failed,
                        },
                    );
                }
                break why;
            }
        }
    };
    *shared.over.lock() = Some(why);
    shared.mailbox.look();
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

/// Whether the other broker would say so at any time.
fn refused(why: &str) -> Answer {
    match why {
        "NotAuthorized" | "TopicNameInvalid" | "PayloadFormatInvalid" => Answer::Refused,
        _ => Answer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::link::tests::{packet, remote};
    use crate::produce::mailbox::Letters;
    use crate::produce::{Feed, Link as Way, Order, Outcome, Producer};
    use crate::record::Draft;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Ends each connection at the first message, whose payload it does not like.
    async fn dismiss_all(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            packet(&mut stream).await.expect("a CONNECT");
            stream.write_all(&[0x20, 3, 0, 0, 0]).await.expect("it is");
            packet(&mut stream).await.expect("a PUBLISH");
            let disconnect = [0xe0, 2, 0x99, 0];
            stream.write_all(&disconnect).await.expect("it listens");
        }
    }

    /// Of 3.1.1: closes each connection at the first message of the topic `bad`, and acknowledges
    /// others.
    async fn close_at_bad(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                packet(&mut stream).await.expect("a CONNECT");
                stream.write_all(&[0x20, 2, 0, 0]).await.expect("it is");
                while let Some((_, body)) = packet(&mut stream).await {
                    let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    if &body[2..at] == b"bad" {
                        return;
                    }
                    let ack = [0x40, 2, body[at], body[at + 1]];
                    if stream.write_all(&ack).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Of 5.0, with a Receive Maximum of 2: completes its first message, of QoS 2, only when a third one
    /// has come, under the identifier of the first.
    async fn complete_late(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        packet(&mut stream).await.expect("a CONNECT");
        let connack = [0x20, 6, 0, 0, 3, 0x21, 0, 2];
        stream.write_all(&connack).await.expect("it listens");
        for first in [0x34, 0x32] {
            assert_eq!(packet(&mut stream).await.expect("a PUBLISH").0, first);
        }
        let answers = [0x50, 2, 0, 1, 0x40, 2, 0, 2];
        stream.write_all(&answers).await.expect("it listens");
        let next = [packet(&mut stream).await, packet(&mut stream).await];
        let next = next.map(|packet| packet.expect("one").0);
        assert_eq!(next, [0x62, 0x32], "PUBREL, and the third");
        let answers = [0x40, 2, 0, 1, 0x70, 2, 0, 1];
        stream.write_all(&answers).await.expect("it listens");
        while packet(&mut stream).await.is_some() {}
    }

    fn record(topic: &str) -> Record {
        record_of_qos(topic, 1)
    }

    fn record_of_qos(topic: &str, qos: u8) -> Record {
        let mut draft = Draft::new(topic, None, 0, 0);
        draft.header("", &[qos]);
        draft.finish(|_| ())
    }

    /// Sends a record by one connection after the other until it is done for, and says by how many.
    async fn send_until_answered(remote: &Remote, record: &Record) -> (u64, u64, Answer) {
        let mailbox = Arc::new(Mailbox::default());
        for generation in 1.. {
            let mailbox = mailbox.clone();
            let publisher =
                Publisher::start(remote, generation, mailbox.clone(), &Handle::current());
            while !publisher.is_connected() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(publisher.send(0, 7, record));
            loop {
                let is_over = publisher.fatal().is_some();
                let mut letters = Letters::default();
                mailbox.wait(Instant::now(), &mut letters);
                if let Some(report) = letters.reports.pop()
                    && report.answer != Answer::Failed
                {
                    return (generation, report.number, report.answer);
                }
                if is_over {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        unreachable!("it goes on for ever")
    }

    /// rumqttc gives the identifier of the first to the third.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_completed_late_is_answered_though_its_identifier_is_anothers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let remote = remote(listener.local_addr().expect("an address").port(), true);
        tokio::spawn(complete_late(listener));
        let mailbox = Arc::new(Mailbox::default());
        let publisher = Publisher::start(&remote, 1, mailbox.clone(), &Handle::current());
        while !publisher.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for (number, qos) in [(1, 2), (2, 1), (3, 1)] {
            assert!(publisher.send(0, number, &record_of_qos("a", qos)));
        }
        let mut confirmed = Vec::new();
        let deadline = Instant::now() + LIMIT;
        while confirmed.len() < 3 && Instant::now() < deadline {
            let mut letters = Letters::default();
            mailbox.wait(Instant::now(), &mut letters);
            for report in letters.reports {
                assert_eq!(report.answer, Answer::Confirmed);
                confirmed.push(report.number);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((confirmed, publisher.fatal()), (vec![2, 3, 1], None));
    }

    #[tokio::test]
    async fn a_message_for_which_the_connection_ends_is_refused_some_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let remote = remote(listener.local_addr().expect("an address").port(), true);
        tokio::spawn(dismiss_all(listener));
        let record = record("a");
        let sending = send_until_answered(&remote, &record);
        let sent = tokio::time::timeout(LIMIT, sending).await.expect("an end");
        assert!(matches!(sent, (5, 7, Answer::Refused)), "{sent:?}");
    }

    #[tokio::test]
    async fn a_message_at_which_the_connection_is_closed_is_refused_later() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let remote = remote(listener.local_addr().expect("an address").port(), false);
        tokio::spawn(close_at_bad(listener));
        let (good, bad) = (record("good"), record("bad"));
        let sending = send_until_answered(&remote, &bad);
        let sent = tokio::time::timeout(Duration::from_secs(1), sending).await;
        assert!(sent.is_err(), "the broker may be ill: {sent:?}");
        let sending = send_until_answered(&remote, &good);
        let sent = tokio::time::timeout(LIMIT, sending).await.expect("an end");
        assert!(matches!(sent, (1, 7, Answer::Confirmed)), "{sent:?}");
        let sending = send_until_answered(&remote, &bad);
        let sent = tokio::time::timeout(LIMIT, sending).await.expect("an end");
        assert!(matches!(sent, (10, 7, Answer::Refused)), "{sent:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_at_which_the_connection_is_closed_holds_up_no_other_rule() {
        const N_RECORDS: usize = 300;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let remote = remote(listener.local_addr().expect("an address").port(), false);
        tokio::spawn(close_at_bad(listener));
        let link = Way::Mqtt(remote, Handle::current());
        let producer = Producer::start_on("hq", link).expect("it starts");
        let (bad, good) = (producer.open(Feed::Direct), producer.open(Feed::Direct));
        let (tell, mut told) = tokio::sync::mpsc::channel(N_RECORDS);
        let order = |topic| {
            let (record, tell) = (record(topic), tell.clone());
            // What is open at the end of the test is of no account.
            let done = Box::new(move |outcome| {
                let _ = tell.try_send((topic, outcome));
            });
            Order { record, done }
        };
        assert!(bad.produce(order("bad")).await.is_ok());
        for _ in 0..N_RECORDS {
            assert!(good.produce(order("good")).await.is_ok());
        }
        for _ in 0..N_RECORDS {
            let next = tokio::time::timeout(LIMIT, told.recv()).await;
            assert_eq!(next.expect("in time"), Some(("good", Outcome::Accepted)));
        }
        tokio::task::spawn_blocking(move || producer.stop())
            .await
            .expect("it stops");
    }
}
