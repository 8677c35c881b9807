//! What a node of a cluster tells of it over HTTP, under comqtt's paths.
//!
//! `/cluster/conf` is this node's settings of the cluster, `/cluster/ms` the nodes that gossip knows.
//! Where the node has a control plane, there is its `/api/v1`, too; [`absent`] is what is said elsewhere.
//! What is behind a token is said here.

pub(crate) mod absent;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use gatemq_control_plane::api;
use gatemq_node::config::Problem;
use gatemq_node::membership::Member;
use gatemq_node::settings::SETTINGS;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::config::Config;

#[derive(Clone)]
struct Shown {
    conf: Arc<Value>,
    members: watch::Receiver<Arc<[Member]>>,
}

/// What shows something and changes nothing: for everybody, or for who has a token, if there are any.
///
/// # Errors
///
/// A token cannot be read.
pub fn shown(config: &Config, routes: Router) -> Result<Router, Problem> {
    match config.api.open_metrics {
        true => Ok(routes),
        false => Ok(api::for_viewers(config.api.all()?, routes)),
    }
}

/// The routes of a node of a cluster.
pub fn routes(config: &Config, cluster: &Cluster) -> Router {
    let shown = Shown {
        conf: Arc::new(conf(config)),
        members: cluster.members(),
    };
    Router::new()
        .route("/cluster/conf", get(show_conf))
        .route("/cluster/ms", get(show_members))
        .with_state(shown)
}

/// `/api/v1`, if this process has a control plane.
///
/// # Errors
///
/// A token cannot be read.
pub fn api(config: &Config, cluster: &Cluster) -> Result<Option<Router>, Problem> {
    let Some(control_plane) = cluster.control_plane() else {
        return Ok(None);
    };
    let api = api::Config {
        tokens: config.api.all()?,
        is_local: config.http.0.is_some_and(|http| http.ip().is_loopback()),
        name: config.name(),
        started_with: started_with(config),
        http_of: http_of(cluster.members()),
    };
    Ok(Some(api::routes(api, control_plane, cluster.joiner())))
}

/// Where the HTTP of nodes is, as gossip tells.
fn http_of(members: watch::Receiver<Arc<[Member]>>) -> api::HttpOf {
    Arc::new(move |name| {
        let members = members.borrow();
        let member = members.iter().find(|member| member.name == name)?;
        let address = &member.meta.as_ref()?.http_address;
        (!address.is_empty()).then(|| address.clone())
    })
}

/// What of this node's settings may be changed while it runs, as it would stand in a file.
fn started_with(config: &Config) -> BTreeMap<String, String> {
    let tree = serde_yaml::to_value(config).unwrap_or_default();
    let find = |key: &str| {
        let found = key
            .split('.')
            .try_fold(&tree, |tree, name| tree.get(name))?;
        let text = serde_yaml::to_string(found).ok()?;
        Some(text.trim().to_owned())
    };
    let keys = SETTINGS.iter().map(|setting| setting.key);
    keys.filter_map(|key| Some((key.to_owned(), find(key)?)))
        .collect()
}

/// The settings, without what is secret.
fn conf(config: &Config) -> Value {
    let cluster = &config.cluster;
    json!({
        "node-name": config.node_name,
        "bind-addr": cluster.bind_ip.0.to_string(),
        "bind-port": cluster.gossip_port.get::<u16>(),
        "advertise-addr": cluster.advertise_ip,
        "members": cluster.members.0,
        "raft-port": cluster.raft_port.get::<u16>(),
        "raft-bootstrap": cluster.raft_bootstrap,
        "control-size": cluster.control_size.get::<u32>(),
        "grpc-enable": true,
        "grpc-port": cluster.grpc_port.get::<u16>(),
        "nodes-file-dir": cluster.nodes_file_dir,
        "gossip-is-encrypted": !cluster.gossip_keys.is_empty(),
    })
}

async fn show_conf(State(shown): State<Shown>) -> Json<Value> {
    Json((*shown.conf).clone())
}

async fn show_members(State(shown): State<Shown>) -> Json<Value> {
    let members = shown.members.borrow().clone();
    let members = members.iter().map(|member| {
        let meta = member.meta.as_deref();
        json!({
            "name": member.name,
            "addr": member.address.ip().to_string(),
            "port": member.address.port(),
            "is-self": member.is_self,
            "roles": meta.map(|meta| meta.roles.to_string()),
            "control": meta.map(|meta| &meta.control_address),
            "http": meta.map(|meta| &meta.http_address),
            "version": meta.map(|meta| &meta.version),
        })
    });
    Json(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_may_change_has_a_value_at_the_start() {
        let started = started_with(&Config::default());
        for setting in SETTINGS {
            let text = started.get(setting.key).expect(setting.key);
            assert!(setting.read(text).is_ok(), "{}: {text}", setting.key);
        }
    }
}
