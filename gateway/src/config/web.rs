//! What the gateway asks over HTTP.

use std::path::PathBuf;
use std::time::Duration;

/// A server that knows clients, or rules, or both.
#[derive(Clone, Debug)]
pub struct HttpSource {
    /// Where clients are asked for; `None` where the server knows none.
    pub auth_url: Option<String>,
    /// Where a client's rules are asked for; `None` where the server has none.
    pub acl_url: Option<String>,
    /// Within what time those who are there are asked about again.
    pub refresh: Duration,
    /// How the question is put.
    pub carriage: Carriage,
    /// How the server is spoken to.
    pub fetch: Fetch,
}

/// How a question is put to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carriage {
    /// GET, in the query of the URL.
    Query,
    /// POST, as `application/x-www-form-urlencoded`.
    Form,
    /// POST, as JSON.
    #[default]
    Json,
}

/// How a server is spoken to.
#[derive(Clone)]
pub struct Fetch {
    /// How long an answer may take, from the connection to its last byte.
    pub timeout: Duration,
    /// Questions under way at the same time.
    pub at_once: usize,
    /// Authorities of the server's certificate, PEM; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// Headers that go with each question.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what is in the headers.
        let names = self.headers.iter().map(|(name, _)| name);
        f.debug_struct("Fetch")
            .field("timeout", &self.timeout)
            .field("at_once", &self.at_once)
            .field("ca_file", &self.ca_file)
            .field("headers", &names.collect::<Vec<_>>())
            .finish()
    }
}
