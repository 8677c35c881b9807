//! Who calls, and whether it may: in front of all gRPC services of a node.
//!
//! Which roles may call which method is a table that is handed in; a method that is not in it may
//! be called by nobody. Where connections are plain nobody shows who it is, and all may call all.

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::identity::{Identity, Role};

/// Who has made a connection; among the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Identity>>);

/// The names of the roles that may call a method, by its path, such as `/package.Service/Method`.
pub type Callers = fn(&str) -> &'static [&'static str];

/// Lets a call pass, or refuses it with `PERMISSION_DENIED`.
#[derive(Clone, Debug)]
pub struct Guard {
    callers: Callers,
    told: Arc<Mutex<BTreeSet<String>>>,
}

/// A service behind a guard.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    service: S,
    guard: Guard,
}

/// How many refusals are told of, each once: whoever is refused may try again and again.
const TOLD: usize = 256;

// === impl Caller ===

impl Caller {
    pub(super) fn known(identity: Identity) -> Self {
        Self(Some(Arc::new(identity)))
    }

    pub(super) fn unknown() -> Self {
        Self(None)
    }

    /// Who made a call; `None` where connections are plain.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Arc<Identity>> {
        request.extensions().get::<Self>()?.0.clone()
    }

    fn may_call(&self, path: &str, callers: Callers) -> Result<(), String> {
        let Some(identity) = &self.0 else {
            return Ok(());
        };
        let roles = callers(path).iter().filter_map(|name| Role::named(name));
        match roles.into_iter().any(|role| identity.roles.has(role)) {
            true => Ok(()),
            false => Err(format!("{identity} may not call {path}")),
        }
    }
}

// === impl Guard ===

impl Guard {
    /// One that knows this table.
    pub fn new(callers: Callers) -> Self {
        Self {
            callers,
            told: Arc::default(),
        }
    }

    fn judge(&self, caller: Option<&Caller>, path: &str) -> Result<(), Status> {
        let judged = match caller {
            Some(caller) => caller.may_call(path, self.callers),
            None => Err("nobody knows who calls".to_owned()),
        };
        judged.map_err(|why| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < TOLD && told.insert(why.clone()) {
                tracing::warn!(why, "a call of another node is refused");
            }
            Status::permission_denied(why)
        })
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, service: S) -> Guarded<S> {
        Guarded {
            service,
            guard: self.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.extensions().get::<Caller>();
        match self.guard.judge(caller, request.uri().path()) {
            Ok(()) => Either::Left(self.service.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(path: &str) -> &'static [&'static str] {
        match path {
            "/x.Raft/Vote" => &["control"],
            "/x.Peer/Forward" => &["gateway", "bridge"],
            _ => &[],
        }
    }

    async fn call(caller: Option<Caller>, path: &str) -> tonic::Code {
        let service = tower::service_fn(|_: Request<()>| {
            ready(Ok::<_, std::convert::Infallible>(Response::new(
                Body::empty(),
            )))
        });
        let mut request = Request::new(());
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().extend(
            caller
                .map(|caller| {
                    let mut extensions = tonic::codegen::http::Extensions::new();
                    extensions.insert(caller);
                    extensions
                })
                .unwrap_or_default(),
        );
        let Ok(response) = Guard::new(callers).layer(service).call(request).await;
        let status = Status::from_header_map(response.headers());
        status.map_or(tonic::Code::Ok, |status| status.code())
    }

    #[tokio::test]
    async fn a_call_passes_only_for_the_roles_in_the_table() {
        use tonic::Code::{Ok, PermissionDenied};
        let known = |roles: &str| {
            let identity = format!("gatemq://c/{roles}/n").parse().unwrap();
            Some(Caller::known(identity))
        };
        for (caller, path, expected) in [
            (known("control"), "/x.Raft/Vote", Ok),
            (known("control+gateway"), "/x.Raft/Vote", Ok),
            (known("gateway"), "/x.Raft/Vote", PermissionDenied),
            (known("admin"), "/x.Raft/Vote", PermissionDenied),
            (known("gateway"), "/x.Peer/Forward", Ok),
            (known("bridge"), "/x.Peer/Forward", Ok),
            (known("control"), "/x.Peer/Forward", PermissionDenied),
            // What is not in the table, and paths that only look like one that is.
            (known("control"), "/x.Raft/Other", PermissionDenied),
            (known("control"), "/x.raft/vote", PermissionDenied),
            (known("control"), "/x.Raft/Vote/", PermissionDenied),
            (known("control"), "//x.Raft/Vote", PermissionDenied),
            (known("control"), "/x.Raft/Vot%65", PermissionDenied),
            // Plain connections; and a server that does not know its connections.
            (Some(Caller::unknown()), "/x.Raft/Vote", Ok),
            (None, "/x.Raft/Vote", PermissionDenied),
        ] {
            let name = format!("{caller:?} {path}");
            assert_eq!(call(caller, path).await, expected, "{name}");
        }
    }
}
