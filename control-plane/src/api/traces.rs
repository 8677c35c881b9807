//! `/traces`: what a client, an address or a topic does, written down by every gateway for a while.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use gatemq_proto::cluster::desk::{TraceReply, TraceRequest};
use gatemq_proto::cluster::state::{Trace as Agreed, TraceKind, Untrace, command::Kind as Change};
use gatemq_proto::cluster::traces;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::about::About;
use super::access::guard::Caller;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::{Json as Body, Path, Query};
use super::lines::{Member, gateways};
use super::page::Page;
use super::problem::Problem;
use super::settings::now;
use crate::state::State;

/// A trace.
#[derive(Debug, Serialize, ToSchema)]
struct Trace {
    name: String,
    /// What it names: one of these three is there, the others are null.
    client_id: Option<String>,
    /// An address, or all of a prefix: 10.0.0.1, 10.0.0.0/8, fd00::/8.
    address: Option<String>,
    /// A topic filter.
    topic: Option<String>,
    /// Who made it, and by which node's API.
    by: String,
    /// Since when, in Unix milliseconds.
    at: u64,
    /// Until when, in Unix milliseconds.
    until: u64,
    /// Whether nothing more is written.
    is_over: bool,
}

/// A trace to be. It takes the place of one of the same name.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct WantedTrace {
    /// 1 to 64 of a to z, 0 to 9 and -.
    name: String,
    /// What it names: just one of these three.
    client_id: Option<String>,
    /// An address, or all of a prefix: 10.0.0.1, 10.0.0.0/8, fd00::/8.
    address: Option<String>,
    /// A topic filter.
    topic: Option<String>,
    /// For how long from now: 1 to 86400, a day; 600 if it is left out.
    #[schema(minimum = 1, maximum = 86400)]
    seconds: Option<u64>,
}

/// A trace that was made. A gateway writes it when it has applied this index.
#[derive(Debug, Serialize, ToSchema)]
struct Traced {
    trace: Trace,
    revision: u64,
}

/// A trace that is over, and can be read.
#[derive(Debug, Serialize, ToSchema)]
struct Stopped {
    trace: Trace,
    revision: u64,
}

/// A trace that is there no more, nor are its files.
#[derive(Debug, Serialize, ToSchema)]
struct Untraced {
    name: String,
    /// Whether there was one, as far as this node knew.
    was_there: bool,
    revision: u64,
}

/// What happened.
#[derive(Debug, Serialize, ToSchema)]
struct Happened {
    /// In the order of the gateways' clocks, the newest last. Each has `at` (Unix milliseconds), `time`
    /// (the same in UTC), `node`, `event`, `client_id`, `address`, and what there is to say of it;
    /// payloads are not in it.
    items: Vec<Value>,
    /// Gateways that did not answer. What one has that takes no part any more is on its disk alone.
    unreachable: Vec<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Lines {
    /// How many lines of each gateway, its last ones: 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// Only of this gateway.
    node: Option<String>,
}

/// How long one takes that does not say, in seconds.
const LASTS: u64 = 600;
/// Lines of each gateway where nobody says how many, and at most.
const LINES: u32 = 100;
const MOST_LINES: u32 = 1_000;

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/traces", "listTraces", "All traces of clients", list)
            .answers_page::<Trace>("In the order of their names"),
        Endpoint::post(
            "/traces",
            "trace",
            "Writes down what a client, an address or a topic does, at every gateway",
            begin,
        )
        .needs(Scope::Operator)
        .says(
            "Each gateway writes JSON lines into data-dir/traces/NAME.jsonl, at most 16 MiB: connects \
             and refusals, subscriptions, messages in and out with their lengths, those that a \
             subscriber did not get, acknowledgements, pings, ends of connections. Payloads are not \
             in it. It ends at all gateways when the control plane says so, and at each of them when it \
             has taken its time by the gateway's own clock; it can be read for a day. There are at most \
             16 traces, those that are over among them.",
        )
        .body::<WantedTrace>()
        .answers::<Traced>("It is agreed on")
        .fails(&[409, 503, 504]),
        Endpoint::get("/traces/{name}", "showTrace", "What a trace has seen", show)
            .needs(Scope::Operator)
            .query::<Lines>()
            .answers::<Happened>("The last lines of the gateways")
            .fails(&[404]),
        Endpoint::post(
            "/traces/{name}/stop",
            "stopTrace",
            "Ends a trace now, which can be read all the same",
            stop,
        )
        .needs(Scope::Operator)
        .answers::<Stopped>("It is over, or was")
        .fails(&[404, 503, 504]),
        Endpoint::delete("/traces/{name}", "untrace", "Takes a trace back, and its files", end)
            .needs(Scope::Operator)
            .answers::<Untraced>("It is not there, or not any more")
            .fails(&[503, 504]),
    ]
}

// === handlers ===

async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Page<Trace>> {
    let state = api.consensus.state();
    let traces = state.settings().traces().filter_map(shown);
    Json(Page::whole(traces.collect()))
}

async fn begin(
    Shared(api): Shared<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(about): Extension<About>,
    Body(wanted): Body<WantedTrace>,
) -> Result<Json<Traced>, Problem> {
    about.say(&format!("trace {}", wanted.name));
    let by = format!("{}, by the api of {}", caller.name(), api.name);
    let agreed = read(wanted, by, now())?;
    let trace = shown(&agreed).ok_or_else(|| Problem::bad_request("it names nothing"))?;
    let revision = api.propose(Change::Trace(agreed)).await?;
    tracing::info!(name = trace.name, trace.by, "trace begun by the API");
    Ok(Json(Traced { trace, revision }))
}

