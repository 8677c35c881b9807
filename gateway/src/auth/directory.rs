//! Clients and rules that a server keeps, each by a key: a user name, or a client id.
//!
//! A [`Directory`] is such a server: it finds a user, and rows of rules, by exactly one key, which
//! may be any text that a client thinks of. What follows from what it finds is the same for all of
//! them and here: [`access`] are the rules.
//!
//! - A client is let in if its user is there, is allowed, and the password is the stored one. One
//!   that is not there costs what a wrong password costs.
//! - What is read is never kept for the next client: each CONNECT asks, so a server that does not
//!   answer lets nobody in. Whoever is there keeps its rights until it answers again
//!   (`guard/refresh.rs`).
//! - A user that cannot be read, a password of no known form, is nobody's: its client is refused,
//!   and the log says so once.

pub(super) mod access;
pub(super) mod redis;
mod rehash;
mod said;
pub(super) mod sql;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use foldhash::fast::FixedState;
use futures_util::future::BoxFuture;

use super::password::Match;
use super::password::pool::{self, Pool};
use super::password::scheme::{Mode, SaltPosition, Scheme};
use super::password::scram::{Mechanism, Secret};
use super::{
    Admission, By, Credentials, Identity, Known, Named, Part, Proof, Source, Unavailable, Who,
};
use crate::config::{Key, Lookup};
use access::Row;
use rehash::Rehash;
use said::Said;

/// Rows of one client; more are an error, since each costs its connection time and memory.
pub(super) const MAX_ROWS: usize = 10_000;

/// A server that keeps users and rules. It answers, or fails, within its time limit, and it finds
/// nothing for a key that is not there in every letter.
pub(super) trait Directory: Send + Sync + std::fmt::Debug {
    /// What it is, for people.
    fn name(&self) -> String;

    /// Reads again what it has of files.
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }

    fn user<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<User>, Unavailable>>;

    /// No more than one above [`MAX_ROWS`].
    fn rows<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Unavailable>>;

    /// Stores another password for a user, if it still is as it was found; whether it was.
    fn replace<'a>(
        &'a self,
        key: &'a str,
        user: &'a User,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, Unavailable>>;
}

/// A user as it is stored.
pub(super) struct User {
    pub(super) password: String,
    pub(super) is_allowed: bool,
    /// All that is stored, where the password is only a part of it.
    pub(super) whole: Vec<u8>,
}

/// A directory as a source.
#[derive(Debug)]
pub(super) struct DirectorySource<D> {
    directory: D,
    auth_by: Key,
    acl_by: Key,
    scheme: Scheme,
    /// If passwords are hashed anew.
    rehash: Option<Rehash>,
    refresh: Duration,
    pool: Arc<Pool>,
    /// The stored password that was read last: somebody who is not there costs as much.
    like: ArcSwapOption<String>,
    said: Said,
}

// === impl DirectorySource ===

impl<D: Directory> DirectorySource<D> {
    /// # Errors
    ///
    /// What cannot be used, in words.
    pub(super) fn new(directory: D, lookup: &Lookup, pool: Arc<Pool>) -> Result<Self, String> {
        let wrong = |key: &str, error: &dyn std::fmt::Display| format!("{key}: {error}");
        if (lookup.auth_by, lookup.acl_by) == (Key::None, Key::None) {
            return Err("it is asked neither for users nor for rules".to_owned());
        }
        let hash = &lookup.password_hash;
        let mode: Mode = hash
            .parse()
            .map_err(|error| format!("password-hash: {hash:?} is {error}"))?;
        if lookup.rehash && mode != Mode::Auto {
            let what = "rehash needs the password-hash auto, which reads what is written";
            return Err(what.to_owned());
        }
        let hash_key = Some(&*lookup.hash_key);
        let scheme = Scheme::new(mode, hash_key, SaltPosition::Disable);
        Ok(Self {
            directory,
            auth_by: lookup.auth_by,
            acl_by: lookup.acl_by,
            scheme: scheme.map_err(|error| wrong("password-hash", &error))?,
            rehash: lookup.rehash.then(Rehash::default),
            refresh: lookup.refresh,
            pool,
            like: ArcSwapOption::empty(),
            said: Said::default(),
        })
    }

    async fn find(&self, key: Option<&str>) -> Result<Option<User>, Unavailable> {
        let Some(key) = key.filter(|key| is_key(key)) else {
            return Ok(None);
        };
        let found = self.directory.user(key).await;
        if let Err(Unavailable::Unusable(why)) = &found {
            self.complain(key, why);
        }
        found
    }

    /// The user of a name, whatever its password is.
    async fn named(&self, client_id: &str, username: &str) -> Result<Named<User>, Unavailable> {
        let key = match self.auth_by {
            Key::None => return Ok(Named::Unknown),
            Key::Username => username,
            Key::ClientId => client_id,
        };
        Ok(match self.find(Some(key)).await? {
            Some(user) if user.is_allowed && self.auth_by == Key::Username => Named::User(user),
            Some(_) => Named::Refused,
            None => Named::Unknown,
        })
    }

