//! What a server's answer means. Pure.
//!
//! The status says it, or, with 200, the body. Anything that is not one of the known forms is an
//! error, and so a refusal.

use serde_json::{Map, Value};

use crate::auth::fetch::Heard;
use crate::auth::rules::{Names, Rule};
use crate::auth::{foreign, json};

/// What is said of a client that connects.
#[derive(Debug, PartialEq)]
pub(super) enum Login {
    Allowed(Said),
    Denied,
    Unknown,
}

/// What is said besides.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) is_superuser: bool,
    /// `None` if there is no word of rules.
    pub(super) rules: Option<Vec<Rule>>,
    /// In Unix seconds.
    pub(super) expires_at: Option<u64>,
}

/// What is said of a client's rules.
#[derive(Debug, PartialEq)]
pub(super) enum Access {
    Rules(Vec<Rule>),
    /// It may not be there at all.
    Refused,
    /// There is no word of it.
    Unknown,
}

/// Reads whether a client comes in. With 200 the body is `1` or `0`, as with comqtt, or
/// `{"result": "allow" | "deny" | "ignore", "is_superuser": …, "acl": […], "expire_at": …}`, as with
/// EMQX.
pub(super) fn login(heard: &Heard) -> Result<Login, String> {
    match heard.status {
        200 => {}
        204 => return Ok(Login::Allowed(Said::default())),
        401 | 403 => return Ok(Login::Denied),
        404 => return Ok(Login::Unknown),
        status => return Err(unexpected(status)),
    }
    match heard.body.trim_ascii() {
        b"1" => return Ok(Login::Allowed(Said::default())),
        b"0" => return Ok(Login::Denied),
        _ => {}
    }
    let Value::Object(object) = body(heard)? else {
        return Err("the answer is neither 1, 0, nor an object".to_owned());
    };
    match object.get("result").and_then(Value::as_str) {
        Some("allow") => said(&object).map(Login::Allowed),
        Some("deny") => Ok(Login::Denied),
        Some("ignore") => Ok(Login::Unknown),
        _ => Err("the answer's result is not allow, deny, or ignore".to_owned()),
    }
}

/// Reads a client's rules. With 200 the body is `{"FILTER": ACCESS, …}`, as with comqtt, or a list of
/// rules, as with EMQX.
pub(super) fn access(heard: &Heard, names: Names<'_>) -> Result<Access, String> {
    match heard.status {
        200 => {}
        204 => return Ok(Access::Rules(Vec::new())),
        404 => return Ok(Access::Unknown),
        401 | 403 => return Ok(Access::Refused),
        status => return Err(unexpected(status)),
    }
    let rules = match body(heard)? {
        Value::Object(accesses) => foreign::by_length(&accesses, names),
        Value::Array(rules) => foreign::ordered(&rules),
        _ => Err("the answer is neither an object nor a list".to_owned()),
    };
    rules.map(Access::Rules)
}

fn said(object: &Map<String, Value>) -> Result<Said, String> {
    let is = |name: &str| match object.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("{name} is not true or false")),
    };
    let rules = match object.get("acl") {
        None => None,
        Some(Value::Array(rules)) => Some(foreign::ordered(rules)?),
        Some(_) => return Err("acl is no list".to_owned()),
    };
    let expires_at = match object.get("expire_at") {
        None => None,
        Some(at) => Some(at.as_u64().ok_or("expire_at is no time in seconds")?),
    };
    Ok(Said {
        is_superuser: is("is_superuser")? || is("superuser")?,
        rules,
        expires_at,
    })
}

fn body(heard: &Heard) -> Result<Value, String> {
    json::parse(&heard.body).map_err(|error| format!("the answer {error}"))
}

fn unexpected(status: u16) -> String {
    format!("the answer has the status {status}")
}

#[cfg(test)]
mod tests;