async fn show(
    Shared(api): Shared<Arc<Api>>,
    Path(name): Path<String>,
    Query(lines): Query<Lines>,
) -> Result<Json<Happened>, Problem> {
    let limit = lines.limit.unwrap_or(LINES);
    if !(1..=MOST_LINES).contains(&limit) {
        let what = format!("limit: is a number from 1 to {MOST_LINES}");
        return Err(Problem::bad_request(what));
    }
    let state = api.consensus.state();
    find(&state, &name)?;
    let mut all = gateways(&state);
    if let Some(node) = &lines.node {
        all.retain(|gateway| *node == gateway.name);
        if all.is_empty() {
            let detail = format!("node: no gateway {node:?} takes part");
            let hint = "GET /api/v1/members lists all of them";
            return Err(Problem::not_found(detail, hint));
        }
    }
    let request = TraceRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        name,
        limit,
    };
    let (answers, unreachable) = api
        .ask_gateways(all, |mut desk| {
            let request = request.clone();
            async move { desk.read_trace(request).await }
        })
        .await;
    Ok(Json(Happened {
        items: merge(&answers),
        unreachable,
    }))
}

async fn stop(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Path(name): Path<String>,
) -> Result<Json<Stopped>, Problem> {
    about.say(&format!("trace {name}"));
    let found = find(&api.consensus.state(), &name)?;
    let untrace = Untrace {
        name: name.clone(),
        until: found.until,
        stays_readable: true,
    };
    let revision = api.propose(Change::Untrace(untrace)).await?;
    tracing::info!(name, "trace stopped by the API");
    let trace = Trace {
        is_over: true,
        ..found
    };
    Ok(Json(Stopped { trace, revision }))
}

async fn end(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Path(name): Path<String>,
) -> Result<Json<Untraced>, Problem> {
    about.say(&format!("trace {name}"));
    traces::check_name(&name).map_err(|what| Problem::bad_request(format!("name: {what}")))?;
    let was_there = api.consensus.state().settings().trace(&name).is_some();
    let untrace = Untrace {
        name: name.clone(),
        ..Untrace::default()
    };
    let revision = api.propose(Change::Untrace(untrace)).await?;
    if was_there {
        tracing::info!(name, "trace taken back by the API");
    }
    Ok(Json(Untraced {
        name,
        was_there,
        revision,
    }))
}

// === pure ===

fn find(state: &State, name: &str) -> Result<Trace, Problem> {
    let found = state.settings().trace(name).and_then(shown);
    found.ok_or_else(|| {
        let detail = format!("there is no trace {name:?}");
        Problem::not_found(detail, "GET /api/v1/traces lists all traces")
    })
}

fn read(wanted: WantedTrace, by: String, now: u64) -> Result<Agreed, Problem> {
    let (kind, value) = match (wanted.client_id, wanted.address, wanted.topic) {
        (Some(client_id), None, None) => (TraceKind::ClientId, client_id),
        (None, Some(address), None) => (TraceKind::Address, address),
        (None, None, Some(topic)) => (TraceKind::Topic, topic),
        _ => {
            let what = "one of client_id, address and topic has to be there, and the others not";
            return Err(Problem::bad_request(what));
        }
    };
    let seconds = wanted.seconds.unwrap_or(LASTS);
    if !(1..=traces::LONGEST / 1_000).contains(&seconds) {
        return Err(Problem::bad_request("seconds: is 1 to 86400, a day"));
    }
    let field = field(kind);
    let value = traces::canonical(kind, &value)
        .map_err(|what| Problem::bad_request(format!("{field}: {what}")))?;
    let trace = Agreed {
        name: wanted.name,
        kind: kind.into(),
        value,
        until: now.saturating_add(seconds * 1_000),
        by,
        at: now,
        is_over: false,
    };
    traces::check(&trace)
        .map_err(|(field, what)| Problem::bad_request(format!("{field}: {what}")))?;
    Ok(trace)
}

/// `None` for one of a kind that this version does not know.
fn shown(trace: &Agreed) -> Option<Trace> {
    let kind = trace.kind();
    let of = |wanted: TraceKind| (kind == wanted).then(|| trace.value.clone());
    (kind != TraceKind::Unspecified).then(|| Trace {
        name: trace.name.clone(),
        client_id: of(TraceKind::ClientId),
        address: of(TraceKind::Address),
        topic: of(TraceKind::Topic),
        by: trace.by.clone(),
        at: trace.at,
        until: trace.until,
        is_over: trace.is_over || trace.until <= now(),
    })
}

/// Where a trace of a kind has what it names.
fn field(kind: TraceKind) -> &'static str {
    match kind {
        TraceKind::Unspecified => "kind",
        TraceKind::ClientId => "client_id",
        TraceKind::Address => "address",
        TraceKind::Topic => "topic",
    }
}

/// The lines of all gateways, by their times.
fn merge(answers: &[(Member, TraceReply)]) -> Vec<Value> {
    let lines = answers.iter().flat_map(|(gateway, reply)| {
        let read = reply.lines.iter().filter_map(|line| {
            let mut line: Map<String, Value> = serde_json::from_str(line).ok()?;
            line.insert("node".to_owned(), gateway.name.as_str().into());
            Some(Value::Object(line))
        });
        read.collect::<Vec<_>>()
    });
    let mut lines: Vec<Value> = lines.collect();
    lines.sort_by_key(|line| line["at"].as_u64().unwrap_or(u64::MAX)); // of equals the order stays
    lines
}
