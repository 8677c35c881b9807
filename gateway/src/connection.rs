//! One connection: its task, from the first byte to the last.
//!
//! [`handshake`] takes the CONNECT and gets the session, [`authenticate`] asks who the client is; then the task below waits for the
//! socket, the session's signals and the keep-alive timer, and hands each packet to
//! [`publish`], [`subscribe`] or [`acknowledge`]. All packets of one read are one
//! [`Turn`]. [`refusal`] is what becomes of a client that gets no connection. [`waiting`] says when
//! nothing is read, [`throttle`] when publishes come too fast, [`silence`] ends it when the client is
//! silent or stuck, [`time_limit`] when it is let in no longer, [`goodbye`] says so, and [`parting`]
//! looks for the client's own; [`absence`] notices who has left and is not read.

mod absence;
mod acknowledge;
mod admission;
mod authenticate;
mod captured;
mod event;
mod goodbye;
pub(crate) mod handshake;
mod parting;
mod publish;
mod reauthenticate;
pub(crate) mod refusal;
pub(crate) mod replay;
mod silence;
pub(crate) mod stream;
mod subscribe;
mod throttle;
mod time_limit;
mod unread;
mod waiting;

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use gatemq_router::Plan;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::broker::Broker;
use crate::cluster::moves::Before;
use crate::proto::mqtt::{self, Frame, Packet, Reason, Version};
use crate::receipt::Owed;
use crate::rounds::{Added, Promise, Unwritten};
use crate::session::{End, Session, Signal, Subscription};
use crate::turn::Turn;
pub(crate) use publish::is_reserved;
use reauthenticate::Authentication;
use replay::{Place, Replays};
use silence::KeepAlive;
use stream::Stream;
use throttle::Throttle;
use time_limit::TimeLimit;
use unread::Unread;
use waiting::{AtOnce, Hold, Pause};

/// Bytes read at once, into a buffer of the thread.
const READ: usize = 128 * 1024;
/// Turns of one connection before others get theirs.
const TURNS: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A connection with a session.
#[derive(Debug)]
pub(crate) struct Connection {
    broker: Arc<Broker>,
    session: Arc<Session>,
    epoch: u64,
    version: Version,
    stream: Stream,
    /// What has been read and not handled: the beginning of a packet, mostly.
    unread: Unread,
    /// Whether there may be whole packets in it.
    has_more: bool,
    /// Topics by the alias that the client gave them.
    aliases: Vec<Option<Arc<str>>>,
    /// What the last topic matched.
    plan: Option<Arc<Plan<Subscription>>>,
    /// Retained messages on their way, by filter.
    replays: Replays,
    /// Filters whose replay is through, as long as that is not noted.
    sent: Vec<Box<str>>,
    has_more_to_replay: bool,
    /// While it is sent retained messages, or waits for that.
    place: Option<Box<Place>>,
    keep_alive: Option<KeepAlive>,
    time_limit: Option<TimeLimit>,
    /// If it was by a method of its own that the client said who it is.
    authentication: Option<Box<Authentication>>,
    /// Publishes whose acknowledgement waits, or waited, for a commit.
    n_deferred: u64,
    /// Turns with packets that wait, or waited, for a commit.
    n_tickets: u64,
    /// Publishes of the turn at hand whose acknowledgement waits.
    turn_deferred: u64,
    /// Session Expiry Interval that the CONNECT asked for, in seconds.
    asked_expiry: u32,
    wants_problem_information: bool,
    /// Largest packet that the client takes, in bytes.
    maximum_packet_size: usize,
    needs_pump: bool,
    /// Why the next packet is not handled yet.
    held: Option<Hold>,
    /// What had changed of where subscribers are before its last publish was routed.
    before: Before,
    /// The last of its publishes that was routed as it was read.
    at_once: AtOnce,
    /// The duty to write the links of this thread's round.
    promise: Option<Promise>,
    /// Links that got its last messages: it goes on when they are written.
    unwritten: Option<Unwritten>,
    is_begun: bool,
    /// Whether a packet of the client was the end of it: what is behind that is not read.
    is_ended_by_packet: bool,
    /// Whether the session has been let go.
    is_detached: bool,
    is_writing: bool,
    /// Runs while the socket is full.
    patience: Option<Pin<Box<Sleep>>>,
    pause: Option<Pause>,
    /// Runs while nothing is read.
    absence: Option<Pin<Box<Sleep>>>,
    /// Where publishes may come too fast.
    throttle: Option<Box<Throttle>>,
}

