//! What this node does for the API of another one: what only the leader may do by itself.

use gatemq_proto::cluster::desk::office_server::{self, OfficeServer};
use gatemq_proto::cluster::desk::{RemoveReply, RemoveRequest};
use tonic::{Request, Response, Status};

use crate::consensus::{ChangeError, Consensus};

/// Answers for one node.
pub(crate) struct Office(Consensus);

/// The service, for the server that other nodes call.
pub(crate) fn service(consensus: &Consensus) -> OfficeServer<Office> {
    OfficeServer::new(Office(consensus.clone()))
}

#[tonic::async_trait]
impl office_server::Office for Office {
    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveReply>, Status> {
        let request = request.into_inner();
        if request.cluster_id != *self.0.cluster_id() {
            let why = "this node is in another cluster than the caller";
            return Err(Status::failed_precondition(why));
        }
        let refused = match self.0.remove(request.number).await {
            Ok(()) => String::new(),
            Err(ChangeError::Refused(why)) => why,
            Err(error) => return Err(Status::unavailable(error.to_string())),
        };
        Ok(Response::new(RemoveReply { refused }))
    }
}
