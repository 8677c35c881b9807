//! Asks a server over HTTP, strictly: its certificate is verified, it leads nowhere else, and what it
//! says comes whole, in time, and within a bound, or it has said nothing.
//!
//! Nobody decides about the request but the configuration: no proxy of the environment, no redirect.
//! What a client gave is a field of the question, encoded, and never part of a URL's path or of a
//! header. So many questions are under way at the same time; some more wait, no longer than an answer
//! may take, and whoever finds those before it is refused.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url};
use rustls::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Unavailable;
use crate::config::{Carriage, Fetch};
use crate::tls::{self, Believed};

/// The longest answer, in bytes.
const LONGEST: usize = 64 * 1024;
/// Questions that wait for each that is under way.
const WAITING: usize = 16;
/// Servers close connections on which nothing happens; the shortest of the usual times is 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// Headers that are not the configuration's to say.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Asks servers.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    timeout: Duration,
    slots: Semaphore,
    seats: Semaphore,
}

/// What a server has said.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A URL of the configuration.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("does not begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a password in it: put it into a header".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#), which no server gets".to_owned());
    }
    Ok(url)
}

/// A URL for people: whatever secrets may be in its query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// The text of a URL that may be none, for people: without its query, and without a password that
/// it should not have.
pub(super) fn shown_text(text: &str) -> String {
    let without_user = match text.rsplit_once('@') {
        Some((before, rest)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://<hidden>@{rest}"),
            None => format!("<hidden>@{rest}"),
        },
        None => text.to_owned(),
    };
    let end = without_user.find(['?', '#']);
    without_user[..end.unwrap_or(without_user.len())].to_owned()
}

// === impl Fetcher ===

impl Fetcher {
    /// One for these URLs.
    pub(super) fn open(config: &Fetch, urls: &[&Url]) -> Result<Self, String> {
        let needs_tls = urls.iter().any(|url| url.scheme() == "https");
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config, needs_tls)?)
            .default_headers(headers(&config.headers)?)
            .user_agent("gatemq")
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .connect_timeout(config.timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.at_once)
            .build()
            .map_err(|error| format!("cannot be asked: {}", why(error)))?;
        Ok(Self {
            client,
            timeout: config.timeout,
            slots: Semaphore::new(config.at_once),
            seats: Semaphore::new(config.at_once.saturating_mul(WAITING)),
        })
    }

    /// Gets what is at a URL.
    pub(super) async fn get(&self, url: &Url) -> Result<Heard, Unavailable> {
        self.send(self.client.get(url.clone())).await
    }

    /// Asks with these fields, of which none is part of the URL's path.
    pub(super) async fn ask(
        &self,
        url: &Url,
        carriage: Carriage,
        fields: &[(&str, &str)],
    ) -> Result<Heard, Unavailable> {
        let url = url.clone();
        let request = match carriage {
            Carriage::Query => self.client.get(url).query(fields),
            Carriage::Form => self.client.post(url).form(fields),
            Carriage::Json => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (*name, serde_json::Value::from(*value)));
                let fields = fields.collect::<std::collections::BTreeMap<_, _>>();
                self.client.post(url).json(&fields)
            }
        };
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Heard, Unavailable> {
        let _slot = self.slot().await?;
        let answer = async {
            let response = request.send().await.map_err(failed)?;
            let status = response.status().as_u16();
            let body = whole(response).await?;
            Ok(Heard { status, body })
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(heard) => heard,
            Err(_) => Err(Unavailable::Failed(format!(
                "no answer within {:?}",
                self.timeout
            ))),
        }
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _seat = self.seats.try_acquire().map_err(|_| Unavailable::Crowded)?;
        match tokio::time::timeout(self.timeout, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Unavailable::Crowded),
        }
    }
}

/// The body, if it is not too long.
async fn whole(mut response: Response) -> Result<Vec<u8>, Unavailable> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LONGEST {
            let what = format!("the answer is longer than {LONGEST} bytes");
            return Err(Unavailable::Failed(what));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: reqwest::Error) -> Unavailable {
    Unavailable::Failed(why(error))
}

/// What went wrong, and why; without the URL, which may have a password in its query.
fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn headers(written: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is no name of a header"))?;
        if FRAMING.contains(&parsed.as_str()) {
            return Err(format!("{name:?} is not for the configuration to say"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("what is in the header {name:?} cannot be in one"))?;
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// TLS with the authorities of a file or of the system.
fn tls(config: &Fetch, needs_tls: bool) -> Result<ClientConfig, String> {
    let believed = match &config.ca_file {
        Some(file) => Believed::File(file),
        None if needs_tls => Believed::System,
        None => Believed::Nobody,
    };
    tls::client(&believed, None)
}

#[cfg(test)]
pub(super) mod tests;
