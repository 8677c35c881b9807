//! `/routes`: which nodes have subscribers of which filters, and whom a topic reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use gatemq_proto::topic::{self, Bounds, Filter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::endpoint::Endpoint;
use super::extract::Query;
use super::page::{self, Page};
use super::problem::Problem;
use crate::state::{Counts, State};

/// A filter that somebody has subscribed to, and where.
#[derive(Debug, Serialize, ToSchema)]
struct Route {
    /// As it was subscribed to; of a shared one with `$share/<group>/` in front.
    filter: String,
    /// The group, of a shared one.
    group: Option<String>,
    nodes: Vec<Reached>,
}

/// A node with subscribers.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Reached {
    name: String,
    incarnation: u64,
    /// Whether it is gone, and its sessions are being dealt out.
    is_fenced: bool,
    /// Members of the group there with a connection, and without; null for no group.
    n_online: Option<u32>,
    n_offline: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Listing {
    /// Only this filter.
    filter: Option<String>,
    /// Only filters that begin with this.
    prefix: Option<String>,
    /// How many filters, 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Question {
    /// The topic of a message.
    topic: String,
}

/// Whom a topic reaches.
#[derive(Debug, Serialize, ToSchema)]
struct Explanation {
    topic: String,
    /// Filters that match, in their order: at most 1000.
    filters: Vec<Route>,
    n_filters: usize,
    /// Nodes that get the message for subscribers outside of groups.
    nodes: Vec<String>,
    /// Groups of which one member gets it.
    groups: Vec<ReachedGroup>,
    /// Whether no filter matches.
    is_nobody: bool,
}

/// A group that a topic reaches, by one of its filters.
#[derive(Debug, Serialize, ToSchema)]
struct ReachedGroup {
    group: String,
    filter: String,
    /// The nodes with members, one of which gets the message.
    nodes: Vec<String>,
}

/// The most filters of an explanation.
const FILTERS: usize = 1000;
/// No topic is longer, on any listener.
const TOPICS: Bounds = Bounds {
    levels: 32_768,
    length: 65_535,
};

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/routes",
            "listRoutes",
            "Filters, and who has subscribers",
            list,
        )
        .query::<Listing>()
        .answers_page::<Route>("In the order of the filters' bytes"),
        Endpoint::get(
            "/routes/explain",
            "explainTopic",
            "Which filters, nodes and groups a topic reaches",
            explain,
        )
        .query::<Question>()
        .answers::<Explanation>("Whom it reaches"),
    ]
}

// === handlers ===

