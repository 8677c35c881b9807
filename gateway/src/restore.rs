//! What a gateway does with the store before it takes connections: sessions and subscriptions
//! come back into memory, wills of connections that the broker itself cut are put on the agenda.
//! Queues stay where they are.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::agenda::Action;
use crate::broker::Broker;
use crate::lifecycle::split_share;
use crate::session::outbound::Outbound;
use crate::session::queued::Share;
use crate::session::{Life, Session, Subscribed, Subscription};
use crate::store::{keys, record};
use crate::turn::Turn;
use crate::will::Will;

impl Broker {
    /// Brings back what an earlier run of the broker left.
    pub(crate) fn restore(self: &Arc<Self>) {
        let mut wills = self.stored_wills();
        let mut records = Vec::new();
        let (start, end) = keys::all(keys::SESSION);
        self.store.scan(&start, &end, &mut |key, value| {
            match (keys::number(key), record::SessionRecord::restore(value)) {
                (Some(number), Ok(record)) => records.push((number, record)),
                (number, Err(error)) => tracing::error!(?number, %error, "session left out"),
                (None, Ok(_)) => tracing::error!("session left out: its key is damaged"),
            }
            ControlFlow::Continue(())
        });
        let n_sessions = records.len();
        self.remove_orphans(&records);
        for (number, record) in records {
            self.restore_session(number, &record, wills.remove(&number));
        }
        for (number, will) in wills {
            self.publish_orphan(number, &will); // of a session that ended with its connection
        }
        if n_sessions > 0 {
            tracing::info!(
                sessions = n_sessions,
                retained = self.retained.len(),
                "restored"
            );
        }
    }

    /// Removes what belongs to no session: a session may have ended while the broker died.
    fn remove_orphans(self: &Arc<Self>, records: &[(u64, record::SessionRecord)]) {
        let known: HashSet<u64> = records.iter().map(|(number, _)| *number).collect();
        let mut turn = Turn::new(self);
        for kind in [keys::FILTER, keys::QUEUE, keys::RECEIVED] {
            let (mut start, end) = keys::all(kind);
            loop {
                let mut owner = None;
                self.store.scan(&start, &end, &mut |key, _| {
                    owner = keys::number(key);
                    ControlFlow::Break(())
                });
                let Some(owner) = owner else { break };
                let (from, next) = keys::of_session(kind, owner);
                if !known.contains(&owner) {
                    turn.batch.delete_range(&from, &next);
                }
                start = next;
            }
        }
        turn.finish(None);
    }

    fn stored_wills(&self) -> HashMap<u64, Arc<Will>> {
        let mut wills = HashMap::new();
        let (start, end) = keys::all(keys::WILL);
        self.store.scan(&start, &end, &mut |key, value| {
            match (keys::number(key), record::will(value)) {
                (Some(number), Ok(will)) => {
                    wills.insert(number, Arc::new(will));
                }
                (number, Err(error)) => tracing::error!(?number, %error, "will left out"),
                (None, Ok(_)) => {}
            }
            ControlFlow::Continue(())
        });
        wills
    }

    fn restore_session(
        self: &Arc<Self>,
        number: u64,
        record: &record::SessionRecord,
        will: Option<Arc<Will>>,
    ) {
        let now = self.clock.now();
        let detached_at = if record.detached_at == 0 {
            now
        } else {
            record.detached_at.min(now)
        };
        let life = Life {
            version: Some(record.version),
            expiry: record.expiry,
            detached_at,
            created_at: record.created_at,
            will: will.clone(),
            ..Life::default()
        };
        let outbound = self.restore_queue(number, record.sent_below);
        let session = Arc::new(Session::new(number, &record.client_id, outbound, life));
        self.restore_received(&session);
        self.restore_subscriptions(&session);
        self.registry
            .lock(&session.client_id)
            .insert(session.clone());
        let mut life = session.life.lock();
        if record.expiry != u32::MAX {
            let due = detached_at + u64::from(record.expiry) * 1000;
            life.expiry_timer = Some(self.agenda.enter(due, &session, Action::ExpireSession));
        }
        if let Some(will) = will {
            let delay = will.delay.min(record.expiry);
            let due = detached_at + u64::from(delay) * 1000;
            life.will_timer = Some(self.agenda.enter(due, &session, Action::PublishWill));
        }
    }