    /// `known_by` is the mark under which the client was let in, if it was.
    fn known(&self, user: &User, known_by: Option<u64>) -> Admission {
        let mark = mark_of(&user.password);
        let is_same = |known: &u64| {
            let rehash = self.rehash.as_ref();
            rehash.is_some_and(|rehash| rehash.came_of(mark, *known))
        };
        Admission::Allowed(Known {
            is_superuser: false,
            by: match self.auth_by {
                Key::ClientId => By::ClientId,
                Key::Username | Key::None => By::Username,
            },
            mark: known_by.filter(is_same).unwrap_or(mark),
            brought: None,
        })
    }

    /// Logs what is wrong with what is stored for a key, once.
    fn complain(&self, key: &str, why: &str) {
        if self.said.is_new(&(key, why)) {
            let source = self.directory.name();
            let key: String = key.chars().take(100).collect();
            tracing::warn!(source, ?key, why, "what is stored for a client is wrong");
        }
    }
}

impl<D: Directory> Source for DirectorySource<D> {
    fn name(&self) -> String {
        self.directory.name()
    }

    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(async move {
            let key = match self.auth_by {
                Key::None => return Ok(Admission::Unknown),
                Key::Username => credentials.username,
                Key::ClientId => Some(credentials.client_id),
            };
            let user = self.find(key).await?;
            // Without a password nothing is compared, whether anybody is known or not.
            let Some(given) = credentials.password else {
                return Ok(match user {
                    Some(_) => Admission::Denied,
                    None => Admission::Unknown,
                });
            };
            let Some(user) = user else {
                let like = self.like.load_full();
                let like = like.as_deref().map(String::as_str);
                let decoy = self.pool.decoy(&self.scheme, like, given).await;
                let _ = decoy.map_err(unavailable)?;
                return Ok(Admission::Unknown);
            };
            let verifying = self.pool.verify(&self.scheme, &user.password, b"", given);
            let matched = verifying.await.map_err(unavailable);
            if let (Err(Unavailable::Unusable(why)), Some(key)) = (&matched, key) {
                self.complain(key, why);
            }
            let matched = matched?;
            let is_let_in = matched == Match::Yes && user.is_allowed;
            let user = match (is_let_in, key) {
                (true, Some(key)) => self.hash_anew(key, user, given).await,
                _ => user,
            };
            let admission = match is_let_in {
                true => self.known(&user, None),
                false => Admission::Denied,
            };
            self.like.store(Some(Arc::new(user.password)));
            Ok(admission)
        })
    }

    fn look_up<'a>(
        &'a self,
        client_id: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(async move {
            let key = match (self.auth_by, identity.by) {
                (Key::Username, By::Username) => identity.username.as_deref(),
                (Key::ClientId, By::ClientId) => Some(client_id),
                _ => None,
            };
            Ok(match self.find(key).await? {
                Some(user) if user.is_allowed => self.known(&user, Some(identity.mark)),
                Some(_) => Admission::Denied,
                None => Admission::Unknown,
            })
        })
    }

    fn proof<'a>(
        &'a self,
        client_id: &'a str,
        username: &'a str,
        mechanism: Mechanism,
    ) -> BoxFuture<'a, Result<Proof, Unavailable>> {
        Box::pin(async move {
            let named = self.named(client_id, username).await?;
            Ok(Proof::of(named, |user| {
                let secret = Secret::find(&self.scheme, &user.password, mechanism);
                (secret, self.known(&user, None))
            }))
        })
    }

    fn vouch<'a>(
        &'a self,
        client_id: &'a str,
        username: &'a str,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(async move {
            let named = self.named(client_id, username).await?;
            Ok(Admission::of(named, |user| self.known(&user, None)))
        })
    }

    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        Box::pin(async move {
            let key = match self.acl_by {
                Key::None => return Ok(None),
                // One that was not looked at counts for nothing.
                Key::Username => who.username,
                Key::ClientId => Some(who.client_id),
            };
            let Some(key) = key.filter(|key| is_key(key)) else {
                return Ok(Some(Part::default()));
            };
            let mut rows = self.directory.rows(key).await;
            if rows.as_ref().is_ok_and(|rows| rows.len() > MAX_ROWS) {
                let why = format!("there are more than {MAX_ROWS} rules for a client");
                rows = Err(Unavailable::Unusable(why));
            }
            if let Err(Unavailable::Unusable(why)) = &rows {
                self.complain(key, why);
            }
            let rows = rows?;
            let (own, flaws) = access::ruleset(&rows, who.names());
            for (at, flaw) in flaws {
                let filter: String = rows[at].filter.chars().take(100).collect();
                self.complain(key, &format!("{filter:?}: {flaw}"));
            }
            Ok(Some(Part {
                own: Arc::new(own),
                ..Part::default()
            }))
        })
    }

    fn reload(&self) -> Result<(), String> {
        self.said.forget();
        self.directory.reload()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            if self.auth_by != Key::None {
                self.directory.user("").await?;
            }
            if self.acl_by != Key::None {
                self.directory.rows("").await?;
            }
            Ok(())
        })
    }

    fn refresh(&self) -> Option<Duration> {
        Some(self.refresh)
    }
}

/// Whether something may be stored under it: no name is empty, and none has a NUL, which not every
/// server takes.
fn is_key(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn mark_of(password: &str) -> u64 {
    FixedState::default().hash_one(password)
}

fn unavailable(error: pool::Error) -> Unavailable {
    match error {
        pool::Error::Overloaded => Unavailable::Crowded,
        pool::Error::Malformed(error) => Unavailable::Unusable(error.to_string()),
        pool::Error::Failed => Unavailable::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
