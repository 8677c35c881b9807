//! What the process says and returns when it cannot, or is not to, start.

use std::net::TcpListener;

use gatemq_tests::{Broker, Builder};

/// Exit code and output of a start that does not lead to a running broker.
#[track_caller]
fn ends(builder: Builder) -> (i32, String) {
    let Err(trouble) = builder.try_start() else {
        panic!("the broker started");
    };
    let (first, output) = trouble.split_once('\n').unwrap_or((&trouble, ""));
    let code = first.rsplit(' ').next().and_then(|code| code.parse().ok());
    let code = code.unwrap_or_else(|| panic!("no exit code: {trouble}"));
    (code, output.to_owned())
}

/// The start must fail with this code and one line, in which these words are.
#[track_caller]
fn fails(builder: Builder, code: i32, words: &[&str]) {
    let (found, output) = ends(builder);
    assert_eq!(found, code, "exit code; {output}");
    let complaints: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("gatemq: "))
        .collect();
    let [complaint] = complaints.as_slice() else {
        panic!("one line `gatemq: …` was expected: {output}");
    };
    for word in words {
        assert!(complaint.contains(word), "{word} is not in: {complaint}");
    }
    assert!(!output.contains("panicked"), "{output}");
    assert!(!output.lines().any(|line| line == "ready"), "{output}");
}

#[test]
fn a_port_in_use_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    for name in ["tcp", "ws", "http"] {
        let builder = Broker::builder().args([format!("--{name}"), address.clone()]);
        fails(builder, 1, &[&address]);
    }
}

#[test]
fn anonymous_access_beyond_loopback_must_be_asked_for() {
    for (name, address) in [("tcp", "0.0.0.0:0"), ("ws", ":0"), ("tcp", "[::]:0")] {
        let builder = Broker::builder().args([&format!("--{name}"), address]);
        fails(builder, 2, &["--allow-anonymous"]);
        let builder = Broker::builder().args([&format!("--{name}"), address, "--allow-anonymous"]);
        let broker = builder.start();
        assert_ne!(broker.address(name).port(), 0);
    }
    let yaml = "listeners: [{transport: tcp, address: '0.0.0.0:0'}]\n";
    fails(Broker::builder().config(yaml), 2, &["allow-anonymous"]);
    let yaml = "listeners: [{transport: tcp, address: '0.0.0.0:0', allow-anonymous: true}]\n";
    Broker::builder().config(yaml).start();
}

#[test]
fn wrong_configuration_ends_the_start_and_names_file_line_and_key() {
    let cases: [(&str, &[&str]); 9] = [
        ("no-such-key: 1\n", &["gatemq.yaml:1", "no-such-key"]),
        (
            "limits:\n  max-retaned: 5\n",
            &["gatemq.yaml:2", "max-retaned", "max-retained"],
        ),
        (
            "limits:\n  max-retained: many\n",
            &["gatemq.yaml:2", "max-retained"],
        ),
        (
            "limits: {connect-timeout: 5parsecs}\n",
            &["gatemq.yaml:1", "connect-timeout"],
        ),
        (
            "share-strategy: fair\n",
            &["gatemq.yaml:1", "share-strategy"],
        ),
        (
            "listeners: [{transport: pigeon, address: ':1'}]\n",
            &["gatemq.yaml:1", "pigeon"],
        ),
        (
            "listeners:\n- {transport: tcp, address: nowhere}\n",
            &["gatemq.yaml:2", "nowhere"],
        ),
        (
            "listeners:\n- {transport: tls, address: '127.0.0.1:0'}\n",
            &["tls"],
        ),
        ("limits: [1, 2\n", &["gatemq.yaml:"]),
    ];
    for (yaml, words) in cases {
        fails(Broker::builder().config(yaml), 2, words);
    }
}

#[test]
fn a_folder_that_cannot_be_made_ends_the_start() {
    let words = ["/proc/nothing", "cannot be made", "--data-dir"];
    for way in ["redb", "fjall"] {
        let builder = Broker::builder().storage(way);
        fails(builder.args(["--data-dir", "/proc/nothing"]), 1, &words);
    }
}

#[test]
fn unreadable_files_end_the_start() {
    fails(
        Broker::builder().args(["--conf", "{dir}/missing.yml"]),
        2,
        &["missing.yml"],
    );
    let tls = "tls: {certificate: '{dir}/missing.pem', key: '{dir}/key.pem'}";
    let yaml = format!("listeners: [{{transport: tls, address: '127.0.0.1:0', {tls}}}]\n");
    fails(Broker::builder().config(yaml), 2, &["missing.pem"]);
}

#[test]
fn wrong_flags_end_the_start() {
    for args in [
        &["--no-such-flag"][..],
        &["--tcp", "nonsense"],
        &["--tcp", "127.0.0.1:99999"],
        &["--storage-way", "floppy"],
    ] {
        let (code, output) = ends(Broker::builder().bare().args(args.iter().copied()));
        assert_eq!(code, 2, "{args:?}: {output}");
        assert!(
            output.contains(args[0]) || output.contains(args[1]),
            "{args:?}: {output}"
        );
    }
}

#[test]
fn the_environment_is_read_and_checked() {
    fails(
        Broker::builder().env("GATEMQ_STORAGE_WAI", "redb"),
        2,
        &["GATEMQ_STORAGE_WAI"],
    );
    let broker = Broker::builder()
        .bare()
        .env("GATEMQ_TCP", "127.0.0.1:0")
        .env("GATEMQ_WS", "")
        .env("GATEMQ_HTTP", "")
        .env("GATEMQ_STORAGE_WAY", "memory")
        .env("GATEMQ_DATA_DIR", "{dir}/data")
        .start();
    assert_eq!(broker.listening("tcp").len(), 1);
    assert_eq!(broker.listening("ws").len(), 0);
}

#[test]
fn check_config_says_whether_the_configuration_is_good() {
    let yaml = "limits: {max-retained: 5}\n";
    let (code, output) = ends(Broker::builder().config(yaml).arg("--check-config"));
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("listening"), "{output}");
    let yaml = "limits: {max-retained: -5}\n";
    fails(
        Broker::builder().config(yaml).arg("--check-config"),
        2,
        &["max-retained"],
    );
}

#[test]
fn print_config_prints_what_can_be_loaded() {
    let yaml = "limits: {max-retained: 54321}\nshare-strategy: sticky\n";
    let (code, printed) = ends(Broker::builder().config(yaml).arg("--print-config"));
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("max-retained: 54321"), "{printed}");
    assert!(printed.contains("share-strategy: sticky"), "{printed}");
    let (code, output) = ends(
        Broker::builder()
            .bare()
            .config(printed.clone())
            .arg("--check-config"),
    );
    assert_eq!(code, 0, "what was printed is not good: {output}\n{printed}");
}

#[test]
fn storage_ways_have_names_and_numbers() {
    for way in ["memory", "redb", "fjall", "0", "1", "2"] {
        let broker = Broker::builder().storage(way).start();
        assert!(broker.is_running(), "{way}");
        assert_eq!(broker.terminate().code(), Some(0), "{way}");
    }
}

#[test]
fn help_and_version() {
    let (code, output) = ends(Broker::builder().bare().arg("--help"));
    assert_eq!(code, 0, "{output}");
    for flag in [
        "--conf",
        "--tcp",
        "--ws",
        "--http",
        "--data-dir",
        "--storage-way",
    ] {
        assert!(output.contains(flag), "{flag} is not in the help");
    }
    let (code, output) = ends(Broker::builder().bare().arg("--version"));
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("gatemq "), "{output}");
}
