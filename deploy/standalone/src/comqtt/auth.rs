//! Translates comqtt's file of users and rules in Redis, MySQL or PostgreSQL into one of our sources.

use serde_yaml::{Mapping, Value};

/// Where a comqtt file says that users and rules are; `None` if anybody may do anything, or they are
/// nowhere that is known here.
pub fn file_of(tree: &Value) -> Option<(Kind, &str)> {
    let auth = tree.get("auth")?;
    let kind = match auth.get("datasource")?.as_u64()? {
        1 => Kind::Redis,
        2 => Kind::Mysql,
        3 => Kind::Postgresql,
        _ => return None,
    };
    // Only whether it is 0 has a meaning in comqtt.
    let is_wanted = auth.get("way").and_then(Value::as_u64) != Some(0);
    let path = auth.get("conf-path")?.as_str()?;
    (is_wanted && auth.get("way").is_some() && !path.is_empty()).then_some((kind, path))
}

/// What keeps users and rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redis.
    Redis,
    /// MySQL or MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgresql,
}

/// The source that such a file is, as an element of `auth.sources`.
///
/// # Errors
///
/// What it asks for that is not to be had here.
pub fn source(kind: Kind, file: &Value) -> Result<Value, String> {
    match kind {
        Kind::Redis => redis(file),
        Kind::Mysql => sql("mysql", file),
        Kind::Postgresql => sql("postgresql", file),
    }
}

fn redis(file: &Value) -> Result<Value, String> {
    let server = |name| {
        file.get("redis-options")
            .and_then(|server| server.get(name))
    };
    let (auth, acl) = modes(file)?;
    let mut users = section(&[("mode", Some(&auth)), ("prefix", file.get("auth-prefix"))]);
    hash(&mut users, file);
    let rules = section(&[("mode", Some(&acl)), ("prefix", file.get("acl-prefix"))]);
    let address = server("addr").map(|address| Value::Sequence(vec![address.clone()]));
    let source = section(&[
        ("type", Some(&"redis".into())),
        ("addr", address.as_ref()),
        ("username", server("username")),
        ("password", server("password")),
        ("db", server("db")),
        ("auth", Some(&Value::Mapping(users))),
        ("acl", Some(&Value::Mapping(rules))),
    ]);
    Ok(Value::Mapping(source))
}

fn sql(kind: &str, file: &Value) -> Result<Value, String> {
    let server = |name| file.get("dsn").and_then(|server| server.get(name));
    let users = |name| file.get("auth").and_then(|table| table.get(name));
    let rules = |name| file.get("acl").and_then(|table| table.get(name));
    let (auth, acl) = modes(file)?;
    let mut auth = section(&[
        ("mode", Some(&auth)),
        ("table", users("table")),
        ("user-column", users("user-column")),
        ("password-column", users("password-column")),
        ("allow-column", users("allow-column")),
    ]);
    hash(&mut auth, file.get("auth").unwrap_or(&Value::Null));
    let acl = section(&[
        ("mode", Some(&acl)),
        ("table", rules("table")),
        ("user-column", rules("user-column")),
        ("topic-column", rules("topic-column")),
        ("access-column", rules("access-column")),
    ]);
    // 0 is no bound there.
    let connections = server("max-open-conns").filter(|number| number.as_u64() != Some(0));
    let source = section(&[
        ("type", Some(&kind.into())),
        ("host", server("host")),
        ("port", server("port")),
        ("database", server("schema")),
        ("username", server("login-name")),
        ("password", server("login-password")),
        ("sslmode", server("sslmode")),
        ("max-connections", connections),
        ("auth", Some(&Value::Mapping(auth))),
        ("acl", Some(&Value::Mapping(acl))),
    ]);
    Ok(Value::Mapping(source))
}

/// By what users and rules are found. comqtt lets everybody in where users are found by nothing.
fn modes(file: &Value) -> Result<(Value, Value), String> {
    let mode = |key: &str| match file.get(key).and_then(Value::as_u64) {
        Some(1) => Ok("username"),
        Some(2) => Ok("client-id"),
        Some(0) => Ok("none"),
        _ => Err(format!("{key} is not 0, 1 or 2")),
    };
    match (mode("auth-mode")?, mode("acl-mode")?) {
        ("none", _) => {
            let what = "auth-mode 0 lets everybody in: write auth.sources and --allow-anonymous \
                        instead, or give it 1 or 2";
            Err(what.to_owned())
        }
        (auth, acl) => Ok((auth.into(), acl.into())),
    }
}

