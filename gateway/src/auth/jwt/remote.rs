//! Public keys (JWKS) of a server: read when the first token comes, again from time to time, and when
//! a token names a key that is not among them. What was read holds while the server does not answer.
//!
//! Whoever comes with a token has it read at most every [`PAUSE`], by one at a time: others take what
//! is there, or wait for that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::{self, Key};
use super::token::Token;
use crate::auth::Unavailable;
use crate::auth::fetch::{self, Fetcher};
use crate::config::RemoteKeys;

/// How long after an attempt the next one may be.
const PAUSE: Duration = Duration::from_secs(10);
/// The same where no key has been read yet.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Keys of a server.
#[derive(Debug)]
pub(super) struct Remote {
    url: Url,
    refresh: Duration,
    algorithms: Vec<Algorithm>,
    fetcher: Fetcher,
    read: ArcSwapOption<Read>,
    /// When the last attempt ended; held by whoever makes one.
    tried_at: Mutex<Option<Instant>>,
    is_failing: AtomicBool,
}

/// What was read.
#[derive(Debug)]
struct Read {
    keys: Arc<Vec<Key>>,
    at: Instant,
}

impl Remote {
    pub(super) fn open(config: &RemoteKeys, algorithms: &[Algorithm]) -> Result<Self, String> {
        let url = fetch::url(&config.url).map_err(|what| format!("jwks-url {what}"))?;
        if url.scheme() == "http" {
            tracing::warn!(
                url = fetch::shown(&url),
                "keys of tokens come unencrypted: whoever can change them can be anybody"
            );
        }
        Ok(Self {
            fetcher: Fetcher::open(&config.fetch, &[&url])?,
            url,
            refresh: config.refresh,
            algorithms: algorithms.to_vec(),
            read: ArcSwapOption::empty(),
            tried_at: Mutex::default(),
            is_failing: AtomicBool::new(false),
        })
    }

    pub(super) fn name(&self) -> String {
        fetch::shown(&self.url)
    }

    /// The keys, read again if they are old, or if none of them is for this token.
    pub(super) async fn keys_for(&self, token: &Token<'_>) -> Result<Arc<Vec<Key>>, Unavailable> {
        if !token
            .algorithm
            .is_some_and(|named| self.algorithms.contains(&named))
        {
            return Ok(Arc::default()); // no key could be for it
        }
        let read = self.read.load_full();
        let is_known = read.as_ref().is_some_and(|read| token.has_key(&read.keys));
        if is_known
            && read
                .as_ref()
                .is_some_and(|read| read.at.elapsed() < self.refresh)
        {
            return Ok(read.map(|read| read.keys.clone()).unwrap_or_default());
        }
        let tried_at = match is_known {
            true => self.tried_at.try_lock().ok(), // somebody is at it: what is there will do
            false => Some(self.tried_at.lock().await),
        };
        if let Some(mut tried_at) = tried_at {
            let read = self.read.load();
            let pause = if read.is_some() { PAUSE } else { FIRST_PAUSE };
            if tried_at.is_none_or(|at| at.elapsed() >= pause) {
                let attempt = self.attempt().await;
                *tried_at = Some(Instant::now());
                self.note(attempt)?;
            }
        }
        match self.read.load_full() {
            Some(read) => Ok(read.keys.clone()),
            None => Err(Unavailable::Failed("no keys have been read yet".to_owned())),
        }
    }

    async fn attempt(&self) -> Result<Vec<Key>, Unavailable> {
        let heard = self.fetcher.get(&self.url).await?;
        if heard.status != 200 {
            let what = format!("the answer has the status {}", heard.status);
            return Err(Unavailable::Failed(what));
        }
        let keys = keys::set(&heard.body, &self.algorithms);
        keys.map_err(|what| Unavailable::Failed(format!("the answer {what}")))
    }

    /// What was read counts from now on; of a failure it is an error only where nothing ever was.
    fn note(&self, attempt: Result<Vec<Key>, Unavailable>) -> Result<(), Unavailable> {
        let was_failing = self.is_failing.swap(attempt.is_err(), Ordering::Relaxed);
        match attempt {
            Ok(keys) => {
                self.read.store(Some(Arc::new(Read {
                    keys: Arc::new(keys),
                    at: Instant::now(),
                })));
                Ok(())
            }
            Err(error) if self.read.load().is_none() => Err(error),
            Err(error) => {
                if !was_failing {
                    tracing::warn!(url = self.name(), %error, "keys not read again; the previous stay");
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
