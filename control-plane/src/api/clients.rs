//! `/clients`: the clients of all gateways.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use gatemq_proto::cluster::desk::{
    self, DisconnectReply, DisconnectRequest, FindReply, FindRequest, ShowReply, ShowRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::about::About;
use super::access::guard::Caller;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::{Path, Query};
use super::lines::{Member, gateways};
use super::page;
use super::problem::Problem;

/// A client: a session, connected or not.
#[derive(Debug, Serialize, ToSchema)]
struct Client {
    client_id: String,
    /// The gateway that has the session.
    node: String,
    is_connected: bool,
    /// Where it connected from; null if it is not connected, or that is not known.
    address: Option<String>,
    /// 3, 4 (3.1.1) or 5; null if it has not connected since the gateway has it.
    protocol_version: Option<u32>,
    /// Since when it is connected, or is not, in Unix milliseconds.
    since: u64,
    n_subscriptions: u32,
    /// Messages that wait for it or are on their way.
    n_queued: u64,
    /// QoS 1 and 2 messages on their way.
    n_inflight: u64,
}

/// A client, with everything about it.
#[derive(Debug, Serialize, ToSchema)]
struct Details {
    #[serde(flatten)]
    client: Client,
    /// Seconds; 0 for none.
    keep_alive: u32,
    /// Seconds that the session outlives its connection; 4294967295 for ever.
    session_expiry: u32,
    /// Unix milliseconds.
    created_at: u64,
    /// Null if it has left no will.
    will_topic: Option<String>,
    /// In the order of their filters, at most 1000.
    subscriptions: Vec<Subscription>,
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
struct Subscription {
    filter: String,
    qos: u32,
    no_local: bool,
    retain_as_published: bool,
    /// Subscription Identifier; null for none.
    id: Option<u32>,
}

/// A page of clients.
#[derive(Debug, Serialize, ToSchema)]
struct Clients {
    items: Vec<Client>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
    /// Gateways that did not answer: their clients are missing.
    unreachable: Vec<String>,
}

/// A client that was disconnected, or of which the session has ended.
#[derive(Debug, Serialize, ToSchema)]
struct Disconnected {
    client_id: String,
    /// The gateway that had it.
    node: String,
    was_connected: bool,
    /// Whether its session is no more.
    session_ended: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Ending {
    /// Whether its session ends, too, with all that waits for it; then it need not be connected.
    session: Option<bool>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Listing {
    /// Only client identifiers with this in them, in whichever case.
    search: Option<String>,
    /// How many, 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/clients", "listClients", "Clients of all gateways", list)
            .query::<Listing>()
            .answers::<Clients>("In the order of their identifiers"),
        Endpoint::get("/clients/{id}", "showClient", "All about a client", show)
            .answers::<Details>("The client")
            .fails(&[404, 503]),
        Endpoint::delete(
            "/clients/{id}",
            "disconnectClient",
            "Ends a client's connection (0x98), and its session if that is wanted",
            disconnect,
        )
        .needs(Scope::Operator)
        .says(
            "A session is for the user who made it, as long as it is there: nobody else gets its \
             client id. With session=true, for the scope admin, that is free afterwards, whoever had it. A will that was \
             left is published as at the end of any session.",
        )
        .query::<Ending>()
        .answers::<Disconnected>("It is told, and disconnected")
        .fails(&[404, 409, 503]),
    ]
}

// === handlers ===

async fn list(
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Clients>, Problem> {
    let limit = page::limit(listing.limit)?;
    let request = FindRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        search: listing.search.unwrap_or_default(),
        after: page::read_cursor(listing.cursor.as_deref())?,
        limit,
    };
    let all = gateways(&api.consensus.state());
    let (answers, unreachable) = api
        .ask_gateways(all, |mut desk| {
            let request = request.clone();
            async move { desk.find(request).await }
        })
        .await;
    let (items, next) = merge(answers, limit as usize);
    Ok(Json(Clients {
        items,
        next,
        unreachable,
    }))
}

async fn show(
    Shared(api): Shared<Arc<Api>>,
    Path(client_id): Path<String>,
) -> Result<Json<Details>, Problem> {
    let request = ShowRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        client_id: client_id.clone(),
    };
    let all = gateways(&api.consensus.state());
    let (answers, unreachable) = api
        .ask_gateways(all, |mut desk| {
            let request = request.clone();
            async move { desk.show(request).await }
        })
        .await;
    // A session that has just moved may still be known where it was: it is where its client is.
    let known = answers.into_iter().filter_map(|(gateway, mut reply)| {
        let client = reply.client.take()?;
        Some((gateway, client, reply))
    });
    let found = known.max_by_key(|(_, client, _)| (client.is_connected, client.since));
    let (gateway, client, reply) = found.ok_or_else(|| nobody(&client_id, &unreachable))?;
    Ok(Json(details(&gateway, client, reply)))
}

async fn disconnect(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    Query(ending): Query<Ending>,
) -> Result<Json<Disconnected>, Problem> {
    about.say(&format!("client_id {client_id}"));
    if ending.session == Some(true) {
        caller.must_have(Scope::Admin)?; // what was acknowledged for it goes, too
    }
    let request = DisconnectRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        client_id: client_id.clone(),
        why: "an operator ended the connection".to_owned(),
        ends_session: ending.session == Some(true),
    };
    let all = gateways(&api.consensus.state());
    let (answers, unreachable) = api
        .ask_gateways(all, |mut desk| {
            let request = request.clone();
            async move { desk.disconnect(request).await }
        })
        .await;
    let is_known = answers.iter().any(|(_, reply)| reply.is_known);
    let is_done = |reply: &DisconnectReply| match request.ends_session {
        true => reply.has_ended,
        false => reply.was_connected,
    };
    let mut told = answers.into_iter().filter(|(_, reply)| is_done(reply));
    match told.next() {
        Some((gateway, reply)) => {
            tracing::info!(
                client.id = client_id,
                node = gateway.name,
                session_ended = reply.has_ended,
                "disconnected by the API"
            );
            Ok(Json(Disconnected {
                client_id,
                node: gateway.name,
                was_connected: reply.was_connected,
                session_ended: reply.has_ended,
            }))
        }
        None if is_known && request.ends_session => Err(Problem::conflict(format!(
            "the gateway that has the session of {client_id:?} has not ended it"
        ))),
        None if is_known => Err(Problem::conflict(format!("{client_id:?} is not connected"))),
        None => Err(nobody(&client_id, &unreachable)),
    }
}

