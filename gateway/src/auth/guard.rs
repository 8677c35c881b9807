//! Asks the sources, in their order; when they are asked again is in [`again`], what is asked of
//! those whose certificate says who they are in [`certified`], and of those who prove it in [`scram`].

pub(crate) mod again;
mod certified;
mod decoys;
pub(crate) mod scram;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use gatemq_node::seeded_bug::{Bug, is_seeded};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::directory;
use super::file::{FileError, FileSource};
use super::http::HttpSource;
use super::jwt::JwtSource;
use super::metrics::{Metrics, Outcome};
use super::password::pool::{self, Pool};
use super::{Admission, By, Credentials, Identity, Known, Rights, Source, Unavailable, Who};
use crate::clock::Clock;
use crate::config;
use crate::listen::admission;
use crate::metrics::{Limit, LimitsHit};
use crate::proto::mqtt::Reason;

/// How long a source that has failed so often in a row is not asked about those who are there: they
/// can wait.
const REST: Duration = Duration::from_secs(1);
const TOLERATED: u32 = 8;

/// Asks the sources.
#[derive(Debug)]
pub(crate) struct Guard {
    sources: Vec<Asked>,
    /// Where the sources that keep passwords have them compared.
    pub(crate) pool: Arc<Pool>,
    backoff: Backoff,
    /// Logins that are looked at: the places where passwords wait are everybody's, and one address
    /// shall not take them all.
    under_way: Arc<admission::Admission>,
    /// How often the sources have been read.
    generation: AtomicU64,
    /// Whether there are listeners that believe a certificate, and ask for nothing else.
    believes_certificates: bool,
    metrics: Metrics,
    /// Of those whom nobody knows.
    decoys: decoys::Decoys,
}

/// A source, and how it failed, if it did when it was asked last.
#[derive(Debug)]
struct Asked {
    source: Box<dyn Source>,
    /// Its type in the configuration.
    kind: &'static str,
    failed: Mutex<Option<Failed>>,
}

/// When a source failed, and how often in a row.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    n_times: u32,
}

/// Why a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Newcomer,
    /// Somebody who was let in.
    Known,
    /// Whoever has left a will.
    Absent,
}

/// A client that is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) reason: Reason,
    /// What the client may be told, too.
    pub(crate) why: &'static str,
}

/// The client has given nothing that could be wrong.
const NOT_KNOWN: Denied = Denied {
    reason: Reason::BadUserNameOrPassword,
    why: "no such client, or another password",
};
/// It is not looked at what the client has given.
const TOO_OFTEN: Denied = Denied {
    reason: Reason::ConnectionRateExceeded,
    why: "too many failed logins: wait before the next one",
};
const NOBODY_TO_ASK: Denied = Denied {
    reason: Reason::ServerUnavailable,
    why: "nobody can say just now who the client is",
};

// === impl Guard ===

impl Guard {
    /// One for the sources of a configuration; `None` where there are none.
    pub(crate) fn open(config: &config::Auth) -> Result<Option<Self>, FileError> {
        let pool = Arc::new(Pool::new(pool::Limits::default()));
        let open = |source: &config::AuthSource| match source {
            config::AuthSource::File(path) => Asked::file(path, pool.clone()),
            config::AuthSource::Http(http) => Ok(Asked::of("http", HttpSource::open(http)?)),
            config::AuthSource::Jwt(jwt) => Ok(Asked::of("jwt", JwtSource::open(jwt)?)),
            config::AuthSource::Redis(redis) => {
                directory::redis::open(redis, pool.clone()).map(|redis| Asked::of("redis", redis))
            }
            config::AuthSource::Sql(sql) => {
                let kind = match sql.kind {
                    config::SqlKind::Mysql => "mysql",
                    config::SqlKind::Postgresql => "postgresql",
                };
                directory::sql::open(sql, pool.clone()).map(|sql| Asked::of(kind, sql))
            }
        };
        let sources = config.sources.iter().map(open);
        let sources = sources.collect::<Result<Vec<_>, FileError>>()?;
        Ok((!sources.is_empty()).then_some(Self {
            sources,
            pool,
            backoff: Backoff::new(config.max_failures),
            under_way: admission::Admission::new(0, config.max_logins_per_address),
            generation: AtomicU64::new(0),
            believes_certificates: config.believes_certificates,
            metrics: Metrics::default(),
            decoys: decoys::Decoys::new(),
        }))
    }

    /// Shows what it counts; limits with all others.
    pub(crate) fn register(&mut self, registry: &mut Registry, limits_hit: LimitsHit) {
        self.metrics.register(registry, limits_hit);
    }

