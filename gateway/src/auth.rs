//! Who may connect, and what they may do.
//!
//! The [`Guard`] ([`guard`]) asks its sources one after the other: each allows, denies, or knows nothing of a
//! client ([`Admission`]); the first that does know decides, and where none does, nobody comes in.
//! What the client may do then is asked of all sources at once, when it connects, and kept with its
//! session as [`Rights`]: no publish and no delivery waits for a back end. Of the sources that have
//! rules the first that speaks of a topic decides, and where there are rules and none speaks of it,
//! it is denied.
//!
//! [`rules`] is the judgement (pure), [`password`] the comparison, [`mod@file`] a source, [`http`] one
//! that asks a server by [`fetch`], [`jwt`] one that takes tokens, [`scram`] what is said by who does
//! not tell its password. What comes from elsewhere is read by [`json`] and [`foreign`]; [`lately`]
//! saves judging what was just judged. [`directory`] is what servers have in common that keep clients and rules
//! by a key.

mod backoff;
mod directory;
mod fetch;
pub(crate) mod file;
mod foreign;
mod guard;
mod http;
mod json;
mod jwt;
mod lately;
mod metrics;
pub(crate) mod password;
pub(crate) mod rules;
mod scram;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub(crate) use directory::sql::Statements;
pub use file::FileError;
pub(crate) use guard::again::run as refresh;
pub(crate) use guard::scram::{Beginning, Challenge};
pub(crate) use guard::{Denied, Guard};
use lately::Lately;
pub(crate) use lately::OfMessage;
use password::scram::{Mechanism, Secret};
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
    /// By what it was let in.
    pub(crate) by: By,
    /// What the source that is asked kept of it, if it is the one that has let it in.
    pub(crate) brought: Option<&'a Brought>,
}

/// What a source says of a client that connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is who it says it is.
    Allowed(Known),
    /// It is known here, and not let in.
    Denied,
    /// Nothing is known of it here.
    Unknown,
}

/// A client that a source lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) is_superuser: bool,
    pub(crate) by: By,
    /// Another one where what it has to prove has changed, such as its password.
    pub(crate) mark: u64,
    /// Of a source that keeps nothing itself.
    pub(crate) brought: Option<Arc<Brought>>,
}

/// What a source has learnt of a client when that connected, and cannot learn again without its
/// password: kept with the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// Its user name, if it is another one than it gave.
    pub(crate) username: Option<Box<str>>,
    pub(crate) is_superuser: bool,
    /// `None` if nothing was said of what it may do.
    pub(crate) rules: Option<Arc<Ruleset>>,
    /// Until when it is let in, in Unix seconds.
    pub(crate) expires_at: Option<u64>,
}

/// What a source has of a user who is to prove that it knows its password, and does not tell it.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Nothing is known of it here.
    Unknown,
    /// It does not come in like that.
    None,
    /// By what it is seen that it knows it, and what it is then.
    Of(Secret, Known),
}

/// What a source has of a user name, for a client that shows no password there.
enum Named<U> {
    User(U),
    /// It does not come in, or not with this client id, which is somebody else's.
    Refused,
    Unknown,
}

/// By what a client was let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    /// It gave nothing, and that is allowed.
    #[default]
    Nobody,
    Username,
    /// A certificate has its user name; nobody looked at a password.
    Certificate,
    /// The user name that it gave, if it gave one, was not looked at: it counts for nothing.
    ClientId,
}

/// A source does not say anything that could be used: its clients are denied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("{0}")]
    Failed(String),
    /// It is not the source that fails.
    #[error("too many clients come at once")]
    Crowded,
    /// Nor here: whoever was asked for its rules says that it may not be there.
    #[error("the client is not to be let in")]
    Refused,
    /// What it says of this client cannot be used; of others it may.
    #[error("{0}")]
    Unusable(String),
}

/// Knows clients, or rules, or both.
pub(crate) trait Source: Send + Sync + std::fmt::Debug {
    /// What it is, for people.
    fn name(&self) -> String;

    /// Whether a client is who it says it is.
    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>>;

