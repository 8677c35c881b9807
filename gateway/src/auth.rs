//! Who may connect, and what they may do.
//!
//! The [`Guard`] asks its sources one after the other: each allows, denies, or knows nothing of a
//! client ([`Admission`]); the first that does know decides, and where none does, nobody comes in.
//! What the client may do then is asked of all sources at once, when it connects, and kept with its
//! session as [`Rights`]: no publish and no delivery waits for a back end. Of the sources that have
//! rules the first that speaks of a topic decides, and where there are rules and none speaks of it,
//! it is denied.
//!
//! [`rules`] is the judgement (pure), [`password`] the comparison, [`mod@file`] a source.

pub(crate) mod file;
pub(crate) mod password;
pub(crate) mod rules;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use crate::broker::Broker;
use crate::config;
use crate::proto::mqtt::Reason;
use crate::session::End;
use file::FileSource;
use password::pool::{self, Pool};
use rules::{Action, Effect, Names, Ruleset};

/// What a client shows when it connects.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) address: Option<IpAddr>,
}

/// Whom rules are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
}

/// What a source says of a client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is who it says it is.
    Allowed { is_superuser: bool, by: By },
    /// It is known here, and not let in.
    Denied,
    /// Nothing is known of it here.
    Unknown,
}

/// By what a client was let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    /// It gave nothing, and that is allowed.
    #[default]
    Nobody,
    Username,
    /// The user name that it gave, if it gave one, was not looked at: it counts for nothing.
    ClientId,
}

/// A source does not say anything that could be used: its clients are denied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// Knows clients, or rules, or both.
pub(crate) trait Source: Send + Sync + std::fmt::Debug {
    /// What it is, for people.
    fn name(&self) -> String;

    /// Whether a client is who it says it is.
    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>>;

    /// What is known of a client that was let in: [`Self::admit`] without its password.
    fn look_up<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Admission, Unavailable>>;

    /// The rules for a client; `None` where this source has none for anybody.
    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>>;

    /// Reads what it keeps in memory again; what cannot be used leaves the old in force.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    fn reload(&self) -> Result<(), String>;
}

/// What one source says of a client's rights: rules that are the same for all, and its own.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) common: Arc<Ruleset>,
    pub(crate) own: Ruleset,
}

/// What is known of a client that was let in, and what it may do.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub(crate) by: By,
    /// Its user name, if that is what it has proved.
    pub(crate) username: Option<Box<str>>,
    is_superuser: bool,
    /// Of each source that has rules, in order; empty if no source has.
    parts: Vec<Part>,
}

/// A client that is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) reason: Reason,
    /// What the client may be told, too.
    pub(crate) why: &'static str,
}

/// Asks the sources.
#[derive(Debug)]
pub(crate) struct Guard {
    sources: Vec<Asked>,
    /// Where the sources that keep passwords have them compared.
    pub(crate) pool: Arc<Pool>,
}

/// A source, and whether it failed when it was asked last.
#[derive(Debug)]
struct Asked {
    source: Box<dyn Source>,
    is_failing: AtomicBool,
}

/// A source cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AuthError(#[from] file::FileError);

/// The client has given nothing that could be wrong.
const NOT_KNOWN: Denied = Denied {
    reason: Reason::BadUserNameOrPassword,
    why: "no such client, or another password",
};
const NOBODY_TO_ASK: Denied = Denied {
    reason: Reason::ServerUnavailable,
    why: "nobody can say just now who the client is",
};

// === impl Guard ===

impl Guard {
    /// One for the sources of a configuration; `None` where there are none.
    pub(crate) fn open(config: &config::Auth) -> Result<Option<Self>, AuthError> {
        let pool = Arc::new(Pool::new(pool::Limits::default()));
        let open = |source: &config::AuthSource| match source {
            config::AuthSource::File(path) => Asked::file(path, pool.clone()),
        };
        let sources = config.sources.iter().map(open);
        let sources = sources.collect::<Result<Vec<_>, AuthError>>()?;
        Ok((!sources.is_empty()).then_some(Self { sources, pool }))
    }

    /// Lets a client in, or not. One without a user name and a password is let in where that is
    /// allowed, and has the rights of nobody.
    pub(crate) async fn admit(
        &self,
        credentials: &Credentials<'_>,
        allow_anonymous: bool,
    ) -> Result<Arc<Rights>, Denied> {
        let mut admission = Admission::Unknown;
        for source in &self.sources {
            admission = source.heard(source.source.admit(credentials).await)?;
            if admission != Admission::Unknown {
                break;
            }
        }
        let is_anonymous = credentials.username.is_none() && credentials.password.is_none();
        let (is_superuser, by) = match admission {
            Admission::Allowed { is_superuser, by } => (is_superuser, by),
            Admission::Unknown if allow_anonymous && is_anonymous => (false, By::Nobody),
            Admission::Denied | Admission::Unknown => return Err(NOT_KNOWN),
        };
        let who = Who {
            client_id: credentials.client_id,
            username: credentials.username.filter(|_| by == By::Username),
            address: credentials.address,
        };
        self.rights(&who, by, is_superuser).await
    }

