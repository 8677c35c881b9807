//! rumqttc, the Rust client: 3.1.1 and 5 (a module each, alike by name and not by type).

use std::{sync::Arc, time::Duration};

use gatemq_tests::unique;
use rumqttc::{TlsConfiguration, Transport};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::{Matrix, Place};

const PATIENCE: Duration = Duration::from_secs(10);
const TRANSPORTS: [&str; 4] = ["tcp", "tls", "ws", "wss"];
/// Messages of a round trip.
const COUNT: usize = 50;

fn transport(place: &Place, name: &str) -> Transport {
    let tls = || {
        let mut roots = RootCertStore::empty();
        roots
            .add(place.authority.clone())
            .expect("a good certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConfiguration::Rustls(Arc::new(config))
    };
    match name {
        "tcp" => Transport::Tcp,
        "tls" => Transport::tls_with_config(tls()),
        "ws" => Transport::Ws,
        _ => Transport::wss_with_config(tls()),
    }
}

/// With WebSocket the host is a URL.
fn host(name: &str, port: u16) -> String {
    match name {
        "ws" | "wss" => format!("{name}://localhost:{port}/mqtt"),
        _ => "localhost".to_owned(),
    }
}

fn payload(number: usize) -> Vec<u8> {
    (0..200 + number)
        .map(|byte| u8::try_from(byte % 256).expect("a remainder of 256 fits"))
        .collect()
}

/// The round trip is the same for both modules; their types are not.
macro_rules! client {
    ($module:ident, $client:path, $options:path, $qos:path, $event:path, $packet:path, $topic:expr) => {
        mod $module {
            use super::*;
            use $client as Client;
            use $event as Event;
            use $options as Options;
            use $packet as Packet;
            use $qos as Qos;

            pub(super) async fn round_trip(
                place: &Place,
                name: &str,
                port: u16,
                qos: u8,
            ) -> Result<(), String> {
                let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(qos)];
                let topic = unique("rumqttc/topic");
                let mut options = Options::new(unique("rumqttc"), host(name, port), port);
                options.set_keep_alive(Duration::from_secs(30));
                options.set_transport(transport(place, name));
                let (client, mut events) = Client::new(options, 2 * COUNT);
                let trouble = |error: &dyn std::fmt::Display| error.to_string();
                let subscribed = client.subscribe(topic.clone(), qos).await;
                subscribed.map_err(|error| trouble(&error))?;
                let mut next = 0;
                while next < COUNT {
                    match events.poll().await.map_err(|error| trouble(&error))? {
                        Event::Incoming(Packet::SubAck(_)) => {
                            for number in 0..COUNT {
                                let sent = client
                                    .publish(topic.clone(), qos, false, payload(number))
                                    .await;
                                sent.map_err(|error| trouble(&error))?;
                            }
                        }
                        Event::Incoming(Packet::Publish(publish)) => {
                            let found = (
                                $topic(&publish.topic),
                                publish.qos as u8,
                                publish.payload.to_vec(),
                            );
                            if found != (topic.clone(), qos as u8, payload(next)) {
                                return Err(format!("message {next}: {found:?}"));
                            }
                            next += 1;
                        }
                        _ => {}
                    }
                }
                let ended = client.disconnect().await;
                ended.map_err(|error| trouble(&error))?;
                while events.poll().await.is_ok() {}
                Ok(())
            }
        }
    };
}

client!(
    v4,
    rumqttc::AsyncClient,
    rumqttc::MqttOptions,
    rumqttc::QoS,
    rumqttc::Event,
    rumqttc::Packet,
    |topic: &String| topic.clone()
);
client!(
    v5,
    rumqttc::v5::AsyncClient,
    rumqttc::v5::MqttOptions,
    rumqttc::v5::mqttbytes::QoS,
    rumqttc::v5::Event,
    rumqttc::v5::mqttbytes::v5::Packet,
    |topic: &bytes::Bytes| String::from_utf8_lossy(topic).into_owned()
);

#[test]
fn rumqttc_both_versions() {
    let place = Place::shared();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut matrix = Matrix::default();
    let ports = place.ports(&TRANSPORTS);
    for (name, port) in &ports {
        for qos in 0..3 {
            let late = |_| Err("not done in time".to_owned());
            let result = runtime.block_on(async {
                let trip = v4::round_trip(&place, name, *port, qos);
                timeout(PATIENCE, trip).await.unwrap_or_else(late)
            });
            matrix.add(format!("rumqttc 3.1.1 {name} QoS {qos}"), result);
            let result = runtime.block_on(async {
                let trip = v5::round_trip(&place, name, *port, qos);
                timeout(PATIENCE, trip).await.unwrap_or_else(late)
            });
            matrix.add(format!("rumqttc 5 {name} QoS {qos}"), result);
        }
    }
    matrix.check(2 * 3 * ports.len());
}