impl Connection {
    /// Serves the client until the connection ends, for whatever reason.
    pub(crate) async fn run(mut self: Box<Self>) {
        let end = std::future::poll_fn(|context| self.poll(context)).await;
        Box::pin(self.say_goodbye(end)).await;
    }

    /// Does whatever can be done without waiting.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        drop(self.promise.take()); // the round is over: every link of it is written
        Unwritten::advance(&mut self.unwritten);
        let polled = self.poll_work(context);
        if (self.promise.is_some() || self.unwritten.is_some()) && polled.is_pending() {
            context.waker().wake_by_ref(); // to the end of the thread's queue
        }
        polled
    }

    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if !self.is_begun {
            self.is_begun = true;
            if let Some(link) = &mut self.session.outbound.lock().link {
                link.waker = Some(context.waker().clone());
            }
            self.is_writing = true; // what was put in before there was a waker
            if self.broker.is_draining() {
                // Accepted before the broker began to stop, and known too late to be told.
                let text = "the broker is stopping";
                return Poll::Ready(End::refused(Reason::ServerShuttingDown, text));
            }
            self.has_more = !self.unread.is_empty();
        }
        if self.session.take_signal(Signal::End) {
            let end = self.session.life.lock().end.take();
            return Poll::Ready(end.unwrap_or(End::Lost));
        }
        if let Some(end) = self.poll_time_limit(context) {
            return Poll::Ready(end);
        }
        if (self.session.take_signal(Signal::Flush) || self.is_writing)
            && let Err(end) = self.poll_flush(context)
        {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_patience(context) {
            return Poll::Ready(end);
        }
        if self.unwritten.is_some() {
            self.place = None; // it is others' turn
            return Poll::Pending;
        }
        if self.poll_pause(context).is_pending() {
            self.place = None;
            let asked = self.poll_authentication(context);
            return match asked.and_then(|()| self.poll_absence(context)) {
                Ok(()) => Poll::Pending,
                Err(end) => Poll::Ready(end),
            };
        }
        let read = self.poll_read(context);
        if let Err(end) = read.and_then(|()| self.poll_authentication(context)) {
            return Poll::Ready(end);
        }
        // After reading: what the client sent in time may have waited for this task.
        match self.poll_keep_alive(context) {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }

    /// Reads and handles what has arrived.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        for _ in 0..TURNS {
            self.drive_replays(context);
            if std::mem::take(&mut self.has_more_to_replay) {
                context.waker().wake_by_ref();
            }
            if self.must_wait(context) {
                self.excuse_silence();
                return self.poll_absence(context);
            }
            self.absence = None;
            if self.has_more {
                if self.handle_bytes(&[])? {
                    break;
                }
                continue;
            }
            let done = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                    Poll::Pending => Ok(None),
                    Poll::Ready(Err(_)) => Err(End::Lost),
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(End::Lost),
                    Poll::Ready(Ok(())) => self.handle_bytes(buffer.filled()).map(Some),
                }
            })?;
            match done {
                None => return Ok(()),
                Some(true) => break,
                Some(false) => {}
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Handles packets that are complete, as one turn: all of them, or as many as a turn takes.
    /// Returns whether they caused so much that it should be written before more is read.
    fn handle_bytes(&mut self, bytes: &[u8]) -> Result<bool, End> {
        let broker = self.broker.clone();
        let mut turn = Turn::new(&broker);
        turn.tally.bytes_in += bytes.len() as u64;
        let result = if self.unread.is_empty() {
            self.handle_packets(bytes, &mut turn)
                .map(|used| self.unread.keep(&bytes[used..]))
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.keep(bytes);
            self.handle_packets(unread.as_slice(), &mut turn)
                .map(|used| {
                    unread.advance(used);
                    self.unread = unread;
                })
        };
        self.has_more = turn.is_enough() || self.held.is_some();
        let is_heavy = turn.is_heavy();
        if turn.tally.packets_in > 0
            && let Some(keep_alive) = &mut self.keep_alive
        {
            keep_alive.heard_at = Instant::now(); // whole packets count [MQTT-3.1.2-22]
        }
        self.finish_turn(turn);
        self.is_ended_by_packet = result.is_err();
        result.map(|()| is_heavy || self.unwritten.is_some())
    }

    /// Handles one packet after the other; returns how many bytes they were.
    fn handle_packets(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, End> {
        let limits = &turn.broker.config.limits;
        let decode_limits = limits.decoding();
        let mut at = 0;
        while at < bytes.len() && !turn.is_enough() {
            let rest = &bytes[at..];
            let Frame::Complete { total, .. } =
                mqtt::frame(self.version, rest, limits.maximum_packet_size)?
            else {
                break;
            };
            if rest[0] >> 4 == 1 {
                // Whatever is in it: its flaws have reason codes that DISCONNECT does not.
                return Err(End::refused(
                    Reason::ProtocolError, // [MQTT-3.1.0-2]
                    "a second CONNECT on one connection",
                ));
            }
            self.held = self.hold(rest[0], total);
            if self.held.is_none() {
                self.held = self.hold_back(rest[0], total, turn.now);
            }
            if self.held.is_some() {
                break;
            }
            let packet = mqtt::decode(self.version, &rest[..total], &decode_limits)?;
            self.handle_packet(packet, turn)?;
            if self.held.is_some() {
                break; // it has its turn later
            }
            self.count_next();
            at += total;
            turn.tally.packets_in += 1;
        }
        Ok(at)
    }

    fn handle_packet(&mut self, packet: Packet<'_>, turn: &mut Turn<'_>) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(&publish, turn),
            Packet::PubAck(ack) => self.handle_puback(&ack, turn),
            Packet::PubRec(ack) => self.handle_pubrec(&ack, turn),
            Packet::PubRel(ack) => self.handle_pubrel(&ack, turn),
            Packet::PubComp(ack) => self.handle_pubcomp(&ack, turn),
            Packet::Subscribe(subscribe) => self.handle_subscribe(&subscribe, turn),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe, turn),
            Packet::PingReq => {
                self.capture("ping", None, |event| event);
                turn.replies.extend_from_slice(&[0xD0, 0]); // [MQTT-3.12.4-1]
                turn.tally.packets_out += 1;
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(self.handle_disconnect(&disconnect)),
            Packet::Auth(auth) => self.handle_auth(&auth),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => Err(End::refused(
                Reason::ProtocolError,
                "a packet that only a server may send",
            )),
        }
    }

    /// Whether a packet of this turn has to wait for a commit: because of what it acknowledges,
    /// or because one before it does.
    fn is_deferred(&self, turn: &Turn<'_>) -> bool {
        turn.must_wait()
            || !turn.deferred.is_empty()
            || self.n_tickets != self.session.settled.load(Ordering::Acquire)
    }

    /// Where a packet of this turn goes.
    fn reply<'a>(&self, turn: &'a mut Turn<'_>) -> &'a mut Vec<u8> {
        turn.packets(self.is_deferred(turn))
    }

    /// Whether a reason may be explained to the client: it did not say no, and the packet stays
    /// below the size that it takes `[MQTT-3.1.2-29]`, `[MQTT-3.4.2-2]`.
    fn has_room(&self, text: &str) -> bool {
        /// Bytes of such a packet without the text.
        const REST: usize = 16;
        self.wants_problem_information
            && text.len().saturating_add(REST) <= self.maximum_packet_size
    }

    /// Puts the turn's packets for this client into its outbox.
    fn hand_over_replies(&self, turn: &mut Turn<'_>) {
        if turn.replies.is_empty() {
            return;
        }
        let mut outbound = self.session.outbound.lock();
        if let Some(link) = &mut outbound.link {
            link.outbox.append_slice(&turn.replies);
            link.is_dirty = false; // it need not wait for a long list
        }
        turn.replies.clear();
        turn.mark(&self.session, &mut outbound);
    }

    fn finish_turn(&mut self, mut turn: Turn<'_>) {
        if std::mem::take(&mut self.needs_pump) {
            turn.pump(&self.session);
        }
        self.hand_over_replies(&mut turn);
        let n_released = std::mem::take(&mut self.turn_deferred);
        self.n_tickets += u64::from(!turn.deferred.is_empty());
        self.at_once.end_turn(self.n_tickets);
        let owed = (!turn.deferred.is_empty()).then(|| Owed {
            session: self.session.clone(),
            epoch: self.epoch,
            number: self.n_tickets,
            packets: std::mem::take(&mut turn.deferred),
            n_released,
            marks: std::mem::take(&mut turn.marks),
            failures: Vec::new(),
            is_void: false,
            is_taken_back: false,
            parent: None,
            waiter: None,
        });
        match turn.finish_in_round(owed) {
            Added::Done => {}
            Added::Promised(promise) => self.promise = Some(promise),
            Added::Queued(unwritten) => self.unwritten = Some(unwritten),
        }
    }

    /// Writes what waits, where this task has to do it.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        self.is_writing = false;
        let now = self.broker.clock.now();
        if !self.stream.is_shared() {
            loop {
                let mut n_written = 0;
                let written =
                    self.stream
                        .poll_write_out(context, &self.session, now, &mut n_written);
                self.broker.metrics.bytes_sent.inc_by(n_written);
                self.is_writing = written?;
                if self.is_writing || !self.session.outbound.lock().has_waiting() {
                    return Ok(());
                }
                let mut turn = Turn::new(&self.broker);
                turn.pump(&self.session); // the outbox has room again
                turn.finish(None);
                if self.session.outbound.lock().is_idle() {
                    return Ok(());
                }
            }
        }
        let socket = {
            let outbound = self.session.outbound.lock();
            outbound
                .link
                .as_ref()
                .filter(|link| link.is_blocked)
                .and_then(|l| l.socket.clone())
        };
        if let Some(socket) = socket {
            match socket.poll_writable(context) {
                Poll::Pending => {
                    self.is_writing = true;
                    return Ok(());
                }
                Poll::Ready(Err(_)) => return Err(End::Lost),
                Poll::Ready(Ok(())) => {
                    if let Some(link) = &mut self.session.outbound.lock().link {
                        link.is_blocked = false;
                    }
                }
            }
        }
        let mut turn = Turn::new(&self.broker);
        turn.tally.bytes_out += self.session.flush(now);
        turn.pump(&self.session); // the outbox has room again
        turn.finish(None);
        Ok(())
    }

    fn handle_disconnect(&self, disconnect: &mqtt::Disconnect<'_>) -> End {
        if self.asked_expiry == 0 && disconnect.session_expiry.is_some_and(|expiry| expiry > 0) {
            return End::refused(
                Reason::ProtocolError, // [MQTT-3.14.2-2]
                "DISCONNECT asks for a session that CONNECT did not ask for",
            );
        }
        let maximum = self.broker.config.limits.session_expiry;
        End::Disconnected {
            with_will: disconnect.reason != Reason::Success,
            expiry: disconnect.session_expiry.map(|expiry| expiry.min(maximum)),
        }
    }
}

impl Drop for Connection {
    /// Whatever happened: the session is free for the next connection.
    fn drop(&mut self) {
        if !self.is_detached {
            self.tell_of_end(&End::Lost);
            drop(self.broker.detach(&self.session, &End::Lost));
            self.broker.registry.count_disconnected();
        }
    }
}
