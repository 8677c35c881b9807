//! What a file of users says of a client, asked without a broker: the same judgement, and which rule
//! it comes from. For `gatemq acl check`, and for tests.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use super::{FileError, Known};
use crate::auth::rules;
use crate::auth::{By, Identity, Rights, Who};
use crate::connection::is_reserved;

/// A file of users and rules.
#[derive(Debug)]
pub struct File(Known);

/// A client of a file, whose password is taken for right.
#[derive(Debug)]
pub struct Client<'f> {
    /// Whether the file has it; if not, it is judged as one that another source has let in.
    pub is_known: bool,
    rights: Rights,
    file: &'f Known,
}

/// What a client does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It sends a message, or leaves a will.
    Publish,
    /// It gets a message, or asks for all of a filter's.
    Subscribe,
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no.
    pub is_allowed: bool,
    /// Where that comes from.
    pub because: Because,
}

/// Where a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The first rule that speaks of it, counted from 0 as it is written.
    Rule(usize),
    /// There are rules, and none speaks of it.
    NoRule,
    /// There are no rules.
    Unrestricted,
    /// The client may do everything.
    Superuser,
    /// Whatever rules say, no client publishes there.
    Reserved,
}

// === impl File ===

impl File {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It is none that the broker would take.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Known::read(path).map(Self)
    }

    /// Takes a text for a file's; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// It is none that the broker would take.
    pub fn parse(text: &str, name: &str) -> Result<Self, FileError> {
        Known::parse(text, name).map(Self)
    }

    /// The client of these names; `None` if it would not be let in with this client id, whatever its
    /// password.
    pub fn client(
        &self,
        client_id: &str,
        username: Option<&str>,
        address: Option<IpAddr>,
    ) -> Option<Client<'_>> {
        let user = self.0.find(username, client_id);
        if user.is_some_and(|user| !self.0.is_for(user, client_id)) {
            return None;
        }
        let username = match user {
            Some(user) => user.username.as_deref(),
            None => username,
        };
        let who = Who {
            client_id,
            username,
            address,
            by: match (user, username) {
                (_, Some(_)) => By::Username,
                (Some(_), None) => By::ClientId,
                (None, None) => By::Nobody,
            },
            brought: None,
        };
        let rules = self.0.rules.as_ref();
        Some(Client {
            is_known: user.is_some(),
            rights: Rights {
                identity: Identity {
                    username: username.map(Into::into),
                    ..Identity::default()
                },
                client_id: client_id.into(),
                is_superuser: user.is_some_and(|user| user.superuser),
                parts: rules.map(|rules| rules.of(&who)).into_iter().collect(),
                ..Rights::default()
            },
            file: &self.0,
        })
    }
}

// === impl Client ===

impl Client<'_> {
    /// Whether it may do this with a topic, or with all topics of a filter (without
    /// `$share/<group>/`).
    pub fn judge(&self, action: Action, filter: &str) -> Verdict {
        let (action, is_reserved) = match action {
            Action::Publish => (rules::Action::Publish, is_reserved(filter)),
            Action::Subscribe => (rules::Action::Subscribe, false),
        };
        Verdict {
            is_allowed: !is_reserved && self.rights.allow(action, filter),
            because: match self.rights.parts.first() {
                _ if is_reserved => Because::Reserved,
                _ if self.rights.is_superuser => Because::Superuser,
                None => Because::Unrestricted,
                Some(part) => match part.first(action, filter, self.rights.names()) {
                    Some((place, _)) => Because::Rule(self.written(place)),
                    None => Because::NoRule,
                },
            },
        }
    }

    /// The rule that is at a place of all rules, each of which has one topic.
    fn written(&self, place: u32) -> usize {
        let all = self.file.rules.iter().flat_map(|rules| &rules.all);
        let mut places = all.map(|rule| rule.written);
        places.nth(place as usize).unwrap_or_default()
    }
}

// === impl Verdict ===

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_allowed { "allow" } else { "deny" })?;
        match self.because {
            Because::Rule(at) => write!(f, " (rules[{at}])"),
            Because::NoRule => f.write_str(" (no rule speaks of it)"),
            Because::Unrestricted => f.write_str(" (unrestricted)"),
            Because::Superuser => f.write_str(" (superuser)"),
            Because::Reserved => f.write_str(" (the broker's own topic)"),
        }
    }
}