    /// How often the sources have been read: what they said before may not hold any more.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Lets a client in, or not. One without a user name and a password is let in where that is
    /// allowed, and has the rights of nobody. Who fails again and again has to wait.
    pub(crate) async fn admit(
        &self,
        credentials: &Credentials<'_>,
        allow_anonymous: bool,
        clock: &Clock,
    ) -> Result<Arc<Rights>, Denied> {
        let Credentials {
            address, client_id, ..
        } = *credentials;
        let name = credentials.username.unwrap_or(client_id);
        let attempt = self.backoff.attempt(address, name);
        if self.backoff.must_wait(attempt, clock.now()) {
            self.metrics.limits_hit.inc(Limit::MaxFailures);
            return Err(TOO_OFTEN);
        }
        let _place = self.place(address)?;
        let admitted = self.ask(credentials, allow_anonymous).await;
        match &admitted {
            Ok(_) => self.backoff.succeed(attempt),
            Err(denied) if *denied == NOT_KNOWN => self.backoff.fail(attempt, clock.now()),
            Err(_) => {}
        }
        admitted
    }

    /// A place among the logins that are looked at.
    fn place(&self, address: Option<IpAddr>) -> Result<admission::Admitted, Denied> {
        self.under_way.admit(address).map_err(|_| {
            self.metrics.limits_hit.inc(Limit::MaxLoginsPerAddress);
            NOBODY_TO_ASK
        })
    }

    async fn ask(
        &self,
        credentials: &Credentials<'_>,
        allow_anonymous: bool,
    ) -> Result<Arc<Rights>, Denied> {
        let is_anonymous = credentials.username.is_none() && credentials.password.is_none();
        let mut identity = Identity {
            address: credentials.address,
            ..Identity::default()
        };
        for (place, asked) in self.sources.iter().enumerate() {
            let began = Instant::now();
            let asking = asked.source.admit(credentials);
            let mut answer = asked.ask(For::Newcomer, asking).await;
            let source = (place, asked.kind);
            self.metrics.time(source, began.elapsed());
            self.metrics.count(source, Outcome::of(&answer));
            if is_seeded(Bug::AuthFailsOpen) && answer.as_ref() == Err(&NOBODY_TO_ASK) {
                answer = Ok(Admission::Allowed(Known {
                    is_superuser: false,
                    by: By::Username,
                    mark: 0,
                    brought: None,
                }));
            }
            match answer? {
                Admission::Allowed(known) => {
                    (identity.source, identity.mark, identity.by) = (place, known.mark, known.by);
                    identity.brought = known.brought;
                    if known.by == By::Username {
                        let brought = identity.brought.as_ref();
                        let named = brought.and_then(|brought| brought.username.clone());
                        identity.username = named.or(credentials.username.map(Into::into));
                    }
                    let client_id = credentials.client_id;
                    let (is_superuser, why) = (known.is_superuser, For::Newcomer);
                    return self.rights(client_id, identity, is_superuser, why).await;
                }
                Admission::Denied => return Err(NOT_KNOWN),
                Admission::Unknown => {}
            }
        }
        match allow_anonymous && is_anonymous {
            true => {
                let client_id = credentials.client_id;
                self.rights(client_id, identity, false, For::Newcomer).await
            }
            false => Err(NOT_KNOWN),
        }
    }

    /// What a client that was let in may do now. It may be one that is let in no more: only who knew
    /// it then can say that it is the same one.
    async fn judge_again(&self, rights: &Rights, client_id: &str) -> Result<Arc<Rights>, Denied> {
        let identity = &rights.identity;
        if identity.by == By::Nobody {
            let identity = identity.clone();
            return self.rights(client_id, identity, false, For::Known).await;
        }
        if identity.by == By::Certificate {
            return self.vouch(client_id, identity.clone(), For::Known).await;
        }
        let asked = self.sources.get(identity.source).ok_or(NOT_KNOWN)?;
        let asking = asked.source.look_up(client_id, identity);
        match asked.ask(For::Known, asking).await? {
            Admission::Allowed(known) if known.by == identity.by && known.mark == identity.mark => {
                let (identity, is_superuser) = (identity.clone(), known.is_superuser);
                self.rights(client_id, identity, is_superuser, For::Known)
                    .await
            }
            Admission::Allowed(_) | Admission::Denied | Admission::Unknown => Err(NOT_KNOWN),
        }
    }

    /// What a client may do whose connection is gone, by as whom it left its will: nothing
    /// (`None`) if nobody knows it any more. An error means that nobody can say now.
    pub(crate) async fn rights_of(
        &self,
        principal: &str,
        client_id: &str,
    ) -> Result<Option<Arc<Rights>>, Denied> {
        match self.judge_principal(principal, client_id).await {
            Ok(rights) => Ok(Some(rights)),
            Err(denied) if denied == NOBODY_TO_ASK => Err(denied),
            Err(_) => Ok(None),
        }
    }

