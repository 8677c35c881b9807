//! What an operator asks of this gateway, by way of the control plane.
//!
//! [`find`] looks at sessions, [`publish`] publishes and says when that is safe, [`drain`] sends
//! all clients elsewhere. Served on the port for other nodes; whoever calls must name the cluster.

mod drain;
mod find;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::broker::Broker;
use crate::capture::Busy;
use crate::figures::Figures;
use crate::proto::cluster::desk::desk_server::{self, DeskServer};
use crate::proto::cluster::desk::{
    DisconnectReply, DisconnectRequest, DrainReply, DrainRequest, FindReply, FindRequest,
    PublishReply, PublishRequest, ShowReply, ShowRequest, StatsReply, StatsRequest, TraceReply,
    TraceRequest,
};
use crate::proto::mqtt::Reason;
use crate::session::End;

/// Answers for one gateway.
#[derive(Clone, Debug)]
pub(crate) struct Desk(Arc<Broker>);

/// The service, for the server that other nodes call.
pub(crate) fn service(broker: &Arc<Broker>) -> DeskServer<Desk> {
    DeskServer::new(Desk(broker.clone()))
}

impl Desk {
    fn check(&self, cluster_id: &[u8]) -> Result<(), Status> {
        let own = self.0.cluster.as_ref().map(|cluster| &cluster.id);
        match own.is_some_and(|own| *own == cluster_id) {
            true => Ok(()),
            false => Err(Status::failed_precondition(
                "this gateway is in another cluster than the caller",
            )),
        }
    }
}

#[tonic::async_trait]
impl desk_server::Desk for Desk {
    async fn find(&self, request: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let broker = self.0.clone();
        // Looks at every session: not on a thread that others wait for.
        let found = tokio::task::spawn_blocking(move || find::find(&broker.registry, &request));
        let found = found.await.map_err(|_| Status::internal("interrupted"))?;
        Ok(Response::new(found))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        Ok(Response::new(find::show(
            &self.0.registry,
            &request.client_id,
        )))
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Result<Response<DisconnectReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let Some(session) = find::session(&self.0.registry, &request.client_id) else {
            return Ok(Response::new(DisconnectReply::default()));
        };
        let was_connected = session.outbound.lock().link.is_some();
        let has_ended = match request.ends_session {
            true => self.0.dismiss(&session, &request.why).await,
            false => false,
        };
        if was_connected && !request.ends_session {
            session.request_end(End::refused(Reason::AdministrativeAction, request.why));
        }
        Ok(Response::new(DisconnectReply {
            is_known: true,
            was_connected,
            has_ended,
        }))
    }

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let reason = publish::publish(&self.0, &request).await?;
        Ok(Response::new(PublishReply {
            reason: u32::from(reason as u8),
        }))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let recent = || self.0.sys.recent(Duration::from_millis(request.max_age));
        let figures = match request.is_brief {
            true => Default::default(),
            false => recent().unwrap_or_else(|| Figures::of(&self.0)).numbers(),
        };
        Ok(Response::new(StatsReply {
            is_draining: self.0.is_draining(),
            n_connected: self.0.registry.n_connected() as u64,
            figures,
        }))
    }

    async fn read_trace(
        &self,
        request: Request<TraceRequest>,
    ) -> Result<Response<TraceReply>, Status> {
        let TraceRequest {
            cluster_id,
            name,
            limit,
        } = request.into_inner();
        self.check(&cluster_id)?;
        let broker = self.0.clone();
        let reading =
            tokio::task::spawn_blocking(move || broker.captures.read(&name, limit as usize));
        let lines = reading.await.map_err(|_| Status::internal("interrupted"))?;
        let lines = lines.map_err(|Busy| Status::unavailable("the disk does not answer"))?;
        Ok(Response::new(TraceReply { lines }))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let n_clients = drain::drain(&self.0, &request);
        Ok(Response::new(DrainReply { n_clients }))
    }
}

#[cfg(test)]
mod tests;
