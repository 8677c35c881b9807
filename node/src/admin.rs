//! The HTTP server for operators: `/healthz`, `/readyz`, `/metrics`, and whatever else the process
//! has to show.
//!
//! It runs on a thread of its own, so a busy process still answers; and from the first moment of
//! the process, so one that is long in starting shows as alive but not ready.

use crate::address;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

mod ready;
mod serve;

use ready::Readiness;
pub use ready::{Hindrance, Waiting};

/// A bound address that answers nothing yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Who asks: an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The running server; it ends when dropped.
pub struct Admin {
    address: SocketAddr,
    ready: Arc<Readiness>,
    router: Arc<ArcSwap<Router>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

// === impl Bound ===

impl Bound {
    /// Takes the address; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = address::bind(address, TcpListener::bind)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer: alive, not ready, and nothing else yet.
    pub fn serve(self) -> io::Result<Admin> {
        let ready = Arc::new(Readiness::default());
        let routes = routes(ready.clone(), Router::new());
        let router = Arc::new(ArcSwap::from_pointee(routes));
        let stop = CancellationToken::new();
        let thread = serve::spawn(self.listener, router.clone(), stop.clone())?;
        Ok(Admin {
            address: self.address,
            ready,
            router,
            stop,
            thread: Some(thread),
        })
    }
}

// === impl Admin ===

impl Admin {
    /// The address that it answers on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows these routes, too, from now on.
    pub fn show(&self, further: Router) {
        self.router
            .store(Arc::new(routes(self.ready.clone(), further)));
    }

    /// What `/readyz` says: whether this process should be sent work.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(ready);
    }

    /// Asks this, too, whenever `/readyz` is asked: what keeps a process that has started from its
    /// work just now, if anything does. It must answer at once.
    pub fn ask(&self, hindrance: impl Fn() -> Option<Hindrance> + Send + Sync + 'static) {
        self.ready.ask(Box::new(hindrance));
    }

    /// Where whoever starts says what it waits for.
    pub fn waiting(&self) -> Waiting {
        self.ready.waiting()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It answers for itself: a panic there is in the log already.
            let _ = thread.join();
        }
    }
}

/// `/metrics`, of these metrics: a route to [`show`](Admin::show), as it is or behind a token.
pub fn metrics(metrics: Registry) -> Router {
    let metrics = Arc::new(metrics);
    Router::new().route("/metrics", get(|| async move { exposition(&metrics) }))
}

fn routes(ready: Arc<Readiness>, further: Router) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async move { ready.answer() }))
        .merge(further)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            let what = "this path does not take this method: see the header Allow";
            problem(StatusCode::METHOD_NOT_ALLOWED, what)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What is wrong with a request, as RFC 9457 has it.
fn problem(status: StatusCode, detail: &'static str) -> impl IntoResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let number = status.as_u16();
    let body = format!(
        "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{number},\"detail\":\"{detail}\"}}\n"
    );
    (status, [(CONTENT_TYPE, "application/problem+json")], body)
}

fn exposition(metrics: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, metrics) {
        Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

/// Largest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::{Duration, Instant};

    fn start() -> Admin {
        Bound::bind((Ipv4Addr::LOCALHOST, 0).into())
            .unwrap()
            .serve()
            .unwrap()
    }

    fn ask(admin: &Admin, request: &str) -> String {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn get(admin: &Admin, path: &str) -> String {
        ask(
            admin,
            &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        )
    }

    #[test]
    fn readiness_follows_and_health_stays() {
        let admin = start();
        assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200 "));
        assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 503 "));
        admin.set_ready(true);
        assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
        admin.set_ready(false);
        assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 503 "));
    }

    #[test]
    fn what_hinders_a_ready_process_is_named_as_long_as_it_does() {
        let admin = start();
        let hindrance: Arc<ArcSwap<Option<Hindrance>>> = Arc::default();
        let away = |is_ready| Hindrance {
            state: "store",
            reason: "the \"store\" is away".to_owned(),
            is_ready,
        };
        assert!(
            get(&admin, "/readyz").ends_with(
                r#"{"ready":false,"state":"starting","reason":"it has not started yet"}"#
            )
        );
        admin.waiting().tell(Some(away(false)));
        let body = r#"{"ready":false,"state":"store","reason":"the \"store\" is away"}"#;
        assert!(get(&admin, "/readyz").ends_with(body));
        let asked = hindrance.clone();
        admin.ask(move || (**asked.load()).clone());
        admin.set_ready(true);
        assert!(get(&admin, "/readyz").ends_with("\r\n\r\nready\n"));
        hindrance.store(Arc::new(Some(away(false))));
        let answer = get(&admin, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.contains("content-type: application/json"),
            "{answer}"
        );
        assert!(answer.ends_with(body), "{answer}");
        hindrance.store(Arc::new(Some(away(true))));
        let answer = get(&admin, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(r#"{"ready":true,"state":"store","#),
            "{answer}"
        );
        assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200 "));
        hindrance.store(Arc::new(None));
        assert!(get(&admin, "/readyz").ends_with("\r\n\r\nready\n"));
        admin.set_ready(false);
        assert!(get(&admin, "/readyz").contains(r#""state":"stopping""#));
    }

    #[test]
    fn metrics_and_further_routes_are_shown() {
        let admin = start();
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("things", "Things", counter.clone());
        counter.inc();
        let further = Router::new().route("/mqtt/stats", axum::routing::get(|| async { "{}" }));
        for path in ["/mqtt/stats", "/metrics"] {
            assert!(get(&admin, path).starts_with("HTTP/1.1 404 "));
        }
        admin.show(metrics(registry).merge(further));
        let answer = get(&admin, "/metrics");
        assert!(
            answer.contains("things_total 1\n") && answer.ends_with("# EOF\n"),
            "{answer}"
        );
        assert!(get(&admin, "/mqtt/stats").ends_with("{}"));
    }

    #[test]
    fn what_is_not_there_is_a_problem() {
        let admin = start();
        let nothing = get(&admin, "/nothing");
        assert!(nothing.starts_with("HTTP/1.1 404 "), "{nothing}");
        let wrong = ask(
            &admin,
            "DELETE /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        );
        assert!(wrong.starts_with("HTTP/1.1 405 "), "{wrong}");
        assert!(wrong.contains("allow: GET,HEAD"), "{wrong}");
        for (answer, status) in [(nothing, 404), (wrong, 405)] {
            let is_problem = answer.contains("content-type: application/problem+json");
            let has_status = answer.contains(&format!("\"status\":{status},"));
            assert!(is_problem && has_status, "{answer}");
        }
    }

    #[test]
    fn long_headers_are_refused() {
        let admin = start();
        let long = "x".repeat(64 * 1024);
        let answer = ask(
            &admin,
            &format!("GET / HTTP/1.1\r\nhost: a\r\na: {long}\r\n\r\n"),
        );
        assert!(
            !answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 404"),
            "{answer}"
        );
    }

    #[test]
    fn a_request_that_never_ends_is_closed() {
        let admin = start();
        let begin = Instant::now();
        ask(&admin, "GET / HTTP/1.1\r\nhost: a\r\n");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn dropping_it_frees_the_address() {
        let admin = start();
        let address = admin.address();
        drop(admin);
        Bound::bind(address).unwrap();
    }
}
