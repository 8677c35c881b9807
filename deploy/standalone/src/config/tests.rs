//! The samples of `deploy/config`, what the gateway is told, and what each mistake says.

use super::*;
use crate::Tiers;
use crate::flags::Flags;
use gatemq_gateway::config::{Address, Transport};
use gatemq_node::config::File;
use std::path::PathBuf;

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../config")
        .join(name)
}

fn from_yaml(yaml: &str, arguments: &[&str]) -> Result<Configured, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yml");
    std::fs::write(&path, yaml).unwrap();
    let start = ["gatemq", "--conf", path.to_str().unwrap()];
    let arguments = start.iter().chain(arguments).map(std::ffi::OsString::from);
    let flags = Flags::parse(arguments).unwrap();
    let prefix = format!("{}/", folder.path().display());
    load(Tiers::ALL, &flags, []).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn check_error(yaml: &str, arguments: &[&str], expected: &str) {
    let error = from_yaml(yaml, arguments).unwrap_err();
    assert!(
        error.starts_with(expected) && !error.contains('\n'),
        "{error}\n{expected}"
    );
}

#[test]
fn the_sample_has_every_key_with_its_default() {
    let flags = Flags {
        conf: Some(sample("gatemq.yml")),
        ..Flags::default()
    };
    let configured = load(Tiers::ALL, &flags, []).unwrap();
    let mut config = configured.config().clone();
    if cfg!(not(feature = "bridge")) {
        config.bridge = Bridge::default(); // it is not looked at
    }
    assert_eq!(config, Config::default());
    assert_eq!(configured.warnings, Vec::<String>::new());

    let written = File::read(&sample("gatemq.yml")).unwrap();
    let text = std::fs::read_to_string(sample("gatemq.yml")).unwrap();
    let schema = serde_yaml::to_value(Config::example()).unwrap();
    check_keys(&schema, Some(written.tree()), &text);
}

/// Every key is set in the sample; those of list elements stand there in comments.
fn check_keys(schema: &serde_yaml::Value, sample: Option<&serde_yaml::Value>, text: &str) {
    for (name, below) in schema.as_mapping().into_iter().flatten() {
        let name = name.as_str().unwrap();
        match sample {
            Some(sample) => assert!(sample.get(name).is_some(), "{name} is not in the sample"),
            None => assert!(
                text.contains(&format!("{name}:")),
                "{name} is not in the sample"
            ),
        }
        match below.as_sequence() {
            Some(elements) => {
                for element in elements {
                    check_keys(element, None, text);
                }
            }
            None => check_keys(below, sample.and_then(|sample| sample.get(name)), text),
        }
    }
}

