//! Brings spans that ended to a collector, many at once. While it does not take them they are counted
//! and forgotten: nothing waits for it.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::budget::Budget;
use super::sampler::Sampler;
use super::span::Data;
use super::tracer::Tracer;

mod otlp;
mod tls;

/// Where spans go, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `http://HOST:PORT`, or `https://…`.
    pub endpoint: String,
    /// The part of messages that is sampled where their publisher does not say.
    pub ratio: f64,
    /// How many messages a second are traced because their publisher says so.
    pub asked_per_second: u32,
    /// Whether messages are told of their span.
    pub inject: bool,
    /// Authorities of the collector's certificate, PEM; empty: those of the system.
    pub tls_ca: String,
    /// `gatemq-gateway` and so on.
    pub service: &'static str,
    /// The node's name; may be empty.
    pub node: String,
    /// The version of the program.
    pub version: &'static str,
}

/// Why spans cannot be sent anywhere.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// That is no address of a collector.
    #[error("is no address of a collector: write http://HOST:4317 or https://HOST:4317")]
    Endpoint,
    /// The authorities cannot be read.
    #[error("{0}")]
    Tls(String),
}

/// A task that sends what ended.
#[derive(Debug)]
pub struct Exporter {
    tracer: Tracer,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// The way to the collector, and how it went.
struct Way {
    client: TraceServiceClient<Channel>,
    exported: Counter,
    dropped: Counter,
    is_down: bool,
}

// === impl Config ===

impl Config {
    /// Whether the endpoint is one.
    ///
    /// # Errors
    ///
    /// It is not, or its authorities cannot be read.
    pub fn check(&self) -> Result<(), StartError> {
        let endpoint = self.to_endpoint()?;
        match is_secure(&endpoint) {
            true => tls::client(&self.tls_ca).map(drop),
            false => Ok(()),
        }
    }

    fn to_endpoint(&self) -> Result<Endpoint, StartError> {
        let endpoint = Endpoint::from_shared(self.endpoint.clone());
        let endpoint = endpoint.map_err(|_| StartError::Endpoint)?;
        let uri = endpoint.uri();
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_place = uri.host().is_some_and(|host| !host.is_empty());
        if !(is_http && has_place && uri.path() == "/") {
            return Err(StartError::Endpoint);
        }
        let endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
        Ok(endpoint.http2_keep_alive_interval(KEEP_ALIVE))
    }

    fn channel(&self) -> Result<Channel, StartError> {
        let endpoint = self.to_endpoint()?;
        match is_secure(&endpoint) {
            true => tls::channel(&endpoint, &self.tls_ca),
            false => Ok(endpoint.connect_lazy()),
        }
    }
}

fn is_secure(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some("https")
}

// === impl Exporter ===

impl Exporter {
    /// Begins; that the collector is not there is no error.
    ///
    /// # Errors
    ///
    /// As [`Config::check`].
    pub fn start(config: &Config, metrics: &mut Registry) -> Result<Self, StartError> {
        let (exported, dropped) = (Counter::default(), Counter::default());
        let metrics = metrics.sub_registry_with_prefix("tracing");
        let help = "Spans that the collector of traces has taken";
        metrics.register("spans_exported", help, exported.clone());
        let help = "Spans that the collector of traces did not get: it was away, or too slow";
        metrics.register("spans_dropped", help, dropped.clone());
        let (queue, ended) = mpsc::channel(QUEUE);
        let sampling = (
            Sampler::new(config.ratio),
            Budget::new(config.asked_per_second),
        );
        let stop = CancellationToken::new();
        let tracer = Tracer::new(
            sampling,
            config.inject,
            &config.node,
            queue,
            dropped.clone(),
        );
        let way = Way {
            client: TraceServiceClient::new(config.channel()?),
            exported,
            dropped,
            is_down: false,
        };
        let resource = otlp::resource(config);
        let running = run(ended, way, resource, stop.clone());
        Ok(Self {
            tracer,
            task: tokio::spawn(running),
            stop,
        })
    }

    /// Where spans begin.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what has ended by now, as far as there is time.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        let _ = timeout(grace.min(PATIENCE), self.task).await;
    }
}

async fn run(
    mut ended: mpsc::Receiver<Data>,
    mut way: Way,
    resource: otlp::Resource,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                ended.close();
                continue;
            }
            n_taken = ended.recv_many(&mut batch, BATCH) => {
                if n_taken == 0 {
                    return; // nobody makes spans any more
                }
            }
        }
        let until = Instant::now() + LINGER;
        while !is_stopping && batch.len() < BATCH {
            let room = BATCH - batch.len();
            let more = timeout_at(until, ended.recv_many(&mut batch, room));
            tokio::select! {
                taken = more => if !matches!(taken, Ok(1..)) { break },
                () = stop.cancelled() => break,
            }
        }
        way.send(otlp::request(&resource, std::mem::take(&mut batch)))
            .await;
    }
}

impl Way {
    async fn send(&mut self, (n_spans, request): (u64, ExportTraceServiceRequest)) {
        let answer = timeout(PATIENCE, self.client.export(request)).await;
        let failure = match answer {
            Ok(Ok(answer)) => {
                let partial = answer.into_inner().partial_success.unwrap_or_default();
                let n_rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
                self.dropped.inc_by(n_rejected);
                self.exported.inc_by(n_spans.saturating_sub(n_rejected));
                None
            }
            Ok(Err(status)) => Some(status.message().to_owned()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let is_down = failure.is_some();
        if let Some(error) = failure {
            self.dropped.inc_by(n_spans);
            if !self.is_down {
                tracing::warn!(
                    error,
                    "the collector of traces takes no spans: they are dropped"
                );
            }
        } else if self.is_down {
            tracing::info!("the collector of traces takes spans again");
        }
        self.is_down = is_down;
    }
}

/// Spans that wait.
const QUEUE: usize = 8_192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
