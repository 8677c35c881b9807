//! A collector of traces: takes spans by OTLP over gRPC, as any other does, and keeps them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1 as otlp,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, transport::Server};

use crate::ports;

/// A collector of this test's own; it ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    n_spans: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A span as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of who sent it.
    pub service: String,
    /// `service.instance.id` of who sent it.
    pub node: String,
    /// Its name.
    pub name: String,
    /// 32 digits.
    pub trace: String,
    /// 16 digits.
    pub id: String,
    /// 16 digits, or none at all.
    pub parent: String,
    /// What else it says.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub has_failed: bool,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
}

type Spans = Arc<Mutex<Vec<Span>>>;

struct Service {
    spans: Spans,
    n_spans: Arc<AtomicU64>,
    is_counting: bool,
}

// === impl Collector ===

impl Collector {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self::begin(false)
    }

    /// Starts one that keeps no span, and only counts them.
    #[track_caller]
    pub fn counting() -> Self {
        Self::begin(true)
    }

    #[track_caller]
    fn begin(is_counting: bool) -> Self {
        let address: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let spans = Spans::default();
        let n_spans = Arc::new(AtomicU64::new(0));
        let service = TraceServiceServer::new(Service {
            spans: Arc::clone(&spans),
            n_spans: Arc::clone(&n_spans),
            is_counting,
        });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let thread = thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            let serving = Server::builder()
                .add_service(service)
                .serve_with_shutdown(address, stopped);
            runtime.block_on(serving).expect("it serves");
        });
        Self {
            address,
            spans,
            n_spans,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What nodes are configured with.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that came by now.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock();
        spans.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many that are.
    pub fn n_spans(&self) -> u64 {
        self.n_spans.load(Ordering::Relaxed)
    }

    /// Those of a trace, with this name.
    pub fn named(&self, trace: &str, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == trace && span.name == name);
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Connections that nodes still have are not waited for.
        drop(self.stop.take());
        drop(self.thread.take());
    }
}

// === impl Service ===

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let resource = texts(resource.attributes);
            let found = of_resource.scope_spans.into_iter();
            let found: Vec<_> = found.flat_map(|scope| scope.spans).collect();
            let n_found = found.len() as u64;
            self.n_spans.fetch_add(n_found, Ordering::Relaxed);
            if self.is_counting {
                continue;
            }
            let found = found.into_iter();
            spans.extend(found.map(|span| read(&resource, span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(resource: &BTreeMap<String, String>, span: otlp::Span) -> Span {
    let of = |name: &str| resource.get(name).cloned().unwrap_or_default();
    let status = span.status.unwrap_or_default();
    Span {
        service: of("service.name"),
        node: of("service.instance.id"),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: texts(span.attributes),
        has_failed: status.code == otlp::status::StatusCode::Error as i32,
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn texts(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| match pair.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
