//! A session's subscriptions in the routing table.

use std::sync::Arc;

use crate::broker::Broker;
use crate::proto::cluster::state::Route;
use crate::receipt::Leg;
use crate::session::queued::Share;
use crate::session::{Asked, Session, Subscribed, Subscription};
use crate::store::keys;
use crate::turn::Turn;
use crate::turn::deliver::is_own;

impl Broker {
    /// Puts a subscription into the routing table, in place of the one that it replaces. In a
    /// cluster, `leg` is asked for what waits until every other gateway knows of the filter, if
    /// that is not so already.
    pub(crate) fn subscribe(
        &self,
        session: &Arc<Session>,
        text: &str,
        subscribed: &Subscribed,
        leg: impl FnOnce() -> Option<Leg>,
    ) {
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
        let subscribe = || {
            let change = self
                .table
                .subscribe(share, filter, session.number, subscription);
            change.is_edge
        };
        match &self.cluster {
            None => _ = subscribe(),
            // What a broker says of itself stays with it.
            Some(_) if is_own(text) => _ = subscribe(),
            Some(cluster) => cluster.announce_more(text, subscribe, leg),
        }
    }

    /// Takes a subscription out of the routing table; `leg` as with [`Self::subscribe`].
    pub(crate) fn unsubscribe(
        &self,
        session: &Session,
        text: &str,
        leg: impl FnOnce() -> Option<Leg>,
    ) {
        let (share, filter) = split_share(text);
        let unsubscribe = || {
            // A session that has come back has the same number, and is another one.
            let is_meant = |it: &Subscription| std::ptr::eq(&*it.session, session);
            let number = session.number;
            let change = self.table.unsubscribe_if(share, filter, number, is_meant);
            change.is_edge
        };
        match &self.cluster {
            None => _ = unsubscribe(),
            Some(_) if is_own(text) => _ = unsubscribe(),
            Some(cluster) => cluster.announce_less(text, unsubscribe, leg),
        }
    }

    /// A session has a connection, or none any more: other gateways have to know of its groups.
    pub(crate) fn announce_groups(&self, session: &Session) {
        let Some(cluster) = &self.cluster else { return };
        let subscriptions = session.subscriptions.lock();
        let shared = subscriptions
            .keys()
            .filter(|text| text.starts_with("$share/"));
        shared.for_each(|text| cluster.announce_group(text));
    }

    /// What other gateways have to know of the subscribers that a filter has here; `text` is as
    /// it was subscribed to.
    pub(crate) fn local_route(&self, text: &str) -> Option<Route> {
        let (share, filter) = split_share(text);
        self.table.look(filter, |subscribers| {
            let mut route = Route {
                filter: text.to_owned(),
                ..Route::default()
            };
            let Some(share) = share else {
                return (!subscribers.direct.is_empty()).then_some(route);
            };
            let group = subscribers.groups.get(share)?;
            for member in group.members.as_slice() {
                let outbound = member.value.session.outbound.lock();
                route.n_online += u32::from(outbound.link.is_some());
                route.n_offline += u32::from(outbound.link.is_none() && outbound.is_stored());
            }
            (route.n_online + route.n_offline > 0).then_some(route)
        })?
    }
}

impl Session {
    /// A SUBSCRIBE has been confirmed: what is refused from now on takes nothing back.
    pub(crate) fn confirm(&self, text: &str, asked: Asked) {
        let mut subscriptions = self.subscriptions.lock();
        if let Some(known) = subscriptions.get_mut(text)
            && known.asked.is_some_and(|last| last.first == asked.first)
        {
            known.asked = None;
        }
    }
}

impl Turn<'_> {
    /// Takes a subscription out of its session, the table and the store; returns whether it was
    /// there.
    pub(crate) fn unsubscribe(&mut self, session: &Arc<Session>, text: &str) -> bool {
        self.unsubscribe_if(session, text, |_| true)
    }

    /// What was asked for is refused: the subscription goes, unless the client has asked for it again.
    pub(crate) fn take_back(&mut self, session: &Arc<Session>, text: &str, asked: Asked) {
        self.unsubscribe_if(session, text, |known| known.asked == Some(asked));
    }

    fn unsubscribe_if(
        &mut self,
        session: &Arc<Session>,
        text: &str,
        is_meant: impl FnOnce(&Subscribed) -> bool,
    ) -> bool {
        let broker = self.broker;
        {
            let mut subscriptions = session.subscriptions.lock();
            if !subscriptions.get(text).is_some_and(is_meant) {
                return false;
            }
            subscriptions.remove(text);
            // Out of the table, too, before the client subscribes again.
            broker.unsubscribe(session, text, || Some(self.sure_leg()));
        }
        let is_here = {
            let outbound = session.outbound.lock();
            // What is stored under its number may be that of the one that has come back.
            outbound.is_stored() && !outbound.is_moved()
        };
        if is_here {
            self.batch.delete(&keys::filter(session.number, text));
            self.must_commit = true;
        }
        true
    }
}

/// The share name and the filter of a subscription's text, which is valid.
pub(crate) fn split_share(text: &str) -> (Option<&str>, &str) {
    match text
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((share, filter)) => (Some(share), filter),
        None => (None, text),
    }
}

#[cfg(test)]
impl Subscribed {
    /// One without options.
    pub(crate) fn any(qos: crate::proto::mqtt::Qos) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            is_owed: false,
            replayed_to: None,
            id: 0,
            asked: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::Qos;
    use crate::session::Life;
    use crate::session::outbound::Outbound;

    /// It has come back meanwhile, and has asked for it again.
    #[test]
    fn what_is_taken_back_of_a_session_that_was_elsewhere_is_nothing_of_the_store() {
        let asked = Asked { first: 3, last: 3 };
        let broker = Broker::in_memory();
        for is_moved in [false, true] {
            let session = Arc::new(Session::new(7, "c", Outbound::new(true), Life::default()));
            let subscribed = Subscribed {
                asked: Some(asked),
                ..Subscribed::any(Qos::AtLeastOnce)
            };
            session.subscriptions.lock().insert("f".into(), subscribed);
            if is_moved {
                session.outbound.lock().move_away();
            }
            let mut turn = Turn::new(&broker);
            turn.take_back(&session, "f", Asked { last: 4, ..asked });
            assert!(turn.batch.is_empty(), "it was asked for since");
            turn.take_back(&session, "f", asked);
            assert_eq!(turn.batch.is_empty(), is_moved);
            assert!(session.subscriptions.lock().is_empty());
        }
    }
}
