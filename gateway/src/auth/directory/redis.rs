//! Users and rules in Redis, under the keys that comqtt has.
//!
//! A user is a field of one hash, `HGET <auth-prefix> <key>`, its value JSON. Of that `password` and
//! `allow` count, which is false where it is left out; comqtt keeps `client`, `username` and `remote`
//! there, too, and looks at none of them. The rules of a user are a hash, `HGETALL <acl-prefix>:<key>`,
//! an access value by topic filter. What clients are called is an argument of these two commands and
//! of no other.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use redis::Value;
use serde::Deserialize;

use super::access::Row;
use super::{Directory, DirectorySource, User};
use crate::auth::password::pool::Pool;
use crate::auth::{FileError, Source, Unavailable};
use crate::config::RedisUsers;
use crate::retained::Quota;
use crate::store::redis::{AskError, Asker, Config};

/// Opens Redis as a source; whether it is there is seen when it is asked.
pub(in crate::auth) fn open(
    given: &RedisUsers,
    pool: Arc<Pool>,
) -> Result<impl Source + use<>, FileError> {
    let wrong = |what: String| FileError::Wrong("redis".to_owned(), what);
    given.check().map_err(wrong)?;
    let config =
        Config::of(&given.server, Quota::default()).map_err(|error| wrong(error.to_string()))?;
    config.warn_if_overheard();
    let directory = RedisDirectory {
        asker: Asker::new(config),
        users: given.auth_prefix.clone(),
        rules: given.acl_prefix.clone(),
    };
    let source = DirectorySource::new(directory, &given.lookup, pool);
    source.map_err(wrong)
}

#[derive(Debug)]
struct RedisDirectory {
    asker: Asker,
    users: String,
    rules: String,
}

/// A user's JSON, as far as it counts.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    password: String,
    #[serde(default)]
    allow: bool,
}

// === impl RedisDirectory ===

impl Directory for RedisDirectory {
    fn name(&self) -> String {
        format!("redis {}", self.asker.name())
    }

    fn reload(&self) -> Result<(), String> {
        self.asker.reload()
    }

    fn user<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<User>, Unavailable>> {
        Box::pin(async move {
            let mut ask = redis::cmd("HGET");
            ask.arg(&self.users).arg(key);
            let answer = self
                .asker
                .ask(&self.users, &ask)
                .await
                .map_err(|error| failed(&error))?;
            user_of(answer)
        })
    }

    fn rows<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Unavailable>> {
        Box::pin(async move {
            let hash = format!("{}:{key}", self.rules);
            let mut ask = redis::cmd("HGETALL");
            ask.arg(&hash);
            let answer = self.asker.ask(&hash, &ask).await;
            // It is what is stored for this client that is no hash.
            let answer = answer.map_err(|error| match error {
                AskError::Refused(why) if why.starts_with("WRONGTYPE") => {
                    Unavailable::Unusable(why)
                }
                error => failed(&error),
            })?;
            rows_of(answer)
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        user: &'a User,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            let changed = changed(&user.whole, password)?;
            let field = (&*self.users, key);
            let replacing = self.asker.replace(field, &user.whole, &changed);
            replacing.await.map_err(|error| failed(&error))
        })
    }
}

/// A user's JSON with another password.
fn changed(json: &[u8], password: &str) -> Result<Vec<u8>, Unavailable> {
    let unusable = |_| Unavailable::Unusable("the user is no JSON".to_owned());
    let mut user: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(unusable)?;
    user.insert("password".to_owned(), password.into());
    serde_json::to_vec(&user).map_err(unusable)
}

fn user_of(answer: Value) -> Result<Option<User>, Unavailable> {
    let json = match answer {
        Value::Nil => return Ok(None),
        Value::BulkString(json) => json,
        _ => return Err(another_form()),
    };
    // Its text is not shown: there is a password in it. An array would be taken for an object.
    let is_object = json.trim_ascii_start().starts_with(b"{");
    let stored = is_object.then(|| serde_json::from_slice::<Stored>(&json).ok());
    let stored = stored.flatten().ok_or_else(|| {
        Unavailable::Unusable("the user is no JSON with a password and whether to allow it".into())
    })?;
    Ok(Some(User {
        password: stored.password,
        is_allowed: stored.allow,
        whole: json,
    }))
}

fn rows_of(answer: Value) -> Result<Vec<Row>, Unavailable> {
    let values = match answer {
        Value::Nil => Vec::new(),
        Value::Array(values) => values,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
        _ => return Err(another_form()),
    };
    // What is no text is no filter and no access value: it is denied as such.
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => Err(another_form()),
    };
    let (pairs, rest) = values.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(another_form());
    }
    let row = |[filter, access]: &[Value; 2]| {
        Ok(Row {
            filter: text(filter)?,
            access: text(access)?,
        })
    };
    pairs.iter().map(row).collect()
}

fn another_form() -> Unavailable {
    Unavailable::Failed("an answer has another form than was agreed on".to_owned())
}

fn failed(error: &AskError) -> Unavailable {
    Unavailable::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(json: &str) -> Result<Option<(String, bool)>, ()> {
        let found = user_of(Value::BulkString(json.as_bytes().to_vec())).map_err(drop)?;
        Ok(found.map(|user| (user.password, user.is_allowed)))
    }

    #[test]
    fn a_user_is_what_comqtt_has_stored() {
        let stored = r#"{"client":"","username":"ann","remote":"","password":"x","allow":true}"#;
        assert_eq!(user(stored), Ok(Some(("x".to_owned(), true))));
        // Nobody is let in by what is not there.
        assert_eq!(
            user(r#"{"password":"x"}"#),
            Ok(Some(("x".to_owned(), false)))
        );
        assert_eq!(user("{}"), Ok(Some((String::new(), false))));
        assert!(matches!(user_of(Value::Nil), Ok(None)));
        for wrong in [
            "",
            "x",
            "[]",
            r#"["x",true]"#,
            "1",
            r#"{"password":1,"allow":true}"#,
            r#"{"password":"x","allow":1}"#,
            r#"{"password":"x","allow":"true"}"#,
            r#"{"password":"x","allow":true"#,
            r#"{"password":"x","password":"y","allow":true}"#,
        ] {
            assert_eq!(user(wrong), Err(()), "{wrong}");
        }
        assert!(user_of(Value::Int(1)).is_err());
    }

    #[test]
    fn of_a_user_only_the_password_is_changed() {
        let stored = r#"{"allow":true,"client":"c","password":"x","rank":[1]}"#;
        let changed = changed(stored.as_bytes(), "y").map_err(drop);
        let expected = stored.replace("\"x\"", "\"y\"");
        assert_eq!(changed, Ok(expected.into_bytes()));
    }

    #[test]
    fn rows_are_read_in_either_form() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let flat = Value::Array(vec![bulk("a/#"), bulk("3")]);
        let map = Value::Map(vec![(bulk("a/#"), bulk("3"))]);
        let expected = vec![Row {
            filter: "a/#".to_owned(),
            access: "3".to_owned(),
        }];
        assert_eq!(rows_of(flat).ok(), Some(expected.clone()));
        assert_eq!(rows_of(map).ok(), Some(expected));
        assert_eq!(rows_of(Value::Array(Vec::new())).ok(), Some(Vec::new()));
        assert!(rows_of(Value::Array(vec![bulk("a")])).is_err());
        assert!(rows_of(Value::Int(1)).is_err());
    }
}