    /// What is known now of a client that this source has let in, by what it proved then.
    fn look_up<'a>(
        &'a self,
        client_id: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>>;

    /// By what it is seen that a user knows its password.
    fn proof<'a>(
        &'a self,
        _client_id: &'a str,
        _username: &'a str,
        _mechanism: Mechanism,
    ) -> BoxFuture<'a, Result<Proof, Unavailable>> {
        Box::pin(std::future::ready(Ok(Proof::Unknown)))
    }

    /// Whether somebody may come in whose user name needs no proof here any more: its certificate has
    /// it. `Unknown` says nothing against it.
    fn vouch<'a>(
        &'a self,
        _client_id: &'a str,
        _username: &'a str,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(std::future::ready(Ok(Admission::Unknown)))
    }

    /// The rules for a client; `None` where this source has none for anybody.
    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>>;

    /// Reads what it keeps in memory again; what cannot be used leaves the old in force.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    fn reload(&self) -> Result<(), String>;

    /// Whether it can be asked, before anybody comes.
    fn probe(&self) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// How long what it has said may hold before it is asked again; `None` if it tells of changes
    /// by itself, or by [`Source::reload`].
    fn refresh(&self) -> Option<Duration> {
        None
    }
}

/// What one source says of a client's rights: rules that are the same for all, and its own.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) common: Arc<Ruleset>,
    pub(crate) own: Arc<Ruleset>,
}

/// As whom a client was let in: what it has proved, where it comes from, and who knew it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) by: By,
    /// Its user name, if that is what it has proved.
    pub(crate) username: Option<Box<str>>,
    address: Option<IpAddr>,
    /// The place of the source, and the mark under which it knew the client.
    source: usize,
    mark: u64,
    brought: Option<Arc<Brought>>,
}

/// Who a client is, and what it may do.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    identity: Identity,
    client_id: Box<str>,
    is_superuser: bool,
    /// Of each source that has rules, in order; empty if no source has.
    parts: Vec<Part>,
    lately: Lately,
}

// === impl Admission ===

impl Admission {
    /// That of a user of whom nothing is asked any more.
    fn of<U>(named: Named<U>, user: impl FnOnce(U) -> Self) -> Self {
        match named {
            Named::User(found) => user(found),
            Named::Refused => Self::Denied,
            Named::Unknown => Self::Unknown,
        }
    }
}

// === impl Proof ===

impl Proof {
    /// That of a user who may have a secret, and whom its source would let in or not.
    fn of<U>(named: Named<U>, user: impl FnOnce(U) -> (Option<Secret>, Admission)) -> Self {
        match named {
            Named::User(found) => match user(found) {
                (Some(secret), Admission::Allowed(known)) => Self::Of(secret, known),
                _ => Self::None,
            },
            Named::Refused => Self::None,
            Named::Unknown => Self::Unknown,
        }
    }
}

// === impl Identity ===

impl Identity {
    /// That of a client of which only its principal is known, or its [`Rights::author`].
    fn of_principal(principal: &str) -> Self {
        let (by, username) = match principal.split_once(' ') {
            Some(("user", username)) => (By::Username, Some(username.into())),
            Some(("certificate", username)) => (By::Certificate, Some(username.into())),
            Some(("client", _)) => (By::ClientId, None),
            _ => (By::Nobody, None),
        };
        Self {
            by,
            username,
            ..Self::default()
        }
    }

    /// What a source says of the client that keeps nothing itself: what it said before. When the
    /// time of that is over, its connection ends by itself; what a session is sent that waits for
    /// its client to come again, with a new token, shall not be lost meanwhile.
    fn still(&self) -> Admission {
        let Some(brought) = &self.brought else {
            return Admission::Unknown;
        };
        Admission::Allowed(Known {
            is_superuser: brought.is_superuser,
            by: self.by,
            mark: self.mark,
            brought: Some(brought.clone()),
        })
    }
}

// === impl Rights ===

