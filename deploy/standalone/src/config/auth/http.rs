//! A source of users and rules that is asked over HTTP.

use std::time::Duration;

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Period};
use serde::{Deserialize, Serialize};

use super::super::choice::Choice;
use super::super::{Chosen, filled};

/// A server that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpSource {
    pub auth_url: String,
    pub acl_url: String,
    pub method: Chosen<Method>,
    pub content_type: Chosen<ContentType>,
    pub headers: Vec<Header>,
    pub ca_file: String,
    pub timeout: Period<100, 60_000>,
    pub refresh: Period<1_000, 3_600_000>,
    pub connections: Number<1, 1_024>,
}

/// A header that goes with each request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// In the body.
    #[default]
    Post,
    /// In the URL.
    Get,
}

/// What is in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl Choice for Method {
    const NAMES: &'static [(&'static str, Self)] = &[("post", Self::Post), ("get", Self::Get)];
}

impl Choice for ContentType {
    const NAMES: &'static [(&'static str, Self)] = &[("json", Self::Json), ("form", Self::Form)];
}

// === impl HttpSource ===

impl Default for HttpSource {
    fn default() -> Self {
        Self {
            auth_url: String::new(),
            acl_url: String::new(),
            method: Chosen::default(),
            content_type: Chosen::default(),
            headers: Vec::new(),
            ca_file: String::new(),
            timeout: Period::new(2_000),
            refresh: Period::new(60_000),
            connections: Number::new(32),
        }
    }
}

impl HttpSource {
    /// One with every key set.
    pub(super) fn example() -> Self {
        Self {
            auth_url: "https://auth.example/mqtt/auth".to_owned(),
            acl_url: "https://auth.example/mqtt/acl".to_owned(),
            headers: vec![Header::default()],
            ..Self::default()
        }
    }

    /// What the gateway is told, or which key is wrong.
    pub(super) fn to_gateway(&self) -> Result<gateway::AuthSource, (&'static str, String)> {
        if self.auth_url.is_empty() && self.acl_url.is_empty() {
            return Err(("auth-url", "is not there, and no acl-url either".to_owned()));
        }
        let source = gateway::HttpSource {
            auth_url: filled(&self.auth_url),
            acl_url: filled(&self.acl_url),
            refresh: self.refresh.duration(),
            carriage: match (self.method.0, self.content_type.0) {
                (Method::Get, _) => gateway::Carriage::Query,
                (Method::Post, ContentType::Form) => gateway::Carriage::Form,
                (Method::Post, ContentType::Json) => gateway::Carriage::Json,
            },
            fetch: fetch(
                self.timeout.duration(),
                self.connections,
                &self.ca_file,
                &self.headers,
            ),
        };
        Ok(gateway::AuthSource::Http(source))
    }
}

/// How a server is spoken to.
pub(super) fn fetch(
    timeout: Duration,
    connections: Number<1, 1_024>,
    ca_file: &str,
    headers: &[Header],
) -> gateway::Fetch {
    let headers = headers.iter();
    gateway::Fetch {
        timeout,
        at_once: connections.get().unwrap_or(1),
        ca_file: filled(ca_file),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    }
}

// === impl Header ===

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what it says.
        f.debug_struct("Header")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
