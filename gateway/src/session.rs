//! A session: what the broker keeps for a client identifier, connected or not.
//!
//! In reading order: [`outbound`] decides what is sent when (pure), [`queued`] is a message in
//! its queue, [`frames`] encodes a message once for many receivers, [`link`] is the connection as
//! others see it, [`outbox`] the bytes that wait for it, [`acks`] the small packets, [`end`] why a
//! connection ends, [`awaiting`] what holds until one has begun, [`fresh`] what comes while retained
//! messages are read.

pub(crate) mod acks;
pub(crate) mod awaiting;
pub(crate) mod end;
pub(crate) mod frames;
pub(crate) mod fresh;
pub(crate) mod given_back;
pub(crate) mod held;
mod known;
pub(crate) mod link;
pub(crate) mod outbound;
pub(crate) mod outbox;
pub(crate) mod queued;
pub(crate) mod received;
pub(crate) mod recent;
#[cfg(test)]
mod simulation;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use awaiting::Awaiting;
pub(crate) use end::End;
use fresh::Fresh;
use held::Held;
use known::Known;
use link::Link;
use outbound::Outbound;
use queued::Share;
use received::{Print, Received};
use recent::Recent;

use crate::agenda::Timer;
use crate::auth::rules::Action;
use crate::auth::{OfMessage, Rights};
use crate::proto::mqtt::{PacketId, Qos, Reason, Version};
use crate::receipt::Standing;
use crate::registry::places::Place;
use crate::store::record::SessionRecord;
use crate::will::Will;

/// Something that the connection's own task has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Signal {
    /// The connection is to end: see `end`.
    End = 0b001,
    /// The socket was full, or only the task can write to it.
    Flush = 0b010,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Number of the session: its key in the routing table and in the store.
    pub(crate) number: u64,
    pub(crate) client_id: Box<str>,
    /// When it had come from another node, by the cluster's stamp: whatever was routed from then on
    /// has found it. 0 if it began here, [`known::ARRIVING`] until it is whole.
    pub(crate) arrived: AtomicU64,
    /// Since when every gateway knows that it is here, see [`Known`].
    known: Known,
    /// The epoch of its last claim in Redis; 0 elsewhere.
    pub(crate) claim_epoch: AtomicU64,
    /// What it has had lately, where it may go to another gateway.
    pub(crate) recent: Mutex<Recent>,
    /// The sending half and the connection.
    pub(crate) outbound: Mutex<Outbound>,
    /// QoS 2 publishes that were received and not yet released `[MQTT-4.3.3-10]`.
    pub(crate) received: Mutex<Received>,
    /// Whether refusals are in there that its client may not have heard of.
    has_refused: AtomicBool,
    pub(crate) subscriptions: Mutex<HashMap<Box<str>, Subscribed>>,
    pub(crate) life: Mutex<Life>,
    /// Its place among its user's sessions, while it is in the registry.
    pub(crate) place: Mutex<Option<Place>>,
    /// What its client may do; `None` for everything.
    pub(crate) rights: ArcSwapOption<Rights>,
    /// What it has published that the next publish must not overtake.
    pub(crate) held: Held,
    /// What reaches it live while it reads retained messages: what it reads is older.
    pub(crate) fresh: Mutex<Fresh>,
    /// Publishes of this connection whose delayed acknowledgement has gone out.
    pub(crate) released: AtomicU64,
    /// Turns of this connection whose delayed packets have gone out.
    pub(crate) settled: AtomicU64,
    signals: AtomicU8,
    /// Told when the connection has let go of the session.
    pub(crate) detached: Notify,
}

/// A subscription as its session knows it.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Whether retained messages are still to be sent: a client that comes back gets them.
    pub(crate) is_owed: bool,
    /// Up to which topic it has had them then, if any.
    pub(crate) replayed_to: Option<Box<Topic>>,
    /// Subscription Identifier; 0 for none.
    pub(crate) id: u32,
    /// Until a SUBSCRIBE of the filter has been confirmed. In memory only.
    pub(crate) asked: Option<Asked>,
}

