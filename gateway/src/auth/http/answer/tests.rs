//! Each answer that there may be, and many that there should not.

use super::*;

const NAMES: Names<'static> = Names {
    username: Some("ann"),
    client_id: "c-1",
};

fn access(heard: &Heard) -> Result<Access, String> {
    super::access(heard, NAMES)
}

fn heard(status: u16, body: &str) -> Heard {
    Heard {
        status,
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn the_status_says_it() {
    assert_eq!(login(&heard(204, "")), Ok(Login::Allowed(Said::default())));
    assert_eq!(login(&heard(204, "0")), Ok(Login::Allowed(Said::default())));
    for status in [401, 403] {
        assert_eq!(login(&heard(status, "1")), Ok(Login::Denied));
        assert_eq!(access(&heard(status, "{}")), Ok(Access::Refused));
    }
    assert_eq!(login(&heard(404, "1")), Ok(Login::Unknown));
    assert_eq!(access(&heard(204, "")), Ok(Access::Rules(Vec::new())));
    assert_eq!(access(&heard(404, "{}")), Ok(Access::Unknown));
    for status in [100, 201, 206, 301, 302, 307, 400, 407, 429, 500, 502, 503] {
        assert!(login(&heard(status, "1")).is_err(), "{status}");
        assert!(access(&heard(status, "{}")).is_err(), "{status}");
    }
}

#[test]
fn the_body_says_it() {
    let said = |body: &str| login(&heard(200, body));
    let allowed = Ok(Login::Allowed(Said::default()));
    for body in ["1", "1\n", r#"{"result": "allow"}"#] {
        assert_eq!(said(body), allowed, "{body}");
    }
    for body in ["0", " 0\r\n", r#"{"result": "deny", "is_superuser": true}"#] {
        assert_eq!(said(body), Ok(Login::Denied), "{body}");
    }
    assert_eq!(said(r#"{"result": "ignore"}"#), Ok(Login::Unknown));
    for body in [
        r#"{"result": "allow", "is_superuser": true}"#,
        r#"{"result": "allow", "superuser": true, "client_attrs": {"a": "b"}}"#,
    ] {
        let Ok(Login::Allowed(said)) = said(body) else {
            panic!("{body}");
        };
        assert!(said.is_superuser && said.rules.is_none(), "{body}");
    }
    let with = r#"{"result": "allow", "expire_at": 17, "acl":
        [{"permission": "deny", "action": "all", "topic": "a"}]}"#;
    let Ok(Login::Allowed(said)) = said(with) else {
        panic!("{with}");
    };
    assert_eq!(said.expires_at, Some(17));
    assert_eq!(said.rules.map(|rules| rules.len()), Some(1));
}

#[test]
fn what_is_malformed_allows_nobody() {
    for body in [
        "",
        "2",
        "11",
        "true",
        "ok",
        "\"1\"",
        "[1]",
        "<html>1</html>",
        "{}",
        r#"{"result": "allow""#,
        r#"{"result": "Allow"}"#,
        r#"{"result": true}"#,
        r#"{"result": ["allow"]}"#,
        r#"{"result": "deny", "result": "allow"}"#,
        r#"{"result": "allow", "is_superuser": "true"}"#,
        r#"{"result": "allow", "is_superuser": 1}"#,
        r#"{"result": "allow", "acl": {}}"#,
        r#"{"result": "allow", "acl": null}"#,
        r#"{"result": "allow", "acl": [{"permission": "allow"}]}"#,
        r#"{"result": "allow", "expire_at": "17"}"#,
        r#"{"result": "allow", "expire_at": -1}"#,
        r#"{"result": "allow"} 1"#,
    ] {
        assert!(login(&heard(200, body)).is_err(), "{body}");
    }
    for body in [
        "",
        "1",
        "null",
        "{\"a\": 4}",
        "{\"a\": 1, \"a\": 3}",
        "[1]",
        "[[]]",
    ] {
        assert!(access(&heard(200, body)).is_err(), "{body}");
    }
    assert!(login(&heard(200, &"[".repeat(10_000))).is_err());
}
