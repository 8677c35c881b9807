//! What the control plane asks a bridge: which rules are there, and whether one could be.

use std::sync::Arc;

use gatemq_proto::cluster::bridge::bridge_server::{self, BridgeServer};
use gatemq_proto::cluster::bridge::{CheckReply, CheckRequest, Rule, RulesReply, RulesRequest};
use tonic::{Request, Response, Status};

use super::{Shared, Standing};
use crate::rules::Rules;

/// Answers for one bridge.
#[derive(Clone)]
pub(super) struct Inquiry {
    shared: Arc<Shared>,
    rules: Arc<Rules>,
}

/// The service, for the server that other nodes call.
pub(super) fn service(shared: Arc<Shared>, rules: Arc<Rules>) -> BridgeServer<Inquiry> {
    BridgeServer::new(Inquiry { shared, rules })
}

// === impl Inquiry ===

impl Inquiry {
    fn check_cluster(&self, cluster_id: &[u8]) -> Result<(), Status> {
        let own = self.shared.cluster_id.get();
        match own.is_some_and(|own| *own == cluster_id) {
            true => Ok(()),
            false => Err(Status::failed_precondition(
                "this bridge is in another cluster than the caller",
            )),
        }
    }
}

#[tonic::async_trait]
impl bridge_server::Bridge for Inquiry {
    async fn rules(&self, request: Request<RulesRequest>) -> Result<Response<RulesReply>, Status> {
        self.check_cluster(&request.into_inner().cluster_id)?;
        let problem = match &*self.shared.standing.borrow() {
            Standing::Announced => String::new(),
            Standing::Joining => "it joins".to_owned(),
            Standing::Refused(why) | Standing::Unfit(why) => why.clone(),
        };
        let listed = self.rules.list().into_iter();
        let rules = listed.filter_map(|listed| {
            Some(Rule {
                rule: serde_json::to_string(&listed.rule).ok()?,
                name: listed.rule.name,
                is_set: listed.is_set,
            })
        });
        Ok(Response::new(RulesReply {
            revision: self.shared.in_force(),
            problem,
            rules: rules.collect(),
        }))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        let rules = Arc::clone(&self.rules);
        // Files that settings name are read.
        let checked = tokio::task::spawn_blocking(move || {
            rules.check(&request.name, request.rule.as_deref())
        });
        let checked = checked.await.map_err(|_| Status::internal("interrupted"))?;
        Ok(Response::new(match checked {
            Ok(()) => CheckReply::default(),
            Err(problem) => CheckReply {
                key: problem.key,
                what: problem.what,
            },
        }))
    }
}
