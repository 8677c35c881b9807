//! One endpoint: how it is routed, and what the document says of it.

use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Ref, Schema};
use utoipa::openapi::{
    Content, HttpMethod, ObjectBuilder, RefOr, Required, ResponseBuilder, schema::Type,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Api;
use super::access::guard;
use super::access::token::Scope;
use super::page::Page;
use super::problem::{self, Problem};

/// One row of the table.
pub(super) struct Endpoint {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) operation: OperationBuilder,
    /// What the operation refers to, by name.
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    /// What a caller's token has to have.
    pub(super) scope: Scope,
    /// The query parameters that it takes; others are refused.
    parameters: Vec<String>,
    handler: MethodRouter<Arc<Api>>,
}

// === making one ===

impl Endpoint {
    pub(super) fn get<H, T>(path: &'static str, id: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(HttpMethod::Get, path, id, summary, routing::get(handler))
    }

    pub(super) fn post<H, T>(path: &'static str, id: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(HttpMethod::Post, path, id, summary, routing::post(handler))
    }

    pub(super) fn put<H, T>(path: &'static str, id: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(HttpMethod::Put, path, id, summary, routing::put(handler))
    }

    pub(super) fn delete<H, T>(path: &'static str, id: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(
            HttpMethod::Delete,
            path,
            id,
            summary,
            routing::delete(handler),
        )
    }

    fn new(
        method: HttpMethod,
        path: &'static str,
        id: &str,
        summary: &str,
        handler: MethodRouter<Arc<Api>>,
    ) -> Self {
        let mut operation = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(summary));
        for name in path_parameters(path) {
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
            operation = operation.parameter(parameter.build());
        }
        // Whatever changes something and says no more is an administrator's.
        let scope = match method {
            HttpMethod::Get => Scope::Viewer,
            _ => Scope::Admin,
        };
        let endpoint = Self {
            method,
            scope,
            path,
            operation,
            schemas: Vec::new(),
            parameters: Vec::new(),
            handler,
        };
        endpoint.fails(&[400, 401, 403])
    }

    /// What a caller's token has to have, where that is not what follows from the method.
    pub(super) fn needs(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// What its summary has no room for.
    pub(super) fn says(mut self, description: &str) -> Self {
        self.operation = self.operation.description(Some(description));
        self
    }

    /// It takes these query parameters.
    pub(super) fn query<Q: IntoParams>(mut self) -> Self {
        for parameter in Q::into_params(|| Some(ParameterIn::Query)) {
            self.parameters.push(name_of(&parameter));
            self.operation = self.operation.parameter(parameter);
        }
        self
    }

    /// It takes this as its body.
    pub(super) fn body<B: ToSchema>(mut self) -> Self {
        let content = Content::new(Some(self.refer::<B>()));
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self.fails(&[413, 415])
    }

    /// It answers this.
    pub(super) fn answers<A: ToSchema>(mut self, what: &str) -> Self {
        let reference = self.refer::<A>();
        self.answers_by(reference, what)
    }

    /// It answers a page of these.
    pub(super) fn answers_page<A: ToSchema>(mut self, what: &str) -> Self {
        // A page of something is a schema of its own, and its name is not only `Page`.
        let name = format!("{}Page", A::name());
        self.schemas.push((name.clone(), Page::<A>::schema()));
        self.refer::<A>();
        self.answers_by(Ref::from_schema_name(name), what)
    }

    fn answers_by(mut self, reference: Ref, what: &str) -> Self {
        let content = Content::new(Some(reference));
        let response = ResponseBuilder::new()
            .description(what)
            .content("application/json", content);
        self.operation = self.operation.response("200", response.build());
        self
    }

    /// It may answer a problem with one of these statuses.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        let reference = self.refer::<problem::Body>();
        for status in statuses {
            let response = ResponseBuilder::new()
                .description(problem::title(*status))
                .content(problem::MEDIA_TYPE, Content::new(Some(reference.clone())));
            self.operation = self
                .operation
                .response(status.to_string(), response.build());
        }
        self
    }

    fn refer<T: ToSchema>(&mut self) -> Ref {
        let name = T::name();
        self.schemas.push((name.to_string(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(name)
    }
}

// === routing ===

impl Endpoint {
    /// Routes requests of its method, of those who may. A query parameter that it does not have is refused: a
    /// mistyped one would else be taken for nothing.
    pub(super) fn router(self) -> MethodRouter<Arc<Api>> {
        let known: Arc<[String]> = self.parameters.into();
        let scope = self.scope;
        self.handler
            .route_layer(middleware::from_fn(move |request: Request, next: Next| {
                let known = Arc::clone(&known);
                async move { check_query(&known, request, next).await }
            }))
            .route_layer(middleware::from_fn(move |request: Request, next: Next| {
                guard::pass(scope, request, next)
            }))
    }
}

async fn check_query(known: &[String], request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    let unknown = names.find(|name| !name.is_empty() && !known.iter().any(|it| it == name));
    if let Some(unknown) = unknown {
        return Problem::unknown_parameter(unknown, known).into_response();
    }
    next.run(request).await
}

/// The names in braces.
pub(super) fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    let levels = path.split('/');
    levels.filter_map(|level| level.strip_prefix('{')?.strip_suffix('}'))
}

fn name_of(parameter: &Parameter) -> String {
    parameter.name.clone()
}
