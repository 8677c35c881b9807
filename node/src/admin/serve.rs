//! The thread that answers, with bounds on everything that a caller could hold open.

use super::Peer;
use arc_swap::ArcSwap;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Starts the thread; it ends, with all its connections, when `stop` is cancelled.
pub(super) fn spawn(
    listener: TcpListener,
    router: Arc<ArcSwap<Router>>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(guard);
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            runtime
                .block_on(stop.run_until_cancelled(accept(listener, router)))
                .unwrap_or(())
        })
}

async fn accept(listener: tokio::net::TcpListener, router: Arc<ArcSwap<Router>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(answer(stream, Peer(peer), router.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "the HTTP listener cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(
    stream: TcpStream,
    peer: Peer,
    router: Arc<ArcSwap<Router>>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let router = TowerToHyperService::new(Router::clone(&router.load()));
        async move {
            match tokio::time::timeout(TIMEOUT, router.call(request)).await {
                Ok(response) => response,
                Err(_) => Ok(StatusCode::REQUEST_TIMEOUT.into_response()),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // However it is kept alive, or its answer not taken: its place is somebody else's in time.
    match tokio::time::timeout(LIFETIME, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
    }
}

/// Connections at once; the next ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 128;
/// Bytes of a request's headers.
const MAX_HEADERS: usize = 16 * 1024;
/// Time for a request's headers (or an idle connection's next request), and for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a connection is closed, whatever it does.
const LIFETIME: Duration = Duration::from_secs(60);
/// Time between attempts to accept while the process has no free file.
const PAUSE: Duration = Duration::from_millis(100);
