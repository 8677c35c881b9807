//! `/api/v1` of a process without a control plane: there is nothing, and the answer says where it is, or
//! what there is instead.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use gatemq_control_plane::api::ROOT;
use gatemq_node::membership::{Member, Roles};
use serde_json::json;
use tokio::sync::watch;

/// What gossip tells of a cluster; `None` where there is no cluster.
pub(crate) type Members = Option<watch::Receiver<Arc<[Member]>>>;

/// The most nodes that an answer names.
const NAMED: usize = 7;

/// The routes, all of which answer that there is nothing.
pub(crate) fn routes(members: Members) -> Router {
    let answer = any(move |uri: Uri| {
        let what_to_do = match &members {
            None => ALONE.to_owned(),
            Some(members) => elsewhere(&of_control(&members.borrow())),
        };
        async move { not_found(uri.path(), &what_to_do) }
    });
    let paths = [
        ROOT.to_owned(),
        format!("{ROOT}/"),
        format!("{ROOT}/{{*path}}"),
    ];
    paths.iter().fold(Router::new(), |routes, path| {
        routes.route(path, answer.clone())
    })
}

const ALONE: &str = "nothing is asked of a broker by itself here: it has GET /metrics (gateway_bans \
                     counts bans) and GET /mqtt/stats, and whom it keeps out is in the file that \
                     bans.file names (SIGHUP reads it again); a cluster of one node has the API";

/// Where nodes of the control plane have their HTTP, as far as is known.
fn of_control(members: &[Member]) -> Vec<String> {
    let metas = members.iter().filter_map(|member| member.meta.as_deref());
    let control = metas.filter(|meta| meta.roles.contains(Roles::CONTROL));
    let addresses = control.map(|meta| meta.http_address.clone());
    let addresses = addresses.filter(|address| !address.is_empty());
    addresses.take(NAMED).collect()
}

fn elsewhere(addresses: &[String]) -> String {
    match addresses {
        [] => {
            "ask a node of the control plane: none is known here, GET /cluster/ms lists those that \
               are"
            .to_owned()
        }
        known => {
            let known = known
                .iter()
                .map(|address| format!("http://{address}{ROOT}"));
            let known: Vec<String> = known.collect();
            format!("ask a node of the control plane: {}", known.join(", "))
        }
    }
}

fn not_found(path: &str, what_to_do: &str) -> Response {
    let body = json!({
        "type": "urn:gatemq:problem:not-found",
        "title": "There is no such thing",
        "status": 404,
        "detail": format!("there is nothing at {path}: this process has no control plane"),
        "what_to_do": what_to_do,
    });
    let header = [(CONTENT_TYPE, "application/problem+json")];
    (StatusCode::NOT_FOUND, header, format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_api_is_is_said_as_far_as_it_is_known() {
        let known = ["a:8080", "b:8080"].map(str::to_owned);
        let said = elsewhere(&known);
        assert!(
            said.contains("http://a:8080/api/v1, http://b:8080/api/v1"),
            "{said}"
        );
        assert!(elsewhere(&[]).contains("/cluster/ms"));
    }
}
