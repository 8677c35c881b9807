//! Clients and rules in a file (YAML): read whole when the process starts, and again when it is told
//! to. One that cannot be read, has an unknown key, a filter that is none, or nothing at all in it is
//! an error; while the process runs the old one stays in force.

pub mod acl;
mod scope;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer};

use super::password::pool::{self, Pool};
use super::password::scheme::{Mode, SaltPosition, Scheme};
use super::password::scram::{Mechanism, Secret};
use super::password::{self, Match};
use super::rules::{Actions, Effect, Rule, check_placeholders};
use super::{Admission, By, Credentials, Identity, Named, Part, Proof, Source, Unavailable, Who};
use crate::config::Network;
use crate::proto::topic::{Bounds, Filter};
use scope::{Rules, ScopedRule};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    /// It is no YAML, or has keys that nobody knows.
    #[error("{0}: {1}")]
    Form(String, serde_yaml::Error),
    /// What is written makes no sense.
    #[error("{0}: {1}")]
    Wrong(String, String),
}

/// The file as a source.
#[derive(Debug)]
pub(crate) struct FileSource {
    path: PathBuf,
    pool: Arc<Pool>,
    known: ArcSwap<Known>,
}

/// What is in the file.
#[derive(Debug)]
struct Known {
    scheme: Scheme,
    /// By user name; those without one by client id.
    users: HashMap<String, User>,
    clients: HashMap<String, User>,
    /// Client ids that are somebody's.
    reserved: HashSet<String>,
    /// `None` if the file has no rules: then it says nothing of anybody's rights.
    rules: Option<Rules>,
}

// --- as it is written ---

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    password_hash: Option<String>,
    hash_key: Option<String>,
    #[serde(default)]
    users: Vec<User>,
    #[serde(default, deserialize_with = "filled")]
    rules: Option<Vec<WrittenRule>>,
    /// That there are no rules, and that this is meant.
    #[serde(default)]
    unrestricted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct User {
    #[serde(default, deserialize_with = "filled")]
    username: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    client_id: Option<String>,
    password: String,
    #[serde(default)]
    superuser: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenRule {
    allow: Option<WrittenActions>,
    deny: Option<WrittenActions>,
    topics: Vec<String>,
    #[serde(default, deserialize_with = "filled")]
    users: Option<Vec<String>>,
    #[serde(default, deserialize_with = "filled")]
    clients: Option<Vec<String>>,
    #[serde(default, deserialize_with = "filled")]
    addresses: Option<Vec<String>>,
}

/// What is there has a value: a key with nothing behind it is not one that was left out, which would
/// hold for everybody.
fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenActions {
    Publish,
    Subscribe,
    All,
}

// === impl FileSource ===

impl FileSource {
    pub(crate) fn open(path: &Path, pool: Arc<Pool>) -> Result<Self, FileError> {
        Ok(Self {
            path: path.to_owned(),
            pool,
            known: ArcSwap::from_pointee(Known::read(path)?),
        })
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(async move {
            let known = self.known.load_full();
            let user = known.find(credentials.username, credentials.client_id);
            // What is somebody's client id is nobody else's.
            let nobody = match known.reserved.contains(credentials.client_id) {
                true => Admission::Denied,
                false => Admission::Unknown,
            };
            // Without a password nothing is compared, whether anybody is known or not.
            let Some(given) = credentials.password else {
                return Ok(match user {
                    Some(_) => Admission::Denied,
                    None => nobody,
                });
            };
            let unavailable = |error: pool::Error| match error {
                pool::Error::Overloaded => Unavailable::Crowded,
                error => Unavailable::Failed(error.to_string()),
            };
            let Some(user) = user else {
                // How long it takes says nothing of who is known.
                let like = known.any_password();
                let decoy = self.pool.decoy(&known.scheme, like, given).await;
                let _ = decoy.map_err(unavailable)?;
                return Ok(nobody);
            };
            let verifying = self.pool.verify(&known.scheme, &user.password, b"", given);
            let matched = verifying.await.map_err(unavailable)?;
            Ok(match matched {
                Match::Yes if known.is_for(user, credentials.client_id) => user.allowed(),
                Match::Yes | Match::No => Admission::Denied,
            })
        })
    }

    fn look_up<'a>(
        &'a self,
        client_id: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        let known = self.known.load();
        let user = match (identity.by, identity.username.as_deref()) {
            (By::Username, Some(username)) => known.users.get(username),
            (By::ClientId, _) => known.clients.get(client_id),
            _ => None,
        };
        let user = user.filter(|user| known.is_for(user, client_id));
        let admission = user.map_or(Admission::Unknown, User::allowed);
        Box::pin(std::future::ready(Ok(admission)))
    }

    fn proof<'a>(
        &'a self,
        client_id: &'a str,
        username: &'a str,
        mechanism: Mechanism,
    ) -> BoxFuture<'a, Result<Proof, Unavailable>> {
        let known = self.known.load();
        let proof = Proof::of(known.named(client_id, username), |user| {
            let secret = Secret::find(&known.scheme, &user.password, mechanism);
            (secret, user.allowed())
        });
        Box::pin(std::future::ready(Ok(proof)))
    }

    fn vouch<'a>(
        &'a self,
        client_id: &'a str,
        username: &'a str,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        let known = self.known.load();
        let named = known.named(client_id, username);
        let admission = Admission::of(named, User::allowed);
        Box::pin(std::future::ready(Ok(admission)))
    }

    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        let known = self.known.load();
        let part = known.rules.as_ref().map(|rules| rules.of(who));
        Box::pin(std::future::ready(Ok(part)))
    }

    fn reload(&self) -> Result<(), String> {
        let known = Known::read(&self.path).map_err(|error| error.to_string())?;
        self.known.store(Arc::new(known));
        Ok(())
    }
}