// === pure ===

/// The first clients of the pages of all gateways, and where the next page begins.
fn merge(answers: Vec<(Member, FindReply)>, limit: usize) -> (Vec<Client>, Option<String>) {
    let mut has_more = false;
    let mut items = Vec::new();
    for (gateway, reply) in answers {
        has_more |= reply.has_more;
        let clients = reply.clients.into_iter();
        items.extend(clients.map(|found| client(&gateway, found)));
    }
    items.sort_by(|a: &Client, b| (&a.client_id, &a.node).cmp(&(&b.client_id, &b.node)));
    let mut n_items = items.len().min(limit);
    // One that two gateways know must not be cut in two: the next page begins behind it.
    while n_items > 0
        && n_items < items.len()
        && items[n_items].client_id == items[n_items - 1].client_id
    {
        n_items += 1;
    }
    has_more |= n_items < items.len();
    items.truncate(n_items);
    let last = items.last().filter(|_| has_more);
    let next = last.map(|last| page::write_cursor(&last.client_id));
    (items, next)
}

fn nobody(client_id: &str, unreachable: &[String]) -> Problem {
    match unreachable {
        [] => Problem::not_found(
            format!("no gateway knows a client {client_id:?}"),
            "GET /api/v1/clients?search=… looks for one",
        ),
        unreachable => Problem::unavailable(format!(
            "those that answered do not know a client {client_id:?}, and {} did not answer",
            unreachable.join(", ")
        )),
    }
}

fn client(gateway: &Member, found: desk::Client) -> Client {
    Client {
        client_id: found.client_id,
        node: gateway.name.clone(),
        is_connected: found.is_connected,
        address: Some(found.address).filter(|address| !address.is_empty()),
        protocol_version: Some(found.version).filter(|version| *version > 0),
        since: found.since,
        n_subscriptions: found.n_subscriptions,
        n_queued: found.n_queued,
        n_inflight: found.n_inflight,
    }
}

fn details(gateway: &Member, found: desk::Client, reply: ShowReply) -> Details {
    let subscriptions = reply.subscriptions.into_iter().map(|it| Subscription {
        filter: it.filter,
        qos: it.qos,
        no_local: it.no_local,
        retain_as_published: it.retain_as_published,
        id: Some(it.id).filter(|id| *id > 0),
    });
    Details {
        client: client(gateway, found),
        keep_alive: reply.keep_alive,
        session_expiry: reply.session_expiry,
        created_at: reply.created_at,
        will_topic: Some(reply.will_topic).filter(|topic| !topic.is_empty()),
        subscriptions: subscriptions.collect(),
    }
}