/// Which SUBSCRIBE it was that nobody has confirmed yet: if it is refused, its subscription is taken
/// back, unless the client has asked for it once more since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The number of the one with which the session got the filter.
    pub(crate) first: u64,
    /// That of the last one since.
    pub(crate) last: u64,
}

/// The name of a topic, behind a thin pointer where hardly anybody has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic(pub(crate) Box<str>);

/// A subscription as the routing table knows it.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: u32,
    /// The group, of a shared subscription.
    pub(crate) share: Option<Arc<Share>>,
}

#[cfg(test)]
impl Subscription {
    /// One without options, of no group.
    pub(crate) fn any(session: Arc<Session>, qos: Qos) -> Self {
        Self {
            session,
            qos,
            no_local: false,
            retain_as_published: false,
            id: 0,
            share: None,
        }
    }
}

/// What changes with each connection, and when the session ends.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Whether a connection has the session, or is about to; or, for a moment, the broker.
    pub(crate) is_claimed: bool,
    /// Counts the connections.
    pub(crate) epoch: u64,
    pub(crate) version: Option<Version>,
    /// Who made the session, see [`crate::auth::Rights::principal`]; empty for nobody in particular.
    pub(crate) principal: Box<str>,
    /// Session Expiry Interval, in seconds.
    pub(crate) expiry: u32,
    /// When the connection ended, in Unix milliseconds; 0 while connected.
    pub(crate) detached_at: u64,
    /// When the session was made, in Unix milliseconds.
    pub(crate) created_at: u64,
    /// Of the last connection here: when it began, in Unix milliseconds (0 for none), where it
    /// came from, and its keep alive in seconds.
    pub(crate) attached_at: u64,
    pub(crate) address: Option<std::net::IpAddr>,
    /// The user name that it gave, whether anybody has looked at it or not.
    pub(crate) username: Option<Box<str>>,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Arc<Will>>,
    /// What holds again if the connection that has the session is never let in; `None` once it is.
    pub(crate) awaiting: Option<Awaiting>,
    /// Why the connection was asked to end.
    pub(crate) end: Option<End>,
    /// Whether the session is over, and only its connection has not noticed.
    pub(crate) is_over: bool,
    /// Whether its end has been seen to.
    pub(crate) is_ended: bool,
    /// Timers in the agenda: session expiry, and the will's delay.
    pub(crate) expiry_timer: Option<Timer>,
    pub(crate) will_timer: Option<Timer>,
}

impl Life {
    /// Of a stored session that nobody is connected to any more: a connection that it had has ended
    /// by now.
    pub(crate) fn stored(record: &SessionRecord, will: Option<Arc<Will>>, now: u64) -> Self {
        let detached_at = match record.detached_at {
            0 => now,
            detached_at => detached_at.min(now),
        };
        Self {
            version: Some(record.version),
            expiry: record.expiry,
            detached_at,
            created_at: record.created_at,
            principal: record.principal.as_str().into(),
            will,
            ..Self::default()
        }
    }

    /// Whether there is a session to be resumed, or to be somebody's.
    pub(crate) fn is_there(&self, now: u64) -> bool {
        !self.is_over && !self.has_expired(now)
    }

    /// Whether the session is for a client that is known as this principal; `None` where nobody
    /// looks at who a client is. One that is nobody's in particular is for whoever comes.
    pub(crate) fn is_for(&self, principal: Option<&str>) -> bool {
        self.principal.is_empty() || principal.is_none_or(|principal| *self.principal == *principal)
    }

    /// Whether the time of a session without a connection is up, in Unix milliseconds.
    pub(crate) fn has_expired(&self, now: u64) -> bool {
        self.detached_at != 0
            && self.expiry != u32::MAX
            && self.detached_at + u64::from(self.expiry) * 1000 <= now
    }
}

