//! What `/readyz` answers: whether the process should be sent work, and what is in its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What keeps a process from its work, or from a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// Its name, which stays the same: what alerts and scripts look at.
    pub state: &'static str,
    /// What is wrong and what follows, for people.
    pub reason: String,
    /// Whether work should be sent here all the same.
    pub is_ready: bool,
}

/// Says what keeps a process from its work just now, if anything does.
type Ask = Box<dyn Fn() -> Option<Hindrance> + Send + Sync>;

/// What a start waits for: told by whoever waits, shown until the process has started. Clones are
/// the same.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<ArcSwapOption<Hindrance>>);

/// Whether the process is ready.
#[derive(Default)]
pub(super) struct Readiness {
    is_set: AtomicBool,
    /// Whether it ever was.
    was_set: AtomicBool,
    hindrance: OnceLock<Ask>,
    waiting: Waiting,
}

/// The body where something is in the way.
#[derive(Serialize)]
struct Hindered {
    ready: bool,
    state: &'static str,
    reason: String,
}

impl Waiting {
    /// The start waits for this, or with `None` goes on.
    pub fn tell(&self, hindrance: Option<Hindrance>) {
        self.0.store(hindrance.map(Arc::new));
    }
}

impl Readiness {
    pub(super) fn set(&self, is_ready: bool) {
        self.was_set.fetch_or(is_ready, Ordering::AcqRel);
        self.is_set.store(is_ready, Ordering::Release);
    }

    /// There is one who is asked; further ones are not.
    pub(super) fn ask(&self, hindrance: Ask) {
        let _ = self.hindrance.set(hindrance);
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    fn hindrance(&self) -> Option<Hindrance> {
        if self.is_set.load(Ordering::Acquire) {
            return self.hindrance.get().and_then(|hindrance| hindrance());
        }
        let is_over = self.was_set.load(Ordering::Acquire);
        let waited_for = self.waiting.0.load_full().filter(|_| !is_over);
        let not_yet = |(state, reason): (_, &str)| Hindrance {
            state,
            reason: reason.to_owned(),
            is_ready: false,
        };
        Some(match (is_over, waited_for) {
            (_, Some(hindrance)) => (*hindrance).clone(),
            (false, None) => not_yet(("starting", "it has not started yet")),
            (true, None) => not_yet(("stopping", "it takes no more clients")),
        })
    }

    pub(super) fn answer(&self) -> Response {
        let Some(hindrance) = self.hindrance() else {
            return "ready\n".into_response();
        };
        let status = match hindrance.is_ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = Hindered {
            ready: hindrance.is_ready,
            state: hindrance.state,
            reason: hindrance.reason,
        };
        (status, Json(body)).into_response()
    }
}
