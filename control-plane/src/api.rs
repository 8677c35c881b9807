//! `/api/v1`: what operators and their tools ask of a cluster, over HTTP, of any node of its control
//! plane.
//!
//! In reading order: [`endpoint`] is one row of the table that both the router and the OpenAPI
//! document are made from; [`problem`] is what is answered when something is wrong, [`extract`]
//! reads requests, [`page`] makes long lists short, [`access`] says who may ask; [`lines`] are the
//! calls to other nodes, and [`office`] what this node does for another's API. Then the resources:
//! [`members`], [`cluster`], [`settings`], [`bans`], [`traces`], [`mod@routes`], [`clients`],
//! [`publish`], [`stats`], [`rules`]; and [`openapi`] writes down all of them.
//!
//! What is read is this node's own state, as of its `applied` index; what only the leader or a
//! gateway knows is asked for there, of all at once and with a deadline, and who does not answer is
//! named. A change goes through the leader, and is answered when it is committed. Names in JSON are
//! in snake_case; times are Unix milliseconds.

mod endpoint;

mod problem;

mod extract;

mod page;

mod access;

mod lines;

pub(crate) mod office;

mod members;

mod cluster;

mod settings;

mod bans;

mod routes;

mod clients;

mod publish;

mod stats;

mod traces;

mod rules;

mod openapi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use futures_util::future::BoxFuture;
use gatemq_proto::cluster::state::{Command, Outcome, command};
use tokio::sync::Semaphore;
use tonic::Code;

use self::access::Access;
pub use self::access::token::{Scope, Token, generate};
use self::endpoint::Endpoint;
use self::lines::Lines;
use self::problem::Problem;
pub(crate) use self::settings::now;
use crate::ControlPlane;
use crate::consensus::Consensus;
use crate::replica::Node;
use crate::service::Service;

/// Where the API is.
pub const ROOT: &str = "/api/v1";

/// How the API is served.
#[derive(Clone)]
pub struct Config {
    /// One of which a caller has to show; none for nothing.
    pub tokens: Vec<Token>,
    /// Whether the address that it is served on is reached from this machine only. Elsewhere
    /// nothing is answered without a token.
    pub is_local: bool,
    /// The name of this node.
    pub name: String,
    /// What this node was started with of the settings that may change, by key, as in a file.
    pub started_with: BTreeMap<String, String>,
    /// Where the HTTP of nodes is.
    pub http_of: HttpOf,
}

/// Where the HTTP of the node of a name is, as far as is known: HOST:PORT.
pub type HttpOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Makes this node join the one whose gossip is at an address, and all that it knows; returns the
/// address that it was, or why not.
pub type Join = Arc<dyn Fn(String) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// What all requests share.
struct Api {
    name: String,
    started_with: BTreeMap<String, String>,
    http_of: HttpOf,
    consensus: Consensus,
    service: Service<Node>,
    lines: Lines,
    join: Join,
    /// For one at a time: it takes a processor for as long as it lasts.
    hashing: Semaphore,
}

/// The longest body of a request, in bytes.
const BODY: usize = 64 << 10;
/// How long a change may take: the server answers within five seconds, whatever happens.
const CHANGE: Duration = Duration::from_secs(4);

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Config");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

/// The routes of the API of a node.
pub fn routes(config: Config, control_plane: &ControlPlane, join: Join) -> Router {
    let api = Arc::new(Api {
        name: config.name.clone(),
        started_with: config.started_with,
        http_of: config.http_of,
        consensus: control_plane.consensus().clone(),
        service: control_plane.service().clone(),
        lines: Lines::new(control_plane.dialer().clone()),
        join,
        hashing: Semaphore::new(1),
    });
    let access = Arc::new(Access::new(config.tokens, config.is_local));
    let mut routes = Router::new();
    for endpoint in table() {
        routes = routes.route(endpoint.path, endpoint.router());
    }
    let check = axum::middleware::from_fn_with_state(access, access::check);
    let routes = routes
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(check.clone())
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(api);
    // What is nested has every path below its own but this one.
    let root = axum::routing::any(problem::no_route).layer(check);
    Router::new()
        .nest(ROOT, routes)
        .route(&format!("{ROOT}/"), root)
}

/// These routes, for whoever shows one of these tokens, whatever its scope: they only show something.
/// Without tokens they are for everybody.
pub fn for_viewers(tokens: Vec<Token>, routes: Router) -> Router {
    if tokens.is_empty() {
        return routes;
    }
    let access = Arc::new(Access::Tokens(tokens));
    routes.route_layer(axum::middleware::from_fn_with_state(access, access::check))
}

/// Every endpoint there is.
fn table() -> Vec<Endpoint> {
    let tables = [
        members::table(),
        cluster::table(),
        settings::table(),
        bans::table(),
        traces::table(),
        routes::table(),
        clients::table(),
        publish::table(),
        stats::table(),
        rules::table(),
        openapi::table(),
    ];
    tables.into_iter().flatten().collect()
}

impl Api {
    /// Proposes a change, and returns its index when it is committed.
    async fn propose(&self, kind: command::Kind) -> Result<u64, Problem> {
        let proposing = self.service.propose(Command { kind: Some(kind) });
        let outcome: Outcome = match tokio::time::timeout(CHANGE, proposing).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(status)) => {
                return Err(match status.code() {
                    Code::Unavailable => Problem::no_leader(status.message()),
                    Code::InvalidArgument => Problem::bad_request(status.message()),
                    _ => Problem::undecided(status.message()),
                });
            }
            Err(_) => return Err(Problem::undecided("no answer in time")),
        };
        match outcome.refused.is_empty() {
            true => Ok(outcome.index),
            false => Err(Problem::conflict(outcome.refused)),
        }
    }
}

#[cfg(test)]
mod tests;