/// How passwords are stored; plain where nothing is said.
fn hash(users: &mut Mapping, from: &Value) {
    let way = from.get("password-hash").filter(|way| !way.is_null());
    let way = way.cloned().unwrap_or_else(|| 0.into());
    users.insert("password-hash".into(), way);
    if let Some(key) = from.get("hash-key").filter(|key| !key.is_null()) {
        users.insert("hash-key".into(), key.clone());
    }
}

/// Keys that have a value.
fn section(keys: &[(&str, Option<&Value>)]) -> Mapping {
    let set = keys.iter().filter_map(|(name, value)| {
        let value = value.filter(|value| !value.is_null())?;
        Some((Value::from(*name), value.clone()))
    });
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, file: &str, expected: &str) {
        let file = serde_yaml::from_str(file).unwrap();
        let expected: Value = serde_yaml::from_str(expected).unwrap();
        assert_eq!(source(kind, &file), Ok(expected));
    }

    #[test]
    fn a_file_is_read_where_one_is_asked_for() {
        let file = |yaml: &str| {
            let tree: Value = serde_yaml::from_str(yaml).unwrap();
            file_of(&tree).map(|(kind, path)| (kind, path.to_owned()))
        };
        let found = |kind| Some((kind, "a.yml".to_owned()));
        assert_eq!(
            file("auth: {way: 1, datasource: 1, conf-path: a.yml}"),
            found(Kind::Redis)
        );
        assert_eq!(
            file("auth: {way: 2, datasource: 2, conf-path: a.yml}"),
            found(Kind::Mysql)
        );
        assert_eq!(
            file("auth: {way: 1, datasource: 3, conf-path: a.yml}"),
            found(Kind::Postgresql)
        );
        for yaml in [
            "{}",
            "auth: {way: 0, datasource: 1, conf-path: a.yml}",
            "auth: {datasource: 1, conf-path: a.yml}",
            "auth: {way: 1, datasource: 0, conf-path: a.yml}",
            "auth: {way: 1, datasource: 4, conf-path: a.yml}",
            "auth: {way: 1, datasource: 1, conf-path: }",
            "auth: {way: 1, datasource: 1}",
        ] {
            assert_eq!(file(yaml), None, "{yaml}");
        }
    }

    #[test]
    fn redis_keeps_its_keys() {
        check(
            Kind::Redis,
            "{ auth-mode: 1, acl-mode: 2, password-hash: 7, hash-key: k, auth-prefix: comqtt-auth,
               redis-options: { addr: 'r:6379', username: , password: p, db: 1 } }",
            "{ type: redis, addr: ['r:6379'], password: p, db: 1,
               auth: { mode: username, prefix: comqtt-auth, password-hash: 7, hash-key: k },
               acl: { mode: client-id } }",
        );
    }

    #[test]
    fn tables_keep_their_names() {
        let file = "{ auth-mode: 2, acl-mode: 0,
            dsn: { host: h, port: 1, schema: s, charset: utf8, login-name: n, login-password: p,
                   max-open-conns: 200, max-idle-conns: 100, sslmode: disable },
            auth: { table: a, user-column: u, password-column: c, allow-column: w, hash-key: },
            acl: { table: b, user-column: v, topic-column: t, access-column: x, publish: 1 } }";
        let expected = "host: h, port: 1, database: s, username: n, password: p,
            sslmode: disable, max-connections: 200,
            auth: { mode: client-id, table: a, user-column: u, password-column: c, allow-column: w,
                    password-hash: 0 },
            acl: { mode: none, table: b, user-column: v, topic-column: t, access-column: x }";
        check(Kind::Mysql, file, &format!("{{ type: mysql, {expected} }}"));
        check(
            Kind::Postgresql,
            file,
            &format!("{{ type: postgresql, {expected} }}"),
        );
    }

    #[test]
    fn what_is_not_to_be_had_is_said() {
        for (file, says) in [
            ("{ auth-mode: 0, acl-mode: 1 }", "everybody"),
            ("{ auth-mode: 1 }", "acl-mode"),
            ("{ acl-mode: 1 }", "auth-mode"),
            ("{ auth-mode: 3, acl-mode: 1 }", "auth-mode"),
        ] {
            let wrong = source(Kind::Redis, &serde_yaml::from_str(file).unwrap());
            assert!(
                wrong.as_ref().is_err_and(|what| what.contains(says)),
                "{wrong:?}"
            );
        }
    }
}