    async fn judge_principal(
        &self,
        principal: &str,
        client_id: &str,
    ) -> Result<Arc<Rights>, Denied> {
        let mut identity = Identity::of_principal(principal);
        if identity.by == By::Nobody {
            return self.rights(client_id, identity, false, For::Absent).await;
        }
        if identity.by == By::Certificate {
            // No source has to know who came with a certificate, as long as one is believed.
            return match self.believes_certificates {
                true => self.vouch(client_id, identity, For::Absent).await,
                false => Err(NOT_KNOWN),
            };
        }
        for (place, asked) in self.sources.iter().enumerate() {
            identity.source = place;
            let asking = asked.source.look_up(client_id, &identity);
            match asked.ask(For::Absent, asking).await? {
                Admission::Allowed(known) if known.by == identity.by => {
                    identity.mark = known.mark;
                    let (is_superuser, why) = (known.is_superuser, For::Absent);
                    return self.rights(client_id, identity, is_superuser, why).await;
                }
                Admission::Denied => return Err(NOT_KNOWN),
                Admission::Allowed(_) | Admission::Unknown => {}
            }
        }
        Err(NOT_KNOWN) // also where certificates are believed: it had a password
    }

    /// Reads what the sources keep in memory again. What cannot be used is logged, and the old stays
    /// in force.
    pub(crate) fn reload(&self) {
        for Asked { source, failed, .. } in &self.sources {
            if let Some(failed) = &mut *failed.lock() {
                failed.n_times = 0; // it is asked again at once
            }
            let source = (source.name(), source.reload());
            match source {
                (source, Ok(())) => tracing::info!(source, "clients and rules read again"),
                (source, Err(why)) => {
                    tracing::error!(source, why, "what was known of clients stays in force");
                }
            }
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// How long what was said of clients may hold; `None` if it holds until a source is read again.
    fn refresh(&self) -> Option<Duration> {
        let periods = self.sources.iter().map(|asked| asked.source.refresh());
        periods.flatten().min()
    }

    /// Asks each source whether it can be asked: one that cannot is in the log before clients come.
    async fn probe(&self) {
        for asked in &self.sources {
            let _ = asked.ask(For::Newcomer, asked.source.probe()).await;
        }
    }

    async fn rights(
        &self,
        client_id: &str,
        identity: Identity,
        is_superuser: bool,
        why: For,
    ) -> Result<Arc<Rights>, Denied> {
        let mut parts = Vec::new();
        for (place, asked) in self.sources.iter().enumerate() {
            let brought = identity.brought.as_deref();
            let who = Who {
                client_id,
                username: identity.username.as_deref(),
                address: identity.address,
                by: identity.by,
                brought: brought.filter(|_| identity.source == place),
            };
            let part = asked.ask(why, asked.source.rights(&who)).await;
            let is_failing = part.as_ref().err() == Some(&NOBODY_TO_ASK);
            if is_seeded(Bug::AuthFailsOpen) && is_failing && why == For::Newcomer {
                continue;
            }
            parts.extend(part?);
        }
        Ok(Arc::new(Rights {
            identity,
            client_id: client_id.into(),
            is_superuser,
            parts,
            ..Rights::default()
        }))
    }
}

// === impl Asked ===

impl Asked {
    fn file(path: &Path, pool: Arc<Pool>) -> Result<Self, FileError> {
        Ok(Self::of("file", FileSource::open(path, pool)?))
    }

    fn of(kind: &'static str, source: impl Source + 'static) -> Self {
        Self {
            kind,
            source: Box::new(source),
            failed: Mutex::default(),
        }
    }

    /// Asks, unless it is about somebody who can wait until the source may answer again.
    async fn ask<T>(
        &self,
        why: For,
        asking: BoxFuture<'_, Result<T, Unavailable>>,
    ) -> Result<T, Denied> {
        let failed = *self.failed.lock();
        let is_resting = |failed: Failed| failed.n_times >= TOLERATED && failed.at.elapsed() < REST;
        if why == For::Known && failed.is_some_and(is_resting) {
            return Err(NOBODY_TO_ASK);
        }
        self.heard(asking.await)
    }

    /// What a source has said. One that does not answer has not said yes; it is logged when it
    /// begins to fail, and when it answers again.
    fn heard<T>(&self, answer: Result<T, Unavailable>) -> Result<T, Denied> {
        match &answer {
            Err(Unavailable::Crowded | Unavailable::Unusable(_)) => return Err(NOBODY_TO_ASK),
            Err(Unavailable::Refused) => return Err(NOT_KNOWN),
            Ok(_) | Err(Unavailable::Failed(_)) => {}
        }
        let was_failing = {
            let mut failed = self.failed.lock();
            let n_before = failed.map(|failed| failed.n_times);
            *failed = answer.is_err().then(|| Failed {
                at: Instant::now(),
                n_times: n_before.unwrap_or(0).saturating_add(1),
            });
            n_before.is_some()
        };
        match &answer {
            Ok(_) if was_failing => tracing::info!(source = self.source.name(), "answers again"),
            Err(error) if !was_failing => tracing::warn!(
                source = self.source.name(),
                %error,
                "clients are refused: it does not say who they are"
            ),
            Ok(_) | Err(_) => {}
        }
        answer.map_err(|_| NOBODY_TO_ASK)
    }
}

#[cfg(test)]
mod tests;