    /// Finds the bounds of a session's queue. Its messages stay where they are; they are counted
    /// only where what lies between the bounds might be too much.
    fn restore_queue(&self, number: u64, sent_below: u64) -> Outbound {
        let limits = &self.config.limits;
        let (start, end) = keys::of_session(keys::QUEUE, number);
        let window = 2 * usize::from(limits.max_inflight);
        let (mut first, mut sent, mut n_seen) = (None, 0, 0);
        self.store.scan(&start, &end, &mut |key, _| {
            let seq = keys::seq(key);
            first.get_or_insert(seq);
            n_seen += 1;
            sent = seq + 1;
            // A connection that was there at the end had at most its window on its way, and as
            // much again that it had finished and that was not deleted yet.
            let is_enough = sent_below != u64::MAX || n_seen >= window;
            if is_enough {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let last = self
            .store
            .last(&start, &end)
            .map(|(key, _)| keys::seq(&key));
        let mut n_stored = first
            .zip(last)
            .map_or(0, |(first, last)| (last - first + 1) as usize);
        let mut stored_bytes = 0;
        if n_stored > limits.max_queued_messages / 2 {
            n_stored = 0;
            self.store.scan(&start, &end, &mut |_, value| {
                n_stored += 1;
                stored_bytes += value.len();
                ControlFlow::Continue(())
            });
        }
        Outbound::restored(
            first.zip(last),
            if sent_below == u64::MAX {
                sent
            } else {
                sent_below
            },
            n_stored,
            stored_bytes,
        )
    }

    fn restore_received(&self, session: &Session) {
        let (start, end) = keys::of_session(keys::RECEIVED, session.number);
        let mut received = session.received.lock();
        self.store.scan(&start, &end, &mut |key, _| {
            if let [high, low] = keys::rest(key) {
                received.extend(std::num::NonZeroU16::new(u16::from_be_bytes([*high, *low])));
            }
            ControlFlow::Continue(())
        });
    }

    fn restore_subscriptions(&self, session: &Arc<Session>) {
        let (start, end) = keys::of_session(keys::FILTER, session.number);
        let mut found = Vec::new();
        self.store.scan(&start, &end, &mut |key, value| {
            match (
                std::str::from_utf8(keys::rest(key)),
                record::subscribed(value),
            ) {
                (Ok(filter), Ok(subscribed)) => found.push((Box::from(filter), subscribed)),
                _ => tracing::error!(client.id = &*session.client_id, "subscription left out"),
            }
            ControlFlow::Continue(())
        });
        for (text, subscribed) in found {
            self.subscribe(session, &text, &subscribed);
            session.subscriptions.lock().insert(text, subscribed);
        }
    }

    /// Puts a subscription into the routing table; returns whether it is a new one.
    pub(crate) fn subscribe(
        &self,
        session: &Arc<Session>,
        text: &str,
        subscribed: &Subscribed,
    ) -> bool {
        let (share, filter) = split_share(text);
        let subscription = Subscription {
            session: session.clone(),
            qos: subscribed.qos,
            no_local: subscribed.no_local,
            retain_as_published: subscribed.retain_as_published,
            id: subscribed.id,
            share: share.map(|group| {
                Arc::new(Share {
                    group: group.into(),
                    filter: filter.into(),
                })
            }),
        };
        self.table
            .subscribe(share, filter, session.number, subscription)
            .is_none()
    }

    fn publish_orphan(self: &Arc<Self>, number: u64, will: &Arc<Will>) {
        let outbound = Outbound::new(false);
        let session = Session::new(number, &will.client_id, outbound, Life::default());
        let mut turn = Turn::new(self);
        self.publish_will(&session, will, &mut turn);
        turn.finish(None);
    }
}
