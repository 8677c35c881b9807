//! `mosquitto_pub` and `mosquitto_sub`, what every newcomer tries first.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use gatemq_tests::unique;

use super::{Matrix, Place, install, skip};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// What every call has in common.
struct Way<'a> {
    place: &'a Place,
    version: &'a str,
    transport: &'a str,
    port: u16,
}

/// A `mosquitto_sub` that runs; it ends by itself after one message or ten seconds.
struct Subscriber {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Way<'_> {
    fn options(&self) -> Vec<String> {
        let port = self.port.to_string();
        let mut options = vec!["-h", "127.0.0.1", "-p", &port, "-V", self.version]
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>();
        if self.transport == "tls" {
            options.push("--cafile".to_owned());
            options.push(self.place.ca().display().to_string());
        }
        options
    }

    fn publish(&self, topic: &str, message: &str, qos: u8, more: &[&str]) -> Result<(), String> {
        install::run(
            Command::new("mosquitto_pub")
                .args(self.options())
                .args(["-t", topic, "-m", message, "-q", &qos.to_string()])
                .args(more),
        )
        .map(drop)
    }

    /// Subscribes, and waits until that is granted.
    fn subscribe(&self, topic: &str, qos: u8, more: &[&str]) -> Result<Subscriber, String> {
        let mut subscriber = self.start(topic, qos, more)?;
        subscriber.wait_for("Subscribed")?;
        Ok(subscriber)
    }

    fn start(&self, topic: &str, qos: u8, more: &[&str]) -> Result<Subscriber, String> {
        // The output of a pipe is buffered by blocks unless told otherwise.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            .args(self.options())
            .args(["-t", topic, "-q", &qos.to_string(), "-d", "-C", "1"])
            .args(["-W", "10", "-F", "MESSAGE %q %r %p"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("stdbuf: {error}"))?;
        let stdout = child.stdout.take().expect("it is piped");
        Ok(Subscriber {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }
}

impl Subscriber {
    /// The next line that begins so. The process ends after ten seconds, and its output with it.
    fn wait_for(&mut self, start: &str) -> Result<String, String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines
            .find(|line| line.starts_with(start))
            .ok_or_else(|| format!("no {start} from mosquitto_sub"))
    }

    fn expect(mut self, message: &str) -> Result<(), String> {
        let found = self.wait_for("MESSAGE")?;
        if found == message {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {message:?}"))
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn round_trip(way: &Way<'_>, qos: u8) -> Result<(), String> {
    let topic = unique("mosquitto/topic");
    let subscriber = way.subscribe(&topic, qos, &[])?;
    way.publish(&topic, "hello", qos, &[])?;
    subscriber.expect(&format!("MESSAGE {qos} 0 hello"))
}

fn retained(way: &Way<'_>) -> Result<(), String> {
    let topic = unique("mosquitto/retained");
    way.publish(&topic, "kept", 1, &["-r"])?;
    way.subscribe(&topic, 1, &[])?.expect("MESSAGE 1 1 kept")
}

fn will(way: &Way<'_>) -> Result<(), String> {
    let topic = unique("mosquitto/will");
    let witness = way.subscribe(&topic, 1, &[])?;
    let will = ["--will-topic", &topic, "--will-payload", "gone"];
    let more = [&will[..], &["--will-qos", "1"]].concat();
    // Killed when it is dropped, without a DISCONNECT.
    drop(way.subscribe(&unique("mosquitto/mortal"), 0, &more)?);
    witness.expect("MESSAGE 1 0 gone")
}

fn resume(way: &Way<'_>, qos: u8) -> Result<(), String> {
    let (name, topic) = (unique("mosquitto"), unique("mosquitto/session"));
    let mut session = vec!["-c", "-i", &name];
    if way.version == "mqttv5" {
        session.extend(["-x", "3600"]);
    }
    let mut leave = Command::new("mosquitto_sub");
    leave.args(way.options()).args(&session);
    install::run(leave.args(["-t", &topic, "-q", &qos.to_string(), "-E"]))?;
    way.publish(&topic, "while away", qos, &[])?;
    // What waited may come before the SUBACK.
    way.start(&topic, qos, &session)?
        .expect(&format!("MESSAGE {qos} 0 while away"))
}

#[test]
fn mosquitto_clients() {
    let ready = install::program("mosquitto_sub", "mosquitto-clients")
        .and_then(|()| install::program("stdbuf", "coreutils"));
    if let Err(trouble) = ready {
        return skip("mosquitto_pub and mosquitto_sub", &trouble);
    }
    let place = Place::shared();
    let mut matrix = Matrix::default();
    let ports = place.ports(&["tcp", "tls"]);
    for version in VERSIONS {
        for (transport, port) in &ports {
            let way = Way {
                place: &place,
                version,
                transport,
                port: *port,
            };
            let name = format!("mosquitto {version} {transport}");
            for qos in 0..3 {
                matrix.add(format!("{name} QoS {qos}"), round_trip(&way, qos));
            }
            matrix.add(format!("{name} retained"), retained(&way));
            matrix.add(format!("{name} will"), will(&way));
            for qos in 1..3 {
                matrix.add(
                    format!("{name} session resumes, QoS {qos}"),
                    resume(&way, qos),
                );
            }
        }
    }
    matrix.check(VERSIONS.len() * 7 * ports.len());
}
