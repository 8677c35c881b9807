//! What a gateway does with the store before it takes connections: sessions and subscriptions
//! come back into memory, wills of connections that the broker itself cut are put on the agenda.
//! Queues stay where they are.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::agenda::Action;
use crate::broker::Broker;
use crate::lifecycle::split_share;
use crate::session::outbound::{Outbound, Share};
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
        for (number, record) in records {
            let at = wills.iter().position(|(owner, _)| *owner == number);
            let will = at.map(|at| wills.swap_remove(at).1);
            self.restore_session(number, &record, will);
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

    fn stored_wills(&self) -> Vec<(u64, Arc<Will>)> {
        let mut wills = Vec::new();
        let (start, end) = keys::all(keys::WILL);
        self.store.scan(&start, &end, &mut |key, value| {
            match (keys::number(key), record::will(value)) {
                (Some(number), Ok(will)) => wills.push((number, Arc::new(will))),
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
        let (start, end) = keys::of_session(keys::QUEUE, number);
        let mut first = None;
        self.store.scan(&start, &end, &mut |key, _| {
            first = Some(keys::seq(key));
            ControlFlow::Break(())
        });
        let last = self
            .store
            .last(&start, &end)
            .map(|(key, _)| keys::seq(&key));
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
        let outbound = Outbound::restored(first.zip(last), record.sent_below);
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
        let life = Life {
            will: Some(will.clone()),
            ..Life::default()
        };
        let session = Arc::new(Session::new(
            number,
            &will.client_id,
            Outbound::new(false),
            life,
        ));
        let mut turn = Turn::new(self);
        self.publish_delayed_will(&session, &mut turn);
        turn.finish(None);
    }
}
