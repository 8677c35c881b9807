//! Clients that bring a token (JWT), which says who they are and may say what they may do.
//!
//! [`token`] reads one and verifies its signature with [`keys`], of which some may be on a server
//! ([`remote`]); [`claims`] says what it means. What is no token at all is left to the next source;
//! a token that is not right lets nobody in, and neither does one that is not bound to its client's
//! user name or client id.

mod claims;
mod keys;
mod remote;
mod token;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use super::{
    Admission, By, Credentials, FileError, Identity, Known, Part, Source, Unavailable, Who,
};
use crate::clock::wall_seconds;
use crate::config::{Expected, JwtSource as Config, TokenFrom};
use keys::Key;
use remote::Remote;
use token::Token;

/// Tokens as a source.
#[derive(Debug)]
pub(crate) struct JwtSource {
    config: Config,
    /// Those of the configuration.
    keys: ArcSwap<Vec<Key>>,
    remote: Option<Remote>,
}

// === impl JwtSource ===

impl JwtSource {
    pub(crate) fn open(config: &Config) -> Result<Self, FileError> {
        let wrong = |what: String| FileError::Wrong("jwt".to_owned(), what);
        check(config).map_err(wrong)?;
        let remote = config.remote.as_ref();
        let remote = remote.map(|remote| Remote::open(remote, &config.algorithms));
        Ok(Self {
            keys: ArcSwap::from_pointee(read_keys(config).map_err(wrong)?),
            remote: remote.transpose().map_err(wrong)?,
            config: config.clone(),
        })
    }

    async fn judge(&self, credentials: &Credentials<'_>) -> Result<Admission, Unavailable> {
        let text = match self.config.from {
            TokenFrom::Password => credentials.password,
            TokenFrom::Username => credentials.username.map(str::as_bytes),
        };
        let Some(token) = text.and_then(Token::read) else {
            return Ok(Admission::Unknown);
        };
        let denied = |flaw| {
            tracing::debug!(
                client.id = credentials.client_id,
                ?flaw,
                "a token is not taken"
            );
            Ok(Admission::Denied)
        };
        let token = match token {
            Ok(token) => token,
            Err(flaw) => return denied(flaw),
        };
        let own = self.keys.load_full();
        let others = match &self.remote {
            Some(remote) if !token.has_key(&own) => remote.keys_for(&token).await?,
            _ => Arc::default(),
        };
        let (claims, key) = match token.verify(own.iter().chain(&*others)) {
            Ok(verified) => verified,
            Err(flaw) => return denied(flaw),
        };
        let judged = claims::judge(&claims, &self.config, credentials, wall_seconds());
        let Some((by, brought)) = judged else {
            tracing::debug!(
                client.id = credentials.client_id,
                "a token's claims do not let its client in"
            );
            return Ok(Admission::Denied);
        };
        Ok(Admission::Allowed(Known {
            is_superuser: brought.is_superuser,
            by,
            mark: key.mark,
            brought: Some(Arc::new(brought)),
        }))
    }

    /// Of a client that this source has let in: its token's rules. Of one that nobody has let in: it
    /// has no token, and so no right, where tokens have rules.
    fn part(&self, who: &Who<'_>) -> Option<Part> {
        self.config.acl_claim.as_ref()?;
        let common = match (who.brought, who.by) {
            (Some(brought), _) => brought.rules.clone().unwrap_or_default(),
            (None, By::Nobody | By::Certificate) => Arc::default(),
            (None, By::Username | By::ClientId) => return None,
        };
        Some(Part {
            common,
            ..Part::default()
        })
    }
}

impl Source for JwtSource {
    fn name(&self) -> String {
        match &self.remote {
            Some(remote) => format!("jwt ({})", remote.name()),
            None => "jwt".to_owned(),
        }
    }

    fn admit<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        Box::pin(self.judge(credentials))
    }

    /// A token that was taken holds until the key that it was verified with is not among those of the
    /// configuration any more; keys of a server come and go with no such meaning. When the token
    /// ends, the connection does so by itself.
    fn look_up<'a>(
        &'a self,
        _client_id: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Admission, Unavailable>> {
        let keys = self.keys.load();
        let is_key_there = keys.iter().any(|key| key.mark == identity.mark);
        let admission = match identity.mark == 0 || is_key_there {
            true => identity.still(),
            false => Admission::Denied,
        };
        Box::pin(std::future::ready(Ok(admission)))
    }

    fn rights<'a>(&'a self, who: &'a Who<'a>) -> BoxFuture<'a, Result<Option<Part>, Unavailable>> {
        Box::pin(std::future::ready(Ok(self.part(who))))
    }

    fn reload(&self) -> Result<(), String> {
        self.keys.store(Arc::new(read_keys(&self.config)?));
        Ok(())
    }
}

/// Whether tokens can be verified, and belong to somebody then.
fn check(config: &Config) -> Result<(), String> {
    if config.algorithms.is_empty() {
        return Err("names no algorithms".to_owned());
    }
    if config.keys.is_empty() && config.remote.is_none() {
        return Err("has no key".to_owned());
    }
    let checks = |what: Expected| config.verify.iter().any(|(_, expected)| *expected == what);
    if checks(Expected::Username) && config.from == TokenFrom::Username {
        return Err("verify: with tokens for user names there is no user name (%u)".to_owned());
    }
    let is_bound =
        config.username_claim.is_some() || checks(Expected::Username) || checks(Expected::ClientId);
    match is_bound {
        true => Ok(()),
        false => {
            Err("binds a token to nobody: write a username-claim, or %u or %c in verify".to_owned())
        }
    }
}

fn read_keys(config: &Config) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for source in &config.keys {
        keys.extend(keys::read(source, &config.algorithms)?);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
