//! What `--print-config` prints: the configuration that holds, without what is secret.

use serde_yaml::Value;

use super::Config;

/// Stands where a secret is.
const HIDDEN: &str = "<hidden>";
const NOTE: &str = "# What is <hidden> is set, and not printed.\n";

/// The configuration as YAML.
///
/// # Errors
///
/// It cannot be written as YAML.
pub fn print(config: &Config) -> Result<String, serde_yaml::Error> {
    let mut tree = serde_yaml::to_value(config)?;
    let hides = hide(&mut tree);
    let yaml = serde_yaml::to_string(&tree)?;
    Ok(match hides {
        true => format!("{NOTE}{yaml}"),
        false => yaml,
    })
}

/// Hides what is secret in a part of the configuration; returns whether there was any.
fn hide(tree: &mut Value) -> bool {
    let mut hides = false;
    match tree {
        Value::Sequence(all) => all.iter_mut().for_each(|value| hides |= hide(value)),
        Value::Mapping(all) => {
            let is_header = all.len() == 2 && all.contains_key("name");
            for (key, value) in all {
                let key = key.as_str().unwrap_or_default();
                hides |= match value {
                    Value::Sequence(all) if key == "settings" => hide_settings(all),
                    Value::String(url) if key.ends_with("-url") => hide_user(url) | hide_query(url),
                    value if is_secret(key) => hide_all(value),
                    value if is_header && key == "value" => hide_all(value),
                    value => hide(value),
                };
            }
        }
        _ => {}
    }
    hides
}

/// A password may stand before the host, where none is taken.
fn hide_user(url: &mut String) -> bool {
    let Some(end) = url.rfind('@') else {
        return false;
    };
    let begin = url[..end].find("://").map_or(0, |at| at + "://".len());
    url.replace_range(begin..end, HIDDEN);
    true
}

/// Keys of servers that are asked may stand behind the question mark.
fn hide_query(url: &mut String) -> bool {
    let Some(at) = url.find('?') else {
        return false;
    };
    url.truncate(at + 1);
    url.push_str(HIDDEN);
    true
}

/// Settings of librdkafka are texts, NAME=VALUE; what is behind `@` is a file.
fn hide_settings(all: &mut [Value]) -> bool {
    let mut hides = false;
    for value in all {
        let Value::String(text) = value else { continue };
        let Some((name, secret)) = text.split_once('=') else {
            continue;
        };
        let is_secret = ["password", "secret", "token", "jaas", "key.pem"];
        let is_secret = is_secret.iter().any(|part| name.contains(part));
        if is_secret && !secret.starts_with('@') {
            *text = format!("{name}={HIDDEN}");
            hides = true;
        }
    }
    hides
}

fn hide_all(value: &mut Value) -> bool {
    match value {
        Value::String(text) if !text.is_empty() => {
            HIDDEN.clone_into(text);
            true
        }
        Value::Sequence(all) => all.iter_mut().fold(false, |hides, it| hide_all(it) | hides),
        _ => false,
    }
}

/// Whether what a key has is secret.
fn is_secret(key: &str) -> bool {
    let secret = ["token", "secret", "hash-key", "gossip-keys"];
    secret.contains(&key) || key == "password" || key.ends_with("-password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_printed_and_the_rest_is() {
        let yaml = "
redis: { username: eve, password: s3cret-1 }
cluster: { gossip-keys: [5ec3e701, 5ec3e702] }
api: { token: s3cret-2, token-file: '', tokens: [{ name: a, sha256: ab }] }
auth:
  sources:
  - { type: http, headers: [{ name: authorization, value: s3cret-3 }], auth-url: 'http://a/b?key=s3cret-8', acl-url: 'http://eve:s3cret-9@c/d' }
  - { type: jwt, secret: s3cret-4, secret-file: /run/key }
  - { type: redis, password: s3cret-5, auth: { password-hash: hmac-sha256, hash-key: s3cret-6 } }
  - { type: mysql, password: s3cret-7, auth: { password-column: pw } }
bridge: { rules: [{ name: r, value: comqtt, topic: t }], kafka: [{ settings: [sasl.password=s3cret-9, sasl.mechanism=PLAIN, ssl.key.password=@/run/k] }] }
";
        let mut config: Value = serde_yaml::from_str(yaml).expect("YAML");
        assert!(hide(&mut config));
        let shown = serde_yaml::to_string(&config).expect("YAML");
        assert!(
            !shown.contains("s3cret") && !shown.contains("5ec3"),
            "{shown}"
        );
        assert_eq!(shown.matches(HIDDEN).count(), 12, "{shown}");
        for kept in [
            "eve",
            "authorization",
            "/run/key",
            "hmac-sha256",
            "pw",
            "sha256: ab",
            "http://a/b?",
            "=PLAIN",
            "@/run/k",
            "@c/d",
            "value: comqtt",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn what_has_no_secrets_is_printed_as_it_is() {
        let printed = print(&Config::default()).expect("YAML");
        let again: Config = serde_yaml::from_str(&printed).expect("a configuration");
        assert_eq!(again, Config::default());
        assert!(!printed.contains(HIDDEN), "{printed}");
    }
}