    /// What a client that was let in may do now. It may be one that is let in no more.
    pub(crate) async fn judge_again(
        &self,
        rights: &Rights,
        client_id: &str,
        address: Option<IpAddr>,
    ) -> Result<Arc<Rights>, Denied> {
        let who = Who {
            client_id,
            username: rights.username.as_deref(),
            address,
        };
        if rights.by == By::Nobody {
            return self.rights(&who, By::Nobody, false).await;
        }
        for source in &self.sources {
            match source.heard(source.source.look_up(&who).await)? {
                Admission::Allowed { is_superuser, by } => {
                    return self.rights(&who, by, is_superuser).await;
                }
                Admission::Denied => return Err(NOT_KNOWN),
                Admission::Unknown => {}
            }
        }
        Err(NOT_KNOWN)
    }

    /// Reads what the sources keep in memory again. What cannot be used is logged, and the old stays
    /// in force.
    pub(crate) fn reload(&self) {
        for Asked { source, .. } in &self.sources {
            let source = (source.name(), source.reload());
            match source {
                (source, Ok(())) => tracing::info!(source, "clients and rules read again"),
                (source, Err(why)) => {
                    tracing::error!(source, why, "what was known of clients stays in force");
                }
            }
        }
    }

    async fn rights(
        &self,
        who: &Who<'_>,
        by: By,
        is_superuser: bool,
    ) -> Result<Arc<Rights>, Denied> {
        let mut parts = Vec::new();
        for source in &self.sources {
            parts.extend(source.heard(source.source.rights(who).await)?);
        }
        Ok(Arc::new(Rights {
            by,
            username: who.username.map(Into::into),
            is_superuser,
            parts,
        }))
    }
}

// === impl Asked ===

impl Asked {
    fn file(path: &Path, pool: Arc<Pool>) -> Result<Self, AuthError> {
        Ok(Self {
            source: Box::new(FileSource::open(path, pool)?),
            is_failing: AtomicBool::new(false),
        })
    }

    /// What a source has said. One that does not answer has not said yes; it is logged when it
    /// begins to fail, and when it answers again.
    fn heard<T>(&self, answer: Result<T, Unavailable>) -> Result<T, Denied> {
        let was_failing = self.is_failing.swap(answer.is_err(), Ordering::Relaxed);
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

// === impl Rights ===

impl Rights {
    #[cfg(test)]
    pub(crate) fn of(part: Option<Part>) -> Self {
        Self {
            parts: part.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Those of a client that may do nothing.
    fn none() -> Self {
        Self {
            parts: vec![Part::default()],
            ..Self::default()
        }
    }

    /// Whether an action is allowed on a topic, or on all that a filter (without
    /// `$share/<group>/`) may get.
    pub(crate) fn allow(&self, action: Action, filter: &str) -> bool {
        if self.is_superuser || self.parts.is_empty() {
            return true;
        }
        let said = self
            .parts
            .iter()
            .find_map(|part| part.judge(action, filter));
        said == Some(Effect::Allow)
    }
}

// === impl Part ===

impl Part {
    fn judge(&self, action: Action, filter: &str) -> Option<Effect> {
        let said = [&*self.common, &self.own].map(|rules| rules.judge(action, filter));
        let first = said.into_iter().flatten().min_by_key(|(place, _)| *place);
        first.map(|(_, effect)| effect)
    }
}

// === impl Broker ===

impl Broker {
    /// Judges all clients again. Those that are let in no more are disconnected; of one of which
    /// nobody can say it now, what was said before holds.
    pub(crate) async fn judge_again(&self, guard: &Guard) {
        for session in self.registry.all() {
            let Some(known) = session.rights.load_full() else {
                continue; // nobody has connected to it here
            };
            let address = session.life.lock().address;
            let judged = guard.judge_again(&known, &session.client_id, address);
            let rights = match judged.await {
                Ok(rights) => rights,
                Err(denied) if denied == NOBODY_TO_ASK => continue,
                Err(_) => {
                    let why = "the client is let in no more";
                    session.request_end(End::refused(Reason::NotAuthorized, why));
                    Arc::new(Rights::none())
                }
            };
            // A connection that came meanwhile has been judged since.
            session.rights.compare_and_swap(&known, Some(rights));
        }
    }
}

// === impl Who ===

impl<'a> Who<'a> {
    pub(crate) fn names(&self) -> Names<'a> {
        Names {
            username: self.username,
            client_id: self.client_id,
        }
    }
}
