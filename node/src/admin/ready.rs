//! What `/readyz` answers: whether the process should be sent work, and if not, why.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Says what keeps the process from its work just now, if anything does.
type Hindrance = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Whether the process is ready.
#[derive(Default)]
pub(super) struct Readiness {
    is_set: AtomicBool,
    hindrance: OnceLock<Hindrance>,
}

/// The body where it is not.
#[derive(Serialize)]
struct NotReady {
    ready: bool,
    reason: String,
}

impl Readiness {
    pub(super) fn set(&self, is_ready: bool) {
        self.is_set.store(is_ready, Ordering::Release);
    }

    /// There is one who is asked; further ones are not.
    pub(super) fn ask(&self, hindrance: Hindrance) {
        let _ = self.hindrance.set(hindrance);
    }

    pub(super) fn answer(&self) -> Response {
        let reason = match self.is_set.load(Ordering::Acquire) {
            true => self.hindrance.get().and_then(|hindrance| hindrance()),
            false => Some("it has not started yet, or takes no more clients".to_owned()),
        };
        match reason {
            None => "ready\n".into_response(),
            Some(reason) => {
                let ready = false;
                let body = Json(NotReady { ready, reason });
                (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
            }
        }
    }
}
