//! The clients in other languages: a script each, beside this file, that prints its rows.

use std::{path::Path, process::Command};

use super::{Matrix, Place, install, skip};

/// Runs a script with the listeners as arguments; each of its `ROW` lines is a cell.
fn rows(command: &mut Command, place: &Place) -> Matrix {
    for (name, port) in place.ports(&["tcp", "tls", "ws", "wss"]) {
        command.arg(format!("--{name}")).arg(port.to_string());
    }
    command.arg("--ca").arg(place.ca());
    let output = install::run(command).unwrap_or_else(|trouble| panic!("{trouble}"));
    let mut matrix = Matrix::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("ROW ")) {
        let (name, result) = line.split_once(": ").expect("a row has a result");
        let result = match result {
            "ok" => Ok(()),
            trouble => Err(trouble.to_owned()),
        };
        matrix.add(name.to_owned(), result);
    }
    matrix
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("suites/foreign")
        .join(name)
}

fn python(name: &str, count: impl Fn(&Place) -> usize) {
    match install::python() {
        Ok(python) => {
            let place = Place::shared();
            let mut command = Command::new(python);
            command.arg("-B").arg(script(name));
            rows(&mut command, &place).check(count(&place));
        }
        Err(trouble) => skip(name, trouble),
    }
}

const ALL: [&str; 4] = ["tcp", "tls", "ws", "wss"];

#[test]
fn paho_mqtt() {
    // Three versions; QoS 0, 1, 2 and a large message on each transport; four tales.
    python("paho_client.py", |place| {
        3 * (4 * place.ports(&ALL).len() + 4)
    });
}

#[test]
fn aiomqtt() {
    python("aiomqtt_client.py", |place| 2 * 3 * place.ports(&ALL).len());
}

#[test]
fn gmqtt() {
    python("gmqtt_client.py", |place| {
        2 * 3 * place.ports(&["tcp", "tls"]).len()
    });
}

#[test]
fn mqtt_js() {
    match install::node_modules() {
        Ok(modules) => {
            let place = Place::shared();
            let mut command = Command::new("node");
            command.env("NODE_PATH", modules);
            command.arg(script("mqttjs_client.js"));
            rows(&mut command, &place).check(2 * 3 * place.ports(&ALL).len());
        }
        Err(trouble) => skip("MQTT.js", &trouble),
    }
}