impl Rights {
    #[cfg(test)]
    pub(crate) fn of(who: &Who<'_>, part: Option<Part>) -> Self {
        Self {
            identity: Identity {
                username: who.username.map(Into::into),
                ..Identity::default()
            },
            client_id: who.client_id.into(),
            parts: part.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whose session it is that such a client makes; empty for nobody in particular.
    pub(crate) fn principal(&self) -> String {
        match (self.identity.by, &self.identity.username) {
            // Whoever had a password yesterday and has a certificate today is the same one.
            (By::Username | By::Certificate, Some(username)) => format!("user {username}"),
            (By::ClientId, _) => format!("client {}", self.client_id),
            _ => String::new(),
        }
    }

    /// As whom such a client leaves a will: its principal, which says of a user with a certificate
    /// that it had one. It is judged when nobody but that may know the user.
    pub(crate) fn author(&self) -> String {
        match (self.identity.by, &self.identity.username) {
            (By::Certificate, Some(username)) => format!("certificate {username}"),
            _ => self.principal(),
        }
    }

    /// Whether its client is this user, and has said so with success.
    pub(crate) fn is_of_user(&self, username: &str) -> bool {
        self.identity.by == By::Username && self.identity.username.as_deref() == Some(username)
    }

    /// The user name that its client has proved to be its own.
    pub(crate) fn username(&self) -> Option<&str> {
        let is_user = matches!(self.identity.by, By::Username | By::Certificate);
        self.identity.username.as_deref().filter(|_| is_user)
    }

    /// Until when its client is let in, in Unix seconds; `None` for as long as it likes.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        let brought = self.identity.brought.as_ref();
        brought.and_then(|brought| brought.expires_at)
    }

    /// Those of a client that may do nothing, for now.
    fn none(client_id: &str, identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            client_id: client_id.into(),
            is_superuser: false,
            parts: vec![Part::default()],
            lately: Lately::default(),
        }
    }

    /// Whether an action is allowed on a topic, or on all that a filter (without
    /// `$share/<group>/`) may get.
    pub(crate) fn allow(&self, action: Action, filter: &str) -> bool {
        self.is_unrestricted() || self.is_allowed(|part| part.first(action, filter, self.names()))
    }

    /// Whether it may publish to a topic, asked for each message.
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        let judge = || self.allow(Action::Publish, topic);
        self.is_unrestricted() || self.lately.or_judge(Action::Publish, topic, judge)
    }

    /// Whether it may have a message of a topic, asked for each that it is to get.
    pub(crate) fn may_have(&self, topic: &str, message: &mut OfMessage) -> bool {
        if self.is_unrestricted() {
            return true;
        }
        let is_known = message.is_known();
        let names = self.names();
        let mut judge = || self.is_allowed(|part| part.first_of_message(topic, names, message));
        match is_known {
            true => judge(),
            false => self.lately.or_judge(Action::Subscribe, topic, judge),
        }
    }

    fn is_unrestricted(&self) -> bool {
        self.is_superuser || self.parts.is_empty()
    }

    fn is_allowed(&self, first: impl FnMut(&Part) -> Option<(u32, Effect)>) -> bool {
        let said = self.parts.iter().find_map(first);
        said.is_some_and(|(_, effect)| effect == Effect::Allow)
    }

    fn names(&self) -> Names<'_> {
        Names {
            username: self.identity.username.as_deref(),
            client_id: &self.client_id,
        }
    }
}

// === impl Part ===

impl Part {
    /// What the first rule says that speaks of it, and its place.
    fn first(&self, action: Action, filter: &str, names: Names<'_>) -> Option<(u32, Effect)> {
        let said = [&self.common, &self.own].map(|rules| rules.judge(action, filter, names));
        said.into_iter().flatten().min_by_key(|(place, _)| *place)
    }

    /// The same of getting a message, of whose other receivers something may be known.
    fn first_of_message(
        &self,
        topic: &str,
        names: Names<'_>,
        message: &mut OfMessage,
    ) -> Option<(u32, Effect)> {
        let common = message.judge(&self.common, topic, names);
        let own = self.own.judge(Action::Subscribe, topic, names);
        let said = [common, own].into_iter().flatten();
        said.min_by_key(|(place, _)| *place)
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
