//! Logs of the real process: format, where they go, rotation, the filter by module, and that no
//! peer writes raw bytes into them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use gatemq_tests::{Broker, Builder, Client, Connect, unique};

use super::{authority::Authority, json, proxy};

/// A broker with this `log` section and a file to write to.
fn builder(log: &str) -> Builder {
    Broker::builder().config(format!("log:\n{log}  file: '{{dir}}/logs/gatemq.log'\n"))
}

/// Starts a broker with this `log` section, connects a few clients, and ends it in order, so that
/// all lines are written.
fn run(log: &str) -> Broker {
    let broker = builder(log).start();
    for _ in 0..20 {
        Client::v5(&broker, &unique("logged")).disconnect();
    }
    assert_eq!(broker.terminate().code(), Some(0));
    broker
}

fn file(broker: &Broker, name: &str) -> Option<String> {
    fs::read_to_string(broker.dir().join("logs").join(name)).ok()
}

/// Lines that are one JSON object each, with what every line must have.
#[track_caller]
fn check_json(text: &str) {
    assert!(text.lines().count() > 1, "{text}");
    for line in text.lines() {
        let fields = json::fields(line).unwrap_or_else(|| panic!("no JSON object: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            let found = fields.iter().any(|(name, _)| name == field);
            assert!(found, "{field} is not in {line}");
        }
    }
}

/// The lines that begin with a time, as all of the log do, without that time.
fn without_times(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let (time, rest) = line.split_once(char::is_whitespace)?;
        time.ends_with('Z').then(|| rest.trim_start().to_owned())
    });
    lines.collect()
}

#[test]
fn json_goes_to_the_file_and_nowhere_else() {
    let broker = run("  format: json\n  output: file\n  level: debug\n");
    let text = file(&broker, "gatemq.log").expect("a log file");
    check_json(&text);
    assert!(text.contains("\"message\":\"ready\""), "{text}");
    assert!(text.contains("\"client.id\":\"logged"), "{text}");
    assert!(!broker.log().contains("timestamp"), "{}", broker.log());
}

#[test]
fn json_goes_to_the_console() {
    let broker = run("  format: json\n  output: console\n");
    assert_eq!(file(&broker, "gatemq.log"), None, "console makes no file");
    let log = broker.log();
    let lines: Vec<_> = log.lines().filter(|line| line.starts_with('{')).collect();
    check_json(&lines.join("\n"));
}

#[test]
fn both_means_the_same_lines_twice() {
    let broker = run("  output: both\n  level: debug\n");
    let text = file(&broker, "gatemq.log").expect("a log file");
    let in_file = without_times(&text);
    assert!(in_file.len() > 20, "{text}");
    assert_eq!(in_file, without_times(&broker.log()));
}

#[test]
fn a_full_file_is_followed_by_a_new_one_and_old_ones_go() {
    let broker = run("  output: file\n  level: debug\n  max-size: 1KiB\n  max-backups: 2\n");
    for name in ["gatemq.log", "gatemq.log.1", "gatemq.log.2"] {
        let text = file(&broker, name).unwrap_or_else(|| panic!("no {name}"));
        assert!(text.len() <= 2048 && text.ends_with('\n'), "{name}: {text}");
        assert_eq!(without_times(&text).len(), text.lines().count(), "{text}");
    }
    let entries = fs::read_dir(broker.dir().join("logs")).expect("a folder");
    assert_eq!(entries.count(), 3, "the file and two older ones");
}

#[test]
fn modules_have_levels_of_their_own() {
    let level = "  output: file\n  level: 'warn,gatemq_gateway::connection=debug'\n";
    let text = file(&run(level), "gatemq.log").expect("a log file");
    let lines = without_times(&text);
    assert!(lines.len() >= 20, "{text}");
    for line in lines {
        assert!(line.contains("gatemq_gateway::connection"), "{line}");
    }
}

/// What a line of the log may not have: control characters of ASCII and of Latin-1.
#[track_caller]
fn check_printable(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let raw = text.lines().find(|line| line.contains(char::is_control));
    assert_eq!(raw, None, "{what}: a peer's bytes are in the log");
    let injected = text
        .lines()
        .find(|line| line.starts_with("gatemq-injected"));
    assert_eq!(injected, None, "{what}: a peer wrote a line");
}

/// A ClientHello of TLS 1.2 that asks for this server name.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let short = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("a short field");
        [&length.to_be_bytes(), bytes].concat()
    };
    let names = short(&[&[0][..], &short(name)].concat());
    let extension = [&[0, 0][..], &short(&names)].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],              // random
        &[0],                  // no session
        &short(&[0xC0, 0x2B]), // one cipher
        &[1, 0],               // no compression
        &short(&extension),
    ]
    .concat();
    let length = u32::try_from(body.len())
        .expect("a short hello")
        .to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[0x16, 3, 1][..], &short(&handshake)].concat()
}

/// A6: bytes that a peer chooses, before there is a client to speak of.
#[test]
fn a6_strange_bytes_of_a_handshake_are_not_raw_in_the_log() {
    let strange: [&[u8]; 7] = [
        b"a\0b",
        b"a\x1B]0;gatemq-injected\x07\x1B[2Jb",
        b"a\r\ngatemq-injected: a line",
        b"\ngatemq-injected: a line",
        b"a\xC2\x9B31mb",
        b"a\xED\xA0\x80b",
        b"\xFF\xFE\x7F",
    ];
    let identity = Authority::new("tests").server();
    for format in ["text", "json"] {
        let log = format!("  format: {format}\n  output: both\n  level: 'trace,rustls=trace'\n");
        let listeners = "listeners:\n\
            - {transport: tls, address: '127.0.0.1:0', tls: \
              {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}}\n\
            - {transport: tcp, address: '127.0.0.1:0', proxy-from: [127.0.0.1/32]}\n";
        let log = format!("log:\n{log}  file: '{{dir}}/logs/gatemq.log'\nallow-anonymous: true\n");
        let broker = Broker::builder()
            .args(["--tcp", ""])
            .file("cert.pem", identity.certificate_pem())
            .file("key.pem", identity.key_pem())
            .config(format!("{log}{listeners}"))
            .start();
        for bytes in strange {
            let mut stream = TcpStream::connect(broker.address("tls")).expect("it listens");
            let timeout = Some(Duration::from_secs(5));
            stream.set_read_timeout(timeout).expect("it can be set");
            stream.write_all(&client_hello(bytes)).expect("it reads");
            // An alert, or a hello of the server: it has read the name.
            assert!(stream.read(&mut [0; 16]).is_ok_and(|count| count > 0));
            let connect = Connect::new(4, unique("proxied")).bytes();
            for kind in proxy::TEXTS {
                let mut client = Client::connect_tcp(broker.tcp());
                let header = proxy::v2_with(kind, bytes);
                client.send(&[header, connect.clone()].concat());
                assert_eq!(
                    client.recv().connack(4).code,
                    0,
                    "a TLV is no reason to refuse"
                );
            }
        }
        for line in [&b"PROXY \x1B[2J\x07\xC2\x9B\r\n"[..], b"PROXY a\nb\x1B\r\n"] {
            let mut client = Client::connect_tcp(broker.tcp());
            client.send(line);
            client.expect_closed();
        }
        assert_eq!(broker.terminate().code(), Some(0));
        let path: PathBuf = broker.dir().join("logs/gatemq.log");
        let bytes = fs::read(path).expect("a log file");
        check_printable(format, &bytes);
        check_printable(format, broker.log().as_bytes());
        if format == "json" {
            check_json(&String::from_utf8(bytes).expect("it was just checked"));
        }
    }
}
