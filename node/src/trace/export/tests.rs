//! A collector of the test's own, and one that is not there.

use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::trace::Kind;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
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

/// A collector, and what it takes.
async fn collector() -> (SocketAddr, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel(16);
    let collector = TraceServiceServer::new(Collector(sender));
    let serving = tonic::transport::Server::builder()
        .add_service(collector)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, requests)
}

/// What a name counts.
fn count(metrics: &Registry, name: &str) -> Option<u64> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, metrics).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.parse().ok()
}

#[tokio::test]
async fn spans_get_to_the_collector_and_the_last_ones_at_the_end() {
    let (address, mut requests) = collector().await;
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
}

/// Takes TLS away in front of an address, as who has this certificate.
async fn behind_tls(made: &CertifiedKey<KeyPair>, address: SocketAddr) -> u16 {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue; // one who does not trust it
            };
            let mut plain = TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn over_tls_spans_go_to_a_collector_that_an_authority_vouches_for_and_to_no_other() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (ours, other, elsewhere) = (made("localhost"), made("localhost"), made("elsewhere"));
    let folder = tempfile::tempdir().unwrap();
    for (shown, trusted, n_exported) in [
        (&ours, &ours, 1),
        (&ours, &other, 0),
        (&elsewhere, &elsewhere, 0),
    ] {
        let (address, _requests) = collector().await;
        let port = behind_tls(shown, address).await;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, trusted.cert.pem()).unwrap();
        let mut config = config(&format!("https://localhost:{port}"));
        config.tls_ca = file.to_str().unwrap().to_owned();
        let mut metrics = Registry::default();
        let exporter = Exporter::start(&config, &mut metrics).unwrap();
        drop(exporter.tracer().begin("publish", Kind::Server, || None));
        exporter.stop(PATIENCE).await;
        let exported = count(&metrics, "tracing_spans_exported_total");
        assert_eq!(exported, Some(n_exported));
        let dropped = count(&metrics, "tracing_spans_dropped_total");
        assert_eq!(dropped, Some(1 - n_exported));
    }
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
    assert_eq!(count(&metrics, "tracing_spans_dropped_total"), Some(1));
    assert_eq!(count(&metrics, "tracing_spans_exported_total"), Some(0));
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
