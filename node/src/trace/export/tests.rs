//! A collector of the test's own, and one that is not there.

use super::*;
use crate::trace::Kind;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn config(endpoint: &str) -> Config {
    Config {
        endpoint: endpoint.to_owned(),
        ratio: 1.0,
        asked_per_second: 0,
        inject: true,
        tls_ca: String::new(),
        service: "gatemq-gateway",
        node: "n1".to_owned(),
        version: "1",
    }
}

#[tokio::test]
async fn spans_get_to_the_collector_and_the_last_ones_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut requests) = mpsc::channel(16);
    let collector = TraceServiceServer::new(Collector(sender));
    let serving = tonic::transport::Server::builder()
        .add_service(collector)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    let mut metrics = Registry::default();
    let exporter = Exporter::start(&config(&format!("http://{address}")), &mut metrics).unwrap();
    let tracer = exporter.tracer();
    let span = tracer.begin("publish", Kind::Server, || None).unwrap();
    let context = span.context();
    let mut span = span
        .with("messaging.system", "mqtt")
        .with("messaging.client.id", &*"ü".repeat(32_768));
    span.fail("x".repeat(65_536));
    drop(span);
    exporter.stop(PATIENCE).await;
    let request = requests.recv().await.unwrap();
    let of_resource = &request.resource_spans[0];
    let resource = of_resource.resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    let span = &of_resource.scope_spans[0].spans[0];
    assert_eq!(
        (&*span.name, &*span.trace_id),
        ("publish", &context.trace_id[..])
    );
    assert_eq!(span.span_id, context.span_id);
    assert!(span.parent_span_id.is_empty());
    assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
    assert!(
        span.attributes
            .iter()
            .any(|pair| pair.key == "messaging.system")
    );
    // What clients choose is no longer than that.
    let id = span.attributes.iter();
    let mut id = id.filter(|pair| pair.key == "messaging.client.id");
    let id = id.next().and_then(|pair| pair.value.clone()).unwrap();
    let expected = any_value::Value::StringValue("ü".repeat(128));
    assert_eq!(id.value, Some(expected));
    assert_eq!(span.status.as_ref().unwrap().message.len(), 256);
    serving.abort();
}

#[tokio::test]
async fn where_there_is_no_collector_spans_are_dropped_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut metrics = Registry::default();
    let exporter = Exporter::start(&config(&format!("http://{address}")), &mut metrics).unwrap();
    drop(exporter.tracer().begin("publish", Kind::Server, || None));
    exporter.stop(PATIENCE).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics).unwrap();
    assert!(text.contains("tracing_spans_dropped_total 1"), "{text}");
    assert!(text.contains("tracing_spans_exported_total 0"), "{text}");
}

#[test]
fn what_is_no_collector_is_said_in_one_line() {
    for (endpoint, is_one) in [
        ("http://127.0.0.1:4317", true),
        ("http://collector:4317/", true),
        ("http://[::1]:4317", true),
        ("collector:4317", false),
        ("ftp://collector:4317", false),
        ("http://collector:4317/v1/traces", false),
        ("http://", false),
        ("http://a b", false),
    ] {
        assert_eq!(config(endpoint).check().is_ok(), is_one, "{endpoint}");
    }
    let mut config = config("https://collector:4317");
    config.tls_ca = "/nowhere/ca.pem".to_owned();
    let error = config.check().unwrap_err().to_string();
    assert!(
        error.starts_with("/nowhere/ca.pem: ") && !error.contains('\n'),
        "{error}"
    );
}
