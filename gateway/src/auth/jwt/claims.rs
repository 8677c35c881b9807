//! What the claims of a token mean, once its signature is verified. Pure.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::rules::{Rule, Ruleset};
use crate::auth::{Brought, By, Credentials, foreign};
use crate::config::{Expected, JwtSource, TokenFrom};

/// As whom a token lets a client in, and with what; `None` if it does not. `now` is in Unix seconds.
pub(super) fn judge(
    claims: &Map<String, Value>,
    config: &JwtSource,
    credentials: &Credentials<'_>,
    now: u64,
) -> Option<(By, Brought)> {
    let leeway = config.leeway.as_secs();
    let end = time(claims, "exp")?;
    if end.is_none() && config.requires_expiry {
        return None;
    }
    let expires_at = end.map(|end| end.saturating_add(leeway));
    if expires_at.is_some_and(|at| at <= now) {
        return None;
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|begin| begin > now.saturating_add(leeway)) {
            return None;
        }
    }
    let is = |name: &str, text: &str| claims.get(name).and_then(Value::as_str) == Some(text);
    if let Some(issuer) = &config.issuer
        && !is("iss", issuer)
    {
        return None;
    }
    if let Some(audience) = &config.audience
        && !is_for(claims.get("aud")?, audience)
    {
        return None;
    }
    let given = match config.from {
        TokenFrom::Password => credentials.username,
        TokenFrom::Username => None, // it is the token
    };
    for (name, expected) in &config.verify {
        let expected = match expected {
            Expected::Username => given?,
            Expected::ClientId => credentials.client_id,
            Expected::Text(text) => text,
        };
        if !is(name, expected) {
            return None;
        }
    }
    let (by, username) = match &config.username_claim {
        Some(name) => {
            let named = claims.get(name)?.as_str()?;
            let is_name = !named.is_empty() && !named.contains(char::is_control);
            if !is_name || given.is_some_and(|given| given != named) {
                return None;
            }
            (By::Username, Some(named))
        }
        None if is_checked(config, &Expected::Username) => (By::Username, given),
        None if is_checked(config, &Expected::ClientId) => (By::ClientId, None),
        None => return None, // whose token it is nobody knows
    };
    let is_superuser = match &config.superuser_claim {
        Some(name) => claims.get(name).map_or(Some(false), Value::as_bool)?,
        None => false,
    };
    let rules = match &config.acl_claim {
        Some(name) => Some(Arc::new(rules(claims.get(name))?)),
        None => None,
    };
    let brought = Brought {
        username: username.map(Into::into),
        is_superuser,
        rules,
        expires_at,
    };
    Some((by, brought))
}

fn is_checked(config: &JwtSource, what: &Expected) -> bool {
    config.verify.iter().any(|(_, expected)| expected == what)
}

/// A time in seconds; `None` if what is there is no time.
fn time(claims: &Map<String, Value>, name: &str) -> Option<Option<u64>> {
    let Some(value) = claims.get(name) else {
        return Some(None);
    };
    let whole = value.as_u64();
    let time = whole.or_else(|| {
        let time = value.as_f64().filter(|time| *time >= 0.0)?;
        Some(time as u64)
    });
    time.map(Some)
}

/// Whether a token for these is for one.
fn is_for(audiences: &Value, audience: &str) -> bool {
    match audiences {
        Value::String(one) => one == audience,
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// The rules of a token; none at all if it has no word of them.
fn rules(claim: Option<&Value>) -> Option<Ruleset> {
    let rules: Vec<Rule> = match claim {
        None => Vec::new(),
        Some(Value::Object(lists)) => foreign::allowed(lists).ok()?,
        Some(Value::Array(rules)) => foreign::ordered(rules).ok()?,
        Some(_) => return None,
    };
    Some(Ruleset::of((0..).zip(&rules)))
}

#[cfg(test)]
mod tests;
