//! `rumqttc::mqttbytes::v4`: 3.1.1.

use bytes::BytesMut;
use gatemq_proto::mqtt::Version;
use rumqttc::mqttbytes::v4::Packet;

use super::{
    Codec, ROOM,
    fields::{Fields, add, note, reason},
};

/// rumqttc's codec of 3.1.1.
pub(super) struct V4;

impl Codec for V4 {
    type Packet = Packet;
    const NAME: &'static str = "rumqttc 4";
    const VERSION: Version = Version::V311;

    fn decode(bytes: &mut BytesMut) -> Result<Packet, String> {
        Packet::read(bytes, ROOM).map_err(|error| error.to_string())
    }

    fn fields(packet: &Packet) -> Fields {
        fields(packet)
    }

    fn encode(packet: Packet) -> Result<BytesMut, String> {
        let mut bytes = BytesMut::new();
        let written = packet.write(&mut bytes, ROOM);
        written.map(|_| bytes).map_err(|error| error.to_string())
    }
}

fn fields(packet: &Packet) -> Fields {
    let mut fields = Fields::new();
    let all = &mut fields;
    let success = || "Success".to_owned();
    let name = match packet {
        Packet::Connect(found) => {
            note!(all, "", found; keep_alive, client_id);
            add(all, "clean", found.clean_session);
            if let Some(will) = &found.last_will {
                note!(all, "will ", will; topic, message, qos, retain);
            }
            if let Some(login) = &found.login {
                note!(all, "", login; username, password);
            }
            "Connect"
        }
        Packet::ConnAck(found) => {
            note!(all, "", found; session_present);
            add(all, "code", reason(found.code));
            "ConnAck"
        }
        Packet::Publish(found) => {
            note!(all, "", found; dup, qos, retain, topic, pkid, payload);
            "Publish"
        }
        Packet::PubAck(found) => {
            note!(all, "", found; pkid);
            add(all, "reason", success());
            "PubAck"
        }
        Packet::PubRec(found) => {
            note!(all, "", found; pkid);
            add(all, "reason", success());
            "PubRec"
        }
        Packet::PubRel(found) => {
            note!(all, "", found; pkid);
            add(all, "reason", success());
            "PubRel"
        }
        Packet::PubComp(found) => {
            note!(all, "", found; pkid);
            add(all, "reason", success());
            "PubComp"
        }
        Packet::Subscribe(found) => {
            note!(all, "", found; pkid);
            for (index, filter) in found.filters.iter().enumerate() {
                let options = (filter.qos as u8, false, false);
                let text = format!("{:?} {options:?} OnEverySubscribe", filter.path);
                add(all, &format!("filter {index}"), text);
            }
            "Subscribe"
        }
        Packet::SubAck(found) => {
            note!(all, "", found; pkid);
            let reasons = found.return_codes.iter().map(reason);
            add(all, "reasons", reasons.collect::<Vec<_>>());
            "SubAck"
        }
        Packet::Unsubscribe(found) => {
            note!(all, "", found; pkid);
            add(all, "filters", found.topics.clone());
            "Unsubscribe"
        }
        Packet::UnsubAck(found) => {
            note!(all, "", found; pkid);
            add(all, "reasons", Vec::<String>::new());
            "UnsubAck"
        }
        Packet::PingReq => "PingReq",
        Packet::PingResp => "PingResp",
        Packet::Disconnect => {
            add(all, "reason", success());
            "Disconnect"
        }
    };
    add(all, "packet", name);
    fields
}