async fn list(
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Route>>, Problem> {
    let limit = page::limit(listing.limit)? as usize;
    let after = page::read_cursor(listing.cursor.as_deref())?;
    if listing.filter.is_some() && listing.prefix.is_some() {
        return Err(Problem::bad_request("filter and prefix exclude each other"));
    }
    let state = api.consensus.state();
    if let Some(filter) = &listing.filter {
        let nodes: Vec<_> = state.routes_of(filter).collect();
        let route = (!nodes.is_empty()).then(|| route(&state, filter, &nodes));
        return Ok(Json(Page::whole(route.into_iter().collect())));
    }
    let prefix = listing.prefix.as_deref().unwrap_or_default();
    Ok(Json(read_page(&state, prefix, &after, limit)))
}

async fn explain(
    Shared(api): Shared<Arc<Api>>,
    Query(question): Query<Question>,
) -> Result<Json<Explanation>, Problem> {
    topic::validate_name(&question.topic, TOPICS)
        .map_err(|error| Problem::bad_request(format!("topic: {error}")))?;
    let state = api.consensus.state();
    // Groups and wildcards may be many.
    let explained = tokio::task::spawn_blocking(move || explained(&state, question.topic)).await;
    let explained = explained.map_err(|_| Problem::unavailable("this node stops"))?;
    Ok(Json(explained))
}

// === pure ===

/// One page of filters behind `after` that begin with `prefix`.
fn read_page(state: &State, prefix: &str, after: &str, limit: usize) -> Page<Route> {
    let routes = state.routes_from(prefix.max(after));
    let mut routes = routes
        .take_while(|(filter, ..)| filter.starts_with(prefix))
        .skip_while(|(filter, ..)| !after.is_empty() && *filter <= after)
        .peekable();
    let mut items = Vec::new();
    while items.len() < limit
        && let Some((filter, incarnation, counts)) = routes.next()
    {
        let mut nodes = vec![(incarnation, counts)];
        while let Some((_, incarnation, counts)) = routes.next_if(|(it, ..)| *it == filter) {
            nodes.push((incarnation, counts));
        }
        items.push(route(state, filter, &nodes));
    }
    let last = items.last().filter(|_| routes.peek().is_some());
    let next = last.map(|last| page::write_cursor(&last.filter));
    Page { items, next }
}

fn explained(state: &State, topic: String) -> Explanation {
    let matching = matching(state, &topic);
    let mut explanation = Explanation {
        topic,
        filters: Vec::new(),
        n_filters: matching.len(),
        nodes: Vec::new(),
        groups: Vec::new(),
        is_nobody: matching.is_empty(),
    };
    let mut nodes = BTreeSet::new();
    for (filter, reached) in matching {
        let route = route(state, filter, &reached);
        let names: BTreeSet<String> = route.nodes.iter().map(|node| node.name.clone()).collect();
        match &route.group {
            Some(group) => explanation.groups.push(ReachedGroup {
                group: group.clone(),
                filter: route.filter.clone(),
                nodes: names.into_iter().collect(),
            }),
            None => nodes.extend(names),
        }
        if explanation.filters.len() < FILTERS {
            explanation.filters.push(route);
        }
    }
    explanation.nodes = nodes.into_iter().collect();
    explanation
}

/// The filters that match, with the nodes of each. Only those are looked at that begin in a way
/// that can match: with the topic's first level, a wildcard, or a group.
fn matching<'a>(state: &'a State, topic: &str) -> BTreeMap<&'a str, Vec<(u64, Counts)>> {
    let first = topic::levels(topic).next().unwrap_or_default();
    let mut found: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    let beginnings = [&*format!("{first}/"), "+", "#", "$share/"];
    for beginning in beginnings {
        let routes = state.routes_from(beginning);
        for (filter, incarnation, counts) in
            routes.take_while(|(filter, ..)| filter.starts_with(beginning))
        {
            if topic::matches(split(filter).1, topic) {
                found.entry(filter).or_default().push((incarnation, counts));
            }
        }
    }
    let exact = state.routes_from(topic);
    for (filter, incarnation, counts) in exact.take_while(|(filter, ..)| *filter == topic) {
        let nodes = found.entry(filter).or_default();
        if nodes.iter().all(|(known, _)| *known != incarnation) {
            nodes.push((incarnation, counts));
        }
    }
    found
}

fn route(state: &State, filter: &str, nodes: &[(u64, Counts)]) -> Route {
    let group = split(filter).0;
    let nodes = nodes.iter().filter_map(|(incarnation, counts)| {
        let member = state.member(*incarnation)?;
        Some(Reached {
            name: member.name().to_owned(),
            incarnation: *incarnation,
            is_fenced: member.is_fenced(),
            n_online: group.map(|_| counts.n_online),
            n_offline: group.map(|_| counts.n_offline),
        })
    });
    Route {
        filter: filter.to_owned(),
        group: group.map(str::to_owned),
        nodes: nodes.collect(),
    }
}

/// The group, if it is one's, and the filter that topics are matched with.
fn split(text: &str) -> (Option<&str>, &str) {
    match Filter::parse(text, TOPICS) {
        Ok(filter) => (filter.share, filter.filter),
        Err(_) => (None, text), // gateways tell only of what was subscribed to
    }
}
