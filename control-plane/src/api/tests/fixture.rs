//! A cluster to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request, StatusCode};
use gatemq_node::Shutdown;
use gatemq_proto::cluster::desk::desk_server::{self, DeskServer};
use gatemq_proto::cluster::desk::{
    Client, DisconnectReply, DisconnectRequest, DrainReply, DrainRequest, FindReply, FindRequest,
    PublishReply, PublishRequest, ShowReply, ShowRequest, StatsReply, StatsRequest, Subscription,
    TraceReply, TraceRequest,
};
use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{Command, Register, Role, Route, Routes};
use gatemq_storage::Memory;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request as Call, Response, Status};
use tower::ServiceExt;

use crate::api::{self, Config, Join, Token};
use crate::control_plane::{self, ControlPlane, Door};

/// A node of the control plane, and its API.
pub(super) struct Cluster {
    pub(super) control: ControlPlane,
    pub(super) router: Router,
    shutdown: Shutdown,
    _known: watch::Sender<Vec<String>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// A gateway that has what a test gives it.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) clients: Vec<Client>,
    /// Whether it knows nothing of the ends of sessions.
    pub(super) is_old: bool,
    pub(super) reason: u32,
    pub(super) published: Mutex<Vec<PublishRequest>>,
    pub(super) drained: Mutex<Vec<DrainRequest>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::start_with(Vec::new(), true).await
    }

    pub(super) async fn start_with(tokens: Vec<Token>, is_local: bool) -> Self {
        let door = Door::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = door.address().to_string();
        let mut config = control_plane::Config::new("c1", &address);
        config.consensus.bootstrap = true;
        config.consensus.control_size = 1;
        config.consensus.heartbeat = Duration::from_millis(50);
        config.consensus.election = Duration::from_millis(150)..Duration::from_millis(300);
        let (known, others) = watch::channel(Vec::new());
        let shutdown = Shutdown::new();
        let engine = Arc::new(Memory::new());
        let control = ControlPlane::start(config, door, engine, others, &shutdown).await;
        let control = control.expect("it starts");
        let mut leadership = control.consensus().leadership();
        let leads = leadership.wait_for(|now| now.is_self);
        drop(leads.await.expect("it leads"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while control.consensus().state().cluster_id().is_none() {
            assert!(Instant::now() < deadline, "the cluster is not founded");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let join: Join = Arc::new(|address: String| {
            Box::pin(async move {
                match address.as_str() {
                    "127.0.0.1:7946" => Ok(address),
                    _ => Err("nobody is there".to_owned()),
                }
            })
        });
        let config = Config {
            tokens,
            is_local,
            name: "c1".to_owned(),
            http_of: Arc::new(|name| (name == "c1").then(|| "127.0.0.1:9".to_owned())),
            started_with: [("limits.max-queued-messages".to_owned(), "1000".to_owned())].into(),
        };
        Self {
            router: api::routes(config, &control, join),
            control,
            shutdown,
            _known: known,
        }
    }

    /// Registers a gateway, and returns its incarnation.
    pub(super) async fn register(&self, name: &str, address: &str) -> u64 {
        self.propose(Kind::Register(Register {
            name: name.into(),
            role: Role::Gateway.into(),
            peer_address: address.into(),
            http_address: "127.0.0.1:8080".into(),
            version: "test".into(),
            token: 1,
            store: String::new(),
        }))
        .await
    }

    /// A gateway that nobody answers for.
    pub(super) async fn register_gone(&self, name: &str) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        self.register(name, &address).await
    }

    /// A gateway with a desk.
    pub(super) async fn serve(&self, name: &str, desk: Desk) -> (u64, Arc<Desk>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let desk = Arc::new(desk);
        let server = tonic::transport::Server::builder()
            .add_service(DeskServer::from_arc(desk.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let stop = self.shutdown.token();
        tokio::spawn(async move { stop.run_until_cancelled(server).await });
        (self.register(name, &address).await, desk)
    }

    pub(super) async fn route(&self, incarnation: u64, filters: &[&str]) {
        let route = |filter: &&str| Route {
            filter: (*filter).into(),
            n_online: u32::from(filter.starts_with("$share")),
            n_offline: 0,
        };
        self.propose(Kind::Routes(Routes {
            incarnation,
            number: 1,
            set: filters.iter().map(route).collect(),
            ..Routes::default()
        }))
        .await;
    }

    pub(super) async fn propose(&self, kind: Kind) -> u64 {
        let command = Command { kind: Some(kind) };
        let outcome = self.control.service().propose(command).await;
        let outcome = outcome.expect("the only node leads");
        assert_eq!(outcome.refused, "");
        outcome.index
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.body
    }

    /// The `field` of each item.
    pub(super) async fn list(&self, path: &str, field: &str) -> Vec<String> {
        fields(&self.get(path).await["items"], field)
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().header(HOST, "127.0.0.1");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let uri = format!("/api/v1{path}");
        let request = request.method(method).uri(uri).body(body);
        self.send(request.expect("a request")).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await;
        let response = response.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }
}

/// The `field` of each of a list.
pub(super) fn fields(list: &Value, field: &str) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    let texts = list.map(|item| match &item[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    texts.collect()
}

pub(super) fn client(client_id: &str, is_connected: bool) -> Client {
    Client {
        client_id: client_id.into(),
        is_connected,
        version: 5,
        ..Client::default()
    }
}

impl Desk {
    fn known(&self, client_id: &str) -> Option<&Client> {
        self.clients.iter().find(|it| it.client_id == client_id)
    }
}

#[tonic::async_trait]
impl desk_server::Desk for Desk {
    async fn find(&self, request: Call<FindRequest>) -> Result<Response<FindReply>, Status> {
        let request = request.into_inner();
        assert_eq!(request.cluster_id.len(), 16);
        let mut clients = self.clients.clone();
        clients.retain(|it| it.client_id > request.after && it.client_id.contains(&request.search));
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        let has_more = clients.len() > request.limit as usize;
        clients.truncate(request.limit as usize);
        Ok(Response::new(FindReply { clients, has_more }))
    }

    async fn show(&self, request: Call<ShowRequest>) -> Result<Response<ShowReply>, Status> {
        let client = self.known(&request.into_inner().client_id).cloned();
        Ok(Response::new(ShowReply {
            client,
            keep_alive: 30,
            subscriptions: vec![Subscription {
                filter: "a/#".into(),
                ..Subscription::default()
            }],
            ..ShowReply::default()
        }))
    }

    async fn disconnect(
        &self,
        request: Call<DisconnectRequest>,
    ) -> Result<Response<DisconnectReply>, Status> {
        let request = request.into_inner();
        let known = self.known(&request.client_id);
        Ok(Response::new(DisconnectReply {
            is_known: known.is_some(),
            was_connected: known.is_some_and(|client| client.is_connected),
            has_ended: known.is_some() && request.ends_session && !self.is_old,
        }))
    }

    async fn publish(
        &self,
        request: Call<PublishRequest>,
    ) -> Result<Response<PublishReply>, Status> {
        self.published.lock().push(request.into_inner());
        Ok(Response::new(PublishReply {
            reason: self.reason,
        }))
    }

    async fn stats(&self, request: Call<StatsRequest>) -> Result<Response<StatsReply>, Status> {
        let connected = self.clients.iter().filter(|client| client.is_connected);
        let n_connected = connected.count() as u64;
        let figures = [
            ("clients_total", self.clients.len() as u64),
            ("filters", 7),
            ("uptime", 5),
        ];
        let figures = match request.into_inner().is_brief {
            true => Default::default(),
            false => figures.map(|(name, it)| (name.to_owned(), it)).into(),
        };
        Ok(Response::new(StatsReply {
            is_draining: !self.drained.lock().is_empty(),
            n_connected,
            figures,
        }))
    }

    async fn read_trace(&self, _: Call<TraceRequest>) -> Result<Response<TraceReply>, Status> {
        let line = r#"{"at":7,"event":"connect","client_id":"dev-1"}"#;
        Ok(Response::new(TraceReply {
            lines: vec![line.to_owned()],
        }))
    }

    async fn drain(&self, request: Call<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        self.drained.lock().push(request.into_inner());
        Ok(Response::new(DrainReply { n_clients: 3 }))
    }
}