/// Each key that has a value is explained: behind it, or on the line before it.
#[test]
fn every_key_of_the_samples_has_a_comment() {
    for name in ["gatemq.yml", "comqtt-single.yml"] {
        let text = std::fs::read_to_string(sample(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        for (at, line) in lines.iter().enumerate() {
            let is_key = line.contains(':') && !line.trim_start().starts_with('#');
            let has_more_below = lines
                .get(at + 1)
                .is_some_and(|next| indent(next) > indent(line) && line.trim_end().ends_with(':'));
            if !is_key || has_more_below {
                continue;
            }
            let before = at.checked_sub(1).map_or("", |before| lines[before]);
            let is_explained = line.contains(" # ") || before.trim_start().starts_with('#');
            assert!(is_explained, "{name}:{}: {line}", at + 1);
        }
    }
}

#[test]
fn the_token_of_the_api_is_one_that_nobody_guesses() {
    let token = |yaml: &str| {
        let configured = from_yaml(yaml, &[])?;
        let token = configured.config().api.token();
        token.map_err(|problem| format!("{}: {}", problem.key, problem.what))
    };
    assert_eq!(token("api: {}"), Ok(None));
    let long = "0123456789abcdef";
    let given = token(&format!("api: {{token: {long}}}"));
    assert_eq!(given, Ok(Some(long.to_owned())));
    for short in ["secret", "0123456789 abcdef"] {
        let yaml = format!("api:\n  token: \"{short}\"\n");
        check_error(
            &yaml,
            &[],
            "a.yml:2: api.token: a token is at least 16 printable",
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let yaml = format!("api: {{token-file: {}}}", path.display());
    assert!(token(&yaml).unwrap_err().contains("cannot be read"));
    std::fs::write(&path, format!("{long}\n")).unwrap();
    assert_eq!(token(&yaml), Ok(Some(long.to_owned())));
    std::fs::write(&path, "\n").unwrap();
    assert!(token(&yaml).unwrap_err().contains("at least 16"));
    let both = format!("api:\n  token: {long}\n  token-file: {}\n", path.display());
    check_error(&both, &[], "a.yml:3: api.token-file: is beside api.token");
}

#[test]
fn tokens_of_the_api_have_a_name_a_hash_and_a_scope() {
    use gatemq_control_plane::api::Scope;
    let (hash, other) = ("ab".repeat(32), "cd".repeat(32));
    let yaml = format!(
        "api:\n  token: 0123456789abcdef\n  tokens:\n  - {{name: a, sha256: {hash}, scope: viewer}}\n  \
         - {{name: b, sha256: {other}, scope: operator, expires: 1970-01-02, publish: ['a/#']}}\n"
    );
    let tokens = from_yaml(&yaml, &[]).unwrap().config().api.all().unwrap();
    let shown: Vec<_> = tokens
        .iter()
        .map(|token| (&*token.name, token.scope, token.expires))
        .collect();
    let expected = [
        ("a", Scope::Viewer, None),
        ("b", Scope::Operator, Some(86_400_000)),
        ("api.token", Scope::Admin, None),
    ];
    assert_eq!(shown, expected);
    assert_eq!(tokens[0].sha256, [0xab; 32]);
    assert!(tokens[0].publish.is_empty());
    assert_eq!(*tokens[1].publish, ["a/#"]);
    for (token, says) in [
        (format!("sha256: {hash}, scope: viewer"), "name: is empty"),
        (
            "name: a, sha256: secret, scope: viewer".to_owned(),
            "sha256: is no SHA-256",
        ),
        (
            format!("name: a, sha256: {hash}"),
            "scope: \"\" is none of viewer, operator, admin",
        ),
        (
            format!("name: a, sha256: {hash}, scope: admin, expires: soon"),
            "expires: \"soon\" is no date",
        ),
        (
            format!("name: a, sha256: {hash}, scope: admin, publish: ['a/#', 'b/#/c']"),
            "publish[1]: \"b/#/c\" is no topic filter",
        ),
        (
            format!("name: a, sha256: {hash}, scope: admin, publish: ['$share/g/a']"),
            "publish[0]: ",
        ),
    ] {
        let yaml = format!("api:\n  tokens:\n  - {{{token}}}\n");
        let error = from_yaml(&yaml, &[]).unwrap_err().to_string();
        let expected = format!("api.tokens[0].{says}");
        assert!(error.contains(&expected), "{error}");
    }
    let token = |name, hash| format!("{{name: {name}, sha256: {hash}, scope: admin}}");
    for (second, key) in [
        (token("a", &other), "api.tokens[1].name"),
        (token("b", &hash), "api.tokens[1].sha256"),
    ] {
        let both = format!("api: {{tokens: [{}, {second}]}}", token("a", &hash));
        let error = from_yaml(&both, &[]).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn the_commented_listeners_of_the_sample_are_right() {
    let text = std::fs::read_to_string(sample("gatemq.yml")).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("# listeners:"));
    let yaml: Vec<_> = lines.map_while(|line| line.strip_prefix("# ")).collect();
    let configured = from_yaml(&yaml.join("\n"), &[]).unwrap();
    assert!(configured.gateway.listeners.len() > 4, "{configured:?}");
}

#[test]
fn the_defaults_are_those_of_the_gateway() {
    let gateway = Config::default().to_gateway(Tiers::ALL).unwrap();
    assert_eq!(
        format!("{:?}", gateway.limits),
        format!("{:?}", gateway::Limits::default())
    );
    assert_eq!(
        format!("{:?}", gateway.session),
        format!("{:?}", gateway::SessionPolicy::default())
    );
    let kinds: Vec<_> = gateway
        .listeners
        .iter()
        .map(|listener| listener.transport)
        .collect();
    assert_eq!(kinds, [Transport::Tcp, Transport::Ws]);
}

#[test]
fn the_samples_of_a_cluster_load() {
    for (name, tiers) in [
        ("cluster-node1.yml", Tiers::ALL),
        ("cluster-node2.yml", Tiers::ALL),
        ("control-plane.yml", Tiers::CONTROL),
        ("gateway.yml", Tiers::GATEWAY),
        ("bridge.yml", Tiers::BRIDGE),
    ] {
        let flags = Flags {
            conf: Some(sample(name)),
            ..Flags::default()
        };
        let configured = load(tiers, &flags, []).unwrap();
        assert!(configured.config().is_clustered(), "{name}");
        assert_eq!(configured.config().storage.way, StorageWay::Redis, "{name}");
    }
}

#[test]
fn the_sample_of_users_and_rules_is_one() {
    let users = sample("users.yml");
    let yaml = |path: &Path| {
        let path = path.display();
        format!("auth: {{ sources: [{{ type: file, path: '{path}' }}] }}")
    };
    let check = |path: &Path| {
        from_yaml(&yaml(path), &[])?
            .check_files(Tiers::ALL)
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(&users), Ok(()));
    let error = check(&users.with_file_name("none.yml")).unwrap_err();
    assert!(
        error.contains("auth.sources") && error.contains("none.yml"),
        "{error}"
    );
    let error = from_yaml("auth: { sources: [{ type: file }] }", &[]).unwrap_err();
    assert!(
        error.contains("auth.sources[0].path: names no file"),
        "{error}"
    );
}

#[test]
fn users_of_a_comqtt_file_are_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("auth.yml");
    let conf = |way: &str| {
        let path = users.display();
        format!("storage-way: 0\nauth:\n  way: {way}\n  datasource: 3\n  conf-path: '{path}'\n")
    };
    let write = |yaml: &str| std::fs::write(&users, yaml).unwrap();
    write("{auth-mode: 1, acl-mode: 1, dsn: {host: h, schema: s, login-name: n}}");
    let configured = from_yaml(&conf("1"), &[]).unwrap();
    let sources = &configured.gateway.auth.sources;
    assert!(
        matches!(&sources[..], [gateway::AuthSource::Sql(_)]),
        "{sources:?}"
    );
    assert_eq!(configured.warnings, Vec::<String>::new());
    let configured = from_yaml(&conf("0"), &[]).unwrap();
    assert!(configured.gateway.auth.sources.is_empty());
    write("{auth-mode: 0, acl-mode: 1}");
    check_error(&conf("1"), &[], "a.yml:5: auth.conf-path: ");
    write("{auth-mode: 1, acl-mode: 1, auth: {table: 'a b'}}");
    let error = from_yaml(&conf("1"), &[]).unwrap_err();
    assert!(error.contains("auth.table"), "{error}");
    std::fs::remove_file(&users).unwrap();
    let error = from_yaml(&conf("1"), &[]).unwrap_err();
    assert!(error.contains("auth.yml: cannot be read"), "{error}");
    let none = conf("1").replace("datasource: 3", "datasource: 0");
    assert!(from_yaml(&none, &[]).is_err(), "comqtt lets nobody in then");
}

#[cfg(feature = "bridge")]
#[test]
fn comqtts_file_of_its_bridge_is_read_where_it_is_named() {
    let described = sample("comqtt-bridge-kafka.yml");
    let check = |flags: &Flags| {
        let configured = load(Tiers::BRIDGE, flags, []).unwrap();
        let bridge = &configured.config().bridge;
        assert_eq!(bridge.kafka[0].brokers, ["localhost:9092"]);
        assert_eq!(bridge.rules[0].filters, ["#"]);
        bridge.plan().unwrap();
        let warnings = &configured.warnings;
        for key in ["balancer", "required-acks", "write-timeout"] {
            let is_it = |line: &&String| line.contains(&format!("kafka-options.{key}: "));
            assert_eq!(warnings.iter().filter(is_it).count(), 1, "{warnings:?}");
        }
        configured
    };
    let members = ("--members".to_owned(), "cluster.members", "h:1".to_owned());
    let named = ("--node-name".to_owned(), "node-name", "b1".to_owned());
    let mut flags = Flags {
        bridge_conf: Some(described.clone()),
        settings: vec![members, named],
        ..Flags::default()
    };
    check(&flags);
    let error = load(Tiers::GATEWAY, &flags, []).unwrap_err().to_string();
    assert!(error.starts_with("--bridge-conf: "), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("node1.yml");
    let write = |way: &str, path: &Path| {
        let yaml = format!("bridge-way: {way}\nbridge-path: '{}'\n", path.display());
        std::fs::write(&conf, yaml).unwrap();
    };
    write("1", &described);
    (flags.conf, flags.bridge_conf) = (Some(conf.clone()), None);
    let configured = check(&flags);
    assert_eq!(configured.warnings.len(), 3, "{:?}", configured.warnings);
    // Whoever is no bridge says where it is.
    let configured = load(Tiers::GATEWAY, &flags, []).unwrap();
    let warnings = &configured.warnings;
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("node1.yml:1: bridge-way: ")),
        "{warnings:?}"
    );
    let error = || load(Tiers::BRIDGE, &flags, []).unwrap_err().to_string();
    write("2", &described);
    assert!(error().contains("node1.yml:1: bridge-way: "), "{}", error());
    let wrong = folder.path().join("bridge-kafka.yml");
    write("1", &wrong);
    assert!(
        error().contains("bridge-kafka.yml: cannot be read"),
        "{}",
        error()
    );
    std::fs::write(&wrong, "kafka-options:\n  compression: 7\n").unwrap();
    let expected = "bridge-kafka.yml:2: kafka-options.compression: ";
    assert!(error().contains(expected), "{}", error());
}

#[test]
fn what_is_printed_loads_again() {
    let mut config = Config::example();
    config.node_name = "c01".to_owned();
    config.storage.way = StorageWay::Redis;
    let yaml = serde_yaml::to_string(&config).unwrap();
    assert_eq!(*from_yaml(&yaml, &[]).unwrap().config(), config);
}

#[test]
fn the_comqtt_sample_loads_and_names_what_has_no_meaning() {
    let flags = Flags {
        conf: Some(sample("comqtt-single.yml")),
        ..Flags::default()
    };
    let names = ["GATEMQ_ALLOW_ANONYMOUS", "GATEMQ_HTTP_ALLOW_ANONYMOUS"];
    let variables = names.map(|name| (name.to_owned(), "true".to_owned()));
    let configured = load(Tiers::ALL, &flags, variables).unwrap();
    let (config, gateway) = (configured.config(), &configured.gateway);
    assert_eq!(
        config.storage.way,
        StorageWay::Engine(gatemq_storage::Way::Redb)
    );
    assert_eq!(config.data_dir, "comqtt.db");
    assert_eq!(gateway.limits.receive_maximum, 1024);
    assert_eq!(gateway.limits.maximum_packet_size, 268_435_460);
    assert_eq!(gateway.sys_interval.as_secs(), 1);
    assert_eq!(gateway.listeners.len(), 2);
    let quic = configured
        .warnings
        .iter()
        .find(|line| line.contains("mqtt.quic"))
        .unwrap();
    assert!(
        quic.contains("comqtt-single.yml:") && quic.ends_with("has no meaning here"),
        "{quic}"
    );
    let error = load(Tiers::ALL, &flags, []).unwrap_err().to_string();
    assert!(
        error.contains(": mqtt.tcp: the tcp listener [::]:1883 takes clients")
            || error.contains("0.0.0.0"),
        "{error}"
    );
}

#[test]
fn listeners_are_built_from_keys_and_list() {
    let yaml = "
tls-cert: shared.crt
tls-key: shared.key
tls: '[::1]:8883'
ws: ''
unix: /run/gatemq.sock
listeners:
  - { transport: wss, address: 'localhost:0', path: /mqtt, tls: { certificate: a, key: b, client-ca: c } }
  - { transport: tcp, address: '127.0.0.1:0', proxy-from: [10.0.0.0/8, '::1'], max-connections: 7, allow-anonymous: true }
";
    let listeners = from_yaml(yaml, &[]).unwrap().gateway.listeners;
    let kinds: Vec<_> = listeners
        .iter()
        .map(|listener| listener.transport)
        .collect();
    use Transport::{Tcp, Tls, Unix, Wss};
    assert_eq!(kinds, [Tcp, Tls, Unix, Wss, Tcp]);
    assert_eq!(
        listeners[1].tls.as_ref().unwrap().certificate,
        PathBuf::from("shared.crt")
    );
    assert_eq!(
        listeners[2].address,
        Address::Path("/run/gatemq.sock".into())
    );
    assert_eq!(listeners[3].path.as_deref(), Some("/mqtt"));
    assert_eq!(
        listeners[3].tls.as_ref().unwrap().client_ca,
        Some("c".into())
    );
    assert_eq!(listeners[4].proxy_from.len(), 2);
    assert_eq!(
        (
            listeners[4].proxy_from[1].prefix,
            listeners[4].max_connections
        ),
        (128, 7)
    );
}

#[test]
fn other_machines_without_credentials_must_be_asked_for() {
    let open = "takes clients from other machines without credentials: if that is meant, \
                say so by --allow-anonymous";
    check_error(
        "",
        &["--tcp", "0.0.0.0:1883"],
        &format!("--tcp: tcp: the tcp listener 0.0.0.0:1883 {open}"),
    );
    let yaml = "listeners:\n  - transport: tcp\n    address: 10.1.2.3:1883\n";
    let expected = format!("a.yml:3: listeners[0].address: the tcp listener 10.1.2.3:1883 {open}");
    check_error(yaml, &[], &expected);
    from_yaml(yaml, &["--allow-anonymous"]).unwrap();
    from_yaml(&format!("{yaml}    allow-anonymous: true\n"), &[]).unwrap();
    let tls = "{ transport: tls, address: ':1', tls: { certificate: a, key: b, client-ca: c } }";
    from_yaml(&format!("listeners: [ {tls} ]"), &[]).unwrap();
    check_error(
        "",
        &["--http", "0.0.0.0:8080"],
        "--http: http: the http listener 0.0.0.0:8080 answers other machines without credentials",
    );
    check_error(
        "",
        &["--http", "0.0.0.0:8080", "--allow-anonymous"],
        "--http: http: the http listener 0.0.0.0:8080 answers other machines without credentials",
    );
    from_yaml("", &["--http", "0.0.0.0:8080", "--http-allow-anonymous"]).unwrap();
    let token = "api: { token: 0123456789abcdef0123456789abcdef";
    from_yaml(&format!("{token} }}"), &["--http", "0.0.0.0:8080"]).unwrap();
    check_error(
        &format!("{token}, open-metrics: true }}"),
        &["--http", "0.0.0.0:8080"],
        "--http: http: the http listener 0.0.0.0:8080 answers other machines without credentials",
    );
    from_yaml("", &["--http", "[::ffff:127.0.0.1]:8080"]).unwrap();
}

#[test]
fn a_listener_behind_a_proxy_is_not_local() {
    let yaml = "listeners:\n- address: '127.0.0.1:0'\n  proxy-from: [127.0.0.1]";
    check_error(
        yaml,
        &[],
        "a.yml:2: listeners[0].address: the tcp listener 127.0.0.1:0 takes clients",
    );
    from_yaml(&format!("{yaml}\n  allow-anonymous: true"), &[]).unwrap();
}

#[test]
fn certificates_are_users_where_somebody_vouches_for_them() {
    let auth = "auth: {sources: [{type: file, path: u}]}\n";
    let listener = |tls: &str| {
        let tls = format!("certificate: a, key: b, {tls}");
        format!("listeners:\n  - {{ transport: tls, address: ':0', tls: {{ {tls} }} }}\n")
    };
    for (tls, is_enough) in [
        ("client-ca: c, username: cn", true),
        (
            "client-ca: c, username: san-uri, username-is-client-id: true",
            true,
        ),
        ("client-ca: c, username: san-dns, password: true", false),
        ("client-ca: c, username: none", false),
        ("client-ca: c", false),
    ] {
        let gateway = from_yaml(&format!("{auth}{}", listener(tls)), &[])
            .unwrap()
            .gateway;
        assert_eq!(gateway.auth.believes_certificates, is_enough, "{tls}");
    }
    let named = listener("client-ca: c, username: cn");
    let expected = "a.yml:2: listeners[0].tls.username: nobody is asked who clients are";
    check_error(&named, &[], expected);
    for (tls, expected) in [
        ("username: cn", "username: anybody can write a certificate"),
        (
            "client-ca: c, password: true",
            "password: is for clients whose certificate",
        ),
        (
            "client-ca: c, username-is-client-id: true",
            "username-is-client-id: is for clients whose certificate",
        ),
    ] {
        let expected = format!("a.yml:3: listeners[0].tls.{expected}");
        check_error(&format!("{auth}{}", listener(tls)), &[], &expected);
    }
}

#[test]
fn authorities_hold_for_listeners_with_a_certificate_of_their_own() {
    let yaml = "
tls-client-ca: shared.ca
listeners:
  - { transport: tls, address: ':0', tls: { certificate: a, key: b } }
  - { transport: tls, address: ':0', tls: { certificate: a, key: b, client-ca: own.ca } }
";
    let listeners = from_yaml(yaml, &[]).unwrap().gateway.listeners;
    let authorities = |at: usize| listeners[at + 2].tls.clone().unwrap().client_ca;
    assert_eq!(authorities(0), Some("shared.ca".into()));
    assert_eq!(authorities(1), Some("own.ca".into()));
}

#[test]
fn lists_of_what_is_revoked_go_with_their_authorities() {
    let yaml = "
tls-client-ca: shared.ca
tls-client-crl: shared.crl
listeners:
  - { transport: tls, address: ':0', tls: { certificate: a, key: b } }
  - { transport: tls, address: ':0', tls: { certificate: a, key: b, client-crl: own.crl } }
  - { transport: tls, address: ':0', tls: { certificate: a, key: b, client-ca: own.ca } }
  - { transport: tls, address: ':0', tls: { certificate: a, key: b, client-ca: own.ca, client-crl: own.crl } }
";
    let listeners = from_yaml(yaml, &[]).unwrap().gateway.listeners;
    let list = |at: usize| listeners[at + 2].tls.clone().unwrap().client_crl;
    let [shared, own] = ["shared.crl", "own.crl"].map(|file| Some(file.into()));
    assert_eq!([list(0), list(1)], [shared, own.clone()]);
    assert_eq!([list(2), list(3)], [None, own]);
    let alone = "listeners:\n  - { transport: tls, address: ':0', allow-anonymous: true, tls: \
                 { certificate: a, key: b, client-crl: own.crl } }";
    let expected = "a.yml:2: listeners[0].tls.client-crl: says whose certificates";
    check_error(alone, &[], expected);
    let flags = [
        "--tls",
        ":0",
        "--tls-cert",
        "a",
        "--tls-key",
        "b",
        "--allow-anonymous",
    ];
    let flags = [&flags[..], &["--tls-client-crl", "c"]].concat();
    check_error(
        "",
        &flags,
        "--tls-client-crl: tls-client-crl: says whose certificates",
    );
}

#[test]
fn addresses_that_meet_are_named() {
    let taken = "is the address of tcp already: change one";
    check_error(
        "",
        &["--http", "127.0.0.1:1883"],
        &format!("--http: http: 127.0.0.1:1883 {taken}"),
    );
    let wide = [
        "--tcp",
        "0.0.0.0:1883",
        "--ws",
        "127.0.0.1:1883",
        "--allow-anonymous",
    ];
    check_error("", &wide, &format!("--ws: ws: 127.0.0.1:1883 {taken}"));
    let wide = [
        "--tcp",
        "[::]:1883",
        "--ws",
        "127.0.0.1:1883",
        "--allow-anonymous",
    ];
    check_error("", &wide, &format!("--ws: ws: 127.0.0.1:1883 {taken}"));
    let apart = [
        "--tcp",
        "0.0.0.0:1883",
        "--ws",
        "[::1]:1883",
        "--allow-anonymous",
    ];
    from_yaml("", &apart).unwrap();
    check_error(
        "listeners:\n- transport: ws\n  address: '[::1]:0'\n  path: mqtt",
        &[],
        "a.yml:4: listeners[0].path: a URL path begins with /",
    );
    check_error(
        "listeners:\n- transport: unix\n  address: /run/x\n  proxy-from: [10.0.0.1]",
        &[],
        "a.yml:4: listeners[0].proxy-from: is not for unix",
    );
    check_error(
        "listeners:\n- address: '[::1]:0'\n  origins: [a]",
        &[],
        "a.yml:3: listeners[0].origins: is for ws and wss only",
    );
}

#[test]
fn a_folder_and_a_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("comqtt.db");
    std::fs::write(&file, "theirs").unwrap();
    let check = |yaml: &str, expected: &str| {
        let error = from_yaml(yaml, &[])
            .unwrap()
            .check_files(Tiers::ALL)
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let yaml = format!("data-dir: {}", file.display());
    check(&yaml, "a.yml:1: data-dir: ");
    check(&yaml, "is a file, and a folder is needed");
    check("data-dir: ''", "a.yml:1: data-dir: is empty: name a folder");
    check_error(
        "log:\n  output: both\n  file: ''",
        &[],
        "a.yml:3: log.file: is empty, and log.output asks for a file",
    );
}

#[test]
fn tls_files_that_cannot_be_read_name_key_and_file() {
    let check = |yaml: &str, expected: &str| {
        let error = from_yaml(yaml, &[])
            .unwrap()
            .check_files(Tiers::ALL)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    let missing = "cannot be read: No such file";
    let shared = "tls: 127.0.0.1:0\ntls-cert: /no.crt\ntls-key: /no.key";
    check(shared, &format!("a.yml:2: tls-cert: /no.crt: {missing}"));
    let own = "listeners:\n- transport: wss\n  address: '[::1]:0'\n  tls:\n    key: /no.key\n    certificate: /no.crt";
    check(
        own,
        &format!("a.yml:6: listeners[0].tls.certificate: /no.crt: {missing}"),
    );
}

#[test]
fn mistakes_name_place_key_and_remedy() {
    check_error(
        "tcp: broker:1883",
        &[],
        "a.yml:1: tcp: \"broker:1883\" is not an address: write",
    );
    check_error(
        "",
        &["--ws", "1882"],
        "--ws: ws: \"1882\" is not an address",
    );
    check_error(
        "limits:\n  max-inflight: many",
        &[],
        "a.yml:2: limits.max-inflight: \"many\" is not",
    );
    check_error(
        "limits: {max-inflght: 1}",
        &[],
        "a.yml:1: limits.max-inflght: unknown key; did you mean",
    );
    check_error(
        "limits: {memory: 63MiB}",
        &[],
        "a.yml:1: limits.memory: is less than a broker needs to let anybody in: give it 64MiB",
    );
    check_error(
        "storage: {way: sled}",
        &[],
        "a.yml:1: storage.way: no storage engine is called",
    );
    check_error(
        "storage: {way: redb}",
        &["--members", "a:1", "--node-name", "n"],
        "a.yml:1: storage.way: redb keeps sessions on one machine",
    );
    check_error(
        "",
        &["--members", "a:1"],
        "node-name: a node of a cluster needs a name that no other node has: give it one with \
         --node-name",
    );
    check_error(
        "",
        &["--auth-way", "1"],
        "--auth-way: auth-way: 1 is not there yet",
    );
    check_error(
        "log: {format: xml}",
        &[],
        "a.yml:1: log.format: \"xml\" is not one of text, json",
    );
    check_error(
        "",
        &["--level", "loud=quiet"],
        "--level: log.level: \"loud=quiet\" is not a log filter",
    );
    check_error(
        "share-strategy: fair",
        &[],
        "a.yml:1: share-strategy: \"fair\" is not one of",
    );
    check_error(
        "",
        &["--tls", "[::1]:0"],
        "--tls: tls: needs a certificate and its key",
    );
    let proxy = "listeners:\n- address: '[::1]:0'\n  allow-anonymous: true\n  proxy-from:\n  - ::1\n  - 10.0.0.0/33";
    check_error(
        proxy,
        &[],
        "a.yml:6: listeners[0].proxy-from[1]: \"10.0.0.0/33\" is not a network",
    );
    let twice = "listeners:\n- address: 127.0.0.1:1883";
    check_error(
        twice,
        &[],
        "a.yml:2: listeners[0].address: 127.0.0.1:1883 is the address of tcp already",
    );
    check_error(
        "listeners: [{transport: udp}]",
        &[],
        "a.yml:1: listeners[0].transport: \"udp\" is not",
    );
    check_error(
        "listeners: [{}]",
        &[],
        "a.yml:1: listeners[0].address: a listener needs an address",
    );
}

fn of_tiers(tiers: Tiers, arguments: &[&str]) -> Result<Configured, String> {
    let arguments = [tiers.program].into_iter().chain(arguments.iter().copied());
    let flags = Flags::parse(arguments.map(std::ffi::OsString::from)).unwrap();
    load(tiers, &flags, []).map_err(|error| error.to_string())
}

/// Whatever can be known without the network is known before the start.
#[test]
fn a_node_that_could_not_be_part_of_a_cluster_is_an_error_of_the_configuration() {
    let cases: [(Tiers, &[&str], &str); 9] = [
        (
            Tiers::GATEWAY,
            &["--raft-bootstrap"],
            "cluster.raft-bootstrap: gatemq-gateway has no control",
        ),
        (
            Tiers::GATEWAY,
            &[],
            "cluster.members: gatemq-gateway is part of a cluster",
        ),
        (
            Tiers::CONTROL,
            &[],
            "cluster.members: gatemq-control-plane is part of a cluster",
        ),
        (
            Tiers::GATEWAY,
            &["--members=a:1", "--storage-way=redb"],
            "storage.way: redb keeps",
        ),
        (
            Tiers::ALL,
            &["--raft-bootstrap", "--redis=a:b:c:"],
            "redis: ",
        ),
        (
            Tiers::ALL,
            &["--raft-bootstrap", "--redis-prefix={x}"],
            "redis: the prefix",
        ),
        (
            Tiers::ALL,
            &["--raft-bootstrap", "--redis-mode=cluster", "--redis-db=1"],
            "redis: a Redis Cluster has the database 0 only",
        ),
        (
            Tiers::GATEWAY,
            &["--members=a:0"],
            "cluster.members: \"a:0\" is no member to join",
        ),
        (
            Tiers::ALL,
            &["--raft-bootstrap", "--advertise-ip=0.0.0.0"],
            "cluster.advertise-ip: the advertised address",
        ),
    ];
    for (tiers, arguments, expected) in cases {
        let named = [arguments, &["--node-name=n"]].concat();
        let error = of_tiers(tiers, &named).unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    for name in ["", "a/b", "../a", "a b", "a\tb"] {
        let named = format!("--node-name={name}");
        let error = of_tiers(Tiers::ALL, &["--raft-bootstrap", &named]).unwrap_err();
        assert!(error.contains("node-name"), "{name:?}: {error}");
    }
    let right = ["--node-name=n", "--raft-bootstrap"];
    assert!(of_tiers(Tiers::CONTROL, &right).is_ok());
}

/// One file may be for all nodes, and what is not used today may be tomorrow.
#[test]
fn what_is_written_is_checked_whether_it_is_used_or_not() {
    let unused: [(&str, &str); 8] = [
        (
            "cluster:\n  control-size: 4",
            "2: cluster.control-size: 4 is even",
        ),
        (
            "cluster:\n  gossip-keys: [abc]",
            "2: cluster.gossip-keys: each key is 32 bytes",
        ),
        (
            "cluster:\n  advertise-ip: 0.0.0.0",
            "2: cluster.advertise-ip: the advertised address",
        ),
        (
            "cluster:\n  advertise-ip: '10.0.0.1:7946'",
            "2: cluster.advertise-ip: \"10.0.0.1:7946\" is no address or host name",
        ),
        ("\nnode-name: a/b", "2: node-name: the node name \"a/b\""),
        ("redis:\n  prefix: '{x}'", "1: redis: the prefix"),
        ("redis:\n  addr: ['a:0']", "1: redis: "),
        (
            "redis:\n  {mode: cluster, db: 1}",
            "1: redis: a Redis Cluster has the database 0 only",
        ),
    ];
    for (yaml, expected) in unused {
        check_error(yaml, &[], &format!("a.yml:{expected}"));
    }
    // A control plane alone has nothing in Redis.
    let right = ["--node-name=n", "--raft-bootstrap", "--redis-prefix={x}"];
    let error = of_tiers(Tiers::CONTROL, &right).unwrap_err();
    assert!(error.contains("the prefix"), "{error}");
}

#[test]
fn ports_of_the_cluster_that_meet_are_named() {
    let first = ["--node-name=n", "--raft-bootstrap"];
    let check = |tiers, arguments: &[&str], expected: &str| {
        let error = of_tiers(tiers, &[&first[..], arguments].concat()).unwrap_err();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    };
    let taken = "127.0.0.1:7946 is the address of cluster.gossip-port already: change one";
    check(
        Tiers::ALL,
        &["--raft-port=7946"],
        &format!("--raft-port: cluster.raft-port: {taken}"),
    );
    check(
        Tiers::CONTROL,
        &["--gossip-port=8946"],
        "--gossip-port: cluster.gossip-port: 127.0.0.1:8946 is the address of cluster.raft-port",
    );
    check(
        Tiers::ALL,
        &["--grpc-port=7946"],
        &format!("--grpc-port: cluster.grpc-port: {taken}"),
    );
    check(
        Tiers::ALL,
        &["--http=127.0.0.1:7946"],
        &format!("--http: http: {taken}, or write http: \"\""),
    );
    check(
        Tiers::ALL,
        &["--raft-port=1883"],
        "--raft-port: cluster.raft-port: 127.0.0.1:1883 is the address of tcp already",
    );
    // Whether there is a cluster or not; beside one, the others' ports are free.
    check_error(
        "cluster:\n  raft-port: 7946",
        &[],
        &format!("a.yml:2: cluster.raft-port: {taken}"),
    );
    from_yaml("tcp: 127.0.0.1:7946", &[]).unwrap();
    // Who has no control plane, or no gateway, does not listen for it.
    let members = ["--node-name=n", "--members=a:1"];
    let gateway = [&members[..], &["--raft-port=17946"]].concat();
    of_tiers(Tiers::GATEWAY, &gateway).unwrap();
    let control = [
        &members[..],
        &["--raft-port=17946", "--http=127.0.0.1:1883"],
    ]
    .concat();
    of_tiers(Tiers::CONTROL, &control).unwrap();
    let free = ["--gossip-port=0", "--raft-port=0", "--grpc-port=0"];
    of_tiers(Tiers::ALL, &[&first[..], &free].concat()).unwrap();
}

#[test]
fn data_of_a_cluster_is_not_taken_for_that_of_a_broker_by_itself() {
    for left in ["control/raft", "n1-nodes.json"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(left);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "{}").unwrap();
        let yaml = format!("node-name: n1\ndata-dir: {}\n", folder.path().display());
        let alone = from_yaml(&yaml, &[]).unwrap().check_files(Tiers::ALL);
        let expected = "has the data of a node of a cluster";
        assert!(alone.unwrap_err().to_string().contains(expected), "{left}");
        let again = from_yaml(&yaml, &["--raft-bootstrap"]).unwrap();
        again.check_files(Tiers::ALL).unwrap();
    }
    let tls = "cluster:\n  tls: { ca: a, cert: b, key: c }\n";
    check_error(
        tls,
        &[],
        "a.yml:2: cluster.tls: is for a node of a cluster, and this is none",
    );
}

#[test]
fn where_traces_go_and_how_many_is_checked() {
    let node = |yaml: &str| {
        let configured = from_yaml(yaml, &[]).unwrap();
        configured.config().tracing.to_node("gatemq", "n1")
    };
    assert_eq!(node("tracing: {ratio: 1}"), None);
    let told = node("tracing: {endpoint: 'http://collector:4317', ratio: 0.5}").unwrap();
    assert_eq!((told.ratio, told.inject, &*told.node), (0.5, true, "n1"));
    check_error(
        "tracing:\n  endpoint: collector:4317\n",
        &[],
        "a.yml:2: tracing.endpoint: \"collector:4317\" is no address of a collector: write http",
    );
    check_error(
        "tracing:\n  ratio: 1.5\n",
        &[],
        "a.yml:2: tracing.ratio: 1.5 is no part of the messages: write a number from 0 to 1",
    );
    check_error(
        "tracing:\n  endpoint: https://collector:4317\n  tls-ca: /nowhere/ca.pem\n",
        &[],
        "a.yml:3: tracing.tls-ca: /nowhere/ca.pem: ",
    );
}