impl Session {
    pub(crate) fn new(number: u64, client_id: &str, outbound: Outbound, life: Life) -> Self {
        Self {
            number,
            client_id: client_id.into(),
            arrived: AtomicU64::new(0),
            known: Known::default(),
            claim_epoch: AtomicU64::new(0),
            recent: Mutex::default(),
            outbound: Mutex::new(outbound),
            received: Mutex::default(),
            has_refused: AtomicBool::new(false),
            subscriptions: Mutex::default(),
            life: Mutex::new(life),
            place: Mutex::new(None),
            rights: ArcSwapOption::empty(),
            held: Held::default(),
            fresh: Mutex::default(),
            released: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            signals: AtomicU8::new(0),
            detached: Notify::new(),
        }
    }

    /// Whether its client may publish to a topic, or get what a filter (without `$share/<group>/`)
    /// matches.
    pub(crate) fn may(&self, action: Action, filter: &str) -> bool {
        let rights = self.rights.load();
        rights
            .as_ref()
            .is_none_or(|rights| rights.allow(action, filter))
    }

    /// As whom its client is known: see [`crate::turn::author::Author::username`].
    pub(crate) fn username(&self) -> Option<Box<str>> {
        match &*self.rights.load() {
            Some(rights) => rights.username().map(Into::into),
            None => self.life.lock().username.clone(),
        }
    }

