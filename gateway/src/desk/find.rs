//! Clients by their identifiers, in order, and all about one of them.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::proto::cluster::desk::{Client, FindReply, FindRequest, ShowReply, Subscription};
use crate::registry::Registry;
use crate::session::Session;

/// The most clients of a page, whatever is asked for.
const PAGE: usize = 1000;
/// The most subscriptions that are shown of one client.
const SUBSCRIPTIONS: usize = 1000;

/// The first clients behind `after` whose identifiers have `search` in them.
pub(super) fn find(registry: &Registry, request: &FindRequest) -> FindReply {
    let wanted = request.search.to_lowercase();
    let limit = (request.limit as usize).clamp(1, PAGE);
    // The first of them by name, the last one on top; one more than is asked for, to know
    // whether there are more.
    let mut first: BinaryHeap<ByName> = BinaryHeap::with_capacity(limit + 2);
    for session in registry.all() {
        let client_id = &*session.client_id;
        let is_behind = request.after.is_empty() || client_id > request.after.as_str();
        let is_early = first.len() <= limit || first.peek().is_some_and(|it| client_id < it.name());
        if is_behind && is_early && has(client_id, &wanted) {
            first.push(ByName(session));
            if first.len() > limit + 1 {
                first.pop();
            }
        }
    }
    let mut found = first.into_sorted_vec();
    let has_more = found.len() > limit;
    found.truncate(limit);
    FindReply {
        clients: found.iter().map(|one| client(&one.0)).collect(),
        has_more,
    }
}

/// All about one client.
pub(super) fn show(registry: &Registry, client_id: &str) -> ShowReply {
    let Some(session) = session(registry, client_id) else {
        return ShowReply::default();
    };
    let mut subscriptions: Vec<_> = {
        let subscriptions = session.subscriptions.lock();
        let shown = subscriptions.iter().map(|(filter, it)| Subscription {
            filter: filter.to_string(),
            qos: it.qos as u32,
            no_local: it.no_local,
            retain_as_published: it.retain_as_published,
            id: it.id,
        });
        shown.collect()
    };
    subscriptions.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
    subscriptions.truncate(SUBSCRIPTIONS);
    let client = client(&session);
    let life = session.life.lock();
    let will_topic = life.will.as_ref().map(|will| will.message.as_ref().topic);
    ShowReply {
        client: Some(client),
        keep_alive: u32::from(life.keep_alive),
        session_expiry: life.expiry,
        created_at: life.created_at,
        will_topic: will_topic.unwrap_or_default().to_owned(),
        subscriptions,
    }
}

/// The session of a client identifier.
pub(super) fn session(registry: &Registry, client_id: &str) -> Option<Arc<Session>> {
    registry.lock(client_id).find(client_id).cloned()
}

fn client(session: &Session) -> Client {
    let (is_connected, n_queued, n_inflight) = {
        let outbound = session.outbound.lock();
        let is_connected = outbound.link.is_some();
        (is_connected, outbound.n_queued(), outbound.n_inflight())
    };
    let n_subscriptions = session.subscriptions.lock().len();
    let life = session.life.lock();
    let address = life.address.filter(|_| is_connected);
    Client {
        client_id: session.client_id.to_string(),
        is_connected,
        address: address.map_or_else(String::new, |address| address.to_string()),
        version: life.version.map_or(0, |version| version as u32),
        since: match is_connected {
            true => life.attached_at,
            false => life.detached_at,
        },
        n_subscriptions: u32::try_from(n_subscriptions).unwrap_or(u32::MAX),
        n_queued: n_queued as u64,
        n_inflight: n_inflight as u64,
    }
}

/// Whether an identifier has a text in it that is in lower case.
fn has(client_id: &str, wanted: &str) -> bool {
    wanted.is_empty() || client_id.to_lowercase().contains(wanted)
}

/// A session, in the order of client identifiers.
struct ByName(Arc<Session>);

impl ByName {
    fn name(&self) -> &str {
        &self.0.client_id
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}
