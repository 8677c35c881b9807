//! What each kind of wrong configuration says, and what the layers make of right ones.

use super::*;
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Config {
    node_name: String,
    limits: Limits,
    listeners: Vec<Listener>,
    enable: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Limits {
    max_inflight: Number<1, 65535>,
    connect_timeout: Period<100, 60_000>,
    packet: Size<5, 268_435_460>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Listener {
    address: String,
    proxy_from: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_inflight: Number::new(1024),
            connect_timeout: Period::new(5000),
            packet: Size::new(1 << 20),
        }
    }
}

impl Schema for Config {
    fn example() -> Self {
        let listener = Listener {
            proxy_from: vec![String::new()],
            ..Listener::default()
        };
        Self {
            listeners: vec![listener],
            ..Self::default()
        }
    }
}

fn load(
    yaml: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Loaded<Config>, Error> {
    let mut layers = Layers::new::<Config>();
    layers.file(File::parse("a.yml".to_owned(), yaml.to_owned())?)?;
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    layers.environment("GATEMQ_", variables.iter().map(own))?;
    for (flag, key, text) in flags {
        layers.flag(flag, key, text)?;
    }
    layers.build()
}

fn check_error(yaml: &str, expected: &str) {
    assert_eq!(load(yaml, &[], &[]).unwrap_err().to_string(), expected);
}

#[test]
fn later_layers_override_earlier_ones_key_by_key() {
    let yaml = "limits: { max-inflight: 5, packet: 64KiB }\nnode-name: 7";
    let variables = [
        ("GATEMQ_LIMITS_MAX_INFLIGHT", "6"),
        ("GATEMQ_ENABLE", "true"),
        ("PATH", "/"),
    ];
    let flags = [
        ("--max-inflight", "limits.max-inflight", "7"),
        ("--name", "node-name", "08"),
    ];
    let Config {
        node_name,
        limits,
        enable,
        ..
    } = load(yaml, &variables, &flags).unwrap().config;
    assert_eq!(node_name, "08");
    assert_eq!(limits.max_inflight, Number::new(7));
    assert_eq!(limits.packet, Size::new(65536));
    assert_eq!(limits.connect_timeout.duration().as_secs(), 5);
    assert!(enable);
}

#[test]
fn empty_files_and_sections_are_the_defaults() {
    for yaml in ["", "# nothing\n", "limits:\n", "limits: {}\n", "---\n"] {
        assert_eq!(
            load(yaml, &[], &[]).unwrap().config,
            Config::default(),
            "{yaml:?}"
        );
    }
}

#[test]
fn lists_come_from_variables_too() {
    let variables = [(
        "GATEMQ_LISTENERS",
        "[{ address: ':1', proxy-from: [10.0.0.0/8] }]",
    )];
    let listeners = load("", &variables, &[]).unwrap().config.listeners;
    assert_eq!(listeners[0].address, ":1");
    assert_eq!(listeners[0].proxy_from, ["10.0.0.0/8"]);
}

#[test]
fn values_out_of_bounds_name_line_key_and_bounds() {
    check_error(
        "enable: true\nlimits:\n  # a comment\n  max-inflight: many\n",
        "a.yml:4: limits.max-inflight: \"many\" is not a number from 1 to 65535",
    );
    check_error(
        "limits: { max-inflight: 0 }",
        "a.yml:1: limits.max-inflight: 0 is not a number from 1 to 65535",
    );
    check_error(
        "limits:\n  'connect-timeout': 2h",
        "a.yml:2: limits.connect-timeout: \"2h\" is not a period from 100ms to 1m: \
         write 500ms, 5s, 2m, 1h, or seconds",
    );
    check_error(
        "limits:\n  {\n  \"packet\" : 1GB }",
        "a.yml:3: limits.packet: \"1GB\" is not a size from 5B to 268435460B: \
         write 64KiB, 1MiB, 2GiB, or bytes",
    );
}

#[test]
fn unknown_keys_name_line_and_the_key_that_was_meant() {
    check_error(
        "limits:\n  max-inflght: 5",
        "a.yml:2: limits.max-inflght: unknown key; did you mean max-inflight?",
    );
    check_error(
        "listeners:\n- address: ':1'\n- address: ':2'\n  proxyfrom: []",
        "a.yml:4: listeners[1].proxyfrom: unknown key; did you mean proxy-from?",
    );
    check_error("zzz: 1", "a.yml:1: zzz: unknown key");
    check_error("1: 1", "a.yml:1: 1: unknown key");
}

#[test]
fn wrong_kinds_of_value_say_what_is_right() {
    check_error(
        "\nlimits: 5",
        "a.yml:2: limits: 5 is not a section: write its keys below it",
    );
    check_error(
        "enable: yes",
        "a.yml:1: enable: \"yes\" is not true or false",
    );
    check_error(
        "node-name: true",
        "a.yml:1: node-name: true is not text: put it in quotes",
    );
    check_error(
        "node-name:",
        "a.yml:1: node-name: has no value: write one, or remove the line",
    );
    check_error(
        "listeners: 5",
        "a.yml:1: listeners: 5 is not a list: write [ … ]",
    );
    check_error(
        "\nlisteners: [5]",
        "a.yml:2: listeners[0]: 5 is not a section: write its keys below it",
    );
}

#[test]
fn an_item_of_a_list_of_several_types_has_the_keys_of_its_type() {
    let schema = "sources: [{ type: file, path: '' }, { type: redis, prefix: '' }]";
    let check = |given: &str, expected: Result<(), &str>| {
        let [schema, given]: [Value; 2] =
            [schema, given].map(|text| serde_yaml::from_str(text).unwrap());
        let fitted = shape::fit(&schema, &given, "");
        let fitted = fitted
            .map(drop)
            .map_err(|Problem { key, what }| format!("{key}: {what}"));
        assert_eq!(fitted, expected.map_err(str::to_owned));
    };
    check(
        "sources: [{ type: redis, prefix: a }, { type: file, path: b }]",
        Ok(()),
    );
    check(
        "sources: [{ type: file, prefix: a }]",
        Err("sources[0].prefix: unknown key"),
    );
    check(
        "sources: [{ type: fiel }]",
        Err("sources[0].type: \"fiel\" is not one of file, redis"),
    );
    check(
        "sources: [{ path: a }]",
        Err("sources[0].type: nothing is not one of file, redis"),
    );
}

#[test]
fn files_that_are_no_yaml_document_name_the_line() {
    check_error("- a", "a.yml:1: is not a list of `key: value` lines");
    for yaml in [
        "a: [1",
        "a: 1\n---\nb: 2",
        "a: 1\na: 2",
        "a: 'x",
        "\ta: 1",
        "a: *b",
        "a: b: c",
    ] {
        let error = load(yaml, &[], &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("a.yml:") && error.contains("is not one YAML document"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
    let error = File::read("/nonexistent.yml".as_ref())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nonexistent.yml: cannot be read: No such file"),
        "{error}"
    );
}

#[test]
fn variables_and_flags_are_named() {
    let error = |variable, text| load("", &[(variable, text)], &[]).unwrap_err().to_string();
    assert_eq!(
        error("GATEMQ_LIMITS_MAX_INFLIGHT", "x"),
        "GATEMQ_LIMITS_MAX_INFLIGHT: limits.max-inflight: \"x\" is not a number from 1 to 65535"
    );
    assert_eq!(
        error("GATEMQ_LIMIT_MAX_INFLIGHT", "1"),
        "GATEMQ_LIMIT_MAX_INFLIGHT: no setting has this name; \
         did you mean GATEMQ_LIMITS_MAX_INFLIGHT?"
    );
    let flags = [("--enable", "enable", "maybe")];
    assert_eq!(
        load("", &[], &flags).unwrap_err().to_string(),
        "--enable: enable: \"maybe\" is not true or false"
    );
}

#[test]
fn problems_found_later_name_the_layer_that_set_the_key() {
    let yaml = "limits:\n  max-inflight: 5\n\nlisteners:\n  - address: a\n  - { address: b }\n";
    let flags = [("--inflight", "limits.max-inflight", "6")];
    let loaded = load(yaml, &[], &flags).unwrap();
    let place = |key: &str| loaded.locate(&Problem::new(key, "bad")).to_string();
    assert_eq!(
        place("limits.max-inflight"),
        "--inflight: limits.max-inflight: bad"
    );
    assert_eq!(
        place("listeners[1].address"),
        "a.yml:6: listeners[1].address: bad"
    );
    assert_eq!(
        place("listeners[0].missing"),
        "a.yml:5: listeners[0].missing: bad"
    );
    assert_eq!(place("node-name"), "node-name: bad");
    assert!(loaded.is_set("limits.max-inflight") && !loaded.is_set("node-name"));
}

#[test]
fn translated_keys_are_named_as_the_file_names_them() {
    let file = File::parse("old.yml".to_owned(), "mqtt:\n  inflight: x".to_owned()).unwrap();
    let mut layers = Layers::new::<Config>();
    let value = file.tree()["mqtt"]["inflight"].clone();
    let (from, to) = ("mqtt.inflight".to_owned(), "limits.max-inflight".to_owned());
    layers
        .translated(file, vec![Renamed { from, to, value }])
        .unwrap();
    assert_eq!(
        layers.build::<Config>().unwrap_err().to_string(),
        "old.yml:2: mqtt.inflight: \"x\" is not a number from 1 to 65535"
    );
}

#[test]
fn quantities_are_written_as_they_are_read() {
    let yaml = serde_yaml::to_string(&Limits::default()).unwrap();
    assert_eq!(
        yaml,
        "max-inflight: 1024\nconnect-timeout: 5s\npacket: 1MiB\n"
    );
}

#[test]
fn variables_of_a_service_of_the_same_name_are_no_settings() {
    for name in [
        "GATEMQ_SERVICE_HOST",
        "GATEMQ_SERVICE_PORT",
        "GATEMQ_SERVICE_PORT_MQTT",
        "GATEMQ_PORT",
        "GATEMQ_PORT_1883_TCP_ADDR",
    ] {
        assert!(
            load("", &[(name, "tcp://10.0.0.1:1883")], &[]).is_ok(),
            "{name}"
        );
    }
    assert!(load("", &[("GATEMQ_PORTS", "1")], &[]).is_err());
}