    /// Whether its client may publish to a topic, asked for each message.
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        let rights = self.rights.load();
        rights
            .as_ref()
            .is_none_or(|rights| rights.may_publish(topic))
    }

    /// Whether its client may have a message of a topic, asked for each that it is to get.
    pub(crate) fn may_have(&self, topic: &str, message: &mut OfMessage) -> bool {
        let rights = self.rights.load();
        rights
            .as_ref()
            .is_none_or(|rights| rights.may_have(topic, message))
    }

    /// A publish of its client was refused: see [`Received::refuse`].
    pub(crate) fn refuse(&self, packet_id: PacketId, print: Print, reason: Reason) {
        let mut received = self.received.lock();
        received.refuse(packet_id, print, reason);
        self.has_refused.store(true, Ordering::Release);
    }

    /// Why a publish that comes was refused before: see [`Received::refused`].
    pub(crate) fn refused(
        &self,
        packet_id: PacketId,
        print: Print,
        is_dup: bool,
    ) -> Option<Reason> {
        if !self.has_refused.load(Ordering::Acquire) {
            return None;
        }
        let mut received = self.received.lock();
        let (refused, are_left) = received.refused(packet_id, print, is_dup);
        self.has_refused.store(are_left, Ordering::Release);
        refused
    }

    /// Notes messages of QoS 1 that the session had elsewhere.
    pub(crate) fn note_recent(&self, messages: Vec<u64>) {
        let mut recent = self.recent.lock();
        for message in messages {
            recent.note(message, Qos::AtLeastOnce);
        }
    }

    /// Nothing is read any more that what comes live could be newer than.
    pub(crate) fn unwatch_fresh(&self) {
        *self.fresh.lock() = Fresh::default();
    }

    /// A retained publish of it is with its subscribers: its connection, if that waits, goes on.
    pub(crate) fn unhold(&self, late: bool) {
        self.held.remove(late);
        let mut outbound = self.outbound.lock();
        let link = outbound.link.as_mut();
        let waker = link.and_then(|link| link.resume());
        drop(outbound);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Where a turn of the connection of this epoch stands among those that are not acknowledged.
    pub(crate) fn standing_of(&self, epoch: u64, number: u64) -> Standing {
        let outbound = self.outbound.lock();
        let is_here = outbound.link.as_ref().is_some_and(|it| it.epoch == epoch);
        match self.settled.load(Ordering::Acquire) + 1 < number {
            _ if !is_here => Standing::Unknown,
            true => Standing::Behind,
            false => Standing::First,
        }
    }

    /// Asks the connection to end. The first reason counts.
    pub(crate) fn request_end(&self, end: End) {
        {
            let mut life = self.life.lock();
            life.end.get_or_insert(end);
            // Under the lock: of a connection that begins just then this is for the one before it, or
            // for the one that begins, but not its reason for the one and its signal for the other.
            self.set(Signal::End);
        }
        self.wake();
    }

    /// The same of the connection of this epoch only: a later one is not to end for it.
    pub(crate) fn request_end_of(&self, epoch: u64, end: End) {
        {
            let mut life = self.life.lock();
            if life.epoch != epoch {
                return;
            }
            life.end.get_or_insert(end);
            self.set(Signal::End); // under the lock, as above
        }
        self.wake();
    }

    /// Sets a signal and wakes the connection's task.
    pub(crate) fn signal(&self, signal: Signal) {
        self.set(signal);
        self.wake();
    }

    fn set(&self, signal: Signal) {
        self.signals.fetch_or(signal as u8, Ordering::Release);
    }

    fn wake(&self) {
        let waker = self
            .outbound
            .lock()
            .link
            .as_ref()
            .and_then(|link| link.waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes a signal back; returns whether it was set.
    pub(crate) fn take_signal(&self, signal: Signal) -> bool {
        self.signals.load(Ordering::Acquire) & signal as u8 != 0
            && self.signals.fetch_and(!(signal as u8), Ordering::AcqRel) & signal as u8 != 0
    }

    /// Forgets what an earlier connection left. `life` is this session's.
    pub(crate) fn begin_connection(&self, life: &mut Life) {
        life.end = None;
        self.signals.store(0, Ordering::Release);
        self.released.store(0, Ordering::Release);
        self.settled.store(0, Ordering::Release);
    }

    /// Writes what waits for the socket, as far as it takes it: see [`link`]. Returns how many
    /// bytes it took.
    pub(crate) fn flush(&self, now: u64) -> u64 {
        let mut outbound = self.outbound.lock();
        let Some(link) = &mut outbound.link else {
            return 0;
        };
        link.is_dirty = false;
        if link.is_writing || link.is_blocked || link.is_closing || link.outbox.is_empty() {
            return 0;
        }
        let Some(socket) = link.socket.clone() else {
            drop(outbound);
            self.signal(Signal::Flush);
            return 0;
        };
        let mut n_written = 0;
        let epoch = link.epoch;
        link.is_writing = true;
        loop {
            let mut outbox = std::mem::take(&mut link_of(&mut outbound, epoch).outbox);
            drop(outbound);
            let n_before = outbox.len();
            let written = socket.write(&mut outbox);
            n_written += (n_before - outbox.len()) as u64;
            let has_moved = outbox.len() < n_before;
            outbound = self.outbound.lock();
            let Some(link) = outbound.link.as_mut().filter(|link| link.epoch == epoch) else {
                outbox.recycle();
                return n_written; // the connection ended meanwhile
            };
            match written {
                Ok(true) => {
                    link.moved_at = now;
                    outbox.recycle();
                    if link.outbox.is_empty() || link.is_closing {
                        link.is_writing = false;
                        let is_awaited = std::mem::take(&mut link.is_awaited);
                        if outbound.has_waiting() || is_awaited {
                            break; // the task fills the outbox again
                        }
                        return n_written;
                    }
                }
                Ok(false) => {
                    link.outbox.put_back(outbox);
                    link.is_writing = false;
                    if has_moved || !std::mem::replace(&mut link.is_blocked, true) {
                        link.moved_at = now;
                    }
                    link.is_blocked = true;
                    break;
                }
                Err(_) => {
                    link.outbox.put_back(outbox);
                    link.is_writing = false;
                    drop(outbound);
                    self.request_end_of(epoch, End::Lost);
                    return n_written;
                }
            }
        }
        drop(outbound);
        self.signal(Signal::Flush);
        n_written
    }
}

/// The link that a flush holds; nobody takes it out while `is_writing`.
fn link_of(outbound: &mut Outbound, epoch: u64) -> &mut Link {
    outbound
        .link
        .as_mut()
        .filter(|link| link.epoch == epoch)
        .expect("it was there when the lock was taken")
}
