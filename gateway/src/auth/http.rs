//! Clients and rules of a server that is asked over HTTP ([`super::fetch`] asks, [`answer`] reads what
//! it says).
//!
//! Asked for a client it gets all that the client has shown. Whoever shows no password is not asked
//! about: a server that knows a user without one by mistake lets nobody in. A client's rules are asked
//! for when it connects, and again when it is judged again.

mod answer;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Url;

use super::fetch::{self, Fetcher};
use super::rules::{Names, Rule, Ruleset};
use super::{
    Admission, Brought, By, Credentials, FileError, Identity, Known, Part, Source, Unavailable, Who,
};
use crate::clock::wall_seconds;
use crate::config;
use answer::{Access, Login};

/// Places of rules that the answer about the client does not reach: those of the other answer are
/// behind all of them.
const BEHIND: u32 = 1 << 16;

/// A server as a source.
#[derive(Debug)]
pub(crate) struct HttpSource {
    name: String,
    fetcher: Fetcher,
    carriage: config::Carriage,
    auth_url: Option<Url>,
    acl_url: Option<Url>,
    refresh: Duration,
}

// === impl HttpSource ===

impl HttpSource {
    pub(crate) fn open(config: &config::HttpSource) -> Result<Self, FileError> {
        let texts = [&config.auth_url, &config.acl_url];
        let name = texts.into_iter().flatten().next();
        let wrong = |what: String| {
            let name = name.map_or_else(|| "http".to_owned(), |text| fetch::shown_text(text));
            FileError::Wrong(name, what)
        };
        let [auth_url, acl_url] = texts.map(|text| text.as_deref().map(fetch::url).transpose());
        let (auth_url, acl_url) = (auth_url.map_err(wrong)?, acl_url.map_err(wrong)?);
        let urls: Vec<&Url> = auth_url.iter().chain(&acl_url).collect();
        let fetcher = Fetcher::open(&config.fetch, &urls).map_err(wrong)?;
        let Some(first) = urls.first() else {
            return Err(wrong("has neither auth-url nor acl-url".to_owned()));
        };
        let name = fetch::shown(first);
        if auth_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            tracing::warn!(source = name, "passwords go to it unencrypted");
        }
        if auth_url.is_some() && config.carriage == config::Carriage::Query {
            tracing::warn!(
                source = name,
                "passwords are in the URLs that it gets: it may keep them in its log"
            );
        }
        Ok(Self {
            name,
            fetcher,
            carriage: config.carriage,
            auth_url,
            acl_url,
            refresh: config.refresh,
        })
    }

    async fn login(&self, credentials: &Credentials<'_>) -> Result<Admission, Unavailable> {
        // What cannot be said to the server as text it does not know.
        let password = credentials.password.map(std::str::from_utf8);
        let (Some(url), Some(Ok(password))) = (&self.auth_url, password) else {
            return Ok(Admission::Unknown);
        };
        let (client_id, username) = (credentials.client_id, credentials.username);
        let address = credentials.address.map(|address| address.to_string());
        let mut fields = fields(client_id, username, address.as_deref());
        fields.push(("password", password));
        let heard = self.fetcher.ask(url, self.carriage, &fields).await?;
        let said = match answer::login(&heard).map_err(Unavailable::Failed)? {
            Login::Allowed(said) => said,
            Login::Denied => return Ok(Admission::Denied),
            Login::Unknown => return Ok(Admission::Unknown),
        };
        if said.expires_at.is_some_and(|at| at <= wall_seconds()) {
            return Ok(Admission::Denied);
        }
        let rules = said.rules.map(|rules| Arc::new(of(&rules, 0)));
        Ok(Admission::Allowed(Known {
            is_superuser: said.is_superuser,
            by: match username {
                Some(_) => By::Username,
                None => By::ClientId,
            },
            mark: 0, // what it has to prove the server alone knows
            brought: Some(Arc::new(Brought {
                username: None,
                is_superuser: said.is_superuser,
                rules,
                expires_at: said.expires_at,
            })),
        }))
    }

    async fn rules(&self, who: &Who<'_>) -> Result<Option<Part>, Unavailable> {
        let common = who.brought.and_then(|brought| brought.rules.clone());
        let asking = self.access(who.client_id, who.username, who.address);
        let rules = match asking.await? {
            None => {
                return Ok(common.map(|common| Part {
                    common,
                    own: Arc::default(),
                }));
            }
            Some(Access::Rules(rules)) => rules,
            Some(Access::Unknown) => Vec::new(),
            Some(Access::Refused) => return Err(Unavailable::Refused),
        };
        Ok(Some(Part {
            common: common.unwrap_or_default(),
            own: Arc::new(of(&rules, BEHIND)),
        }))
    }

    /// What the server says of a client's rules; `None` if it is not asked.
    async fn access(
        &self,
        client_id: &str,
        username: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Option<Access>, Unavailable> {
        let Some(url) = &self.acl_url else {
            return Ok(None);
        };
        let address = address.map(|address| address.to_string());
        let fields = fields(client_id, username, address.as_deref());
        let heard = self.fetcher.ask(url, self.carriage, &fields).await?;
        let names = Names {
            username,
            client_id,
        };
        let access = answer::access(&heard, names).map_err(Unavailable::Failed)?;
        Ok(Some(access))
    }

    async fn still(&self, client_id: &str, identity: &Identity) -> Result<Admission, Unavailable> {
        if identity.brought.is_some() {
            return Ok(identity.still());
        }
        let username = identity.username.as_deref();
        let asking = self.access(client_id, username, identity.address);
        Ok(match asking.await? {
            None | Some(Access::Unknown) => Admission::Unknown,
            Some(Access::Refused) => Admission::Denied,
            Some(Access::Rules(_)) => Admission::Allowed(Known {
                is_superuser: false,
                by: identity.by,
                mark: identity.mark,
                brought: None,
            }),
        })
    }
}

impl Source for HttpSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(self.login(credentials))
    }

    /// Without the password the server cannot be asked again whether it is the client: what it said
    /// holds. Whether the client may still be there the
    /// acl-url says, which is asked for its rules next: 401 and 403 end it. Of one of which no more
    /// than its name is left, such as who made a will that is due after a restart, the acl-url says
    /// whether it is known at all.
    fn look_up<'a>(
        &'a self,
        client_id: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(self.still(client_id, identity))
    }

    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        Box::pin(self.rules(who))
    }

    fn reload(&self) -> Result<(), String> {
        Ok(()) // nothing is kept
    }

    fn refresh(&self) -> Option<Duration> {
        self.acl_url.as_ref().map(|_| self.refresh)
    }
}

/// What the server gets of a client, by the names of comqtt and of EMQX; what the client has not
/// given is not there.
fn fields<'a>(
    client_id: &'a str,
    username: Option<&'a str>,
    address: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let given = [
        ("username", username),
        ("user", username),
        ("clientid", Some(client_id)),
        ("peerhost", address),
    ];
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn of(rules: &[Rule], from: u32) -> Ruleset {
    Ruleset::of((from..).zip(rules))
}

#[cfg(test)]
mod tests;