// === impl Known ===

impl Known {
    fn read(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| FileError::Read(name.clone(), error))?;
        Self::parse(&text, &name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, FileError> {
        let wrong = |what: String| FileError::Wrong(name.to_owned(), what);
        let written: Written =
            serde_yaml::from_str(text).map_err(|error| FileError::Form(name.to_owned(), error))?;
        if written.users.is_empty() && written.rules.is_none() {
            return Err(wrong("has neither users nor rules".to_owned()));
        }
        match (&written.rules, written.unrestricted) {
            (None, false) => {
                let what = "has no rules: write which there are, or `unrestricted: true` if all its \
                            users may do everything";
                return Err(wrong(what.to_owned()));
            }
            (Some(_), true) => {
                return Err(wrong(
                    "has rules, and is unrestricted: leave one out".to_owned(),
                ));
            }
            _ => {}
        }
        let mode = match &written.password_hash {
            Some(name) => name
                .parse()
                .map_err(|error| wrong(format!("password-hash: {name:?} is {error}")))?,
            None => Mode::Auto,
        };
        let scheme = Scheme::new(mode, written.hash_key.as_deref(), SaltPosition::Disable);
        let mut known = Self {
            scheme: scheme.map_err(|error| wrong(format!("password-hash: {error}")))?,
            users: HashMap::new(),
            clients: HashMap::new(),
            reserved: HashSet::new(),
            rules: None,
        };
        for (at, user) in written.users.into_iter().enumerate() {
            let place = format!("users[{at}]");
            if let Err(malformed) = password::check(&known.scheme, &user.password, b"") {
                return Err(wrong(format!("{place}.password: {malformed}")));
            }
            for (name, value) in [("username", &user.username), ("client-id", &user.client_id)] {
                if value.as_ref().is_some_and(String::is_empty) {
                    return Err(wrong(format!("{place}.{name} is empty")));
                }
            }
            known.reserved.extend(user.client_id.clone());
            let (list, key) = match (&user.username, &user.client_id) {
                (Some(username), _) => (&mut known.users, username.clone()),
                (None, Some(client_id)) => (&mut known.clients, client_id.clone()),
                (None, None) => {
                    return Err(wrong(format!("{place} has neither username nor client-id")));
                }
            };
            if list.insert(key.clone(), user).is_some() {
                return Err(wrong(format!("{place}: {key:?} is there twice")));
            }
        }
        let passwords = known.users.values().chain(known.clients.values());
        let is_weak = |user: &&User| password::needs_rehash(&user.password);
        let n_weak = passwords.filter(is_weak).count();
        if n_weak > 0 {
            tracing::warn!(
                file = name,
                passwords = n_weak,
                "passwords could be found out by whoever gets the file: `gatemq passwd` makes better ones"
            );
        }
        if let Some(rules) = written.rules {
            known.rules = Some(Rules::of_written(rules).map_err(wrong)?);
        }
        Ok(known)
    }

    /// Whether a user may have this client id: its own where it has one, and nobody else's.
    /// The user of a name, whatever its password is.
    fn named(&self, client_id: &str, username: &str) -> Named<&User> {
        match self.users.get(username) {
            Some(user) if self.is_for(user, client_id) => Named::User(user),
            Some(_) => Named::Refused,
            None if self.reserved.contains(client_id) => Named::Refused,
            None => Named::Unknown,
        }
    }

    fn is_for(&self, user: &User, client_id: &str) -> bool {
        match &user.client_id {
            Some(own) => own == client_id,
            None => !self.reserved.contains(client_id),
        }
    }

    fn any_password(&self) -> Option<&str> {
        let mut all = self.users.values().chain(self.clients.values());
        all.next().map(|user| &*user.password)
    }

    /// Who a client says it is: by its user name, or by its client id where it has none, or none
    /// that is known.
    fn find(&self, username: Option<&str>, client_id: &str) -> Option<&User> {
        let by_name = username.and_then(|name| self.users.get(name));
        by_name.or_else(|| self.clients.get(client_id))
    }
}

// === impl User ===

impl User {
    fn allowed(&self) -> Admission {
        Admission::Allowed(super::Known {
            is_superuser: self.superuser,
            by: match self.username {
                Some(_) => By::Username,
                None => By::ClientId,
            },
            mark: FixedState::default().hash_one(&self.password),
            brought: None,
        })
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the password.
        f.debug_struct("User").finish_non_exhaustive()
    }
}

// === impl WrittenRule ===

impl WrittenRule {
    /// One rule for each of its topics.
    fn read(self, written: usize) -> Result<Vec<ScopedRule>, String> {
        let place = format!("rules[{written}]");
        let (effect, actions) = match (self.allow, self.deny) {
            (Some(actions), None) => (Effect::Allow, actions),
            (None, Some(actions)) => (Effect::Deny, actions),
            _ => return Err(format!("{place} needs either allow or deny")),
        };
        if self.topics.is_empty() {
            return Err(format!("{place}.topics is empty"));
        }
        for (name, list) in [
            ("users", &self.users),
            ("clients", &self.clients),
            ("addresses", &self.addresses),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!(
                    "{place}.{name} is empty: leave it out for everybody"
                ));
            }
        }
        let addresses = self.addresses.map(|list| {
            let parse = |text: &String| {
                text.parse()
                    .map_err(|error| format!("{place}.addresses: {error}"))
            };
            list.iter()
                .map(parse)
                .collect::<Result<Vec<Network>, String>>()
        });
        let addresses = addresses.transpose()?;
        let rule = |filter: String| {
            match Filter::parse(&filter, Bounds::NONE) {
                Ok(parsed) if parsed.share.is_none() => {}
                Ok(_) => {
                    let what = "a rule speaks of topics, whoever shares them: leave out $share/…/";
                    return Err(format!("{place}.topics: {filter:?}: {what}"));
                }
                Err(error) => return Err(format!("{place}.topics: {filter:?}: {error}")),
            }
            check_placeholders(&filter)
                .map_err(|what| format!("{place}.topics: {filter:?}: {what}"))?;
            Ok(ScopedRule {
                written,
                rule: Rule {
                    effect,
                    actions: actions.into(),
                    filter,
                },
                users: self.users.clone(),
                clients: self.clients.clone(),
                addresses: addresses.clone(),
            })
        };
        self.topics.into_iter().map(rule).collect()
    }
}

impl From<WrittenActions> for Actions {
    fn from(written: WrittenActions) -> Self {
        match written {
            WrittenActions::All => Self::BOTH,
            WrittenActions::Publish => Self::PUBLISH,
            WrittenActions::Subscribe => Self::SUBSCRIBE,
        }
    }
}

#[cfg(test)]
mod tests;
