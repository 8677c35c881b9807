//! A session's subscriptions in the routing table.

use std::sync::Arc;

use crate::broker::Broker;
use crate::session::queued::Share;
use crate::session::{Session, Subscribed, Subscription};

impl Broker {
    /// Puts a subscription into the routing table, in place of the one that it replaces.
    pub(crate) fn subscribe(&self, session: &Arc<Session>, text: &str, subscribed: &Subscribed) {
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
            .subscribe(share, filter, session.number, subscription);
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
